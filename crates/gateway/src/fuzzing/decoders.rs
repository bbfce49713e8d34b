//! Decoders that turn bytes into a value.

use std::fmt;

use axum::http::HeaderMap;
use mynah_socketio::Handshake;
use mynah_wire::engine::{Protocol, Transport, parse_query};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use crate::config::Config;
use crate::frame::{self, Frame, too_deep};
use crate::ids::{Cid, ConvId, DeviceId, MAX_CID_BYTES, MAX_ID_BYTES, Mid, TeamId, Uid};
use crate::testing::value;

/// The argument of a `message` event, itself and as the content of a string.
pub(super) fn frame(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let string = frame::raw(&text);
    let content = frame::text_of(&string).expect("a string of Unicode can be read");
    assert_eq!(content, text);
    frame_text(text);
    let Ok(raw) = serde_json::from_str::<&RawValue>(text) else {
        return;
    };
    if let Ok(content) = frame::text_of(raw) {
        frame_text(&content);
    }
    if let Ok(Depth(depth)) = serde_json::from_str(raw.get()) {
        assert!(!too_deep(raw.get(), depth), "{depth}");
        assert!(depth == 0 || too_deep(raw.get(), depth - 1), "{depth}");
    }
}

fn frame_text(text: &str) {
    let (req, data) = match frame::decode(text) {
        Ok(frame) => (frame.req, frame.data),
        Err(wrong) => {
            assert!(wrong.error.ends_with('.'));
            (wrong.req, None)
        }
    };
    // A repeated `req` and `data` must be JSON, and decode to what was written.
    let frame = Frame::response(100, req, data.unwrap_or(RawValue::NULL));
    let again = frame::decode(frame.json()).expect("what we write can be read");
    assert_eq!(again.kind, 100);
    assert_eq!(again.req.map(RawValue::get), req.map(RawValue::get));
    assert_eq!(again.data.map(RawValue::get), data.map(RawValue::get));
    let written = value(frame.json());
    assert!(
        req.is_none() || written["req"].is_string() || written["req"].is_number(),
        "{written}"
    );
}

/// The nesting depth of JSON, according to serde.
struct Depth(usize);

impl<'de> Deserialize<'de> for Depth {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Deepest;

        impl<'de> Visitor<'de> for Deepest {
            type Value = Depth;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_bool<E>(self, _: bool) -> Result<Depth, E> {
                Ok(Depth(0))
            }

            fn visit_i64<E>(self, _: i64) -> Result<Depth, E> {
                Ok(Depth(0))
            }

            fn visit_u64<E>(self, _: u64) -> Result<Depth, E> {
                Ok(Depth(0))
            }

            fn visit_f64<E>(self, _: f64) -> Result<Depth, E> {
                Ok(Depth(0))
            }

            fn visit_str<E>(self, _: &str) -> Result<Depth, E> {
                Ok(Depth(0))
            }

            fn visit_unit<E>(self) -> Result<Depth, E> {
                Ok(Depth(0))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Depth, A::Error> {
                let mut deepest = 0;
                while let Some(Depth(depth)) = items.next_element()? {
                    deepest = deepest.max(depth);
                }
                Ok(Depth(deepest + 1))
            }

            fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Depth, A::Error> {
                let mut deepest = 0;
                while let Some((_, Depth(depth))) = entries.next_entry::<String, _>()? {
                    deepest = deepest.max(depth);
                }
                Ok(Depth(deepest + 1))
            }
        }

        deserializer.deserialize_any(Deepest)
    }
}

/// All identifiers that a peer can send, as text and as JSON.
pub(super) fn ids(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let fits = |most: usize| (1..=most).contains(&text.len()) && !text.chars().any(char::is_control);
    let long = fits(MAX_ID_BYTES);
    assert_eq!(Uid::new(text).is_ok(), long);
    assert_eq!(DeviceId::new(text).is_ok(), long);
    assert_eq!(TeamId::new(text).is_ok(), long);
    assert_eq!(Cid::new(text).is_ok(), fits(MAX_CID_BYTES));
    if let Some(conv) = ConvId::parse(text) {
        assert_eq!(conv.to_string(), text, "one form only");
    }
    if let Some(mid) = Mid::parse(text) {
        assert_eq!(mid.to_string(), text, "one form only");
    }
    // A `RawValue` has no whitespace around it.
    let Ok(raw) = serde_json::from_str::<&RawValue>(text) else {
        return;
    };
    if let Some(Ok(uid)) = Uid::from_json(raw.get()) {
        assert_eq!(Uid::new(uid.as_str()).as_ref(), Ok(&uid));
        let again = serde_json::to_string(&uid).expect("a text");
        assert_eq!(Uid::from_json(&again), Some(Ok(uid)));
    }
}

/// The query of a Socket.IO request, as the transport parses it and as the application does.
pub(super) fn query(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let handshake = Handshake {
        query: text.to_owned(),
        headers: HeaderMap::new(),
        address: ([127, 0, 0, 1], 5000).into(),
        protocol: Protocol::V4,
        transport: Transport::Polling,
        issued: std::time::UNIX_EPOCH,
    };
    let query = parse_query(text);
    let _ = (
        query.protocol(true),
        query.transport(),
        query.jsonp(),
        query.dialect(),
    );
    assert!(query.session().is_none_or(|sid| !sid.is_empty()));
    // Both must find the same values.
    for (name, value) in [
        ("EIO", &query.eio),
        ("transport", &query.transport),
        ("sid", &query.sid),
        ("j", &query.j),
    ] {
        assert_eq!(handshake.query(name).as_ref(), value.as_ref(), "{name}");
    }
    assert!(
        query
            .eio
            .is_none_or(|text_of_it| text_of_it.len() <= 3 * text.len())
    );
}

/// The configuration file: it is either valid, or every problem has a text.
pub(super) fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    match Config::parse(text, "mynah.toml") {
        Ok(config) => assert!(config.problems().is_empty()),
        Err(errors) => assert!(!errors.0.is_empty() && errors.0.iter().all(|error| !error.is_empty())),
    }
}
