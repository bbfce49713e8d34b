//! Outgoing frames. Each is written once, encoded once per format, and shared by all recipients.

use std::sync::OnceLock;

use mynah_socketio::Encoded;
use serde::Serialize;
use serde_json::value::RawValue;

use super::{Envelope, json};
use crate::ids::{ConvId, Seq};
use crate::kinds::Kind;
use crate::time::UnixMillis;

/// The event that carries frames.
pub(crate) const EVENT: &str = "message";

/// The format in which a connection wants its frames (docs/PROTOCOL.md#2-frames).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Format {
    /// A JSON string, like the frames of the replaced Node module.
    #[default]
    String,
    /// A JSON object.
    Object,
}

/// A frame for any number of connections.
pub(crate) struct Frame {
    /// The frame as JSON. It is composed of valid JSON and not checked again; clients and this module's tests
    /// would notice.
    json: String,
    /// The place of the message in the history.
    place: Option<(ConvId, Seq)>,
    as_string: OnceLock<Encoded>,
    as_object: OnceLock<Encoded>,
}

/// A response in its frame.
#[derive(Serialize)]
struct Response<'a, T: ?Sized> {
    #[serde(rename = "type")]
    kind: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    req: Option<&'a RawValue>,
    data: &'a T,
}

impl Frame {
    fn new(json: String) -> Self {
        Self {
            json,
            place: None,
            as_string: OnceLock::new(),
            as_object: OnceLock::new(),
        }
    }

    /// A pushed message.
    pub(crate) fn push(envelope: &Envelope<'_>) -> Self {
        Self {
            place: envelope.place.map(|(_, conv, seq)| (conv, seq)),
            ..Self::new(envelope.to_json())
        }
    }

    /// The place of the message in the history; `None` if the message is not stored.
    pub(crate) fn place(&self) -> Option<(ConvId, Seq)> {
        self.place
    }

    /// A frame that the gateway itself sends, outside of any conversation.
    pub(crate) fn notice(kind: Kind, data: &RawValue, ts: UnixMillis) -> Self {
        Self::push(&Envelope::unstored(kind.number(), data, None, ts))
    }

    /// A response, or the reply of a program's handler.
    pub(crate) fn response(kind: u16, req: Option<&RawValue>, data: &(impl Serialize + ?Sized)) -> Self {
        Self::new(json(&Response { kind, req, data }))
    }

    /// The length of the frame as JSON.
    pub(crate) fn len(&self) -> usize {
        self.json.len()
    }

    /// The frame as JSON.
    #[cfg(any(test, fuzzing))]
    pub(crate) fn json(&self) -> &str {
        &self.json
    }

    /// The event in this format. The first call encodes it.
    pub(crate) fn encoded(&self, format: Format) -> &Encoded {
        match format {
            Format::String => self
                .as_string
                .get_or_init(|| Encoded::event_with_text(EVENT, &self.json)),
            Format::Object => self
                .as_object
                .get_or_init(|| Encoded::event_with_json(EVENT, &self.json)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frame::raw;

    #[test]
    fn responses_repeat_req_as_it_came() {
        let data = raw(&serde_json::json!({"code": 0}));
        let req = RawValue::from_string("12345678901234567890.10".into()).unwrap();
        let frame = Frame::response(102, Some(&req), &data);
        assert_eq!(
            frame.json(),
            r#"{"type":102,"req":12345678901234567890.10,"data":{"code":0}}"#
        );
        assert_eq!(
            Frame::response(2, None, &data).json(),
            r#"{"type":2,"data":{"code":0}}"#
        );
    }

    #[test]
    fn a_notice_has_type_data_and_ts() {
        let frame = Frame::notice(Kind::DifferentConnection, RawValue::NULL, 5);
        assert_eq!(frame.json(), r#"{"type":12,"data":null,"ts":5}"#);
    }
}
