//! Tests of the program from outside: its flags, the configurations that it refuses, its start and its end.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

const MYNAH: &str = env!("CARGO_BIN_EXE_mynah");

/// Returns a command that runs in a directory of its own, without `MYNAH_` variables of the environment.
fn command(program: &Path, directory: &Path) -> Command {
    let mut command = Command::new(program);
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("MYNAH_") {
            command.env_remove(name);
        }
    }
    command.current_dir(directory);
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn run(directory: &Path, args: &[&str], env: &[(&str, &str)]) -> Output {
    command(Path::new(MYNAH), directory)
        .args(args)
        .envs(env.iter().copied())
        .output()
        .unwrap()
}

/// A running program, which is killed when this is dropped.
struct Running {
    child: Child,
    address: String,
    greeting: String,
}

impl Running {
    fn start(directory: &Path, env: &[(&str, &str)]) -> Self {
        let mut child = command(Path::new(MYNAH), directory)
            .args(["--listen", "127.0.0.1:0"])
            .envs(env.iter().copied())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let first = lines.next().expect("a greeting").unwrap();
        let address = first.rsplit_once("http://").expect("an address").1.to_owned();
        let mut greeting = first;
        for line in lines {
            let line = line.unwrap();
            greeting.push('\n');
            greeting.push_str(&line);
            if line.contains("server.allow_open_beyond_loopback") {
                break;
            }
        }
        Self {
            child,
            address,
            greeting,
        }
    }

    /// Sends a request and returns the whole response.
    fn ask(&self, method: &str, path: &str, more: &str, body: &str) -> String {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        let length = body.len();
        write!(stream, "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: {length}\r\n{more}\r\n{body}").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    fn signal(&self, name: &str) {
        let killed = Command::new("kill")
            .args([&format!("-{name}"), &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(killed.success());
    }

    /// Waits for the end of the program, and returns its exit code and its log.
    fn ended(mut self) -> (Option<i32>, String) {
        let mut log = String::new();
        self.child
            .stderr
            .take()
            .unwrap()
            .read_to_string(&mut log)
            .unwrap();
        (self.child.wait().unwrap().code(), log)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn prints_an_example_of_the_configuration_and_checks_one() {
    let dir = tempfile::tempdir().unwrap();
    let example = run(dir.path(), &["example-config"], &[]);
    assert!(example.status.success());
    std::fs::write(dir.path().join("mynah.toml"), &example.stdout).unwrap();
    let checked = run(dir.path(), &["check-config"], &[]);
    assert_eq!(
        (checked.status.code(), text(&checked.stdout)),
        (Some(0), "The configuration is valid.\n".into())
    );

    std::fs::write(dir.path().join("bad.toml"), "[login]\npolicey = \"multi\"\n").unwrap();
    let checked = run(dir.path(), &["check-config", "--config", "bad.toml"], &[]);
    assert_eq!(checked.status.code(), Some(2));
    assert!(
        text(&checked.stderr).contains("bad.toml:2: unknown key login.policey; did you mean login.policy?")
    );
    let checked = run(
        dir.path(),
        &["check-config"],
        &[("MYNAH_LOGIN__POLICEY", "multi")],
    );
    assert_eq!(checked.status.code(), Some(2));
    assert!(text(&checked.stderr).contains("MYNAH_LOGIN__POLICEY: unknown key"));
}

#[test]
fn refuses_unsafe_or_incomplete_authentication() {
    let dir = tempfile::tempdir().unwrap();
    for (args, env, sentence) in [
        (
            vec!["--listen", "0.0.0.0:0"],
            ("MYNAH_AUTH__MODE", "open"),
            "allow_open_beyond_loopback",
        ),
        (
            vec!["--listen", "[::]:0"],
            ("MYNAH_AUTH__MODE", "open"),
            "allow_open_beyond_loopback",
        ),
        (
            vec!["--listen", "127.0.0.1:0"],
            ("MYNAH_AUTH__MODE", "jwt"),
            "set auth.jwt.secret",
        ),
    ] {
        let refused = run(dir.path(), &args, &[env]);
        assert_eq!(refused.status.code(), Some(1), "{args:?}");
        assert!(
            text(&refused.stderr).contains(sentence),
            "{}",
            text(&refused.stderr)
        );
    }
    assert_eq!(
        std::fs::read_dir(dir.path()).unwrap().count(),
        0,
        "the program created files"
    );
}

#[test]
fn prints_its_addresses_but_never_the_key() {
    let dir = tempfile::tempdir().unwrap();
    let mynah = Running::start(dir.path(), &[("MYNAH_LOG__FILTER", "trace")]);
    let key = std::fs::read_to_string(dir.path().join("mynah-data/api-key")).unwrap();
    let key = key.trim();
    for part in [
        "mynah-data/api-key",
        "/socket.io/",
        "/v1/openapi.json",
        "Open mode",
    ] {
        assert!(
            mynah.greeting.contains(part),
            "{part} is not in {}",
            mynah.greeting
        );
    }
    let answer = mynah.ask(
        "GET",
        "/v1/users/alice",
        &format!("Authorization: Bearer {key}\r\n"),
        "",
    );
    assert!(answer.starts_with("HTTP/1.1 200"), "{answer}");
    assert!(mynah.ask("GET", "/", "", "").contains("<!doctype html>"));
    assert!(mynah.ask("GET", "/nowhere", "", "").starts_with("HTTP/1.1 404"));
    assert!(
        mynah
            .ask("GET", "/socket.io/", "", "")
            .starts_with("HTTP/1.1 400")
    );
    let greeting = mynah.greeting.clone();
    mynah.signal("TERM");
    let (code, log) = mynah.ended();
    assert_eq!(code, Some(0), "{log}");
    assert!(!greeting.contains(key) && !log.contains(key));
}

#[test]
fn creates_keys_and_prints_nothing_else_on_standard_output() {
    let dir = tempfile::tempdir().unwrap();
    let api_key = |line: &str| {
        let args: Vec<_> = std::iter::once("api-key").chain(line.split(' ')).collect();
        run(dir.path(), &args, &[])
    };
    let added = api_key("add backend --scopes read --data kept/here");
    assert!(added.status.success(), "{}", text(&added.stderr));
    let key = text(&added.stdout);
    assert!(
        key.starts_with("mynah_") && key.len() == 71 && key.ends_with('\n'),
        "{key}"
    );
    assert!(!text(&added.stderr).contains(key.trim()));
    assert!(dir.path().join("kept/here/mynah.db").exists());
    let list = api_key("list --data kept/here");
    assert!(text(&list.stdout).contains("\nbackend"), "{}", text(&list.stdout));
    assert!(!text(&list.stdout).contains(key.trim()));
    for wrong in ["add backend --data kept/here", "remove other --data kept/here"] {
        let refused = api_key(wrong);
        assert_eq!(refused.status.code(), Some(1), "{wrong}");
        assert!(
            text(&refused.stdout).is_empty() && !refused.stderr.is_empty(),
            "{wrong}"
        );
    }
    assert!(!dir.path().join("mynah-data").exists());

    let mynah = Running::start(dir.path(), &[("MYNAH_STORE__PATH", "kept/here")]);
    let bearer = format!("Authorization: Bearer {}\r\n", key.trim());
    assert!(
        mynah
            .ask("GET", "/v1/users/u", &bearer, "")
            .starts_with("HTTP/1.1 200")
    );
    assert!(
        mynah
            .ask("DELETE", "/v1/teams/t", &bearer, "")
            .starts_with("HTTP/1.1 403")
    );
    let twice = format!("{bearer}{bearer}");
    assert!(
        mynah
            .ask("GET", "/v1/users/u", &twice, "")
            .starts_with("HTTP/1.1 401")
    );
    let query = format!("/v1/users/u?api_key={}", key.trim());
    assert!(mynah.ask("GET", &query, "", "").starts_with("HTTP/1.1 401"));
    let long = format!("Authorization: Bearer {}\r\n", "k".repeat(12_000));
    assert!(
        mynah
            .ask("GET", "/v1/users/u", &long, "")
            .starts_with("HTTP/1.1 401")
    );
    // The header is larger than the limit, so the server may close the connection before all of it is
    // written.
    let mut stream = TcpStream::connect(&mynah.address).unwrap();
    let huge = "k".repeat(100_000);
    let _ = write!(
        stream,
        "GET /v1/users/u HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {huge}\r\n\r\n"
    );
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    assert!(
        answer.is_empty() || answer.starts_with(b"HTTP/1.1 431"),
        "{}",
        text(&answer)
    );
    assert!(
        mynah
            .ask("GET", "/v1/users/u", &bearer, "")
            .starts_with("HTTP/1.1 200")
    );
}

#[test]
fn answered_messages_survive_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    let env = [("MYNAH_AUTH__API_KEYS", "k"), ("MYNAH_LOG__FORMAT", "json")];
    let mynah = Running::start(dir.path(), &env);
    let second = run(dir.path(), &["--listen", "127.0.0.1:0"], &env);
    assert_eq!(second.status.code(), Some(1), "the data is in use");
    let taken = run(dir.path(), &["--listen", &mynah.address, "--data", "other"], &env);
    assert!(
        text(&taken.stderr).contains("cannot listen on"),
        "{}",
        text(&taken.stderr)
    );
    let body = r#"{"type":6,"to":{"user":"u"},"data":{"n":1}}"#;
    let sent = mynah.ask("POST", "/v1/messages", "Authorization: Bearer k\r\n", body);
    assert!(sent.contains(r#""seq":1"#), "{sent}");
    mynah.signal("INT");
    let (code, log) = mynah.ended();
    assert_eq!(code, Some(0), "{log}");
    assert!(
        log.lines()
            .all(|line| line.starts_with('{') && line.ends_with('}')),
        "{log}"
    );

    let mynah = Running::start(dir.path(), &env);
    let page = mynah.ask(
        "GET",
        "/v1/users/u/conversations",
        "Authorization: Bearer k\r\n",
        "",
    );
    assert!(page.contains(r#""data":{"n":1}"#), "{page}");
}

/// If there are not enough file descriptors for further connections, existing ones are still served and the
/// store still works. The server accepts connections again once some have ended.
#[test]
fn running_out_of_file_descriptors_only_stops_accepting() {
    let dir = tempfile::tempdir().unwrap();
    let mut child = command(Path::new("sh"), dir.path())
        .args(["-c", "ulimit -n 128 && exec \"$0\" --listen 127.0.0.1:0", MYNAH])
        .env("MYNAH_AUTH__API_KEYS", "k")
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let first = lines.next().expect("a greeting").unwrap();
    let address = first.rsplit_once("http://").expect("an address").1.to_owned();
    let mut log = BufReader::new(child.stderr.take().unwrap()).lines();
    let mynah = Running {
        child,
        address,
        greeting: first,
    };

    let send = |stream: &mut TcpStream| {
        let body = r#"{"type":6,"to":{"user":"u"},"data":{}}"#;
        let length = body.len();
        write!(stream, "POST /v1/messages HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer k\r\nContent-Length: {length}\r\n\r\n{body}").unwrap();
    };
    let answered = |stream: &mut TcpStream| {
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut answer = [0; 1_000];
        let length = stream.read(&mut answer).unwrap();
        let answer = text(&answer[..length]);
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    };
    let mut crowd: Vec<TcpStream> = (0..200)
        .map(|_| TcpStream::connect(&mynah.address).unwrap())
        .collect();
    let paused = log
        .by_ref()
        .map(Result::unwrap)
        .find(|line| line.contains("accepting pauses"))
        .expect("the program goes on");
    assert!(
        paused.contains("nearly all file descriptors"),
        "before there are none: {paused}"
    );
    for _ in 0..20 {
        send(&mut crowd[0]);
        answered(&mut crowd[0]);
    }
    let waiting = crowd.split_off(100);
    drop(crowd);
    for mut stream in waiting {
        send(&mut stream);
        answered(&mut stream);
    }
    mynah.signal("TERM");
    let rest: Vec<String> = log.map(Result::unwrap).collect();
    assert!(
        rest.iter().all(|line| !line.contains("accepting pauses")),
        "once is enough: {rest:?}"
    );
    assert!(rest.iter().any(|line| line.contains("stopped")), "{rest:?}");
}
