//! The `mynah` program: flags, configuration, logs; then the gateway runs until it is told to stop.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use mynah::config::{self, Config, Sources};

/// Idle connections are many and small: mimalloc keeps them apart less than the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A chat gateway between Socket.IO clients and an HTTP backend.
#[derive(Debug, Parser)]
#[command(name = "mynah", version, about)]
struct Args {
    /// The configuration file [default: ./mynah.toml if it is there]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen here instead of server.listen, as in 127.0.0.1:3001
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Keep the data here instead of store.path
    #[arg(long, global = true, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the configuration and say what is wrong with it
    CheckConfig,
    /// Print a configuration file with every key, its default and what it does
    ExampleConfig,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Command::ExampleConfig) = args.command {
        print!("{}", config::example());
        return ExitCode::SUCCESS;
    }
    let sources = Sources {
        file: args.config,
        env: environment(),
        listen: args.listen,
        data: args.data,
    };
    let config = match Config::load(sources) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("mynah cannot start, the configuration is wrong:\n{problems}");
            return ExitCode::from(2);
        }
    };
    if let Some(Command::CheckConfig) = args.command {
        println!("The configuration is right.");
        return ExitCode::SUCCESS;
    }
    let _ = config;
    ExitCode::SUCCESS
}

/// The environment, without what is not text.
fn environment() -> Vec<(String, String)> {
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .collect()
}
