//! Measuring times and written bytes, in two places in turn.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Context;
use mynah::store::Store;
use mynah::store::embedded::{Durability, Embedded, Options};

use crate::Args;

/// The cost of one call.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    time: Duration,
    /// Bytes that the writing threads of stores have written.
    bytes: u64,
}

impl Cost {
    /// Divides the cost by the number of equal parts.
    pub(crate) fn split(self, parts: usize) -> Self {
        Self {
            time: self.time / parts as u32,
            bytes: self.bytes / parts as u64,
        }
    }
}

/// Measures a call.
pub(crate) async fn cost<T>(call: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<(T, Cost)> {
    let before = written()?;
    let began = Instant::now();
    let got = call.await?;
    let time = began.elapsed();
    let bytes = written()? - before;
    Ok((got, Cost { time, bytes }))
}

/// Returns the bytes that the writing threads of stores have written so far: the logs, but not what another
/// thread moves from them into the database files.
fn written() -> anyhow::Result<u64> {
    let mut bytes = 0;
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if !fs::read_to_string(task.join("comm")).is_ok_and(|name| name.trim() == "store-write") {
            continue;
        }
        let io = fs::read_to_string(task.join("io"))?;
        let count = io.lines().find_map(|line| line.strip_prefix("wchar: "));
        bytes += count.context("the system counts bytes")?.parse::<u64>()?;
    }
    Ok(bytes)
}

/// Prints the head of a table.
pub(crate) fn heading(what: &str, one: &str, other: &str) {
    println!();
    println!("| {what} | {one} | {other} | ratio | bytes | bytes |");
    println!("|---|---|---|---|---|---|");
}

/// Measures `call` in place 0 and place 1 in turn, and prints the medians.
pub(crate) async fn compare(
    rounds: usize,
    what: &str,
    mut call: impl AsyncFnMut(usize) -> anyhow::Result<Cost>,
) -> anyhow::Result<()> {
    let mut costs: [Vec<Cost>; 2] = [Vec::new(), Vec::new()];
    for round in 0..rounds {
        for turn in 0..2 {
            let place = (round + turn) % 2;
            costs[place].push(call(place).await?);
        }
    }
    let [(one, one_bytes), (other, other_bytes)] = costs.map(|costs| median(&costs));
    println!(
        "| {what} | {one:.1} µs | {other:.1} µs | {:.2} | {one_bytes} | {other_bytes} |",
        other / one
    );
    Ok(())
}

/// Returns the medians in microseconds and bytes.
fn median(costs: &[Cost]) -> (f64, u64) {
    let mut times: Vec<_> = costs.iter().map(|cost| cost.time).collect();
    let mut bytes: Vec<_> = costs.iter().map(|cost| cost.bytes).collect();
    times.sort_unstable();
    bytes.sort_unstable();
    let middle = costs.len() / 2;
    (times[middle].as_secs_f64() * 1e6, bytes[middle])
}

/// A store that was opened again.
pub(crate) struct Opened {
    pub store: Embedded,
    /// The number of conversations that are not measured.
    pub conversations: usize,
}

impl Opened {
    pub(crate) async fn close(self) -> anyhow::Result<()> {
        self.store.close().await;
        Ok(())
    }
}

/// Opens the small and the large store several times in turn, and leaves them open.
pub(crate) async fn open(args: &Args, path: &Path) -> anyhow::Result<(Opened, Opened)> {
    heading("opening", "small store", "large store");
    compare(5, "open", async |place| {
        let began = Instant::now();
        let opened = open_one(args, path, place)?;
        let time = began.elapsed();
        opened.close().await?;
        Ok(Cost { time, bytes: 0 })
    })
    .await?;
    Ok((open_one(args, path, 0)?, open_one(args, path, 1)?))
}

fn open_one(args: &Args, path: &Path, place: usize) -> anyhow::Result<Opened> {
    let durability = if args.power {
        Durability::Power
    } else {
        Durability::Process
    };
    let (name, conversations) = [("small", args.small), ("large", args.large)][place];
    let options = Options {
        durability,
        ..Options::new(path.join(name))
    };
    Ok(Opened {
        store: Embedded::open(options)?,
        conversations,
    })
}
