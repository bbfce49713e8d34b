//! What the backend may answer.

use bytes::Bytes;

use crate::auth::backend::{agreed, refused};
use crate::auth::testing::NOW;
use crate::claims::Claims;
use crate::clock::pretended::pretend;
use crate::ids::Uid;
use crate::reject::{Code, Reject};

fn answered(body: &'static str, asked: Option<&str>) -> Option<Result<Claims, Reject>> {
    let _pretence = pretend(|| NOW);
    let asked = asked.map(|uid| Uid::new(uid).unwrap());
    let answer = agreed(&Bytes::from_static(body.as_bytes()), asked.as_ref()).ok();
    answer.map(|decided| decided.map(|claims| *claims))
}

#[test]
fn what_is_not_said_stays_as_it_was_asked() {
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
fn the_backend_decides() {
    let body =
        r#"{"uid":7,"deviceid":"d","platform":"ios","kinds":[3],"expires_at":1790000060000,"ttl_ms":30000}"#;
    let claims = answered(body, Some("alice")).unwrap().unwrap();
    assert_eq!(claims.sub.as_str(), "7");
    assert_eq!(claims.device.as_ref().unwrap().as_str(), "d");
    assert_eq!(claims.platform.as_deref(), Some("ios"));
    assert!(claims.allow(3) && !claims.allow(7));
    assert_eq!(claims.left(NOW, NOW), 30_000, "what ends first counts");
    // Sixty seconds until a moment, thirty by a clock that nobody sets.
    assert_eq!(
        (claims.left(NOW - 3_600_000, NOW), claims.left(NOW + 60_000, NOW)),
        (30_000, 0)
    );
    let over = answered(r#"{"expires_at":1790000000000}"#, Some("alice")).unwrap();
    assert_eq!(over.unwrap_err().code, Code::Unauthenticated);
}

#[test]
fn an_answer_that_cannot_be_read_lets_nobody_in() {
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
fn a_reason_is_repeated_as_far_as_it_is_one() {
    let said = |body: &str| refused(Code::Forbidden, Some(Bytes::from(body.to_owned()))).error;
    assert_eq!(
        said(r#"{"error":"Your account is closed."}"#),
        "Your account is closed."
    );
    assert_eq!(said(r#"{"detail":"Pay first.\n"}"#), "Pay first.");
    for silent in ["", "no", "{}", r#"{"error":7}"#, r#"{"error":""}"#, "[]"] {
        assert!(said(silent).contains("does not let you"), "{silent}");
    }
    let long = said(&format!(r#"{{"error":"{}"}}"#, "ж".repeat(1_000)));
    assert!(long.len() <= 300 && long.starts_with('ж'));
    assert!(
        refused(Code::Unauthenticated, None)
            .error
            .contains("does not let you")
    );
}
