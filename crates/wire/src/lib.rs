//! Engine.IO 3 and 4, Socket.IO and WebSocket as pure codecs and state machines.
//!
//! Nothing here does IO, starts a task, reads a clock or draws a random number: bytes and instants come in as arguments,
//! values come out. The rooms, in the order in which a message passes them:
//!
//! 1. [`ws`]: bytes of a WebSocket into messages and back (RFC 6455).
//! 2. [`engine`]: Engine.IO packets, polling bodies, the handshake, and [`engine::Session`], the state machine of
//!    heartbeat, upgrade and close.
//! 3. [`socket`]: Socket.IO packets inside engine messages, and the assembly of binary ones.
//!
//! Invariants: a peer's mistake is a value, never a panic; no decoder keeps more than the bound it was given; nothing a
//! peer sends is walked recursively.

pub mod engine;
pub mod socket;
pub mod ws;
