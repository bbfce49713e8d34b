//! What users and API keys have used up of limits that hold for all nodes together.

use mynah_store::ids::Uid;

use super::bytes::{Malformed, Reader, Writer};
use super::message::uid;

/// See the module. Only those who use up much are named.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Spent {
    /// Registers of a user.
    pub registers: Vec<(Uid, [u64; 1])>,
    /// Messages that a user has sent, and bytes of them.
    pub sends: Vec<(Uid, [u64; 2])>,
    /// Calls with an API key, whose name stands in the place of a uid.
    pub calls: Vec<(Uid, [u64; 1])>,
}

impl Spent {
    pub(super) fn write(&self, to: &mut Writer) {
        write(to, &self.registers);
        write(to, &self.sends);
        write(to, &self.calls);
    }

    pub(super) fn read(from: &mut Reader<'_>) -> Result<Self, Malformed> {
        Ok(Self {
            registers: from.list(read)?,
            sends: from.list(read)?,
            calls: from.list(read)?,
        })
    }
}

fn write<const N: usize>(to: &mut Writer, users: &[(Uid, [u64; N])]) {
    to.length(users.len());
    for (uid, tokens) in users {
        to.text(uid.as_str());
        tokens.iter().for_each(|tokens| to.u64(*tokens));
    }
}

fn read<const N: usize>(from: &mut Reader<'_>) -> Result<(Uid, [u64; N]), Malformed> {
    let (uid, mut tokens) = (uid(from)?, [0; N]);
    for tokens in &mut tokens {
        *tokens = from.u64()?;
    }
    Ok((uid, tokens))
}
