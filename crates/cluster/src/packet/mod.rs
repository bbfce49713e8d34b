//! What nodes say to each other, and its form as bytes.
//!
//! A packet is: the version (1 byte), its type (1), and its fields. Invariants: bytes of another version or
//! type, and bytes that are not a whole packet, are an error, never a panic; a packet with bytes left over is
//! an error too. A change of the form gets a new version; in a rolling upgrade, nodes of both versions drop
//! each other's packets, and the record delivers what they miss.

mod bytes;
mod message;

use ::bytes::Bytes;
use mynah_store::ids::{DeviceId, Uid};
use mynah_store::{Device, Revocation, Revoked};

use crate::directory::Why;
use crate::ids::Order;
use bytes::{Reader, Writer};
use message::uid;

pub use bytes::Malformed;
pub use message::{Message, Recipients, Stored};

const VERSION: u8 = 1;

/// A packet. What the bus needs for itself, such as its probes, is not among them.
#[derive(Debug, Clone)]
pub enum Packet {
    /// A message for connections of the receiving nodes.
    Message(Message),
    /// A claim has removed a connection of the receiving node.
    Oust(Oust),
    /// Registrations end, or something is counted. Each node answers.
    Question {
        /// The number by which the asking node recognises the answers.
        number: u64,
        /// What is asked.
        ask: Ask,
    },
    /// The answer to a question, for the node that has asked.
    Answer {
        /// The question's number.
        number: u64,
        /// The number of connections, or of users, on the answering node.
        count: u64,
        /// The users that were asked for.
        uids: Vec<Uid>,
    },
}

/// A claim has removed a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oust {
    /// The user.
    pub uid: Uid,
    /// The connection.
    pub sid: Box<str>,
    /// The number of its claim. If the connection has claimed again since then, it is not meant.
    pub order: Order,
    /// Why.
    pub why: Why,
    /// The device that has claimed.
    pub by_device: DeviceId,
    /// Its platform.
    pub by_platform: Option<Box<str>>,
}

/// What all nodes are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// End the connections of a user. The answer counts them.
    SignOut(Uid),
    /// Tokens are no longer accepted: end the connections that were registered with them. The answer counts
    /// them.
    Revoke(Revocation),
    /// Count the users whose oldest connection the node has.
    Online,
    /// Name up to this number of them.
    Names(u16),
}

impl Packet {
    /// Writes the packet.
    pub fn encode(&self) -> Bytes {
        let mut to = Writer(Vec::with_capacity(256));
        to.byte(VERSION);
        match self {
            Self::Message(message) => {
                to.byte(1);
                message.write(&mut to);
            }
            Self::Oust(oust) => {
                to.byte(2);
                oust.write(&mut to);
            }
            Self::Question { number, ask } => {
                to.byte(3);
                to.u64(*number);
                ask.write(&mut to);
            }
            Self::Answer { number, count, uids } => {
                to.byte(4);
                to.u64(*number);
                to.u64(*count);
                to.length(uids.len());
                uids.iter().for_each(|uid| to.text(uid.as_str()));
            }
        }
        to.0.into()
    }

    /// Reads a packet.
    pub fn decode(bytes: &[u8]) -> Result<Self, Malformed> {
        let mut from = Reader(bytes);
        match from.byte()? {
            VERSION => {}
            version => return Err(Malformed::Version(version)),
        }
        let packet = match from.byte()? {
            1 => Self::Message(Message::read(&mut from)?),
            2 => Self::Oust(Oust::read(&mut from)?),
            3 => Self::Question {
                number: from.u64()?,
                ask: Ask::read(&mut from)?,
            },
            4 => Self::Answer {
                number: from.u64()?,
                count: from.u64()?,
                uids: from.list(uid)?,
            },
            other => return Err(Malformed::Type(other)),
        };
        from.end()?;
        Ok(packet)
    }
}

impl Oust {
    fn write(&self, to: &mut Writer) {
        to.text(self.uid.as_str());
        to.text(&self.sid);
        to.u64(self.order.0);
        to.byte(match self.why {
            Why::Stale => 0,
            Why::Displaced => 1,
        });
        to.text(self.by_device.as_str());
        to.option(self.by_platform.as_deref(), Writer::text);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            uid: uid(from)?,
            sid: from.text()?.into(),
            order: Order(from.u64()?),
            why: match from.byte()? {
                0 => Why::Stale,
                1 => Why::Displaced,
                _ => return Err(Malformed::Value),
            },
            by_device: device(from)?,
            by_platform: from.option(|from| from.text().map(Into::into))?,
        })
    }
}

impl Ask {
    fn write(&self, to: &mut Writer) {
        match self {
            Self::SignOut(uid) => {
                to.byte(0);
                to.text(uid.as_str());
            }
            Self::Revoke(revocation) => {
                to.byte(1);
                write_revocation(to, revocation);
            }
            Self::Online => to.byte(2),
            Self::Names(most) => {
                to.byte(3);
                to.u16(*most);
            }
        }
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match from.byte()? {
            0 => Self::SignOut(uid(from)?),
            1 => Self::Revoke(read_revocation(from)?),
            2 => Self::Online,
            3 => Self::Names(from.u16()?),
            _ => return Err(Malformed::Value),
        })
    }
}

fn write_revocation(to: &mut Writer, revocation: &Revocation) {
    match &revocation.what {
        Revoked::User(uid) => {
            to.byte(0);
            to.text(uid.as_str());
        }
        Revoked::Device(Device { uid, device }) => {
            to.byte(1);
            to.text(uid.as_str());
            to.text(device.as_str());
        }
        Revoked::Token(token) => {
            to.byte(2);
            to.text(token);
        }
    }
    to.u64(revocation.issued_until);
    to.u64(revocation.forget_at);
    to.option(revocation.displaced.as_ref(), |to, uid| to.text(uid.as_str()));
}

fn read_revocation(from: &mut Reader<'_>) -> Result<Revocation, Malformed> {
    Ok(Revocation {
        what: match from.byte()? {
            0 => Revoked::User(uid(from)?),
            1 => Revoked::Device(Device {
                uid: uid(from)?,
                device: device(from)?,
            }),
            2 => Revoked::Token(from.text()?.into()),
            _ => return Err(Malformed::Value),
        },
        issued_until: from.u64()?,
        forget_at: from.u64()?,
        displaced: from.option(uid)?,
    })
}

fn device(from: &mut Reader<'_>) -> Result<DeviceId, Malformed> {
    DeviceId::new(from.text()?).map_err(|_| Malformed::Value)
}

#[cfg(test)]
mod tests;
