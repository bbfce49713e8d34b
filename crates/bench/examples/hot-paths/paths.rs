//! The paths: what is sent, and what must arrive.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use mynah::{By, SendOrder, To};
use serde_json::value::RawValue;
use serde_json::{Value, json};

use crate::client::packet;
use crate::world::{HANDLED, PASSED, World, uid};

/// Runs a path once, from the first byte to the last.
pub(crate) type Walk = Box<dyn FnMut(&mut World)>;

/// A path. If it changes, or the texts below, new figures must be recorded.
pub(crate) struct Path {
    pub(crate) name: &'static str,
    /// The number of connected clients.
    pub(crate) users: usize,
    /// The format in which the clients want their frames.
    pub(crate) format: &'static str,
    /// How often the path is run while it is counted.
    pub(crate) walks: usize,
    /// The number of operations of one run.
    pub(crate) operations: usize,
    pub(crate) walk: fn(&World) -> anyhow::Result<Walk>,
}

/// The number of frames at once, where the way through the sockets is not measured.
const BURST: usize = 16;

/// All paths.
pub(crate) const PATHS: &[Path] = &[
    Path {
        name: "decode-object",
        users: 1,
        format: "object",
        walks: 20,
        operations: BURST,
        walk: |_| decode(|frame| frame),
    },
    Path {
        name: "decode-string",
        users: 1,
        format: "string",
        walks: 20,
        operations: BURST,
        walk: |_| decode(in_a_string),
    },
    Path {
        name: "encode-object",
        users: 1,
        format: "object",
        walks: 20,
        operations: BURST,
        walk: |_| encode(),
    },
    Path {
        name: "encode-string",
        users: 1,
        format: "string",
        walks: 20,
        operations: BURST,
        walk: |_| encode(),
    },
    Path {
        name: "one-to-one",
        users: 2,
        format: "string",
        walks: 200,
        operations: 1,
        walk: |_| one_to_one(PASSED),
    },
    Path {
        name: "one-to-one-stored",
        users: 2,
        format: "string",
        walks: 200,
        operations: 1,
        walk: |_| one_to_one(3),
    },
    Path {
        name: "team-100",
        users: 101,
        format: "string",
        walks: 20,
        operations: 1,
        walk: |_| team(),
    },
    Path {
        name: "everyone-100",
        users: 100,
        format: "string",
        walks: 20,
        operations: 1,
        walk: |_| everyone(),
    },
    Path {
        name: "everyone-200",
        users: 200,
        format: "string",
        walks: 20,
        operations: 1,
        walk: |_| everyone(),
    },
];

/// A typical message: about 200 bytes, some of them not ASCII, some of them escaped.
const TEXT: &str = "Who has the salt? \"Nobody\", said the cook.\nIt was on the table yesterday, next to the green bowl; \
                    perhaps the neighbours took it. 盐在哪里 🐦 Please look in the cupboard, too, before you go out.";

/// A message whose encoding is most of the work.
fn long_text() -> String {
    TEXT.repeat(8)
}

fn message(kind: u16, to: &Value) -> Value {
    let message = json!({"type": kind, "to": to, "cid": "m-0001", "data": {"text": TEXT, "n": [1, 2, 3]}});
    json!({"type": 101, "req": "r1", "data": message})
}

fn in_a_string(frame: Value) -> Value {
    Value::String(frame.to_string())
}

fn event(frame: &Value) -> Vec<u8> {
    packet(&format!(r#"42["message",{frame}]"#))
}

/// From a client's bytes to the handler of its kind.
fn decode(form: fn(Value) -> Value) -> anyhow::Result<Walk> {
    let mut frame = message(PASSED, &json!({"user": uid(0)}));
    frame["type"] = HANDLED.into();
    frame.as_object_mut().map(|frame| frame.remove("req"));
    let burst = event(&form(frame)).repeat(BURST);
    let mut handled = 0;
    Ok(Box::new(move |world| {
        handled += BURST;
        world.clients[0].send(&burst);
        world.run_until(|world| world.handled.load(Ordering::Relaxed) == handled);
    }))
}

fn order(to: To, text: &str) -> anyhow::Result<SendOrder> {
    let data: Arc<RawValue> = serde_json::value::to_raw_value(&json!({"text": text}))?.into();
    Ok(SendOrder {
        kind: PASSED,
        to,
        from: Some(uid(0)),
        data,
        cid: None,
        push: None,
        ttl_ms: None,
        by: By::Api,
    })
}

/// From the backend's messages of 1.6 KiB to a client's socket.
fn encode() -> anyhow::Result<Walk> {
    let order = order(To::User(uid(0)), &long_text())?;
    Ok(Box::new(move |world| {
        let due = world.clients[0].frames + BURST;
        world.run(async {
            for _ in 0..BURST {
                world.gateway.send(order.clone()).await.expect("it is sent");
            }
        });
        world.frames_come(0..1, due);
    }))
}

/// From a client's socket to another's, and the response.
fn one_to_one(kind: u16) -> anyhow::Result<Walk> {
    let frame = event(&in_a_string(message(kind, &json!({"user": uid(1)}))));
    Ok(Box::new(move |world| {
        let due = world.clients[0].frames + 1;
        world.clients[0].send(&frame);
        world.frames_come(0..2, due);
    }))
}

/// From a client's socket to those of all others, stored.
fn team() -> anyhow::Result<Walk> {
    let frame = event(&in_a_string(message(15, &json!({"team": "kitchen"}))));
    Ok(Box::new(move |world| {
        let due = world.clients[0].frames + 1;
        world.clients[0].send(&frame);
        world.frames_come(0..world.clients.len(), due);
    }))
}

/// From the backend to everyone's sockets, not stored.
fn everyone() -> anyhow::Result<Walk> {
    let order = order(To::Everyone, TEXT)?;
    Ok(Box::new(move |world| {
        let due = world.clients[0].frames + 1;
        world.run(world.gateway.send(order.clone())).expect("it is sent");
        world.frames_come(0..world.clients.len(), due);
    }))
}
