//! Kind 103: a device acknowledges that it has received a conversation up to a message.

use std::sync::Arc;

use mynah_socketio::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::fields;
use super::record::Record;
use crate::frame::Request;
use crate::ids::{ConvId, Seq};
use crate::kinds::Kind;
use crate::reject::Reject;
use crate::session::Asker;
use crate::store::Device;

/// `data` of frames 103 and 106, each field as raw JSON.
#[derive(Deserialize)]
pub(super) struct PositionFields<'a> {
    #[serde(borrow)]
    conv: Option<&'a RawValue>,
    #[serde(borrow)]
    seq: Option<&'a RawValue>,
}

impl<'a> Request<'a> for PositionFields<'a> {}

/// Reads the conversation and the position in it.
pub(super) fn read(data: Option<&RawValue>) -> Result<(ConvId, Seq), Reject> {
    let fields = PositionFields::read(
        data.map_or("null", RawValue::get),
        "\"data\" must be an object with \"conv\" and \"seq\".",
    )
    .map_err(Reject::malformed)?;
    let seq = fields::seq("seq", fields.seq)?;
    Ok((fields::conv(fields.conv)?, seq))
}

/// The response to a position beyond the head: such a position belongs to another history than that of the
/// gateway.
#[derive(Serialize)]
struct Beyond<'a> {
    code: u16,
    head: Seq,
    epoch: &'a str,
}

/// Answers that the position counts up to `had`, which is less than `seq` only if `seq` is beyond the head.
pub(super) fn agree(record: &Record, asker: Asker, seq: Seq, had: Seq) {
    if had >= seq {
        return asker.agree();
    }
    asker.answer_if_waiting(&Beyond {
        code: 0,
        head: had,
        epoch: record.store.epoch(),
    });
}

pub(super) fn ack(record: &Arc<Record>, data: Option<&RawValue>, asker: Asker) -> Option<BoxFuture> {
    let (asker, by, (conv, seq)) = fields::asked(asker, Kind::Ack, data, read)?;
    let device = Device {
        uid: by.uid.clone(),
        device: by.device.clone(),
    };
    let connection = asker.connection.clone();
    connection.link.begins_to_acknowledge();
    let uid = by.uid.clone();
    record.call(connection, &uid, move |record, pending| {
        let shared = record.clone();
        let done = move |result| {
            let _pending = pending;
            match result {
                Ok(had) => {
                    if let Some(reached) = &shared.reached {
                        reached.acknowledged(&by.uid, conv, seq.min(had));
                    }
                    agree(&shared, asker, seq, had);
                }
                Err(error) => asker.refuse_if_waiting(&shared.trouble(error)),
            }
        };
        record.store.ack(device, conv, seq, Box::new(done));
    })
}
