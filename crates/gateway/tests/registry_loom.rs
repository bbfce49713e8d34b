//! Explores the interleavings of the registry's locks with loom, all of them and not one example.

#![allow(dead_code, missing_docs, unreachable_pub, unused_imports)] // parts of the crate, included for this file alone
#![allow(clippy::unwrap_used)]

#[path = "../src/claims.rs"]
mod claims;
#[path = "../src/directory/mod.rs"]
mod directory;

/// Replaces the crate's lock by loom's, and its hashing by one that is the same in each iteration.
mod sync {
    pub(crate) type Hashing = std::hash::BuildHasherDefault<std::hash::DefaultHasher>;

    #[derive(Debug)]
    pub(crate) struct Mutex<T>(loom::sync::Mutex<T>);

    impl<T> Mutex<T> {
        pub(crate) fn new(value: T) -> Self {
            Self(loom::sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> loom::sync::MutexGuard<'_, T> {
            self.0.lock().unwrap()
        }
    }

    impl<T: Default> Default for Mutex<T> {
        fn default() -> Self {
            Self::new(T::default())
        }
    }
}

use std::sync::Arc;

use directory::{Connection, Policy, Registration, Registry};
use mynah::ids::{self, DeviceId, Uid};

type Link = &'static str;
type Shared = Arc<Connection<Link>>;

fn uid(text: &str) -> Uid {
    Uid::new(text).unwrap()
}

fn connection(name: Link) -> Shared {
    Arc::new(Connection::new(name))
}

/// Registers. Returns false if the connection has ended.
fn try_register(registry: &Registry<Link>, connection: &Shared, user: &str, device: &str) -> bool {
    let registration = Registration {
        uid: uid(user),
        device: DeviceId::new(device).unwrap(),
        platform: None,
        class: None,
        since: 0,
        order: 0,
        has_cursors: false,
        named: false,
        claims: None,
        point: Default::default(),
    };
    registry
        .register(connection, registration, |_, _, _, _| {})
        .is_ok()
}

/// Registers a connection that has not ended.
fn register(registry: &Registry<Link>, connection: &Shared, user: &str, device: &str) {
    assert!(try_register(registry, connection, user, device));
}

/// Returns the connections that a push to the user reaches.
fn reached(registry: &Registry<Link>, user: &str) -> Vec<Link> {
    let mut links = Vec::new();
    registry.reach(&uid(user), None, |link| {
        links.push(*link);
        true
    });
    links
}

/// Checks the invariant that a connection's registration and the registry's map agree, whenever no operation
/// is in progress.
fn check(registry: &Registry<Link>, connections: &[&Shared], users: &[&str]) {
    for user in users {
        let mapped = reached(registry, user);
        let says_so: Vec<Link> = connections
            .iter()
            .filter(|connection| connection.registration().is_some_and(|own| own.uid == uid(user)))
            .map(|connection| connection.link)
            .collect();
        let sorted = |mut links: Vec<Link>| {
            links.sort_unstable();
            links
        };
        assert_eq!(sorted(mapped), sorted(says_so), "{user}");
    }
}

fn model(policy: Policy, displaced_stay: bool, run: impl Fn(&Arc<Registry<Link>>) + Send + Sync + 'static) {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(3);
    builder.check(move || run(&Arc::new(Registry::new(2, policy, displaced_stay))));
}

fn thread(
    registry: &Arc<Registry<Link>>,
    connection: &Shared,
    run: impl FnOnce(&Registry<Link>, &Shared) + 'static,
) -> loom::thread::JoinHandle<()> {
    let (registry, connection) = (registry.clone(), connection.clone());
    loom::thread::spawn(move || run(&registry, &connection))
}

/// The replaced connection closes, which must not remove the registration of its replacement. The replaced
/// system made this mistake.
#[test]
fn a_close_never_removes_another_registration() {
    for device in ["d1", "d2"] {
        model(Policy::Single, false, move |registry| {
            let (a, b) = (connection("a"), connection("b"));
            register(registry, &a, "alice", "d1");
            let closing = thread(registry, &a, |registry, a| drop(registry.close(a)));
            let registering = thread(registry, &b, move |registry, b| {
                register(registry, b, "alice", device);
            });
            closing.join().unwrap();
            registering.join().unwrap();
            assert_eq!(reached(registry, "alice"), ["b"]);
            check(registry, &[&a, &b], &["alice"]);
            registry.close(&b);
            assert_eq!(registry.users(), 0);
        });
    }
}

#[test]
fn of_two_concurrent_registers_one_wins_and_the_other_knows() {
    for stay in [false, true] {
        model(Policy::Single, stay, |registry| {
            let (a, b) = (connection("a"), connection("b"));
            let one = thread(registry, &a, |registry, a| register(registry, a, "alice", "d1"));
            let other = thread(registry, &b, |registry, b| register(registry, b, "alice", "d2"));
            one.join().unwrap();
            other.join().unwrap();
            assert_eq!(reached(registry, "alice").len(), 1);
            check(registry, &[&a, &b], &["alice"]);
        });
    }
}

#[test]
fn a_close_during_a_register_leaves_no_registration() {
    model(Policy::Single, false, |registry| {
        let a = connection("a");
        let registering = thread(registry, &a, |registry, a| {
            try_register(registry, a, "alice", "d1");
        });
        let closing = thread(registry, &a, |registry, a| drop(registry.close(a)));
        registering.join().unwrap();
        closing.join().unwrap();
        assert_eq!(registry.users(), 0);
        assert!(!try_register(registry, &a, "alice", "d1"));
        check(registry, &[&a], &["alice"]);
    });
}

/// A register as another user affects two shards.
#[test]
fn changing_the_user_meets_displacement_close_and_sign_out() {
    let others: [fn(&Registry<Link>, &Shared); 3] = [
        |registry, b| {
            try_register(registry, b, "alice", "d2");
        },
        |registry, b| {
            try_register(registry, b, "bob", "d2");
        },
        |registry, _| {
            registry.end(&uid("alice"), |_| true, |_, _| {});
        },
    ];
    for stay in [false, true] {
        for other in others {
            model(Policy::Single, stay, move |registry| {
                let (a, b) = (connection("a"), connection("b"));
                register(registry, &a, "alice", "d1");
                let moving = thread(registry, &a, |registry, a| {
                    try_register(registry, a, "bob", "d1");
                });
                let meeting = thread(registry, &b, other);
                moving.join().unwrap();
                meeting.join().unwrap();
                check(registry, &[&a, &b], &["alice", "bob"]);
                for user in ["alice", "bob"] {
                    assert!(reached(registry, user).len() <= 1, "single means one");
                }
                registry.close(&a);
                registry.close(&b);
                assert_eq!(registry.users(), 0);
            });
        }
    }
}

#[test]
fn changing_the_user_during_a_close_leaves_no_registration() {
    model(Policy::Single, false, |registry| {
        let a = connection("a");
        register(registry, &a, "alice", "d1");
        let moving = thread(registry, &a, |registry, a| {
            try_register(registry, a, "bob", "d1");
        });
        let closing = thread(registry, &a, |registry, a| drop(registry.close(a)));
        moving.join().unwrap();
        closing.join().unwrap();
        assert_eq!(registry.users(), 0);
        check(registry, &[&a], &["alice", "bob"]);
    });
}

#[test]
fn the_limit_of_devices_holds() {
    model(Policy::Multi(1), false, |registry| {
        let (a, b, c) = (connection("a"), connection("b"), connection("c"));
        register(registry, &a, "alice", "d1");
        let one = thread(registry, &b, |registry, b| {
            try_register(registry, b, "alice", "d2");
        });
        let other = thread(registry, &c, |registry, c| {
            try_register(registry, c, "alice", "d3");
        });
        registry.close(&a);
        one.join().unwrap();
        other.join().unwrap();
        assert_eq!(reached(registry, "alice").len(), 1);
        check(registry, &[&a, &b, &c], &["alice"]);
        registry.close(&b);
        registry.close(&c);
        assert_eq!(registry.users(), 0);
    });
}

/// After a sign-out no connection of the user registers again, whatever it was doing at the time.
#[test]
fn after_a_sign_out_no_connection_registers_again() {
    model(Policy::Single, false, |registry| {
        let a = connection("a");
        register(registry, &a, "alice", "d1");
        let again = thread(registry, &a, |registry, a| {
            try_register(registry, a, "alice", "d1");
        });
        let signing = thread(registry, &a, |registry, _| {
            assert_eq!(registry.end(&uid("alice"), |_| true, |_, _| {}), 1);
        });
        again.join().unwrap();
        signing.join().unwrap();
        assert_eq!(registry.users(), 0);
        assert!(!try_register(registry, &a, "alice", "d1"));
    });
}
