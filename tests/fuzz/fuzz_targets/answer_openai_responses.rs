//! `cargo +nightly fuzz run --fuzz-dir tests/fuzz answer_openai_responses`
#![no_main]

#[path = "../bodies.rs"]
#[expect(dead_code, reason = "each target runs one body")]
mod bodies;

libfuzzer_sys::fuzz_target!(|data: &[u8]| bodies::answer_openai_responses(data));
