//! Arbitrary bytes: from proptest, and from the fuzzer's corpus.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;

use super::bodies::TARGETS;

/// Input that is composed of fragments of valid packets, which finds more errors than random bytes do.
fn pieces() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        &b"0{\"sid\":\"a\"}"[..],
        b"2probe",
        b"4",
        b"b4AQ==",
        b"\x1e",
        b"\xff",
        b"2[\"a\",1]",
        b"51-[\"a\",{\"_placeholder\":true,\"num\":0}]",
        b"/nsp?x=1,",
        b"18446744073709551616",
        b"3:4\xc3\xa9",
        b"\x00\x02\xff4a",
        b"\x01\x02\xff\x04a",
        b"d=2%3A4a",
        b"\\n",
        b"\x81\x85abcdHello",
        b"\x01\x80abcd",
        b"\x80\x81abcde",
        b"\x88\x82abcd\x62\x8a",
        b"\x89\x00",
        b"[[[[[[[[",
        b"\0",
    ]);
    let piece = prop_oneof![known.prop_map(<[u8]>::to_vec), vec(any::<u8>(), 0..20)];
    vec(piece, 0..12).prop_map(|pieces| pieces.concat())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn decoders_keep_their_properties_for_any_bytes(data in pieces()) {
        for (_, body) in TARGETS {
            body(&data);
        }
    }
}

#[test]
fn decoders_keep_their_properties_for_the_corpus() {
    for (name, body) in TARGETS {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../fuzz/corpus")
            .join(name);
        let mut seen = 0;
        for entry in std::fs::read_dir(&folder).expect("a corpus for every target") {
            body(&std::fs::read(entry.expect("an entry").path()).expect("a file"));
            seen += 1;
        }
        assert!(seen > 0, "the corpus of {name} is empty");
    }
}
