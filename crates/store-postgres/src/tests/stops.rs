//! PostgreSQL stops, crashes and returns.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mynah_store::ids::Seq;
use mynah_store::{Page, Span, Store, StoreError};
use mynah_store_conformance::kit::{answer, pair, uid, with_cid};

use super::conformance::open;
use super::server::Server;
use crate::{OpenError, Options, Postgres};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_that_was_answered_is_lost_when_the_server_crashes() {
    let Some(server) = Server::start(true) else { return };
    let store = open(Options::new(server.url()));
    let (mut told, mut refused) = (Vec::new(), 0);
    let mut number = 0u64;
    let mut send = |most: usize| {
        let mut batch = (0..most).map(|_| {
            number += 1;
            let (done, outcome) = answer();
            told.push((number, outcome));
            (Arc::new(with_cid(pair("a", "b"), &number.to_string())), done)
        });
        store.append(&mut batch);
    };
    for _ in 0..50 {
        send(20);
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    server.crash();
    let crashed = Instant::now();
    send(20);
    while store.healthy().is_ok() {
        assert!(crashed.elapsed() < Duration::from_secs(8), "not ready within 8 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(matches!(
        store.unread(uid("b")).await,
        Err(StoreError::Unavailable(_))
    ));
    server.restart();
    let returned = Instant::now();
    while store.healthy().is_err() {
        assert!(returned.elapsed() < Duration::from_secs(10), "ready within 10 s");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    println!("ready {:?} after the return", returned.elapsed());
    send(20);
    let mut kept = Vec::new();
    for (number, outcome) in told {
        match outcome.await.unwrap() {
            Ok(appended) => kept.push((number, appended)),
            Err(StoreError::Unavailable(_)) => refused += 1,
            Err(error) => panic!("{error}"),
        }
    }
    println!("{} answered, {refused} refused", kept.len());
    let conv = kept[0].1.conv;
    let page = Page {
        most: 500,
        bytes: 1 << 30,
    };
    let (mut all, mut after) = (Vec::new(), Seq(0));
    loop {
        let found = store.history(conv, None, Span::After(after), page).await.unwrap();
        let Some(last) = found.messages.last() else { break };
        after = last.seq;
        all.extend(found.messages);
    }
    assert!(
        all.iter().zip(1..).all(|(message, seq)| message.seq.0 == seq),
        "no gaps"
    );
    for (number, appended) in &kept {
        let found = &all[appended.seq.0 as usize - 1];
        assert_eq!(
            (found.mid, found.cid.as_ref().unwrap().as_str()),
            (appended.mid, &*number.to_string())
        );
    }
    assert!(store.unread(uid("b")).await.unwrap() >= kept.len() as u64);
}

#[tokio::test]
async fn what_cannot_be_used_is_refused_with_its_reason() {
    let Some(server) = Server::shared() else { return };
    let error = |options: Options| async { Postgres::open(options).await.err().unwrap() };
    let url = server.url();
    let begun = Instant::now();
    let nowhere = error(Options::new("postgres://u:secret@127.0.0.1:1/x")).await;
    assert!(matches!(nowhere, OpenError::Unavailable(_)) && !nowhere.to_string().contains("secret"));
    assert!(begun.elapsed() < Duration::from_secs(20));
    let encrypted = url.replace("sslmode=disable", "sslmode=require");
    assert!(matches!(
        error(Options::new(encrypted)).await,
        OpenError::Unavailable(_)
    ));

    let within = |schema: &str| Options {
        schema: schema.to_owned(),
        ..Options::new(url.clone())
    };
    let schema = Server::schema();
    super::server::run(
        &url,
        &format!("CREATE SCHEMA {schema}; CREATE TABLE {schema}.other (x int)"),
    )
    .unwrap();
    assert!(matches!(error(within(&schema)).await, OpenError::Foreign { .. }));
    let schema = Server::schema();
    open(within(&schema)).close().await;
    let newer = format!("UPDATE {schema}.meta SET value = '999' WHERE key = 'version'");
    super::server::run(&url, &newer).unwrap();
    assert!(matches!(
        error(within(&schema)).await,
        OpenError::Newer { found: 999, .. }
    ));
    assert!(matches!(error(within("x; DROP")).await, OpenError::Schema(_)));
    let readonly = url.clone() + "&options=-c%20default_transaction_read_only=on";
    assert!(matches!(error(Options::new(readonly)).await, OpenError::ReadOnly));
}
