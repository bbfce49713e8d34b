//! Sending: frame 101, and the orders of the API.

use std::sync::Arc;
use std::time::Duration;

use mynah_socketio::BoxFuture;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::plan::{Item, Plan, Rules, plan};
use super::{not_registered, refuse};
use crate::clock;
use crate::core::Core;
use crate::delivery::{Answer, Committed, Outcome};
use crate::frame::{Envelope, Frame, Request, raw};
use crate::ids::{Cid, ConvId, Mid, Seq, TeamId, Uid};
use crate::kinds::{Kind, Rule};
use crate::order::{By, Origin, SendOrder, Sent, Stored, To, UserResult};
use crate::reject::Reject;
use crate::session::Asker;
use crate::store::{Append, Appended, Done, Place, StoreError, UnixMillis};

/// How long a call waits for room among the appends in flight.
const ROOM_WAIT: Duration = Duration::from_secs(2);
/// Most messages of one call that are with the store at once.
const CHUNK: usize = 1_024;

/// `data` of frame 101, each field still as it came.
#[derive(Deserialize)]
struct Fields<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<&'a RawValue>,
    #[serde(borrow)]
    to: Option<&'a RawValue>,
    #[serde(borrow)]
    cid: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

impl<'a> Request<'a> for Fields<'a> {}

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
struct Accepted<'a> {
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

/// Frame 101. Messages of one connection are appended in the order in which they came, without waiting for one another.
pub(super) fn request(core: &Arc<Core>, data: Option<&RawValue>, asker: Asker) -> Option<BoxFuture> {
    let Some(registration) = asker.connection.registration() else {
        refuse(asker, Kind::SendReq.number(), &not_registered());
        return None;
    };
    let Some(fields) = data.and_then(|data| Fields::read(data.get())) else {
        let reject = Reject::malformed("\"data\" must be an object with \"type\", \"to\" and \"data\".");
        asker.refuse_message(&reject, None);
        return None;
    };
    let cid = match fields.cid.map(cid).transpose() {
        Ok(cid) => cid,
        Err(reject) => {
            asker.refuse_message(&reject, None);
            return None;
        }
    };
    let plan =
        read(&fields, cid.clone(), registration.uid.clone(), &asker).and_then(|order| core.plan(order));
    match plan {
        Ok(plan) if plan.conversation.is_some() => append_from_client(core, plan, asker),
        Ok(plan) => pass_from_client(core, plan, asker),
        Err(reject) => {
            asker.refuse_message(&reject, cid.as_ref().map(Cid::as_str));
            None
        }
    }
}

fn read(fields: &Fields<'_>, cid: Option<Cid>, from: Uid, asker: &Asker) -> Result<SendOrder, Reject> {
    let kind = fields
        .kind
        .and_then(|raw| serde_json::from_str::<u64>(raw.get()).ok())
        .ok_or_else(|| Reject::malformed("\"type\" must be the number of the kind to send."))?;
    let data = fields
        .data
        .ok_or_else(|| Reject::malformed("\"data\" inside of \"data\" must be the message, an object."))?;
    Ok(SendOrder {
        // Beyond all kinds: 0 is none either.
        kind: u16::try_from(kind).unwrap_or(0),
        to: to(fields.to)?,
        from: Some(from),
        data: data.to_owned().into(),
        cid,
        push: None,
        ttl_ms: None,
        by: By::Client(Origin(asker.connection.clone())),
    })
}

fn to(raw: Option<&RawValue>) -> Result<To, Reject> {
    let wrong = || Reject::malformed("\"to\" must be {\"user\":\"<uid>\"} or {\"team\":\"<team>\"}.");
    let fields = raw.and_then(|raw| ToFields::read(raw.get())).ok_or_else(wrong)?;
    let text = |raw: &RawValue| serde_json::from_str::<String>(raw.get()).map_err(|_| wrong());
    match (fields.user, fields.team) {
        (Some(user), None) => Uid::new(&text(user)?)
            .map(To::User)
            .map_err(|why| Reject::malformed(format!("\"to.user\" {why}."))),
        (None, Some(team)) => TeamId::new(&text(team)?)
            .map(To::Team)
            .map_err(|why| Reject::malformed(format!("\"to.team\" {why}."))),
        _ => Err(wrong()),
    }
}

fn cid(raw: &RawValue) -> Result<Cid, Reject> {
    let text: String = serde_json::from_str(raw.get())
        .map_err(|_| Reject::malformed("\"cid\" must be a string of at most 64 bytes."))?;
    Cid::new(&text).map_err(|why| Reject::malformed(format!("\"cid\" {why}.")))
}

/// Appends; when too many are in flight, the connection is not read meanwhile.
fn append_from_client(core: &Arc<Core>, plan: Plan, asker: Asker) -> Option<BoxFuture> {
    let connection = asker.connection.clone();
    let limit = core.config.limits.appends_in_flight_per_connection;
    let full = connection.link.append_begins(limit);
    let pending = Pending(connection.clone());
    match core.appends.clone().try_acquire_owned() {
        Ok(permit) => {
            append(core, plan, asker, pending, permit);
            full.then(|| -> BoxFuture { Box::pin(async move { connection.link.room(limit).await }) })
        }
        Err(_) => {
            let core = core.clone();
            Some(Box::pin(async move {
                // Closed it never is.
                if let Ok(permit) = core.appends.clone().acquire_owned().await {
                    append(&core, plan, asker, pending, permit);
                    connection.link.room(limit).await;
                }
            }))
        }
    }
}

/// One of a connection's appends in flight; ends when dropped, whatever happened.
struct Pending(Arc<crate::registry::Connection<crate::session::Link>>);

impl Drop for Pending {
    fn drop(&mut self) {
        self.0.link.append_ended();
    }
}

fn append(core: &Arc<Core>, plan: Plan, asker: Asker, pending: Pending, permit: OwnedSemaphorePermit) {
    let cid = plan.cid.clone();
    let answer: Answer = Box::new(move |result| {
        let _pending = pending;
        match result {
            Ok(outcome) => asker.answer(Kind::SendRes, &accepted(cid.as_ref(), &outcome.stored)),
            Err(reject) => asker.refuse_message(&reject, cid.as_ref().map(Cid::as_str)),
        }
    });
    let batch = plan.items().into_iter().zip([(answer, permit)]);
    core.store.append(
        batch
            .map(|(item, (answer, permit))| entry(core, item, answer, permit))
            .collect(),
    );
}

fn accepted(cid: Option<&Cid>, stored: &Stored) -> Box<RawValue> {
    raw(&Accepted {
        code: 0,
        cid,
        mid: stored.mid,
        conv: stored.conv,
        seq: stored.seq,
        ts: stored.ts,
        duplicate: stored.duplicate,
    })
}

/// A message for the store, and what happens when it has it: delivery, push, the answer.
fn entry(
    core: &Arc<Core>,
    item: Item,
    answer: Answer,
    permit: OwnedSemaphorePermit,
) -> (Append, Done<Appended>) {
    let Item {
        append,
        origin,
        follow,
    } = item;
    let to = match &append.place {
        Place::Pair { to, .. } | Place::Notices(to) => Some(to.clone()),
        Place::Team(_) => None,
    };
    let (kind, data) = (append.kind, append.data.clone());
    let (from, cid) = (append.from.clone(), append.cid.clone());
    let core = core.clone();
    let done = move |result: Result<Appended, StoreError>| match result {
        Ok(appended) => {
            core.delivery.message(Committed {
                appended,
                kind,
                data,
                from,
                cid,
                to,
                origin,
                follow,
                at: clock::now(),
                answer,
                permit,
            });
        }
        Err(error) => answer(Err(core.trouble(error))),
    };
    (append, Box::new(done))
}

/// What is not stored goes straight to whoever is connected.
fn pass_from_client(core: &Arc<Core>, plan: Plan, asker: Asker) -> Option<BoxFuture> {
    let answer = |asker: Asker, plan: &Plan, result: Result<(Sent, UnixMillis), Reject>| match result {
        Ok((sent, ts)) => {
            let delivered = match sent {
                Sent::Users { online, .. } | Sent::Team { online, .. } | Sent::Everyone { online } => {
                    online > 0
                }
            };
            let cid = plan.cid.as_ref();
            asker.answer(
                Kind::SendRes,
                &raw(&Passed {
                    code: 0,
                    cid,
                    ts,
                    delivered,
                }),
            );
        }
        Err(reject) => asker.refuse_message(&reject, plan.cid.as_ref().map(Cid::as_str)),
    };
    if !matches!(plan.to, To::Team(_)) {
        let ts = clock::unix_millis();
        let sent = pass(core, &plan, ts);
        answer(asker, &plan, Ok((sent, ts)));
        return None;
    }
    let core = core.clone();
    Some(Box::pin(async move {
        let ts = clock::unix_millis();
        let result = pass_to_team(&core, &plan, ts).await;
        answer(asker, &plan, result.map(|sent| (sent, ts)));
    }))
}

fn unstored(plan: &Plan, ts: UnixMillis) -> Arc<Frame> {
    let envelope = Envelope::unstored(plan.kind, &plan.data, plan.from.as_ref(), ts);
    Arc::new(Frame::push(&envelope))
}

/// To users or everyone.
fn pass(core: &Core, plan: &Plan, ts: UnixMillis) -> Sent {
    let frame = unstored(plan, ts);
    let origin = plan.origin.as_ref();
    let uids = match &plan.to {
        To::User(uid) => std::slice::from_ref(uid),
        To::Users(uids) => uids,
        To::Everyone | To::Team(_) => {
            let online = core.sending.everyone(origin, &frame);
            return Sent::Everyone { online };
        }
    };
    let results: Vec<_> = uids
        .iter()
        .map(|uid| UserResult {
            uid: uid.clone(),
            delivered: core.sending.user(uid, origin, &frame),
            stored: None,
        })
        .collect();
    if let Some(from) = plan
        .from
        .as_ref()
        .filter(|from| plan.follow && !uids.contains(from))
    {
        core.sending.user(from, origin, &frame);
    }
    users(results)
}

fn users(results: Vec<UserResult>) -> Sent {
    let online = results.iter().filter(|result| result.delivered).count();
    Sent::Users {
        offline: results.len() - online,
        online,
        results,
    }
}

async fn pass_to_team(core: &Core, plan: &Plan, ts: UnixMillis) -> Result<Sent, Reject> {
    let To::Team(team) = &plan.to else {
        return Ok(pass(core, plan, ts));
    };
    let team = core
        .store
        .team(team.clone())
        .await
        .map_err(|error| core.trouble(error))?;
    let members = team
        .ok_or_else(|| Reject::not_found("There is no such team."))?
        .members;
    let is_member = |uid: &Uid| members.binary_search(uid).is_ok();
    if plan.origin.is_some() && !plan.from.as_ref().is_some_and(is_member) {
        return Err(Reject::forbidden("Only members send to a team."));
    }
    let frame = unstored(plan, ts);
    let origin = plan.origin.as_ref();
    let (online, offline) = core.sending.members(&members, origin, &frame).await;
    if let Some(from) = plan.from.as_ref().filter(|from| !is_member(from)) {
        core.sending.user(from, origin, &frame);
    }
    Ok(Sent::Team {
        stored: None,
        online,
        offline,
    })
}

/// Carries out the API's orders, in order; the results are in the same order.
pub(crate) async fn orders(
    core: &Arc<Core>,
    orders: Vec<Result<SendOrder, Reject>>,
) -> Vec<Result<Sent, Reject>> {
    let mut results = Vec::with_capacity(orders.len());
    let mut stored = Vec::new();
    for order in orders {
        let index = results.len();
        results.push(match order.and_then(|order| core.plan(order)) {
            Ok(plan) if plan.conversation.is_some() => {
                stored.push((index, plan));
                // Stands until all of them are appended.
                Err(Reject::internal("The message was not appended."))
            }
            Ok(plan) => pass_to_team(core, &plan, clock::unix_millis()).await,
            Err(reject) => Err(reject),
        });
    }
    let items: Vec<Item> = stored.iter().flat_map(|(_, plan)| plan.items()).collect();
    let mut outcomes = append_all(core, items).await.into_iter();
    for (index, plan) in stored {
        results[index] = sent(plan.to, &mut outcomes);
    }
    results
}

/// Takes as many outcomes as `to` has recipients.
fn sent(to: To, outcomes: &mut impl Iterator<Item = Result<Outcome, Reject>>) -> Result<Sent, Reject> {
    let mut next = || {
        outcomes
            .next()
            .unwrap_or_else(|| Err(Reject::internal("The message was not appended.")))
    };
    let uids = match to {
        To::User(uid) => vec![uid],
        To::Users(uids) => uids,
        To::Team(_) | To::Everyone => {
            return next().map(|outcome| Sent::Team {
                stored: Some(outcome.stored),
                online: outcome.online,
                offline: outcome.offline,
            });
        }
    };
    // All are taken before one that failed decides, so that the next order finds its own.
    let outcomes: Vec<_> = uids.iter().map(|_| next()).collect();
    let results = uids.into_iter().zip(outcomes).map(|(uid, outcome)| {
        outcome.map(|outcome| UserResult {
            uid,
            delivered: outcome.online > 0,
            stored: Some(outcome.stored),
        })
    });
    Ok(users(results.collect::<Result<_, _>>()?))
}

async fn append_all(core: &Arc<Core>, items: Vec<Item>) -> Vec<Result<Outcome, Reject>> {
    let chunk = CHUNK.min(core.config.limits.appends_in_flight);
    let mut outcomes = Vec::with_capacity(items.len());
    let mut items = items.into_iter();
    while items.len() > 0 {
        let batch: Vec<Item> = items.by_ref().take(chunk).collect();
        outcomes.extend(append_chunk(core, batch).await);
    }
    outcomes
}

/// Appends in one batch and waits for all.
async fn append_chunk(core: &Arc<Core>, items: Vec<Item>) -> Vec<Result<Outcome, Reject>> {
    let unanswered = || {
        Err(Reject::unavailable(
            "The message store has stopped; try again later.",
        ))
    };
    let count = items.len();
    let mut outcomes: Vec<_> = (0..count).map(|_| unanswered()).collect();
    let mut permit = match core.room(count).await {
        Ok(permit) => permit,
        Err(reject) => return (0..count).map(|_| Err(reject.clone())).collect(),
    };
    let (sender, mut receiver) = mpsc::channel(count.max(1));
    let batch = items.into_iter().enumerate().filter_map(|(index, item)| {
        let sender = sender.clone();
        let answer: Answer = Box::new(move |outcome| {
            // There is room for all; nobody listens when the call was given up.
            let _ = sender.try_send((index, outcome));
        });
        Some(entry(core, item, answer, permit.split(1)?))
    });
    let batch = batch.collect();
    drop(sender);
    core.store.append(batch);
    while let Some((index, outcome)) = receiver.recv().await {
        outcomes[index] = outcome;
    }
    outcomes
}

impl Core {
    /// The rule of a kind: of the table, of the configuration, or registered at run time.
    fn rule(&self, kind: u16) -> Option<Rule> {
        let registered = || self.types.has(kind).then_some(Rule::REGISTERED);
        self.kinds.rule(kind).or_else(registered)
    }

    fn plan(&self, order: SendOrder) -> Result<Plan, Reject> {
        let rules = Rules {
            limits: &self.config.limits,
            system: &self.system,
            job_ttl_ms: self.push.as_ref().map(|_| self.config.push.job_ttl_ms),
            now: clock::unix_millis(),
        };
        let rule = self.rule(order.kind);
        plan(order, rule, &rules)
    }

    /// Room for `count` appends of the API.
    pub(super) async fn room(&self, count: usize) -> Result<OwnedSemaphorePermit, Reject> {
        let permits = u32::try_from(count).unwrap_or(u32::MAX);
        match tokio::time::timeout(ROOM_WAIT, self.appends.clone().acquire_many_owned(permits)).await {
            Ok(Ok(permit)) => Ok(permit),
            _ => Err(Reject::unavailable(
                "Too many messages wait for the store; try again later.",
            )),
        }
    }
}
