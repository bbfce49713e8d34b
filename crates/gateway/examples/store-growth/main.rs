//! Measures whether the costs of the embedded store grow with its contents. The same calls are made to a
//! small and to a large store in turn, and to a small and a large team, conversation and list of
//! conversations in the same store.
//!
//! `cargo run --release --example store-growth`; needs about 2 GB in the temporary directory.

mod ask;
mod fill;
mod measure;
mod stores;
mod things;

use std::path::PathBuf;

use clap::Parser;

/// The options of a measurement.
#[derive(Debug, Clone, Parser)]
struct Args {
    /// Conversations of the small store.
    #[arg(long, default_value_t = 1_000)]
    small: usize,
    /// Conversations of the large store.
    #[arg(long, default_value_t = 1_000_000)]
    large: usize,
    /// Members of the large team; the small team has 3.
    #[arg(long, default_value_t = 100_000)]
    members: usize,
    /// Messages of the long conversation; the short one has 10.
    #[arg(long, default_value_t = 1_000_000)]
    messages: usize,
    /// Conversations of the user with many; the other user has 50.
    #[arg(long, default_value_t = 10_000)]
    many: usize,
    /// Number of rounds, whose medians are printed.
    #[arg(long, default_value_t = 301)]
    rounds: usize,
    /// Fill the stores with messages that have no cid.
    #[arg(long)]
    no_cids: bool,
    /// Sync at each commit of the measured calls.
    #[arg(long)]
    power: bool,
    /// The directory in which the stores are created and kept. The default is a temporary one.
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
    let temporary = std::env::temp_dir().join(format!("store-growth-{}", std::process::id()));
    let path = args.path.clone().unwrap_or_else(|| temporary.clone());
    fill::both(&args, &path).await?;
    let (small, large) = measure::open(&args, &path).await?;
    stores::compare_stores(&args, &small, &large).await?;
    small.close().await?;
    things::compare_things(&args, &large).await?;
    large.close().await?;
    if args.path.is_none() {
        std::fs::remove_dir_all(temporary)?;
    }
    Ok(())
}
