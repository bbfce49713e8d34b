//! The store is compared with a plain model: the same random operations on both must give the same results.
//!
//! `PROPTEST_CASES` sets the number of cases. A failure prints the seed, which `PROPTEST_RNG_SEED` repeats,
//! and the shortest failing sequence of steps that was found.

mod compare;
mod plain;
mod positions;
mod steps;

use std::collections::HashMap;

use mynah_store::ids::{ConvId, Mid, Seq};
use mynah_store::{JobOutcome, Recall, Span, Stretch, TeamChange};
use proptest::prelude::ProptestConfig;
use proptest::test_runner::{RngSeed, TestRunner};

use self::compare::compare;
use self::plain::Plain;
use self::steps::{Step, setup, steps};
use crate::kit::{Kit, Setup, Stores, device, notice, page, pair, recall, to_team, uid};

/// Executes random steps with the store and with the model.
pub fn check(stores: &dyn Stores) {
    let mut runner = TestRunner::new(config());
    let checked = runner.run(&(setup(), steps()), |(setup, steps)| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.unwrap().block_on(run(stores, setup, steps));
        Ok(())
    });
    if let Err(error) = checked {
        panic!("{error}");
    }
}

/// Few cases, unless the environment sets another number. The output is shown if the test fails.
fn config() -> ProptestConfig {
    let mut config = ProptestConfig {
        max_shrink_iters: 1_000,
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = 48;
    }
    let seed = match config.rng_seed {
        RngSeed::Fixed(seed) => seed,
        RngSeed::Random => fresh_seed(),
    };
    config.rng_seed = RngSeed::Fixed(seed);
    println!(
        "To repeat: PROPTEST_RNG_SEED={seed} PROPTEST_CASES={}",
        config.cases
    );
    config
}

fn fresh_seed() -> u64 {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    u64::from_le_bytes(bytes)
}

/// Dead jobs are deleted with the messages of a deleted team, while older messages are kept.
pub async fn dead_jobs_are_deleted_with_their_team(stores: &dyn Stores) {
    let members = ["a", "b"].map(uid).to_vec();
    let put = TeamChange::Put {
        name: "x".into(),
        members,
    };
    let steps = vec![
        Step::Append(vec![pair("a", "b")]),
        Step::Change("s".into(), put),
        Step::Append(vec![to_team("a", "s")]),
        Step::Finish(1, JobOutcome::Dead),
        Step::Compare,
        Step::Change("s".into(), TeamChange::Delete),
    ];
    run(stores, Setup::default(), steps).await;
}

/// A device that is registered after a crash is not older than one that was registered shortly before.
pub async fn devices_are_forgotten_in_order_after_a_crash(stores: &dyn Stores) {
    let (x, y, z) = (device("b", "x"), device("b", "y"), device("b", "z"));
    let setup = Setup {
        max_devices: 2,
        ..Setup::default()
    };
    let steps = vec![
        Step::Later(30_000),
        Step::Enter(x),
        Step::Crash,
        Step::Enter(z),
        Step::Enter(y),
        Step::Append(vec![notice("b")]),
    ];
    run(stores, setup, steps).await;
}

async fn run(stores: &dyn Stores, setup: Setup, steps: Vec<Step>) {
    let mut kit = Kit::with(stores, setup);
    let mut plain = Plain::new(setup);
    catch_up(&kit, &mut plain).await;
    for step in steps {
        match step {
            Step::Append(orders) => {
                let told = kit.append_all(orders.clone()).await;
                for (order, told) in orders.into_iter().zip(told) {
                    plain.append(order, told);
                }
            }
            Step::Change(team, change) => {
                let told = kit.change(&team, change.clone()).await;
                plain.change(&team, change, told);
            }
            Step::Finish(choice, outcome) => finish(&kit, &mut plain, choice, &outcome).await,
            Step::Enter(device) => {
                kit.register_device(&device).await;
                plain.register_device(&device);
            }
            Step::Ack(device, choice, seq) => {
                let conv = conv(&plain, choice);
                let told = kit.ack(&device, conv, seq).await;
                plain.ack(&device, conv, seq, told.map(drop));
            }
            Step::Read(by, choice, seq) => {
                let conv = conv(&plain, choice);
                let told = kit.read(&by, conv, seq).await;
                plain.read(&by, conv, seq, told);
            }
            Step::Recall(choice, by, window_ms) => {
                let message = plain.rows.iter().rev().nth(choice);
                let said = message.map(|(conv, seq)| &plain.convs[conv].messages[seq - 1].said);
                let mid = said.map_or(Mid(uuid::Uuid::nil()), |said| said.mid);
                let by = by.or_else(|| said?.from.clone());
                let order = Recall {
                    window_ms,
                    ..recall(mid, by.as_ref().map_or("a", |by| by.as_str()))
                };
                let told = kit.recall(order.clone()).await;
                plain.recall(&order, told);
            }
            Step::Clock(skew) => {
                plain.jump(skew);
                kit.jump(plain.day());
                catch_up(&kit, &mut plain).await;
            }
            Step::Later(by) => {
                plain.real += by;
                kit.set_clock(plain.day());
                catch_up(&kit, &mut plain).await;
            }
            Step::Reopen => {
                kit.reopen().await;
                plain.closed();
                catch_up(&kit, &mut plain).await;
            }
            Step::Crash => {
                kit.crash().await;
                // First, because the store may have deleted messages, and no cursor is before those.
                catch_up(&kit, &mut plain).await;
                crashed(&kit, &mut plain).await;
            }
            Step::Compare => compare(&kit, &mut plain).await,
        }
    }
    compare(&kit, &mut plain).await;
}

async fn catch_up(kit: &Kit, plain: &mut Plain) {
    kit.catch_up().await;
    let mut deleted = plain.deleted;
    for (index, (conv, seq)) in plain.rows.iter().enumerate().skip(plain.deleted) {
        if is_left(kit, plain, *conv, *seq).await {
            break;
        }
        deleted = index + 1;
    }
    plain.delete_old(deleted);
}

/// Returns whether the store still shows a message to any user.
async fn is_left(kit: &Kit, plain: &Plain, conv: ConvId, seq: usize) -> bool {
    let known = &plain.convs[&conv];
    let before = Seq(seq as u64 - 1);
    if !known.closed {
        let found = kit.store().history(conv, None, Span::After(before), page(1));
        let found = found.await.unwrap();
        return found
            .messages
            .first()
            .is_some_and(|first| first.seq.0 == seq as u64);
    }
    // The devices of a deleted team's members are told that they have left.
    let Some(left) = known.left_with(seq) else {
        return false;
    };
    let stretch = Stretch {
        conv,
        after: before,
        through: Seq(seq as u64),
    };
    let found = kit.store().replay(left.clone(), vec![stretch], page(1)).await;
    !found.unwrap().is_empty()
}

/// Reads the cursors of the devices after a crash.
async fn crashed(kit: &Kit, plain: &mut Plain) {
    let mut found = Vec::new();
    for known in &plain.devices {
        let device = &known.device;
        let mut cursors = HashMap::new();
        let mut after = None;
        loop {
            let lines =
                kit.store()
                    .conversations(device.uid.clone(), Some(device.device.clone()), after, page(500));
            let lines = lines.await.unwrap();
            cursors.extend(
                lines
                    .conversations
                    .iter()
                    .map(|line| (line.conv, line.cursor.0 as usize)),
            );
            after = lines.next;
            if after.is_none() {
                break;
            }
        }
        let missed = kit.store().missed(device.clone(), 500, 500).await.unwrap();
        cursors.extend(missed.left.iter().map(|left| (left.conv, left.after.0 as usize)));
        found.push(cursors);
    }
    plain.crashed(found);
}

async fn finish(kit: &Kit, plain: &mut Plain, choice: usize, outcome: &JobOutcome) {
    // Only a team's job can advance.
    let fits = |job: &plain::Job| job.to.is_none() || !matches!(outcome, JobOutcome::Advanced { .. });
    let jobs = plain.jobs.iter().filter(|(_, job)| fits(job));
    let jobs: Vec<_> = jobs.map(|(id, _)| *id).collect();
    if let Some(id) = jobs.get(choice % jobs.len().max(1)) {
        kit.finish(vec![(*id, outcome.clone())]).await.unwrap();
        let due = kit.all_jobs().await;
        plain.finish(*id, outcome, due.iter().map(|job| job.id));
    }
}

/// Returns the n-th conversation, or one that does not exist.
fn conv(plain: &Plain, choice: usize) -> ConvId {
    let some = plain.made.get(choice % (plain.made.len() + 1));
    some.copied().unwrap_or(ConvId([7; 16]))
}
