//! Engine.IO packets, and their form in a WebSocket message.

use std::borrow::Cow;

use super::{Protocol, base64};

/// The type of a packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PacketType {
    /// The response to a handshake.
    Open = 0,
    /// The sender ends the session.
    Close = 1,
    /// A heartbeat, or the probe of an upgrade.
    Ping = 2,
    /// The response to a ping.
    Pong = 3,
    /// Carries a Socket.IO packet.
    Message = 4,
    /// The client switches to the candidate transport of an upgrade.
    Upgrade = 5,
    /// Has no meaning; it is the response to a GET that has to end without packets.
    Noop = 6,
}

impl PacketType {
    /// All types, in the order of their numbers.
    pub const ALL: [Self; 7] = [
        Self::Open,
        Self::Close,
        Self::Ping,
        Self::Pong,
        Self::Message,
        Self::Upgrade,
        Self::Noop,
    ];

    /// The ASCII digit at the start of a text packet.
    pub const fn digit(self) -> u8 {
        b'0' + self.number()
    }

    /// The type of this ASCII digit.
    pub fn from_digit(digit: u8) -> Option<Self> {
        Self::from_number(digit.wrapping_sub(b'0'))
    }

    /// The type's number: the first byte of a binary packet in [`Protocol::V3`].
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// The type of this number.
    pub fn from_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// What a packet carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Body<'a> {
    /// The text after the type digit.
    Text(Cow<'a, str>),
    /// Bytes; only messages are binary.
    Binary(Cow<'a, [u8]>),
}

impl Body<'_> {
    /// The same body with owned data.
    pub fn into_owned(self) -> Body<'static> {
        match self {
            Body::Text(text) => Body::Text(Cow::Owned(text.into_owned())),
            Body::Binary(bytes) => Body::Binary(Cow::Owned(bytes.into_owned())),
        }
    }
}

/// One Engine.IO packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Packet<'a> {
    /// The packet's type.
    pub kind: PacketType,
    /// The packet's body; an empty text when there is none.
    pub body: Body<'a>,
}

/// Why text or bytes are not a valid packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// The input is empty: even the type is missing.
    #[error("empty packet")]
    Empty,
    /// The input does not start with a known type.
    #[error("unknown packet type")]
    UnknownType,
    /// The text after the `b` is not base64.
    #[error("invalid base64")]
    Base64,
    /// A packet in a payload is not UTF-8.
    #[error("packet is not UTF-8")]
    Utf8,
}

/// The content of one WebSocket message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WsPayload {
    /// The content of a text frame.
    Text(String),
    /// The content of a binary frame.
    Binary(Vec<u8>),
}

impl<'a> Packet<'a> {
    /// A packet with a text body, which may be empty.
    pub fn text(kind: PacketType, body: impl Into<Cow<'a, str>>) -> Self {
        Self {
            kind,
            body: Body::Text(body.into()),
        }
    }

    /// A binary message.
    pub fn binary(body: impl Into<Cow<'a, [u8]>>) -> Self {
        Self {
            kind: PacketType::Message,
            body: Body::Binary(body.into()),
        }
    }

    /// The same packet with owned data.
    pub fn into_owned(self) -> Packet<'static> {
        Packet {
            kind: self.kind,
            body: self.body.into_owned(),
        }
    }

    /// Reads a WebSocket text message: a type digit and the body, or `b` and base64 ([`Protocol::V3`] has the
    /// type digit between them).
    pub fn decode_text(protocol: Protocol, text: &'a str) -> Result<Self, PacketError> {
        match text.as_bytes() {
            [] => Err(PacketError::Empty),
            [b'b', rest @ ..] => {
                let kind = match (protocol, rest) {
                    (Protocol::V4, _) => PacketType::Message,
                    (Protocol::V3, [digit, ..]) => digit_type(*digit)?,
                    (Protocol::V3, []) => return Err(PacketError::UnknownType),
                };
                let start = if protocol == Protocol::V3 { 2 } else { 1 };
                let bytes = base64::decode(&text[start..]).ok_or(PacketError::Base64)?;
                Ok(Self {
                    kind,
                    body: Body::Binary(Cow::Owned(bytes)),
                })
            }
            [digit, ..] => Ok(Self {
                kind: digit_type(*digit)?,
                body: Body::Text(Cow::Borrowed(&text[1..])),
            }),
        }
    }

    /// Reads a WebSocket binary message. With [`Protocol::V4`] it is a message of these bytes; with
    /// [`Protocol::V3`] the first byte is the type's number.
    pub fn decode_binary(protocol: Protocol, bytes: &'a [u8]) -> Result<Self, PacketError> {
        match (protocol, bytes) {
            (Protocol::V4, _) => Ok(Self::binary(bytes)),
            (Protocol::V3, []) => Err(PacketError::Empty),
            (Protocol::V3, [number, rest @ ..]) => {
                let kind = PacketType::from_number(*number).ok_or(PacketError::UnknownType)?;
                Ok(Self {
                    kind,
                    body: Body::Binary(Cow::Borrowed(rest)),
                })
            }
        }
    }

    /// The WebSocket message for this packet. `b64`: the client has said that it cannot read binary.
    pub fn encode_websocket(&self, protocol: Protocol, b64: bool) -> WsPayload {
        match &self.body {
            Body::Text(text) => {
                let mut out = String::with_capacity(1 + text.len());
                out.push(char::from(self.kind.digit()));
                out.push_str(text);
                WsPayload::Text(out)
            }
            Body::Binary(bytes) if b64 => {
                let mut out = String::new();
                self.write_base64(protocol, bytes, &mut out);
                WsPayload::Text(out)
            }
            Body::Binary(bytes) => WsPayload::Binary(match protocol {
                Protocol::V4 => bytes.to_vec(),
                Protocol::V3 => [&[self.kind.number()], &bytes[..]].concat(),
            }),
        }
    }

    /// Appends `b`, the type digit if the protocol is V3, and the base64 of `bytes`.
    pub(super) fn write_base64(&self, protocol: Protocol, bytes: &[u8], out: &mut String) {
        out.reserve(2 + base64::encoded_len(bytes.len()));
        out.push('b');
        if protocol == Protocol::V3 {
            out.push(char::from(self.kind.digit()));
        }
        base64::encode_into(bytes, out);
    }
}

fn digit_type(digit: u8) -> Result<PacketType, PacketError> {
    PacketType::from_digit(digit).ok_or(PacketError::UnknownType)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_are_numbered_in_the_order_of_all() {
        for (number, kind) in (0..).zip(PacketType::ALL) {
            assert_eq!(kind.number(), number);
            assert_eq!(PacketType::from_number(number), Some(kind));
            assert_eq!(PacketType::from_digit(kind.digit()), Some(kind));
        }
        for digit in [b'7', b'/', b'b', 0, 255] {
            assert_eq!(PacketType::from_digit(digit), None);
        }
    }

    #[test]
    fn text_is_a_digit_and_a_body() {
        let packet = Packet::decode_text(Protocol::V4, "4h\u{e9}llo\0").unwrap();
        assert_eq!(packet, Packet::text(PacketType::Message, "h\u{e9}llo\0"));
        assert!(matches!(packet.body, Body::Text(Cow::Borrowed(_))));
        for wrong in ["7", "x", "\u{e9}", " 4"] {
            assert_eq!(
                Packet::decode_text(Protocol::V4, wrong),
                Err(PacketError::UnknownType),
                "{wrong}"
            );
        }
        assert_eq!(Packet::decode_text(Protocol::V3, ""), Err(PacketError::Empty));
    }

    #[test]
    fn base64_carries_a_type_only_in_v3() {
        let packet = Packet::binary(&[1, 2, 3, 4][..]);
        assert_eq!(Packet::decode_text(Protocol::V4, "bAQIDBA=="), Ok(packet.clone()));
        assert_eq!(
            Packet::decode_text(Protocol::V3, "b4AQIDBA=="),
            Ok(packet.clone())
        );
        assert_eq!(Packet::decode_text(Protocol::V3, "b4AQIDBA"), Ok(packet.clone()));
        for broken in ["bAQID\nBA==\n", "bAQID\r\nBA==\r\n", "bAQIDBA\n"] {
            assert_eq!(Packet::decode_text(Protocol::V4, broken), Ok(packet.clone()));
        }
        assert_eq!(
            Packet::decode_text(Protocol::V4, "bAQ ID"),
            Err(PacketError::Base64)
        );
        assert_eq!(
            Packet::decode_text(Protocol::V3, "b4A*"),
            Err(PacketError::Base64)
        );
        assert_eq!(
            Packet::decode_text(Protocol::V3, "b"),
            Err(PacketError::UnknownType)
        );
        assert_eq!(
            packet.encode_websocket(Protocol::V3, true),
            WsPayload::Text("b4AQIDBA==".to_owned())
        );
    }

    #[test]
    fn binary_frames_of_v3_start_with_the_number() {
        let packet = Packet::binary(&[7, 8][..]);
        assert_eq!(
            Packet::decode_binary(Protocol::V3, &[4, 7, 8]),
            Ok(packet.clone())
        );
        assert_eq!(Packet::decode_binary(Protocol::V4, &[7, 8]), Ok(packet.clone()));
        assert_eq!(
            packet.encode_websocket(Protocol::V3, false),
            WsPayload::Binary(vec![4, 7, 8])
        );
        assert_eq!(
            packet.encode_websocket(Protocol::V4, false),
            WsPayload::Binary(vec![7, 8])
        );
        assert_eq!(Packet::decode_binary(Protocol::V3, &[]), Err(PacketError::Empty));
        assert_eq!(
            Packet::decode_binary(Protocol::V3, b"4x"),
            Err(PacketError::UnknownType)
        );
        assert_eq!(
            Packet::decode_binary(Protocol::V4, &[]),
            Ok(Packet::binary(&[][..]))
        );
    }
}
