//! Test tools: a gateway with a store in a temporary directory, and connections that record what they are
//! sent.

#[cfg(test)]
pub(crate) mod nodes;
#[cfg(test)]
pub(crate) mod shared;
mod troubled;

use std::collections::{BTreeMap, VecDeque};
use std::net::SocketAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use mynah_socketio::{AckId, BoxFuture, CloseReason, DisconnectReason, Event, Handler, Time};
use parking_lot::Mutex;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::sync::{Notify, Semaphore};

use crate::builder::Builder;
use crate::clock;
use crate::config::Config;
use crate::entrance::{Client, Entrance};
use crate::frame::{Format, Frame};
use crate::gateway::{Gateway, Running};
use crate::ids::{TeamId, Uid};
use crate::metrics::Metrics;
use crate::order::{By, SendOrder, To};
use crate::push::{Provider, Webhook};
use crate::random;
use crate::session::Outlet;
use crate::store::Store;
use crate::store::embedded::stepped::{self, Stepper};
use crate::store::embedded::{Clock, Durability, Embedded, Options};

#[cfg(test)]
pub(crate) use troubled::Troubled;

/// How long a test waits for something that must happen. It is far longer than it takes.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// What a connection was sent, or how it ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Said {
    /// A frame, in one of its two formats.
    Frame(Value, Format),
    /// The argument of a callback.
    Ack(u64, Value),
    /// The connection was disconnected for good.
    Away,
    /// The connection was cut off.
    Cut,
    /// The connection was closed to reconnect.
    Back,
}

#[derive(Default)]
struct Told {
    said: VecDeque<Said>,
    over: bool,
}

/// An outlet that records what it is given.
#[derive(Clone)]
pub(crate) struct Ear {
    sid: Arc<str>,
    told: Arc<Mutex<Told>>,
    changed: Arc<Notify>,
    ended: Arc<Notify>,
    /// A wait for room takes a permit.
    pub(crate) room: Arc<Semaphore>,
    /// How long the client has been silent.
    pub(crate) silent_ms: Arc<AtomicU64>,
}

impl Ear {
    pub(crate) fn new(sid: &str) -> Self {
        Self {
            sid: sid.into(),
            told: Arc::default(),
            changed: Arc::default(),
            ended: Arc::default(),
            room: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)),
            silent_ms: Arc::default(),
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
        if last {
            self.ended.notify_waiters();
        }
        true
    }

    /// Waits for the next item and returns it.
    pub(crate) async fn next(&self) -> Said {
        loop {
            if let Some(said) = self.told.lock().said.pop_front() {
                return said;
            }
            let changed = tokio::time::timeout(PATIENCE, self.changed.notified()).await;
            changed.expect("the gateway sent nothing");
        }
    }

    /// Waits for the next frame, of either format.
    pub(crate) async fn frame(&self) -> Value {
        match self.next().await {
            Said::Frame(frame, _) => frame,
            other => panic!("expected a frame, not {other:?}"),
        }
    }

    /// Returns whether the connection has ended.
    pub(crate) fn is_over(&self) -> bool {
        self.told.lock().over
    }

    /// Returns the items that were not taken yet.
    pub(crate) fn rest(&self) -> Vec<Said> {
        self.told.lock().said.drain(..).collect()
    }
}

/// Parses JSON. Values that are valid JSON but that serde cannot represent (depth, numbers, surrogates)
/// become strings.
pub(crate) fn value(json: &str) -> Value {
    serde_json::from_str(json).unwrap_or_else(|_| {
        let raw: &RawValue = serde_json::from_str(json).expect("frames are JSON");
        if let Ok(object) = serde_json::from_str::<BTreeMap<String, &RawValue>>(json) {
            object
                .into_iter()
                .map(|(key, item)| (key, value(item.get())))
                .collect()
        } else if let Ok(array) = serde_json::from_str::<Vec<&RawValue>>(json) {
            array.into_iter().map(|item| value(item.get())).collect()
        } else {
            Value::String(raw.get().to_owned())
        }
    })
}

impl Outlet for Ear {
    fn send(&self, frame: &Frame, format: Format) -> bool {
        self.tell(Said::Frame(value(frame.json()), format), false)
    }

    fn room(&self, _bytes: usize) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async {
            self.room.acquire().await.expect("never closed").forget();
            !self.told.lock().over
        })
    }

    fn closed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(async {
            let ended = self.ended.notified();
            if self.is_open() {
                ended.await;
            }
        })
    }

    fn ack(&self, id: AckId, data: &RawValue) {
        let value = value(data.get());
        assert!(value.is_object(), "a callback's argument is an object: {value}");
        self.tell(Said::Ack(id.0, value), false);
    }

    fn disconnect_for_good(&self, last: Option<&Frame>, format: Format) {
        if let Some(last) = last {
            self.send(last, format);
        }
        self.tell(Said::Away, true);
    }

    fn close_now(&self, _: CloseReason) {
        self.tell(Said::Cut, true);
    }

    fn close_to_reconnect(&self) {
        self.tell(Said::Back, true);
    }

    fn is_open(&self) -> bool {
        !self.told.lock().over
    }

    fn silent_ms(&self) -> u64 {
        self.silent_ms.load(Ordering::Relaxed)
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

/// A connection of a client, on the side of its handler.
pub(crate) struct Device {
    handler: Client,
    pub(crate) ear: Ear,
}

impl Device {
    /// Opens a connection to the gateway of `entrance`, with a token in its handshake.
    pub(crate) fn new(entrance: Arc<Entrance>, sid: &str, handshake_token: Option<&str>) -> Self {
        let ear = Ear::new(sid);
        let mut handler = Client::new(entrance, ear.clone(), handshake_token.map(Into::into));
        handler.connected();
        Self { handler, ear }
    }

    /// Handles an event, and returns when the next one may be handled.
    pub(crate) async fn event(&mut self, name: &str, args: &[&str], ack: Option<u64>) {
        if let Some(waits) = self.begin(name, args, ack) {
            waits.await;
        }
    }

    /// Begins to handle an event. Returns the future for which the next event must wait.
    pub(crate) fn begin(&mut self, name: &str, args: &[&str], ack: Option<u64>) -> Option<BoxFuture> {
        let args: Vec<Box<RawValue>> = args
            .iter()
            .map(|arg| RawValue::from_string((*arg).to_owned()).expect("arguments are JSON"))
            .collect();
        let args: Vec<&RawValue> = args.iter().map(|arg| &**arg).collect();
        self.hear(Event {
            name,
            args: &args,
            attachments: &[],
            ack: ack.map(AckId),
        })
    }

    /// Begins to handle any event. Returns the future for which the next event must wait.
    pub(crate) fn hear(&mut self, event: Event<'_>) -> Option<BoxFuture> {
        self.handler.event(event)
    }

    /// Sends a frame as a JSON string, as the clients of the replaced Node module do.
    pub(crate) async fn send(&mut self, frame: &Value) {
        let string = Value::String(frame.to_string()).to_string();
        self.event("message", &[&string], None).await;
    }

    /// Sends a frame as an object with a callback. Returns the callback's argument.
    pub(crate) async fn ask(&mut self, frame: &Value) -> Value {
        self.event("message", &[&frame.to_string()], Some(1)).await;
        loop {
            match self.ear.next().await {
                Said::Ack(1, answer) => return answer,
                Said::Frame(frame, _) => assert_ne!(frame["type"], json!(2), "{frame}"),
                other => panic!("expected a response, not {other:?}"),
            }
        }
    }

    /// Registers and returns the response, which must have code 0.
    pub(crate) async fn register(&mut self, data: Value) -> Value {
        let answer = self.ask(&json!({"type": 1, "data": data})).await;
        assert_eq!(answer["code"], 0, "{answer}");
        answer
    }

    /// Sends a message (kind 101) with a callback.
    pub(crate) async fn message(&mut self, data: Value) -> Value {
        self.ask(&json!({"type": 101, "data": data})).await
    }

    /// Returns the deadline of the handler, on a clock that says `now`.
    pub(crate) fn deadline(&self, now: Time) -> Option<Time> {
        self.handler.deadline(now)
    }

    /// Returns the time until the deadline of the handler, in milliseconds.
    pub(crate) fn deadline_ms(&self) -> Option<u64> {
        self.deadline(Time(0)).map(|deadline| deadline.0)
    }

    /// Tells the handler that its deadline has passed.
    pub(crate) fn deadline_passes(&mut self) {
        self.handler.deadline_passed();
    }

    /// Ends the connection from the client's side.
    pub(crate) fn close(self) {
        self.end(DisconnectReason::Client);
    }

    /// Ends the connection for this reason.
    pub(crate) fn end(mut self, reason: DisconnectReason) {
        self.handler.disconnected(reason);
    }
}

/// A gateway with its store.
pub(crate) struct World {
    pub(crate) gateway: Gateway,
    pub(crate) running: Arc<Running>,
    pub(crate) config: Config,
    pub(crate) metrics: Arc<Metrics>,
    _dir: TempDir,
}

impl World {
    /// Creates a gateway. `change` changes the default configuration.
    pub(crate) fn new(change: impl FnOnce(&mut Config)) -> Self {
        Self::built(change, |builder| builder, |store| store)
    }

    /// The same, with changes to the builder and to the store.
    pub(crate) fn built(
        change: impl FnOnce(&mut Config),
        build: impl FnOnce(Builder) -> Builder,
        wrap: impl FnOnce(Arc<dyn Store>) -> Arc<dyn Store>,
    ) -> Self {
        let mut config = Config::default();
        change(&mut config);
        let dir = tempfile::tempdir().expect("a temporary directory");
        let store = wrap(Arc::new(
            Embedded::open(options(&dir, &config)).expect("a new store opens"),
        ));
        Self::on(store, build(Builder::new(config)), dir)
    }

    /// The same, with a store that writes when the test tells it to, and has no thread of its own.
    pub(crate) fn stepped(change: impl FnOnce(&mut Config)) -> (Self, Stepper) {
        let mut config = Config::default();
        change(&mut config);
        // A directory in memory is faster.
        let memory = Path::new("/dev/shm");
        let dir = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let dir = dir.expect("a temporary directory");
        let (store, stepper) = stepped::open(options(&dir, &config)).expect("a new store opens");
        (Self::on(Arc::new(store), Builder::new(config), dir), stepper)
    }

    fn on(store: Arc<dyn Store>, builder: Builder, dir: TempDir) -> Self {
        let (config, metrics) = (builder.config().clone(), Arc::<Metrics>::default());
        let webhook = Webhook::new(&config, &metrics).expect("a webhook or none");
        let provider = webhook.map(|webhook| Box::new(webhook) as Box<dyn Provider>);
        let running = builder.metrics(metrics.clone()).running(store, provider);
        let running = Arc::new(running.expect("the gateway starts"));
        Self {
            gateway: Gateway::new(running.clone()),
            running,
            config,
            metrics,
            _dir: dir,
        }
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// Opens a connection.
    pub(crate) fn connect(&self, sid: &str) -> Device {
        self.connect_with(sid, None)
    }

    /// Opens a connection with a token in its handshake.
    pub(crate) fn connect_with(&self, sid: &str, handshake_token: Option<&str>) -> Device {
        Device::new(self.running.entrance.clone(), sid, handshake_token)
    }

    /// Opens a connection that is registered as `uid`; `sid` is also its `deviceid`.
    pub(crate) async fn registered(&self, uid: &str, sid: &str) -> Device {
        let mut device = self.connect(sid);
        device.register(json!({"uid": uid, "deviceid": sid})).await;
        device
    }
}

fn options(dir: &TempDir, config: &Config) -> Options {
    Options {
        durability: Durability::Process,
        new_members_see_all: config.teams.history_for_new_members,
        max_devices: config.limits.devices_per_user,
        // Few, so that tests see how they are moved.
        fresh_cids: 5,
        random: random::fill,
        clock: Clock::new(clock::unix_millis, clock::steady_millis),
        ..Options::new(dir.path())
    }
}

/// Parses a uid.
pub(crate) fn uid(text: &str) -> Uid {
    Uid::new(text).expect("a uid")
}

/// Parses the id of a team.
pub(crate) fn team(text: &str) -> TeamId {
    TeamId::new(text).expect("a team id")
}

/// Returns a send order of the API.
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
