//! The polling transport: forms of bodies, compression, cross-origin headers, cookies.

use std::io::Read;

use mynah_front::{Cors, Origins};
use mynah_socketio::{Config, Protocol, Transport};

use crate::app::{Running, raw};
use crate::client::{Client, Reply, request, request_with};

const TARGET: &str = "/socket.io/?EIO=4&transport=polling";

#[tokio::test]
async fn responses_must_not_be_cached() {
    let mut running = Running::start(Config::default()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::Polling).await;
    running.socket().await.emit("x", &[]);
    let polling = client.polling();
    for (reply, content_type) in [
        (polling.get().await, "text/plain; charset=UTF-8"),
        (polling.post("42[\"note\"]").await, "text/html"),
        (
            request(running.address, "GET", "/socket.io/").await,
            "application/json",
        ),
    ] {
        assert_eq!(reply.header("content-type").as_deref(), Some(content_type));
        assert_eq!(reply.header("cache-control").as_deref(), Some("no-store"));
    }
}

#[tokio::test]
async fn events_emitted_without_a_pending_get_are_sent_with_the_next() {
    let mut running = Running::start(Config::default()).await;
    let mut client = Client::connect(&running, Protocol::V4, Transport::Polling).await;
    let socket = running.socket().await;
    for n in 0..3 {
        socket.emit("n", &[raw(&n.to_string())]);
    }
    let reply = client.polling().get().await;
    assert_eq!(reply.text(), "42[\"n\",0]\x1e42[\"n\",1]\x1e42[\"n\",2]");
}

#[tokio::test]
async fn eio3_clients_get_ascii_and_binary_if_they_can_read_it() {
    let mut running = Running::start(Config::default()).await;
    for query in ["", "b64=1"] {
        let mut client = Client::connect_with(&running, Protocol::V3, Transport::Polling, query).await;
        let socket = running.socket().await;
        socket.emit("n", &[raw("\"\u{4f60}\u{1f600}\"")]);
        let reply = client.polling().get().await;
        assert_eq!(reply.text(), r#"28:42["n","\u4f60\ud83d\ude00"]"#);
        socket.emit_binary(
            "b",
            &[raw(r#"{"_placeholder":true,"num":0}"#)],
            &[bytes::Bytes::from_static(&[1, 255])],
        );
        let reply = client.polling().get().await;
        let head = r#"451-["b",{"_placeholder":true,"num":0}]"#;
        if query.is_empty() {
            assert_eq!(
                reply.header("content-type").as_deref(),
                Some("application/octet-stream")
            );
            let body = [&[0, 3, 9, 255], head.as_bytes(), &[1, 3, 255, 4, 1, 255]].concat();
            assert_eq!(reply.body, body);
        } else {
            assert_eq!(reply.text(), format!("39:{head}6:b4Af8="));
        }
    }
}

#[tokio::test]
async fn jsonp_works_in_both_directions() {
    let mut running = Running::start(Config::default()).await;
    let target = "/socket.io/?EIO=3&transport=polling&j=3);alert(1";
    let reply = request(running.address, "GET", target).await;
    assert_eq!(
        reply.header("content-type").as_deref(),
        Some("text/javascript; charset=UTF-8")
    );
    let text = reply.text();
    assert!(
        text.starts_with("___eio[31](\"") && text.ends_with("\");"),
        "{text}"
    );
    let socket = running.socket().await;
    let target = format!("/socket.io/?EIO=3&transport=polling&j=0&sid={}", socket.id());
    let reply = request(running.address, "GET", &target).await;
    assert_eq!(reply.text(), r#"___eio[0]("2:40");"#);
    socket.emit("n", &[raw("\"\u{2028}\"")]);
    let reply = request(running.address, "GET", &target).await;
    assert_eq!(reply.text(), r#"___eio[0]("16:42[\"n\",\"\\u2028\"]");"#);

    let form = [("Content-Type", "application/x-www-form-urlencoded")];
    // The form of 42["note","a\nb"], in which \n is a JSON escape.
    let body = br#"d=17%3A42%5B%22note%22%2C%22a%5C%5Cnb%22%5D"#;
    let reply = request_with(running.address, "POST", &target, &form, body).await;
    assert_eq!((reply.status, reply.text()), (200, "ok"));
    running.expect(r#"note "a\nb""#).await;
}

/// A response of `len` bytes to a GET that accepts `accept`.
async fn compressed(running: &mut Running, accept: &str, len: usize) -> Reply {
    let mut client = Client::connect(running, Protocol::V4, Transport::Polling).await;
    let socket = running.socket().await;
    let filler = "x".repeat(len - "42[\"n\",\"\"]".len());
    socket.emit("n", &[raw(&format!("\"{filler}\""))]);
    let target = client.polling().target("polling");
    let headers = [("Accept-Encoding", accept)];
    request_with(running.address, "GET", &target, &headers, b"").await
}

#[tokio::test]
async fn long_responses_are_compressed() {
    let mut running = Running::start(Config::default()).await;
    for (accept, len, encoding) in [
        ("gzip, deflate", 1_024, Some("gzip")),
        ("deflate", 1_024, Some("deflate")),
        ("gzip;q=0, br", 1_024, None),
        ("gzip", 1_023, None),
    ] {
        let reply = compressed(&mut running, accept, len).await;
        assert_eq!(
            reply.header("content-encoding").as_deref(),
            encoding,
            "{accept} {len}"
        );
        let mut plain = Vec::new();
        match encoding {
            Some("gzip") => flate2::read::GzDecoder::new(&*reply.body).read_to_end(&mut plain),
            Some(_) => flate2::read::ZlibDecoder::new(&*reply.body).read_to_end(&mut plain),
            None => reply.body.as_slice().read_to_end(&mut plain),
        }
        .unwrap();
        assert_eq!(plain.len(), len);
        assert!(plain.starts_with(b"42[\"n\",\"xxx"));
    }
    let config = Config {
        http_compression_bytes: None,
        ..Config::default()
    };
    let mut running = Running::start(config).await;
    let reply = compressed(&mut running, "gzip", 10_000).await;
    assert_eq!(reply.header("content-encoding"), None);
}

async fn cors(cors: Cors, method: &str, origin: Option<&str>) -> (Option<String>, Option<String>) {
    let running = Running::start(Config {
        cors,
        ..Config::default()
    })
    .await;
    let mut headers = vec![("Access-Control-Request-Headers", "x-one, x-two")];
    headers.extend(origin.map(|origin| ("Origin", origin)));
    let mut answers = Vec::new();
    // On errors too.
    for target in [TARGET, "/socket.io/?transport=x"] {
        let reply = request_with(running.address, method, target, &headers, b"").await;
        if method == "OPTIONS" {
            assert_eq!(reply.status, 204);
            let allowed = reply.header("access-control-allow-headers");
            assert_eq!(allowed.as_deref(), Some("x-one, x-two"));
            let methods = reply.header("access-control-allow-methods").unwrap();
            assert!(methods.contains("GET") && methods.contains("POST"));
        }
        answers.push((
            reply.header("access-control-allow-origin"),
            reply.header("access-control-allow-credentials"),
        ));
    }
    assert_eq!(answers[0], answers[1]);
    answers.remove(0)
}

#[tokio::test]
async fn pages_of_other_origins_get_cors_headers() {
    let (page, other) = (Some("https://a.example"), Some("https://b.example"));
    let reflected = (page.map(str::to_owned), Some("true".to_owned()));
    let listed = Cors::Origins(Origins::parse(&["https://a.example"]).unwrap());
    for method in ["GET", "OPTIONS"] {
        assert_eq!(cors(Cors::None, method, page).await, (None, None));
        assert_eq!(cors(Cors::Any, method, page).await, (Some("*".into()), None));
        assert_eq!(cors(Cors::Reflect, method, page).await, reflected);
        assert_eq!(cors(Cors::Reflect, method, None).await, (None, None));
        assert_eq!(cors(listed.clone(), method, page).await, reflected);
        assert_eq!(cors(listed.clone(), method, other).await, (None, None));
    }
}

#[tokio::test]
async fn a_cookie_is_set_if_configured() {
    let running = Running::start(Config::default()).await;
    let reply = request(running.address, "GET", TARGET).await;
    assert_eq!(reply.header("set-cookie"), None);
    let running = Running::start(Config {
        cookie: Some("io".into()),
        ..Config::default()
    })
    .await;
    let reply = request(running.address, "GET", TARGET).await;
    let text = reply.text();
    let at = text.find("\"sid\":\"").unwrap() + 7;
    assert_eq!(
        reply.header("set-cookie").unwrap(),
        format!("io={}; Path=/; HttpOnly; SameSite=Lax", &text[at..at + 20])
    );
}
