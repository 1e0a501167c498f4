//! Name look-ups, off the hot path.
//!
//! In: names that workers meet for the first time. Out: their addresses; names once asked for are
//! looked up again from time to time, and every worker is told. Never: hands out an address of the
//! link-local range, where clouds keep their metadata service, or one of a private network unless the
//! provider's configuration allows it.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use crate::net::upstream::Lookup;

/// Between two look-ups of the same name.
const REFRESH: Duration = Duration::from_secs(30);

/// Answers look-ups until no worker is left. `tell` is called with what has changed; `allowed` says
/// whether a name may mean this address.
pub async fn run(
    lookups: flume::Receiver<Lookup>,
    allowed: impl Fn(&str, IpAddr) -> bool,
    mut tell: impl FnMut(&str, Arc<[IpAddr]>),
) {
    let mut known: HashMap<Box<str>, Arc<[IpAddr]>> = HashMap::new();
    let mut refresh = tokio::time::interval(REFRESH);
    refresh.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            lookup = lookups.recv_async() => {
                let Ok(lookup) = lookup else { return };
                let found = look_up(&lookup.host, &allowed).await;
                if let Ok(addresses) = &found {
                    known.insert(lookup.host, Arc::clone(addresses));
                }
                // The worker's client may have gone meanwhile.
                let _gone = lookup.reply.try_send(found);
            }
            _ = refresh.tick() => {
                for (host, addresses) in &mut known {
                    // A name server that fails is no reason to forget what was known.
                    let Ok(found) = look_up(host, &allowed).await else { continue };
                    if found != *addresses {
                        *addresses = Arc::clone(&found);
                        tell(host, found);
                    }
                }
            }
        }
    }
}

async fn look_up(
    host: &str,
    allowed: &impl Fn(&str, IpAddr) -> bool,
) -> Result<Arc<[IpAddr]>, String> {
    let found = tokio::net::lookup_host((host, 0)).await.map_err(|error| error.to_string())?;
    let (mut good, mut refused) = (Vec::new(), 0);
    for address in found.map(|address| address.ip()) {
        match allowed(host, address) {
            true if good.contains(&address) => {}
            true => good.push(address),
            false => refused += 1,
        }
    }
    // IPv4 first: a host without IPv6 routes must not wait for them to fail.
    good.sort_by_key(IpAddr::is_ipv6);
    match (good.is_empty(), refused) {
        (false, _) => Ok(good.into()),
        (true, 0) => Err("it has no address".to_owned()),
        (true, _) => Err("it means a private address (allow_private_network)".to_owned()),
    }
}

/// Whether a name may mean this address: loopback always, link-local never, private ranges if
/// `private` is allowed.
pub fn may_mean(address: IpAddr, private: bool) -> bool {
    let address = match address {
        IpAddr::V6(v6) => v6.to_ipv4_mapped().map_or(address, IpAddr::V4),
        IpAddr::V4(_) => address,
    };
    match address {
        IpAddr::V4(v4) if v4.is_link_local() || v4.is_unspecified() => false,
        IpAddr::V4(v4) => private || !v4.is_private(),
        IpAddr::V6(v6) if v6.is_unicast_link_local() || v6.is_unspecified() => false,
        IpAddr::V6(v6) => private || !v6.is_unique_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metadata_services_are_never_meant() {
        let may = |text: &str, private| may_mean(text.parse().unwrap(), private);
        assert!(!may("169.254.169.254", true));
        assert!(!may("::ffff:169.254.169.254", true));
        assert!(!may("fe80::1", true));
        assert!(!may("10.0.0.1", false) && may("10.0.0.1", true));
        assert!(!may("fd00::1", false) && may("fd00::1", true));
        assert!(may("127.0.0.1", false) && may("::1", false) && may("1.1.1.1", false));
    }
}
