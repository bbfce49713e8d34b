//! Engine.IO 3 and 4, Socket.IO and WebSocket as pure codecs and state machines.
//!
//! Nothing here does IO, starts a task, reads a clock or draws a random number: bytes and instants are
//! arguments, and the results are values. The modules, in the order in which a received message passes them:
//!
//! 1. [`ws`]: the bytes of a WebSocket into messages and back (RFC 6455).
//! 2. [`engine`]: Engine.IO packets, polling bodies, the handshake, and [`engine::SessionMachine`], the state
//!    machine of heartbeat, upgrade and close.
//! 3. [`socket`]: Socket.IO packets inside Engine.IO messages, and the assembly of binary packets.
//!
//! Invariants: a peer's mistake is a value, never a panic; a decoder keeps no more than the limit that it was
//! given; input is never parsed recursively, so nested input cannot overflow the stack.

pub mod engine;
pub mod socket;
pub mod ws;
