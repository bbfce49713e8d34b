//! Tests which users are notified, and which are not any more.

use super::*;
use crate::store::{JobQuery, JobRecipients, Lane};

/// Connects a client that acknowledges, and that has the conversation with alice up to message 1.
async fn enter_acknowledging(kit: &Kit, posted: &mut Inbox) -> (crate::testing::Device, Value) {
    let alice = SendOrder {
        from: Some(uid("alice")),
        ..order(3, To::User(uid("bob")))
    };
    let mut bob = kit.world.registered("bob", "b").await;
    kit.world.gateway.send(alice).await.unwrap();
    let pushed = bob.ear.frame().await;
    let ack = json!({"type": 103, "data": {"conv": pushed["conv"], "seq": 1}});
    assert_eq!(bob.ask(&ack).await["code"], 0);
    assert!(posted.is_empty());
    (bob, pushed)
}

#[tokio::test]
async fn a_connected_user_who_does_not_acknowledge_is_notified() {
    let (url, mut posted) = webhook(|_| Answer::Status(200)).await;
    let kit = kit(&url, |config| config.push.ack_wait_ms = 300);
    let (mut bob, pushed) = enter_acknowledging(&kit, &mut posted).await;
    let gateway = &kit.world.gateway;
    gateway.send(from_alice(3)).await.unwrap();
    let ack = json!({"type": 103, "data": {"conv": pushed["conv"], "seq": 2}});
    assert_eq!(bob.ask(&ack).await["code"], 0);
    gateway.send(order(5, To::User(uid("bob")))).await.unwrap();
    let told = posted.next().await.json();
    assert_eq!(told["kind"], 5, "the other one was acknowledged: {told}");
    assert!(posted.is_empty());
}

#[tokio::test]
async fn with_a_wait_of_zero_no_acknowledgement_is_waited_for() {
    let (url, mut posted) = webhook(|_| Answer::Status(200)).await;
    let kit = kit(&url, |config| config.push.ack_wait_ms = 0);
    let (_bob, _) = enter_acknowledging(&kit, &mut posted).await;
    let gateway = &kit.world.gateway;
    gateway.send(from_alice(3)).await.unwrap();
    gateway.send(order(5, To::User(uid("carol")))).await.unwrap();
    assert_eq!(posted.next().await.uid(), "carol");
    assert!(posted.is_empty());
}

/// Returns the notifications for a message to a client that never acknowledges and whose connection ends.
async fn ends(reason: DisconnectReason, silent_ms: u64) -> Vec<String> {
    let (url, mut posted) = webhook(|_| Answer::Status(200)).await;
    let kit = kit(&url, |config| {
        config.push.delay_ms = 0;
    });
    let gateway = &kit.world.gateway;
    let bob = kit.world.registered("bob", "b").await;
    let team = TeamId::new("t").unwrap();
    let members = vec![uid("alice"), uid("bob")];
    gateway.put_team(team.clone(), "T".into(), members).await.unwrap();
    bob.ear.silent_ms.store(silent_ms, Ordering::Relaxed);
    gateway.send(from_alice(3)).await.unwrap();
    let order = SendOrder {
        from: Some(uid("alice")),
        ..order(15, To::Team(team))
    };
    gateway.send(order).await.unwrap();
    // Both messages have been decided about once.
    while kit.metrics.push_skipped.get() < 2 {
        tokio::task::yield_now().await;
    }
    assert!(posted.is_empty(), "it counts as having received them");
    bob.end(reason);
    gateway
        .send(super::order(5, To::User(uid("carol"))))
        .await
        .unwrap();
    let mut told = vec![posted.next().await];
    if reason != DisconnectReason::Client && silent_ms > 0 {
        told.push(posted.next().await);
        told.push(posted.next().await);
    }
    assert!(posted.is_empty());
    let mut told: Vec<_> = told
        .iter()
        .map(|posted| format!("{} {}", posted.uid(), posted.json()["kind"]))
        .collect();
    told.sort();
    told
}

#[tokio::test]
async fn a_dead_connection_without_acknowledgements_leads_to_a_notification() {
    let vanished = DisconnectReason::Session(CloseReason::PingTimeout);
    assert_eq!(ends(vanished, 60_000).await, ["bob 15", "bob 3", "carol 5"]);
    let slow = DisconnectReason::Session(CloseReason::SlowReader);
    assert_eq!(ends(slow, 60_000).await, ["bob 15", "bob 3", "carol 5"]);
    assert_eq!(
        ends(DisconnectReason::Client, 60_000).await,
        ["carol 5"],
        "it has closed"
    );
}

#[tokio::test]
async fn a_user_who_reconnects_is_not_notified_of_received_messages() {
    let (url, mut posted) = webhook(|_| Answer::Status(200)).await;
    let kit = kit(&url, |config| {
        config.push.delay_ms = 200;
        config.push.ack_wait_ms = 400;
    });
    let gateway = &kit.world.gateway;
    let bob = kit.world.registered("bob", "b").await;
    gateway.send(from_alice(3)).await.unwrap();
    bob.close();
    let _bob = kit.world.registered("bob", "b").await;
    gateway.send(order(5, To::User(uid("carol")))).await.unwrap();
    assert_eq!(posted.next().await.uid(), "carol");
    while kit.metrics.push_skipped.get() == 0 && posted.is_empty() {
        tokio::task::yield_now().await;
    }
    assert!(posted.is_empty());
    assert_eq!(kit.metrics.push_skipped.get(), 1);
}

#[tokio::test]
async fn messages_received_before_a_shutdown_are_not_notified_by_the_next_run() {
    let (url, mut posted) = webhook(|_| Answer::Status(200)).await;
    let kit = kit(&url, |config| config.push.delay_ms = 600_000);
    let gateway = &kit.world.gateway;
    let bob = kit.world.registered("bob", "b").await;
    let team = TeamId::new("t").unwrap();
    let members = ["alice", "bob", "carol"].map(uid).to_vec();
    gateway.put_team(team.clone(), "T".into(), members).await.unwrap();
    gateway.send(from_alice(3)).await.unwrap();
    let to_team = SendOrder {
        from: Some(uid("alice")),
        ..order(15, To::Team(team))
    };
    gateway.send(to_team).await.unwrap();
    bob.close();
    gateway.settle_push().await;
    let store = &kit.world.running.store;
    let left = loop {
        let query = JobQuery {
            within_ms: u64::MAX,
            ..JobQuery::due(Lane::Normal, 10)
        };
        let waiting = store.claim_jobs(query, 0);
        let left = waiting.await.unwrap().jobs;
        if left.len() == 1 {
            break left;
        }
        tokio::task::yield_now().await;
    };
    assert!(matches!(&left[0].to, JobRecipients::User(uid) if uid.as_str() == "carol"));
    assert!(posted.is_empty());
}

#[tokio::test]
async fn a_recalled_message_is_not_notified() {
    let (url, mut posted) = webhook(|_| Answer::Status(200)).await;
    let kit = kit(&url, |config| config.push.delay_ms = 200);
    let mut alice = kit.world.registered("alice", "a").await;
    let message = json!({"type": 3, "to": {"user": "bob"}, "data": {"text": "salaries"}});
    let sent = alice.message(message.clone()).await;
    let recalled = json!({"type": 108, "data": {"mid": sent["mid"]}});
    assert_eq!(alice.ask(&recalled).await["code"], 0);
    let other = alice.message(message).await;
    assert_eq!(posted.next().await.json()["mid"], other["mid"]);
    assert!(posted.is_empty());
}

/// Each job is checked again before its attempt, because those that wait for a slot have waited since the
/// decision.
#[tokio::test]
async fn members_who_leave_or_get_the_message_meanwhile_are_not_notified() {
    let first = Arc::new(AtomicBool::new(true));
    let (url, mut posted) = {
        let first = first.clone();
        webhook(move |_| {
            if first.swap(false, Ordering::Relaxed) {
                Answer::Never
            } else {
                Answer::Status(200)
            }
        })
        .await
    };
    let kit = kit(&url, |config| {
        config.push.concurrency = 1;
        config.push.webhook.timeout_ms = 500;
    });
    let gateway = &kit.world.gateway;
    let team = TeamId::new("t").unwrap();
    let members = ["alice", "a1", "b2", "c3"].map(uid).to_vec();
    gateway.put_team(team.clone(), "T".into(), members).await.unwrap();
    let order = SendOrder {
        from: Some(uid("alice")),
        ..order(15, To::Team(team.clone()))
    };
    gateway.send(order).await.unwrap();
    // The notification of a1 hangs in the only slot; b2 and c3 wait for the slot.
    assert_eq!(posted.next().await.uid(), "a1");
    gateway
        .remove_members(team.clone(), vec![uid("b2")])
        .await
        .unwrap();
    let mut c3 = kit.world.connect("c");
    let registered = json!({"uid": "c3", "deviceid": "c"});
    c3.register(registered).await;
    let convs = c3.ask(&json!({"type": 110, "data": {}})).await;
    let conv = &convs["conversations"][0]["conv"];
    let read = json!({"type": 106, "data": {"conv": conv, "seq": 1}});
    assert_eq!(c3.ask(&read).await["code"], 0);
    gateway.send(super::order(5, To::User(uid("zoe")))).await.unwrap();
    let mut told = vec![posted.next().await.uid(), posted.next().await.uid()];
    told.sort();
    assert_eq!(told, ["a1", "zoe"]);
    assert!(posted.is_empty());
}

#[tokio::test]
async fn a_user_who_reconnects_before_the_first_attempt_is_not_notified() {
    let (url, mut posted) = webhook(|_| Answer::Status(200)).await;
    let kit = kit(&url, |config| config.push.delay_ms = 300);
    let resumes = json!({"uid": "bob", "deviceid": "b", "resume": true});
    let mut bob = kit.world.connect("one");
    bob.register(resumes.clone()).await;
    bob.close();
    let gateway = &kit.world.gateway;
    gateway.send(from_alice(3)).await.unwrap();
    let mut bob = kit.world.connect("two");
    bob.register(resumes).await;
    gateway.send(order(5, To::User(uid("carol")))).await.unwrap();
    assert_eq!(posted.next().await.uid(), "carol");
    while kit.metrics.push_skipped.get() == 0 {
        tokio::task::yield_now().await;
    }
    assert!(posted.is_empty());
}
