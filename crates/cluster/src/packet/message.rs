//! A message that the node that has committed it sends to the nodes that have its recipients.

use std::sync::Arc;

use mynah_store::Members;
use mynah_store::follow::{Numbers, RecordId};
use mynah_store::ids::{Cid, ConvId, DeviceId, Mid, Seq, TeamId, Uid};
use mynah_store::time::UnixMillis;
use serde_json::value::RawValue;

use super::bytes::{Malformed, Reader, Writer};

/// See the module.
#[derive(Debug, Clone)]
pub struct Message {
    /// The kind's number.
    pub kind: u16,
    /// The payload, as it was sent.
    pub data: Arc<RawValue>,
    /// The sender.
    pub from: Option<Uid>,
    /// The sender's own id of the message.
    pub cid: Option<Cid>,
    /// The server's time.
    pub ts: UnixMillis,
    /// Its place in the history; `None` if its kind is not stored.
    pub stored: Option<Stored>,
    /// The recipients.
    pub to: Recipients,
    /// A user who gets it too, but is not counted: the sender, or who has left a team.
    pub follow: Option<Uid>,
    /// If the sender wants to know whom each node has reached: the number of the question, which
    /// [`Packet::Answer`](super::Packet::Answer) repeats.
    pub question: Option<u64>,
}

/// The place of a stored message in the history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// The message's id.
    pub mid: Mid,
    /// The conversation.
    pub conv: ConvId,
    /// The number in the conversation.
    pub seq: Seq,
    /// Its numbers in the record, by which a receiver knows whether it has handled the messages before it.
    pub numbers: Numbers,
}

/// Who receives a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipients {
    /// These users.
    Users(Members),
    /// The members of a team.
    Members(Members),
    /// The members of a large team.
    Team {
        /// The team.
        team: TeamId,
        /// A hash of its members.
        version: u64,
    },
    /// Everyone who is connected.
    Everyone,
}

impl Message {
    pub(super) fn write(&self, to: &mut Writer) {
        to.u16(self.kind);
        to.text(self.data.get());
        to.option(self.from.as_ref(), |to, from| to.text(from.as_str()));
        to.option(self.cid.as_ref(), |to, cid| to.text(cid.as_str()));
        to.u64(self.ts);
        to.option(self.stored, |to, stored| {
            to.id(stored.mid.0.as_bytes());
            to.id(&stored.conv.0);
            to.u64(stored.seq.0);
            to.u64(stored.numbers.own.0.cast_unsigned());
            to.u64(stored.numbers.before.0.cast_unsigned());
        });
        match &self.to {
            Recipients::Users(uids) => {
                to.byte(0);
                to.length(uids.len());
                uids.iter().for_each(|uid| to.text(uid.as_str()));
            }
            Recipients::Members(uids) => {
                to.byte(3);
                to.length(uids.len());
                uids.iter().for_each(|uid| to.text(uid.as_str()));
            }
            Recipients::Team { team, version } => {
                to.byte(1);
                to.text(team.as_str());
                to.u64(*version);
            }
            Recipients::Everyone => to.byte(2),
        }
        to.option(self.follow.as_ref(), |to, follow| to.text(follow.as_str()));
        to.option(self.question, Writer::u64);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            kind: from.u16()?,
            data: raw(from)?,
            from: from.option(uid)?,
            cid: from.option(|from| Cid::new(from.text()?).map_err(|_| Malformed::Value))?,
            ts: from.u64()?,
            stored: from.option(stored)?,
            to: match from.byte()? {
                0 => Recipients::Users(Arc::new(from.list(uid)?)),
                1 => Recipients::Team {
                    team: TeamId::new(from.text()?).map_err(|_| Malformed::Value)?,
                    version: from.u64()?,
                },
                2 => Recipients::Everyone,
                3 => Recipients::Members(Arc::new(from.list(uid)?)),
                _ => return Err(Malformed::Value),
            },
            follow: from.option(uid)?,
            question: from.option(Reader::u64)?,
        })
    }
}

/// The payload. It is checked, because a packet may come from a node of another version.
fn raw(from: &mut Reader<'_>) -> Result<Arc<RawValue>, Malformed> {
    let raw = RawValue::from_string(from.text()?.to_owned()).map_err(|_| Malformed::Value)?;
    Ok(Arc::from(raw))
}

pub(super) fn uid(from: &mut Reader<'_>) -> Result<Uid, Malformed> {
    Uid::new(from.text()?).map_err(|_| Malformed::Value)
}

pub(super) fn device(from: &mut Reader<'_>) -> Result<DeviceId, Malformed> {
    DeviceId::new(from.text()?).map_err(|_| Malformed::Value)
}

pub(super) fn text(from: &mut Reader<'_>) -> Result<Box<str>, Malformed> {
    from.text().map(Into::into)
}

fn stored(from: &mut Reader<'_>) -> Result<Stored, Malformed> {
    Ok(Stored {
        mid: Mid(uuid::Uuid::from_bytes(from.id()?)),
        conv: ConvId(from.id()?),
        seq: Seq(from.u64()?),
        numbers: Numbers {
            own: RecordId(from.u64()?.cast_signed()),
            before: RecordId(from.u64()?.cast_signed()),
        },
    })
}
