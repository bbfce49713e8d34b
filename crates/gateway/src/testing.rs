//! For tests: a gateway on a store in a temporary directory, with connections that keep what they are sent.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mynah_socketio::{AckId, BoxFuture, CloseReason, DisconnectReason, Event, Handler, Time};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Notify, Semaphore};

use crate::builder::Builder;
use crate::config::Config;
use crate::core::Core;
use crate::frame::{Format, Frame};
use crate::gateway::Gateway;
use crate::ids::{ConvId, DeviceId, Seq, TeamId, Uid};
use crate::metrics::Metrics;
use crate::order::{By, SendOrder, To};
use crate::session::{Client, Outlet};
use crate::store::embedded::{Durability, Embedded, Options};
use crate::store::{
    self, Append, Appended, Conversations, Done, DueJobs, History, JobId, JobOutcome, Message, Missed, Page,
    Read, ReadMark, Recall, Recalled, Revocation, Span, Store, StoreError, StoreFuture, Stretch, Team,
    TeamChange, TeamChanged, UnixMillis,
};

/// How long a test waits for what must come; far longer than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What a connection was told.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// A frame, in one of its two forms.
    Frame(Value, Format),
    /// The argument of a callback.
    Ack(u64, Value),
    /// It is sent away.
    Away,
    /// It is cut off.
    Cut,
    /// It is closed to come back.
    Back,
}

#[derive(Default)]
struct Told {
    said: VecDeque<Said>,
    over: bool,
}

/// A connection's outlet that keeps what it is told.
#[derive(Clone)]
pub(crate) struct Ear {
    sid: Arc<str>,
    told: Arc<Mutex<Told>>,
    changed: Arc<Notify>,
    /// Waiting for room takes a permit.
    pub(crate) room: Arc<Semaphore>,
}

impl Ear {
    pub(crate) fn new(sid: &str) -> Self {
        Self {
            sid: sid.into(),
            told: Arc::default(),
            changed: Arc::default(),
            room: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
        }
    }

    fn tell(&self, said: Said, last: bool) -> bool {
        let mut told = self.told.lock();
        if told.over {
            return false;
        }
        told.over = last;
        told.said.push_back(said);
        self.changed.notify_one();
        true
    }

    /// What it was told next; waits for it.
    pub(crate) async fn next(&self) -> Said {
        loop {
            if let Some(said) = self.told.lock().said.pop_front() {
                return said;
            }
            let changed = tokio::time::timeout(PATIENCE, self.changed.notified()).await;
            changed.expect("something was due to be told");
        }
    }

    /// The next frame, whatever its form.
    pub(crate) async fn frame(&self) -> Value {
        match self.next().await {
            Said::Frame(frame, _) => frame,
            other => panic!("a frame was due, {other:?} came"),
        }
    }

    /// What it was told and nobody asked for yet.
    pub(crate) fn rest(&self) -> Vec<Said> {
        self.told.lock().said.drain(..).collect()
    }
}

impl Outlet for Ear {
    fn send(&self, frame: &Frame, format: Format) -> bool {
        let value = serde_json::from_str(frame.json()).expect("frames are JSON");
        self.tell(Said::Frame(value, format), false)
    }

    fn room(&self, _bytes: usize) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async {
            self.room.acquire().await.expect("never closed").forget();
            !self.told.lock().over
        })
    }

    fn ack(&self, id: AckId, data: &RawValue) {
        let value: Value = serde_json::from_str(data.get()).expect("answers are JSON");
        assert!(value.is_object(), "a callback's argument is an object: {value}");
        self.tell(Said::Ack(id.0, value), false);
    }

    fn send_away(&self, last: Option<&Frame>, format: Format) {
        if let Some(last) = last {
            self.send(last, format);
        }
        self.tell(Said::Away, true);
    }

    fn cut(&self, _: CloseReason) {
        self.tell(Said::Cut, true);
    }

    fn close_to_come_back(&self) {
        self.tell(Said::Back, true);
    }

    fn is_open(&self) -> bool {
        !self.told.lock().over
    }

    fn sid(&self) -> &str {
        &self.sid
    }

    fn transport(&self) -> &'static str {
        "websocket"
    }

    fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], 5000).into()
    }
}

/// A client's connection, as its handler sees it.
pub(crate) struct Device {
    handler: Client,
    pub(crate) ear: Ear,
}

impl Device {
    /// An event with these arguments; returns when the next may come.
    pub(crate) async fn event(&mut self, name: &str, args: &[&str], ack: Option<u64>) {
        if let Some(waits) = self.begin(name, args, ack) {
            waits.await;
        }
    }

    /// An event, and what the next has to wait for.
    pub(crate) fn begin(&mut self, name: &str, args: &[&str], ack: Option<u64>) -> Option<BoxFuture> {
        let args: Vec<Box<RawValue>> = args
            .iter()
            .map(|arg| RawValue::from_string((*arg).to_owned()).expect("arguments are JSON"))
            .collect();
        let args: Vec<&RawValue> = args.iter().map(|arg| &**arg).collect();
        self.handler.event(Event {
            name,
            args: &args,
            attachments: &[],
            ack: ack.map(AckId),
        })
    }

    /// A frame as a JSON string, as the replaced system's clients send it.
    pub(crate) async fn send(&mut self, frame: &Value) {
        let string = Value::String(frame.to_string()).to_string();
        self.event("message", &[&string], None).await;
    }

    /// A frame as an object, with a callback; returns the callback's argument.
    pub(crate) async fn ask(&mut self, frame: &Value) -> Value {
        self.event("message", &[&frame.to_string()], Some(1)).await;
        loop {
            match self.ear.next().await {
                Said::Ack(1, answer) => return answer,
                Said::Frame(frame, _) => assert_ne!(frame["type"], json!(2), "{frame}"),
                other => panic!("an answer was due, {other:?} came"),
            }
        }
    }

    /// Registers and drops the answer, which must be good.
    pub(crate) async fn register(&mut self, data: Value) -> Value {
        let answer = self.ask(&json!({"type": 1, "data": data})).await;
        assert_eq!(answer["code"], 0, "{answer}");
        answer
    }

    /// Kind 101 with a callback.
    pub(crate) async fn message(&mut self, data: Value) -> Value {
        self.ask(&json!({"type": 101, "data": data})).await
    }

    /// How long it is until its deadline, if it has one.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.handler.deadline(Time(0)).map(|deadline| deadline.0)
    }

    /// Its deadline has passed.
    pub(crate) fn deadline_passes(&mut self) {
        self.handler.deadline_passed();
    }

    /// The connection is gone.
    pub(crate) fn close(mut self) {
        self.handler.disconnected(DisconnectReason::Client);
    }
}

/// A store that can be made to wait and to fail.
pub(crate) struct Troubled {
    store: Arc<dyn Store>,
    /// Counting unread messages takes a permit.
    pub(crate) unread: Arc<Semaphore>,
    /// Asking what was missed takes a permit.
    pub(crate) missed: Arc<Semaphore>,
    /// Told when somebody asks what was missed.
    pub(crate) missed_asked: Arc<Notify>,
    /// Appends and outcomes of push jobs fail.
    pub(crate) full: Arc<AtomicBool>,
}

impl Troubled {
    pub(crate) fn new(store: Arc<dyn Store>) -> Self {
        Self {
            store,
            unread: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            missed: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            missed_asked: Arc::default(),
            full: Arc::default(),
        }
    }

    fn trouble(&self) -> Option<StoreError> {
        let full = self.full.load(Ordering::Relaxed);
        full.then(|| StoreError::Unavailable("no space left on the device".into()))
    }
}

impl Store for Troubled {
    fn append(&self, batch: Vec<(Append, Done<Appended>)>) {
        match self.trouble() {
            Some(error) => batch.into_iter().for_each(|(_, done)| done(Err(error.clone()))),
            None => self.store.append(batch),
        }
    }

    fn change_team(&self, team: TeamId, change: TeamChange, done: Done<TeamChanged>) {
        match self.trouble() {
            Some(error) => done(Err(error)),
            None => self.store.change_team(team, change, done),
        }
    }

    fn finish_jobs(&self, outcomes: Vec<(JobId, JobOutcome)>, done: Done<()>) {
        match self.trouble() {
            Some(error) => done(Err(error)),
            None => self.store.finish_jobs(outcomes, done),
        }
    }

    fn unread(&self, uid: Uid) -> StoreFuture<'_, u64> {
        Box::pin(async move {
            self.unread.acquire().await.expect("never closed").forget();
            self.store.unread(uid).await
        })
    }

    fn enter(&self, entry: store::Entry, done: Done<()>) {
        match self.trouble() {
            Some(error) => done(Err(error)),
            None => self.store.enter(entry, done),
        }
    }

    fn ack(&self, device: store::Device, conv: ConvId, seq: Seq, done: Done<()>) {
        match self.trouble() {
            Some(error) => done(Err(error)),
            None => self.store.ack(device, conv, seq, done),
        }
    }

    fn read(&self, read: Read, done: Done<ReadMark>) {
        match self.trouble() {
            Some(error) => done(Err(error)),
            None => self.store.read(read, done),
        }
    }

    fn recall(&self, recall: Recall, done: Done<Recalled>) {
        match self.trouble() {
            Some(error) => done(Err(error)),
            None => self.store.recall(recall, done),
        }
    }

    fn missed(&self, device: store::Device, conversations: u32, behind: u32) -> StoreFuture<'_, Missed> {
        Box::pin(async move {
            self.missed_asked.notify_one();
            self.missed.acquire().await.expect("never closed").forget();
            self.store.missed(device, conversations, behind).await
        })
    }

    fn replay(&self, uid: Uid, stretches: Vec<Stretch>, page: Page) -> StoreFuture<'_, Vec<Message>> {
        match self.trouble() {
            Some(error) => Box::pin(async { Err(error) }),
            None => self.store.replay(uid, stretches, page),
        }
    }

    fn team(&self, team: TeamId) -> StoreFuture<'_, Option<Team>> {
        self.store.team(team)
    }

    fn history(&self, conv: ConvId, viewer: Option<Uid>, span: Span, page: Page) -> StoreFuture<'_, History> {
        self.store.history(conv, viewer, span, page)
    }

    fn conversations(
        &self,
        uid: Uid,
        device: Option<DeviceId>,
        after: Option<String>,
        page: Page,
    ) -> StoreFuture<'_, Conversations> {
        self.store.conversations(uid, device, after, page)
    }

    fn unread_at(&self, uid: Uid, conv: ConvId, seq: Seq) -> StoreFuture<'_, u64> {
        self.store.unread_at(uid, conv, seq)
    }

    fn due_jobs(&self, now: UnixMillis, busy: Vec<JobId>, limit: u32) -> StoreFuture<'_, DueJobs> {
        self.store.due_jobs(now, busy, limit)
    }

    fn members_page(
        &self,
        conv: ConvId,
        seq: Seq,
        after: Option<Uid>,
        limit: u32,
    ) -> StoreFuture<'_, Vec<Uid>> {
        self.store.members_page(conv, seq, after, limit)
    }

    fn revoke(&self, revocation: Revocation, done: Done<()>) {
        match self.trouble() {
            Some(error) => done(Err(error)),
            None => self.store.revoke(revocation, done),
        }
    }

    fn revocations(&self) -> Vec<Revocation> {
        self.store.revocations()
    }

    fn epoch(&self) -> &str {
        self.store.epoch()
    }

    fn healthy(&self) -> Result<(), StoreError> {
        self.trouble().map_or_else(|| self.store.healthy(), Err)
    }

    fn close(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        self.store.close()
    }
}

/// See the module.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    core: Arc<Core>,
    _dir: TempDir,
}

impl World {
    /// With these changes to the default configuration.
    pub(crate) fn new(change: impl FnOnce(&mut Config)) -> Self {
        Self::built(change, |builder| builder, |store| store)
    }

    /// With changes to the builder, and to the store.
    pub(crate) fn built(
        change: impl FnOnce(&mut Config),
        build: impl FnOnce(Builder) -> Builder,
        wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
    ) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let mut options = Options::new(dir.path());
        options.durability = Durability::Process;
        options.new_members_see_all = config.teams.history_for_new_members;
        options.max_devices = config.limits.devices_per_user;
        let store = wrap(Arc::new(Embedded::open(options).expect("a new store opens")));
        let core = build(Builder::new(config))
            .core(store)
            .expect("the gateway starts");
        Self {
            gateway: Gateway::new(core.clone()),
            core,
            _dir: dir,
        }
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.core.metrics
    }

    /// A new connection.
    pub(crate) fn connect(&self, sid: &str) -> Device {
        self.connect_with(sid, None)
    }

    /// A new connection that was handed this token in its handshake.
    pub(crate) fn connect_with(&self, sid: &str, handed: Option<&str>) -> Device {
        let ear = Ear::new(sid);
        let mut handler = Client::new(self.core.clone(), ear.clone(), handed.map(Into::into));
        handler.connected();
        Device { handler, ear }
    }

    /// A new connection that is registered as `uid` with the device `sid`.
    pub(crate) async fn enter(&self, uid: &str, sid: &str) -> Device {
        let mut device = self.connect(sid);
        device.register(json!({"uid": uid, "deviceid": sid})).await;
        device
    }
}

/// A uid.
pub(crate) fn uid(text: &str) -> Uid {
    Uid::new(text).expect("a uid")
}

/// A team's id.
pub(crate) fn team(text: &str) -> TeamId {
    TeamId::new(text).expect("a team id")
}

/// An order of the API.
pub(crate) fn order(kind: u16, to: To) -> SendOrder {
    SendOrder {
        kind,
        to,
        from: None,
        data: RawValue::from_string(r#"{"text":"hello"}"#.into())
            .expect("JSON")
            .into(),
        cid: None,
        push: None,
        ttl_ms: None,
        by: By::Api,
    }
}
