//! The store for many nodes: the chat record in a schema of a PostgreSQL database.
//!
//! PostgreSQL alone holds the data and decides the order; a node keeps nothing that it cannot read again. One
//! task of each node writes, in batches (`writer`, `batch`); a few connections read (`pool`). Tables and
//! indexes: `schema/`. Times are PostgreSQL's, so that the clocks of the nodes need not agree.

mod address;
mod age;
mod batch;
mod command;
mod conversations;
mod devices;
mod failure;
mod follow;
mod health;
mod history;
mod import;
mod jobs;
mod log;
mod marks;
mod membership;
mod missed;
mod nodes;
mod options;
mod pool;
mod queue;
mod recall;
mod retention;
mod revocations;
mod rows;
mod rules;
mod schema;
mod session;
mod settings;
mod teams;
mod unread;
mod values;
mod watchers;
mod writer;

#[cfg(test)]
mod tests;

use std::pin::Pin;
use std::sync::Arc;

use mynah_store::follow::{Follow, News, Point, RecordId};
use mynah_store::ids::{ConvId, DeviceId, Mid, Seq, TeamId, Uid};
use mynah_store::mids::Mids;
use mynah_store::{
    Append, Appended, Conversations, Device, DeviceRegister, Done, DueJobs, History, JobCounts, JobId,
    JobOutcome, JobQuery, Message, Missed, Page, Read, ReadMark, Recall, Recalled, Revocation, SettingChange,
    Span, Store, StoreError, StoreFuture, Stretch, Team, TeamChange, TeamChanged, ToTell, UnixMillis,
    Watcher,
};
use parking_lot::Mutex;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, oneshot, watch};
use tokio::task::{AbortHandle, JoinHandle};

pub use self::address::AddressError;
pub use self::command::{change_setting, read_setting};
pub use self::import::Import;
pub use self::nodes::{Admits, Nodes, Peer};
use self::nodes::{Heart, Node};
pub use self::options::{Options, SCHEMA};
use self::queue::{Command, Order, Tell};
use self::rules::Rules;
pub use self::rules::TestClock;
pub use self::schema::OpenError;
use self::session::{Session, in_time};

/// Returns an error if `url` is not the URL of a database, or names a file that cannot be read. Connects to
/// nothing.
pub fn check(url: &str) -> Result<(), AddressError> {
    address::Address::parse(url, SCHEMA).map(drop)
}

/// See the module.
pub struct Postgres {
    address: address::Address,
    /// The number of this node.
    node: i64,
    nodes: watch::Receiver<Nodes>,
    /// The task that writes its heartbeats.
    heart: AbortHandle,
    queue: Arc<queue::Queue>,
    pool: Arc<pool::Pool>,
    health: Arc<health::Health>,
    epoch: String,
    base: i64,
    watchers: Arc<watchers::Watchers>,
    clock: Option<TestClock>,
    writer: Mutex<Option<JoinHandle<()>>>,
    #[cfg(test)]
    retention: Arc<retention::Retention>,
    /// `None` only while it is dropped.
    runtime: Option<Runtime>,
}

impl Postgres {
    /// Opens the store, creates or migrates its tables, and starts to work on threads of its own.
    pub async fn open(options: Options) -> Result<Self, OpenError> {
        let address = address::Address::parse(&options.url, &options.schema)?;
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("store")
            .enable_all()
            .build()
            .map_err(OpenError::Threads)?;
        let is_shared = options.peer.is_some();
        let node = Node::new(options.alone, options.peer)
            .map_err(|error| OpenError::Unavailable(error.to_string()))?;
        let (nodes, seen_nodes) = watch::channel(Nodes::default());
        let (place, schema, clock) = (address.clone(), options.schema.clone(), options.clock.clone());
        let longest = (options.longest_push_wait_ms, options.longest_push_life_ms);
        let (health, own) = (Arc::<health::Health>::default(), node.clone());
        let heart = Heart {
            node: node.id,
            is_shared,
            nodes,
            address: address.clone(),
            health: health.clone(),
        };
        let begin = runtime.spawn(async move {
            let opened = schema::open(&place, &schema, Some(&own)).await?;
            let heart = heart.start().await?;
            let session = Session::connect(&place, &[]).await?;
            let moment = rows::Moment::read(&session, opened.base).await?;
            let (now, steady) = clock.map_or((moment.now, moment.steady), |clock| clock());
            jobs::bound(&session, steady, longest).await?;
            let measured = opened.measured.unwrap_or(now);
            let all = revocations::start();
            let told = watchers::look(&session, opened.base, &all, measured.min(now)).await?;
            let watchers = watchers::Watchers::new(opened.base, told);
            Ok::<_, OpenError>((opened, heart, now, measured, watchers))
        });
        let stopped = |_| OpenError::Unavailable("the start was interrupted".to_owned());
        let begun = begin.await.map_err(stopped).and_then(|begun| begun);
        let (opened, heart, now, measured, watchers) = match begun {
            Ok(begun) => begun,
            Err(error) => {
                runtime.shutdown_background();
                return Err(error);
            }
        };
        let (watchers, clock) = (Arc::new(watchers), options.clock.clone());
        let rules = Arc::new(Rules {
            node: node.id,
            dedupe_window_ms: options.dedupe_window_ms,
            max_members: options.max_members,
            max_devices: options.max_devices,
            new_members_see_all: options.new_members_see_all,
            keep_ms: options.retention_ms,
            base: opened.base,
            clock: options.clock,
        });
        let (queue, team_was_deleted) = (Arc::<queue::Queue>::default(), Arc::<Notify>::default());
        health.passed(measured);
        let writer = writer::Writer {
            address: address.clone(),
            queue: queue.clone(),
            health: health.clone(),
            observer: options.observer,
            rules: rules.clone(),
            mids: Mids::after(opened.mid.map(Mid), getrandom::fill),
            members: teams::MembersCache::default(),
            session: None,
            age: age::Age::after(measured, now, &rules),
            watchers: watchers.clone(),
            is_full: false,
            team_was_deleted: team_was_deleted.clone(),
        };
        let retention = Arc::new(retention::Retention::new(
            address.clone(),
            rules,
            team_was_deleted,
        ));
        let pool = Arc::new(pool::Pool::new(
            address.clone(),
            options.readers,
            runtime.handle().clone(),
        ));
        runtime.spawn(watchers.clone().follow(pool.clone()));
        let writer = runtime.spawn(writer.run());
        let deleting = retention.clone();
        runtime.spawn(async move { deleting.run().await });
        Ok(Self {
            address,
            node: node.id,
            nodes: seen_nodes,
            heart,
            queue,
            pool,
            health,
            epoch: opened.epoch,
            base: opened.base,
            watchers,
            clock,
            writer: Mutex::new(Some(writer)),
            #[cfg(test)]
            retention,
            runtime: Some(runtime),
        })
    }

    /// The other nodes, if this one has a [`Peer`]; read again with each heartbeat, once a second.
    pub fn nodes(&self) -> watch::Receiver<Nodes> {
        self.nodes.clone()
    }

    /// Returns the number of commands that wait to be written.
    pub fn depth(&self) -> usize {
        self.queue.depth()
    }

    /// Waits until another node has taken over the database, because this one was silent for too long. From
    /// then on nothing can be read or written here.
    pub fn lost(&self) -> impl Future<Output = ()> + Send + 'static {
        let health = self.health.clone();
        async move { health.lost().await }
    }

    fn push(&self, order: Order, tell: Tell) {
        let commands = [Command { order, tell }];
        self.queue.push(commands.into_iter(), self.health.serves());
    }

    /// Runs `read` with `asked` and a connection for reads.
    fn read_with<A, T>(
        &self,
        asked: A,
        read: impl for<'a> Fn(&'a Session, &'a A) -> pool::Reading<'a, T> + Send + Sync + 'static,
    ) -> StoreFuture<'static, T>
    where
        A: Send + Sync + 'static,
        T: Send + 'static,
    {
        match self.health.serves() {
            Ok(()) => self.pool.run(asked, read),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }
}

impl Drop for Postgres {
    fn drop(&mut self) {
        self.queue.close();
        self.pool.close();
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Store for Postgres {
    fn append(&self, messages: &mut dyn ExactSizeIterator<Item = (Arc<Append>, Done<Appended>)>) {
        let commands = messages.map(|(order, done)| Command {
            order: Order::Append(order),
            tell: Tell::Appended(done),
        });
        self.queue.push(commands, self.health.serves());
    }

    fn change_team(&self, team: TeamId, change: TeamChange, done: Done<TeamChanged>) {
        self.push(Order::ChangeTeam(team, change), Tell::Changed(done));
    }

    fn register_device(&self, register: DeviceRegister, done: Done<()>) {
        self.push(Order::RegisterDevice(register), Tell::Done(done));
    }

    fn ack(&self, device: Device, conv: ConvId, seq: Seq, done: Done<Seq>) {
        self.push(Order::Ack(device, conv, seq), Tell::Acked(done));
    }

    fn read(&self, read: Read, done: Done<ReadMark>) {
        self.push(Order::Read(read), Tell::Read(done));
    }

    fn recall(&self, recall: Recall, done: Done<Recalled>) {
        self.push(Order::Recall(recall), Tell::Recalled(done));
    }

    fn missed(&self, device: Device, conversations: u32, behind: u32) -> StoreFuture<'_, Missed> {
        let (base, conversations, behind) = (self.base, conversations as usize, behind as usize);
        let asker = device.clone();
        let read = self.read_with(device, move |session, device| {
            Box::pin(missed::missed(session, base, device, conversations, behind))
        });
        Box::pin(async move {
            let (missed, had) = read.await?;
            if let Some(row) = had {
                self.push(Order::Had(asker, row), Tell::Nobody);
            }
            Ok(missed)
        })
    }

    fn replay(&self, uid: Uid, stretches: Vec<Stretch>, page: Page) -> StoreFuture<'_, Vec<Message>> {
        self.read_with((uid, stretches), move |session, (uid, stretches)| {
            Box::pin(history::replay(session, uid, stretches, page))
        })
    }

    fn team(&self, team: TeamId) -> StoreFuture<'_, Option<Team>> {
        self.read_with(team, |session, team| Box::pin(teams::read(session, team)))
    }

    fn history(&self, conv: ConvId, viewer: Option<Uid>, span: Span, page: Page) -> StoreFuture<'_, History> {
        self.read_with(viewer, move |session, viewer| {
            Box::pin(history::read(session, conv, viewer.as_ref(), span, page))
        })
    }

    fn conversations(
        &self,
        uid: Uid,
        device: Option<DeviceId>,
        after: Option<String>,
        page: Page,
    ) -> StoreFuture<'_, Conversations> {
        // The cursors are complete when everything is written that waits now.
        let written = device.is_some().then(|| {
            let (written, waiting) = oneshot::channel();
            // Nobody may be waiting any more.
            let done = Box::new(move |_| {
                let _ = written.send(());
            });
            self.push(Order::Release(Vec::new()), Tell::Done(done));
            waiting
        });
        Box::pin(async move {
            if let Some(written) = written {
                // What could not be written was not acknowledged.
                let _ = written.await;
            }
            let asked = (uid, device, after);
            let page = self.read_with(asked, move |session, (uid, device, after)| {
                Box::pin(conversations::page(
                    session,
                    uid,
                    device.as_ref(),
                    after.as_deref(),
                    page,
                ))
            });
            page.await
        })
    }

    fn unread(&self, uid: Uid) -> StoreFuture<'_, u64> {
        self.read_with(uid, |session, uid| Box::pin(conversations::unread(session, uid)))
    }

    fn claim_jobs(&self, query: JobQuery, lease_ms: u64) -> StoreFuture<'_, DueJobs> {
        if lease_ms == 0 {
            let (base, clock) = (self.base, self.clock.clone());
            return self.read_with(query, move |session, query| {
                Box::pin(jobs::due(session, query, base, clock.clone()))
            });
        }
        // Executed in order with the releases of leases.
        let claimed = mynah_store::outcome(move |done| {
            self.push(Order::Claim(query, lease_ms), Tell::Claimed(done));
        });
        Box::pin(claimed)
    }

    fn release_jobs(&self, jobs: Vec<JobId>) {
        self.push(Order::Release(jobs), Tell::Nobody);
    }

    fn extend_leases(&self, lease_ms: u64) {
        let until = self
            .clock
            .as_ref()
            .map(|clock| clock().1.saturating_add(lease_ms));
        self.push(Order::Extend(lease_ms, until), Tell::Nobody);
    }

    fn job_counts(&self) -> StoreFuture<'_, JobCounts> {
        self.read_with((), |session, ()| Box::pin(jobs::counts(session)))
    }

    fn to_tell(&self, uid: Uid, conv: ConvId, seq: Seq) -> StoreFuture<'_, ToTell> {
        self.read_with(uid, move |session, uid| {
            Box::pin(jobs::to_tell(session, uid, conv, seq))
        })
    }

    fn revive_jobs(&self, uid: Uid, within_ms: u64, done: Done<()>) {
        self.push(Order::ReviveJobs(uid, within_ms), Tell::Done(done));
    }

    fn finish_jobs(&self, outcomes: Vec<(JobId, JobOutcome)>, done: Done<()>) {
        self.push(Order::FinishJobs(outcomes), Tell::Done(done));
    }

    fn members_page(
        &self,
        conv: ConvId,
        seq: Seq,
        after: Option<Uid>,
        limit: u32,
    ) -> StoreFuture<'_, Vec<Uid>> {
        self.read_with(after, move |session, after| {
            Box::pin(teams::page(session, conv, seq, after.as_ref(), limit))
        })
    }

    fn revoke(&self, revocation: Revocation, done: Done<()>) {
        self.push(Order::Revoke(revocation), Tell::Done(done));
    }

    fn change_setting(&self, name: &str, change: SettingChange, done: Done<()>) {
        let order = Order::Change(name.to_owned(), Mutex::new(change));
        self.push(order, Tell::Done(done));
    }

    fn watch(&self, watcher: Watcher) {
        self.watchers.watch(watcher);
    }

    fn certain_time(&self) -> UnixMillis {
        self.health.certain()
    }

    fn epoch(&self) -> &str {
        &self.epoch
    }

    fn healthy(&self) -> Result<(), StoreError> {
        self.health.state()
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async move {
            self.queue.close();
            let writer = self.writer.lock().take();
            if let Some(writer) = writer
                && writer.await.is_err()
            {
                tracing::error!("the store did not stop in order");
            }
            self.pool.close();
            self.heart.abort();
            let (address, node) = (self.address.clone(), self.node);
            let leave = Box::pin(async move { Box::pin(in_time(nodes::leave(&address, node))).await });
            if let Some(runtime) = &self.runtime
                && let Ok(Err(failure)) = runtime.spawn(leave).await
            {
                tracing::warn!(error = %failure.told(), "the next node waits a few seconds longer for this one");
            }
        })
    }
}

impl Follow for Postgres {
    fn point(&self) -> StoreFuture<'_, Point> {
        let base = self.base;
        self.read_with((), move |session, ()| Box::pin(follow::point(session, base)))
    }

    fn news(&self, since: Point, limit: u32) -> StoreFuture<'_, News> {
        let base = self.base;
        self.read_with(since, move |session, since| {
            Box::pin(follow::news(session, base, since, limit))
        })
    }

    fn messages(&self, stretch: Stretch, page: Page) -> StoreFuture<'_, Vec<(RecordId, Message)>> {
        self.read_with((), move |session, ()| {
            Box::pin(follow::messages(session, stretch, page))
        })
    }
}
