//! How many messages are stored, and what they cost this process, beside the embedded store. Ignored, as it
//! measures: `cargo test -p mynah-store-postgres --lib -- --ignored --nocapture speed`.

use std::sync::Arc;
use std::time::{Duration, Instant};

use mynah_store::{Append, Store};
use mynah_store_conformance::kit::{answer, json, pair};

use super::conformance::open;
use super::server::Server;
use crate::Options;

/// CPU time of this process.
fn cpu() -> Duration {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
    let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
    Duration::from_millis(ticks * 10)
}

async fn measure(name: &str, store: &Arc<dyn Store>, messages: u32, in_flight: usize) {
    let data = json(&format!("{{\"text\":\"{}\"}}", "x".repeat(300)));
    let (begun, before) = (Instant::now(), cpu());
    let mut waiting = std::collections::VecDeque::new();
    for number in 0..messages {
        let (done, outcome) = answer();
        let order = Append {
            data: data.clone(),
            push: None,
            ..pair(&format!("a{}", number % 2_000), &format!("b{}", number % 2_000))
        };
        store.append(&mut std::iter::once((Arc::new(order), done)));
        waiting.push_back(outcome);
        if waiting.len() >= in_flight {
            waiting.pop_front().unwrap().await.unwrap().unwrap();
        }
    }
    for outcome in waiting {
        outcome.await.unwrap().unwrap();
    }
    let (took, used) = (begun.elapsed(), cpu() - before);
    println!(
        "{name}, {in_flight} in flight: {:.0} messages/s, {:.0} messages per CPU-second of this process",
        f64::from(messages) / took.as_secs_f64(),
        f64::from(messages) / used.as_secs_f64()
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
#[ignore = "measures"]
async fn messages_per_second() {
    let Some(server) = Server::start(true) else { return };
    let directory = tempfile::tempdir().unwrap();
    let embedded = mynah_store_sqlite::Options::new(directory.path());
    let embedded: Arc<dyn Store> = Arc::new(mynah_store_sqlite::Embedded::open(embedded).unwrap());
    let postgres: Arc<dyn Store> = Arc::new(open(Options::new(server.url())));
    for in_flight in [50, 1_000, 1_000, 1_000] {
        let messages = 20 * in_flight as u32;
        measure("PostgreSQL", &postgres, messages, in_flight).await;
        measure("embedded", &embedded, messages, in_flight).await;
    }
    embedded.close().await;
}
