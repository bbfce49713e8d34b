//! The provider of notifications in a simulation: slow, refusing, or silent, as the dice decide.

use std::time::Duration;

use super::hub::Hub;
use crate::push::{Notification, Notified, Notifying, Provider};

/// A provider that the simulation controls.
pub(super) struct Receiver {
    pub(super) hub: Hub,
    /// Timeout of a call.
    pub(super) timeout: Duration,
}

impl Provider for Receiver {
    fn notify<'a>(&'a self, notification: Notification<'a>) -> Notifying<'a> {
        let notified = tokio::time::timeout(self.timeout, receive(&self.hub, notification));
        Box::pin(async move { notified.await.unwrap_or(Notified::Retry(0)) })
    }
}

/// Checks a notification and answers it, unless it stays silent.
async fn receive(hub: &Hub, Notification { uid, message, .. }: Notification<'_>) -> Notified {
    let (delay, bad) = {
        let mut state = hub.lock();
        let refusing = state.refusing;
        (state.dice.range((0, 50)), state.dice.percent(refusing))
    };
    tokio::time::sleep(Duration::from_millis(delay)).await;
    let may = {
        let state = hub.lock();
        let place = state.truth.place(message.mid);
        let entry = place.and_then(|(conv, seq)| state.truth.entry(conv, seq));
        place == Some((message.conv, message.seq.0))
            && entry.is_some_and(|entry| {
                entry.to.contains(uid) && entry.from.as_ref() != Some(uid) && entry.notify.is_some()
            })
    };
    hub.check(may, || format!("{uid} is notified of {message:?}"));
    if bad {
        if hub.percent(30) {
            std::future::pending::<()>().await;
        }
        return Notified::Retry(0);
    }
    hub.note(format!(
        "{uid} is notified of {} {}",
        &message.conv.to_string()[..6],
        message.seq
    ));
    hub.lock().notified.insert((uid.clone(), message.mid));
    Notified::Taken
}
