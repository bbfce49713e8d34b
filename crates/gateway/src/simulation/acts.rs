//! The actions of a client's user.

use serde_json::{Value, json};

use super::app::{App, Ask, Out};
use super::hub::Hub;
use super::scenario::TYPING;
use crate::ids::{TeamId, Uid};

impl App {
    /// Writes a new message.
    pub(super) fn write(&mut self, hub: &Hub, users: &[Uid], teams: &[TeamId]) {
        let number = self.next_number;
        self.next_number += 1;
        let size = hub.roll((0, 40)).pow(2) as usize;
        let (to, kind) = if hub.percent(30) {
            let team = hub.lock().dice.pick(teams).clone();
            (json!({"team": team.as_str()}), 15)
        } else {
            let mut state = hub.lock();
            let user = state.dice.pick(users).clone();
            let kind = *state.dice.pick(&[3, 3, 3, 7, 8, 18, 19]);
            (json!({"user": user.as_str()}), kind)
        };
        let text = format!("{}-{number}", self.device);
        // `data` can be any JSON value.
        let data = match number % 8 {
            5 => Value::Null,
            6 => json!([text, size]),
            7 => json!(text),
            _ => json!({"text": text, "filling": "x".repeat(size)}),
        };
        self.mem.outbox.insert(number, Out { kind, to, data });
        // A client that does not store the message first may lose it.
        if hub.percent(85) {
            self.save();
        }
        if self.is_live() {
            self.send_out(hub, number);
        }
    }

    /// Makes one of the requests whose responses are checked.
    pub(super) fn probe(&mut self, hub: &Hub, users: &[Uid]) {
        let places: Vec<_> = self
            .mem
            .places
            .iter()
            .filter_map(|(conv, place)| Some((*conv, place.have?)))
            .collect();
        if places.is_empty() {
            return;
        }
        let (conv, have) = *hub.lock().dice.pick(&places);
        let own: Vec<String> = {
            let state = hub.lock();
            let log = state.truth.convs.get(&conv).map(|known| &known.log);
            let own = log
                .into_iter()
                .flatten()
                .filter(|entry| entry.from.as_ref() == Some(&self.uid));
            own.map(|entry| entry.mid.to_string()).collect()
        };
        match hub.roll((0, 10)) {
            10 => {
                let user = hub.lock().dice.pick(users).clone();
                let data =
                    json!({"type": TYPING, "to": {"user": user.as_str()}, "data": {"to": user.as_str()}});
                self.ask(hub, 101, data, Ask::Pass);
            }
            0..=3 => {
                // Reading also acknowledges, so the client must have stored the messages.
                self.save();
                let seq = have.saturating_sub(hub.roll((0, 3)));
                self.ask(hub, 106, json!({"conv": conv, "seq": seq}), Ask::Read);
            }
            4..=5 if !own.is_empty() => {
                // Usually one of the newest messages.
                let back = hub.roll((0, 3)) as usize;
                let mid = &own[own.len().saturating_sub(1 + back)];
                self.ask(hub, 108, json!({"mid": mid}), Ask::Recall);
            }
            6..=7 => {
                let before = have + hub.roll((0, 3));
                let data = json!({"conv": conv, "before": before, "limit": hub.roll((1, 20))});
                self.ask(hub, 104, data, Ask::Back { conv, before });
            }
            _ => self.ask(hub, 110, json!({"limit": hub.roll((1, 5))}), Ask::List),
        }
    }
}
