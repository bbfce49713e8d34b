use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::Builder;
use crate::config::{Config, Secret};
use crate::store::embedded::{Embedded, Options};

const KEY: &str = "test-key-test-key";

/// Everything but Socket.IO, on a store of its own.
struct House {
    router: Router,
    _data: tempfile::TempDir,
}

fn house(open: bool) -> House {
    let data = tempfile::tempdir().unwrap();
    let store = Embedded::open(Options::new(data.path())).unwrap();
    let config = Config::default();
    let metrics: Arc<Metrics> = Arc::default();
    let api = Api {
        limits: config.limits.clone(),
        gateway: Builder::new(config)
            .metrics(metrics.clone())
            .start(Arc::new(store))
            .unwrap(),
        keys: ApiKeys::new(&[Secret::new("another-key"), Secret::new(KEY)]),
        metrics,
        open,
        observe: Box::new(|_| {}),
        draining: AtomicBool::new(false),
    };
    House {
        router: router(Arc::new(api)),
        _data: data,
    }
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: Value,
}

impl Answer {
    fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The sentence, after checking the form of the document.
    fn problem(&self, status: u16) -> &str {
        assert_eq!(self.status, status, "{}", self.body);
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(self.body["type"], "about:blank");
        assert_eq!(self.body["status"], status);
        assert!(self.body["title"].is_string());
        self.body["detail"].as_str().unwrap()
    }
}

impl House {
    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (head, body) = response.into_parts();
        let bytes = body.collect().await.unwrap().to_bytes();
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|_| Value::String(String::from_utf8_lossy(&bytes).into_owned()));
        Answer {
            status: head.status.as_u16(),
            headers: head.headers,
            body,
        }
    }

    async fn call(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {KEY}"));
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Calls, expects 200, and returns the answer.
    async fn done(&self, method: &str, path: &str, body: Value) -> Value {
        let answer = self.call(method, path, body.to_string()).await;
        assert_eq!(answer.status, 200, "{method} {path}: {}", answer.body);
        answer.body
    }
}

async fn send(request: Request<Body>) -> Answer {
    house(true).send(request).await
}

async fn call(method: &str, path: &str, body: impl Into<Body>) -> Answer {
    house(true).call(method, path, body).await
}

#[tokio::test]
async fn every_call_of_v1_needs_a_key_whatever_it_is() {
    let ask = async |authorization: Option<&str>, path: &str| {
        let mut request = Request::builder().method("GET").uri(path);
        if let Some(value) = authorization {
            request = request.header("authorization", value);
        }
        send(request.body(Body::empty()).unwrap()).await
    };
    for path in [
        "/v1/users/alice",
        "/v1/messages",
        "/v1/no/such",
        "/v1/",
        "/v1",
        "/v1/openapi.json/x",
    ] {
        let answer = ask(None, path).await;
        assert!(answer.problem(401).contains("Authorization: Bearer"), "{path}");
        assert!(answer.header("www-authenticate").starts_with("Bearer"));
        for wrong in [
            "Bearer x",
            "Bearer ",
            "Bearer",
            "Basic dGVzdDp0ZXN0",
            "test-key-test-key",
            "Bearer another-keyy",
        ] {
            ask(Some(wrong), path).await.problem(401);
        }
    }
    assert_eq!(ask(Some("bearer another-key"), "/v1/no/such").await.status, 404);
    for open in ["/v1/openapi.json", "/health/live", "/metrics"] {
        assert_eq!(ask(None, open).await.status, 200, "{open}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_a_problem_document() {
    for path in ["/v1/no/such", "/no", "/index.php", "/v1/users/"] {
        call("GET", path, "").await.problem(404);
    }
    call("POST", "/v1/users//signout", "").await.problem(400);
    let answer = call("PATCH", "/v1/teams/t", "").await;
    answer.problem(405);
    let mut allowed: Vec<_> = answer.header("allow").split(',').map(str::trim).collect();
    allowed.sort_unstable();
    assert_eq!(allowed, ["DELETE", "GET", "HEAD", "PUT"]);
    assert_eq!(call("GET", "/v1/messages", "").await.header("allow"), "POST");
}

#[tokio::test]
async fn a_user_may_be_named_online() {
    assert_ne!(call("GET", "/v1/users/online", "").await.status, 405);
    assert_ne!(call("POST", "/v1/users/online/signout", "").await.status, 405);
}

#[tokio::test]
async fn every_field_of_a_message_is_checked() {
    let good = json!({"type": 6, "to": {"user": "u"}, "data": {}});
    let with = |field: &str, value: Value| {
        let mut message = good.clone();
        message[field] = value;
        message.to_string()
    };
    let cases = [
        ("", "The body is not JSON"),
        ("{", "The body is not JSON"),
        ("nonsense", "The body is not JSON"),
        ("[]", "Invalid type: sequence, expected a JSON object."),
        ("5", "Invalid type: integer `5`, expected a JSON object."),
        ("null", "Invalid type: null, expected a JSON object."),
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
            "\"to\": invalid type: string \"u\", expected a JSON object.",
        ),
        (
            &with("to", json!(["u"])),
            "\"to\": invalid type: sequence, expected a JSON object.",
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
            "\"to.everyone\": invalid type",
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
        (&with("to", json!({"users": "u"})), "\"to.users\": invalid type"),
        (
            &with("to", json!({"users": ["u", {}]})),
            "\"to.users[1]\" must be a uid",
        ),
        (&with("to", json!({"team": 5})), "\"to.team\": invalid type"),
        (&with("to", json!({"team": ""})), "\"to.team\" must not be empty."),
        (&with("from", json!(true)), "\"from\" must be a uid"),
        (&with("data", json!("text")), "\"data\" must be an object."),
        (&with("data", json!(null)), "\"data\" must be an object."),
        (&with("cid", json!(5)), "\"cid\": invalid type"),
        (
            &with("cid", json!("x".repeat(65))),
            "\"cid\" must be at most 64 bytes.",
        ),
        (&with("push", json!("yes")), "\"push\": invalid type"),
        (&with("ttl_ms", json!(-1)), "\"ttl_ms\": invalid value"),
        (&with("ttl_ms", json!(0)), "\"ttl_ms\" must be 1 or more"),
        (&with("ttl_ms", json!("60000")), "\"ttl_ms\": invalid type"),
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
async fn a_number_that_no_kind_can_have_is_no_such_kind() {
    for number in [json!(-1), json!(70_000), json!(99_999_999_999_u64)] {
        let body = json!({"type": number, "to": {"user": "u"}, "data": {}}).to_string();
        call("POST", "/v1/messages", body).await.problem(404);
    }
}

#[tokio::test]
async fn more_than_a_call_may_name_is_too_large() {
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
async fn a_body_that_is_too_large_is_refused_announced_or_not() {
    let big = " ".repeat(8 * 1024 * 1024 + 1);
    assert!(
        call("POST", "/v1/messages", big.clone())
            .await
            .problem(413)
            .contains("8388608 bytes")
    );
    let chunks = futures_chunks(big);
    call("POST", "/v1/messages", chunks).await.problem(413);
}

/// A body whose length is not known beforehand.
fn futures_chunks(text: String) -> Body {
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
async fn json_is_taken_without_a_content_type_but_not_under_another() {
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
            "\"uids\": invalid type",
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
            "\"messages\": invalid type",
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
            "\"name\": invalid type",
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
            "/v1/teams/%0a".to_owned(),
            "The path's team must not contain control characters.",
        ),
        (
            format!("/v1/conversations/{conv}/messages?limit=0"),
            "The query's limit must be 1 to 500, it is 0.",
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

#[tokio::test]
async fn the_description_names_every_call_of_the_contract() {
    let answer = call("GET", "/v1/openapi.json", "").await;
    assert_eq!(answer.header("content-type"), "application/json");
    let paths = &answer.body["paths"];
    let contract = [
        ("post", "/v1/messages"),
        ("post", "/v1/messages/batch"),
        ("get", "/v1/users/{uid}"),
        ("post", "/v1/users/online"),
        ("post", "/v1/users/{uid}/signout"),
        ("post", "/signout"),
        ("put", "/v1/teams/{team}"),
        ("get", "/v1/teams/{team}"),
        ("delete", "/v1/teams/{team}"),
        ("post", "/v1/teams/{team}/members"),
        ("delete", "/v1/teams/{team}/members/{uid}"),
        ("get", "/v1/conversations/{conv}/messages"),
        ("get", "/v1/users/{uid}/conversations"),
        ("get", "/health/live"),
        ("get", "/health/ready"),
        ("get", "/metrics"),
        ("get", "/v1/openapi.json"),
    ];
    for (method, path) in contract {
        let call = &paths[path][method];
        assert!(
            call["summary"].as_str().is_some_and(|text| !text.is_empty()),
            "{method} {path}"
        );
        assert!(
            call["responses"]["default"].is_object() || call["responses"]["400"].is_object(),
            "{path}"
        );
        let open = !path.starts_with("/v1") || path == OPENAPI_PATH;
        assert_eq!(call["security"].is_null(), open, "{path}");
    }
    let text = answer.body.to_string();
    for reference in text.split("#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(
            answer.body["components"]["schemas"][name].is_object(),
            "{name} is not described"
        );
    }
    let described: usize = paths
        .as_object()
        .unwrap()
        .values()
        .map(|item| item.as_object().unwrap().len())
        .sum();
    assert_eq!(described, contract.len());
    assert_eq!(
        answer.body["components"]["securitySchemes"]["api_key"]["scheme"],
        "bearer"
    );
}

/// The names of the properties of a schema of the description.
fn properties(description: &Value, schema: &str) -> Vec<String> {
    let properties = &description["components"]["schemas"][schema]["properties"];
    properties
        .as_object()
        .unwrap_or_else(|| panic!("{schema}"))
        .keys()
        .cloned()
        .collect()
}

#[tokio::test]
async fn described_fields_are_those_of_the_contract() {
    let description = call("GET", "/v1/openapi.json", "").await.body;
    for (schema, fields) in [
        (
            "Message",
            vec!["type", "to", "from", "data", "cid", "push", "ttl_ms"],
        ),
        ("Batch", vec!["messages"]),
        ("BatchResult", vec!["results"]),
        (
            "SendResult",
            vec!["results", "mid", "conv", "seq", "duplicate", "online", "offline"],
        ),
        (
            "UserOutcome",
            vec!["uid", "delivered", "mid", "conv", "seq", "duplicate"],
        ),
        ("User", vec!["uid", "online", "connections", "unread"]),
        (
            "Connection",
            vec![
                "sid",
                "deviceid",
                "platform",
                "type",
                "since",
                "transport",
                "address",
            ],
        ),
        ("Uids", vec!["uids"]),
        ("Online", vec!["online"]),
        ("Closed", vec!["closed"]),
        ("TeamBody", vec!["name", "members"]),
        ("Team", vec!["team", "name", "members", "conv"]),
        (
            "Envelope",
            vec![
                "type", "data", "mid", "conv", "seq", "from", "cid", "ts", "recalled",
            ],
        ),
        ("Messages", vec!["conv", "messages", "head", "more"]),
        (
            "Conversation",
            vec![
                "conv", "kind", "peer", "team", "head", "cursor", "read", "unread", "last",
            ],
        ),
        ("ConversationPage", vec!["conversations", "next"]),
        ("Problem", vec!["type", "title", "status", "detail"]),
    ] {
        let mut fields: Vec<_> = fields.into_iter().map(str::to_owned).collect();
        let mut there = properties(&description, schema);
        fields.sort();
        there.sort();
        assert_eq!(there, fields, "{schema}");
    }
}

#[tokio::test]
async fn answers_are_counted_by_route_and_never_by_path() {
    let house = house(true);
    for path in ["/v1/users/a", "/v1/users/b", "/no/such", "/v1/secret"] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        house.send(request).await;
    }
    let request = Request::builder().uri("/metrics").body(Body::empty()).unwrap();
    let answer = house.send(request).await;
    assert_eq!(
        answer.header("content-type"),
        "text/plain; version=0.0.4; charset=utf-8"
    );
    let text = answer.body.as_str().unwrap();
    for line in [
        r#"mynah_http_requests_total{method="GET",route="/v1/users/{uid}",status="401"} 2"#,
        r#"mynah_http_requests_total{method="GET",route="other",status="404"} 1"#,
        r#"mynah_http_requests_total{method="GET",route="other",status="401"} 1"#,
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
}

#[tokio::test]
async fn the_page_and_all_its_files_are_there_in_open_mode() {
    let page = call("GET", "/", "").await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(
        page.header("content-security-policy")
            .contains("script-src 'self'")
    );
    let files = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../../web")).unwrap();
    for file in files {
        let name = file.unwrap().file_name().into_string().unwrap();
        let path = if name == "index.html" {
            "/".to_owned()
        } else {
            format!("/{name}")
        };
        assert_eq!(call("GET", &path, "").await.status, 200, "{path}");
    }
    assert_eq!(call("GET", "/open/online", "").await.body, json!({"online": []}));
}

#[tokio::test]
async fn the_page_is_not_there_otherwise() {
    for path in ["/", "/app.js", "/open/online"] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let answer = house(false).send(request).await;
        assert_eq!(answer.status, 404, "{path}");
    }
}

#[tokio::test]
async fn what_is_sent_is_in_the_record() {
    let house = house(true);
    let data = json!({"text": "日本 😀", "n": 9_007_199_254_740_993_u64});
    let sent = house
        .done(
            "POST",
            "/v1/messages",
            json!({"type": 3, "to": {"user": "bob"}, "from": "alice", "data": data, "cid": "c1"}),
        )
        .await;
    let result = &sent["results"][0];
    assert_eq!((&sent["online"], &sent["offline"]), (&json!(0), &json!(1)));
    assert_eq!(
        (&result["uid"], &result["delivered"], &result["seq"]),
        (&json!("bob"), &json!(false), &json!(1))
    );
    let keys = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    assert_eq!(keys(result), ["conv", "delivered", "mid", "seq", "uid"]);

    let again = house
        .done(
            "POST",
            "/v1/messages",
            json!({"type": 3, "to": {"user": "bob"}, "from": "alice", "data": {}, "cid": "c1"}),
        )
        .await;
    assert_eq!(again["results"][0]["mid"], result["mid"]);
    assert_eq!(again["results"][0]["duplicate"], true);

    house
        .done(
            "POST",
            "/v1/messages",
            json!({"type": 3, "to": {"user": "alice"}, "from": "bob", "data": {}}),
        )
        .await;
    let conv = result["conv"].as_str().unwrap();
    let part = house
        .done(
            "GET",
            &format!("/v1/conversations/{conv}/messages?limit=1"),
            Value::Null,
        )
        .await;
    assert_eq!(
        (&part["conv"], &part["head"], &part["more"]),
        (&json!(conv), &json!(2), &json!(true))
    );
    let envelope = &part["messages"][0];
    assert_eq!(envelope["data"], data);
    assert_eq!(
        (&envelope["type"], &envelope["from"], &envelope["cid"]),
        (&json!(3), &json!("alice"), &json!("c1"))
    );
    let mut described = properties(&house.call("GET", "/v1/openapi.json", "").await.body, "Envelope");
    described.retain(|name| name != "recalled");
    described.sort();
    assert_eq!(keys(envelope), described);
    let newest = house
        .done(
            "GET",
            &format!("/v1/conversations/{conv}/messages?before=3"),
            Value::Null,
        )
        .await;
    assert_eq!(newest["messages"][0]["seq"], 2);
    assert_eq!(newest["messages"][1]["seq"], 1);

    let page = house
        .done("GET", "/v1/users/bob/conversations", Value::Null)
        .await;
    let line = &page["conversations"][0];
    assert_eq!(
        (&line["kind"], &line["peer"], &line["head"]),
        (&json!("pair"), &json!("alice"), &json!(2))
    );
    assert_eq!(
        (&line["unread"], &line["read"], &line["cursor"]),
        (&json!(1), &json!(0), &json!(0))
    );
    assert_eq!(line["last"]["seq"], 2);
    assert_eq!(page["next"], Value::Null);
    assert_eq!(
        house.done("GET", "/v1/users/bob", Value::Null).await,
        json!({"uid": "bob", "online": false, "connections": [], "unread": 1})
    );
}

#[tokio::test]
async fn one_call_sends_to_many_and_a_uid_may_be_a_number() {
    let house = house(true);
    let sent = house
        .done(
            "POST",
            "/v1/messages",
            json!({"type": 5, "to": {"users": ["a", 7, "7", "b"]}, "data": {}}),
        )
        .await;
    let uids: Vec<_> = sent["results"]
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["uid"].as_str().unwrap())
        .collect();
    assert_eq!(uids, ["a", "7", "b"]);
    assert_eq!(sent["offline"], 3);
}

#[tokio::test]
async fn a_batch_has_a_result_for_each_message_in_order() {
    let house = house(true);
    let batch = json!({"messages": [
        {"type": 6, "to": {"user": "a"}, "data": {}},
        {"type": 6, "to": {"user": 1.5}, "data": {}},
        5,
        {"type": 12, "to": {"user": "a"}, "data": {}},
        {"type": 999_999, "to": {"user": "a"}, "data": {}},
        {"type": 15, "to": {"team": "none"}, "data": {}},
        {"type": 6, "to": {"user": "a"}, "data": {}},
    ]});
    let results = house.done("POST", "/v1/messages/batch", batch).await["results"].clone();
    let codes: Vec<_> = results
        .as_array()
        .unwrap()
        .iter()
        .map(|r| r["code"].clone())
        .collect();
    assert_eq!(
        codes,
        [
            Value::Null,
            json!(400),
            json!(400),
            json!(400),
            json!(404),
            json!(404),
            Value::Null
        ]
    );
    assert_eq!(
        results[1]["error"],
        "\"to.user\" must be a uid, a string or an integer."
    );
    assert_eq!(results[0]["results"][0]["seq"], 1);
    assert_eq!(results[6]["results"][0]["seq"], 2);
}

#[tokio::test]
async fn a_team_is_made_changed_and_deleted() {
    let house = house(true);
    let team = house
        .done(
            "PUT",
            "/v1/teams/t%2F1",
            json!({"name": "One", "members": ["b", "a", "b", 5]}),
        )
        .await;
    assert_eq!(
        (&team["team"], &team["name"], &team["members"]),
        (&json!("t/1"), &json!("One"), &json!(["5", "a", "b"]))
    );
    assert_eq!(house.done("GET", "/v1/teams/t%2F1", Value::Null).await, team);
    let grown = house
        .done("POST", "/v1/teams/t%2F1/members", json!({"uids": ["c", "a"]}))
        .await;
    assert_eq!(
        (&grown["members"], &grown["conv"]),
        (&json!(["5", "a", "b", "c"]), &team["conv"])
    );
    let shrunk = house
        .done("DELETE", "/v1/teams/t%2F1/members/b", Value::Null)
        .await;
    assert_eq!(shrunk["members"], json!(["5", "a", "c"]));

    let sent = house
        .done(
            "POST",
            "/v1/messages",
            json!({"type": 15, "to": {"team": "t/1"}, "from": "a", "data": {}}),
        )
        .await;
    assert_eq!(
        (&sent["seq"], &sent["conv"]),
        (&json!(3), &team["conv"]),
        "after one 16 and one 17"
    );
    let page = house.done("GET", "/v1/users/c/conversations", Value::Null).await;
    assert_eq!(
        (
            &page["conversations"][0]["kind"],
            &page["conversations"][0]["team"]
        ),
        (&json!("team"), &json!("t/1"))
    );

    assert_eq!(house.call("DELETE", "/v1/teams/t%2F1", "").await.status, 204);
    for (method, path) in [
        ("GET", "/v1/teams/t%2F1"),
        ("DELETE", "/v1/teams/t%2F1"),
        ("DELETE", "/v1/teams/t%2F1/members/a"),
    ] {
        house.call(method, path, "").await.problem(404);
    }
    let conv = team["conv"].as_str().unwrap();
    house
        .call("GET", &format!("/v1/conversations/{conv}/messages"), "")
        .await
        .problem(404);
    let again = house.done("PUT", "/v1/teams/t%2F1", json!({"members": []})).await;
    assert_ne!(again["conv"], team["conv"]);
}

#[tokio::test]
async fn the_page_makes_teams_but_never_changes_one() {
    let house = house(true);
    let body = || json!({"members": ["a"]}).to_string();
    assert_eq!(house.call("PUT", "/open/teams/t", body()).await.status, 200);
    house.call("PUT", "/open/teams/t", body()).await.problem(409);
}

#[tokio::test]
async fn nobody_is_online_and_nothing_is_closed_where_nobody_is_connected() {
    let house = house(true);
    assert_eq!(
        house
            .done("POST", "/v1/users/online", json!({"uids": ["a", 1]}))
            .await,
        json!({"online": []})
    );
    assert_eq!(
        house.done("POST", "/v1/users/a/signout", Value::Null).await,
        json!({"closed": 0})
    );
    assert_eq!(
        house.done("GET", "/health/ready", Value::Null).await,
        json!({"status": "ready"})
    );
}
