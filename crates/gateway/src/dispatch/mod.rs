//! Dispatch: what each kind does. Frames of sockets and calls of the API meet here and go the same way.
//!
//! The only place that matches on kinds.

mod ack;
mod admission;
mod append;
mod change;
mod conversations;
mod fields;
mod flight;
mod orders;
mod pass;
mod plan;
mod read;
mod recall;
mod register;
mod request;
mod resume;
mod revoke;
mod sync;
mod wanted;

use std::sync::Arc;

use mynah_socketio::BoxFuture;
use serde_json::value::RawValue;

use crate::core::Core;
use crate::embed::{self, Seen};
use crate::frame::Incoming;
use crate::kinds::{APPLICATION, Kind, Way};
use crate::reject::{Code, Reject};
use crate::session::Asker;

pub(crate) use change::change_team;
pub(crate) use orders::orders;
pub(crate) use register::{expire, sign_out};
pub(crate) use revoke::{refuse_revoked, revoke};

/// Does what a client's frame asks. `text` is the whole frame. The returned future is awaited before the connection's next
/// frame is read.
pub(crate) fn dispatch(core: &Arc<Core>, frame: Incoming<'_>, text: &str, asker: Asker) -> Option<BoxFuture> {
    let seen = || {
        let seen = Seen::Frame {
            kind: frame.kind,
            data: frame.data,
        };
        core.listeners.seen(&asker.connection, seen);
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
        None if APPLICATION.contains(&frame.kind) && core.types.has(frame.kind) => {
            seen();
            return embed::call(core, &frame, asker);
        }
        other => {
            core.listeners.seen(&asker.connection, Seen::Raw(text));
            refuse(asker, frame.kind, &unknown(frame.kind, other));
            return None;
        }
    };
    seen();
    serve(core, frame.data, asker)
}

/// What a kind does with a frame's `data`.
type Serve = fn(&Arc<Core>, Option<&RawValue>, Asker) -> Option<BoxFuture>;

fn unknown(number: u16, kind: Option<Kind>) -> Reject {
    // It stands for every number that no kind can have.
    if number == 0 {
        return Reject::no_such_kind();
    }
    Reject::not_found(match kind.map(|kind| kind.row().way) {
        Some(Way::Down) => format!("Kind {number} only goes to clients; to send a message use kind 101."),
        Some(Way::Up | Way::Both) | None => format!("There is no kind {number} that clients may send here."),
    })
}

/// Refuses a frame of this kind in the form of its response.
pub(crate) fn refuse(asker: Asker, kind: u16, reject: &Reject) {
    asker.note(kind, reject);
    match Kind::from_number(kind).and_then(response) {
        Some(response) => asker.refuse(response, reject),
        None => asker.refuse_if_waiting(reject),
    }
}

/// The kind of a request's response, where it has one of its own.
fn response(request: Kind) -> Option<Kind> {
    match request {
        Kind::RegisterReq => Some(Kind::RegisterRes),
        Kind::SendReq => Some(Kind::SendRes),
        Kind::SyncReq => Some(Kind::SyncRes),
        Kind::ConversationsReq => Some(Kind::ConversationsRes),
        _ => None,
    }
}

pub(crate) fn not_registered() -> Reject {
    Reject::new(
        Code::Unauthenticated,
        "Register first: send kind 1 with your uid.",
    )
}
