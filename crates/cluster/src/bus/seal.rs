//! How packets are protected while they pass through Redis.
//!
//! A sealed packet is: version (1 byte), purpose (1), the sender's incarnation (16), a counter (8, big
//! endian), the body, and a tag (16): the beginning of an HMAC-SHA256 over all before it, with a key that is
//! derived from `cluster.secret` and `cluster.name`.
//!
//! What is promised: a packet that a receiver takes was made by a process with the secret, under the same
//! name, and is taken at most once, because the counters of a sender only rise. What is not: whoever can use
//! Redis can read packets (nothing is encrypted), hold them back, show them to other nodes of the cluster,
//! and repeat old packets of a run to a node that has not yet heard from it. Receivers therefore ignore
//! packets of nodes that are not alive, and what packets ask for is harmless when repeated.

use std::collections::HashMap;
use std::ops::Range;

use ring::hmac::{Context, Key};

use crate::ids::Incarnation;

const VERSION: u8 = 1;
/// The bytes before the body.
const HEAD: usize = 2 + 16 + 8;
/// The bytes after the body.
const TAG: usize = 16;
/// The maximum number of senders whose counters are remembered. Beyond it, the one that was not heard for
/// longest is forgotten.
const MOST_SENDERS: usize = 1024;

/// What a packet is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Use {
    /// For the bus itself: whether it works.
    Probe = 0,
    /// For the gateway.
    Packet = 1,
}

/// Why a packet was not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// It is too short, or of another version.
    #[error("it has another form")]
    Form,
    /// The tag is wrong.
    #[error("it was made without cluster.secret, or under another cluster.name")]
    Forged,
    /// The counter is not higher than before.
    #[error("it is a repetition")]
    Repeated,
}

/// A packet that was taken.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Opened {
    /// What it is for.
    pub(super) usage: Use,
    /// Who has sent it.
    pub(super) from: Incarnation,
    /// Where its body is.
    pub(super) body: Range<usize>,
}

/// Seals the packets of one run. Packets must be published in the order in which they were sealed.
pub(super) struct Sealer {
    key: Key,
    own: Incarnation,
    counter: u64,
}

impl Sealer {
    /// `key` is that of the cluster's packets.
    pub(super) fn new(key: Key, own: Incarnation) -> Self {
        let counter = 0;
        Self { key, own, counter }
    }

    pub(super) fn seal(&mut self, usage: Use, body: &[u8]) -> Vec<u8> {
        self.counter += 1;
        let mut packet = Vec::with_capacity(HEAD + body.len() + TAG);
        packet.extend_from_slice(&[VERSION, usage as u8]);
        packet.extend_from_slice(&self.own.0);
        packet.extend_from_slice(&self.counter.to_be_bytes());
        packet.extend_from_slice(body);
        let tag = tag(&self.key, &packet);
        packet.extend_from_slice(&tag);
        packet
    }
}

fn tag(key: &Key, text: &[u8]) -> [u8; TAG] {
    let mut context = Context::with_key(key);
    context.update(text);
    let mut tag = [0; TAG];
    tag.copy_from_slice(&context.sign().as_ref()[..TAG]);
    tag
}

/// Opens packets.
pub(super) struct Opener {
    key: Key,
    /// The counter of each sender's last packet, and when it came, as a number that rises.
    senders: HashMap<Incarnation, (u64, u64)>,
    heard: u64,
}

impl Opener {
    /// `key` is that of the cluster's packets.
    pub(super) fn new(key: Key) -> Self {
        let senders = HashMap::new();
        Self {
            key,
            senders,
            heard: 0,
        }
    }

    pub(super) fn open(&mut self, packet: &[u8]) -> Result<Opened, Refusal> {
        let body = HEAD..packet.len().checked_sub(TAG).ok_or(Refusal::Form)?;
        if body.end < HEAD || packet[0] != VERSION {
            return Err(Refusal::Form);
        }
        if !is_equal(&tag(&self.key, &packet[..body.end]), &packet[body.end..]) {
            return Err(Refusal::Forged);
        }
        let usage = match packet[1] {
            0 => Use::Probe,
            1 => Use::Packet,
            _ => return Err(Refusal::Form),
        };
        let (mut from, mut counter) = ([0; 16], [0; 8]);
        from.copy_from_slice(&packet[2..18]);
        counter.copy_from_slice(&packet[18..HEAD]);
        let (from, counter) = (Incarnation(from), u64::from_be_bytes(counter));
        self.heard += 1;
        let last = self.senders.entry(from).or_default();
        if counter <= last.0 {
            return Err(Refusal::Repeated);
        }
        *last = (counter, self.heard);
        if self.senders.len() > MOST_SENDERS {
            self.forget_one();
        }
        Ok(Opened { usage, from, body })
    }

    fn forget_one(&mut self) {
        let oldest = self.senders.iter().min_by_key(|(_, (_, heard))| *heard);
        if let Some(oldest) = oldest.map(|(from, _)| *from) {
            self.senders.remove(&oldest);
        }
    }
}

/// Compares without stopping at the first difference, so that the time says nothing about the right tag.
fn is_equal(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && one.iter().zip(other).fold(0, |sum, (a, b)| sum | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::ClusterName;
    use crate::secret::Secret;

    fn key(secret: &str) -> Key {
        let name = ClusterName::new("mynah").unwrap();
        Secret::new(secret).unwrap().key("bus", &name)
    }

    const SECRET: &str = "a secret of some length";

    #[test]
    fn a_packet_is_taken_once_and_unchanged() {
        let own = Incarnation([3; 16]);
        let mut sealer = Sealer::new(key(SECRET), own);
        let mut opener = Opener::new(key(SECRET));
        let first = sealer.seal(Use::Packet, b"hello");
        let second = sealer.seal(Use::Probe, b"");
        let opened = opener.open(&first).unwrap();
        assert_eq!((opened.usage, opened.from), (Use::Packet, own));
        assert_eq!(&first[opened.body], b"hello");
        assert_eq!(opener.open(&first), Err(Refusal::Repeated));
        assert_eq!(opener.open(&second).unwrap().usage, Use::Probe);
        assert_eq!(opener.open(&first), Err(Refusal::Repeated));
        // Each run has a counter of its own.
        let mut other = Sealer::new(key(SECRET), Incarnation([4; 16]));
        assert!(opener.open(&other.seal(Use::Packet, b"")).is_ok());
    }

    #[test]
    fn a_changed_or_foreign_packet_is_refused() {
        let mut sealer = Sealer::new(key(SECRET), Incarnation([3; 16]));
        let packet = sealer.seal(Use::Packet, b"hello");
        let mut opener = Opener::new(key(SECRET));
        for at in 0..packet.len() {
            let mut changed = packet.clone();
            changed[at] ^= 1;
            assert!(opener.open(&changed).is_err(), "byte {at}");
            assert!(opener.open(&packet[..at]).is_err(), "cut at {at}");
        }
        assert_eq!(opener.senders.len(), 0);
        let mut stranger = Opener::new(key("another one of some length"));
        assert_eq!(stranger.open(&packet), Err(Refusal::Forged));
        assert!(opener.open(&packet).is_ok());
    }

    #[test]
    fn senders_are_forgotten_when_there_are_too_many() {
        let mut opener = Opener::new(key(SECRET));
        let own = Incarnation([255; 16]);
        let mut sealer = Sealer::new(key(SECRET), own);
        for number in 0..2 * MOST_SENDERS as u128 {
            let mut passing = Sealer::new(key(SECRET), Incarnation(number.to_be_bytes()));
            opener.open(&passing.seal(Use::Packet, b"")).unwrap();
            opener.open(&sealer.seal(Use::Packet, b"")).unwrap();
        }
        assert_eq!(opener.senders.len(), MOST_SENDERS);
        assert!(opener.senders.contains_key(&own));
    }
}
