//! What connections show about received messages, for nodes that decide about notifications.
//!
//! The steady clocks of nodes differ, so times are sent as ages.

use mynah_store::ids::{ConvId, Seq, Uid};

use super::bytes::{Malformed, Reader, Writer};
use super::message::uid;

/// A message to a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageTo {
    /// The user.
    pub uid: Uid,
    /// The conversation.
    pub conv: ConvId,
    /// The number in the conversation.
    pub seq: Seq,
    /// How long ago it was committed, in milliseconds.
    pub age_ms: u64,
    /// Whether it is urgent.
    pub is_urgent: bool,
}

/// What the connections to a node show about a message and a user.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shows {
    /// The user has no connection to the node.
    Nothing,
    /// The user has the message.
    Has,
    /// The message was written to a connection. If that is dead, this will be known after this time, in
    /// milliseconds.
    Delivered(u64),
    /// The user may still acknowledge it for this time, in milliseconds.
    Wait(u64),
    /// The user has not acknowledged it.
    NotAcknowledged,
}

/// A registered connection has ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ended {
    /// The user.
    pub uid: Uid,
    /// Messages that were committed within this time, in milliseconds, were written to the connection.
    pub written_ms: Option<u64>,
    /// Whether the client had sent acknowledgements.
    pub acknowledges: bool,
    /// If it ended without a close: how long ago the client was last heard from, in milliseconds.
    pub silent_ms: Option<u64>,
}

impl MessageTo {
    pub(super) fn write(&self, to: &mut Writer) {
        to.text(self.uid.as_str());
        to.id(&self.conv.0);
        to.u64(self.seq.0);
        to.u64(self.age_ms);
        to.byte(self.is_urgent.into());
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            uid: uid(from)?,
            conv: ConvId(from.id()?),
            seq: Seq(from.u64()?),
            age_ms: from.u64()?,
            is_urgent: from.bool()?,
        })
    }
}

impl Shows {
    pub(super) fn write(&self, to: &mut Writer) {
        match self {
            Self::Nothing => to.byte(0),
            Self::Has => to.byte(1),
            Self::Delivered(ms) => {
                to.byte(2);
                to.u64(*ms);
            }
            Self::Wait(ms) => {
                to.byte(3);
                to.u64(*ms);
            }
            Self::NotAcknowledged => to.byte(4),
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match from.byte()? {
            0 => Self::Nothing,
            1 => Self::Has,
            2 => Self::Delivered(from.u64()?),
            3 => Self::Wait(from.u64()?),
            4 => Self::NotAcknowledged,
            _ => return Err(Malformed::Value),
        })
    }
}

impl Ended {
    pub(super) fn write(&self, to: &mut Writer) {
        to.text(self.uid.as_str());
        to.option(self.written_ms, Writer::u64);
        to.byte(self.acknowledges.into());
        to.option(self.silent_ms, Writer::u64);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            uid: uid(from)?,
            written_ms: from.option(Reader::u64)?,
            acknowledges: from.bool()?,
            silent_ms: from.option(Reader::u64)?,
        })
    }
}
