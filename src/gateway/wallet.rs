//! The fetched credentials that a worker has at hand.
//!
//! In: leases by mail, or as the answer to who needs one first. Out: the lease that a key's calls
//! are made with. Only the first request with a new login waits; the control thread renews what is
//! in use before it ends. Never: fetches, or hands out what has expired.

use hashbrown::HashMap;
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use super::exchange::Halt;
use super::failure::{Failure, Retry, Whose};
use super::own::unix_seconds;
use crate::chat::ErrorKind;
use crate::control::leases::{Ask, FETCH_MAX};
use crate::net::client_conn::{ClientConn, Interrupt};
use crate::provider::login::{Lease, Leased, Login, LoginId, Wants};
use crate::provider::{Key, Provider, Secret};

/// What a failure to get a credential is known by, here and to clients.
pub const CODE: &str = "upstream_credential_unavailable";
/// The control thread gives up before.
const PATIENCE: Duration = FETCH_MAX.saturating_add(Duration::from_secs(2));
/// Leases of a configuration that is gone are forgotten beyond this.
const HELD_MAX: usize = 1024;

/// One worker's leases.
#[derive(Debug)]
pub struct Wallet {
    held: RefCell<HashMap<LoginId, Rc<Lease>>>,
    asks: flume::Sender<Ask>,
}

impl Wallet {
    pub fn new(asks: flume::Sender<Ask>) -> Self {
        Self { held: RefCell::default(), asks }
    }

    /// The control thread has a new lease. It is copied, so that no request touches a counter that
    /// another core writes.
    pub fn learn(&self, id: LoginId, lease: &Lease) -> Rc<Lease> {
        let mut held = self.held.borrow_mut();
        if held.len() >= HELD_MAX {
            let now = unix_seconds();
            held.retain(|_, lease| lease.expires_at.is_some() && lease.holds(now));
        }
        let lease = Rc::new(lease.clone());
        held.insert(id, Rc::clone(&lease));
        lease
    }

    fn at_hand(&self, id: &LoginId) -> Option<Rc<Lease>> {
        let held = self.held.borrow();
        held.get(id).filter(|lease| lease.holds(unix_seconds())).map(Rc::clone)
    }

    /// What a key's calls are made with; `None` where the key itself is enough.
    ///
    /// # Errors
    /// The client has gone, or no credential is to be had.
    pub async fn lease(
        &self,
        client: &mut ClientConn,
        provider: &Provider,
        key: Option<&Key>,
    ) -> Result<Option<Rc<Lease>>, Halt> {
        let Some((key, login)) = key.and_then(|key| Some((key, key.login.as_ref()?))) else {
            return Ok(None);
        };
        if let Some(lease) = self.at_hand(&login.id) {
            return Ok(Some(lease));
        }
        match client.guard(PATIENCE, self.ask(login)).await {
            Ok(Ok(lease)) => Ok(Some(lease)),
            Ok(Err(reason)) => Err(unavailable(provider, key, &reason).into()),
            Err(Interrupt::Gone) => Err(Halt::Gone),
            Err(Interrupt::Expired) => Err(unavailable(provider, key, "nothing came").into()),
        }
    }

    async fn ask(&self, login: &Arc<Login>) -> Result<Rc<Lease>, String> {
        let (reply, answer) = flume::bounded(1);
        let ask = Ask { login: Arc::clone(login), reply };
        self.asks.try_send(ask).map_err(|_| "too many are being fetched".to_owned())?;
        let stopped = |_| "the control thread has stopped".to_owned();
        let lease = answer.recv_async().await.map_err(stopped)??;
        Ok(self.learn(login.id, &lease))
    }
}

/// In the place of what would be fetched for a key, where nothing is sent.
pub fn stand_in(key: Option<&Key>) -> Option<Rc<Lease>> {
    let secret = || Secret::new("to be fetched");
    let credential = match key?.login.as_ref()?.wants {
        Wants::Google(_) | Wants::Entra(_) => Leased::Token(secret()),
        Wants::Aws { .. } => Leased::Aws {
            access_key_id: "to-be-fetched".into(),
            secret: secret(),
            session_token: None,
        },
    };
    Some(Rc::new(Lease { credential, expires_at: None }))
}

fn unavailable(provider: &Provider, key: &Key, reason: &str) -> Failure {
    let message = format!("{}: no credential for the key {}: {reason}", provider.name, key.name);
    let mut failure = Failure::new(502, ErrorKind::Api, Whose::Gateway, message);
    failure.fault.code = Some(CODE.into());
    failure.retry = Retry::Next;
    failure
}
