//! Kind 104: reads a part of a conversation.

use std::sync::Arc;

use mynah_socketio::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fields;
use super::record::Record;
use crate::frame::{Request, shown};
use crate::ids::{ConvId, Seq};
use crate::kinds::Kind;
use crate::reject::Reject;
use crate::session::Asker;
use crate::store::Span;

/// `data` of frame 104, each field as raw JSON.
#[derive(Deserialize)]
struct SyncFields<'a> {
    #[serde(borrow)]
    conv: Option<&'a RawValue>,
    #[serde(borrow)]
    after: Option<&'a RawValue>,
    #[serde(borrow)]
    before: Option<&'a RawValue>,
    #[serde(borrow)]
    limit: Option<&'a RawValue>,
}

impl<'a> Request<'a> for SyncFields<'a> {}

/// Response, kind 105.
#[derive(Serialize)]
struct Synced<'a> {
    code: u16,
    conv: ConvId,
    messages: Vec<Box<RawValue>>,
    head: Seq,
    more: bool,
    /// The epoch, if the request's `after` is beyond the head.
    #[serde(skip_serializing_if = "Option::is_none")]
    epoch: Option<&'a str>,
}

/// The request, with valid fields.
struct SyncRequest {
    conv: ConvId,
    span: Span,
    limit: u32,
}

pub(super) fn sync(record: &Arc<Record>, data: Option<&RawValue>, asker: Asker) -> Option<BoxFuture> {
    let (asker, by, request) = fields::asked(asker, Kind::SyncReq, data, read)?;
    let record = record.clone();
    Some(Box::pin(async move {
        let SyncRequest { conv, span, limit } = request;
        let page = record.page(limit);
        if !asker.room(page.bytes).await {
            return;
        }
        let read = record.store.history(conv, Some(by.uid.clone()), span, page);
        let Some(read) = asker.unless_gone(read).await else {
            return;
        };
        match read {
            Ok(history) => {
                let synced = Synced {
                    code: 0,
                    conv,
                    messages: history.messages.iter().map(shown::envelope).collect(),
                    head: history.head,
                    more: history.more,
                    epoch: matches!(span, Span::After(seq) if seq > history.head)
                        .then(|| record.store.epoch()),
                };
                asker.answer(Kind::SyncRes, &synced);
            }
            Err(error) => asker.refuse(Kind::SyncRes, &record.trouble(error)),
        }
    }))
}

fn read(data: Option<&RawValue>) -> Result<SyncRequest, Reject> {
    let fields = SyncFields::read(
        data.map_or("null", RawValue::get),
        "\"data\" must be an object with \"conv\", and \"after\" or \"before\".",
    )
    .map_err(Reject::malformed)?;
    let span = match (fields.after, fields.before) {
        (Some(after), None) => Span::After(fields::seq("after", Some(after))?),
        (None, Some(before)) => Span::Before(fields::seq("before", Some(before))?),
        _ => {
            return Err(Reject::malformed(
                "Give either \"after\" or \"before\", the number of a message.",
            ));
        }
    };
    let limit = fields::limit(fields.limit)?;
    Ok(SyncRequest {
        conv: fields::conv(fields.conv)?,
        span,
        limit,
    })
}
