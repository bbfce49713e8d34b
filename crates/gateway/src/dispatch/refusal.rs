//! Refuses requests of clients, each in the form of its response.

use crate::kinds::{Kind, Way};
use crate::reject::{Code, Reject};
use crate::session::Asker;

/// Returns the refusal of a frame whose kind clients may not send.
pub(super) fn unknown(number: u16, kind: Option<Kind>) -> Reject {
    // 0 represents all numbers that no kind can have.
    if number == 0 {
        return Reject::no_such_kind();
    }
    Reject::not_found(match kind.map(|kind| kind.row().way) {
        Some(Way::Down) => format!("Kind {number} is only sent to clients; to send a message, use kind 101."),
        Some(Way::Up) | None => format!("Clients cannot send kind {number} here: there is no such kind."),
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

/// Returns the kind of a request's response, if the request has one of its own.
fn response(request: Kind) -> Option<Kind> {
    match request {
        Kind::RegisterReq => Some(Kind::RegisterRes),
        Kind::SendReq => Some(Kind::SendRes),
        Kind::SyncReq => Some(Kind::SyncRes),
        Kind::ConversationsReq => Some(Kind::ConversationsRes),
        _ => None,
    }
}

/// The refusal of a request that needs a registration.
pub(super) fn not_registered() -> Reject {
    Reject::new(
        Code::Unauthenticated,
        "Register first: send kind 1 with your uid.",
    )
}
