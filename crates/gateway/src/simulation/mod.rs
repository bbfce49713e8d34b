//! A deterministic simulation of the gateway. Clients, network, disk, clock and random numbers run on one
//! thread in virtual time, so that a seed determines a run.
//!
//! The gateway's code is the real one, from the handler of a connection to SQL. Faults happen around it: the
//! server crashes and keeps only what was committed, connections break and either side notices late, clients
//! read slowly, devices displace one another, the disk is full, the time of day jumps. The invariants are
//! checked at every step ([`truth`], [`heard`]) and at the end ([`quiet`]).
//!
//! `MYNAH_SIM_SEED=<n>` runs one seed, `MYNAH_SIM_SEEDS=<n>` sets the number of seeds. CONTRIBUTING.md says
//! how to investigate a failure.

mod acts;
mod answers;
mod app;
mod backend;
mod cursors;
mod dice;
mod faults;
mod heard;
mod hub;
mod missed;
mod network;
mod outlet;
mod panics;
mod pipe;
mod quiet;
mod receiver;
mod rogue;
mod scenario;
mod seeds;
mod server;
mod trace;
mod truth;
mod verdict;
mod watched;
mod world;

use std::time::Instant;

use self::dice::Dice;
use self::hub::Hub;
use self::world::World;
use crate::{clock, random};

/// Number of seeds if MYNAH_SIM_SEEDS does not set another one.
const DEFAULT_SEEDS: u64 = 24;

/// The result of a run.
struct Outcome {
    fingerprint: (u64, u64),
    wrong: Vec<String>,
    tail: String,
}

/// Runs a seed to its end.
fn run(seed: u64) -> Outcome {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    panics::watch();
    let _blame = panics::Blame(seed);
    let outcome = runtime.block_on(async {
        let hub = Hub::new(seed);
        let day = hub.clone();
        clock::pretended::set(Some(Box::new(move || day.day())));
        let mut dice = Dice::new(!seed);
        random::seeded::set(Some(Box::new(move |bytes| {
            bytes.iter_mut().for_each(|byte| *byte = dice.next() as u8);
        })));
        let mut world = World::new(hub.clone());
        hub.note(format!("seed {seed}: {:?}", world.scenario));
        world.chaos().await;
        if !world.failed() {
            world.quiet().await;
        }
        drop(world);
        let state = hub.lock();
        Outcome {
            fingerprint: state.trace.fingerprint(),
            wrong: state.wrong.clone(),
            tail: state.trace.tail(),
        }
    });
    drop(runtime);
    clock::pretended::set(None);
    random::seeded::set(None);
    outcome
}

/// Runs a seed and panics if an invariant was violated.
fn run_and_check(seed: u64) {
    let outcome = run(seed);
    if outcome.wrong.is_empty() {
        return;
    }
    println!("{}", outcome.tail);
    panic!(
        "seed {seed}: {}\nagain: MYNAH_SIM_SEED={seed} cargo test -p mynah --lib simulation",
        outcome.wrong.join("\n")
    );
}

fn asked(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn invariants_hold_under_faults() {
    if let Some(seed) = asked("MYNAH_SIM_SEED") {
        return run_and_check(seed);
    }
    let first = asked("MYNAH_SIM_FIRST").unwrap_or(0);
    let seeds = asked("MYNAH_SIM_SEEDS").unwrap_or(DEFAULT_SEEDS);
    let begun = Instant::now();
    for seed in first..first + seeds {
        run_and_check(seed);
    }
    println!("seeds {first} to {} in {:?}", first + seeds - 1, begun.elapsed());
}

#[test]
fn a_seed_determines_a_run() {
    for seed in [1, 2, 3] {
        let (one, other) = (run(seed), run(seed));
        assert_eq!(
            one.fingerprint, other.fingerprint,
            "seed {seed}:\n{}\n{}",
            one.tail, other.tail
        );
    }
}
