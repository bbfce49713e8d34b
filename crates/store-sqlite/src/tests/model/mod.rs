//! The store is compared with a plain model: the same random operations on both must give the same results.
//!
//! `PROPTEST_CASES` sets the number of cases. A failure prints the seed, which `PROPTEST_RNG_SEED` repeats,
//! and the shortest failing sequence of steps that was found.

mod compare;
mod places;
mod plain;
mod steps;

use mynah_store::ids::{ConvId, Mid};
use mynah_store::{JobOutcome, Recall, TeamChange};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

use self::compare::compare;
use self::plain::Plain;
use self::steps::{Step, setup, steps};
use super::kit::{Kit, Setup, device, notice, pair, recall, to_team, uid};

proptest! {
    #![proptest_config(config())]

    #[test]
    fn answers_as_the_plain_model(setup in setup(), steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(run(setup, steps));
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
#[tokio::test]
async fn dead_jobs_are_deleted_with_their_team() {
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
    run(Setup::default(), steps).await;
}

/// A device that is registered after a crash is not older than one that was registered shortly before.
#[tokio::test]
async fn devices_are_forgotten_in_order_after_a_crash() {
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
    run(setup, steps).await;
}

async fn run(setup: Setup, steps: Vec<Step>) {
    let mut kit = Kit::with(setup);
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
                kit.enter(&device).await;
                plain.enter(&device);
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
                plain.crashed(&cursors(&kit).await);
                catch_up(&kit, &mut plain).await;
            }
            Step::Compare => compare(&kit, &mut plain).await,
        }
    }
    compare(&kit, &mut plain).await;
}

async fn catch_up(kit: &Kit, plain: &mut Plain) {
    kit.catch_up().await;
    let oldest = "SELECT coalesce(min(id), 1) FROM messages";
    let oldest: i64 = kit
        .writer(|db| db.query_row(oldest, [], |row| row.get(0)).unwrap())
        .await;
    plain.delete_old(oldest as usize - 1);
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

/// Returns all cursors in the database.
async fn cursors(kit: &Kit) -> Vec<(String, String, ConvId, usize)> {
    kit.writer(|db| {
        let mut select = db
            .prepare(
                "SELECT d.uid, d.device, c.conv, k.seq FROM cursors k
                 JOIN devices d ON d.id = k.device_id JOIN conversations c ON c.id = k.conv_id",
            )
            .unwrap();
        let rows = select.query_map([], |row| {
            let seq: i64 = row.get(3)?;
            Ok((row.get(0)?, row.get(1)?, ConvId(row.get(2)?), seq as usize))
        });
        rows.unwrap().collect::<rusqlite::Result<_>>().unwrap()
    })
    .await
}
