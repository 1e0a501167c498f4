//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz request_openai_responses`
#![no_main]

#[path = "../bodies.rs"]
#[expect(dead_code, reason = "each target runs one body")]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::request_openai_responses(data));
