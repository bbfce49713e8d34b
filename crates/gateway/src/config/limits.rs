//! `[limits]`: every limit of the gateway, except those of the transport (`[engine]`).

use super::section::section;

section! {
    /// Limits. A call beyond one is answered 413, 429 or 503. A connection whose client reads too slowly is
    /// closed; the client is expected to reconnect and to resume.
    pub struct Limits {
        /// Sessions of clients, in total; any further one is answered 503. 0 is unlimited.
        pub connections: usize = 200_000, in 0..=100_000_000;
        /// Sessions of clients from one address (for IPv6: from one /64 network); any further one is answered
        /// 429. Many users may share an address, for example those of a mobile carrier, or all users behind a
        /// proxy that is missing in server.trusted_proxies. 0 is unlimited.
        pub connections_per_address: usize = 32_768, in 0..=100_000_000;
        /// Bytes that are buffered for all connections: messages and bodies that are incomplete or not
        /// handled yet, and output that slow readers have not read. The first 4 KiB of each connection do not
        /// count. If the limit is reached, a connection that needs more is closed, or its request is answered
        /// 503. 0 is unlimited.
        pub held_bytes: usize = 1_073_741_824, in 0..=1_099_511_627_776;
        /// The same for the connections of one address.
        pub held_bytes_per_address: usize = 268_435_456, in 0..=1_099_511_627_776;
        /// A connection that has not registered within this time is closed, and its client is expected to
        /// reconnect. 0 is unlimited.
        pub register_timeout_ms: u32 = 0, in 0..=86_400_000;
        /// Largest `data` of a message, in bytes of JSON.
        pub message_bytes: usize = 65_536, in 1..=67_108_864;
        /// Deepest nesting of `data`.
        pub nesting: usize = 128, in 1..=1_000;
        /// Frames per second of one connection; 0 is unlimited.
        pub frames_per_second: u32 = 500, in 0..=10_000_000;
        /// Frames that one connection may send at once; 0 is unlimited.
        pub frames_burst: u32 = 2_000, in 0..=10_000_000;
        /// Frames of one connection that are answered 429, because it exceeds its rate, before it is closed.
        /// The allowance grows by frames_per_second each second. 0: the connection is not closed.
        pub refused_burst: u32 = 10_000, in 0..=10_000_000;
        /// Messages per second that one user sends on all connections; 0 is unlimited. Calls of the API do
        /// not count.
        pub user_messages_per_second: u32 = 1_000, in 0..=10_000_000;
        /// Messages that one user may send at once; 0 is unlimited.
        pub user_messages_burst: u32 = 4_000, in 0..=10_000_000;
        /// Bytes of `data` per minute that one user sends on all connections; 0 is unlimited. Calls of the
        /// API do not count.
        pub user_bytes_per_minute: u32 = 60_000_000, in 0..=4_000_000_000;
        /// Bytes of `data` that one user may send at once; 0 is unlimited. It must not be less than
        /// message_bytes.
        pub user_bytes_burst: u32 = 60_000_000, in 0..=4_000_000_000;
        /// Conversations with other users (or with itself) that one user begins within an hour by sending the
        /// first message; 0 is unlimited. Calls of the API do not count.
        pub new_conversations_per_hour: u32 = 60, in 0..=10_000_000;
        /// Registers per minute of one connection; 0 is unlimited.
        pub registers_per_minute: u32 = 600, in 0..=10_000_000;
        /// Registers that one connection may send at once; 0 is unlimited.
        pub registers_burst: u32 = 1_000, in 0..=10_000_000;
        /// Registers per minute of one user, on all connections; 0 is unlimited.
        pub user_registers_per_minute: u32 = 600, in 0..=10_000_000;
        /// Registers that one user may send at once; 0 is unlimited.
        pub user_registers_burst: u32 = 1_000, in 0..=10_000_000;
        /// Connections of one user with login.policy "per-platform", whatever platforms they name; a further
        /// one displaces the oldest.
        pub connections_per_user: usize = 100, in 1..=100_000;
        /// Longest token of a client.
        pub token_bytes: usize = 8_192, in 256..=65_536;
        /// Revocations of tokens that are kept at a time. Those of displaced devices (login.revoke_displaced)
        /// have a limit of their own, of the same size.
        pub revocations: usize = 1_000_000, in 1..=100_000_000;
        /// Members of a team.
        pub members: usize = 100_000, in 1..=10_000_000;
        /// Users that one API call may name.
        pub uids_per_call: usize = 10_000, in 1..=1_000_000;
        /// Messages of one batch.
        pub messages_per_call: usize = 1_000, in 1..=100_000;
        /// Largest body of an API call.
        pub body_bytes: usize = 8_388_608, in 1_024..=1_073_741_824;
        /// API calls that are handled at the same time. Further ones wait, and are answered 503 after 2 s. A
        /// quarter is reserved for API keys without a call in flight. 0 is unlimited.
        pub calls_in_flight: usize = 1_024, in 0..=1_000_000;
        /// Bytes that are buffered for API calls: request bodies that are arriving and responses that are not
        /// read yet. The first 64 KiB of each call do not count. A call beyond the limit waits, and is
        /// answered 503 after 2 s. A quarter is reserved for API keys without another large call. 0 is
        /// unlimited.
        pub call_bytes: usize = 67_108_864, in 0..=1_099_511_627_776;
        /// API calls per second with one key; 0 is unlimited.
        pub calls_per_second: u32 = 0, in 0..=10_000_000;
        /// API calls that may be made at once with one key; 0 is unlimited.
        pub calls_burst: u32 = 1_000, in 0..=10_000_000;
        /// Bytes that may wait to be written to one connection. A connection with more reads too slowly, and
        /// is closed.
        pub queue_bytes: usize = 1_048_576, in 1_024..=1_073_741_824;
        /// Messages that wait for the store. If the limit is reached, the server stops reading from clients
        /// for a while, and API calls are answered 503 after 2 s. A quarter is reserved for connections and
        /// API keys without waiting messages.
        pub appends_in_flight: usize = 16_384, in 1..=1_048_576;
        /// Messages of one connection that wait for the store.
        pub appends_in_flight_per_connection: usize = 256, in 1..=65_536;
        /// Devices that are remembered for one user. Beyond the limit, the device that was inactive for the
        /// longest time is forgotten.
        pub devices_per_user: usize = 100, in 1..=10_000;
        /// Messages that are replayed to a device that resumes. It fetches the others itself.
        pub resume_messages: u32 = 500, in 0..=100_000;
        /// Age up to which the sender may recall a message.
        pub recall_window_ms: u64 = 120_000, in 0..=31_536_000_000;
        /// Largest team in which all members are told how far a member has read.
        pub read_receipt_members: usize = 500, in 0..=10_000_000;
        /// A message with the same `cid` of the same sender in the same conversation within this time is a
        /// repeated send, and is not stored again.
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
