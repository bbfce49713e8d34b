//! The backend's responses, and the order in which registers are asked about.

use std::sync::Arc;

use bytes::Bytes;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, mpsc};

use crate::auth::backend::{Backend, Question, agreed, refused};
use crate::auth::testing::NOW;
use crate::claims::Claims;
use crate::clock::pretended::pretend;
use crate::config::{AuthWebhook, Config};
use crate::ids::Uid;
use crate::reject::{Code, Reject};

fn answered(body: &'static str, asked: Option<&str>) -> Option<Result<Claims, Reject>> {
    let _pretence = pretend(|| NOW);
    let asked = asked.map(|uid| Uid::new(uid).unwrap());
    let answer = agreed(&Bytes::from_static(body.as_bytes()), asked.as_ref()).ok();
    answer.map(|decided| decided.map(|claims| *claims))
}

#[test]
fn missing_fields_are_taken_from_the_register() {
    for body in ["", " \n", "{}", r#"{"uid":null,"kinds":null,"x":1}"#] {
        let claims = answered(body, Some("alice")).unwrap().unwrap();
        assert_eq!(
            (claims.sub.as_str(), claims.exp),
            ("alice", Claims::NEVER),
            "{body}"
        );
        assert!(claims.allow(3) && claims.device.is_none() && claims.platform.is_none());
        assert_eq!(
            answered(body, None).unwrap().unwrap_err().code,
            Code::Malformed,
            "{body}"
        );
    }
}

#[test]
fn the_fields_of_the_response_are_used() {
    let body =
        r#"{"uid":7,"deviceid":"d","platform":"ios","kinds":[3],"expires_at":1790000060000,"ttl_ms":30000}"#;
    let claims = answered(body, Some("alice")).unwrap().unwrap();
    assert_eq!(claims.sub.as_str(), "7");
    assert_eq!(claims.device.as_ref().unwrap().as_str(), "d");
    assert_eq!(claims.platform.as_deref(), Some("ios"));
    assert!(claims.allow(3) && !claims.allow(7));
    assert_eq!(claims.left(NOW, NOW), 30_000, "the earlier end counts");
    // The response ends 60 s from now by the calendar, and 30 s from now by the steady clock.
    assert_eq!(
        (claims.left(NOW - 3_600_000, NOW), claims.left(NOW + 60_000, NOW)),
        (30_000, 0)
    );
    let over = answered(r#"{"expires_at":1790000000000}"#, Some("alice")).unwrap();
    assert_eq!(over.unwrap_err().code, Code::Unauthenticated);
}

#[test]
fn an_invalid_response_is_a_failure() {
    for body in [
        "ok",
        "null",
        "[]",
        "true",
        r#"{"uid":""}"#,
        r#"{"uid":1.5}"#,
        r#"{"uid":{}}"#,
        r#"{"deviceid":7}"#,
        r#"{"deviceid":""}"#,
        r#"{"platform":"\u0000"}"#,
        r#"{"kinds":"3"}"#,
        r#"{"kinds":[-1]}"#,
        r#"{"ttl_ms":"1h"}"#,
        r#"{"expires_at":-1}"#,
        r#"{"uid":"a","uid":"b"}"#,
    ] {
        assert!(answered(body, Some("alice")).is_none(), "{body}");
    }
}

#[test]
fn a_reason_is_passed_on_without_control_characters_and_shortened() {
    let said = |body: &str| refused(Code::Forbidden, Some(Bytes::from(body.to_owned()))).error;
    assert_eq!(
        said(r#"{"error":"Your account is closed."}"#),
        "Your account is closed."
    );
    assert_eq!(said(r#"{"detail":"Pay first.\n"}"#), "Pay first.");
    for silent in ["", "no", "{}", r#"{"error":7}"#, r#"{"error":""}"#, "[]"] {
        assert!(said(silent).contains("refused the register"), "{silent}");
    }
    let long = said(&format!(r#"{{"error":"{}"}}"#, "ж".repeat(1_000)));
    assert!(long.len() <= 300 && long.starts_with('ж'));
    assert!(
        refused(Code::Unauthenticated, None)
            .error
            .contains("refused the register")
    );
}

/// A backend that answers one register after another, one for each permit, and reports whose register it was.
async fn slow_backend(gate: Arc<Semaphore>) -> (String, mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let (came, order) = mpsc::channel(100);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let (came, gate) = (came.clone(), gate.clone());
            tokio::spawn(async move {
                let mut text = String::new();
                while !text.ends_with('}') {
                    text.push(char::from(stream.read_u8().await.unwrap()));
                }
                let (_, sid) = text.split_once(r#""sid":""#).unwrap();
                let (sid, _) = sid.split_once('"').unwrap();
                came.send(sid.to_owned()).await.unwrap();
                gate.acquire().await.unwrap().forget();
                let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\n{}";
                stream.write_all(answer).await.unwrap();
            });
        }
    });
    (url, order)
}

#[tokio::test]
async fn registers_from_one_address_do_not_delay_those_from_others() {
    let gate = Arc::new(Semaphore::new(0));
    let (url, mut order) = slow_backend(gate.clone()).await;
    let mut config = Config::default();
    config.auth.webhook = AuthWebhook {
        url: Some(url),
        timeout_ms: 60_000,
        concurrency: 1,
        waiting_per_address: 5,
        ..AuthWebhook::default()
    };
    let backend = Arc::new(Backend::open(&config, &Arc::default()).unwrap());
    let register = |sid: &str, address: &str| {
        let (backend, sid, address) = (backend.clone(), sid.to_owned(), address.parse().unwrap());
        tokio::spawn(async move {
            let uid = Uid::new("a").unwrap();
            let question = Question {
                uid: Some(&uid),
                deviceid: None,
                platform: None,
                class: "user",
                token: None,
                address,
                sid: &sid,
            };
            backend.ask(&question).await.map_err(|reject| reject.code)
        })
    };
    let mut asked = vec![register("flood 0", "2001:db8::1")];
    assert_eq!(order.recv().await.unwrap(), "flood 0");
    // Each register must be waiting before the next one is made.
    for (sid, address) in [
        ("flood 1", "2001:db8::2"),
        ("flood 2", "2001:db8::3"),
        ("flood 3", "2001:db8::4"),
        ("flood 4", "2001:db8::5"),
        ("flood 5", "2001:db8::6"),
        ("other", "192.0.2.7"),
    ] {
        asked.push(register(sid, address));
        tokio::task::yield_now().await;
    }
    let refused = register("flood 6", "2001:db8::7").await.unwrap();
    assert_eq!(
        refused.unwrap_err(),
        Code::Unavailable,
        "five wait of that network"
    );
    gate.add_permits(7);
    let mut came = Vec::new();
    for _ in 0..6 {
        came.push(order.recv().await.unwrap());
    }
    assert_eq!(
        came,
        ["flood 1", "other", "flood 2", "flood 3", "flood 4", "flood 5"]
    );
    for answer in asked {
        assert!(answer.await.unwrap().is_ok());
    }
}
