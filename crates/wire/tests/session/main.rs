//! The session against a model client, with a clock of its own: no waiting, every order.

mod close;
mod heartbeat;
mod orders;
mod pair;
mod upgrade;
