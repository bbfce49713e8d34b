//! `[auth.webhook]`

use super::secret::Secret;
use super::section::section;
use super::url;

section! {
    /// The backend's webhook that decides about registers, for mode "webhook". Each register is a POST, which
    /// is answered 200, 401 or 403.
    pub struct AuthWebhook {
        /// The URL to which registers are posted (http or https).
        pub url: Option<String> = None;
        /// The secret that signs the requests, in the same way as notifications (HMAC-SHA256, header
        /// X-Mynah-Signature). Set it whenever url is set.
        pub secret: Option<Secret> = None;
        /// A register is answered 503 if the backend has not decided within this time, which includes the
        /// wait for a free call.
        pub timeout_ms: u64 = 5_000, in 1..=60_000;
        /// Maximum number of calls of the webhook that are in flight at once.
        pub concurrency: usize = 256, in 1..=10_000;
        /// Maximum number of registers from one address (for IPv6: from one /64 network) that wait for a free
        /// call; any further one is answered 503. 0 is unlimited.
        pub waiting_per_address: usize = 1_024, in 0..=100_000;
    }
}

impl AuthWebhook {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        let (url, secret) = (self.url.as_ref(), self.secret.as_ref());
        url::check_webhook("auth.webhook", url, secret, problems);
    }
}
