use mynah_wire::engine::payload::{self, GetForm, PostForm, TextHabit};
use mynah_wire::engine::{Body, Packet};

use super::{cases, packet, protocol, unhex};

#[test]
fn payloads_are_read_and_written_as_by_node() {
    for case in cases("payloads") {
        let body = match case["hex"].as_str() {
            Some(hex) => unhex(hex),
            None => case["text"].as_str().expect("a text").as_bytes().to_vec(),
        };
        let (post, get) = match case["form"].as_str() {
            Some("text") => (PostForm::Text, GetForm::Text),
            Some("binary") => (PostForm::Binary, GetForm::Binary),
            Some("jsonp") => (PostForm::Jsonp, GetForm::Jsonp(3)),
            form => panic!("form {form:?}"),
        };
        let mut habit = TextHabit::default();
        let read = payload::Reader::new(protocol(&case), post, body.clone(), &mut habit).map(|mut reader| {
            std::iter::from_fn(|| reader.next_packet().map(Packet::into_owned)).collect::<Vec<_>>()
        });
        let Some(packets) = case["packets"].as_array() else {
            assert!(read.is_err(), "{case}");
            continue;
        };
        let packets: Vec<Packet<'_>> = packets.iter().map(packet).collect();
        assert_eq!(read.as_deref(), Ok(&packets[..]), "{case}");
        if case["habit"] == "twice" {
            let ascii = packets.iter().all(|packet| match &packet.body {
                Body::Text(text) => text.is_ascii(),
                Body::Binary(_) => true,
            });
            assert_eq!(
                habit,
                if ascii {
                    TextHabit::Unknown
                } else {
                    TextHabit::Twice
                },
                "{case}"
            );
        }
        if case.get("read").is_none() {
            let written = payload::encode(protocol(&case), get, false, &packets).0;
            let expected = case["script"]
                .as_str()
                .map_or(body, |script| script.as_bytes().to_vec());
            assert_eq!(written, expected, "{case}");
        }
    }
}
