//! Frames of the application's own kinds: the embedding program's handler answers them.

use std::sync::Arc;

use mynah_socketio::BoxFuture;
use serde_json::value::RawValue;

use super::refusal::not_registered;
use crate::embed::{Call, Program, Reply};
use crate::frame::{Frame, Incoming};
use crate::kinds::Kind;
use crate::session::Asker;

/// Runs the handler of a frame's kind.
pub(super) fn call(program: &Arc<Program>, frame: &Incoming<'_>, asker: Asker) -> Option<BoxFuture> {
    let kind = frame.kind;
    let Some(registration) = asker.connection.registration() else {
        asker.refuse_if_waiting(&not_registered());
        return None;
    };
    let handler = program.handlers.get(kind)?;
    let reply = handler(Call {
        kind,
        data: frame.data.unwrap_or(RawValue::NULL).to_owned(),
        uid: registration.uid.clone(),
        sid: asker.connection.link.outlet().sid().into(),
    });
    let Reply::Later(mut later) = reply else {
        answer(program, kind, asker, reply);
        return None;
    };
    let program = program.clone();
    Some(Box::pin(async move {
        let reply = loop {
            match later.await {
                Reply::Later(again) => later = again,
                reply => break reply,
            }
        };
        answer(&program, kind, asker, reply);
    }))
}

fn answer(program: &Program, kind: u16, asker: Asker, reply: Reply) {
    match reply {
        Reply::Object(data) if asker.waits() => asker.answer(Kind::Response, &data),
        Reply::Object(data) => {
            asker.connection.link.send(&Frame::response(kind, None, &data));
        }
        Reply::Nothing | Reply::Later(_) => asker.agree(),
        Reply::Reject(reject) => {
            program
                .listeners
                .failed(&format!("the handler of kind {kind} refused: {reject}"));
            asker.refuse_if_waiting(&reject);
        }
    }
}
