//! Push jobs that are due again after a connection has proved to be dead.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mynah_store::{Append, Appended, Done, JobOutcome, JobQuery, Lane, Store};

use super::kit::{Kit, answer, pair, to_team, uid};

/// Jobs of a user and of a team, more than one transaction revives.
#[tokio::test]
async fn many_jobs_are_revived_in_parts_while_others_write() {
    const EACH: usize = 7;
    let kit = Kit::new();
    kit.team("t", &["a", "b"]).await;
    kit.team("u", &["a", "b"]).await;
    let orders: [Append; 3] = [pair("a", "b"), to_team("a", "t"), to_team("a", "u")];
    let orders = orders.into_iter().flat_map(|order| vec![order; EACH]).collect();
    let delivered = JobOutcome::Delivered { for_ms: 50_000 };
    let jobs = kit.append_all(orders).await.into_iter();
    let jobs = jobs.map(|told| (told.unwrap().push.unwrap(), delivered.clone()));
    kit.finish(jobs.collect()).await.unwrap();

    let (done, revived) = answer();
    kit.store.revive_jobs(uid("b"), 1, done);
    let written = Arc::new(AtomicBool::new(false));
    let flag = written.clone();
    let done: Done<Appended> = Box::new(move |_| flag.store(true, Ordering::Relaxed));
    kit.store
        .append(&mut std::iter::once((Arc::new(pair("a", "c")), done)));
    revived.await.unwrap().unwrap();
    assert!(
        written.load(Ordering::Relaxed),
        "it has not waited for all of them"
    );
    kit.revive("b", 1).await;
    let query = JobQuery {
        uid: Some(uid("b")),
        ..JobQuery::due(Lane::Normal, 1_000)
    };
    let due = kit.store.claim_jobs(query, 0).await.unwrap();
    assert_eq!(due.jobs.len(), 3 * EACH, "each once");
}

/// A team's job reaches the user while many other jobs of the user are revived.
#[tokio::test]
async fn a_job_that_is_finished_between_two_parts_is_not_made_again() {
    const MANY: usize = 300;
    let kit = Kit::new();
    kit.team("t", &["a", "b"]).await;
    let orders = (0..MANY)
        .map(|_| pair("a", "b"))
        .chain([to_team("a", "t")])
        .collect();
    let told = kit.append_all(orders).await;
    let mut jobs: Vec<_> = told.into_iter().map(|told| told.unwrap().push.unwrap()).collect();
    let of_team = jobs.pop().unwrap();
    let delivered = JobOutcome::Delivered { for_ms: 50_000 };
    let jobs = jobs.into_iter().map(|job| (job, delivered.clone()));
    kit.finish(jobs.collect()).await.unwrap();

    let (done, revived) = answer();
    kit.store.revive_jobs(uid("b"), 60_000, done);
    let advanced = JobOutcome::Advanced {
        after: uid("b"),
        jobs: vec![(uid("b"), 0)],
    };
    kit.finish(vec![(of_team, advanced)]).await.unwrap();
    let query = || JobQuery {
        uid: Some(uid("b")),
        ..JobQuery::due(Lane::Normal, 10_000)
    };
    let due = kit.store.claim_jobs(query(), 0).await.unwrap();
    let own = due.jobs.iter().max_by_key(|job| job.id).unwrap();
    assert!(own.id > of_team, "the user's job for the team's message");
    kit.finish(vec![(own.id, JobOutcome::Finished)]).await.unwrap();
    revived.await.unwrap().unwrap();
    let due = kit.store.claim_jobs(query(), 0).await.unwrap();
    assert_eq!(due.jobs.len(), MANY);
}
