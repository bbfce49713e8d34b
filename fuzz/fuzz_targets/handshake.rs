#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mynah::fuzzing::run("handshake", data));
