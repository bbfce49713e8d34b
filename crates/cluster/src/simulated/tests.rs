//! The simulated Redis does what the real one does, and its faults happen.

use tokio::time::sleep;

use super::*;
use crate::testing::{entry, uid};
use crate::{Failure, State, To, Why};

const NODES: [Incarnation; 3] = [Incarnation([1; 16]), Incarnation([2; 16]), Incarnation([3; 16])];

/// Three nodes.
fn nodes(redis: &Redis) -> [NodeParts; 3] {
    NODES.map(|incarnation| redis.node(incarnation, Policy::Single))
}

async fn received(inbox: &mut Inbox) -> Vec<(Incarnation, String)> {
    let mut packets = Vec::new();
    // What is in flight arrives within this time.
    sleep(Duration::from_secs(1)).await;
    while tokio::time::timeout(Duration::from_millis(1), inbox.receive(&mut packets, 100))
        .await
        .is_ok()
    {}
    let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
    packets
        .iter()
        .map(|packet| (packet.from, text(&packet.body)))
        .collect()
}

async fn send(node: &NodeParts, to: To, bodies: std::ops::Range<u32>) {
    for body in bodies {
        node.bus.send(to.clone(), body.to_string().into()).unwrap();
    }
    sleep(Duration::from_millis(1)).await;
}

fn expected(from: Incarnation, bodies: std::ops::Range<u32>) -> Vec<(Incarnation, String)> {
    bodies.map(|body| (from, body.to_string())).collect()
}

#[tokio::test(start_paused = true)]
async fn packets_arrive_in_order_without_faults() {
    let faults = Faults {
        delay_ms: (0, 200),
        ..Faults::default()
    };
    let redis = Redis::new(1, faults);
    let [one, mut two, mut three] = nodes(&redis);
    send(&one, To::All, 0..50).await;
    send(&one, To::Node(NODES[1]), 50..60).await;
    send(&one, To::Nodes(Box::new([NODES[2]])), 60..70).await;
    assert_eq!(received(&mut two.inbox).await, expected(NODES[0], 0..60));
    let others = [expected(NODES[0], 0..50), expected(NODES[0], 60..70)];
    assert_eq!(received(&mut three.inbox).await, others.concat());
    assert_eq!((one.bus.counts().published, one.bus.counts().unheard), (120, 0));
}

#[tokio::test(start_paused = true)]
async fn the_bus_loses_repeats_and_disorders_packets() {
    let run = async |faults| {
        let redis = Redis::new(7, faults);
        let [one, mut two, _three] = nodes(&redis);
        send(&one, To::Node(NODES[1]), 0..200).await;
        received(&mut two.inbox).await
    };
    let delay_ms = (0, 200);
    let lost = run(Faults {
        lost: 30,
        delay_ms,
        ..Faults::default()
    })
    .await;
    assert!((100..180).contains(&lost.len()), "{}", lost.len());
    let repeated = run(Faults {
        repeated: 30,
        delay_ms,
        ..Faults::default()
    })
    .await;
    assert!((220..300).contains(&repeated.len()), "{}", repeated.len());
    let overtaking = Faults {
        overtaking: 30,
        delay_ms,
        ..Faults::default()
    };
    let mut disordered = run(overtaking).await;
    assert_ne!(disordered, expected(NODES[0], 0..200));
    // The seed decides.
    assert_eq!(disordered, run(overtaking).await);
    disordered.sort_by_key(|(_, body)| body.parse::<u32>().unwrap());
    assert_eq!(disordered, expected(NODES[0], 0..200));
}

#[tokio::test(start_paused = true)]
async fn a_node_that_is_cut_off_notices_and_returns() {
    let redis = Redis::new(1, Faults::default());
    let [one, mut two, mut three] = nodes(&redis);
    let alice = uid("alice");
    let claim = async |node: &NodeParts, number: usize| {
        let new = entry(NODES[number], &format!("s{number}"), &format!("d{number}"), "");
        node.directory.claim(&alice, &new, &[]).await
    };
    claim(&two, 1).await.unwrap();
    sleep(Duration::from_secs(1)).await;
    assert!(two.bus.healthy_since().is_some());
    redis.cut(NODES[1], true);
    assert_eq!(two.bus.healthy_since(), None);
    assert!(two.bus.send(To::All, "x".into()).is_err());
    assert_eq!(claim(&two, 1).await, Err(Failure::Unavailable));
    send(&one, To::All, 0..3).await;
    assert_eq!(received(&mut three.inbox).await, expected(NODES[0], 0..3));
    let ousted = claim(&one, 0).await.unwrap().ousted;
    assert_eq!((ousted[0].why, ousted[0].entry.node), (Why::Displaced, NODES[1]));
    assert_eq!(
        two.directory.find(std::slice::from_ref(&alice)).await,
        Err(Failure::Unavailable)
    );
    sleep(Duration::from_secs(5)).await;
    assert!(two.bus.silent_for() > SILENCE);
    redis.cut(NODES[1], false);
    let mut interruptions = two.directory.interruptions();
    interruptions.wait_for(|number| *number == 1).await.unwrap();
    assert!(two.bus.healthy_since().is_some());
    assert_eq!(
        two.directory.find(std::slice::from_ref(&alice)).await.unwrap(),
        [[NODES[0]]]
    );
    assert!(received(&mut two.inbox).await.is_empty());
}

#[tokio::test(start_paused = true)]
async fn lost_data_is_noticed_by_every_node() {
    let redis = Redis::new(1, Faults::default());
    let nodes = nodes(&redis);
    let alice = uid("alice");
    for round in 1..=3 {
        let new = entry(NODES[0], "s", "d", "");
        nodes[0].directory.claim(&alice, &new, &[]).await.unwrap();
        assert_eq!(redis.entries(&alice)[0].1.node, NODES[0]);
        match round {
            1 => redis.forget(),
            _ => {
                redis.stop();
                assert!(nodes[0].directory.find(&[]).await.unwrap().is_empty());
                assert!(
                    nodes[0]
                        .directory
                        .find(std::slice::from_ref(&alice))
                        .await
                        .is_err()
                );
                redis.start();
            }
        }
        assert!(redis.entries(&alice).is_empty());
        for node in &nodes {
            let mut interruptions = node.directory.interruptions();
            interruptions.wait_for(|number| *number == round).await.unwrap();
        }
    }
}

/// Commands without an answer may have been executed. What was not released is released later.
#[tokio::test(start_paused = true)]
async fn commands_are_not_always_answered() {
    let faults = Faults {
        unanswered: 50,
        delay_ms: (0, 20),
        ..Faults::default()
    };
    let redis = Redis::new(3, faults);
    let [one, ..] = nodes(&redis);
    let (mut entered, mut lost) = (0, 0);
    for number in 0..40 {
        let name = uid(&format!("user{number}"));
        let new = entry(NODES[0], &format!("s{number}"), "d", "");
        let claimed = one.directory.claim(&name, &new, &[]).await;
        let is_there = !redis.entries(&name).is_empty();
        match claimed {
            Ok(_) => assert!(is_there),
            Err(failure) => {
                assert_eq!(failure, Failure::NoAnswer);
                if is_there { entered += 1 } else { lost += 1 }
            }
        }
        let mut state = one.directory.state();
        state
            .wait_for(|state| matches!(state, State::Connected(_)))
            .await
            .unwrap();
        one.directory.find(&[]).await.unwrap();
    }
    assert!(entered > 3 && lost > 3, "{entered} {lost}");
    redis.set_faults(Faults::default());
    one.directory.refresh(&[], |_| true).await.unwrap();
    let left = (0..40).filter(|number| !redis.entries(&uid(&format!("user{number}"))).is_empty());
    assert_eq!(left.count(), 40 - entered - lost);
}

/// A claim that is repeated after it had no answer is not undone by the release that is owed for the first.
#[tokio::test(start_paused = true)]
async fn a_repeated_claim_remains() {
    let redis = Redis::new(
        1,
        Faults {
            unanswered: 100,
            ..Faults::default()
        },
    );
    let [one, ..] = nodes(&redis);
    let (alice, new) = (uid("alice"), entry(NODES[0], "s", "d", ""));
    assert_eq!(
        one.directory.claim(&alice, &new, &[]).await,
        Err(Failure::NoAnswer)
    );
    redis.set_faults(Faults {
        delay_ms: (100, 100),
        ..Faults::default()
    });
    sleep(Duration::from_secs(1)).await;
    let (claimed, refreshed) = tokio::join!(
        one.directory.claim(&alice, &new, &[]),
        one.directory.refresh(&[], |_| true),
    );
    assert!(claimed.is_ok() && refreshed.is_ok());
    assert_eq!(redis.entries(&alice).len(), 1);
}

#[tokio::test(start_paused = true)]
async fn entries_expire_unless_they_are_refreshed() {
    let redis = Redis::new(1, Faults::default());
    let [one, ..] = nodes(&redis);
    let alice = uid("alice");
    let new = entry(NODES[0], "s", "d", "");
    let order = one.directory.claim(&alice, &new, &[]).await.unwrap().order;
    let held = crate::Held {
        uid: alice.clone(),
        entry: new,
        order,
    };
    for _ in 0..5 {
        sleep(crate::ENTRY_LIFE / 2).await;
        let results = one
            .directory
            .refresh(std::slice::from_ref(&held), |_| true)
            .await
            .unwrap();
        assert_eq!(results, [crate::Refreshed::Kept]);
    }
    sleep(crate::ENTRY_LIFE * 2).await;
    assert_eq!(
        one.directory.find(std::slice::from_ref(&alice)).await.unwrap(),
        [const { vec![] }]
    );
}

#[tokio::test(start_paused = true)]
async fn claims_are_numbered_by_the_clock() {
    let redis = Redis::new(1, Faults::default());
    let [one, ..] = nodes(&redis);
    let claim = async |name: &str| {
        let new = entry(NODES[0], name, "d", "");
        let claimed = one.directory.claim(&uid(name), &new, &[]).await.unwrap();
        claimed.order.0 / 1_000_000
    };
    redis.set_clock(5_000_000);
    assert_eq!(claim("alice").await, 5_000);
    sleep(Duration::from_secs(7)).await;
    assert_eq!(claim("bob").await, 5_007);
    // A later claim of a user has a higher number, also if the clock was set back.
    redis.set_clock(1_000_000);
    assert_eq!(claim("bob").await, 5_007);
    assert_eq!(claim("carol").await, 1_000);
}
