//! Checks of what a client receives: the response comes before any push, nothing comes after kind 12, the
//! messages of a conversation come in order and without gaps, and each message is for this user and equals
//! the one in the history.

use serde_json::Value;

use super::app::{App, Behaviour, Stage};
use super::hub::Hub;
use super::pipe::Down;
use super::scenario::TYPING;
use super::watched::short;
use crate::frame::Format;
use crate::ids::ConvId;

pub(super) fn conv_of(value: &Value) -> Option<ConvId> {
    ConvId::parse(value.as_str()?)
}

impl App {
    pub(super) fn hears(&mut self, hub: &Hub, id: usize, down: Down) {
        let Some(line) = self.line.as_ref().filter(|line| line.id == id) else {
            return;
        };
        let (over, stage) = (line.over, line.stage);
        match down {
            Down::Disconnect => {
                hub.note(format!("{} is disconnected for good", self.name()));
                self.disconnected_for_good = true;
            }
            Down::Ack(number, data) => {
                hub.check(!over || self.notified, || {
                    format!("{} is answered after kind 12", self.name())
                });
                let data = serde_json::from_str(&data).expect("answers are JSON");
                self.answered(hub, number, &data);
            }
            Down::Frame(json, format) => {
                let frame: Value = serde_json::from_str(&json).expect("frames are JSON");
                let kind = frame["type"].as_u64().unwrap_or(0);
                hub.note(format!(
                    "{} hears {kind} {} {}",
                    self.name(),
                    &frame["conv"].as_str().unwrap_or("")[..frame["conv"].as_str().map_or(0, |_| 6)],
                    frame["seq"]
                ));
                let is_answer = matches!(kind, 2 | 100 | 102 | 105 | 111);
                hub.check(!over || (is_answer && self.notified), || {
                    format!("{} hears {json} after kind 12", self.name())
                });
                let wants = if self.objects {
                    Format::Object
                } else {
                    Format::String
                };
                hub.check(format == wants || stage == Stage::Asked, || {
                    format!("{} hears {format:?}", self.name())
                });
                match kind {
                    2 | 100 | 102 | 105 | 111 => match frame["req"].as_u64() {
                        Some(number) => self.answered(hub, number, &frame["data"]),
                        None if self.behaviour == Behaviour::Malicious => {}
                        None => hub.wrong(format!("{} did not ask for {json}", self.name())),
                    },
                    12 => self.displaced(hub),
                    107 => self.hears_read(hub, &frame),
                    112 if self.behaviour == Behaviour::Malicious => {}
                    112 => self.resumed(hub, &frame["data"]),
                    _ => self.pushed(hub, &frame),
                }
            }
        }
    }

    fn displaced(&mut self, hub: &Hub) {
        hub.note(format!("{} is displaced", self.name()));
        let Some(line) = &mut self.line else { return };
        line.over = true;
        if self.notified {
            self.disconnected_for_good = true;
        }
    }

    fn hears_read(&mut self, hub: &Hub, frame: &Value) {
        let live = self.is_live();
        hub.check(live || self.behaviour == Behaviour::Malicious, || {
            format!("{} hears {frame} too early", self.name())
        });
        let (Some(conv), Some(seq)) = (conv_of(&frame["data"]["conv"]), frame["data"]["seq"].as_u64()) else {
            return hub.wrong(format!("{frame}"));
        };
        let may = {
            let state = hub.lock();
            let known = state.truth.convs.get(&conv);
            // Members may have left the team since.
            known.is_some_and(|known| {
                seq <= known.head()
                    && (known.floors.contains_key(&self.uid)
                        || known.log.iter().any(|entry| entry.may_see(&self.uid)))
            })
        };
        hub.check(may, || format!("{} hears {frame}", self.name()));
    }

    /// Handles a pushed message, which may be of a kind that is not stored.
    fn pushed(&mut self, hub: &Hub, frame: &Value) {
        if frame["mid"].is_null() {
            let parties = [&frame["data"]["to"], &frame["from"]];
            let own = parties.iter().any(|party| *party == self.uid.as_str());
            let live = self.is_live() || self.behaviour == Behaviour::Malicious;
            return hub.check(frame["type"] == TYPING && own && live, || {
                format!("{} hears {frame}", self.name())
            });
        }
        let name = self.name();
        let Some((conv, seq)) = self.checked(hub, frame) else {
            return;
        };
        let Some(line) = &mut self.line else { return };
        if matches!(line.stage, Stage::New | Stage::Asked) && self.behaviour != Behaviour::Malicious {
            hub.wrong(format!("{name} hears {frame} before it is registered"));
        }
        if line.stage == Stage::Replaying {
            line.replayed += 1;
        }
        let before = line.pushed.insert(conv, seq);
        if before.is_some_and(|before| before >= seq) && self.behaviour != Behaviour::Malicious {
            hub.wrong(format!("{name} hears {} {seq} after {before:?}", short(conv)));
        }
        // A replayed kind 17 may be about an earlier departure of a member who has joined again.
        let live = line.stage == Stage::Live;
        self.check_no_gap(hub, conv, seq, before);
        if live && frame["type"] == 17 && frame["data"]["uid"] == self.uid.as_str() {
            let place = self.mem.places.entry(conv).or_default();
            (place.have, place.wanted) = (None, false);
            place.ahead.clear();
            place.got.insert(seq);
        } else {
            self.take(conv, seq, false);
        }
    }

    /// Checks that the messages between two pushes of a conversation, or between what the device has and the
    /// first push, are not for it.
    fn check_no_gap(&self, hub: &Hub, conv: ConvId, seq: u64, before: Option<u64>) {
        let Some(line) = &self.line else { return };
        if self.behaviour == Behaviour::Malicious || (before.is_none() && !line.resumed) {
            return;
        }
        // Without a replay, some of the messages that were committed just before the register may come.
        if !line.resumed && hub.lock().several_nodes {
            return;
        }
        let device = self.as_device();
        let state = hub.lock();
        let from = before.unwrap_or_else(|| {
            let have = self.mem.places.get(&conv).and_then(|place| place.have);
            let listed = line.listed.get(&conv).map(|(_, cursor)| *cursor);
            listed
                .or(have)
                .unwrap_or(0)
                .max(state.devices.base(&device, conv))
        });
        let left_out = line.left_out.get(&conv).copied().unwrap_or(0);
        let Some(known) = state.truth.convs.get(&conv) else {
            return;
        };
        let missing = (from + 1..seq).find(|seq| {
            let own = known.entry(*seq).and_then(|entry| {
                let cid = entry
                    .cid
                    .as_ref()
                    .filter(|_| entry.from.as_ref() == Some(&self.uid))?;
                self.number(cid.as_str())
            });
            // Its own messages are answered instead of pushed.
            let own = own.is_some_and(|number| line.sent.contains(&number) || before.is_none());
            *seq > left_out && !own && known.sends(&self.uid, *seq)
        });
        drop(state);
        if let Some(missing) = missing {
            hub.wrong(format!(
                "{} hears {} {seq} and not {missing}, it had {from}",
                self.name(),
                short(conv)
            ));
        }
    }

    /// Checks that a message equals the one in the history and is for this user. Returns its conversation and
    /// `seq`.
    pub(super) fn checked(&self, hub: &Hub, frame: &Value) -> Option<(ConvId, u64)> {
        let (Some(conv), Some(seq)) = (conv_of(&frame["conv"]), frame["seq"].as_u64()) else {
            hub.wrong(format!("{} hears {frame}", self.name()));
            return None;
        };
        let Some(entry) = hub.lock().truth.entry(conv, seq).cloned() else {
            hub.wrong(format!("{} hears {frame}, which nobody sent", self.name()));
            return None;
        };
        hub.check(entry.may_see(&self.uid), || {
            format!("{} hears {frame} for {:?}", self.name(), entry.to)
        });
        let same = frame["mid"] == entry.mid.to_string()
            && frame["type"] == entry.kind
            && frame["ts"] == entry.ts
            && frame["from"].as_str() == entry.from.as_ref().map(|from| from.as_str())
            && frame["cid"].as_str() == entry.cid.as_ref().map(|cid| cid.as_str());
        let whole = if frame["recalled"] == true {
            entry.recalled && frame["data"].is_null()
        } else {
            serde_json::from_str::<Value>(entry.data.get()).is_ok_and(|data| data == frame["data"])
        };
        hub.check(same && whole, || {
            format!("{} hears {frame}, not {entry:?}", self.name())
        });
        Some((conv, seq))
    }

    fn resumed(&mut self, hub: &Hub, data: &Value) {
        let name = self.name();
        let Some(line) = &mut self.line else { return };
        let complete = data["complete"] == true;
        hub.check(line.stage == Stage::Replaying, || {
            format!("{name} hears 112 in between")
        });
        hub.check(data["sent"] == line.replayed, || {
            format!("{name} hears {data} after {}", line.replayed)
        });
        line.stage = Stage::Live;
        for (conv, (head, cursor)) in &line.listed {
            let last = line.pushed.get(conv).copied().unwrap_or(*cursor);
            if last >= *head {
                continue;
            }
            // A user who has left the team in the meantime is not sent its messages any more.
            let owed = {
                let state = hub.lock();
                let known = state.truth.convs.get(conv);
                known.is_some_and(|known| (last + 1..=*head).any(|seq| known.sends(&self.uid, seq)))
            };
            hub.check(!complete || !owed, || {
                format!("{name} has {last} of {head} of {} and hears {data}", short(*conv))
            });
            line.left_out.insert(*conv, *head);
            self.mem.places.entry(*conv).or_default().wanted = true;
        }
        self.goes_live(hub);
    }
}
