//! `[outbound]`

use std::path::PathBuf;

use super::section::section;

section! {
    /// Calls that the server makes: to webhooks, and to the issuer of tokens.
    pub struct Outbound {
        /// Certificates in PEM that are trusted besides those of the usual authorities (Mozilla's list): of your own authority, or of one server.
        /// Unset: the file that the environment variable SSL_CERT_FILE names, where that is set.
        pub ca_file: Option<PathBuf> = None;
    }
}
