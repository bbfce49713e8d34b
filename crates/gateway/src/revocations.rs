//! Tokens that are not accepted any more, at hand: what the store remembers of them.
//!
//! Invariant: a revocation is known here before the connections are gone through that it concerns; who registers asks here before and
//! after it is on the map. So nobody slips through between the two.

use std::collections::HashMap;

use parking_lot::RwLock;

use crate::claims::Claims;
use crate::ids::DeviceId;
use crate::registry::Registration;
use crate::store::{Device, Revocation, Revoked, UnixMillis};

/// See the module.
#[derive(Default)]
pub(crate) struct Revocations {
    known: RwLock<HashMap<Revoked, Reach>>,
}

/// Which tokens, and for how long.
#[derive(Debug, Clone, Copy)]
struct Reach {
    issued_until: UnixMillis,
    forget_at: UnixMillis,
}

impl From<Vec<Revocation>> for Revocations {
    fn from(all: Vec<Revocation>) -> Self {
        let revocations = Self::default();
        all.into_iter().for_each(|revocation| revocations.add(revocation));
        revocations
    }
}

impl Revocations {
    /// How many there are, after those have been forgotten that are not needed at `now`, which must have come for certain:
    /// a clock that is wrong for a moment must not make a revoked token valid.
    pub(crate) fn count(&self, now: UnixMillis) -> usize {
        let mut known = self.known.write();
        known.retain(|_, reach| reach.forget_at > now);
        known.len()
    }

    /// Knows one more; one of the same tokens grows.
    pub(crate) fn add(&self, revocation: Revocation) {
        let mut known = self.known.write();
        let reach = known.entry(revocation.what).or_insert(Reach {
            issued_until: 0,
            forget_at: 0,
        });
        reach.issued_until = reach.issued_until.max(revocation.issued_until);
        reach.forget_at = reach.forget_at.max(revocation.forget_at);
    }

    /// Whether a token is revoked for a device that comes with it, at `now`, which must have come for certain.
    pub(crate) fn cover(&self, claims: &Claims, device: Option<&DeviceId>, now: UnixMillis) -> bool {
        let known = self.known.read();
        if known.is_empty() {
            return false;
        }
        let user = Revoked::User(claims.sub.clone());
        let device = device.map(|device| {
            Revoked::Device(Device {
                uid: claims.sub.clone(),
                device: device.clone(),
            })
        });
        let token = claims.jti.clone().map(Revoked::Token);
        [Some(user), device, token].iter().flatten().any(|what| {
            known
                .get(what)
                .is_some_and(|reach| reach.forget_at > now && reach.is_of(what, Some(claims)))
        })
    }
}

impl Reach {
    fn is_of(&self, what: &Revoked, claims: Option<&Claims>) -> bool {
        match what {
            Revoked::Token(_) => true,
            // What does not say when it was issued may be an old one.
            Revoked::User(_) | Revoked::Device(_) => claims
                .and_then(|claims| claims.iat)
                .is_none_or(|iat| iat <= self.issued_until),
        }
    }
}

/// Whether a revocation concerns what a connection registered with.
pub(crate) fn concerns(revocation: &Revocation, registration: &Registration) -> bool {
    let claims = registration.claims.as_deref();
    let named = match &revocation.what {
        Revoked::User(uid) => registration.uid == *uid,
        Revoked::Device(of) => registration.uid == of.uid && registration.device == of.device,
        Revoked::Token(token) => claims.is_some_and(|claims| claims.jti.as_ref() == Some(token)),
    };
    let reach = Reach {
        issued_until: revocation.issued_until,
        forget_at: revocation.forget_at,
    };
    named && reach.is_of(&revocation.what, claims)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Uid;

    const NOW: UnixMillis = 1_790_000_000_000;

    fn claims(sub: &str, iat: Option<u64>, jti: Option<&str>) -> Claims {
        Claims {
            sub: Uid::new(sub).unwrap(),
            device: None,
            platform: None,
            kinds: None,
            exp: NOW + 1_000,
            ends: Claims::NEVER,
            iat,
            jti: jti.map(Into::into),
        }
    }

    fn device(name: &str) -> DeviceId {
        DeviceId::new(name).unwrap()
    }

    fn until_now(what: Revoked) -> Revocation {
        Revocation {
            what,
            issued_until: NOW,
            forget_at: NOW + 10,
        }
    }

    #[test]
    fn a_users_tokens_are_revoked_up_to_a_moment() {
        let revocations = Revocations::default();
        let old = claims("alice", Some(NOW), None);
        assert!(!revocations.cover(&old, None, NOW));
        revocations.add(until_now(Revoked::User(Uid::new("alice").unwrap())));
        assert!(revocations.cover(&old, None, NOW));
        assert!(revocations.cover(&claims("alice", None, Some("t")), None, NOW));
        assert!(!revocations.cover(&claims("alice", Some(NOW + 1), None), None, NOW));
        assert!(!revocations.cover(&claims("bob", Some(NOW), None), None, NOW));
        assert!(!revocations.cover(&old, None, NOW + 10), "it is forgotten");
        assert_eq!((revocations.count(NOW), revocations.count(NOW + 10)), (1, 0));
    }

    #[test]
    fn a_device_and_a_token_are_revoked_alone() {
        let revocations = Revocations::default();
        revocations.add(until_now(Revoked::Device(Device {
            uid: Uid::new("alice").unwrap(),
            device: device("phone"),
        })));
        revocations.add(until_now(Revoked::Token("t1".into())));
        let old = claims("alice", Some(NOW), None);
        assert!(revocations.cover(&old, Some(&device("phone")), NOW));
        assert!(!revocations.cover(&old, Some(&device("laptop")), NOW));
        assert!(!revocations.cover(&old, None, NOW));
        assert!(revocations.cover(&claims("bob", Some(NOW + 5), Some("t1")), None, NOW));
        assert!(!revocations.cover(&claims("bob", Some(NOW), Some("t2")), None, NOW));
    }

    #[test]
    fn they_only_grow() {
        let revocations = Revocations::default();
        let alice = || until_now(Revoked::User(Uid::new("alice").unwrap()));
        revocations.add(alice());
        revocations.add(Revocation {
            issued_until: 0,
            forget_at: NOW + 20,
            ..alice()
        });
        assert!(revocations.cover(&claims("alice", Some(NOW), None), None, NOW + 15));
    }
}
