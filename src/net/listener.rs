//! The listening socket of one worker.
//!
//! In: an address, or a socket that systemd handed over. Out: accepted sockets. Each worker has a socket of its own on the same address
//! (`SO_REUSEPORT`), so the kernel spreads connections and no accept crosses a core; sockets that
//! were handed over are shared if they are fewer than workers.
//! Never: stops for an error of one connection; out of file descriptors it waits and goes on.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use monoio::net::{ListenerOpts, TcpListener, TcpStream};

use crate::worker::ring::Driver;

/// Pending connections that the kernel keeps for one worker.
const BACKLOG: i32 = 4096;

pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let options = ListenerOpts::new().reuse_port(true).reuse_addr(true).backlog(BACKLOG);
    TcpListener::bind_with_config(address, &options)
}

/// A socket that the service manager listens on. It outlives this process, so that a connection
/// made during a restart waits for the next one.
pub fn adopt(socket: std::net::TcpListener, driver: Driver) -> io::Result<TcpListener> {
    // The ring waits by itself, and answers a non-blocking accept with EAGAIN.
    socket.set_nonblocking(driver == Driver::Epoll)?;
    TcpListener::from_std(socket)
}

/// The next connection.
pub async fn accept(listener: &TcpListener) -> (TcpStream, SocketAddr) {
    loop {
        match listener.accept().await {
            Ok(accepted) => return accepted,
            // EMFILE, ENFILE, ENOBUFS: others must close first.
            Err(_) => monoio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}
