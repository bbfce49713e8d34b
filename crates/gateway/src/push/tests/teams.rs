//! Tests that messages to many teams are notified without a rest after each.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::ids::{ConvId, Seq, Uid};
use crate::store::testing::Wrapper;
use crate::store::{Append, Appended, Done, DueJobs, JobQuery, Lane, Store, StoreFuture, forward};

/// A store that counts calls of the worker.
struct Counted {
    store: Arc<dyn Store>,
    calls: Arc<Calls>,
}

#[derive(Default)]
struct Calls {
    claims: AtomicUsize,
    pages: AtomicUsize,
}

impl Wrapper for Counted {
    fn inner(&self) -> &dyn Store {
        &*self.store
    }
}

impl Store for Counted {
    forward! {
        change_team register_device ack read recall missed replay team history conversations unread
        release_jobs extend_leases job_counts to_tell revive_jobs finish_jobs revoke change_setting watch
        certain_time epoch healthy close
    }

    fn append(&self, messages: &mut dyn ExactSizeIterator<Item = (Arc<Append>, Done<Appended>)>) {
        self.store.append(messages);
    }

    fn claim_jobs(&self, query: JobQuery, lease_ms: u64) -> StoreFuture<'_, DueJobs> {
        if query.lane == Lane::Normal && query.uid.is_none() {
            self.calls.claims.fetch_add(1, Ordering::Relaxed);
        }
        self.store.claim_jobs(query, lease_ms)
    }

    fn members_page(
        &self,
        conv: ConvId,
        seq: Seq,
        after: Option<Uid>,
        limit: u32,
    ) -> StoreFuture<'_, Vec<Uid>> {
        self.calls.pages.fetch_add(1, Ordering::Relaxed);
        self.store.members_page(conv, seq, after, limit)
    }
}

#[tokio::test]
async fn many_small_teams_are_read_between_two_reads_of_jobs() {
    const MESSAGES: usize = 200;
    let (url, mut posted) = webhook(|_| Answer::Status(200)).await;
    let calls = Arc::new(Calls::default());
    let counted = calls.clone();
    let kit = kit_on(
        &url,
        |_| {},
        |store| {
            Arc::new(Counted {
                store,
                calls: counted,
            })
        },
    );
    let gateway = &kit.world.gateway;
    let teams = (0..MESSAGES).map(|n| TeamId::new(&format!("t{n}")).unwrap());
    let mut orders = Vec::new();
    for (n, team) in teams.enumerate() {
        let member = uid(&format!("u{n}"));
        gateway
            .put_team(team.clone(), "T".into(), vec![member])
            .await
            .unwrap();
        orders.push(Ok(order(15, To::Team(team))));
    }
    // The worker rests before each of these reads.
    let before = calls.claims.load(Ordering::Relaxed);
    assert!(gateway.send_batch(orders).await.iter().all(Result::is_ok));
    for _ in 0..MESSAGES {
        posted.next().await;
    }
    let pages = calls.pages.load(Ordering::Relaxed);
    let claims = calls.claims.load(Ordering::Relaxed) - before;
    assert!(pages >= MESSAGES, "{pages} pages");
    assert!(4 * claims < pages, "{claims} reads of jobs for {pages} pages");
}
