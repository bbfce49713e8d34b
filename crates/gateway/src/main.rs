//! The `mynah` program: parses flags, reads the configuration, starts the log, and runs the gateway until it
//! is told to stop.

mod signals;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::{Parser, Subcommand};
use mynah::auth::NewToken;
use mynah::config::{self, Config, Mode, Sources};
use mynah::ids::{self, DeviceId, Uid};
use mynah::keys::{KeyCommand, Lifetime};
use mynah::server::{self, Lost, Server};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use signals::Signals;

/// This allocator needs less memory for idle connections than that of the system (docs/decisions/0019).
#[cfg(feature = "jemalloc")]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

/// The maximum number of threads for blocking work: reading files, resolving host names, and closing the
/// store. The store has threads of its own.
const BLOCKING_THREADS: usize = 8;

/// A chat gateway between Socket.IO clients and an HTTP backend.
#[derive(Debug, Parser)]
#[command(name = "mynah", version, about)]
struct Args {
    /// The configuration file [default: ./mynah.toml if it exists]
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen on this address instead of server.listen, for example 127.0.0.1:3001
    #[arg(long, global = true, value_name = "ADDRESS:PORT")]
    listen: Option<String>,
    /// Keep the data in this directory instead of store.path
    #[arg(long, global = true, value_name = "DIRECTORY")]
    data: Option<PathBuf>,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Check the configuration and say what is wrong with it
    CheckConfig,
    /// Print a configuration file with every key, its default and its description
    ExampleConfig,
    /// Create, list, replace and remove keys of the HTTP API
    #[command(subcommand)]
    ApiKey(KeyCommand),
    /// Copy the store to a file, whether the server runs or not
    Backup {
        /// The file to write; it must not exist yet
        file: PathBuf,
        /// Replace the file if it exists
        #[arg(long)]
        force: bool,
    },
    /// Replace the data directory by a backup; the old one is kept under another name. The server must be
    /// stopped
    Restore {
        /// A file that `mynah backup` has written
        file: PathBuf,
    },
    /// Copy the store of a data directory into a PostgreSQL database. The server must be stopped; if the copy
    /// is interrupted, repeat it
    Migrate {
        /// The data directory [default: store.path]
        #[arg(long, value_name = "DIRECTORY")]
        from: Option<PathBuf>,
        /// The URL of the database, which must be empty [default: store.url]
        #[arg(long, value_name = "URL")]
        to: Option<String>,
    },
    /// Create a token for a user, signed with the configured secret (HS256), and print it
    Token(TokenArgs),
}

#[derive(Debug, clap::Args)]
struct TokenArgs {
    /// The user to whom the token belongs
    #[arg(value_parser = Uid::new)]
    uid: Uid,
    /// The only deviceid that may use it
    #[arg(long, value_parser = DeviceId::new)]
    device: Option<DeviceId>,
    /// The only platform that may use it
    #[arg(long, value_parser = ids::label)]
    platform: Option<Box<str>>,
    /// The only kinds that may be sent with it, for example 3,15
    #[arg(long, value_delimiter = ',', value_parser = kind)]
    kinds: Option<Vec<u16>>,
    /// How long the token is valid, for example 30m, 12h or 90d
    #[arg(long, value_name = "TIME", default_value = "1h")]
    ttl: Lifetime,
}

fn main() -> ExitCode {
    let args = Args::parse();
    if let Some(Command::ExampleConfig) = args.command {
        print(&config::example());
        return ExitCode::SUCCESS;
    }
    let sources = Sources {
        file: args.config,
        env: std::env::vars_os().collect(),
        listen: args.listen,
        data: args.data,
    };
    let config = match Config::load(sources) {
        Ok(config) => config,
        Err(problems) => {
            eprintln!("mynah cannot start because the configuration is invalid:\n{problems}");
            return ExitCode::from(2);
        }
    };
    // The result of the command, the text that precedes its error, and the exit code after an error.
    let (outcome, failed, code) = match args.command {
        Some(Command::Token(token)) => (make_token(&config, token), "mynah cannot make a token", 2),
        Some(Command::CheckConfig) => (check(&config), "mynah would not start", 2),
        Some(Command::ApiKey(command)) => (api_key(command, &config), "mynah api-key", 1),
        Some(Command::Backup { file, force }) => (
            backup(&config, &file, force),
            "mynah backup: nothing was written",
            1,
        ),
        Some(Command::Restore { file }) => (restore(&config, &file), "mynah restore", 1),
        Some(Command::Migrate { from, to }) => (migrate(&config, from, to), "mynah migrate", 1),
        Some(Command::ExampleConfig) | None => (start(config), "mynah cannot run", 1),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{failed}: {error:#}");
            ExitCode::from(code)
        }
    }
}

fn check(config: &Config) -> anyhow::Result<()> {
    server::permitted(config)?;
    for warning in config.warnings() {
        eprintln!("warning: {warning}");
    }
    print("The configuration is valid.\n");
    Ok(())
}

fn api_key(command: KeyCommand, config: &Config) -> anyhow::Result<()> {
    let said = server::api_key(command, config)?;
    let _ = std::io::stderr().write_all(said.notes.as_bytes());
    // A key that nobody has seen is useless, so a failure to print it must not look like success.
    let mut out = std::io::stdout().lock();
    out.write_all(said.out.as_bytes())?;
    Ok(out.flush()?)
}

fn backup(config: &Config, file: &Path, force: bool) -> anyhow::Result<()> {
    let written = server::backup(config, file, force)?;
    let (messages, bytes) = (written.messages, written.bytes);
    print(&format!(
        "{} is written: {messages} messages, {bytes} bytes. API keys are not in it.\n",
        file.display()
    ));
    Ok(())
}

fn restore(config: &Config, file: &Path) -> anyhow::Result<()> {
    let restored = server::restore(config, file)?;
    let mut text = format!(
        "{} now holds the {} messages of {}, with the new epoch {}.\n",
        config.store.path.display(),
        restored.messages,
        file.display(),
        restored.epoch
    );
    if let Some(kept) = restored.kept {
        text.push_str(&format!("The previous data is kept in {}.\n", kept.display()));
    }
    if let Ok(number @ 1..) = restored.revocations {
        text.push_str(&format!("Its revocations of tokens stay in force ({number}).\n"));
    }
    print(&text);
    if let Err(why) = restored.revocations {
        eprintln!(
            "warning: the API keys and revocations of the previous data cannot be read ({why}). Its keys are \
             refused: make new ones (`mynah api-key add`). Tokens that were revoked after the backup are \
             accepted again: revoke them again (POST /v1/revocations) before others can reach the server."
        );
    }
    Ok(())
}

fn migrate(config: &Config, from: Option<PathBuf>, to: Option<String>) -> anyhow::Result<()> {
    let from = from.unwrap_or_else(|| config.store.path.clone());
    let configured = || config.store.url.as_ref().map(|url| url.expose().to_owned());
    let to = to
        .or_else(configured)
        .context("name the database with --to or store.url")?;
    let messages = server::migrate(&from, &to)?;
    print(&format!(
        "{messages} messages of {} were copied and compared. Set store.url to start with them.\n",
        from.display()
    ));
    Ok(())
}

fn make_token(config: &Config, args: TokenArgs) -> anyhow::Result<()> {
    if config.auth.mode != Mode::Jwt {
        eprintln!("Note: auth.mode is not \"jwt\" in this configuration, so that tokens are not checked.");
    }
    let token = NewToken {
        uid: args.uid,
        device: args.device,
        platform: args.platform,
        kinds: args.kinds,
        ttl: args.ttl.duration(),
    };
    print(&format!("{}\n", token.sign(&config.auth.jwt)?));
    Ok(())
}

fn start(mut config: Config) -> anyhow::Result<()> {
    mynah::log::init(&config.log)?;
    raise_open_files();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        // There is little blocking work, and tokio's default is 512 threads.
        .max_blocking_threads(BLOCKING_THREADS)
        .build()?;
    let result = runtime.block_on(async {
        let mut signals = Signals::take()?;
        let mut server = Server::open(config.clone()).await?;
        print(&server.greeting());
        loop {
            let address = server.address();
            let shutdown = signals.until_stop(server.reload());
            match server.run(shutdown).await {
                // The clients find the new node where they have found this one.
                Err(error) if error.is::<Lost>() => {
                    tracing::warn!("{error}; it continues as a new node");
                    config.server.listen = address.to_string();
                }
                ended => return ended,
            }
            server = Server::open(config.clone()).await?;
        }
    });
    // Tasks that still run had their time to end.
    runtime.shutdown_background();
    result
}

/// Raises the limit of open files, because every connection needs a file descriptor and the usual soft limit
/// is 1,024.
fn raise_open_files() {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!(%error, "the limit of open files could not be raised");
    }
}

/// Writes to standard output. Errors are ignored, because nobody may be reading it any more.
fn print(text: &str) {
    let mut out = std::io::stdout().lock();
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// Parses the number of a kind.
fn kind(text: &str) -> Result<u16, &'static str> {
    text.trim()
        .parse()
        .map_err(|_| "a kind is a number from 0 to 65535")
}
