//! The state machine of one session: heartbeat, upgrade and close.
//!
//! The state machine does no IO: packets and instants are its arguments, and it returns what to do. The
//! caller keeps the transports and the queue of packets.
//!
//! ```text
//! transport   Polling ── Switch ──▶ WebSocket
//! candidate   none ─candidate()─▶ opened ─"2probe"─▶ probed ─"5"─▶ Switch
//!                                   └─────────"5" (.NET, ESP)─────▶ Switch
//!                ◀──── lost, wrong packet, upgrade timeout ────┘
//! heartbeat   V4: waiting to ping ─SendPing─▶ pinged ─"3"─▶ waiting …  else PingTimeout
//!             V3: any packet puts the deadline off, else PingTimeout
//! ```

use super::{Body, Packet, PacketType, Protocol, Time, Times, Transport};

/// Why a session ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CloseReason {
    /// The peer's transport was closed.
    TransportClose,
    /// Reading or writing the transport failed, or the peer broke the rules of Engine.IO.
    TransportError,
    /// The peer's heartbeat did not arrive in time.
    PingTimeout,
    /// The peer sent a close packet.
    ClientClose,
    /// The peer sent an invalid packet.
    ParseError,
    /// The server closed the session. The client is expected to reconnect.
    ServerClose,
    /// The peer read more slowly than the server sent, until its queue was full.
    SlowReader,
    /// The server shuts down. The client is expected to reconnect.
    ServerShutdown,
    /// The application disconnected the client for good.
    DisconnectedForGood,
    /// The client kept sending more than its rate limit allows.
    TooFast,
}

impl CloseReason {
    /// The reason's name, for clients and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TransportClose => "transport close",
            Self::TransportError => "transport error",
            Self::PingTimeout => "ping timeout",
            Self::ClientClose => "client close",
            Self::ParseError => "parse error",
            Self::ServerClose => "server close",
            Self::SlowReader => "slow reader",
            Self::ServerShutdown => "server shutting down",
            Self::DisconnectedForGood => "disconnected for good",
            Self::TooFast => "too many frames",
        }
    }

    /// Whether the client is expected to reconnect by itself.
    ///
    /// If so, a pending poll is answered with an error, and a WebSocket is closed with a code. Most clients
    /// reconnect however the session ends, but Python's and Rust's do not after a close packet, and C++'s
    /// does not after a close frame without a code.
    pub const fn wants_reconnect(self) -> bool {
        match self {
            Self::ServerClose
            | Self::ServerShutdown
            | Self::SlowReader
            | Self::TooFast
            | Self::PingTimeout => true,
            Self::TransportClose
            | Self::TransportError
            | Self::ClientClose
            | Self::ParseError
            | Self::DisconnectedForGood => false,
        }
    }

    /// The code and the reason of the close frame (RFC 6455, section 7.4) that a WebSocket's peer gets;
    /// `None` if the peer gets none.
    pub const fn websocket_close(self) -> Option<(u16, &'static str)> {
        match self {
            // 1008 means "policy violation".
            Self::TooFast => Some((1008, self.as_str())),
            // 1001 means "going away".
            _ if self.wants_reconnect() => Some((1001, self.as_str())),
            _ => None,
        }
    }
}

/// What to do with a packet on the current transport.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Nothing.
    Nothing,
    /// Hand the packet's body to the layer above.
    Message,
    /// Send a pong without a body.
    SendPong,
    /// The session has ended; close the transport, and the candidate if there is one.
    Close(CloseReason),
}

/// What to do with a packet on the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandidateStep {
    /// Send `3probe` on the candidate. End the pending GET, and every later one while
    /// [`SessionMachine::is_upgrading`], with a noop.
    SendProbePong,
    /// The candidate is the transport now: send the queued packets there. From here on HTTP requests are
    /// refused.
    Switch,
    /// Close the candidate and stay on polling.
    Drop,
}

/// What to do when a deadline has passed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TimeoutStep {
    /// No deadline has passed.
    Nothing,
    /// Send a ping on the current transport.
    SendPing,
    /// Close the candidate and stay on polling.
    DropCandidate,
    /// The session has ended; close the transport, and the candidate if there is one.
    Close(CloseReason),
}

/// The state of one session. It does not store [`Times`]: the caller passes the server's.
#[derive(Debug)]
pub struct SessionMachine {
    protocol: Protocol,
    transport: Transport,
    closed: Option<CloseReason>,
    heartbeat: Heartbeat,
    candidate: Option<Candidate>,
}

#[derive(Debug)]
struct Heartbeat {
    deadline: Time,
    phase: Phase,
}

#[derive(Debug, PartialEq, Eq)]
enum Phase {
    /// V4: the next ping is to be sent at the deadline.
    Resting,
    /// V4: the pong must arrive before the deadline.
    Pinged,
    /// V4: like `Pinged`, but another packet has already moved the deadline.
    PingedAndHeard,
    /// V3: a packet must arrive before the deadline.
    Listening,
}

#[derive(Debug)]
struct Candidate {
    deadline: Time,
    probed: bool,
}

impl SessionMachine {
    /// A session whose handshake is answered at `now`.
    pub fn new(protocol: Protocol, transport: Transport, times: &Times, now: Time) -> Self {
        let heartbeat = match protocol {
            Protocol::V4 => Heartbeat {
                deadline: now.after(times.ping_interval),
                phase: Phase::Resting,
            },
            Protocol::V3 => Heartbeat {
                deadline: packet_deadline(times, now),
                phase: Phase::Listening,
            },
        };
        Self {
            protocol,
            transport,
            closed: None,
            heartbeat,
            candidate: None,
        }
    }

    /// The version of the handshake.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The current transport.
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Whether a candidate has sent its probe. Every GET is then to be ended with a noop.
    pub fn is_upgrading(&self) -> bool {
        self.candidate.as_ref().is_some_and(|candidate| candidate.probed)
    }

    /// Whether there is a candidate, probed or not.
    pub const fn has_candidate(&self) -> bool {
        self.candidate.is_some()
    }

    /// Why the session has ended; `None` while it is open.
    pub const fn is_closed(&self) -> Option<CloseReason> {
        self.closed
    }

    /// Handles a packet on the current transport. Once the session has ended, packets are ignored.
    pub fn handle(&mut self, times: &Times, now: Time, packet: &Packet<'_>) -> Step {
        if self.closed.is_some() {
            return Step::Nothing;
        }
        self.heard(times, now, packet.kind);
        match (packet.kind, self.protocol) {
            (PacketType::Message, _) => Step::Message,
            (PacketType::Ping, Protocol::V3) => Step::SendPong,
            (PacketType::Pong, Protocol::V4) => Step::Nothing,
            (PacketType::Close, _) => self.end(CloseReason::ClientClose),
            // A heartbeat in the wrong direction.
            (PacketType::Ping, Protocol::V4) | (PacketType::Pong, Protocol::V3) => {
                self.end(CloseReason::TransportError)
            }
            // These have no meaning here. Node's server ignores them too.
            (PacketType::Open | PacketType::Upgrade | PacketType::Noop, _) => Step::Nothing,
        }
    }

    /// A WebSocket with this session's id was opened, and becomes the candidate. Returns false if the session
    /// is on a WebSocket, has a candidate, or has ended: the WebSocket is then to be accepted and closed, and
    /// an earlier candidate stays.
    pub fn candidate(&mut self, times: &Times, now: Time) -> bool {
        let polls = self.closed.is_none() && self.transport == Transport::Polling;
        let accepts = polls && self.candidate.is_none();
        if accepts {
            self.candidate = Some(Candidate {
                deadline: now.after(times.upgrade_timeout),
                probed: false,
            });
        }
        accepts
    }

    /// Handles a packet on the candidate. Packets of the upgrade keep the session alive, like packets on the
    /// current transport.
    pub fn handle_candidate(&mut self, times: &Times, now: Time, packet: &Packet<'_>) -> CandidateStep {
        let Some(candidate) = self.candidate.as_mut() else {
            return CandidateStep::Drop;
        };
        match (packet.kind, &packet.body) {
            (PacketType::Ping, Body::Text(body)) if body == "probe" => {
                candidate.probed = true;
                self.heard(times, now, packet.kind);
                CandidateStep::SendProbePong
            }
            // Some clients do not probe: it is enough for them that the WebSocket was accepted.
            (PacketType::Upgrade, _) => {
                self.candidate = None;
                self.transport = Transport::WebSocket;
                self.heard(times, now, packet.kind);
                CandidateStep::Switch
            }
            _ => {
                self.candidate = None;
                CandidateStep::Drop
            }
        }
    }

    /// The candidate's WebSocket was closed, or sent an invalid packet. The session stays on polling.
    pub fn candidate_lost(&mut self) {
        self.candidate = None;
    }

    /// The earliest deadline; `None` once the session has ended.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.closed.is_some() {
            return None;
        }
        let upgrade = self.candidate.as_ref().map(|candidate| candidate.deadline);
        Some(upgrade.map_or(self.heartbeat.deadline, |upgrade| {
            upgrade.min(self.heartbeat.deadline)
        }))
    }

    /// Handles one passed deadline. Call it until it returns [`TimeoutStep::Nothing`] or
    /// [`TimeoutStep::Close`].
    pub fn handle_timeout(&mut self, times: &Times, now: Time) -> TimeoutStep {
        if self.closed.is_some() {
            return TimeoutStep::Nothing;
        }
        if self
            .candidate
            .take_if(|candidate| candidate.deadline <= now)
            .is_some()
        {
            return TimeoutStep::DropCandidate;
        }
        if now < self.heartbeat.deadline {
            return TimeoutStep::Nothing;
        }
        if self.heartbeat.phase == Phase::Resting {
            // If the timer fires a little late, the client's time does not grow. If it fires very late (the
            // process was stopped), the client still gets most of its time.
            let (due, timeout) = (self.heartbeat.deadline, times.ping_timeout);
            self.heartbeat = Heartbeat {
                deadline: due.after(timeout).max(now.after(timeout - timeout / 8)),
                phase: Phase::Pinged,
            };
            return TimeoutStep::SendPing;
        }
        self.close(CloseReason::PingTimeout);
        TimeoutStep::Close(CloseReason::PingTimeout)
    }

    /// Postpones passed deadlines of the client, for a caller that is not reading at present: the packet that
    /// is due may have arrived and wait unread.
    pub fn postpone_deadlines(&mut self, times: &Times, now: Time) {
        if let Some(candidate) = self.candidate.as_mut().filter(|it| it.deadline <= now) {
            candidate.deadline = now.after(times.upgrade_timeout);
        }
        if self.heartbeat.phase != Phase::Resting && self.heartbeat.deadline <= now {
            self.heartbeat.deadline = now.after(times.ping_timeout);
        }
    }

    /// Ends the session. The first reason is kept.
    pub fn close(&mut self, reason: CloseReason) {
        self.candidate = None;
        self.closed.get_or_insert(reason);
    }

    fn end(&mut self, reason: CloseReason) -> Step {
        self.close(reason);
        Step::Close(reason)
    }

    /// Records a received packet for the heartbeat. As in Node's server, one other packet after a ping (say a
    /// long upload before the pong) moves the deadline of the pong, but further ones do not.
    fn heard(&mut self, times: &Times, now: Time, kind: PacketType) {
        let heartbeat = &mut self.heartbeat;
        match (&heartbeat.phase, kind) {
            (Phase::Listening, _) => heartbeat.deadline = packet_deadline(times, now),
            (_, PacketType::Pong) => {
                *heartbeat = Heartbeat {
                    deadline: now.after(times.ping_interval),
                    phase: Phase::Resting,
                };
            }
            (Phase::Pinged, _) => {
                *heartbeat = Heartbeat {
                    deadline: now.after(times.ping_timeout),
                    phase: Phase::PingedAndHeard,
                };
            }
            (Phase::Resting | Phase::PingedAndHeard, _) => {}
        }
    }
}

/// The deadline for the next packet of a V3 client.
const fn packet_deadline(times: &Times, now: Time) -> Time {
    now.after(times.ping_interval).after(times.ping_timeout)
}
