//! The command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};

/// Load generator for Socket.IO chat gateways: thousands of clients from one thread per core.
#[derive(Debug, Parser)]
#[command(name = "mynah-bench", version)]
pub(crate) struct Cli {
    /// What to measure.
    #[command(subcommand)]
    pub(crate) scenario: Scenario,
    /// What all scenarios share.
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Options of every scenario.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// Where the server listens
    #[arg(long, global = true, default_value = "http://127.0.0.1:3001")]
    pub(crate) url: String,
    /// Path of Socket.IO
    #[arg(long, global = true, default_value = "/socket.io/")]
    pub(crate) path: String,
    /// How the clients connect
    #[arg(long, value_enum, global = true, default_value_t = Transport::Websocket)]
    pub(crate) transport: Transport,
    /// Clients
    #[arg(short = 'n', long, global = true, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: u32,
    /// Clients that connect at the same time
    #[arg(long, global = true, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) at_once: u32,
    /// Threads of this tool; one per core it may use when absent
    #[arg(long, global = true, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) threads: Option<u32>,
    /// Seconds that are measured
    #[arg(short = 's', long, global = true, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,
    /// Seconds of the same load before that
    #[arg(long, global = true, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=3_600))]
    pub(crate) warmup: u32,
    /// Bytes of text in each message [default: 200; slow: 16384]
    #[arg(long, global = true, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) bytes: Option<u32>,
    /// Process id of the server, whose CPU time and memory are read from /proc; may be given several times
    #[arg(long, global = true)]
    pub(crate) pid: Vec<u32>,
    /// Before each reading of the meters say "step" on standard error and wait for a line on standard input: time to read others
    #[arg(long, global = true)]
    pub(crate) stepwise: bool,
    /// Key of the HTTP API
    #[arg(
        long,
        global = true,
        env = "MYNAH_API_KEY",
        hide_env_values = true,
        default_value = ""
    )]
    pub(crate) api_key: String,
    /// File that holds the key of the HTTP API
    #[arg(long, global = true, conflicts_with = "api_key")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// What the uids of the clients begin with
    #[arg(long, global = true, default_value = "bench")]
    pub(crate) prefix: String,
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// How clients connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// By WebSocket from the beginning.
    Websocket,
    /// By long-polling over HTTP/1.1, without an upgrade: two connections for each client.
    Polling,
}

/// The scenarios.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Registered connections that do nothing: memory, and CPU of the heartbeats
    Idle,
    /// Connecting and registering
    Connect,
    /// Messages to everyone or to teams
    Fanout {
        /// Whom the messages are for: everyone through the HTTP API (not stored), or teams of the clients by frame 101 of their members (stored)
        /// [default: everyone; team with --group or --offline]
        #[arg(long, value_enum)]
        to: Option<Audience>,
        /// Clients of each team, of which -n is a multiple [default: all clients are one team]
        #[arg(long, value_parser = clap::value_parser!(u32).range(2..=100_000))]
        group: Option<u32>,
        /// Members that each team has besides, who never connect
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
        offline: u32,
        /// Messages on their way at the same time, in each team
        #[arg(short = 'w', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        in_flight: u32,
        /// Kind of the messages [default: 6 for everyone, 15 for a team]
        #[arg(long)]
        kind: Option<u16>,
    },
    /// Pairs of clients that write to each other, each with one message on its way, or all together at a fixed rate
    OneToOne {
        /// Kind of the messages: 3 is stored; a kind that is not must be configured in the server
        #[arg(long, default_value_t = 3)]
        kind: u16,
        /// Messages per second; latency then counts from the moment for which a message was scheduled
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        rate: Option<u32>,
        /// Clients who write, an even number of them, spread evenly among all; the others are there only [default: all]
        #[arg(long, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
        active: Option<u32>,
    },
    /// All come back at once and get what they have missed; -s and --warmup play no part
    Resume {
        /// Messages that each has not acknowledged
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=100_000))]
        missed: u32,
        /// Conversations of each that they are spread over
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        conversations: u32,
        /// Shell command that restarts the server while all are away, and prints its new process id as the last line
        #[arg(long, value_name = "COMMAND")]
        restart: Option<String>,
    },
    /// Some clients stop reading while everyone or a team is written to: what the server holds for them, and for how long
    Slow {
        /// Whom the messages are for
        #[arg(long, value_enum, default_value_t = Audience::Everyone)]
        to: Audience,
        /// Percent of the clients that stop
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=99))]
        stopped: u32,
        /// Messages on their way at the same time, to those who read
        #[arg(short = 'w', long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        in_flight: u32,
        /// Seconds without load after which memory is read again
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(0..=3_600))]
        quiet: u32,
    },
    /// Clients that send and wait until the message is durable (answer 102 with code 0)
    Durable {
        /// Whom they write to
        #[arg(long, value_enum, default_value_t = Reader::Online)]
        to: Reader,
        /// Kind of the messages, a stored one
        #[arg(long, default_value_t = 3)]
        kind: u16,
    },
}

impl Scenario {
    /// Bytes of text in each message unless something else is wanted. What waits for a slow reader must come to more than a server holds.
    pub(crate) fn bytes(&self) -> u32 {
        match self {
            Self::Slow { .. } => 16_384,
            _ => 200,
        }
    }
}

/// Whom fan-out is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Audience {
    /// All who are connected, through the HTTP API.
    Everyone,
    /// A team of all clients, or of each group of them.
    Team,
}

/// Whom durable sends are for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reader {
    /// The next client, so that each message is delivered as well.
    Online,
    /// A user without any connection.
    Away,
}
