//! Dispatch carries out what frames of clients and calls of the API request. Both use the same functions.
//!
//! This is the only place that matches on kinds.

mod ack;
mod application;
mod authorize;
mod change;
mod claim;
mod conversations;
mod core;
mod entries;
mod fields;
mod login;
mod online;
mod orders;
mod packets;
mod pass;
mod read;
mod recall;
mod record;
mod refresh;
mod refusal;
mod register;
mod request;
mod resume;
mod revoke;
mod rules;
mod spending;
mod sync;
mod unregister;
mod wanted;

use mynah_socketio::BoxFuture;

use crate::embed::Seen;
use crate::frame::Incoming;
use crate::kinds::{APPLICATION, Kind, Way};
use crate::session::Asker;

pub(crate) use self::core::{AbortOnDrop, Core, CoreParts, Joined};
pub(crate) use change::change_team;
pub(crate) use online::{connections, names, online};
pub(crate) use orders::orders;
pub(crate) use refusal::refuse;
pub(crate) use revoke::{refuse_revoked, revoke};
pub(crate) use unregister::{closed, expire, sign_out, users_return};

/// Carries out the request of a client's frame. `text` is the whole frame. The returned future must be
/// awaited before the connection's next frame is read.
pub(crate) fn dispatch(core: &Core, frame: Incoming<'_>, text: &str, asker: Asker) -> Option<BoxFuture> {
    if core.login.is_lost() {
        // The client reconnects to a node that lives, and sends again what was not answered.
        asker.connection.link.close_lost();
        return None;
    }
    let (record, program) = (&core.record, &core.program);
    let (number, data) = (frame.kind, frame.data);
    let kind = Kind::from_number(number);
    let is_known = match kind {
        Some(kind) => kind.row().way == Way::Up,
        None => APPLICATION.contains(&number) && program.handlers.has(number),
    };
    let seen = if is_known {
        Seen::Frame { kind: number, data }
    } else {
        Seen::Raw(text)
    };
    program.listeners.seen(&asker.connection, seen);
    match kind {
        Some(Kind::RegisterReq) => register::register(&core.login, data, asker),
        Some(Kind::SendReq) => request::request(&core.rules, record, data, asker),
        Some(Kind::Ack) => ack::ack(record, data, asker),
        Some(Kind::SyncReq) => sync::sync(record, data, asker),
        Some(Kind::ReadReq) => read::read(record, data, asker),
        Some(Kind::RecallReq) => recall::recall(record, data, asker),
        Some(Kind::ConversationsReq) => conversations::conversations(record, data, asker),
        None if is_known => application::call(program, &frame, asker),
        other => {
            refuse(asker, number, &refusal::unknown(number, other));
            None
        }
    }
}
