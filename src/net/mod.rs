//! Connections: sockets with and without TLS, clients' connections of HTTP/1 and HTTP/2, pools of upstreams.
//!
//! In: addresses, bytes. Out: heads, bodies, and errors that say what the network did. Never: knows
//! a model or a dialect; never blocks; never reads ahead of what its consumer has room for.

mod client_body;
pub mod client_conn;
pub mod client_http1;
pub mod client_http2;
pub mod copy;
mod http2_request;
mod http2_wire;
pub mod listener;
pub mod place;
pub mod socket;
pub mod times;
pub mod tls;
pub mod upstream;
