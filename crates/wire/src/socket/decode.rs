//! Reads packets from text.

use std::ops::Range;

use serde_json::value::RawValue;

use super::{DecodeError, Kind, Limits, Packet, args, placeholder};

/// Reads a packet.
///
/// The payload of an event or ack is only checked to begin and end as an array does:
/// [`event_args`](super::event_args) and [`ack_args`](super::ack_args) read it once and find the errors
/// inside. The payload of any other kind has been checked, as have those of binary events and acks, with
/// their placeholders.
pub fn decode<'a>(text: &'a str, limits: &Limits) -> Result<Packet<'a>, DecodeError> {
    Layout::read(text, limits).map(|layout| layout.packet(text))
}

/// The positions of a packet's parts in its text.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    kind: Kind,
    attachments: usize,
    /// Empty if the packet names no namespace.
    namespace: Range<usize>,
    query: Option<Range<usize>>,
    id: Option<u64>,
    /// The offset of the payload; the text's length if there is none.
    payload: usize,
}

impl Layout {
    /// Reads and checks `text`.
    pub(super) fn read(text: &str, limits: &Limits) -> Result<Self, DecodeError> {
        let bytes = text.as_bytes();
        let kind = bytes.first().ok_or(DecodeError::Empty)?;
        let kind = Kind::from_digit(*kind).ok_or(DecodeError::UnknownKind)?;
        let mut at = 1;
        let attachments = if kind.is_binary() {
            attachments(bytes, &mut at, limits)?
        } else {
            0
        };
        let (namespace, query) = namespace(bytes, &mut at);
        let id = id(bytes, &mut at)?;
        let layout = Self {
            kind,
            attachments,
            namespace,
            query,
            id,
            payload: at,
        };
        layout.check(text)?;
        Ok(layout)
    }

    /// The packet. `text` must be the text from which the layout was read.
    pub(super) fn packet<'a>(&self, text: &'a str) -> Packet<'a> {
        let namespace = &text[self.namespace.clone()];
        Packet {
            kind: self.kind,
            attachments: self.attachments,
            namespace: if namespace.is_empty() { "/" } else { namespace },
            query: self.query.clone().map(|query| &text[query]),
            id: self.id,
            payload: self.payload(text),
        }
    }

    /// The number of binary messages that follow.
    pub(super) const fn attachments(&self) -> usize {
        self.attachments
    }

    fn payload<'a>(&self, text: &'a str) -> Option<&'a str> {
        Some(&text[self.payload..]).filter(|payload| !payload.is_empty())
    }

    /// Checks that id and payload fit the kind.
    fn check(&self, text: &str) -> Result<(), DecodeError> {
        match (self.kind, self.payload(text)) {
            (Kind::Connect | Kind::Disconnect | Kind::ConnectError, _) if self.id.is_some() => {
                Err(DecodeError::Id)
            }
            (Kind::Ack | Kind::BinaryAck, _) if self.id.is_none() => Err(DecodeError::Id),
            // An event without a payload is ignored, and an ack without one has no arguments: Node's server
            // accepts both.
            (_, None) => Ok(()),
            (Kind::Disconnect, Some(_)) => Err(DecodeError::Payload),
            (Kind::Connect, Some(payload)) => match json(payload)?.get().as_bytes() {
                [b'{', ..] => Ok(()),
                _ => Err(DecodeError::Payload),
            },
            (Kind::ConnectError, Some(payload)) => json(payload).map(|_| ()),
            (Kind::Event | Kind::Ack, Some(payload)) => looks_like_array(payload),
            (Kind::BinaryEvent, Some(payload)) => {
                args::event_args(payload)?;
                placeholder::check(payload, self.attachments)
            }
            (Kind::BinaryAck, Some(payload)) => {
                args::ack_args(payload)?;
                placeholder::check(payload, self.attachments)
            }
        }
    }
}

/// Reads the digits and the hyphen after a binary kind.
fn attachments(bytes: &[u8], at: &mut usize, limits: &Limits) -> Result<usize, DecodeError> {
    let count = number(bytes, at).map_err(|TooLarge| DecodeError::TooManyAttachments)?;
    let count = count
        .filter(|_| bytes.get(*at) == Some(&b'-'))
        .ok_or(DecodeError::Attachments)?;
    *at += 1;
    usize::try_from(count)
        .ok()
        .filter(|count| *count <= limits.max_attachments)
        .ok_or(DecodeError::TooManyAttachments)
}

/// Reads a namespace, from its slash to the next comma or to the end of the packet, and its query.
fn namespace(bytes: &[u8], at: &mut usize) -> (Range<usize>, Option<Range<usize>>) {
    let start = *at;
    if bytes.get(start) != Some(&b'/') {
        return (start..start, None);
    }
    let end = memchr::memchr(b',', &bytes[start..]).map_or(bytes.len(), |len| start + len);
    *at = (end + 1).min(bytes.len());
    match memchr::memchr(b'?', &bytes[start..end]) {
        Some(len) => (start..start + len, Some(start + len + 1..end)),
        None => (start..end, None),
    }
}

fn id(bytes: &[u8], at: &mut usize) -> Result<Option<u64>, DecodeError> {
    number(bytes, at).map_err(|TooLarge| DecodeError::Id)
}

/// The number does not fit in 64 bits.
struct TooLarge;

/// Reads digits; `None` if there are none.
fn number(bytes: &[u8], at: &mut usize) -> Result<Option<u64>, TooLarge> {
    let mut number = None;
    while let Some(digit) = bytes.get(*at).filter(|byte| byte.is_ascii_digit()) {
        let shifted = number.unwrap_or(0u64).checked_mul(10);
        let sum = shifted
            .and_then(|n| n.checked_add(u64::from(digit - b'0')))
            .ok_or(TooLarge)?;
        number = Some(sum);
        *at += 1;
    }
    Ok(number)
}

fn json(payload: &str) -> Result<&RawValue, DecodeError> {
    serde_json::from_str(payload).map_err(|_| DecodeError::Json)
}

fn looks_like_array(payload: &str) -> Result<(), DecodeError> {
    match payload.trim_matches([' ', '\t', '\r', '\n']).as_bytes() {
        [b'[', .., b']'] => Ok(()),
        [b'{' | b'"' | b'-' | b'0'..=b'9', ..] | b"null" | b"true" | b"false" => Err(DecodeError::Payload),
        _ => Err(DecodeError::Json),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Packet<'_>, DecodeError> {
        decode(text, &Limits::default())
    }

    #[track_caller]
    fn reads<'a>(
        text: &'a str,
        kind: Kind,
        namespace: &str,
        id: Option<u64>,
        payload: Option<&str>,
    ) -> Packet<'a> {
        let packet = read(text).unwrap();
        assert_eq!((packet.kind, packet.namespace), (kind, namespace));
        assert_eq!((packet.id, packet.payload), (id, payload));
        packet
    }

    #[test]
    fn every_part_may_be_absent() {
        reads("0", Kind::Connect, "/", None, None);
        reads("0{\"token\":1}", Kind::Connect, "/", None, Some("{\"token\":1}"));
        reads("0/custom,{}", Kind::Connect, "/custom", None, Some("{}"));
        reads("2[\"a\"]", Kind::Event, "/", None, Some("[\"a\"]"));
        reads("212[\"a\"]", Kind::Event, "/", Some(12), Some("[\"a\"]"));
        reads(
            "2/custom,012[\"a\"]",
            Kind::Event,
            "/custom",
            Some(12),
            Some("[\"a\"]"),
        );
        reads(
            "3/custom,18446744073709551615[]",
            Kind::Ack,
            "/custom",
            Some(u64::MAX),
            Some("[]"),
        );
        reads("1/custom,", Kind::Disconnect, "/custom", None, None);
        reads(
            "4{\"message\":\"no\"}",
            Kind::ConnectError,
            "/",
            None,
            Some("{\"message\":\"no\"}"),
        );
        reads("4\"no\"", Kind::ConnectError, "/", None, Some("\"no\""));
        reads("2", Kind::Event, "/", None, None);
        reads("2/custom,7", Kind::Event, "/custom", Some(7), None);
        reads("31", Kind::Ack, "/", Some(1), None);
        assert_eq!(read("51-").map(|packet| packet.attachments), Ok(1));
    }

    #[test]
    fn the_comma_may_be_missing_at_the_end() {
        reads("1/custom", Kind::Disconnect, "/custom", None, None);
        reads("0/custom", Kind::Connect, "/custom", None, None);
        // The whole text is the namespace.
        reads("2/custom[\"a\"]", Kind::Event, "/custom[\"a\"]", None, None);
    }

    #[test]
    fn the_query_of_a_namespace_is_split_off() {
        let packet = reads("0/nsp?token=a&b=%2C", Kind::Connect, "/nsp", None, None);
        assert_eq!(packet.query, Some("token=a&b=%2C"));
        let packet = reads("2/nsp?x,7[\"a\"]", Kind::Event, "/nsp", Some(7), Some("[\"a\"]"));
        assert_eq!(packet.query, Some("x"));
        assert_eq!(
            reads("0/?token=a,", Kind::Connect, "/", None, None).query,
            Some("token=a")
        );
    }

    #[test]
    fn binary_packets_contain_the_number_of_their_attachments() {
        let placeholder = r#"51-["a",{"_placeholder":true,"num":0}]"#;
        assert_eq!(read(placeholder).map(|packet| packet.attachments), Ok(1));
        let packet = read(r#"61-/custom,7[{"_placeholder":true,"num":0}]"#).unwrap();
        assert_eq!(
            (packet.kind, packet.namespace, packet.id),
            (Kind::BinaryAck, "/custom", Some(7))
        );
        assert_eq!(read(r#"50-["a"]"#).map(|packet| packet.attachments), Ok(0));
        assert_eq!(read(r#"5["a"]"#), Err(DecodeError::Attachments));
        assert_eq!(read(r#"51["a"]"#), Err(DecodeError::Attachments));
        assert_eq!(read(r#"5-["a"]"#), Err(DecodeError::Attachments));
        assert_eq!(read(r#"511-["a"]"#), Err(DecodeError::TooManyAttachments));
        assert_eq!(
            read(&format!(r#"5{}-["a"]"#, "9".repeat(40))),
            Err(DecodeError::TooManyAttachments)
        );
        assert_eq!(
            read(r#"51-["a",{"_placeholder":true,"num":1}]"#),
            Err(DecodeError::Placeholder)
        );
    }

    #[test]
    fn invalid_packets_are_refused() {
        for (text, error) in [
            ("", DecodeError::Empty),
            ("7", DecodeError::UnknownKind),
            ("a", DecodeError::UnknownKind),
            ("\u{e9}", DecodeError::UnknownKind),
            ("2{}", DecodeError::Payload),
            ("2\"a\"", DecodeError::Payload),
            ("2null", DecodeError::Payload),
            ("2-1[\"a\"]", DecodeError::Payload),
            ("2[\"a\"", DecodeError::Json),
            ("2[", DecodeError::Json),
            ("2\0", DecodeError::Json),
            ("218446744073709551616[\"a\"]", DecodeError::Id),
            ("3[]", DecodeError::Id),
            ("01{}", DecodeError::Id),
            ("0[]", DecodeError::Payload),
            ("0null", DecodeError::Payload),
            ("0{", DecodeError::Json),
            ("0{} x", DecodeError::Json),
            ("1{}", DecodeError::Payload),
            ("1/custom,[]", DecodeError::Payload),
            ("50-{}", DecodeError::Payload),
            ("50-[1", DecodeError::Json),
            ("50-[{}]", DecodeError::Payload),
            ("4{", DecodeError::Json),
        ] {
            assert_eq!(read(text), Err(error), "{text:?}");
        }
    }
}
