//! Frame 101: a client sends a message.

use std::sync::Arc;

use mynah_socketio::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::pass::{pass, pass_elsewhere, pass_to_team};
use super::record::Record;
use super::refusal::{not_registered, refuse};
use super::rules::{Allowed, Rules};
use crate::clock;
use crate::delivery::OnDelivered;
use crate::directory::Registration;
use crate::frame::{Request, any_value};
use crate::ids::{Cid, ConvId, Mid, Seq, TeamId, Uid, json_string, kind_number};
use crate::kinds::Kind;
use crate::order::{By, Origin, SendOrder, Stored, To};
use crate::reject::Reject;
use crate::session::Asker;
use crate::time::UnixMillis;

/// `data` of frame 101, each field as raw JSON.
#[derive(Deserialize)]
struct SendFields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    to: Option<&'a RawValue>,
    #[serde(borrow)]
    cid: Option<&'a RawValue>,
    /// The message itself: any JSON value, `null` included.
    #[serde(borrow, default, deserialize_with = "any_value")]
    data: Option<&'a RawValue>,
}

impl<'a> Request<'a> for SendFields<'a> {}

#[derive(Deserialize)]
struct ToFields<'a> {
    #[serde(borrow)]
    user: Option<&'a RawValue>,
    #[serde(borrow)]
    team: Option<&'a RawValue>,
}

impl<'a> Request<'a> for ToFields<'a> {}

/// Response, kind 102, for stored kinds.
#[derive(Serialize)]
struct SendResponse<'a> {
    code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    cid: Option<&'a Cid>,
    mid: Mid,
    conv: ConvId,
    seq: Seq,
    ts: UnixMillis,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    duplicate: bool,
}

/// Response, kind 102, for kinds that are not stored.
#[derive(Serialize)]
struct Passed<'a> {
    code: u16,
    #[serde(skip_serializing_if = "Option::is_none")]
    cid: Option<&'a Cid>,
    ts: UnixMillis,
    delivered: bool,
}

/// Carries out frame 101. Messages of one connection are appended in the order in which they arrived, and
/// do not wait for one another.
pub(super) fn request(
    rules: &Rules,
    record: &Arc<Record>,
    data: Option<&RawValue>,
    asker: Asker,
) -> Option<BoxFuture> {
    let Some(registration) = asker.connection.registration() else {
        refuse(asker, Kind::SendReq.number(), &not_registered());
        return None;
    };
    let fields = match SendFields::read(
        data.map_or("null", RawValue::get),
        "\"data\" must be an object with \"type\", \"to\" and \"data\".",
    ) {
        Ok(fields) => fields,
        Err(why) => {
            asker.refuse_message(&Reject::malformed(why), None);
            return None;
        }
    };
    let cid = match fields.cid.map(cid).transpose() {
        Ok(cid) => cid,
        Err(reject) => {
            asker.refuse_message(&reject, None);
            return None;
        }
    };
    let may_send_kind = |allowed: Allowed| match &registration.claims {
        Some(claims) if !claims.allow(allowed.order.kind) => Err(Reject::forbidden(format!(
            "Your token does not allow you to send kind {}.",
            allowed.order.kind
        ))),
        _ => Ok(allowed),
    };
    let beyond = may_send(
        rules,
        &registration.uid,
        fields.data.map_or(0, |data| data.get().len()),
    );
    let allowed = match &beyond {
        // Without a `cid` a retry cannot be recognised, so the rest need not be checked.
        Err(reject) if cid.is_none() => Err(reject.clone()),
        _ => read(&fields, cid.clone(), &registration, &asker)
            .and_then(|order| rules.check(order))
            .and_then(may_send_kind),
    };
    let refused = match (allowed, beyond) {
        (Ok(allowed), beyond) if allowed.is_stored() => {
            return append_from_client(record, allowed, beyond.err(), asker);
        }
        (Ok(allowed), Ok(())) => return pass_from_client(record, allowed, asker),
        (_, Err(reject)) | (Err(reject), Ok(())) => reject,
    };
    asker.refuse_message(&refused, cid.as_ref().map(Cid::as_str));
    None
}

/// Refuses a user who sends too many messages or bytes. This message has `bytes` bytes.
fn may_send(rules: &Rules, uid: &Uid, bytes: usize) -> Result<(), Reject> {
    let limits = &rules.config.limits;
    let taken = rules.user_sends.take(uid, clock::now(), [1, bytes as u64]);
    let (limit, why) = match taken {
        Ok(()) => return Ok(()),
        Err(0) => (
            "user_messages_per_second",
            format!(
                "A user may send {} messages per second",
                limits.user_messages_per_second
            ),
        ),
        Err(_) => (
            "user_bytes_per_minute",
            format!(
                "A user may send {} bytes per minute",
                limits.user_bytes_per_minute
            ),
        ),
    };
    rules.metrics.limited(limit);
    Err(Reject::too_fast(format!("{why}; slow down.")))
}

fn read(
    fields: &SendFields<'_>,
    cid: Option<Cid>,
    by: &Registration,
    asker: &Asker,
) -> Result<SendOrder, Reject> {
    let kind = fields
        .kind
        .filter(|raw| !raw.get().starts_with('-'))
        .and_then(|raw| kind_number(raw.get()))
        .ok_or_else(|| Reject::malformed("\"type\" must be the number of the kind to send."))?;
    let data = fields.data.ok_or_else(|| {
        Reject::malformed("\"data\" has no \"data\": put the message there, any JSON value.")
    })?;
    Ok(SendOrder {
        // A number that no kind can have becomes 0, which is not a kind.
        kind: kind.unwrap_or(0),
        to: to(fields.to)?,
        from: Some(by.uid.clone()),
        data: data.to_owned().into(),
        cid,
        push: None,
        ttl_ms: None,
        by: By::Client(Origin {
            connection: asker.connection.id,
            device: by.has_cursors.then(|| by.device.clone()),
        }),
    })
}

fn to(raw: Option<&RawValue>) -> Result<To, Reject> {
    const SHAPE: &str = "\"to\" must be {\"user\":\"<uid>\"} or {\"team\":\"<team>\"}.";
    let wrong = || Reject::malformed(SHAPE);
    let fields = ToFields::read(raw.map_or("null", RawValue::get), SHAPE).map_err(Reject::malformed)?;
    match (fields.user, fields.team) {
        (Some(user), None) => Uid::from_json(user.get())
            .ok_or_else(wrong)?
            .map(To::User)
            .map_err(|why| Reject::malformed(format!("\"to.user\" {why}."))),
        (None, Some(team)) => TeamId::from_json(team.get())
            .ok_or_else(wrong)?
            .map(To::Team)
            .map_err(|why| Reject::malformed(format!("\"to.team\" {why}."))),
        _ => Err(wrong()),
    }
}

fn cid(raw: &RawValue) -> Result<Cid, Reject> {
    json_string(raw.get())
        .ok_or_else(|| Reject::malformed("\"cid\" must be a string of at most 64 bytes."))?
        .and_then(|text| Cid::new(&text))
        .map_err(|why| Reject::malformed(format!("\"cid\" {why}.")))
}

/// Appends a message. While too many are in flight, the connection is not read. `beyond` is the refusal for
/// a sender who has exceeded a limit: it is the response to everything but the retry of a stored message.
fn append_from_client(
    record: &Arc<Record>,
    mut allowed: Allowed,
    beyond: Option<Reject>,
    asker: Asker,
) -> Option<BoxFuture> {
    allowed.only_repeat = beyond.is_some();
    // An order of a client has one recipient, and so one message.
    let (message, except) = (allowed.messages().next()?, allowed.except());
    let (connection, cid) = (asker.connection.clone(), message.cid.clone());
    let uid = message.from.clone()?;
    record.call(connection, &uid, move |record, pending| {
        let answer: OnDelivered = Box::new(move |result| {
            let _pending = pending;
            match result {
                Ok(outcome) => asker.answer(Kind::SendRes, &SendResponse::new(cid.as_ref(), &outcome.stored)),
                Err(reject) => {
                    let reject = beyond.unwrap_or(reject);
                    asker.refuse_message(&reject, cid.as_ref().map(Cid::as_str));
                }
            }
        });
        let message = record.delivered(message, except, answer);
        record.store.append(&mut std::iter::once(message));
    })
}

impl<'a> SendResponse<'a> {
    fn new(cid: Option<&'a Cid>, stored: &Stored) -> Self {
        Self {
            code: 0,
            cid,
            mid: stored.mid,
            conv: stored.conv,
            seq: stored.seq,
            ts: stored.ts,
            duplicate: stored.duplicate,
        }
    }
}

/// Sends a message that is not stored.
fn pass_from_client(record: &Arc<Record>, allowed: Allowed, asker: Asker) -> Option<BoxFuture> {
    let answer = |asker: Asker, allowed: &Allowed, ts, online: Result<usize, Reject>| {
        let cid = allowed.order.cid.as_ref();
        match online {
            Ok(online) => {
                let (code, delivered) = (0, online > 0);
                asker.answer(
                    Kind::SendRes,
                    &Passed {
                        code,
                        cid,
                        ts,
                        delivered,
                    },
                );
            }
            Err(reject) => asker.refuse_message(&reject, cid.map(Cid::as_str)),
        }
    };
    let ts = clock::unix_millis();
    if !matches!(allowed.order.to, To::Team(_)) {
        let elsewhere = pass_elsewhere(record, &allowed, ts);
        let online = pass(record, &allowed, ts, |_, _| {});
        let Some(elsewhere) = elsewhere else {
            answer(asker, &allowed, ts, Ok(online));
            return None;
        };
        return Some(Box::pin(async move {
            let there = elsewhere.await;
            let online = online + there.users + there.reached.count();
            answer(asker, &allowed, ts, Ok(online));
        }));
    }
    let record = record.clone();
    Some(Box::pin(async move {
        let reached = pass_to_team(&record, &allowed, ts).await;
        answer(asker, &allowed, ts, reached.map(|(online, _)| online));
    }))
}
