//! Lists of models, read from a provider and written for a client, each in its vendor's shape.
//!
//! In: the JSON text of a provider's list. Out: [`Model`]s, and their JSON in the client's dialect.
//! Never: asks anybody.

use crate::chat::Dialect;
use crate::provider::Provider;
use crate::wire::json_read::{field, items, text_field, unsigned};
use crate::wire::json_write::Object;

/// One model of one provider.
#[derive(Debug, Clone)]
pub struct Model {
    /// `provider/model`; an inference profile of Bedrock's has the name that AWS knows it by.
    pub id: String,
    name: String,
    owner: String,
    /// Seconds since 1970; 0 where the provider does not say.
    created: u64,
    /// An inference profile as AWS describes it.
    raw: Option<String>,
}

impl Model {
    pub fn new(provider: &Provider, id: &str, name: Option<&str>, created: u64) -> Self {
        Self {
            id: format!("{}/{id}", provider.name),
            name: name.unwrap_or(id).to_owned(),
            owner: provider.name.to_string(),
            created,
            raw: None,
        }
    }

    /// Its name at its provider.
    pub fn own_id(&self) -> &str {
        self.id.strip_prefix(&*self.owner).and_then(|id| id.strip_prefix('/')).unwrap_or(&self.id)
    }

    /// Whether a client means this one by `id`: its name, or the ARN that it was listed under.
    pub fn is(&self, id: &str) -> bool {
        let arn = || self.raw.as_deref().and_then(|raw| text_field(raw, "inferenceProfileArn"));
        self.id == id || self.own_id() == id || arn().is_some_and(|arn| arn == id)
    }
}

/// Reads a list in the shape of OpenAI, Anthropic (`data`), Gemini (`models`) or AWS.
pub fn read(provider: &Provider, text: &str) -> Vec<Model> {
    let lists = ["data", "models", "modelSummaries", "inferenceProfileSummaries"];
    let list = lists.iter().find_map(|name| field(text, name)).unwrap_or("[]");
    items(list).filter_map(|raw| read_one(provider, raw)).collect()
}

fn read_one(provider: &Provider, raw: &str) -> Option<Model> {
    let ids = ["id", "modelId", "inferenceProfileId", "name"];
    let id = ids.iter().find_map(|name| text_field(raw, name))?;
    let id = id.strip_prefix("models/").unwrap_or(&id);
    let names = ["display_name", "displayName", "modelName", "inferenceProfileName"];
    let name = names.iter().find_map(|name| text_field(raw, name));
    let created = field(raw, "created").and_then(unsigned).or_else(|| {
        let time: jiff::Timestamp = text_field(raw, "created_at")?.parse().ok()?;
        u64::try_from(time.as_second()).ok()
    });
    let mut model = Model::new(provider, id, name.as_deref(), created.unwrap_or(0));
    model.raw = field(raw, "inferenceProfileId").map(|_| raw.to_owned());
    Some(model)
}

/// Writes a list; `profiles`: of Bedrock's inference profiles.
pub fn write(dialect: Dialect, profiles: bool, models: &[Model], out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    let name = match dialect {
        Dialect::Bedrock if profiles => "inferenceProfileSummaries",
        Dialect::Bedrock => "modelSummaries",
        Dialect::Gemini => "models",
        Dialect::Anthropic => "data",
        Dialect::OpenAiChat | Dialect::OpenAiResponses => {
            object.text("object", "list");
            "data"
        }
    };
    let mut data = object.array(name);
    for model in models {
        write_one(dialect, profiles, model, data.item());
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

/// Writes one model as it stands in a list.
pub fn write_one(dialect: Dialect, profiles: bool, model: &Model, out: &mut Vec<u8>) {
    if let Some(raw) = &model.raw {
        out.extend_from_slice(raw.as_bytes());
        return;
    }
    let seconds = i64::try_from(model.created).unwrap_or(0);
    let created = || jiff::Timestamp::from_second(seconds).unwrap_or_default().to_string();
    let mut object = Object::begin(out);
    match dialect {
        Dialect::Anthropic => {
            object.text("type", "model").text("id", &model.id).text("display_name", &model.name);
            object.text("created_at", &created());
        }
        Dialect::OpenAiChat | Dialect::OpenAiResponses => {
            object.text("id", &model.id).text("object", "model");
            object.unsigned("created", model.created).text("owned_by", &model.owner);
        }
        Dialect::Gemini => {
            object.text("name", &format!("models/{}", model.id)).text("displayName", &model.name);
            let mut actions = object.array("supportedGenerationMethods");
            actions.text("generateContent").text("countTokens");
            actions.end();
        }
        Dialect::Bedrock if profiles => write_profile(&mut object, model, &created()),
        Dialect::Bedrock => write_foundation(&mut object, model),
    }
    object.end();
}

/// `GET /foundation-models/{id}` has its model in a member.
pub fn write_details(model: &Model, out: &mut Vec<u8>) {
    let mut object = Object::begin(out);
    let mut details = object.object("modelDetails");
    write_foundation(&mut details, model);
    details.end();
    object.end();
}

fn write_foundation(object: &mut Object<'_>, model: &Model) {
    object.text("modelArn", &format!("arn:aws:bedrock:us-east-1::foundation-model/{}", model.id));
    object.text("modelId", &model.id).text("modelName", &model.name);
    object.text("providerName", &model.owner).boolean("responseStreamingSupported", true);
    for (name, value) in [
        ("inputModalities", "TEXT"),
        ("outputModalities", "TEXT"),
        ("inferenceTypesSupported", "ON_DEMAND"),
    ] {
        let mut list = object.array(name);
        list.text(value);
        list.end();
    }
    let mut cycle = object.object("modelLifecycle");
    cycle.text("status", "ACTIVE");
    cycle.end();
}

/// A model of another provider, as a profile of the system's.
fn write_profile(object: &mut Object<'_>, model: &Model, created: &str) {
    let region = "arn:aws:bedrock:us-east-1:";
    object.text("inferenceProfileId", &model.id).text("inferenceProfileName", &model.name);
    let arn = format!("{region}000000000000:inference-profile/{}", model.id);
    object.text("inferenceProfileArn", &arn).text("createdAt", created).text("updatedAt", created);
    let mut models = object.array("models");
    let mut one = models.object();
    one.text("modelArn", &format!("{region}:foundation-model/{}", model.id));
    one.end();
    models.end();
    object.text("status", "ACTIVE").text("type", "SYSTEM_DEFINED");
}
