//! The body of a POST, kept as it came while its packets are handled one after the other.
//!
//! Invariant: the whole body was checked before its first packet is handed out, and a reader takes the body's bytes and no more, however
//! many packets they are.

use super::text::utf8;
use super::{PayloadError, PostForm, Protocol, Source, TextHabit, jsonp};
use crate::engine::Packet;

/// The packets of one body.
#[derive(Debug)]
pub struct Reader {
    protocol: Protocol,
    habit: TextHabit,
    body: Whole,
    /// Where the next packet begins.
    at: usize,
}

#[derive(Debug)]
enum Whole {
    Text(String),
    Octets(Vec<u8>),
}

impl Whole {
    fn source(&self) -> Source<'_> {
        match self {
            Self::Text(text) => Source::Text(text),
            Self::Octets(body) => Source::Octets(body),
        }
    }
}

impl Reader {
    /// Checks `body`, which must hold at least one packet; for `habit` see [`decode`](super::decode).
    pub fn new(
        protocol: Protocol,
        form: PostForm,
        body: Vec<u8>,
        habit: &mut TextHabit,
    ) -> Result<Self, PayloadError> {
        let body = match form {
            PostForm::Text => Whole::Text(String::from_utf8(body).map_err(|_| PayloadError::Utf8)?),
            PostForm::Binary => Whole::Octets(body),
            PostForm::Jsonp => Whole::Text(jsonp::form_text(utf8(&body)?).ok_or(PayloadError::NoFormField)?),
        };
        body.source().begin(protocol, habit)?;
        let mut at = 0;
        while let Some(packet) = body.source().next(protocol, *habit, &mut at) {
            packet?;
        }
        Ok(Self {
            protocol,
            habit: *habit,
            body,
            at: 0,
        })
    }

    /// The next packet; none after the last one.
    pub fn next_packet(&mut self) -> Option<Packet<'_>> {
        // All of them were read before, so that none is an error.
        self.body
            .source()
            .next(self.protocol, self.habit, &mut self.at)?
            .ok()
    }
}
