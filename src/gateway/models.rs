//! Model lists: what the configured providers offer, merged, in the client's dialect.
//!
//! In: each provider's own list. Out: one list whose ids are `provider/model`, so that any of them can
//! be used as it is. A provider that can't be asked is left out and named in `x-bf-dropped`.
//! Never: fails as a whole because one provider does.

use super::authority;
use super::exchange::{self, Halt};
use super::failure::{Failure, Whose};
use super::ingress::Call;
use super::model_list::{self, Model};
use super::outgoing::{self, Course};
use super::outlet;
use super::reply::Head;
use super::{Visit, mock};
use crate::chat::{Dialect, ErrorKind, Loss, Reason};
use crate::net::client_conn::{ClientConn, Incoming};
use crate::net::upstream::HEADROOM;
use crate::provider::{Operation, Provider, endpoint};
use crate::wire::json_scan::{self, DEPTH_MAX};

/// Where Bedrock lists its inference profiles, as many as it gives at once.
const PROFILES: &str = "/inference-profiles?maxResults=1000";

/// A list is no larger.
const LIST_MAX: usize = 16 << 20;

/// `GET …/models`: what the caller may use of them.
pub async fn list(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    incoming: &mut Incoming,
    call: &Call,
) -> Result<(), Halt> {
    let pass = authority::identify(visit.core, visit.snapshot, incoming)?;
    let mut models = Vec::new();
    let mut loss = Loss::default();
    for provider in &visit.snapshot.providers {
        if !pass.may_ask(provider) {
            continue;
        }
        match of_provider(visit, client, incoming, (provider, call.profiles)).await {
            Ok(more) => models
                .extend(more.into_iter().filter(|model| pass.may_use(provider, model.own_id()))),
            Err(Halt::Gone) => return Err(Halt::Gone),
            Err(Halt::Failed(_)) => loss.push(&provider.name, Reason::Unsupported),
        }
    }
    models.sort_by(|a, b| a.id.cmp(&b.id));
    let mut body = Vec::with_capacity(64 * models.len() + 64);
    model_list::write(visit.voice.dialect, call.profiles, &models, &mut body);
    let mut head = Head::new(visit.terms, 200);
    head.header("content-type", b"application/json");
    if !loss.is_empty() {
        head.header("x-bf-dropped", loss.header_value().as_bytes());
    }
    let out = head.whole(&body);
    outlet::write(client, out, 0).await.map(drop)
}

/// `GET …/models/{id}`.
pub async fn retrieve(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    incoming: &mut Incoming,
    call: &Call,
) -> Result<(), Halt> {
    let id = call.item.as_deref().unwrap_or_default();
    let pass = authority::identify(visit.core, visit.snapshot, incoming)?;
    let (provider, model) = visit.provider_of(id)?;
    if !pass.may_use(provider, model) {
        let message =
            format!("model_blocked: the virtual key may not use {}/{model}", provider.name);
        return Err(Failure::new(403, ErrorKind::Permission, Whose::Policy, message).into());
    }
    let models = of_provider(visit, client, incoming, (provider, call.profiles)).await?;
    let Some(found) = models.iter().find(|found| found.is(model)) else {
        return Err(Failure::not_found(format!("there is no model {id}")).into());
    };
    let mut body = Vec::with_capacity(128);
    match visit.voice.dialect {
        Dialect::Bedrock if !call.profiles => model_list::write_details(found, &mut body),
        dialect => model_list::write_one(dialect, call.profiles, found, &mut body),
    }
    super::say(visit, client, "application/json", &body).await
}

async fn of_provider(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    incoming: &mut Incoming,
    (provider, profiles): (&Provider, bool),
) -> Result<Vec<Model>, Halt> {
    if provider.row.in_process {
        let model = |id: &&str| Model::new(provider, id, None, 0);
        return Ok(mock::MODELS.iter().map(model).collect());
    }
    let key = provider.keys.iter().find(|key| key.enabled);
    let dialect = visit.voice.dialect;
    let mut endpoint = endpoint::resolve(provider, key, Operation::ListModels, dialect, "", false)
        .map_err(|error| Failure::invalid(error.to_string()))?;
    if profiles && endpoint.dialect == Dialect::Bedrock {
        endpoint.target = endpoint.target.replace("/foundation-models", PROFILES);
    }
    let absolute = provider.network.transport.proxy.is_some() && !endpoint.origin.tls;
    let operation = Operation::ListModels;
    let lease = visit.core.wallet.lease(client, provider, key).await?;
    let course = Course {
        provider,
        key,
        direct: None,
        lease,
        metered: false,
        model: "",
        operation,
        query: "",
        absolute,
        stream: false,
        betas: String::new(),
        endpoint,
    };
    let filter = &visit.snapshot.client.header_filter;
    let mut parcel = outgoing::parcel(visit.core, &course, incoming, filter, Some(Vec::new()))?;
    let origin = &course.endpoint.origin;
    let mut answer = exchange::send(visit.core, client, provider, origin, &mut parcel).await?;
    answer.read_whole(client, provider, LIST_MAX).await?;
    let body = answer.buf.get(HEADROOM + answer.head.len..).unwrap_or_default();
    let good = answer.head.status == 200 && json_scan::validate(body, DEPTH_MAX).is_ok();
    let Some(text) = std::str::from_utf8(body).ok().filter(|_| good) else {
        return Err(Failure::broken(&provider.name, "it has no list of models").into());
    };
    let models = model_list::read(provider, text);
    answer.finish(visit.core);
    Ok(models)
}
