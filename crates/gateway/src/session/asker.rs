//! The sender of a request, and the three forms of the response.

use std::sync::Arc;

use mynah_socketio::AckId;
use serde::Serialize;
use serde_json::value::RawValue;

use super::Link;
use crate::directory::Connection;
use crate::frame::{Frame, raw};
use crate::kinds::Kind;
use crate::reject::Reject;

/// The sender of a request. The response is the argument of its callback, or else a frame
/// (docs/PROTOCOL.md#2-frames).
pub(crate) struct Asker {
    pub(crate) connection: Arc<Connection<Link>>,
    pub(crate) ack: Option<AckId>,
    pub(crate) req: Option<Box<RawValue>>,
}

/// A refusal as the `data` of a response.
#[derive(Serialize)]
struct RefusalData<'a> {
    code: u16,
    error: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    cid: Option<&'a str>,
}

/// Success without further data.
#[derive(Serialize)]
struct Agreement {
    code: u16,
}

impl Asker {
    /// Whether the client waits for a response even if the kind has none of its own.
    pub(crate) fn waits(&self) -> bool {
        self.ack.is_some() || self.req.is_some()
    }

    /// Waits until at most `bytes` wait to be written to the client. Returns false if it has disconnected.
    /// This is called before large responses, so that a client may request many of them at once without being
    /// disconnected as a slow reader.
    pub(crate) async fn room(&self, bytes: usize) -> bool {
        self.connection.link.outlet().room(bytes).await
    }

    /// Does work that only this client needs. Returns `None`, and cancels the work, if the client disconnects
    /// meanwhile.
    pub(crate) async fn unless_gone<T>(&self, work: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = work => Some(done),
            () = self.connection.link.outlet().closed() => None,
        }
    }

    /// Responds with `data`, as a frame of kind `response` if there is no callback.
    pub(crate) fn answer(self, response: Kind, data: &(impl Serialize + ?Sized)) {
        self.answer_as(response.number(), data);
    }

    /// Like [`Asker::answer`], for kinds that are not in the table.
    pub(crate) fn answer_as(self, response: u16, data: &(impl Serialize + ?Sized)) {
        let link = &self.connection.link;
        match self.ack {
            Some(id) => link.outlet().ack(id, &raw(data)),
            None => {
                link.send(&Frame::response(response, self.req.as_deref(), data));
            }
        }
    }

    /// Responds with `data` to a request whose kind has no response of its own, if the client waits for one.
    pub(crate) fn answer_if_waiting(self, data: &impl Serialize) {
        if self.waits() {
            self.answer(Kind::Response, data);
        }
    }

    /// Reports success, if the client waits for a response.
    pub(crate) fn agree(self) {
        self.answer_if_waiting(&Agreement { code: 0 });
    }

    /// Logs that a frame of this kind was refused. The sentence contains no token and nothing of a message.
    pub(crate) fn note(&self, kind: u16, reject: &Reject) {
        tracing::debug!(
            sid = self.connection.link.outlet().sid(),
            kind,
            code = reject.code.number(),
            error = %reject.error,
            "refused a frame"
        );
    }

    /// Refuses a request whose kind has a response of its own.
    pub(crate) fn refuse(self, response: Kind, reject: &Reject) {
        self.answer(response, &refusal(reject, None));
    }

    /// Refuses a message, and repeats the id that its sender gave it.
    pub(crate) fn refuse_message(self, reject: &Reject, cid: Option<&str>) {
        self.note(Kind::SendReq.number(), reject);
        self.answer(Kind::SendRes, &refusal(reject, cid));
    }

    /// Refuses a request, if the client waits for a response.
    pub(crate) fn refuse_if_waiting(self, reject: &Reject) {
        if self.waits() {
            self.refuse(Kind::Response, reject);
        }
    }
}

/// A refusal as the `data` of a response.
pub(crate) fn refusal<'a>(reject: &'a Reject, cid: Option<&'a str>) -> impl Serialize + 'a {
    RefusalData {
        code: reject.code.number(),
        error: &reject.error,
        cid,
    }
}
