//! `[auth.webhook]`

use super::secret::Secret;
use super::section::section;
use super::url;

section! {
    /// Who decides about registers in mode "webhook": a POST for each, answered 200, 401 or 403.
    pub struct AuthWebhook {
        /// Where registers are posted to (http or https).
        pub url: Option<String> = None;
        /// Signs them (HMAC-SHA256, header X-Mynah-Signature), as notifications are signed. Set it whenever url is set.
        pub secret: Option<Secret> = None;
        /// A register that is not decided within this time, waiting for its turn included, is answered 503.
        pub timeout_ms: u64 = 5_000, in 1..=60_000;
        /// Registers that are asked about at once.
        pub concurrency: usize = 256, in 1..=10_000;
        /// Most registers from one address (for IPv6: from one network of 64 bits) that wait for a free call; one
        /// more is answered 503. 0 is unlimited.
        pub waiting_per_address: usize = 1_024, in 0..=100_000;
    }
}

impl AuthWebhook {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        if let Some(url) = &self.url {
            url::check("auth.webhook.url", url, problems);
        }
        if self
            .secret
            .as_ref()
            .is_some_and(|secret| secret.expose().is_empty())
        {
            problems.push("auth.webhook.secret must not be empty; leave it out to send unsigned".into());
        }
    }
}
