//! temporary
use crate::observe::log::Level;
use crate::worker::ring::Wanted;
use clap::{Parser, Subcommand};
use std::process::ExitCode;
#[derive(Debug, Parser)]
pub struct Flags {
    #[arg(long, env = "APP_HOST", default_value = "localhost")]
    pub host: String,
    #[arg(long, env = "APP_PORT", default_value_t = 8080)]
    pub port: u16,
    #[arg(long)]
    pub workers: Option<usize>,
    #[arg(long, default_value = "auto")]
    pub driver: String,
    #[arg(long)]
    pub app_dir: Option<std::path::PathBuf>,
    #[arg(long)]
    pub openai: Option<String>,
    #[arg(long)]
    pub anthropic: Option<String>,
    #[command(subcommand)]
    pub command: Option<Command>,
}
#[derive(Debug, Subcommand)]
pub enum Command {
    Demo,
    Check,
    Schema,
}
impl Flags {
    pub fn log_level(&self) -> Level {
        Level::Info
    }
    pub fn log_pretty(&self) -> bool {
        true
    }
    pub fn driver(&self) -> Wanted {
        match self.driver.as_str() {
            "epoll" => Wanted::Epoll,
            "io_uring" => Wanted::IoUring,
            _ => Wanted::Auto,
        }
    }
}
pub fn parse() -> Flags {
    Flags::parse()
}
pub fn check(_: &Flags) -> ExitCode {
    ExitCode::SUCCESS
}
pub fn schema() -> ExitCode {
    ExitCode::SUCCESS
}
pub fn load(f: &Flags) -> Result<crate::config::Snapshot, String> {
    let mut s = crate::config::Snapshot::from_env(&|n: &str| std::env::var(n).ok())
        .map_err(|e| e.to_string())?;
    let mut list: Vec<_> = vec![];
    for (name, url) in [("openai", &f.openai), ("anthropic", &f.anthropic)] {
        if let Some(url) = url {
            let (origin, base) =
                crate::provider::endpoint::split_url(url).map_err(|e| e.to_string())?;
            let row = crate::provider::catalog::row(name).ok_or("row")?;
            let mut key = crate::provider::Key::named("k");
            key.value = crate::provider::Secret::new("sk-test");
            list.push(std::sync::Arc::new(crate::provider::Provider {
                name: name.into(),
                row,
                keys: vec![key],
                keyless: false,
                origin,
                base_path: base,
                network: crate::provider::Network::default(),
                path_overrides: vec![],
                allowed: None,
                concurrency: 1000,
                buffer: 5000,
            }));
        }
    }
    list.extend(s.providers.iter().cloned());
    s.providers = crate::config::Providers::new(list);
    Ok(s)
}
