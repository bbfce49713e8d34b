//! Tests what a key may do, and that no call can be made without its scope.

use super::*;
use crate::config::{KeyDigest, Scope, Scopes};
use crate::keys::ApiKeys;

/// Creates a server with one key for each scope, which is named like it, one with all scopes but that one
/// (`not-send`), and one with all scopes.
fn scoped(metrics_key: bool) -> House {
    let entry = |key: &str, scopes: &[Scope]| {
        let names: Vec<_> = scopes.iter().map(|scope| scope.name()).collect();
        let digest = KeyDigest::of(key).hex();
        Secret::new(format!("sha256:{digest};name={key};scopes={}", names.join("+")))
    };
    let mut keys = vec![entry("everything", &Scope::ALL)];
    for scope in Scope::ALL {
        let others: Vec<_> = Scope::ALL.into_iter().filter(|other| *other != scope).collect();
        keys.push(entry(scope.name(), &[scope]));
        keys.push(entry(&format!("not-{}", scope.name()), &others));
    }
    house_with(ApiKeys::new(&keys), true, metrics_key)
}

/// The method, the path and the scope of each call that the description has under `/v1`, except the
/// description itself.
async fn calls(house: &House) -> Vec<(String, String, String)> {
    let description = house.call("GET", OPENAPI_PATH, "").await.body;
    let mut calls = Vec::new();
    for (route, item) in description["paths"].as_object().unwrap() {
        if !route.starts_with("/v1") || route == OPENAPI_PATH {
            continue;
        }
        for (method, call) in item.as_object().unwrap() {
            let needs = call["security"]
                .as_array()
                .unwrap_or_else(|| panic!("{method} {route} has no scope"));
            assert_eq!(needs.len(), 1, "{method} {route}");
            let scopes = needs[0]["api_key"].as_array().unwrap();
            assert_eq!(scopes.len(), 1, "{method} {route}");
            let scope = scopes[0].as_str().unwrap();
            assert!(
                call["description"]
                    .as_str()
                    .unwrap()
                    .contains(&format!("`{scope}`")),
                "{method} {route}"
            );
            calls.push((
                method.to_uppercase(),
                route.replace(['{', '}'], ""),
                scope.to_owned(),
            ));
        }
    }
    assert!(calls.len() >= 12, "{calls:?}");
    calls
}

#[tokio::test]
async fn every_described_call_has_a_scope_and_refuses_keys_without_it() {
    let house = scoped(false);
    for (method, path, scope) in calls(&house).await {
        let others = Scope::ALL
            .iter()
            .map(|scope| scope.name())
            .filter(|name| *name != scope);
        let lacking = others.map(str::to_owned).chain([format!("not-{scope}")]);
        for key in lacking {
            let answer = house.call_as(&key, &method, &path, "").await;
            let sentence = answer.problem(403);
            assert!(
                sentence.contains(&format!("\"{scope}\"")),
                "{method} {path} as {key}: {sentence}"
            );
            assert_eq!(
                answer.header("www-authenticate"),
                format!("Bearer realm=\"mynah\", error=\"insufficient_scope\", scope=\"{scope}\"")
            );
        }
        for key in [scope.as_str(), "everything"] {
            let answer = house.call_as(key, &method, &path, "").await;
            assert!(
                ![401, 403, 405].contains(&answer.status),
                "{method} {path} as {key}: {}",
                answer.status
            );
        }
    }
}

#[tokio::test]
async fn other_methods_do_not_bypass_the_scopes() {
    let house = scoped(false);
    let mut paths: Vec<_> = calls(&house).await.into_iter().map(|(_, path, _)| path).collect();
    paths.dedup();
    for path in paths {
        for method in [
            "GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "QUERY",
        ] {
            let status = house.call_as("metrics", method, &path, "").await.status;
            assert!([403, 405].contains(&status), "{method} {path}: {status}");
        }
        assert_eq!(
            house.call_as("read", "PATCH", &path, "").await.status,
            405,
            "{path}"
        );
    }
    // Calls that are not in the description need their scope as well.
    assert_eq!(
        house.call_as("send", "GET", "/v1/users/online", "").await.status,
        403
    );
    assert_eq!(
        house.call_as("read", "GET", "/v1/users/online", "").await.status,
        200
    );
    assert_eq!(house.call_as("send", "HEAD", "/v1/users/u", "").await.status, 403);
    assert_eq!(house.call_as("read", "HEAD", "/v1/users/u", "").await.status, 200);
}

#[tokio::test]
async fn another_spelling_of_a_path_reaches_nothing() {
    let house = scoped(false);
    for path in [
        "/v1/../v1/users/u",
        "//v1/users/u",
        "/%761/users/u",
        "/v1%2Fusers/u",
        "/V1/users/u",
        "/v1/users/u/",
        "/v1;x/users/u",
        "/v1/./users/u",
    ] {
        let request = Request::builder().uri(path).body(Body::empty()).unwrap();
        let status = house.send(request).await.status;
        assert!([401, 404].contains(&status), "{path}: {status}");
        assert_eq!(house.call_as("read", "GET", path, "").await.status, 404, "{path}");
    }
}

#[test]
fn a_route_missing_from_the_table_needs_all_scopes() {
    use super::super::scopes::{Need, need};
    let get = axum::http::Method::GET;
    assert_eq!(
        need(&get, Some("/v1/new/{thing}"), "/v1/new/x", false),
        Need::Scopes(Scopes::ALL)
    );
    assert_eq!(need(&get, None, "/v1/new/x", false), Need::Key);
    assert_eq!(
        need(&get, Some("/health/live"), "/health/live", false),
        Need::Nothing
    );
}

#[tokio::test]
async fn the_metrics_need_a_key_if_it_is_configured() {
    let house = scoped(true);
    let request = || Request::builder().uri("/metrics").body(Body::empty()).unwrap();
    house.send(request()).await.problem(401);
    house
        .call_as("not-metrics", "GET", "/metrics", "")
        .await
        .problem(403);
    let head = house.call_as("not-metrics", "HEAD", "/metrics", "").await;
    assert_eq!(head.status, 403);
    assert_eq!(house.call_as("metrics", "GET", "/metrics", "").await.status, 200);
    let text = house.call_as("everything", "GET", "/metrics", "").await.body;
    let text = text.as_str().unwrap();
    for line in [
        r#"mynah_api_refused_total{reason="missing"} 1"#,
        r#"mynah_api_refused_total{reason="scope"} 2"#,
        r#"mynah_api_calls_total{key="metrics"} 1"#,
        "mynah_api_keys_stale 0",
    ] {
        assert!(text.contains(line), "{line} is not in\n{text}");
    }
    assert_eq!(scoped(false).send(request()).await.status, 200);
}

#[test]
fn the_table_of_scopes_is_that_of_the_protocol() {
    let protocol =
        std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/PROTOCOL.md")).unwrap();
    for (method, route, scope) in super::super::scopes::CALLS {
        if (*method, *route) == ("GET", "/v1/users/online") || *route == "/metrics" {
            continue;
        }
        let row = format!("| `{method} {route}` | `{}` | ", scope.name());
        assert!(
            protocol.contains(&row),
            "docs/PROTOCOL.md has no row that begins with {row}"
        );
    }
}
