use mynah_wire::ws::{CloseFrame, Decoder, Error, Message, Role};
use serde_json::{Value, json};

use super::{cases, hex_of};

/// The limit with which `vectors/make` ran Node's receiver.
const MAX_MESSAGE: usize = 70_000;

/// The messages in `stream`, read in chunks, and the error after them.
fn read(role: Role, stream: &[u8], chunk: usize) -> (Vec<Value>, Option<Error>) {
    let mut decoder = Decoder::new(role, MAX_MESSAGE);
    let mut messages = Vec::new();
    for chunk in stream.chunks(chunk) {
        let mut buf = chunk.to_vec();
        let mut pos = 0;
        loop {
            match decoder.decode(&mut buf, &mut pos) {
                Ok(Some(message)) => messages.push(as_json(message)),
                Ok(None) => break,
                Err(error) => return (messages, Some(error)),
            }
        }
    }
    (messages, None)
}

fn as_json(message: Message<'_>) -> Value {
    match message {
        Message::Text(text) => json!({ "text": text }),
        Message::Binary(bytes) => json!({ "binary": bytes }),
        Message::Ping(bytes) => json!({ "ping": bytes }),
        Message::Pong(bytes) => json!({ "pong": bytes }),
        Message::Close(Some(CloseFrame { code, reason })) => json!({ "close": code, "reason": reason }),
        // Node reports a close frame without a code like this.
        Message::Close(None) => json!({ "close": 1005, "reason": "" }),
    }
}

#[test]
fn websocket_streams_are_read_as_by_node() {
    for case in cases("ws-streams") {
        let role = if case["role"] == "server" {
            Role::Server
        } else {
            Role::Client
        };
        let stream = hex_of(&case["hex"]);
        let mut expected = case["messages"].as_array().expect("messages").clone();
        for message in &mut expected {
            for key in ["binary", "ping", "pong"] {
                if let Some(bytes) = message.get_mut(key) {
                    *bytes = json!(hex_of(bytes));
                }
            }
        }
        for chunk in [1, 2, 3, 7, 1_000, usize::MAX] {
            let (messages, error) = read(role, &stream, chunk);
            assert_eq!(messages, expected, "{} in chunks of {chunk}", case["name"]);
            let code = error.map(|error| u64::from(error.close_code()));
            assert_eq!(
                code,
                case["error"].as_u64(),
                "{} in chunks of {chunk}",
                case["name"]
            );
        }
    }
}
