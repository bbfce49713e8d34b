//! Resuming: a device that reconnects receives the messages that it has missed, in order, and then new ones.
//!
//! Invariants: the connection is registered and its pushes are held before the store is asked, so that each
//! message is in the store's answer or among the held pushes; a replayed message is not sent again; the new
//! messages of a conversation are sent after its replay.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::oneshot;

use super::record::Record;
use crate::clock;
use crate::directory::{Connection, Registration};
use crate::frame::{Envelope, Frame, raw};
use crate::ids::{ConvId, Seq};
use crate::kinds::Kind;
use crate::reject::Reject;
use crate::session::{Hold, Link};
use crate::store::{Device, DeviceRegister, Missed, Page, StoreError, Stretch, outcome};

/// The maximum number of conversations in the response. Kind 110 lists the others.
const LISTED: u32 = 200;

/// The maximum number of payload bytes that a replay reads from the store at once. They stay in memory until
/// the client has read them.
const PAGE_BYTES: usize = 65_536;

/// The maximum number of messages that a replay reads from the store at once.
const PAGE_MESSAGES: u32 = 500;

/// How long after the replay the delivery of a replayed message is recognised. If it happens later, the
/// client receives the message twice.
const LATE: Duration = Duration::from_secs(5);

/// What the store knows about a device that registers: the number of unread messages, and what it has missed.
pub(super) enum Backlog {
    /// The device does not resume.
    Anew {
        /// The number of unread messages in all conversations of the user.
        unread: u64,
    },
    /// The device resumes.
    Again(Missed),
}

impl Backlog {
    pub(super) fn unread(&self) -> u64 {
        match self {
            Self::Anew { unread } => *unread,
            Self::Again(missed) => missed.unread,
        }
    }
}

/// Registers the device in the store, and reads its backlog.
pub(super) async fn backlog(
    record: &Arc<Record>,
    connection: &Arc<Connection<Link>>,
    registration: &Registration,
    resumes: bool,
) -> Result<Backlog, Reject> {
    let named = registration.named;
    // The moment is before what is read, so that no message is neither read nor pushed.
    let point = record
        .delivery
        .point()
        .await
        .map_err(|error| record.trouble(error))?;
    let is_shared = point.is_some();
    if let Some(point) = point {
        // A register that only changes options has one.
        let _ = registration.point.set(point);
    }
    let entered = match registration.store_device() {
        Some(device) if resumes => missed(record, device, named).await.map(Backlog::Again),
        device => {
            if let Some(device) = device {
                let register = DeviceRegister {
                    device,
                    named,
                    urgent: is_shared,
                };
                know(record, connection, register).await;
            }
            let unread = record.store.unread(registration.uid.clone()).await;
            unread.map(|unread| Backlog::Anew { unread })
        }
    };
    entered.map_err(|error| record.trouble(error))
}

/// Registers a device that does not resume. It succeeds nevertheless if the store fails.
///
/// Such a device asks for no missed messages. One node does not wait for the disk: every message from now on
/// is committed after this register. But another node may commit a message at any moment.
async fn know(record: &Arc<Record>, connection: &Arc<Connection<Link>>, register: DeviceRegister) {
    let (committed, waiting) = oneshot::channel();
    let (urgent, uid) = (register.urgent, register.device.uid.clone());
    let wait = record.call(connection.clone(), &uid, move |record, pending| {
        let shared = record.clone();
        let done = move |known: Result<(), StoreError>| {
            drop(pending);
            if let Err(error) = known {
                shared.trouble(error);
            }
            // Nobody may be waiting.
            let _ = committed.send(());
        };
        record.store.register_device(register, Box::new(done));
    });
    if let Some(wait) = wait {
        wait.await;
    }
    if urgent {
        // It fails if the store has stopped.
        let _ = waiting.await;
    }
}

async fn missed(record: &Record, device: Device, named: bool) -> Result<Missed, StoreError> {
    let register = DeviceRegister {
        device: device.clone(),
        named,
        urgent: true,
    };
    outcome(|done| record.store.register_device(register, done)).await?;
    let behind = record.config.limits.resume_messages;
    record.store.missed(device, LISTED, behind).await
}

/// `data` of kind 112.
#[derive(Serialize)]
struct Resumed {
    sent: u32,
    complete: bool,
}

/// Replays what was missed as fast as the client reads, then sends kind 112 and the pushes that were held.
/// `sent` counts the messages that were sent since the response.
pub(super) async fn replay(
    record: Arc<Record>,
    connection: Arc<Connection<Link>>,
    registration: Arc<Registration>,
    (hold, mut sent): (Hold, u32),
    missed: Missed,
) {
    let link = &connection.link;
    let limit = record.config.limits.resume_messages;
    let bytes = record.page(limit).bytes;
    let mut complete = missed.pending <= u64::from(limit);
    let mut replayed: HashMap<ConvId, Seq> = HashMap::new();
    // The limit does not apply to teams that the user has left, because the client cannot sync those.
    for (mut left, most) in [(missed.behind, limit), (missed.left, u32::MAX)] {
        let mut most_left = most;
        while most_left > 0 && !left.is_empty() && link.outlet().room(bytes).await {
            let uid = registration.uid.clone();
            let page = Page {
                most: most_left.min(PAGE_MESSAGES),
                bytes: PAGE_BYTES,
            };
            let page = match record.store.replay(uid, left.clone(), page).await {
                Ok(page) => page,
                Err(error) => {
                    // The client can sync what is missing, or gets it when it resumes again.
                    record.trouble(error);
                    complete = false;
                    break;
                }
            };
            let Some(last) = page.last() else { break };
            advance(&mut left, last.conv, last.seq);
            for message in &page {
                let frame = Frame::push(&Envelope::from(message));
                if !link.replay(hold, &frame, bytes).await {
                    return;
                }
                replayed.insert(message.conv, message.seq);
            }
            let count = page.len() as u32;
            most_left -= count;
            sent += count;
            record.metrics.frames_out.inc_by(u64::from(count));
            record.metrics.replayed.inc_by(u64::from(count));
        }
    }
    let resumed = raw(&Resumed { sent, complete });
    let frame = Frame::notice(Kind::Resumed, &resumed, clock::unix_millis());
    if link.replay(hold, &frame, bytes).await {
        if complete {
            link.has_caught_up();
        }
        link.go_live(hold, replayed, bytes).await;
        tokio::time::sleep(LATE).await;
        link.forget_replayed(hold);
    }
}

/// Removes everything up to message `seq` of `conv`.
fn advance(left: &mut Vec<Stretch>, conv: ConvId, seq: Seq) {
    let at = left.iter().position(|stretch| stretch.conv == conv);
    left.drain(..at.unwrap_or(left.len()));
    match left.first_mut() {
        Some(stretch) if seq < stretch.through => stretch.after = seq,
        Some(_) => drop(left.remove(0)),
        None => {}
    }
}

impl Registration {
    /// The device, if the store keeps cursors for it.
    pub(super) fn store_device(&self) -> Option<Device> {
        self.has_cursors.then(|| Device {
            uid: self.uid.clone(),
            device: self.device.clone(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn stretch(conv: u8, after: u64, through: u64) -> Stretch {
        Stretch {
            conv: ConvId([conv; 16]),
            after: Seq(after),
            through: Seq(through),
        }
    }

    #[test]
    fn what_was_replayed_is_not_left() {
        let mut left = vec![stretch(1, 0, 2), stretch(2, 5, 9), stretch(3, 0, 1)];
        advance(&mut left, ConvId([2; 16]), Seq(6));
        assert_eq!(left, [stretch(2, 6, 9), stretch(3, 0, 1)]);
        advance(&mut left, ConvId([2; 16]), Seq(9));
        assert_eq!(left, [stretch(3, 0, 1)]);
        advance(&mut left, ConvId([7; 16]), Seq(1));
        assert_eq!(left, [], "a store that answers what was not asked for ends it");
    }
}
