//! Whole sessions of several devices and the backend with a gateway, in virtual time and on one thread, so
//! that a script always has the same effects.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use axum::Router;
use axum::http::StatusCode;
use bytes::Bytes;
use mynah_socketio::{AckId, Time};
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::api;
use super::hearing::{Hearing, Names};
use super::script::{self, Argument, DEVICES, Event, Step};
use mynah_front::Cors;

use crate::auth::fuzzing::with_tokens;
use crate::clock::pretended;
use crate::config::{Config, Displaced, Mode, Policy, Secret};
use crate::frame;
use crate::http::{Api, Calls, Door, Hosts, router};
use crate::keys::ApiKeys;
use crate::random::seeded;
use crate::store::embedded::stepped::{Stepper, Trouble};
use crate::testing::{Device, Ear, World};

/// The time at which every session begins, in Unix milliseconds.
const NOON: u64 = 1_790_000_000_000;
/// Largest script. The fuzzer learns nothing more from a longer one.
const MOST_BYTES: usize = 16 << 10;

const KINDS: &str = r#"
    kinds = [
        { number = 1000, name = "NOTE", conversation = "pair", stored = true, unread = true, push = false, clients = true },
        { number = 1001, name = "TYPING", conversation = "none", stored = false, unread = false, push = false, clients = true },
        { number = 1002, name = "BOARD", conversation = "team", stored = true, unread = true, push = false, clients = true },
    ]
"#;

/// Time within which a connection must register, in the configurations that limit it.
const REGISTER_MS: u32 = 50_000;

/// Runs a session. The first character chooses the configuration.
pub(super) fn chat(data: &[u8]) {
    let data = &data[..data.len().min(MOST_BYTES)];
    let text = String::from_utf8_lossy(data);
    let mut chars = text.chars();
    let Some(setup) = chars.next() else { return };
    alone(async move {
        let mut run = Run::new(setup as usize);
        run.all(chars.as_str()).await;
    });
}

/// Runs calls of the backend only, one per line.
pub(super) fn api(data: &[u8]) {
    let data = &data[..data.len().min(MOST_BYTES)];
    let text = String::from_utf8_lossy(data);
    let lines: Vec<String> = text.split('\n').map(|line| format!("*{line}")).collect();
    alone(async move {
        let mut run = Run::new(0);
        run.all(&lines.join("\n")).await;
    });
}

/// Runs a future on this thread. Virtual time advances when all tasks wait.
fn alone(run: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .expect("a runtime");
    runtime.block_on(async {
        let begun = tokio::time::Instant::now();
        pretended::set(Some(Box::new(move || NOON + begun.elapsed().as_millis() as u64)));
        let mut state = 1_u64;
        seeded::set(Some(Box::new(move |bytes| {
            for byte in bytes {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                *byte = (state >> 33) as u8;
            }
        })));
        run.await;
    });
    pretended::set(None);
    seeded::set(None);
}

/// An event that arrives at a connection's handler.
struct Arrival {
    name: &'static str,
    argument: Option<Box<RawValue>>,
    attachments: usize,
    ack: Option<u64>,
}

struct Connection {
    arrivals: mpsc::Sender<Arrival>,
    ear: Ear,
    hearing: Hearing,
}

struct Run {
    world: World,
    stepper: Stepper,
    router: Router,
    connections: [Option<Connection>; DEVICES],
    /// The number of connections so far.
    count: usize,
    tasks: Vec<JoinHandle<()>>,
    calls: Vec<JoinHandle<(StatusCode, Value)>>,
    names: Names,
    /// Whether the disk was full at any time.
    was_full: bool,
}

impl Run {
    fn new(setup: usize) -> Self {
        let (world, stepper) = World::stepped(|config| {
            *config = Config::parse(KINDS, "the kinds").expect("the kinds are valid");
            config.login.policy = [Policy::Single, Policy::PerPlatform, Policy::Multi][setup % 3];
            config.login.max_devices = 2;
            if setup / 3 % 2 == 1 {
                config.login.displaced = Displaced::Notify;
            }
            config.teams.history_for_new_members = setup / 6 % 2 == 1;
            config.limits.devices_per_user = 3;
            if setup / 12 % 2 == 1 {
                config.limits.resume_messages = 2;
                config.limits.appends_in_flight = 2;
                config.limits.appends_in_flight_per_connection = 1;
            }
            if setup / 24 % 2 == 1 {
                with_tokens(config);
            }
            if setup / 96 % 2 == 1 {
                config.limits.register_timeout_ms = REGISTER_MS;
            }
        });
        let api = Api {
            gateway: world.gateway.clone(),
            keys: Arc::new(ApiKeys::new(&[Secret::new(api::KEY)])),
            metrics_key: false,
            calls: Calls::new(&world.config.limits, &world.gateway),
            limits: world.config.limits.clone(),
            metrics: world.metrics.clone(),
            open: true,
            observe: Box::new(|_| {}),
            hosts: Hosts::default(),
            cors: Cors::None,
            admission: Arc::default(),
            draining: AtomicBool::new(false),
        };
        Self {
            router: router(Arc::new(api), Door::Only),
            world,
            stepper,
            connections: [const { None }; DEVICES],
            count: 0,
            tasks: Vec::new(),
            calls: Vec::new(),
            names: Names::default(),
            was_full: false,
        }
    }

    async fn all(&mut self, text: &str) {
        for (step, rests) in script::steps(text) {
            match step {
                Step::Event(device, event) => self.event(device, &event),
                Step::Close(device) => self.connections[device] = None,
                Step::Open(device, handshake_token) => {
                    self.open(device, Some(handshake_token));
                }
                Step::Call(text) => {
                    if let Some(request) = api::call(&self.names.fill(text)) {
                        let call = api::make(self.router.clone(), request);
                        self.calls.push(tokio::spawn(call));
                    }
                }
                Step::Write => self.stepper.step(1),
                Step::Wait(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                Step::Disk(full) => {
                    self.was_full |= full;
                    self.stepper.trouble(full.then_some(Trouble::Full));
                }
            }
            if rests {
                self.rest().await;
            } else {
                tokio::task::yield_now().await;
            }
        }
        self.end().await;
    }

    /// Opens a new connection of a device, with a token in its handshake.
    fn open(&mut self, device: usize, handshake_token: Option<&str>) {
        let mut hearing = Hearing::new(matches!(self.world.config.auth.mode, Mode::Jwt));
        hearing.shows(handshake_token.unwrap_or_default());
        let token = handshake_token.map(|token| self.names.fill(token));
        self.count += 1;
        let sid = format!("sid{}", self.count);
        let client = Device::new(self.world.running.entrance.clone(), &sid, token.as_deref());
        let (arrivals, receiver) = mpsc::channel(MOST_BYTES);
        let ear = client.ear.clone();
        self.tasks.push(tokio::spawn(serve(client, receiver)));
        self.connections[device] = Some(Connection {
            arrivals,
            ear,
            hearing,
        });
    }

    fn event(&mut self, device: usize, event: &Event<'_>) {
        let there = self.connections[device].as_ref();
        if there.is_none_or(|connection| connection.ear.is_over()) {
            self.open(device, None);
        }
        let connection = self.connections[device].as_mut().expect("the connection is open");
        if let Argument::Text(text) | Argument::Json(text) = event.argument {
            connection.hearing.shows(text);
        }
        let argument = match event.argument {
            Argument::None => None,
            Argument::Text(text) => Some(frame::raw(&self.names.fill(text))),
            Argument::Json(text) => {
                let text = self.names.fill(text);
                Some(serde_json::from_str(&text).unwrap_or_else(|_| frame::raw(&text)))
            }
        };
        let hearing = &mut connection.hearing;
        let ack = event.calls_back.then(|| hearing.asks());
        if let (None, Some(argument), "message", 0) = (ack, &argument, event.name, event.attachments)
            && let Ok(text) = frame::text_of(argument)
        {
            hearing.sends(&text);
        }
        let arrival = Arrival {
            name: event.name,
            argument,
            attachments: event.attachments,
            ack,
        };
        let taken = connection.arrivals.try_send(arrival);
        assert!(taken.is_ok(), "the inbox is larger than any script");
    }

    /// Waits until nothing happens any more, except what needs time to pass.
    async fn rest(&mut self) {
        loop {
            // Paused time advances when all tasks wait.
            tokio::time::sleep(Duration::from_millis(1)).await;
            if self.stepper.depth() == 0 {
                break;
            }
            self.stepper.step(4_096);
        }
        for connection in self.connections.iter_mut().flatten() {
            connection.hearing.hears(connection.ear.rest(), &mut self.names);
            connection.hearing.rests();
        }
        for call in std::mem::take(&mut self.calls) {
            // A call that exceeds a limit waits for a while before it is refused.
            let (status, answer) = call.await.expect("no call panics");
            let is_full = self.world.config.limits.appends_in_flight < 10;
            assert!(
                status != StatusCode::SERVICE_UNAVAILABLE || self.was_full || is_full,
                "{answer}"
            );
            self.names.hear_call(&answer);
        }
    }

    /// Closes all connections and checks that nothing is left.
    async fn end(&mut self) {
        self.rest().await;
        self.connections = [const { None }; DEVICES];
        self.rest().await;
        for task in std::mem::take(&mut self.tasks) {
            task.await.expect("the task of a connection does not panic");
        }
        let world = &self.world;
        assert_eq!(self.world.gateway.users_online(), 0);
        assert_eq!(world.metrics.connections.get(), 0);
        assert_eq!(
            world.running.core.record.free_slots(),
            world.config.limits.appends_in_flight
        );
    }
}

/// The task of a connection: it handles events and deadlines, and the end last.
async fn serve(mut device: Device, mut arrivals: mpsc::Receiver<Arrival>) {
    let begun = tokio::time::Instant::now();
    let now = || Time(1 + begun.elapsed().as_millis() as u64);
    while !device.ear.is_over() {
        let deadline = device.deadline(now());
        let arrival = tokio::select! {
            biased;
            arrival = arrivals.recv() => arrival,
            () = until(deadline, now()) => {
                device.deadline_passes();
                continue;
            }
        };
        let Some(arrival) = arrival else { break };
        let args: Vec<&RawValue> = arrival.argument.iter().map(|argument| &**argument).collect();
        let waits = device.hear(mynah_socketio::Event {
            name: arrival.name,
            args: &args,
            attachments: &vec![Bytes::from_static(b"\x01"); arrival.attachments],
            ack: arrival.ack.map(AckId),
        });
        let Some(mut waits) = waits else { continue };
        loop {
            tokio::select! {
                biased;
                () = &mut waits => break,
                () = until(deadline, now()), if !device.ear.is_over() => device.deadline_passes(),
            }
        }
    }
    device.close();
}

/// Waits for the deadline. One that has passed already fires again a little later.
async fn until(deadline: Option<Time>, now: Time) {
    match deadline {
        Some(at) => tokio::time::sleep(Duration::from_millis(at.0.saturating_sub(now.0).max(10))).await,
        None => std::future::pending().await,
    }
}
