//! Many clients connect and disconnect in every possible way, and the server keeps nothing of them.

use std::sync::Arc;

use mynah_front::{Admission, Bounds};
use mynah_socketio::{Config, Protocol, Transport};

use crate::app::Running;
use crate::client::{ALL, Client};
use crate::within;

/// Connects, and disconnects in one of several ways.
async fn connect_and_leave(running: &Running, n: usize) {
    let (protocol, transport) = ALL[n % 4];
    let mut client = Client::connect(running, protocol, transport).await;
    match n / 4 % 6 {
        0 => drop(client),
        1 => {
            client.send("2[\"for good\"]").await;
            while client.try_receive().await.is_some() {}
        }
        2 => {
            client.send("2[\"close now\"]").await;
            client.is_closed().await;
        }
        3 => match transport {
            Transport::Polling => client.polling().send(&["1"]).await,
            Transport::WebSocket => client.ws().text("1").await,
        },
        4 if transport == Transport::Polling => client.upgrade(async |_| {}).await,
        4 => {
            client.send("0/a").await;
            client.send("2[\"reconnect\"]").await;
        }
        _ => {
            // Two GETs at once, or an invalid frame.
            match transport {
                Transport::Polling => {
                    let _ = tokio::join!(client.polling().get(), client.polling().get());
                }
                Transport::WebSocket => client.ws().raw(&[0xff; 8]).await,
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_left_of_two_thousand_connections() {
    const COUNT: usize = 2_000;
    let config = Config {
        goodbye_timeout_ms: 200,
        // A client on polling that disappears is detected by its missing heartbeat.
        ping_interval_ms: 1_000,
        ping_timeout_ms: 1_000,
        close_timeout_ms: 500,
        admission: Arc::new(Admission::new(Bounds {
            sessions: COUNT,
            sessions_per_address: COUNT,
            ..Bounds::default()
        })),
        ..Config::default()
    };
    let running = Arc::new(Running::start(config).await);
    let metrics = tokio::runtime::Handle::current().metrics();
    let tasks = metrics.num_alive_tasks();
    let mut clients = tokio::task::JoinSet::new();
    for n in 0..COUNT {
        if clients.len() >= 50 {
            within(clients.join_next()).await.unwrap().unwrap();
        }
        let running = running.clone();
        clients.spawn(async move { connect_and_leave(&running, n).await });
    }
    while let Some(done) = within(clients.join_next()).await {
        done.unwrap();
    }
    running.until_empty().await;
    running.until(|it| it.admission.addresses() == 0).await;
    assert_eq!(running.admission.sessions(), 0);
    running.until(|_| metrics.num_alive_tasks() <= tasks).await;
    let mut running = Arc::into_inner(running).unwrap();
    let ends = running
        .told_so_far()
        .iter()
        .filter(|entry| entry.starts_with("/ disconnected"))
        .count();
    assert_eq!(ends, COUNT, "each end is reported once");
    let mut client = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
    client.send("2[\"echo\"]").await;
    assert_eq!(client.receive().await, "2[\"echo\"]");
}
