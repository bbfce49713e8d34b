//! Two endpoints with a clock of their own: a model client, and the session as its server runs it.
//!
//! Each transport has two queues. Packets arrive only in [`Pair::deliver`] and its relatives, so a test
//! decides their order. The clock moves only in [`Pair::pass`].

use std::collections::VecDeque;

use mynah_wire::engine::{
    CandidateStep, CloseReason, Packet, PacketType, Protocol, SessionMachine, Step, Time, TimeoutStep, Times,
    Transport, WsPayload,
};

pub(crate) const TIMES: Times = Times {
    ping_interval: 300,
    ping_timeout: 200,
    upgrade_timeout: 100,
};

/// A transport: one WebSocket, or the two polling requests.
#[derive(Debug, Default)]
pub(crate) struct TransportQueues {
    pub(crate) to_server: VecDeque<String>,
    pub(crate) to_client: VecDeque<String>,
    pub(crate) closed: bool,
}

pub(crate) struct Pair {
    pub(crate) session: SessionMachine,
    pub(crate) now: Time,
    pub(crate) polling: TransportQueues,
    pub(crate) websocket: TransportQueues,
    /// The messages that the server received, in order.
    pub(crate) server_heard: Vec<String>,
    /// The messages that the client received, in order.
    pub(crate) client_heard: Vec<String>,
    /// Whether the model client answers pings (EIO4) or sends them (EIO3).
    pub(crate) client_alive: bool,
    /// The number of pending GETs that the server ended with a noop.
    pub(crate) noops: usize,
    next_client_ping: Time,
}

impl Pair {
    pub(crate) fn new(protocol: Protocol, transport: Transport) -> Self {
        let now = Time(1_000);
        Self {
            session: SessionMachine::new(protocol, transport, &TIMES, now),
            now,
            polling: TransportQueues::default(),
            websocket: TransportQueues::default(),
            server_heard: Vec::new(),
            client_heard: Vec::new(),
            client_alive: true,
            noops: 0,
            next_client_ping: now.after(TIMES.ping_interval),
        }
    }

    /// The client sends a packet on a transport of its choice.
    pub(crate) fn client_sends(&mut self, transport: Transport, packet: &str) {
        self.queues(transport).to_server.push_back(packet.to_owned());
    }

    /// The server sends a message on the current transport.
    pub(crate) fn server_sends(&mut self, text: &str) {
        self.server_writes(PacketType::Message, text);
    }

    fn server_writes(&mut self, kind: PacketType, text: &str) {
        let transport = self.session.transport();
        let written = Packet::text(kind, text).encode_websocket(self.session.protocol(), false);
        let WsPayload::Text(written) = written else {
            panic!("a text packet is written as text")
        };
        self.queues(transport).to_client.push_back(written);
    }

    fn queues(&mut self, transport: Transport) -> &mut TransportQueues {
        match transport {
            Transport::Polling => &mut self.polling,
            Transport::WebSocket => &mut self.websocket,
        }
    }

    /// The client opens a WebSocket for an upgrade. Returns whether the server accepts it as the candidate.
    pub(crate) fn open_candidate(&mut self) -> bool {
        self.session.candidate(&TIMES, self.now)
    }

    /// Delivers everything in flight, and the responses to it, until nothing is in flight.
    pub(crate) fn deliver(&mut self) {
        for _ in 0..1_000 {
            let quiet = [&self.polling, &self.websocket]
                .iter()
                .all(|queues| queues.to_server.is_empty() && queues.to_client.is_empty());
            if quiet {
                return;
            }
            for transport in [Transport::Polling, Transport::WebSocket] {
                self.deliver_to_server(transport);
                self.deliver_to_client(transport);
            }
        }
        panic!("packets are still in flight after 1,000 rounds");
    }

    /// Delivers the packets that the client sent on one transport.
    pub(crate) fn deliver_to_server(&mut self, transport: Transport) {
        while let Some(text) = self.queues(transport).to_server.pop_front() {
            let Ok(packet) = Packet::decode_text(self.session.protocol(), &text) else {
                self.server_got_invalid_packet(transport);
                return;
            };
            if transport == self.session.transport() {
                self.on_current(&packet);
            } else {
                self.on_candidate(&packet);
            }
        }
    }

    fn server_got_invalid_packet(&mut self, transport: Transport) {
        if transport == self.session.transport() {
            self.session.close(CloseReason::ParseError);
            self.close_transports();
        } else {
            self.session.candidate_lost();
            self.websocket.closed = true;
        }
    }

    fn on_current(&mut self, packet: &Packet<'_>) {
        match self.session.handle(&TIMES, self.now, packet) {
            Step::Nothing => {}
            Step::Message => self.server_heard.push(text_of(packet)),
            Step::SendPong => self.server_writes(PacketType::Pong, ""),
            Step::Close(_) => self.close_transports(),
        }
    }

    fn on_candidate(&mut self, packet: &Packet<'_>) {
        match self.session.handle_candidate(&TIMES, self.now, packet) {
            CandidateStep::SendProbePong => {
                self.websocket.to_client.push_back("3probe".to_owned());
                self.noops += 1;
            }
            CandidateStep::Switch => {
                // Packets that waited for the next GET are sent on the new transport.
                let waiting = std::mem::take(&mut self.polling.to_client);
                self.websocket.to_client.extend(waiting);
            }
            CandidateStep::Drop => self.websocket.closed = true,
        }
    }

    fn close_transports(&mut self) {
        self.polling.closed = true;
        self.websocket.closed = true;
    }

    /// Delivers the packets that the server sent on one transport.
    pub(crate) fn deliver_to_client(&mut self, transport: Transport) {
        while let Some(text) = self.queues(transport).to_client.pop_front() {
            let packet =
                Packet::decode_text(self.session.protocol(), &text).expect("the server writes packets");
            match packet.kind {
                PacketType::Message => self.client_heard.push(text_of(&packet)),
                PacketType::Ping if self.client_alive => self.client_sends(transport, "3"),
                _ => {}
            }
        }
    }

    /// Moves the clock by `ms`, with a stop at every deadline. Returns what the deadlines did.
    pub(crate) fn pass(&mut self, ms: u32) -> Vec<TimeoutStep> {
        let end = self.now.after(ms);
        let mut steps = Vec::new();
        while let Some(next) = self.next_instant().filter(|next| *next <= end) {
            self.now = next.max(self.now);
            self.client_pings();
            self.deliver();
            match self.session.handle_timeout(&TIMES, self.now) {
                TimeoutStep::Nothing => {}
                step => {
                    steps.push(step);
                    match step {
                        TimeoutStep::SendPing => self.server_writes(PacketType::Ping, ""),
                        TimeoutStep::DropCandidate => self.websocket.closed = true,
                        TimeoutStep::Close(_) => self.close_transports(),
                        TimeoutStep::Nothing => {}
                    }
                }
            }
            self.deliver();
        }
        self.now = end;
        steps
    }

    fn next_instant(&self) -> Option<Time> {
        let server = self.session.poll_timeout()?;
        let pings = self.client_alive && self.session.protocol() == Protocol::V3;
        Some(if pings {
            server.min(self.next_client_ping)
        } else {
            server
        })
    }

    fn client_pings(&mut self) {
        let due = self.client_alive && self.now >= self.next_client_ping;
        if due && self.session.protocol() == Protocol::V3 {
            self.next_client_ping = self.now.after(TIMES.ping_interval);
            let transport = self.session.transport();
            self.client_sends(transport, "2");
        }
    }
}

pub(crate) fn text_of(packet: &Packet<'_>) -> String {
    match &packet.body {
        mynah_wire::engine::Body::Text(text) => text.clone().into_owned(),
        mynah_wire::engine::Body::Binary(_) => panic!("the model client only writes text"),
    }
}
