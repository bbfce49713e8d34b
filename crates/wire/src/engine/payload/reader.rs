//! The body of a POST, which is kept while its packets are handled one after the other.
//!
//! Invariants: the whole body is checked before its first packet is returned, and a reader needs only the
//! memory of the body, however many packets it holds.

use super::{PayloadError, PostForm, Protocol, TextHabit, jsonp, v3_binary, v3_text, v4};
use crate::engine::{Packet, PacketError};

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
    /// Refuses invalid bodies, and learns from the body how its client encodes text.
    fn begin(&self, protocol: Protocol, habit: &mut TextHabit) -> Result<(), PayloadError> {
        match (protocol, self) {
            (Protocol::V4, Self::Octets(_)) => Err(PayloadError::BinaryForm),
            (_, Self::Text(text)) if text.is_empty() => Err(PacketError::Empty.into()),
            (_, Self::Octets(body)) if body.is_empty() => Err(PacketError::Empty.into()),
            (Protocol::V3, Self::Text(text)) => v3_text::learn(text, habit),
            _ => Ok(()),
        }
    }

    /// Reads the packet at `at` and moves `at` to the next one; `None` at the end. After an error it must not
    /// be called again.
    fn next(
        &self,
        protocol: Protocol,
        habit: TextHabit,
        at: &mut usize,
    ) -> Option<Result<Packet<'_>, PayloadError>> {
        match (protocol, self) {
            (Protocol::V3, Self::Text(text)) => v3_text::next(text, at, habit),
            (Protocol::V4, Self::Text(text)) => v4::next(text, at),
            (_, Self::Octets(body)) => v3_binary::next(body, at),
        }
    }
}

impl Reader {
    /// Checks `body`, which must hold at least one packet. `habit` belongs to the session: it says how the
    /// client encodes text beyond ASCII (EIO3 only).
    pub fn new(
        protocol: Protocol,
        form: PostForm,
        body: Vec<u8>,
        habit: &mut TextHabit,
    ) -> Result<Self, PayloadError> {
        let text = |body| String::from_utf8(body).map_err(|_| PayloadError::Utf8);
        let body = match form {
            PostForm::Text => StoredBody::Text(text(body)?),
            PostForm::Binary => StoredBody::Octets(body),
            PostForm::Jsonp => {
                StoredBody::Text(jsonp::form_text(&text(body)?).ok_or(PayloadError::NoFormField)?)
            }
        };
        body.begin(protocol, habit)?;
        let mut at = 0;
        while let Some(packet) = body.next(protocol, *habit, &mut at) {
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
        self.body.next(self.protocol, self.habit, &mut self.at)?.ok()
    }
}
