//! Kind 1, and what it does to others: displacement (kind 12). Signing out.

use std::sync::Arc;

use mynah_socketio::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::refuse;
use crate::clock;
use crate::core::Core;
use crate::frame::{Format, Frame, Request, raw};
use crate::ids::{DeviceId, IdError, MAX_ID_BYTES, Uid};
use crate::kinds::Kind;
use crate::registry::{Ousted, Registration};
use crate::reject::Reject;
use crate::session::{Asker, Farewell, Link};
use crate::store::UnixMillis;

/// What a client may say about itself, each field still as it came.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    class: Option<&'a RawValue>,
    #[serde(borrow)]
    uid: Option<&'a RawValue>,
    #[serde(borrow)]
    deviceid: Option<&'a RawValue>,
    #[serde(borrow)]
    platform: Option<&'a RawValue>,
    #[serde(borrow)]
    token: Option<&'a RawValue>,
    #[serde(borrow)]
    resume: Option<&'a RawValue>,
    #[serde(borrow)]
    format: Option<&'a RawValue>,
}

impl<'a> Request<'a> for Fields<'a> {}

/// What a client says about itself.
#[derive(Debug)]
struct Wanted {
    uid: Uid,
    device: Option<DeviceId>,
    platform: Option<Box<str>>,
    class: Option<Box<str>>,
    format: Option<Format>,
}

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
}

/// Kind 12.
#[derive(Serialize)]
struct Replaced<'a> {
    reason: &'static str,
    deviceid: &'a DeviceId,
    platform: Option<&'a str>,
    ts: UnixMillis,
}

/// Registers the connection. The response waits for the store (unread), and pushes wait for the response.
pub(super) fn register(core: &Arc<Core>, data: Option<&RawValue>, asker: Asker) -> Option<BoxFuture> {
    let connection = asker.connection.clone();
    let link = &connection.link;
    // Registering again as the same user changes what is named, and keeps the rest.
    let wanted = read(data).and_then(|wanted| {
        let kept = connection.registration().filter(|kept| kept.uid == wanted.uid);
        Ok((
            registration(&wanted, kept.as_deref(), link)?,
            wanted.format,
            kept.is_some(),
        ))
    });
    let (registration, format, again) = match wanted {
        Ok(wanted) => wanted,
        Err(reject) => {
            refuse(asker, Kind::RegisterReq.number(), &reject);
            return None;
        }
    };
    link.hold();
    let ousted = |link: &Link, by: &Registration, why| oust(core, link, by, why);
    // Over: it closed before this frame's turn, or is being sent away; nobody waits for an answer.
    let registration = core.registry.register(&connection, registration, ousted).ok()?;
    match format {
        Some(format) => link.set_format(format),
        None if !again => link.set_format(Format::default()),
        None => {}
    }
    let core = core.clone();
    Some(Box::pin(async move {
        let unread = core.store.unread(registration.uid.clone()).await;
        answer(
            &core,
            asker,
            &registration,
            unread.map_err(|error| core.trouble(error)),
        );
    }))
}

fn answer(core: &Core, asker: Asker, registration: &Registration, unread: Result<u64, Reject>) {
    let connection = asker.connection.clone();
    let link = &connection.link;
    tracing::debug!(
        sid = link.outlet().sid(),
        uid = %registration.uid,
        deviceid = %registration.device,
        "registered"
    );
    let response = match unread {
        Ok(unread) => raw(&Registered {
            code: 0,
            uid: &registration.uid,
            deviceid: &registration.device,
            sid: link.outlet().sid(),
            epoch: core.store.epoch(),
            ts: clock::unix_millis(),
            unread,
        }),
        Err(reject) => {
            core.registry.unregister(&connection);
            link.release(|| refuse(asker, Kind::RegisterReq.number(), &reject));
            return;
        }
    };
    link.release(|| asker.answer(Kind::RegisterRes, &response));
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
    })
}

fn read(data: Option<&RawValue>) -> Result<Wanted, Reject> {
    let fields = data
        .and_then(|data| Fields::read(data.get()))
        .ok_or_else(|| Reject::malformed("\"data\" must be an object such as {\"uid\":\"alice\"}."))?;
    if fields
        .resume
        .is_some_and(|raw| serde_json::from_str::<bool>(raw.get()).is_err())
    {
        return Err(Reject::malformed("\"resume\" must be true or false."));
    }
    if let Some(raw) = fields.token {
        text("token", raw)?;
    }
    let format = match fields
        .format
        .map(|raw| text("format", raw))
        .transpose()?
        .as_deref()
    {
        None => None,
        Some("string") => Some(Format::String),
        Some("object") => Some(Format::Object),
        Some(_) => return Err(Reject::malformed("\"format\" must be \"string\" or \"object\".")),
    };
    let device = match fields.deviceid {
        None => None,
        Some(raw) => Some(DeviceId::new(&text("deviceid", raw)?).map_err(|why| bad_id("deviceid", why))?),
    };
    Ok(Wanted {
        uid: uid(fields.uid)?,
        device,
        platform: label("platform", fields.platform)?,
        class: label("type", fields.class)?,
        format,
    })
}

/// A string, or an integer, which means its decimal string.
fn uid(raw: Option<&RawValue>) -> Result<Uid, Reject> {
    raw.and_then(|raw| Uid::from_json(raw.get()))
        .ok_or_else(|| Reject::malformed("\"uid\" must be a string or an integer."))?
        .map_err(|why| bad_id("uid", why))
}

/// A short text that is kept and shown.
fn label(field: &'static str, raw: Option<&RawValue>) -> Result<Option<Box<str>>, Reject> {
    let Some(raw) = raw else { return Ok(None) };
    let text = text(field, raw)?;
    match text.len() {
        0 => Ok(None),
        1..=MAX_ID_BYTES if !text.chars().any(char::is_control) => Ok(Some(text.into())),
        1..=MAX_ID_BYTES => Err(bad_id(field, IdError::Control)),
        _ => Err(bad_id(field, IdError::TooLong(MAX_ID_BYTES))),
    }
}

fn text(field: &'static str, raw: &RawValue) -> Result<String, Reject> {
    serde_json::from_str(raw.get()).map_err(|_| Reject::malformed(format!("\"{field}\" must be a string.")))
}

fn bad_id(field: &'static str, why: IdError) -> Reject {
    Reject::malformed(format!("\"{field}\" {why}."))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reject::Code;

    fn parsed(json: &str) -> Result<Wanted, Reject> {
        let raw = RawValue::from_string(json.into()).unwrap();
        read(Some(&raw))
    }

    #[test]
    fn a_uid_is_a_string_or_an_integer() {
        for (json, uid) in [
            (r#"{"uid":"alice"}"#, "alice"),
            (r#"{"uid":42}"#, "42"),
            (r#"{"uid":-7}"#, "-7"),
            (r#"{"uid":-0}"#, "0"),
            (
                r#"{"uid":123456789012345678901234567890}"#,
                "123456789012345678901234567890",
            ),
            (r#"{"uid":"\u65e5\u672c"}"#, "日本"),
        ] {
            assert_eq!(parsed(json).unwrap().uid.as_str(), uid, "{json}");
        }
    }

    #[test]
    fn whatever_is_wrong_is_named() {
        let long = format!(r#"{{"uid":"{}"}}"#, "x".repeat(129));
        for (json, part) in [
            ("[]", "data"),
            ("5", "data"),
            ("{}", "uid"),
            (r#"{"uid":null}"#, "uid"),
            (r#"{"uid":""}"#, "uid"),
            (r#"{"uid":1.5}"#, "uid"),
            (r#"{"uid":1e3}"#, "uid"),
            (r#"{"uid":true}"#, "uid"),
            (r#"{"uid":["a"]}"#, "uid"),
            (r#"{"uid":{"a":1}}"#, "uid"),
            (r#"{"uid":"a\u0000b"}"#, "uid"),
            (r#"{"uid":"a\nb"}"#, "uid"),
            (long.as_str(), "uid"),
            (r#"{"uid":"a","deviceid":1}"#, "deviceid"),
            (r#"{"uid":"a","deviceid":""}"#, "deviceid"),
            (r#"{"uid":"a","platform":{}}"#, "platform"),
            (r#"{"uid":"a","platform":"\u0007"}"#, "platform"),
            (r#"{"uid":"a","type":3}"#, "type"),
            (r#"{"uid":"a","token":3}"#, "token"),
            (r#"{"uid":"a","resume":"yes"}"#, "resume"),
            (r#"{"uid":"a","format":"xml"}"#, "format"),
            (r#"{"uid":"a","format":1}"#, "format"),
        ] {
            let reject = parsed(json).unwrap_err();
            assert_eq!(reject.code, Code::Malformed, "{json}");
            assert!(reject.error.contains(&format!("\"{part}\"")), "{json}: {reject}");
        }
    }

    #[test]
    fn everything_else_may_be_absent_or_null() {
        let wanted =
            parsed(r#"{"uid":"a","deviceid":null,"platform":null,"type":null,"token":null,"resume":null,"format":null,"x":1}"#)
                .unwrap();
        assert!(wanted.device.is_none() && wanted.platform.is_none() && wanted.format.is_none());
    }
}
