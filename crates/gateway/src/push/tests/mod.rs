//! Tests push jobs with a webhook of the tests' own.

mod attempts;
mod nodes;
mod teams;
mod told;

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use mynah_socketio::{CloseReason, DisconnectReason};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::config::{Config, Secret};
use crate::ids::TeamId;
use crate::metrics::Metrics;
use crate::order::{SendOrder, To};
use crate::testing::{PATIENCE, Troubled, World, order, uid};

/// The answer of the webhook to a notification.
enum Answer {
    Status(u16),
    /// The status 503 with this `Retry-After`.
    After(&'static str),
    Never,
}

struct Posted {
    body: String,
    signature: Option<String>,
}

/// The requests that the webhook got, in order.
struct Inbox(mpsc::Receiver<Posted>);

impl Inbox {
    /// Waits for the next request.
    async fn next(&mut self) -> Posted {
        let posted = tokio::time::timeout(PATIENCE, self.0.recv()).await;
        posted.expect("a notification").expect("the webhook runs")
    }

    fn is_empty(&mut self) -> bool {
        self.0.try_recv().is_err()
    }
}

impl Posted {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn uid(&self) -> String {
        self.json()["uid"].as_str().unwrap().to_owned()
    }
}

/// Runs a webhook, and sends its requests to the receiver.
async fn webhook(answer: impl Fn(&Posted) -> Answer + Send + Sync + 'static) -> (String, Inbox) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/hook?x=1", listener.local_addr().unwrap());
    let (posted, receiver) = mpsc::channel(1_024);
    let answer = Arc::new(answer);
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (answer, posted) = (answer.clone(), posted.clone());
            let service = service_fn(move |request| respond(request, answer.clone(), posted.clone()));
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (url, Inbox(receiver))
}

async fn respond(
    request: Request<Incoming>,
    answer: Arc<impl Fn(&Posted) -> Answer>,
    posted: mpsc::Sender<Posted>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    assert_eq!(request.method(), "POST");
    assert_eq!(request.uri().path_and_query().unwrap(), "/hook?x=1");
    assert_eq!(request.headers()["content-type"], "application/json");
    let signature = request.headers().get("x-mynah-signature");
    let signature = signature.map(|value| value.to_str().unwrap().to_owned());
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let notification = Posted {
        body: String::from_utf8(body.to_vec()).unwrap(),
        signature,
    };
    let status = answer(&notification);
    posted.send(notification).await.unwrap();
    match status {
        Answer::Status(status) => {
            let body = Full::new(Bytes::from_static(b"noted"));
            Ok(Response::builder().status(status).body(body).unwrap())
        }
        Answer::After(wait) => {
            let answer = Response::builder().status(503).header("retry-after", wait);
            Ok(answer.body(Full::default()).unwrap())
        }
        Answer::Never => std::future::pending().await,
    }
}

struct Kit {
    world: World,
    metrics: Arc<Metrics>,
}

fn kit(url: &str, change: impl FnOnce(&mut Config)) -> Kit {
    kit_on(url, change, |store| store)
}

fn kit_on(
    url: &str,
    change: impl FnOnce(&mut Config),
    wrap: impl FnOnce(Arc<dyn crate::store::Store>) -> Arc<dyn crate::store::Store>,
) -> Kit {
    let world = World::built(
        |config| {
            config.push.webhook.url = Some(url.into());
            config.push.retry_initial_ms = 10;
            config.push.retry_max_ms = 20;
            config.push.delay_ms = 0;
            change(config);
        },
        |builder| builder,
        wrap,
    );
    let metrics = world.metrics.clone();
    Kit { world, metrics }
}

fn from_alice(kind: u16) -> SendOrder {
    SendOrder {
        from: Some(uid("alice")),
        ..order(kind, To::User(uid("bob")))
    }
}
