//! Bytes <-> frames: HTTP/1, what HTTP/2 frames cost, server-sent events, AWS event streams, and JSON by slices.
//!
//! In and out: byte slices and buffers of the caller. Everything here is pure: it knows no socket,
//! no clock and no model. Never: panics on bytes from outside; each parser has limits and says
//! which rule was broken.

pub mod aws_event_stream;
pub mod frames;
pub mod http1;
mod http1_chunked;
mod http1_target;
mod http1_write;
pub mod http2_meter;
pub mod json_read;
pub mod json_scan;
pub mod json_splice;
mod json_walk;
pub mod json_write;
pub mod multipart;
pub mod sse;
