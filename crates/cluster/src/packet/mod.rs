//! What nodes say to each other, and its form as bytes.
//!
//! A packet is: the version (1 byte), its type (1), and its fields. Invariants: bytes of another version or
//! type, and bytes that are not a whole packet, are an error, never a panic; a packet with bytes left over is
//! an error too. A change of the form gets a new version; in a rolling upgrade, nodes of both versions drop
//! each other's packets, and the record delivers what they miss.

mod bytes;
mod message;
mod push;
mod question;
mod reached;
mod spent;

use ::bytes::Bytes;
use mynah_store::ids::{DeviceId, Uid};

use crate::directory::Why;
use crate::ids::Order;
use bytes::{Reader, Writer};
use message::{device, text, uid};

pub use bytes::Malformed;
pub use message::{Message, Recipients, Stored};
pub use push::{Ended, MessageTo, Shows};
pub use question::{Answer, Ask, Shown};
pub use reached::Reached;
pub use spent::Spent;

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
        /// What was asked for.
        answer: Answer,
    },
    /// A registered connection of the sending node has ended.
    Ended(Ended),
    /// What users and API keys have used up of their limits on the sending node.
    Spent(Spent),
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
    /// The device that has claimed; `None` if that is not known any more.
    pub by_device: Option<DeviceId>,
    /// Its platform.
    pub by_platform: Option<Box<str>>,
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
            Self::Answer { number, answer } => {
                to.byte(4);
                to.u64(*number);
                answer.write(&mut to);
            }
            Self::Ended(ended) => {
                to.byte(5);
                ended.write(&mut to);
            }
            Self::Spent(spent) => {
                to.byte(6);
                spent.write(&mut to);
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
                answer: Answer::read(&mut from)?,
            },
            5 => Self::Ended(Ended::read(&mut from)?),
            6 => Self::Spent(Spent::read(&mut from)?),
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
        let by_device = self.by_device.as_ref();
        to.option(by_device, |to, device| to.text(device.as_str()));
        to.option(self.by_platform.as_deref(), Writer::text);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            uid: uid(from)?,
            sid: text(from)?,
            order: Order(from.u64()?),
            why: match from.byte()? {
                0 => Why::Stale,
                1 => Why::Displaced,
                _ => return Err(Malformed::Value),
            },
            by_device: from.option(device)?,
            by_platform: from.option(text)?,
        })
    }
}

#[cfg(test)]
mod tests;
