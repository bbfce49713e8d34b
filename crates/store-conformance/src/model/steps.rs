//! Random operations.

use mynah_store::ids::{PairClass, Uid};
use mynah_store::{Append, Device, JobOutcome, Place, TeamChange};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::select;

use crate::kit::{Setup, device, notice, pair, to_team, uid, with_cid};

/// The users. They are few, so that they meet.
pub(super) const UIDS: [&str; 4] = ["a", "b", "c", "d"];
/// The names of each user's devices.
pub(super) const DEVICES: [&str; 3] = ["x", "y", "z"];

/// A random operation.
#[derive(Debug, Clone)]
pub(super) enum Step {
    /// Appends in one call.
    Append(Vec<Append>),
    Change(String, TeamChange),
    /// Finishes the n-th job of those that exist.
    Finish(usize, JobOutcome),
    Enter(Device),
    /// Acknowledges in the n-th conversation of those that exist, or in one that does not.
    Ack(Device, usize, u64),
    Read(Device, usize, u64),
    /// Recalls the n-th message, by this user or by its sender, if it is not older than this.
    Recall(usize, Option<Uid>, u64),
    /// Sets the error of the clock.
    Clock(i64),
    /// Lets this time pass.
    Later(u64),
    Reopen,
    Crash,
    Compare,
}

/// Stores with different options.
pub(super) fn setup() -> impl Strategy<Value = Setup> {
    let keep_ms = select([0, 100_000, 100_000].as_slice());
    (1..4usize, any::<bool>(), keep_ms).prop_map(|(max_devices, see_all, keep_ms)| Setup {
        max_devices,
        see_all,
        keep_ms,
    })
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let any_conv = || 0..40usize;
    let seq = || prop_oneof![6 => 0..8u64, 1 => 8..30u64, 1 => Just(u64::MAX)];
    let window = select([0, 3_000, 1_000_000].as_slice());
    let step = prop_oneof![
        14 => vec(order(), 1..5).prop_map(Step::Append),
        4 => (team(), change()).prop_map(|(team, change)| Step::Change(team.to_owned(), change)),
        3 => (any::<usize>(), outcome()).prop_map(|(choice, outcome)| Step::Finish(choice, outcome)),
        5 => any_device().prop_map(Step::Enter),
        8 => (any_device(), any_conv(), seq()).prop_map(|(by, conv, seq)| Step::Ack(by, conv, seq)),
        5 => (any_device(), any_conv(), seq()).prop_map(|(by, conv, seq)| Step::Read(by, conv, seq)),
        5 => (prop_oneof![0..3usize, 0..80usize], proptest::option::weighted(0.2, user()), window)
            .prop_map(|(which, by, window)| Step::Recall(which, by, window)),
        2 => select([-864_000_000, -3_600_000, -2_000, 0, 2_000, 3_600_000, 864_000_000].as_slice()).prop_map(Step::Clock),
        4 => select([30_000, 80_000, 80_000, 7_200_000].as_slice()).prop_map(Step::Later),
        1 => Just(Step::Reopen),
        1 => Just(Step::Crash),
        2 => Just(Step::Compare),
    ];
    vec(step, 1..90)
}

fn name() -> impl Strategy<Value = &'static str> {
    // Some users send more than others, so that there are long conversations.
    prop_oneof![2 => select(&UIDS[..2]), 1 => select(UIDS.as_slice())]
}

fn any_device() -> impl Strategy<Value = Device> {
    (name(), select(DEVICES.as_slice())).prop_map(|(user, name)| device(user, name))
}

fn user() -> impl Strategy<Value = Uid> {
    name().prop_map(uid)
}

fn team() -> impl Strategy<Value = &'static str> {
    select(["s", "t"].as_slice())
}

fn order() -> impl Strategy<Value = Append> {
    let classes = select([PairClass::Plain, PairClass::Plain, PairClass::Doctor].as_slice());
    let order = prop_oneof![
        3 => (name(), user(), classes)
            .prop_map(|(from, to, class)| Append { place: Place::Pair { class, to }, ..pair(from, "x") }),
        1 => (name(), proptest::option::of(user())).prop_map(|(to, from)| Append { from, ..notice(to) }),
        3 => (name(), team(), any::<bool>())
            .prop_map(|(from, team, members_only)| Append { members_only, ..to_team(from, team) }),
    ];
    let cid = proptest::option::of(select(["1", "2", "3"].as_slice()));
    let by = proptest::option::of(select(DEVICES.as_slice()));
    let counts = proptest::bool::weighted(0.8);
    (order, cid, by, counts, any::<bool>()).prop_map(|(order, cid, by, counts, push)| {
        let push = order.push.filter(|_| push);
        let order = Append {
            counts,
            push,
            device: by.map(|name| device("a", name).device),
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
        1 => Just(JobOutcome::Retry { in_ms: 5 }),
        1 => Just(JobOutcome::Later { in_ms: 7 }),
        1 => Just(JobOutcome::Dead),
        2 => (user(), vec((user(), Just(0)), 0..2))
            .prop_map(|(after, jobs)| JobOutcome::Advanced { after, jobs }),
    ]
}
