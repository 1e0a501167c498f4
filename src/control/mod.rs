//! The control thread: one single-threaded tokio runtime for everything that may block.
//!
//! In: look-ups and credentials asked for by workers, signals, changes of the configuration file.
//! Out: mail for every worker. Never: on the path of a request that has what it needs.

mod aws_login;
pub mod demo;
pub mod explain;
pub mod governor;
pub mod http_client;
pub mod journal;
pub mod leases;
pub mod resolver;
mod token_login;
