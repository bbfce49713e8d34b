//! EIO3 as text: `<length>:<packet>`, with the length in UTF-16 code units.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::PayloadError;
use super::text::{lenient_utf8, push_text};
use crate::engine::{Body, Packet, PacketError, Protocol};

/// How a session's client encodes text beyond ASCII in text bodies.
///
/// Clients 1.x encode the text as UTF-8, and the HTTP layer encodes the result again. Clients 2.x do not, and
/// both say `EIO=3`. Text that looks like UTF-8 read as Latin-1 is therefore decoded again, unless the client
/// has shown that it encodes once: a 1.x client cannot send a character above U+00FF, nor characters that are
/// invalid UTF-8 when taken as bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TextHabit {
    /// Only ASCII was received.
    #[default]
    Unknown,
    /// The client encodes once. This is proven and does not change.
    Plain,
    /// All text that was received looks as if it was encoded twice.
    Twice,
}

impl TextHabit {
    /// Learns from `text`, and returns the text that the client meant.
    pub fn meant<'a>(&mut self, text: &'a str) -> Cow<'a, str> {
        self.learn(text);
        self.read(text)
    }

    /// Returns the text that the client meant.
    fn read<'a>(self, text: &'a str) -> Cow<'a, str> {
        let again = (self == Self::Twice && !text.is_ascii()).then(|| decoded_again(text));
        again.flatten().map_or(Cow::Borrowed(text), Cow::Owned)
    }

    /// Learns from one packet.
    fn learn(&mut self, part: &str) {
        if *self == Self::Plain || part.is_ascii() {
            return;
        }
        *self = if decoded_again(part).is_some() {
            Self::Twice
        } else {
            Self::Plain
        };
    }
}

/// The text whose UTF-8 bytes are the characters of `text`; `None` if they are invalid UTF-8.
fn decoded_again(text: &str) -> Option<String> {
    let bytes = text
        .chars()
        .map(|char| u8::try_from(u32::from(char)).ok())
        .collect::<Option<Vec<u8>>>()?;
    lenient_utf8(bytes)
}

/// Learns from all packets of a body, before the first of them is read.
pub(super) fn learn(text: &str, habit: &mut TextHabit) -> Result<(), PayloadError> {
    if text.is_ascii() {
        return Ok(());
    }
    let mut rest = text;
    while !rest.is_empty() {
        let part;
        (part, rest) = split(rest)?;
        habit.learn(part);
    }
    Ok(())
}

/// Reads the packet at `at`, and moves `at` to the next one.
pub(super) fn next<'a>(
    text: &'a str,
    at: &mut usize,
    habit: TextHabit,
) -> Option<Result<Packet<'a>, PayloadError>> {
    let rest = text.get(*at..).filter(|rest| !rest.is_empty())?;
    Some(split(rest).and_then(|(part, rest)| {
        *at = text.len() - rest.len();
        packet(part, habit).map_err(PayloadError::from)
    }))
}

fn packet(part: &str, habit: TextHabit) -> Result<Packet<'_>, PacketError> {
    match habit.read(part) {
        Cow::Owned(again) => Packet::decode_text(Protocol::V3, &again).map(Packet::into_owned),
        Cow::Borrowed(part) => Packet::decode_text(Protocol::V3, part),
    }
}

/// Splits off the first packet, and returns it with the text after it.
fn split(text: &str) -> Result<(&str, &str), PayloadError> {
    let (length, rest) = text.split_once(':').ok_or(PayloadError::Length)?;
    split_units(rest, parse_length(length)?).ok_or(PayloadError::Length)
}

fn parse_length(digits: &str) -> Result<usize, PayloadError> {
    // `parse` alone would accept a sign.
    if !digits.bytes().all(|digit| digit.is_ascii_digit()) {
        return Err(PayloadError::Length);
    }
    digits.parse().map_err(|_| PayloadError::Length)
}

/// Splits after `units` UTF-16 code units; `None` if there are fewer, or if the split would cut a character.
fn split_units(text: &str, units: usize) -> Option<(&str, &str)> {
    if text.as_bytes().get(..units)?.is_ascii() {
        return Some(text.split_at(units));
    }
    let mut left = units;
    for (at, char) in text.char_indices() {
        if left == 0 {
            return Some(text.split_at(at));
        }
        left = left.checked_sub(char.len_utf16())?;
    }
    (left == 0).then_some((text, ""))
}

fn utf16_len(text: &str) -> usize {
    if text.is_ascii() {
        text.len()
    } else {
        text.chars().map(char::len_utf16).sum()
    }
}

pub(super) fn encode(packets: &[Packet<'_>], ascii: bool) -> String {
    let mut out = String::new();
    let mut scratch = String::new();
    for packet in packets {
        scratch.clear();
        match &packet.body {
            Body::Text(text) => push_text(packet, text, ascii, &mut scratch),
            Body::Binary(bytes) => packet.write_base64(Protocol::V3, bytes, &mut scratch),
        }
        // Writing to a String cannot fail.
        let _ = write!(out, "{}:", utf16_len(&scratch));
        out.push_str(&scratch);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::PacketType;
    use crate::engine::payload::{PostForm, Reader};

    fn decode(body: &str, habit: &mut TextHabit) -> Result<Vec<Packet<'static>>, PayloadError> {
        let mut reader = Reader::new(Protocol::V3, PostForm::Text, body.into(), habit)?;
        Ok(std::iter::from_fn(|| reader.next_packet().map(Packet::into_owned)).collect())
    }

    fn texts(body: &str, habit: &mut TextHabit) -> Result<Vec<String>, PayloadError> {
        let packets = decode(body, habit)?;
        Ok(packets
            .into_iter()
            .map(|packet| match packet.body {
                Body::Text(text) => text.into_owned(),
                Body::Binary(bytes) => format!("{bytes:?}"),
            })
            .collect())
    }

    /// The body that a 1.x client's HTTP layer sends for these packets.
    fn twice(packets: &[&str]) -> String {
        packets
            .iter()
            .map(|packet| {
                let chars: String = packet.bytes().map(char::from).collect();
                format!("{}:{chars}", packet.len())
            })
            .collect()
    }

    #[test]
    fn lengths_count_utf16_units() {
        let mut habit = TextHabit::default();
        assert_eq!(
            texts("4:4\u{1f600}\u{e9}2:4a", &mut habit).unwrap(),
            ["\u{1f600}\u{e9}", "a"]
        );
        assert_eq!(
            texts("10:b4AQIDBA==1:6", &mut habit).unwrap(),
            ["[1, 2, 3, 4]", ""]
        );
    }

    #[test]
    fn wrong_lengths_are_refused() {
        for body in [
            "4a",
            ":4a",
            "3:4a",
            "1:4a",
            "+2:4a",
            "-1:4a",
            "2.0:4a",
            "2:4\u{1f600}",
            "99999999999999999999:4",
        ] {
            assert!(texts(body, &mut TextHabit::default()).is_err(), "{body}");
        }
        assert_eq!(
            texts("0:", &mut TextHabit::default()),
            Err(PacketError::Empty.into())
        );
    }

    #[test]
    fn text_encoded_twice_is_decoded_twice() {
        let mut habit = TextHabit::default();
        assert_eq!(texts(&twice(&["4plain"]), &mut habit).unwrap(), ["plain"]);
        assert_eq!(habit, TextHabit::Unknown);
        let body = twice(&["4\u{4f60}\u{597d} \u{1f600}", "4h\u{e9}", "2"]);
        assert_eq!(
            texts(&body, &mut habit).unwrap(),
            ["\u{4f60}\u{597d} \u{1f600}", "h\u{e9}", ""]
        );
        assert_eq!(habit, TextHabit::Twice);
    }

    /// This is what the encoder of a 1.x client makes of an emoji that was cut in two.
    #[test]
    fn half_of_a_surrogate_pair_does_not_prove_a_plain_client() {
        let once = b"4cut \xed\xa0\xbd, \xe4\xbd\xa0";
        let chars: String = once.iter().copied().map(char::from).collect();
        let mut habit = TextHabit::default();
        let body = format!("{}:{chars}", once.len());
        assert_eq!(texts(&body, &mut habit).unwrap(), ["cut \u{fffd}, \u{4f60}"]);
        assert_eq!(habit, TextHabit::Twice);
        assert_eq!(texts(&twice(&["4\u{4f60}"]), &mut habit).unwrap(), ["\u{4f60}"]);
    }

    #[test]
    fn one_plain_text_proves_that_the_client_encodes_once() {
        // "Ã©" is what "é" encoded twice looks like, but this client has also sent a character that no 1.x
        // client can send.
        let latin = "4:4\u{c3}\u{a9}!";
        let mut habit = TextHabit::default();
        assert_eq!(texts("2:4\u{4f60}", &mut habit).unwrap(), ["\u{4f60}"]);
        assert_eq!(habit, TextHabit::Plain);
        assert_eq!(texts(latin, &mut habit).unwrap(), ["\u{c3}\u{a9}!"]);

        let mut mistaken = TextHabit::default();
        assert_eq!(texts(latin, &mut mistaken).unwrap(), ["\u{e9}!"]);
        assert_eq!(texts("2:4\u{e9}", &mut mistaken).unwrap(), ["\u{e9}"]);
        assert_eq!(mistaken, TextHabit::Plain, "the proof replaces the guess");
    }

    #[test]
    fn packets_of_every_type_survive() {
        for kind in PacketType::ALL {
            let body = encode(&[Packet::text(kind, "x")], false);
            assert_eq!(
                decode(&body, &mut TextHabit::default()),
                Ok(vec![Packet::text(kind, "x")])
            );
        }
    }
}
