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
    /// The options of all scenarios.
    #[command(flatten)]
    pub(crate) common: Common,
}

/// Options of every scenario.
#[derive(Args, Clone, Debug)]
pub(crate) struct Common {
    /// URL of the server; may be given several times, for the nodes of a cluster: each client connects to the
    /// node after that of the client before, and the HTTP API is called at the first
    #[arg(long, global = true, default_value = "http://127.0.0.1:3001")]
    pub(crate) url: Vec<String>,
    /// Path of Socket.IO
    #[arg(long, global = true, default_value = "/socket.io/")]
    pub(crate) path: String,
    /// How the clients connect
    #[arg(long, value_enum, global = true, default_value_t = Transport::Websocket)]
    pub(crate) transport: Transport,
    /// Number of clients
    #[arg(short = 'n', long, global = true, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    pub(crate) connections: u32,
    /// Number of clients that connect at the same time
    #[arg(long, global = true, default_value_t = 256, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    pub(crate) at_once: u32,
    /// Number of threads of this tool [default: one per core that it may use]
    #[arg(long, global = true, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    pub(crate) threads: Option<u32>,
    /// Duration of the measurement in seconds
    #[arg(short = 's', long, global = true, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=86_400))]
    pub(crate) seconds: u32,
    /// Duration of the same load before the measurement, in seconds
    #[arg(long, global = true, default_value_t = 2, value_parser = clap::value_parser!(u32).range(0..=3_600))]
    pub(crate) warmup: u32,
    /// Length of the text of each message in bytes [default: 200; slow: 16384]
    #[arg(long, global = true, value_parser = clap::value_parser!(u32).range(0..=1_000_000))]
    pub(crate) bytes: Option<u32>,
    /// Process id of the server, whose CPU time and memory are read from /proc; may be given several times
    #[arg(long, global = true)]
    pub(crate) pid: Vec<u32>,
    /// Before each reading of the meters, write "step" to standard error and wait for a line on standard
    /// input: time to read other meters
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
    /// File with the key of the HTTP API
    #[arg(long, global = true, conflicts_with = "api_key")]
    pub(crate) api_key_file: Option<PathBuf>,
    /// Start of the clients' uids
    #[arg(long, global = true, default_value = "bench")]
    pub(crate) prefix: String,
    /// Print JSON instead of a table
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

/// How clients connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Transport {
    /// They use a WebSocket from the start.
    Websocket,
    /// They use long-polling over HTTP/1.1, without an upgrade: two HTTP connections for each client.
    Polling,
}

/// The scenarios.
#[derive(Clone, Debug, Subcommand)]
pub(crate) enum Scenario {
    /// Registered connections without messages: memory, and the CPU of the heartbeats
    Idle,
    /// Connects and registers clients
    Connect,
    /// Messages to everyone or to teams
    Fanout {
        /// Recipients of the messages: everyone, through the HTTP API (not stored), or teams of the clients,
        /// by frame 101 of their members (stored) [default: everyone; team with --group or --offline]
        #[arg(long, value_enum)]
        to: Option<Audience>,
        /// Number of clients of each team; -n must be a multiple of it [default: all clients are one team]
        #[arg(long, value_parser = clap::value_parser!(u32).range(2..=100_000))]
        group: Option<u32>,
        /// Number of further members of each team, who never connect
        #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u32).range(0..=100_000))]
        offline: u32,
        /// Number of messages in flight in each team
        #[arg(short = 'w', long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        in_flight: u32,
        /// Kind of the messages [default: 6 for everyone, 15 for a team]
        #[arg(long)]
        kind: Option<u16>,
    },
    /// Pairs of clients that send to each other: each with one message in flight, or all together at a fixed
    /// rate
    OneToOne {
        /// Kind of the messages: 3 is stored; a kind that is not stored must be configured in the server
        #[arg(long, default_value_t = 3)]
        kind: u16,
        /// Messages per second; the latency is then counted from the time for which a message was scheduled
        #[arg(long, value_parser = clap::value_parser!(u32).range(1..=10_000_000))]
        rate: Option<u32>,
        /// Number of clients that send; it must be even, and they are spread evenly over all clients
        /// [default: all]
        #[arg(long, value_parser = clap::value_parser!(u32).range(2..=1_000_000))]
        active: Option<u32>,
    },
    /// All clients reconnect at once and receive the messages that they have missed; -s and --warmup have no
    /// effect
    Resume {
        /// Number of messages that each client has not acknowledged
        #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(0..=100_000))]
        missed: u32,
        /// Number of conversations over which the messages of a client are spread
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        conversations: u32,
        /// Shell command that restarts the server while all clients are disconnected; its last line of output
        /// must be the new process id
        #[arg(long, value_name = "COMMAND")]
        restart: Option<String>,
    },
    /// Some clients stop reading while everyone or a team receives messages: how much memory the server holds
    /// for them, and how long
    Slow {
        /// Recipients of the messages
        #[arg(long, value_enum, default_value_t = Audience::Everyone)]
        to: Audience,
        /// Percentage of the clients that stop reading
        #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(0..=99))]
        stopped: u32,
        /// Number of messages in flight to the clients that read
        #[arg(short = 'w', long, default_value_t = 4, value_parser = clap::value_parser!(u32).range(1..=1_000))]
        in_flight: u32,
        /// Seconds without load before the memory is read again
        #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u32).range(0..=3_600))]
        quiet: u32,
    },
    /// Clients that send a message and wait until it is durable (response 102 with code 0)
    Durable {
        /// Recipients of the messages
        #[arg(long, value_enum, default_value_t = Reader::Online)]
        to: Reader,
        /// Kind of the messages, which must be a stored one
        #[arg(long, default_value_t = 3)]
        kind: u16,
    },
}

impl Scenario {
    /// The default length of the text of each message in bytes. In `slow`, the queue for a slow reader must
    /// be able to exceed what a server holds.
    pub(crate) fn bytes(&self) -> u32 {
        match self {
            Self::Slow { .. } => 16_384,
            _ => 200,
        }
    }
}

/// The recipients of a fan-out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Audience {
    /// All connected clients, through the HTTP API.
    Everyone,
    /// A team of all clients, or one of each group of them.
    Team,
}

/// The recipients of durable messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Reader {
    /// The next client, so that each message is also delivered.
    Online,
    /// A user without any connection.
    Away,
}
