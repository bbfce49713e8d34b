//! Tests that every wrong field, body, path and query is answered with a sentence that names it.

use super::*;

#[tokio::test]
async fn every_field_of_a_message_is_checked() {
    let good = json!({"type": 6, "to": {"user": "u"}, "data": {}});
    let with = |field: &str, value: Value| {
        let mut message = good.clone();
        message[field] = value;
        message.to_string()
    };
    let nested = |depth| (0..depth).fold(Value::Null, |inner, _| json!([inner]));
    let cases = [
        ("", "The body is empty; it must be a JSON object."),
        ("{", "The body is not JSON: it ends too early."),
        ("nonsense", "The body is not JSON: see line 1, column 2."),
        ("[]", "The body must be a JSON object, not an array."),
        ("5", "The body must be a JSON object, not 5."),
        ("null", "The body must be a JSON object, not null."),
        ("{} {}", ""),
        ("{}", "Missing field `type`."),
        (r#"{"type":6,"data":{}}"#, "Missing field `to`."),
        (r#"{"type":6,"to":{"user":"u"}}"#, "Missing field `data`."),
        (
            &with("type", json!("6")),
            "\"type\" must be the number of a kind.",
        ),
        (
            &with("type", json!(6.5)),
            "\"type\" must be the number of a kind.",
        ),
        (
            &with("type", json!(null)),
            "\"type\" must be the number of a kind.",
        ),
        (
            &with("to", json!("u")),
            "\"to\" must be a JSON object, not a string.",
        ),
        (
            &with("to", json!(["u"])),
            "\"to\" must be a JSON object, not an array.",
        ),
        (&with("to", json!({})), "\"to\" must have exactly one of"),
        (
            &with("to", json!({"user": "u", "team": "t"})),
            "\"to\" must have exactly one of",
        ),
        (
            &with("to", json!({"everyone": false})),
            "\"to.everyone\" must be true",
        ),
        (
            &with("to", json!({"everyone": 1})),
            "\"to.everyone\" must be true or false, not 1.",
        ),
        (&with("to", json!({"user": ["u"]})), "\"to.user\" must be a uid"),
        (&with("to", json!({"user": 1.5})), "\"to.user\" must be a uid"),
        (&with("to", json!({"user": ""})), "\"to.user\" must not be empty."),
        (
            &with("to", json!({"user": "a\nb"})),
            "\"to.user\" must not contain control characters.",
        ),
        (
            &with("to", json!({"user": "é".repeat(65)})),
            "\"to.user\" must be at most 128 bytes.",
        ),
        (
            &with("to", json!({"users": "u"})),
            "\"to.users\" must be an array, not a string.",
        ),
        (
            &with("to", json!({"users": ["u", {}]})),
            "\"to.users[1]\" must be a uid",
        ),
        (
            &with("to", json!({"team": 5.5})),
            "\"to.team\" must be a team's key",
        ),
        (&with("to", json!({"team": "."})), "\"to.team\" must not be \".\""),
        (
            &with("to", json!({"user": ".."})),
            "\"to.user\" must not be \".\"",
        ),
        (&with("from", json!("..")), "\"from\" must not be \".\""),
        (&with("to", json!({"team": ""})), "\"to.team\" must not be empty."),
        (&with("from", json!(true)), "\"from\" must be a uid"),
        (
            &with("data", nested(129)),
            "\"data\" may be nested at most 128 deep.",
        ),
        (
            r#"{"type":6,"to":{"user":"u"},"data":1,"cid":"\ud83d"}"#,
            "\"cid\" must not contain half of a surrogate pair.",
        ),
        (
            r#"{"type":6,"to":{"users":["u","\ude00"]},"data":1}"#,
            "\"to.users[1]\" must not contain half of a surrogate pair.",
        ),
        (&with("cid", json!(5)), "\"cid\" must be a string, not 5."),
        (
            &with("cid", json!("x".repeat(65))),
            "\"cid\" must be at most 64 bytes.",
        ),
        (
            &with("push", json!("yes")),
            "\"push\" must be true or false, not a string.",
        ),
        (
            &with("ttl_ms", json!(-1)),
            "\"ttl_ms\" must be a whole number, 0 or more, not -1.",
        ),
        (&with("ttl_ms", json!(0)), "\"ttl_ms\" must be 1 or more"),
        (&with("ttl_ms", json!(u64::MAX)), "\"ttl_ms\" must be at most"),
        (
            &with("ttl_ms", json!("60000")),
            "\"ttl_ms\" must be a whole number, 0 or more, not a string.",
        ),
    ];
    for (body, sentence) in cases {
        let answer = call("POST", "/v1/messages", body.to_owned()).await;
        let detail = answer.problem(400);
        assert!(detail.starts_with(sentence), "{body}: {detail}");
    }
    let answer = call("POST", "/v1/messages", vec![b'{', 0xff, b'}']).await;
    assert_eq!(answer.problem(400), "The body must be JSON in UTF-8.");
    let long = with("type", json!("x".repeat(100_000)));
    assert!(call("POST", "/v1/messages", long).await.problem(400).len() < 500);
}

#[tokio::test]
async fn a_byte_order_mark_and_integers_as_ids_are_read() {
    let house = house(true);
    house.done("PUT", "/v1/teams/7", json!({"members": [42]})).await;
    for to in [json!({"team": 7}), json!({"user": 42}), json!({"users": [42]})] {
        let body =
            json!({"type": if to["team"].is_null() { 6 } else { 15 }, "from": 42, "to": to, "data": {}});
        let answer = house
            .call("POST", "/v1/messages", format!("\u{feff}{body}"))
            .await;
        assert_eq!(answer.status, 200, "{}", answer.body);
    }
}

#[tokio::test]
async fn a_number_that_no_kind_can_have_is_no_such_kind() {
    let with = |number| json!({"type": number, "to": {"user": "u"}, "data": {}}).to_string();
    for number in [
        json!(-1),
        json!(70_000),
        json!(99_999_999_999_u64),
        json!(70_000.0),
    ] {
        call("POST", "/v1/messages", with(number)).await.problem(404);
    }
    // In JSON this is the same number as 6.
    assert_eq!(call("POST", "/v1/messages", with(json!(6.0))).await.status, 200);
}

#[tokio::test]
async fn a_call_that_names_too_many_users_is_too_large() {
    let uids: Vec<_> = (0..10_001).collect();
    let message = json!({"type": 6, "to": {"users": uids}, "data": {}});
    assert!(
        call("POST", "/v1/messages", message.to_string())
            .await
            .problem(413)
            .contains("10000 users")
    );
    call("POST", "/v1/users/online", json!({"uids": uids}).to_string())
        .await
        .problem(413);
    call("POST", "/v1/teams/t/members", json!({"uids": uids}).to_string())
        .await
        .problem(413);
    call("PUT", "/v1/teams/t", json!({"members": uids}).to_string())
        .await
        .problem(413);
    let batch = json!({"messages": vec![json!({}); 1_001]});
    assert!(
        call("POST", "/v1/messages/batch", batch.to_string())
            .await
            .problem(413)
            .contains("1000 messages")
    );
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused_with_and_without_a_content_length() {
    let big = " ".repeat(8 * 1024 * 1024 + 1);
    assert!(
        call("POST", "/v1/messages", big.clone())
            .await
            .problem(413)
            .contains("8388608 bytes")
    );
    let chunks = in_chunks(big);
    call("POST", "/v1/messages", chunks).await.problem(413);
}

/// A body of unknown length.
fn in_chunks(text: String) -> Body {
    struct Chunks(Vec<u8>);

    impl hyper::body::Body for Chunks {
        type Data = bytes::Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            mut self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
            let rest = self.0.len().saturating_sub(1 << 20);
            let chunk = self.0.split_off(rest);
            std::task::Poll::Ready((!chunk.is_empty()).then(|| Ok(hyper::body::Frame::data(chunk.into()))))
        }
    }
    Body::new(Chunks(text.into_bytes()))
}

#[tokio::test]
async fn json_is_accepted_without_a_content_type_but_not_with_another() {
    let post = async |kind: Option<&str>, coding: Option<&str>| {
        let mut request = Request::builder().method("POST").uri("/signout");
        if let Some(kind) = kind {
            request = request.header("content-type", kind);
        }
        if let Some(coding) = coding {
            request = request.header("content-encoding", coding);
        }
        send(request.body(Body::from(r#"{"uid":5}"#)).unwrap()).await
    };
    for kind in [
        None,
        Some("application/json"),
        Some("Application/JSON; charset=utf-8"),
        Some("text/plain"),
    ] {
        let answer = post(kind, None).await;
        assert_eq!(
            (answer.status, &answer.body),
            (200, &json!({"closed": 0})),
            "{kind:?}"
        );
    }
    post(Some("image/png"), None).await.problem(415);
    post(Some("multipart/form-data; boundary=x"), None)
        .await
        .problem(415);
    post(Some("application/json"), Some("gzip")).await.problem(415);
}

#[tokio::test]
async fn other_bodies_are_checked_too() {
    for (method, path, body, sentence) in [
        ("POST", "/signout", "{}", "Missing field `uid`."),
        ("POST", "/signout", r#"{"uid":null}"#, "\"uid\" must be a uid"),
        (
            "POST",
            "/v1/users/online",
            r#"{"uids":"a"}"#,
            "\"uids\" must be an array, not a string.",
        ),
        (
            "POST",
            "/v1/users/online",
            r#"{"uids":[null]}"#,
            "\"uids[0]\" must be a uid",
        ),
        (
            "POST",
            "/v1/messages/batch",
            r#"{"messages":{}}"#,
            "\"messages\" must be an array, not an object.",
        ),
        (
            "PUT",
            "/v1/teams/t",
            r#"{"name":"n"}"#,
            "Missing field `members`.",
        ),
        (
            "PUT",
            "/v1/teams/t",
            r#"{"name":5,"members":[]}"#,
            "\"name\" must be a string, not 5.",
        ),
        (
            "PUT",
            "/v1/teams/t",
            r#"{"name":"a\u0000","members":[]}"#,
            "\"name\" must be at most",
        ),
        (
            "PUT",
            "/v1/teams/t",
            r#"{"members":[1.5]}"#,
            "\"members[0]\" must be a uid",
        ),
        (
            "POST",
            "/v1/teams/t/members",
            r#"{"uids":[""]}"#,
            "\"uids[0]\" must not be empty.",
        ),
    ] {
        let answer = call(method, path, body).await;
        assert!(
            answer.problem(400).starts_with(sentence),
            "{path} {body}: {}",
            answer.body
        );
    }
}

#[tokio::test]
async fn paths_and_queries_are_checked() {
    let conv = "0123456789abcdef0123456789abcdef";
    for (path, sentence) in [
        (
            "/v1/users/a%00b".to_owned(),
            "The path's uid must not contain control characters.",
        ),
        ("/v1/users/%ff".to_owned(), "The path must be UTF-8"),
        (
            format!("/v1/users/{}", "a".repeat(129)),
            "The path's uid must be at most 128 bytes.",
        ),
        (
            "/v1/users/.".to_owned(),
            "The path's uid must not be \".\" or \"..\".",
        ),
        (
            "/v1/teams/%2e%2E".to_owned(),
            "The path's team must not be \".\" or \"..\".",
        ),
        (
            "/v1/teams/%0a".to_owned(),
            "The path's team must not contain control characters.",
        ),
        (
            format!("/v1/conversations/{conv}/messages?limit=0"),
            "The query's limit must be 1 to 500, but it is 0.",
        ),
        (
            format!("/v1/conversations/{conv}/messages?limit=501"),
            "The query's limit must be 1 to 500",
        ),
        (
            format!("/v1/conversations/{conv}/messages?limit=1e9"),
            "The query's limit must be a whole number",
        ),
        (
            format!("/v1/conversations/{conv}/messages?after=-1"),
            "The query's after must be a whole number",
        ),
        (
            format!("/v1/conversations/{conv}/messages?after=1&before=2"),
            "The query must have after or before",
        ),
        (
            format!("/v1/conversations/{conv}/messages?limit=1&limit=2"),
            "The query must have limit only once.",
        ),
        (
            "/v1/users/u/conversations?limit=x".to_owned(),
            "The query's limit must be a whole number",
        ),
    ] {
        let answer = call("GET", &path, "").await;
        assert!(
            answer.problem(400).starts_with(sentence),
            "{path}: {}",
            answer.body
        );
    }
    for conv in ["x", "0123456789ABCDEF0123456789abcdef"] {
        call("GET", &format!("/v1/conversations/{conv}/messages"), "")
            .await
            .problem(404);
    }
}
