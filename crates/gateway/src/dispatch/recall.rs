//! Kind 108: a sender recalls a message. Kind 109, a stored message, announces the recall to everybody in the
//! conversation.

use std::sync::Arc;

use mynah_socketio::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fields;
use super::record::Record;
use crate::delivery::{Committed, OnDelivered};
use crate::frame::{Request, raw};
use crate::ids::{ConvId, Mid, Seq, Uid};
use crate::kinds::Kind;
use crate::reject::Reject;
use crate::session::Asker;
use crate::store::{Append, ConvKind, Place, Recall, Recalled};
use crate::time::UnixMillis;

/// `data` of frame 108, each field as raw JSON.
#[derive(Deserialize)]
struct RecallFields<'a> {
    #[serde(borrow)]
    mid: Option<&'a RawValue>,
}

impl<'a> Request<'a> for RecallFields<'a> {}

/// `data` of the message 109: the id of the message that was recalled.
#[derive(Serialize)]
struct TakenBack {
    mid: Mid,
}

/// The response to 108: the place of the message 109 in the history.
#[derive(Serialize)]
struct RecallResponse {
    code: u16,
    mid: Mid,
    conv: ConvId,
    seq: Seq,
    ts: UnixMillis,
}

pub(super) fn recall(record: &Arc<Record>, data: Option<&RawValue>, asker: Asker) -> Option<BoxFuture> {
    let (asker, by, mid) = fields::asked(asker, Kind::RecallReq, data, read)?;
    let data: Arc<RawValue> = raw(&TakenBack { mid }).into();
    let order = Recall {
        mid,
        by: by.uid.clone(),
        kind: Kind::RecallPush.number(),
        data: data.clone(),
        window_ms: record.config.limits.recall_window_ms,
    };
    let connection = asker.connection.clone();
    let uid = by.uid.clone();
    record.call(connection, &uid, move |record, pending| {
        let shared = record.clone();
        let answer: OnDelivered = Box::new(move |outcome| {
            drop(pending);
            match outcome {
                Ok(outcome) => asker.answer_if_waiting(&RecallResponse {
                    code: 0,
                    mid: outcome.stored.mid,
                    conv: outcome.stored.conv,
                    seq: outcome.stored.seq,
                    ts: outcome.stored.ts,
                }),
                Err(reject) => asker.refuse_if_waiting(&reject),
            }
        });
        let done = move |result| match result {
            Ok(Recalled { appended, kind }) => {
                // The response to 108 does not contain the message 109, so the connection that asked
                // receives it too.
                let committed = Committed {
                    message: Arc::new(message(kind, by.uid.clone(), data)),
                    appended,
                    except: None,
                    counts: false,
                };
                shared.delivery.message(committed, answer);
            }
            Err(error) => answer(Err(shared.trouble(error))),
        };
        record.store.recall(order, Box::new(done));
    })
}

fn read(data: Option<&RawValue>) -> Result<Mid, Reject> {
    const SHAPE: &str = "\"data\" must be {\"mid\":\"<the message's id>\"}.";
    let fields = RecallFields::read(data.map_or("null", RawValue::get), SHAPE).map_err(Reject::malformed)?;
    let mid: String = fields
        .mid
        .and_then(|raw| serde_json::from_str(raw.get()).ok())
        .ok_or_else(|| Reject::malformed(SHAPE))?;
    Mid::parse(&mid).ok_or_else(|| Reject::not_found("There is no message with this \"mid\"."))
}

/// Returns the message 109, which the user who recalls sends to the conversation.
fn message(kind: ConvKind, by: Uid, data: Arc<RawValue>) -> Append {
    let place = match kind {
        ConvKind::Pair(class, one, other) => {
            let to = if one == by { other } else { one };
            Place::Pair { class, to }
        }
        ConvKind::Notices(owner) => Place::Notices(owner),
        ConvKind::Team(team) => Place::Team(team),
    };
    Append {
        place,
        kind: Kind::RecallPush.number(),
        counts: false,
        from: Some(by),
        device: None,
        members_only: false,
        cid: None,
        only_repeat: false,
        new_pairs_per_hour: 0,
        data,
        push: None,
    }
}
