//! Claims of all policies, compared with a plain model of what the registry of one node does.

use crate::testing::{Random, Server, directory, entry, uid};
use crate::*;

/// The records of a Redis, and a way to lose them.
trait Records {
    /// The entries of a user, oldest first, with the numbers of their claims.
    async fn entries(&self, uid: &str) -> Vec<(Order, Entry)>;

    /// Loses everything.
    async fn forget(&self);
}

impl Records for Server {
    async fn entries(&self, uid: &str) -> Vec<(Order, Entry)> {
        Server::entries(self, uid).await
    }

    async fn forget(&self) {
        () = self.run(&redis::cmd("FLUSHALL")).await;
    }
}

impl Records for simulated::Redis {
    async fn entries(&self, name: &str) -> Vec<(Order, Entry)> {
        self.entries(&uid(name))
    }

    async fn forget(&self) {
        self.forget();
    }
}

/// A user's connections, oldest first, with the rules of the login policy for one node, written down once
/// more.
struct Model {
    policy: Policy,
    lines: Vec<(Order, Entry)>,
}

impl Model {
    /// Registers a connection; returns those that it removes, oldest first.
    fn claim(&mut self, order: Order, new: Entry) -> Vec<(Why, Order, Entry)> {
        match self.lines.iter_mut().find(|(_, entry)| entry.sid == new.sid) {
            Some(own) => *own = (order, new.clone()),
            None => self.lines.push((order, new.clone())),
        }
        let most = match self.policy {
            Policy::Single => 1,
            Policy::PerPlatform(most) | Policy::Multi(most) => most,
        };
        let leaves = |old: &Entry| {
            let same_platform = matches!(self.policy, Policy::PerPlatform(_)) && old.platform == new.platform;
            match old {
                old if old.sid == new.sid => None,
                old if old.device == new.device => Some(Why::Stale),
                _ if same_platform => Some(Why::Displaced),
                _ => None,
            }
        };
        let stay = self.lines.iter().filter(|(_, old)| leaves(old).is_none()).count();
        let mut surplus = stay.saturating_sub(most);
        let mut removed = Vec::new();
        let mut kept = Vec::new();
        for (order, old) in self.lines.drain(..) {
            match leaves(&old) {
                Some(why) => removed.push((why, order, old)),
                None if surplus > 0 && old.sid != new.sid => {
                    surplus -= 1;
                    removed.push((Why::Displaced, order, old));
                }
                None => kept.push((order, old)),
            }
        }
        self.lines = kept;
        removed
    }
}

/// A random session of one user: registers on few connections, as few devices on few platforms, and closes.
async fn session(redis: &impl Records, directory: &Directory, policy: Policy, seed: u64) {
    let mut random = Random(seed);
    let name = format!("{policy:?}-{seed} {{}} ü");
    let mut model = Model {
        policy,
        lines: Vec::new(),
    };
    let nodes = [Incarnation([1; 16]), Incarnation([2; 16])];
    let mut last = Order(0);
    for step in 0..60 {
        let sid = format!("s{}", random.below(8));
        if random.below(4) == 0 {
            let released = directory.release(&uid(&name), &sid).await.unwrap();
            let before = model.lines.len();
            model.lines.retain(|(_, entry)| *entry.sid != *sid);
            assert_eq!(
                (released.was_there, released.left),
                (model.lines.len() < before, model.lines.len()),
                "seed {seed}, step {step}"
            );
        } else {
            let device = format!("d{}", random.below(5));
            let platform = ["", "ios", "web"][random.below(3)];
            let new = entry(nodes[random.below(2)], &sid, &device, platform);
            let claimed = directory.claim(&uid(&name), &new, &[]).await.unwrap();
            assert!(claimed.order > last, "seed {seed}, step {step}");
            last = claimed.order;
            let expected = model.claim(claimed.order, new);
            let ousted: Vec<_> = claimed
                .ousted
                .into_iter()
                .map(|ousted| (ousted.why, ousted.order, ousted.entry))
                .collect();
            assert_eq!(ousted, expected, "seed {seed}, step {step}");
            assert_eq!(claimed.others, model.lines.len() - 1, "seed {seed}, step {step}");
        }
        assert_eq!(
            redis.entries(&name).await,
            model.lines,
            "seed {seed}, step {step}"
        );
    }
}

const POLICIES: [Policy; 6] = [
    Policy::Single,
    Policy::PerPlatform(2),
    Policy::PerPlatform(10),
    Policy::Multi(1),
    Policy::Multi(3),
    Policy::Multi(100),
];

#[tokio::test]
async fn every_policy_does_what_one_node_does() {
    let Some(server) = Server::start().await else {
        return;
    };
    for policy in POLICIES {
        let directory = directory(&server, policy).await;
        for seed in 0..12 {
            session(&server, &directory, policy, seed).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn the_simulated_redis_does_the_same() {
    let redis = simulated::Redis::new(1, simulated::Faults::default());
    for (number, policy) in (0..).zip(POLICIES) {
        let node = redis.node(Incarnation([number; 16]), policy);
        for seed in 0..50 {
            session(&redis, &node.directory, policy, seed).await;
            recovery(&redis, &node.directory, policy, seed).await;
        }
    }
}

/// Redis loses everything, and the nodes restore what they have in any order: also connections that were
/// displaced, if the packets about it were lost. What the policy allows is there again.
async fn recovery(redis: &impl Records, directory: &Directory, policy: Policy, seed: u64) {
    let mut random = Random(seed);
    let name = uid(&format!("{policy:?}-{seed}"));
    let mut model = Model {
        policy,
        lines: Vec::new(),
    };
    let mut forgotten = Vec::new();
    for number in 0..12 {
        let (sid, device) = (format!("s{number}"), format!("d{}", random.below(6)));
        let platform = ["", "ios", "web", "tv"][random.below(4)];
        let new = entry(Incarnation([number; 16]), &sid, &device, platform);
        let order = directory.claim(&name, &new, &[]).await.unwrap().order;
        let removed = model.claim(order, new);
        forgotten.extend(removed.into_iter().map(|(_, order, entry)| (order, entry)));
    }
    // In every second case all displaced connections have been told.
    if seed.is_multiple_of(2) {
        forgotten.clear();
    }
    let all = forgotten.iter().chain(&model.lines);
    let mut held: Vec<_> = all
        .map(|(order, entry)| Held {
            uid: name.clone(),
            entry: entry.clone(),
            order: *order,
        })
        .collect();
    let (newest, _) = *model.lines.last().unwrap();
    redis.forget().await;
    for at in (1..held.len()).rev() {
        held.swap(at, random.below(at + 1));
    }
    // What is removed is not refreshed again.
    let mut ended = Vec::new();
    for _ in 0..2 {
        for held in &held {
            if ended.contains(&held.order) {
                continue;
            }
            let results = directory
                .refresh(std::slice::from_ref(held), |_| true)
                .await
                .unwrap();
            if let Refreshed::Removed { ousted } | Refreshed::Restored { ousted } = &results[0] {
                ended.extend(ousted.iter().map(|ousted| ousted.order));
            }
        }
    }
    let found = redis.entries(name.as_str()).await;
    assert!(found.is_sorted_by_key(|(order, _)| *order), "seed {seed}");
    assert_eq!(found.last().unwrap().0, newest, "seed {seed}");
    if forgotten.is_empty() {
        assert_eq!(found, model.lines, "seed {seed}");
    }
    // Registered once more in this order, nothing is removed: the policy allows these together.
    let mut again = Model {
        policy,
        lines: Vec::new(),
    };
    for (order, entry) in found {
        assert_eq!(again.claim(order, entry), [], "seed {seed}");
    }
}

#[tokio::test]
async fn after_a_loss_the_policy_holds_whoever_restores_first() {
    let Some(server) = Server::start().await else {
        return;
    };
    for policy in [Policy::Single, Policy::PerPlatform(3), Policy::Multi(4)] {
        let directory = directory(&server, policy).await;
        for seed in 0..25 {
            recovery(&server, &directory, policy, seed).await;
        }
    }
}

/// Fifty devices register at the same moment, over five nodes.
#[tokio::test]
async fn of_many_registers_at_once_the_last_one_remains() {
    let Some(server) = Server::start().await else {
        return;
    };
    let mut directories = Vec::new();
    for _ in 0..5 {
        directories.push(directory(&server, Policy::Single).await);
    }
    for round in 0..20 {
        let name = uid(&format!("user{round}"));
        let claims = (0..50).map(|number| {
            let directory = &directories[number % 5];
            let (name, sid) = (name.clone(), format!("s{number}"));
            async move {
                let new = entry(Incarnation([number as u8 % 5; 16]), &sid, &sid, "");
                (directory.claim(&name, &new, &[]).await.unwrap(), new)
            }
        });
        let mut claimed = all(claims).await;
        claimed.sort_by_key(|(claimed, _)| claimed.order);
        let remaining = server.entries(name.as_str()).await;
        let (last, newest) = claimed.last().unwrap();
        assert_eq!(remaining, [(last.order, newest.clone())]);
        // Each of the others was removed by the claim after it, and by no other.
        for pair in claimed.windows(2) {
            let [(before, _), (after, _)] = pair else { continue };
            let ousted: Vec<_> = after.ousted.iter().map(|ousted| ousted.order).collect();
            assert_eq!(ousted, [before.order]);
            assert!(before.order < after.order);
        }
        assert_eq!(claimed[0].0.ousted, []);
    }
}

/// Runs futures at the same time.
async fn all<T>(futures: impl Iterator<Item = impl Future<Output = T>>) -> Vec<T> {
    let mut futures: Vec<_> = futures.map(|future| (Box::pin(future), None)).collect();
    std::future::poll_fn(|context| {
        let mut is_done = true;
        for (future, value) in &mut futures {
            if value.is_none() {
                match future.as_mut().poll(context) {
                    std::task::Poll::Ready(done) => *value = Some(done),
                    std::task::Poll::Pending => is_done = false,
                }
            }
        }
        match is_done {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    })
    .await;
    futures.into_iter().filter_map(|(_, value)| value).collect()
}
