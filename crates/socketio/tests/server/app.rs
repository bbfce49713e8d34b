//! The application under test: it answers events, and logs every call that it receives.

use std::cell::Cell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use mynah_front::{Admission, ListenerOptions};
use mynah_socketio::{
    AckError, BoxFuture, CloseReason, Config, ConnectRefused, DisconnectReason, Encoded, Event, Handler,
    Handshake, Namespaces, Server, Socket, Time,
};
use serde_json::value::RawValue;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use crate::within;

/// A server that runs until its test ends.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) server: Server,
    pub(crate) admission: Arc<Admission>,
    /// Permits for handlers of the event `gate` to continue.
    pub(crate) gate: Arc<Semaphore>,
    /// The number of handlers that exist.
    pub(crate) handlers: Arc<AtomicUsize>,
    log: UnboundedReceiver<String>,
    sockets: UnboundedReceiver<Socket>,
}

impl Running {
    pub(crate) async fn start(config: Config) -> Self {
        let options = ListenerOptions {
            admission: config.admission.clone(),
            ..ListenerOptions::default()
        };
        Self::start_with(config, options).await
    }

    pub(crate) async fn start_with(config: Config, options: ListenerOptions) -> Self {
        let admission = config.admission.clone();
        let (log, log_receiver) = unbounded_channel();
        let (sockets, sockets_receiver) = unbounded_channel();
        let app = App {
            log,
            sockets,
            gate: Arc::new(Semaphore::new(0)),
            handlers: Arc::default(),
        };
        let (gate, handlers) = (app.gate.clone(), app.handlers.clone());
        let config = Config {
            sid_tag: crate::sid_tag(),
            ..config
        };
        let server = Server::new(config, Arc::new(app));
        let address = crate::serve(server.clone(), options).await;
        Self {
            address,
            server,
            admission,
            gate,
            handlers,
            log: log_receiver,
            sockets: sockets_receiver,
        }
    }

    /// The next entry of the application's log.
    pub(crate) async fn told(&mut self) -> String {
        within(self.log.recv()).await.unwrap()
    }

    /// Checks that this is the next entry of the application's log.
    pub(crate) async fn expect(&mut self, entry: &str) {
        assert_eq!(self.told().await, entry);
    }

    /// The entries of the application's log that no test has read.
    pub(crate) fn told_so_far(&mut self) -> Vec<String> {
        std::iter::from_fn(|| self.log.try_recv().ok()).collect()
    }

    /// The next socket that was connected.
    pub(crate) async fn socket(&mut self) -> Socket {
        within(self.sockets.recv()).await.unwrap()
    }

    /// Returns once `done` is true.
    pub(crate) async fn until(&self, done: impl Fn(&Self) -> bool) {
        within(async {
            while !done(self) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        })
        .await;
    }

    /// Returns once there is no session, and checks that there is no handler either.
    pub(crate) async fn until_empty(&self) {
        self.until(|it| it.server.sessions() == 0 && it.handlers.load(Ordering::SeqCst) == 0)
            .await;
    }
}

struct App {
    log: UnboundedSender<String>,
    sockets: UnboundedSender<Socket>,
    gate: Arc<Semaphore>,
    handlers: Arc<AtomicUsize>,
}

impl Namespaces for App {
    fn connect(
        &self,
        socket: &Socket,
        handshake: &Handshake,
        auth: Option<&RawValue>,
    ) -> Result<Box<dyn Handler>, ConnectRefused> {
        match socket.namespace() {
            "/" | "/a" | "/b" => {}
            "/denied" => {
                return Err(ConnectRefused {
                    message: "nope".into(),
                    data: Some(raw(r#"{"code":7}"#).to_owned()),
                });
            }
            _ => return Err(ConnectRefused::invalid_namespace()),
        }
        if let Some(auth) = auth {
            self.log.send(format!("auth {auth}")).unwrap();
        }
        if let Some(panics) = handshake.query("panics") {
            assert_ne!(panics, "in connect", "the test asked for this panic");
        }
        self.handlers.fetch_add(1, Ordering::SeqCst);
        Ok(Box::new(Client {
            socket: socket.clone(),
            log: self.log.clone(),
            sockets: self.sockets.clone(),
            gate: self.gate.clone(),
            handlers: self.handlers.clone(),
            panics: handshake.query("panics"),
            deadline: None,
            other_clock: None,
        }))
    }
}

struct Client {
    socket: Socket,
    log: UnboundedSender<String>,
    sockets: UnboundedSender<Socket>,
    gate: Arc<Semaphore>,
    handlers: Arc<AtomicUsize>,
    /// Where the handler panics, apart from the event `panic`.
    panics: Option<String>,
    deadline: Option<Time>,
    /// How often the deadline was asked for, if it is computed from another clock.
    other_clock: Option<Cell<u32>>,
}

impl Client {
    fn tell(&self, entry: String) {
        // The test may have ended.
        let _ = self.log.send(entry);
    }

    fn ask(&self, event: &Event<'_>) {
        let asked = self
            .socket
            .emit_with_ack("question", event.args, event.attachments);
        let log = self.log.clone();
        let answer = match asked {
            Ok(answer) => answer,
            Err(error) => return self.tell(format!("not asked: {error}")),
        };
        tokio::spawn(async move {
            let entry = match answer.await {
                Ok(acked) => {
                    let args: Vec<&str> = acked.args.iter().map(|arg| arg.get()).collect();
                    format!("answer {} {:?}", args.join(","), acked.attachments)
                }
                Err(error @ (AckError::Disconnected | AckError::TooMany)) => format!("no answer: {error}"),
            };
            let _ = log.send(entry);
        });
    }
}

impl Handler for Client {
    fn connected(&mut self) {
        let _ = self.sockets.send(self.socket.clone());
        assert_ne!(
            self.panics.as_deref(),
            Some("in connected"),
            "the test asked for this panic"
        );
    }

    fn event(&mut self, event: Event<'_>) -> Option<BoxFuture> {
        let first = event.args.first().map_or("", |arg| arg.get()).to_owned();
        match event.name {
            "echo" => {
                self.socket.emit_binary("echo", event.args, event.attachments);
            }
            "note" => self.tell(format!("note {first}")),
            "size" => self.tell(format!("size {}", first.len())),
            "wait" => {
                self.tell(format!("begin {first}"));
                let (log, socket) = (self.log.clone(), self.socket.clone());
                return Some(Box::pin(async move {
                    for _ in 0..first.parse::<u32>().unwrap() % 4 {
                        tokio::task::yield_now().await;
                    }
                    socket.emit("waited", &[raw(&first)]);
                    let _ = log.send(format!("end {first}"));
                }));
            }
            "gate" => {
                self.tell(format!("at the gate {first}"));
                let (log, gate) = (self.log.clone(), self.gate.clone());
                return Some(Box::pin(async move {
                    gate.acquire().await.unwrap().forget();
                    let _ = log.send(format!("through the gate {first}"));
                }));
            }
            "deadline" => {
                let ms = first.parse().unwrap();
                self.deadline = Some(self.socket.session().now().after(ms));
                return Some(Box::pin(std::future::ready(())));
            }
            "other clock" => {
                self.other_clock = Some(Cell::new(0));
                return Some(Box::pin(std::future::ready(())));
            }
            "ack" => {
                if let Some(ack) = event.ack {
                    self.socket.ack_binary(ack, event.args, event.attachments);
                }
            }
            "ask" => self.ask(&event),
            "panic" => panic!("the test asked for this panic"),
            "panic later" => {
                return Some(Box::pin(async {
                    tokio::task::yield_now().await;
                    panic!("the test asked for this panic");
                }));
            }
            "leave" => self.socket.disconnect(),
            "for good" => self
                .socket
                .disconnect_for_good_after(&Encoded::event("last", &[])),
            "reconnect" => self.socket.close_to_reconnect(),
            "close now" => self.socket.close_now(CloseReason::ServerClose),
            name => self.tell(format!("unexpected {name}")),
        }
        None
    }

    fn deadline(&self, now: Time) -> Option<Time> {
        let Some(asked) = &self.other_clock else {
            return self.deadline;
        };
        // The other clock is late by a millisecond at the first two questions, and ticks before the third.
        Some(if asked.replace(asked.get() + 1) < 2 {
            now.after(1)
        } else {
            now
        })
    }

    fn deadline_passed(&mut self) {
        (self.deadline, self.other_clock) = (None, None);
        self.tell(format!("{} is over", self.socket.namespace()));
        self.socket.emit("over", &[]);
        if self.socket.namespace() == "/" {
            self.socket.close_to_reconnect();
        }
    }

    fn disconnected(&mut self, reason: DisconnectReason) {
        self.tell(format!(
            "{} disconnected: {}",
            self.socket.namespace(),
            reason.as_str()
        ));
        assert_ne!(
            self.panics.as_deref(),
            Some("in disconnected"),
            "the test asked for this panic"
        );
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.handlers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// JSON that a test wrote.
pub(crate) fn raw(json: &str) -> &RawValue {
    serde_json::from_str(json).unwrap()
}
