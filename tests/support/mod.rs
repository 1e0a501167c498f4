//! What the tests of the real binary share: a gateway in a folder of its own, a raw client, and
//! a scripted upstream.
//!
//! Everything is blocking `std::net`, on purpose: what is tested is what bytes do on a socket.

pub mod client;
pub mod gateway;
pub mod upstream;

pub use client::{Client, Response};
pub use gateway::Gateway;
pub use upstream::Upstream;
