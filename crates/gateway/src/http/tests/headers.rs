//! Tests that a key is accepted in one header of one form only.

use axum::http::HeaderValue;

use super::*;
use crate::keys::ApiKeys;

const PATH: &str = "/v1/users/alice";

async fn offer(house: &House, values: &[&[u8]]) -> Answer {
    let mut request = Request::builder().uri(PATH);
    for value in values {
        request = request.header("authorization", HeaderValue::from_bytes(value).unwrap());
    }
    house.send(request.body(Body::empty()).unwrap()).await
}

fn bearer(key: &str) -> Vec<u8> {
    format!("Bearer {key}").into_bytes()
}

#[tokio::test]
async fn the_scheme_is_bearer_in_any_case_and_spaces_around_the_key_do_not_matter() {
    let house = house(true);
    for scheme in ["Bearer ", "bearer ", "BEARER ", "Bearer   "] {
        let answer = offer(&house, &[format!("{scheme}{KEY}").as_bytes()]).await;
        assert_eq!(answer.status, 200, "{scheme:?}");
    }
    assert_eq!(
        offer(&house, &[format!("Bearer {KEY}  ").as_bytes()])
            .await
            .status,
        200
    );
}

#[tokio::test]
async fn everything_else_is_refused_with_a_challenge() {
    let house = house(true);
    let huge = format!("Bearer {}", "k".repeat(100_000));
    let basic = format!("Basic {KEY}");
    for value in [
        b"".as_slice(),
        b"Bearer",
        b"Bearer ",
        b"Bearer    ",
        basic.as_bytes(),
        KEY.as_bytes(),
        format!("Bearer\t{KEY}").as_bytes(),
        format!("Bearer \t{KEY}").as_bytes(),
        format!(" Bearer {KEY}").as_bytes(),
        format!("Bearer: {KEY}").as_bytes(),
        format!("Bearer {KEY} {KEY}").as_bytes(),
        format!("Bearer {KEY},").as_bytes(),
        format!("Bearer \"{KEY}\"").as_bytes(),
        format!("Bearer {}", KEY.to_uppercase()).as_bytes(),
        format!("Bearer {}", &KEY[..KEY.len() - 1]).as_bytes(),
        "Bearer schlüssel".as_bytes(),
        b"Bearer \xff\xfe",
        format!("Bearer\u{a0}{KEY}").as_bytes(),
        huge.as_bytes(),
    ] {
        let answer = offer(&house, &[value]).await;
        answer.problem(401);
        assert!(answer.header("www-authenticate").starts_with("Bearer realm="));
        assert!(!answer.body.to_string().contains(KEY));
    }
}

#[tokio::test]
async fn two_authorization_headers_are_refused() {
    let house = house(true);
    let (right, wrong) = (bearer(KEY), bearer("wrong"));
    for values in [[&right, &wrong], [&wrong, &right], [&right, &right]] {
        offer(&house, &values.map(Vec::as_slice)).await.problem(401);
    }
}

#[tokio::test]
async fn a_key_outside_of_the_header_is_ignored() {
    let house = house(true);
    for query in ["key", "api_key", "access_token", "token", "authorization"] {
        let request = Request::builder().uri(format!("{PATH}?{query}={KEY}"));
        house
            .send(request.body(Body::empty()).unwrap())
            .await
            .problem(401);
    }
    for header in ["x-api-key", "proxy-authorization", "cookie", "x-authorization"] {
        let request = Request::builder().uri(PATH).header(header, bearer(KEY));
        house
            .send(request.body(Body::empty()).unwrap())
            .await
            .problem(401);
    }
    let request = Request::builder().method("POST").uri("/v1/users/online");
    let request = request.header("content-type", "application/x-www-form-urlencoded");
    let body = Body::from(format!("access_token={KEY}"));
    house.send(request.body(body).unwrap()).await.problem(401);
}

#[tokio::test]
async fn a_server_without_keys_refuses_every_key() {
    let house = house_with(ApiKeys::new(&[]), true, false);
    for key in ["", "x", KEY, "auth.api_keys[1]"] {
        house.call_as(key, "GET", PATH, "").await.problem(401);
    }
}

#[tokio::test]
async fn wrong_and_missing_keys_are_distinguished() {
    let house = house(true);
    assert_eq!(
        offer(&house, &[]).await.header("www-authenticate"),
        "Bearer realm=\"mynah\""
    );
    assert_eq!(
        offer(&house, &[&bearer("wrong")])
            .await
            .header("www-authenticate"),
        "Bearer realm=\"mynah\", error=\"invalid_token\""
    );
}
