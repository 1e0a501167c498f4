//! The control thread: one single-threaded tokio runtime for everything that may block.
//!
//! In: look-ups and credentials asked for by workers, signals, changes of the configuration file.
//! Out: mail for every worker. Never: on the path of a request that has what it needs.

pub mod admin;
pub mod answer;
pub mod api;
mod aws_login;
pub mod demo;
pub mod explain;
pub mod governor;
pub mod http_client;
pub mod journal;
pub mod leases;
pub mod live_feed;
pub mod log_api;
pub mod log_figures;
pub mod log_keeper;
pub mod log_params;
pub mod log_prices;
pub mod log_recalculate;
pub mod logs;
pub mod management;
pub mod pricing;
pub mod resolver;
mod token_login;
