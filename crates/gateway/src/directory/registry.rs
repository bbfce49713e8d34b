//! The only owner of connections: it knows which connections each user has.
//!
//! Invariants, for every interleaving: a connection that closes removes its own mapping and never another's;
//! once all connections are closed, nothing is mapped; a registered connection is reached.
//! `tests/registry_loom.rs` explores them.
//!
//! Lock order: first a shard, then the state of one connection. No state is locked while a thread waits for a
//! shard. A caller's action on a connection runs under the shard's lock, so that it is ordered with all
//! pushes to that user: keep it short.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use hashbrown::HashTable;
use smallvec::SmallVec;

use super::policy::{Ousted, Policy};
use super::registration::Registration;
use crate::ids::Uid;
use crate::sync::{Hashing, Mutex};

/// The id of a connection, unique in this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ConnectionId(u64);

/// A connection. `link` is what its owner needs to reach the client.
#[derive(Debug)]
pub(crate) struct Connection<L> {
    pub(crate) id: ConnectionId,
    /// The link to the client.
    pub(crate) link: L,
    state: Mutex<ConnectionState>,
}

#[derive(Debug, Default)]
struct ConnectionState {
    /// Whether the connection is closed or being disconnected. If it is, it is never registered again.
    over: bool,
    registration: Option<Arc<Registration>>,
}

impl<L> Connection<L> {
    /// A connection that is not registered.
    pub(crate) fn new(link: L) -> Self {
        static CONNECTIONS: AtomicU64 = AtomicU64::new(0);
        Self {
            id: ConnectionId(CONNECTIONS.fetch_add(1, Ordering::Relaxed)),
            link,
            state: Mutex::new(ConnectionState::default()),
        }
    }

    /// The connection's registration; `None` if it is not registered.
    pub(crate) fn registration(&self) -> Option<Arc<Registration>> {
        self.state.lock().registration.clone()
    }

    /// Ends `registration` if the connection still has it. The caller holds the lock of the user's shard.
    fn end(&self, registration: &Arc<Registration>, over: bool) {
        let mut state = self.state.lock();
        state.over |= over;
        state
            .registration
            .take_if(|current| Arc::ptr_eq(current, registration));
    }
}

/// The connection is closed or being closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Over;

pub(super) struct Line<L> {
    pub(super) connection: Arc<Connection<L>>,
    pub(super) registration: Arc<Registration>,
    /// The number of its claim in the directory of all nodes; 0 while it has none.
    pub(super) claim: u64,
}

/// A user's connections, oldest first; never empty. Most users have one.
pub(super) type Lines<L> = SmallVec<[Line<L>; 1]>;

/// A user with a connection.
pub(super) struct User<L> {
    uid: Uid,
    pub(super) lines: Lines<L>,
}

/// A part of the map. The hash of the uid selects it.
pub(super) type Shard<L> = Mutex<HashTable<User<L>>>;

/// The connections of each uid, in shards.
pub(crate) struct Registry<L> {
    pub(super) shards: Box<[Shard<L>]>,
    hasher: Hashing,
    policy: Policy,
    /// Whether a displaced connection stays open and may register again.
    displaced_stay: bool,
    /// The position of the next registration.
    order: AtomicU64,
}

impl<L> Registry<L> {
    /// An empty registry.
    pub(crate) fn new(shards: usize, policy: Policy, displaced_stay: bool) -> Self {
        Self {
            shards: (0..shards.max(1)).map(|_| Mutex::new(HashTable::new())).collect(),
            hasher: Hashing::default(),
            policy,
            displaced_stay,
            order: AtomicU64::new(0),
        }
    }

    /// A number that is greater than all earlier ones.
    pub(crate) fn next_order(&self) -> u64 {
        self.order.fetch_add(1, Ordering::Relaxed)
    }

    /// Whether a user has at most one connection.
    pub(crate) fn is_single(&self) -> bool {
        matches!(self.policy, Policy::Single)
    }

    /// Whether a displaced connection stays open.
    pub(crate) fn displaced_stay(&self) -> bool {
        self.displaced_stay
    }

    /// The shard of a user, and the hash of its uid.
    fn shard(&self, uid: &Uid) -> (&Shard<L>, u64) {
        let hash = self.hasher.hash_one(uid);
        // The table uses the lowest and the highest bits of the hash; the shard must use others.
        let index = (hash >> 32) as usize % self.shards.len();
        (&self.shards[index], hash)
    }

    /// Calls `f` with a user's connections, under the lock of its shard.
    pub(super) fn with_lines<T>(&self, uid: &Uid, f: impl FnOnce(&[Line<L>]) -> T) -> T {
        let (shard, hash) = self.shard(uid);
        let shard = shard.lock();
        let user = shard.find(hash, |user| user.uid == *uid);
        f(user.map_or(&[], |user| &user.lines))
    }

    /// Calls `f` with a user's connections, which it may change, under the lock of its shard.
    pub(super) fn with_user<T>(&self, uid: &Uid, f: impl FnOnce(&mut Lines<L>) -> T) -> T {
        let (shard, hash) = self.shard(uid);
        let mut shard = shard.lock();
        let Ok(mut user) = shard.find_entry(hash, |user| user.uid == *uid) else {
            return f(&mut Lines::new());
        };
        let result = f(&mut user.get_mut().lines);
        if user.get().lines.is_empty() {
            user.remove();
            self.shrink(&mut shard);
        }
        result
    }

    /// Maps `connection` to a user. If it was registered as another user, that registration ends first.
    /// `ousted` is called for every connection that the login policy removes, with its registration and the
    /// new one.
    pub(crate) fn register(
        &self,
        connection: &Arc<Connection<L>>,
        registration: Registration,
        mut ousted: impl FnMut(&L, Ousted, &Registration, &Registration),
    ) -> Result<Arc<Registration>, Over> {
        self.enter_and(connection, registration, |lines, new| {
            self.oust(lines, connection, new, &mut ousted);
        })
    }

    /// Like [`Registry::register`], but the user's other connections remain for now: the directory of all
    /// nodes decides about them.
    pub(crate) fn enter(
        &self,
        connection: &Arc<Connection<L>>,
        registration: Registration,
    ) -> Result<Arc<Registration>, Over> {
        self.enter_and(connection, registration, |_, _| {})
    }

    fn enter_and(
        &self,
        connection: &Arc<Connection<L>>,
        registration: Registration,
        then: impl FnOnce(&mut Lines<L>, &Registration),
    ) -> Result<Arc<Registration>, Over> {
        if connection
            .registration()
            .is_some_and(|old| old.uid != registration.uid)
        {
            self.unregister(connection);
        }
        let new = Arc::new(registration);
        let (shard, hash) = self.shard(&new.uid);
        let mut shard = shard.lock();
        {
            let mut state = connection.state.lock();
            if state.over {
                return Err(Over);
            }
            state.registration = Some(new.clone());
        }
        let entry = shard.entry(
            hash,
            |user| user.uid == new.uid,
            |user| self.hasher.hash_one(&user.uid),
        );
        let user = entry.or_insert_with(|| User {
            uid: new.uid.clone(),
            lines: Lines::new(),
        });
        let lines = &mut user.into_mut().lines;
        match lines
            .iter_mut()
            .find(|line| Arc::ptr_eq(&line.connection, connection))
        {
            Some(own) => (own.registration, own.claim) = (new.clone(), 0),
            None => lines.push(Line {
                connection: connection.clone(),
                registration: new.clone(),
                claim: 0,
            }),
        }
        then(lines, &new);
        Ok(new)
    }

    /// Whether `new` would displace, or make stale, a connection that registered after the number `order` was
    /// taken.
    pub(crate) fn would_oust(&self, connection: &Arc<Connection<L>>, new: &Registration, order: u64) -> bool {
        self.with_lines(&new.uid, |lines| {
            lines.iter().any(|line| {
                let old = &line.registration;
                !Arc::ptr_eq(&line.connection, connection)
                    && old.order > order
                    && self.policy.replaces(new, old).is_some()
            })
        })
    }

    /// Ends the registrations that `new`, the one of `connection`, ousts.
    pub(super) fn oust(
        &self,
        lines: &mut Lines<L>,
        connection: &Arc<Connection<L>>,
        new: &Registration,
        ousted: &mut impl FnMut(&L, Ousted, &Registration, &Registration),
    ) {
        let is_own = |line: &Line<L>| Arc::ptr_eq(&line.connection, connection);
        let others = lines.iter().filter(|line| !is_own(line));
        let mut verdicts = self
            .policy
            .apply(new, others.map(|line| &*line.registration))
            .into_iter();
        lines.retain(|line| {
            if is_own(line) {
                return true;
            }
            let Some(why) = verdicts.next().flatten() else {
                return true;
            };
            self.end_ousted(line, why);
            ousted(&line.connection.link, why, &line.registration, new);
            false
        });
    }

    /// Ends a registration that was ousted.
    pub(super) fn end_ousted(&self, line: &Line<L>, why: Ousted) {
        let stays = why == Ousted::Displaced && self.displaced_stay;
        line.connection.end(&line.registration, !stays);
    }

    /// Ends the connection's registration, and returns it. The connection may register again.
    pub(crate) fn unregister(&self, connection: &Arc<Connection<L>>) -> Option<Arc<Registration>> {
        let registration = connection.registration()?;
        self.remove(connection, &registration);
        Some(registration)
    }

    /// Ends the registration of a connection that has closed, and returns it. The connection is never
    /// registered again.
    pub(crate) fn close(&self, connection: &Arc<Connection<L>>) -> Option<Arc<Registration>> {
        let registration = {
            let mut state = connection.state.lock();
            state.over = true;
            state.registration.take()
        }?;
        self.remove(connection, &registration);
        Some(registration)
    }

    fn remove(&self, connection: &Arc<Connection<L>>, registration: &Arc<Registration>) {
        self.with_user(&registration.uid, |lines| {
            connection.end(registration, false);
            lines.retain(|line| !Arc::ptr_eq(&line.connection, connection));
        });
    }

    /// Frees the memory that a shard needed for many more users than it has now.
    fn shrink(&self, shard: &mut HashTable<User<L>>) {
        if shard.len() * 8 < shard.capacity() && shard.capacity() > 256 {
            let twice = shard.len() * 2;
            shard.shrink_to(twice, |user| self.hasher.hash_one(&user.uid));
        }
    }

    /// Ends those registrations of a user for which `which` is true, and returns their number. Their
    /// connections are never registered again.
    pub(crate) fn end(
        &self,
        uid: &Uid,
        which: impl Fn(&Registration) -> bool,
        each: impl FnMut(&L, &Registration),
    ) -> usize {
        self.with_user(uid, |lines| end(lines, which, each))
    }

    /// Like [`Registry::end`], for all users.
    pub(crate) fn end_everywhere(
        &self,
        which: impl Fn(&Registration) -> bool,
        mut each: impl FnMut(&L, &Registration),
    ) -> usize {
        let mut ended = 0;
        for shard in &self.shards {
            let mut shard = shard.lock();
            shard.retain(|user| {
                ended += end(&mut user.lines, &which, &mut each);
                !user.lines.is_empty()
            });
            self.shrink(&mut shard);
        }
        ended
    }

    /// Calls `each` for all connections of a user except `except`, and returns for how many it was true.
    pub(crate) fn reach(
        &self,
        uid: &Uid,
        except: Option<ConnectionId>,
        mut each: impl FnMut(&L) -> bool,
    ) -> usize {
        self.with_lines(uid, |lines| reach(lines, except, &mut each))
    }

    /// Calls `each` for all connections of all users except `except`, and returns for how many users and
    /// connections it was true.
    pub(crate) fn reach_everyone(
        &self,
        except: Option<ConnectionId>,
        mut each: impl FnMut(&L) -> bool,
    ) -> (usize, usize) {
        let mut reached = (0, 0);
        for shard in &self.shards {
            for user in shard.lock().iter() {
                let connections = reach(&user.lines, except, &mut each);
                reached.0 += usize::from(connections > 0);
                reached.1 += connections;
            }
        }
        reached
    }

    /// Whether the user has a connection.
    pub(crate) fn is_online(&self, uid: &Uid) -> bool {
        self.with_lines(uid, |lines| !lines.is_empty())
    }

    /// A user's connections, oldest first.
    pub(crate) fn connections(&self, uid: &Uid, mut each: impl FnMut(&L, &Registration)) {
        self.with_lines(uid, |lines| {
            for line in lines {
                each(&line.connection.link, &line.registration);
            }
        });
    }

    /// Up to `most` users who have a connection, in any order.
    pub(crate) fn names(&self, most: usize) -> Vec<Uid> {
        let mut names = Vec::new();
        for shard in &self.shards {
            let left = most - names.len();
            names.extend(shard.lock().iter().take(left).map(|user| user.uid.clone()));
        }
        names
    }

    /// The number of users who have a connection.
    pub(crate) fn users(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }
}

fn end<L>(
    lines: &mut Lines<L>,
    which: impl Fn(&Registration) -> bool,
    mut each: impl FnMut(&L, &Registration),
) -> usize {
    let before = lines.len();
    lines.retain(|line| {
        let ends = which(&line.registration);
        if ends {
            line.connection.end(&line.registration, true);
            each(&line.connection.link, &line.registration);
        }
        !ends
    });
    before - lines.len()
}

fn reach<L>(lines: &[Line<L>], except: Option<ConnectionId>, each: &mut impl FnMut(&L) -> bool) -> usize {
    lines
        .iter()
        .filter(|line| Some(line.connection.id) != except)
        .filter(|line| each(&line.connection.link))
        .count()
}
