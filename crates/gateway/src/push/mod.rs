//! Notifications for users who do not receive a message. The jobs come from the store, and a provider accepts
//! the notifications.
//!
//! `plan` decides about a job when it is due, and `attempt` again right before each attempt. Both ask
//! `reached` what the user's connections show; `attempt` also asks the store.
//!
//! Invariants: a job's row is deleted only after its notification was accepted, was not needed, or was given
//! up and counted; a user has one notification in flight at a time; the number in flight is bounded, and a
//! provider that hangs is cut off by a timeout.

mod attempt;
mod backoff;
mod elsewhere;
mod job;
mod lost;
mod plan;
mod provider;
mod queue;
mod reached;
mod recent;
mod settle;
mod stop;
#[cfg(test)]
mod tests;
mod wake;
mod webhook;
mod worker;

pub(crate) use provider::Provider;
#[cfg(test)]
pub(crate) use provider::{Notification, Notified, Notifying};
pub(crate) use reached::Reached;
pub(crate) use stop::Settle;
pub(crate) use wake::Wake;
pub(crate) use webhook::Webhook;
pub(crate) use worker::Worker;

use crate::clock;
use crate::time::UnixMillis;

/// The clock that jobs use.
fn now() -> UnixMillis {
    clock::steady_millis()
}
