//! The example of a program that embeds the gateway.

use serde_json::json;

use crate::embed;
use crate::running::{Running, config};

#[tokio::test]
async fn the_example_answers_its_kind() {
    let (config, data) = config(|_| {});
    let server = Running::run(embed::server(config).await.unwrap(), data);
    let mut alice = server.registered("alice").await;
    let mut bob = server.registered("bob").await;
    let question = json!({"type": 1000, "data": {"uids": ["bob", "zoe"]}});
    assert_eq!(alice.ask(&question).await, json!({"code": 0, "here": ["bob"]}));
    let asked = bob.frame().await;
    assert_eq!(
        (&asked["type"], &asked["data"]),
        (&json!(1001), &json!({"by": "alice"}))
    );
    assert_eq!(alice.ask(&json!({"type": 1000, "data": {}})).await["code"], 400);

    assert!(server.gateway.unregister_type(1000));
    assert_eq!(alice.ask(&question).await["code"], 404);
}
