//! Memory that a burst of work has needed is freed a while later.
//!
//! How much a connection has cached shows in how many bytes it reads from files when it reads all messages.
//! The system counts these bytes for each thread.

#![cfg(target_os = "linux")]

use mynah_store::Append;
use rusqlite::Connection;

use super::kit::{Kit, json, notice};
use crate::reads::{For, READERS};
use crate::trim::PERIOD;

/// The number of messages, and the bytes of each. Each message takes one page, because SQLite may bypass its
/// cache for larger ones. All of them fit into the cache of one reader.
const MESSAGES: usize = 200;
const BYTES: usize = 3_000;
/// Number of attempts before the test fails. Before each one, the store is idle for longer than it needs.
const TRIES: usize = 50;

async fn filled() -> Kit {
    let kit = Kit::new();
    let data = format!("\"{}\"", "x".repeat(BYTES));
    let order = || Append {
        data: json(&data),
        ..notice("u")
    };
    let orders = (0..MESSAGES).map(|_| order()).collect();
    assert!(kit.append_all(orders).await.iter().all(Result::is_ok));
    kit
}

/// Returns the number of bytes that this thread has read from files.
fn bytes_read() -> u64 {
    let counts = std::fs::read_to_string("/proc/thread-self/io").unwrap();
    let count = counts
        .lines()
        .find_map(|line| line.strip_prefix("rchar: "))
        .unwrap();
    count.parse().unwrap()
}

/// Returns whether reading all messages needs bytes that the connection has not cached.
fn reads_files(db: &Connection) -> bool {
    let before = bytes_read();
    let found: i64 = db
        .query_row("SELECT count(*) FROM messages WHERE data LIKE '%y%'", [], |row| {
            row.get(0)
        })
        .unwrap();
    assert_eq!(found, 0);
    bytes_read() - before > (MESSAGES * BYTES / 2) as u64
}

#[tokio::test]
async fn the_writer_frees_its_pages_after_each_burst() {
    let kit = filled().await;
    let (mut cached, mut freed) = (0, 0);
    for _ in 0..TRIES {
        kit.writer(reads_files).await;
        cached += usize::from(!kit.writer(reads_files).await);
        tokio::time::sleep(PERIOD * 2).await;
        freed += usize::from(kit.writer(reads_files).await);
        if cached >= 2 && freed >= 2 {
            return;
        }
    }
    panic!("cached {cached} times, freed {freed} times");
}

#[tokio::test]
async fn readers_free_their_pages_while_the_writer_is_idle() {
    let kit = filled().await;
    let read = || {
        kit.store
            .shared
            .readers
            .run(For::Backend, |db| Ok(reads_files(db)))
    };
    // The writer may free the pages of readers too, but only once.
    let (mut seen, mut freed) = (0, 0);
    for _ in 0..TRIES {
        // Each thread has its own connection, and the threads take turns.
        let mut cached = 0;
        for _ in 0..READERS * TRIES {
            cached = if read().await.unwrap() { 0 } else { cached + 1 };
            if cached == READERS * 2 {
                break;
            }
        }
        tokio::time::sleep(PERIOD * 2).await;
        freed += usize::from(read().await.unwrap());
        seen += usize::from(cached == READERS * 2);
        if seen >= 3 && freed >= 3 {
            return;
        }
    }
    panic!("all had cached {seen} times, freed {freed} times");
}
