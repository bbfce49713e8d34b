//! A store in a temporary directory, with a clock that the test turns, and short ways to ask it for things.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::value::RawValue;
use tempfile::TempDir;
use tokio::sync::oneshot;

use crate::ids::{Cid, PairClass, TeamId, Uid};
use crate::store::embedded::{Durability, Embedded, Options};
use crate::store::{
    Append, Appended, Done, JobId, JobOutcome, Page, Place, PushOrder, Store, StoreError, TeamChange,
    TeamChanged,
};

/// The clock's first value.
pub(super) const NOON: u64 = 1_790_000_000_000;

/// See the module. Syncing is left out, as nothing here cuts the power.
pub(super) struct Kit {
    pub(super) dir: TempDir,
    pub(super) store: Embedded,
    clock: Arc<AtomicU64>,
}

impl Kit {
    pub(super) fn new() -> Self {
        Self::within(tempfile::tempdir().unwrap())
    }

    pub(super) fn within(dir: TempDir) -> Self {
        let clock = Arc::new(AtomicU64::new(NOON));
        let store = Embedded::open(options(&dir, &clock)).unwrap();
        Self { dir, store, clock }
    }

    /// Closes the store and opens it again.
    pub(super) async fn reopen(&mut self) {
        self.store.close().await;
        self.store = Embedded::open(options(&self.dir, &self.clock)).unwrap();
    }

    pub(super) fn set_clock(&self, now: u64) {
        self.clock.store(now, Ordering::Relaxed);
    }

    pub(super) async fn append(&self, order: Append) -> Result<Appended, StoreError> {
        self.append_all(vec![order]).await.remove(0)
    }

    /// In one call, which is one transaction.
    pub(super) async fn append_all(&self, orders: Vec<Append>) -> Vec<Result<Appended, StoreError>> {
        let (batch, outcomes): (Vec<_>, Vec<_>) = orders
            .into_iter()
            .map(|order| {
                let (done, outcome) = answer();
                ((order, done), outcome)
            })
            .unzip();
        self.store.append(batch);
        let mut told = Vec::new();
        for outcome in outcomes {
            told.push(outcome.await.expect("the store answers"));
        }
        told
    }

    pub(super) async fn change(&self, team: &str, change: TeamChange) -> Result<TeamChanged, StoreError> {
        let (done, outcome) = answer();
        self.store.change_team(team_id(team), change, done);
        outcome.await.expect("the store answers")
    }

    /// Makes a team, or replaces its members.
    pub(super) async fn team(&self, team: &str, members: &[&str]) {
        let put = TeamChange::Put {
            name: "T".into(),
            members: uids(members),
        };
        self.change(team, put).await.expect("the team can be made");
    }

    pub(super) async fn finish(&self, outcomes: Vec<(JobId, JobOutcome)>) -> Result<(), StoreError> {
        let (done, outcome) = answer();
        self.store.finish_jobs(outcomes, done);
        outcome.await.expect("the store answers")
    }
}

fn options(dir: &TempDir, clock: &Arc<AtomicU64>) -> Options {
    let clock = clock.clone();
    Options {
        durability: Durability::Process,
        dedupe_window_ms: 1_000,
        max_members: 10,
        clock: Arc::new(move || clock.load(Ordering::Relaxed)),
        ..Options::new(dir.path())
    }
}

/// A callback and what it will be told.
pub(super) fn answer<T: Send + 'static>() -> (Done<T>, oneshot::Receiver<Result<T, StoreError>>) {
    let (tell, told) = oneshot::channel();
    let done = move |outcome| {
        // A test that gave up does not listen any more.
        let _ = tell.send(outcome);
    };
    (Box::new(done), told)
}

pub(super) fn uid(text: &str) -> Uid {
    Uid::new(text).unwrap()
}

pub(super) fn uids(texts: &[&str]) -> Vec<Uid> {
    texts.iter().map(|text| uid(text)).collect()
}

pub(super) fn team_id(text: &str) -> TeamId {
    TeamId::new(text).unwrap()
}

pub(super) fn json(text: &str) -> Arc<RawValue> {
    RawValue::from_string(text.to_owned()).unwrap().into()
}

/// A counting message of kind 3 with a push job.
pub(super) fn pair(from: &str, to: &str) -> Append {
    Append {
        place: Place::Pair {
            class: PairClass::Plain,
            to: uid(to),
        },
        kind: 3,
        counts: true,
        from: Some(uid(from)),
        device: None,
        members_only: false,
        cid: None,
        data: json(r#"{"text":"你好 👋"}"#),
        push: Some(PushOrder {
            expires: NOON + 86_400_000,
        }),
    }
}

/// A counting notice of kind 5 with a push job.
pub(super) fn notice(to: &str) -> Append {
    Append {
        place: Place::Notices(uid(to)),
        kind: 5,
        from: None,
        ..pair(to, to)
    }
}

/// A counting message of kind 15 with a push job, by a member.
pub(super) fn to_team(from: &str, team: &str) -> Append {
    Append {
        place: Place::Team(team_id(team)),
        kind: 15,
        members_only: true,
        ..pair(from, from)
    }
}

pub(super) fn with_cid(order: Append, cid: &str) -> Append {
    Append {
        cid: Some(Cid::new(cid).unwrap()),
        ..order
    }
}

/// A page of so many entries.
pub(super) fn page(most: u32) -> Page {
    let bytes = 8 << 20;
    Page { most, bytes }
}
