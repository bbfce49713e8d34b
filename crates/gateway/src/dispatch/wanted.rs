//! Reads what a client says about itself when it registers.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::frame::{Format, Request};
use crate::ids::{self, DeviceId, IdError, Uid};
use crate::reject::Reject;

/// `data` of kind 1, each field as raw JSON.
#[derive(Deserialize)]
struct RegisterFields<'a> {
    #[serde(borrow, rename = "type")]
    class: Option<&'a RawValue>,
    #[serde(borrow)]
    uid: Option<&'a RawValue>,
    #[serde(borrow)]
    deviceid: Option<&'a RawValue>,
    #[serde(borrow)]
    platform: Option<&'a RawValue>,
    #[serde(borrow)]
    token: Option<&'a RawValue>,
    #[serde(borrow)]
    resume: Option<&'a RawValue>,
    #[serde(borrow)]
    format: Option<&'a RawValue>,
}

impl<'a> Request<'a> for RegisterFields<'a> {}

/// What a client says about itself.
#[derive(Debug)]
pub(super) struct Wanted {
    /// The user, which is required in open mode.
    pub(super) uid: Option<Uid>,
    pub(super) device: Option<DeviceId>,
    pub(super) platform: Option<Box<str>>,
    pub(super) class: Option<Box<str>>,
    pub(super) token: Option<Box<str>>,
    pub(super) format: Option<Format>,
    /// Whether the client wants the messages that it has missed.
    pub(super) resume: bool,
}

/// Reads the `data` of kind 1. It may be absent, because the token of the handshake may contain everything.
pub(super) fn read(data: Option<&RawValue>) -> Result<Wanted, Reject> {
    let fields = RegisterFields::read(
        data.map_or("{}", RawValue::get),
        "\"data\" must be an object such as {\"uid\":\"alice\"}.",
    )
    .map_err(Reject::malformed)?;
    let resume = match fields.resume.map(RawValue::get) {
        None | Some("false") => false,
        Some("true") => true,
        Some(_) => return Err(Reject::malformed("\"resume\" must be true or false.")),
    };
    let format = match fields
        .format
        .map(|raw| text("format", raw))
        .transpose()?
        .as_deref()
    {
        None => None,
        Some("string") => Some(Format::String),
        Some("object") => Some(Format::Object),
        Some(_) => return Err(Reject::malformed("\"format\" must be \"string\" or \"object\".")),
    };
    let device = match fields.deviceid {
        None => None,
        Some(raw) => Some(DeviceId::new(&text("deviceid", raw)?).map_err(|why| bad_id("deviceid", why))?),
    };
    Ok(Wanted {
        uid: fields.uid.map(uid).transpose()?,
        device,
        platform: label("platform", fields.platform)?,
        class: label("type", fields.class)?,
        token: fields
            .token
            .map(|raw| text("token", raw))
            .transpose()?
            .map(Into::into),
        format,
        resume,
    })
}

/// Reads a string, or an integer, which means its decimal string.
fn uid(raw: &RawValue) -> Result<Uid, Reject> {
    Uid::from_json(raw.get())
        .ok_or_else(|| Reject::malformed("\"uid\" must be a string or an integer."))?
        .map_err(|why| bad_id("uid", why))
}

/// Reads a short text that is only kept and shown. An empty one is read as absent.
fn label(field: &'static str, raw: Option<&RawValue>) -> Result<Option<Box<str>>, Reject> {
    let Some(raw) = raw else { return Ok(None) };
    let text = text(field, raw)?;
    if text.is_empty() {
        return Ok(None);
    }
    ids::label(&text).map(Some).map_err(|why| bad_id(field, why))
}

fn text<'a>(field: &'static str, raw: &'a RawValue) -> Result<Cow<'a, str>, Reject> {
    ids::json_string(raw.get())
        .ok_or_else(|| Reject::malformed(format!("\"{field}\" must be a string.")))?
        .map_err(|why| bad_id(field, why))
}

fn bad_id(field: &'static str, why: IdError) -> Reject {
    Reject::malformed(format!("\"{field}\" {why}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reject::Code;

    fn parsed(json: &str) -> Result<Wanted, Reject> {
        let raw = RawValue::from_string(json.into()).unwrap();
        read(Some(&raw))
    }

    #[test]
    fn a_uid_is_a_string_or_an_integer() {
        for (json, uid) in [
            (r#"{"uid":"alice"}"#, "alice"),
            (r#"{"uid":42}"#, "42"),
            (r#"{"uid":-7}"#, "-7"),
            (r#"{"uid":-0}"#, "0"),
            (
                r#"{"uid":123456789012345678901234567890}"#,
                "123456789012345678901234567890",
            ),
            (r#"{"uid":"\u65e5\u672c"}"#, "日本"),
        ] {
            assert_eq!(parsed(json).unwrap().uid.unwrap().as_str(), uid, "{json}");
        }
    }

    #[test]
    fn nothing_is_an_empty_object() {
        let wanted = read(None).unwrap();
        assert!(wanted.uid.is_none() && wanted.device.is_none() && !wanted.resume);
    }

    #[test]
    fn whatever_is_wrong_is_named() {
        let long = format!(r#"{{"uid":"{}"}}"#, "x".repeat(129));
        for (json, part) in [
            ("[]", "data"),
            ("5", "data"),
            (r#"{"uid":""}"#, "uid"),
            (r#"{"uid":1.5}"#, "uid"),
            (r#"{"uid":1e3}"#, "uid"),
            (r#"{"uid":true}"#, "uid"),
            (r#"{"uid":["a"]}"#, "uid"),
            (r#"{"uid":{"a":1}}"#, "uid"),
            (r#"{"uid":"a\u0000b"}"#, "uid"),
            (r#"{"uid":"a\nb"}"#, "uid"),
            (long.as_str(), "uid"),
            (r#"{"uid":"a","deviceid":1}"#, "deviceid"),
            (r#"{"uid":"a","deviceid":""}"#, "deviceid"),
            (r#"{"uid":"a","platform":{}}"#, "platform"),
            (r#"{"uid":"a","platform":"\u0007"}"#, "platform"),
            (r#"{"uid":"a","type":3}"#, "type"),
            (r#"{"uid":"a","token":3}"#, "token"),
            (r#"{"uid":"a","resume":"yes"}"#, "resume"),
            (r#"{"uid":"a","format":"xml"}"#, "format"),
            (r#"{"uid":"a","format":1}"#, "format"),
            (r#"{"uid":"a","uid":"b"}"#, "uid"),
        ] {
            let reject = parsed(json).unwrap_err();
            assert_eq!(reject.code, Code::Malformed, "{json}");
            assert!(reject.error.contains(&format!("\"{part}\"")), "{json}: {reject}");
        }
    }

    #[test]
    fn everything_else_may_be_absent_or_null() {
        let wanted =
            parsed(r#"{"uid":"a","deviceid":null,"platform":null,"type":null,"token":null,"resume":null,"format":null,"x":1}"#)
                .unwrap();
        assert!(wanted.device.is_none() && wanted.platform.is_none() && wanted.format.is_none());
        assert!(wanted.token.is_none());
        assert!(
            parsed(r#"{"uid":null}"#).unwrap().uid.is_none(),
            "a token may have it"
        );
    }
}
