//! Limits the sessions in total and of one address, the HTTP connections of one address, and the bytes that
//! are buffered for them.
//!
//! All IPv6 addresses of a network of 64 bits count as one address, because one machine can use them all.
//! Invariant: everything that was counted is subtracted again, either by the guard that was returned for it
//! or by the session that took over from the guard.

mod held;

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use parking_lot::Mutex;

pub use held::Held;

use crate::refusals::Refusal;

const SHARDS: usize = 16;
/// The HTTP connections that an address may have in addition to those of its sessions.
const SPARE_HTTP: usize = 64;

/// The largest number of refused connections that are kept open until their answers have arrived. Further
/// ones are closed at once.
const MAX_REFUSED: usize = 256;

/// The limits of an [`Admission`]; 0 means no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Bounds {
    /// The sessions in total.
    pub sessions: usize,
    /// The sessions of one address. The address may have twice as many HTTP connections that are not
    /// WebSockets, and 64 more: a session with the polling transport has a GET and a POST at the same time.
    pub sessions_per_address: usize,
    /// The bytes that may be buffered for all connections: messages and bodies that have not been handled,
    /// and output that the peer has not read. The first 4 KiB of each connection are not counted.
    pub bytes: usize,
    /// The bytes that may be buffered for one address, counted likewise.
    pub bytes_per_address: usize,
}

/// The counts of one address.
#[derive(Debug, Clone, Copy, Default)]
struct Has {
    sessions: usize,
    http: usize,
    bytes: usize,
}

impl Has {
    const fn is_nothing(&self) -> bool {
        self.sessions == 0 && self.http == 0 && self.bytes == 0
    }
}

/// Counts sessions, connections, bytes and refusals. The server and its listeners share it.
#[derive(Debug, Default)]
pub struct Admission {
    bounds: Bounds,
    sessions: AtomicUsize,
    held: AtomicUsize,
    shards: [Mutex<HashMap<u64, Has>>; SHARDS],
    /// The number of refusals for each reason, in the order of [`Refusal::ALL`].
    refusals: [AtomicU64; Refusal::ALL.len()],
    /// One reference for each refused connection that is not closed yet.
    refused_open: Arc<()>,
}

impl Admission {
    /// Creates it with these limits. All counts are 0.
    pub fn new(bounds: Bounds) -> Self {
        Self {
            bounds,
            ..Self::default()
        }
    }

    /// The number of open sessions.
    pub fn sessions(&self) -> usize {
        self.sessions.load(Ordering::Relaxed)
    }

    /// The number of addresses that have a count; 0 if addresses are not limited.
    pub fn addresses(&self) -> usize {
        self.shards.iter().map(|shard| shard.lock().len()).sum()
    }

    /// The number of refusals for this reason.
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refusals[refusal as usize].load(Ordering::Relaxed)
    }

    /// Counts a refusal.
    pub fn count(&self, refusal: Refusal) {
        self.refusals[refusal as usize].fetch_add(1, Ordering::Relaxed);
    }

    /// Counts a refusal of this peer and logs it.
    pub fn refuse(&self, refusal: Refusal, peer: IpAddr) {
        tracing::debug!(reason = refusal.as_str(), %peer, "refused a connection or a request");
        self.count(refusal);
    }

    /// Counts a new session, or returns the limit that it would exceed.
    pub fn admit_session(self: &Arc<Self>, address: IpAddr) -> Result<AdmittedSession, Refusal> {
        let most = self.bounds.sessions;
        if self.sessions.fetch_add(1, Ordering::Relaxed) >= most && most > 0 {
            self.sessions.fetch_sub(1, Ordering::Relaxed);
            self.refuse(Refusal::Connections, address);
            return Err(Refusal::Connections);
        }
        if !self.add(
            address,
            |has| &mut has.sessions,
            1,
            self.bounds.sessions_per_address,
        ) {
            self.sessions.fetch_sub(1, Ordering::Relaxed);
            self.refuse(Refusal::Address, address);
            return Err(Refusal::Address);
        }
        Ok(AdmittedSession {
            admission: Some(self.clone()),
            address,
        })
    }

    /// Subtracts a session that has ended.
    pub fn leave(&self, address: IpAddr) {
        self.sessions.fetch_sub(1, Ordering::Relaxed);
        if self.bounds.sessions_per_address > 0 {
            self.take(address, |has| &mut has.sessions, 1);
        }
    }

    /// Counts a new HTTP connection. Fails if the address has too many.
    pub(crate) fn admit_connection(self: &Arc<Self>, address: IpAddr) -> Result<AdmittedConnection, Refusal> {
        self.admit_connection_if_room(address).ok_or_else(|| {
            self.refuse(Refusal::Address, address);
            Refusal::Address
        })
    }

    /// Like [`Admission::admit_connection`], for a connection that was accepted before and is being closed.
    /// If the address has too many, this returns `None` and does not count it as a refusal.
    pub fn admit_connection_if_room(self: &Arc<Self>, address: IpAddr) -> Option<AdmittedConnection> {
        let most = match self.bounds.sessions_per_address {
            0 => 0,
            sessions => sessions.saturating_mul(2).saturating_add(SPARE_HTTP),
        };
        self.add(address, |has| &mut has.http, 1, most)
            .then(|| AdmittedConnection {
                admission: self.clone(),
                address,
            })
    }

    /// A reference that a refused connection holds while it is being closed. `None` if there are
    /// [`MAX_REFUSED`] of them; several listeners that ask at the same time may get a few more.
    pub(crate) fn hold_refused(&self) -> Option<Arc<()>> {
        (Arc::strong_count(&self.refused_open) <= MAX_REFUSED).then(|| self.refused_open.clone())
    }

    fn shard(&self, place: u64) -> &Mutex<HashMap<u64, Has>> {
        // Neighbouring addresses differ in the low bits of IPv4 addresses, but in higher bits of IPv6
        // networks.
        let folded = place ^ (place >> 16) ^ (place >> 32);
        &self.shards[(folded ^ (folded >> 8)) as usize % SHARDS]
    }

    /// Adds `more` to a count of this address, unless the sum would exceed `most`. If `most` is 0, there is
    /// no limit and nothing is counted.
    fn add(&self, address: IpAddr, count: impl Fn(&mut Has) -> &mut usize, more: usize, most: usize) -> bool {
        if most == 0 {
            return true;
        }
        let place = place(address);
        let mut shard = self.shard(place).lock();
        let mut has = match shard.entry(place) {
            Entry::Occupied(there) => there,
            Entry::Vacant(none) => none.insert_entry(Has::default()),
        };
        let count = count(has.get_mut());
        let fits = *count + more <= most;
        if fits {
            *count += more;
        } else if has.get().is_nothing() {
            has.remove();
        }
        fits
    }

    /// Subtracts `less` from a count of this address.
    fn take(&self, address: IpAddr, count: impl Fn(&mut Has) -> &mut usize, less: usize) {
        let place = place(address);
        let mut shard = self.shard(place).lock();
        if let Entry::Occupied(mut there) = shard.entry(place) {
            let left = count(there.get_mut());
            *left = left.saturating_sub(less);
            if there.get().is_nothing() {
                there.remove();
            }
        }
        // After a flood from many addresses, the memory of the map is freed.
        if shard.len() * 8 < shard.capacity() && shard.capacity() > 1_024 {
            let twice = shard.len() * 2;
            shard.shrink_to(twice);
        }
    }
}

/// The key under which an address is counted: the IPv4 address, or the 64-bit network of the IPv6 address.
fn place(address: IpAddr) -> u64 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_bits().into(),
        IpAddr::V6(address) => (address.to_bits() >> 64) as u64,
    }
}

/// A counted session. If this is dropped before [`AdmittedSession::hand_over`], the session is subtracted
/// again.
#[derive(Debug)]
pub struct AdmittedSession {
    admission: Option<Arc<Admission>>,
    address: IpAddr,
}

impl AdmittedSession {
    /// Keeps the session counted. The session must call [`Admission::leave`] when it ends.
    pub fn hand_over(mut self) {
        self.admission = None;
    }
}

impl Drop for AdmittedSession {
    fn drop(&mut self) {
        if let Some(admission) = &self.admission {
            admission.leave(self.address);
        }
    }
}

/// A counted HTTP connection. When this is dropped, the connection is subtracted again.
#[derive(Debug)]
pub struct AdmittedConnection {
    admission: Arc<Admission>,
    address: IpAddr,
}

impl Drop for AdmittedConnection {
    fn drop(&mut self) {
        if self.admission.bounds.sessions_per_address > 0 {
            self.admission.take(self.address, |has| &mut has.http, 1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    fn admission(sessions: usize, sessions_per_address: usize) -> Arc<Admission> {
        Arc::new(Admission::new(Bounds {
            sessions,
            sessions_per_address,
            ..Bounds::default()
        }))
    }

    #[test]
    fn limits_hold_until_a_session_ends() {
        let admission = admission(3, 2);
        let (a, b) = (ip("10.0.0.1"), ip("10.0.0.2"));
        let first = admission.admit_session(a).unwrap();
        admission.admit_session(a).unwrap().hand_over();
        assert_eq!(admission.admit_session(a).unwrap_err(), Refusal::Address);
        let third = admission.admit_session(b).unwrap();
        assert_eq!(admission.admit_session(b).unwrap_err(), Refusal::Connections);
        drop(first);
        assert_eq!(
            admission.admit_session(a).map(drop),
            Ok(()),
            "there is room again"
        );
        admission.leave(a);
        drop(third);
        assert_eq!(admission.addresses(), 0);
        assert_eq!(admission.sessions(), 0);
        assert_eq!(
            (
                admission.refused(Refusal::Address),
                admission.refused(Refusal::Connections)
            ),
            (1, 1)
        );
    }

    #[test]
    fn http_connections_have_a_limit_of_their_own() {
        let admission = admission(0, 1);
        let most = 2 + SPARE_HTTP;
        let connected: Vec<_> = (0..most)
            .map(|_| admission.admit_connection(ip("::1")).unwrap())
            .collect();
        assert_eq!(
            admission.admit_connection(ip("::1")).unwrap_err(),
            Refusal::Address
        );
        let session = admission.admit_session(ip("::1")).unwrap();
        drop(connected);
        assert_eq!(admission.addresses(), 1);
        drop(session);
        assert_eq!(admission.addresses(), 0);
    }

    #[test]
    fn an_ipv6_network_counts_as_one_address() {
        let same = |a: &str, b: &str| place(ip(a)) == place(ip(b));
        assert!(same("2001:db8:1:2::1", "2001:db8:1:2:ffff::9"));
        assert!(!same("2001:db8:1:2::1", "2001:db8:1:3::1"));
        assert!(same("::ffff:10.1.2.3", "10.1.2.3"));
        assert!(!same("10.1.2.3", "10.1.2.4"));
    }

    #[test]
    fn without_limits_no_address_is_kept() {
        let admission = admission(0, 0);
        for _ in 0..1_000 {
            admission.admit_session(ip("10.0.0.1")).unwrap().hand_over();
        }
        assert_eq!(admission.addresses(), 0);
    }

    #[test]
    fn the_maps_shrink_after_a_flood_of_addresses() {
        let admission = admission(0, 1);
        let flood: Vec<_> = (0..100_000_u32)
            .map(|n| admission.admit_session(IpAddr::V4(n.into())).unwrap())
            .collect();
        assert_eq!(admission.addresses(), 100_000);
        drop(flood);
        let capacity: usize = admission.shards.iter().map(|shard| shard.lock().capacity()).sum();
        assert!(capacity < 40_000, "{capacity}");
    }

    #[test]
    fn each_refusal_has_a_counter_and_a_name_of_its_own() {
        let admission = Admission::default();
        for (at, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(refusal as usize, at);
            (0..=at).for_each(|_| admission.count(refusal));
        }
        for (at, refusal) in Refusal::ALL.into_iter().enumerate() {
            assert_eq!(admission.refused(refusal), at as u64 + 1);
            let same = Refusal::ALL
                .iter()
                .filter(|other| other.as_str() == refusal.as_str());
            assert_eq!(same.count(), 1);
        }
    }
}
