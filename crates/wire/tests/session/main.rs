//! Runs the session state machine against a model client with its own clock: no real waiting, and every order
//! of events.

mod close;
mod heartbeat;
mod orders;
mod pair;
mod upgrade;
