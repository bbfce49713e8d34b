//! `[push]`

use super::secret::Secret;
use super::section::section;
use super::url;

section! {
    /// Notifications for users who do not receive a message.
    pub struct Push {
        /// Time within which a connected device should acknowledge a message (103, 106); otherwise its user
        /// is notified. 0: a message counts as received as soon as its recipient is connected.
        pub ack_wait_ms: u64 = 15_000, in 0..=3_600_000;
        /// Time before the first attempt, so that a user who is just reconnecting is not notified. Urgent
        /// kinds do not wait.
        pub delay_ms: u64 = 3_000, in 0..=600_000;
        /// Time before the first retry. It doubles with each further retry, with jitter.
        pub retry_initial_ms: u64 = 1_000, in 1..=86_400_000;
        /// Longest time between retries.
        pub retry_max_ms: u64 = 60_000, in 1..=86_400_000;
        /// A notification that could not be delivered within this time is given up: it is kept as dead, and
        /// counted.
        pub job_ttl_ms: u64 = 86_400_000, in 1..=31_536_000_000;
        /// Maximum number of notifications that are in flight at once. Each user has at most one, and an
        /// urgent one in addition. One eighth is reserved for urgent kinds.
        pub concurrency: usize = 64, in 1..=10_000;
        /// The webhook for notifications.
        pub webhook: Webhook = Webhook::default();
    }
}

section! {
    /// The webhook for notifications. Each notification is a POST.
    pub struct Webhook {
        /// The URL to which notifications are posted (http or https). If it is not set, nobody is notified.
        pub url: Option<String> = None;
        /// The secret that signs the notifications (HMAC-SHA256, header X-Mynah-Signature). Set it whenever
        /// url is set.
        pub secret: Option<Secret> = None;
        /// A notification that is not answered within this time has failed and is retried.
        pub timeout_ms: u64 = 5_000, in 1..=600_000;
    }
}

impl Push {
    /// Returns the longest time until a waiting job is due again, in milliseconds. It waits for the next
    /// attempt (with jitter), or for an acknowledgement or a reconnect.
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
        let (url, secret) = (self.webhook.url.as_ref(), self.webhook.secret.as_ref());
        url::check_webhook("push.webhook", url, secret, problems);
    }
}
