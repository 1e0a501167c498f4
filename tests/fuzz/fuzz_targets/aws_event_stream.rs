//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz aws_event_stream`
#![no_main]

#[path = "../bodies.rs"]
#[expect(dead_code, reason = "each target runs one body")]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::aws_event_stream(data));
