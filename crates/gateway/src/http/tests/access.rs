//! Tests which calls are allowed, what is served, and what is counted.

use super::*;

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
async fn an_unknown_path_is_answered_with_a_problem_document() {
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
async fn open_mode_serves_the_page_and_all_its_files() {
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
async fn other_modes_do_not_serve_the_page() {
    for path in ["/", "/app.js", "/open/online"] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let answer = house(false).send(request).await;
        assert_eq!(answer.status, 404, "{path}");
    }
}
