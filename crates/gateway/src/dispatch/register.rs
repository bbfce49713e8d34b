//! Kind 1: a connection registers as a user and a device.

use std::sync::Arc;

use mynah_socketio::BoxFuture;
use serde::Serialize;
use serde_json::value::RawValue;

use super::authorize::{Allowed, Decision, authorize};
use super::claim::{claim, ousted};
use super::login::Login;
use super::refusal::refuse;
use super::resume::{self, Backlog};
use super::revoke::refuse_revoked;
use super::unregister::By;
use super::wanted;
use crate::auth::TOO_LONG;
use crate::clock;
use crate::directory::Registration;
use crate::frame::{Format, raw};
use crate::ids::{DeviceId, Uid};
use crate::kinds::Kind;
use crate::metrics::ReasonLabel;
use crate::reject::{Code, Reject};
use crate::session::{Asker, Hold, Link};
use crate::store::Position;
use crate::time::UnixMillis;

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

/// Fields of the response that only a device that resumes receives.
#[derive(Serialize)]
struct Standing<'a> {
    conversations: &'a [Position],
    more: bool,
}

/// Registers the connection if this is allowed. The response waits for the store (unread and missed
/// messages), and pushes wait for the response.
pub(super) fn register(login: &Arc<Login>, data: Option<&RawValue>, asker: Asker) -> Option<BoxFuture> {
    // The rate limit comes before everything that costs more, above all the check of a token's signature.
    let wanted = connection_may_register(login, &asker.connection.link).and_then(|()| wanted::read(data));
    let decision = match wanted {
        Ok(wanted) => authorize(login, &asker.connection, wanted),
        Err(reject) => Decision::Now(Err(reject)),
    };
    let decided = match decision {
        Decision::Now(decided) => decided,
        Decision::Later(asked) => {
            let login = login.clone();
            let begun = login.registry.next_order();
            return Some(Box::pin(async move {
                let Some(decided) = asker.unless_gone(asked).await else {
                    return;
                };
                if asker.connection.link.outlet().is_open()
                    && let Some(reading) = decide(&login, decided, asker, Some(begun))
                {
                    reading.await;
                }
            }));
        }
    };
    decide(login, decided, asker, None)
}

/// Carries out what was decided. If the decision had to wait, `begun` is an order number from before the
/// wait: registrations with a higher number are newer.
fn decide(
    login: &Arc<Login>,
    decided: Result<Allowed, Reject>,
    asker: Asker,
    begun: Option<u64>,
) -> Option<BoxFuture> {
    match decided {
        Ok(allowed) => carry_out(login, allowed, asker, begun),
        Err(reject) => {
            if matches!(reject.code, Code::Unauthenticated | Code::Forbidden) {
                login.metrics.auth_refused.inc();
            }
            if reject.error == TOO_LONG {
                login.metrics.limited("token_bytes");
            }
            refuse_register(login, asker, &reject);
            None
        }
    }
}

/// Registers the connection, unless a rate limit, a revocation or a newer register prevents it.
fn carry_out(login: &Arc<Login>, allowed: Allowed, asker: Asker, begun: Option<u64>) -> Option<BoxFuture> {
    let connection = asker.connection.clone();
    let link = &connection.link;
    if let Err(reject) = may_register(login, &allowed.uid) {
        refuse_register(login, asker, &reject);
        return None;
    }
    // A register as the same user changes the fields that it names, and keeps the others.
    let kept = connection.registration().filter(|kept| kept.uid == allowed.uid);
    let again = kept.is_some();
    let (resume, format) = (allowed.wanted.resume, allowed.wanted.format);
    let registration = match registration(login, allowed, kept.as_deref(), link) {
        Ok(registration) => registration,
        Err(reject) => {
            refuse_register(login, asker, &reject);
            return None;
        }
    };
    if let Err(reject) = not_revoked(login, &registration) {
        refuse_register(login, asker, &reject);
        return None;
    }
    // This register waited for the backend while a newer one of the same user was accepted. The client has
    // usually reconnected there, so the newer one wins.
    if begun.is_some_and(|begun| login.registry.would_oust(&connection, &registration, begun)) {
        let reject = Reject::unavailable("Another connection has registered meanwhile; register again.");
        refuse_register(login, asker, &reject);
        return None;
    }
    if !again {
        // Pushes that were held for the previous user must not reach this one.
        login.unregister(&connection);
        link.drop_held();
        if let Some(reached) = &login.reached {
            reached.begins(link);
        }
    }
    // A replay continues if its connection only changes its options.
    let hold = (resume || !link.is_replaying()).then(|| link.hold());
    // If the connection is closed or being disconnected, nobody waits for a response.
    let registration = match &login.entries {
        Some(_) => login.registry.enter(&connection, registration),
        None => login
            .registry
            .register(&connection, registration, |link, why, old, new| {
                ousted(login, link, why, old, &By::from(new));
            }),
    };
    let registration = registration.ok()?;
    // A concurrent revocation may have gone through the registered connections before this one was
    // registered, so revocations are checked again.
    if let Err(reject) = not_revoked(login, &registration) {
        login.registry.unregister(&connection);
        link.release(|| refuse_register(login, asker, &reject));
        return None;
    }
    match format {
        Some(format) => link.set_format(format),
        None if !again => link.set_format(Format::default()),
        None => {}
    }
    let login = login.clone();
    Some(Box::pin(async move {
        // The directory comes before the record: what is committed later is sent to this node.
        if login.entries.is_some()
            && asker
                .unless_gone(claim(&login, &asker.connection, &registration))
                .await
                .is_none()
        {
            return;
        }
        let reading = resume::backlog(&login.record, &asker.connection, &registration, resume);
        // A connection that has closed loses its registration when its close is handled.
        let Some(entered) = asker.unless_gone(reading).await else {
            return;
        };
        answer(&login, asker, registration, hold, entered);
    }))
}

/// Refuses a register, and counts the refusal.
fn refuse_register(login: &Login, asker: Asker, reject: &Reject) {
    let reason = reject.code.reason();
    login
        .metrics
        .registers_refused
        .get_or_create(&ReasonLabel { reason })
        .inc();
    refuse(asker, Kind::RegisterReq.number(), reject);
}

fn not_revoked(login: &Login, registration: &Registration) -> Result<(), Reject> {
    match &registration.claims {
        Some(claims) => refuse_revoked(login, claims, Some(&registration.device)),
        None => Ok(()),
    }
}

/// Refuses a connection that registers too often.
fn connection_may_register(login: &Login, link: &Link) -> Result<(), Reject> {
    if link.registers.take(login.registers, clock::now()) {
        return Ok(());
    }
    login.metrics.limited("registers_per_minute");
    let most = login.config.limits.registers_per_minute;
    Err(Reject::too_fast(format!(
        "A connection may register {most} times a minute; register again later."
    )))
}

/// Refuses a user who registers too often. The limit counts the registers of all connections of the user.
fn may_register(login: &Login, uid: &Uid) -> Result<(), Reject> {
    if login.user_registers.take(uid, clock::now(), [1]).is_ok() {
        return Ok(());
    }
    login.metrics.limited("user_registers_per_minute");
    let most = login.config.limits.user_registers_per_minute;
    Err(Reject::too_fast(format!(
        "A user may register {most} times a minute; register again later."
    )))
}

fn answer(
    login: &Arc<Login>,
    asker: Asker,
    registration: Arc<Registration>,
    hold: Option<Hold>,
    entered: Result<Backlog, Reject>,
) {
    let connection = asker.connection.clone();
    let link = &connection.link;
    let entered = match entered {
        Ok(entered) => entered,
        Err(reject) => {
            login.unregister(&connection);
            link.release(|| refuse_register(login, asker, &reject));
            return;
        }
    };
    link.forget_handed();
    tracing::debug!(
        sid = link.outlet().sid(),
        uid = %registration.uid,
        deviceid = %registration.device,
        "registered"
    );
    let missed = match &entered {
        Backlog::Anew { .. } => None,
        Backlog::Again(missed) => Some(missed),
    };
    let response = raw(&Registered {
        code: 0,
        uid: &registration.uid,
        deviceid: &registration.device,
        sid: link.outlet().sid(),
        epoch: login.record.store.epoch(),
        ts: clock::unix_millis(),
        unread: entered.unread(),
        standing: missed.map(|missed| Standing {
            conversations: &missed.conversations,
            more: missed.more,
        }),
    });
    let respond = || asker.answer(Kind::RegisterRes, &response);
    match (entered, hold) {
        (Backlog::Again(missed), Some(hold)) => {
            let behind = missed.behind.iter();
            let start = behind.map(|missed| (missed.conv, missed.after)).collect();
            if let Some(sent) = link.begin_replay(hold, &start, respond) {
                // The replay has a task of its own, because the connection's task must read acknowledgements
                // meanwhile.
                tokio::spawn(resume::replay(
                    login.record.clone(),
                    connection,
                    registration,
                    (hold, sent),
                    missed,
                ));
            }
        }
        (_, Some(_)) => link.release(respond),
        (_, None) => respond(),
    }
}

fn registration(
    login: &Login,
    allowed: Allowed,
    kept: Option<&Registration>,
    link: &Link,
) -> Result<Registration, Reject> {
    let Allowed { uid, wanted, claims } = allowed;
    let (named, resumes) = (wanted.device.is_some(), wanted.resume);
    let device = match (wanted.device, kept) {
        (Some(device), _) => device,
        (None, Some(kept)) => kept.device.clone(),
        // The id of the connection is unique.
        (None, None) => {
            DeviceId::new(link.outlet().sid()).map_err(|error| Reject::internal(error.to_string()))?
        }
    };
    let or_kept =
        |own: Option<Box<str>>, kept: Option<&Option<Box<str>>>| own.or_else(|| kept.cloned().flatten());
    Ok(Registration {
        uid,
        device,
        platform: or_kept(wanted.platform, kept.map(|kept| &kept.platform)),
        class: or_kept(wanted.class, kept.map(|kept| &kept.class)).filter(|class| &**class != "user"),
        since: kept.map_or_else(clock::unix_millis, |kept| kept.since),
        order: kept.map_or_else(|| login.registry.next_order(), |kept| kept.order),
        named: named || kept.is_some_and(|kept| kept.named),
        has_cursors: named || wanted.resume || kept.is_some_and(|kept| kept.has_cursors),
        claims,
        // Without a resume nothing is read again, so the earlier moment still applies.
        point: kept
            .filter(|_| !resumes)
            .map(|kept| kept.point.clone())
            .unwrap_or_default(),
    })
}
