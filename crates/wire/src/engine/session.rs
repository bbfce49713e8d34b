//! The state machine of one session: heartbeat, upgrade and close.
//!
//! Pure: packets and instants go in, what to do comes out. The owner keeps the transports and the queue of packets.
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
    /// The peer's transport went away.
    TransportClose,
    /// Reading or writing the transport failed, or the peer broke the rules of Engine.IO.
    TransportError,
    /// The peer's heartbeat stayed out.
    PingTimeout,
    /// The peer sent a close packet.
    ClientClose,
    /// The peer sent what is no packet.
    ParseError,
    /// We closed; the client may come back.
    ServerClose,
    /// The peer read slower than we sent, until its queue was full.
    SlowReader,
    /// The server is going down; the client may come back.
    ServerShutdown,
    /// The application sent the client away.
    SentAway,
    /// The client went on sending more than it may.
    TooFast,
}

impl CloseReason {
    /// The reason as clients and logs name it.
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
            Self::SentAway => "sent away",
            Self::TooFast => "too many frames",
        }
    }

    /// Whether the client is to reconnect by itself.
    ///
    /// Then a waiting poll is refused, and a WebSocket is closed with a code. Most clients reconnect whatever
    /// the end looks like, but Python's and Rust's stay away after a close packet, and C++'s after a close
    /// frame without a code.
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
            | Self::SentAway => false,
        }
    }

    /// Code and reason of the close frame by which a WebSocket's peer is told (RFC 6455, section 7.4), where there is something to tell.
    pub const fn websocket_close(self) -> Option<(u16, &'static str)> {
        match self {
            // Policy violation.
            Self::TooFast => Some((1008, self.as_str())),
            // Going away.
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
    /// Send a bare pong.
    SendPong,
    /// The session has ended; close the transport, and the candidate if there is one.
    Close(CloseReason),
}

/// What to do with a packet on the candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CandidateStep {
    /// Send `3probe` on the candidate; end the waiting GET with a noop, and every later one while
    /// [`Session::is_upgrading`].
    SendProbePong,
    /// The candidate is the transport now: send what is queued there; HTTP requests are refused from here on.
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

/// A candidate is not wanted: accept its WebSocket, then close it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The session is on WebSocket already.
    #[error("session upgraded already")]
    Upgraded,
    /// Another candidate came first.
    #[error("session is being upgraded")]
    Upgrading,
    /// The session has ended.
    #[error("session closed")]
    Closed,
}

/// One session's state. It keeps no copy of [`Times`]: the caller passes the server's.
#[derive(Debug)]
pub struct Session {
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
    /// V4: the next ping is due at the deadline.
    Resting,
    /// V4: the pong is due at the deadline.
    Pinged,
    /// V4: as before, but another packet has put the deadline off already.
    PingedAndHeard,
    /// V3: any packet is due at the deadline.
    Listening,
}

#[derive(Debug)]
struct Candidate {
    deadline: Time,
    probed: bool,
}

impl Session {
    /// A session whose handshake is answered at `now`.
    pub fn new(protocol: Protocol, transport: Transport, times: &Times, now: Time) -> Self {
        let heartbeat = match protocol {
            Protocol::V4 => Heartbeat {
                deadline: now.after(times.ping_interval),
                phase: Phase::Resting,
            },
            Protocol::V3 => Heartbeat {
                deadline: silence(times, now),
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

    /// The version that the handshake asked for.
    pub const fn protocol(&self) -> Protocol {
        self.protocol
    }

    /// The current transport.
    pub const fn transport(&self) -> Transport {
        self.transport
    }

    /// Whether a candidate has probed, so that every GET is to be ended with a noop.
    pub fn is_upgrading(&self) -> bool {
        self.candidate.as_ref().is_some_and(|candidate| candidate.probed)
    }

    /// Whether there is a candidate, probed or not.
    pub const fn has_candidate(&self) -> bool {
        self.candidate.is_some()
    }

    /// Why the session ended, if it has.
    pub const fn is_closed(&self) -> Option<CloseReason> {
        self.closed
    }

    /// A packet on the current transport. After the end of the session: nothing.
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
            // Without meaning here; Node ignores them too.
            (PacketType::Open | PacketType::Upgrade | PacketType::Noop, _) => Step::Nothing,
        }
    }

    /// A WebSocket with this session's id arrived. When refused it is to be accepted and closed; the first stays.
    pub fn candidate(&mut self, times: &Times, now: Time) -> Result<(), Refused> {
        if self.closed.is_some() {
            return Err(Refused::Closed);
        }
        if self.transport == Transport::WebSocket {
            return Err(Refused::Upgraded);
        }
        if self.candidate.is_some() {
            return Err(Refused::Upgrading);
        }
        self.candidate = Some(Candidate {
            deadline: now.after(times.upgrade_timeout),
            probed: false,
        });
        Ok(())
    }

    /// A packet on the candidate. What fits the upgrade counts as a sign of life, as on the current transport.
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
            // Some clients do not probe: the WebSocket has been accepted, and that is enough for them.
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

    /// The candidate's WebSocket went away, or sent what is no packet: the session stays on polling.
    pub fn candidate_lost(&mut self) {
        self.candidate = None;
    }

    /// The earliest deadline; `None` after the end.
    pub fn poll_timeout(&self) -> Option<Time> {
        if self.closed.is_some() {
            return None;
        }
        let upgrade = self.candidate.as_ref().map(|candidate| candidate.deadline);
        Some(upgrade.map_or(self.heartbeat.deadline, |upgrade| {
            upgrade.min(self.heartbeat.deadline)
        }))
    }

    /// Lets one passed deadline take effect; call it until it says [`TimeoutStep::Nothing`] or the end.
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
            // A timer that fires a little late does not lengthen the wait; one that fires very late (a stopped process) does not eat it.
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

    /// Nobody is listening: what the peer sent may be waiting unread. Deadlines of the peer's that have passed are put off.
    pub fn excuse(&mut self, times: &Times, now: Time) {
        if let Some(candidate) = self.candidate.as_mut().filter(|it| it.deadline <= now) {
            candidate.deadline = now.after(times.upgrade_timeout);
        }
        if self.heartbeat.phase != Phase::Resting && self.heartbeat.deadline <= now {
            self.heartbeat.deadline = now.after(times.ping_timeout);
        }
    }

    /// Ends the session; the first reason stays.
    pub fn close(&mut self, reason: CloseReason) {
        self.candidate = None;
        self.closed.get_or_insert(reason);
    }

    fn end(&mut self, reason: CloseReason) -> Step {
        self.close(reason);
        Step::Close(reason)
    }

    /// The heartbeat's share of a packet. As in Node, a ping without its pong can be outlived by one other packet (say a
    /// long upload in front of the pong), but not by many.
    fn heard(&mut self, times: &Times, now: Time, kind: PacketType) {
        let heartbeat = &mut self.heartbeat;
        match (&heartbeat.phase, kind) {
            (Phase::Listening, _) => heartbeat.deadline = silence(times, now),
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

/// When a V3 client that says nothing more is given up.
const fn silence(times: &Times, now: Time) -> Time {
    now.after(times.ping_interval).after(times.ping_timeout)
}
