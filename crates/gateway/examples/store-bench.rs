//! Measures the embedded store with clients that each wait until their message is durable before they send
//! the next one.
//!
//! `cargo run --release --example store-bench -- --clients 1024 --seconds 10`

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::Context;
use clap::Parser;
use mynah::ids::{Cid, DeviceId, PairClass, TeamId, Uid};
use mynah::store::embedded::{Durability, Embedded, Options};
use mynah::store::{
    Append, Device, DeviceRegister, JobOutcome, Place, PushOrder, Store, TeamChange, outcome,
};
use serde_json::value::RawValue;

/// The options of a measurement.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// Number of concurrent clients; client n writes to client n + 1.
    #[arg(long, default_value_t = 1024)]
    clients: usize,
    /// Duration in seconds.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Bytes of `data` in each message.
    #[arg(long, default_value_t = 120)]
    bytes: usize,
    /// Give every message a cid.
    #[arg(long)]
    cid: bool,
    /// Send from devices that the store knows.
    #[arg(long)]
    device: bool,
    /// Create a push job for every message, and finish it as delivery does.
    #[arg(long)]
    push: bool,
    /// Write to one team with this number of members instead.
    #[arg(long, default_value_t = 0)]
    team: usize,
    /// Do not sync at commits.
    #[arg(long)]
    process: bool,
    /// The directory of the store. The default is a temporary one.
    #[arg(long)]
    path: Option<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()?;
    runtime.block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    let temporary = std::env::temp_dir().join(format!("store-bench-{}", std::process::id()));
    let path = args.path.clone().unwrap_or_else(|| temporary.clone());
    let durability = if args.process {
        Durability::Process
    } else {
        Durability::Power
    };
    let store = Arc::new(Embedded::open(Options {
        durability,
        ..Options::new(&path)
    })?);
    if args.team > 0 {
        let members = (0..args.team).map(uid).collect::<anyhow::Result<_>>()?;
        change(
            &store,
            "made",
            TeamChange::Put {
                name: "bench".into(),
                members,
            },
        )
        .await?;
        change(&store, "one more", TeamChange::Add(vec![Uid::new("one more")?])).await?;
        change(
            &store,
            "one less",
            TeamChange::Remove(vec![Uid::new("one more")?]),
        )
        .await?;
    }

    let stop = Arc::new(AtomicBool::new(false));
    let (began, cpu) = (Instant::now(), cpu_seconds()?);
    let clients: Vec<_> = (0..args.clients)
        .map(|number| tokio::spawn(client(store.clone(), args.clone(), number, stop.clone())))
        .collect();
    tokio::time::sleep(Duration::from_secs(args.seconds)).await;
    stop.store(true, Ordering::Relaxed);
    let mut times = Vec::new();
    for client in clients {
        times.extend(client.await??);
    }
    let (took, cpu) = (began.elapsed().as_secs_f64(), cpu_seconds()? - cpu);
    times.sort_unstable();
    let at = |share: f64| {
        times
            .get((times.len() as f64 * share) as usize)
            .map_or(0.0, |time| time.as_secs_f64() * 1e3)
    };
    println!(
        "{:.0} messages/s, {:.1} CPU µs/message, p50 {:.1} ms, p99 {:.1} ms, p99.9 {:.1} ms, max {:.1} ms",
        times.len() as f64 / took,
        cpu * 1e6 / times.len() as f64,
        at(0.5),
        at(0.99),
        at(0.999),
        at(0.999_999_9),
    );
    if args.team > 0 {
        change(&store, "deleted", TeamChange::Delete).await?;
    }
    store.close().await;
    let size = std::fs::metadata(path.join("mynah.db"))?.len();
    println!("{:.0} bytes/message on disk", size as f64 / times.len() as f64);
    if args.path.is_none() {
        std::fs::remove_dir_all(temporary)?;
    }
    Ok(())
}

/// Changes the team and prints how long the change took.
async fn change(store: &Embedded, what: &str, change: TeamChange) -> anyhow::Result<()> {
    let began = Instant::now();
    let team = TeamId::new("bench")?;
    outcome(|done| store.change_team(team, change, done)).await?;
    println!("team: {what} in {:.1} ms", began.elapsed().as_secs_f64() * 1e3);
    Ok(())
}

async fn client(
    store: Arc<Embedded>,
    args: Args,
    number: usize,
    stop: Arc<AtomicBool>,
) -> anyhow::Result<Vec<Duration>> {
    let from = uid(if args.team > 0 { number % args.team } else { number })?;
    let to = uid((number + 1) % args.clients)?;
    let data: Arc<RawValue> = RawValue::from_string(format!(
        r#"{{"text":"{}"}}"#,
        "x".repeat(args.bytes.saturating_sub(11))
    ))?
    .into();
    let device = if args.device {
        Some(DeviceId::new("phone")?)
    } else {
        None
    };
    if let Some(device) = device.clone() {
        let uid = from.clone();
        let register = DeviceRegister {
            device: Device { uid, device },
            named: true,
            urgent: true,
        };
        outcome(|done| store.register_device(register, done)).await?;
    }
    let mut times = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let cid = format!(
            "{:016x}{number:x}-{:x}",
            (times.len() as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            times.len()
        );
        let order = Append {
            place: match args.team {
                0 => Place::Pair {
                    class: PairClass::Plain,
                    to: to.clone(),
                },
                _ => Place::Team(TeamId::new("bench")?),
            },
            kind: if args.team == 0 { 3 } else { 15 },
            counts: true,
            from: Some(from.clone()),
            device: device.clone(),
            members_only: args.team > 0,
            only_repeat: false,
            new_pairs_per_hour: 0,
            cid: if args.cid { Some(Cid::new(&cid)?) } else { None },
            data: data.clone(),
            push: args.push.then_some(PushOrder {
                expires_in_ms: u64::MAX,
                delay_ms: 0,
                urgent: false,
            }),
        };
        let began = Instant::now();
        let appended = outcome(|done| store.append(&mut std::iter::once((Arc::new(order), done)))).await?;
        times.push(began.elapsed());
        if let Some(job) = appended.push {
            store.finish_jobs(vec![(job, JobOutcome::Finished)], Box::new(drop));
        }
    }
    Ok(times)
}

fn uid(number: usize) -> anyhow::Result<Uid> {
    Ok(Uid::new(&format!("user-{number}"))?)
}

/// Returns the user and system time of this process so far, in seconds.
fn cpu_seconds() -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let fields: Vec<_> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks =
        |field: usize| -> anyhow::Result<f64> { Ok(fields.get(field).context("stat is short")?.parse()?) };
    Ok((ticks(11)? + ticks(12)?) / 100.0)
}
