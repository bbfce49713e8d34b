//! The revoked tokens, in memory, as the store has them.
//!
//! Invariant: a revocation is added here before the connections that it concerns are searched, and a register
//! checks here both before and after it is in the registry. No connection can therefore be missed.

use std::collections::HashMap;
use std::collections::hash_map::Entry;

use parking_lot::RwLock;

use crate::claims::Claims;
use crate::directory::Registration;
use crate::ids::{DeviceId, Uid};
use crate::store::{Device, MOST_DISPLACED, Revocation, Revoked};
use crate::time::UnixMillis;

/// The revocations in memory.
#[derive(Default)]
pub(crate) struct Revocations {
    known: RwLock<RevokedTokens>,
}

/// Revocations by the API are kept apart from those of displaced devices, so that the latter never use up the
/// limit of the former.
#[derive(Default)]
struct RevokedTokens {
    asked: HashMap<Revoked, Reach>,
    /// The revocations by user, at most [`MOST_DISPLACED`] of each user.
    displaced: HashMap<Uid, Vec<(Revoked, Reach)>>,
    /// The number of revocations in `displaced`.
    displaced_count: usize,
    /// A time before which none of `displaced` can be forgotten.
    displaced_until: UnixMillis,
}

/// The revoked tokens, and how long they are revoked.
#[derive(Debug, Clone, Copy)]
struct Reach {
    issued_until: UnixMillis,
    forget_at: UnixMillis,
}

impl Revocations {
    /// Returns whether one more revocation of the API may be added while at most `most` are kept; one that
    /// exists already is only extended. Forgets revocations that are not needed at `now`, which must have
    /// passed certainly: a clock that is wrong for a moment must not make a revoked token valid.
    pub(crate) fn has_room(&self, what: &Revoked, most: usize, now: UnixMillis) -> bool {
        let mut known = self.known.write();
        if known.asked.len() < most || known.asked.contains_key(what) {
            return true;
        }
        known.asked.retain(|_, reach| reach.forget_at > now);
        known.asked.len() < most
    }

    /// Returns whether one more revocation of a displaced device may be added while at most `most` are kept
    /// for all users.
    pub(crate) fn has_room_for_displaced(&self, most: usize, now: UnixMillis) -> bool {
        let mut known = self.known.write();
        // The whole table is searched only if that makes room.
        if known.displaced_count >= most && known.displaced_until <= now {
            known.forget_displaced(now);
        }
        known.displaced_count < most
    }

    /// Adds a revocation, or extends an existing one of the same tokens.
    pub(crate) fn add(&self, revocation: Revocation) {
        let mut known = self.known.write();
        let reach = Reach::of(&revocation);
        match (revocation.displaced, known.asked.entry(revocation.what)) {
            (_, Entry::Occupied(mut there)) => there.get_mut().grow(reach),
            (None, Entry::Vacant(new)) => {
                new.insert(reach);
            }
            (Some(uid), Entry::Vacant(new)) => {
                let what = new.into_key();
                known.add_displaced(uid, what, reach);
            }
        }
    }

    /// Returns whether a token with which a device registers is revoked at `now`, which must have passed
    /// certainly.
    pub(crate) fn cover(&self, claims: &Claims, device: Option<&DeviceId>, now: UnixMillis) -> bool {
        let known = self.known.read();
        if known.asked.is_empty() && known.displaced.is_empty() {
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
        let displaced = known.displaced.get(&claims.sub).map_or(&[][..], Vec::as_slice);
        [Some(user), device, token].iter().flatten().any(|what| {
            let of_displaced = displaced.iter().filter(|(of, _)| of == what);
            let mut reaches = known
                .asked
                .get(what)
                .into_iter()
                .chain(of_displaced.map(|(_, reach)| reach));
            reaches.any(|reach| reach.forget_at > now && reach.is_of(what, Some(claims)))
        })
    }
}

impl RevokedTokens {
    fn add_displaced(&mut self, uid: Uid, what: Revoked, reach: Reach) {
        let before = if self.displaced_count == 0 {
            UnixMillis::MAX
        } else {
            self.displaced_until
        };
        self.displaced_until = before.min(reach.forget_at);
        let of_user = self.displaced.entry(uid).or_default();
        if let Some((_, there)) = of_user.iter_mut().find(|(of, _)| *of == what) {
            return there.grow(reach);
        }
        if of_user.len() < MOST_DISPLACED {
            of_user.push((what, reach));
            self.displaced_count += 1;
        } else if let Some(first) = of_user.iter_mut().min_by_key(|(_, reach)| reach.forget_at)
            && first.1.forget_at < reach.forget_at
        {
            *first = (what, reach);
        }
    }

    fn forget_displaced(&mut self, now: UnixMillis) {
        self.displaced.retain(|_, of_user| {
            of_user.retain(|(_, reach)| reach.forget_at > now);
            !of_user.is_empty()
        });
        let left = || self.displaced.values().flatten();
        self.displaced_count = left().count();
        self.displaced_until = left().map(|(_, reach)| reach.forget_at).min().unwrap_or(0);
    }
}

impl Reach {
    fn of(revocation: &Revocation) -> Self {
        Self {
            issued_until: revocation.issued_until,
            forget_at: revocation.forget_at,
        }
    }

    fn grow(&mut self, by: Self) {
        self.issued_until = self.issued_until.max(by.issued_until);
        self.forget_at = self.forget_at.max(by.forget_at);
    }

    fn is_of(&self, what: &Revoked, claims: Option<&Claims>) -> bool {
        match what {
            Revoked::Token(_) => true,
            // A token without an issue time may be an old one.
            Revoked::User(_) | Revoked::Device(_) => claims
                .and_then(|claims| claims.iat)
                .is_none_or(|iat| iat <= self.issued_until),
        }
    }
}

/// Returns whether a revocation concerns the token with which a connection has registered.
pub(crate) fn concerns(revocation: &Revocation, registration: &Registration) -> bool {
    let claims = registration.claims.as_deref();
    let named = match &revocation.what {
        Revoked::User(uid) => registration.uid == *uid,
        Revoked::Device(of) => registration.uid == of.uid && registration.device == of.device,
        Revoked::Token(token) => claims.is_some_and(|claims| claims.jti.as_ref() == Some(token)),
    };
    named && Reach::of(revocation).is_of(&revocation.what, claims)
}

#[cfg(test)]
mod tests {
    use super::*;

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
            displaced: None,
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
        let another = Revoked::Token("another".into());
        assert!(!revocations.has_room(&another, 1, NOW));
        assert!(
            revocations.has_room(&Revoked::User(Uid::new("alice").unwrap()), 1, NOW),
            "it only grows"
        );
        assert!(revocations.has_room(&another, 1, NOW + 10));
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

    #[test]
    fn displaced_devices_take_the_place_of_no_others() {
        let revocations = Revocations::default();
        let of = |uid: &str, n: u64| Revocation {
            forget_at: NOW + 100 + n,
            displaced: Some(Uid::new(uid).unwrap()),
            ..until_now(Revoked::Token(format!("{uid} {n}").into()))
        };
        let covers = |uid: &str, n: u64, now| {
            revocations.cover(&claims(uid, Some(NOW), Some(&format!("{uid} {n}"))), None, now)
        };
        let most = MOST_DISPLACED as u64;
        revocations.add(of("bob", 0));
        for n in 0..=most {
            revocations.add(of("alice", n));
            revocations.add(of("alice", n));
        }
        assert!(!covers("alice", 0, NOW), "it was to be forgotten first");
        assert!((1..=most).all(|n| covers("alice", n, NOW)) && covers("bob", 0, NOW));
        assert!(!covers("bob", 0, NOW + 100));
        let all = MOST_DISPLACED + 1;
        assert!(revocations.has_room_for_displaced(all + 1, NOW));
        assert!(!revocations.has_room_for_displaced(all, NOW));
        assert!(
            revocations.has_room(&Revoked::Token("x".into()), 1, NOW),
            "an operator is not in their way"
        );
        assert!(revocations.has_room_for_displaced(all, NOW + 100));
        revocations.add(until_now(Revoked::Token("alice 5".into())));
        assert!(!revocations.has_room(&Revoked::Token("x".into()), 1, NOW));
    }
}
