//! rustls without a socket: sealed bytes in, plain bytes out, and back.
//!
//! In: bytes that were read, bytes to be written. Out: the same, opened or sealed. Both halves of a
//! connection share one [`Session`] on one thread; no borrow lasts longer than a call.
//! Never: does I/O; reads certificate files (the control thread does).

use std::cell::RefCell;
use std::io::{self, Read, Write};
use std::sync::Arc;

use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{
    ClientConfig, ClientConnection, Connection, RootCertStore, ServerConfig, ServerConnection,
};

/// One TLS connection's state.
#[derive(Debug)]
pub struct Session {
    inner: RefCell<Connection>,
}

impl Session {
    /// The client's side, towards an upstream called `host` (a name or an address).
    pub fn client(config: Arc<ClientConfig>, host: &str) -> io::Result<Self> {
        let name = ServerName::try_from(host.to_owned())
            .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "no valid TLS server name"))?;
        let inner = ClientConnection::new(config, name).map_err(io::Error::other)?;
        Ok(Self::of(inner.into()))
    }

    /// The server's side, towards a client.
    pub fn server(config: Arc<ServerConfig>) -> io::Result<Self> {
        Ok(Self::of(ServerConnection::new(config).map_err(io::Error::other)?.into()))
    }

    fn of(mut inner: Connection) -> Self {
        inner.set_buffer_limit(None);
        Self { inner: RefCell::new(inner) }
    }

    pub fn handshaking(&self) -> bool {
        self.inner.borrow().is_handshaking()
    }

    /// Whether both sides agreed on HTTP/2.
    pub fn chose_http2(&self) -> bool {
        self.inner.borrow().alpn_protocol() == Some(b"h2")
    }

    /// Takes sealed bytes in; empty means that the peer has closed.
    pub fn feed(&self, mut sealed: &[u8]) -> io::Result<()> {
        let mut inner = self.inner.borrow_mut();
        if sealed.is_empty() {
            inner.read_tls(&mut sealed)?;
            return Ok(());
        }
        while !sealed.is_empty() {
            inner.read_tls(&mut sealed)?;
            inner
                .process_new_packets()
                .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))?;
        }
        Ok(())
    }

    /// Appends opened bytes to `buf`, within its capacity. `None`: more sealed bytes are needed;
    /// `Some(0)`: the peer has closed in order.
    pub fn open(&self, buf: &mut Vec<u8>) -> io::Result<Option<usize>> {
        let start = buf.len();
        buf.resize(buf.capacity().min(start + 16 * 1024), 0);
        let result =
            self.inner.borrow_mut().reader().read(buf.get_mut(start..).unwrap_or_default());
        let count = *result.as_ref().unwrap_or(&0);
        buf.truncate(start + count);
        match result {
            Ok(count) => Ok(Some(count)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Seals `plain`; the result also holds whatever else has to be sent.
    pub fn seal(&self, plain: &[u8]) -> io::Result<Vec<u8>> {
        self.inner.borrow_mut().writer().write_all(plain)?;
        self.pending()
    }

    /// The sealed bytes that wait to be sent.
    pub fn pending(&self) -> io::Result<Vec<u8>> {
        let mut inner = self.inner.borrow_mut();
        let mut sealed = Vec::new();
        while inner.wants_write() {
            inner.write_tls(&mut sealed)?;
        }
        Ok(sealed)
    }

    /// The last bytes of a connection that ends in order.
    pub fn close(&self) -> Vec<u8> {
        self.inner.borrow_mut().send_close_notify();
        self.pending().unwrap_or_default()
    }
}

/// The trust in upstreams: the system's roots, else the bundled ones, and those of `extra_pem`.
///
/// # Errors
/// When `extra_pem` holds no readable certificate.
pub fn client_config(
    system: &[CertificateDer<'static>],
    extra_pem: Option<&str>,
    insecure_skip_verify: bool,
) -> Result<ClientConfig, String> {
    use rustls::pki_types::pem::PemObject;
    let mut roots = RootCertStore::empty();
    let (added, _ignored) = roots.add_parsable_certificates(system.iter().cloned());
    if added == 0 {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    if let Some(pem) = extra_pem {
        let mut any = false;
        for certificate in CertificateDer::pem_slice_iter(pem.as_bytes()) {
            let certificate = certificate.map_err(|error| format!("ca_cert_pem: {error}"))?;
            roots.add(certificate).map_err(|error| format!("ca_cert_pem: {error}"))?;
            any = true;
        }
        if !any {
            return Err("ca_cert_pem: no certificate in it".to_owned());
        }
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    let mut config = if insecure_skip_verify {
        builder
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(no_verify::Anyone(provider)))
            .with_no_client_auth()
    } else {
        builder.with_root_certificates(roots).with_no_client_auth()
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// The listener's certificate and key, both PEM.
///
/// # Errors
/// A sentence for the operator: which of the two cannot be used, and why.
pub fn server_config(certificate_pem: &[u8], key_pem: &[u8]) -> Result<ServerConfig, String> {
    use rustls::pki_types::PrivateKeyDer;
    use rustls::pki_types::pem::PemObject;
    let chain: Vec<_> = CertificateDer::pem_slice_iter(certificate_pem)
        .collect::<Result<_, _>>()
        .map_err(|error| format!("certificate file: {error}"))?;
    if chain.is_empty() {
        return Err("certificate file: no certificate in it".to_owned());
    }
    let key =
        PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| format!("key file: {error}"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(|error| format!("certificate and key: {error}"))?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(config)
}

/// `insecure_skip_verify`: the operator asked not to be protected.
mod no_verify {
    use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
    use rustls::crypto::CryptoProvider;
    use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
    use rustls::{DigitallySignedStruct, Error, SignatureScheme};
    use std::sync::Arc;

    #[derive(Debug)]
    pub(super) struct Anyone(pub(super) Arc<CryptoProvider>);

    impl ServerCertVerifier for Anyone {
        fn verify_server_cert(
            &self,
            _end_entity: &CertificateDer<'_>,
            _intermediates: &[CertificateDer<'_>],
            _server_name: &ServerName<'_>,
            _ocsp_response: &[u8],
            _now: UnixTime,
        ) -> Result<ServerCertVerified, Error> {
            Ok(ServerCertVerified::assertion())
        }
        fn verify_tls12_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            rustls::crypto::verify_tls12_signature(message, cert, dss, algorithms)
        }
        fn verify_tls13_signature(
            &self,
            message: &[u8],
            cert: &CertificateDer<'_>,
            dss: &DigitallySignedStruct,
        ) -> Result<HandshakeSignatureValid, Error> {
            let algorithms = &self.0.signature_verification_algorithms;
            rustls::crypto::verify_tls13_signature(message, cert, dss, algorithms)
        }
        fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
            self.0.signature_verification_algorithms.supported_schemes()
        }
    }
}
