//! Tests the API without sockets: calls go directly to the router, and each test has its own store.

mod access;
mod bad_input;
mod calls;
mod crowded;
mod description;
mod headers;
mod scopes;

use std::sync::atomic::AtomicBool;

use axum::body::Body;
use axum::http::{HeaderMap, Request};
use http_body_util::BodyExt;
use mynah_front::Cors;
use serde_json::{Value, json};
use tower::ServiceExt;

use super::*;
use crate::Builder;
use crate::config::{Config, Secret};
use crate::keys::ApiKeys;
use crate::metrics::Metrics;
use crate::store::embedded::{Embedded, Options};

const KEY: &str = "test-key-test-key";

/// A server without Socket.IO, with its own store.
struct House {
    router: Router,
    api: Arc<Api>,
    _data: tempfile::TempDir,
}

fn house(open: bool) -> House {
    let keys = ApiKeys::new(&[Secret::new("another-key"), Secret::new(KEY)]);
    house_with(keys, open, false)
}

fn house_with(keys: ApiKeys, open: bool, metrics_key: bool) -> House {
    house_of(keys, open, metrics_key, Config::default())
}

fn house_of(keys: ApiKeys, open: bool, metrics_key: bool, config: Config) -> House {
    let data = tempfile::tempdir().unwrap();
    let store = Embedded::open(Options::new(data.path())).unwrap();
    let metrics: Arc<Metrics> = Arc::default();
    let limits = config.limits.clone();
    let builder = Builder::new(config).metrics(metrics.clone());
    let gateway = builder.start(Arc::new(store)).unwrap();
    let api = Arc::new(Api {
        calls: Calls::new(&limits, &gateway),
        limits,
        gateway,
        keys: Arc::new(keys),
        metrics_key,
        metrics,
        open,
        observe: Box::new(|_| {}),
        hosts: Hosts::default(),
        cors: Cors::None,
        admission: Arc::default(),
        draining: AtomicBool::new(false),
    });
    House {
        router: router(api.clone(), Door::Only),
        api,
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

    /// Checks that this is a problem document with this status, and returns its sentence.
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
        self.call_as(KEY, method, path, body).await
    }

    async fn call_as(&self, key: &str, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder().method(method).uri(path);
        let request = request.header("authorization", format!("Bearer {key}"));
        self.send(request.body(body.into()).unwrap()).await
    }

    /// Makes a call that must succeed with 200, and returns the body of the answer.
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
