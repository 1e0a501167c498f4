//! Proxies, private addresses and certificates: what of a provider's network can be checked ahead.
//!
//! In: URLs, PEM texts, the environment's proxy variables. Out: checked values, or faults. Never:
//! resolves a name; the resolver holds names to [`crate::provider::Network::allow_private`].

use crate::config::fault::{Faults, Path};
use crate::provider::endpoint::split_url;
use crate::provider::{Origin, Provider, Proxy};
use base64::Engine;
use rustls_pki_types::CertificateDer;
use rustls_pki_types::pem::PemObject;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

/// Reads a variable of the environment.
pub type Lookup<'e> = &'e dyn Fn(&str) -> Option<String>;

/// A server that may be called, and the base path below which it is.
pub fn server(
    url: &str,
    allow_private: bool,
    path: &Path,
    faults: &mut Faults,
) -> Option<(Origin, Box<str>)> {
    match split_url(url) {
        Err(bad) => faults.push(path, bad.to_string()),
        Ok((origin, base)) => match forbidden(&origin.host, allow_private) {
            Some(why) => faults.push(path, why),
            None => return Some((origin, base)),
        },
    }
    None
}

fn forbidden(host: &str, allow_private: bool) -> Option<&'static str> {
    let ip: IpAddr = host.parse().ok()?;
    if is_link_local(ip) {
        Some("link-local addresses (cloud metadata) are never called")
    } else if is_private(ip) && !allow_private {
        Some("a private address; set `network_config.allow_private_network` to true to call it")
    } else {
        None
    }
}

/// Where the clouds keep their metadata; never to be called for a client.
pub fn is_link_local(ip: IpAddr) -> bool {
    match unmapped(ip) {
        IpAddr::V4(ip) => ip.is_link_local() || ip.is_unspecified() || ip.is_broadcast(),
        IpAddr::V6(ip) => {
            let cloud_metadata = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);
            ip.is_unicast_link_local() || ip.is_unspecified() || ip == cloud_metadata
        }
    }
}

/// RFC 1918, carrier-grade NAT and unique-local addresses; not loopback.
pub fn is_private(ip: IpAddr) -> bool {
    match unmapped(ip) {
        IpAddr::V4(ip) => {
            let [a, b, _, _] = ip.octets();
            ip.is_private() || (a == 100 && (64..128).contains(&b))
        }
        IpAddr::V6(ip) => ip.is_unique_local(),
    }
}

fn unmapped(ip: IpAddr) -> IpAddr {
    match ip {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(ip, IpAddr::V4),
        IpAddr::V4(_) => ip,
    }
}

/// A proxy by its URL, and the credentials beside or inside it.
pub fn proxy(
    url: &str,
    login: Option<(&str, &str)>,
    ca_cert_pem: Option<Box<str>>,
    path: &Path,
    faults: &mut Faults,
) -> Option<Proxy> {
    let text = if url.contains("://") { url.to_owned() } else { format!("http://{url}") };
    let Ok(mut parsed) = url::Url::parse(text.trim()) else {
        faults.push(path, "this is not a URL; expected `http://host:port`");
        return None;
    };
    if parsed.scheme().starts_with("socks") {
        faults.push(path, "SOCKS proxies are not supported by this version; use an HTTP proxy");
        return None;
    }
    let decoded =
        |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
    let own = (decoded(parsed.username()), decoded(parsed.password().unwrap_or_default()));
    let own = (!parsed.username().is_empty()).then_some(own);
    let login = login.map(|(user, password)| (user.to_owned(), password.to_owned())).or(own);
    let cleared = parsed.set_username("").and_then(|()| parsed.set_password(None));
    let split = cleared.ok().and_then(|()| split_url(parsed.as_str()).ok());
    let Some((origin, base)) = split else {
        faults.push(path, "this is not a proxy; expected `http://host:port`");
        return None;
    };
    if !base.is_empty() {
        faults.push(path, "a proxy's URL has no path");
        return None;
    }
    let authorization = login.map(|(user, password)| {
        let pair = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
        format!("Basic {pair}").into()
    });
    Some(Proxy { origin, authorization, ca_cert_pem })
}

/// The proxy that `HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY` and `NO_PROXY` name for a provider.
/// One provider has one proxy: servers of its keys that these variables part are a fault.
pub fn proxy_of_environment(
    provider: &Provider,
    env: Lookup<'_>,
    ca_cert_pem: Option<Box<str>>,
    path: &Path,
    faults: &mut Faults,
) -> Option<Proxy> {
    let of_keys = provider.keys.iter().flat_map(|key| {
        let of_aliases = key.aliases.iter().filter_map(|alias| alias.origin.as_ref());
        key.origin.iter().chain(of_aliases).map(|(origin, _)| origin)
    });
    let mut servers = std::iter::once(&provider.origin).chain(of_keys);
    let mut servers = servers.by_ref().filter(|origin| !origin.host.is_empty());
    let chosen = variable_for(servers.next()?, env);
    if servers.any(|origin| variable_for(origin, env) != chosen) {
        faults.push(
            path,
            "the environment names different proxies for this provider's servers; \
             set `proxy_config` with a type of `http` or `none`",
        );
        return None;
    }
    proxy(&chosen?, None, ca_cert_pem, path, faults)
}

fn variable_for(origin: &Origin, env: Lookup<'_>) -> Option<String> {
    let set = |name: &str| {
        let value = env(&name.to_ascii_lowercase()).or_else(|| env(name));
        value.filter(|value| !value.trim().is_empty())
    };
    let own = if origin.tls { "HTTPS_PROXY" } else { "HTTP_PROXY" };
    let url = set(own).or_else(|| set("ALL_PROXY"))?;
    let exempt = set("NO_PROXY").unwrap_or_default();
    let is_exempt = exempt.split(',').any(|rule| bypasses(rule.trim(), origin));
    (!is_exempt).then_some(url)
}

/// One entry of `NO_PROXY`: `*`, a name with its sub-domains, an address, or a block of addresses;
/// each but the first and last with or without a port.
fn bypasses(rule: &str, origin: &Origin) -> bool {
    if rule == "*" {
        return true;
    }
    let ip: Option<IpAddr> = origin.host.parse().ok();
    if let (Some(ip), Some((block, bits))) = (ip, rule.split_once('/')) {
        return in_block(ip, block, bits);
    }
    let (host, port) = match rule.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') => (host, port.parse::<u16>().ok()),
        _ => (rule, None),
    };
    let suffix = host.trim_start_matches("*.").trim_start_matches('.');
    let same = origin.host.eq_ignore_ascii_case(suffix);
    let below = || {
        let at = origin.host.len().checked_sub(suffix.len() + 1);
        let tail = at.and_then(|at| origin.host.get(at..));
        tail.and_then(|tail| tail.strip_prefix('.'))
            .is_some_and(|tail| tail.eq_ignore_ascii_case(suffix))
    };
    let named = !suffix.is_empty() && (same || (ip.is_none() && below()));
    named && port.is_none_or(|port| port == origin.port)
}

fn in_block(ip: IpAddr, block: &str, bits: &str) -> bool {
    let Ok(bits) = bits.parse::<u32>() else { return false };
    match (ip, block.parse()) {
        (IpAddr::V4(ip), Ok(IpAddr::V4(block))) => {
            let mask = u32::MAX.checked_shl(32_u32.saturating_sub(bits)).unwrap_or(0);
            let of = |ip: Ipv4Addr| ip.to_bits() & mask;
            bits <= 32 && of(ip) == of(block)
        }
        (IpAddr::V6(ip), Ok(IpAddr::V6(block))) => {
            let mask = u128::MAX.checked_shl(128_u32.saturating_sub(bits)).unwrap_or(0);
            let of = |ip: Ipv6Addr| ip.to_bits() & mask;
            bits <= 128 && of(ip) == of(block)
        }
        _ => false,
    }
}

/// Certificates that can be read, at least one.
pub fn certificates(pem: &str, path: &Path, faults: &mut Faults) -> Option<Box<str>> {
    let mut count = 0_usize;
    for found in CertificateDer::pem_slice_iter(pem.as_bytes()) {
        if found.is_err() {
            faults.push(path, "a certificate in this PEM text cannot be read");
            return None;
        }
        count += 1;
    }
    if count == 0 {
        faults.push(path, "no certificate in PEM form here (`-----BEGIN CERTIFICATE-----`)");
        return None;
    }
    Some(pem.into())
}

#[cfg(test)]
mod tests {
    use super::{bypasses, is_link_local, is_private, proxy, server};
    use crate::config::fault::{Faults, Path};
    use crate::provider::Origin;

    fn said(url: &str, allow_private: bool) -> String {
        let mut faults = Faults::default();
        let found = server(url, allow_private, &Path::root().key("url"), &mut faults);
        assert_eq!(found.is_none(), !faults.is_empty());
        faults.to_string()
    }

    #[test]
    fn private_servers_need_leave_and_metadata_gets_none() {
        assert!(said("http://10.2.0.9:8000", false).contains("allow_private_network"));
        assert_eq!(said("http://10.2.0.9:8000", true), "");
        assert_eq!(said("http://127.0.0.1:8000", false), "");
        assert_eq!(said("http://[::1]:8000", false), "");
        for metadata in
            ["http://169.254.169.254", "http://[fe80::1]", "http://[::ffff:169.254.1.1]"]
        {
            assert!(said(metadata, true).contains("never called"), "{metadata}");
        }
        assert!(said("http://[fd12::1]", false).contains("private"));
        assert!(is_private("100.64.0.1".parse().unwrap()));
        assert!(!is_private("127.0.0.1".parse().unwrap()));
        assert!(is_link_local("0.0.0.0".parse().unwrap()));
    }

    #[test]
    fn no_proxy_entries_match_hosts_below_and_blocks() {
        let origin = |host: &str| Origin { tls: true, host: host.into(), port: 443 };
        let host = origin("api.example.com");
        for rule in ["*", "example.com", ".example.com", "*.example.com", "API.example.com:443"] {
            assert!(bypasses(rule, &host), "{rule}");
        }
        for rule in ["", "ample.com", "api.example.com:80", "10.0.0.0/8", "com.example"] {
            assert!(!bypasses(rule, &host), "{rule}");
        }
        assert!(bypasses("10.0.0.0/8", &origin("10.9.9.9")));
        assert!(!bypasses("10.0.0.0/8", &origin("11.0.0.1")));
        assert!(bypasses("0.0.0.0/0", &origin("11.0.0.1")));
        assert!(bypasses("fd00::/8", &origin("fd12::1")));
        assert!(!bypasses("10.0.0.0/40", &origin("10.0.0.0")));
    }

    #[test]
    fn socks_is_refused_by_name() {
        let mut faults = Faults::default();
        let path = Path::root().key("url");
        assert_eq!(proxy("socks5://h:1080", None, None, &path, &mut faults), None);
        assert!(faults.to_string().contains("SOCKS"), "{faults}");
        let mut faults = Faults::default();
        let found = proxy("proxy:3128", Some(("u", "p")), None, &path, &mut faults).unwrap();
        assert_eq!((&*found.origin.host, found.origin.port), ("proxy", 3128));
        assert_eq!(found.authorization.as_deref(), Some("Basic dTpw"));
    }
}
