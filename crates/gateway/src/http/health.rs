//! Health and metrics, for operators and their tools.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use super::api::Api;
use super::errors::Errors;
use super::problem::Problem;
use crate::metrics::HttpLabels;

/// The health of the server.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Health {
    /// `live` or `ready`.
    status: &'static str,
}

/// Check that the program runs
#[utoipa::path(get, path = "/health/live", tag = "operation",
    responses((status = 200, description = "It runs", body = Health), Errors))]
pub(super) async fn live() -> axum::Json<Health> {
    axum::Json(Health { status: "live" })
}

/// Check that the server accepts connections and calls: it is not stopping, and the store can write
#[utoipa::path(get, path = "/health/ready", tag = "operation",
    responses((status = 200, description = "It is ready", body = Health), Errors))]
pub(super) async fn ready(State(api): State<Arc<Api>>) -> Result<axum::Json<Health>, Problem> {
    if api.draining.load(Ordering::Relaxed) {
        return Err(Problem::unavailable("The server is stopping; use another one."));
    }
    api.gateway.ready()?;
    Ok(axum::Json(Health { status: "ready" }))
}

/// Read the metrics, for Prometheus
#[utoipa::path(get, path = "/metrics", tag = "operation",
    responses((status = 200, description = "The metrics", body = String, content_type = "text/plain"), Errors))]
pub(super) async fn metrics(State(api): State<Arc<Api>>, headers: HeaderMap) -> Response {
    api.metrics.api_keys_stale.set(api.keys.is_stale().into());
    (api.observe)(&api.metrics);
    const OPEN_METRICS: &str = "application/openmetrics-text";
    let accepts = headers
        .get(header::ACCEPT)
        .and_then(|accept| accept.to_str().ok())
        .unwrap_or_default();
    let (kind, text) = if accepts.contains(OPEN_METRICS) {
        (
            "application/openmetrics-text; version=1.0.0; charset=utf-8",
            api.metrics.open_metrics(),
        )
    } else {
        (
            "text/plain; version=0.0.4; charset=utf-8",
            api.metrics.prometheus_text(),
        )
    };
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

/// Counts every answered request by its route.
pub(super) async fn count(State(api): State<Arc<Api>>, request: Request, next: Next) -> Response {
    const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS"];
    let method = METHODS.into_iter().find(|name| request.method() == *name);
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or("other".into(), |path| path.as_str().into());
    let response = next.run(request).await;
    let labels = HttpLabels {
        method: method.unwrap_or("other"),
        route,
        status: response.status().as_u16(),
    };
    api.metrics.http_requests.get_or_create(&labels).inc();
    response
}
