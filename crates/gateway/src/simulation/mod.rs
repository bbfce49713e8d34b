//! A simulation of the gateway, as one node or several. Clients, network, disk, clock and random numbers run
//! on one thread in virtual time, so that a seed determines a run; with several nodes only nearly, because
//! the order of hash tables has an influence.
//!
//! The gateway's code is the real one, from the handler of a connection to SQL. Faults happen around it: the
//! server crashes and keeps only what was committed, connections break and either side notices late, clients
//! read slowly, devices displace one another, the disk is full, the time of day jumps. The invariants are
//! checked at every step ([`truth`], [`heard`]) and at the end ([`quiet`]).
//!
//! Several nodes share a store, which outlives them as PostgreSQL does, and a Redis in memory. Nodes are
//! killed or stopped and learn of each other late; Redis loses, repeats, delays and reorders packets, forgets
//! everything, is down, or is out of reach of one node ([`nodes`]).
//!
//! `MYNAH_SIM_SEED=<n>` runs one seed, `MYNAH_SIM_NODES=<n>` sets the number of nodes, `MYNAH_SIM_SEEDS=<n>`
//! that of seeds. CONTRIBUTING.md says how to investigate a failure.

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
mod nodes;
mod outlet;
mod panics;
mod pipe;
mod quiet;
mod receiver;
mod record;
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

/// Number of seeds if MYNAH_SIM_SEEDS does not set another one, with one node and with several.
const DEFAULT_SEEDS: u64 = 24;
const DEFAULT_SEEDS_OF_SEVERAL: u64 = 8;

/// The result of a run.
struct Outcome {
    fingerprint: (u64, u64),
    wrong: Vec<String>,
    tail: String,
}

/// Runs a seed with so many nodes to its end.
fn run(seed: u64, nodes: usize) -> Outcome {
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
        let mut world = World::new(hub.clone(), nodes);
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
fn run_and_check(seed: u64, nodes: usize) {
    let outcome = run(seed, nodes);
    if outcome.wrong.is_empty() {
        return;
    }
    println!("{}", outcome.tail);
    panic!(
        "seed {seed}: {}\nagain: MYNAH_SIM_SEED={seed} MYNAH_SIM_NODES={nodes} cargo test -p mynah --lib simulation",
        outcome.wrong.join("\n")
    );
}

fn asked(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

/// Runs the seeds that were asked for, or so many, each with as many nodes as `nodes` says.
fn run_seeds(usually: u64, nodes: impl Fn(u64) -> usize) {
    if let Some(seed) = asked("MYNAH_SIM_SEED") {
        return run_and_check(seed, nodes(seed));
    }
    let first = asked("MYNAH_SIM_FIRST").unwrap_or(0);
    let seeds = asked("MYNAH_SIM_SEEDS").unwrap_or(usually);
    let begun = Instant::now();
    for seed in first..first + seeds {
        run_and_check(seed, nodes(seed));
    }
    println!("seeds {first} to {} in {:?}", first + seeds - 1, begun.elapsed());
}

#[test]
fn invariants_hold_under_faults() {
    let nodes = asked("MYNAH_SIM_NODES").unwrap_or(1) as usize;
    run_seeds(DEFAULT_SEEDS, |_| nodes);
}

#[test]
fn invariants_hold_with_several_nodes() {
    if asked("MYNAH_SIM_NODES").is_none() {
        run_seeds(DEFAULT_SEEDS_OF_SEVERAL, |seed| 2 + seed as usize % 2);
    }
}

#[test]
fn a_seed_determines_a_run() {
    // With several nodes the order of hash tables still has an influence.
    for seed in [1, 2, 3] {
        let (one, other) = (run(seed, 1), run(seed, 1));
        assert_eq!(
            one.fingerprint, other.fingerprint,
            "seed {seed}:\n{}\n{}",
            one.tail, other.tail
        );
    }
}
