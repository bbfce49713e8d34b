//! Messages to everyone, or to teams of the clients, with a fixed number in flight to each.

use anyhow::ensure;

use super::groups::{Groups, Listeners};
use super::{Setting, teams};
use crate::args::Audience;
use crate::progress::Progress;
use crate::report::Report;
use crate::run::Parameters;

/// The options of the scenario.
pub(crate) struct Options {
    /// The recipients. By default everyone, or teams if there are other options about teams.
    pub(crate) to: Option<Audience>,
    /// The number of clients of a team; by default all.
    pub(crate) group: Option<usize>,
    /// The number of further members of each team, who never connect.
    pub(crate) offline: usize,
    /// The number of messages in flight in each team.
    pub(crate) in_flight: usize,
    /// The kind of the messages.
    pub(crate) kind: Option<u16>,
}

/// Runs the scenario.
pub(crate) fn run(plan: &Parameters, setting: &Setting, options: &Options) -> anyhow::Result<Report> {
    let teams_only = options.group.is_some() || options.offline > 0;
    let to = match (options.to, teams_only) {
        (Some(to), _) => to,
        (None, true) => Audience::Team,
        (None, false) => Audience::Everyone,
    };
    ensure!(
        to == Audience::Team || !teams_only,
        "--group and --offline concern teams: they cannot be used with --to everyone"
    );
    let size = options.group.unwrap_or(plan.connections);
    ensure!(
        plan.connections.is_multiple_of(size),
        "{} clients cannot be split into groups of {size}: -n must be a multiple of --group",
        plan.connections
    );
    ensure!(
        to == Audience::Everyone || size > 1,
        "a team needs more than one connection"
    );
    let groups = Groups::new(
        plan,
        (to, options.kind),
        options.in_flight,
        (size, size),
        team(plan, size, options),
    );
    if to == Audience::Team {
        gather(plan, setting, &groups, options.offline)?;
    }
    let plan = Parameters {
        together: if groups.count() > 1 { size } else { plan.together },
        ..plan.clone()
    };
    let outcome =
        plan.run(|crowd, share, tally| Listeners::new(crowd, (&plan, setting), share, tally, &groups))?;
    let mut report = Report::new("fanout", plan.connections, &outcome);
    if to == Audience::Team {
        report.add("groups", groups.count() as f64, "");
        report.add("members_offline", options.offline as f64, "of each team");
    }
    report.add("in_flight", options.in_flight as f64, "");
    report.rate(
        ["deliveries_per_second", "deliveries_per_cpu_second"],
        outcome.counts.delivered,
        &outcome.measured,
    );
    report.rate(
        ["messages_per_second", "messages_per_cpu_second"],
        outcome.counts.answered,
        &outcome.measured,
    );
    report.latency(&outcome.latency);
    report.costs(&outcome);
    Ok(report)
}

/// The start of the teams' keys. Teams of other sizes have other keys, so that a run does not change the
/// members of another run's teams.
fn team(plan: &Parameters, size: usize, options: &Options) -> String {
    let mut key = format!("{}-team", plan.prefix);
    if options.group.is_some() {
        key += &format!("-{size}");
    }
    if options.offline > 0 {
        key += &format!("-{}-away", options.offline);
    }
    key
}

/// Creates the team of each group. All teams share the same offline members.
fn gather(plan: &Parameters, setting: &Setting, groups: &Groups, offline: usize) -> anyhow::Result<()> {
    let mut progress = Progress::new();
    for group in 0..groups.count() {
        let mut members: Vec<_> = groups
            .clients(group)
            .map(|client| format!("{}-{client}", plan.prefix))
            .collect();
        members.extend((0..offline).map(|member| format!("{}-away-{member}", plan.prefix)));
        teams::make(plan, setting, &groups.team(group), &members)?;
        progress.show(|| format!("{group} of {} teams created", groups.count()));
    }
    progress.clear();
    Ok(())
}
