//! The secret that the nodes of a cluster share, and what is derived from it.
//!
//! Invariants: the secret itself is never sent nor shown; each use has a key of its own.

use std::fmt;

use ring::hmac::{HMAC_SHA256, Key, sign};

use crate::ids::ClusterName;

/// The minimum number of bytes of a secret. Whoever reads Redis can try guesses of the secret against what is
/// signed with it.
const FEWEST_BYTES: usize = 16;

/// See the module.
#[derive(Clone)]
pub struct Secret(Key);

/// The text cannot be a secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "cluster.secret must have at least {FEWEST_BYTES} bytes: use for example the output of `openssl rand -hex 32`"
)]
pub struct SecretError;

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret")
    }
}

impl Secret {
    /// Takes the text of `cluster.secret`.
    pub fn new(text: &str) -> Result<Self, SecretError> {
        match text.len() < FEWEST_BYTES {
            true => Err(SecretError),
            false => Ok(Self(Key::new(HMAC_SHA256, text.as_bytes()))),
        }
    }

    /// Makes a key for one use in one cluster. It does not reveal the secret.
    pub fn derive(&self, usage: &str, name: &ClusterName) -> [u8; 32] {
        let derived = sign(&self.0, format!("mynah {usage} {}", name.as_str()).as_bytes());
        let mut key = [0; 32];
        key.copy_from_slice(derived.as_ref());
        key
    }

    /// Like [`Secret::derive`], for signatures.
    pub(crate) fn key(&self, usage: &str, name: &ClusterName) -> Key {
        Key::new(HMAC_SHA256, &self.derive(usage, name))
    }

    /// A text by which nodes recognise that they have the same secret. It does not reveal the secret.
    pub fn mark(&self, name: &ClusterName) -> String {
        self.digest_for("mark", name, "")
    }

    /// A text that is the same for the same `text`, and does not reveal it: nodes can compare their settings
    /// by it where others can read it.
    pub fn digest(&self, name: &ClusterName, text: &str) -> String {
        self.digest_for("digest", name, text)
    }

    fn digest_for(&self, usage: &str, name: &ClusterName, text: &str) -> String {
        let digest = sign(&self.key(usage, name), text.as_bytes());
        digest.as_ref()[..16]
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// Whether a text has the form of [`Secret::mark`].
pub(crate) fn is_mark(text: &str) -> bool {
    text.len() == 32 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mark_depends_on_the_secret_and_the_name() {
        let [mynah, other] = ["mynah", "other"].map(|name| ClusterName::new(name).unwrap());
        let [one, two] =
            ["a secret of some length", "another one of some length"].map(|text| Secret::new(text).unwrap());
        assert_eq!(one.mark(&mynah), one.clone().mark(&mynah));
        assert_ne!(one.mark(&mynah), one.mark(&other));
        assert_ne!(one.mark(&mynah), two.mark(&mynah));
        assert!(is_mark(&one.mark(&mynah)) && !is_mark("hello"));
        assert_eq!(one.digest(&mynah, "a"), one.digest(&mynah, "a"));
        assert_ne!(one.digest(&mynah, "a"), one.digest(&mynah, "b"));
        assert_ne!(one.digest(&mynah, "a"), two.digest(&mynah, "a"));
        assert_ne!(one.digest(&mynah, ""), one.mark(&mynah));
        assert_eq!(Secret::new("too short").err(), Some(SecretError));
        assert_eq!(format!("{one:?}"), "Secret");
    }
}
