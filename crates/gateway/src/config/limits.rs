//! `[limits]`: every bound of the gateway that is not part of the transport.

use super::section::section;

section! {
    /// Bounds. Beyond them a call is answered 413 or 429, a slow reader is closed (it reconnects and resumes).
    pub struct Limits {
        /// Sessions of clients, in total; one more is answered 503. 0 is unlimited.
        pub connections: usize = 200_000, in 0..=100_000_000;
        /// Sessions of clients from one address (of IPv6: from one network of 64 bits); one more is answered 429. Many people may share an
        /// address: those of a mobile carrier, and all of them behind a proxy that is not in server.trusted_proxies. 0 is unlimited.
        pub connections_per_address: usize = 32_768, in 0..=100_000_000;
        /// Bytes that are buffered for all connections: messages and bodies that are incomplete or not handled
        /// yet, and output that slow readers have not read. The first 4 KiB of each connection do not count.
        /// Beyond it a connection that needs more is closed, or its request is answered 503. 0 is unlimited.
        pub held_bytes: usize = 1_073_741_824, in 0..=1_099_511_627_776;
        /// The same for the connections of one address.
        pub held_bytes_per_address: usize = 268_435_456, in 0..=1_099_511_627_776;
        /// A connection that has not registered within this time is closed, and its client is expected to
        /// reconnect. 0 is never, as in the replaced system.
        pub register_timeout_ms: u32 = 0, in 0..=86_400_000;
        /// Largest `data` of a message, as JSON.
        pub message_bytes: usize = 65_536, in 1..=67_108_864;
        /// Deepest nesting of `data`.
        pub nesting: usize = 128, in 1..=1_000;
        /// Frames per second of one connection; 0 is unlimited.
        pub frames_per_second: u32 = 500, in 0..=10_000_000;
        /// Frames of one connection at once; 0 is unlimited.
        pub frames_burst: u32 = 2_000, in 0..=10_000_000;
        /// Frames of one connection beyond its rate that are answered 429 before it is closed; as many more each second as frames_per_second. 0: it
        /// is not closed.
        pub refused_burst: u32 = 10_000, in 0..=10_000_000;
        /// Messages per second that a user sends, from all its connections; 0 is unlimited. Calls of the API do not count.
        pub user_messages_per_second: u32 = 1_000, in 0..=10_000_000;
        /// Messages of a user at once; 0 is unlimited.
        pub user_messages_burst: u32 = 4_000, in 0..=10_000_000;
        /// Bytes of `data` per minute that a user sends, from all its connections; 0 is unlimited. Calls of the API do not count.
        pub user_bytes_per_minute: u32 = 60_000_000, in 0..=4_000_000_000;
        /// Bytes of a user at once; 0 is unlimited. Not less than message_bytes.
        pub user_bytes_burst: u32 = 60_000_000, in 0..=4_000_000_000;
        /// Conversations with other users (or with itself) that a user begins within an hour, by sending their
        /// first message; 0 is unlimited. Calls of the API do not count.
        pub new_conversations_per_hour: u32 = 60, in 0..=10_000_000;
        /// Registers per minute of one connection; 0 is unlimited.
        pub registers_per_minute: u32 = 600, in 0..=10_000_000;
        /// Registers of one connection at once; 0 is unlimited.
        pub registers_burst: u32 = 1_000, in 0..=10_000_000;
        /// Registers per minute of one user, on all connections; 0 is unlimited.
        pub user_registers_per_minute: u32 = 600, in 0..=10_000_000;
        /// Registers of one user at once; 0 is unlimited.
        pub user_registers_burst: u32 = 1_000, in 0..=10_000_000;
        /// With login.policy "per-platform": connections of a user, whatever platforms they name; one more displaces the oldest.
        pub connections_per_user: usize = 100, in 1..=100_000;
        /// Longest token of a client.
        pub token_bytes: usize = 8_192, in 256..=65_536;
        /// Revocations of tokens that are kept at a time. Those of displaced devices (login.revoke_displaced) have
        /// a limit of their own, of the same size.
        pub revocations: usize = 1_000_000, in 1..=100_000_000;
        /// Members of a team.
        pub members: usize = 100_000, in 1..=10_000_000;
        /// Users that one API call may name.
        pub uids_per_call: usize = 10_000, in 1..=1_000_000;
        /// Messages of one batch.
        pub messages_per_call: usize = 1_000, in 1..=100_000;
        /// Largest body of an API call.
        pub body_bytes: usize = 8_388_608, in 1_024..=1_073_741_824;
        /// Calls of the API that are answered at a time; more wait, and get 503 after a moment. A quarter is kept
        /// for API keys that have no call under way. 0 is unlimited.
        pub calls_in_flight: usize = 1_024, in 0..=1_000_000;
        /// Bytes that are buffered for calls of the API: request bodies that are arriving and responses that are
        /// not read yet. The first 64 KiB of each do not count. A call beyond it waits, and is answered 503
        /// after 2 s. A quarter is kept for API keys that have no other large call. 0 is unlimited.
        pub call_bytes: usize = 67_108_864, in 0..=1_099_511_627_776;
        /// Calls per second with one API key; 0 is unlimited.
        pub calls_per_second: u32 = 0, in 0..=10_000_000;
        /// Calls with one API key at once; 0 is unlimited.
        pub calls_burst: u32 = 1_000, in 0..=10_000_000;
        /// What may wait to be written to one connection; beyond it the reader is too slow and is closed.
        pub queue_bytes: usize = 1_048_576, in 1_024..=1_073_741_824;
        /// Messages that wait for the store; beyond it clients are read later, and API calls get 503 after a short
        /// wait. A quarter is kept for connections and API keys that have none waiting.
        pub appends_in_flight: usize = 16_384, in 1..=1_048_576;
        /// Messages of one connection that wait for the store.
        pub appends_in_flight_per_connection: usize = 256, in 1..=65_536;
        /// Devices of a user that are remembered; beyond it the one that did nothing for longest is forgotten.
        pub devices_per_user: usize = 100, in 1..=10_000;
        /// Messages that a device which resumes is sent at once; it fetches the rest.
        pub resume_messages: u32 = 500, in 0..=100_000;
        /// How old a message may be that its sender takes back.
        pub recall_window_ms: u64 = 120_000, in 0..=31_536_000_000;
        /// Members up to which all of a team are told who has read how far.
        pub read_receipt_members: usize = 500, in 0..=10_000_000;
        /// The same `cid` of the same sender in the same conversation within this time is the same message.
        pub dedupe_window_ms: u64 = 604_800_000, in 1..=31_536_000_000;
    }
}

impl Limits {
    pub(super) fn check(&self, problems: &mut Vec<String>) {
        if self.message_bytes > self.body_bytes {
            problems.push(format!(
                "limits.message_bytes ({}) must not be more than limits.body_bytes ({})",
                self.message_bytes, self.body_bytes
            ));
        }
        if (1..self.message_bytes).contains(&(self.user_bytes_burst as usize)) {
            problems.push(format!(
                "limits.user_bytes_burst ({}) must not be less than limits.message_bytes ({}), unless it is 0",
                self.user_bytes_burst, self.message_bytes
            ));
        }
    }
}
