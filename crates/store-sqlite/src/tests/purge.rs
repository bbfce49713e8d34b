//! The state of a store after retention has deleted the oldest messages.

use mynah_store::ids::{ConvId, Mid, Seq};
use mynah_store::{Append, JobOutcome, Span, Store, TeamChange};

use super::kit::{Kit, NOON, Setup, device, notice, page, pair, recall, to_team, uid, with_cid};

const KEEP: u64 = 500_000;

fn kit() -> Kit {
    Kit::with(Setup {
        keep_ms: KEEP,
        ..Setup::default()
    })
}

/// Lets everything become too old, so that all messages except the newest one are deleted.
async fn purge(kit: &Kit, now: &mut u64) {
    *now += KEEP + 60_001;
    kit.set_clock(*now);
    kit.catch_up().await;
}

async fn seqs(kit: &Kit, conv: ConvId) -> Vec<u64> {
    let read = kit
        .store
        .history(conv, None, Span::After(Seq(0)), page(500))
        .await;
    read.unwrap()
        .messages
        .iter()
        .map(|message| message.seq.0)
        .collect()
}

#[tokio::test]
async fn seq_continues_and_the_newest_row_is_kept() {
    let (mut kit, mut now) = (kit(), NOON);
    let order = with_cid(pair("a", "b"), "c1");
    let conv = kit.append(order.clone()).await.unwrap().conv;
    let last = kit.append(notice("c")).await.unwrap();
    purge(&kit, &mut now).await;
    assert!(seqs(&kit, conv).await.is_empty());
    assert_eq!(seqs(&kit, last.conv).await, [1], "the newest of all");
    kit.reopen().await;
    let again = kit.append(order).await.unwrap();
    assert!(again.seq == Seq(2) && again.mid > last.mid && !again.duplicate);
    let rows = |db: &rusqlite::Connection| {
        let mut select = db.prepare("SELECT id FROM messages ORDER BY id").unwrap();
        let rows = select.query_map([], |row| row.get::<_, i64>(0)).unwrap();
        rows.collect::<Result<Vec<_>, _>>().unwrap()
    };
    // The search at the start may have been before this message.
    kit.set_clock(now + 60_001);
    kit.catch_up().await;
    assert_eq!(kit.writer(rows).await, [3], "it is the newest now");
}

#[tokio::test]
async fn the_messages_of_a_deleted_team_are_deleted() {
    let mut kit = Kit::new();
    kit.team("t", &["a", "b"]).await;
    let conv = kit.append(with_cid(to_team("a", "t"), "c")).await.unwrap().conv;
    let taken_back = kit.append(to_team("a", "t")).await.unwrap().mid;
    kit.recall(recall(taken_back, "a")).await.unwrap();
    let other = kit.append(pair("a", "b")).await.unwrap().conv;
    kit.append(to_team("b", "t")).await.unwrap();
    let told = kit.change("t", TeamChange::Delete).await.unwrap().notices;
    let newest = told.last().unwrap().mid;
    kit.catch_up().await;
    let left = |db: &rusqlite::Connection| {
        let mut select = db.prepare("SELECT conv, mid, data FROM messages m JOIN conversations c ON c.id = m.conv_id ORDER BY m.id").unwrap();
        let rows = select.query_map([], |row| {
            let mid: [u8; 16] = row.get(1)?;
            Ok((
                ConvId(row.get(0)?),
                Mid(uuid::Uuid::from_bytes(mid)),
                row.get::<_, String>(2)?,
            ))
        });
        rows.unwrap().collect::<Result<Vec<_>, _>>().unwrap()
    };
    let rows = kit.writer(left).await;
    assert_eq!(
        rows.iter().map(|(conv, ..)| *conv).collect::<Vec<_>>(),
        [other, conv]
    );
    assert_eq!(
        (rows[1].1, rows[1].2.as_str()),
        (newest, "null"),
        "numbers go on from it"
    );
    kit.reopen().await;
    kit.team("t", &["a", "b"]).await;
    let again = kit.append(with_cid(to_team("a", "t"), "c")).await.unwrap();
    assert!(again.conv != conv && again.mid > newest && !again.duplicate);
}

const TEN_DAYS: u64 = 864_000_000;
const LOOK: u64 = 60_001;

/// Appends a message that retention may delete, and a newer one, because the newest message is kept.
async fn old_message(kit: &Kit) -> ConvId {
    let conv = kit.append(pair("a", "b")).await.unwrap().conv;
    kit.append(notice("c")).await.unwrap();
    conv
}

#[tokio::test]
async fn messages_of_this_run_age_by_the_steady_clock_only() {
    for jumps in [vec![TEN_DAYS], vec![TEN_DAYS, 0, 2 * TEN_DAYS]] {
        let kit = kit();
        let conv = old_message(&kit).await;
        for jump in &jumps {
            kit.jump(NOON + jump);
            kit.catch_up().await;
        }
        let now = NOON + jumps.last().unwrap();
        kit.set_clock(now + KEEP - 1);
        kit.catch_up().await;
        assert_eq!(seqs(&kit, conv).await, [1], "it is not old enough");
        kit.set_clock(now + KEEP + LOOK);
        kit.catch_up().await;
        assert!(seqs(&kit, conv).await.is_empty(), "it is old enough");
    }
}

#[tokio::test]
async fn a_stop_ages_earlier_messages_gradually_and_later_ones_not() {
    let mut kit = kit();
    let earlier = old_message(&kit).await;
    let stopped = kit.stop().await;
    let mut now = NOON + TEN_DAYS;
    kit.jump(now);
    kit.open(stopped);
    let later = kit.append(pair("c", "d")).await.unwrap().conv;
    kit.append(notice("c")).await.unwrap();
    for passed in [KEEP / 2 - 1, KEEP / 2 + LOOK] {
        assert_eq!(seqs(&kit, earlier).await, [1]);
        kit.set_clock(now + passed);
        kit.catch_up().await;
    }
    assert!(seqs(&kit, earlier).await.is_empty(), "it aged twice as fast");
    assert_eq!(seqs(&kit, later).await, [1], "this one did not");
    now += KEEP + 2 * LOOK;
    kit.set_clock(now);
    kit.catch_up().await;
    assert!(seqs(&kit, later).await.is_empty());
}

#[tokio::test]
async fn a_clock_decades_behind_at_the_first_start_does_not_delay_deletions() {
    let mut kit = kit();
    let mut now = NOON + 50 * 365 * 86_400_000;
    kit.jump(now);
    let conv = old_message(&kit).await;
    kit.reopen().await;
    purge(&kit, &mut now).await;
    assert!(seqs(&kit, conv).await.is_empty());
}

#[tokio::test]
async fn the_notice_of_a_deleted_team_is_kept_until_it_is_old() {
    let (kit, mut now) = (kit(), NOON);
    kit.team("t", &["a", "b"]).await;
    let by = device("b", "phone");
    kit.register_device(&by).await;
    let conv = kit.append(to_team("a", "t")).await.unwrap().conv;
    kit.change("t", TeamChange::Delete).await.unwrap();
    kit.append(pair("c", "d")).await.unwrap();
    kit.catch_up().await;
    let kinds = |db: &rusqlite::Connection| {
        let mut select = db.prepare("SELECT kind, seq FROM messages ORDER BY id").unwrap();
        let rows = select.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
        rows.unwrap().collect::<Result<Vec<(u16, i64)>, _>>().unwrap()
    };
    assert_eq!(kit.writer(kinds).await, [(17, 3), (3, 1)], "a has no device");
    let missed = kit.store.missed(by.clone(), 10, 10).await.unwrap();
    assert_eq!((missed.pending, missed.behind, missed.unread), (0, vec![], 0));
    let replayed = kit
        .store
        .replay(by.uid.clone(), missed.left, page(10))
        .await
        .unwrap();
    assert_eq!(
        replayed
            .iter()
            .map(|it| (it.conv, it.kind, it.seq))
            .collect::<Vec<_>>(),
        [(conv, 17, Seq(3))]
    );
    purge(&kit, &mut now).await;
    kit.append(pair("c", "d")).await.unwrap();
    let missed = kit.store.missed(by, 10, 10).await.unwrap();
    assert_eq!(missed.left, []);
    let left = |db: &rusqlite::Connection| {
        db.query_row("SELECT count(*) FROM departures", [], |row| row.get::<_, i64>(0))
    };
    assert_eq!(kit.writer(left).await, Ok(0));
}

#[tokio::test]
async fn more_messages_than_a_batch_are_deleted_gradually() {
    let (kit, mut now) = (kit(), NOON);
    let conv = kit
        .append_all(vec![pair("a", "b"); 1_300])
        .await
        .remove(0)
        .unwrap()
        .conv;
    for left in [800, 300, 1, 1] {
        purge(&kit, &mut now).await;
        let read = kit
            .store
            .history(conv, None, Span::Before(Seq(u64::MAX)), page(500));
        let (newest, history) = (1_300, read.await.unwrap());
        assert_eq!(history.head, Seq(newest));
        assert_eq!(kit.store.unread(uid("b")).await.unwrap(), left);
        assert_eq!(history.messages.len() as u64, left.min(500));
    }
}

#[tokio::test]
async fn deleted_messages_are_unread_for_nobody() {
    for (from, to) in [("a", "b"), ("b", "a")] {
        let (kit, mut now) = (kit(), NOON);
        let old = [pair(from, to), pair(from, to), pair(to, from), pair(from, to)];
        let mut sent = kit.append_all(old.to_vec()).await;
        let conv = sent[0].as_ref().unwrap().conv;
        kit.recall(recall(sent.remove(1).unwrap().mid, from))
            .await
            .unwrap();
        purge(&kit, &mut now).await;
        let new = [pair(from, to), pair(to, from), pair(to, from), pair(to, from)];
        kit.append_all(new.to_vec()).await;
        let counts = (
            kit.store.unread(uid(from)).await.unwrap(),
            kit.store.unread(uid(to)).await.unwrap(),
        );
        assert_eq!(counts, (3, 1));
        let told = kit.read(&device(from, "x"), conv, 2).await.unwrap();
        assert_eq!(
            (told.seq, told.moved),
            (Seq(4), false),
            "what is gone counts as read"
        );
    }
}

#[tokio::test]
async fn members_with_and_without_own_messages_count_the_same() {
    let (kit, mut now) = (kit(), NOON);
    kit.team("t", &["a", "b"]).await;
    kit.append_all(vec![to_team("a", "t"); 3]).await;
    kit.append(notice("c")).await.unwrap();
    purge(&kit, &mut now).await;
    let sent = kit.append_all(vec![to_team("b", "t"); 4]).await;
    let conv = sent[0].as_ref().unwrap().conv;
    // All messages of `a` may be deleted: their number is still known.
    kit.read(&device("a", "x"), conv, 5).await.unwrap();
    assert_eq!(kit.store.unread(uid("a")).await.unwrap(), 2);
    kit.append(to_team("a", "t")).await.unwrap();
    assert_eq!(kit.store.unread(uid("a")).await.unwrap(), 2);
    assert_eq!(
        kit.store.unread(uid("b")).await.unwrap(),
        1,
        "the first three are gone"
    );
}

#[tokio::test]
async fn deleted_messages_count_as_acknowledged() {
    let (kit, mut now) = (kit(), NOON);
    let by = device("a", "x");
    kit.register_device(&by).await;
    let conv = kit
        .append_all(vec![pair("b", "a"); 3])
        .await
        .remove(0)
        .unwrap()
        .conv;
    kit.ack(&by, conv, 1).await.unwrap();
    kit.append(notice("c")).await.unwrap();
    purge(&kit, &mut now).await;
    // The device lacks nothing that is left, so its next message moves its cursor.
    let own = Append {
        device: Some(by.device.clone()),
        ..pair("a", "b")
    };
    kit.append(own).await.unwrap();
    kit.register_device(&by).await;
    let missed = kit.store.missed(by, 10, 10).await.unwrap();
    assert_eq!((missed.pending, missed.unread), (0, 0));
}

#[tokio::test]
async fn push_jobs_are_deleted_with_their_messages() {
    let (kit, mut now) = (kit(), NOON);
    let [dead, due, _] = kit.append_all(vec![pair("a", "b"); 3]).await.try_into().unwrap();
    kit.finish(vec![(dead.unwrap().push.unwrap(), JobOutcome::Dead)])
        .await
        .unwrap();
    assert!(due.unwrap().push.is_some());
    let jobs = async || {
        let counts = kit.store.job_counts().await.unwrap();
        (counts.waiting, counts.dead)
    };
    assert_eq!(jobs().await, (2, 1));
    purge(&kit, &mut now).await;
    assert_eq!(jobs().await, (1, 0));
}

#[tokio::test]
async fn cids_of_deleted_messages_are_not_written_later() {
    let (kit, mut now) = (kit(), NOON);
    let cid = |number: usize| with_cid(pair("a", &format!("b{number}")), "c");
    kit.append_all((0..4).map(cid).collect()).await;
    kit.append(notice("c")).await.unwrap();
    purge(&kit, &mut now).await;
    // So many cids that the first ones are moved from memory to the table.
    for number in 10..30 {
        kit.append(cid(number)).await.unwrap();
    }
    let count = |db: &rusqlite::Connection| {
        let select = "SELECT count(*), count(m.id) FROM cids LEFT JOIN messages m ON m.id = message";
        db.query_row(select, [], |row| Ok((row.get(0)?, row.get(1)?)))
            .unwrap()
    };
    let (all, of_messages): (i64, i64) = kit.writer(count).await;
    assert!(all > 4 && all == of_messages, "{all} {of_messages}");
}

#[tokio::test]
async fn nothing_is_deleted_before_its_time() {
    let kit = kit();
    let conv = kit
        .append_all(vec![pair("a", "b"); 2])
        .await
        .remove(0)
        .unwrap()
        .conv;
    kit.set_clock(NOON + KEEP);
    kit.catch_up().await;
    assert_eq!(seqs(&kit, conv).await, [1, 2]);
    // The store searches once in a minute.
    kit.set_clock(NOON + KEEP + 59_999);
    kit.catch_up().await;
    assert_eq!(seqs(&kit, conv).await, [1, 2]);
    kit.set_clock(NOON + KEEP + 60_000);
    kit.catch_up().await;
    assert_eq!(seqs(&kit, conv).await, [2]);
}

const DAY: u64 = 24 * 3_600_000;

/// The clock is wrong when messages are written, or when old ones are searched, ahead or behind, for a moment
/// or for long.
#[tokio::test]
async fn a_jump_of_the_clock_deletes_nothing() {
    for by in [40 * DAY as i64, -40 * DAY as i64] {
        let kit = kit();
        let wrong = NOON.saturating_add_signed(by);
        let first = kit.append_all(vec![pair("a", "b"); 3]).await.remove(0).unwrap();
        kit.jump(wrong);
        kit.append(pair("a", "b")).await.unwrap();
        kit.append(notice("c")).await.unwrap();
        kit.set_clock(wrong + 60_001);
        kit.catch_up().await;
        assert_eq!(seqs(&kit, first.conv).await, [1, 2, 3, 4], "while it is wrong");
        kit.jump(NOON + 60_001);
        kit.set_clock(NOON + 120_002);
        kit.catch_up().await;
        assert_eq!(
            seqs(&kit, first.conv).await,
            [1, 2, 3, 4],
            "when it is right again"
        );
        kit.set_clock(NOON + KEEP + 240_000);
        kit.catch_up().await;
        assert_eq!(
            seqs(&kit, first.conv).await,
            [0u64; 0],
            "when their time has come"
        );
    }
}

/// A machine without a battery starts with a wrong clock, so that the store cannot know how long it was
/// closed.
#[tokio::test]
async fn a_wrong_clock_at_the_start_deletes_nothing_at_once() {
    let mut kit = kit();
    let conv = kit
        .append_all(vec![pair("a", "b"); 3])
        .await
        .remove(0)
        .unwrap()
        .conv;
    kit.append(notice("c")).await.unwrap();
    let stopped = kit.stop().await;
    kit.jump(NOON + 40 * DAY);
    kit.open(stopped);
    kit.catch_up().await;
    assert_eq!(seqs(&kit, conv).await, [1, 2, 3]);
    // If the clock is corrected in time, nothing is lost, and messages are not kept longer than with a
    // correct clock.
    kit.set_clock(NOON + 40 * DAY + 60_001);
    kit.catch_up().await;
    kit.jump(NOON + 60_001);
    kit.set_clock(NOON + KEEP - 60_002);
    kit.catch_up().await;
    assert_eq!(seqs(&kit, conv).await, [1, 2, 3]);
    kit.set_clock(NOON + KEEP + 60_002);
    kit.catch_up().await;
    assert_eq!(seqs(&kit, conv).await, [0u64; 0]);
}

/// The machine was really off for that time: what became too old is deleted a little later.
#[tokio::test]
async fn messages_that_aged_while_the_store_was_closed_are_deleted_gradually() {
    let mut kit = kit();
    let conv = kit
        .append_all(vec![pair("a", "b"); 3])
        .await
        .remove(0)
        .unwrap()
        .conv;
    kit.append(notice("c")).await.unwrap();
    let stopped = kit.stop().await;
    kit.jump(NOON + 40 * DAY);
    kit.open(stopped);
    kit.set_clock(NOON + 40 * DAY + KEEP / 2 - 1);
    kit.catch_up().await;
    assert_eq!(seqs(&kit, conv).await, [1, 2, 3]);
    kit.set_clock(NOON + 40 * DAY + KEEP / 2 + 60_001);
    kit.catch_up().await;
    assert_eq!(seqs(&kit, conv).await, [0u64; 0]);
}

/// Messages from before retention was enabled have only their `ts`, which is accepted up to that of the
/// newest message.
#[tokio::test]
async fn messages_from_before_retention_are_deleted_by_their_ts() {
    let mut kit = Kit::new();
    let conv = kit
        .append_all(vec![pair("a", "b"); 3])
        .await
        .remove(0)
        .unwrap()
        .conv;
    kit.set_clock(NOON + KEEP);
    kit.append(pair("a", "b")).await.unwrap();
    kit.set_clock(NOON + KEEP + 60_000);
    kit.append(notice("c")).await.unwrap();
    kit.change_setup(Setup {
        keep_ms: KEEP,
        ..Setup::default()
    })
    .await;
    kit.catch_up().await;
    assert_eq!(seqs(&kit, conv).await, [4]);
    kit.set_clock(NOON + 2 * KEEP + 120_000);
    kit.catch_up().await;
    assert_eq!(seqs(&kit, conv).await, [0u64; 0]);
}

/// A store that is started often, and in which nothing is written, still deletes old messages.
#[tokio::test]
async fn starts_do_not_make_messages_younger() {
    let (mut kit, mut now) = (kit(), NOON);
    let conv = kit.append(pair("a", "b")).await.unwrap().conv;
    kit.append(notice("c")).await.unwrap();
    for _ in 0..10 {
        now += KEEP / 8;
        kit.set_clock(now);
        kit.reopen().await;
        kit.catch_up().await;
    }
    assert_eq!(seqs(&kit, conv).await, [0u64; 0]);
}
