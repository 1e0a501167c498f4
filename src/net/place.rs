//! Where the gateway listens: an address of its own, or sockets that the service manager holds.
//!
//! In: host and port, or systemd's `LISTEN_FDS` (sd_listen_fds(3)), which go before. Out: a [`Place`]
//! that no other process can take while the workers start. Never: shares an address with another
//! gateway unnoticed.

use std::net::{SocketAddr, TcpListener, ToSocketAddrs};

use listenfd::ListenFd;
use socket2::{Domain, Socket, Type};

/// An address that is this process's own.
#[derive(Debug)]
pub struct Place {
    pub address: SocketAddr,
    /// Handed over by the service manager; empty as a rule.
    sockets: Vec<TcpListener>,
    /// Holds the address, without listening, until the workers do.
    _bound: Option<Socket>,
}

impl Place {
    /// Takes what systemd hands over, else `host:port`. Port 0 becomes a number here, so that all
    /// workers share it, and an address in use is noticed before anything starts.
    ///
    /// # Errors
    /// A sentence for the operator.
    pub fn take(host: &str, port: u16) -> Result<Self, String> {
        let sockets = inherited()?;
        if let Some(first) = sockets.first() {
            let address = first.local_addr().map_err(|error| format!("LISTEN_FDS: {error}"))?;
            return Ok(Self { address, sockets, _bound: None });
        }
        let bad =
            |error: &dyn std::fmt::Display| format!("cannot listen on {host}:{port}: {error}");
        let found = (host, port).to_socket_addrs().map_err(|error| bad(&error))?;
        let mut found: Vec<_> = found.collect();
        found.sort_by_key(SocketAddr::is_ipv6);
        let wanted = *found.first().ok_or_else(|| bad(&"no such host"))?;
        in_use(wanted).map_err(|error| bad(&error))?;
        let (bound, address) = reserve(wanted).map_err(|error| bad(&error))?;
        Ok(Self { address, sockets, _bound: Some(bound) })
    }

    /// The socket that a worker is to accept from; `None`: one of its own at [`Place::address`].
    pub fn socket_of(&self, worker: usize) -> std::io::Result<Option<TcpListener>> {
        let count = self.sockets.len().max(1);
        self.sockets.get(worker % count).map(TcpListener::try_clone).transpose()
    }
}

/// Tells the service manager, if there is one, that requests are served from now on.
pub fn tell_ready() {
    // Without a manager there is nobody to tell; with one, it notices by its own time-out.
    let _nobody = sd_notify::notify(false, &[sd_notify::NotifyState::Ready]);
}

fn inherited() -> Result<Vec<TcpListener>, String> {
    let mut fds = ListenFd::from_env();
    let taken = (0..fds.len()).map(|index| fds.take_tcp_listener(index));
    let taken: Result<Vec<_>, _> = taken.collect();
    let taken =
        taken.map_err(|error| format!("LISTEN_FDS: a socket is no TCP listener: {error}"))?;
    Ok(taken.into_iter().flatten().collect())
}

fn reserve(wanted: SocketAddr) -> std::io::Result<(Socket, SocketAddr)> {
    let socket = Socket::new(Domain::for_address(wanted), Type::STREAM, None)?;
    socket.set_reuse_port(true)?;
    socket.set_reuse_address(true)?;
    socket.bind(&wanted.into())?;
    let bound = socket.local_addr()?.as_socket();
    let bound = bound.ok_or_else(|| std::io::Error::other("no internet address"))?;
    Ok((socket, bound))
}

/// `SO_REUSEPORT` would let a second gateway share the port unnoticed: try without it first.
fn in_use(address: SocketAddr) -> std::io::Result<()> {
    if address.port() == 0 {
        return Ok(());
    }
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())
}
