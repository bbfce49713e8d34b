//! A node that uses its database alone: a second one, its end, and what happens if it was silent.

use std::time::{Duration, Instant};

use mynah_store::{Store, StoreError};
use mynah_store_conformance::kit::{answer, pair, uid};

use super::conformance::open;
use super::server::{Server, run};
use crate::{OpenError, Options, Postgres};

fn options(url: &str, schema: &str) -> Options {
    Options {
        schema: schema.to_owned(),
        alone: true,
        ..Options::new(url)
    }
}

async fn send(store: &Postgres) -> Result<(), StoreError> {
    let (done, told) = answer();
    store.append(&mut std::iter::once((std::sync::Arc::new(pair("a", "b")), done)));
    told.await.unwrap().map(drop)
}

#[tokio::test]
async fn a_second_node_is_refused_until_the_first_has_ended() {
    let Some(server) = Server::shared() else { return };
    let (url, schema) = (server.url(), Server::schema());
    let first = open(options(&url, &schema));
    let begun = Instant::now();
    let error = Postgres::open(options(&url, &schema)).await.err();
    assert!(matches!(error, Some(OpenError::Taken { .. })), "{error:?}");
    assert!(begun.elapsed() < Duration::from_secs(15));
    send(&first).await.unwrap();
    first.close().await;
    let begun = Instant::now();
    let second = open(options(&url, &schema));
    assert!(begun.elapsed() < Duration::from_secs(5), "it need not wait");
    send(&second).await.unwrap();
    // Like a crash: the row stays.
    drop(second);
    let begun = Instant::now();
    let third = open(options(&url, &schema));
    println!("a new node has begun after {:?}", begun.elapsed());
    assert!(begun.elapsed() < Duration::from_secs(15));
    send(&third).await.unwrap();
}

#[tokio::test]
async fn a_dead_node_is_recognised_although_the_clock_was_set_back() {
    let Some(server) = Server::shared() else { return };
    let (url, schema) = (server.url(), Server::schema());
    open(options(&url, &schema)).close().await;
    let row = format!("INSERT INTO {schema}.nodes VALUES (1, 'x', true, 0, 1000000000000000)");
    run(&url, &row).unwrap();
    let begun = Instant::now();
    send(&open(options(&url, &schema))).await.unwrap();
    assert!(begun.elapsed() < Duration::from_secs(15));
}

#[tokio::test]
async fn a_node_whose_row_was_deleted_writes_nothing_more() {
    let Some(server) = Server::shared() else { return };
    let (url, schema) = (server.url(), Server::schema());
    let store = open(options(&url, &schema));
    send(&store).await.unwrap();
    let lost = store.lost();
    run(
        &url,
        &format!("DELETE FROM {schema}.nodes; DELETE FROM {schema}.writers"),
    )
    .unwrap();
    assert!(matches!(send(&store).await, Err(StoreError::Unavailable(_))));
    lost.await;
    assert!(store.healthy().is_err());
    assert!(store.unread(uid("b")).await.is_err(), "nor does it read");
    let other = open(options(&url, &schema));
    assert_eq!(other.unread(uid("b")).await.unwrap(), 1);
}

#[tokio::test]
async fn a_node_that_cannot_write_its_heartbeat_serves_nothing() {
    let Some(server) = Server::shared() else { return };
    let (url, schema) = (server.url(), Server::schema());
    let store = open(options(&url, &schema));
    let hold = format!("BEGIN; LOCK TABLE {schema}.nodes; SELECT pg_sleep(6); COMMIT");
    let held = {
        let url = url.clone();
        std::thread::spawn(move || run(&url, &hold).unwrap())
    };
    let begun = Instant::now();
    while store.healthy().is_ok() {
        assert!(begun.elapsed() < Duration::from_secs(5), "not ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(store.unread(uid("b")).await.is_err());
    assert!(matches!(send(&store).await, Err(StoreError::Unavailable(_))));
    held.join().unwrap();
    let begun = Instant::now();
    while store.healthy().is_err() {
        assert!(begun.elapsed() < Duration::from_secs(10), "ready again");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    send(&store).await.unwrap();
}
