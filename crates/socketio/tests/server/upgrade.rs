//! The upgrade from polling to WebSocket, and everything that can interrupt it.

use mynah_socketio::{Config, Protocol, Transport};
use mynah_wire::ws::Opcode;

use crate::app::{Running, raw};
use crate::client::{Client, Got, Polling, Ws};
use crate::within;

const BOTH: [Protocol; 2] = [Protocol::V3, Protocol::V4];

async fn on_polling(protocol: Protocol, config: Config) -> (Running, Client) {
    let running = Running::start(config).await;
    let client = Client::connect(&running, protocol, Transport::Polling).await;
    (running, client)
}

/// Checks that the session still works on polling.
async fn still_polls(client: &mut Client) {
    client.send("2[\"echo\",\"polling\"]").await;
    assert_eq!(client.receive().await, "2[\"echo\",\"polling\"]");
}

#[tokio::test]
async fn the_pending_get_is_ended_with_a_noop() {
    for (protocol, noop) in [(Protocol::V3, "1:6"), (Protocol::V4, "6")] {
        let (_running, mut client) = on_polling(protocol, Config::default()).await;
        let polling = client.polling();
        let waiting = tokio::spawn(polling.get());
        let mut ws = Ws::join(polling).await;
        ws.text("2probe").await;
        assert_eq!(ws.next().await, Got::Text("3probe".into()));
        assert_eq!(within(waiting).await.unwrap().text(), noop);
        // Every later GET is ended too, until the client has upgraded.
        assert_eq!(within(polling.get()).await.text(), noop);
        ws.text("5").await;
        ws.text("42[\"echo\",1]").await;
        assert_eq!(ws.next().await, Got::Text("42[\"echo\",1]".into()));
    }
}

#[tokio::test]
async fn probe_and_upgrade_packet_may_be_sent_together() {
    for protocol in BOTH {
        let (mut running, mut client) = on_polling(protocol, Config::default()).await;
        let socket = running.socket().await;
        let waiting = tokio::spawn(client.polling().get());
        let mut ws = Ws::join(client.polling()).await;
        let frames: Vec<u8> = ["2probe", "5", "42[\"echo\",1]"]
            .iter()
            .flat_map(|text| mynah_wire::ws::masked_frame(Opcode::Text, text.as_bytes(), [3; 4]))
            .collect();
        ws.raw(&frames).await;
        assert_eq!(ws.next().await, Got::Text("3probe".into()));
        assert_eq!(ws.next().await, Got::Text("42[\"echo\",1]".into()));
        let reply = within(waiting).await.unwrap();
        assert!(reply.text().ends_with('6') || reply.status == 400, "{reply:?}");
        assert_eq!(socket.transport(), Transport::WebSocket);
    }
}

#[tokio::test]
async fn giving_up_a_get_after_the_switch_does_not_end_the_session() {
    for protocol in BOTH {
        let (mut running, mut client) = on_polling(protocol, Config::default()).await;
        client.upgrade(async |_| {}).await;
        client.send("2[\"note\",1]").await;
        running.expect("note 1").await;
        let (_running, mut client) = on_polling(protocol, Config::default()).await;
        let waiting = tokio::spawn(client.polling().get());
        let mut ws = Ws::join(client.polling()).await;
        ws.text("2probe").await;
        ws.text("5").await;
        waiting.abort();
        assert_eq!(ws.next().await, Got::Text("3probe".into()));
        ws.text("42[\"echo\",1]").await;
        // If the GET is given up before the switch, the session ends; after it, nothing happens.
        let next = ws.next().await;
        assert!(
            matches!(&next, Got::Text(text) if text == "42[\"echo\",1]") || matches!(next, Got::Close(_)),
            "{next:?}"
        );
    }
}

#[tokio::test]
async fn events_queued_during_the_upgrade_arrive_once() {
    for protocol in BOTH {
        let (mut running, mut client) = on_polling(protocol, Config::default()).await;
        let socket = running.socket().await;
        let emitting = socket.clone();
        client
            .upgrade(async |_| {
                for n in 0..5 {
                    emitting.emit("n", &[raw(&n.to_string())]);
                }
            })
            .await;
        for n in 0..5 {
            assert_eq!(client.receive().await, format!("2[\"n\",{n}]"));
        }
        assert_eq!(socket.transport(), Transport::WebSocket);
    }
}

#[tokio::test]
async fn a_candidate_without_a_probe_is_dropped() {
    for protocol in BOTH {
        for wrong in ["2", "2Probe", "42[\"note\",1]", "9", ""] {
            let (mut running, mut client) = on_polling(protocol, Config::default()).await;
            let mut ws = Ws::join(client.polling()).await;
            ws.text(wrong).await;
            assert_eq!(ws.next().await, Got::Close(None), "{wrong}");
            still_polls(&mut client).await;
            assert_eq!(running.told_so_far(), [""; 0]);
            // Another attempt may succeed.
            client.upgrade(async |_| {}).await;
            client.send("2[\"echo\",2]").await;
            assert_eq!(client.receive().await, "2[\"echo\",2]");
        }
    }
}

#[tokio::test]
async fn a_candidate_that_disappears_or_breaks_the_framing_is_dropped() {
    for probed in [false, true] {
        for vanish in [false, true] {
            let (_running, mut client) = on_polling(Protocol::V4, Config::default()).await;
            let mut ws = Ws::join(client.polling()).await;
            if probed {
                ws.text("2probe").await;
                assert_eq!(ws.next().await, Got::Text("3probe".into()));
            }
            if vanish {
                drop(ws);
            } else {
                ws.raw(&[0xff; 20]).await;
                assert!(matches!(ws.next().await, Got::Close(_)));
            }
            still_polls(&mut client).await;
        }
    }
}

#[tokio::test]
async fn an_unfinished_upgrade_times_out() {
    let config = Config {
        upgrade_timeout_ms: 30,
        ..Config::default()
    };
    for probed in [false, true] {
        let (_running, mut client) = on_polling(Protocol::V4, config.clone()).await;
        let mut ws = Ws::join(client.polling()).await;
        if probed {
            ws.text("2probe").await;
            assert_eq!(ws.next().await, Got::Text("3probe".into()));
        }
        assert_eq!(ws.next().await, Got::Close(None));
        still_polls(&mut client).await;
    }
}

#[tokio::test]
async fn a_second_websocket_is_accepted_and_closed() {
    for protocol in BOTH {
        let (_running, mut client) = on_polling(protocol, Config::default()).await;
        let copy = Polling {
            address: client.polling().address,
            protocol,
            sid: client.polling().sid.clone(),
        };
        let mut first = Ws::join(&copy).await;
        first.text("2probe").await;
        assert_eq!(first.next().await, Got::Text("3probe".into()));
        let mut second = Ws::join(&copy).await;
        assert_eq!(second.next().await, Got::Close(None));
        first.text("5").await;
        let mut third = Ws::join(&copy).await;
        assert_eq!(third.next().await, Got::Close(None));
        first.text("42[\"echo\",1]").await;
        assert_eq!(
            first.next().await,
            Got::Text("42[\"echo\",1]".into()),
            "undisturbed"
        );
    }
}

#[tokio::test]
async fn a_session_may_be_closed_during_the_upgrade() {
    let config = Config {
        goodbye_timeout_ms: 100,
        ..Config::default()
    };
    let (mut running, mut client) = on_polling(Protocol::V4, config).await;
    let mut ws = Ws::join(client.polling()).await;
    ws.text("2probe").await;
    assert_eq!(ws.next().await, Got::Text("3probe".into()));
    client.send("2[\"close now\"]").await;
    assert_eq!(ws.next().await, Got::Close(None));
    running.expect("/ disconnected: server close").await;
    running.until_empty().await;
}

#[tokio::test]
async fn a_disconnect_waits_for_the_upgrade() {
    for protocol in BOTH {
        for handler_waits in [false, true] {
            let (mut running, mut client) = on_polling(protocol, Config::default()).await;
            let socket = running.socket().await;
            let mut post = None;
            client
                .upgrade(async |polling| {
                    if handler_waits {
                        let body = polling.body(&["42[\"gate\",1]"]);
                        post = Some(tokio::spawn(polling.post(&body)));
                        running.expect("at the gate 1").await;
                    }
                    socket.disconnect_for_good();
                })
                .await;
            assert_eq!(client.receive().await, "1");
            client.is_closed().await;
            if let Some(post) = post {
                running.gate.add_permits(1);
                running.expect("through the gate 1").await;
                within(post).await.unwrap();
            }
            running
                .expect("/ disconnected: server namespace disconnect")
                .await;
            running.until_empty().await;
        }
    }
}

#[tokio::test]
async fn a_disconnect_is_sent_on_polling_if_the_upgrade_fails() {
    let (mut running, mut client) = on_polling(Protocol::V4, Config::default()).await;
    let socket = running.socket().await;
    let mut ws = Ws::join(client.polling()).await;
    ws.text("2probe").await;
    assert_eq!(ws.next().await, Got::Text("3probe".into()));
    socket.disconnect_for_good();
    drop(ws);
    assert_eq!(client.receive().await, "1");
    client.is_closed().await;
    running
        .expect("/ disconnected: server namespace disconnect")
        .await;
}
