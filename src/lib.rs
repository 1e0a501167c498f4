//! The FinOps Gateway: one binary that speaks the Anthropic, OpenAI, AWS Bedrock and Gemini APIs
//! to its clients and to its upstreams, whichever of them each speaks.
//!
//! The map, the layers and the invariants stand in `src/ARCHITECTURE.md`.

pub mod chat;
pub mod config;
pub mod control;
pub mod dialect;
pub mod gateway;
pub mod govern;
pub mod host;
pub mod net;
pub mod observe;
pub mod provider;
pub mod route;
pub mod store;
pub mod wire;
pub mod worker;
