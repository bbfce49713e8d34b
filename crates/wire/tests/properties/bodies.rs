//! The properties that hold for arbitrary bytes, one function per decoder. They are called with bytes from
//! proptest, with the fuzzer's corpus, and by the fuzz targets in `fuzz/`.

use mynah_wire::engine::payload::{self, GetForm, PayloadError, PostForm, Reader, TextHabit};
use mynah_wire::engine::{
    Packet, PacketType, Protocol, SessionMachine, Time, TimeoutStep, Times, Transport, WsPayload, parse_query,
};
use mynah_wire::socket::{self, Assembler, Kind, Limits};
use mynah_wire::ws::{Decoder, Error, Message, Opcode, Role, frame};
use serde_json::value::RawValue;

/// A fuzz target: its name, which is also the folder of its corpus, and the function that checks it.
pub(crate) type Target = (&'static str, fn(&[u8]));

pub(crate) const TARGETS: [Target; 9] = [
    ("ws", ws),
    ("engine_packet", engine_packet),
    ("payload_v3_text", payload_v3_text),
    ("payload_v3_binary", payload_v3_binary),
    ("payload_jsonp", payload_jsonp),
    ("payload_v4", payload_v4),
    ("socket_packet", socket_packet),
    ("assembler", assembler),
    ("session", session),
];

const MAX_MESSAGE: usize = 1_000;
const LIMITS: Limits = Limits {
    max_attachments: 3,
    max_bytes: 1_000_000,
    keep_attachments: true,
};

/// A stream of frames, read whole and in chunks. The first byte says whose frames they are, and the size of
/// the chunks.
pub(crate) fn ws(data: &[u8]) {
    let Some((control, stream)) = data.split_first() else {
        return;
    };
    let role = if control & 0x80 == 0 {
        Role::Server
    } else {
        Role::Client
    };
    let whole = read_stream(role, stream, usize::MAX);
    let chunked = read_stream(role, stream, usize::from(control & 0x7f).max(1));
    assert_eq!(whole, chunked);
    // The frames that were read can be written and read again.
    let again: Vec<u8> = whole
        .0
        .iter()
        .flat_map(|(opcode, payload)| frame(*opcode, payload))
        .collect();
    assert_eq!(read_stream(Role::Client, &again, usize::MAX), (whole.0, None));
}

type Frames = Vec<(Opcode, Vec<u8>)>;

pub(crate) fn read_stream(role: Role, stream: &[u8], chunk: usize) -> (Frames, Option<Error>) {
    let mut decoder = Decoder::new(role, MAX_MESSAGE);
    let mut seen = Vec::new();
    for chunk in stream.chunks(chunk) {
        let mut buf = chunk.to_vec();
        let mut pos = 0;
        loop {
            match decoder.decode(&mut buf, &mut pos) {
                Ok(Some(message)) => seen.push(owned(message)),
                Ok(None) => break,
                Err(error) => return (seen, Some(error)),
            }
        }
        assert_eq!(pos, buf.len(), "everything is consumed");
    }
    (seen, None)
}

fn owned(message: Message<'_>) -> (Opcode, Vec<u8>) {
    let (opcode, payload) = match message {
        Message::Text(text) => (Opcode::Text, text.as_bytes().to_vec()),
        Message::Binary(bytes) => (Opcode::Binary, bytes.to_vec()),
        Message::Ping(bytes) => (Opcode::Ping, bytes.to_vec()),
        Message::Pong(bytes) => (Opcode::Pong, bytes.to_vec()),
        Message::Close(None) => (Opcode::Close, Vec::new()),
        Message::Close(Some(close)) => (
            Opcode::Close,
            [&close.code.to_be_bytes(), close.reason.as_bytes()].concat(),
        ),
    };
    let bound = if opcode.is_control() { 125 } else { MAX_MESSAGE };
    assert!(payload.len() <= bound);
    (opcode, payload)
}

/// One WebSocket message, as text if it is valid UTF-8, and as bytes.
pub(crate) fn engine_packet(data: &[u8]) {
    for protocol in [Protocol::V3, Protocol::V4] {
        if let Ok(Ok(packet)) = std::str::from_utf8(data).map(|text| Packet::decode_text(protocol, text)) {
            packet_round_trip(protocol, &packet);
        }
        if let Ok(packet) = Packet::decode_binary(protocol, data) {
            packet_round_trip(protocol, &packet);
        }
    }
}

pub(crate) fn packet_round_trip(protocol: Protocol, packet: &Packet<'_>) {
    for b64 in [false, true] {
        let written = packet.encode_websocket(protocol, b64);
        let again = match &written {
            WsPayload::Text(text) => Packet::decode_text(protocol, text),
            WsPayload::Binary(bytes) => Packet::decode_binary(protocol, bytes),
        };
        assert_eq!(again.as_ref(), Ok(packet));
    }
}

pub(crate) fn payload_v3_text(data: &[u8]) {
    body(Protocol::V3, PostForm::Text, data);
}

pub(crate) fn payload_v3_binary(data: &[u8]) {
    body(Protocol::V3, PostForm::Binary, data);
}

pub(crate) fn payload_jsonp(data: &[u8]) {
    body(Protocol::V3, PostForm::Jsonp, data);
    body(Protocol::V4, PostForm::Jsonp, data);
    if let Ok(text) = std::str::from_utf8(data) {
        let query = parse_query(text);
        let _ = (query.protocol(true), query.transport(), query.jsonp());
    }
}

pub(crate) fn payload_v4(data: &[u8]) {
    body(Protocol::V4, PostForm::Text, data);
}

/// The packets of a body.
pub(crate) fn packets_of(
    protocol: Protocol,
    form: PostForm,
    body: &[u8],
    habit: &mut TextHabit,
) -> Result<Vec<Packet<'static>>, PayloadError> {
    let mut reader = Reader::new(protocol, form, body.to_vec(), habit)?;
    Ok(std::iter::from_fn(|| reader.next_packet().map(Packet::into_owned)).collect())
}

fn body(protocol: Protocol, form: PostForm, data: &[u8]) {
    let Ok(packets) = packets_of(protocol, form, data, &mut TextHabit::default()) else {
        return;
    };
    assert!(!packets.is_empty());
    body_round_trip(protocol, &packets);
}

pub(crate) fn body_round_trip(protocol: Protocol, packets: &[Packet<'_>]) {
    for get in [GetForm::Text, GetForm::Binary, GetForm::Octets] {
        let (written, content_type) = payload::encode(protocol, get, false, packets);
        let post = if content_type == "application/octet-stream" {
            PostForm::Binary
        } else {
            PostForm::Text
        };
        if post == PostForm::Text
            && protocol == Protocol::V4
            && written.contains(&0x1e)
            && !separable(packets)
        {
            continue;
        }
        let read = packets_of(protocol, post, &written, &mut TextHabit::Plain);
        assert_eq!(read.as_deref(), Ok(packets));
    }
    let (script, _) = payload::encode(protocol, GetForm::Jsonp(7), true, packets);
    assert!(script.is_ascii() && script.starts_with(b"___eio[7](\"") && script.ends_with(b"\");"));
}

/// Whether no text contains the separator of EIO4, which cannot be escaped. JSON never contains it.
fn separable(packets: &[Packet<'_>]) -> bool {
    use mynah_wire::engine::Body;
    !packets
        .iter()
        .any(|packet| matches!(&packet.body, Body::Text(text) if text.contains('\u{1e}')))
}

/// One Socket.IO packet.
pub(crate) fn socket_packet(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else {
        return;
    };
    let Ok(packet) = socket::decode(text, &LIMITS) else {
        return;
    };
    assert!(packet.attachments <= LIMITS.max_attachments);
    assert!(packet.namespace.starts_with('/') && !packet.namespace.contains([',', '?']));
    // An event may lack its payload, as in Node's parser.
    let Some(payload) = packet.payload else { return };
    let written = match packet.kind {
        Kind::Event | Kind::BinaryEvent => {
            let Ok((name, args)) = socket::event_args(payload) else {
                assert_eq!(packet.kind, Kind::Event, "decode checks binary events");
                return;
            };
            socket::encode_event(packet.namespace, packet.id, &name, &args, packet.attachments)
        }
        Kind::Ack | Kind::BinaryAck => {
            let Ok(args) = socket::ack_args(payload) else {
                assert_eq!(packet.kind, Kind::Ack, "decode checks binary acks");
                return;
            };
            socket::encode_ack(
                packet.namespace,
                packet.id.expect("an ack has an id"),
                &args,
                packet.attachments,
            )
        }
        _ => return,
    };
    let again = socket::decode(&written, &LIMITS).expect("an encoded packet can be decoded");
    assert_eq!(
        (again.namespace, again.id, again.attachments),
        (packet.namespace, packet.id, packet.attachments)
    );
    assert_eq!(elements(again.payload), elements(packet.payload));
}

/// The elements of an array. A string at its start is decoded, because there are several ways to write it.
fn elements(payload: Option<&str>) -> Vec<String> {
    let raw: Vec<&RawValue> = serde_json::from_str(payload.expect("a payload")).expect("an array");
    let named = raw
        .first()
        .and_then(|first| serde_json::from_str::<String>(first.get()).ok());
    let first = named.or(raw.first().map(|first| first.get().to_owned()));
    first
        .into_iter()
        .chain(raw.iter().skip(1).map(|one| one.get().to_owned()))
        .collect()
}

/// A sequence of messages that are separated by bytes 0xff. A message is text if it is UTF-8; otherwise it is
/// binary, without a leading 0xfe.
pub(crate) fn assembler(data: &[u8]) {
    let mut assembler = Assembler::new();
    let mut due = 0;
    for message in data.split(|byte| *byte == 0xff) {
        let whole = match std::str::from_utf8(message) {
            Ok(text) => match assembler.text(text, &LIMITS) {
                Ok(None) => {
                    assert_eq!(due, 0);
                    due = socket::decode(text, &LIMITS)
                        .expect("the assembler accepted it")
                        .attachments;
                    assert!((1..=LIMITS.max_attachments).contains(&due));
                    continue;
                }
                Ok(whole) => whole,
                Err(_) => return,
            },
            Err(_) => {
                let bytes = message.strip_prefix(b"\xfe").unwrap_or(message);
                match assembler.binary(bytes, &LIMITS) {
                    Ok(whole) => {
                        due -= 1;
                        assert_eq!(whole.is_some(), due == 0);
                        whole
                    }
                    Err(_) => {
                        assert_eq!(due, 0);
                        return;
                    }
                }
            }
        };
        if let Some(whole) = whole {
            assert_eq!(due, 0);
            assert_eq!(whole.attachments.len(), whole.packet().attachments);
        }
    }
}

/// The life of a session: each pair of bytes is an event, and its time.
pub(crate) fn session(data: &[u8]) {
    let times = Times {
        ping_interval: 30,
        ping_timeout: 20,
        upgrade_timeout: 10,
    };
    let Some((first, events)) = data.split_first() else {
        return;
    };
    let protocol = if first & 1 == 0 {
        Protocol::V3
    } else {
        Protocol::V4
    };
    let transport = if first & 2 == 0 {
        Transport::Polling
    } else {
        Transport::WebSocket
    };
    let mut now = Time(0);
    let mut session = SessionMachine::new(protocol, transport, &times, now);
    let mut last_transport = transport;
    for event in events.chunks_exact(2) {
        now = now.after(u32::from(event[1] >> 2));
        let body = if event[1] & 1 == 0 { "probe" } else { "" };
        let kind = PacketType::from_number(event[0] & 7);
        let closed = session.is_closed();
        match (event[0] >> 3 & 7, kind) {
            (0 | 1, Some(kind)) => {
                session.handle(&times, now, &Packet::text(kind, body));
            }
            (2 | 3, Some(kind)) => {
                session.handle_candidate(&times, now, &Packet::text(kind, body));
            }
            (4, _) => {
                let wanted = session.candidate(&times, now);
                assert!(!wanted || (session.has_candidate() && session.transport() == Transport::Polling));
            }
            (5, _) => session.candidate_lost(),
            _ => {
                let due = session.poll_timeout().is_some_and(|at| at <= now);
                let step = session.handle_timeout(&times, now);
                assert_eq!(
                    due,
                    step != TimeoutStep::Nothing,
                    "handle_timeout acts if and only if a deadline has passed"
                );
            }
        }
        assert!(
            closed.is_none() || closed == session.is_closed(),
            "the first reason is kept"
        );
        assert_eq!(session.is_closed().is_some(), session.poll_timeout().is_none());
        assert!(!session.is_upgrading() || session.has_candidate());
        assert!(
            last_transport == Transport::Polling || session.transport() == Transport::WebSocket,
            "a session does not return to polling"
        );
        last_transport = session.transport();
        assert!(last_transport == Transport::Polling || !session.has_candidate());
    }
}
