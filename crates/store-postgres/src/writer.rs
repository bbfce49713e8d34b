//! The only task of a node that writes. It takes the commands that wait, writes them in one transaction, and
//! calls the callers back after the commit.
//!
//! It never waits for more commands: while one transaction is committed, those of the next one arrive.
//! Invariants: callbacks are called in commit order; if the connection is lost during a commit, the task
//! finds out whether the transaction was committed, so that a message is neither lost nor written twice; a
//! transaction that conflicts with one of another node is repeated; a callback that panics does not stop the
//! task.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mynah_store::ids::{ConvId, Seq};
use mynah_store::mids::Mids;
use mynah_store::{JobId, Observer, StoreError, TeamChange};
use tokio::sync::Notify;

use super::address::Address;
use super::age::Age;
use super::batch::{self, Batch, COMMIT_OF_BATCH, LOAD, Outcome, Sorted, fitting};
use super::failure::Failure;
use super::health::Health;
use super::queue::{Order, Queue, Tell};
use super::rows::Moment;
use super::rules::Rules;
use super::schema::SAVE_MEASURED;
use super::session::{Session, in_time};
use super::teams::MembersCache;
use super::values::stored;
use super::watchers::Watchers;
use super::{devices, jobs, membership, recall, revocations, settings};

/// The maximum number of commands in one transaction.
const BATCH: usize = 2_048;
/// The time without a write after which the task checks whether PostgreSQL answers.
const PROBE: Duration = Duration::from_secs(2);
/// How often a transaction is repeated that conflicts with one of another node.
const MOST_CONFLICTS: u32 = 10;
/// Whether a transaction is still running.
const RUNS: &str = "SELECT $1::text::xid8 < pg_snapshot_xmax(pg_current_snapshot())
     AND pg_xact_status($1::text::xid8) = 'in progress'";
/// How many transactions of this node's writer were committed.
const COMMITTED: &str = "SELECT committed FROM writers WHERE node = $1";
/// Checks whether writing is possible, without locking a row.
const CHECK: &str = "SELECT pg_is_in_recovery() OR current_setting('transaction_read_only')::bool";
/// Fails while the disk has no space for new pages. It is rolled back.
const NEEDS_ROOM: &str = "BEGIN; CREATE TABLE room (filler text);
     INSERT INTO room SELECT repeat('x', 1000) FROM generate_series(1, 256); ROLLBACK";

/// See the module.
pub(super) struct Writer {
    pub(super) address: Address,
    pub(super) queue: Arc<Queue>,
    pub(super) health: Arc<Health>,
    pub(super) observer: Arc<dyn Observer>,
    pub(super) rules: Arc<Rules>,
    pub(super) mids: Mids,
    pub(super) members: MembersCache,
    pub(super) session: Option<Session>,
    pub(super) age: Age,
    pub(super) watchers: Arc<Watchers>,
    /// Whether PostgreSQL's disk was full at the last attempt to write.
    pub(super) is_full: bool,
    /// Notified when a team was deleted.
    pub(super) team_was_deleted: Arc<Notify>,
}

impl Writer {
    /// Works until the queue is closed and empty.
    pub(super) async fn run(mut self) {
        while let Some(mut commands) = self.queue.take(BATCH, PROBE).await {
            if commands.is_empty() {
                self.probe().await;
            }
            while !commands.is_empty() {
                let fit = fitting(commands.iter().map(|command| &command.order)).max(1);
                let rest = commands.split_off(fit);
                let (orders, tells) = commands
                    .into_iter()
                    .map(|command| (command.order, command.tell))
                    .unzip();
                Box::pin(self.commit(orders, tells)).await;
                commands = rest;
            }
        }
        self.probe().await;
        self.save_age(true).await;
    }

    /// Checks whether writing is possible, and reads PostgreSQL's clock.
    async fn probe(&mut self) {
        match self.check().await {
            Ok(false) if !self.has_room().await => {}
            Ok(false) => {
                self.health.recovered();
                self.save_age(false).await;
            }
            Ok(true) => {
                self.session = None;
                let why = "PostgreSQL is read-only (a standby?); name the primary in store.url";
                self.health.failed(&StoreError::Unavailable(why.to_owned()));
            }
            Err(failure) => self.health.failed(&failure.told()),
        }
    }

    /// Whether a disk that was full has space again.
    async fn has_room(&mut self) -> bool {
        if self.is_full
            && let Some(session) = self.session.take()
        {
            match in_time(session.run(NEEDS_ROOM)).await {
                Ok(()) => (self.session, self.is_full) = (Some(session), false),
                Err(failure) => self.keep(session, &failure).await,
            }
        }
        !self.is_full
    }

    /// Whether the server is read-only. Reads its clock.
    async fn check(&mut self) -> Result<bool, Failure> {
        let session = self.connected().await?;
        let rows = in_time(session.query(CHECK, &[])).await?;
        let moment = in_time(Moment::read(&session, self.rules.base)).await?;
        self.session = Some(session);
        let moment = self.age.advance(moment, &self.rules);
        self.health.passed(moment.certain());
        let row = rows.first().ok_or(Failure::Defect("no answer"))?;
        Ok(row.try_get(0)?)
    }

    /// Stores the measured time, if the interval has passed or `always` is set.
    async fn save_age(&mut self, always: bool) {
        let Some(measured) = self.age.unsaved(always) else {
            return;
        };
        let Some(session) = &self.session else { return };
        if let Err(failure) = in_time(session.execute(SAVE_MEASURED, &[&stored(measured)])).await {
            // The next attempt stores it.
            tracing::debug!(error = %failure.told(), "the measured time could not be stored");
        }
    }

    /// Takes the connection, which must be given back with [`Self::keep`].
    async fn connected(&mut self) -> Result<Session, Failure> {
        if let Some(session) = self.session.take().filter(|session| !session.is_closed()) {
            return Ok(session);
        }
        let statements: Vec<_> = LOAD.iter().chain(COMMIT_OF_BATCH).copied().collect();
        Session::connect(&self.address, &statements).await
    }

    /// Keeps the connection after a failure, if it can be used again.
    async fn keep(&mut self, session: Session, failure: &Failure) {
        if !failure.ends_connection() && in_time(session.run("ROLLBACK")).await.is_ok() {
            self.session = Some(session);
        }
    }

    /// Returns whether the transaction must be repeated.
    async fn again(&self, failure: &Failure, attempt: u32) -> bool {
        if failure.is_conflict() && attempt < MOST_CONFLICTS {
            // The nodes wait for different times, so that they do not conflict again.
            let random = u64::from(std::process::id()) % 7;
            tokio::time::sleep(Duration::from_millis(u64::from(attempt) * (2 + random))).await;
            return true;
        }
        // The connection had ended before: the server was restarted.
        matches!(failure, Failure::Broken(_)) && failure.ends_connection() && attempt == 0
    }

    /// Writes a batch and tells its callers.
    async fn commit(&mut self, orders: Vec<Order>, tells: Vec<Tell>) {
        let begun = Instant::now();
        let mut attempt = 0;
        let outcomes = loop {
            let outcomes = match &orders[..] {
                [order] if order.is_alone() => self.transact_alone(order).await.map(|outcome| vec![outcome]),
                orders => Box::pin(self.transact(orders)).await,
            };
            match outcomes {
                Err(failure) if self.again(&failure, attempt).await => attempt += 1,
                Err(failure) => {
                    self.is_full = failure.is_full();
                    break Err(failure.told());
                }
                Ok(outcomes) => break Ok(outcomes),
            }
        };
        match outcomes {
            Ok(outcomes) => {
                self.is_full = false;
                self.health.recovered();
                self.observer.committed(orders.len(), begun.elapsed());
                // Before the callers know it, so that what follows a crash is later.
                self.save_age(false).await;
                for (to, outcome) in tells.into_iter().zip(outcomes) {
                    guarded(|| tell(to, outcome));
                }
            }
            Err(error) => {
                self.observer.failed();
                self.health.failed(&error);
                for to in tells {
                    guarded(|| to.fail(error.clone()));
                }
            }
        }
    }

    async fn transact(&mut self, orders: &[Order]) -> Result<Vec<Outcome>, Failure> {
        let session = self.connected().await?;
        let rules = self.rules.clone();
        let sorted = Sorted::of(orders);
        let shared = (&*rules, &mut self.mids, &mut self.members, &mut self.age);
        let (batch, mut outcomes) = match Box::pin(in_time(prepare(&session, shared, &sorted, orders))).await
        {
            Ok(prepared) => prepared,
            Err(failure) => {
                self.keep(session, &failure).await;
                return Err(failure);
            }
        };
        let certain = batch.moment.certain();
        self.health.passed(certain);
        let moment = batch.moment;
        let written = Box::pin(in_time(batch::flush(&session, &batch))).await;
        drop(batch);
        match written {
            Ok(made) => {
                name_jobs(&mut outcomes, &made);
                self.session = Some(session);
                self.tell_watchers(&sorted);
                Ok(outcomes)
            }
            // The ids of the new jobs are unknown; the worker finds the jobs when they are due.
            Err(failure) if failure.ends_connection() => {
                drop(session);
                if !self.is_committed(moment).await? {
                    return Err(failure);
                }
                self.tell_watchers(&sorted);
                Ok(outcomes)
            }
            Err(failure) => {
                self.keep(session, &failure).await;
                Err(failure)
            }
        }
    }

    fn tell_watchers(&self, sorted: &Sorted<'_>) {
        for revocation in &sorted.revocations {
            guarded(|| self.watchers.revoked(revocation));
        }
    }

    /// Whether a transaction whose connection was lost was committed. Its number does not tell: if a crash of
    /// PostgreSQL has lost the transaction, another one may get the same number.
    async fn is_committed(&mut self, moment: Moment) -> Result<bool, Failure> {
        let until = Instant::now() + Duration::from_secs(6);
        while Instant::now() < until {
            if let Ok(session) = self.connected().await
                && let Ok(outcome) = in_time(fate(&session, self.rules.node, moment)).await
            {
                self.session = Some(session);
                if let Some(is_committed) = outcome {
                    return Ok(is_committed);
                }
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let why = "the connection to PostgreSQL was lost during a commit; send again with the same cid";
        Err(Failure::Refused(StoreError::Unavailable(why.to_owned())))
    }

    /// Writes something that has a transaction of its own.
    async fn transact_alone(&mut self, order: &Order) -> Result<Outcome, Failure> {
        let session = self.connected().await?;
        let rules = self.rules.clone();
        let (mut members, mut setting) = (None, None);
        let work = async {
            session.run("BEGIN").await?;
            let moment = Moment::begin(&session, &rules).await?;
            let moment = self.age.advance(moment, &rules);
            let log = (moment, &mut self.mids);
            let done = match order {
                Order::ChangeTeam(team, change) => {
                    let (changed, version) = membership::change(&session, &rules, log, team, change).await?;
                    members = Some((changed.team.conv, version, changed.team.members.clone()));
                    Outcome::Changed(Ok(changed))
                }
                Order::Recall(order) => {
                    Outcome::Recalled(Ok(recall::recall(&session, log, &self.age, order).await?))
                }
                Order::ReviveJobs(uid, within_ms) => {
                    jobs::revive(&session, moment.steady, (uid, *within_ms)).await?;
                    Outcome::Done
                }
                Order::Claim(query, lease_ms) => {
                    let asked = (query, *lease_ms);
                    Outcome::Claimed(jobs::claim(&session, asked, moment.steady, rules.node).await?)
                }
                Order::Change(name, change) => {
                    setting = settings::change(&session, name, |text| change.lock()(text)).await?;
                    Outcome::Done
                }
                _ => return Err(Failure::Defect("an order in the wrong place")),
            };
            Ok((done, moment))
        };
        let (done, moment) = match in_time(work).await {
            Ok(done) => done,
            Err(failure) => {
                self.keep(session, &failure).await;
                return refused(order, failure);
            }
        };
        self.health.passed(moment.certain());
        match in_time(session.run("COMMIT")).await {
            Ok(()) => self.session = Some(session),
            Err(failure) if failure.ends_connection() => {
                drop(session);
                if !self.is_committed(moment).await? {
                    return Err(failure);
                }
            }
            Err(failure) => {
                self.keep(session, &failure).await;
                return Err(failure);
            }
        }
        if let Some(setting) = setting {
            self.watchers.set(setting);
        }
        if let Some((conv, version, members)) = members {
            self.members.put(conv, version, members);
        }
        if matches!(order, Order::ChangeTeam(_, TeamChange::Delete)) {
            self.team_was_deleted.notify_one();
        }
        Ok(done)
    }
}

/// Whether a transaction of the writer was committed; `None` while it runs.
async fn fate(session: &Session, node: i64, moment: Moment) -> Result<Option<bool>, Failure> {
    let transaction = moment.transaction.to_string();
    let rows = session.query(RUNS, &[&transaction]).await?;
    let runs: Option<bool> = rows.first().and_then(|row| row.try_get(0).ok());
    if runs == Some(true) {
        return Ok(None);
    }
    // Asked afterwards, as it changes no more.
    let rows = session.query(COMMITTED, &[&node]).await?;
    let committed: i64 = rows.first().ok_or(Failure::Fenced)?.try_get(0)?;
    Ok(Some(committed >= moment.committed))
}

/// Executes a batch, except for the last round trip.
async fn prepare<'a>(
    session: &Session,
    (rules, mids, members, age): (&'a Rules, &'a mut Mids, &mut MembersCache, &'a mut Age),
    sorted: &Sorted<'a>,
    orders: &'a [Order],
) -> Result<(Batch<'a>, Vec<Outcome>), Failure> {
    let mut batch = batch::load(session, (rules, mids, members, age), sorted).await?;
    if !sorted.registers.is_empty() {
        devices::register(session, &batch.moment, &sorted.registers, rules.max_devices).await?;
    }
    if !sorted.had.is_empty() {
        devices::had(session, &sorted.had).await?;
    }
    jobs::finish(session, batch.moment.steady, &sorted.finished).await?;
    if !sorted.released.is_empty() {
        jobs::release(session, &sorted.released, rules.node).await?;
    }
    if let Some((lease_ms, until)) = sorted.extended {
        let until = until.unwrap_or(batch.moment.steady.saturating_add(lease_ms));
        jobs::extend(session, until, rules.node).await?;
    }
    for revocation in &sorted.revocations {
        revocations::revoke(session, &batch.moment, revocation).await?;
    }
    let outcomes = batch.run(orders);
    Ok((batch, outcomes))
}

/// Tells the outcomes which push jobs were made.
fn name_jobs(outcomes: &mut [Outcome], made: &HashMap<(ConvId, Seq), JobId>) {
    for outcome in outcomes {
        if let Outcome::Appended(Ok(told)) = outcome
            && !told.duplicate
        {
            told.push = made.get(&(told.conv, told.seq)).copied();
        }
    }
}

/// The outcome of an order that is refused.
fn refused(order: &Order, failure: Failure) -> Result<Outcome, Failure> {
    match (order, failure) {
        (Order::ChangeTeam(..), Failure::Refused(error)) => Ok(Outcome::Changed(Err(error))),
        (Order::Recall(..), Failure::Refused(error)) => Ok(Outcome::Recalled(Err(error))),
        (_, failure) => Err(failure),
    }
}

fn tell(to: Tell, outcome: Outcome) {
    match (to, outcome) {
        (Tell::Appended(done), Outcome::Appended(outcome)) => done(outcome),
        (Tell::Changed(done), Outcome::Changed(outcome)) => done(outcome),
        (Tell::Acked(done), Outcome::Acked(outcome)) => done(outcome),
        (Tell::Read(done), Outcome::Read(outcome)) => done(outcome),
        (Tell::Recalled(done), Outcome::Recalled(outcome)) => done(outcome),
        (Tell::Claimed(done), Outcome::Claimed(found)) => done(Ok(found)),
        (Tell::Done(done), Outcome::Done) => done(Ok(())),
        (Tell::Nobody, _) => {}
        // Invariant: each order has its own sort of outcome.
        (to, _) => to.fail(StoreError::Unavailable("it has a defect".to_owned())),
    }
}

/// Calls a callback. If it panics, only this caller is affected.
fn guarded(call: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(call)).is_err() {
        tracing::error!("a callback of the store panicked");
    }
}
