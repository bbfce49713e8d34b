#![no_main]

#[allow(dead_code)]
#[path = "../../crates/wire/tests/properties/bodies.rs"]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::payload_jsonp(data));
