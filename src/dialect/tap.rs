//! stub
/// Stub.
#[derive(Debug)]
pub struct Tap;
