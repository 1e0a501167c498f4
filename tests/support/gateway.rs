//! Starts the real binary with a configuration in a temporary folder, and ends it.

use super::client::Client;
use std::fs::{self, File};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// How a gateway is started: the rest of its `config.json`, its arguments, its environment.
#[derive(Default)]
pub struct Start {
    /// Members of `client`, as JSON text: `"max_request_body_size_mb": 1`.
    pub client: String,
    /// Members of `network_config` of each provider.
    pub network: String,
    /// Further top-level members; `@FOLDER@` becomes the folder of the configuration.
    pub top: String,
    pub arguments: Vec<String>,
    /// `host:port` of the providers `openai` and `anthropic`.
    pub upstream: Option<String>,
    /// A whole `config.json` in the place of all that; `@UPSTREAM@` becomes `upstream`.
    pub config: Option<String>,
    /// Files to put into the folder.
    pub files: Vec<(&'static str, String)>,
}

impl Start {
    pub fn at(upstream: SocketAddr) -> Self {
        Self { upstream: Some(upstream.to_string()), ..Self::default() }
    }

    fn config(&self, folder: &Path) -> String {
        let upstream = self.upstream.as_deref().unwrap_or("127.0.0.1:1");
        if let Some(config) = &self.config {
            return config.replace("@UPSTREAM@", upstream);
        }
        let client = &self.client;
        let comma = if self.network.is_empty() { "" } else { "," };
        let provider = |key: &str| {
            format!(
                r#"{{"keys":[{{"name":"k-{key}","value":"{key}","models":["*"],"weight":1}}],
                "network_config":{{"base_url":"http://{upstream}"{comma}{}}}}}"#,
                self.network
            )
        };
        let top = if self.top.is_empty() { String::new() } else { format!(",{}", self.top) };
        format!(
            r#"{{"version":2,"client":{{{client}}},
            "providers":{{"openai":{},"anthropic":{}}}{top}}}"#,
            provider("sk-openai"),
            provider("sk-anthropic")
        )
        .replace("@FOLDER@", &folder.display().to_string())
    }

    pub fn run(self) -> Gateway {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("finops-http-{}-{number}", std::process::id());
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("config.json"), self.config(&folder)).unwrap();
        for (name, text) in &self.files {
            fs::write(folder.join(name), text).unwrap();
        }
        let port = free_port();
        let mut arguments = vec!["--port".to_owned(), port.to_string()];
        if !self.arguments.iter().any(|argument| argument == "--workers") {
            arguments.extend(["--workers".to_owned(), "1".to_owned()]);
        }
        arguments.extend(self.arguments);
        let process = spawn(&folder, &arguments);
        let mut gateway = Gateway { process, folder, port };
        gateway.wait_until_up();
        gateway
    }
}

pub fn spawn(folder: &Path, arguments: &[String]) -> Child {
    let log = File::options().append(true).create(true).open(folder.join("log")).unwrap();
    Command::new(env!("CARGO_BIN_EXE_finops-gateway"))
        .arg("--app-dir")
        .arg(folder)
        .args(arguments)
        .env_clear()
        .env("HOME", folder)
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap()
}

/// A running gateway; ended when dropped.
pub struct Gateway {
    pub process: Child,
    pub folder: PathBuf,
    pub port: u16,
}

impl Gateway {
    pub fn connect(&self) -> Client {
        Client::new(TcpStream::connect(("127.0.0.1", self.port)).unwrap())
    }

    /// One request on a connection of its own; the connection is closed afterwards.
    pub fn ask(&self, request: &str) -> super::Response {
        let mut client = self.connect();
        client.send(request.as_bytes());
        client.response()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    /// Resident memory, in bytes.
    pub fn rss(&self) -> u64 {
        let path = format!("/proc/{}/statm", self.process.id());
        let statm = fs::read_to_string(path).unwrap();
        statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap() * 4096
    }

    /// Open files of the process: sockets, rings and the rest.
    pub fn open_files(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.process.id())).unwrap().count()
    }

    pub fn wait_until_up(&mut self) {
        let until = Instant::now() + Duration::from_secs(10);
        while Instant::now() < until {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            if let Some(status) = self.process.try_wait().unwrap() {
                panic!("the gateway ended at its start with {status}:\n{}", self.log());
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("the gateway did not open its port:\n{}", self.log());
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        let ended_early = self.process.try_wait().ok().flatten();
        let _ = self.process.kill();
        let _ = self.process.wait();
        if let Some(status) = ended_early
            && !std::thread::panicking()
        {
            panic!("the gateway had ended with {status}:\n{}", self.log());
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}
