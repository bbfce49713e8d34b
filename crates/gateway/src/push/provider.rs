//! The interface for notifications: a provider accepts a notification and brings it to the user's devices.

use std::pin::Pin;

use crate::ids::Uid;
use crate::store::Message;

/// A notification of one message for one user.
pub(crate) struct Notification<'a> {
    pub(crate) uid: &'a Uid,
    pub(crate) message: &'a Message,
    /// The number of messages in all conversations that the user has not read.
    pub(crate) unread: u64,
}

/// What a provider did with a notification.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Notified {
    /// The provider has accepted it.
    Taken,
    /// It was not accepted, and is to be sent again, but not within this many milliseconds.
    Retry(u64),
    /// It will never be accepted, however often it is sent.
    Gone,
}

/// What [`Provider::notify`] returns.
pub(crate) type Notifying<'a> = Pin<Box<dyn Future<Output = Notified> + Send + 'a>>;

/// Accepts notifications. Implementations bound the time of a call, and log and count failures themselves.
pub(crate) trait Provider: Send + Sync {
    /// Sends one notification.
    fn notify<'a>(&'a self, notification: Notification<'a>) -> Notifying<'a>;
}
