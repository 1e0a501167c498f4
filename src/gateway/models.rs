//! Model lists: what the configured providers offer, merged, in the client's dialect.
//!
//! In: each provider's own list. Out: one list whose ids are `provider/model`, so that any of them can
//! be used as it is. A provider that can't be asked is left out and named in `x-bf-dropped`.
//! Never: fails as a whole because one provider does.

use super::authority;
use super::exchange::{self, Halt};
use super::failure::{Failure, Whose};
use super::outgoing::{self, Course};
use super::outlet;
use super::reply::Head;
use super::{Visit, mock};
use crate::chat::{Dialect, ErrorKind, Loss, Reason};
use crate::net::client_conn::{ClientConn, Incoming};
use crate::net::upstream::HEADROOM;
use crate::provider::{Operation, Provider, endpoint};
use crate::wire::json_read::{field, items, text_field, unsigned};
use crate::wire::json_scan::{self, DEPTH_MAX};
use crate::wire::json_write::Object;

/// A list is no larger.
const LIST_MAX: usize = 16 << 20;

/// One model of one provider.
#[derive(Debug, Clone)]
struct Model {
    /// `provider/model`.
    id: String,
    name: String,
    owner: String,
    /// Seconds since 1970; 0 where the provider does not say.
    created: u64,
}

/// `GET …/models`: what the caller may use of them.
pub async fn list(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    incoming: &mut Incoming,
) -> Result<(), Halt> {
    let pass = authority::identify(visit.core, visit.snapshot, incoming)?;
    let mut models = Vec::new();
    let mut loss = Loss::default();
    for provider in &visit.snapshot.providers {
        if !pass.may_ask(provider) {
            continue;
        }
        match of_provider(visit, client, incoming, provider).await {
            Ok(more) => models.extend(more.into_iter().filter(|model| {
                pass.may_use(provider, model.id.get(provider.name.len() + 1..).unwrap_or_default())
            })),
            Err(Halt::Gone) => return Err(Halt::Gone),
            Err(Halt::Failed(_)) => loss.push(&provider.name, Reason::Unsupported),
        }
    }
    models.sort_by(|a, b| a.id.cmp(&b.id));
    let mut body = Vec::with_capacity(64 * models.len() + 64);
    write_list(visit.voice.dialect, &models, &mut body);
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
    id: &str,
) -> Result<(), Halt> {
    let pass = authority::identify(visit.core, visit.snapshot, incoming)?;
    let (provider, model) = visit.provider_of(id)?;
    if !pass.may_use(provider, model) {
        let message =
            format!("model_blocked: the virtual key may not use {}/{model}", provider.name);
        return Err(Failure::new(403, ErrorKind::Permission, Whose::Policy, message).into());
    }
    let wanted = format!("{}/{model}", provider.name);
    let models = of_provider(visit, client, incoming, provider).await?;
    let Some(found) = models.iter().find(|model| model.id == wanted) else {
        return Err(Failure::not_found(format!("there is no model {id}")).into());
    };
    let mut body = Vec::with_capacity(128);
    write_model(visit.voice.dialect, found, &mut body);
    super::say(visit, client, "application/json", &body).await
}

async fn of_provider(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    incoming: &mut Incoming,
    provider: &Provider,
) -> Result<Vec<Model>, Halt> {
    if provider.row.in_process {
        let model = |id: &&str| Model::new(provider, id, None, 0);
        return Ok(mock::MODELS.iter().map(model).collect());
    }
    let key = provider.keys.iter().find(|key| key.enabled);
    let dialect = visit.voice.dialect;
    let endpoint = endpoint::resolve(provider, key, Operation::ListModels, dialect, "", false)
        .map_err(|error| Failure::invalid(error.to_string()))?;
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
    let models = read_list(provider, text);
    answer.finish(visit.core);
    Ok(models)
}

impl Model {
    fn new(provider: &Provider, id: &str, name: Option<&str>, created: u64) -> Self {
        Self {
            id: format!("{}/{id}", provider.name),
            name: name.unwrap_or(id).to_owned(),
            owner: provider.name.to_string(),
            created,
        }
    }
}

/// Reads a list in the shape of OpenAI, Anthropic (`data`) or Gemini (`models`).
fn read_list(provider: &Provider, text: &str) -> Vec<Model> {
    let list = field(text, "data").or_else(|| field(text, "models")).unwrap_or("[]");
    items(list)
        .filter_map(|raw| {
            let id = text_field(raw, "id").or_else(|| text_field(raw, "name"))?;
            let id = id.strip_prefix("models/").unwrap_or(&id);
            let name = text_field(raw, "display_name").or_else(|| text_field(raw, "displayName"));
            let created = field(raw, "created").and_then(unsigned).or_else(|| {
                let time: jiff::Timestamp = text_field(raw, "created_at")?.parse().ok()?;
                u64::try_from(time.as_second()).ok()
            });
            Some(Model::new(provider, id, name.as_deref(), created.unwrap_or(0)))
        })
        .collect()
}

fn write_list(dialect: Dialect, models: &[Model], out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    if dialect != Dialect::Anthropic {
        object.text("object", "list");
    }
    let mut data = object.array("data");
    for model in models {
        write_model(dialect, model, data.item());
    }
    data.end();
    if dialect == Dialect::Anthropic {
        object.boolean("has_more", false);
        for (name, model) in [("first_id", models.first()), ("last_id", models.last())] {
            match model {
                Some(model) => object.text(name, &model.id),
                None => object.null(name),
            };
        }
    }
    object.end();
}

fn write_model(dialect: Dialect, model: &Model, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    if dialect == Dialect::Anthropic {
        let seconds = i64::try_from(model.created).unwrap_or(0);
        let created = jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string();
        object
            .text("type", "model")
            .text("id", &model.id)
            .text("display_name", &model.name)
            .text("created_at", &created);
    } else {
        object
            .text("id", &model.id)
            .text("object", "model")
            .unsigned("created", model.created)
            .text("owned_by", &model.owner);
    }
    object.end();
}
