//! Notifications to those who are away: jobs come from the store, a provider takes them.
//!
//! Invariants: a job's row goes only after its notification was taken, was not needed, or was given up and counted; what is under
//! way is bounded, and a provider that hangs is cut off by its timeout.

mod backoff;
#[cfg(test)]
mod tests;
mod webhook;
mod worker;

#[cfg(test)]
pub(crate) use webhook::StandIn;
pub(crate) use webhook::Webhook;
pub(crate) use worker::Worker;
