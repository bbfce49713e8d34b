//! The chat frames that the clients write and read: docs/PROTOCOL.md#2-frames and the sections after it.

use memchr::memmem;
use serde_json::{Value, json};

/// The bytes before a frame in an Engine.IO text packet.
const EVENT: &[u8] = br#"42["message","#;

/// Kind 2, the response to a register.
pub(crate) const REGISTERED: u16 = 2;
/// Kind 102, the response to a message.
pub(crate) const SENT: u16 = 102;
/// Kind 112, the end of a replay.
pub(crate) const RESUMED: u16 = 112;

/// The packet that registers a user. With `resume`, the device receives the messages that it has missed.
pub(crate) fn register(uid: &str, resume: bool) -> String {
    let mut data = json!({"uid": uid, "deviceid": "bench", "platform": "bench"});
    if resume {
        data["resume"] = Value::Bool(true);
    }
    event(&json!({"type": 1, "data": data}))
}

/// The packet that sends a message of this kind. `to` is `{"user":...}` or `{"team":...}`.
pub(crate) fn send(kind: u16, to: &Value, cid: &str, text: &str) -> String {
    event(&json!({"type": 101, "data": {"type": kind, "to": to, "cid": cid, "data": {"text": text}}}))
}

/// A chat frame as the clients of the replaced Node module send it: a JSON string inside the event.
fn event(frame: &Value) -> String {
    format!("42{}", json!(["message", frame.to_string()]))
}

/// The kind of the chat frame in a packet; `None` if the packet has no chat frame.
pub(crate) fn kind(packet: &[u8]) -> Option<u16> {
    let argument = packet.strip_prefix(EVENT)?;
    quick_kind(argument).or_else(|| {
        let mut argument: Value = serde_json::from_slice(argument.strip_suffix(b"]")?).ok()?;
        if let Value::String(text) = &argument {
            argument = serde_json::from_str(text).ok()?;
        }
        u16::try_from(argument.get("type")?.as_u64()?).ok()
    })
}

/// The kind, if `type` is the frame's first key and directly followed by its value, as in the output of all
/// known servers.
fn quick_kind(argument: &[u8]) -> Option<u16> {
    let rest = argument
        .strip_prefix(br#""{\"type\":"#)
        .or_else(|| argument.strip_prefix(br#"{"type":"#))?;
    u16::try_from(digits(rest)?).ok()
}

/// Whether the response in a packet has code 0.
pub(crate) fn succeeded(packet: &[u8]) -> bool {
    number(packet, "code") == Some(0)
}

/// Whether the packet, which ends a replay, says that the replay is complete.
pub(crate) fn complete(packet: &[u8]) -> bool {
    value(packet, "complete").is_some_and(|value| value.starts_with(b"true"))
}

/// The value of the first key with this name, if it is a whole number.
pub(crate) fn number(packet: &[u8], key: &str) -> Option<u32> {
    digits(value(packet, key)?)
}

/// The text after the first key with this name, in a frame that is a string or an object.
fn value<'a>(packet: &'a [u8], key: &str) -> Option<&'a [u8]> {
    memmem::find_iter(packet, key).find_map(|at| {
        let rest = &packet[at + key.len()..];
        match packet[..at].ends_with(br#"\""#) {
            true => rest.strip_prefix(br#"\":"#),
            false if packet[..at].ends_with(b"\"") => rest.strip_prefix(br#"":"#),
            false => None,
        }
    })
}

/// The digits at the start of `text`.
fn digits(text: &[u8]) -> Option<u32> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_in_strings_and_objects_with_any_order_of_keys() {
        for packet in [
            r#"42["message","{\"type\":102,\"data\":{\"code\":0}}"]"#,
            r#"42["message",{"type":102,"data":{"code":0}}]"#,
            r#"42["message","{\"data\":{\"code\":0},\"type\":102}"]"#,
            r#"42["message",{"data":{"code":0}, "type": 102}]"#,
        ] {
            assert_eq!(kind(packet.as_bytes()), Some(SENT), "{packet}");
            assert!(succeeded(packet.as_bytes()), "{packet}");
        }
        assert_eq!(kind(br#"42["message","nothing"]"#), None);
        assert_eq!(kind(br#"42["other",{"type":1}]"#), None);
        assert!(!succeeded(
            br#"42["message","{\"type\":102,\"data\":{\"code\":429}}"]"#
        ));
    }

    #[test]
    fn requests_are_json_strings() {
        let packet = register("bench-1", true);
        let (name, frame): (String, String) = serde_json::from_str(&packet[2..]).expect("an event of two");
        let frame: Value = serde_json::from_str(&frame).expect("a frame");
        assert_eq!(
            (name.as_str(), &frame["type"], &frame["data"]["uid"]),
            ("message", &json!(1), &json!("bench-1"))
        );
        assert_eq!(frame["data"]["resume"], json!(true));
        assert!(!register("bench-1", false).contains("resume"));
    }

    #[test]
    fn values_are_found_by_their_whole_key() {
        for packet in [
            r#"42["message","{\"type\":112,\"data\":{\"sn\":1,\"n\":70000,\"complete\":true}}"]"#,
            r#"42["message",{"type":112,"data":{"sn":1,"n":70000,"complete":true}}]"#,
        ] {
            assert_eq!(number(packet.as_bytes(), "n"), Some(70_000), "{packet}");
            assert!(complete(packet.as_bytes()), "{packet}");
            assert_eq!(number(packet.as_bytes(), "complete"), None);
            assert_eq!(number(packet.as_bytes(), "omplete"), None);
        }
        assert!(!complete(
            br#"42["message",{"type":112,"data":{"complete":false}}]"#
        ));
    }
}
