use mynah_wire::engine::payload::{self, PostForm, TextHabit};
use mynah_wire::engine::{Body, Packet, PacketType, Protocol};
use proptest::collection::vec;
use proptest::prelude::*;

use super::bodies::{body_round_trip, packet_round_trip, packets_of};

fn packet() -> impl Strategy<Value = Packet<'static>> {
    let text = (prop::sample::select(PacketType::ALL.to_vec()), "[^\u{1e}]{0,40}")
        .prop_map(|(kind, text)| Packet::text(kind, text));
    prop_oneof![3 => text, 1 => vec(any::<u8>(), 0..60).prop_map(Packet::binary)]
}

/// The body that the HTTP layer of a 1.x client sends: every packet has been encoded as UTF-8 before.
fn twice(packets: &[Packet<'_>]) -> String {
    let once = packets.iter().map(|packet| match &packet.body {
        Body::Text(text) => {
            let text = format!("{}{text}", char::from(packet.kind.digit()));
            let chars: String = text.bytes().map(char::from).collect();
            format!("{}:{chars}", text.len())
        }
        Body::Binary(_) => String::from_utf8(
            payload::encode(
                Protocol::V3,
                payload::GetForm::Text,
                false,
                std::slice::from_ref(packet),
            )
            .0,
        )
        .expect("text"),
    });
    once.collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn packets_survive_a_websocket(packet in packet()) {
        packet_round_trip(Protocol::V3, &packet);
        packet_round_trip(Protocol::V4, &packet);
    }

    #[test]
    fn packets_survive_every_polling_body(packets in vec(packet(), 1..8)) {
        body_round_trip(Protocol::V3, &packets);
        body_round_trip(Protocol::V4, &packets);
    }

    #[test]
    fn packets_that_1x_clients_encoded_twice_are_decoded_twice(packets in vec(packet(), 1..8)) {
        let body = twice(&packets);
        let read = packets_of(Protocol::V3, PostForm::Text, body.as_bytes(), &mut TextHabit::Unknown);
        prop_assert_eq!(read, Ok(packets));
    }

    #[test]
    fn json_in_ascii_is_the_same_json(text in ".{0,60}") {
        let json = serde_json::to_string(&text).expect("JSON");
        let packets = [Packet::text(PacketType::Message, json)];
        let (body, _) = payload::encode(Protocol::V3, payload::GetForm::Text, true, &packets);
        prop_assert!(body.is_ascii());
        let read = packets_of(Protocol::V3, PostForm::Text, &body, &mut TextHabit::Unknown).expect("a body");
        let Body::Text(read) = &read[0].body else { panic!("text stays text") };
        prop_assert_eq!(serde_json::from_str::<String>(read.as_ref()).expect("JSON"), text);
    }
}
