//! Handles the events of a connection in their order.

use std::borrow::Cow;
use std::cell::Cell;
use std::sync::Arc;

use mynah_socketio::{AckId, BoxFuture, CloseReason, DisconnectReason, Event, Handler, Time};
use serde_json::value::RawValue;

use crate::clock;
use crate::config::{Config, Mode};
use crate::directory::Connection;
use crate::dispatch::{self, Core};
use crate::embed::{Program, Seen};
use crate::frame::{self, EVENT};
use crate::metrics::Metrics;
use crate::rate::{Bucket, Rate};
use crate::reject::Reject;
use crate::session::{Asker, Link, Outlet};

/// Longest time after which the time of day is checked again, because a client's claims may have expired
/// after it was set.
const LONGEST_TRUST_MS: u64 = 60_000;

/// A time that is never reached.
const NEVER: u64 = u64::MAX;

/// What the handlers of all connections share.
pub(crate) struct Entrance {
    core: Arc<Core>,
    pub(super) config: Arc<Config>,
    metrics: Arc<Metrics>,
    program: Arc<Program>,
    /// The rate of frames of a connection.
    frames: Option<Rate>,
    /// The rate of frames of a connection that are refused because they exceed its rate.
    refused: Option<Rate>,
}

impl Entrance {
    pub(crate) fn new(
        core: Arc<Core>,
        config: Arc<Config>,
        metrics: Arc<Metrics>,
        program: Arc<Program>,
    ) -> Self {
        let limits = &config.limits;
        Self {
            frames: Rate::new(limits.frames_per_second, 1, limits.frames_burst),
            refused: Rate::new(limits.frames_per_second, 1, limits.refused_burst),
            core,
            config,
            metrics,
            program,
        }
    }

    /// Returns whether clients must prove who they are.
    pub(super) fn needs_proof(&self) -> bool {
        self.config.auth.mode != Mode::Open
    }
}

/// The handler of one connection.
pub(crate) struct Client {
    entrance: Arc<Entrance>,
    connection: Arc<Connection<Link>>,
    frames: Bucket,
    /// Frames that were refused because they exceed the connection's rate.
    refused: Bucket,
    /// Time by which the connection must have registered, on the clock of deadlines: 0 if it is not known
    /// yet, [`NEVER`] after the register.
    register_by: Cell<u64>,
}

impl Client {
    pub(crate) fn new(
        entrance: Arc<Entrance>,
        outlet: impl Outlet + 'static,
        handshake_token: Option<Box<str>>,
    ) -> Self {
        entrance.metrics.connections.inc();
        let connection = Arc::new(Connection::new(Link::new(outlet, handshake_token)));
        Self {
            entrance,
            connection,
            frames: Bucket::default(),
            refused: Bucket::default(),
            register_by: Cell::new(0),
        }
    }

    fn asker(&self, ack: Option<AckId>, req: Option<&RawValue>) -> Asker {
        Asker {
            connection: self.connection.clone(),
            ack,
            req: req.map(ToOwned::to_owned),
        }
    }

    /// Handles the argument of a `message` event.
    fn frame(&mut self, argument: &RawValue, ack: Option<AckId>) -> Option<BoxFuture> {
        let within_rate = self.is_within_rate();
        let text = match frame::text_of(argument) {
            Ok(text) => text,
            Err(wrong) => {
                self.not_a_frame(argument.get(), wrong.error, self.asker(ack, None), within_rate);
                return None;
            }
        };
        let frame = match frame::decode(&text) {
            Ok(frame) => frame,
            Err(wrong) => {
                self.not_a_frame(&text, wrong.error, self.asker(ack, wrong.req), within_rate);
                return None;
            }
        };
        let asker = self.asker(ack, frame.req);
        if !within_rate {
            dispatch::refuse(asker, frame.kind, &self.too_fast());
            return None;
        }
        dispatch::dispatch(&self.entrance.core, frame, &text, asker)
    }

    fn not_a_frame(&self, text: &str, error: Cow<'static, str>, asker: Asker, within_rate: bool) {
        if within_rate {
            self.entrance
                .program
                .listeners
                .seen(&self.connection, Seen::Raw(text));
            asker.refuse_if_waiting(&Reject::malformed(error));
        } else {
            asker.refuse_if_waiting(&self.too_fast());
        }
    }

    fn is_within_rate(&self) -> bool {
        let rate = self.entrance.frames;
        rate.is_none() || self.frames.take(rate, clock::now())
    }

    /// Returns the time by which the connection must register, unless it has.
    fn register_by(&self, now: Time) -> Option<Time> {
        let limit = self.entrance.config.limits.register_timeout_ms;
        if limit == 0 {
            return None;
        }
        if self.connection.registration().is_some() {
            self.register_by.set(NEVER);
        } else if self.register_by.get() == 0 {
            self.register_by.set(now.after(limit).0);
        }
        Some(self.register_by.get()).filter(|at| *at != NEVER).map(Time)
    }

    /// Counts a frame that exceeds the rate. A client that does not slow down is disconnected.
    fn too_fast(&self) -> Reject {
        self.entrance.metrics.limited("frames_per_second");
        if !self.refused.take(self.entrance.refused, clock::now()) {
            self.entrance.metrics.limited("refused_burst");
            self.connection.link.outlet().close_now(CloseReason::TooFast);
        }
        let rate = self.entrance.config.limits.frames_per_second;
        Reject::too_fast(format!(
            "A connection may send {rate} frames per second; slow down."
        ))
    }
}

impl Handler for Client {
    fn connected(&mut self) {
        self.entrance.program.listeners.connected(&self.connection);
    }

    fn event(&mut self, event: Event<'_>) -> Option<BoxFuture> {
        self.entrance.metrics.frames_in.inc();
        let refused = match (event.name, event.args) {
            (EVENT, [argument, ..]) if event.attachments.is_empty() => {
                return self.frame(argument, event.ack);
            }
            (EVENT, [_, ..]) => {
                Reject::malformed("A frame cannot carry binary attachments; encode them as text.")
            }
            (EVENT, []) => Reject::malformed("The frame is missing: it must be the event's argument."),
            _ => Reject::not_found("There is no such event; frames are sent with the event \"message\"."),
        };
        let asker = self.asker(event.ack, None);
        if self.is_within_rate() {
            asker.refuse_if_waiting(&refused);
        } else {
            asker.refuse_if_waiting(&self.too_fast());
        }
        None
    }

    fn deadline(&self, now: Time) -> Option<Time> {
        let register_by = self.register_by(now);
        if !self.entrance.needs_proof() {
            return register_by;
        }
        let trusted_until = || {
            let registration = self.connection.registration()?;
            let claims = registration.claims.as_ref()?;
            let left = claims
                .left(clock::unix_millis(), clock::steady_millis())
                .min(LONGEST_TRUST_MS);
            Some(Time(now.0.saturating_add(left)))
        };
        register_by.or_else(trusted_until)
    }

    fn deadline_passed(&mut self) {
        let unregistered = self.connection.registration().is_none();
        if unregistered && !matches!(self.register_by.get(), 0 | NEVER) {
            self.entrance.metrics.limited("register_timeout_ms");
            self.entrance.metrics.refused("register_timeout").inc();
            self.connection.link.outlet().close_now(CloseReason::ServerClose);
            return;
        }
        dispatch::expire(&self.entrance.core.login, &self.connection);
    }

    fn disconnected(&mut self, reason: DisconnectReason) {
        let registration =
            dispatch::closed(&self.entrance.core.login, &self.connection, has_vanished(reason));
        self.entrance.metrics.connections.dec();
        tracing::debug!(
            sid = self.connection.link.outlet().sid(),
            uid = registration
                .as_ref()
                .map(|registration| registration.uid.as_str()),
            reason = reason.as_str(),
            "closed"
        );
        self.entrance
            .program
            .listeners
            .closed(&self.connection, registration.as_deref(), reason.as_str());
    }
}

/// Returns whether the connection ended without a close, so that the client may not have received what was
/// sent last.
fn has_vanished(reason: DisconnectReason) -> bool {
    matches!(
        reason,
        DisconnectReason::Session(
            CloseReason::PingTimeout | CloseReason::SlowReader | CloseReason::TransportError
        )
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::directory::Registration;

    /// With 10,000 connections every byte costs 10 KB. This is what a registered connection needs besides its
    /// socket and texts.
    #[test]
    fn a_registered_connection_is_small() {
        let held = size_of::<Connection<Link>>() + size_of::<Registration>() + size_of::<Client>();
        assert!(held <= 320, "{held} bytes");
    }
}
