//! `[auth]`

use serde::{Deserialize, Serialize};

use super::secret::Secret;
use super::section::section;

section! {
    /// Who may connect, and who may call the API.
    pub struct Auth {
        /// "open": a client is whoever it says (for development, and where something in front checks). "jwt": a client proves who it is with a
        /// token; this version does not have it yet and refuses to start.
        pub mode: Mode = Mode::Open;
        /// Keys for the HTTP API (/v1). None: one is made at the first start and kept in the data directory, file "api-key".
        pub api_keys: Vec<Secret> = Vec::new();
        /// Tokens of clients, for mode "jwt".
        pub jwt: Jwt = Jwt::default();
    }
}

section! {
    /// Tokens of clients, for mode "jwt".
    pub struct Jwt {
        /// The secret for HS256.
        pub secret: Option<Secret> = None;
    }
}

/// How a client shows who it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// It is believed.
    Open,
    /// By a signed token.
    Jwt,
}

impl Auth {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        for (index, key) in self.api_keys.iter().enumerate() {
            let key = key.expose();
            if key.is_empty() || !key.bytes().all(|b| b.is_ascii_graphic()) {
                problems.push(format!(
                    "auth.api_keys: key number {} must be printable ASCII characters without spaces",
                    index + 1
                ));
            }
        }
    }
}
