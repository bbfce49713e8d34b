//! Short functions for calls to a store.

use std::sync::Arc;

use anyhow::Context;
use mynah::ids::{Cid, ConvId, DeviceId, PairClass, Seq, TeamId, Uid};
use mynah::store::embedded::Embedded;
use mynah::store::{
    Append, Appended, Conversations, Device, DeviceRegister, Done, History, Message, Missed, Page, Place,
    PushOrder, Read, ReadMark, Recall, Recalled, Span, Store, outcome,
};
use serde_json::value::RawValue;
use tokio::sync::oneshot;

/// A page as large as a client requests it.
pub(crate) const PAGE: Page = Page {
    most: 100,
    bytes: 1 << 20,
};
/// The maximum numbers of conversations and messages that the gateway lists and replays to a device that
/// resumes.
const RESUMED: u32 = 500;

/// Makes a call to the store and waits for its callback.
pub(crate) async fn told<T: Send + 'static>(ask: impl FnOnce(Done<T>)) -> anyhow::Result<T> {
    Ok(outcome(ask).await?)
}

/// Parses a uid.
pub(crate) fn uid(name: &str) -> anyhow::Result<Uid> {
    Ok(Uid::new(name)?)
}

/// Returns the only device of a user.
pub(crate) fn device(name: &str) -> anyhow::Result<Device> {
    Ok(Device {
        uid: uid(name)?,
        device: DeviceId::new("phone")?,
    })
}

/// Returns the conversation of two users.
pub(crate) fn pair(one: &str, other: &str) -> anyhow::Result<ConvId> {
    Ok(ConvId::pair(PairClass::Plain, &uid(one)?, &uid(other)?))
}

/// Returns a message with 120 bytes of `data`.
pub(crate) fn order(from: &str, to: &str, cid: Option<usize>) -> anyhow::Result<Append> {
    let data = RawValue::from_string(format!(r#"{{"text":"{}"}}"#, "x".repeat(109)))?;
    let cid = cid.map(|number| {
        Cid::new(&format!(
            "{:016x}{number:x}",
            (number as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
        ))
    });
    Ok(Append {
        place: Place::Pair {
            class: PairClass::Plain,
            to: uid(to)?,
        },
        kind: 3,
        counts: true,
        from: Some(uid(from)?),
        device: None,
        members_only: false,
        only_repeat: false,
        new_pairs_per_hour: 0,
        cid: cid.transpose()?,
        data: Arc::from(data),
        push: None,
    })
}

/// Returns the same message to a team, with or without a push job.
pub(crate) fn team_order(from: &str, team: &str, push: bool) -> anyhow::Result<Append> {
    Ok(Append {
        place: Place::Team(TeamId::new(team)?),
        kind: 15,
        members_only: true,
        push: push.then_some(PushOrder {
            expires_in_ms: u64::MAX,
            delay_ms: 0,
            urgent: false,
        }),
        ..order(from, from, None)?
    })
}

pub(crate) async fn send(store: &Embedded, order: Append) -> anyhow::Result<Appended> {
    told(|done| store.append(&mut std::iter::once((Arc::new(order), done)))).await
}

/// Sends all messages in one call, and waits for the last one.
pub(crate) async fn send_all(store: &Embedded, orders: Vec<Append>) -> anyhow::Result<()> {
    let last = orders.len().saturating_sub(1);
    let (done, told) = oneshot::channel();
    let mut done = Some(done);
    let mut batch = orders.into_iter().enumerate().map(|(index, order)| {
        let done = if index == last { done.take() } else { None };
        let tell: Done<Appended> = Box::new(move |outcome| {
            if let Some(done) = done {
                drop(done.send(outcome));
            }
        });
        (Arc::new(order), tell)
    });
    store.append(&mut batch);
    told.await.context("the store answers")??;
    Ok(())
}

fn device_register(device: &Device) -> DeviceRegister {
    DeviceRegister {
        device: device.clone(),
        named: true,
        urgent: true,
    }
}

pub(crate) async fn register_device(store: &Embedded, device: &Device) -> anyhow::Result<()> {
    told(|done| store.register_device(device_register(device), done)).await
}

/// Acknowledges, and waits until the acknowledgement was written.
pub(crate) async fn ack(store: &Embedded, device: &Device, conv: ConvId, seq: Seq) -> anyhow::Result<()> {
    let acked = told(|done| store.ack(device.clone(), conv, seq, done));
    let entered = told(|done| store.register_device(device_register(device), done));
    let (acked, entered) = tokio::join!(acked, entered);
    acked.and(entered)
}

pub(crate) async fn read(store: &Embedded, by: &Device, conv: ConvId, seq: Seq) -> anyhow::Result<ReadMark> {
    let by = by.clone();
    told(|done| store.read(Read { by, conv, seq }, done)).await
}

pub(crate) async fn recall(store: &Embedded, by: &str, message: &Appended) -> anyhow::Result<Recalled> {
    let order = Recall {
        mid: message.mid,
        by: uid(by)?,
        kind: 109,
        data: Arc::from(RawValue::from_string("{}".to_owned())?),
        window_ms: u64::MAX,
    };
    told(|done| store.recall(order, done)).await
}

pub(crate) async fn missed(store: &Embedded, device: &Device) -> anyhow::Result<Missed> {
    Ok(store.missed(device.clone(), RESUMED, RESUMED).await?)
}

pub(crate) async fn replay(store: &Embedded, uid: &Uid, missed: &Missed) -> anyhow::Result<Vec<Message>> {
    Ok(store.replay(uid.clone(), missed.behind.clone(), PAGE).await?)
}

pub(crate) async fn conversations(store: &Embedded, device: &Device) -> anyhow::Result<Conversations> {
    let Device { uid, device } = device.clone();
    Ok(store.conversations(uid, Some(device), None, PAGE).await?)
}

/// Reads the newest page of a conversation.
pub(crate) async fn history(store: &Embedded, conv: ConvId, viewer: &Uid) -> anyhow::Result<History> {
    let span = Span::Before(Seq(u64::MAX));
    Ok(store.history(conv, Some(viewer.clone()), span, PAGE).await?)
}
