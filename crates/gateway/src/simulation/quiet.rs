//! The part of a run after the faults, in which everything must recover.
//!
//! First the connections stay as they are, while some users are offline. Then each device reconnects once
//! more. At last the whole history is read.

use super::app::{App, Behaviour};
use super::record::Record;
use super::world::{QUICK, WHOLE, World};
use crate::config::Policy;
use crate::ids::Uid;
use crate::store::ConvKind;

/// A time longer than any heartbeat, in milliseconds.
const DRAIN: u64 = 50_000;
/// A time longer than anything takes without faults, including retries of notifications, in milliseconds.
const PATIENCE: u64 = 200_000;

impl App {
    /// Returns whether all requests were answered and nothing that the client knows of is missing.
    fn is_settled(&self) -> bool {
        let gaps = self
            .mem
            .places
            .values()
            .any(|place| place.wanted || !place.ahead.is_empty());
        let asks = self.line.as_ref().is_some_and(|line| !line.asks.is_empty());
        match self.behaviour {
            Behaviour::Correct => self.is_live() && !gaps && !asks && self.mem.outbox.is_empty(),
            Behaviour::Legacy => self.is_live() && !asks && self.mem.outbox.is_empty(),
            Behaviour::Malicious => true,
        }
    }
}

impl World {
    pub(super) async fn quiet(&mut self) {
        self.end_faults();
        let now = self.hub.now();
        self.until(now + DRAIN).await;
        self.check_open_connections().await;
        self.reconnect_each_device().await;
        self.check_history().await;
        if !self.failed() {
            self.check_nothing_leaked();
            self.crash(0, false);
            let now = self.hub.now();
            self.until(now + 5_000).await;
        }
    }

    fn end_faults(&mut self) {
        self.hub.note("faults are over");
        self.recover();
        self.hub.set_clock(0);
        let mut state = self.hub.lock();
        state.quiet = true;
        state.disk = (0, 3);
        for id in state.pipes.open() {
            state.pipes.get(id).quality = QUICK;
        }
        drop(state);
        for user in &self.scenario.users {
            let rests = self.hub.percent(30);
            for app in self.apps.iter_mut().filter(|app| app.uid == *user) {
                app.resting = rests;
                if rests {
                    app.hang_up(&self.hub);
                }
            }
        }
    }

    /// Checks that devices that stay connected receive everything, and that offline users are notified.
    async fn check_open_connections(&mut self) {
        self.backend.greet(&self.hub, &self.scenario.users);
        let settled = self
            .until_holds(PATIENCE, |world| {
                let connected = |app: &&App| !app.resting && !app.disconnected_for_good;
                world.backend.waiting() == 0 && world.apps.iter().filter(connected).all(App::is_settled)
            })
            .await;
        self.check_recovered(settled, "calls and clients that are connected");
        self.check_one_device();
        self.drain_in_flight().await;
        for app in self.apps.iter().filter(|app| app.is_live()) {
            self.check_received_everything(app);
        }
        let worked_off = self.until_holds(PATIENCE, |world| world.jobs() == 0).await;
        self.check_recovered(worked_off, "notifications");
        self.check_notifications();
    }

    /// Lets each device reconnect and checks that it receives what it missed.
    async fn reconnect_each_device(&mut self) {
        for index in 0..self.apps.len() {
            if self.failed() {
                return;
            }
            let user = self.apps[index].uid.clone();
            for app in self.apps.iter_mut().filter(|app| app.uid == user) {
                app.hang_up(&self.hub);
                app.resting = true;
            }
            let now = self.hub.now();
            self.until(now + 100).await;
            self.hub.note(format!("{} reconnects", self.apps[index].name()));
            self.apps[index].resting = false;
            self.apps[index].disconnected_for_good = false;
            let settled = self
                .until_holds(PATIENCE, |world| world.apps[index].is_settled())
                .await;
            self.check_recovered(settled, "a device that reconnected");
            self.drain_in_flight().await;
            self.check_received_everything(&self.apps[index]);
            self.lists(index).await;
        }
    }

    async fn drain_in_flight(&mut self) {
        let now = self.hub.now();
        // With several nodes, what a packet has lost is read in the record a second later.
        self.until(now + 3_000).await;
    }

    fn check_recovered(&self, came: bool, what: &str) {
        self.hub.check(came || self.failed(), || {
            let open: Vec<_> = self
                .apps
                .iter()
                .filter(|app| !app.is_settled())
                .map(|app| {
                    let gaps: Vec<_> = app
                        .mem
                        .places
                        .iter()
                        .filter(|(_, place)| place.wanted || !place.ahead.is_empty())
                        .collect();
                    format!(
                        "{} {:?} outbox {:?} gaps {gaps:?}",
                        app.name(),
                        app.line.as_ref().map(|line| (line.stage, &line.asks)),
                        app.mem.outbox.keys()
                    )
                })
                .collect();
            format!(
                "{what} did not recover: {} calls, {} jobs, {open:#?}",
                self.backend.waiting(),
                self.jobs()
            )
        });
    }

    /// Returns the number of push jobs that are not done.
    fn jobs(&self) -> u64 {
        self.record.as_ref().map_or(0, Record::jobs)
    }

    /// Lists the conversations of a device. The checks are in [`Watched`](super::watched::Watched).
    async fn lists(&mut self, index: usize) {
        let Some(server) = self.a_server() else { return };
        let device = self.apps[index].as_device();
        let store = server.running.store.clone();
        let asked = async move {
            store
                .conversations(device.uid, Some(device.device), None, WHOLE)
                .await
        };
        let listed = self.until_done(asked).await;
        self.hub.check(listed.is_none_or(|listed| listed.is_ok()), || {
            "conversations cannot be listed".into()
        });
    }

    /// Checks that all permits were returned, and that no registrations or commands are left.
    fn check_nothing_leaked(&self) {
        let limits = &self.scenario.config.limits;
        for server in self.servers.iter().flatten() {
            let permits = server.running.core.record.free_slots();
            self.hub.check(permits == limits.appends_in_flight, || {
                format!("{permits} of {} permits are back", limits.appends_in_flight)
            });
            let mut online = self.online_at(server.number);
            online.dedup();
            let users = server.running.registry.users();
            self.hub.check(users == online.len(), || {
                format!("{users} users are online, not {online:?}")
            });
        }
        if let Some(nodes) = &self.nodes {
            for user in &self.scenario.users {
                let lines = self.apps.iter().filter(|app| app.uid == *user);
                let lines = lines.filter_map(|app| app.line.as_ref());
                let mut due: Vec<_> = lines.map(|line| format!("sid{}", line.id)).collect();
                due.sort_unstable();
                let entered = nodes.sids(user);
                self.hub.check(entered == due, || {
                    format!("{user} has the entries {entered:?}, not {due:?}")
                });
            }
        }
        let waiting = self.record.as_ref().map_or(0, |record| record.stepper.depth());
        self.hub
            .check(waiting == 0, || format!("{waiting} commands wait for the writer"));
        let teams = self
            .hub
            .lock()
            .truth
            .convs
            .values()
            .filter(|conv| matches!(conv.kind, ConvKind::Team(_)))
            .count();
        self.hub.note(format!("{teams} teams"));
    }

    /// The users of the clients that are connected to a node, once for each client.
    fn online_at(&self, node: usize) -> Vec<&Uid> {
        let apps = self.apps.iter().filter(|app| {
            let line = app.line.as_ref();
            line.is_some_and(|line| self.hub.pipe(line.id, |pipe| pipe.node == node))
        });
        apps.map(|app| &app.uid).collect()
    }

    /// Checks that a user with the policy "single" has one connection.
    fn check_one_device(&self) {
        if self.scenario.config.login.policy != Policy::Single {
            return;
        }
        for user in &self.scenario.users {
            let live = self.apps.iter().filter(|app| app.uid == *user && app.is_live());
            let live: Vec<_> = live.map(App::name).collect();
            self.hub
                .check(live.len() <= 1, || format!("{live:?} are all connected"));
        }
    }
}
