//! Dispatch carries out what frames of clients and calls of the API request. Both use the same functions.
//!
//! This is the only place that matches on kinds.

mod ack;
mod admission;
mod application;
mod change;
mod conversations;
mod core;
mod fields;
mod orders;
mod pass;
mod read;
mod recall;
mod record;
mod refusal;
mod register;
mod request;
mod resume;
mod revoke;
mod rules;
mod sync;
mod unregister;
mod wanted;

use std::sync::Arc;

use mynah_socketio::BoxFuture;
use serde_json::value::RawValue;

use crate::embed::Seen;
use crate::frame::Incoming;
use crate::kinds::{APPLICATION, Kind};
use crate::session::Asker;

pub(crate) use self::core::{AbortOnDrop, Core, Parts};
pub(crate) use change::change_team;
pub(crate) use orders::orders;
pub(crate) use refusal::refuse;
pub(crate) use revoke::{refuse_revoked, revoke};
pub(crate) use unregister::{closed, expire, sign_out};

/// Carries out the request of a client's frame. `text` is the whole frame. The returned future must be
/// awaited before the connection's next frame is read.
pub(crate) fn dispatch(core: &Arc<Core>, frame: Incoming<'_>, text: &str, asker: Asker) -> Option<BoxFuture> {
    let seen = || {
        let seen = Seen::Frame {
            kind: frame.kind,
            data: frame.data,
        };
        core.program.listeners.seen(&asker.connection, seen);
    };
    let kind = Kind::from_number(frame.kind);
    let serve: Serve = match kind {
        Some(Kind::RegisterReq) => register::register,
        Some(Kind::SendReq) => request::request,
        Some(Kind::Ack) => ack::ack,
        Some(Kind::SyncReq) => sync::sync,
        Some(Kind::ReadReq) => read::read,
        Some(Kind::RecallReq) => recall::recall,
        Some(Kind::ConversationsReq) => conversations::conversations,
        None if APPLICATION.contains(&frame.kind) && core.program.handlers.has(frame.kind) => {
            seen();
            return application::call(core, &frame, asker);
        }
        other => {
            core.program.listeners.seen(&asker.connection, Seen::Raw(text));
            refuse(asker, frame.kind, &refusal::unknown(frame.kind, other));
            return None;
        }
    };
    seen();
    serve(core, frame.data, asker)
}

/// Carries out a request of one kind, given the frame's `data`.
type Serve = fn(&Arc<Core>, Option<&RawValue>, Asker) -> Option<BoxFuture>;
