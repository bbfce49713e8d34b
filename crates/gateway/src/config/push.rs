//! `[push]`

use super::secret::Secret;
use super::section::section;
use super::url;

section! {
    /// Push notifications for users who do not receive a message.
    pub struct Push {
        /// How long a connected device may take to acknowledge a message (103, 106) before its user is notified. 0: a message counts
        /// as received as soon as its recipient is connected.
        pub ack_wait_ms: u64 = 15_000, in 0..=3_600_000;
        /// Wait before the first attempt, so that a user who is just reconnecting is not notified. Urgent kinds do
        /// not wait.
        pub delay_ms: u64 = 3_000, in 0..=600_000;
        /// Wait before the first retry; it doubles with each further one, with jitter.
        pub retry_initial_ms: u64 = 1_000, in 1..=86_400_000;
        /// Longest wait between retries.
        pub retry_max_ms: u64 = 60_000, in 1..=86_400_000;
        /// A notification that could not be handed over within this time is given up, kept as dead and counted.
        pub job_ttl_ms: u64 = 86_400_000, in 1..=31_536_000_000;
        /// Most notifications that are in flight at once, and at most one of each user (besides an urgent one). One
        /// eighth is reserved for urgent kinds.
        pub concurrency: usize = 64, in 1..=10_000;
        /// The provider: a POST for each notification.
        pub webhook: Webhook = Webhook::default();
    }
}

section! {
    /// The provider: a POST for each notification.
    pub struct Webhook {
        /// Where notifications are posted to (http or https). Unset: nobody is notified.
        pub url: Option<String> = None;
        /// Signs the notifications (HMAC-SHA256, header X-Mynah-Signature). Set it whenever url is set.
        pub secret: Option<Secret> = None;
        /// A notification that is not answered within this time has failed and is tried again.
        pub timeout_ms: u64 = 5_000, in 1..=600_000;
    }
}

impl Push {
    /// The longest time until a waiting job is due again, in milliseconds: until the next attempt (with
    /// jitter), or while an acknowledgement or a reconnect is waited for.
    pub fn longest_wait_ms(&self) -> u64 {
        let between_attempts = self.retry_max_ms + self.retry_max_ms / 4;
        between_attempts.max(self.ack_wait_ms).max(2 * self.delay_ms)
    }

    pub(super) fn check(&self, problems: &mut Vec<String>) {
        if self.retry_initial_ms > self.retry_max_ms {
            problems.push(format!(
                "push.retry_initial_ms ({}) must not be more than push.retry_max_ms ({})",
                self.retry_initial_ms, self.retry_max_ms
            ));
        }
        if let Some(url) = &self.webhook.url {
            url::check("push.webhook.url", url, problems);
        }
        if self
            .webhook
            .secret
            .as_ref()
            .is_some_and(|secret| secret.expose().is_empty())
        {
            problems.push("push.webhook.secret must not be empty; leave it out to send unsigned".into());
        }
    }
}
