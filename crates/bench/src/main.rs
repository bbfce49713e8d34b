//! `mynah-bench`: thousands of Socket.IO chat clients that cost little, to measure a gateway.
//!
//! There is one thread per core. Each has its clients in one epoll ([`crowd`]), and a client is a socket with
//! a progress ([`client`]). A run ([`run`]) connects the clients and then runs the load of a scenario
//! ([`scenario`]), while the main thread reads counters and `/proc`.

mod api;
mod args;
mod chat;
mod client;
mod crowd;
mod frame;
mod http;
mod latency;
mod line;
mod net;
mod polling;
mod process;
mod progress;
mod report;
mod restart;
mod run;
mod scenario;
mod tally;
mod watch;

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;

use crate::args::{Cli, Common};
use crate::net::Target;
use crate::run::Parameters;
use crate::scenario::Setting;

fn main() -> ExitCode {
    match measure(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("mynah-bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn measure(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { scenario, common } = cli;
    let setting = Setting {
        api_key: api_key(&common)?,
        text: "x".repeat(common.bytes.unwrap_or(scenario.bytes()) as usize),
    };
    let report = scenario::run(&scenario, &plan(&common)?, &setting)?;
    if common.json {
        println!("{}", report.json());
    } else {
        print!("{}", report.table());
    }
    for complaint in report.complaints() {
        eprintln!("mynah-bench: {complaint}");
    }
    Ok(match report.complaints() {
        [] => ExitCode::SUCCESS,
        _ => ExitCode::FAILURE,
    })
}

fn plan(common: &Common) -> anyhow::Result<Parameters> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    Ok(Parameters {
        targets: (common.url.iter().map(|url| Target::parse(url, &common.path)))
            .collect::<anyhow::Result<_>>()?,
        transport: common.transport,
        resume: false,
        prefix: common.prefix.clone(),
        connections: common.connections as usize,
        slow_from: usize::MAX,
        at_once: common.at_once as usize,
        threads: common.threads.map_or(cores, |threads| threads as usize),
        together: 2,
        warmup: Duration::from_secs(common.warmup.into()),
        measured: Duration::from_secs(common.seconds.into()),
        pids: common.pid.clone(),
        stepwise: common.stepwise,
    })
}

fn api_key(common: &Common) -> anyhow::Result<String> {
    Ok(match &common.api_key_file {
        Some(file) => {
            let key =
                std::fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
            key.trim().to_owned()
        }
        None => common.api_key.clone(),
    })
}
