//! Reads incoming frames: kind, `data` and `req` from the argument of an event `message`.

use std::borrow::Cow;

use mynah_wire::socket::read_string;
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::ids::kind_number;
use crate::text::without_mark;

/// The maximum length of `req` as JSON, in bytes. It is repeated unchanged.
const MAX_REQ_BYTES: usize = 256;

/// A decoded frame. All of its parts are the sender's own text.
#[derive(Debug)]
pub(crate) struct Incoming<'a> {
    /// The kind. Numbers above 65,535 cannot be kinds and become 0, which is not a kind either.
    pub(crate) kind: u16,
    /// `data`; `null` also becomes `None`.
    pub(crate) data: Option<&'a RawValue>,
    /// The value that the response must repeat.
    pub(crate) req: Option<&'a RawValue>,
}

/// Why a frame cannot be decoded, with `req` if it could be read.
#[derive(Debug)]
pub(crate) struct Undecodable<'a> {
    /// One sentence for the client.
    pub(crate) error: Cow<'static, str>,
    /// The value that the response must repeat.
    pub(crate) req: Option<&'a RawValue>,
}

/// The fields of a frame or of a frame's `data`, each of them raw. [`Request`] reads them one by one, so that
/// a wrong type is answered with a sentence about that field.
pub(crate) trait Request<'a>: Deserialize<'a> {
    /// Reads a JSON object; an array is refused. The error is a sentence for the client: `otherwise`, or one
    /// that names a repeated field.
    fn read(json: &'a str, otherwise: &'static str) -> Result<Self, Cow<'static, str>> {
        if !json.trim_start().starts_with('{') {
            return Err(otherwise.into());
        }
        serde_json::from_str(json).map_err(|error| match repeated(&error.to_string()) {
            Some(field) => format!("The field \"{field}\" must occur only once.").into(),
            None => otherwise.into(),
        })
    }
}

/// The repeated field, if that is what serde's error is about.
fn repeated(complaint: &str) -> Option<&str> {
    let (field, _) = complaint.strip_prefix("duplicate field `")?.split_once('`')?;
    Some(field)
}

/// For a field that may hold any JSON value: `null` is a value, and only a missing field (with `default`) is
/// `None`.
pub(crate) fn any_value<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<&'de RawValue>, D::Error> {
    <&RawValue>::deserialize(deserializer).map(Some)
}

#[derive(Deserialize)]
struct FrameFields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
    #[serde(borrow)]
    req: Option<&'a RawValue>,
}

impl<'a> Request<'a> for FrameFields<'a> {}

/// The text of a frame: the content of a JSON string, or the object itself.
pub(crate) fn text_of(argument: &RawValue) -> Result<Cow<'_, str>, Undecodable<'static>> {
    let json = argument.get();
    if json.starts_with('"') {
        return read_string(json).map(Cow::Owned).ok_or(Undecodable {
            error: "The frame must be valid Unicode.".into(),
            req: None,
        });
    }
    Ok(Cow::Borrowed(json))
}

/// Decodes the result of [`text_of`].
pub(crate) fn decode(text: &str) -> Result<Incoming<'_>, Undecodable<'_>> {
    const SHAPE: &str = "A frame must be a JSON object such as {\"type\":101,\"data\":{}}.";
    let fields =
        FrameFields::read(without_mark(text), SHAPE).map_err(|error| Undecodable { error, req: None })?;
    let req = match fields.req {
        Some(req) if !fits_req(req) => {
            return Err(Undecodable {
                error: "\"req\" must be a string or a number of at most 256 bytes.".into(),
                req: None,
            });
        }
        req => req,
    };
    match fields.kind.and_then(|raw| kind_number(raw.get())) {
        Some(kind) => Ok(Incoming {
            kind: kind.unwrap_or(0),
            data: fields.data,
            req,
        }),
        None => Err(Undecodable {
            error: "\"type\" must be the number of a kind.".into(),
            req,
        }),
    }
}

fn fits_req(req: &RawValue) -> bool {
    let json = req.get();
    json.len() <= MAX_REQ_BYTES
        && json.starts_with(['"', '-', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_is_a_frame() {
        let frame = decode(r#" {"x":[1],"type":101,"req":"r","data":{"a":1}} "#).unwrap();
        assert_eq!(frame.kind, 101);
        assert_eq!(frame.data.unwrap().get(), r#"{"a":1}"#);
        assert_eq!(frame.req.unwrap().get(), r#""r""#);
        assert!(decode(r#"{"type":1,"data":null}"#).unwrap().data.is_none());
        assert_eq!(
            decode("\u{feff}{\"type\":5}").unwrap().kind,
            5,
            "a byte order mark"
        );
    }

    #[test]
    fn a_whole_number_with_a_fraction_or_an_exponent_is_a_kind() {
        for kind in ["101.0", "1.01e2", "1010e-1"] {
            assert_eq!(
                decode(&format!(r#"{{"type":{kind}}}"#)).unwrap().kind,
                101,
                "{kind}"
            );
        }
    }

    #[test]
    fn kinds_beyond_all_numbers_are_no_kind() {
        for kind in ["65536", "-3", "1e300", "18446744073709551616"] {
            assert_eq!(
                decode(&format!(r#"{{"type":{kind}}}"#)).unwrap().kind,
                0,
                "{kind}"
            );
        }
    }

    #[test]
    fn says_what_is_wrong_and_keeps_req() {
        for (text, part, has_req) in [
            ("hello", "JSON object", false),
            ("", "JSON object", false),
            ("null", "JSON object", false),
            ("[1,{},3]", "JSON object", false),
            (r#"{"type":1"#, "JSON object", false),
            (r#"{"req":1}"#, "type", true),
            (r#"{"type":"1","req":1}"#, "type", true),
            (r#"{"type":1.5,"req":"a"}"#, "type", true),
            (r#"{"type":{},"req":"a"}"#, "type", true),
            (r#"{"type":1,"req":{}}"#, "req", false),
            (r#"{"type":1,"req":true}"#, "req", false),
            (
                r#"{"type":1,"data":{},"type":1}"#,
                "\"type\" must occur only once",
                false,
            ),
        ] {
            let wrong = decode(text).unwrap_err();
            assert!(wrong.error.contains(part), "{text}: {}", wrong.error);
            assert_eq!(wrong.req.is_some(), has_req, "{text}");
        }
        let long = format!(r#"{{"type":1,"req":"{}"}}"#, "x".repeat(300));
        assert!(decode(&long).is_err());
    }

    #[test]
    fn deep_nesting_is_no_recursion() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let text = format!(r#"{{"type":101,"ignored":{deep},"data":{deep}}}"#);
        assert_eq!(decode(&text).unwrap().kind, 101);
    }

    #[test]
    fn strings_are_unescaped_and_objects_taken_as_they_are() {
        let string = RawValue::from_string(r#""{\"type\":1}""#.into()).unwrap();
        assert_eq!(text_of(&string).unwrap(), r#"{"type":1}"#);
        let object = RawValue::from_string(r#"{"type":1}"#.into()).unwrap();
        assert_eq!(text_of(&object).unwrap(), r#"{"type":1}"#);
        let broken = RawValue::from_string(r#""\ud800""#.into()).unwrap();
        assert!(text_of(&broken).is_err());
    }
}
