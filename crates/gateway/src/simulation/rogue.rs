//! A client that sends invalid and malicious requests. It may be refused, and may harm its own user, but no
//! other client may notice, and it must receive nothing that is not for its user.

use serde_json::{Value, json};

use super::app::{App, Ask};
use super::hub::Hub;
use super::pipe::Up;
use crate::ids::{ConvId, Uid};

impl App {
    pub(super) fn misbehave(&mut self, hub: &Hub, users: &[Uid]) {
        let (conv, mid, user) = {
            let mut state = hub.lock();
            let state = &mut *state;
            let convs: Vec<ConvId> = state.truth.convs.keys().copied().collect();
            let user = state.dice.pick(users).clone();
            if convs.is_empty() {
                return;
            }
            let conv = *state.dice.pick(&convs);
            let log = &state.truth.convs[&conv].log;
            let mid = (!log.is_empty()).then(|| state.dice.pick(log).mid.to_string());
            (conv, mid, user)
        };
        let far = *hub
            .lock()
            .dice
            .pick(&[0, 1, 5, 1_000_000, i64::MAX as u64, u64::MAX]);
        match hub.roll((0, 11)) {
            0..=1 => self.ask(hub, 103, json!({"conv": conv, "seq": far}), Ask::Nonsense),
            2 => self.ask(hub, 106, json!({"conv": conv, "seq": far}), Ask::Nonsense),
            3 => self.ask(hub, 108, json!({"mid": mid}), Ask::Nonsense),
            4 => self.ask(
                hub,
                104,
                json!({"conv": conv, "after": far, "limit": 5}),
                Ask::Foreign(conv),
            ),
            5 => self.ask(hub, 104, json!({"conv": conv, "before": far}), Ask::Foreign(conv)),
            6 => {
                let kind = *hub
                    .lock()
                    .dice
                    .pick(&[0, 2, 5, 12, 15, 16, 100, 109, 112, 5_000, 70_000]);
                let data = json!({"type": kind, "to": {"user": user.as_str()}, "data": {"text": "x"}});
                self.ask(hub, 101, data, Ask::Nonsense);
            }
            7 => {
                let kind = hub.roll((0, 130)) as u16;
                // A register names only its own user.
                let data = json!({"uid": self.uid.as_str(), "resume": hub.percent(50), "limit": far});
                let uid = self.uid.clone();
                if let Some(line) = &self.line {
                    hub.pipe(line.id, |pipe| pipe.uids.push(uid));
                }
                self.ask(hub, kind, data, Ask::Nonsense);
            }
            8 => self.ask(hub, 110, json!({"after": "x", "limit": far}), Ask::Nonsense),
            9 => self.register(hub),
            10 => {
                // It repeats one of its own cids with another body.
                let data =
                    json!({"type": 3, "to": {"user": user.as_str()}, "cid": "again", "data": {"n": far}});
                self.ask(hub, 101, data, Ask::Nonsense);
            }
            _ => {
                let Some(line) = &self.line else { return };
                let junk = hub
                    .lock()
                    .dice
                    .pick(&["1", "\"{\"", "[]", "null", "{}", "{\"type\":\"3\"}"])
                    .to_string();
                hub.send(
                    line.id,
                    Up {
                        json: junk,
                        ack: None,
                    },
                );
            }
        }
    }

    /// Checks what it was sent of a conversation that may not be its own.
    pub(super) fn check_foreign(&mut self, hub: &Hub, conv: ConvId, data: &Value) {
        for message in data["messages"].as_array().into_iter().flatten() {
            let found = self.checked(hub, message);
            hub.check(found.is_some_and(|(found, _)| found == conv), || {
                format!("{} asked for {conv} and hears {message}", self.name())
            });
        }
    }
}
