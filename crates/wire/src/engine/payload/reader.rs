//! The body of a POST, which is kept while its packets are handled one after the other.
//!
//! Invariants: the whole body is checked before its first packet is returned, and a reader needs only the
//! memory of the body, however many packets it holds.

use super::text::utf8;
use super::{PayloadError, PostForm, Protocol, Source, TextHabit, jsonp};
use crate::engine::Packet;

/// The packets of one body.
#[derive(Debug)]
pub struct Reader {
    protocol: Protocol,
    habit: TextHabit,
    body: StoredBody,
    /// The offset of the next packet.
    at: usize,
}

#[derive(Debug)]
enum StoredBody {
    Text(String),
    Octets(Vec<u8>),
}

impl StoredBody {
    fn source(&self) -> Source<'_> {
        match self {
            Self::Text(text) => Source::Text(text),
            Self::Octets(body) => Source::Octets(body),
        }
    }
}

impl Reader {
    /// Checks `body`, which must hold at least one packet. [`decode`](super::decode) describes `habit`.
    pub fn new(
        protocol: Protocol,
        form: PostForm,
        body: Vec<u8>,
        habit: &mut TextHabit,
    ) -> Result<Self, PayloadError> {
        let body = match form {
            PostForm::Text => StoredBody::Text(String::from_utf8(body).map_err(|_| PayloadError::Utf8)?),
            PostForm::Binary => StoredBody::Octets(body),
            PostForm::Jsonp => {
                StoredBody::Text(jsonp::form_text(utf8(&body)?).ok_or(PayloadError::NoFormField)?)
            }
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

    /// The next packet; `None` after the last one.
    pub fn next_packet(&mut self) -> Option<Packet<'_>> {
        // `new` has read all packets, so none of them is an error.
        self.body
            .source()
            .next(self.protocol, self.habit, &mut self.at)?
            .ok()
    }
}
