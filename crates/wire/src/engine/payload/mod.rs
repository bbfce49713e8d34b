//! Bodies of polling requests, called payloads: several packets in one body.

mod error;
mod jsonp;
mod reader;
mod text;
mod v3_binary;
mod v3_text;
mod v4;

use super::{Body, Packet, Protocol};

pub use error::PayloadError;
pub use reader::Reader;
pub use text::push_ascii;
pub use v3_text::TextHabit;

/// The form of a POST's body. Its content type and its query decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PostForm {
    /// The plain text form, which both protocols have.
    Text,
    /// `application/octet-stream`, which only EIO3 has.
    Binary,
    /// A form with the text in its field `d`, from a JSONP client.
    Jsonp,
}

/// The form of the response to a GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GetForm {
    /// The plain text form, which both protocols have.
    Text,
    /// The client can read octets (EIO3 without `b64`). They are used when a packet is binary; otherwise
    /// plain text is.
    Binary,
    /// The client reads only octets ([`Reads::Octets`](crate::engine::Reads::Octets), EIO3).
    Octets,
    /// A script that calls the callback with this index.
    Jsonp(u32),
}

/// Writes the response to a GET, and returns it with its content type.
///
/// With `ascii`, characters beyond ASCII in text packets are written as `\uXXXX`. That is correct where such
/// characters occur only inside JSON strings, as in Socket.IO. All EIO3 clients agree about the lengths of
/// such text.
pub fn encode(
    protocol: Protocol,
    form: GetForm,
    ascii: bool,
    packets: &[Packet<'_>],
) -> (Vec<u8>, &'static str) {
    let octets = match form {
        GetForm::Octets => true,
        GetForm::Binary => packets
            .iter()
            .any(|packet| matches!(packet.body, Body::Binary(_))),
        GetForm::Text | GetForm::Jsonp(_) => false,
    };
    if octets && protocol == Protocol::V3 {
        return (v3_binary::encode(packets, ascii), "application/octet-stream");
    }
    let text = match protocol {
        Protocol::V3 => v3_text::encode(packets, ascii),
        Protocol::V4 => v4::encode(packets, ascii),
    };
    match form {
        GetForm::Text | GetForm::Binary | GetForm::Octets => (text.into_bytes(), "text/plain; charset=UTF-8"),
        // Node's server says text/plain, but browsers refuse to run such a script if the response says
        // `nosniff`.
        GetForm::Jsonp(index) => (
            jsonp::script(index, &text).into_bytes(),
            "text/javascript; charset=UTF-8",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{PacketError, PacketType};

    const V3: Protocol = Protocol::V3;
    const V4: Protocol = Protocol::V4;

    fn message(text: &str) -> Packet<'_> {
        Packet::text(PacketType::Message, text)
    }

    fn encoded(protocol: Protocol, form: GetForm, ascii: bool, packets: &[Packet<'_>]) -> String {
        let (body, content_type) = encode(protocol, form, ascii, packets);
        assert_ne!(content_type, "application/octet-stream");
        String::from_utf8(body).unwrap()
    }

    #[test]
    fn packets_are_written_as_text_in_both_protocols() {
        let packets = [message("h\u{e9}\u{1f600}"), Packet::binary(&[1, 2, 3, 4][..])];
        assert_eq!(
            encoded(V4, GetForm::Text, false, &packets),
            "4h\u{e9}\u{1f600}\u{1e}bAQIDBA=="
        );
        assert_eq!(
            encoded(V3, GetForm::Text, false, &packets),
            "5:4h\u{e9}\u{1f600}10:b4AQIDBA=="
        );
        assert_eq!(
            encoded(V3, GetForm::Text, true, &packets[..1]),
            r"20:4h\u00e9\ud83d\ude00"
        );
    }

    #[test]
    fn octets_are_used_only_where_a_packet_is_binary() {
        assert_eq!(encoded(V3, GetForm::Binary, false, &[message("a")]), "2:4a");
        let packets = [message("\u{e9}"), Packet::binary(&[7][..])];
        let (body, content_type) = encode(V3, GetForm::Binary, false, &packets);
        assert_eq!(content_type, "application/octet-stream");
        assert_eq!(body, [0, 3, 255, b'4', 0xc3, 0xa9, 1, 2, 255, 4, 7]);
        assert_eq!(encoded(V4, GetForm::Binary, false, &packets[1..]), "bBw==");
        // A client that reads only octets gets them for text too.
        let (body, content_type) = encode(V3, GetForm::Octets, true, &packets[..1]);
        assert_eq!(content_type, "application/octet-stream");
        assert_eq!(body, [&[0, 7, 255][..], br"4\u00e9"].concat());
    }

    #[test]
    fn bodies_that_do_not_fit_their_form_are_refused() {
        let mut habit = TextHabit::default();
        let mut error =
            |protocol, form, body: &[u8]| Reader::new(protocol, form, body.to_vec(), &mut habit).unwrap_err();
        assert_eq!(error(V4, PostForm::Binary, b"4a"), PayloadError::BinaryForm);
        assert_eq!(error(V4, PostForm::Text, b"4\xff"), PayloadError::Utf8);
        assert_eq!(error(V3, PostForm::Jsonp, b"e=2:4a"), PayloadError::NoFormField);
        for empty in [(V3, PostForm::Text), (V3, PostForm::Binary), (V4, PostForm::Text)] {
            assert_eq!(
                error(empty.0, empty.1, b""),
                PayloadError::Packet(PacketError::Empty)
            );
        }
    }
}
