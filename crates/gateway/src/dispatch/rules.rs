//! Checks orders to send: the rules of docs/PROTOCOL.md#5-kinds and of
//! docs/PROTOCOL.md#6-requests-101-to-111. Nothing is sent or stored here.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::value::RawValue;

use crate::config::Config;
use crate::directory::ConnectionId;
use crate::embed::Program;
use crate::frame::too_deep;
use crate::ids::Uid;
use crate::kinds::{Conversation, Kinds, PushRule, Rule, Senders};
use crate::metrics::Metrics;
use crate::order::{By, Origin, SendOrder, To};
use crate::rate::UserBuckets;
use crate::reject::Reject;
use crate::store::{Append, Place, PushOrder};

/// An order that the rules allow.
#[derive(Debug)]
pub(super) struct Allowed {
    /// The order. It names each user once, and a sender if its kind needs one.
    pub(super) order: SendOrder,
    rule: Rule,
    push: Option<PushOrder>,
    /// The sender has exceeded a limit: only a repetition of a stored message is answered with success.
    pub(super) only_repeat: bool,
    /// New pair conversations that the sender may begin within an hour; 0 means any number.
    new_pairs_per_hour: u32,
}

/// What may be sent, and by whom.
pub(crate) struct Rules {
    pub(super) config: Arc<Config>,
    pub(super) kinds: Kinds,
    /// The kinds of the embedding program.
    pub(super) program: Arc<Program>,
    /// The sender of pair messages whose order names no sender.
    pub(super) system: Uid,
    /// Messages that a user sends, and bytes of them.
    pub(super) user_sends: Arc<UserBuckets<2>>,
    /// Whether there is a push webhook.
    pub(super) notifies: bool,
    pub(super) metrics: Arc<Metrics>,
}

impl Rules {
    /// Returns a kind's rule: from the table or the configuration, or that of all kinds that were registered
    /// at run time.
    fn rule(&self, kind: u16) -> Option<Rule> {
        let registered = || self.program.handlers.has(kind).then_some(Rule::REGISTERED);
        self.kinds.rule(kind).or_else(registered)
    }

    /// Checks an order, and completes it.
    pub(super) fn check(&self, mut order: SendOrder) -> Result<Allowed, Reject> {
        let rule = sendable(order.kind, self.rule(order.kind), &order.by)?;
        self.check_recipients(&mut order.to, &rule, order.kind)?;
        self.check_payload(&order.data)?;
        if order.from.is_none() && matches!(rule.conversation, Conversation::Pair(_)) {
            order.from = Some(self.system.clone());
        }
        let new_pairs_per_hour = match order.by {
            By::Client(_) => self.config.limits.new_conversations_per_hour,
            By::Api => 0,
        };
        Ok(Allowed {
            push: self.push_order(&order, &rule),
            order,
            rule,
            only_repeat: false,
            new_pairs_per_hour,
        })
    }

    /// Returns the notification to make of the order's messages. `None` if there is no push webhook, or if
    /// the order or its kind wants none.
    fn push_order(&self, order: &SendOrder, rule: &Rule) -> Option<PushOrder> {
        if !self.notifies || !order.push.unwrap_or(rule.push != PushRule::No) {
            return None;
        }
        let (longest, delay_ms) = (self.config.push.job_ttl_ms, self.config.push.delay_ms);
        let (own, urgent) = match rule.push {
            PushRule::Urgent(ttl) => (ttl, true),
            PushRule::Yes | PushRule::No => (longest, false),
        };
        let ttl = order.ttl_ms.unwrap_or(own).min(longest);
        Some(PushOrder {
            expires_in_ms: ttl,
            // A notification that expires soon must not spend most of its time waiting.
            delay_ms: if urgent { 0 } else { delay_ms.min(ttl / 4) },
            urgent,
        })
    }

    /// Refuses a call that names more users than `limits.uids_per_call` allows, repetitions included.
    pub(crate) fn check_uids(&self, named: usize) -> Result<(), Reject> {
        let most = self.config.limits.uids_per_call;
        if named <= most {
            return Ok(());
        }
        let why = format!("A call may name at most {most} users; name the rest in another call.");
        Err(self.metrics.over("uids_per_call", Reject::too_large(why)))
    }

    fn check_recipients(&self, to: &mut To, rule: &Rule, kind: u16) -> Result<(), Reject> {
        // A message that is not stored needs no conversation.
        let fits = match (&*to, rule.conversation) {
            _ if !rule.stored => true,
            (To::Team(_), conversation) => conversation == Conversation::Team,
            (_, conversation) => conversation != Conversation::Team,
        };
        match to {
            To::Team(_) if !fits => Err(Reject::malformed(format!(
                "Kind {kind} is sent to users: use \"to\":{{\"user\":...}}."
            ))),
            _ if !fits => Err(Reject::malformed(format!(
                "Kind {kind} is sent to a team: use \"to\":{{\"team\":...}}."
            ))),
            To::Users(uids) if uids.is_empty() => {
                Err(Reject::malformed("\"users\" must name at least one user."))
            }
            To::Users(uids) => {
                self.check_uids(uids.len())?;
                let mut seen = HashSet::with_capacity(uids.len());
                uids.retain(|uid| seen.insert(uid.clone()));
                Ok(())
            }
            To::User(_) | To::Team(_) | To::Everyone => Ok(()),
        }
    }

    fn check_payload(&self, data: &RawValue) -> Result<(), Reject> {
        let (json, limits) = (data.get(), &self.config.limits);
        if json.len() > limits.message_bytes {
            self.metrics.limited("message_bytes");
            return Err(Reject::too_large(format!(
                "\"data\" may have at most {} bytes as JSON; it has {}.",
                limits.message_bytes,
                json.len()
            )));
        }
        if too_deep(json, limits.nesting) {
            self.metrics.limited("nesting");
            return Err(Reject::malformed(format!(
                "\"data\" may be nested at most {} deep.",
                limits.nesting
            )));
        }
        Ok(())
    }
}

fn sendable(kind: u16, rule: Option<Rule>, by: &By) -> Result<Rule, Reject> {
    let unknown = || match kind {
        // 0 represents all numbers that no kind can have.
        0 => Reject::no_such_kind(),
        kind => Reject::not_found(format!("There is no kind {kind}.")),
    };
    match (by, rule) {
        (By::Api, _) if (100..=999).contains(&kind) => Err(Reject::malformed(format!(
            "Kind {kind} belongs to the gateway and cannot be sent."
        ))),
        (_, None) => Err(unknown()),
        (By::Api, Some(rule)) if rule.senders == Senders::Gateway => Err(Reject::malformed(format!(
            "Kind {kind} belongs to the gateway and cannot be sent."
        ))),
        (By::Client(_), Some(rule)) if !matches!(rule.senders, Senders::Clients | Senders::Members) => Err(
            Reject::forbidden(format!("Clients may not send kind {kind}; the backend can.")),
        ),
        (_, Some(rule)) => Ok(rule),
    }
}

impl Allowed {
    /// Whether the order's messages are stored.
    pub(super) fn is_stored(&self) -> bool {
        self.rule.stored && self.order.to != To::Everyone
    }

    /// Whether the sender's other devices receive it too.
    pub(super) fn follows(&self) -> bool {
        self.rule.conversation != Conversation::Notices
    }

    fn origin(&self) -> Option<&Origin> {
        match &self.order.by {
            By::Client(origin) => Some(origin),
            By::Api => None,
        }
    }

    /// The connection that sent the order.
    pub(super) fn except(&self) -> Option<ConnectionId> {
        self.origin().map(|origin| origin.connection)
    }

    /// The users that the order names.
    pub(super) fn uids(&self) -> &[Uid] {
        match &self.order.to {
            To::User(uid) => std::slice::from_ref(uid),
            To::Users(uids) => uids,
            To::Team(_) | To::Everyone => &[],
        }
    }

    /// The messages to store: one for each user, or one for the team.
    pub(super) fn messages(&self) -> impl Iterator<Item = Arc<Append>> {
        let team = match &self.order.to {
            To::Team(team) => Some(Place::Team(team.clone())),
            To::User(_) | To::Users(_) | To::Everyone => None,
        };
        let users = self
            .uids()
            .iter()
            .filter_map(|uid| place(self.rule.conversation, uid));
        team.into_iter()
            .chain(users)
            .map(|place| Arc::new(self.message(place)))
    }

    fn message(&self, place: Place) -> Append {
        let order = &self.order;
        // Users are not notified of messages that they send to themselves.
        let to_self = matches!(&place, Place::Pair { to, .. } if Some(to) == order.from.as_ref());
        Append {
            place,
            kind: order.kind,
            counts: self.rule.unread,
            from: order.from.clone(),
            device: self.origin().and_then(|origin| origin.device.clone()),
            members_only: self.rule.senders == Senders::Members && self.origin().is_some(),
            only_repeat: self.only_repeat,
            new_pairs_per_hour: self.new_pairs_per_hour,
            cid: order.cid.clone(),
            data: order.data.clone(),
            push: self.push.filter(|_| !to_self),
        }
    }
}

fn place(conversation: Conversation, uid: &Uid) -> Option<Place> {
    match conversation {
        Conversation::Pair(class) => Some(Place::Pair {
            class,
            to: uid.clone(),
        }),
        Conversation::Notices => Some(Place::Notices(uid.clone())),
        Conversation::Team | Conversation::OfMessage | Conversation::None => None,
    }
}
