//! The envelope of a pushed message (docs/PROTOCOL.md#3-envelope-of-a-pushed-message).

use serde_json::value::RawValue;

use crate::ids::{Cid, ConvId, Mid, Seq, Uid};
use crate::store::Message;
use crate::time::UnixMillis;

/// A message as its recipients see it.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The kind's number.
    pub kind: u16,
    /// The sender's payload, any JSON value, unchanged; `null` if the message was recalled.
    pub data: &'a RawValue,
    /// The place of the message in the history; `None` for kinds that are not stored.
    pub place: Option<(Mid, ConvId, Seq)>,
    /// The sender, if there is one.
    pub from: Option<&'a Uid>,
    /// The sender's own id for the message.
    pub cid: Option<&'a Cid>,
    /// The server's time.
    pub ts: UnixMillis,
    /// Whether the sender has recalled the message.
    pub recalled: bool,
}

impl<'a> Envelope<'a> {
    /// A message of a kind that is not stored, with `type`, `data`, `ts`, and `from` if there is a sender.
    pub fn unstored(kind: u16, data: &'a RawValue, from: Option<&'a Uid>, ts: UnixMillis) -> Self {
        Self {
            kind,
            data,
            place: None,
            from,
            cid: None,
            ts,
            recalled: false,
        }
    }

    /// The envelope as JSON.
    pub fn to_json(&self) -> String {
        let mut json = String::with_capacity(self.data.get().len() + 192);
        self.write(&mut json);
        json
    }

    fn write(&self, json: &mut String) {
        json.push_str(r#"{"type":"#);
        push_number(json, self.kind.into());
        json.push_str(r#","data":"#);
        json.push_str(self.data.get());
        if let Some((mid, conv, seq)) = &self.place {
            json.push_str(r#","mid":""#);
            json.push_str(mid.text(&mut [0; _]));
            json.push_str(r#"","conv":""#);
            json.push_str(conv.text(&mut [0; _]));
            json.push_str(r#"","seq":"#);
            push_number(json, seq.0);
        }
        if let Some(from) = self.from {
            json.push_str(r#","from":"#);
            push_id(json, from.as_str());
        }
        if let Some(cid) = self.cid {
            json.push_str(r#","cid":"#);
            push_id(json, cid.as_str());
        }
        if self.recalled {
            json.push_str(r#","recalled":true"#);
        }
        json.push_str(r#","ts":"#);
        push_number(json, self.ts);
        json.push('}');
    }
}

impl<'a> From<&'a Message> for Envelope<'a> {
    fn from(message: &'a Message) -> Self {
        Self {
            kind: message.kind,
            data: &message.data,
            place: Some((message.mid, message.conv, message.seq)),
            from: message.from.as_ref(),
            cid: message.cid.as_ref(),
            ts: message.ts,
            recalled: message.recalled,
        }
    }
}

/// Appends a number. Each message has several, and the formatting of the standard library takes more than
/// twice as long.
fn push_number(json: &mut String, number: u64) {
    json.push_str(itoa::Buffer::new().format(number));
}

/// Appends an id as a JSON string. It has no control characters, and rarely one of the two others that need
/// an escape.
fn push_id(json: &mut String, id: &str) {
    if memchr::memchr2(b'"', b'\\', id.as_bytes()).is_some() {
        // A string is always writable as JSON.
        return json.push_str(&serde_json::to_string(id).unwrap_or_default());
    }
    json.push('"');
    json.push_str(id);
    json.push('"');
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    #[test]
    fn a_stored_message_has_every_field() {
        let data =
            RawValue::from_string(r#"{"n":9007199254740993,"d":0.10000000000000000001}"#.into()).unwrap();
        let mid = Mid(uuid::Uuid::from_u128(7));
        let from = Uid::new(r#"a"\é"#).unwrap();
        let cid = Cid::new("c1").unwrap();
        let envelope = Envelope {
            kind: 3,
            data: &data,
            place: Some((mid, ConvId([1; 16]), Seq(7))),
            from: Some(&from),
            cid: Some(&cid),
            ts: 1_790_000_000_000,
            recalled: false,
        };
        let json = envelope.to_json();
        assert!(json.contains(data.get()), "values never change: {json}");
        let value: Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["from"], json!(r#"a"\é"#));
        assert_eq!(value["seq"], json!(7));
        assert_eq!(value["mid"], json!(mid.to_string()));
        assert_eq!(value["conv"], json!("01".repeat(16)));
        assert_eq!(value["cid"], json!("c1"));
        assert_eq!(value["ts"], json!(1_790_000_000_000u64));
        assert_eq!(value.get("recalled"), None);
    }

    #[test]
    fn texts_are_escaped_as_serde_does() {
        for text in ["", "plain", "\"", "\\", "a\"b\\c", "日本\"😀\\", "/</script>"] {
            let mut json = String::new();
            push_id(&mut json, text);
            assert_eq!(json, serde_json::to_string(text).unwrap());
        }
    }
}
