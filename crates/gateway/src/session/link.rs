//! The link to one client, which the registry keeps for each connection.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use mynah_socketio::CloseReason;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::Outlet;
use crate::frame::{Format, Frame};
use crate::ids::{ConvId, Seq};
use crate::rate::Bucket;

/// Whether pushes are sent to the client at once.
enum Flow {
    /// They are sent.
    Live,
    /// They are sent, except messages that were replayed, whose delivery may still be in flight.
    Caught(Box<Caught>),
    /// The client is registered but not up to date: pushes wait until the response and the replay are sent.
    Held(Box<HeldPushes>),
    /// The client's device has reconnected on another connection: nothing more is sent.
    Ended,
}

/// The pushes that wait until the client is up to date.
struct HeldPushes {
    hold: Hold,
    frames: VecDeque<Arc<Frame>>,
    bytes: usize,
    /// Whether the response was sent, and the replay is in progress.
    answered: bool,
    /// Set if the client is displaced or signed out before the response: this follows the response, and no
    /// pushes do.
    farewell: Option<Farewell>,
}

/// The `seq` up to which each conversation was replayed.
struct Caught {
    hold: Hold,
    replayed: HashMap<ConvId, Seq>,
}

/// A register for which pushes are held. A later register of the same connection replaces it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hold(u32);

/// The last data that a registered connection gets.
pub(crate) struct Farewell {
    /// Kind 12, unless the client was signed out.
    pub(crate) last: Option<Frame>,
    /// Whether the client is disconnected for good. Otherwise the connection stays open, unregistered.
    pub(crate) away: bool,
}

/// One connection, as pushes and responses use it.
pub(crate) struct Link {
    outlet: Box<dyn Outlet>,
    /// The token of the handshake, until the connection is registered.
    handshake_token: Mutex<Option<Box<str>>>,
    flow: Mutex<Flow>,
    wants_objects: AtomicBool,
    /// Whether the client has acknowledged something (103, 106) since it registered.
    acknowledges: AtomicBool,
    /// Messages that were committed after this time were written to the connection; on the clock of push
    /// jobs.
    written_since: AtomicU64,
    holds: AtomicU32,
    appends: AtomicU32,
    append_ended: Notify,
    /// The recent registers of the connection.
    pub(crate) registers: Bucket,
}

/// The maximum number of bytes of held pushes. If there are more, the client reads too slowly.
const MAX_HELD_BYTES: usize = 1 << 20;

impl Link {
    pub(crate) fn new(outlet: impl Outlet + 'static, handshake_token: Option<Box<str>>) -> Self {
        Self {
            outlet: Box::new(outlet),
            handshake_token: Mutex::new(handshake_token),
            flow: Mutex::new(Flow::Live),
            wants_objects: AtomicBool::new(false),
            acknowledges: AtomicBool::new(false),
            written_since: AtomicU64::new(u64::MAX),
            holds: AtomicU32::new(0),
            appends: AtomicU32::new(0),
            append_ended: Notify::new(),
            registers: Bucket::default(),
        }
    }

    pub(crate) fn outlet(&self) -> &dyn Outlet {
        &*self.outlet
    }

    /// The token that the client sent in the handshake.
    pub(crate) fn handshake_token(&self) -> Option<Box<str>> {
        self.handshake_token.lock().clone()
    }

    /// Forgets the token of the handshake, which is not needed any more.
    pub(crate) fn forget_handed(&self) {
        *self.handshake_token.lock() = None;
    }

    pub(crate) fn format(&self) -> Format {
        if self.wants_objects.load(Ordering::Relaxed) {
            Format::Object
        } else {
            Format::String
        }
    }

    pub(crate) fn set_format(&self, format: Format) {
        self.wants_objects
            .store(format == Format::Object, Ordering::Relaxed);
    }

    /// Begins a registration as another user than before.
    pub(crate) fn begins(&self, now: u64) {
        self.acknowledges.store(false, Ordering::Relaxed);
        self.written_since.store(now, Ordering::Relaxed);
    }

    /// Notes that everything that the user's device had missed was replayed.
    pub(crate) fn has_caught_up(&self) {
        self.written_since.store(0, Ordering::Relaxed);
    }

    /// The time after which committed messages were written to this connection. Before the connection
    /// registers, it is the largest time.
    pub(crate) fn written_since(&self) -> u64 {
        self.written_since.load(Ordering::Relaxed)
    }

    /// Notes that the client has sent an acknowledgement.
    pub(crate) fn begins_to_acknowledge(&self) {
        self.acknowledges.store(true, Ordering::Relaxed);
    }

    /// Whether the client has sent an acknowledgement since it registered.
    pub(crate) fn acknowledges(&self) -> bool {
        self.acknowledges.load(Ordering::Relaxed)
    }

    /// Sends a push, or keeps it until the client is up to date. The caller holds the lock of the user's
    /// shard.
    pub(crate) fn push(&self, frame: &Arc<Frame>) -> bool {
        let mut flow = self.flow.lock();
        match &mut *flow {
            Flow::Live => {
                drop(flow);
                self.outlet.send(frame, self.format())
            }
            Flow::Caught(caught) if was_replayed(frame, &caught.replayed) => true,
            Flow::Caught(_) => {
                drop(flow);
                self.outlet.send(frame, self.format())
            }
            Flow::Held(held) if held.farewell.is_some() => false,
            Flow::Held(held) if held.bytes + frame.len() <= MAX_HELD_BYTES => {
                held.bytes += frame.len();
                held.frames.push_back(frame.clone());
                true
            }
            Flow::Held(_) => {
                drop(flow);
                self.outlet.close_now(CloseReason::SlowReader);
                false
            }
            Flow::Ended => false,
        }
    }

    /// Holds pushes from now on, until [`Link::release`] or [`Link::go_live`] is called with the returned
    /// hold. If pushes are held already, the earlier hold and its replay end, and the pushes stay held.
    pub(crate) fn hold(&self) -> Hold {
        let hold = Hold(self.holds.fetch_add(1, Ordering::Relaxed));
        let mut flow = self.flow.lock();
        match &mut *flow {
            Flow::Held(held) => {
                held.hold = hold;
                held.answered = false;
            }
            Flow::Live | Flow::Caught(_) | Flow::Ended => {
                *flow = Flow::Held(Box::new(HeldPushes {
                    hold,
                    frames: VecDeque::new(),
                    bytes: 0,
                    answered: false,
                    farewell: None,
                }));
            }
        }
        hold
    }

    /// Whether a replay is in progress.
    pub(crate) fn is_replaying(&self) -> bool {
        matches!(&*self.flow.lock(), Flow::Held(held) if held.answered)
    }

    /// Drops the pushes that were kept for the user as whom the connection was registered before.
    pub(crate) fn drop_held(&self) {
        let mut flow = self.flow.lock();
        if let Flow::Held(_) | Flow::Caught(_) = &*flow {
            *flow = Flow::Live;
        }
    }

    /// Sends the response with `answer`, and then the pushes that were kept.
    pub(crate) fn release(&self, answer: impl FnOnce()) {
        let mut flow = self.flow.lock();
        let held = match std::mem::replace(&mut *flow, Flow::Live) {
            Flow::Live | Flow::Caught(_) => None,
            Flow::Held(held) => Some(held),
            Flow::Ended => {
                *flow = Flow::Ended;
                return;
            }
        };
        answer();
        let Some(held) = held else { return };
        for frame in &held.frames {
            self.outlet.send(frame, self.format());
        }
        if let Some(farewell) = held.farewell {
            self.say(&farewell);
        }
    }

    /// Sends the response with `answer`, and continues to keep pushes. Those of messages up to `start`, after
    /// which the replay of a conversation begins, are sent at once: they were delivered while the device was
    /// registered, and belong before the replay. Returns their number, or `None` if a replay is not needed
    /// any more.
    pub(crate) fn begin_replay(
        &self,
        hold: Hold,
        start: &HashMap<ConvId, Seq>,
        answer: impl FnOnce(),
    ) -> Option<u32> {
        let mut flow = self.flow.lock();
        let held = of_hold(&mut flow, hold)?;
        answer();
        held.answered = true;
        if let Some(farewell) = held.farewell.take() {
            self.say(&farewell);
            *flow = Flow::Live;
            return None;
        }
        if held.frames.is_empty() {
            return Some(0);
        }
        let mut sent = 0;
        held.frames.retain(|frame| {
            let is_missed = |(conv, seq)| start.get(&conv).is_none_or(|start| seq > *start);
            let stays = frame.place().is_none_or(is_missed);
            if !stays {
                held.bytes -= frame.len();
                sent += 1;
                self.outlet.send(frame, self.format());
            }
            stays
        });
        Some(sent)
    }

    /// Sends a replayed frame once at most `bytes` wait to be written. Returns false if the hold has ended or
    /// the connection is closed.
    pub(crate) async fn replay(&self, hold: Hold, frame: &Frame, bytes: usize) -> bool {
        self.outlet.room(bytes).await
            && of_hold(&mut self.flow.lock(), hold).is_some()
            && self.outlet.send(frame, self.format())
    }

    /// Sends the pushes that were kept, as fast as the client reads. From then on pushes are sent at once.
    /// Both leave out the messages that were replayed: `replayed` has the last `seq` of each conversation.
    pub(crate) async fn go_live(&self, hold: Hold, replayed: HashMap<ConvId, Seq>, bytes: usize) {
        while self.outlet.room(bytes).await {
            let mut flow = self.flow.lock();
            let Some(held) = of_hold(&mut flow, hold) else {
                return;
            };
            let Some(frame) = held.frames.pop_front() else {
                *flow = Flow::Caught(Box::new(Caught { hold, replayed }));
                return;
            };
            held.bytes -= frame.len();
            if !was_replayed(&frame, &replayed) {
                self.outlet.send(&frame, self.format());
            }
        }
    }

    /// Forgets which messages were replayed.
    pub(crate) fn forget_replayed(&self, hold: Hold) {
        let mut flow = self.flow.lock();
        if let Flow::Caught(caught) = &*flow
            && caught.hold == hold
        {
            *flow = Flow::Live;
        }
    }

    /// Closes this connection, because the client's device has reconnected on another one. A pending response
    /// is not sent.
    pub(crate) fn close_now(&self) {
        *self.flow.lock() = Flow::Ended;
        self.outlet.close_now(CloseReason::ServerClose);
    }

    /// Closes this connection at once, because the other nodes have taken this one for dead.
    pub(crate) fn close_lost(&self) {
        self.outlet.close_now(CloseReason::ServerShutdown);
    }

    /// Sends the last data of a registration, after a pending response, and ends a replay.
    pub(crate) fn part(&self, farewell: Farewell) {
        let mut flow = self.flow.lock();
        match &mut *flow {
            Flow::Held(held) if !held.answered => {
                held.frames.clear();
                held.farewell = Some(farewell);
            }
            Flow::Held(_) => {
                *flow = Flow::Live;
                self.say(&farewell);
            }
            Flow::Live | Flow::Caught(_) | Flow::Ended => self.say(&farewell),
        }
    }

    fn say(&self, farewell: &Farewell) {
        match (&farewell.last, farewell.away) {
            (last, true) => self.outlet.disconnect_for_good(last.as_ref(), self.format()),
            (Some(last), false) => {
                self.outlet.send(last, self.format());
            }
            (None, false) => {}
        }
    }

    /// Tells the client that its token has expired, and closes the connection to reconnect.
    pub(crate) fn expire(&self, last: &Frame) {
        // The pushes were kept for the user whose token has expired.
        self.drop_held();
        self.outlet.send(last, self.format());
        self.outlet.close_to_reconnect();
    }

    /// Sends a frame that does not need a registration.
    pub(crate) fn send(&self, frame: &Frame) -> bool {
        self.outlet.send(frame, self.format())
    }

    /// Counts one more append that waits for the store, and returns their number.
    pub(crate) fn append_begins(&self) -> usize {
        self.appends.fetch_add(1, Ordering::Relaxed) as usize + 1
    }

    /// Counts one append less, after it was answered.
    pub(crate) fn append_ended(&self) {
        self.appends.fetch_sub(1, Ordering::Release);
        self.append_ended.notify_one();
    }

    /// Waits until fewer than `limit` appends wait for the store.
    pub(crate) async fn wait_for_appends(&self, limit: usize) {
        while self.appends.load(Ordering::Acquire) as usize >= limit {
            self.append_ended.notified().await;
        }
    }
}

fn was_replayed(frame: &Frame, replayed: &HashMap<ConvId, Seq>) -> bool {
    let through = |conv| replayed.get(&conv).copied();
    frame
        .place()
        .is_some_and(|(conv, seq)| through(conv).is_some_and(|through| seq <= through))
}

/// The pushes held for this hold, if it is still the current one.
fn of_hold(flow: &mut Flow, hold: Hold) -> Option<&mut HeldPushes> {
    match flow {
        Flow::Held(held) if held.hold == hold => Some(held),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::value::RawValue;

    use super::*;
    use crate::frame::Envelope;
    use crate::ids::Mid;
    use crate::testing::{Ear, Said};

    fn message(seq: u64) -> Arc<Frame> {
        let envelope = Envelope {
            kind: 3,
            data: RawValue::NULL,
            place: Some((Mid(uuid::Uuid::from_u128(seq.into())), ConvId([1; 16]), Seq(seq))),
            from: None,
            cid: None,
            ts: 1,
            recalled: false,
        };
        Arc::new(Frame::push(&envelope))
    }

    fn came(ear: &Ear) -> Vec<u64> {
        let seq = |said| match said {
            Said::Frame(frame, _) => frame["seq"].as_u64(),
            _ => None,
        };
        ear.rest().into_iter().filter_map(seq).collect()
    }

    #[tokio::test]
    async fn a_delivery_that_is_late_does_not_repeat_the_replay() {
        let ear = Ear::new("a");
        let link = Link::new(ear.clone(), None);
        let hold = link.hold();
        link.push(&message(2));
        link.push(&message(3));
        let start = HashMap::from([(ConvId([1; 16]), Seq(0))]);
        assert_eq!(link.begin_replay(hold, &start, || {}), Some(0));
        assert!(link.replay(hold, &message(1), 0).await && link.replay(hold, &message(2), 0).await);
        link.go_live(hold, HashMap::from([(ConvId([1; 16]), Seq(2))]), 0)
            .await;
        assert_eq!(came(&ear), [1, 2, 3]);
        assert!(link.push(&message(2)), "it has it");
        link.push(&message(4));
        assert_eq!(came(&ear), [4]);
        link.forget_replayed(hold);
        link.push(&message(2));
        assert_eq!(came(&ear), [2], "nothing is remembered for long");
    }

    /// A new device begins at the head, but its connection is registered before that.
    #[tokio::test]
    async fn a_message_from_before_the_replay_is_sent_before_it() {
        let ear = Ear::new("a");
        let link = Link::new(ear.clone(), None);
        let hold = link.hold();
        for seq in 1..=3 {
            link.push(&message(seq));
        }
        let start = HashMap::from([(ConvId([1; 16]), Seq(1))]);
        assert_eq!(link.begin_replay(hold, &start, || {}), Some(1));
        assert!(link.replay(hold, &message(2), 0).await);
        link.go_live(hold, HashMap::from([(ConvId([1; 16]), Seq(2))]), 0)
            .await;
        assert_eq!(came(&ear), [1, 2, 3]);
    }
}
