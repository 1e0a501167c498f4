//! A request's attempts: one target after the other, one key after the other, until one answers.
//!
//! In: a call whose body is understood. Out: its answer, or the first error when all failed. Each
//! target is admitted anew and settled once, whatever becomes of it. Where the client's first byte
//! is sent, the choice is made: nothing is tried again after that. Never: decides what a failure
//! means (`route::retry` does), or what a caller may do (`authority`).

use super::Visit;
use super::account::Tally;
use super::authority::{self, Bill, Direct, Pass};
use super::exchange::Halt;
use super::explain;
use super::failure::{Failure, Whose};
use super::ingress::Ask;
use super::itinerary::{self, Itinerary, Stop};
use super::queue;
use super::wallet;
use crate::chat::{Dialect, ErrorKind, Usage};
use crate::govern::{Grant, Reason};
use crate::net::client_conn::{ClientConn, Incoming};
use crate::provider::{Key, Operation, Provider};
use crate::route::health::Trouble;
use crate::route::keys::{self, KeyAsk};
use crate::route::retry::{self, Backoff, Cause, Retry, Standing};
use crate::route::{KeyPin, NoKey, Place, Random, Session};
use smallvec::SmallVec;
use std::time::Duration;

/// How long a request waits, at most, until the journal knows of what it may spend.
const JOURNAL_MAX: Duration = Duration::from_secs(2);
/// How often it looks.
const JOURNAL_TICK: Duration = Duration::from_millis(2);

/// What a call wants.
#[derive(Debug, Clone, Copy)]
pub struct Errand<'r> {
    pub operation: Operation,
    pub ask: &'r Ask,
    /// Without its question mark.
    pub query: &'r str,
    /// As rules and prices name it.
    pub request_type: &'static str,
    /// Whom to send to the same place again.
    pub session: Option<Session>,
    /// The provider that keeps what is asked about: the only one that can be asked.
    pub owner: Option<&'r str>,
}

impl<'r> Errand<'r> {
    pub fn new(operation: Operation, dialect: Dialect, ask: &'r Ask, query: &'r str) -> Self {
        let request_type = match (operation, dialect) {
            (Operation::Chat, Dialect::OpenAiResponses) => "responses",
            (operation, _) => operation.request_type(),
        };
        Self { operation, ask, query, request_type, session: None, owner: None }
    }
}

/// Where one attempt goes.
#[derive(Debug, Clone, Copy)]
pub struct Site<'a> {
    pub provider: &'a Provider,
    pub model: &'a str,
    pub key: Option<&'a Key>,
    /// The client's own credential, in the place of the key's.
    pub direct: Option<&'a Direct>,
    /// A limit wants to know the usage.
    pub metered: bool,
}

/// Has a request answered.
///
/// # Errors
/// The refusal, or the first target's failure.
pub async fn run(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    incoming: &mut Incoming,
    errand: &Errand<'_>,
    tally: &mut Tally,
) -> Result<(), Halt> {
    let pass = authority::identify(visit.core, visit.snapshot, incoming)?;
    let random = Random::new(fastrand::u64(..));
    let session = match errand.owner {
        // What one key keeps, another one may not see: all callers' calls use the same one.
        Some(owner) => Some(Session::of(&["owner", owner])),
        None => session(incoming, &pass),
    };
    let errand = &Errand { session, ..*errand };
    tally.note_caller(visit, client, &pass, errand);
    let itinerary = itinerary::plan(visit, &pass, incoming, errand, random)?;
    tally.note_rule(itinerary.rules.last().copied());
    let tour = Tour { visit, pass: &pass, errand, itinerary: &itinerary, random };
    if explain::wanted(incoming) {
        tally.record = None;
        return explain::say(&tour, client, incoming).await;
    }
    let mut first: Option<Box<Failure>> = None;
    for at in 0..itinerary.stops.len() {
        let Some(journey) = tour.journey(at) else { break };
        match journey.travel(client, incoming, tally).await {
            Err(Halt::Failed(failure)) => {
                let refused = is_final(&failure, at);
                let failure = first.get_or_insert(failure);
                if refused || client.has_answered() || incoming.spent {
                    return Err(Halt::Failed(failure.clone()));
                }
            }
            other => return other,
        }
    }
    match first {
        Some(failure) => Err(Halt::Failed(failure)),
        None => Err(Failure::invalid("there is no place to send this request to").into()),
    }
}

/// Whether a target's failure is the answer, whatever targets are left: the caller may not do what
/// it asked for.
pub(super) fn is_final(failure: &Failure, at: usize) -> bool {
    failure.whose == Whose::Policy && at == 0
}

/// Requests of one session go to the same provider and key, as long as these are well: prompt
/// caches are theirs. Claude Code names its sessions by itself.
fn session(incoming: &Incoming, pass: &Pass<'_>) -> Option<Session> {
    let id = ["x-bf-session-id", "x-claude-code-session-id"]
        .iter()
        .find_map(|name| incoming.header(name))
        .filter(|id| !id.is_empty() && id.len() <= 1024)?;
    let off = incoming.header("x-bf-session-affinity") == Some("off");
    let caller = pass.key.map_or("", |key| &key.id);
    (!off).then(|| Session::of(&[caller, id]))
}

/// Whether the caller's credential is one of this place's vendor, as far as can be told.
fn may_take(stop: &Stop<'_>, direct: &Direct) -> bool {
    match direct {
        Direct::OAuth(_) => stop.provider.row.name == "anthropic",
        Direct::Key(_) => stop.own_choice && !stop.provider.row.in_process,
    }
}

/// A request with all its targets.
pub(super) struct Tour<'j, 'v> {
    pub visit: &'j Visit<'v>,
    pub pass: &'j Pass<'v>,
    pub errand: &'j Errand<'v>,
    pub itinerary: &'j Itinerary<'v>,
    random: Random,
}

impl<'j, 'v> Tour<'j, 'v> {
    /// The way to the target at this place of the plan.
    pub(super) fn journey(&self, at: usize) -> Option<Journey<'j, 'v>> {
        let stop = self.itinerary.stops.get(at)?;
        let direct = self.pass.direct.as_ref();
        Some(Journey {
            visit: self.visit,
            pass: self.pass,
            errand: self.errand,
            at,
            stop,
            direct: direct.filter(|direct| at == 0 && may_take(stop, direct)),
            random: self.random.nth(u32::try_from(at).unwrap_or(0) + 16),
            next_target: at + 1 < self.itinerary.stops.len(),
        })
    }
}

/// One target, with all its keys and retries.
pub(super) struct Journey<'j, 'v> {
    pub visit: &'j Visit<'v>,
    pub pass: &'j Pass<'v>,
    pub errand: &'j Errand<'v>,
    /// Its place in the plan.
    pub at: usize,
    pub stop: &'j Stop<'v>,
    pub direct: Option<&'j Direct>,
    random: Random,
    next_target: bool,
}

/// Which keys a target has left.
#[derive(Debug, Default)]
pub(super) struct Keys {
    /// Used since the list began anew.
    used: SmallVec<[usize; 4]>,
    /// No good for this request.
    dead: SmallVec<[usize; 4]>,
}

impl Journey<'_, '_> {
    /// What an attempt with the key at this place is charged by.
    pub(super) fn bill(&self, at: Option<usize>) -> Bill<'_> {
        let provider = self.stop.provider;
        Bill {
            provider,
            key: at.and_then(|at| provider.keys.get(at)),
            model: &self.stop.model,
            request_type: self.errand.request_type,
        }
    }

    /// Where an attempt with the key at this place goes.
    pub(super) fn site(&self, at: Option<usize>, metered: bool) -> Site<'_> {
        let Bill { provider, key, model, .. } = self.bill(at);
        Site { provider, model, key, direct: self.direct, metered }
    }

    /// Admits the request to this target, tries it, and charges for what it came to.
    async fn travel(
        &self,
        client: &mut ClientConn,
        incoming: &mut Incoming,
        tally: &mut Tally,
    ) -> Result<(), Halt> {
        let provider = self.stop.provider;
        let (mut keys, mut retries) = (Keys::default(), 0);
        let mut at = self.choose(&keys, retries).map_err(|why| self.not_tried(why, None, tally))?;
        // A length of the body is no measure of what a file or a batch costs.
        let weighed = if self.errand.owner.is_some() { b"{}" } else { incoming.body() };
        let grant = self.admit(client, &self.bill(at), weighed, tally).await?;
        let metered = authority::is_metered(grant.as_ref());
        let length = incoming.body().len();
        loop {
            tally.usage = Usage::default();
            let site = self.site(at, metered);
            let visit = self.visit;
            let clock = &visit.core.clock;
            tally.begin_attempt(&site, (self.at, retries), clock.since_start());
            let result = visit.attempt(client, incoming, self.errand, &site, tally).await;
            let failure = match result {
                Err(Halt::Failed(failure)) if !client.has_answered() => failure,
                other => {
                    let answered = other.is_ok() || client.has_answered();
                    match &other {
                        Err(Halt::Failed(cut)) => tally.trail.fail(cut, clock.since_start()),
                        _ => tally.trail.end(clock.since_start()),
                    }
                    self.note_answer(at, tally);
                    let settled = (&*tally, answered, length);
                    tally.cost = self.pass.settle(visit.core, grant, &self.bill(at), settled);
                    // What has begun cannot turn into an error any more: only end.
                    return other.map_err(|_| Halt::Gone);
                }
            };
            tally.trail.fail(&failure, clock.since_start());
            let next = self.after(&failure, (at, retries), &mut keys, tally);
            // A body that was lost on the way cannot be sent again.
            let kept = incoming.body().len() == length && !incoming.spent;
            let next = if kept { next } else { Retry::Stop };
            let wait = match next {
                Retry::Same { after_ms } | Retry::NextKey { after_ms, .. } => after_ms,
                Retry::NextTarget | Retry::Stop | Retry::Exhausted => {
                    let settled = (&*tally, false, length);
                    let _nothing = self.pass.settle(visit.core, grant, &self.bill(at), settled);
                    let exhausted = next == Retry::Exhausted && keys.dead.len() > 1;
                    return Err(
                        if exhausted { exhaustion(provider, &failure) } else { *failure }.into()
                    );
                }
            };
            retries += u32::from(!matches!(next, Retry::NextKey { dead: true, .. }));
            if matches!(next, Retry::NextKey { .. }) {
                at = self.choose(&keys, retries)?;
            }
            if wait > 0 {
                let wait = Duration::from_millis(wait);
                tally.trail.wait(wait);
                let limit = wait + Duration::from_secs(5);
                let before = client.times.waited();
                let slept = client.guard(limit, monoio::time::sleep(wait)).await;
                client.times.note_pause(before);
                slept.map_err(|_| Halt::Gone)?;
            }
        }
    }

    /// Admits the request to this target. A strict limit may first have to tell the journal.
    async fn admit(
        &self,
        client: &mut ClientConn,
        bill: &Bill<'_>,
        body: &[u8],
        tally: &mut Tally,
    ) -> Result<Option<Grant>, Halt> {
        let mut left = JOURNAL_MAX;
        loop {
            let denied = match self.pass.admit(bill, body) {
                Ok(grant) => return Ok(grant),
                Err(denied) => denied,
            };
            if denied.reason != Reason::LedgerBehind || left.is_zero() {
                let why = authority::refusal(&denied);
                return Err(self.not_tried(why, bill.key, tally).into());
            }
            // Where the mailbox is full, a word is on its way already.
            let _said = self.visit.core.hurry.try_send(());
            let pause = monoio::time::sleep(JOURNAL_TICK);
            client.guard(JOURNAL_MAX, pause).await.map_err(|_| Halt::Gone)?;
            left = left.saturating_sub(JOURNAL_TICK);
        }
    }

    /// Notes that a target was not even called.
    fn not_tried(&self, why: Failure, key: Option<&Key>, tally: &mut Tally) -> Failure {
        let (now, stop) = (self.visit.core.clock.since_start(), self.stop);
        tally.trail.begin((self.at, &stop.provider.name, &stop.model), key, now);
        tally.trail.fail(&why, now);
        why
    }

    /// Asks for a key, or about keys, as this target's calls do.
    pub(super) fn key_ask<R>(
        &self,
        spent: &[usize],
        retries: u32,
        answer: impl FnOnce(&KeyAsk<'_>) -> R,
    ) -> R {
        let grant = self.pass.key.and_then(|key| key.provider(&self.stop.provider.name));
        let allowed = |key: &Key| {
            grant.is_none_or(|grant| grant.keys.holds(&key.id) || grant.keys.holds(&key.name))
        };
        // Where keys are set apart for batches, only these are used for them.
        let batch = self.errand.operation.is_batch()
            && self.stop.provider.keys.iter().any(|key| key.use_for_batch_api);
        answer(&KeyAsk {
            model: &self.stop.model,
            allowed: &allowed,
            pin: self.stop.pin.as_ref().map(KeyPin::as_ref),
            session: self.errand.session,
            batch,
            spent,
            random: self.random.nth(retries),
        })
    }

    /// The place of the key to use; `None` where none is needed, or there is none at all.
    pub(super) fn choose(&self, keys: &Keys, retries: u32) -> Result<Option<usize>, Failure> {
        let provider = self.stop.provider;
        if provider.keys.is_empty() {
            return Ok(None);
        }
        let mut spent = keys.used.clone();
        spent.extend_from_slice(&keys.dead);
        let core = self.visit.core;
        let chosen = |spent: &[usize]| {
            let (health, now) = (core.health.borrow(), core.coarse_now());
            self.key_ask(spent, retries, |ask| keys::choose(provider, ask, &health, now))
        };
        // When all were used, the used ones begin again; the dead stay dead.
        let found = match chosen(&spent) {
            Err(NoKey::AllSpent) => chosen(&keys.dead),
            found => found,
        };
        match found {
            Ok(at) => Ok(at),
            // The client's own credential needs no key of ours.
            Err(_) if self.direct.is_some() => Ok(None),
            Err(why) => Err(self.no_key(why)),
        }
    }

    fn no_key(&self, why: NoKey) -> Failure {
        let name = &self.stop.provider.name;
        let message = match why {
            NoKey::NoneForModel => {
                format!("no key of the provider {name} serves the model {}", self.stop.model)
            }
            why => format!("{name}: {why}"),
        };
        Failure::invalid(message)
    }

    /// What comes after a failure, by the matrix.
    fn after(
        &self,
        failure: &Failure,
        (at, retries): (Option<usize>, u32),
        keys: &mut Keys,
        tally: &Tally,
    ) -> Retry {
        let provider = self.stop.provider;
        let cause = cause(failure);
        self.note_failure((cause, failure.whose), at, tally);
        if let Some(at) = at {
            let list = if cause == Cause::KeyDead { &mut keys.dead } else { &mut keys.used };
            if !list.contains(&at) {
                list.push(at);
            }
        }
        let own_key = self.direct.is_none();
        let unused = own_key && self.has_key(&[&keys.used[..], &keys.dead[..]].concat());
        let live = own_key && self.has_key(&keys.dead);
        let network = &provider.network;
        let millis = |span: Duration| u64::try_from(span.as_millis()).unwrap_or(u64::MAX);
        let backoff = Backoff {
            initial_ms: millis(network.retry_backoff_initial),
            max_ms: millis(network.retry_backoff_max),
        };
        let standing = Standing {
            retries,
            max_retries: network.max_retries,
            unused_key: unused,
            live_key: live,
            next_target: self.next_target,
        };
        retry::after(cause, &standing, backoff, self.random.nth(1000 + retries))
    }

    /// Whether there is a key beside these.
    fn has_key(&self, spent: &[usize]) -> bool {
        let keys = Keys { used: SmallVec::new(), dead: SmallVec::from_slice(spent) };
        matches!(self.choose(&keys, 0), Ok(Some(_)))
    }

    /// What a failure shows of the provider and the key. An upstream that refuses is not down.
    fn note_failure(&self, (cause, whose): (Cause, Whose), at: Option<usize>, tally: &Tally) {
        let (core, provider) = (self.visit.core, self.stop.provider);
        let key = at.and_then(|at| provider.keys.get(at)).filter(|_| self.direct.is_none());
        let (place, trouble) = match (cause, key) {
            (Cause::Down, _) => (Place::provider(&provider.name), Trouble::Down),
            (Cause::Limited { retry_after_ms }, Some(key)) => {
                let retry_after_ms = retry_after_ms.and_then(|ms| i64::try_from(ms).ok());
                (Place::key(&provider.name, &key.id), Trouble::Limited { retry_after_ms })
            }
            (Cause::KeyDead, Some(key)) => (Place::key(&provider.name, &key.id), Trouble::Refused),
            (Cause::Rejected, _) if whose == Whose::Upstream => {
                return self.note_answer(at, tally);
            }
            _ => return,
        };
        if trouble != Trouble::Down {
            self.note_answer(None, tally);
        }
        core.ailing.set(true);
        core.health.borrow_mut().failed(place, trouble, core.coarse_now());
    }

    /// An answer ends what a failure began; while nothing has failed, and weights are what the
    /// configuration says, there is nothing to note.
    fn note_answer(&self, at: Option<usize>, tally: &Tally) {
        let (core, provider) = (self.visit.core, self.stop.provider);
        if !core.ailing.get() && !self.visit.snapshot.adaptive {
            return;
        }
        let Some(latency) = tally.trail.latency() else { return };
        let ms = latency.as_secs_f64() * 1000.0;
        let (now, mut health) = (core.coarse_now(), core.health.borrow_mut());
        health.answered(Place::provider(&provider.name), ms, now);
        if let Some(key) = at.and_then(|at| provider.keys.get(at)) {
            health.answered(Place::key(&provider.name, &key.id), ms, now);
        }
    }
}

/// What kind of failure it was.
fn cause(failure: &Failure) -> Cause {
    match failure.whose {
        // The provider is well, but has no room: another one may have.
        _ if failure.fault.code.as_deref() == Some(queue::DROPPED) => Cause::Rejected,
        Whose::Policy => Cause::Blocked,
        Whose::Client => Cause::Rejected,
        Whose::Gateway if failure.fault.code.as_deref() == Some(wallet::CODE) => Cause::KeyDead,
        Whose::Upstream | Whose::Gateway => {
            let header = |wanted: &str| {
                let found = failure.headers.iter().find(|(name, _)| **name == *wanted);
                found.and_then(|(_, value)| value.trim().parse::<f64>().ok())
            };
            let ms = header("retry-after-ms").or_else(|| Some(header("retry-after")? * 1000.0));
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "held to a day before"
            )]
            let retry_after_ms = ms.map(|ms| ms.clamp(0.0, 86_400_000.0) as u64);
            Cause::of_answer(failure.status, &failure.fault.message, retry_after_ms)
        }
    }
}

/// Every key was refused: the caller's own is not to blame.
fn exhaustion(provider: &Provider, last: &Failure) -> Failure {
    let message = format!(
        "upstream_credentials_exhausted: {} refused every key that may serve this request; last: {}",
        provider.name, last.fault.message
    );
    let mut failure = Failure::new(502, ErrorKind::Api, Whose::Gateway, message);
    failure.fault.code = Some("upstream_credentials_exhausted".into());
    failure
}
