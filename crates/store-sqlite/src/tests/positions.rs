//! The time when cursors are written, and the head at an earlier time.

use mynah_store::{Device, Store};

use super::kit::{Kit, NOON, Setup, device, page, pair};
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
async fn acknowledgements_are_written_in_time() {
    let mut kit = Kit::new();
    let by = device("b", "x");
    kit.register_device(&by).await;
    let conv = kit
        .append_all(vec![pair("a", "b"); 9])
        .await
        .remove(0)
        .unwrap()
        .conv;
    kit.ack(&by, conv, 1).await.unwrap();
    kit.catch_up().await;
    assert_eq!(written(&kit).await, 0, "they gather");
    kit.register_device(&by).await;
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
    kit.register_device(&old).await;
    kit.register_device(&new).await;
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
    kit.register_device(&old).await;
    kit.register_device(&newest).await;
    assert_eq!(cursors(&kit, &old).await, [1]);
    assert_eq!(cursors(&kit, &new).await, [3], "forgotten: nothing is missed");
    assert_eq!(written(&kit).await, 1, "with its cursors");
    kit.register_device(&device("a", "another's")).await;
    assert_eq!(cursors(&kit, &old).await, [1], "each user has its own");
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
