//! Tests the results of the calls.

use super::description::properties;
use super::*;

#[tokio::test]
async fn a_sent_message_is_in_the_history() {
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
async fn a_team_is_created_changed_and_deleted() {
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
async fn the_page_creates_teams_but_never_changes_one() {
    let house = house(true);
    let body = || json!({"members": ["a"]}).to_string();
    assert_eq!(house.call("PUT", "/open/teams/t", body()).await.status, 200);
    house.call("PUT", "/open/teams/t", body()).await.problem(409);
}

#[tokio::test]
async fn without_connections_nobody_is_online_and_nothing_is_closed() {
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
