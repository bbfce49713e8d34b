//! The decoder: whole and split frames, fragments, limits, and what it refuses.

use super::super::{CloseFrame, close_frame, frame, masked_frame};
use super::*;

const MASK: [u8; 4] = [9, 8, 7, 250];

/// A masked frame with any first byte, for frames that the encoder never writes.
fn raw(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut bytes = masked_frame(Opcode::Text, payload, MASK);
    bytes[0] = first;
    bytes
}

/// Decodes `chunks` one after the other, and returns every message as text.
fn read(decoder: &mut Decoder, chunks: &[&[u8]]) -> Result<Vec<String>, Error> {
    let mut seen = Vec::new();
    for chunk in chunks {
        let mut buf = chunk.to_vec();
        let mut pos = 0;
        while let Some(message) = decoder.decode(&mut buf, &mut pos)? {
            seen.push(format!("{message:?}"));
        }
        assert_eq!(pos, buf.len());
    }
    Ok(seen)
}

fn server() -> Decoder {
    Decoder::new(Role::Server, 1_000)
}

#[test]
fn one_read_may_contain_several_frames() {
    let mut bytes = masked_frame(Opcode::Text, b"one", MASK);
    bytes.extend(masked_frame(Opcode::Binary, b"", MASK));
    bytes.extend(masked_frame(Opcode::Ping, b"p", MASK));
    let mut decoder = server();
    assert_eq!(
        read(&mut decoder, &[&bytes]).unwrap(),
        ["Text(\"one\")", "Binary([])", "Ping([112])"]
    );
    assert!(decoder.held.is_none());
}

#[test]
fn a_control_frame_between_fragments_does_not_disturb_them() {
    let mut bytes = raw(0x01, "h\u{e9}".as_bytes());
    bytes.extend(raw(0x89, b"now"));
    bytes.extend(raw(0x00, b""));
    bytes.extend(raw(0x80, b"llo"));
    let expected = ["Ping([110, 111, 119])", "Text(\"h\u{e9}llo\")"];
    assert_eq!(read(&mut server(), &[&bytes]).unwrap(), expected);
    let one_by_one: Vec<&[u8]> = bytes.chunks(1).collect();
    let mut decoder = server();
    assert_eq!(read(&mut decoder, &one_by_one).unwrap(), expected);
    assert_eq!(read(&mut decoder, &[b""]).unwrap(), [""; 0]);
    assert!(decoder.held.is_none(), "nothing is kept between messages");
}

#[test]
fn a_character_may_be_cut_by_a_fragment_but_must_be_whole_at_the_end() {
    let bytes = "\u{65e5}".as_bytes();
    let mut stream = raw(0x01, &bytes[..1]);
    stream.extend(raw(0x80, &bytes[1..]));
    assert_eq!(read(&mut server(), &[&stream]).unwrap(), ["Text(\"\u{65e5}\")"]);
    assert_eq!(read(&mut server(), &[&raw(0x81, &bytes[..2])]), Err(Error::Utf8));
}

#[test]
fn misplaced_fragments_are_refused() {
    assert!(matches!(
        read(&mut server(), &[&raw(0x80, b"x")]),
        Err(Error::Protocol(_))
    ));
    let mut stream = raw(0x01, b"a");
    stream.extend(raw(0x81, b"b"));
    assert!(matches!(read(&mut server(), &[&stream]), Err(Error::Protocol(_))));
}

#[test]
fn a_message_over_the_limit_is_refused_because_of_its_header() {
    let head = [
        0x82, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 2, 3, 4,
    ];
    assert_eq!(read(&mut server(), &[&head]), Err(Error::TooBig));
    let mut fragments = raw(0x02, &[0; 600]);
    fragments.extend(&raw(0x80, &[0; 401])[..8]);
    assert_eq!(read(&mut server(), &[&fragments]), Err(Error::TooBig));
    assert_eq!(
        read(&mut server(), &[&raw(0x82, &[0; 1_000])]).map(|seen| seen.len()),
        Ok(1)
    );
}

#[test]
fn a_claimed_length_is_not_allocated_before_its_bytes_come() {
    let mut decoder = Decoder::new(Role::Server, 1 << 30);
    let head = [0x82, 0xff, 0, 0, 0, 0, 0x3f, 0xff, 0xff, 0xff, 1, 2, 3, 4, 5];
    assert_eq!(read(&mut decoder, &[&head]).unwrap(), [""; 0]);
    assert!(decoder.held.as_ref().unwrap().message.capacity() < 100);
}

#[test]
fn one_byte_fragments_grow_the_message_by_doubling() {
    let mut decoder = Decoder::new(Role::Server, 1 << 20);
    let mut growths = 0;
    let mut capacity = 0;
    for i in 0..5_000 {
        read(&mut decoder, &[&raw(if i == 0 { 0x02 } else { 0x00 }, b"x")]).unwrap();
        let now = decoder.held.as_ref().unwrap().message.capacity();
        growths += usize::from(now != capacity);
        capacity = now;
    }
    assert!(growths < 20, "{growths}");
}

#[test]
fn close_frames_are_read() {
    let close = raw(0x88, &[0x03, 0xe9]);
    assert_eq!(
        read(&mut server(), &[&close]).unwrap(),
        [format!(
            "{:?}",
            Message::Close(Some(CloseFrame {
                code: 1001,
                reason: ""
            }))
        )]
    );
    assert_eq!(read(&mut server(), &[&raw(0x88, b"")]).unwrap(), ["Close(None)"]);
    assert!(read(&mut server(), &[&raw(0x88, b"1")]).is_err());
}

#[test]
fn a_client_reads_unmasked_frames_only() {
    let mut client = Decoder::new(Role::Client, 100);
    let mut stream = frame(Opcode::Text, b"hi");
    stream.extend(close_frame(Some(1000), "bye"));
    assert_eq!(read(&mut client, &[&stream]).unwrap().len(), 2);
    assert!(read(&mut client, &[&raw(0x81, b"hi")]).is_err());
}

#[test]
fn an_idle_decoder_is_small() {
    assert!(size_of::<Decoder>() <= 24);
}
