//! Who receives the notifications of those who are away: slow, refusing, or silent, as the dice say.

use std::time::Duration;

use hyper::StatusCode;
use serde_json::Value;

use super::hub::Hub;
use crate::ids::{Mid, Uid};
use crate::outbound::{Answer, Answering, Failure, Post};
use crate::time::UnixMillis;

/// See the module.
pub(super) struct Receiver {
    pub(super) hub: Hub,
    /// How long a call may take.
    pub(super) timeout: Duration,
}

impl Post for Receiver {
    fn post(&self, body: String, _: UnixMillis) -> Answering<'_> {
        let status = tokio::time::timeout(self.timeout, receive(self.hub.clone(), body));
        Box::pin(async move {
            let status = status.await.map_err(|_| Failure::Timeout)?;
            Ok(Answer {
                status,
                retry_after: None,
                body: None,
            })
        })
    }
}

/// Checks a notification and answers it, if it ever does.
async fn receive(hub: Hub, body: String) -> StatusCode {
    let body: Value = serde_json::from_str(&body).expect("notifications are JSON");
    let (delay, bad) = {
        let mut state = hub.lock();
        let refusing = state.refusing;
        (state.dice.range((0, 50)), state.dice.percent(refusing))
    };
    tokio::time::sleep(Duration::from_millis(delay)).await;
    let mid = body["mid"].as_str().and_then(Mid::parse);
    let uid = body["uid"].as_str().and_then(|uid| Uid::new(uid).ok());
    let (Some(mid), Some(uid)) = (mid, uid) else {
        hub.wrong(format!("a notification says {body}"));
        return StatusCode::BAD_REQUEST;
    };
    let may = {
        let state = hub.lock();
        let place = state.truth.place(mid);
        let entry = place.and_then(|(conv, seq)| state.truth.entry(conv, seq));
        entry.is_some_and(|entry| {
            entry.to.contains(&uid) && entry.from.as_ref() != Some(&uid) && entry.notify.is_some()
        })
    };
    hub.check(may, || format!("{uid} is notified of {body}"));
    if bad {
        if hub.percent(30) {
            std::future::pending::<()>().await;
        }
        return StatusCode::INTERNAL_SERVER_ERROR;
    }
    hub.note(format!(
        "{uid} is notified of {} {}",
        &body["conv"].as_str().unwrap_or("")[..6],
        body["seq"]
    ));
    hub.lock().notified.insert((uid, mid));
    StatusCode::OK
}
