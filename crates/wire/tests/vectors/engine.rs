use mynah_wire::engine::{Packet, WsPayload};

use super::{cases, packet, protocol, unhex};

#[test]
fn engine_packets_are_read_and_written_as_by_node() {
    for case in cases("engine-packets") {
        let frame = match case["frame"]["hex"].as_str() {
            Some(hex) => WsPayload::Binary(unhex(hex)),
            None => WsPayload::Text(case["frame"]["text"].as_str().expect("a text").to_owned()),
        };
        let read = match &frame {
            WsPayload::Text(text) => Packet::decode_text(protocol(&case), text),
            WsPayload::Binary(bytes) => Packet::decode_binary(protocol(&case), bytes),
        };
        let Some(expected) = case.get("packet").map(packet) else {
            assert!(read.is_err(), "{case}");
            continue;
        };
        assert_eq!(read, Ok(expected.clone()), "{case}");
        if case.get("read").is_none() {
            let b64 = case["b64"] == true;
            assert_eq!(expected.encode_websocket(protocol(&case), b64), frame, "{case}");
        }
    }
}
