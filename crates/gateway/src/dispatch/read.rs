//! Kind 106: a user has read a conversation up to a message. Kind 107 tells the user's other devices and the
//! other users of the conversation.

use std::sync::Arc;

use mynah_socketio::BoxFuture;
use serde::Serialize;
use serde_json::value::RawValue;

use super::record::Record;
use super::{ack, fields};
use crate::clock;
use crate::delivery::Receipt;
use crate::frame::raw;
use crate::ids::{ConvId, Seq, Uid};
use crate::kinds::Kind;
use crate::session::Asker;
use crate::store::{ConvKind, Device, Members, Read, ReadMark, StoreError};

/// `data` of kind 107.
#[derive(Serialize)]
struct ReadBy<'a> {
    conv: ConvId,
    seq: Seq,
    by: &'a Uid,
}

pub(super) fn read(record: &Arc<Record>, data: Option<&RawValue>, asker: Asker) -> Option<BoxFuture> {
    let (asker, by, (conv, seq)) = fields::asked(asker, Kind::ReadReq, data, ack::read)?;
    let read = Read {
        by: Device {
            uid: by.uid.clone(),
            device: by.device.clone(),
        },
        conv,
        seq,
    };
    let connection = asker.connection.clone();
    connection.link.begins_to_acknowledge();
    let uid = by.uid.clone();
    record.call(connection, &uid, move |record, pending| {
        let shared = record.clone();
        let done = move |result: Result<ReadMark, StoreError>| match result {
            Ok(mark) => {
                if let Some(reached) = &shared.reached {
                    reached.acknowledged(&by.uid, conv, mark.seq);
                }
                let except = asker.connection.id;
                // The position is less than the requested one only if the latter is beyond the head.
                let (had, record) = (mark.seq, shared.clone());
                let answer = Box::new(move || {
                    drop(pending);
                    ack::agree(&record, asker, seq, had);
                });
                shared.delivery.receipt(Receipt {
                    conv,
                    data: told(conv, &mark, &by.uid),
                    ts: clock::unix_millis(),
                    by: by.uid.clone(),
                    to: readers(mark, &by.uid, shared.config.limits.read_receipt_members),
                    except,
                    answer,
                });
            }
            Err(error) => asker.refuse_if_waiting(&shared.trouble(error)),
        };
        record.store.read(read, Box::new(done));
    })
}

fn told(conv: ConvId, mark: &ReadMark, by: &Uid) -> Arc<RawValue> {
    let seq = mark.seq;
    raw(&ReadBy { conv, seq, by }).into()
}

/// Returns the users who are told: the user itself, because of its other devices, and the other user of a
/// pair, or a team's members if there are not too many.
fn readers(mark: ReadMark, by: &Uid, most_members: usize) -> Members {
    let only = |uid: &Uid| Arc::new(vec![uid.clone()]);
    match (mark.kind, mark.members) {
        _ if !mark.moved => Members::default(),
        (ConvKind::Pair(_, one, other), _) if one != other => Arc::new(vec![one, other]),
        (ConvKind::Team(_), Some(members)) if members.len() <= most_members => members,
        (ConvKind::Pair(..) | ConvKind::Notices(_) | ConvKind::Team(_), _) => only(by),
    }
}
