//! Connections to upstreams: per-worker keep-alive pools, name look-ups, TLS, proxies.
//!
//! In: an [`Origin`] and its [`Transport`]. Out: an [`UpstreamConn`], pooled or fresh. Pools, TLS
//! state and the address table belong to one worker; names are looked up by the control thread.
//! Never: blocks; hands out a connection whose last answer was not read to its end.

use std::cell::{Cell, RefCell};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use hashbrown::HashMap;
use monoio::net::TcpStream;
use rustls::ClientConfig;

use super::socket::{self, Reader, Writer};
use super::tls::{self, Session};
use crate::provider::{Network, Origin, Proxy, Transport};
use crate::wire::http1::{self, Limits};
use crate::worker::clock::Clock;

/// Bytes read at once; with it a stream needs no more memory than this on the way through.
pub const READ: usize = 16 * 1024;
/// Room before what is read, for a chunk's size line.
pub const HEADROOM: usize = 20;

/// A name to be looked up by the control thread.
#[derive(Debug)]
pub struct Lookup {
    pub host: Box<str>,
    pub reply: flume::Sender<Result<Arc<[IpAddr]>, String>>,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("the name {host} could not be resolved: {reason}")]
    Resolve { host: String, reason: String },
    #[error("could not connect to {address}: {source}")]
    Connect { address: String, source: io::Error },
    #[error("TLS with {host} failed: {source}")]
    Tls { host: String, source: io::Error },
    #[error("the proxy {proxy} refused: {reason}")]
    Proxy { proxy: String, reason: String },
    #[error("{0}")]
    Setup(String),
    #[error("all {0} connections to this upstream are in use")]
    Full(usize),
}

/// What connections may be shared by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Peer {
    origin: Origin,
    transport: Transport,
}

#[derive(Hash)]
struct PeerRef<'a> {
    origin: &'a Origin,
    transport: &'a Transport,
}

impl hashbrown::Equivalent<Peer> for PeerRef<'_> {
    fn equivalent(&self, key: &Peer) -> bool {
        *self.origin == key.origin && *self.transport == key.transport
    }
}

/// The connections to one peer.
#[derive(Debug, Default)]
struct Shelf {
    idle: RefCell<Vec<Idle>>,
    open: Cell<usize>,
}

#[derive(Debug)]
struct Idle {
    wire: Wire,
    since_ms: u64,
}

#[derive(Debug)]
struct Wire {
    reader: Reader,
    writer: Writer,
}

/// A connection in use. Dropped, it is closed; [`Pool::give_back`] keeps it.
#[derive(Debug)]
pub struct UpstreamConn {
    wire: Option<Wire>,
    shelf: Rc<Shelf>,
    /// Taken from the pool: the upstream may have closed it meanwhile.
    pub reused: bool,
    /// Requests need the absolute form of the target (plain HTTP through a proxy).
    pub absolute: bool,
}

/// All upstream connections of one worker.
#[derive(Debug)]
pub struct Pool {
    clock: Rc<Clock>,
    shelves: RefCell<HashMap<Peer, Rc<Shelf>>>,
    tls: RefCell<HashMap<Transport, Arc<ClientConfig>>>,
    addresses: RefCell<HashMap<Box<str>, Arc<[IpAddr]>>>,
    lookups: flume::Sender<Lookup>,
    roots: Arc<[rustls::pki_types::CertificateDer<'static>]>,
    workers: usize,
}

impl Pool {
    pub fn new(
        clock: Rc<Clock>,
        lookups: flume::Sender<Lookup>,
        roots: Arc<[rustls::pki_types::CertificateDer<'static>]>,
        workers: usize,
    ) -> Self {
        Self {
            clock,
            shelves: RefCell::default(),
            tls: RefCell::default(),
            addresses: RefCell::default(),
            lookups,
            roots,
            workers: workers.max(1),
        }
    }

    /// The control thread has looked `host` up again.
    pub fn learn(&self, host: &str, addresses: Arc<[IpAddr]>) {
        self.addresses.borrow_mut().insert(host.into(), addresses);
    }

    /// A connection: the pooled one used last, if `fresh` is not demanded, else a new one.
    pub async fn connect(
        &self,
        origin: &Origin,
        network: &Network,
        fresh: bool,
    ) -> Result<UpstreamConn, ConnectError> {
        let shelf = self.shelf(origin, &network.transport);
        let absolute = network.transport.proxy.is_some() && !origin.tls;
        if !fresh && let Some(wire) = self.take_idle(&shelf, network.keep_alive) {
            return Ok(UpstreamConn { wire: Some(wire), shelf, reused: true, absolute });
        }
        let share = network.max_conns_per_host.div_ceil(self.workers);
        if shelf.open.get() >= share {
            return Err(ConnectError::Full(network.max_conns_per_host));
        }
        shelf.open.set(shelf.open.get() + 1);
        // From here on the drop of `conn` keeps the count.
        let mut conn = UpstreamConn { wire: None, shelf, reused: false, absolute };
        conn.wire = Some(self.dial(origin, network).await?);
        Ok(conn)
    }

    /// Keeps a connection whose answer was read to its end.
    pub fn give_back(&self, mut conn: UpstreamConn) {
        if let Some(wire) = conn.wire.take() {
            conn.shelf.idle.borrow_mut().push(Idle { wire, since_ms: self.clock.coarse_ms() });
            // `drop` counts it as closed; it is not.
            conn.shelf.open.set(conn.shelf.open.get() + 1);
        }
    }

    /// Closes what has been idle for longer than `after`.
    pub fn sweep(&self, after: Duration) {
        let oldest = self.clock.coarse_ms().saturating_sub(millis(after));
        for shelf in self.shelves.borrow().values() {
            let mut idle = shelf.idle.borrow_mut();
            let before = idle.len();
            idle.retain(|entry| entry.since_ms >= oldest);
            shelf.open.set(shelf.open.get().saturating_sub(before - idle.len()));
        }
    }

    fn shelf(&self, origin: &Origin, transport: &Transport) -> Rc<Shelf> {
        let mut shelves = self.shelves.borrow_mut();
        if let Some(shelf) = shelves.get(&PeerRef { origin, transport }) {
            return Rc::clone(shelf);
        }
        let shelf = Rc::<Shelf>::default();
        let peer = Peer { origin: origin.clone(), transport: transport.clone() };
        shelves.insert(peer, Rc::clone(&shelf));
        shelf
    }

    fn take_idle(&self, shelf: &Shelf, keep_alive: Duration) -> Option<Wire> {
        let now = self.clock.coarse_ms();
        let mut idle = shelf.idle.borrow_mut();
        while let Some(entry) = idle.pop() {
            if now.saturating_sub(entry.since_ms) <= millis(keep_alive) {
                return Some(entry.wire);
            }
            shelf.open.set(shelf.open.get().saturating_sub(1));
        }
        None
    }

    async fn dial(&self, origin: &Origin, network: &Network) -> Result<Wire, ConnectError> {
        let Some(proxy) = &network.transport.proxy else {
            let wire = self.connect_tcp(origin).await?;
            return self.maybe_secure(wire, origin, &network.transport).await;
        };
        let mut wire = self.connect_tcp(&proxy.origin).await?;
        if proxy.origin.tls {
            let trust =
                Transport { ca_cert_pem: proxy.ca_cert_pem.clone(), ..Transport::default() };
            wire = self.secure(wire, &proxy.origin.host, &trust).await?;
        }
        if !origin.tls {
            return Ok(wire);
        }
        let wire = tunnel(wire, origin, proxy).await?;
        self.maybe_secure(wire, origin, &network.transport).await
    }

    async fn connect_tcp(&self, origin: &Origin) -> Result<Wire, ConnectError> {
        let mut last = None;
        for address in self.resolve(&origin.host).await?.iter() {
            let address = SocketAddr::new(*address, origin.port);
            match TcpStream::connect_addr(address).await {
                Ok(stream) => {
                    let (reader, writer) = socket::split(stream);
                    return Ok(Wire { reader, writer });
                }
                Err(source) => last = Some((address, source)),
            }
        }
        Err(match last {
            Some((address, source)) => {
                ConnectError::Connect { address: address.to_string(), source }
            }
            None => ConnectError::Resolve {
                host: origin.host.to_string(),
                reason: "no address".to_owned(),
            },
        })
    }

    async fn resolve(&self, host: &str) -> Result<Arc<[IpAddr]>, ConnectError> {
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        if let Ok(address) = bare.parse::<IpAddr>() {
            return Ok(Arc::new([address]));
        }
        if let Some(known) = self.addresses.borrow().get(host) {
            return Ok(Arc::clone(known));
        }
        let failed = |reason: String| ConnectError::Resolve { host: host.to_owned(), reason };
        let (reply, answer) = flume::bounded(1);
        let asked = Lookup { host: host.into(), reply };
        self.lookups.try_send(asked).map_err(|_| failed("too many look-ups".to_owned()))?;
        let found = answer
            .recv_async()
            .await
            .map_err(|_| failed("the resolver has stopped".to_owned()))?
            .map_err(failed)?;
        self.learn(host, Arc::clone(&found));
        Ok(found)
    }

    async fn maybe_secure(
        &self,
        wire: Wire,
        origin: &Origin,
        transport: &Transport,
    ) -> Result<Wire, ConnectError> {
        if origin.tls { self.secure(wire, &origin.host, transport).await } else { Ok(wire) }
    }

    async fn secure(
        &self,
        wire: Wire,
        host: &str,
        trust: &Transport,
    ) -> Result<Wire, ConnectError> {
        let failed = |source| ConnectError::Tls { host: host.to_owned(), source };
        let config = self.tls_config(trust)?;
        let bare = host.trim_start_matches('[').trim_end_matches(']');
        let session = Session::client(config, bare).map_err(failed)?;
        let (reader, writer) =
            socket::secure(wire.reader, wire.writer, session).await.map_err(failed)?;
        Ok(Wire { reader, writer })
    }

    fn tls_config(&self, trust: &Transport) -> Result<Arc<ClientConfig>, ConnectError> {
        if let Some(config) = self.tls.borrow().get(trust) {
            return Ok(Arc::clone(config));
        }
        let (pem, insecure) = (trust.ca_cert_pem.as_deref(), trust.insecure_skip_verify);
        let config = tls::client_config(&self.roots, pem, insecure).map_err(ConnectError::Setup)?;
        let config = Arc::new(config);
        self.tls.borrow_mut().insert(trust.clone(), Arc::clone(&config));
        Ok(config)
    }
}

/// Asks an HTTP proxy for a tunnel to `origin` (RFC 9110 §9.3.6).
async fn tunnel(wire: Wire, origin: &Origin, proxy: &Proxy) -> Result<Wire, ConnectError> {
    let Wire { mut reader, mut writer } = wire;
    let refused = |reason: String| ConnectError::Proxy {
        proxy: format!("{}:{}", proxy.origin.host, proxy.origin.port),
        reason,
    };
    let authority = format!("{}:{}", origin.host, origin.port);
    let mut ask = Vec::with_capacity(256);
    ask.extend_from_slice(
        format!("CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\n").as_bytes(),
    );
    if let Some(authorization) = &proxy.authorization {
        http1::header(&mut ask, "proxy-authorization", authorization.as_bytes());
    }
    ask.extend_from_slice(b"\r\n");
    writer.write(ask, 0).await.0.map_err(|error| refused(error.to_string()))?;
    let mut buf = Vec::with_capacity(4096);
    loop {
        let (result, read) = reader.read(buf).await;
        buf = read;
        if result.map_err(|error| refused(error.to_string()))? == 0 {
            return Err(refused("it closed the connection".to_owned()));
        }
        // Without a body, whatever the head says: the tunnel's bytes follow.
        let head = http1::parse_response(&buf, &Limits::default(), true)
            .map_err(|refusal| refused(refusal.reason.to_owned()))?;
        let Some(head) = head else {
            buf.reserve(4096);
            continue;
        };
        return match head.status {
            200..=299 if head.len == buf.len() => Ok(Wire { reader, writer }),
            200..=299 => Err(refused("it sent bytes before the tunnel was used".to_owned())),
            status => Err(refused(format!("status {status}"))),
        };
    }
}

/// `user:password` as the value of a Basic credential.
pub fn basic_authorization(user: &str, password: &str) -> String {
    let pair = format!("{user}:{password}");
    format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(pair))
}

impl UpstreamConn {
    /// Both directions at once.
    pub fn halves(&mut self) -> Option<(&mut Reader, &mut Writer)> {
        self.wire.as_mut().map(|wire| (&mut wire.reader, &mut wire.writer))
    }

    /// Writes `buf` from `start` on; gives the buffer back.
    pub async fn write(&mut self, buf: Vec<u8>, start: usize) -> (io::Result<()>, Vec<u8>) {
        match &mut self.wire {
            Some(wire) => wire.writer.write(buf, start).await,
            None => (Err(io::ErrorKind::NotConnected.into()), buf),
        }
    }

    /// Appends what arrives to `buf`, within its capacity. 0 bytes: the upstream has closed.
    pub async fn read(&mut self, buf: Vec<u8>) -> (io::Result<usize>, Vec<u8>) {
        match &mut self.wire {
            Some(wire) => wire.reader.read(buf).await,
            None => (Err(io::ErrorKind::NotConnected.into()), buf),
        }
    }
}

impl Drop for UpstreamConn {
    fn drop(&mut self) {
        self.shelf.open.set(self.shelf.open.get().saturating_sub(1));
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
