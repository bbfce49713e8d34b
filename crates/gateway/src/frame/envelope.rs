//! The envelope of a pushed message (docs/PROTOCOL.md#3-envelope-of-a-pushed-message).

use std::fmt::Write as _;

use serde_json::value::RawValue;

use crate::ids::{Cid, ConvId, Mid, Seq, Uid};
use crate::store::Message;
use crate::time::UnixMillis;

/// A message as its recipients see it.
#[derive(Debug, Clone, Copy)]
pub struct Envelope<'a> {
    /// The kind's number.
    pub kind: u16,
    /// The sender's payload, any JSON value, untouched; `null` when recalled.
    pub data: &'a RawValue,
    /// Where it stands in the record; `None` for kinds that are not stored.
    pub place: Option<(Mid, ConvId, Seq)>,
    /// The sender, where there is one.
    pub from: Option<&'a Uid>,
    /// The sender's id for it.
    pub cid: Option<&'a Cid>,
    /// The server's time.
    pub ts: UnixMillis,
    /// Its sender took it back.
    pub recalled: bool,
}

impl<'a> Envelope<'a> {
    /// Of a kind that is not stored: type, data, ts, and from where there is one.
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
        // Writing to a String cannot fail.
        let _ = write!(json, r#"{{"type":{},"data":{}"#, self.kind, self.data);
        if let Some((mid, conv, seq)) = &self.place {
            let _ = write!(json, r#","mid":"{mid}","conv":"{conv}","seq":{seq}"#);
        }
        if let Some(from) = self.from {
            json.push_str(r#","from":"#);
            push_text(json, from.as_str());
        }
        if let Some(cid) = self.cid {
            json.push_str(r#","cid":"#);
            push_text(json, cid.as_str());
        }
        if self.recalled {
            json.push_str(r#","recalled":true"#);
        }
        let _ = write!(json, r#","ts":{}}}"#, self.ts);
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

/// Adds a JSON string; identifiers have no control characters, so only two characters need care.
fn push_text(json: &mut String, text: &str) {
    json.push('"');
    for part in text.split_inclusive(['"', '\\']) {
        match part.as_bytes() {
            [rest @ .., special @ (b'"' | b'\\')] => {
                json.push_str(&part[..rest.len()]);
                json.push('\\');
                json.push(char::from(*special));
            }
            _ => json.push_str(part),
        }
    }
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
            push_text(&mut json, text);
            assert_eq!(json, serde_json::to_string(text).unwrap());
        }
    }
}
