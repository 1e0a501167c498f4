//! The control thread's own calls: one client for whatever it asks of others.
//!
//! In: a request. Out: its answer, whole, up to a size. Proxies are those of the environment, but
//! for servers on this machine or its metadata services. Trusts what upstreams are trusted by.
//! Never: follows a redirect, which could carry a secret elsewhere; prints an address's query.

use crate::net::tls;
use crate::provider::oauth::Call;
use reqwest::{Client, Method, Request, Url, redirect};
use rustls::pki_types::CertificateDer;
use std::error::Error;
use std::time::Duration;
use url::Host;

const CONNECT: Duration = Duration::from_secs(10);
const IDLE: Duration = Duration::from_secs(30);

/// Cheap to clone: clones share their connections.
#[derive(Debug, Clone)]
pub struct HttpClient {
    /// Through the environment's proxies, where it names any.
    proxied: Client,
    direct: Client,
}

/// An answer, whatever its status.
#[derive(Debug)]
pub struct Answered {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: Vec<u8>,
}

impl HttpClient {
    /// # Errors
    /// When no TLS can be made with these roots.
    pub fn new(roots: &[CertificateDer<'static>]) -> Result<Self, String> {
        let tls = tls::client_config(roots, None, false)?;
        let builder = || {
            Client::builder()
                .tls_backend_preconfigured(tls.clone())
                .redirect(redirect::Policy::none())
                .connect_timeout(CONNECT)
                .pool_idle_timeout(IDLE)
                .user_agent(concat!("finops-gateway/", env!("CARGO_PKG_VERSION")))
        };
        let built = |built: Result<Client, reqwest::Error>| built.map_err(|e| reason(&e));
        let proxied = built(builder().build())?;
        Ok(Self { proxied, direct: built(builder().no_proxy().build())? })
    }

    /// Sends a request and takes in its answer; one with more than `max` bytes is a failure.
    ///
    /// # Errors
    /// What went wrong with the connection, in words.
    pub async fn send(&self, request: Request, max: usize) -> Result<Answered, String> {
        let client = if is_near(request.url()) { &self.direct } else { &self.proxied };
        let host = request.url().host_str().unwrap_or_default().to_owned();
        let failed = |error: reqwest::Error| format!("{host}: {}", reason(&error.without_url()));
        let mut answer = client.execute(request).await.map_err(failed)?;
        let mut body = Vec::new();
        while let Some(piece) = answer.chunk().await.map_err(failed)? {
            if body.len() + piece.len() > max {
                return Err(format!("{host}: its answer is larger than {max} bytes"));
            }
            body.extend_from_slice(&piece);
        }
        let headers = std::mem::take(answer.headers_mut());
        Ok(Answered { status: answer.status().as_u16(), headers, body })
    }

    /// Gets what stands at an address.
    ///
    /// # Errors
    /// As [`HttpClient::send`].
    pub async fn get(&self, url: Url, max: usize) -> Result<Answered, String> {
        self.send(Request::new(Method::GET, url), max).await
    }

    /// Asks a token endpoint.
    ///
    /// # Errors
    /// As [`HttpClient::send`]; or the call names no address.
    pub async fn ask(&self, call: Call) -> Result<Answered, String> {
        let url = Url::parse(&call.url).map_err(|error| format!("no address: {error}"))?;
        let method = if call.method == "GET" { Method::GET } else { Method::POST };
        let mut request = self.direct.request(method, url);
        for (name, value) in &call.headers {
            request = request.header(&**name, value.expose());
        }
        if !call.body.is_empty() {
            request = request.body(call.body.expose().to_owned());
        }
        let request = request.build().map_err(|error| reason(&error.without_url()))?;
        self.send(request, 1 << 20).await
    }
}

/// This machine and the metadata services of clouds: no proxy leads there.
fn is_near(url: &Url) -> bool {
    match url.host() {
        Some(Host::Domain(name)) => name == "localhost" || name == "metadata.google.internal",
        Some(Host::Ipv4(ip)) => ip.is_loopback() || ip.is_link_local(),
        Some(Host::Ipv6(ip)) => {
            ip.is_loopback() || ip.is_unicast_link_local() || ip.is_unique_local()
        }
        None => false,
    }
}

/// An error with what is behind it.
fn reason(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(error) = source {
        text.push_str(": ");
        text.push_str(&error.to_string());
        source = error.source();
    }
    text
}
