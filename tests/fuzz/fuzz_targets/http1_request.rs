//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz http1_request`
#![no_main]

#[path = "../bodies.rs"]
#[expect(dead_code, reason = "each target runs one body")]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::http1_request(data));
