//! Who receives the notifications of those who are away: slow, refusing, or silent, as the dice say.

use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;

use super::hub::Hub;
use crate::ids::{Mid, Uid};
use crate::push::StandIn;

pub(super) fn receiver(hub: &Hub) -> StandIn {
    let hub = hub.clone();
    Arc::new(move |body| {
        let hub = hub.clone();
        Box::pin(async move {
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
                return 400;
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
                return 500;
            }
            hub.note(format!(
                "{uid} is notified of {} {}",
                &body["conv"].as_str().unwrap_or("")[..6],
                body["seq"]
            ));
            hub.lock().notified.insert((uid, mid));
            200
        })
    })
}
