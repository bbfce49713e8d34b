//! What a node learns of the messages and revocations of others, whatever the order of their commits.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mynah_store::follow::{Follow, Point};
use mynah_store::ids::{ConvId, Seq};
use mynah_store::{Append, Appended, Page, Revocation, Revoked, Store, StoreError, Stretch, Watcher};
use mynah_store_conformance::kit::{answer, notice, pair};
use tokio_postgres::Client;

use super::nodes::{append, nodes_of};
use super::server::Server;
use crate::Postgres;
use crate::address::Address;

const PAGE: Page = Page {
    most: 500,
    bytes: 1 << 20,
};

/// A database with three nodes.
struct Kit {
    nodes: [Arc<Postgres>; 3],
    address: Address,
}

impl Kit {
    fn new() -> Option<Self> {
        Self::on(Server::shared()?)
    }

    fn on(server: &Server) -> Option<Self> {
        let (url, schema) = (server.url(), Server::schema());
        Some(Self {
            nodes: nodes_of(&url, &schema),
            address: Address::parse(&url, &schema).unwrap(),
        })
    }

    async fn client(&self) -> Client {
        self.address.connect().await.unwrap()
    }

    /// Lets nobody write to a conversation until the connection is dropped or its transaction ends.
    async fn hold(&self, conv: ConvId) -> Client {
        let client = self.client().await;
        let conv = uuid::Uuid::from_bytes(conv.0);
        client
            .batch_execute(&format!(
                "BEGIN; SELECT FROM conversations WHERE conv = '{conv}' FOR UPDATE"
            ))
            .await
            .unwrap();
        client
    }

    /// Waits until a node waits for a conversation that is held. Its transaction has begun then.
    async fn blocked(&self, held: &Client) {
        let waits = "SELECT EXISTS (SELECT FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid)))";
        while !held.query_one(waits, &[]).await.unwrap().get::<_, bool>(0) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// What node 2 learns: the last message of each conversation that is new since `point`, which moves.
    async fn news(&self, point: &mut Point) -> Vec<(ConvId, u64)> {
        let news = self.nodes[2].news(point.clone(), 1_000).await.unwrap();
        *point = news.point;
        let new = news.conversations.iter();
        new.map(|(stretch, _)| (stretch.conv, stretch.through.0))
            .collect()
    }

    async fn append(&self, node: usize, order: Append) -> Appended {
        append(&self.nodes[node], order).await.unwrap()
    }
}

#[tokio::test]
async fn a_message_of_any_node_is_reported_once() {
    let Some(kit) = Kit::new() else { return };
    let before = kit.append(0, pair("a", "b")).await;
    let mut point = kit.nodes[2].point().await.unwrap();
    assert_eq!(kit.news(&mut point).await, []);
    let (one, other) = (
        kit.append(0, pair("a", "b")).await,
        kit.append(1, notice("c")).await,
    );
    let mut news = kit.news(&mut point).await;
    news.sort_by_key(|(conv, _)| *conv != one.conv);
    assert_eq!(news, [(one.conv, 2), (other.conv, 1)]);
    assert_eq!(kit.news(&mut point).await, []);

    let stretch = Stretch {
        conv: one.conv,
        after: Seq(0),
        through: Seq(9),
    };
    let read = kit.nodes[2].messages(stretch, PAGE).await.unwrap();
    let mids: Vec<_> = read.iter().map(|(_, message)| message.mid).collect();
    assert_eq!(mids, [before.mid, one.mid]);
    assert!(read.iter().all(|(id, _)| point.includes(*id)));
    let page = Page { most: 1, ..PAGE };
    assert_eq!(kit.nodes[2].messages(stretch, page).await.unwrap().len(), 1);
}

#[tokio::test]
async fn the_conversation_says_whom_the_news_are_for() {
    let Some(kit) = Kit::new() else { return };
    let point = kit.nodes[2].point().await.unwrap();
    kit.append(0, notice("c")).await;
    let news = kit.nodes[2].news(point, 10).await.unwrap();
    let kinds: Vec<_> = news.conversations.into_iter().map(|(_, kind)| kind).collect();
    assert_eq!(
        kinds,
        [mynah_store::ConvKind::Notices(mynah_store_conformance::kit::uid(
            "c"
        ))]
    );
}

#[tokio::test]
async fn a_transaction_that_runs_for_long_delays_no_news() {
    let Some(kit) = Kit::new() else { return };
    let long = kit.client().await;
    long.batch_execute("BEGIN; SELECT pg_current_xact_id()")
        .await
        .unwrap();
    let mut point = kit.nodes[2].point().await.unwrap();
    for seq in 1..=3 {
        let told = kit.append(0, pair("a", "b")).await;
        assert_eq!(kit.news(&mut point).await, [(told.conv, seq)]);
    }
}

#[tokio::test]
async fn a_transaction_that_is_committed_after_a_later_one_is_reported() {
    let Some(kit) = Kit::new() else { return };
    let slow = kit.append(0, pair("a", "b")).await.conv;
    let mut point = kit.nodes[2].point().await.unwrap();
    let held = kit.hold(slow).await;
    let node = kit.nodes[0].clone();
    let late = tokio::spawn(async move { append(&node, pair("a", "b")).await.unwrap() });
    kit.blocked(&held).await;
    let early = kit.append(1, notice("c")).await;
    assert_eq!(kit.news(&mut point).await, [(early.conv, 1)]);
    // A moment that is begun meanwhile does not include the message either.
    let mut other = kit.nodes[2].point().await.unwrap();
    held.batch_execute("COMMIT").await.unwrap();
    assert_eq!(late.await.unwrap().seq, Seq(2));
    assert_eq!(kit.news(&mut point).await, [(slow, 2)]);
    assert_eq!(kit.news(&mut other).await, [(slow, 2)]);
    assert_eq!(kit.news(&mut point).await, []);
}

#[tokio::test]
async fn a_moment_does_not_depend_on_transactions_without_messages() {
    let Some(kit) = Kit::new() else { return };
    kit.append(0, pair("a", "b")).await;
    let point = kit.nodes[2].point().await.unwrap();
    let client = kit.client().await;
    for _ in 0..10 {
        client.batch_execute("SELECT pg_current_xact_id()").await.unwrap();
    }
    // Other tests run transactions on the same server.
    assert_eq!(kit.nodes[2].point().await.unwrap().last(), point.last());
    let news = kit.nodes[2].news(point.clone(), 10).await.unwrap();
    assert_eq!(
        (news.point.last(), news.conversations),
        (point.last(), Vec::new())
    );
}

/// Reads news until there are no more, and counts how often each message was reported.
async fn collect(node: &Postgres, point: &mut Point, limit: u32, seen: &mut HashMap<(ConvId, u64), u32>) {
    loop {
        let news = node.news(point.clone(), limit).await.unwrap();
        *point = news.point;
        for (stretch, _) in &news.conversations {
            for seq in stretch.after.0 + 1..=stretch.through.0 {
                *seen.entry((stretch.conv, seq)).or_default() += 1;
            }
        }
        if !news.more {
            return;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_missed_while_all_nodes_write() {
    let Some(kit) = Kit::new() else { return };
    let names = ["a", "b", "c", "d"];
    let mut point = kit.nodes[2].point().await.unwrap();
    let mut seen = HashMap::new();
    let writers: Vec<_> = (0..3)
        .map(|number: usize| {
            let node = kit.nodes[number].clone();
            tokio::spawn(async move {
                let mut all = Vec::new();
                for round in 0..60 {
                    let (from, to) = (names[(round + number) % 4], names[(round * 3) % 4]);
                    let told = append(&node, pair(from, to)).await.unwrap();
                    all.push((told.conv, told.seq.0));
                }
                all
            })
        })
        .collect();
    while !writers.iter().all(tokio::task::JoinHandle::is_finished) {
        collect(&kit.nodes[2], &mut point, 1_000, &mut seen).await;
    }
    collect(&kit.nodes[2], &mut point, 1_000, &mut seen).await;
    let mut written = 0;
    for writer in writers {
        for message in writer.await.unwrap() {
            written += 1;
            assert_eq!(seen.get(&message), Some(&1), "each once");
        }
    }
    assert_eq!(seen.len(), written);
}

#[tokio::test]
async fn many_news_are_read_in_parts() {
    let Some(kit) = Kit::new() else { return };
    let mut point = kit.nodes[2].point().await.unwrap();
    for number in 0..7 {
        kit.append(number % 3, notice(&format!("u{number}"))).await;
    }
    let mut seen = HashMap::new();
    collect(&kit.nodes[2], &mut point, 2, &mut seen).await;
    assert_eq!((seen.len(), seen.values().sum::<u32>()), (7, 7));
}

fn revocation(token: &str) -> Revocation {
    Revocation {
        what: Revoked::Token(token.into()),
        issued_until: 1,
        forget_at: u64::MAX >> 1,
        displaced: None,
    }
}

/// What a node reports to a watcher.
fn watch(node: &Postgres) -> Arc<Mutex<Vec<Revocation>>> {
    let reported = Arc::<Mutex<Vec<Revocation>>>::default();
    let keep = reported.clone();
    node.watch(Watcher::Revocations(Box::new(move |it| {
        keep.lock().unwrap().push(it)
    })));
    reported
}

async fn until_reported(reported: &Mutex<Vec<Revocation>>, token: &str) {
    while !reported.lock().unwrap().contains(&revocation(token)) {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn revoke(node: &Postgres, token: &str) -> Result<(), StoreError> {
    mynah_store::outcome(|done| node.revoke(revocation(token), done)).await
}

#[tokio::test]
async fn a_revocation_is_reported_whatever_the_order_of_the_commits() {
    let Some(kit) = Kit::new() else { return };
    let reported = watch(&kit.nodes[2]);
    let first = kit.append(0, pair("a", "b")).await.conv;
    let second = kit.append(0, notice("c")).await.conv;
    let (held_first, held_second) = (kit.hold(first).await, kit.hold(second).await);
    let send = |order: Append| {
        let (done, told) = answer();
        kit.nodes[0].append(&mut std::iter::once((Arc::new(order), done)));
        told
    };
    let told = send(pair("a", "b"));
    kit.blocked(&held_first).await;
    // These two wait for the first transaction, so they are written together.
    let waits = send(notice("c"));
    let (done, late) = answer();
    kit.nodes[0].revoke(revocation("late"), done);
    held_first.batch_execute("COMMIT").await.unwrap();
    told.await.unwrap().unwrap();
    kit.blocked(&held_second).await;
    revoke(&kit.nodes[1], "early").await.unwrap();
    until_reported(&reported, "early").await;
    assert!(!reported.lock().unwrap().contains(&revocation("late")));
    held_second.batch_execute("COMMIT").await.unwrap();
    waits.await.unwrap().unwrap();
    late.await.unwrap().unwrap();
    until_reported(&reported, "late").await;
}

/// A crash of PostgreSQL loses the numbers of transactions that were not durable.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn numbers_that_are_used_again_after_a_crash_hide_nothing() {
    let Some(server) = Server::start(true) else { return };
    let Some(kit) = Kit::on(&server) else { return };
    let reported = watch(&kit.nodes[2]);
    let conv = kit.append(0, pair("a", "b")).await.conv;
    revoke(&kit.nodes[0], "before").await.unwrap();
    until_reported(&reported, "before").await;
    let client = kit.client().await;
    for _ in 0..500 {
        client.batch_execute("SELECT pg_current_xact_id()").await.unwrap();
    }
    let mut point = kit.nodes[2].point().await.unwrap();
    // Longer than the time between two looks of the watchers.
    tokio::time::sleep(Duration::from_millis(1_500)).await;
    kit.news(&mut point).await;
    server.crash();
    server.restart();
    while append(&kit.nodes[0], pair("a", "b")).await.is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let found: i64 = kit
        .client()
        .await
        .query_one("SELECT pg_current_xact_id()::text::bigint", &[])
        .await
        .unwrap()
        .get(0);
    println!("the transaction after the crash has the number {found}");
    while kit.nodes[2].healthy().is_err() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let news = kit.news(&mut point).await;
    assert_eq!(news.iter().map(|(conv, _)| *conv).collect::<Vec<_>>(), [conv]);
    revoke(&kit.nodes[1], "after").await.unwrap();
    until_reported(&reported, "after").await;
}
