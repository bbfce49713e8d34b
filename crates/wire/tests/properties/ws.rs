use mynah_wire::ws::{Opcode, Role, masked_frame};
use proptest::collection::vec;
use proptest::prelude::*;

use super::bodies::read_stream;

/// A client's message, and the offsets at which it is cut into fragments.
#[derive(Debug, Clone)]
struct Sent {
    opcode: Opcode,
    payload: Vec<u8>,
    cuts: Vec<usize>,
    /// Control frames between the fragments.
    between: Vec<(Opcode, Vec<u8>)>,
}

fn sent() -> impl Strategy<Value = Sent> {
    let text = ".{0,80}".prop_map(|text| (Opcode::Text, text.into_bytes()));
    let binary = vec(any::<u8>(), 0..400).prop_map(|bytes| (Opcode::Binary, bytes));
    let control = (
        prop::sample::select(vec![Opcode::Ping, Opcode::Pong]),
        vec(any::<u8>(), 0..=125),
    );
    (
        prop_oneof![text, binary],
        vec(0..400usize, 0..4),
        vec(control, 0..3),
    )
        .prop_map(|((opcode, payload), cuts, between)| {
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(payload.len())).collect();
            cuts.sort_unstable();
            Sent {
                opcode,
                payload,
                cuts,
                between,
            }
        })
}

/// The frames of the messages, and the messages that must be read from them, in order.
fn stream(messages: &[Sent], mask: [u8; 4]) -> (Vec<u8>, Vec<(Opcode, Vec<u8>)>) {
    let mut bytes = Vec::new();
    let mut expected = Vec::new();
    for message in messages {
        let ends = message.cuts.iter().copied().chain([message.payload.len()]);
        let mut between = message.between.iter();
        let mut start = 0;
        for (i, end) in ends.enumerate() {
            let opcode = if i == 0 {
                message.opcode
            } else {
                Opcode::Continuation
            };
            let mut frame = masked_frame(opcode, &message.payload[start..end], mask);
            if i < message.cuts.len() {
                frame[0] &= 0x7f;
            }
            bytes.extend(frame);
            if let Some((opcode, payload)) = between.next().filter(|_| i < message.cuts.len()) {
                bytes.extend(masked_frame(*opcode, payload, mask));
                expected.push((*opcode, payload.clone()));
            }
            start = end;
        }
        expected.push((message.opcode, message.payload.clone()));
    }
    (bytes, expected)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_split_of_the_bytes_gives_the_same_messages(
        messages in vec(sent(), 0..5),
        mask: [u8; 4],
        chunk in 1..200usize,
    ) {
        let (bytes, expected) = stream(&messages, mask);
        for chunk in [usize::MAX, chunk, 1] {
            prop_assert_eq!(read_stream(Role::Server, &bytes, chunk), (expected.clone(), None));
        }
    }
}
