//! Push jobs against a webhook of the test's own.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::mpsc;

use crate::config::{Config, Secret};
use crate::ids::TeamId;
use crate::metrics::Metrics;
use crate::order::{SendOrder, To};
use crate::testing::{PATIENCE, Troubled, World, order, uid};

/// What the webhook answers to a notification.
enum Answer {
    Status(u16),
    Never,
}

struct Posted {
    body: String,
    signature: Option<String>,
}

/// What was posted, in order.
struct Inbox(mpsc::Receiver<Posted>);

impl Inbox {
    /// The next; waits for it.
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

/// Runs a webhook; what is posted comes out of the receiver.
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
    let metrics = Arc::new(Metrics::new());
    let counted = metrics.clone();
    let world = World::built(
        |config| {
            config.push.webhook.url = Some(url.into());
            config.push.retry_initial_ms = 10;
            config.push.retry_max_ms = 20;
            change(config);
        },
        |builder| builder.metrics(counted),
        wrap,
    );
    Kit { world, metrics }
}

#[tokio::test]
async fn who_is_away_is_notified_and_who_is_there_is_not() {
    let (url, mut posted) = webhook(|_| Answer::Status(204)).await;
    let kit = kit(&url, |config| {
        config.push.webhook.secret = Some(Secret::new("s3cret"))
    });
    let mut alice = kit.world.enter("alice", "a").await;
    kit.world
        .gateway
        .send(order(5, To::User(uid("alice"))))
        .await
        .unwrap();
    alice
        .message(json!({"type": 19, "to": {"user": "bob"}, "data": {}}))
        .await;
    let sent = alice
        .message(
            json!({"type": 3, "to": {"user": "bob"}, "cid": "c", "data": {"n": 9_007_199_254_740_993_i64}}),
        )
        .await;
    alice
        .message(json!({"type": 3, "to": {"user": "bob"}, "cid": "c", "data": {}}))
        .await;
    alice
        .message(json!({"type": 3, "to": {"user": "alice"}, "data": {}}))
        .await;

    let first = posted.next().await;
    let expected = json!({
        "uid": "bob", "kind": 3, "mid": sent["mid"], "conv": sent["conv"], "seq": 2, "from": "alice",
        "unread": 1, "data": {"n": 9_007_199_254_740_993_i64}, "ts": sent["ts"],
    });
    assert_eq!(first.json(), expected);
    let signature = first.signature.as_ref().unwrap();
    let (time, hex) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    assert_eq!(hex.len(), 64);
    assert!(time.parse::<u64>().unwrap() > 1_700_000_000);
    alice
        .message(json!({"type": 18, "to": {"user": "cat"}, "data": {}}))
        .await;
    let second = posted.next().await;
    assert_eq!((second.uid(), &second.json()["kind"]), ("cat".into(), &json!(18)));
    assert!(posted.is_empty(), "one for each message that wants it");
}

#[tokio::test]
async fn the_backend_decides_for_one_message() {
    let (url, mut posted) = webhook(|_| Answer::Status(200)).await;
    let kit = kit(&url, |_| {});
    let with = |kind, push| SendOrder {
        push: Some(push),
        ..order(kind, To::User(uid("bob")))
    };
    kit.world.gateway.send(with(5, false)).await.unwrap();
    kit.world.gateway.send(with(19, true)).await.unwrap();
    let only = posted.next().await;
    assert_eq!(
        (&only.json()["kind"], &only.json()["from"]),
        (&json!(19), &json!("system"))
    );
    assert_eq!(only.signature, None);
    assert!(posted.is_empty());
}

#[tokio::test]
async fn a_team_is_gone_through_without_the_sender_and_those_who_are_there() {
    let (url, mut posted) = webhook(|_| Answer::Status(200)).await;
    let kit = kit(&url, |_| {});
    let gateway = &kit.world.gateway;
    let team = TeamId::new("t").unwrap();
    // More than a page.
    let members: Vec<_> = (0..1_203).map(|index| uid(&format!("u{index:04}"))).collect();
    gateway.put_team(team.clone(), "T".into(), members).await.unwrap();
    let mut sender = kit.world.enter("u0600", "s").await;
    let _there = kit.world.enter("u0007", "t").await;
    sender
        .message(json!({"type": 15, "to": {"team": "t"}, "data": {}}))
        .await;
    let mut notified = std::collections::BTreeSet::new();
    for _ in 0..1_201 {
        assert!(notified.insert(posted.next().await.uid()));
    }
    assert!(!notified.contains("u0600") && !notified.contains("u0007"));
}

#[tokio::test]
async fn what_fails_is_tried_again_until_it_is_taken() {
    let tries = Mutex::new(0);
    let (url, mut posted) = webhook(move |_| {
        *tries.lock() += 1;
        Answer::Status(if *tries.lock() < 4 { 500 } else { 200 })
    })
    .await;
    let kit = kit(&url, |_| {});
    kit.world
        .gateway
        .send(order(5, To::User(uid("bob"))))
        .await
        .unwrap();
    let first = posted.next().await;
    for _ in 1..4 {
        let again = posted.next().await;
        assert_eq!(again.body, first.body);
    }
    assert_eq!(kit.metrics.push_failed.get(), 3);
}

#[tokio::test]
async fn a_webhook_that_hangs_is_cut_off_and_holds_nobody_up() {
    let (url, mut posted) = webhook(|posted| match posted.uid().as_str() {
        "stuck" => Answer::Never,
        _ => Answer::Status(200),
    })
    .await;
    let kit = kit(&url, |config| {
        config.push.webhook.timeout_ms = 50;
        config.push.concurrency = 2;
    });
    kit.world
        .gateway
        .send(order(5, To::User(uid("stuck"))))
        .await
        .unwrap();
    assert_eq!(posted.next().await.uid(), "stuck");
    for index in 0..20 {
        let name = format!("u{index}");
        kit.world
            .gateway
            .send(order(5, To::User(uid(&name))))
            .await
            .unwrap();
    }
    let mut others = std::collections::BTreeSet::new();
    let mut stuck = 1;
    while others.len() < 20 || stuck < 3 {
        match posted.next().await.uid() {
            name if name == "stuck" => stuck += 1,
            name => assert!(others.insert(name)),
        }
    }
}

#[tokio::test]
async fn what_is_too_late_is_given_up_and_counted() {
    let (url, mut posted) = webhook(|_| Answer::Status(500)).await;
    let kit = kit(&url, |_| {});
    let late = SendOrder {
        ttl_ms: Some(1),
        ..order(5, To::User(uid("bob")))
    };
    kit.world.gateway.send(late).await.unwrap();
    while kit.metrics.push_dead.get() == 0 {
        tokio::task::yield_now().await;
    }
    // Whether one attempt began in time depends on the machine; more than one did not.
    let _ = posted.is_empty();
    assert!(posted.is_empty());
}

/// The row goes later; the notification is not repeated for it.
#[tokio::test]
async fn a_full_disk_repeats_no_notification() {
    let full = Arc::new(Mutex::new(None));
    let flag: Arc<Mutex<Option<Arc<AtomicBool>>>> = full.clone();
    let (url, mut posted) = webhook(move |_| {
        // The disk fills up before the outcome can be written.
        if let Some(full) = &*flag.lock() {
            full.store(true, Ordering::Relaxed);
        }
        Answer::Status(200)
    })
    .await;
    let kit = kit_on(
        &url,
        |_| {},
        |store| {
            let store = Troubled::new(store);
            *full.lock() = Some(store.full.clone());
            Arc::new(store)
        },
    );
    kit.world
        .gateway
        .send(order(5, To::User(uid("bob"))))
        .await
        .unwrap();
    posted.next().await;
    let lever = full.lock().take().unwrap();
    lever.store(false, Ordering::Relaxed);
    // The next one is notified once, and the first not again.
    kit.world
        .gateway
        .send(order(6, To::User(uid("bob"))))
        .await
        .unwrap();
    assert_eq!(posted.next().await.json()["kind"], 6);
    while kit.metrics.push_pending.get() > 0 {
        tokio::task::yield_now().await;
    }
    assert!(posted.is_empty());
}
