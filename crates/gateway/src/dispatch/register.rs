//! Kind 1, and what it does to others: displacement (kind 12). Signing out.

use std::sync::Arc;

use mynah_socketio::BoxFuture;
use serde::Serialize;
use serde_json::value::RawValue;

use super::refuse;
use super::resume::{self, Entered};
use super::wanted::{self, Wanted};
use crate::clock;
use crate::core::Core;
use crate::frame::{Format, Frame, raw};
use crate::ids::{DeviceId, Uid};
use crate::kinds::Kind;
use crate::registry::{Ousted, Registration};
use crate::reject::Reject;
use crate::session::{Asker, Farewell, Link, Turn};
use crate::store::{Position, UnixMillis};

/// Response, kind 2.
#[derive(Serialize)]
struct Registered<'a> {
    code: u16,
    uid: &'a Uid,
    deviceid: &'a DeviceId,
    sid: &'a str,
    epoch: &'a str,
    ts: UnixMillis,
    unread: u64,
    #[serde(flatten)]
    standing: Option<Standing<'a>>,
}

/// What only a device that resumes is told.
#[derive(Serialize)]
struct Standing<'a> {
    conversations: &'a [Position],
    more: bool,
}

/// Kind 12.
#[derive(Serialize)]
struct Replaced<'a> {
    reason: &'static str,
    deviceid: &'a DeviceId,
    platform: Option<&'a str>,
    ts: UnixMillis,
}

/// Registers the connection. The response waits for the store (unread, what was missed), and pushes wait for the response.
pub(super) fn register(core: &Arc<Core>, data: Option<&RawValue>, asker: Asker) -> Option<BoxFuture> {
    let connection = asker.connection.clone();
    let link = &connection.link;
    if let Err(reject) = connection_may(core, link) {
        refuse(asker, Kind::RegisterReq.number(), &reject);
        return None;
    }
    // Registering again as the same user changes what is named, and keeps the rest.
    let read = wanted::read(data).and_then(|wanted| {
        user_may(core, &wanted.uid)?;
        let kept = connection.registration().filter(|kept| kept.uid == wanted.uid);
        Ok((
            registration(&wanted, kept.as_deref(), link)?,
            wanted,
            kept.is_some(),
        ))
    });
    let (registration, wanted, again) = match read {
        Ok(read) => read,
        Err(reject) => {
            refuse(asker, Kind::RegisterReq.number(), &reject);
            return None;
        }
    };
    if !again {
        // What was on its way to another user does not reach this one.
        core.registry.unregister(&connection);
        link.drop_held();
    }
    // A replay goes on while its own connection changes its options.
    let turn = (wanted.resume || !link.is_replaying()).then(|| link.hold());
    let ousted = |link: &Link, by: &Registration, why| oust(core, link, by, why);
    // Over: it closed before this frame's turn, or is being sent away; nobody waits for an answer.
    let registration = core.registry.register(&connection, registration, ousted).ok()?;
    match wanted.format {
        Some(format) => link.set_format(format),
        None if !again => link.set_format(Format::default()),
        None => {}
    }
    let core = core.clone();
    Some(Box::pin(async move {
        let entered = resume::enter(&core, &asker.connection, &registration, wanted.resume).await;
        answer(&core, asker, registration, turn, entered);
    }))
}

/// Whether a connection may register now.
fn connection_may(core: &Core, link: &Link) -> Result<(), Reject> {
    if link.registers.take(core.rates.registers, clock::now()) {
        return Ok(());
    }
    core.metrics.limited("registers_per_minute");
    let most = core.config.limits.registers_per_minute;
    Err(Reject::too_fast(format!(
        "A connection may register {most} times a minute; wait."
    )))
}

/// Whether a user may register now, on whatever connection.
fn user_may(core: &Core, uid: &Uid) -> Result<(), Reject> {
    if core.rates.user_registers.take(uid, clock::now()) {
        return Ok(());
    }
    core.metrics.limited("user_registers_per_minute");
    let most = core.config.limits.user_registers_per_minute;
    Err(Reject::too_fast(format!(
        "A user may register {most} times a minute; wait."
    )))
}

fn answer(
    core: &Arc<Core>,
    asker: Asker,
    registration: Arc<Registration>,
    turn: Option<Turn>,
    entered: Result<Entered, Reject>,
) {
    let connection = asker.connection.clone();
    let link = &connection.link;
    let entered = match entered {
        Ok(entered) => entered,
        Err(reject) => {
            core.registry.unregister(&connection);
            link.release(|| refuse(asker, Kind::RegisterReq.number(), &reject));
            return;
        }
    };
    tracing::debug!(
        sid = link.outlet().sid(),
        uid = %registration.uid,
        deviceid = %registration.device,
        "registered"
    );
    let missed = match &entered {
        Entered::Anew { .. } => None,
        Entered::Again(missed) => Some(missed),
    };
    let response = raw(&Registered {
        code: 0,
        uid: &registration.uid,
        deviceid: &registration.device,
        sid: link.outlet().sid(),
        epoch: core.store.epoch(),
        ts: clock::unix_millis(),
        unread: entered.unread(),
        standing: missed.map(|missed| Standing {
            conversations: &missed.conversations,
            more: missed.more,
        }),
    });
    let respond = || asker.answer(Kind::RegisterRes, &response);
    match (entered, turn) {
        (Entered::Again(missed), Some(turn)) => {
            if link.begin_replay(turn, respond) {
                // Apart from the connection's task, which goes on reading: acknowledgements come meanwhile.
                tokio::spawn(resume::replay(
                    core.clone(),
                    connection,
                    registration,
                    turn,
                    missed,
                ));
            }
        }
        (_, Some(_)) => link.release(respond),
        (_, None) => respond(),
    }
}

/// Called with the lock of the user's shard: nothing comes after kind 12.
fn oust(core: &Core, link: &Link, by: &Registration, why: Ousted) {
    tracing::debug!(sid = link.outlet().sid(), uid = %by.uid, ?why, "lost its registration");
    match why {
        Ousted::Stale => link.cut(),
        Ousted::Displaced => {
            core.metrics.displaced.inc();
            let ts = clock::unix_millis();
            let replaced = raw(&Replaced {
                reason: "replaced",
                deviceid: &by.device,
                platform: by.platform.as_deref(),
                ts,
            });
            link.part(Farewell {
                last: Some(Frame::notice(Kind::DifferentConnection, &replaced, ts)),
                away: !core.registry.displaced_stay(),
            });
        }
    }
}

/// Sends all of a user's connections away and removes the mapping; how many there were.
pub(crate) fn sign_out(core: &Core, uid: &Uid) -> usize {
    core.registry.sign_out(uid, |link| {
        link.part(Farewell {
            last: None,
            away: true,
        });
    })
}

fn registration(wanted: &Wanted, kept: Option<&Registration>, link: &Link) -> Result<Registration, Reject> {
    let device = match (&wanted.device, kept) {
        (Some(device), _) => device.clone(),
        (None, Some(kept)) => kept.device.clone(),
        // Unique to the connection.
        (None, None) => {
            DeviceId::new(link.outlet().sid()).map_err(|error| Reject::internal(error.to_string()))?
        }
    };
    let or_kept = |own: &Option<Box<str>>, kept: Option<&Option<Box<str>>>| {
        own.as_ref().or(kept.and_then(Option::as_ref)).cloned()
    };
    Ok(Registration {
        uid: wanted.uid.clone(),
        device,
        platform: or_kept(&wanted.platform, kept.map(|kept| &kept.platform)),
        class: or_kept(&wanted.class, kept.map(|kept| &kept.class)).filter(|class| &**class != "user"),
        since: kept.map_or_else(clock::unix_millis, |kept| kept.since),
        named: wanted.device.is_some() || kept.is_some_and(|kept| kept.named),
        has_cursors: wanted.device.is_some() || wanted.resume || kept.is_some_and(|kept| kept.has_cursors),
    })
}
