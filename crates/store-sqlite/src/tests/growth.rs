//! Frequent requests cost the same however many conversations a user has.

use mynah_store::{Append, Store, TeamChange};
use rusqlite::{Connection, StatementStatus, params};

use super::kit::{Kit, device, pair, to_team, uid};
use crate::conversations::{TOP, Which, of_teams_sql, ranks_sql, unread_in_teams_sql};

/// Returns messages of `count` new pairs, of which half were begun by `user` and half by others.
fn pairs_of(user: &str, count: usize) -> Vec<Append> {
    let order = |number| {
        let peer = format!("{user}-{number}");
        if number % 2 == 0 {
            pair(user, &peer)
        } else {
            pair(&peer, user)
        }
    };
    (0..count).map(order).collect()
}

async fn filled() -> Kit {
    let kit = Kit::new();
    kit.team("t", &["few", "many"]).await;
    for orders in [pairs_of("few", 60), pairs_of("many", 4_000)] {
        assert!(kit.append_all(orders).await.iter().all(Result::is_ok));
    }
    kit.append(to_team("few", "t")).await.unwrap();
    kit
}

/// Returns the steps of SQLite's virtual machine for the first `rows` rows of a list.
fn steps(db: &Connection, user: &str, which: Which, rows: usize) -> i32 {
    let mut select = db.prepare(&ranks_sql(which)).unwrap();
    let mut found = select.query(params![user, TOP.0, TOP.1, 0]).unwrap();
    for _ in 0..rows {
        found.next().unwrap().expect("there are so many");
    }
    drop(found);
    select.get_status(StatementStatus::VmStep)
}

#[tokio::test]
async fn a_page_of_a_list_costs_the_same_whatever_its_length() {
    let kit = filled().await;
    for (which, rows) in [(Which::All, 20), (Which::Pairs, 20), (Which::UnreadPairs, 20)] {
        let costs = kit.writer(move |db| ["few", "many"].map(|user| steps(db, user, which, rows)));
        let [few, many] = costs.await;
        assert!(many <= few + few / 10, "{which:?}: {many} steps, not about {few}");
    }
}

#[tokio::test]
async fn the_unread_total_costs_the_same_however_many_conversations_it_sums() {
    let kit = filled().await;
    let totals = ["few", "many"].map(|user| kit.store.unread(uid(user)));
    let mut unread = Vec::new();
    for total in totals {
        unread.push(total.await.unwrap());
    }
    assert_eq!(unread, [30, 2_001]);
    let plans = kit.writer(|db| {
        let mut explain = db
            .prepare(&format!("EXPLAIN QUERY PLAN {}", unread_in_teams_sql()))
            .unwrap();
        let rows = explain
            .query_map(["many"], |row| row.get::<_, String>(3))
            .unwrap();
        rows.collect::<rusqlite::Result<Vec<_>>>().unwrap()
    });
    let plans = plans.await;
    assert!(plans[0].contains("participants_of_teams (uid=?)"), "{plans:?}");
    assert!(plans.iter().all(|step| !step.contains("SCAN")), "{plans:?}");
}

/// All teams are read by one statement, which needs few steps for each team.
#[tokio::test]
async fn missed_team_messages_are_found_by_one_statement() {
    let kit = Kit::new();
    for number in 0..200 {
        kit.team(&format!("t-{number}"), &["a", "b"]).await;
    }
    let phone = device("a", "phone");
    kit.register_device(&phone).await;
    let orders = (0..100)
        .map(|number| to_team("b", &format!("t-{number}")))
        .collect();
    kit.append_all(orders).await;
    let found = kit.store.missed(phone, 500, 500).await.unwrap();
    assert_eq!(
        (found.unread, found.pending, found.conversations.len()),
        (100, 100, 100)
    );
    let costs = kit.writer(|db| {
        let mut select = db.prepare(&of_teams_sql()).unwrap();
        let rows = select.query_map(params!["a", 1], |_| Ok(())).unwrap().count();
        (
            rows,
            select.get_status(StatementStatus::VmStep),
            select.get_status(StatementStatus::FullscanStep),
        )
    });
    let (rows, steps, scanned) = costs.await;
    assert_eq!(
        (rows, scanned),
        (100, 0),
        "teams in which nothing was written are left out"
    );
    assert!(steps < 200 * 60, "{steps} steps for 200 teams");
}

#[tokio::test]
async fn conversations_that_a_device_had_completely_are_not_examined_again() {
    let kit = Kit::new();
    let phone = device("a", "phone");
    kit.register_device(&phone).await;
    let sent = kit.append_all(pairs_of("a", 50)).await;
    for told in sent {
        kit.ack(&phone, told.unwrap().conv, 1).await.unwrap();
    }
    kit.register_device(&phone).await;
    let left = async || {
        let left = kit.writer(|db| {
            let since: i64 = db
                .query_row("SELECT had_row FROM devices", [], |row| row.get(0))
                .unwrap();
            let mut select = db.prepare(&ranks_sql(Which::Pairs)).unwrap();
            let rows = select.query_map(params!["a", TOP.0, TOP.1, since], |_| Ok(()));
            rows.unwrap().count()
        });
        left.await
    };
    assert_eq!(left().await, 50);
    let found = kit.store.missed(phone.clone(), 500, 500).await.unwrap();
    assert_eq!((found.pending, found.unread), (0, 25));
    assert_eq!(left().await, 0, "what it has is not looked at again");
    // One message in a conversation of which it had everything, and one in a new conversation.
    let old = kit.append(pair("a-0", "a")).await.unwrap();
    let new = kit.append(pair("a-new", "a")).await.unwrap();
    let found = kit.store.missed(phone.clone(), 500, 500).await.unwrap();
    let behind: Vec<_> = found.behind.iter().map(|stretch| stretch.conv).collect();
    assert_eq!(behind, [new.conv, old.conv]);
    // What the device has not acknowledged is still found after other messages.
    for told in kit.append_all(pairs_of("a", 10)).await {
        let told = told.unwrap();
        kit.ack(&phone, told.conv, told.seq.0).await.unwrap();
    }
    kit.register_device(&phone).await;
    for _ in 0..2 {
        let found = kit.store.missed(phone.clone(), 500, 500).await.unwrap();
        let behind: Vec<_> = found.behind.iter().map(|stretch| stretch.conv).collect();
        assert_eq!(
            behind,
            [new.conv],
            "the other was acknowledged with what came after"
        );
    }
}

#[tokio::test]
async fn teams_that_were_left_long_ago_are_not_examined_again() {
    let kit = Kit::new();
    let phone = device("a", "phone");
    kit.register_device(&phone).await;
    for number in 0..20 {
        let team = format!("t{number}");
        kit.team(&team, &["a"]).await;
        let removed = kit.change(&team, TeamChange::Remove(vec![uid("a")])).await;
        let conv = removed.unwrap().team.conv;
        if number != 13 {
            kit.ack(&phone, conv, 1).await.unwrap();
        }
    }
    kit.register_device(&phone).await;
    let found = kit.store.missed(phone.clone(), 500, 500).await.unwrap();
    assert_eq!(found.left.len(), 1);
    kit.register_device(&phone).await;
    let since = kit
        .writer(|db| db.query_row("SELECT had_row FROM devices", [], |row| row.get::<_, i64>(0)))
        .await;
    assert_eq!(since, Ok(13), "those before the one that it has not received");
    kit.ack(&phone, found.left[0].conv, 1).await.unwrap();
    kit.register_device(&phone).await;
    assert_eq!(kit.store.missed(phone, 500, 500).await.unwrap().left, []);
    let steps = kit.writer(|db| {
        let mut select = db
            .prepare("SELECT message FROM departures INDEXED BY departures_of_user WHERE uid = ?1 AND message > ?2")
            .unwrap();
        assert_eq!(select.query_map(params!["a", 20], |_| Ok(())).unwrap().count(), 0);
        select.get_status(StatementStatus::VmStep)
    });
    assert!(steps.await < 20);
}
