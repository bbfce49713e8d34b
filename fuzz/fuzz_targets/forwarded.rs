#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mynah_front::fuzzing::run("forwarded", data));
