//! Random operations.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use super::super::kit::{NOON, notice, pair, to_team, uid, with_cid};
use crate::ids::{PairClass, Uid};
use crate::store::{Append, JobOutcome, Place, TeamChange};

/// The users; few, so that they meet.
pub(super) const UIDS: [&str; 4] = ["a", "b", "c", "d"];

/// One operation.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// In one call.
    Append(Vec<Append>),
    Change(String, TeamChange),
    /// Of the n-th job that there is.
    Finish(usize, JobOutcome),
    Clock(u64),
    Reopen,
    Compare,
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        12 => vec(order(), 1..5).prop_map(Step::Append),
        4 => (team(), change()).prop_map(|(team, change)| Step::Change(team.to_owned(), change)),
        3 => (any::<usize>(), outcome()).prop_map(|(choice, outcome)| Step::Finish(choice, outcome)),
        2 => (NOON - 2_000..NOON + 2_000).prop_map(Step::Clock),
        1 => Just(Step::Reopen),
        1 => Just(Step::Compare),
    ];
    vec(step, 1..60)
}

fn name() -> impl Strategy<Value = &'static str> {
    select(UIDS.as_slice())
}

fn user() -> impl Strategy<Value = Uid> {
    name().prop_map(uid)
}

fn team() -> impl Strategy<Value = &'static str> {
    select(["s", "t"].as_slice())
}

fn order() -> impl Strategy<Value = Append> {
    let classes = select([PairClass::Plain, PairClass::Doctor].as_slice());
    let order = prop_oneof![
        3 => (name(), user(), classes)
            .prop_map(|(from, to, class)| Append { place: Place::Pair { class, to }, ..pair(from, "x") }),
        1 => (name(), proptest::option::of(user())).prop_map(|(to, from)| Append { from, ..notice(to) }),
        3 => (name(), team(), any::<bool>())
            .prop_map(|(from, team, members_only)| Append { members_only, ..to_team(from, team) }),
    ];
    let cid = proptest::option::of(select(["1", "2", "3"].as_slice()));
    (order, cid, proptest::bool::weighted(0.8), any::<bool>()).prop_map(|(order, cid, counts, push)| {
        let push = order.push.filter(|_| push);
        let order = Append {
            counts,
            push,
            ..order
        };
        match cid {
            Some(cid) => with_cid(order, cid),
            None => order,
        }
    })
}

fn change() -> impl Strategy<Value = TeamChange> {
    let uids = || vec(user(), 0..4);
    prop_oneof![
        4 => ("[xy]", uids()).prop_map(|(name, members)| TeamChange::Put { name, members }),
        3 => uids().prop_map(TeamChange::Add),
        3 => uids().prop_map(TeamChange::Remove),
        1 => Just(TeamChange::Delete),
    ]
}

fn outcome() -> impl Strategy<Value = JobOutcome> {
    prop_oneof![
        3 => Just(JobOutcome::Finished),
        1 => Just(JobOutcome::Retry { at: NOON + 5 }),
        1 => Just(JobOutcome::Dead),
        2 => (user(), vec(user(), 0..2))
            .prop_map(|(after, failed)| JobOutcome::Advanced { after, failed, retry_at: NOON }),
    ]
}
