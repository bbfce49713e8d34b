//! Whether an order may be carried out, and how: the rules of docs/PROTOCOL.md#5-kinds and of
//! docs/PROTOCOL.md#6-requests-101-to-111, without doing anything.

use std::collections::HashSet;
use std::sync::Arc;

use serde_json::value::RawValue;

use super::core::Core;
use crate::clock;
use crate::config::Limits;
use crate::frame::too_deep;
use crate::ids::{Cid, DeviceId, Uid};
use crate::kinds::{Conversation, Push, Rule, Senders};
use crate::metrics::Metrics;
use crate::order::{By, Origin, SendOrder, To};
use crate::reject::Reject;
use crate::store::{Append, Place, PushOrder};

/// What the rules depend on besides the order itself.
struct Rules<'a> {
    limits: &'a Limits,
    /// Counts what is beyond them.
    metrics: &'a Metrics,
    /// The sender of pair messages that name none.
    system: &'a Uid,
    /// The longest that a notification is of use; `None` when nobody is notified at all.
    job_ttl_ms: Option<u64>,
    /// How long a notification waits before its first attempt.
    push_delay_ms: u64,
}

/// An order that may be carried out.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) kind: u16,
    pub(crate) to: To,
    pub(crate) from: Option<Uid>,
    pub(crate) data: Arc<RawValue>,
    pub(crate) cid: Option<Cid>,
    /// Not a recipient.
    pub(crate) origin: Option<Origin>,
    /// The sender must be a member of the team.
    pub(crate) members_only: bool,
    /// The sender has exceeded a limit: only a repetition of a message that was stored before is answered
    /// with success.
    pub(crate) only_repeat: bool,
    /// Pairs that the sender may begin within an hour; 0 is any number.
    pub(crate) new_pairs_per_hour: u32,
    /// The sender's other devices get it too.
    pub(crate) follow: bool,
    pub(crate) counts: bool,
    pub(crate) push: Option<PushOrder>,
    /// How it is stored; `None` when it is not.
    pub(crate) conversation: Option<Conversation>,
}

impl Core {
    /// The rule of a kind: of the table, of the configuration, or registered at run time.
    fn rule(&self, kind: u16) -> Option<Rule> {
        let registered = || self.program.handlers.has(kind).then_some(Rule::REGISTERED);
        self.kinds.rule(kind).or_else(registered)
    }

    /// Checks an order.
    pub(super) fn plan(&self, order: SendOrder) -> Result<Plan, Reject> {
        let rules = Rules {
            limits: &self.config.limits,
            metrics: &self.metrics,
            system: &self.system,
            push_delay_ms: self.config.push.delay_ms,
            job_ttl_ms: self.reached.as_ref().map(|_| self.config.push.job_ttl_ms),
        };
        let rule = self.rule(order.kind);
        plan(order, rule, &rules)
    }
}

/// Checks an order. `rule` is that of its kind, if there is such a kind.
fn plan(order: SendOrder, rule: Option<Rule>, rules: &Rules<'_>) -> Result<Plan, Reject> {
    let rule = sendable(order.kind, rule, &order.by)?;
    let to = recipients(order.to, &rule, order.kind, rules)?;
    payload(&order.data, rules)?;

    let stored = rule.stored && to != To::Everyone;
    let pair = matches!(rule.conversation, Conversation::Pair(_));
    let from = match order.from {
        None if pair => Some(rules.system.clone()),
        from => from,
    };
    let wanted = order.push.unwrap_or(rule.push != Push::No);
    let push = match rules.job_ttl_ms {
        Some(longest) if wanted && stored => {
            let own = match rule.push {
                Push::Urgent(ttl) => ttl,
                Push::Yes | Push::No => longest,
            };
            let ttl = order.ttl_ms.unwrap_or(own).min(longest);
            let urgent = matches!(rule.push, Push::Urgent(_));
            Some(PushOrder {
                expires: clock::steady_millis().saturating_add(ttl),
                // A notification that expires soon must not spend most of its time waiting.
                delay_ms: if urgent {
                    0
                } else {
                    rules.push_delay_ms.min(ttl / 4)
                },
                urgent,
            })
        }
        _ => None,
    };
    let origin = match order.by {
        By::Api => None,
        By::Client(origin) => Some(origin),
    };
    Ok(Plan {
        kind: order.kind,
        to,
        from,
        data: order.data,
        cid: order.cid,
        members_only: rule.senders == Senders::Members && origin.is_some(),
        only_repeat: false,
        new_pairs_per_hour: match origin {
            Some(_) => rules.limits.new_conversations_per_hour,
            None => 0,
        },
        origin,
        follow: rule.conversation != Conversation::Notices,
        counts: rule.unread,
        push,
        conversation: stored.then_some(rule.conversation),
    })
}

fn sendable(kind: u16, rule: Option<Rule>, by: &By) -> Result<Rule, Reject> {
    let unknown = || match kind {
        // It stands for every number that no kind can have.
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

fn recipients(to: To, rule: &Rule, kind: u16, rules: &Rules<'_>) -> Result<To, Reject> {
    // What is not stored has no conversation that would have to fit.
    let fits = match (&to, rule.conversation) {
        _ if !rule.stored => true,
        (To::Team(_), conversation) => conversation == Conversation::Team,
        (_, conversation) => conversation != Conversation::Team,
    };
    match to {
        To::Team(_) if !fits => Err(Reject::malformed(format!(
            "Kind {kind} goes to users: say \"to\":{{\"user\":...}}."
        ))),
        _ if !fits => Err(Reject::malformed(format!(
            "Kind {kind} goes to a team: say \"to\":{{\"team\":...}}."
        ))),
        To::Users(uids) if uids.len() > rules.limits.uids_per_call => {
            rules.metrics.limited("uids_per_call");
            Err(Reject::too_large(format!(
                "A call may name {} users, this one names {}.",
                rules.limits.uids_per_call,
                uids.len()
            )))
        }
        To::Users(uids) if uids.is_empty() => {
            Err(Reject::malformed("\"users\" must name at least one user."))
        }
        To::Users(mut uids) => {
            let mut seen = HashSet::with_capacity(uids.len());
            uids.retain(|uid| seen.insert(uid.clone()));
            Ok(To::Users(uids))
        }
        to => Ok(to),
    }
}

fn payload(data: &RawValue, rules: &Rules<'_>) -> Result<(), Reject> {
    let json = data.get();
    let limits = rules.limits;
    if json.len() > limits.message_bytes {
        rules.metrics.limited("message_bytes");
        return Err(Reject::too_large(format!(
            "\"data\" may have at most {} bytes as JSON, this has {}.",
            limits.message_bytes,
            json.len()
        )));
    }
    if too_deep(json, limits.nesting) {
        rules.metrics.limited("nesting");
        return Err(Reject::malformed(format!(
            "\"data\" may be nested at most {} deep.",
            limits.nesting
        )));
    }
    Ok(())
}

/// A message to append, with what delivery needs besides.
pub(crate) struct Item {
    pub(crate) append: Append,
    pub(crate) origin: Option<Origin>,
    pub(crate) follow: bool,
}

impl Plan {
    /// How many recipients it names.
    pub(super) fn named(&self) -> usize {
        match &self.to {
            To::Users(uids) => uids.len(),
            To::User(_) | To::Team(_) | To::Everyone => 1,
        }
    }

    /// The messages of a plan that is stored: one for each user, or one for the team.
    pub(crate) fn items(&self) -> impl Iterator<Item = Item> {
        let (uids, team) = match &self.to {
            To::User(uid) => (std::slice::from_ref(uid), None),
            To::Users(uids) => (uids.as_slice(), None),
            To::Team(team) => (&[][..], Some(team)),
            To::Everyone => (&[][..], None),
        };
        self.conversation
            .into_iter()
            .flat_map(move |conversation| {
                let users = uids.iter().filter_map(move |uid| place(conversation, uid));
                team.map(|team| Place::Team(team.clone()))
                    .into_iter()
                    .chain(users)
            })
            .map(|place| self.item(place))
    }

    /// The device that sends it, if the store knows it.
    fn device(&self) -> Option<DeviceId> {
        let registration = self.origin.as_ref()?.0.registration()?;
        let is_sender = registration.has_cursors && Some(&registration.uid) == self.from.as_ref();
        is_sender.then(|| registration.device.clone())
    }

    fn item(&self, place: Place) -> Item {
        // Whoever writes to itself is there.
        let to_self = matches!(&place, Place::Pair { to, .. } if Some(to) == self.from.as_ref());
        Item {
            append: Append {
                place,
                kind: self.kind,
                counts: self.counts,
                from: self.from.clone(),
                device: self.device(),
                members_only: self.members_only,
                only_repeat: self.only_repeat,
                new_pairs_per_hour: self.new_pairs_per_hour,
                cid: self.cid.clone(),
                data: self.data.clone(),
                push: self.push.filter(|_| !to_self),
            },
            origin: self.origin.clone(),
            follow: self.follow,
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
