//! Each kind of id has a type of its own, so that a uid cannot be confused with a device or a conversation.
//!
//! Invariant: every value is valid. A constructor that takes text of a client or the backend checks it.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use serde::{Serialize, Serializer};
use sha2::{Digest, Sha256};

/// The maximum length of a uid, a device id or a team key, in bytes of UTF-8 (docs/PROTOCOL.md#10-limits).
pub const MAX_ID_BYTES: usize = 128;
/// The maximum length of a client's message id (`cid`), in bytes of UTF-8 (docs/PROTOCOL.md#10-limits).
pub const MAX_CID_BYTES: usize = 64;

/// Why a text is not a valid id. The sentence says what to change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is empty.
    #[error("must not be empty")]
    Empty,
    /// The text has too many bytes.
    #[error("must be at most {0} bytes")]
    TooLong(usize),
    /// The text has a character below U+0020, or from U+007F to U+009F.
    #[error("must not contain control characters")]
    Control,
    /// The text is "." or "..". URL clients remove these from a path, so the API could not address them.
    #[error("must not be \".\" or \"..\"")]
    Dots,
    /// JSON can contain half of a surrogate pair (`"\ud83d"`). It is not a character, and UTF-8 cannot
    /// represent it.
    #[error("must not contain half of a surrogate pair")]
    HalfPair,
}

fn checked(text: &str, max: usize) -> Result<Arc<str>, IdError> {
    match text {
        "" => Err(IdError::Empty),
        t if t.len() > max => Err(IdError::TooLong(max)),
        t if t.chars().any(char::is_control) => Err(IdError::Control),
        t => Ok(t.into()),
    }
}

/// Checks a short text that is stored and shown. It has the limits of an id, but identifies nothing.
pub fn label(text: &str) -> Result<Box<str>, IdError> {
    checked(text, MAX_ID_BYTES).map(|text| (*text).into())
}

/// Like [`checked`], for ids that occur in the paths of the API.
fn in_path(text: &str, max: usize) -> Result<Arc<str>, IdError> {
    match text {
        "." | ".." => Err(IdError::Dots),
        text => checked(text, max),
    }
}

macro_rules! text_id {
    ($(#[$doc:meta])* $name:ident, $max:expr, $check:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Arc<str>);

        impl $name {
            /// Checks `text`: it has at least 1 byte and at most the type's limit, and no control characters.
            /// Ids that occur in paths must not be "." or "..".
            pub fn new(text: &str) -> Result<Self, IdError> {
                $check(text, $max).map(Self)
            }

            /// The text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(&self.0)
            }
        }
    };
}

text_id!(
    /// A user's id, which the application chooses.
    Uid, MAX_ID_BYTES, in_path
);
text_id!(
    /// The id of one of a user's devices.
    DeviceId, MAX_ID_BYTES, checked
);
text_id!(
    /// A team's key, which the application chooses.
    TeamId, MAX_ID_BYTES, in_path
);
text_id!(
    /// The id that a sender gave its message, by which a repeated send is recognised.
    Cid, MAX_CID_BYTES, checked
);

impl Uid {
    /// Reads a JSON value: a string, or an integer, which means its decimal digits
    /// (docs/PROTOCOL.md#4-registering). `None` for any other value.
    pub fn from_json(raw: &str) -> Option<Result<Self, IdError>> {
        string_or_integer(raw).map(|text| Self::new(&text?))
    }
}

impl TeamId {
    /// Reads a JSON value like [`Uid::from_json`].
    pub fn from_json(raw: &str) -> Option<Result<Self, IdError>> {
        string_or_integer(raw).map(|text| Self::new(&text?))
    }
}

/// Returns the text of a JSON string, or the digits of a JSON integer.
fn string_or_integer(raw: &str) -> Option<Result<Cow<'_, str>, IdError>> {
    if let Some(text) = json_string(raw) {
        return Some(text);
    }
    is_integer(raw).then_some(Ok(Cow::Borrowed(if raw == "-0" { "0" } else { raw })))
}

/// The text of a JSON string; `None` for any other JSON value. `raw` must be valid JSON, so the only possible
/// error is half of a surrogate pair.
pub fn json_string(raw: &str) -> Option<Result<Cow<'_, str>, IdError>> {
    let text = raw.strip_prefix('"')?.strip_suffix('"')?;
    Some(if text.contains('\\') {
        serde_json::from_str(raw)
            .map(Cow::Owned)
            .map_err(|_| IdError::HalfPair)
    } else {
        Ok(Cow::Borrowed(text))
    })
}

/// Returns whether a JSON value is an integer without fraction or exponent.
pub fn is_integer(raw: &str) -> bool {
    let digits = raw.strip_prefix('-').unwrap_or(raw);
    !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit())
}

/// The number of a kind in a JSON value: `Some(None)` if it is a whole number that cannot be a kind, `None`
/// if it is not a whole number. JSON has no integers, so 6.0 is 6.
pub fn kind_number(raw: &str) -> Option<Option<u16>> {
    if is_integer(raw) {
        return Some(raw.parse().ok());
    }
    let number: f64 = serde_json::from_str(raw).ok()?;
    let is_small = (0.0..=f64::from(u16::MAX)).contains(&number);
    (number.fract() == 0.0).then(|| is_small.then_some(number as u16))
}

/// A message's number inside its conversation: 1, 2, 3 ... without gaps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default, Serialize)]
#[serde(transparent)]
pub struct Seq(pub u64);

impl fmt::Display for Seq {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// The server's message id: a UUIDv7 (RFC 9562), unique without coordination and sortable by time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Mid(pub uuid::Uuid);

/// Writes an id as the digits of a UUID, in one of its forms.
macro_rules! as_uuid {
    ($name:ident, $form:ident, $length:expr, $to:expr, $from:expr) => {
        impl $name {
            /// Parses the text that [`fmt::Display`] writes; `None` for anything else.
            pub fn parse(text: &str) -> Option<Self> {
                let id = uuid::Uuid::try_parse(text).ok().map($from)?;
                // `try_parse` also accepts other forms, such as braces and capitals, in which the gateway
                // never writes an id.
                (id.text(&mut [0; _]) == text).then_some(id)
            }

            /// Writes the text of the id into `space`.
            pub fn text<'a>(&self, space: &'a mut [u8; $length]) -> &'a str {
                $to(self).$form().encode_lower(space)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(self.text(&mut [0; _]))
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
                s.serialize_str(self.text(&mut [0; _]))
            }
        }
    };
}

as_uuid!(
    Mid,
    hyphenated,
    uuid::fmt::Hyphenated::LENGTH,
    |id: &Mid| id.0,
    Mid
);
as_uuid!(
    ConvId,
    simple,
    uuid::fmt::Simple::LENGTH,
    |id: &ConvId| uuid::Uuid::from_bytes(id.0),
    |id: uuid::Uuid| ConvId(id.into_bytes())
);

/// The class of a pair conversation. Two users can have one conversation of each class
/// (docs/PROTOCOL.md#5-kinds).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum PairClass {
    /// Kinds 3, 18 and 19, and the application's pair kinds.
    Plain = 0,
    /// Kind 7.
    Doctor = 1,
    /// Kind 8.
    Teammate = 2,
    /// Kind 9.
    DoctorFriend = 3,
}

/// The id of a conversation, which is opaque to clients. For pairs and notices it is derived from the uids,
/// so that it can be computed without a lookup. For a team it is random, and created with the team.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ConvId(pub [u8; 16]);

impl ConvId {
    /// Returns the conversation of class `class` between two users, in either order. Both may be the same
    /// user.
    pub fn pair(class: PairClass, one: &Uid, other: &Uid) -> Self {
        let (a, b) = if one <= other { (one, other) } else { (other, one) };
        Self::derived(
            b'p',
            &[&[class as u8], a.as_str().as_bytes(), b.as_str().as_bytes()],
        )
    }

    /// The conversation with a user's notices.
    pub fn notices(uid: &Uid) -> Self {
        Self::derived(b'n', &[uid.as_str().as_bytes()])
    }

    fn derived(tag: u8, parts: &[&[u8]]) -> Self {
        let mut hash = Sha256::new();
        hash.update([tag]);
        for part in parts {
            hash.update((part.len() as u32).to_be_bytes());
            hash.update(part);
        }
        let mut id = [0; 16];
        id.copy_from_slice(&hash.finalize()[..16]);
        Self(id)
    }
}

impl fmt::Debug for ConvId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}
