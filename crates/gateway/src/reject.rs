//! The errors that a client or the backend gets: the table of codes, and a code with its sentence.

use std::borrow::Cow;

use crate::store::StoreError;

/// The codes of responses other than 0 (docs/PROTOCOL.md#2-frames). HTTP responses use the same numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u16)]
pub enum Code {
    /// A field is missing or has the wrong type. Change the request.
    Malformed = 400,
    /// The connection is not registered, or there is no valid key or token. Register first.
    Unauthenticated = 401,
    /// The request is not allowed for this user or key. Do not repeat it.
    Forbidden = 403,
    /// There is no such kind, user, team or conversation.
    NotFound = 404,
    /// It has already been done, or contradicts the present state.
    Conflict = 409,
    /// It is larger than a limit allows. Send less.
    TooLarge = 413,
    /// It is more frequent than a limit allows. Slow down, then repeat it.
    TooFast = 429,
    /// The gateway has made a mistake, which is in its log.
    Internal = 500,
    /// The store or a queue is unavailable. Repeat it later.
    Unavailable = 503,
}

impl Code {
    /// All codes.
    pub const ALL: [Self; 9] = [
        Self::Malformed,
        Self::Unauthenticated,
        Self::Forbidden,
        Self::NotFound,
        Self::Conflict,
        Self::TooLarge,
        Self::TooFast,
        Self::Internal,
        Self::Unavailable,
    ];

    /// The code in one word, for metrics and logs.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Malformed => "malformed",
            Self::Unauthenticated => "unauthenticated",
            Self::Forbidden => "forbidden",
            Self::NotFound => "not_found",
            Self::Conflict => "conflict",
            Self::TooLarge => "too_large",
            Self::TooFast => "too_fast",
            Self::Internal => "internal",
            Self::Unavailable => "unavailable",
        }
    }

    /// The number on the wire.
    pub const fn number(self) -> u16 {
        self as u16
    }
}

/// Why a request was refused: `code` is for programs, `error` is a sentence for people that says what to
/// change.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{error} ({})", code.number())]
pub struct Reject {
    /// The number.
    pub code: Code,
    /// The sentence.
    pub error: Cow<'static, str>,
}

impl Reject {
    /// A code with its sentence.
    pub fn new(code: Code, error: impl Into<Cow<'static, str>>) -> Self {
        Self {
            code,
            error: error.into(),
        }
    }

    /// An error with code 400.
    pub fn malformed(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Malformed, error)
    }

    /// An error with code 403.
    pub fn forbidden(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Forbidden, error)
    }

    /// An error with code 404.
    pub fn not_found(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::NotFound, error)
    }

    /// An error with code 404 for a number that is not a kind.
    pub fn no_such_kind() -> Self {
        Self::not_found("There is no such kind; see the table of kinds.")
    }

    /// An error with code 413.
    pub fn too_large(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::TooLarge, error)
    }

    /// An error with code 429.
    pub fn too_fast(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::TooFast, error)
    }

    /// An error with code 500.
    pub fn internal(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Internal, error)
    }

    /// An error with code 503.
    pub fn unavailable(error: impl Into<Cow<'static, str>>) -> Self {
        Self::new(Code::Unavailable, error)
    }
}

impl From<StoreError> for Reject {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::NotFound(what) => Self::not_found(format!("There is no such {what}.")),
            StoreError::Forbidden(why) => Self::forbidden(sentence(why)),
            StoreError::Conflict(why) => Self::new(Code::Conflict, sentence(why)),
            StoreError::TooLarge(why) => Self::too_large(sentence(&why)),
            StoreError::TooFast(why) => Self::too_fast(sentence(&why)),
            // The details are for the operator's log, not for the client.
            StoreError::Unavailable(_) => Self::unavailable("The message store is failing; try again later."),
        }
    }
}

/// The text with a capital letter at its start and a full stop at its end.
pub(crate) fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars.next().map(char::to_uppercase);
    let mut sentence: String = first.into_iter().flatten().chain(chars).collect();
    if !sentence.ends_with('.') {
        sentence.push('.');
    }
    sentence
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_distinct_and_those_of_the_contract() {
        let numbers = Code::ALL.map(Code::number);
        assert_eq!(numbers, [400, 401, 403, 404, 409, 413, 429, 500, 503]);
    }

    #[test]
    fn what_the_store_says_becomes_a_sentence() {
        let reject = Reject::from(StoreError::Forbidden("only members may write; ask to be added"));
        assert_eq!(reject.error, "Only members may write; ask to be added.");
        assert_eq!(reject.code, Code::Forbidden);
    }

    #[test]
    fn what_is_wrong_with_the_store_stays_inside() {
        let reject = Reject::from(StoreError::Unavailable("/var/secret: no space".into()));
        assert_eq!(reject.code, Code::Unavailable);
        assert!(!reject.error.contains("secret"));
    }
}
