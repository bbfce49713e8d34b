//! The chat frames that the clients write and read. See the protocol document, sections 1 to 5.

use memchr::memmem;
use serde_json::{Value, json};

/// What stands in front of a frame in an Engine.IO text packet.
const EVENT: &[u8] = br#"42["message","#;

/// Kind 2, the answer to a registration.
pub(crate) const REGISTERED: u16 = 2;
/// Kind 102, the answer to a send.
pub(crate) const SENT: u16 = 102;

/// The packet that registers a user.
pub(crate) fn register(uid: &str) -> String {
    event(&json!({"type": 1, "data": {"uid": uid, "deviceid": "bench", "platform": "bench"}}))
}

/// The packet that asks to send a message of this kind: `to` is `{"user":...}` or `{"team":...}`.
pub(crate) fn send(kind: u16, to: &Value, cid: &str, text: &str) -> String {
    event(&json!({"type": 101, "data": {"type": kind, "to": to, "cid": cid, "data": {"text": text}}}))
}

/// A chat frame as the clients of the replaced system send it: a JSON string inside the event.
fn event(frame: &Value) -> String {
    format!("42{}", json!(["message", frame.to_string()]))
}

/// The kind of the chat frame in a packet; `None` when it is no chat frame.
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

/// The kind, when `type` is the frame's first key and no white space stands before its value, as in what every known server writes.
fn quick_kind(argument: &[u8]) -> Option<u16> {
    let rest = argument
        .strip_prefix(br#""{\"type\":"#)
        .or_else(|| argument.strip_prefix(br#"{"type":"#))?;
    number(rest)
}

/// Whether the answer in a packet has code 0.
pub(crate) fn succeeded(packet: &[u8]) -> bool {
    [br#"\"code\":"#.as_slice(), br#""code":"#]
        .iter()
        .any(|key| memmem::find(packet, key).is_some_and(|at| number(&packet[at + key.len()..]) == Some(0)))
}

/// The digits at the start of `text`.
fn number(text: &[u8]) -> Option<u16> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&text[..digits]).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_found_in_strings_and_objects_whatever_the_key_order() {
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
        let packet = register("bench-1");
        let (name, frame): (String, String) = serde_json::from_str(&packet[2..]).expect("an event of two");
        let frame: Value = serde_json::from_str(&frame).expect("a frame");
        assert_eq!(
            (name.as_str(), &frame["type"], &frame["data"]["uid"]),
            ("message", &json!(1), &json!("bench-1"))
        );
    }
}
