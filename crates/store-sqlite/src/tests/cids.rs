//! The cids in memory and in their table.

use rusqlite::Connection;

use super::kit::{Kit, NOON, Setup, pair, with_cid};

/// Runs a query that returns one number.
async fn number(kit: &Kit, query: &'static str) -> i64 {
    let run = move |db: &Connection| db.query_row(query, [], |row| row.get(0));
    kit.writer(run).await.unwrap()
}

/// SQL for the number of messages whose cids a start reads again.
const BEHIND: &str = "SELECT max(id) - coalesce((SELECT CAST(value AS INTEGER) FROM meta WHERE key = 'cids_through'), 0) FROM messages";

#[tokio::test]
async fn a_start_reads_few_messages_however_rare_cids_are() {
    let mut kit = Kit::new();
    let order = with_cid(pair("a", "b"), "c1");
    let first = kit.append(order.clone()).await.unwrap();
    for round in 1..=60 {
        kit.append(pair("a", "b")).await.unwrap();
        let behind = number(&kit, BEHIND).await;
        assert!(behind <= 20, "{behind} after {round}");
    }
    kit.reopen().await;
    let again = kit.append(order).await.unwrap();
    assert!(again.duplicate && again.mid == first.mid);
}

#[tokio::test]
async fn a_start_reads_few_messages_however_many_starts_there_were() {
    let mut kit = Kit::new();
    for round in 0..30 {
        let order = with_cid(pair("a", "b"), &format!("c{round}"));
        let first = kit.append(order.clone()).await.unwrap();
        kit.reopen().await;
        let behind = number(&kit, BEHIND).await;
        assert!(behind <= 10, "{behind} after {round}");
        let again = kit.append(order).await.unwrap();
        assert!(again.duplicate && again.mid == first.mid);
    }
}

#[tokio::test]
async fn cids_of_deleted_messages_are_forgotten() {
    const KEEP: u64 = 500_000;
    const ORPHANS: &str = "SELECT count(*) FROM cids WHERE message NOT IN (SELECT id FROM messages)";
    let kit = Kit::with(Setup {
        keep_ms: KEEP,
        ..Setup::default()
    });
    for number in 0..13 {
        let order = with_cid(pair("a", "b"), &format!("c{number}"));
        kit.append(order).await.unwrap();
    }
    assert!(number(&kit, "SELECT count(*) FROM cids").await > 0);
    kit.set_clock(NOON + KEEP + 60_001);
    kit.catch_up().await;
    assert_eq!(number(&kit, "SELECT count(*) FROM messages").await, 1);
    assert_eq!(number(&kit, ORPHANS).await, 0);
    // Those in memory are forgotten when they would have been moved.
    for _ in 0..60 {
        kit.append(pair("a", "b")).await.unwrap();
    }
    assert_eq!(number(&kit, ORPHANS).await, 0);
}

#[tokio::test]
async fn a_clock_that_is_set_back_before_a_restart_forgets_no_cid() {
    let mut kit = Kit::new();
    let order = || with_cid(pair("a", "b"), "c1");
    let mut now = NOON + 3_600_000;
    kit.jump(now);
    let first = kit.append(order()).await.unwrap();
    now += 300;
    kit.set_clock(now);
    for back in [10 * 86_400_000, 3_600_000] {
        now -= back;
        kit.jump(now);
        assert!(kit.append(order()).await.unwrap().duplicate);
    }
    kit.reopen().await;
    let again = kit.append(order()).await.unwrap();
    assert_eq!((again.duplicate, again.mid), (true, first.mid));
}
