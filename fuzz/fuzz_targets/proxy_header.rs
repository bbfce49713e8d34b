#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| mynah_socketio::fuzzing::run("proxy_header", data));
