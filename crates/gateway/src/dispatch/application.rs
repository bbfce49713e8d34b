//! Frames of the application's own kinds: the embedding program's handler answers them.

use std::sync::Arc;

use mynah_socketio::BoxFuture;
use serde_json::value::RawValue;

use super::core::Core;
use super::refusal::not_registered;
use crate::embed::{Call, Reply};
use crate::frame::{Frame, Incoming};
use crate::kinds::Kind;
use crate::session::Asker;

/// Runs the handler of a frame's kind.
pub(super) fn call(core: &Arc<Core>, frame: &Incoming<'_>, asker: Asker) -> Option<BoxFuture> {
    let kind = frame.kind;
    let Some(registration) = asker.connection.registration() else {
        asker.refuse_if_waiting(&not_registered());
        return None;
    };
    let handler = core.program.handlers.get(kind)?;
    let reply = handler(Call {
        kind,
        data: frame.data.unwrap_or(RawValue::NULL).to_owned(),
        uid: registration.uid.clone(),
        sid: asker.connection.link.outlet().sid().into(),
    });
    let Reply::Later(mut later) = reply else {
        answer(core, kind, asker, reply);
        return None;
    };
    let core = core.clone();
    Some(Box::pin(async move {
        let reply = loop {
            match later.await {
                Reply::Later(again) => later = again,
                reply => break reply,
            }
        };
        answer(&core, kind, asker, reply);
    }))
}

fn answer(core: &Core, kind: u16, asker: Asker, reply: Reply) {
    match reply {
        Reply::Object(data) if asker.waits() => asker.answer(Kind::Response, &data),
        Reply::Object(data) => {
            asker.connection.link.send(&Frame::response(kind, None, &data));
        }
        Reply::Nothing | Reply::Later(_) => asker.agree(),
        Reply::Reject(reject) => {
            core.program
                .listeners
                .failed(&format!("the handler of kind {kind} refused: {reject}"));
            asker.refuse_if_waiting(&reject);
        }
    }
}
