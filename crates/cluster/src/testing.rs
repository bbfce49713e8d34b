//! What tests share: a Redis server of their own, and nodes that use it.
//!
//! Invariant: the server and its files are gone when the process of the tests has ended, however it ends: a
//! shell waits for the end of its input and cleans up.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mynah_store::ids::{DeviceId, Uid};
use redis::{Cmd, FromRedisValue};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};
use tracing_subscriber::fmt::MakeWriter;

use crate::directory::entries as directory_entries;
pub(crate) use crate::random::Random;
use crate::*;

/// Runs the server, and does with it what it is told.
const SCRIPT: &str = r#"
D=$(mktemp -d /tmp/mynah-redis.XXXXXX) || exit 1
# The shell would report each server that it kills.
exec 2>/dev/null
start() {
    redis-server --bind 127.0.0.1 --dir "$D" --save "" --appendonly no --logfile "$D/log" "$@" &
    pid=$!
}
start "$@"
while read -r order; do
    case $order in
        crash) kill -KILL $pid; wait $pid ;;
        start) start "$@" ;;
        hang) kill -STOP $pid; until grep -q ') T' /proc/$pid/stat; do :; done ;;
        continue) kill -CONT $pid ;;
    esac
    echo done
done
kill -KILL $pid; wait $pid
rm -rf "$D"
"#;

/// See the module.
pub(crate) struct Server {
    pub(crate) port: u16,
    /// Orders for the shell, and what it says when each is done.
    orders: Mutex<Option<(ChildStdin, BufReader<ChildStdout>)>>,
    shell: Child,
}

impl Drop for Server {
    fn drop(&mut self) {
        // The end of its input ends the shell.
        self.orders.lock().unwrap().take();
        let _ = self.shell.wait();
    }
}

/// A port on which nobody listens at the moment.
pub(crate) fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

impl Server {
    /// Starts a server; `None`, with a loud message, if Redis is not installed.
    pub(crate) async fn start() -> Option<Self> {
        let port = free_port();
        let server = Self::start_with(port, &["--port", &port.to_string()])?;
        server.answers().await;
        Some(server)
    }

    /// The same with other options; it may not listen yet.
    pub(crate) fn start_with(port: u16, options: &[&str]) -> Option<Self> {
        if Command::new("redis-server").arg("--version").output().is_err() {
            eprintln!("SKIPPED: no redis-server is installed, so the talk with Redis is not tested.");
            return None;
        }
        let mut command = Command::new("/bin/sh");
        command.args(["-c", SCRIPT, "redis"]).args(options);
        let mut shell = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let orders = Mutex::new(shell.stdin.take().zip(shell.stdout.take().map(BufReader::new)));
        Some(Self { port, orders, shell })
    }

    pub(crate) fn crash(&self) {
        self.order("crash");
    }

    pub(crate) async fn restart(&self) {
        self.order("start");
        self.answers().await;
    }

    pub(crate) fn hang(&self) {
        self.order("hang");
    }

    pub(crate) fn go_on(&self) {
        self.order("continue");
    }

    fn order(&self, order: &str) {
        let mut orders = self.orders.lock().unwrap();
        let (stdin, stdout) = orders.as_mut().unwrap();
        writeln!(stdin, "{order}").unwrap();
        stdout.read_line(&mut String::new()).unwrap();
    }

    async fn answers(&self) {
        until("Redis answers", async || {
            let mut connection = self.connect().await.ok()?;
            let pong: Option<String> = redis::cmd("PING").query_async(&mut connection).await.ok();
            pong
        })
        .await;
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    async fn connect(&self) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
        let client = redis::Client::open(self.url())?;
        client.get_multiplexed_async_connection().await
    }

    /// Runs a command on a connection of its own.
    pub(crate) async fn run<T: FromRedisValue>(&self, command: &Cmd) -> T {
        let mut connection = self.connect().await.unwrap();
        command.query_async(&mut connection).await.unwrap()
    }

    /// The entries of a user, oldest first, with the numbers of their claims.
    pub(crate) async fn entries(&self, uid: &str) -> Vec<(Order, Entry)> {
        let record: Option<Vec<u8>> = self.run(redis::cmd("GET").arg(format!("test:u:{{{uid}}}"))).await;
        record.map_or_else(Vec::new, |record| directory_entries(&record).unwrap())
    }

    /// The sids of a user's connections, oldest first.
    pub(crate) async fn sids(&self, uid: &str) -> Vec<String> {
        let entries = self.entries(uid).await;
        entries.iter().map(|(_, entry)| entry.sid.to_string()).collect()
    }

    pub(crate) fn address(&self) -> Arc<Address> {
        Arc::new(Address::parse(&self.url(), &trusting_nobody()).unwrap())
    }
}

/// A TLS configuration that accepts no certificate.
pub(crate) fn trusting_nobody() -> Arc<ClientConfig> {
    trusting(RootCertStore::empty())
}

pub(crate) fn trusting(roots: RootCertStore) -> Arc<ClientConfig> {
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().unwrap();
    Arc::new(builder.with_root_certificates(roots).with_no_client_auth())
}

/// Times that let tests end soon.
pub(crate) const TIMES: Times = Times {
    connect: Duration::from_secs(5),
    answer: Duration::from_secs(5),
    beat: Duration::from_millis(50),
    first_wait: Duration::from_millis(10),
    longest_wait: Duration::from_millis(50),
    silence: Duration::from_secs(2),
};

pub(crate) fn name() -> ClusterName {
    ClusterName::new("test").unwrap()
}

pub(crate) fn secret() -> Secret {
    Secret::new("a secret of some length").unwrap()
}

pub(crate) fn config(address: Arc<Address>, incarnation: Incarnation, policy: Policy) -> DirectoryConfig {
    DirectoryConfig {
        address,
        name: name(),
        secret: secret(),
        incarnation,
        policy,
        life: ENTRY_LIFE,
        times: TIMES,
    }
}

/// A connected directory of a node of its own.
pub(crate) async fn directory(server: &Server, policy: Policy) -> Directory {
    let incarnation = Incarnation::random().unwrap();
    let directory = Directory::start(config(server.address(), incarnation, policy));
    connected(directory.state()).await;
    directory
}

pub(crate) async fn connected(mut state: tokio::sync::watch::Receiver<State>) {
    let wait = state.wait_for(|state| matches!(state, State::Connected(_)));
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    waited.expect("connects").unwrap();
}

/// Waits until there is a reason why there is no connection that fits.
pub(crate) async fn trouble(
    mut state: tokio::sync::watch::Receiver<State>,
    fits: impl Fn(&Trouble) -> bool,
) -> Trouble {
    let wait = state.wait_for(|state| matches!(state, State::Disconnected(trouble) if fits(trouble)));
    let waited = tokio::time::timeout(Duration::from_secs(60), wait).await;
    match &*waited.expect("a trouble").unwrap() {
        State::Disconnected(trouble) => trouble.clone(),
        State::Connected(_) => unreachable!("the condition excludes it"),
    }
}

/// Repeats until there is a value.
pub(crate) async fn until<T>(what: &str, mut attempt: impl AsyncFnMut() -> Option<T>) -> T {
    let repeated = async {
        loop {
            if let Some(value) = attempt().await {
                return value;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let value = tokio::time::timeout(Duration::from_secs(60), repeated).await;
    value.unwrap_or_else(|_| panic!("never: {what}"))
}

pub(crate) fn uid(text: &str) -> Uid {
    Uid::new(text).unwrap()
}

pub(crate) fn entry(node: Incarnation, sid: &str, device: &str, platform: &str) -> Entry {
    Entry {
        sid: sid.into(),
        node,
        device: DeviceId::new(device).unwrap(),
        platform: (!platform.is_empty()).then(|| platform.into()),
    }
}

/// What was logged.
#[derive(Clone, Default)]
pub(crate) struct Logged(Arc<Mutex<Vec<u8>>>);

impl Logged {
    pub(crate) fn text(&self) -> String {
        String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
    }
}

impl Write for Logged {
    fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(text)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl MakeWriter<'_> for Logged {
    type Writer = Self;

    fn make_writer(&self) -> Self {
        self.clone()
    }
}
