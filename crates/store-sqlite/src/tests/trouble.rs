//! A full disk, a lock of another program, a caller that panics, a store that is closed.

use mynah_store::ids::Seq;
use mynah_store::{Append, Span, Store, StoreError, TeamChange};
use rusqlite::Connection;
use tokio::sync::oneshot;

use super::kit::{Kit, answer, device, page, pair, to_team, uid};

/// Stops the growth of the database.
async fn fill(kit: &Kit) {
    kit.writer(|db| {
        let pages: i64 = db
            .pragma_query_value(None, "page_count", |row| row.get(0))
            .unwrap();
        limit(db, pages);
    })
    .await;
}

/// Lets the database grow again.
async fn empty(kit: &Kit) {
    kit.writer(|db| limit(db, 1_000_000)).await;
}

fn limit(db: &Connection, pages: i64) {
    let pragma = format!("PRAGMA max_page_count = {pages}");
    db.query_row(&pragma, [], |row| row.get::<_, i64>(0)).unwrap();
}

#[tokio::test]
async fn a_full_disk_fails_sends_until_there_is_space() {
    let kit = Kit::new();
    kit.team("t", &["a"]).await;
    let conv = kit.append(pair("a", "b")).await.unwrap().conv;
    fill(&kit).await;
    let wide = serde_json::value::to_raw_value(&"x".repeat(50_000)).unwrap();
    let wide = Append {
        data: wide.into(),
        ..pair("a", "b")
    };
    // The first of the two fits, but must not be stored if the second one does not fit.
    let told = kit.append_all(vec![pair("a", "b"), wide]).await;
    for told in told {
        let Err(StoreError::Unavailable(why)) = told else {
            panic!("not refused: {told:?}")
        };
        assert!(why.contains("disk is full"), "{why}");
    }
    assert!(matches!(kit.store.healthy(), Err(StoreError::Unavailable(_))));
    let many = TeamChange::Add(
        (0..9)
            .map(|number| uid(&format!("{number}{}", "x".repeat(120))))
            .collect(),
    );
    let added = kit.change("t", many).await;
    assert_eq!(
        kit.store
            .history(conv, None, Span::After(Seq(0)), page(10))
            .await
            .unwrap()
            .head,
        Seq(1),
        "reads go on"
    );

    empty(&kit).await;
    let wrote = kit.append(pair("a", "b")).await.unwrap();
    assert_eq!(wrote.seq, Seq(2), "no gap");
    assert!(kit.store.healthy().is_ok());
    let members = kit.append(to_team("a", "t")).await.unwrap().members.unwrap();
    assert_eq!(
        members.len(),
        if added.is_ok() { 10 } else { 1 },
        "what failed is not remembered"
    );
}

#[tokio::test]
async fn a_failed_transaction_leaves_positions_as_they_were() {
    let kit = Kit::new();
    let by = device("b", "x");
    kit.register_device(&by).await;
    let conv = kit
        .append_all(vec![pair("a", "b"); 4])
        .await
        .remove(0)
        .unwrap()
        .conv;
    kit.ack(&by, conv, 1).await.unwrap();
    let place = async || {
        let list = kit
            .store
            .conversations(by.uid.clone(), Some(by.device.clone()), None, page(1));
        let line = list.await.unwrap().conversations.remove(0);
        (line.cursor.0, line.read.0, line.unread)
    };
    assert_eq!(place().await, (1, 0, 4));
    kit.ack(&by, conv, 2).await.unwrap();
    fill(&kit).await;
    // All in one transaction: the writer is blocked until all commands wait.
    let (go, held) = std::sync::mpsc::channel::<()>();
    let hold = move |_: &Connection| held.recv().unwrap();
    kit.run(hold);
    let wide = serde_json::value::to_raw_value(&"x".repeat(50_000)).unwrap();
    let wide = Append {
        data: wide.into(),
        device: Some(device("b", "x").device),
        ..pair("b", "a")
    };
    let read = kit.read(&by, conv, 3);
    let refused = async { kit.append(wide).await };
    let (read, refused, ()) = tokio::join!(read, refused, async { go.send(()).unwrap() });
    assert!(matches!(read, Err(StoreError::Unavailable(_))));
    assert!(matches!(refused, Err(StoreError::Unavailable(_))));
    // What was acknowledged before may be replayed once more. Nothing else has moved.
    let (cursor, read, unread) = place().await;
    assert!(
        (1..=2).contains(&cursor) && (read, unread) == (0, 4),
        "{cursor} {read} {unread}"
    );
    kit.ack(&by, conv, 1).await.unwrap();
    assert!(
        kit.store.healthy().is_err(),
        "who wrote nothing knows nothing of the disk"
    );
    empty(&kit).await;
    kit.ack(&by, conv, 3).await.unwrap();
    assert!(kit.read(&by, conv, 2).await.unwrap().moved);
    assert_eq!(place().await, (3, 2, 2));
}

#[tokio::test]
async fn a_panicking_callback_does_not_affect_others() {
    let kit = Kit::new();
    let (done, told) = answer();
    let panics: mynah_store::Done<_> = Box::new(|told| assert!(told.is_err(), "on purpose"));
    let batch = [panics, done].map(|done| (std::sync::Arc::new(pair("a", "b")), done));
    kit.store.append(&mut batch.into_iter());
    assert_eq!(told.await.unwrap().unwrap().seq, Seq(2));
    let (held, dropped) = oneshot::channel::<()>();
    let run = |_: &Connection| {
        let _held = held;
        panic!("on purpose, in the transaction");
    };
    kit.run(run);
    assert!(dropped.await.is_err());
    assert_eq!(kit.append(pair("a", "b")).await.unwrap().seq, Seq(3));
}

#[tokio::test]
async fn a_broken_connection_is_replaced() {
    let kit = Kit::new();
    let conv = kit.append(pair("a", "b")).await.unwrap().conv;
    // The next statement finds that its transaction has ended, so that the batch fails as after an I/O error.
    kit.run(|db| {
        db.execute_batch("ROLLBACK; DROP TABLE push_jobs; BEGIN").unwrap();
    });
    let told = kit.append(pair("a", "b")).await;
    assert!(matches!(told, Err(StoreError::Unavailable(_))), "{told:?}");
    assert!(kit.store.healthy().is_err());
    let schema = include_str!("../schema/8.sql");
    let table = &schema[schema.find("CREATE TABLE push_jobs").unwrap()..];
    let table = &table[..table.find("\n\n").unwrap()];
    Connection::open(kit.dir.path().join("mynah.db"))
        .unwrap()
        .execute_batch(table)
        .unwrap();
    assert_eq!(kit.append(pair("a", "b")).await.unwrap().seq, Seq(2));
    assert_eq!(
        kit.store
            .history(conv, None, Span::After(Seq(0)), page(10))
            .await
            .unwrap()
            .messages
            .len(),
        2
    );
    assert!(kit.store.healthy().is_ok());
}

#[tokio::test]
async fn closing_leaves_one_file() {
    let kit = Kit::new();
    kit.append(pair("a", "b")).await.unwrap();
    kit.store.close().await;
    assert!(!kit.dir.path().join("mynah.db-wal").exists());
}

/// To run this test: `mount -t tmpfs -o size=24m tmpfs DIR`, then
/// `MYNAH_TEST_SMALL_DISK=DIR cargo test -p mynah-store-sqlite really_full -- --ignored`.
#[tokio::test]
#[ignore = "needs MYNAH_TEST_SMALL_DISK: a directory on a file system of some MiB"]
async fn a_really_full_disk_fails_sends_until_there_is_space() {
    let small = std::env::var_os("MYNAH_TEST_SMALL_DISK").expect("MYNAH_TEST_SMALL_DISK names a directory");
    let kit = Kit::within(tempfile::tempdir_in(&small).unwrap());
    let conv = kit.append(pair("a", "b")).await.unwrap().conv;
    let ballast = kit.dir.path().join("ballast");
    let mut seen = 1;
    for round in 0..5 {
        // The disk is filled to the last byte.
        let mut file = std::fs::File::create(&ballast).unwrap();
        for chunk in [1 << 20, 1 << 10, 1] {
            while std::io::Write::write_all(&mut file, &vec![1; chunk]).is_ok() {}
        }
        drop(file);
        let wide = serde_json::value::to_raw_value(&"x".repeat(50_000)).unwrap();
        let wide = Append {
            data: wide.into(),
            ..pair("a", "b")
        };
        let mut refused = 0;
        while refused < 5 {
            match kit.append(wide.clone()).await {
                Ok(wrote) => {
                    seen += 1;
                    assert_eq!(wrote.seq, Seq(seen));
                }
                Err(StoreError::Unavailable(why)) => {
                    assert!(why.contains("disk is full"), "round {round}: {why}");
                    refused += 1;
                }
                Err(other) => panic!("{other}"),
            }
            let page = kit
                .store
                .history(conv, None, Span::Before(Seq(u64::MAX)), page(1))
                .await
                .unwrap();
            assert_eq!(page.head, Seq(seen), "reads go on");
        }
        assert!(kit.store.healthy().is_err());
        std::fs::remove_file(&ballast).unwrap();
        seen += 1;
        assert_eq!(
            kit.append(pair("a", "b")).await.unwrap().seq,
            Seq(seen),
            "round {round}"
        );
        assert!(kit.store.healthy().is_ok());
    }
}
