//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz http2_frames`
#![no_main]

#[path = "../bodies.rs"]
#[expect(dead_code, reason = "each target runs one body")]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::http2_frames(data));
