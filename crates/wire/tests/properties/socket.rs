use mynah_wire::socket::{Assembler, Kind, Limits, ack_args, decode, encode_ack, encode_event, event_args};
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::value::RawValue;

fn namespace() -> impl Strategy<Value = String> {
    prop_oneof![Just("/".to_owned()), "/[^,?]{1,12}"]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        ".{0,12}".prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 20, 4, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..4).prop_map(Value::from),
            vec((".{0,6}", inner), 0..4).prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

fn raw(values: &[Value]) -> Vec<Box<RawValue>> {
    values
        .iter()
        .map(|value| serde_json::value::to_raw_value(value).expect("JSON"))
        .collect()
}

fn texts<'a>(args: impl IntoIterator<Item = &'a RawValue>) -> Vec<String> {
    args.into_iter().map(|arg| arg.get().to_owned()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn events_survive(namespace in namespace(), id: Option<u64>, name in ".{0,12}", args in vec(json(), 0..4)) {
        let args = raw(&args);
        let refs: Vec<&RawValue> = args.iter().map(|arg| &**arg).collect();
        let text = encode_event(&namespace, id, &name, &refs, 0);
        let packet = decode(&text, &Limits::default()).expect("a packet");
        prop_assert_eq!((packet.kind, packet.namespace, packet.id), (Kind::Event, &*namespace, id));
        let (read_name, read_args) = event_args(packet.payload.expect("a payload")).expect("an event");
        prop_assert_eq!((&*read_name, texts(read_args)), (&*name, texts(refs)));
    }

    #[test]
    fn acks_survive(namespace in namespace(), id: u64, args in vec(json(), 0..4)) {
        let args = raw(&args);
        let refs: Vec<&RawValue> = args.iter().map(|arg| &**arg).collect();
        let text = encode_ack(&namespace, id, &refs, 0);
        let packet = decode(&text, &Limits::default()).expect("a packet");
        prop_assert_eq!((packet.kind, packet.namespace, packet.id), (Kind::Ack, &*namespace, Some(id)));
        prop_assert_eq!(texts(ack_args(packet.payload.expect("a payload")).expect("an ack")), texts(refs));
    }

    #[test]
    fn attachments_arrive_in_order(attachments in vec(vec(any::<u8>(), 0..20), 1..5), id: Option<u64>) {
        let limits = Limits {
            max_attachments: 4,
            ..Limits::default()
        };
        let placeholders: Vec<Value> = (0..attachments.len())
            .map(|num| serde_json::json!({ "_placeholder": true, "num": num }))
            .collect();
        let args = raw(&placeholders);
        let refs: Vec<&RawValue> = args.iter().map(|arg| &**arg).collect();
        let text = encode_event("/", id, "bin", &refs, attachments.len());
        let mut assembler = Assembler::new();
        prop_assert!(assembler.text(&text, &limits).expect("a packet").is_none());
        let mut whole = None;
        for bytes in &attachments {
            prop_assert!(whole.is_none());
            whole = assembler.binary(bytes, &limits).expect("an expected attachment");
        }
        let whole = whole.expect("a whole packet");
        prop_assert_eq!(&whole.attachments, &attachments);
        prop_assert_eq!(whole.packet().id, id);
    }
}
