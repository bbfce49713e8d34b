//! The scenarios. Each makes the load of a run, and the figures of its report.

mod durable;
mod fanout;
mod groups;
mod idle;
mod inbox;
mod one_to_one;
mod resume;
mod slow;
mod teams;

use std::time::Duration;

use crate::args::Scenario;
use crate::report::Report;
use crate::run::Parameters;

/// What the scenarios need in addition to the plan.
pub(crate) struct Setting {
    /// The key of the HTTP API.
    pub(crate) api_key: String,
    /// The text of every message.
    pub(crate) text: String,
}

/// Runs a scenario.
pub(crate) fn run(scenario: &Scenario, plan: &Parameters, setting: &Setting) -> anyhow::Result<Report> {
    match *scenario {
        Scenario::Idle => idle::idle(plan),
        Scenario::Connect => idle::connect(plan),
        Scenario::Fanout {
            to,
            group,
            offline,
            in_flight,
            kind,
        } => {
            let group = group.map(|group| group as usize);
            let (offline, in_flight) = (offline as usize, in_flight as usize);
            fanout::run(
                plan,
                setting,
                &fanout::Options {
                    to,
                    group,
                    offline,
                    in_flight,
                    kind,
                },
            )
        }
        Scenario::OneToOne { kind, rate, active } => {
            let active = active.map(|active| active as usize);
            one_to_one::run(plan, setting, &one_to_one::Options { kind, rate, active })
        }
        Scenario::Resume {
            missed,
            conversations,
            ref restart,
        } => {
            let (missed, conversations) = (missed as usize, conversations as usize);
            let restart = restart.clone();
            let options = resume::Options {
                missed,
                conversations,
                restart,
            };
            resume::run(plan, setting, &options)
        }
        Scenario::Slow {
            to,
            stopped,
            in_flight,
            quiet,
        } => {
            let (percent, in_flight) = (stopped as usize, in_flight as usize);
            let quiet = Duration::from_secs(quiet.into());
            slow::run(
                plan,
                setting,
                &slow::Options {
                    to,
                    percent,
                    in_flight,
                    quiet,
                },
            )
        }
        Scenario::Durable { to, kind } => durable::run(plan, setting, to, kind),
    }
}
