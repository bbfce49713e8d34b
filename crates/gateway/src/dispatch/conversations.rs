//! Kind 110: lists a user's conversations.

use std::sync::Arc;

use mynah_socketio::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fields;
use super::record::Record;
use crate::frame::{Request, shown};
use crate::kinds::Kind;
use crate::reject::Reject;
use crate::session::Asker;

/// `data` of frame 110, each field as raw JSON.
#[derive(Deserialize, Default)]
struct ConversationsFields<'a> {
    #[serde(borrow)]
    after: Option<&'a RawValue>,
    #[serde(borrow)]
    limit: Option<&'a RawValue>,
}

impl<'a> Request<'a> for ConversationsFields<'a> {}

/// Response, kind 111.
#[derive(Serialize)]
struct Listed {
    code: u16,
    conversations: Vec<shown::Conversation>,
    next: Option<String>,
}

pub(super) fn conversations(
    record: &Arc<Record>,
    data: Option<&RawValue>,
    asker: Asker,
) -> Option<BoxFuture> {
    let (asker, by, (after, limit)) = fields::asked(asker, Kind::ConversationsReq, data, read)?;
    let record = record.clone();
    Some(Box::pin(async move {
        let page = record.page(limit);
        if !asker.room(page.bytes).await {
            return;
        }
        let uid = by.uid.clone();
        let device = by.store_device().map(|device| device.device);
        let read = record.store.conversations(uid.clone(), device, after, page);
        let Some(read) = asker.unless_gone(read).await else {
            return;
        };
        match read {
            Ok(page) => {
                let listed = Listed {
                    code: 0,
                    conversations: page
                        .conversations
                        .into_iter()
                        .map(|line| shown::Conversation::of(&uid, line))
                        .collect(),
                    next: page.next,
                };
                asker.answer(Kind::ConversationsRes, &listed);
            }
            Err(error) => asker.refuse(Kind::ConversationsRes, &record.trouble(error)),
        }
    }))
}

fn read(data: Option<&RawValue>) -> Result<(Option<String>, u32), Reject> {
    let fields = match data {
        None => ConversationsFields::default(),
        Some(data) => {
            ConversationsFields::read(data.get(), "\"data\" must be an object, such as {\"limit\":100}.")
                .map_err(Reject::malformed)?
        }
    };
    let after = fields
        .after
        .map(|raw| serde_json::from_str(raw.get()))
        .transpose();
    let after = after
        .map_err(|_| Reject::malformed("\"after\" must be \"next\" of the previous page, or be left out."))?;
    Ok((after, fields::limit(fields.limit)?))
}
