//! Credentials that have to be fetched: once for all workers, and anew before they expire.
//!
//! In: logins that workers ask for. Out: their leases, to who asked and from then on to every
//! worker. One fetch at a time for each login. Never: keeps fetching for a login that no
//! configuration names any more; gives up on one that is in use.
//!
//! ```text
//! asked for --fetch--> leased --5 minutes before its end--> fetched again, the old one in use
//!           \--failure--> told to who asked; the next who asks begins anew, but not at once
//! ```

use super::http_client::HttpClient;
use super::{aws_login, token_login};
use crate::observe::log;
use crate::provider::login::{Lease, Login, LoginId, Wants};
use futures_util::stream::{FuturesUnordered, StreamExt};
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use token_login::now_s;
use tokio::time::Instant;

/// A login that a worker has no lease for.
#[derive(Debug)]
pub struct Ask {
    pub login: Arc<Login>,
    pub reply: flume::Sender<Result<Arc<Lease>, String>>,
}

/// The longest that one fetch may take, with all its calls.
pub const FETCH_MAX: Duration = Duration::from_secs(20);
/// So long before its end a lease is renewed; short ones at half of their time.
const AHEAD_S: u64 = 300;
/// A lease without an end is looked up again after this: a file may have changed.
const ENDLESS_S: u64 = 900;
/// After a failure nobody is asked again for so long.
const FAILURE_HOLDS: Duration = Duration::from_secs(1);
/// Between two attempts to renew a lease that is still good.
const RENEWAL_PAUSE: Duration = Duration::from_secs(10);

type Fetched = (Arc<Login>, Result<Lease, String>);
type Fetching = FuturesUnordered<Pin<Box<dyn Future<Output = Fetched> + Send>>>;
type Reply = flume::Sender<Result<Arc<Lease>, String>>;

/// What is known of one login.
#[derive(Debug)]
struct Entry {
    login: Arc<Login>,
    lease: Option<Arc<Lease>>,
    /// When to fetch again; none while that is being done, or has never been.
    renew_at: Option<Instant>,
    fetching: bool,
    failed: Option<(Instant, String)>,
    waiting: Vec<Reply>,
}

/// Serves until no worker is left. `tell` is called with each new lease; `named` says whether the
/// configuration in force still has a login.
pub async fn run(
    asks: flume::Receiver<Ask>,
    http: HttpClient,
    named: impl Fn(&LoginId) -> bool,
    mut tell: impl FnMut(&LoginId, &Arc<Lease>),
) {
    let mut entries: HashMap<LoginId, Entry> = HashMap::new();
    let mut fetching = Fetching::new();
    loop {
        let next = entries.values().filter_map(|entry| entry.renew_at).min();
        let renewal = async {
            match next {
                Some(at) => tokio::time::sleep_until(at).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            ask = asks.recv_async() => {
                let Ok(ask) = ask else { return };
                let id = ask.login.id;
                let entry = entries.entry(id).or_insert_with(|| Entry::new(ask.login));
                if entry.asked(ask.reply) {
                    fetching.push(fetch(&http, &entry.login));
                }
            }
            Some((login, result)) = fetching.next(), if !fetching.is_empty() => {
                let Some(entry) = entries.get_mut(&login.id) else { continue };
                if let Some(lease) = entry.fetched(result) {
                    tell(&login.id, &lease);
                }
            }
            () = renewal => {
                entries.retain(|id, entry| entry.fetching || !entry.waiting.is_empty() || named(id));
                let now = Instant::now();
                for entry in entries.values_mut() {
                    if entry.renew_at.is_some_and(|at| at <= now) {
                        entry.renew_at = None;
                        entry.fetching = true;
                        fetching.push(fetch(&http, &entry.login));
                    }
                }
            }
        }
    }
}

impl Entry {
    fn new(login: Arc<Login>) -> Self {
        let (lease, renew_at, failed, waiting) = (None, None, None, Vec::new());
        Self { login, lease, renew_at, fetching: false, failed, waiting }
    }

    /// Answers who asks, or lets them wait; whether a fetch has to begin.
    fn asked(&mut self, reply: Reply) -> bool {
        // Who asked may have gone meanwhile, here and below.
        if let Some(lease) = self.lease.as_ref().filter(|lease| lease.holds(now_s())) {
            let _gone = reply.try_send(Ok(Arc::clone(lease)));
            return false;
        }
        if let Some((at, reason)) = &self.failed
            && !self.fetching
            && at.elapsed() < FAILURE_HOLDS
        {
            let _gone = reply.try_send(Err(reason.clone()));
            return false;
        }
        self.waiting.push(reply);
        !std::mem::replace(&mut self.fetching, true)
    }

    /// Takes what a fetch came to; a new lease has to be told to all.
    fn fetched(&mut self, result: Result<Lease, String>) -> Option<Arc<Lease>> {
        self.fetching = false;
        match result {
            Ok(lease) => {
                let lease = Arc::new(lease);
                self.renew_at = Some(Instant::now() + until_renewal(&lease, now_s()));
                self.failed = None;
                let news = self.lease.as_ref() != Some(&lease);
                self.lease = Some(Arc::clone(&lease));
                for reply in self.waiting.drain(..) {
                    let _gone = reply.try_send(Ok(Arc::clone(&lease)));
                }
                news.then_some(lease)
            }
            Err(reason) => {
                log::warn("no credential could be fetched", &[("reason", &reason)]);
                for reply in self.waiting.drain(..) {
                    let _gone = reply.try_send(Err(reason.clone()));
                }
                let in_use = self.lease.as_ref().is_some_and(|lease| lease.holds(now_s()));
                self.renew_at = in_use.then(|| Instant::now() + RENEWAL_PAUSE);
                self.failed = Some((Instant::now(), reason));
                None
            }
        }
    }
}

fn fetch(http: &HttpClient, login: &Arc<Login>) -> Pin<Box<dyn Future<Output = Fetched> + Send>> {
    let (http, login) = (http.clone(), Arc::clone(login));
    Box::pin(async move {
        let fetched = async {
            match &login.wants {
                Wants::Aws { key, region } => aws_login::fetch(&http, key, region).await,
                Wants::Google(key) => token_login::google(&http, key).await,
                Wants::Entra(key) => token_login::entra(&http, key).await,
            }
        };
        let seconds = FETCH_MAX.as_secs();
        let late = |_| Err(format!("nothing came within {seconds} s"));
        let result = tokio::time::timeout(FETCH_MAX, fetched).await.unwrap_or_else(late);
        (login, result)
    })
}

/// How long a lease is left in peace.
fn until_renewal(lease: &Lease, now_s: u64) -> Duration {
    let Some(end) = lease.expires_at else { return Duration::from_secs(ENDLESS_S) };
    let left = end.saturating_sub(now_s);
    Duration::from_secs(if left > 2 * AHEAD_S { left - AHEAD_S } else { (left / 2).max(1) })
}

#[cfg(test)]
mod tests {
    use super::{Entry, until_renewal};
    use crate::provider::login::{Lease, Leased, Login, Wants};
    use crate::provider::{EntraKey, Secret};
    use std::sync::Arc;
    use std::time::Duration;

    fn lease(value: &str, expires_at: Option<u64>) -> Lease {
        Lease { credential: Leased::Token(Secret::new(value)), expires_at }
    }

    fn entry() -> Entry {
        Entry::new(Arc::new(Login { id: [0; 32], wants: Wants::Entra(EntraKey::default()) }))
    }

    #[test]
    fn leases_are_renewed_five_minutes_ahead_or_at_half_of_their_time() {
        let after = |left: u64| until_renewal(&lease("t", Some(1000 + left)), 1000).as_secs();
        assert_eq!((after(3600), after(600), after(10), after(0)), (3300, 300, 5, 1));
        assert_eq!(until_renewal(&lease("t", None), 1000), Duration::from_mins(15));
    }

    #[test]
    fn all_who_ask_meanwhile_share_one_fetch() {
        let mut entry = entry();
        let (first, one) = flume::bounded(1);
        let (second, two) = flume::bounded(1);
        assert!(entry.asked(first) && !entry.asked(second));
        assert!(entry.fetched(Ok(lease("t", None))).is_some());
        assert_eq!(*one.recv().unwrap().unwrap(), lease("t", None));
        assert_eq!(*two.recv().unwrap().unwrap(), lease("t", None));
        let (third, three) = flume::bounded(1);
        assert!(!entry.asked(third) && three.recv().unwrap().is_ok(), "at hand");
    }

    #[test]
    fn a_failure_is_told_and_does_not_end_a_lease_in_use() {
        let mut entry = entry();
        let (reply, answer) = flume::bounded(2);
        assert!(entry.asked(reply.clone()));
        assert!(entry.fetched(Err("no".to_owned())).is_none());
        assert_eq!(answer.recv().unwrap(), Err("no".to_owned()));
        assert!(!entry.asked(reply.clone()), "not again at once");
        assert_eq!(answer.recv().unwrap(), Err("no".to_owned()));
        assert!(entry.renew_at.is_none(), "nobody waits for it");
        entry.fetched(Ok(lease("t", None)));
        entry.fetched(Err("no".to_owned()));
        assert!(!entry.asked(reply) && answer.recv().unwrap().is_ok());
        assert!(entry.renew_at.is_some(), "tried again soon");
    }
}
