//! Writes what a batch has changed, with one statement for each table, and commits; all in one round trip.

use std::collections::HashMap;

use futures_util::future::{try_join, try_join3, try_join4, try_join5};
use mynah_store::ids::{Cid, ConvId, Seq, Uid};
use mynah_store::{JobId, Lane};

use super::state::{Batch, Head, NewMessage};
use crate::failure::Failure;
use crate::session::{Session, Value};
use crate::values::{Columns, kind_values, stored, uuid};

/// The statements of this file.
pub(crate) const COMMIT_OF_BATCH: &[&str] = &[
    NEW_CONVERSATIONS,
    NEW_SEATS,
    NEW_MESSAGES,
    HEADS,
    SENT,
    READS,
    NEW_JOBS,
    CURSORS,
    SEEN,
    NEW_BEGUN,
];

const NEW_CONVERSATIONS: &str = "INSERT INTO conversations (conv, kind, a, b, team)
     SELECT * FROM unnest($1::uuid[], $2::smallint[], $3::text[], $4::text[], $5::text[]) AS q(conv) ORDER BY q.conv";
const NEW_SEATS: &str = "INSERT INTO participants (uid, conv) SELECT * FROM unnest($1::text[], $2::uuid[])";
const NEW_MESSAGES: &str = "INSERT INTO messages
         (conv, seq, id, mid, kind, ts, counts, sender, cid, cid_hash, counted, own, member_sent, data)
     SELECT * FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::uuid[], $5::int[], $6::bigint[], $7::bool[],
         $8::text[], $9::text[], $10::bigint[], $11::bigint[], $12::bigint[], $13::bigint[], $14::text[])";
const HEADS: &str = "UPDATE conversations c SET head = q.head, last_row = q.last_row, ts = q.ts, counted = q.counted,
         sent_a = q.sent_a, sent_b = q.sent_b, unread_a = q.unread_a, unread_b = q.unread_b,
         last_mid = q.last_mid
     FROM unnest($1::uuid[], $2::bigint[], $3::bigint[], $4::bigint[], $5::bigint[], $6::bigint[], $7::bigint[],
         $8::bigint[], $9::bigint[], $10::uuid[])
         AS q(conv, head, last_row, ts, counted, sent_a, sent_b, unread_a, unread_b, last_mid)
     WHERE c.conv = q.conv";
const SENT: &str = "UPDATE participants p SET sent = q.sent
     FROM unnest($1::text[], $2::uuid[], $3::bigint[]) AS q(uid, conv, sent) WHERE p.uid = q.uid AND p.conv = q.conv";
const READS: &str = "UPDATE participants p SET read = q.read, read_counted = q.counted, read_sent = q.own
     FROM unnest($1::text[], $2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[]) AS q(uid, conv, read, counted, own)
     WHERE p.uid = q.uid AND p.conv = q.conv";
const NEW_JOBS: &str = "INSERT INTO push_jobs (conv, seq, uid, team, lane, made, due, expires)
     SELECT q.conv, q.seq, q.uid, q.uid IS NULL, q.lane, $5, $5 + q.delay, $5 + q.expires
     FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::smallint[], $6::bigint[], $7::bigint[])
         AS q(conv, seq, uid, lane, delay, expires)
     RETURNING conv, seq, id";
/// A device that was forgotten in the meantime gets no cursors.
const CURSORS: &str = "INSERT INTO cursors (device_id, conv, seq)
     SELECT q.device_id, q.conv, q.seq FROM unnest($1::bigint[], $2::uuid[], $3::bigint[]) AS q(device_id, conv, seq)
     JOIN devices v ON v.id = q.device_id ORDER BY q.device_id, q.conv
     ON CONFLICT (device_id, conv) DO UPDATE SET seq = excluded.seq, acked = true
     WHERE cursors.seq < excluded.seq";
const SEEN: &str = "UPDATE devices v SET seen = q.seen FROM unnest($1::bigint[], $2::bigint[]) AS q(id, seen)
     WHERE v.id = q.id AND v.seen < q.seen";
const NEW_BEGUN: &str = "INSERT INTO begun (uid, at) SELECT unnest($1::text[]), $2";

/// Writes and commits. Returns the push jobs that were made, by their messages.
pub(crate) async fn flush(
    session: &Session,
    batch: &Batch<'_>,
) -> Result<HashMap<(ConvId, Seq), JobId>, Failure> {
    // All statements after the one that fails fail because of it, so the first error in this order is the
    // cause.
    let log = try_join4(
        make_conversations(session, batch),
        write_messages(session, &batch.messages),
        write_heads(session, batch),
        make_jobs(session, batch),
    );
    let positions = try_join5(
        write_sent(session, batch),
        write_reads(session, batch),
        write_cursors(session, batch),
        write_seen(session, batch),
        write_begun(session, batch),
    );
    let (((), (), (), jobs), _, ()) = try_join3(log, positions, session.run("COMMIT")).await?;
    Ok(jobs)
}

async fn make_conversations(session: &Session, batch: &Batch<'_>) -> Result<(), Failure> {
    let new: Vec<_> = batch.heads.iter().filter(|(_, head)| head.is_new).collect();
    if new.is_empty() {
        return Ok(());
    }
    let convs: Vec<_> = new.iter().map(|(conv, _)| uuid(**conv)).collect();
    let (mut codes, mut a, mut b, mut teams) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let (mut uids, mut seats) = (Vec::new(), Vec::new());
    for (conv, head) in &new {
        let values = kind_values(&head.kind);
        codes.push(values.0);
        a.push(values.1);
        b.push(values.2);
        teams.push(values.3);
        for uid in values
            .1
            .into_iter()
            .chain(values.2.filter(|b| Some(*b) != values.1))
        {
            uids.push(uid);
            seats.push(uuid(**conv));
        }
    }
    try_join(
        session.execute(NEW_CONVERSATIONS, &[&convs, &codes, &a, &b, &teams]),
        session.execute(NEW_SEATS, &[&uids, &seats]),
    )
    .await?;
    Ok(())
}

/// Adds messages to the log.
pub(crate) async fn write_messages(session: &Session, messages: &[NewMessage<'_>]) -> Result<(), Failure> {
    if messages.is_empty() {
        return Ok(());
    }
    let convs: Vec<_> = messages.iter().map(|it| uuid(it.conv)).collect();
    let seqs: Vec<_> = messages.iter().map(|it| stored(it.seq)).collect();
    let rows: Vec<_> = messages.iter().map(|it| it.row).collect();
    let mids: Vec<_> = messages.iter().map(|it| it.mid.0).collect();
    let kinds: Vec<_> = messages.iter().map(|it| i32::from(it.draft.kind)).collect();
    let times: Vec<_> = messages.iter().map(|it| stored(it.ts)).collect();
    let counts: Vec<_> = messages.iter().map(|it| it.draft.counts).collect();
    let senders: Vec<_> = messages.iter().map(|it| it.draft.from.map(Uid::as_str)).collect();
    let cids: Vec<_> = messages.iter().map(|it| it.draft.cid.map(Cid::as_str)).collect();
    let hashes: Vec<_> = messages.iter().map(|it| it.draft.cid_hash).collect();
    let counted: Vec<_> = messages.iter().map(|it| stored(it.counted)).collect();
    let own: Vec<_> = messages.iter().map(|it| it.draft.own.map(stored)).collect();
    let sent: Vec<_> = messages
        .iter()
        .map(|it| it.draft.member_sent.map(stored))
        .collect();
    let data: Vec<_> = messages.iter().map(|it| it.draft.data).collect();
    let values: [Value<'_>; 14] = [
        &convs, &seqs, &rows, &mids, &kinds, &times, &counts, &senders, &cids, &hashes, &counted, &own,
        &sent, &data,
    ];
    session.execute(NEW_MESSAGES, &values).await?;
    Ok(())
}

async fn write_heads(session: &Session, batch: &Batch<'_>) -> Result<(), Failure> {
    let dirty: Vec<_> = batch.heads.iter().filter(|(_, head)| head.is_dirty).collect();
    if dirty.is_empty() {
        return Ok(());
    }
    let convs: Vec<_> = dirty.iter().map(|(conv, _)| uuid(**conv)).collect();
    let column =
        |of: fn(&Head) -> u64| -> Vec<_> { dirty.iter().map(|(_, head)| stored(of(head))).collect() };
    let rows: Vec<_> = dirty.iter().map(|(_, head)| head.last_row).collect();
    let mids: Vec<_> = dirty
        .iter()
        .map(|(_, head)| head.last_mid.map(|mid| mid.0))
        .collect();
    let values: [Value<'_>; 10] = [
        &convs,
        &column(|head| head.seq),
        &rows,
        &column(|head| head.ts),
        &column(|head| head.counted),
        &column(|head| head.sent[0]),
        &column(|head| head.sent[1]),
        &column(|head| head.unread[0]),
        &column(|head| head.unread[1]),
        &mids,
    ];
    session.execute(HEADS, &values).await?;
    Ok(())
}

async fn make_jobs(session: &Session, batch: &Batch<'_>) -> Result<HashMap<(ConvId, Seq), JobId>, Failure> {
    let mut made = HashMap::new();
    if batch.jobs.is_empty() {
        return Ok(made);
    }
    let convs: Vec<_> = batch.jobs.iter().map(|job| uuid(job.conv)).collect();
    let seqs: Vec<_> = batch.jobs.iter().map(|job| stored(job.seq.0)).collect();
    let uids: Vec<_> = batch.jobs.iter().map(|job| job.uid.map(Uid::as_str)).collect();
    let lanes = batch.jobs.iter().map(|job| if job.push.urgent { Lane::Urgent } else { Lane::Normal } as i16);
    let lanes: Vec<_> = lanes.collect();
    let delays: Vec<_> = batch.jobs.iter().map(|job| stored(job.push.delay_ms)).collect();
    let expires: Vec<_> = batch
        .jobs
        .iter()
        .map(|job| stored(job.push.expires_in_ms))
        .collect();
    let now = stored(batch.moment.steady);
    let values: [Value<'_>; 7] = [&convs, &seqs, &uids, &lanes, &now, &delays, &expires];
    for row in &session.query(NEW_JOBS, &values).await? {
        let mut row = Columns::of(row);
        made.insert((row.conv()?, Seq(row.number()?)), JobId(row.take()?));
    }
    Ok(made)
}

async fn write_sent(session: &Session, batch: &Batch<'_>) -> Result<(), Failure> {
    if batch.sent.is_empty() {
        return Ok(());
    }
    let (uids, convs): (Vec<_>, Vec<_>) = batch.sent.keys().map(|(uid, conv)| (uid.as_str(), *conv)).unzip();
    let sent: Vec<_> = batch.sent.values().map(|sent| stored(*sent)).collect();
    session.execute(SENT, &[&uids, &convs, &sent]).await?;
    Ok(())
}

async fn write_reads(session: &Session, batch: &Batch<'_>) -> Result<(), Failure> {
    if batch.reads.is_empty() {
        return Ok(());
    }
    let (uids, convs): (Vec<_>, Vec<_>) = batch
        .reads
        .keys()
        .map(|(uid, conv)| (uid.as_str(), *conv))
        .unzip();
    let reads: Vec<_> = batch.reads.values().map(|read| stored(read.seq)).collect();
    let counted: Vec<_> = batch.reads.values().map(|read| stored(read.at.counted)).collect();
    let own: Vec<_> = batch.reads.values().map(|read| stored(read.at.own)).collect();
    session
        .execute(READS, &[&uids, &convs, &reads, &counted, &own])
        .await?;
    Ok(())
}

async fn write_cursors(session: &Session, batch: &Batch<'_>) -> Result<(), Failure> {
    if batch.advanced.is_empty() {
        return Ok(());
    }
    let (devices, convs): (Vec<_>, Vec<_>) = batch.advanced.keys().copied().unzip();
    let seqs: Vec<_> = batch.advanced.values().map(|seq| stored(*seq)).collect();
    session.execute(CURSORS, &[&devices, &convs, &seqs]).await?;
    Ok(())
}

async fn write_seen(session: &Session, batch: &Batch<'_>) -> Result<(), Failure> {
    if batch.seen.is_empty() {
        return Ok(());
    }
    let (ids, seen): (Vec<_>, Vec<_>) = batch.seen.iter().map(|(id, seen)| (*id, stored(*seen))).unzip();
    session.execute(SEEN, &[&ids, &seen]).await?;
    Ok(())
}

async fn write_begun(session: &Session, batch: &Batch<'_>) -> Result<(), Failure> {
    if batch.begins.is_empty() {
        return Ok(());
    }
    let uids: Vec<_> = batch.begins.iter().map(|uid| uid.as_str()).collect();
    session
        .execute(NEW_BEGUN, &[&uids, &stored(batch.moment.now)])
        .await?;
    Ok(())
}
