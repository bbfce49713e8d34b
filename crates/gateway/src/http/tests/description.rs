//! Tests that the description matches what is served.

use super::*;

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
        ("post", "/v1/revocations"),
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
        // Signing oneself out needs the user's token, except in open mode.
        let tokens = path == "/signout";
        assert_eq!(call["security"].is_null(), open && !tokens, "{path}");
        assert_eq!(
            call["description"].is_null(),
            open && path != "/metrics",
            "{path}"
        );
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

#[tokio::test]
async fn a_client_can_be_generated_from_the_description() {
    let description = call("GET", "/v1/openapi.json", "").await.body;
    let schemas = &description["components"]["schemas"];
    let required = |schema: &str| {
        schemas[schema]["required"]
            .as_array()
            .cloned()
            .unwrap_or_default()
    };
    assert_eq!(required("Revoke"), [] as [Value; 0], "both times may be left out");
    // This is any JSON value, and it is required. Code generators would read "type": "object" as an object
    // without fields.
    for schema in ["Message", "Envelope"] {
        let data = schemas[schema]["properties"]["data"].as_object().unwrap();
        assert_eq!(data.keys().collect::<Vec<_>>(), ["description"], "{schema}");
        assert!(required(schema).contains(&json!("data")), "{schema}");
    }
    let last = &schemas["Conversation"]["properties"]["last"]["oneOf"];
    assert_eq!(last[0]["$ref"], "#/components/schemas/Envelope");
    assert_eq!(last[1]["type"], "null");
    // These fields are always written, although they may be null.
    for (schema, field) in [
        ("Conversation", "last"),
        ("ConversationPage", "next"),
        ("Connection", "platform"),
    ] {
        assert!(required(schema).contains(&json!(field)), "{schema}.{field}");
    }
    fn vague(value: &Value, path: &str, found: &mut Vec<String>) {
        if value["type"] == "object"
            && value.get("properties").is_none()
            && value.get("additionalProperties").is_none()
        {
            found.push(path.to_owned());
        }
        let inner: Vec<(String, &Value)> = match value {
            Value::Object(fields) => fields.iter().map(|(name, value)| (name.clone(), value)).collect(),
            Value::Array(items) => items.iter().map(|value| ("[]".to_owned(), value)).collect(),
            _ => Vec::new(),
        };
        for (name, value) in inner {
            vague(value, &format!("{path}/{name}"), found);
        }
    }
    let mut found = Vec::new();
    vague(&description, "", &mut found);
    assert_eq!(found, [] as [String; 0], "objects of which nothing is said");
}

/// The names of the properties that a schema of the description has.
pub(super) fn properties(description: &Value, schema: &str) -> Vec<String> {
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
