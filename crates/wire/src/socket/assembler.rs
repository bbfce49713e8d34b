//! Binary packets: a text message, directly followed by one binary message per attachment.

use std::borrow::Cow;

use bytes::Bytes;

use super::decode::Layout;
use super::{DecodeError, Limits, Packet};

/// Assembles the messages of one connection into whole packets.
///
/// It takes one word while no attachment is expected. Otherwise it keeps one text and at most
/// [`Limits::max_attachments`] attachments, together at most [`Limits::max_bytes`].
#[derive(Debug, Default)]
pub struct Assembler {
    pending: Option<Box<Incomplete>>,
}

/// A packet that still lacks attachments.
#[derive(Debug)]
struct Incomplete {
    whole: Whole<'static>,
    /// Bytes received so far, including those that are not kept.
    bytes: usize,
}

/// A packet with all its attachments.
#[derive(Debug)]
pub struct Whole<'a> {
    text: Cow<'a, str>,
    layout: Layout,
    /// In the order of their placeholders' `num`.
    pub attachments: Vec<Bytes>,
}

impl Whole<'_> {
    /// The packet. It was checked when its text arrived.
    pub fn packet(&self) -> Packet<'_> {
        self.layout.packet(&self.text)
    }
}

impl Assembler {
    /// An assembler that expects no attachment.
    pub fn new() -> Self {
        Self::default()
    }

    /// Handles a text message; `None` if its attachments have to follow.
    pub fn text<'a>(&mut self, text: &'a str, limits: &Limits) -> Result<Option<Whole<'a>>, DecodeError> {
        if self.pending.is_some() {
            return Err(DecodeError::AttachmentDue);
        }
        let layout = Layout::read(text, limits)?;
        if layout.attachments() == 0 {
            return Ok(Some(Whole {
                text: Cow::Borrowed(text),
                layout,
                attachments: Vec::new(),
            }));
        }
        self.pending = Some(Box::new(Incomplete {
            bytes: text.len(),
            whole: Whole {
                text: Cow::Owned(text.to_owned()),
                layout,
                attachments: Vec::new(),
            },
        }));
        Ok(None)
    }

    /// Handles a binary message, and returns the packet if this was its last attachment.
    pub fn binary(&mut self, bytes: &[u8], limits: &Limits) -> Result<Option<Whole<'static>>, DecodeError> {
        let pending = self.pending.as_mut().ok_or(DecodeError::NoAttachmentDue)?;
        pending.bytes += bytes.len();
        if pending.bytes > limits.max_bytes {
            return Err(DecodeError::TooBig);
        }
        let kept = if limits.keep_attachments { bytes } else { &[] };
        pending.whole.attachments.push(Bytes::copy_from_slice(kept));
        let complete = self.pending.take_if(|pending| {
            let whole = &pending.whole;
            whole.attachments.len() == whole.layout.attachments()
        });
        Ok(complete.map(|pending| pending.whole))
    }

    /// Whether attachments are expected.
    pub fn is_waiting(&self) -> bool {
        self.pending.is_some()
    }

    /// Bytes kept for a packet that still lacks attachments.
    pub fn held_bytes(&self) -> usize {
        self.pending.as_ref().map_or(0, |pending| {
            let Whole {
                text, attachments, ..
            } = &pending.whole;
            text.len() + attachments.iter().map(Bytes::len).sum::<usize>()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::Kind;

    const LIMITS: Limits = Limits {
        max_attachments: 3,
        max_bytes: 100,
        keep_attachments: true,
    };
    const TWO: &str = r#"52-/x,7["a",{"_placeholder":true,"num":1},{"_placeholder":true,"num":0}]"#;

    #[test]
    fn a_text_without_attachments_is_whole_and_borrowed() {
        let mut assembler = Assembler::new();
        let whole = assembler.text("2[\"a\"]", &LIMITS).unwrap().unwrap();
        assert!(matches!(whole.text, Cow::Borrowed(_)));
        assert_eq!(whole.packet().kind, Kind::Event);
        assert!(assembler.text("50-[\"a\"]", &LIMITS).unwrap().is_some());
    }

    #[test]
    fn a_packet_is_complete_with_its_last_attachment() {
        let mut assembler = Assembler::new();
        assert!(assembler.text(TWO, &LIMITS).unwrap().is_none());
        assert!(assembler.binary(b"one", &LIMITS).unwrap().is_none());
        let whole = assembler.binary(b"", &LIMITS).unwrap().unwrap();
        assert_eq!(whole.attachments, [&b"one"[..], b""]);
        let packet = whole.packet();
        assert_eq!(
            (packet.namespace, packet.id, packet.attachments),
            ("/x", Some(7), 2)
        );
        assert!(
            assembler.text("1", &LIMITS).unwrap().is_some(),
            "the next packet is accepted"
        );
    }

    #[test]
    fn text_before_the_last_attachment_and_unexpected_attachments_are_refused() {
        let mut assembler = Assembler::new();
        assert_eq!(
            assembler.binary(b"x", &LIMITS).unwrap_err(),
            DecodeError::NoAttachmentDue
        );
        assembler.text(TWO, &LIMITS).unwrap();
        assert_eq!(
            assembler.text("2[\"a\"]", &LIMITS).unwrap_err(),
            DecodeError::AttachmentDue
        );
    }

    #[test]
    fn the_number_of_attachments_is_bounded() {
        let mut assembler = Assembler::new();
        assert_eq!(
            assembler.text("54-[\"a\"]", &LIMITS).unwrap_err(),
            DecodeError::TooManyAttachments
        );
        assert_eq!(
            assembler.binary(b"x", &LIMITS).unwrap_err(),
            DecodeError::NoAttachmentDue
        );
    }

    #[test]
    fn the_bytes_of_a_packet_with_its_attachments_are_bounded() {
        let mut assembler = Assembler::new();
        assembler.text(TWO, &LIMITS).unwrap();
        let fits = vec![0; LIMITS.max_bytes - TWO.len()];
        assert!(assembler.binary(&fits, &LIMITS).unwrap().is_none());
        assert_eq!(assembler.held_bytes(), LIMITS.max_bytes);
        assert_eq!(assembler.binary(b"x", &LIMITS).unwrap_err(), DecodeError::TooBig);
    }

    #[test]
    fn unwanted_attachments_are_counted_but_not_kept() {
        let limits = Limits {
            keep_attachments: false,
            ..LIMITS
        };
        let mut assembler = Assembler::new();
        assembler.text(TWO, &limits).unwrap();
        assert!(assembler.is_waiting());
        assembler.binary(&[7; 20], &limits).unwrap();
        assert_eq!(assembler.held_bytes(), TWO.len());
        let whole = assembler.binary(&[7; 5], &limits).unwrap().unwrap();
        assert_eq!(
            whole.attachments.iter().map(Bytes::len).collect::<Vec<_>>(),
            [0, 0]
        );
        assert!(!assembler.is_waiting());
        assert_eq!(assembler.held_bytes(), 0);
        assembler.text(TWO, &limits).unwrap();
        let too_much = vec![7; limits.max_bytes];
        assert_eq!(
            assembler.binary(&too_much, &limits).unwrap_err(),
            DecodeError::TooBig
        );
    }

    #[test]
    fn an_idle_assembler_is_one_word() {
        assert_eq!(size_of::<Assembler>(), size_of::<usize>());
    }
}
