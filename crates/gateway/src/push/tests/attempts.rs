//! Tests the attempts to send notifications: retries, slots, and their order.

use super::*;

#[tokio::test]
async fn offline_users_are_notified_and_connected_users_are_not() {
    let (url, mut posted) = webhook(|_| Answer::Status(204)).await;
    let kit = kit(&url, |config| {
        config.push.webhook.secret = Some(Secret::new("s3cret"))
    });
    let mut alice = kit.world.registered("alice", "a").await;
    kit.world
        .gateway
        .send(order(5, To::User(uid("alice"))))
        .await
        .unwrap();
    alice
        .message(json!({"type": 19, "to": {"user": "bob"}, "data": {}}))
        .await;
    let sent = alice
        .message(
            json!({"type": 3, "to": {"user": "bob"}, "cid": "c", "data": {"n": 9_007_199_254_740_993_i64}}),
        )
        .await;
    alice
        .message(json!({"type": 3, "to": {"user": "bob"}, "cid": "c", "data": {}}))
        .await;
    alice
        .message(json!({"type": 3, "to": {"user": "alice"}, "data": {}}))
        .await;

    let first = posted.next().await;
    let expected = json!({
        "uid": "bob", "kind": 3, "mid": sent["mid"], "conv": sent["conv"], "seq": 2, "from": "alice",
        "unread": 1, "data": {"n": 9_007_199_254_740_993_i64}, "ts": sent["ts"],
    });
    assert_eq!(first.json(), expected);
    let signature = first.signature.as_ref().unwrap();
    let (time, hex) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    assert_eq!(hex.len(), 64);
    assert!(time.parse::<u64>().unwrap() > 1_700_000_000);
    alice
        .message(json!({"type": 18, "to": {"user": "cat"}, "data": {}}))
        .await;
    let second = posted.next().await;
    assert_eq!((second.uid(), &second.json()["kind"]), ("cat".into(), &json!(18)));
    assert!(posted.is_empty(), "one for each message that wants it");
}

#[tokio::test]
async fn the_backend_can_override_push_for_one_message() {
    let (url, mut posted) = webhook(|_| Answer::Status(200)).await;
    let kit = kit(&url, |_| {});
    let with = |kind, push| SendOrder {
        push: Some(push),
        ..order(kind, To::User(uid("bob")))
    };
    kit.world.gateway.send(with(5, false)).await.unwrap();
    kit.world.gateway.send(with(19, true)).await.unwrap();
    let only = posted.next().await;
    assert_eq!(
        (&only.json()["kind"], &only.json()["from"]),
        (&json!(19), &json!("system"))
    );
    assert_eq!(only.signature, None);
    assert!(posted.is_empty());
}

#[tokio::test]
async fn the_offline_members_of_a_team_are_notified_without_the_sender() {
    let (url, mut posted) = webhook(|_| Answer::Status(200)).await;
    let kit = kit(&url, |_| {});
    let gateway = &kit.world.gateway;
    let team = TeamId::new("t").unwrap();
    // These members need more than one page.
    let members: Vec<_> = (0..1_203).map(|index| uid(&format!("u{index:04}"))).collect();
    gateway.put_team(team.clone(), "T".into(), members).await.unwrap();
    let mut sender = kit.world.registered("u0600", "s").await;
    let _there = kit.world.registered("u0007", "t").await;
    sender
        .message(json!({"type": 15, "to": {"team": "t"}, "data": {}}))
        .await;
    let mut notified = std::collections::BTreeSet::new();
    for _ in 0..1_201 {
        assert!(notified.insert(posted.next().await.uid()));
    }
    assert!(!notified.contains("u0600") && !notified.contains("u0007"));
}

#[tokio::test]
async fn a_failed_notification_is_retried_until_it_is_accepted() {
    let tries = Mutex::new(0);
    let (url, mut posted) = webhook(move |_| {
        *tries.lock() += 1;
        Answer::Status(if *tries.lock() < 4 { 500 } else { 200 })
    })
    .await;
    let kit = kit(&url, |_| {});
    kit.world
        .gateway
        .send(order(5, To::User(uid("bob"))))
        .await
        .unwrap();
    let first = posted.next().await;
    for _ in 1..4 {
        let again = posted.next().await;
        assert_eq!(again.body, first.body);
    }
    assert_eq!(kit.metrics.push_failed.get(), 3);
}

#[tokio::test]
async fn a_hanging_webhook_times_out_and_delays_nobody() {
    let (url, mut posted) = webhook(|posted| match posted.uid().as_str() {
        "stuck" => Answer::Never,
        _ => Answer::Status(200),
    })
    .await;
    let kit = kit(&url, |config| {
        config.push.webhook.timeout_ms = 50;
        config.push.concurrency = 2;
    });
    kit.world
        .gateway
        .send(order(5, To::User(uid("stuck"))))
        .await
        .unwrap();
    assert_eq!(posted.next().await.uid(), "stuck");
    for index in 0..20 {
        let name = format!("u{index}");
        kit.world
            .gateway
            .send(order(5, To::User(uid(&name))))
            .await
            .unwrap();
    }
    let mut others = std::collections::BTreeSet::new();
    let mut stuck = 1;
    while others.len() < 20 || stuck < 3 {
        match posted.next().await.uid() {
            name if name == "stuck" => stuck += 1,
            name => assert!(others.insert(name)),
        }
    }
}

#[tokio::test]
async fn an_expired_notification_is_given_up_and_counted() {
    let (url, mut posted) = webhook(|_| Answer::Status(500)).await;
    let kit = kit(&url, |_| {});
    let late = SendOrder {
        ttl_ms: Some(1),
        ..order(5, To::User(uid("bob")))
    };
    kit.world.gateway.send(late).await.unwrap();
    while kit.metrics.push_dead.get() == 0 {
        tokio::task::yield_now().await;
    }
    // Whether one attempt began in time depends on the machine; there was no second one.
    let _ = posted.is_empty();
    assert!(posted.is_empty());
}

/// The row is deleted later; the notification is not repeated for it.
#[tokio::test]
async fn a_full_disk_repeats_no_notification() {
    let full = Arc::new(Mutex::new(None));
    let flag: Arc<Mutex<Option<Arc<AtomicBool>>>> = full.clone();
    let (url, mut posted) = webhook(move |_| {
        // The disk is full before the outcome can be written.
        if let Some(full) = &*flag.lock() {
            full.store(true, Ordering::Relaxed);
        }
        Answer::Status(200)
    })
    .await;
    let kit = kit_on(
        &url,
        |_| {},
        |store| {
            let store = Troubled::new(store);
            *full.lock() = Some(store.full.clone());
            Arc::new(store)
        },
    );
    kit.world
        .gateway
        .send(order(5, To::User(uid("bob"))))
        .await
        .unwrap();
    posted.next().await;
    let lever = full.lock().take().unwrap();
    lever.store(false, Ordering::Relaxed);
    // The next message is notified once, and the first is not notified again.
    kit.world
        .gateway
        .send(order(6, To::User(uid("bob"))))
        .await
        .unwrap();
    assert_eq!(posted.next().await.json()["kind"], 6);
    while kit.metrics.push_pending.get() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(posted.is_empty());
}

#[tokio::test]
async fn a_call_is_notified_at_once_and_not_after_its_end() {
    let (url, mut posted) = webhook(|posted| match posted.json()["kind"].as_u64() {
        Some(18) => Answer::Status(200),
        _ => Answer::Never,
    })
    .await;
    let kit = kit(&url, |config| {
        config.push.concurrency = 8;
        config.push.delay_ms = 100;
        config.push.webhook.timeout_ms = 60_000;
    });
    let gateway = &kit.world.gateway;
    let everybody = (0..50).map(|index| uid(&format!("u{index}"))).collect();
    gateway.send(order(6, To::Users(everybody))).await.unwrap();
    for _ in 0..7 {
        assert_eq!(posted.next().await.json()["kind"], 6);
    }
    // All notifications hang, also those for users who are called.
    gateway.send(from_alice(18)).await.unwrap();
    let told = posted.next().await.json();
    assert_eq!((&told["kind"], &told["uid"]), (&json!(18), &json!("bob")));
    assert!(posted.is_empty(), "the places of urgent notifications are theirs");
    assert!(
        kit.world
            .gateway
            .send(order(6, To::User(uid("bob"))))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn the_backlog_of_one_user_delays_nobody() {
    let (url, mut posted) = webhook(|posted| match posted.uid().as_str() {
        "greedy" => Answer::Never,
        _ => Answer::Status(200),
    })
    .await;
    let kit = kit(&url, |config| {
        config.push.concurrency = 4;
        config.push.webhook.timeout_ms = 60_000;
    });
    let gateway = &kit.world.gateway;
    for _ in 0..300 {
        gateway.send(order(5, To::User(uid("greedy")))).await.unwrap();
    }
    assert_eq!(posted.next().await.uid(), "greedy");
    gateway.send(order(5, To::User(uid("other")))).await.unwrap();
    assert_eq!(posted.next().await.uid(), "other");
    assert!(posted.is_empty(), "a user has one in flight");
    while kit.metrics.push_pending.get() != 300 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_backlog_is_sent_in_order() {
    let (url, mut posted) = webhook(|_| Answer::Status(200)).await;
    let kit = kit(&url, |_| {});
    let gateway = &kit.world.gateway;
    for _ in 0..200 {
        gateway.send(order(5, To::User(uid("greedy")))).await.unwrap();
    }
    for seq in 1..=200 {
        assert_eq!(posted.next().await.json()["seq"], seq);
    }
    while kit.metrics.push_pending.get() > 0 {
        tokio::time::sleep(std::time::Duration::from_millis(20)).await;
    }
    assert!(posted.is_empty());
}

#[tokio::test]
async fn a_retry_waits_for_retry_after_and_has_the_current_unread_count() {
    let first = AtomicBool::new(true);
    let (url, mut posted) = webhook(move |_| {
        if first.swap(false, Ordering::Relaxed) {
            Answer::After("1")
        } else {
            Answer::Status(200)
        }
    })
    .await;
    let kit = kit(&url, |_| {});
    let gateway = &kit.world.gateway;
    gateway.send(order(5, To::User(uid("bob")))).await.unwrap();
    let refused = posted.next().await.json();
    let begun = std::time::Instant::now();
    gateway.send(order(6, To::User(uid("bob")))).await.unwrap();
    assert_eq!(
        (
            refused["unread"].clone(),
            posted.next().await.json()["unread"].clone()
        ),
        (json!(1), json!(2))
    );
    let again = posted.next().await.json();
    assert_eq!((&again["mid"], &again["unread"]), (&refused["mid"], &json!(2)));
    assert!(
        begun.elapsed() >= std::time::Duration::from_millis(900),
        "longer than its own waits"
    );
}

#[tokio::test]
async fn a_final_answer_ends_the_attempts() {
    let (url, mut posted) = webhook(|posted| match posted.uid().as_str() {
        "gone" => Answer::Status(410),
        _ => Answer::Status(200),
    })
    .await;
    let kit = kit(&url, |_| {});
    let gateway = &kit.world.gateway;
    gateway.send(order(5, To::User(uid("gone")))).await.unwrap();
    assert_eq!(posted.next().await.uid(), "gone");
    while kit.metrics.push_dead.get() == 0 {
        tokio::task::yield_now().await;
    }
    gateway.send(order(5, To::User(uid("bob")))).await.unwrap();
    assert_eq!(posted.next().await.uid(), "bob");
    assert!(posted.is_empty());
}
