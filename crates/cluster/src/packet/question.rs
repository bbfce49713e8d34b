//! What nodes ask each other, and their answers.

use mynah_store::ids::{DeviceId, Uid};
use mynah_store::time::UnixMillis;
use mynah_store::{Device, Revocation, Revoked};

use super::bytes::{Malformed, Reader, Writer};
use super::message::{device, text, uid};
use super::push::{MessageTo, Shows};
use super::reached::Reached;

/// What other nodes are asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// End the connections of a user, and count them.
    SignOut(Uid),
    /// Tokens are no longer accepted: end the connections that were registered with them, and count them.
    Revoke(Revocation),
    /// Show the connections of a user.
    Connections(Uid),
    /// Name up to this number of connected users.
    Names(u16),
    /// Say what connections show about these messages.
    Shows(Vec<MessageTo>),
}

/// What a node answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// A number of connections, or of users, on this node.
    Count(u64),
    /// Users.
    Users(Vec<Uid>),
    /// Connections of a user.
    Connections(Vec<Shown>),
    /// What connections show about each message, in the order of the question.
    Shows(Vec<Shows>),
    /// The recipients of a message whom the node has reached.
    Reached(Reached),
}

/// A registered connection, as it is shown to the backend.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Shown {
    /// Its id.
    pub sid: Box<str>,
    /// The device.
    pub device: DeviceId,
    /// The platform.
    pub platform: Option<Box<str>>,
    /// The identity class, if it is not `user`.
    pub class: Option<Box<str>>,
    /// When it has registered, by the clock of its node.
    pub since: UnixMillis,
    /// How long ago that was, in milliseconds. The clocks of nodes differ.
    pub age_ms: u64,
    /// Whether it uses a WebSocket.
    pub is_websocket: bool,
    /// The address of the client.
    pub address: Box<str>,
}

impl Ask {
    pub(super) fn write(&self, to: &mut Writer) {
        match self {
            Self::SignOut(uid) => {
                to.byte(0);
                to.text(uid.as_str());
            }
            Self::Revoke(revocation) => {
                to.byte(1);
                write_revocation(to, revocation);
            }
            Self::Connections(uid) => {
                to.byte(2);
                to.text(uid.as_str());
            }
            Self::Names(most) => {
                to.byte(3);
                to.u16(*most);
            }
            Self::Shows(messages) => {
                to.byte(4);
                to.length(messages.len());
                messages.iter().for_each(|message| message.write(to));
            }
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match from.byte()? {
            0 => Self::SignOut(uid(from)?),
            1 => Self::Revoke(read_revocation(from)?),
            2 => Self::Connections(uid(from)?),
            3 => Self::Names(from.u16()?),
            4 => Self::Shows(from.list(MessageTo::read)?),
            _ => return Err(Malformed::Value),
        })
    }
}

impl Answer {
    pub(super) fn write(&self, to: &mut Writer) {
        match self {
            Self::Count(count) => {
                to.byte(0);
                to.u64(*count);
            }
            Self::Users(uids) => {
                to.byte(1);
                to.length(uids.len());
                uids.iter().for_each(|uid| to.text(uid.as_str()));
            }
            Self::Connections(all) => {
                to.byte(2);
                to.length(all.len());
                all.iter().for_each(|shown| shown.write(to));
            }
            Self::Shows(all) => {
                to.byte(4);
                to.length(all.len());
                all.iter().for_each(|shows| shows.write(to));
            }
            Self::Reached(reached) => {
                to.byte(3);
                reached.write(to);
            }
        }
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(match from.byte()? {
            0 => Self::Count(from.u64()?),
            1 => Self::Users(from.list(uid)?),
            2 => Self::Connections(from.list(Shown::read)?),
            3 => Self::Reached(Reached::read(from)?),
            4 => Self::Shows(from.list(Shows::read)?),
            _ => return Err(Malformed::Value),
        })
    }
}

impl Shown {
    fn write(&self, to: &mut Writer) {
        to.text(&self.sid);
        to.text(self.device.as_str());
        to.option(self.platform.as_deref(), Writer::text);
        to.option(self.class.as_deref(), Writer::text);
        to.u64(self.since);
        to.u64(self.age_ms);
        to.byte(self.is_websocket.into());
        to.text(&self.address);
    }

    fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            sid: text(from)?,
            device: device(from)?,
            platform: from.option(text)?,
            class: from.option(text)?,
            since: from.u64()?,
            age_ms: from.u64()?,
            is_websocket: from.bool()?,
            address: text(from)?,
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
            2 => Revoked::Token(text(from)?),
            _ => return Err(Malformed::Value),
        },
        issued_until: from.u64()?,
        forget_at: from.u64()?,
        displaced: from.option(uid)?,
    })
}
