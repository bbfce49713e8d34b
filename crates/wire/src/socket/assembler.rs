//! Binary packets: a text, then one binary message per attachment with nothing between them.

use std::borrow::Cow;

use bytes::Bytes;

use super::decode::Layout;
use super::{DecodeError, Limits, Packet};

/// Puts the messages of one connection together to whole packets.
///
/// One word when no attachment is due. It keeps one text and at most [`Limits::max_attachments`] attachments, each of which
/// the transport has bounded.
#[derive(Debug, Default)]
pub struct Assembler {
    pending: Option<Box<Whole<'static>>>,
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
    /// The packet; it was checked when its text came.
    pub fn packet(&self) -> Packet<'_> {
        self.layout.packet(&self.text)
    }
}

impl Assembler {
    /// With nothing due.
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes a text message; `None` when attachments are due after it.
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
        let text = Cow::Owned(text.to_owned());
        self.pending = Some(Box::new(Whole {
            text,
            layout,
            attachments: Vec::new(),
        }));
        Ok(None)
    }

    /// Takes a binary message; gives the packet with the last one that was due.
    pub fn binary(&mut self, bytes: &[u8], _limits: &Limits) -> Result<Option<Whole<'static>>, DecodeError> {
        let pending = self.pending.as_mut().ok_or(DecodeError::NoAttachmentDue)?;
        pending.attachments.push(Bytes::copy_from_slice(bytes));
        let whole = self
            .pending
            .take_if(|pending| pending.attachments.len() == pending.layout.attachments());
        Ok(whole.map(|whole| *whole))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::socket::Kind;

    const LIMITS: Limits = Limits { max_attachments: 3 };
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
    fn attachments_come_one_by_one() {
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
            "free for the next packet"
        );
    }

    #[test]
    fn nothing_may_stand_between_and_nothing_alone() {
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
    fn an_idle_assembler_is_one_word() {
        assert_eq!(size_of::<Assembler>(), size_of::<usize>());
    }
}
