use mynah_wire::engine::Protocol;
use mynah_wire::socket::{
    Assembler, DecodeError, Kind, Limits, Packet, Whole, ack_args, encode_ack, encode_connect,
    encode_connect_error, encode_disconnect, encode_event, event_args,
};
use serde_json::Value;
use serde_json::value::RawValue;

use super::{cases, hex_of};

/// Reads a text and its attachments, which must be exactly one packet.
fn read<'a>(text: &'a str, attachments: &[Vec<u8>]) -> Result<Option<Whole<'a>>, DecodeError> {
    let limits = Limits::default();
    let mut assembler = Assembler::new();
    let mut whole: Option<Whole<'a>> = assembler.text(text, &limits)?;
    for attachment in attachments {
        assert!(
            whole.is_none()
                || whole
                    .as_ref()
                    .is_some_and(|whole| whole.packet().attachments == 0)
        );
        whole = assembler.binary(attachment, &limits)?;
    }
    if let Some(whole) = &whole {
        arguments(&whole.packet())?;
    }
    Ok(whole)
}

/// The arguments of a packet, with the event's name if it is an event.
fn arguments(packet: &Packet<'_>) -> Result<(Option<String>, Vec<String>), DecodeError> {
    let owned = |args: Vec<&RawValue>| args.into_iter().map(|arg| arg.get().to_owned()).collect();
    match (packet.kind, packet.payload) {
        (Kind::Event | Kind::BinaryEvent, Some(payload)) => {
            let (name, args) = event_args(payload)?;
            Ok((Some(name.into_owned()), owned(args)))
        }
        (Kind::Ack | Kind::BinaryAck, Some(payload)) => Ok((None, owned(ack_args(payload)?))),
        _ => Ok((None, Vec::new())),
    }
}

#[test]
fn socket_packets_are_read_and_written_as_by_node() {
    for case in cases("socket-packets") {
        let text = case["text"].as_str().expect("a text");
        let attachments: Vec<Vec<u8>> = case["attachments"]
            .as_array()
            .expect("attachments")
            .iter()
            .map(hex_of)
            .collect();
        let read = read(text, &attachments);
        if case.get("read").is_some() {
            let good = matches!(&read, Ok(Some(_)));
            assert_eq!(good, case["good"] == true, "{case}: {read:?}");
            if let (Ok(Some(whole)), Some(namespace)) = (&read, case["namespace"].as_str()) {
                assert_eq!(
                    (whole.packet().namespace, whole.packet().id),
                    (namespace, case["id"].as_u64())
                );
            }
            continue;
        }
        let whole = read.expect(text).expect("a whole packet");
        assert_eq!(whole.attachments, attachments);
        compare(&case, &whole.packet());
        write(&case, text, &whole.packet());
    }
}

fn compare(case: &Value, packet: &Packet<'_>) {
    let kind = match packet.kind {
        Kind::Connect => "connect",
        Kind::Disconnect => "disconnect",
        Kind::Event | Kind::BinaryEvent => "event",
        Kind::Ack | Kind::BinaryAck => "ack",
        Kind::ConnectError => "connect_error",
    };
    assert_eq!(kind, case["kind"], "{case}");
    assert_eq!(packet.namespace, case["namespace"], "{case}");
    assert_eq!(packet.query, case["query"].as_str(), "{case}");
    assert_eq!(packet.id, case["id"].as_u64(), "{case}");
    assert_eq!(packet.payload, case["payload"].as_str(), "{case}");
    if let Some(args) = case["args"].as_array() {
        let expected: Vec<&str> = args.iter().map(|arg| arg.as_str().expect("raw JSON")).collect();
        let (name, args) = arguments(packet).expect("arguments");
        assert_eq!(
            (name.as_deref(), args),
            (
                case["name"].as_str(),
                expected.iter().map(|s| s.to_string()).collect()
            )
        );
    }
}

/// Checks that our encoders write the same text as Node's, for every packet that a server sends.
fn write(case: &Value, text: &str, packet: &Packet<'_>) {
    let protocol = if case["generation"] == "V5" {
        Protocol::V4
    } else {
        Protocol::V3
    };
    let raw = |json| -> &RawValue { serde_json::from_str(json).expect("JSON") };
    let payload: Value = packet
        .payload
        .map_or(Value::Null, |json| serde_json::from_str(json).expect("JSON"));
    let (name, args) = arguments(packet).expect("arguments");
    let args: Vec<&RawValue> = args.iter().map(|arg| raw(arg)).collect();
    let written = match packet.kind {
        // A client may use a number as a name. Our encoder only writes strings.
        Kind::Event | Kind::BinaryEvent if payload[0].is_number() => return,
        Kind::Event | Kind::BinaryEvent => encode_event(
            packet.namespace,
            packet.id,
            &name.expect("a name"),
            &args,
            packet.attachments,
        ),
        Kind::Ack | Kind::BinaryAck => encode_ack(
            packet.namespace,
            packet.id.expect("an id"),
            &args,
            packet.attachments,
        ),
        Kind::Disconnect => encode_disconnect(packet.namespace),
        Kind::ConnectError => {
            let message = payload["message"]
                .as_str()
                .or(payload.as_str())
                .unwrap_or_default();
            let data = match protocol {
                Protocol::V4 => payload.get("data").map(Value::to_string),
                Protocol::V3 => payload.is_object().then(|| payload.to_string()),
            };
            encode_connect_error(protocol, packet.namespace, message, data.as_deref().map(raw))
        }
        // These are a client's requests to connect. They have no id, or a query.
        Kind::Connect => match (protocol, payload["sid"].as_str(), packet.query) {
            (Protocol::V3, _, Some(_)) | (Protocol::V4, None, _) => return,
            (_, sid, _) => encode_connect(protocol, packet.namespace, sid.unwrap_or_default()),
        },
    };
    assert_eq!(written, text, "{case}");
}
