//! A copy of an embedded store continues what the store was doing.

use std::sync::Arc;

use mynah_store::transfer::TABLES;
use mynah_store::{Append, Page, Span, Store};
use mynah_store_conformance::kit::{answer, notice};
use mynah_store_conformance::{Clocks, NOON};
use mynah_store_sqlite::{Clock, Embedded, Export};

use super::conformance::open;
use super::server::Server;
use crate::retention::Look;
use crate::{Import, Options, Postgres, SCHEMA};

const KEEP_MS: u64 = 100_000;

async fn append(store: &dyn Store, order: Append) -> mynah_store::Appended {
    let (done, told) = answer();
    store.append(&mut std::iter::once((Arc::new(order), done)));
    told.await.unwrap().unwrap()
}

fn migrate(source: &Export, url: &str) {
    let mut target = Import::open(url, SCHEMA, source.epoch()).unwrap();
    for table in TABLES {
        let after = target.begin(table).unwrap().unwrap();
        source.rows(table, after, |row| target.add(table, row)).unwrap();
        assert_eq!(
            target.end(table).unwrap(),
            source.count(table).unwrap(),
            "{}",
            table.name
        );
    }
    target.finish(source.epoch(), source.times().unwrap()).unwrap();
}

async fn is_left(store: &Postgres, appended: &mynah_store::Appended) -> bool {
    let page = Page {
        most: 1,
        bytes: 1_000,
    };
    let read = store.history(appended.conv, None, Span::After(mynah_store::ids::Seq(0)), page);
    !read.await.unwrap().messages.is_empty()
}

#[tokio::test]
async fn messages_are_deleted_when_they_are_old_wherever_they_were_written() {
    let Some(server) = Server::start(false) else {
        return;
    };
    let (directory, clocks) = (tempfile::tempdir().unwrap(), Clocks::default());
    let (day, steady) = (clocks.clone(), clocks.clone());
    let embedded = Embedded::open(mynah_store_sqlite::Options {
        retention_ms: KEEP_MS,
        clock: Clock::new(move || day.day(), move || steady.steady()),
        ..mynah_store_sqlite::Options::new(directory.path())
    })
    .unwrap();
    let old = append(&embedded, notice("old")).await;
    clocks.pass_until(NOON + 50_000);
    let middle = append(&embedded, notice("middle")).await;
    let newest = append(&embedded, notice("newest")).await;
    embedded.close().await;
    drop(embedded);

    let url = server.url();
    let source = Export::open(directory.path()).unwrap();
    std::thread::spawn({
        let url = url.clone();
        move || migrate(&source, &url)
    })
    .join()
    .unwrap();
    let shared = clocks.clone();
    let store = open(Options {
        retention_ms: KEEP_MS,
        clock: Some(Arc::new(move || (shared.day(), shared.steady()))),
        ..Options::new(url)
    });
    let look = || async { while store.retention.look(true).await.unwrap() != Look::Nothing {} };
    look().await;
    assert!(is_left(&store, &old).await);
    clocks.pass_until(NOON + 110_000);
    look().await;
    assert!(!is_left(&store, &old).await, "it is 110 s old");
    assert!(is_left(&store, &middle).await, "it is 60 s old");
    clocks.pass_until(NOON + 200_000);
    look().await;
    assert!(!is_left(&store, &middle).await);
    assert!(is_left(&store, &newest).await, "the newest message stays");
}
