//! A connection's handler, as the server runs it: events are handled one after the other, and the end last.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use mynah_socketio::{AckId, CloseReason, DisconnectReason, Event as FrameEvent, Handler};
use serde_json::value::RawValue;
use tokio::sync::mpsc;

use super::hub::{Event, Hub};
use super::pipe::{Arrival, Down, Pipe, Quality, Queued};
use super::server::Server;
use crate::entrance::Client;
use crate::frame::{Format, Frame};
use crate::session::Outlet;

/// The maximum number of frames that wait for a connection's handler.
const INBOX: usize = 4_096;

/// A connection, as the handler sees it.
#[derive(Clone)]
struct Line {
    hub: Hub,
    id: usize,
    sid: Arc<str>,
}

/// Opens a connection for a client. Returns its number and the task of its handler.
pub(super) fn open(
    hub: &Hub,
    app: usize,
    bound: usize,
    quality: Quality,
    server: &Server,
) -> (usize, tokio::task::JoinHandle<()>) {
    let (inbox, arrivals) = mpsc::channel(INBOX);
    let now = hub.now();
    let id = {
        let mut state = hub.lock();
        state.pipes.all.push(Pipe {
            app,
            node: server.number,
            quality,
            inbox,
            up: true,
            down: true,
            queue: VecDeque::new(),
            queued: 0,
            bound,
            left: false,
            closed: false,
            deaf: false,
            gone: false,
            writing: false,
            last_up: 0,
            last_down: 0,
            heard: now,
            room: Arc::default(),
            uids: Vec::new(),
        });
        state.pipes.all.len() - 1
    };
    let line = Line {
        hub: hub.clone(),
        id,
        sid: format!("sid{id}").into(),
    };
    let handler = Client::new(server.running.entrance.clone(), line, None);
    (id, tokio::spawn(serve(hub.clone(), id, handler, arrivals)))
}

/// The task of a connection's handler.
async fn serve(hub: Hub, id: usize, mut handler: Client, mut arrivals: mpsc::Receiver<Arrival>) {
    handler.connected();
    while let Some(arrival) = arrivals.recv().await {
        match arrival {
            Arrival::Frame(_) if hub.pipe(id, |pipe| pipe.deaf) => {}
            Arrival::Frame(up) => {
                let argument = RawValue::from_string(up.json).expect("clients send JSON");
                let waits = handler.event(FrameEvent {
                    name: "message",
                    args: &[&argument],
                    attachments: &[],
                    ack: up.ack.map(AckId),
                });
                if let Some(waits) = waits {
                    waits.await;
                }
            }
            Arrival::Closed(reason) => {
                handler.disconnected(reason);
                hub.gone(id);
                return;
            }
        }
    }
}

impl Line {
    fn enqueue(&self, down: Down) -> bool {
        let now = self.hub.now();
        let mut state = self.hub.lock();
        let pipe = state.pipes.get(self.id);
        let queued = pipe.enqueue(down);
        match queued {
            Queued::No => false,
            Queued::Yes => true,
            Queued::First => {
                state.at(now, Event::Write(self.id));
                drop(state);
                self.hub.changed.notify_one();
                true
            }
            Queued::TooMuch => {
                pipe.deaf = true;
                pipe.tell(DisconnectReason::Server);
                state
                    .trace
                    .line(now, &format!("line {} reads too slowly", self.id));
                drop(state);
                self.client_hears();
                false
            }
        }
    }

    fn client_hears(&self) {
        let latency = self.hub.pipe(self.id, |pipe| pipe.quality.latency);
        let delay = self.hub.roll(latency);
        self.hub.after(delay, Event::ClientHears(self.id));
    }
}

impl Outlet for Line {
    fn send(&self, frame: &Frame, format: Format) -> bool {
        self.enqueue(Down::Frame(frame.json().to_owned(), format))
    }

    /// Never resolves: handlers of simulated connections are not cancelled.
    fn closed(&self) -> Pin<Box<dyn Future<Output = ()> + Send + '_>> {
        Box::pin(std::future::pending())
    }

    fn room(&self, bytes: usize) -> Pin<Box<dyn Future<Output = bool> + Send + '_>> {
        Box::pin(async move {
            loop {
                let told = {
                    let mut state = self.hub.lock();
                    let pipe = state.pipes.get(self.id);
                    if pipe.closed {
                        return false;
                    }
                    if pipe.queued <= bytes {
                        return true;
                    }
                    pipe.room.clone().notified_owned()
                };
                told.await;
            }
        })
    }

    fn ack(&self, id: AckId, data: &RawValue) {
        self.enqueue(Down::Ack(id.0, data.get().to_owned()));
    }

    fn disconnect_for_good(&self, last: Option<&Frame>, format: Format) {
        if let Some(last) = last {
            self.send(last, format);
        }
        self.enqueue(Down::Disconnect);
        self.hub.pipe(self.id, |pipe| {
            if !pipe.closed && !std::mem::replace(&mut pipe.left, true) {
                pipe.deaf = true;
                pipe.tell(DisconnectReason::Server);
            }
        });
    }

    fn close_now(&self, _: CloseReason) {
        let open = self.hub.pipe(self.id, |pipe| {
            let open = !pipe.closed;
            if open {
                pipe.shut();
                pipe.deaf = true;
                pipe.tell(DisconnectReason::Server);
            }
            open
        });
        if open {
            self.client_hears();
        }
    }

    fn close_to_reconnect(&self) {
        // Tokens do not expire in the simulation.
        self.close_now(CloseReason::ServerClose);
    }

    fn is_open(&self) -> bool {
        self.hub.pipe(self.id, |pipe| !pipe.closed)
    }

    fn silent_ms(&self) -> u64 {
        let now = self.hub.now();
        now - self.hub.pipe(self.id, |pipe| pipe.heard(now))
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
