//! The scopes of an API key: the calls for which it may be used.

use std::fmt;
use std::str::FromStr;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A group of API calls. `http/scopes.rs` says which calls belong to which scope.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Sending messages.
    Send,
    /// Reading: who is connected, teams, and the history.
    Read,
    /// Changing: revocations, teams and their members.
    Manage,
    /// `/metrics`, if it requires a key (`auth.metrics_key`).
    Metrics,
}

/// A set of [`Scope`]s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

/// The error for a text that does not name scopes. It does not contain the text, which may be a key in the
/// wrong place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("scopes must be some of send, read, manage and metrics, or all")]
pub struct NoScopes;

impl Scope {
    /// Every scope.
    pub const ALL: [Self; 4] = [Self::Send, Self::Read, Self::Manage, Self::Metrics];

    /// Returns the name of the scope in the configuration and in the API.
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
    /// The empty set, which allows nothing.
    pub const NONE: Self = Self(0);
    /// The set of all scopes.
    pub const ALL: Self = Self((1 << Scope::ALL.len()) - 1);

    /// Returns the set of these scopes.
    pub fn of(scopes: &[Scope]) -> Self {
        Self(scopes.iter().fold(0, |bits, scope| bits | scope.bit()))
    }

    /// Returns whether the set contains `scope`.
    pub const fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Returns the union of both sets.
    #[must_use]
    pub const fn and(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Returns the scopes of the set, in the order of [`Scope::ALL`].
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL.into_iter().filter(move |scope| self.has(*scope))
    }

    /// Returns the set of the scopes with these names; an error if it is empty.
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
