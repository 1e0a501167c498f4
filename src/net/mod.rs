//! Connections: sockets with and without TLS, clients' HTTP/1 connections, pools of upstreams.
//!
//! In: addresses, bytes. Out: heads, bodies, and errors that say what the network did. Never: knows
//! a model or a dialect; never blocks; never reads ahead of what its consumer has room for.

pub mod client_conn;
pub mod listener;
pub mod socket;
pub mod tls;
pub mod upstream;
