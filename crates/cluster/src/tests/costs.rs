//! How many commands Redis executes, by its own count.

use std::collections::BTreeMap;

use redis::cmd;

use crate::testing::*;
use crate::*;

/// The number of calls of each command since the last reset. What was measured is printed.
async fn calls(server: &Server, what: &str) -> BTreeMap<String, u64> {
    let info: String = server.run(cmd("INFO").arg("commandstats")).await;
    let lines = info.lines().filter_map(|line| {
        let (name, figures) = line.strip_prefix("cmdstat_")?.split_once(":calls=")?;
        eprintln!("{what}: {name} {figures}");
        let calls = figures.split(',').next()?.parse().ok()?;
        Some((name.to_owned(), calls))
    });
    lines.collect()
}

async fn reset(server: &Server) {
    () = server.run(cmd("CONFIG").arg("RESETSTAT")).await;
}

/// The calls of a command without those of the regular checks, which are few.
fn about(calls: &BTreeMap<String, u64>, name: &str, expected: u64) {
    let called = calls.get(name).copied().unwrap_or_default();
    assert!((expected..expected + 900).contains(&called), "{name}: {calls:?}");
}

#[tokio::test]
async fn the_directory_needs_one_command_for_each_user() {
    let Some(server) = Server::start().await else {
        return;
    };
    let directory = directory(&server, Policy::Multi(5)).await;
    let uids: Vec<_> = (0..1000).map(|number| uid(&format!("user{number}"))).collect();
    let mut all = Vec::new();
    reset(&server).await;
    for name in &uids {
        let new = entry(Incarnation([1; 16]), name.as_str(), "phone", "ios");
        let order = directory.claim(name, &new, &[]).await.unwrap().order;
        all.push(Held {
            uid: name.clone(),
            entry: new,
            order,
        });
    }
    let claims = calls(&server, "1000 claims").await;
    assert_eq!(claims.get("evalsha"), Some(&1000));
    reset(&server).await;
    directory.find(&uids).await.unwrap();
    let searches = calls(&server, "a search for 1000 users").await;
    about(&searches, "get", 1000);
    assert_eq!(searches.get("evalsha"), None);
    reset(&server).await;
    directory.refresh(&all, |_| true).await.unwrap();
    let refreshes = calls(&server, "a refresh of 1000 entries").await;
    assert_eq!(refreshes.get("evalsha"), Some(&1000));
}

#[tokio::test]
async fn the_bus_needs_one_command_for_each_packet_and_channel() {
    let Some(server) = Server::start().await else {
        return;
    };
    let start = |number: u8| {
        Bus::start(BusConfig {
            address: server.address(),
            name: name(),
            secret: secret(),
            incarnation: Incarnation([number; 16]),
            most_packets: 10_000,
            most_bytes: 10_000_000,
            times: TIMES,
        })
    };
    let ((one, _inbox), (two, mut inbox)) = (start(1), start(2));
    for bus in [&one, &two] {
        until("the bus is healthy", async || bus.healthy_since()).await;
    }
    reset(&server).await;
    let before = one.counts();
    let mut received = Vec::new();
    for _ in 0..1000 {
        one.send(To::Node(Incarnation([2; 16])), vec![b'x'; 531].into())
            .unwrap();
    }
    while received.len() < 1000 {
        inbox.receive(&mut received, 1000).await;
    }
    let sends = calls(&server, "1000 packets").await;
    about(&sends, "publish", 1000);
    let writes = one.counts().writes - before.writes;
    eprintln!("1000 packets: {writes} writes");
    assert!(writes < 500, "{writes}");
}
