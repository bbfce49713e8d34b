//! Names of what takes part in a cluster: the cluster itself, the runs of its nodes, and claims.
//!
//! Invariant: every value is valid. What becomes a part of a key in Redis is checked when it is made.

use std::fmt;

/// The maximum number of bytes of a cluster's name.
const MOST_NAME_BYTES: usize = 64;

/// The name of a cluster, with which all of its keys and channels in Redis begin: `cluster.name`.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ClusterName(Box<str>);

/// The text cannot be the name of a cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "cluster.name must have 1 to {MOST_NAME_BYTES} characters, and only letters of ASCII, digits, \"-\", \"_\" and \".\""
)]
pub struct NameError;

impl ClusterName {
    /// Checks a name. Braces in particular are refused, because Redis Cluster gives them a meaning in keys.
    pub fn new(text: &str) -> Result<Self, NameError> {
        let fits = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        if text.is_empty() || text.len() > MOST_NAME_BYTES || !text.bytes().all(fits) {
            return Err(NameError);
        }
        Ok(Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// One run of a node. It is chosen at random when the node starts, so that a node that has restarted is not
/// taken for its predecessor.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Incarnation(pub [u8; 16]);

impl Incarnation {
    /// The number of characters of its text.
    pub const TEXT: usize = 32;

    /// A new one, from the kernel's random numbers.
    pub fn random() -> Result<Self, getrandom::Error> {
        let mut bytes = [0; 16];
        getrandom::fill(&mut bytes)?;
        Ok(Self(bytes))
    }

    /// Parses the text that [`fmt::Display`] writes; `None` for anything else.
    pub fn parse(text: &str) -> Option<Self> {
        let is_digit = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if text.len() != Self::TEXT || !text.bytes().all(is_digit) {
            return None;
        }
        u128::from_str_radix(text, 16)
            .ok()
            .map(|number| Self(number.to_be_bytes()))
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", u128::from_be_bytes(self.0))
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The number of a claim. Of two claims of a user, the directory took the one with the higher number last.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Order(pub u64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incarnation_is_read_as_it_was_written() {
        let one = Incarnation::random().unwrap();
        assert_eq!(Incarnation::parse(&one.to_string()), Some(one));
        assert_ne!(Incarnation::random().unwrap(), one);
        let small = Incarnation([0; 16]);
        assert_eq!(Incarnation::parse(&small.to_string()), Some(small));
        for text in ["", "0", &"A".repeat(32), &"+0".repeat(16), &"0".repeat(33)] {
            assert_eq!(Incarnation::parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_name_has_no_characters_with_a_meaning_in_keys() {
        assert_eq!(ClusterName::new("mynah").unwrap().as_str(), "mynah");
        for text in ["", "a{b}", "a b", "a:b", "ä", &"a".repeat(65)] {
            assert_eq!(ClusterName::new(text), Err(NameError), "{text}");
        }
    }
}
