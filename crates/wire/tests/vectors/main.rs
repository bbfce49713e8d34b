//! Replays `crates/wire/vectors/*.json`, the output of Node's own encoders and parsers. `vectors/make` writes
//! these files.

mod engine;
mod payloads;
mod socket;
mod ws;

use mynah_wire::engine::{Packet, PacketType, Protocol};
use serde_json::Value;

/// The cases in one file.
fn cases(name: &str) -> Vec<Value> {
    let path = format!("{}/vectors/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let text = std::fs::read_to_string(&path).expect(&path);
    let mut file: Value = serde_json::from_str(&text).expect(&path);
    let Value::Array(cases) = file["cases"].take() else {
        panic!("{path} has no cases")
    };
    assert!(!cases.is_empty());
    cases
}

/// Decodes hexadecimal digits, where `(digits*times)` is a repetition.
fn unhex(hex: &str) -> Vec<u8> {
    let plain = |hex: &str| -> Vec<u8> {
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hexadecimal");
        (0..hex.len()).step_by(2).map(byte).collect()
    };
    let mut bytes = Vec::new();
    for part in hex.split(['(', ')']) {
        match part.split_once('*') {
            Some((run, times)) => bytes.extend(plain(run).repeat(times.parse().expect("a count"))),
            None => bytes.extend(plain(part)),
        }
    }
    bytes
}

fn hex_of(value: &Value) -> Vec<u8> {
    unhex(value.as_str().expect("hexadecimal"))
}

fn protocol(case: &Value) -> Protocol {
    Protocol::parse(&case["protocol"].to_string()).expect("a protocol")
}

/// An Engine.IO packet in the form of the vectors.
fn packet(value: &Value) -> Packet<'static> {
    let name = value["type"].as_str().expect("a type");
    let kind = PacketType::ALL
        .into_iter()
        .find(|kind| format!("{kind:?}").to_lowercase() == name);
    match value["hex"].as_str() {
        Some(hex) => Packet::binary(unhex(hex)),
        None => Packet::text(
            kind.expect("a type"),
            value["text"].as_str().expect("a text").to_owned(),
        ),
    }
}
