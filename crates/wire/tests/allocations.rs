//! The number of heap allocations on the paths that every message takes.

use allocation_counter::measure;
use mynah_wire::engine::{Body, Packet, Protocol};
use mynah_wire::socket::{Assembler, Limits, encode_event, event_args};
use mynah_wire::ws::{Decoder, Message, Opcode, Role, header, masked_frame};
use serde_json::value::RawValue;

#[test]
fn reading_an_event_allocates_only_the_vector_of_arguments() {
    let text = r#"42/chat,17["message",{"to":"bob","text":"h\u00e9llo \ud83d\ude00","n":[1,2,3]},"x"]"#;
    let mut buf = masked_frame(Opcode::Text, text.as_bytes(), [1, 2, 3, 4]);
    let mut decoder = Decoder::new(Role::Server, 1_000_000);
    let mut assembler = Assembler::new();
    let taken = measure(|| {
        let mut pos = 0;
        let Ok(Some(Message::Text(text))) = decoder.decode(&mut buf, &mut pos) else {
            panic!("a text")
        };
        let packet = Packet::decode_text(Protocol::V4, text).expect("a packet");
        let Body::Text(text) = &packet.body else {
            panic!("a text")
        };
        let whole = assembler
            .text(text, &Limits::default())
            .expect("a packet")
            .expect("a whole one");
        let (name, args) = event_args(whole.packet().payload.expect("a payload")).expect("an event");
        assert_eq!((&*name, args.len()), ("message", 2));
    });
    // One allocation for the vector, and one for the stack with which serde_json skips nested values.
    assert!(taken.count_total <= 2, "{taken:?}");
    assert_eq!(taken.count_current, 0);
}

#[test]
fn writing_an_event_allocates_one_string() {
    let arg: &RawValue = serde_json::from_str(r#"{"to":"bob","text":"hello"}"#).expect("JSON");
    let taken = measure(|| {
        let text = encode_event("/chat", Some(17), "message", &[arg, arg], 0);
        assert_eq!(header(Opcode::Text, text.len()).len(), 2);
    });
    assert_eq!(taken.count_total, 1, "{taken:?}");
}

#[test]
fn a_frame_that_is_read_in_pieces_leaves_nothing_allocated() {
    let taken = measure(|| {
        let mut decoder = Decoder::new(Role::Server, 1_000_000);
        let stream = masked_frame(Opcode::Binary, &[7; 5_000], [1, 2, 3, 4]);
        for chunk in stream.chunks(999) {
            let mut buf = chunk.to_vec();
            let mut pos = 0;
            while decoder.decode(&mut buf, &mut pos).expect("a frame").is_some() {}
        }
        // If anything was kept, it now stays allocated and is counted.
        std::mem::forget(decoder);
    });
    assert_eq!(taken.bytes_current, 0, "{taken:?}");
}
