//! The login policy: how many connections a user may have. The script `claim.lua` applies it.

/// How many connections a user may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Policy {
    /// One connection.
    Single,
    /// One connection per platform; connections without a platform count as one platform. In total at most
    /// this number; one more displaces the oldest.
    PerPlatform(usize),
    /// At most this number; one more displaces the oldest.
    Multi(usize),
}

impl Policy {
    /// The maximum number of connections of a user, and whether each platform may have only one.
    pub(crate) fn limits(self) -> (usize, bool) {
        match self {
            Self::Single => (1, false),
            Self::PerPlatform(most) => (most.max(1), true),
            Self::Multi(most) => (most.max(1), false),
        }
    }
}

/// Why a connection lost its registration to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Why {
    /// The same device has reconnected: this connection is stale.
    Stale,
    /// Another device displaced it.
    Displaced,
}

impl Why {
    /// Reads the letter that the script writes.
    pub(super) fn from_letter(letter: &str) -> Option<Self> {
        match letter {
            "s" => Some(Self::Stale),
            "d" => Some(Self::Displaced),
            _ => None,
        }
    }
}
