//! Runs every scenario against a gateway of the test: it succeeds, reports its figures, and loses no client.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;
use std::thread;

use mynah::config::{Config, Conversation, Durability, KindRow, Secret};
use mynah::server::Server;
use serde_json::Value;
use tokio::sync::oneshot;

/// The key of the HTTP API.
const KEY: &str = "0123456789abcdef0123456789abcdef";

/// Runs a gateway while `then` runs, which gets its port.
fn with_gateway(then: impl FnOnce(u16) + Send + 'static) {
    with_gateway_of(|_| {}, then);
}

/// Like [`with_gateway`], with a configuration that `change` changes.
fn with_gateway_of(change: impl FnOnce(&mut Config), then: impl FnOnce(u16) + Send + 'static) {
    let data = tempfile::tempdir().unwrap();
    let mut config = Config::default();
    config.server.listen = "127.0.0.1:0".into();
    config.store.path = data.path().into();
    config.store.durability = Durability::Process;
    config.auth.api_keys = vec![Secret::new(KEY)];
    config.kinds.push(KindRow {
        number: 1000,
        name: "BENCH".into(),
        conversation: Conversation::None,
        stored: false,
        unread: false,
        push: false,
        clients: true,
    });
    change(&mut config);
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let server = Server::open(config).await.unwrap();
        let port = server.address().port();
        let (stop, stopped) = oneshot::channel::<()>();
        let ended = tokio::spawn(server.run(async {
            let _ = stopped.await;
        }));
        tokio::task::spawn_blocking(move || then(port)).await.unwrap();
        stop.send(()).unwrap();
        ended.await.unwrap().unwrap();
    });
}

/// The figures of a run of the tool, which must succeed.
fn bench(port: u16, arguments: &str) -> Value {
    let output = Command::new(env!("CARGO_BIN_EXE_mynah-bench"))
        .args(arguments.split_whitespace())
        .args([
            "--url",
            &format!("http://127.0.0.1:{port}"),
            "--api-key",
            KEY,
            "--json",
        ])
        .args(["--pid", &std::process::id().to_string()])
        .args(["--seconds", "1", "--warmup", "0"])
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments}: {complaint}");
    let mut report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let figures = report["figures"].take();
    assert_eq!(
        figures["refused"].as_f64().unwrap_or(0.0),
        0.0,
        "{arguments}: {figures}"
    );
    figures
}

/// The HTTP API's response to a GET.
fn api(port: u16, path: &str) -> Value {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    let request = format!("GET {path} HTTP/1.0\r\nHost: test\r\nAuthorization: Bearer {KEY}\r\n\r\n");
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (_, body) = answer.split_once("\r\n\r\n").unwrap();
    serde_json::from_str(body).unwrap()
}

#[test]
fn every_scenario_moves_messages() {
    with_gateway(|port| {
        for (arguments, figure) in [
            ("idle -n 30", "server_rss_bytes"),
            ("connect -n 30", "connects_per_second"),
            ("connect -n 31 --threads 2", "p99_ms"),
            ("fanout -n 20 -w 3", "deliveries_per_second"),
            ("fanout -n 21 -w 3 --threads 2", "deliveries_per_second"),
            ("fanout -n 20 --to team -w 2", "messages_per_second"),
            ("fanout -n 24 --group 4 -w 2 --threads 2", "messages_per_second"),
            ("fanout -n 21 --to team -w 3 --threads 2", "messages_per_second"),
            ("fanout -n 20 --offline 30 -w 2", "messages_per_second"),
            ("one-to-one -n 20 --kind 1000", "messages_per_second"),
            ("one-to-one -n 20 --threads 3 --rate 500", "p99_ms"),
            ("one-to-one -n 20 --active 2 --rate 100", "messages_per_second"),
            ("one-to-one -n 20 --active 4 --threads 5 --rate 500", "p99_ms"),
            ("resume -n 20", "resumes_per_second"),
            (
                "resume -n 21 --missed 70 --conversations 3 --threads 2 --at-once 4",
                "replayed_per_second",
            ),
            ("resume -n 20 --transport polling", "p99_ms"),
            ("durable -n 20", "sends_per_second"),
            ("durable -n 20 --to away", "sends_per_second"),
            ("idle -n 20 --transport polling", "server_rss_bytes"),
            ("connect -n 20 --transport polling", "connects_per_second"),
            (
                "fanout -n 20 -w 3 --transport polling --threads 2",
                "deliveries_per_second",
            ),
            (
                "fanout -n 20 --to team -w 2 --transport polling",
                "messages_per_second",
            ),
            (
                "one-to-one -n 20 --kind 1000 --transport polling",
                "messages_per_second",
            ),
            ("durable -n 20 --transport polling", "sends_per_second"),
        ] {
            let figures = bench(port, arguments);
            assert!(
                figures[figure].as_f64().unwrap_or(0.0) > 0.0,
                "{arguments}: {figures}"
            );
        }
    });
}

#[test]
fn each_group_is_a_team() {
    with_gateway(|port| {
        let figures = bench(port, "fanout -n 24 --group 4 --offline 3 --threads 2");
        assert_eq!(figures["groups"], 6.0, "{figures}");
        let deliveries = figures["deliveries_per_second"].as_f64().unwrap();
        let messages = figures["messages_per_second"].as_f64().unwrap();
        assert!(
            (2.0..4.0).contains(&(deliveries / messages)),
            "a message reaches the three others of its group: {figures}"
        );
        let members = api(port, "/v1/teams/bench-team-4-3-away-5");
        assert_eq!(members["members"].as_array().unwrap().len(), 7, "{members}");
    });
}

#[test]
fn an_incomplete_replay_fails_the_run() {
    with_gateway(|port| {
        let output = Command::new(env!("CARGO_BIN_EXE_mynah-bench"))
            .args(["resume", "-n", "3", "--missed", "501", "--api-key", KEY])
            .args(["--url", &format!("http://127.0.0.1:{port}")])
            .output()
            .unwrap();
        assert!(!output.status.success());
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert!(
            complaint.contains("3 messages were not in their replay"),
            "{complaint}"
        );
    });
}

#[test]
fn clients_that_stop_reading_are_closed_but_not_lost() {
    let small = |config: &mut Config| config.limits.queue_bytes = 131_072;
    with_gateway_of(small, |port| {
        for arguments in [
            // All deliveries are counted together, so a reading client may be behind by 16 messages for each
            // one in flight. That fits in the queue.
            "slow -n 20 --stopped 20 --quiet 0 --bytes 4096 -w 1",
            "slow -n 20 --stopped 20 --quiet 0 --bytes 4096 -w 1 --threads 2 --to team",
            "slow -n 20 --stopped 20 --quiet 0 --bytes 4096 -w 1 --transport polling",
        ] {
            let figures = bench(port, arguments);
            assert_eq!(figures["stopped_closed_by_server"], 4.0, "{arguments}: {figures}");
            assert_eq!(figures["lost_connections"], 0.0, "{arguments}: {figures}");
            assert!(
                figures["deliveries_per_second"].as_f64().unwrap() > 0.0,
                "{arguments}: {figures}"
            );
            assert!(
                figures["after_to_before"].as_f64().unwrap() > 0.0,
                "{arguments}: {figures}"
            );
        }
    });
}

#[test]
fn uneven_groups_are_refused() {
    for arguments in [
        "-n 20 --group 3",
        "-n 20 --group 4 --to everyone",
        "-n 1 --to team",
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_mynah-bench"))
            .arg("fanout")
            .args(arguments.split_whitespace())
            .output()
            .unwrap();
        assert!(!output.status.success(), "{arguments}");
    }
}

#[test]
fn a_refused_connection_fails_the_run() {
    let output = Command::new(env!("CARGO_BIN_EXE_mynah-bench"))
        .args(["idle", "-n", "1", "--url", "http://127.0.0.1:1"])
        .output()
        .unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("refused"));
}

#[test]
fn a_server_that_disconnects_fails_the_run() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let closing = thread::spawn(move || drop(listener.accept().unwrap()));
    let output = Command::new(env!("CARGO_BIN_EXE_mynah-bench"))
        .args(["idle", "-n", "1", "--url", &format!("http://127.0.0.1:{port}")])
        .output()
        .unwrap();
    closing.join().unwrap();
    assert!(!output.status.success());
    assert!(String::from_utf8_lossy(&output.stderr).contains("a client was lost"));
}
