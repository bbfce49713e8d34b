//! Web pages of other origins are refused if that is configured.

use mynah_front::{Cors, Origins, Refusal};
use mynah_socketio::{Config, Protocol};
use tokio::net::TcpStream;

use crate::app::Running;
use crate::client::{Polling, Reply, Ws, request_with};

async fn start(origins: &[&str]) -> Running {
    let cors = match origins {
        [] => Cors::None,
        ["*"] => Cors::Reflect,
        list => Cors::Origins(Origins::parse(list).unwrap()),
    };
    Running::start(Config {
        cors,
        refuse_origins: true,
        ..Config::default()
    })
    .await
}

async fn websocket(running: &Running, target: &str, origin: &str) -> Result<Ws, Reply> {
    let stream = TcpStream::connect(running.address).await.unwrap();
    Ws::over(stream, target, Protocol::V4, &format!("Origin: {origin}\r\n")).await
}

const POLLING: &str = "/socket.io/?EIO=4&transport=polling";
const WEBSOCKET: &str = "/socket.io/?EIO=4&transport=websocket";

#[tokio::test]
async fn pages_of_other_origins_are_refused_on_both_transports() {
    for (list, allowed, refused) in [
        (
            &["https://a.example", "https://*.b.example"][..],
            &["https://a.example", "https://x.b.example", "http://test"][..],
            &["https://evil.example", "null"][..],
        ),
        (&[], &["http://test", "https://test"], &["https://a.example"]),
        (&["*"], &["https://evil.example", "null"], &[]),
    ] {
        let running = start(list).await;
        for origin in allowed {
            let reply = request_with(running.address, "GET", POLLING, &[("Origin", origin)], b"").await;
            assert_eq!(reply.status, 200, "{list:?} {origin}");
            assert!(
                websocket(&running, WEBSOCKET, origin).await.is_ok(),
                "{list:?} {origin}"
            );
        }
        let sessions = running.server.sessions();
        for origin in refused {
            let reply = request_with(running.address, "GET", POLLING, &[("Origin", origin)], b"").await;
            let Err(upgrade) = websocket(&running, WEBSOCKET, origin).await else {
                panic!("{origin} got a WebSocket");
            };
            for reply in [reply, upgrade] {
                assert_eq!(reply.status, 403, "{list:?} {origin}");
                assert!(
                    reply.text().contains("Pages of this origin may not connect"),
                    "{}",
                    reply.text()
                );
                assert_eq!(reply.header("access-control-allow-origin"), None);
            }
        }
        assert!(running.server.sessions() <= sessions);
        assert_eq!(
            running.admission.refused(Refusal::Origin),
            2 * refused.len() as u64
        );
        Ws::open(running.address, Protocol::V4, "").await;
    }
}

/// The origin is checked for each request, even if it has a valid sid.
#[tokio::test]
async fn the_origin_of_every_request_is_checked() {
    let running = start(&["https://a.example"]).await;
    let polling = Polling::open(running.address, Protocol::V4, "").await;
    let evil = [("Origin", "https://evil.example"), ("Content-Type", "text/plain")];
    for (method, body) in [("GET", ""), ("POST", "40")] {
        let target = polling.target("polling");
        let reply = request_with(running.address, method, &target, &evil, body.as_bytes()).await;
        assert_eq!(reply.status, 403, "{method}");
    }
    let upgrade = websocket(&running, &polling.target("websocket"), "https://evil.example").await;
    assert!(upgrade.is_err_and(|reply| reply.status == 403));
    // The session's own requests still work.
    assert_eq!(polling.post("40").await.status, 200);
    assert_eq!(polling.get().await.status, 200);
}

#[tokio::test]
async fn preflights_are_still_answered() {
    let running = start(&["https://a.example"]).await;
    for (origin, allowed) in [("https://a.example", true), ("https://evil.example", false)] {
        let headers = [("Origin", origin), ("Access-Control-Request-Method", "POST")];
        let reply = request_with(running.address, "OPTIONS", POLLING, &headers, b"").await;
        assert_eq!(reply.status, 204);
        assert_eq!(
            reply.header("access-control-allow-origin").is_some(),
            allowed,
            "{origin}"
        );
    }
}

/// By default nobody is refused, as in Socket.IO.
#[tokio::test]
async fn no_origin_is_refused_by_default() {
    let running = Running::start(Config::default()).await;
    assert!(
        websocket(&running, WEBSOCKET, "https://evil.example")
            .await
            .is_ok()
    );
}
