//! A message on its way from the node that has committed it to the nodes that have its recipients.

use std::sync::Arc;

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
    /// The user whose other connections get it too: the sender.
    pub follow: Option<Uid>,
    /// The sid of the connection that has sent it, which does not get it.
    pub except: Option<Box<str>>,
    /// If the sender wants to know how many users each node has reached: the number of the question, which
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
    /// When the message before it was committed, in Unix milliseconds by the clock of the database; `None` if
    /// there is none. If that is long ago, a receiver need not wait for it.
    pub predecessor: Option<UnixMillis>,
}

/// Who receives a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipients {
    /// These users.
    Users(Arc<[Uid]>),
    /// The members of a team at its version.
    Team {
        /// The team.
        team: TeamId,
        /// The number of its last change of members.
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
            to.option(stored.predecessor, Writer::u64);
        });
        match &self.to {
            Recipients::Users(uids) => {
                to.byte(0);
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
        to.option(self.except.as_deref(), Writer::text);
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
                0 => Recipients::Users(from.list(uid)?.into()),
                1 => Recipients::Team {
                    team: TeamId::new(from.text()?).map_err(|_| Malformed::Value)?,
                    version: from.u64()?,
                },
                2 => Recipients::Everyone,
                _ => return Err(Malformed::Value),
            },
            follow: from.option(uid)?,
            except: from.option(text)?,
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
        predecessor: from.option(Reader::u64)?,
    })
}
