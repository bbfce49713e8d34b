//! What a key of the API may do.

use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Calls that are allowed together; which they are says `http/scopes.rs`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Sending messages.
    Send,
    /// Asking: who is connected, teams, the chat record.
    Read,
    /// Changing: sign-out, teams and their members.
    Manage,
    /// `/metrics`, where it asks for a key (`auth.metrics_key`).
    Metrics,
}

/// A set of [`Scope`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

/// A text that names no scopes. It does not repeat the text, which may be a key that was put in the wrong place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("scopes must be some of send, read, manage and metrics, or all")]
pub struct NoScopes;

impl Scope {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Send, Self::Read, Self::Manage, Self::Metrics];

    /// As it is written.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Send => "send",
            Self::Read => "read",
            Self::Manage => "manage",
            Self::Metrics => "metrics",
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl Scopes {
    /// None at all: nothing is allowed.
    pub const NONE: Self = Self(0);
    /// Every scope.
    pub const ALL: Self = Self::of(&Scope::ALL);

    /// These.
    pub const fn of(scopes: &[Scope]) -> Self {
        let (mut bits, mut at) = (0, 0);
        while at < scopes.len() {
            bits |= scopes[at].bit();
            at += 1;
        }
        Self(bits)
    }

    /// Whether `scope` is one of them.
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Those of both.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Each of them, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }

    /// Those with these names; at least one.
    pub(super) fn named<'a>(names: impl IntoIterator<Item = &'a str>) -> Result<Self, NoScopes> {
        let mut found = Self::NONE;
        for name in names {
            let scope = Scope::ALL.into_iter().find(|scope| scope.name() == name.trim());
            found = found.and(Self::of(&[scope.ok_or(NoScopes)?]));
        }
        if found == Self::NONE {
            Err(NoScopes)
        } else {
            Ok(found)
        }
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.iter().map(Scope::name).collect::<Vec<_>>().join(","))
    }
}

impl FromStr for Scopes {
    type Err = NoScopes;

    fn from_str(text: &str) -> Result<Self, NoScopes> {
        match text.trim() {
            "all" => Ok(Self::ALL),
            text => Self::named(text.split(',')),
        }
    }
}

impl Serialize for Scopes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter().map(Scope::name))
    }
}

impl<'de> Deserialize<'de> for Scopes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let names = Vec::<String>::deserialize(deserializer)?;
        Self::named(names.iter().map(String::as_str)).map_err(D::Error::custom)
    }
}
