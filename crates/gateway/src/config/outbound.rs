//! `[outbound]`

use std::path::PathBuf;

use super::section::section;

section! {
    /// Requests that the server sends: to webhooks, and to the issuer of tokens.
    pub struct Outbound {
        /// A PEM file with certificates that are trusted in addition to the usual authorities (Mozilla's
        /// list): those of your own authority, or of a server itself. If this is not set, the file that the
        /// environment variable SSL_CERT_FILE names is used, if any.
        pub ca_file: Option<PathBuf> = None;
    }
}
