//! Packets that violate the protocol. The server answers with an error where the protocol has one, and closes
//! the connection where the protocol requires it. Other connections are not affected.

use mynah_socketio::{Config, Protocol, Transport};

use crate::app::Running;
use crate::client::{ALL, Client, request_with};

/// Sends packets and checks that the session is closed because of them, while another session continues.
async fn closes_the_session(packets: &[&str]) {
    for (protocol, transport) in ALL {
        let mut running = Running::start(Config::default()).await;
        let mut other = Client::connect(&running, protocol, transport).await;
        let mut client = Client::connect(&running, protocol, transport).await;
        match transport {
            Transport::Polling => {
                let packets: Vec<String> = packets.iter().map(|packet| format!("4{packet}")).collect();
                let packets: Vec<&str> = packets.iter().map(String::as_str).collect();
                let body = client.polling().body(&packets);
                assert_eq!(client.polling().post(&body).await.status, 400);
            }
            Transport::WebSocket => {
                for packet in packets {
                    client.send(packet).await;
                }
            }
        }
        client.is_closed().await;
        running.expect("/ disconnected: parse error").await;
        other.send("2[\"echo\",1]").await;
        assert_eq!(other.receive().await, "2[\"echo\",1]");
        assert_eq!(running.told_so_far(), [""; 0]);
    }
}

#[tokio::test]
async fn eleven_attachments_close_the_session() {
    let placeholders: Vec<String> = (0..11)
        .map(|n| format!(r#"{{"_placeholder":true,"num":{n}}}"#))
        .collect();
    closes_the_session(&[&format!("511-[\"echo\",{}]", placeholders.join(","))]).await;
}

#[tokio::test]
async fn placeholders_without_attachments_close_the_session() {
    for num in ["1", "-1", "0.5", "\"0\"", "null", "1e9"] {
        closes_the_session(&[&format!(r#"51-["echo",{{"_placeholder":true,"num":{num}}}]"#)]).await;
    }
}

#[tokio::test]
async fn text_instead_of_an_attachment_closes_the_session() {
    closes_the_session(&[r#"51-["echo",{"_placeholder":true,"num":0}]"#, "2[\"echo\"]"]).await;
}

#[tokio::test]
async fn an_unannounced_attachment_closes_the_session() {
    for (protocol, transport) in [
        (Protocol::V3, Transport::WebSocket),
        (Protocol::V4, Transport::WebSocket),
    ] {
        let mut running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, protocol, transport).await;
        client.attach(b"out of nowhere").await;
        client.is_closed().await;
        running.expect("/ disconnected: parse error").await;
    }
}

#[tokio::test]
async fn packets_for_unconnected_namespaces_close_the_session() {
    closes_the_session(&["2/a,[\"echo\"]"]).await;
    closes_the_session(&["1/a,"]).await;
    closes_the_session(&["3/a,0[]"]).await;
}

#[tokio::test]
async fn a_second_connect_is_an_error_since_eio4() {
    let mut running = Running::start(Config::default()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
    client.send("0").await;
    client.is_closed().await;
    running.expect("/ disconnected: parse error").await;
    let mut client = Client::connect(&running, Protocol::V3, Transport::WebSocket).await;
    client.send("0").await;
    client.send("2[\"echo\"]").await;
    assert_eq!(client.receive().await, "2[\"echo\"]");
}

#[tokio::test]
async fn refusals_leave_the_session_open() {
    for (protocol, transport) in ALL {
        let running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, protocol, transport).await;
        client.send("0/nowhere").await;
        let refusal = match protocol {
            Protocol::V3 => r#"4/nowhere,"Invalid namespace""#,
            Protocol::V4 => r#"4/nowhere,{"message":"Invalid namespace"}"#,
        };
        assert_eq!(client.receive().await, refusal);
        client.send("0/denied").await;
        let refusal = match protocol {
            Protocol::V3 => r#"4/denied,{"code":7}"#,
            Protocol::V4 => r#"4/denied,{"message":"nope","data":{"code":7}}"#,
        };
        assert_eq!(client.receive().await, refusal);
        client.send("2[\"echo\"]").await;
        assert_eq!(client.receive().await, "2[\"echo\"]");
    }
}

#[tokio::test]
async fn the_auth_of_a_client_reaches_the_application() {
    let mut running = Running::start(Config::default()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::WebSocket).await;
    client.send("0/a,{\"token\":[1]}").await;
    assert!(client.receive().await.starts_with("0/a,{\"sid\":\""));
    running.expect("auth {\"token\":[1]}").await;
    let mut client = Client::connect(&running, Protocol::V3, Transport::Polling).await;
    client.send("0/a?token=%E4%BD%A0&x=").await;
    assert_eq!(client.receive().await, "0/a,");
    running.expect("auth {\"token\":\"\u{4f60}\",\"x\":\"\"}").await;
}

#[tokio::test]
async fn ten_thousand_levels_of_nesting_are_handled() {
    for (protocol, transport) in ALL {
        let mut running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, protocol, transport).await;
        let deep = format!("{}{}", "[".repeat(10_000), "]".repeat(10_000));
        client.send(&format!("2[\"size\",{deep}]")).await;
        running.expect("size 20000").await;
        client.send(&format!("2[\"echo\",{deep}]")).await;
        assert_eq!(client.receive().await, format!("2[\"echo\",{deep}]"));
    }
}

#[tokio::test]
async fn a_body_over_the_limit_is_refused() {
    for protocol in [Protocol::V3, Protocol::V4] {
        let mut running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, protocol, Transport::Polling).await;
        for size in [1_000_001, 50_000_000] {
            let body = "4".repeat(size);
            assert_eq!(client.polling().post(&body).await.status, 413, "{size}");
        }
        // The session stays open.
        client.send("2[\"note\",1]").await;
        running.expect("note 1").await;
    }
}

#[tokio::test]
async fn invalid_bodies_close_the_session() {
    for (protocol, body) in [
        (Protocol::V4, &b""[..]),
        (Protocol::V4, b"9"),
        (Protocol::V4, b"4\xff"),
        (Protocol::V4, b"bx"),
        (Protocol::V4, b"42[\"note\",1]\x1e\x1e"),
        (Protocol::V3, b"2[\"note\",1]"),
        (Protocol::V3, b"99:4"),
        (Protocol::V3, b"1:\xff"),
    ] {
        let mut running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, protocol, Transport::Polling).await;
        let target = client.polling().target("polling");
        let plain = [("Content-Type", "text/plain")];
        let reply = request_with(running.address, "POST", &target, &plain, body).await;
        assert_eq!(reply.status, 400, "{body:?}");
        running.expect("/ disconnected: parse error").await;
        running.until_empty().await;
    }
}

#[tokio::test]
async fn octets_close_an_eio4_session() {
    let mut running = Running::start(Config::default()).await;
    let octets = [("Content-Type", "application/octet-stream")];
    let mut client = Client::connect(&running, Protocol::V4, Transport::Polling).await;
    let target = client.polling().target("polling");
    let reply = request_with(running.address, "POST", &target, &octets, b"4x").await;
    assert_eq!(reply.status, 400);
    running.expect("/ disconnected: transport error").await;

    let mut client = Client::connect(&running, Protocol::V3, Transport::Polling).await;
    let target = client.polling().target("polling");
    let event = b"42[\"note\",\"\xe4\xbd\xa0\"]";
    let body = [&[0, 1, 6, 255][..], event].concat();
    let reply = request_with(running.address, "POST", &target, &octets, &body).await;
    assert_eq!((reply.status, reply.text()), (200, "ok"));
    running.expect("note \"\u{4f60}\"").await;
}

#[tokio::test]
async fn a_heartbeat_in_the_wrong_direction_closes_the_session() {
    for transport in [Transport::Polling, Transport::WebSocket] {
        for (protocol, packet) in [(Protocol::V4, "2"), (Protocol::V3, "3")] {
            let mut running = Running::start(Config::default()).await;
            let mut client = Client::connect(&running, protocol, transport).await;
            match transport {
                Transport::WebSocket => client.ws().text(packet).await,
                Transport::Polling => {
                    let body = client.polling().body(&[packet]);
                    client.polling().post(&body).await;
                }
            }
            client.is_closed().await;
            running.expect("/ disconnected: transport error").await;
        }
    }
}
