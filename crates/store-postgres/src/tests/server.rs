//! A PostgreSQL server of the tests' own.
//!
//! Invariant: the server and its files are gone when the test's process has ended, however it ends: a shell
//! waits for the end of its input and cleans up.

use std::io::Write;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

/// Runs the server, and restarts it when it is told to.
const SCRIPT: &str = r#"
D=$(mktemp -d /tmp/mynah-postgres.XXXXXX) || exit 1
cd "$D"
"$1/initdb" -D "$D/data" -A trust -U mynah -E UTF8 --locale=C >"$D/init" 2>&1 || cat "$D/init" >&2
tls=
if [ -n "$4" ]; then
    cp "$4/server.pem" "$4/server.key" "$D" && chmod 600 "$D/server.key"
    tls="-c ssl=on -c ssl_cert_file=$D/server.pem -c ssl_key_file=$D/server.key"
fi
start() {
    "$1/postgres" -D "$D/data" -p "$2" -k "$D" -c listen_addresses=127.0.0.1 -c fsync="$3" \
        -c max_connections=200 -c max_wal_size=200MB -c shared_buffers=64MB -c autovacuum=off $tls >"$D/log" 2>&1 &
    pid=$!
}
start "$@"
while read -r order; do
    case $order in
        crash) kill -QUIT $pid; wait $pid ;;
        start) start "$@" ;;
    esac
done
kill -QUIT $pid; wait $pid
rm -rf "$D"
"#;

/// See the module.
pub(super) struct Server {
    port: u16,
    orders: Mutex<ChildStdin>,
    _shell: Child,
}

fn programs() -> Option<PathBuf> {
    let named = std::env::var_os("MYNAH_POSTGRES_BIN").map(PathBuf::from);
    let installed = (13..=18)
        .rev()
        .map(|version| format!("/usr/lib/postgresql/{version}/bin").into());
    named
        .into_iter()
        .chain(installed)
        .find(|dir: &PathBuf| dir.join("initdb").exists())
}

impl Server {
    /// Starts a server; `None`, with a loud message, if PostgreSQL is not installed.
    pub(super) fn start(fsync: bool) -> Option<Self> {
        Self::start_with(fsync, "")
    }

    /// The same, with `server.pem` and `server.key` of this directory.
    pub(super) fn start_with(fsync: bool, certificate: &str) -> Option<Self> {
        let Some(programs) = programs() else {
            eprintln!(
                "SKIPPED: no PostgreSQL server is installed, so the store on PostgreSQL is not tested."
            );
            return None;
        };
        let port = TcpListener::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .port();
        let mut command = Command::new("/bin/sh");
        command
            .args(["-c", SCRIPT, "postgres"])
            .arg(programs)
            .arg(port.to_string())
            .args([if fsync { "on" } else { "off" }, certificate])
            .stdin(Stdio::piped())
            .current_dir("/tmp")
            .process_group(0);
        // PostgreSQL refuses to run as root.
        if std::fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
            command.uid(65_534).gid(65_534);
        }
        let mut shell = command.spawn().unwrap();
        let server = Self {
            port,
            orders: Mutex::new(shell.stdin.take().unwrap()),
            _shell: shell,
        };
        server.wait();
        Some(server)
    }

    /// The server that most tests share.
    pub(super) fn shared() -> Option<&'static Self> {
        static SHARED: LazyLock<Option<Server>> = LazyLock::new(|| Server::start(false));
        SHARED.as_ref()
    }

    pub(super) fn url(&self) -> String {
        format!(
            "postgres://mynah@127.0.0.1:{}/postgres?sslmode=disable",
            self.port
        )
    }

    /// A schema that nobody else uses.
    pub(super) fn schema() -> String {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        format!("test{}", NEXT.fetch_add(1, Ordering::Relaxed))
    }

    /// Ends the server like a crash.
    pub(super) fn crash(&self) {
        self.order("crash");
        while self.answers() {
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    pub(super) fn restart(&self) {
        self.order("start");
        self.wait();
    }

    fn order(&self, order: &str) {
        writeln!(self.orders.lock().unwrap(), "{order}").unwrap();
    }

    fn answers(&self) -> bool {
        run(&self.url(), "SELECT 1").is_ok()
    }

    fn wait(&self) {
        let begun = Instant::now();
        while !self.answers() {
            assert!(
                begun.elapsed() < Duration::from_secs(60),
                "PostgreSQL does not start"
            );
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// Runs statements on a connection of their own.
pub(super) fn run(url: &str, sql: &str) -> Result<(), tokio_postgres::Error> {
    let (url, sql) = (url.to_owned(), sql.to_owned());
    let work = move || {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async {
            let (client, connection) = tokio_postgres::connect(&url, tokio_postgres::NoTls).await?;
            tokio::spawn(connection);
            client.batch_execute(&sql).await
        })
    };
    // The caller may be inside a runtime.
    std::thread::spawn(work).join().unwrap()
}

/// Runs one of PostgreSQL's programs.
pub(super) fn program(name: &str, arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(programs().unwrap().join(name))
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{name}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}
