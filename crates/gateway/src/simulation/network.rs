//! The network. Frames in flight arrive in order, or not at all once the connection is broken. Either side
//! may notice a break much later than the other.

use mynah_socketio::{CloseReason, DisconnectReason};

use super::hub::{Event, Hub};
use super::pipe::{Arrival, Down, Up};
use crate::ids::Uid;

/// Time after which the heartbeat notices that the other side is silent, in milliseconds.
const HEARTBEAT: (u64, u64) = (5_000, 45_000);

impl Hub {
    /// The client sends a frame.
    pub(super) fn send(&self, id: usize, up: Up) {
        let now = self.now();
        let mut state = self.lock();
        let latency = state.pipes.get(id).quality.latency;
        let delay = state.dice.range(latency);
        let pipe = state.pipes.get(id);
        pipe.last_up = pipe.last_up.max(now + delay);
        let at = pipe.last_up;
        state.at(at, Event::ToServer(id, up));
    }

    /// A frame arrives at the server.
    pub(super) fn arrived(&self, id: usize, up: Up) {
        let now = self.now();
        self.pipe(id, |pipe| {
            if pipe.up && !pipe.gone {
                pipe.heard = now;
                // The inbox of a task that never reads again becomes full.
                let _ = pipe.inbox.try_send(Arrival::Frame(up));
            }
        });
    }

    /// Returns whether a frame arrives at the client.
    pub(super) fn reaches_client(&self, id: usize) -> bool {
        self.pipe(id, |pipe| pipe.down)
    }

    /// The server's socket takes the next frame of the queue.
    pub(super) fn write(&self, id: usize) {
        let now = self.now();
        let mut state = self.lock();
        let quality = state.pipes.get(id).quality;
        let (delay, pause) = (state.dice.range(quality.latency), state.dice.range(quality.pace));
        let pipe = state.pipes.get(id);
        let Some(down) = pipe.queue.pop_front() else {
            pipe.writing = false;
            return;
        };
        pipe.queued -= down.len();
        pipe.room.notify_waiters();
        pipe.last_down = pipe.last_down.max(now + delay);
        let at = pipe.last_down;
        let last = matches!(down, Down::Disconnect);
        if last {
            pipe.shut();
        }
        state.at(at, Event::ToClient(id, down));
        if last {
            state.at(at, Event::ClientHears(id));
        } else {
            state.at(now + pause, Event::Write(id));
        }
    }

    /// The server has forgotten the connection.
    pub(super) fn gone(&self, id: usize) {
        let now = self.now();
        let mut state = self.lock();
        let pipe = state.pipes.get(id);
        pipe.gone = true;
        for uid in std::mem::take(&mut pipe.uids) {
            state.pipes.left.insert(uid, now);
        }
    }

    /// Returns whether the server may have regarded the user as online at any time since `since`.
    pub(super) fn may_be_online(&self, uid: &Uid, since: u64) -> bool {
        let state = self.lock();
        let left = state.pipes.left.get(uid).is_some_and(|left| *left >= since);
        left || state.pipes.all.iter().any(|pipe| pipe.uids.contains(uid))
    }

    /// The server notices that the connection has ended.
    pub(super) fn server_hears(&self, id: usize) {
        self.pipe(id, |pipe| {
            if !pipe.closed {
                pipe.shut();
                // If the network has broken the connection, the server receives no close.
                pipe.tell(match pipe.up {
                    true => DisconnectReason::Client,
                    false => DisconnectReason::Session(CloseReason::PingTimeout),
                });
            }
        });
    }

    /// The client closes the connection, or its program ends. What it has sent still arrives. The server
    /// notices soon, or only by its heartbeat.
    pub(super) fn hang_up(&self, id: usize, noticed: bool) {
        let (passes, latency, last_up) = self.pipe(id, |pipe| {
            pipe.down = false;
            (pipe.up, pipe.quality.latency, pipe.last_up)
        });
        if !passes {
            // The connection is broken, and the heartbeat that notices it is scheduled already.
            return;
        }
        let delay = self.roll(if noticed { latency } else { HEARTBEAT });
        let delay = delay.max(last_up.saturating_sub(self.now()));
        self.after(delay, Event::ServerHears(id));
    }

    /// The network breaks the connection: nothing passes any more. Each side notices in its own time.
    pub(super) fn break_line(&self, id: usize, client_notices: bool, server_notices: bool) {
        let now = self.now();
        self.pipe(id, |pipe| {
            pipe.heard = pipe.heard(now);
            pipe.up = false;
            pipe.down = false;
        });
        for (notices, event) in [
            (client_notices, Event::ClientHears(id)),
            (server_notices, Event::ServerHears(id)),
        ] {
            let delay = self.roll(if notices { (0, 100) } else { HEARTBEAT });
            self.after(delay, event);
        }
    }

    /// A node dies with its queues. Its clients see a connection reset, or notice only silence.
    pub(super) fn server_dies(&self, node: usize, silently: bool) {
        let open = self.lock().pipes.open_at(node);
        for id in &open {
            self.gone(*id);
            self.pipe(*id, |pipe| {
                pipe.shut();
                pipe.up = false;
                pipe.down &= !silently;
            });
        }
        for id in open {
            let delay = self.roll(if silently { HEARTBEAT } else { (0, 200) });
            self.after(delay, Event::ClientHears(id));
        }
    }

    /// A node sends its clients away: each connection ends within a second.
    pub(super) fn send_away(&self, node: usize) {
        let open = self.lock().pipes.open_at(node);
        for id in open {
            let delay = self.roll((0, 1_000));
            self.after(delay, Event::SendAway(id));
        }
    }

    /// The server ends a connection, and its client connects again.
    pub(super) fn sent_away(&self, id: usize) {
        let open = self.pipe(id, |pipe| {
            let open = !pipe.closed && !pipe.gone;
            if open {
                pipe.shut();
                pipe.deaf = true;
                pipe.tell(DisconnectReason::Server);
            }
            open
        });
        if open {
            let latency = self.pipe(id, |pipe| pipe.quality.latency);
            let delay = self.roll(latency);
            self.after(delay, Event::ClientHears(id));
        }
    }
}
