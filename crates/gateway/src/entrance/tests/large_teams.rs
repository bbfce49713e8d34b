//! Changes with many members are made in parts, between which other requests are handled.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use serde_json::{Value, json};

use super::kit::levers;
use crate::ids::{Seq, Uid};
use crate::store::{Message, Page, Span};
use crate::testing::{World, team, uid};

/// Returns users whose names sort by their numbers.
fn users(numbers: std::ops::Range<usize>) -> Vec<Uid> {
    numbers.map(|number| uid(&format!("user-{number:03}"))).collect()
}

/// Returns all messages of the team "t".
async fn history(world: &World) -> Vec<Message> {
    let conv = world.gateway.team(&team("t")).await.unwrap().conv;
    let page = Page {
        most: 500,
        bytes: 1 << 20,
    };
    let history = world.running.store.history(conv, None, Span::After(Seq(0)), page);
    history.await.unwrap().messages
}

/// Returns the users who joined (16) and left (17), in order.
async fn notices(world: &World) -> Vec<(u16, Uid)> {
    let told = history(world).await.into_iter().map(|message| {
        let data: Value = serde_json::from_str(message.data.get()).unwrap();
        (message.kind, uid(data["uid"].as_str().unwrap()))
    });
    told.collect()
}

/// Returns the expected notices of one change: first the users who left, then those who joined, each in
/// order.
fn expected(left: Vec<Uid>, entered: Vec<Uid>) -> Vec<(u16, Uid)> {
    let left = left.into_iter().map(|uid| (17, uid));
    left.chain(entered.into_iter().map(|uid| (16, uid))).collect()
}

#[tokio::test]
async fn a_large_change_sends_its_notices_once() {
    let world = World::new(|_| {});
    let put = |name: &str, members: Vec<Uid>| world.gateway.put_team(team("t"), name.into(), members);
    put("Old", users(0..30)).await.unwrap();
    assert_eq!(notices(&world).await, [], "a new team tells nobody");
    let kept = world.registered("user-025", "k").await;
    for _ in 0..2 {
        let changed = put("New", users(20..60)).await.unwrap();
        assert_eq!(
            (changed.name.as_str(), &*changed.members),
            ("New", &users(20..60))
        );
        assert_eq!(notices(&world).await, expected(users(0..20), users(30..60)));
    }
    let pushed: Vec<_> = kept
        .ear
        .rest()
        .into_iter()
        .map(|said| format!("{said:?}"))
        .collect();
    assert_eq!(pushed.len(), 50, "{pushed:?}");

    let removed = world
        .gateway
        .remove_members(team("t"), users(0..50))
        .await
        .unwrap();
    assert_eq!(*removed.members, users(50..60));
    let added = world.gateway.add_members(team("t"), users(40..80)).await.unwrap();
    assert_eq!(*added.members, users(40..80));
}

#[tokio::test]
async fn a_change_that_makes_a_team_too_large_changes_nothing() {
    let world = World::new(|config| config.limits.members = 40);
    let gateway = &world.gateway;
    gateway
        .put_team(team("t"), "T".into(), users(0..20))
        .await
        .unwrap();
    let put = gateway.put_team(team("t"), "T".into(), users(50..91)).await;
    let add = gateway.add_members(team("t"), users(10..41)).await;
    for refused in [put, add] {
        let why = refused.unwrap_err();
        assert_eq!((why.code.number(), why.error.contains("40 members")), (413, true));
    }
    assert_eq!(notices(&world).await, []);
    gateway.add_members(team("t"), users(10..40)).await.unwrap();
    let missing = gateway.add_members(team("u"), users(0..20)).await.unwrap_err();
    assert_eq!(missing.code.number(), 404);
}

/// Messages of others do not wait for the whole change.
#[tokio::test]
async fn messages_of_others_are_stored_during_a_large_change() {
    let (world, mut stepper) = World::stepped(|_| {});
    let gateway = world.gateway.clone();
    let put = |members| {
        let gateway = gateway.clone();
        tokio::spawn(async move { gateway.put_team(team("t"), "T".into(), members).await })
    };
    let made = put(users(0..40));
    while !made.is_finished() {
        stepper.step(usize::MAX);
        tokio::task::yield_now().await;
    }
    let changed = put(users(40..80));
    let mut transactions = 0;
    while !changed.is_finished() {
        while stepper.depth() == 0 && !changed.is_finished() {
            tokio::task::yield_now().await;
        }
        transactions += usize::from(stepper.depth() > 0);
        stepper.step(1);
        tokio::task::yield_now().await;
    }
    assert_eq!(*changed.await.unwrap().unwrap().members, users(40..80));
    assert!(transactions >= 10, "{transactions} transactions for 80 members");
}

/// If the store fails in the middle, the same call completes the change, and no notice is sent twice.
#[tokio::test]
async fn an_interrupted_change_is_completed_by_the_same_call() {
    let (world, levers) = levers(|_| {});
    let gateway = world.gateway.clone();
    gateway
        .put_team(team("t"), "T".into(), users(0..40))
        .await
        .unwrap();
    let mut watches = world.registered("user-000", "w").await;
    let put = tokio::spawn(async move { gateway.put_team(team("t"), "T".into(), users(40..80)).await });
    // The first kind 17 that it receives is about itself.
    assert_eq!(watches.ear.frame().await["type"], 17);
    levers.full.store(true, Ordering::Relaxed);
    let interrupted = put.await.unwrap();
    levers.full.store(false, Ordering::Relaxed);
    if interrupted.is_err() {
        assert!(notices(&world).await.len() < 80);
    }
    let again = world.gateway.put_team(team("t"), "T".into(), users(40..80)).await;
    assert_eq!(*again.unwrap().members, users(40..80));
    assert_eq!(notices(&world).await, expected(users(0..40), users(40..80)));
    assert_eq!(watches.ask(&json!({"type": 110})).await["code"], 0);
}

#[tokio::test]
async fn a_change_completes_without_its_caller_and_changes_do_not_mix() {
    let world = World::new(|_| {});
    let gateway = world.gateway.clone();
    gateway
        .put_team(team("t"), "T".into(), users(0..40))
        .await
        .unwrap();
    let put = |members: Vec<Uid>| {
        let gateway = gateway.clone();
        tokio::spawn(async move { gateway.put_team(team("t"), "T".into(), members).await })
    };
    let given_up = put(users(40..80));
    tokio::task::yield_now().await;
    given_up.abort();
    let (one, other) = (put(users(20..60)), put(users(60..90)));
    one.await.unwrap().unwrap();
    other.await.unwrap().unwrap();
    let members: BTreeSet<_> = world
        .gateway
        .team(&team("t"))
        .await
        .unwrap()
        .members
        .iter()
        .cloned()
        .collect();
    let (one, other) = (users(20..60), users(60..90));
    assert!(
        members == one.into_iter().collect() || members == other.into_iter().collect(),
        "{members:?}"
    );
}

#[tokio::test]
async fn members_of_a_large_deleted_team_get_only_their_own_notice() {
    let world = World::new(|_| {});
    world
        .gateway
        .put_team(team("t"), "T".into(), users(0..40))
        .await
        .unwrap();
    let mut members = Vec::new();
    for uid in ["user-000", "user-025", "user-039"] {
        members.push((uid, world.registered(uid, uid).await));
    }
    world.gateway.delete_team(team("t")).await.unwrap();
    for (uid, member) in members {
        let frame = member.ear.frame().await;
        assert_eq!((&frame["type"], &frame["data"]["uid"]), (&json!(17), &json!(uid)));
        assert_eq!(member.ear.rest(), [], "{uid}");
    }
    let gone = world.gateway.team(&team("t")).await.unwrap_err();
    assert_eq!(gone.code.number(), 404);
}
