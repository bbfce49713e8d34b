//! A simulated client that follows the protocol: it stores what it receives, acknowledges what it has stored,
//! resends what was not answered, and fetches what it knows to be missing. Its program may end at any moment;
//! it then continues with what it had stored.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::hub::{Event, Hub};
use super::pipe::Up;
use crate::ids::{ConvId, DeviceId, Uid};
use crate::store::Device;

/// The sort of client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Behaviour {
    /// It follows the protocol.
    Correct,
    /// It behaves like clients of the replaced Node module: it registers without `resume`, and relies on
    /// pushes only.
    Legacy,
    /// It sends invalid and malicious requests.
    Malicious,
}

/// What the client has of a conversation.
#[derive(Debug, Clone, Default)]
pub(super) struct Progress {
    /// The client has everything up to this `seq`. `None` means that it knows nothing yet.
    pub(super) have: Option<u64>,
    /// Messages that it has after a gap.
    pub(super) ahead: BTreeSet<u64>,
    /// All messages that it ever received.
    pub(super) got: BTreeSet<u64>,
    /// Whether it has something to fetch.
    pub(super) wanted: bool,
}

/// A message in the outbox.
#[derive(Debug, Clone)]
pub(super) struct Out {
    pub(super) kind: u16,
    pub(super) to: Value,
    pub(super) data: Value,
}

/// What a client stores.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    pub(super) places: BTreeMap<ConvId, Progress>,
    /// Messages to send, by the number in their `cid`.
    pub(super) outbox: BTreeMap<u64, Out>,
    /// The numbers of messages whose send was answered.
    pub(super) done: BTreeSet<u64>,
    pub(super) epoch: Option<String>,
}

/// A request that was not answered yet.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Ask {
    Register {
        resume: bool,
    },
    Send(u64),
    Ack,
    Sync {
        conv: ConvId,
        after: u64,
    },
    Back {
        conv: ConvId,
        before: u64,
    },
    Read,
    Recall,
    List,
    /// A message that is not stored.
    Pass,
    /// Messages of a conversation to which the user may not belong.
    Foreign(ConvId),
    /// A request to which every response is acceptable.
    Nonsense,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    New,
    Asked,
    Replaying,
    Live,
}

/// A connection, as the client sees it.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) id: usize,
    pub(super) stage: Stage,
    pub(super) resumed: bool,
    /// Head and cursor of each conversation in the response to the register.
    pub(super) listed: BTreeMap<ConvId, (u64, u64)>,
    /// Number of messages since the response to the register.
    pub(super) replayed: u64,
    /// The newest pushed message of each conversation.
    pub(super) pushed: BTreeMap<ConvId, u64>,
    /// Messages up to this one may be missing from an incomplete replay.
    pub(super) left_out: BTreeMap<ConvId, u64>,
    /// Kind 12 was received: the connection is displaced.
    pub(super) over: bool,
    pub(super) asks: BTreeMap<u64, (Ask, u64)>,
    next_ask: u64,
    acked: BTreeMap<ConvId, u64>,
    /// Numbers of the messages that were sent on this connection.
    pub(super) sent: BTreeSet<u64>,
}

/// A client, its state in memory, and its state on disk.
pub(super) struct App {
    pub(super) index: usize,
    pub(super) uid: Uid,
    pub(super) device: String,
    pub(super) platform: Option<&'static str>,
    pub(super) behaviour: Behaviour,
    pub(super) objects: bool,
    pub(super) mem: Kept,
    pub(super) disk: Kept,
    pub(super) line: Option<Line>,
    pub(super) connecting: bool,
    /// It was disconnected for good, and reconnects only when its user wants to.
    pub(super) disconnected_for_good: bool,
    /// Its user does not use it at present.
    pub(super) resting: bool,
    pub(super) next_number: u64,
    /// Messages that it has forgotten, because its program ended before it stored them.
    pub(super) lost: BTreeSet<u64>,
    /// A displaced connection stays open (`login.displaced = "notify"`).
    pub(super) notified: bool,
}

impl App {
    pub(super) fn name(&self) -> String {
        format!("{}/{}", self.uid, self.device)
    }

    pub(super) fn as_device(&self) -> Device {
        Device {
            uid: self.uid.clone(),
            device: DeviceId::new(&self.device).expect("a device"),
        }
    }

    /// Returns the number in a `cid`, if this client has created it.
    pub(super) fn number(&self, cid: &str) -> Option<u64> {
        cid.strip_prefix(&format!("{}-", self.device))?.parse().ok()
    }

    pub(super) fn save(&mut self) {
        self.disk = self.mem.clone();
    }

    /// Ends and restarts the client's program.
    pub(super) fn restart(&mut self, hub: &Hub) {
        hub.note(format!("{} restarts", self.name()));
        if let Some(line) = self.line.take() {
            let noticed = hub.percent(50);
            hub.hang_up(line.id, noticed);
        }
        self.mem = self.disk.clone();
        let known = |number: &u64| self.mem.done.contains(number) || self.mem.outbox.contains_key(number);
        self.lost
            .extend((0..self.next_number).filter(|number| !known(number)));
    }

    pub(super) fn hang_up(&mut self, hub: &Hub) {
        if let Some(line) = self.line.take() {
            hub.note(format!("{} hangs up line {}", self.name(), line.id));
            hub.hang_up(line.id, true);
        }
    }

    /// The client is connected.
    pub(super) fn connected(&mut self, hub: &Hub, id: usize) {
        hub.note(format!("{} has line {id}", self.name()));
        self.line = Some(Line {
            id,
            stage: Stage::New,
            resumed: false,
            listed: BTreeMap::new(),
            replayed: 0,
            pushed: BTreeMap::new(),
            left_out: BTreeMap::new(),
            over: false,
            asks: BTreeMap::new(),
            next_ask: 1,
            acked: BTreeMap::new(),
            sent: BTreeSet::new(),
        });
        self.register(hub);
    }

    pub(super) fn register(&mut self, hub: &Hub) {
        let resume = self.behaviour == Behaviour::Correct;
        let mut data = json!({"uid": self.uid.as_str(), "resume": resume});
        if self.behaviour != Behaviour::Legacy || hub.percent(50) {
            data["deviceid"] = self.device.clone().into();
        }
        if let Some(platform) = self.platform {
            data["platform"] = platform.into();
        }
        if self.objects {
            data["format"] = "object".into();
        }
        let Some(line) = &mut self.line else { return };
        if line.stage == Stage::New {
            line.stage = Stage::Asked;
        }
        line.resumed = resume;
        let uid = self.uid.clone();
        hub.pipe(line.id, |pipe| pipe.uids.push(uid));
        self.ask(hub, 1, data, Ask::Register { resume });
    }

    /// Sends a request, and asks for the response by a callback or by `req`.
    pub(super) fn ask(&mut self, hub: &Hub, kind: u16, data: Value, ask: Ask) {
        let Some(line) = &mut self.line else { return };
        let number = line.next_ask;
        line.next_ask += 1;
        line.asks.insert(number, (ask, hub.now()));
        let mut frame = json!({"type": kind, "data": data});
        let mut ack = None;
        if hub.percent(50) {
            ack = Some(number);
        } else {
            frame["req"] = number.into();
        }
        let text = frame.to_string();
        let json = if hub.percent(50) {
            Value::String(text).to_string()
        } else {
            text
        };
        hub.send(line.id, Up { json, ack });
    }

    /// Sends a message of the outbox.
    pub(super) fn send_out(&mut self, hub: &Hub, number: u64) {
        let Some(out) = self.mem.outbox.get(&number) else {
            return;
        };
        let cid = format!("{}-{number}", self.device);
        let data = json!({"type": out.kind, "to": out.to, "cid": cid, "data": out.data});
        if let Some(line) = &mut self.line {
            line.sent.insert(number);
        }
        self.ask(hub, 101, data, Ask::Send(number));
    }

    pub(super) fn is_live(&self) -> bool {
        self.line
            .as_ref()
            .is_some_and(|line| line.stage == Stage::Live && !line.over)
    }

    fn is_asked(&self, wanted: impl Fn(&Ask) -> bool) -> bool {
        let line = self.line.as_ref();
        line.is_some_and(|line| line.asks.values().any(|(ask, _)| wanted(ask)))
    }

    /// After a register or a replay, sends again what was not answered on an earlier connection.
    pub(super) fn goes_live(&mut self, hub: &Hub) {
        let numbers: Vec<u64> = self.mem.outbox.keys().copied().collect();
        for number in numbers {
            if !self.is_asked(|ask| *ask == Ask::Send(number)) {
                self.send_out(hub, number);
            }
        }
    }

    /// The regular work of a client: storing, fetching what is missing, acknowledging.
    pub(super) fn tend(&mut self, hub: &Hub) {
        if hub.lock().quiet || hub.percent(50) {
            self.save();
        }
        if self.behaviour != Behaviour::Correct {
            return;
        }
        let gaps = self
            .mem
            .places
            .iter()
            .filter(|(_, place)| place.wanted || !place.ahead.is_empty());
        let gaps = gaps
            .map(|(conv, place)| (*conv, place.have.unwrap_or(0)))
            .collect::<Vec<_>>();
        for (conv, after) in gaps {
            if !self.is_asked(|ask| matches!(ask, Ask::Sync { conv: asked, .. } if *asked == conv)) {
                let mut data = json!({"conv": conv, "after": after});
                if hub.percent(70) {
                    data["limit"] = hub.roll((1, 30)).into();
                }
                self.ask(hub, 104, data, Ask::Sync { conv, after });
            }
        }
        let kept: Vec<_> = self
            .disk
            .places
            .iter()
            .filter_map(|(conv, place)| Some((*conv, place.have?)))
            .collect();
        for (conv, have) in kept {
            let Some(line) = &mut self.line else { return };
            if have > 0 && line.acked.get(&conv).is_none_or(|acked| *acked < have) {
                line.acked.insert(conv, have);
                self.ask(hub, 103, json!({"conv": conv, "seq": have}), Ask::Ack);
            }
        }
    }

    /// The client notices that its connection is closed.
    pub(super) fn lost_line(&mut self, hub: &Hub, id: usize) {
        if self.line.as_ref().is_some_and(|line| line.id == id) {
            hub.note(format!("{} has lost line {id}", self.name()));
            self.line = None;
        }
    }

    /// The client receives a message.
    pub(super) fn take(&mut self, conv: ConvId, seq: u64, own: bool) {
        let place = self.mem.places.entry(conv).or_default();
        place.got.insert(seq);
        match place.have {
            Some(have) if seq <= have => {}
            None if own && seq > 1 => {
                place.ahead.insert(seq);
            }
            Some(have) if seq > have + 1 => {
                place.ahead.insert(seq);
            }
            None | Some(_) => place.have = Some(seq),
        }
        place.close_gap();
    }

    pub(super) fn again(&self, hub: &Hub, delay: (u64, u64)) {
        let delay = hub.roll(delay);
        hub.after(delay, Event::App(self.index));
    }
}

impl Progress {
    /// Moves the end of what it has over messages that follow it without a gap.
    pub(super) fn close_gap(&mut self) {
        let Some(mut have) = self.have else { return };
        while self.ahead.remove(&(have + 1)) {
            have += 1;
        }
        self.ahead.retain(|seq| *seq > have);
        self.have = Some(have);
    }
}
