//! The login policy: which registrations of a user a new one ends, because it displaces another device or
//! because its own device has reconnected. Nothing is changed here.

use smallvec::SmallVec;

use super::registration::Registration;

/// How many connections a user may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Policy {
    /// One connection.
    Single,
    /// One connection per platform; connections without a platform count as one platform. In total at most
    /// this number; one more displaces the oldest.
    PerPlatform(usize),
    /// At most this number; one more displaces the oldest.
    Multi(usize),
}

/// Why a connection lost its registration to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ousted {
    /// The same device has reconnected: this connection is stale.
    Stale,
    /// Another device displaced it.
    Displaced,
}

/// For each connection of a user why it is ousted, or `None` if it stays. Few users have more than eight.
pub(super) type Verdicts = SmallVec<[Option<Ousted>; 8]>;

impl Policy {
    /// Returns why `new` ousts `old`, however many connections the user has; `None` if both may stay.
    pub(super) fn replaces(self, new: &Registration, old: &Registration) -> Option<Ousted> {
        if old.device == new.device {
            return Some(Ousted::Stale);
        }
        let displaces = match self {
            Self::Single => true,
            Self::PerPlatform(_) => old.platform == new.platform,
            Self::Multi(_) => false,
        };
        displaces.then_some(Ousted::Displaced)
    }

    /// Returns for each of the user's `others`, oldest first, why `new` ousts it; `None` if it stays.
    pub(super) fn apply<'a>(
        self,
        new: &Registration,
        others: impl Iterator<Item = &'a Registration>,
    ) -> Verdicts {
        let mut verdicts: Verdicts = others.map(|old| self.replaces(new, old)).collect();
        let most = match self {
            Self::Single => 1,
            Self::PerPlatform(most) | Self::Multi(most) => most,
        };
        let stay = 1 + verdicts.iter().filter(|verdict| verdict.is_none()).count();
        let oldest = verdicts.iter_mut().filter(|verdict| verdict.is_none());
        for verdict in oldest.take(stay.saturating_sub(most)) {
            *verdict = Some(Ousted::Displaced);
        }
        verdicts
    }
}

#[cfg(test)]
mod tests {
    use super::Ousted::{Displaced, Stale};
    use super::*;
    use crate::ids::{DeviceId, Uid};

    /// A registration of alice: `device` on `platform`.
    fn registration((device, platform): (&str, &str)) -> Registration {
        Registration {
            uid: Uid::new("alice").unwrap(),
            device: DeviceId::new(device).unwrap(),
            platform: (!platform.is_empty()).then(|| platform.into()),
            class: None,
            since: 0,
            order: 0,
            has_cursors: false,
            named: false,
            claims: None,
            point: Default::default(),
        }
    }

    fn ousted(policy: Policy, others: &[(&str, &str)], new: (&str, &str)) -> Vec<Option<Ousted>> {
        let others: Vec<_> = others.iter().copied().map(registration).collect();
        policy.apply(&registration(new), others.iter()).to_vec()
    }

    const DEVICES: [(&str, &str); 3] = [("phone", "ios"), ("laptop", "web"), ("old", "")];

    #[test]
    fn a_user_may_have_one_connection() {
        let all = [Some(Displaced); 3];
        assert_eq!(ousted(Policy::Single, &DEVICES, ("new", "")), all);
        let stale = [Some(Displaced), Some(Stale), Some(Displaced)];
        assert_eq!(ousted(Policy::Single, &DEVICES, ("laptop", "web")), stale);
        assert!(ousted(Policy::Single, &[], ("new", "")).is_empty());
    }

    #[test]
    fn a_platform_may_have_one_connection() {
        let policy = Policy::PerPlatform(4);
        assert_eq!(
            ousted(policy, &DEVICES, ("new", "web")),
            [None, Some(Displaced), None]
        );
        assert_eq!(
            ousted(policy, &DEVICES, ("new", "")),
            [None, None, Some(Displaced)]
        );
        assert_eq!(ousted(policy, &DEVICES, ("new", "tv")), [None; 3]);
    }

    #[test]
    fn a_device_is_known_on_every_platform() {
        let verdicts = ousted(Policy::PerPlatform(4), &DEVICES, ("phone", "web"));
        assert_eq!(verdicts, [Some(Stale), Some(Displaced), None]);
    }

    #[test]
    fn the_oldest_of_too_many_are_displaced() {
        for policy in [Policy::Multi(3), Policy::PerPlatform(3)] {
            assert_eq!(
                ousted(policy, &DEVICES, ("new", "tv")),
                [Some(Displaced), None, None]
            );
            assert_eq!(
                ousted(policy, &DEVICES, ("phone", "tv")),
                [Some(Stale), None, None]
            );
        }
        let verdicts = ousted(Policy::Multi(1), &DEVICES, ("laptop", "web"));
        assert_eq!(verdicts, [Some(Displaced), Some(Stale), Some(Displaced)]);
    }
}
