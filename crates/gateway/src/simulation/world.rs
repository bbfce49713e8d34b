//! The event loop of a run. It handles one event after the other on one thread; the gateway's own tasks run
//! in between.

use std::path::Path;

use tempfile::TempDir;

use super::app::{App, Behaviour, Stage};
use super::backend::Backend;
use super::faults::MOST_AT_START;
use super::hub::{Event, Hub};
use super::nodes::Nodes;
use super::outlet;
use super::panics;
use super::pipe::Quality;
use super::record::Record;
use super::scenario::Scenario;
use super::server::Server;
use crate::clock;
use crate::store::{Page, Store};

/// Time within which a request must be answered on a connection that works, in milliseconds.
const PATIENCE: u64 = 60_000;

/// Everything that takes part in a run.
pub(super) struct World {
    pub(super) hub: Hub,
    pub(super) scenario: Scenario,
    directory: TempDir,
    /// The store; `None` while it is down.
    pub(super) record: Option<Record>,
    /// What several nodes have in common; `None` if there is one node.
    pub(super) nodes: Option<Nodes>,
    /// The nodes, `None` while they are down.
    pub(super) servers: Vec<Option<Server>>,
    pub(super) apps: Vec<App>,
    pub(super) backend: Backend,
    /// When the store's writer wakes up by itself, in milliseconds since the run began.
    wakes: u64,
}

impl World {
    /// A world with so many nodes.
    pub(super) fn new(hub: Hub, count: usize) -> Self {
        let (scenario, apps) = {
            let mut state = hub.lock();
            let scenario = Scenario::draw(&mut state.dice);
            let apps = scenario.apps(&mut state.dice);
            state.disk = scenario.disk;
            state.several_nodes = count > 1;
            state.truth.see_all = scenario.config.teams.history_for_new_members;
            (scenario, apps)
        };
        // A directory in memory is faster, and no worse than a disk: the simulation itself decides what a
        // crash loses.
        let memory = Path::new("/dev/shm");
        let directory = if memory.is_dir() {
            tempfile::tempdir_in(memory)
        } else {
            tempfile::tempdir()
        };
        let nodes = (count > 1).then(|| Nodes::new(&hub, count));
        Self {
            hub,
            scenario,
            directory: directory.expect("a temporary directory"),
            record: None,
            nodes,
            servers: (0..count).map(|_| None).collect(),
            apps,
            backend: Backend::default(),
            wakes: 0,
        }
    }

    pub(super) fn failed(&self) -> bool {
        !self.hub.lock().wrong.is_empty()
    }

    /// The first part of a run, with faults.
    pub(super) async fn chaos(&mut self) {
        for node in 0..self.servers.len() {
            self.handle(Event::Start(node));
        }
        for app in &self.apps {
            app.again(&self.hub, (0, 500));
        }
        self.hub.after(10, Event::Backend);
        self.hub.after(1_000, Event::Fault);
        self.until(self.scenario.chaos).await;
    }

    /// Handles events until the time `end`, or until an invariant is violated.
    pub(super) async fn until(&mut self, end: u64) {
        while !self.failed() {
            let now = self.hub.now();
            let event = self.hub.lock().pop(now);
            if panics::seen() {
                self.hub.wrong("a task panicked");
            }
            if let Some(event) = event {
                self.handle(event);
                // The gateway's tasks make some progress, or none, before the next event of the same
                // millisecond.
                for _ in 0..self.hub.roll((0, 4)) {
                    tokio::task::yield_now().await;
                }
                continue;
            }
            if now >= end {
                return;
            }
            let next = self.hub.lock().next().map_or(end, |next| next.min(end));
            tokio::select! {
                biased;
                () = self.hub.changed.notified() => {}
                () = tokio::time::sleep_until(self.hub.instant(next)) => {}
            }
        }
    }

    /// Handles events until `holds` returns true. Returns false if it does not within `patience`
    /// milliseconds.
    pub(super) async fn until_holds(&mut self, patience: u64, holds: impl Fn(&Self) -> bool) -> bool {
        let end = self.hub.now() + patience;
        while !holds(self) {
            let now = self.hub.now();
            if now >= end || self.failed() {
                return false;
            }
            self.until(now + 50).await;
        }
        true
    }

    /// Handles events until `future` is complete. Returns `None` if an invariant is violated first.
    pub(super) async fn until_done<T: Send + 'static>(
        &mut self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let task = tokio::spawn(future);
        while !task.is_finished() {
            if self.failed() {
                return None;
            }
            let now = self.hub.now();
            self.until(now + 5).await;
        }
        task.await.ok()
    }

    fn handle(&mut self, event: Event) {
        let hub = self.hub.clone();
        match event {
            Event::Commit => self.commit(),
            Event::CallBack(node) => hub.call_back(node),
            Event::App(index) => self.app_steps(index),
            Event::Connect(index) => self.connect(index),
            Event::Write(id) => hub.write(id),
            Event::ToClient(id, down) => {
                if hub.reaches_client(id) {
                    let app = hub.pipe(id, |pipe| pipe.app);
                    self.apps[app].hears(&hub, id, down);
                }
            }
            Event::ToServer(id, up) => hub.arrived(id, up),
            Event::ServerHears(id) => hub.server_hears(id),
            Event::ClientHears(id) => {
                let app = hub.pipe(id, |pipe| pipe.app);
                self.apps[app].lost_line(&hub, id);
            }
            Event::Backend => {
                if !hub.lock().quiet {
                    self.backend
                        .step(&hub, &self.scenario.users, &self.scenario.teams);
                    let gap = hub.roll(self.scenario.backend_gap);
                    hub.after(gap, Event::Backend);
                }
            }
            Event::Call(id) => {
                let node = self.some_node();
                let server = node.and_then(|node| self.servers[node].as_mut());
                self.backend.call(&hub, server, id);
            }
            Event::Called(id, told) => self.backend.called(&hub, id, told),
            Event::Fault => self.fault(),
            Event::Recover => self.recover(),
            Event::Know(node) => {
                if let (Some(nodes), Some(server)) = (&self.nodes, &self.servers[node])
                    && let Some(cluster) = &server.cluster
                {
                    cluster.know(nodes.peers(&hub, node));
                }
            }
            Event::SendAway(id) => hub.sent_away(id),
            Event::End(node) => {
                if self.servers[node].as_ref().is_some_and(|server| server.draining) {
                    self.crash(node, false);
                }
            }
            Event::Start(node) => self.start(node),
        }
    }

    fn start(&mut self, node: usize) {
        let hub = self.hub.clone();
        hub.note(format!("node {node} starts"));
        // A new process derives its steady clock from the time of day. One of several nodes does not need it.
        if self.nodes.is_none() {
            let skew = hub.lock().skew;
            if skew.abs() > MOST_AT_START {
                hub.set_clock(skew.clamp(-MOST_AT_START, MOST_AT_START));
            }
            let day = hub.clone();
            clock::pretended::set(Some(Box::new(move || day.day())));
        }
        let (config, path) = (&self.scenario.config, self.directory.path());
        let record = self.record.get_or_insert_with(|| Record::open(config, path));
        let server = Server::start(&hub, node, config, record, self.nodes.as_mut());
        self.servers[node] = Some(server);
    }

    fn commit(&mut self) {
        self.hub.commit_begins();
        let Some(record) = &mut self.record else { return };
        let most = *self.hub.lock().dice.pick(&[1, 2, 4_096, 4_096]);
        record.stepper.step(most);
        if record.store.healthy().is_err() {
            self.hub.note("a transaction has failed");
            // A failed transaction also loses the acknowledgements that were not written yet.
            self.hub.lock().devices.crashed();
        }
        if record.stepper.depth() > 0 {
            self.hub.commit_soon();
        }
        // The writer wakes up by itself to write acknowledgements.
        if let Some(idle) = record.stepper.idle() {
            let now = self.hub.now();
            if self.wakes <= now {
                self.wakes = now + idle.as_millis() as u64 + 1;
                self.hub.lock().at(self.wakes, Event::Commit);
            }
        }
    }

    /// Kills a node, which starts again soon. If it is the only one, the store dies with it.
    pub(super) fn crash(&mut self, node: usize, silently: bool) {
        if let Some(server) = self.servers[node].take() {
            self.hub.note(format!("node {node} crashes"));
            let said = server.draining;
            server.crash(&self.hub, silently);
            match &mut self.nodes {
                Some(nodes) => nodes.ended(&self.hub, node, said),
                None => self.record = None,
            }
            self.backend.server_died(&self.hub, node);
            let down = self.hub.roll((20, 4_000));
            self.hub.after(down, Event::Start(node));
        }
    }

    /// Stops a node: it sends its clients away, and ends.
    pub(super) fn stop(&mut self, node: usize) {
        if let Some(server) = &mut self.servers[node] {
            self.hub.note(format!("node {node} stops"));
            server.draining = true;
            server.gateway.users_return();
            self.hub.send_away(node);
            let ends = self.hub.roll((1_000, 5_000));
            self.hub.after(ends, Event::End(node));
        }
    }

    /// One of the nodes that take requests.
    pub(super) fn some_node(&self) -> Option<usize> {
        let takes = |server: &Option<Server>| server.as_ref().is_some_and(|server| !server.draining);
        let all = (0..self.servers.len()).filter(|node| takes(&self.servers[*node]));
        match *all.collect::<Vec<_>>() {
            [] => None,
            [node] => Some(node),
            ref several => Some(*self.hub.lock().dice.pick(several)),
        }
    }

    /// One of the nodes that run.
    pub(super) fn a_server(&self) -> Option<&Server> {
        self.servers.iter().flatten().next()
    }

    fn connect(&mut self, index: usize) {
        let hub = self.hub.clone();
        let node = self.some_node();
        let app = &mut self.apps[index];
        app.connecting = false;
        let Some(server) = node.and_then(|node| self.servers[node].as_mut()) else {
            return;
        };
        if app.line.is_some() || app.resting {
            return;
        }
        let quality = {
            let mut state = hub.lock();
            let quiet = state.quiet;
            let dice = &mut state.dice;
            let latency = *dice.pick(&[(0, 5), (5, 50), (50, 400)]);
            let pace = dice.weighted(&[(80, (0, 0)), (12, (5, 50)), (8, (100, 600))]);
            if quiet { QUICK } else { Quality { latency, pace } }
        };
        let bound = self.scenario.config.limits.queue_bytes;
        let (id, task) = outlet::open(&hub, index, bound, quality, server);
        server.tasks.push(task.abort_handle());
        app.connected(&hub, id);
    }

    fn app_steps(&mut self, index: usize) {
        let hub = self.hub.clone();
        let quiet = hub.lock().quiet;
        let gap = if quiet { (20, 200) } else { self.scenario.app_gap };
        let app = &mut self.apps[index];
        app.again(&hub, gap);
        let Some(line) = &app.line else {
            // A client that was disconnected for good reconnects only when its user wants to.
            let comes = !app.disconnected_for_good || (!quiet && hub.percent(10));
            if comes && !app.connecting && !app.resting {
                app.connecting = true;
                app.disconnected_for_good = false;
                let delay = hub.roll((1, 300));
                hub.after(delay, Event::Connect(index));
            }
            return;
        };
        if line.over && app.notified {
            return app.hang_up(&hub);
        }
        let now = hub.now();
        let overdue = line.asks.values().find(|(_, since)| since + PATIENCE < now);
        if let Some((ask, _)) = overdue
            && app.behaviour != Behaviour::Malicious
        {
            let broken = hub.pipe(line.id, |pipe| !pipe.works());
            hub.check(broken, || format!("{} has no answer to {ask:?}", app.name()));
            return app.hang_up(&hub);
        }
        if line.stage != Stage::Live || line.over {
            return;
        }
        app.tend(&hub);
        if !quiet {
            self.app_acts(index);
        }
    }

    fn app_acts(&mut self, index: usize) {
        let hub = self.hub.clone();
        let (users, teams) = (&self.scenario.users, &self.scenario.teams);
        let app = &mut self.apps[index];
        match hub.roll((0, 99)) {
            _ if app.behaviour == Behaviour::Malicious && hub.percent(80) => app.misbehave(&hub, users),
            0..=49 => app.write(&hub, users, teams),
            50..=54 => {
                for _ in 0..hub.roll((5, 20)) {
                    app.write(&hub, users, teams);
                }
            }
            55..=74 => app.probe(&hub, users),
            75..=78 => app.hang_up(&hub),
            79..=81 => app.restart(&hub),
            82..=83 => app.register(&hub),
            84..=85 => {
                app.hang_up(&hub);
                app.disconnected_for_good = true;
            }
            _ => {}
        }
    }
}

/// The quality of a good connection.
pub(super) const QUICK: Quality = Quality {
    latency: (0, 5),
    pace: (0, 0),
};

/// A page that is large enough for the whole history of a conversation.
pub(super) const WHOLE: Page = Page {
    most: 500,
    bytes: 8 << 20,
};
