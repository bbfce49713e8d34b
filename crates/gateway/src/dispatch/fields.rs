//! Reads the fields that several requests have.

use std::sync::Arc;

use serde_json::value::RawValue;

use super::refusal::{not_registered, refuse};
use crate::directory::Registration;
use crate::ids::{ConvId, Seq, is_integer};
use crate::kinds::Kind;
use crate::reject::Reject;
use crate::session::Asker;
use crate::store::StoreError;

/// The maximum number of messages or conversations of a page.
const MOST: u32 = 500;
/// The number of messages or conversations of a page if the client gives no `limit`.
const USUAL: u32 = 100;

/// Returns the registration of a client that sends a request, and what `read` reads from its `data`. Refuses
/// the request if there is no registration, or if a field is invalid.
pub(super) fn asked<T>(
    asker: Asker,
    kind: Kind,
    data: Option<&RawValue>,
    read: fn(Option<&RawValue>) -> Result<T, Reject>,
) -> Option<(Asker, Arc<Registration>, T)> {
    let by = asker.connection.registration().ok_or_else(not_registered);
    match by.and_then(|by| Ok((by, read(data)?))) {
        Ok((by, fields)) => Some((asker, by, fields)),
        Err(reject) => {
            refuse(asker, kind.number(), &reject);
            None
        }
    }
}

/// Reads `conv`. A string that is not the id of a conversation is refused with the same error as a
/// conversation that the user is not in.
pub(super) fn conv(raw: Option<&RawValue>) -> Result<ConvId, Reject> {
    let text = raw.and_then(|raw| serde_json::from_str::<String>(raw.get()).ok());
    let text = text
        .ok_or_else(|| Reject::malformed("\"conv\" must be the id of a conversation, as in its messages."))?;
    ConvId::parse(&text).ok_or_else(|| Reject::from(StoreError::NOT_IN_IT))
}

/// Reads a message's number. A number that no message can have is read as one beyond the head.
pub(super) fn seq(name: &str, raw: Option<&RawValue>) -> Result<Seq, Reject> {
    whole(raw.map_or("", RawValue::get))
        .map(Seq)
        .ok_or_else(|| Reject::malformed(format!("\"{name}\" must be a whole number, 0 or more.")))
}

/// Reads `limit`, which is 1 to 500, or 100 if it is absent.
pub(super) fn limit(raw: Option<&RawValue>) -> Result<u32, Reject> {
    let Some(raw) = raw else { return Ok(USUAL) };
    let number = whole(raw.get()).and_then(|number| u32::try_from(number).ok());
    number
        .filter(|number| (1..=MOST).contains(number))
        .ok_or_else(|| Reject::malformed(format!("\"limit\" must be 1 to {MOST}.")))
}

/// Reads a JSON integer of 0 or more. Integers above the largest possible `seq` become this `seq`.
fn whole(json: &str) -> Option<u64> {
    const LARGEST: u64 = i64::MAX as u64;
    match json {
        "-0" => Some(0),
        _ if json.starts_with('-') || !is_integer(json) => None,
        _ => Some(json.parse().unwrap_or(LARGEST).min(LARGEST)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn raw(json: &str) -> Box<RawValue> {
        RawValue::from_string(json.to_owned()).unwrap()
    }

    #[test]
    fn numbers_are_whole_and_not_negative() {
        for (json, number) in [
            ("0", Some(0)),
            ("-0", Some(0)),
            ("7", Some(7)),
            ("9223372036854775807", Some(i64::MAX as u64)),
            ("18446744073709551616", Some(i64::MAX as u64)),
            ("100000000000000000000000000000000000000", Some(i64::MAX as u64)),
            ("-1", None),
            ("-9223372036854775809", None),
            ("1.0", None),
            ("1e3", None),
            ("\"1\"", None),
            ("null", None),
            ("true", None),
            ("[1]", None),
        ] {
            assert_eq!(
                seq("seq", Some(&raw(json))).ok().map(|seq| seq.0),
                number,
                "{json}"
            );
        }
        assert!(seq("seq", None).is_err());
    }

    #[test]
    fn a_limit_is_one_to_five_hundred() {
        for (json, expected) in [
            ("1", Some(1)),
            ("500", Some(500)),
            ("0", None),
            ("501", None),
            ("1000000000", None),
            ("99999999999999999999999", None),
            ("-5", None),
            ("\"5\"", None),
            ("1.5", None),
        ] {
            assert_eq!(limit(Some(&raw(json))).ok(), expected, "{json}");
        }
        assert_eq!(limit(None).unwrap(), 100);
    }

    #[test]
    fn a_conversation_is_named_by_a_string() {
        use crate::reject::Code;
        for (json, code) in [
            ("7", Code::Malformed),
            ("null", Code::Malformed),
            ("{}", Code::Malformed),
            ("\"\"", Code::Forbidden),
            ("\"xyz\"", Code::Forbidden),
            ("\"\\ud800\"", Code::Malformed),
        ] {
            assert_eq!(conv(Some(&raw(json))).unwrap_err().code, code, "{json}");
        }
        assert!(conv(Some(&raw("\"000102030405060708090a0b0c0d0e0f\""))).is_ok());
    }
}
