//! The application's backend. It sends messages by the API, repeats a call with the same `cid` until it is
//! answered, and changes teams.

use std::collections::BTreeMap;

use serde_json::json;
use serde_json::value::RawValue;

use super::hub::{Event, Hub};
use super::server::Server;
use crate::ids::{Cid, TeamId, Uid};
use crate::order::{By, SendOrder, Sent, Stored, To};
use crate::reject::Code;
use crate::reject::Reject;
use crate::store::TeamChange;

/// A call that must be repeated until it is answered.
#[derive(Debug, Clone)]
enum Call {
    Send(Box<SendOrder>),
    Team(TeamId, TeamChange),
    SignOut(Uid),
}

/// The backend with its unanswered calls.
#[derive(Default)]
pub(super) struct Backend {
    calls: BTreeMap<usize, Call>,
    next: usize,
    /// The node at which each call was made last.
    at: BTreeMap<usize, usize>,
}

impl Backend {
    /// Returns the number of unanswered calls.
    pub(super) fn waiting(&self) -> usize {
        self.calls.len()
    }

    fn begin(&mut self, hub: &Hub, call: Call) {
        let id = self.next;
        self.next += 1;
        self.calls.insert(id, call);
        hub.after(0, Event::Call(id));
    }

    /// Starts a new call.
    pub(super) fn step(&mut self, hub: &Hub, users: &[Uid], teams: &[TeamId]) {
        let call = {
            let mut state = hub.lock();
            let dice = &mut state.dice;
            let user = dice.pick(users).clone();
            let team = dice.pick(teams).clone();
            match dice.range((0, 19)) {
                0 => Call::SignOut(user),
                1..=2 => Call::Team(team, TeamChange::Add(vec![user])),
                3..=4 => Call::Team(team, TeamChange::Remove(vec![user])),
                5..=7 => {
                    let members = users.iter().filter(|_| dice.percent(70)).cloned().collect();
                    let name = format!("team {}", dice.range((0, 1)));
                    Call::Team(team, TeamChange::Put { name, members })
                }
                8 if dice.percent(30) => Call::Team(team, TeamChange::Delete),
                choice => {
                    let (to, kind) = match choice {
                        8..=10 => (To::Team(team), 15),
                        11..=13 => (To::Users(users.to_vec()), *dice.pick(&[3, 5])),
                        14..=16 => (To::User(user), *dice.pick(&[3, 7, 18])),
                        _ => (To::User(user), *dice.pick(&[4, 6, 13])),
                    };
                    let from = dice.percent(50).then(|| dice.pick(users).clone());
                    drop(state);
                    Call::Send(Box::new(self.order(kind, to, from)))
                }
            }
        };
        self.begin(hub, call);
    }

    /// Sends messages to all users, to see whether they can be reached.
    pub(super) fn greet(&mut self, hub: &Hub, users: &[Uid]) {
        let order = self.order(5, To::Users(users.to_vec()), None);
        self.begin(hub, Call::Send(Box::new(order)));
        let order = self.order(3, To::Users(users.to_vec()), None);
        self.begin(hub, Call::Send(Box::new(order)));
    }

    fn order(&self, kind: u16, to: To, from: Option<Uid>) -> SendOrder {
        let cid = format!("api-{}", self.next);
        let data = json!({"text": &cid}).to_string();
        SendOrder {
            kind,
            to,
            from,
            data: RawValue::from_string(data).expect("JSON").into(),
            cid: Some(Cid::new(&cid).expect("a cid")),
            push: None,
            ttl_ms: None,
            by: By::Api,
        }
    }

    /// Makes a call, for the first time or again.
    pub(super) fn call(&mut self, hub: &Hub, server: Option<&mut Server>, id: usize) {
        let Some(call) = self.calls.get(&id).cloned() else {
            return;
        };
        let Some(server) = server else {
            return hub.after(500, Event::Call(id));
        };
        hub.note(match &call {
            Call::Send(order) => format!("call {id} sends {} to {:?}", order.kind, order.to),
            other => format!("call {id}: {other:?}"),
        });
        self.at.insert(id, server.number);
        let (gateway, hub) = (server.gateway.clone(), hub.clone());
        let task = tokio::spawn(async move {
            let told = match call {
                Call::Send(order) => {
                    let sent = gateway.send((*order).clone()).await;
                    sent.map(|sent| hub.sent_by_api(&order, &sent))
                }
                Call::Team(team, TeamChange::Put { name, members }) => {
                    gateway.put_team(team, name, members).await.map(drop)
                }
                Call::Team(team, TeamChange::Add(uids)) => gateway.add_members(team, uids).await.map(drop),
                Call::Team(team, TeamChange::Remove(uids)) => {
                    gateway.remove_members(team, uids).await.map(drop)
                }
                Call::Team(team, TeamChange::Delete) => gateway.delete_team(team).await,
                Call::SignOut(uid) => {
                    gateway.sign_out(&uid).await;
                    Ok(())
                }
            };
            hub.after(0, Event::Called(id, told));
        });
        server.tasks.push(task.abort_handle());
    }

    /// Handles the response to a call.
    pub(super) fn called(&mut self, hub: &Hub, id: usize, told: Result<(), Reject>) {
        match told {
            Ok(()) => {
                hub.note(format!("call {id} is answered"));
                self.calls.remove(&id);
            }
            Err(reject) if reject.code == Code::Unavailable => hub.after(300, Event::Call(id)),
            Err(reject) => {
                hub.note(format!("call {id}: {reject}"));
                // The team may not exist.
                hub.check(reject.code == Code::NotFound, || {
                    format!("call {id} is refused: {reject}")
                });
                self.calls.remove(&id);
            }
        }
    }

    /// Repeats the calls that were made at a node that has crashed.
    pub(super) fn server_died(&self, hub: &Hub, node: usize) {
        for id in self.calls.keys().filter(|id| self.at.get(id) == Some(&node)) {
            hub.after(500, Event::Call(*id));
        }
    }
}

impl Hub {
    /// Checks that what was answered with 200 is in the history.
    fn sent_by_api(&self, order: &SendOrder, sent: &Sent) {
        let stored: Vec<Option<Stored>> = match sent {
            Sent::Users { results, .. } => results.iter().map(|result| result.stored).collect(),
            Sent::Team { stored, .. } => vec![*stored],
            Sent::Everyone { .. } => Vec::new(),
        };
        for stored in stored {
            let same = stored.is_some_and(|stored| {
                let state = self.lock();
                let entry = state.truth.entry(stored.conv, stored.seq.0);
                entry.is_some_and(|entry| entry.mid == stored.mid && entry.cid == order.cid)
            });
            self.check(same, || format!("{order:?} was answered with {stored:?}"));
        }
    }
}
