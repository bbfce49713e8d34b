//! Devices, acknowledgements and read positions: cases that random steps seldom reach.

use mynah_store::ids::{ConvId, Seq};
use mynah_store::{Append, Device, Store, StoreError, TeamChange};

use super::kit::{Kit, NOON, Setup, device, notice, page, pair, to_team, uid};
use crate::devices::{self, At};

async fn cursors(kit: &Kit, by: &Device) -> Vec<u64> {
    let page = kit
        .store
        .conversations(by.uid.clone(), Some(by.device.clone()), None, page(500));
    let lines = page.await.unwrap().conversations;
    lines.iter().map(|line| line.cursor.0).collect()
}

/// Returns the number of cursors in the database.
async fn written(kit: &Kit) -> i64 {
    kit.writer(|db| {
        db.query_row("SELECT count(*) FROM cursors", [], |row| row.get(0))
            .unwrap()
    })
    .await
}

#[tokio::test]
async fn a_cursor_only_moves_forward_and_not_beyond_the_head() {
    let kit = Kit::new();
    let (phone, other) = (device("b", "phone"), device("a", "phone"));
    kit.enter(&phone).await;
    kit.enter(&other).await;
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

#[tokio::test]
async fn strangers_and_closed_conversations_are_refused() {
    let kit = Kit::new();
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

#[tokio::test]
async fn a_read_position_only_moves_forward_and_not_beyond_the_head() {
    let kit = Kit::new();
    let by = device("b", "x");
    kit.enter(&by).await;
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
        assert_eq!(kit.store.unread(uid("b")).await.unwrap(), unread);
    }
    assert_eq!(cursors(&kit, &by).await, [5], "what is read is there");
    let stranger = device("a", "never seen");
    assert!(
        kit.read(&stranger, conv, 5).await.unwrap().moved,
        "the user reads, whatever the device"
    );
}

#[tokio::test]
async fn an_own_message_moves_the_cursor_of_a_device_that_had_everything() {
    let kit = Kit::new();
    let (has, lacks) = (device("a", "has"), device("a", "lacks"));
    kit.enter(&has).await;
    kit.enter(&lacks).await;
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

#[tokio::test]
async fn acknowledgements_are_written_in_time() {
    let mut kit = Kit::new();
    let by = device("b", "x");
    kit.enter(&by).await;
    let conv = kit
        .append_all(vec![pair("a", "b"); 9])
        .await
        .remove(0)
        .unwrap()
        .conv;
    kit.ack(&by, conv, 1).await.unwrap();
    kit.catch_up().await;
    assert_eq!(written(&kit).await, 0, "they gather");
    kit.enter(&by).await;
    assert_eq!(written(&kit).await, 1, "on entering");
    kit.ack(&by, conv, 2).await.unwrap();
    kit.crash().await;
    assert_eq!(
        cursors(&kit, &by).await,
        [1],
        "a crash forgets what was not written"
    );
    kit.ack(&by, conv, 3).await.unwrap();
    assert_eq!(cursors(&kit, &by).await, [3]);
    kit.crash().await;
    assert_eq!(cursors(&kit, &by).await, [3], "what was shown was written");
    kit.ack(&by, conv, 4).await.unwrap();
    kit.reopen().await;
    assert_eq!(cursors(&kit, &by).await, [4], "on closing");
    kit.ack(&by, conv, 5).await.unwrap();
    // The writer wakes up by itself, and notices that time has passed.
    kit.set_clock(NOON + 1_000);
    let db = rusqlite::Connection::open(kit.dir.path().join("mynah.db")).unwrap();
    let stored = || db.query_row("SELECT max(seq) FROM cursors", [], |row| row.get::<_, i64>(0));
    while stored().unwrap() < 5 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn the_longest_inactive_device_is_forgotten() {
    let setup = Setup {
        max_devices: 2,
        ..Setup::default()
    };
    let kit = Kit::with(setup);
    let [old, new, newest] = ["old", "new", "newest"].map(|name| device("b", name));
    kit.enter(&old).await;
    kit.enter(&new).await;
    let conv = kit
        .append_all(vec![pair("a", "b"); 3])
        .await
        .remove(0)
        .unwrap()
        .conv;
    for by in [&old, &new] {
        kit.ack(by, conv, 1).await.unwrap();
    }
    kit.set_clock(NOON + 7_200_000);
    kit.enter(&old).await;
    kit.enter(&newest).await;
    assert_eq!(cursors(&kit, &old).await, [1]);
    assert_eq!(cursors(&kit, &new).await, [3], "forgotten: nothing is missed");
    assert_eq!(written(&kit).await, 1, "with its cursors");
    kit.enter(&device("a", "another's")).await;
    assert_eq!(cursors(&kit, &old).await, [1], "each user has its own");
}

#[tokio::test]
async fn lists_of_missed_messages_are_limited() {
    let kit = Kit::new();
    let by = device("b", "x");
    kit.enter(&by).await;
    for range in [0..5_000, 5_000..10_000] {
        let orders = range.map(|number| pair(&format!("a{number}"), "b")).collect();
        assert!(kit.append_all(orders).await.iter().all(Result::is_ok));
    }
    kit.append(notice("b")).await.unwrap();
    let found = kit.store.missed(by.clone(), 500, 7).await.unwrap();
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
    let found = kit.store.missed(by, 10_001, 20_000).await.unwrap();
    assert_eq!(
        (found.conversations.len(), found.behind.len(), found.more),
        (10_001, 10_001, false)
    );
    let few = kit.store.replay(uid("b"), found.behind, page(3)).await.unwrap();
    assert_eq!(
        few.iter().map(|message| message.seq).collect::<Vec<_>>(),
        [Seq(1); 3]
    );
}

#[tokio::test]
async fn the_head_at_an_earlier_time_equals_a_count() {
    let kit = Kit::new();
    // Rows of one conversation among those of another one, in an irregular pattern.
    let orders = (0..60u32).map(|number| match number * number % 7 {
        0 | 2 => pair("c", "d"),
        _ => pair("a", "b"),
    });
    let sent = kit.append_all(orders.collect()).await;
    let conv = sent[1].as_ref().unwrap().conv;
    kit.writer(move |db| {
        for deleted in [0, 1, 20, 59] {
            db.execute("DELETE FROM messages WHERE id <= ?1", [deleted])
                .unwrap();
            let (conv_id, head, last_row): (i64, i64, i64) = db
                .query_row(
                    "SELECT id, head, last_row FROM conversations WHERE conv = ?1",
                    [conv.0],
                    |row| Ok((row.get(0)?, row.get(1)?, row.get(2)?)),
                )
                .unwrap();
            let at = At {
                conv_id,
                head: head as u64,
                last_row,
            };
            let mut rows = db
                .prepare("SELECT id FROM messages WHERE conv_id = ?1 ORDER BY id")
                .unwrap();
            let rows = rows.query_map([conv_id], |row| row.get::<_, i64>(0)).unwrap();
            let rows: Vec<i64> = rows.collect::<Result<_, _>>().unwrap();
            let gone = head as usize - rows.len();
            for row in 0..=61 {
                let counted = gone + rows.iter().filter(|id| **id <= row).count();
                let found = devices::head_then(db, at, row).unwrap();
                // The positions of deleted messages do not matter.
                assert_eq!(
                    found.max(gone as u64),
                    counted as u64,
                    "at {row} without {deleted}"
                );
            }
        }
    })
    .await;
}
