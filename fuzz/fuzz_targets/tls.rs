#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mynah_tls::fuzzing::tls(data));
