//! A client as the protocol wants it: it keeps what it gets, acknowledges what it has kept, repeats what was not answered, and fetches what
//! it sees to be missing. Its program may end at any moment, and then goes on with what it had kept.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::hub::{Event, Hub};
use super::pipe::Up;
use crate::ids::{ConvId, DeviceId, Uid};
use crate::store::Device;

/// What sort of client it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Manners {
    /// As above.
    Good,
    /// As the replaced system's clients: it registers without resuming, and takes what comes.
    Old,
    /// It sends what it should not.
    Bad,
}

/// Where it stands in a conversation.
#[derive(Debug, Clone, Default)]
pub(super) struct Place {
    /// It has everything up to here; nothing is known yet when `None`.
    pub(super) have: Option<u64>,
    /// What it has beyond a gap.
    pub(super) ahead: BTreeSet<u64>,
    /// Everything that it ever got.
    pub(super) got: BTreeSet<u64>,
    /// There is something to fetch.
    pub(super) wanted: bool,
}

/// A message on its way.
#[derive(Debug, Clone)]
pub(super) struct Out {
    pub(super) kind: u16,
    pub(super) to: Value,
    pub(super) data: Value,
}

/// What a client keeps.
#[derive(Debug, Clone, Default)]
pub(super) struct Kept {
    pub(super) places: BTreeMap<ConvId, Place>,
    /// By the number in the cid.
    pub(super) outbox: BTreeMap<u64, Out>,
    /// Numbers of messages that were answered.
    pub(super) done: BTreeSet<u64>,
    pub(super) epoch: Option<String>,
}

/// A request that is not answered yet.
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
    /// A part of a conversation that may not be its own.
    Foreign(ConvId),
    /// Whatever the answer is.
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
    /// Told by the response: head and cursor.
    pub(super) listed: BTreeMap<ConvId, (u64, u64)>,
    /// Messages since the response.
    pub(super) replayed: u64,
    /// The newest push of each conversation.
    pub(super) pushed: BTreeMap<ConvId, u64>,
    /// An incomplete replay leaves out what is up to here.
    pub(super) left_out: BTreeMap<ConvId, u64>,
    /// Kind 12 came.
    pub(super) over: bool,
    pub(super) asks: BTreeMap<u64, (Ask, u64)>,
    next_ask: u64,
    acked: BTreeMap<ConvId, u64>,
    /// Numbers of messages sent here.
    pub(super) sent: BTreeSet<u64>,
}

/// See the module.
pub(super) struct App {
    pub(super) index: usize,
    pub(super) uid: Uid,
    pub(super) device: String,
    pub(super) platform: Option<&'static str>,
    pub(super) manners: Manners,
    pub(super) objects: bool,
    pub(super) mem: Kept,
    pub(super) disk: Kept,
    pub(super) line: Option<Line>,
    pub(super) connecting: bool,
    /// Told to stay away until the user comes back to it.
    pub(super) sent_away: bool,
    /// Its user has put it aside.
    pub(super) resting: bool,
    pub(super) next_number: u64,
    /// Messages that it does not know of any more.
    pub(super) lost: BTreeSet<u64>,
    /// A displaced connection stays open.
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

    /// The number in a cid of its own.
    pub(super) fn number(&self, cid: &str) -> Option<u64> {
        cid.strip_prefix(&format!("{}-", self.device))?.parse().ok()
    }

    pub(super) fn save(&mut self) {
        self.disk = self.mem.clone();
    }

    /// The program ends and begins again.
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

    /// Its connection is there.
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
        let resume = self.manners == Manners::Good;
        let mut data = json!({"uid": self.uid.as_str(), "resume": resume});
        if self.manners != Manners::Old || hub.percent(50) {
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

    /// Sends a request that wants an answer, by a callback or by `req`.
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

    /// Registered, or done with a replay: what was not answered before is sent again.
    pub(super) fn goes_live(&mut self, hub: &Hub) {
        let numbers: Vec<u64> = self.mem.outbox.keys().copied().collect();
        for number in numbers {
            if !self.is_asked(|ask| *ask == Ask::Send(number)) {
                self.send_out(hub, number);
            }
        }
    }

    /// What it does by itself whenever it has the time.
    pub(super) fn tend(&mut self, hub: &Hub) {
        if hub.lock().quiet || hub.percent(50) {
            self.save();
        }
        if self.manners != Manners::Good {
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

    /// Its connection is over.
    pub(super) fn lost_line(&mut self, hub: &Hub, id: usize) {
        if self.line.as_ref().is_some_and(|line| line.id == id) {
            hub.note(format!("{} has lost line {id}", self.name()));
            self.line = None;
        }
    }

    /// A message that it has.
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

impl Place {
    /// Takes in what was ahead.
    pub(super) fn close_gap(&mut self) {
        let Some(mut have) = self.have else { return };
        while self.ahead.remove(&(have + 1)) {
            have += 1;
        }
        self.ahead.retain(|seq| *seq > have);
        self.have = Some(have);
    }
}
