//! The path of a request: nine steps, each one call, data moving down the list.
//!
//! In: a client's whole request. Out: its answer, and one account of it. Same dialect on both sides:
//! bytes ([`identity`]); another: events ([`transcode`]); no upstream at all: [`mock`].
//! Never: answers twice, or accounts twice or not at all; holds a lock or calls another core.

pub mod account;
pub mod attempts;
pub mod authority;
pub mod bedrock_paths;
pub mod connection;
mod core_state;
pub mod embed;
pub mod endpoints;
mod envelope;
pub mod exchange;
pub mod explain;
pub mod failure;
pub mod identity;
pub mod ingress;
pub mod itinerary;
pub mod management;
pub mod metering;
pub mod mock;
pub mod model_list;
pub mod models;
pub mod mounts;
pub mod outgoing;
pub mod outlet;
pub mod own;
pub mod passage;
pub mod queue;
pub mod quota;
pub mod record;
pub mod redact;
pub mod reframe;
pub mod reply;
pub mod result_urls;
pub mod scene;
pub mod sending;
pub mod signing;
pub mod station;
pub mod trail;
pub mod transcode;
pub mod upload;
pub mod voice;
pub mod wallet;

use crate::chat::Loss;
use crate::config::Snapshot;
use crate::net::client_conn::{ClientConn, Incoming};
use crate::provider::{Operation, Provider, model_name};
use crate::wire::http1::BodyKind;

pub use core_state::{Core, InForce, Ways};
pub use scene::Scene;

use account::Tally;
use attempts::Errand;
use exchange::Halt;
use failure::Failure;
use ingress::{Call, Mount, Route, Target};
use reply::{Head, Terms};
use trail::Trail;
use voice::Voice;

/// One request inside the gateway.
#[derive(Debug)]
pub struct Visit<'v> {
    pub core: &'v Core,
    pub snapshot: &'v Snapshot,
    pub terms: &'v Terms,
    pub mount: &'static Mount,
    pub voice: Voice,
    pub request_id: &'v str,
    /// `x-bf-strict: true`: refuse rather than lose anything.
    pub strict: bool,
}

/// Serves one request; `false` when the connection has to end with it.
pub async fn serve(core: &Core, client: &mut ClientConn, mut incoming: Incoming) -> bool {
    let snapshot = core.snapshot();
    let mut tally = Tally::default();
    let request_id = request_id();
    let mut terms = own::terms(core, &snapshot, &client.times, &incoming);
    let target = incoming.head.target.str_of(&incoming.buf);
    let routed = ingress::route(incoming.head.method, target);
    if terms.preflight.is_none() && !matches!(&routed, Ok(route) if route.is_own()) {
        let understood = routed.is_ok();
        tally.record = record::begin(core, client, &incoming, (&request_id, understood));
    }
    let (mount, result) = match routed {
        Ok(route) => {
            tally.client = Some(route.mount.dialect());
            let strict = incoming.header("x-bf-strict") == Some("true");
            let visit = Visit {
                core,
                snapshot: &snapshot,
                terms: &terms,
                mount: route.mount,
                voice: Voice::of_errors(route.mount.dialect()),
                request_id: &request_id,
                strict,
            };
            (route.mount, visit.answer(client, &mut incoming, &route, &mut tally).await)
        }
        Err((mount, failure)) => match own::options(&terms) {
            Some(out) => (mount, outlet::write(client, out, 0).await.map(drop)),
            None => (mount, Err(Halt::Failed(failure))),
        },
    };
    let keep = match result {
        Ok(()) => terms.keep_alive,
        Err(Halt::Gone) => {
            tally.status = 0;
            client.cut();
            false
        }
        Err(Halt::Failed(failure)) => {
            tally.note_failure(&failure);
            terms.keep_alive &= !failure.close;
            let mut head = Head::new(&terms, failure.status);
            head.header(failure::request_id_header(mount.dialect()), request_id.as_bytes());
            tally.trail.failed(&mut head);
            let out = failure.render(mount.dialect(), &mut head, &request_id);
            outlet::write(client, out, 0).await.is_ok() && terms.keep_alive
        }
    };
    account::settle(core, client, &mut incoming, &mut tally);
    let keep = keep && client.body_left() == BodyKind::None;
    client.recycle(std::mem::take(&mut incoming.buf));
    keep
}

impl Visit<'_> {
    /// Steps 2 to 8 of the path; 1 lies before it, and 9 behind.
    async fn answer(
        &self,
        client: &mut ClientConn,
        incoming: &mut Incoming,
        route: &Route,
        tally: &mut Tally,
    ) -> Result<(), Halt> {
        if let Some(out) = own::options(self.terms) {
            return outlet::write(client, out, 0).await.map(drop);
        }
        tally.status = 200;
        let call = match &route.target {
            Target::Own(own) => return own::answer(self, client, incoming, *own).await,
            Target::Api(call) => call,
        };
        tally.note_call(call);
        let lists = matches!(call.operation, Operation::ListModels | Operation::RetrieveModel);
        if lists && explain::wanted(incoming) {
            let message = "x-bf-dry-run explains calls of a model; this one was not made";
            return Err(Failure::invalid(message).into());
        }
        match call.operation {
            Operation::ListModels => models::list(self, client, incoming, call).await,
            Operation::RetrieveModel => models::retrieve(self, client, incoming, call).await,
            Operation::Chat | Operation::CountTokens => {
                let mut ask = ingress::ask(incoming, call)?;
                ingress::take_fallbacks(incoming, call, &mut ask)?;
                let call = &*call.refined(&ask, incoming.body());
                let voice = Voice::of(call, &ask.model, incoming.body())?;
                tally.client = Some(voice.dialect);
                let visit = Visit { voice, ..*self };
                let errand = Errand::new(call.operation, voice.dialect, &ask, &route.query);
                let shown = incoming.header("x-bf-trace") == Some("true");
                tally.trail = Trail::of(&ask.model, errand.request_type, shown);
                attempts::run(&visit, client, incoming, &errand, tally).await
            }
            // Rare beside chats, whose own state it would make larger.
            _ => Box::pin(self.pass(client, incoming, (call, &route.query), tally)).await,
        }
    }

    /// A call beside chats.
    async fn pass(
        &self,
        client: &mut ClientConn,
        incoming: &mut Incoming,
        (call, query): (&Call, &str),
        tally: &mut Tally,
    ) -> Result<(), Halt> {
        let mut ask = passage::ask(self, client, incoming, (call, query)).await?;
        ingress::take_fallbacks(incoming, call, &mut ask)?;
        let voice = Voice::of(call, &ask.model, incoming.body())?;
        tally.client = Some(voice.dialect);
        let owned = call.operation.is_owned();
        let owner = owned.then(|| passage::owner(self, incoming, &ask, (call, query)));
        let visit = Visit { voice, ..*self };
        let errand = Errand::new(call.operation, voice.dialect, &ask, query);
        let errand = Errand { owner: owner.as_deref(), ..errand };
        let shown = incoming.header("x-bf-trace") == Some("true");
        tally.trail = Trail::of(&ask.model, errand.request_type, shown);
        attempts::run(&visit, client, incoming, &errand, tally).await
    }

    /// The provider that a model's name means, and the name without its prefix.
    ///
    /// # Errors
    /// 400 naming the known providers.
    pub fn provider_of<'m>(&self, model: &'m str) -> Result<(&Provider, &'m str), Failure> {
        let providers = &self.snapshot.providers;
        let (prefix, model) = model_name::split(model, |name| providers.is_known(name));
        let name = prefix.unwrap_or(self.mount.provider);
        if let Some(provider) = providers.get(name) {
            return Ok((provider, model));
        }
        Err(self.not_configured(name))
    }

    fn not_configured(&self, name: &str) -> Failure {
        let providers = &self.snapshot.providers;
        let configured: Vec<_> = providers.iter().map(|provider| &*provider.name).collect();
        let message = format!(
            "the provider {name} is not configured; configured are: {}. A model is named \
             provider/model; known providers are: {}",
            configured.join(", "),
            providers.known_names().collect::<Vec<_>>().join(", ")
        );
        Failure::invalid(message)
    }
}

/// A fresh id: 24 characters that need no escaping anywhere.
fn request_id() -> String {
    const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
    let bits = fastrand::u128(..);
    (0..24).map(|at| char::from(ALPHABET[(bits >> (at * 5)) as usize & 31])).collect()
}

/// A whole answer of the gateway's own making.
async fn say(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    content_type: &str,
    body: &[u8],
) -> Result<(), Halt> {
    say_for(visit, client, content_type, body, &Trail::default()).await
}

/// A whole answer that ends an attempt.
async fn say_for(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    content_type: &str,
    body: &[u8],
    trail: &Trail,
) -> Result<(), Halt> {
    let mut head = Head::new(visit.terms, 200);
    head.header("content-type", content_type.as_bytes());
    head.header(failure::request_id_header(visit.voice.dialect), visit.request_id.as_bytes());
    trail.answered(&mut head);
    outlet::write(client, head.whole(body), 0).await.map(drop)
}

/// Reads the client's request as the hub sees it, for answers that need no upstream.
fn request_of<'a>(
    visit: &Visit<'_>,
    incoming: &'a Incoming,
    loss: &mut Loss,
) -> Result<crate::chat::Request<'a>, Failure> {
    let request = visit.voice.decode(incoming.body(), loss)?;
    // What the gateway answers itself is answered in the client's own language: nothing is lost.
    *loss = Loss::default();
    Ok(request)
}
