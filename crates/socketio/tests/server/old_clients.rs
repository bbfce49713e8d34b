//! Old clients, and clients in other languages: what they do differently from today's JavaScript client, and
//! what the server still has to support.

use mynah_socketio::{Config, Protocol, Transport};
use mynah_wire::engine::PacketType;

use crate::app::{Running, raw};
use crate::client::{ALL, Client, Got, Reply, Ws, packets, request, request_with};
use crate::within;

const OCTETS: Option<&str> = Some("application/octet-stream");
/// `t` of a client before 1.4, of a later one, and of one that sends none.
const TIMESTAMPS: [(&str, bool); 3] = [("t=1448884800000-0", true), ("t=LZywzeV", false), ("", false)];

fn is_octets(reply: &Reply) -> bool {
    reply.header("content-type").as_deref() == OCTETS
}

async fn upgrade(running: &Running, target: &str, protocol: Protocol) -> Ws {
    Ws::upgrade(running.address, target, protocol).await.unwrap()
}

#[tokio::test]
async fn browsers_before_1_4_get_every_poll_as_octets() {
    let mut running = Running::start(Config::default()).await;
    for (timestamp, old) in TIMESTAMPS {
        for (base64, octets) in [("", old), ("b64=1", false)] {
            let query = format!("EIO=3&transport=polling&{timestamp}&{base64}");
            let open = request(running.address, "GET", &format!("/socket.io/?{query}")).await;
            assert_eq!(is_octets(&open), octets, "{query}");
            assert_eq!(packets(Protocol::V3, &open)[0].kind, PacketType::Open);
            let socket = running.socket().await;
            socket.emit("n", &[raw("\"\u{4f60}\u{1f600}\"")]);
            // The session remembers it: later requests do not repeat it.
            let target = format!("/socket.io/?EIO=3&transport=polling&sid={}", socket.id());
            let reply = request(running.address, "GET", &target).await;
            assert_eq!(is_octets(&reply), octets, "{query}");
            if octets {
                let event = br#"42["n","\u4f60\ud83d\ude00"]"#;
                let body = [&[0, 2, 255][..], b"40", &[0, 2, 8, 255], event].concat();
                assert_eq!(reply.body, body);
            }
        }
    }
}

#[tokio::test]
async fn eio_2_is_served_as_3_if_configured() {
    let config = Config {
        eio2_as_eio3: true,
        ..Config::default()
    };
    let mut running = Running::start(config).await;
    for query in ["transport=polling", "EIO=2&transport=polling&b64=true"] {
        let open = request(running.address, "GET", &format!("/socket.io/?{query}")).await;
        assert_eq!(packets(Protocol::V3, &open)[0].kind, PacketType::Open, "{query}");
        let socket = running.socket().await;
        assert_eq!(socket.protocol(), Protocol::V3);
        let target = format!("/socket.io/?{query}&sid={}", socket.id());
        assert_eq!(request(running.address, "GET", &target).await.text(), "2:40");
        let target = target.replace("polling", "websocket");
        let mut ws = upgrade(&running, &target, Protocol::V3).await;
        ws.text("2probe").await;
        assert_eq!(ws.next().await, Got::Text("3probe".into()));
        ws.text("5").await;
        ws.text("42[\"echo\",1]").await;
        assert_eq!(ws.next().await, Got::Text("42[\"echo\",1]".into()));
        let mut ws = upgrade(&running, "/socket.io/?EIO=2&transport=websocket", Protocol::V3).await;
        assert!(matches!(ws.next().await, Got::Text(open) if open.starts_with("0{")));
        running.socket().await;
    }
    // Over a WebSocket, socket.io-client 1.0 encodes text twice, and decodes twice what it receives. Other
    // clients that say 2, such as cocos2d-x, do neither.
    for (sent, seen) in [
        ("42[\"echo\",\"\u{e5}\u{b0}\u{8f}\"]", r#"42["echo","\u5c0f"]"#),
        ("42[\"echo\",\"\u{5c0f}\"]", r#"42["echo","\u5c0f"]"#),
    ] {
        let target = "/socket.io/?EIO=2&transport=websocket";
        let mut ws = upgrade(&running, target, Protocol::V3).await;
        assert!(matches!(ws.next().await, Got::Text(open) if open.starts_with("0{")));
        assert_eq!(ws.next().await, Got::Text("40".into()));
        ws.text(sent).await;
        assert_eq!(ws.next().await, Got::Text(seen.into()));
    }
    let other = request(running.address, "GET", "/socket.io/?EIO=1&transport=polling").await;
    assert_eq!(other.status, 400);
}

#[tokio::test]
async fn an_upgrade_packet_needs_no_probe() {
    for protocol in [Protocol::V3, Protocol::V4] {
        let mut running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, protocol, Transport::Polling).await;
        let socket = running.socket().await;
        let waiting = tokio::spawn(client.polling().get());
        let mut ws = Ws::join(client.polling()).await;
        ws.text("5").await;
        ws.text("42[\"echo\",1]").await;
        assert_eq!(ws.next().await, Got::Text("42[\"echo\",1]".into()));
        let reply = within(waiting).await.unwrap();
        assert!(reply.text().ends_with('6') || reply.status == 400, "{reply:?}");
        assert_eq!(socket.transport(), Transport::WebSocket);
    }
}

#[tokio::test]
async fn paths_of_proxies_and_old_clients_are_served() {
    let running = Running::start(Config::default()).await;
    for (path, ours) in [
        ("/socket.io/", true),
        ("/socket.io", true),
        ("/socket.io//", true),
        ("//socket.io/", true),
        ("/socket.io/1/", true),
        ("/socket.io/1/websocket/", true),
        ("/socket.io/socket.io/", true),
        ("/socket.iox", false),
        ("/socket", false),
        ("/x/socket.io/", false),
        ("/", false),
        ("//", false),
        ("", false),
    ] {
        assert_eq!(running.server.serves(path), ours, "{path}");
    }
    let open = request(running.address, "GET", "//socket.io/1/?EIO=4&transport=polling").await;
    assert_eq!(packets(Protocol::V4, &open)[0].kind, PacketType::Open);
}

#[tokio::test]
async fn jsonp_works_with_eio_4() {
    let mut running = Running::start(Config::default()).await;
    let open = request(running.address, "GET", "/socket.io/?EIO=4&transport=polling&j=0").await;
    assert!(open.text().starts_with(r#"___eio[0]("0{\"sid\":\""#), "{open:?}");
    let sid = open.text().split(r#"\""#).nth(3).unwrap().to_owned();
    let target = format!("/socket.io/?EIO=4&transport=polling&sid={sid}&j=1");
    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    // The packets 40 and 42["note","é\n"], in which \n is a JSON escape, with a separator between them.
    let body = b"d=40%1E42%5B%22note%22%2C%22%C3%A9%5C%5Cn%22%5D";
    let reply = request_with(running.address, "POST", &target, &form, body).await;
    assert_eq!((reply.status, reply.text()), (200, "ok"));
    running.expect("note \"\u{e9}\\n\"").await;
    let reply = request(running.address, "GET", &target).await;
    assert!(
        reply.text().starts_with(r#"___eio[1]("40{\"sid\":\""#),
        "{reply:?}"
    );
    let content_type = reply.header("content-type");
    assert_eq!(content_type.as_deref(), Some("text/javascript; charset=UTF-8"));
}

#[tokio::test]
async fn base64_may_have_line_breaks() {
    let mut running = Running::start(Config::default()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::Polling).await;
    let event = r#"451-["echo",{"_placeholder":true,"num":0}]"#;
    let reply = client
        .polling()
        .post(&format!("{event}\u{1e}bAQID\nBA==\n"))
        .await;
    assert_eq!((reply.status, reply.text()), (200, "ok"));
    client.receive().await;
    assert_eq!(client.attachment().await, [1, 2, 3, 4]);
    // The session is still open.
    client.send("2[\"note\",1]").await;
    running.expect("note 1").await;
}

#[tokio::test]
async fn half_of_a_surrogate_pair_is_replaced() {
    let mut running = Running::start(Config::default()).await;
    let mut client = Client::connect(&running, Protocol::V3, Transport::Polling).await;
    // A client 1.x itself encodes as UTF-8, even a character that was cut in two. The resulting bytes are
    // sent as text.
    let twice = |event: &[u8]| {
        let chars: String = event.iter().copied().map(char::from).collect();
        format!("{}:{chars}", event.len())
    };
    for (event, seen) in [
        (
            &b"42[\"note\",\"\xe4\xbd\xa0 \xed\xa0\xbd\"]"[..],
            "\u{4f60} \u{fffd}",
        ),
        (b"42[\"note\",\"\xe4\xbd\xa0\"]", "\u{4f60}"),
        (b"42[\"note\",\"\\ud83d\"]", "\\ud83d"),
        (b"42[\"note\",\"\xf0\x9f\x98\x80\"]", "\u{1f600}"),
    ] {
        let reply = client.polling().post(&twice(event)).await;
        assert_eq!(reply.status, 200, "{seen}");
        running.expect(&format!("note \"{seen}\"")).await;
    }
    let target = client.polling().target("polling");
    let octets = [("Content-Type", "application/octet-stream")];
    let body = [&[0, 1, 6, 255][..], b"42[\"note\",\"\xed\xb8\x80\"]"].concat();
    let reply = request_with(running.address, "POST", &target, &octets, &body).await;
    assert_eq!(reply.status, 200);
    running.expect("note \"\u{fffd}\"").await;
}

#[tokio::test]
async fn an_empty_sid_asks_for_a_session() {
    let running = Running::start(Config::default()).await;
    for query in ["EIO=4&transport=polling&sid=", "EIO=4&transport=polling&sid"] {
        let open = request(running.address, "GET", &format!("/socket.io/?{query}")).await;
        assert_eq!(packets(Protocol::V4, &open)[0].kind, PacketType::Open, "{query}");
    }
    let target = "/socket.io/?EIO=4&transport=websocket&sid=";
    let mut ws = upgrade(&running, target, Protocol::V4).await;
    assert!(matches!(ws.next().await, Got::Text(open) if open.starts_with("0{")));
    assert_eq!(running.server.sessions(), 3);
}

#[tokio::test]
async fn packets_without_a_payload_are_accepted() {
    for (protocol, transport) in ALL {
        let mut running = Running::start(Config::default()).await;
        let mut client = Client::connect(&running, protocol, transport).await;
        for event in ["2", "27", "50-"] {
            client.send(event).await;
        }
        client.send("2[\"ask\"]").await;
        assert_eq!(client.receive().await, "20[\"question\"]");
        client.send("30").await;
        running.expect("answer  []").await;
        client.send("2[\"note\",1]").await;
        running.expect("note 1").await;
    }
}

#[tokio::test]
async fn a_query_may_hold_quotes_and_angle_brackets() {
    let mut running = Running::start(Config::default()).await;
    let query = "EIO=3&transport=polling&user={\"name\":\"<a>\"}";
    let open = request(running.address, "GET", &format!("/socket.io/?{query}")).await;
    assert_eq!(packets(Protocol::V3, &open)[0].kind, PacketType::Open);
    let socket = running.socket().await;
    let target = format!("/socket.io/?{query}&sid={}", socket.id());
    assert_eq!(request(running.address, "GET", &target).await.text(), "2:40");
    let target = target.replace("polling", "websocket");
    let mut ws = upgrade(&running, &target, Protocol::V3).await;
    ws.text("2probe").await;
    assert_eq!(ws.next().await, Got::Text("3probe".into()));
    ws.text("5").await;
    ws.text("42[\"echo\",1]").await;
    assert_eq!(ws.next().await, Got::Text("42[\"echo\",1]".into()));
}
