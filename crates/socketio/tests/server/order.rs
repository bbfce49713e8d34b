//! Events are handled one after the other in the order in which they arrived, and arrive at the client in the
//! order in which they were emitted.

use mynah_socketio::{Config, Protocol, Socket, Transport};

use crate::app::{Running, raw};
use crate::client::{ALL, Client};

/// Checks that the handlers of the events `0..count` ran one after the other.
async fn in_order(running: &mut Running, count: u32) {
    for n in 0..count {
        running.expect(&format!("begin {n}")).await;
        running.expect(&format!("end {n}")).await;
    }
}

#[tokio::test]
async fn handlers_that_wait_keep_the_order() {
    const COUNT: u32 = 100;
    for (protocol, transport) in ALL {
        let mut running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, protocol, transport).await;
        for n in 0..COUNT {
            client.send(&format!("2[\"wait\",{n}]")).await;
        }
        in_order(&mut running, COUNT).await;
        for n in 0..COUNT {
            assert_eq!(client.receive().await, format!("2[\"waited\",{n}]"));
        }
    }
}

#[tokio::test]
async fn packets_of_one_body_wait_for_one_another() {
    let mut running = Running::start(Config::default()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::Polling).await;
    let events: Vec<String> = (0..50).map(|n| format!("42[\"wait\",{n}]")).collect();
    let events: Vec<&str> = events.iter().map(String::as_str).collect();
    client.polling().send(&events).await;
    in_order(&mut running, 50).await;
}

#[tokio::test]
async fn frames_of_one_write_wait_for_one_another() {
    let mut running = Running::start(Config::default()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
    let frames: Vec<u8> = (0..5_000)
        .flat_map(|n| {
            let text = format!("42[\"wait\",{n}]");
            mynah_wire::ws::masked_frame(mynah_wire::ws::Opcode::Text, text.as_bytes(), [1, 2, 3, 4])
        })
        .collect();
    client.ws().raw(&frames).await;
    in_order(&mut running, 5_000).await;
}

/// Emits `n` for each number of `range`, and lets other tasks run in between.
async fn emit(socket: &Socket, range: std::ops::Range<u32>) {
    for n in range {
        assert!(socket.emit("n", &[raw(&n.to_string())]));
        if n % 3 == 0 {
            tokio::task::yield_now().await;
        }
    }
}

async fn across_the_upgrade(protocol: Protocol, round: u32) {
    const EACH_WAY: u32 = 60;
    let mut running = Running::start(Config::default()).await;
    let mut client = Client::connect(&running, protocol, Transport::Polling).await;
    let socket = running.socket().await;
    let emitting = tokio::spawn(async move {
        for _ in 0..round % 7 {
            tokio::task::yield_now().await;
        }
        emit(&socket, 0..EACH_WAY).await;
    });
    let waits =
        |range: std::ops::Range<u32>| -> Vec<String> { range.map(|n| format!("42[\"wait\",{n}]")).collect() };
    let before = waits(0..20);
    client
        .polling()
        .send(&before.iter().map(String::as_str).collect::<Vec<_>>())
        .await;
    let last_on_polling = waits(20..30);
    client
        .upgrade(async |polling| {
            polling
                .send(&last_on_polling.iter().map(String::as_str).collect::<Vec<_>>())
                .await;
        })
        .await;
    for n in 30..EACH_WAY {
        client.send(&format!("2[\"wait\",{n}]")).await;
    }
    in_order(&mut running, EACH_WAY).await;
    emitting.await.unwrap();
    let (mut emitted, mut waited) = (0, 0);
    while emitted < EACH_WAY || waited < EACH_WAY {
        let text = client.receive().await;
        if text == format!("2[\"n\",{emitted}]") {
            emitted += 1;
        } else {
            assert_eq!(text, format!("2[\"waited\",{waited}]"));
            waited += 1;
        }
    }
    client.send("2[\"echo\",\"end\"]").await;
    assert_eq!(
        client.receive().await,
        "2[\"echo\",\"end\"]",
        "no event arrives twice"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_crosses_the_upgrade_once_and_in_order() {
    for round in 0..30 {
        across_the_upgrade(Protocol::V3, round).await;
        across_the_upgrade(Protocol::V4, round).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_of_many_threads_arrive_intact() {
    const EACH: u32 = 500;
    let mut running = Running::start(Config::default()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
    let socket = running.socket().await;
    for sender in 0..4 {
        let socket = socket.clone();
        tokio::spawn(async move {
            for n in 0..EACH {
                let bytes = [bytes::Bytes::from(vec![sender, n as u8])];
                let arg = r#"{"_placeholder":true,"num":0}"#;
                assert!(socket.emit_binary("n", &[raw(&n.to_string()), raw(arg)], &bytes));
                tokio::task::yield_now().await;
            }
        });
    }
    let mut next = [0; 4];
    for _ in 0..4 * EACH {
        let text = client.receive().await;
        let attachment = client.attachment().await;
        let next = &mut next[usize::from(attachment[0])];
        assert_eq!(
            text,
            format!(r#"51-["n",{next},{{"_placeholder":true,"num":0}}]"#)
        );
        assert_eq!(attachment[1], *next as u8);
        *next += 1;
    }
    assert_eq!(next, [EACH; 4]);
}
