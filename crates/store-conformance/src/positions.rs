//! Devices, acknowledgements and read positions: cases that random steps seldom reach.

use std::sync::Arc;

use mynah_store::ids::{ConvId, Seq};
use mynah_store::{Append, Device, DeviceRegister, StoreError, TeamChange};

use crate::kit::{Kit, Stores, answer, device, notice, page, pair, to_team, uid};

async fn cursors(kit: &Kit, by: &Device) -> Vec<u64> {
    let page = kit
        .store()
        .conversations(by.uid.clone(), Some(by.device.clone()), None, page(500));
    let lines = page.await.unwrap().conversations;
    lines.iter().map(|line| line.cursor.0).collect()
}

pub async fn a_cursor_only_moves_forward_and_not_beyond_the_head(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let (phone, other) = (device("b", "phone"), device("a", "phone"));
    kit.register_device(&phone).await;
    kit.register_device(&other).await;
    let sent = kit.append_all(vec![pair("a", "b"); 5]).await;
    let conv = sent[0].as_ref().unwrap().conv;
    for (seq, cursor) in [(0, 0), (3, 3), (2, 3), (u64::MAX, 5), (1, 5)] {
        kit.ack(&phone, conv, seq).await.unwrap();
        assert_eq!(cursors(&kit, &phone).await, [cursor], "after {seq}");
    }
    assert_eq!(
        cursors(&kit, &other).await,
        [0],
        "another user's of the same name"
    );
    assert_eq!(
        cursors(&kit, &device("b", "pad")).await,
        [5],
        "a stranger misses nothing"
    );
    kit.ack(&device("b", "pad"), conv, 2).await.unwrap();
    assert_eq!(
        cursors(&kit, &device("b", "pad")).await,
        [5],
        "and is told nothing new"
    );
}

pub async fn strangers_and_closed_conversations_are_refused(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    kit.team("t", &["a", "b"]).await;
    let conv = kit.append(to_team("a", "t")).await.unwrap().conv;
    let by = device("c", "x");
    assert!(matches!(
        kit.ack(&by, conv, 1).await,
        Err(StoreError::Forbidden(_))
    ));
    assert!(matches!(
        kit.read(&by, conv, 1).await,
        Err(StoreError::Forbidden(_))
    ));
    kit.change("t", TeamChange::Remove(vec![uid("b")])).await.unwrap();
    let by = device("b", "x");
    assert!(matches!(
        kit.ack(&by, conv, 1).await,
        Err(StoreError::Forbidden(_))
    ));
    kit.change("t", TeamChange::Delete).await.unwrap();
    let by = device("a", "x");
    for conv in [conv, ConvId([7; 16])] {
        assert!(matches!(
            kit.ack(&by, conv, 1).await,
            Err(StoreError::Forbidden(_))
        ));
        assert!(matches!(
            kit.read(&by, conv, 1).await,
            Err(StoreError::Forbidden(_))
        ));
    }
}

pub async fn a_read_position_only_moves_forward_and_not_beyond_the_head(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let by = device("b", "x");
    kit.register_device(&by).await;
    let conv = kit
        .append_all(vec![pair("a", "b"); 5])
        .await
        .remove(0)
        .unwrap()
        .conv;
    for (seq, mark, unread) in [
        (0, (0, false), 5),
        (2, (2, true), 3),
        (1, (2, false), 3),
        (9, (5, true), 0),
    ] {
        let told = kit.read(&by, conv, seq).await.unwrap();
        assert_eq!((told.seq.0, told.moved), mark);
        assert_eq!(kit.store().unread(uid("b")).await.unwrap(), unread);
    }
    assert_eq!(cursors(&kit, &by).await, [5], "what is read is there");
    let stranger = device("a", "never seen");
    assert!(
        kit.read(&stranger, conv, 5).await.unwrap().moved,
        "the user reads, whatever the device"
    );
}

pub async fn an_own_message_moves_the_cursor_of_a_device_that_had_everything(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let (has, lacks) = (device("a", "has"), device("a", "lacks"));
    kit.register_device(&has).await;
    kit.register_device(&lacks).await;
    let by = |from: &Device| Append {
        device: Some(from.device.clone()),
        ..pair("a", "b")
    };
    let conv = kit.append(by(&has)).await.unwrap().conv;
    kit.append(by(&has)).await.unwrap();
    kit.append(by(&lacks)).await.unwrap();
    assert_eq!(
        (cursors(&kit, &has).await, cursors(&kit, &lacks).await),
        (vec![2], vec![0])
    );
    kit.ack(&lacks, conv, 3).await.unwrap();
    kit.append(by(&lacks)).await.unwrap();
    assert_eq!(cursors(&kit, &lacks).await, [4]);
}

/// The calls may be executed in one transaction.
pub async fn a_device_that_registers_has_the_earlier_messages_and_lacks_the_later_ones(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let (own, other) = (device("a", "phone"), device("b", "phone"));
    let own_message = Append {
        device: Some(own.device.clone()),
        ..pair("a", "c")
    };
    let orders = [
        pair("a", "b"),
        pair("a", "b"),
        pair("c", "a"),
        own_message.clone(),
        own_message,
    ];
    let mut answers = Vec::new();
    for (number, order) in orders.into_iter().enumerate() {
        if number == 1 {
            for device in [&own, &other] {
                let (device, named, urgent) = (device.clone(), true, true);
                let register = DeviceRegister {
                    device,
                    named,
                    urgent,
                };
                kit.store()
                    .register_device(register, Box::new(|done| done.unwrap()));
            }
        }
        let (done, outcome) = answer();
        kit.store().append(&mut std::iter::once((Arc::new(order), done)));
        answers.push(outcome);
    }
    for outcome in answers {
        outcome.await.unwrap().unwrap();
    }
    assert_eq!(cursors(&kit, &other).await, [1], "of two");
    // It lacks the message from c, so that its own ones in the same conversation do not move its cursor.
    assert_eq!(cursors(&kit, &own).await, [0, 1], "of three and of two");
    let one = Append {
        device: Some(own.device.clone()),
        ..pair("a", "d")
    };
    let again = device("d", "phone");
    let register = DeviceRegister {
        device: again.clone(),
        named: true,
        urgent: true,
    };
    kit.store()
        .register_device(register, Box::new(|done| done.unwrap()));
    let own_of_d = Append {
        device: Some(again.device.clone()),
        ..pair("d", "e")
    };
    kit.append_all(vec![own_of_d, one]).await;
    assert_eq!(cursors(&kit, &again).await, [0, 1], "it has its own message");
}

pub async fn lists_of_missed_messages_are_limited(stores: &dyn Stores) {
    let kit = Kit::new(stores);
    let by = device("b", "x");
    kit.register_device(&by).await;
    for range in [0..5_000, 5_000..10_000] {
        let orders = range.map(|number| pair(&format!("a{number}"), "b")).collect();
        assert!(kit.append_all(orders).await.iter().all(Result::is_ok));
    }
    kit.append(notice("b")).await.unwrap();
    let found = kit.store().missed(by.clone(), 500, 7).await.unwrap();
    assert_eq!(
        (found.conversations.len(), found.behind.len(), found.more),
        (500, 7, true)
    );
    assert_eq!(
        (found.unread, found.pending),
        (10_001, 501),
        "it stops looking at one conversation more than were asked for"
    );
    assert_eq!(found.behind[0].conv, ConvId::notices(&uid("b")), "newest first");
    let found = kit.store().missed(by, 10_001, 20_000).await.unwrap();
    assert_eq!(
        (found.conversations.len(), found.behind.len(), found.more),
        (10_001, 10_001, false)
    );
    let few = kit.store().replay(uid("b"), found.behind, page(3)).await.unwrap();
    assert_eq!(
        few.iter().map(|message| message.seq).collect::<Vec<_>>(),
        [Seq(1); 3]
    );
}
