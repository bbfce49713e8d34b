//! Packets in the form in which they are queued: encoded once, and shared by all recipients.

use bytes::{Buf, Bytes};
use mynah_wire::engine::{self, Dialect, PacketType, Reads};
use mynah_wire::{socket, ws};
use serde_json::value::RawValue;

/// An encoded event. Clones share the bytes.
///
/// It is stored as the complete WebSocket frame of an Engine.IO text packet. Polling uses the frame's
/// payload.
#[derive(Clone)]
pub struct Encoded(Outgoing);

impl Encoded {
    /// The event `name` with `args` for sockets of the namespace `/`.
    pub fn event(name: &str, args: &[&RawValue]) -> Self {
        Self(Outgoing::event("/", None, name, args, 0))
    }

    /// The event `name` for sockets of the namespace `/`, with one argument: `json`, which is not checked.
    pub fn event_with_json(name: &str, json: &str) -> Self {
        Self::event_with(name, json.len(), |out| out.extend_from_slice(json.as_bytes()))
    }

    /// The event `name` for sockets of the namespace `/`, with one argument: a string that contains `text`.
    pub fn event_with_text(name: &str, text: &str) -> Self {
        // Quotes in JSON need an escape. There is about one quote for 12 to 24 bytes.
        let bytes = text.len() + text.len() / 8 + 32;
        Self::event_with(name, bytes, |out| socket::write_string(out, text))
    }

    /// An event with the argument that `write` appends; `bytes` is its approximate length.
    fn event_with(name: &str, bytes: usize, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        Self(Outgoing::written(name.len() + bytes + 16, |out| {
            socket::event_writer("/", None, name, &[], 0)(out);
            // The argument belongs before the closing bracket.
            out.pop();
            out.push(b',');
            write(out);
            out.push(b']');
        }))
    }

    /// The number of bytes that the event counts in a queue.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Always false, because a frame has a header.
    pub fn is_empty(&self) -> bool {
        self.0.frame.is_empty()
    }

    pub(crate) fn outgoing(&self) -> Outgoing {
        self.0.clone()
    }
}

impl std::fmt::Debug for Encoded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Encoded({} bytes)", self.0.len())
    }
}

/// Memory that a packet takes in addition to its bytes: its entry in the queue, and its allocation. If it was
/// not counted, a peer that causes many tiny responses could make the server hold many times the limit.
const OVERHEAD_BYTES: usize = 32;

/// One Engine.IO packet in a queue.
#[derive(Clone)]
pub(crate) struct Outgoing {
    /// A WebSocket frame with its header; while it is being written, the rest of it.
    frame: Bytes,
    /// The bytes that the packet counts in the session's queue: those of the original frame, and
    /// [`OVERHEAD_BYTES`]. It does not change when the frame gets another form, or is written in part.
    weight: u32,
    /// The length of the header.
    header: u8,
    /// Whether this is a binary message. Its payload is the message's bytes without a type.
    binary: bool,
    /// Whether this is the answer to a WebSocket ping.
    pong: bool,
}

impl Outgoing {
    fn new(frame: Bytes, header: usize, binary: bool) -> Self {
        Self {
            weight: u32::try_from(frame.len() + OVERHEAD_BYTES).unwrap_or(u32::MAX),
            frame,
            header: header as u8,
            binary,
            pong: false,
        }
    }

    /// A frame that the WebSocket itself adds. It does not count in the session's queue.
    pub(crate) fn added(frame: Vec<u8>) -> Self {
        Self {
            weight: 0,
            ..Self::new(frame.into(), 0, false)
        }
    }

    /// The answer to a WebSocket ping.
    pub(crate) fn pong(payload: &[u8]) -> Self {
        Self {
            pong: true,
            ..Self::added(ws::frame(ws::Opcode::Pong, payload))
        }
    }

    /// A message packet with this text.
    pub(crate) fn message(text: &str) -> Self {
        Self::written(text.len(), |packet| packet.extend_from_slice(text.as_bytes()))
    }

    /// A message packet with the event that [`socket::encode_event`] would write.
    pub(crate) fn event(
        namespace: &str,
        id: Option<u64>,
        name: &str,
        args: &[&RawValue],
        attachments: usize,
    ) -> Self {
        let bytes = 48 + namespace.len() + name.len() + args_bytes(args);
        Self::written(
            bytes,
            socket::event_writer(namespace, id, name, args, attachments),
        )
    }

    /// A message packet with the acknowledgement that [`socket::encode_ack`] would write.
    pub(crate) fn ack(namespace: &str, id: u64, args: &[&RawValue], attachments: usize) -> Self {
        let bytes = 48 + namespace.len() + args_bytes(args);
        Self::written(bytes, socket::ack_writer(namespace, id, args, attachments))
    }

    /// A message packet with the text that `write` appends; `bytes` is its approximate length. The caller
    /// must make sure that the text is UTF-8.
    fn written(bytes: usize, write: impl FnOnce(&mut Vec<u8>)) -> Self {
        // Room for the longest header, because the length of the text is not known yet.
        const ROOM: [u8; 10] = [0; 10];
        let mut frame = Vec::with_capacity(ROOM.len() + 1 + bytes);
        frame.extend_from_slice(&ROOM);
        frame.push(PacketType::Message.digit());
        write(&mut frame);
        let header = ws::header(ws::Opcode::Text, frame.len() - ROOM.len());
        let at = ROOM.len() - header.len();
        frame[at..ROOM.len()].copy_from_slice(&header);
        let mut frame = Bytes::from(frame);
        frame.advance(at);
        Self::new(frame, header.len(), false)
    }

    /// A message packet with these bytes.
    pub(crate) fn binary(bytes: &[u8]) -> Self {
        let header = ws::header(ws::Opcode::Binary, bytes.len()).len();
        Self::new(ws::frame(ws::Opcode::Binary, bytes).into(), header, true)
    }

    /// The open packet of a session.
    pub(crate) fn open(json: &str) -> Self {
        let text = format!("0{json}");
        let header = ws::header(ws::Opcode::Text, text.len()).len();
        Self::new(ws::frame(ws::Opcode::Text, text.as_bytes()).into(), header, false)
    }

    /// A packet without a body.
    pub(crate) fn control(kind: PacketType) -> Self {
        const FRAMES: [[u8; 3]; 7] = [
            [0x81, 1, b'0'],
            [0x81, 1, b'1'],
            [0x81, 1, b'2'],
            [0x81, 1, b'3'],
            [0x81, 1, b'4'],
            [0x81, 1, b'5'],
            [0x81, 1, b'6'],
        ];
        let frame: &'static [u8; 3] = &FRAMES[usize::from(kind.digit() - b'0')];
        Self::new(Bytes::from_static(frame), 2, false)
    }

    /// The number of bytes that the packet counts in a queue.
    pub(crate) fn len(&self) -> usize {
        self.weight as usize
    }

    /// Whether this is an Engine.IO pong without a body.
    pub(crate) fn is_bare_pong(&self) -> bool {
        !self.binary && self.frame.get(usize::from(self.header)..) == Some(&[PacketType::Pong.digit()])
    }

    /// The bytes to be written to a WebSocket.
    pub(crate) fn frame(&self) -> &[u8] {
        &self.frame
    }

    /// Removes the first `n` bytes of the frame, which have been written.
    pub(crate) fn advance(&mut self, n: usize) {
        self.frame.advance(n);
    }

    /// Whether this is the answer to a WebSocket ping.
    pub(crate) fn is_pong(&self) -> bool {
        self.pong
    }

    /// Whether [`Outgoing::fit_websocket`] changes no packet, as for nearly all clients.
    pub(crate) fn fits_websocket(protocol: engine::Protocol, dialect: Dialect) -> bool {
        protocol == engine::Protocol::V4 && dialect.reads != Reads::Text && !dialect.eio2
    }

    /// Gives the frame the form for a WebSocket of this protocol and dialect. After that it must not be used
    /// for polling. `json` says that characters beyond ASCII occur only inside JSON strings.
    pub(crate) fn fit_websocket(&mut self, protocol: engine::Protocol, dialect: Dialect, json: bool) {
        if !self.binary {
            if dialect.eio2 && json {
                self.escape();
            }
            return;
        }
        let b64 = dialect.reads == Reads::Text;
        if protocol == engine::Protocol::V4 && !b64 {
            return;
        }
        let payload =
            engine::Packet::binary(&self.frame[usize::from(self.header)..]).encode_websocket(protocol, b64);
        self.frame = match payload {
            engine::WsPayload::Text(text) => ws::frame(ws::Opcode::Text, text.as_bytes()).into(),
            engine::WsPayload::Binary(bytes) => ws::frame(ws::Opcode::Binary, &bytes).into(),
        };
    }

    /// Replaces the text's characters beyond ASCII by JSON escapes.
    fn escape(&mut self) {
        // The server wrote this text, so it is valid UTF-8.
        let text = std::str::from_utf8(&self.frame[usize::from(self.header)..]).unwrap_or_default();
        if text.is_ascii() {
            return;
        }
        let mut escaped = String::with_capacity(2 * text.len());
        engine::payload::push_ascii(text, &mut escaped);
        self.frame = ws::frame(ws::Opcode::Text, escaped.as_bytes()).into();
    }

    /// The packet, for polling.
    pub(crate) fn packet(&self) -> engine::Packet<'_> {
        let payload = &self.frame[usize::from(self.header)..];
        if self.binary {
            return engine::Packet::binary(payload);
        }
        // The server wrote this payload: one type digit and valid UTF-8. If that was ever untrue, a noop
        // would do no harm.
        std::str::from_utf8(payload)
            .ok()
            .and_then(|text| engine::Packet::decode_text(engine::Protocol::V4, text).ok())
            .unwrap_or_else(|| engine::Packet::text(PacketType::Noop, ""))
    }
}

/// The number of bytes that arguments take in a packet.
fn args_bytes(args: &[&RawValue]) -> usize {
    args.iter().map(|arg| arg.get().len() + 1).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_packets_are_complete_frames() {
        for kind in [
            PacketType::Close,
            PacketType::Ping,
            PacketType::Pong,
            PacketType::Noop,
        ] {
            let control = Outgoing::control(kind);
            assert_eq!(control.packet().kind, kind);
            assert_eq!(control.frame, ws::frame(ws::Opcode::Text, &[kind.digit()]));
        }
    }

    #[test]
    fn events_written_in_place_are_complete_frames() {
        for length in [0, 1, 90, 125, 126, 65_000, 70_000] {
            let argument = serde_json::value::to_raw_value(&"x".repeat(length)).unwrap();
            let written = Encoded::event_with_json("message", argument.get());
            let expected = format!("42[\"message\",{argument}]");
            assert_eq!(written.0.frame, ws::frame(ws::Opcode::Text, expected.as_bytes()));
            assert_eq!(written.0.packet().kind, PacketType::Message);
            assert_eq!(written.0.frame, Encoded::event("message", &[&argument]).0.frame);
            let text = Encoded::event_with_text("message", &"x".repeat(length));
            assert_eq!(written.0.frame, text.0.frame);
        }
    }

    fn dialect(b64: bool, eio2: bool) -> Dialect {
        let reads = if b64 { Reads::Text } else { Reads::Both };
        Dialect { reads, eio2 }
    }

    #[test]
    fn text_for_clients_that_say_eio_2_is_ascii() {
        let text = Outgoing::message("2[\"\u{e9}\u{1f600}\"]");
        for (eio2, json, expected) in [
            (true, true, r#"42["\u00e9\ud83d\ude00"]"#),
            (true, false, "42[\"\u{e9}\u{1f600}\"]"),
            (false, true, "42[\"\u{e9}\u{1f600}\"]"),
        ] {
            let mut fit = text.clone();
            fit.fit_websocket(engine::Protocol::V3, dialect(false, eio2), json);
            assert_eq!(fit.frame, ws::frame(ws::Opcode::Text, expected.as_bytes()));
            assert_eq!(fit.len(), text.len(), "its weight does not change with its form");
        }
    }

    #[test]
    fn binary_messages_have_the_form_of_their_protocol() {
        let binary = Outgoing::binary(&[1, 2, 3]);
        let form = |protocol, b64| {
            let mut fit = binary.clone();
            fit.fit_websocket(protocol, dialect(b64, false), true);
            assert_eq!(
                fit.len(),
                binary.len(),
                "its weight does not change with its form"
            );
            fit.frame
        };
        assert_eq!(form(engine::Protocol::V4, false), [0x82, 3, 1, 2, 3].as_slice());
        assert_eq!(
            form(engine::Protocol::V3, false),
            [0x82, 4, 4, 1, 2, 3].as_slice()
        );
        assert_eq!(form(engine::Protocol::V3, true), b"\x81\x06b4AQID".as_slice());
    }
}
