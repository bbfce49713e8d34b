//! The network: frames in flight arrive in order or, once the connection is broken, not at all. Either side may learn of a break much later
//! than the other.

use mynah_socketio::{CloseReason, DisconnectReason};

use super::hub::{Event, Hub};
use super::pipe::{Arrival, Down, Up};
use crate::ids::Uid;

/// The server's heartbeat finds a silent client after so long.
const HEARTBEAT: (u64, u64) = (5_000, 45_000);

impl Hub {
    /// The client sends.
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

    /// A frame is at the server.
    pub(super) fn arrived(&self, id: usize, up: Up) {
        let now = self.now();
        self.pipe(id, |pipe| {
            if pipe.up && !pipe.gone {
                pipe.heard = now;
                // A task that never reads again has a full inbox in the end.
                let _ = pipe.inbox.try_send(Arrival::Frame(up));
            }
        });
    }

    /// A frame is at the client, unless it was lost.
    pub(super) fn reaches_client(&self, id: usize) -> bool {
        self.pipe(id, |pipe| pipe.down)
    }

    /// The server's socket takes the next frame.
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
        let last = matches!(down, Down::Away);
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

    /// Nobody at the server knows of the connection any more.
    pub(super) fn gone(&self, id: usize) {
        let now = self.now();
        let mut state = self.lock();
        let pipe = state.pipes.get(id);
        pipe.gone = true;
        for uid in std::mem::take(&mut pipe.uids) {
            state.pipes.left.insert(uid, now);
        }
    }

    /// Whether the server may have taken the user for connected at some time from `since` on.
    pub(super) fn may_be_online(&self, uid: &Uid, since: u64) -> bool {
        let state = self.lock();
        let left = state.pipes.left.get(uid).is_some_and(|left| *left >= since);
        left || state.pipes.all.iter().any(|pipe| pipe.uids.contains(uid))
    }

    /// The server learns that the connection is over.
    pub(super) fn server_hears(&self, id: usize) {
        self.pipe(id, |pipe| {
            if !pipe.closed {
                pipe.shut();
                // Without a close, if the network has lost it.
                pipe.tell(match pipe.up {
                    true => DisconnectReason::Client,
                    false => DisconnectReason::Session(CloseReason::PingTimeout),
                });
            }
        });
    }

    /// The client closes, or its program ends. What it has sent still arrives; the server learns of it soon, or by its heartbeat only.
    pub(super) fn hang_up(&self, id: usize, noticed: bool) {
        let (passes, latency, last_up) = self.pipe(id, |pipe| {
            pipe.down = false;
            (pipe.up, pipe.quality.latency, pipe.last_up)
        });
        if !passes {
            // The server learns of it by its heartbeat, which is on its way.
            return;
        }
        let delay = self.roll(if noticed { latency } else { HEARTBEAT });
        let delay = delay.max(last_up.saturating_sub(self.now()));
        self.after(delay, Event::ServerHears(id));
    }

    /// The network loses the connection: nothing passes any more. Each side learns of it in its own time.
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

    /// The server is no more: neither are its queues. The clients see the connection reset, or notice nothing but silence.
    pub(super) fn server_dies(&self, silently: bool) {
        let open = self.lock().pipes.open();
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
}
