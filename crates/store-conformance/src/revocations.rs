//! Revocations are kept, extended, and forgotten.

use std::collections::HashSet;

use mynah_store::{MOST_DISPLACED, Revocation, Revoked};

use crate::kit::{Kit, NOON, Stores, device, uid};

fn of(what: Revoked, issued_until: u64, forget_at: u64) -> Revocation {
    Revocation {
        what,
        issued_until,
        forget_at,
        displaced: None,
    }
}

/// Returns the revocations of a store that is opened now.
async fn all(kit: &mut Kit) -> HashSet<Revocation> {
    kit.reopen().await;
    let all = kit.revocations().into_iter().collect();
    assert_eq!(kit.revocations(), [], "they are told to the first watcher");
    all
}

pub async fn revocations_survive_a_restart(stores: &dyn Stores) {
    let mut kit = Kit::new(stores);
    let revocations = HashSet::from([
        of(Revoked::User(uid("alice")), NOON, u64::MAX >> 1),
        of(Revoked::Device(device("alice", "phone")), NOON - 1, NOON + 1),
        of(Revoked::Token("alice".into()), 0, NOON + 5),
    ]);
    for revocation in &revocations {
        kit.revoke(revocation.clone()).await.unwrap();
    }
    assert_eq!(all(&mut kit).await, revocations);
}

pub async fn a_repeated_revocation_only_extends_the_first(stores: &dyn Stores) {
    let mut kit = Kit::new(stores);
    let alice = || Revoked::User(uid("alice"));
    kit.revoke(of(alice(), NOON, NOON + 10)).await.unwrap();
    kit.revoke(of(alice(), NOON - 5, NOON + 20)).await.unwrap();
    assert_eq!(all(&mut kit).await, HashSet::from([of(alice(), NOON, NOON + 20)]));
    kit.revoke(of(alice(), NOON + 1, NOON + 2)).await.unwrap();
    assert_eq!(
        all(&mut kit).await,
        HashSet::from([of(alice(), NOON + 1, NOON + 20)])
    );
}

pub async fn revocations_are_forgotten_when_no_token_is_valid(stores: &dyn Stores) {
    let mut kit = Kit::new(stores);
    kit.revoke(of(Revoked::Token("a".into()), NOON, NOON + 1))
        .await
        .unwrap();
    kit.revoke(of(Revoked::Token("b".into()), NOON, NOON + 2))
        .await
        .unwrap();
    kit.set_clock(NOON + 1);
    assert_eq!(all(&mut kit).await.len(), 1);
    kit.revoke(of(Revoked::Token("c".into()), NOON, NOON + 3))
        .await
        .unwrap();
    let left = all(&mut kit).await.into_iter().map(|revocation| revocation.what);
    let expected = ["b", "c"].map(|token| Revoked::Token(token.into()));
    assert_eq!(left.collect::<HashSet<_>>(), HashSet::from(expected));
}

/// A token that is valid for one day does not become valid again because the clock was two days ahead for a
/// moment.
pub async fn a_jump_of_the_clock_forgets_no_revocation(stores: &dyn Stores) {
    let day = 86_400_000;
    let mut kit = Kit::new(stores);
    let stolen = of(Revoked::Token("stolen".into()), NOON, NOON + day);
    let other = |name: &str| of(Revoked::Token(name.into()), NOON, NOON + 9 * day);
    kit.revoke(stolen.clone()).await.unwrap();
    kit.jump(NOON + 2 * day);
    kit.revoke(other("while it is wrong")).await.unwrap();
    assert!(all(&mut kit).await.contains(&stolen), "not at a start either");
    kit.revoke(other("after the start")).await.unwrap();
    kit.jump(NOON);
    assert!(all(&mut kit).await.contains(&stolen));
    kit.set_clock(NOON + day);
    kit.revoke(other("when it is over")).await.unwrap();
    assert!(!all(&mut kit).await.contains(&stolen));
}

pub async fn revocations_of_displaced_devices_are_limited_per_user_and_others_stay(stores: &dyn Stores) {
    let mut kit = Kit::new(stores);
    let displaced = |n: u64| Revocation {
        displaced: Some(uid("alice")),
        ..of(
            Revoked::Token(format!("token {n}").into()),
            NOON,
            NOON + 1_000 + n,
        )
    };
    let asked = of(Revoked::Token("token 0".into()), NOON, NOON + 1);
    kit.revoke(displaced(0)).await.unwrap();
    kit.revoke(asked).await.unwrap();
    kit.revoke(displaced(0)).await.unwrap();
    let most = MOST_DISPLACED as u64;
    for n in 1..=most + 2 {
        kit.revoke(displaced(n)).await.unwrap();
    }
    let left = all(&mut kit).await;
    let asked = of(Revoked::Token("token 0".into()), NOON, NOON + 1_000);
    assert!(
        left.contains(&asked),
        "it is the operator's since it was asked for"
    );
    let kept: HashSet<_> = (3..=most + 2).map(displaced).chain([asked]).collect();
    assert_eq!(left, kept);
}
