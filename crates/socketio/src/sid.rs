//! Session ids, and the tag by which servers recognise their own.

use std::fmt;

use mynah_wire::engine;

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const TAG_CHARACTERS: usize = 8;

/// A session id: 20 characters of base64url, as Socket.IO's own adapters expect.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Sid([u8; 20]);

impl Sid {
    /// Creates an id from the system's random numbers.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        let mut sid = [0; 20];
        getrandom::fill(&mut sid)?;
        Ok(Self(sid.map(|byte| ALPHABET[usize::from(byte & 63)])))
    }

    /// Makes the id begin with this tag. 72 random bits remain.
    pub(crate) fn tagged(mut self, tag: SidTag) -> Self {
        self.0[..TAG_CHARACTERS].copy_from_slice(&tag.0);
        self
    }

    /// Reads an id that a client sent; `None` if it cannot be an id of this server.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        text.as_bytes().try_into().ok().map(Self)
    }

    pub(crate) fn as_str(&self) -> &str {
        // The server's own ids are ASCII. An id that a client invented is only looked up, never shown.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

/// The first 8 characters of the Engine.IO session ids of one server, if several servers serve the same
/// clients: see [`Config::sid_tag`](crate::Config::sid_tag).
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct SidTag([u8; TAG_CHARACTERS]);

impl SidTag {
    /// The tag that stands for these bits.
    pub fn new(bits: [u8; 6]) -> Self {
        let number = bits
            .iter()
            .fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
        Self(std::array::from_fn(|at| {
            let six = number >> (6 * (TAG_CHARACTERS - 1 - at)) & 63;
            ALPHABET[six as usize]
        }))
    }

    /// The tag of the session that a request with this query names; `None` if the query names no session, or
    /// one whose id cannot be that of a server.
    pub fn of_query(query: &str) -> Option<Self> {
        let query = engine::parse_query(query);
        let sid = Sid::parse(query.session()?)?;
        sid.0.first_chunk().copied().map(Self)
    }
}

impl fmt::Debug for SidTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SidTag({})", self.0.escape_ascii())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sids_are_twenty_characters_and_differ() {
        let (a, b) = (Sid::random().unwrap(), Sid::random().unwrap());
        assert_eq!(a.as_str().len(), 20);
        assert!(a.as_str() != b.as_str());
        assert!(Sid::parse(a.as_str()) == Some(a));
        assert!(Sid::parse("short").is_none());
    }
    #[test]
    fn a_tag_is_found_in_the_query_of_its_sessions() {
        // printf '\x00\x10\x83\x10\x51\xff' | base64 | tr +/ -_
        let tag = SidTag::new([0x00, 0x10, 0x83, 0x10, 0x51, 0xff]);
        assert_eq!(format!("{tag:?}"), "SidTag(ABCDEFH_)");
        let sid = Sid::random().unwrap().tagged(tag);
        let query = format!("EIO=4&transport=polling&sid={}&t=1", sid.as_str());
        assert_eq!(SidTag::of_query(&query), Some(tag));
        let escaped = format!("s%69d=%41{}", &sid.as_str()[1..]);
        assert_eq!(SidTag::of_query(&escaped), Some(tag));
        for without in ["", "EIO=4", "sid=", "sid=ABCDEFH_", "sid=ABCDEFH_0123456789abc"] {
            assert_eq!(SidTag::of_query(without), None, "{without}");
        }
    }
}
