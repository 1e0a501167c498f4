//! A gateway that ends and begins again, in its folder and at its port.

use crate::support::Gateway;
use crate::support::gateway::spawn;
use rustix::process::{Pid, Signal, kill_process};
use std::net::TcpStream;
use std::time::Duration;

/// How the process was started.
pub struct Arguments(Vec<String>);

fn arguments(gateway: &Gateway) -> Arguments {
    let line = std::fs::read(format!("/proc/{}/cmdline", gateway.process.id())).unwrap();
    let words = line.split(|byte| *byte == 0).map(|word| String::from_utf8(word.to_vec()).unwrap());
    // The program, `--app-dir` and the folder come first.
    Arguments(words.skip(3).filter(|word| !word.is_empty()).collect())
}

/// `kill -9`.
pub fn kill(gateway: &mut Gateway) -> Arguments {
    let arguments = arguments(gateway);
    gateway.process.kill().unwrap();
    gateway.process.wait().unwrap();
    // The kernel takes a ring apart after its process: its listener may live on for a moment.
    while TcpStream::connect(("127.0.0.1", gateway.port)).is_ok() {
        std::thread::sleep(Duration::from_millis(1));
    }
    arguments
}

/// Asks it to end in an orderly way, and waits until it has.
pub fn stop(gateway: &mut Gateway) -> Arguments {
    let arguments = arguments(gateway);
    let id = i32::try_from(gateway.process.id()).ok().and_then(Pid::from_raw);
    kill_process(id.unwrap(), Signal::TERM).unwrap();
    let status = gateway.process.wait().unwrap();
    assert!(status.success(), "{status}:\n{}", gateway.log());
    arguments
}

pub fn restart(gateway: &mut Gateway, Arguments(arguments): Arguments) {
    gateway.process = spawn(&gateway.folder, &arguments);
    gateway.wait_until_up();
}
