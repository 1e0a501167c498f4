//! As a service: the manager's sockets, its readiness protocol, the host's limits.

use crate::ASK;
use crate::CHAT;
use crate::support::client::post;
use crate::support::{Client, Upstream};
use std::net::{TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::Duration;

fn folder(name: &str, upstream: std::net::SocketAddr) -> PathBuf {
    let folder = std::env::temp_dir().join(format!("finops-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let config = format!(
        r#"{{"providers": {{"openai": {{"keys": [{{"name": "k", "value": "sk-x", "models": ["*"], "weight": 1}}],
            "network_config": {{"base_url": "http://{upstream}", "allow_private_network": true}}}}}}}}"#
    );
    std::fs::write(folder.join("config.json"), config).unwrap();
    folder
}

/// Starts the gateway as systemd does: the socket is file descriptor 3.
fn activate(socket: &TcpListener, folder: &Path, notify: &Path) -> Child {
    Command::new("sh")
        .args(["-c", r#"exec 3<&0 0</dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@""#])
        .arg(env!("CARGO_BIN_EXE_finops-gateway"))
        .args(["--port", "1", "--workers", "2", "--app-dir"])
        .arg(folder)
        .env("NOTIFY_SOCKET", notify)
        .stdin(OwnedFd::from(socket.try_clone().unwrap()))
        .spawn()
        .unwrap()
}

#[test]
fn a_restart_behind_systemds_socket_refuses_nobody() {
    let upstream = Upstream::plain();
    let folder = folder("activated", upstream.at);
    let manager = UnixDatagram::bind(folder.join("notify")).unwrap();
    manager.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    let mut said = [0; 64];
    for _ in 0..2 {
        // Made before there is a process: it waits in the socket's queue.
        let early = TcpStream::connect(at).unwrap();
        let mut process = activate(&socket, &folder, &folder.join("notify"));
        let length = manager.recv(&mut said).unwrap();
        assert_eq!(&said[..length], b"READY=1\n");
        let mut client = Client::new(early);
        client.send(post(CHAT, ASK).as_bytes());
        assert_eq!(client.response().status, 200);
        drop(client);
        let term = Command::new("kill").arg(process.id().to_string()).status().unwrap();
        assert!(term.success());
        assert!(process.wait().unwrap().success());
    }
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn the_limit_of_open_files_is_raised_as_far_as_it_goes() {
    let upstream = Upstream::plain();
    let folder = folder("limits", upstream.at);
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let at = socket.local_addr().unwrap();
    let mut process = Command::new("sh")
        .args(["-c", r#"exec 3<&0; ulimit -S -n 64; LISTEN_PID=$$ LISTEN_FDS=1 exec "$0" "$@""#])
        .arg(env!("CARGO_BIN_EXE_finops-gateway"))
        .arg("--app-dir")
        .arg(&folder)
        .stdin(OwnedFd::from(socket.try_clone().unwrap()))
        .spawn()
        .unwrap();
    // More connections at once than the limit that it was started with.
    let mut clients: Vec<_> =
        (0..200).map(|_| Client::new(TcpStream::connect(at).unwrap())).collect();
    for client in &mut clients {
        client.send(post(CHAT, ASK).as_bytes());
        assert_eq!(client.response().status, 200);
    }
    process.kill().unwrap();
    process.wait().unwrap();
    std::fs::remove_dir_all(folder).unwrap();
}

#[test]
fn doctor_names_what_the_host_lacks_and_the_file_that_sets_it() {
    let doctor = |limit: &str| {
        let script = format!(r#"ulimit -n {limit}; exec "$0" doctor"#);
        let output = Command::new("sh")
            .args(["-c", &script, env!("CARGO_BIN_EXE_finops-gateway")])
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stdout).unwrap())
    };
    let (code, text) = doctor("128");
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("FAIL  open files: 128"), "{text}");
    // Each file that it sends the reader to is there.
    for file in text.lines().filter_map(|line| line.trim().strip_prefix("set by: ")) {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
        assert!(path.exists(), "{file} is not there");
    }
}
