//! Tests that a large team does not delay the other conversations of its task.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::value::RawValue;

use super::fanout::SLICE;
use super::{Committed, Delivery, Fanout, Outcome};
use crate::directory::{Policy, Registry};
use crate::ids::{ConvId, Mid, Seq, TeamId, Uid};
use crate::reject::Reject;
use crate::store::{Append, Appended, Members, Place};

/// The answers, in order.
type Told = Arc<Mutex<Vec<String>>>;

/// A conversation with this name. All of them belong to the same task.
fn conv(name: u8) -> ConvId {
    let mut conv = [7; 16];
    conv[0] = name;
    ConvId(conv)
}

/// A delivery without connections.
fn delivery() -> Delivery {
    let fanout = Fanout {
        registry: Arc::new(Registry::new(1, Policy::Single, false)),
        metrics: Arc::default(),
        wake: Arc::default(),
    };
    Delivery::start(fanout, 64, None)
}

fn members(count: usize) -> Members {
    Arc::new(
        (0..count)
            .map(|number| Uid::new(&format!("member-{number:06}")).unwrap())
            .collect(),
    )
}

async fn message(
    delivery: &Delivery,
    told: &Told,
    name: &str,
    place: (ConvId, u64),
    members: Option<Members>,
) {
    let (told, name) = (told.clone(), name.to_owned());
    let committed = Committed {
        message: Arc::new(Append {
            place: match &members {
                Some(_) => Place::Team(TeamId::new("team").unwrap()),
                None => Place::Notices(Uid::new("bob").unwrap()),
            },
            kind: 15,
            counts: false,
            from: None,
            device: None,
            members_only: false,
            cid: None,
            only_repeat: false,
            new_pairs_per_hour: 0,
            data: RawValue::from_string("{}".to_owned()).unwrap().into(),
            push: None,
        }),
        appended: Appended {
            conv: place.0,
            seq: Seq(place.1),
            mid: Mid(uuid::Uuid::nil()),
            ts: 1,
            duplicate: false,
            members,
            push: None,
            numbers: None,
        },
        except: None,
        counts: false,
    };
    let answer = Box::new(move |outcome: Result<Outcome, Reject>| {
        let outcome = outcome.unwrap();
        told.lock()
            .push(format!("{name} {}", outcome.online + outcome.offline));
    });
    delivery.message(committed, answer);
}

async fn all(told: &Told, count: usize) -> Vec<String> {
    while told.lock().len() < count {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    told.lock().clone()
}

#[tokio::test]
async fn others_are_delivered_between_the_slices_of_a_large_team() {
    let delivery = delivery();
    let told = Told::default();
    let large = members(20 * SLICE);
    for seq in 1..=3 {
        message(
            &delivery,
            &told,
            &format!("team {seq}"),
            (conv(1), seq),
            Some(large.clone()),
        )
        .await;
    }
    for seq in 1..=2 {
        message(&delivery, &told, &format!("pair {seq}"), (conv(2), seq), None).await;
    }
    let small = Some(members(2 * SLICE));
    message(&delivery, &told, "small team", (conv(3), 1), small).await;
    let order = all(&told, 6).await;
    let large = |seq: u64| format!("team {seq} {}", 20 * SLICE);
    let expected = [
        "pair 1 1".to_owned(),
        "pair 2 1".to_owned(),
        format!("small team {}", 2 * SLICE),
        large(1),
        large(2),
        large(3),
    ];
    assert_eq!(order, expected);
}

#[tokio::test]
async fn a_conversation_keeps_its_order_however_large_its_messages_are() {
    let delivery = delivery();
    let told = Told::default();
    let mut expected = Vec::new();
    for seq in 1..=12 {
        let count = if seq % 3 == 0 { 3 * SLICE } else { 5 };
        message(
            &delivery,
            &told,
            &format!("team {seq}"),
            (conv(1), seq),
            Some(members(count)),
        )
        .await;
        expected.push(format!("team {seq} {count}"));
    }
    assert_eq!(all(&told, 12).await, expected);
}
