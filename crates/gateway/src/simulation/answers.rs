//! Handling of the responses that a client receives.

use serde_json::Value;

use super::app::{App, Ask, Stage};
use super::heard::conv_of;
use super::hub::Hub;
use super::watched::short;
use crate::ids::ConvId;

impl App {
    pub(super) fn answered(&mut self, hub: &Hub, number: u64, data: &Value) {
        let name = self.name();
        let Some(line) = &mut self.line else { return };
        let Some((ask, _)) = line.asks.remove(&number) else {
            return hub.wrong(format!("{name} did not ask for {data}"));
        };
        let code = data["code"].as_u64();
        hub.note(format!("{name} asked {ask:?}: {}", code.unwrap_or(999)));
        match (ask, code) {
            (Ask::Nonsense, Some(_)) => {}
            (Ask::Foreign(conv), Some(_)) => self.check_foreign(hub, conv, data),
            (Ask::Register { resume }, Some(0)) => self.registered(hub, resume, data),
            (Ask::Register { .. }, Some(503)) => self.hang_up(hub),
            (Ask::Send(number), Some(0)) => self.sent(hub, number, data),
            (Ask::Send(number), Some(403 | 404)) => {
                self.mem.outbox.remove(&number);
                self.mem.done.insert(number);
            }
            // The client sends it again on its next connection.
            (Ask::Send(_), Some(503)) => self.hang_up(hub),
            (Ask::Sync { conv, after }, Some(0)) => self.synced(hub, conv, after, data),
            (Ask::Sync { conv, .. }, Some(403 | 404)) => {
                let place = self.mem.places.entry(conv).or_default();
                (place.have, place.wanted) = (None, false);
                place.ahead.clear();
            }
            (Ask::Back { conv, before }, Some(0)) => self.paged_back(hub, conv, before, data),
            (Ask::Pass, Some(0)) => hub
                .check(data["delivered"].is_boolean() && data["mid"].is_null(), || {
                    format!("{name} hears {data}")
                }),
            (Ask::Ack | Ask::Read | Ask::Recall | Ask::List, Some(0 | 503))
            | (Ask::Ack | Ask::Read | Ask::Back { .. }, Some(403 | 404))
            | (Ask::Recall, Some(403 | 404 | 409))
            | (Ask::Sync { .. } | Ask::Back { .. }, Some(503)) => {}
            // The registration ended while the request was in flight.
            (_, Some(401)) => {}
            (ask, _) => hub.wrong(format!("{name} asked {ask:?} and hears {data}")),
        }
    }

    fn registered(&mut self, hub: &Hub, resume: bool, data: &Value) {
        let name = self.name();
        let Some(line) = &mut self.line else { return };
        hub.check(data["uid"] == self.uid.as_str(), || {
            format!("{name} hears {data}")
        });
        let epoch = data["epoch"].as_str().map(str::to_owned);
        let same = self.mem.epoch.is_none() || self.mem.epoch == epoch;
        hub.check(same && epoch.is_some(), || {
            format!("{name} hears of epoch {epoch:?}")
        });
        self.mem.epoch = epoch;
        // If the connection was displaced while its register was in flight, it is registered again.
        line.over = false;
        line.replayed = 0;
        line.pushed.clear();
        line.listed.clear();
        line.left_out.clear();
        if !resume {
            line.stage = Stage::Live;
            self.goes_live(hub);
            return;
        }
        line.stage = Stage::Replaying;
        let Some(listed) = data["conversations"].as_array() else {
            return hub.wrong(format!("{name} resumes and hears {data}"));
        };
        for item in listed {
            let (Some(conv), Some(head), Some(cursor)) = (
                conv_of(&item["conv"]),
                item["head"].as_u64(),
                item["cursor"].as_u64(),
            ) else {
                return hub.wrong(format!("{name} hears {item}"));
            };
            line.listed.insert(conv, (head, cursor));
            let place = self.mem.places.entry(conv).or_default();
            match place.have {
                None => {
                    place.have = Some(cursor);
                    place.close_gap();
                }
                Some(have) => {
                    hub.check(have <= head, || {
                        format!("{name} has {have} of {} and hears of {head}", short(conv))
                    });
                    place.wanted |= have < cursor;
                }
            }
        }
    }

    /// The client's message was accepted, so it must be in the history.
    fn sent(&mut self, hub: &Hub, number: u64, data: &Value) {
        let name = self.name();
        let (Some(conv), Some(seq)) = (conv_of(&data["conv"]), data["seq"].as_u64()) else {
            return hub.wrong(format!("{name} sent and hears {data}"));
        };
        let entry = hub.lock().truth.entry(conv, seq).cloned();
        let cid = format!("{}-{number}", self.device);
        let same = entry.as_ref().is_some_and(|entry| {
            data["mid"] == entry.mid.to_string()
                && data["ts"] == entry.ts
                && entry.from.as_ref() == Some(&self.uid)
                && entry.cid.as_ref().is_some_and(|own| own.as_str() == cid)
                && data["cid"] == cid
        });
        hub.check(same, || {
            format!("{name} sent {cid} and hears {data}, not {entry:?}")
        });
        self.mem.outbox.remove(&number);
        self.mem.done.insert(number);
        if entry.is_some_and(|entry| entry.to.contains(&self.uid)) {
            self.take(conv, seq, true);
        }
    }

    /// A page of messages that were missing. Messages that the page leaves out must not be for this user.
    fn synced(&mut self, hub: &Hub, conv: ConvId, after: u64, data: &Value) {
        let name = self.name();
        let messages = data["messages"].as_array().cloned().unwrap_or_default();
        let mut last = after;
        for message in &messages {
            let Some((_, seq)) = self.checked(hub, message) else {
                return;
            };
            let left_out = {
                let state = hub.lock();
                let known = state.truth.convs.get(&conv);
                known.and_then(|known| (last + 1..seq).find(|seq| known.owes(&self.uid, *seq)))
            };
            hub.check(seq > last && left_out.is_none(), || {
                format!("{name} fetches {} {seq} after {last}", short(conv))
            });
            last = seq;
            self.mem.places.entry(conv).or_default().got.insert(seq);
        }
        let more = data["more"] == true;
        hub.check(!more || !messages.is_empty(), || {
            format!("{name} fetches nothing and there is more")
        });
        let place = self.mem.places.entry(conv).or_default();
        if let Some(have) = place.have.filter(|have| *have >= after) {
            place.have = Some(have.max(last));
        } else if !messages.is_empty() {
            place.have = Some(last);
        }
        if !more {
            place.wanted = false;
            if messages.is_empty() {
                // The gap contains no messages that the user may see.
                place.have = place.ahead.first().map(|seq| seq - 1).or(place.have);
            }
        }
        place.close_gap();
    }

    /// A page backwards, which must be in order and changes nothing.
    fn paged_back(&mut self, hub: &Hub, conv: ConvId, before: u64, data: &Value) {
        let name = self.name();
        let mut last = before;
        for message in data["messages"].as_array().into_iter().flatten() {
            let Some((_, seq)) = self.checked(hub, message) else {
                return;
            };
            hub.check(seq < last, || {
                format!("{name} looks back at {} {seq} before {last}", short(conv))
            });
            last = seq;
        }
    }
}
