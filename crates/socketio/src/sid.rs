//! Session ids.

/// A session id: 20 characters of base64url, as Socket.IO's own adapters expect.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Sid([u8; 20]);

impl Sid {
    /// Creates an id from the system's random numbers.
    pub(crate) fn random() -> Result<Self, getrandom::Error> {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let mut sid = [0; 20];
        getrandom::fill(&mut sid)?;
        Ok(Self(sid.map(|byte| ALPHABET[usize::from(byte & 63)])))
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
}
