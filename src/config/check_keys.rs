//! The keys of a provider, checked: ids, model lists, aliases, and what each cloud wants.
//!
//! In: a key as written. Out: a [`Key`], or faults. Never: fetches a token or signs.

use crate::config::EmptyLists;
use crate::config::check_providers::{Providing, without_version};
use crate::config::fault::Path;
use crate::config::file_providers::{
    Alias as AliasSection, AliasDetails, AzureKey, BedrockKey, Key as Section, ServerKey, VertexKey,
};
use crate::config::network;
use crate::provider::endpoint::{bedrock_origin, vertex_origin};
use crate::provider::login::Login;
use crate::provider::model_name::arn_region;
use crate::provider::{
    Alias, Auth, AwsKey, Cloud, EntraKey, GoogleKey, Key, ModelList, Origin, Provider, Secret,
};
use std::collections::BTreeMap;
use std::sync::Arc;

type Server = (Origin, Box<str>);

impl Providing<'_> {
    pub(super) fn key(
        &mut self,
        provider: &Provider,
        section: Section,
        path: &Path,
    ) -> Option<Key> {
        let id = self.identity(provider, &section, path)?;
        let deployments = self.blocks(provider, &section, path);
        let mut key = Key {
            id,
            value: section.value.clone(),
            enabled: section.enabled.unwrap_or(true),
            models: self.models(section.models.as_deref(), &path.key("models")),
            blacklisted: section.blacklisted_models.iter().map(|m| m.as_str().into()).collect(),
            weight: section.weight,
            use_for_batch_api: section.use_for_batch_api,
            ..Key::named(&section.name)
        };
        match provider.row.auth {
            Auth::Azure => self.azure(provider, &mut key, section.azure_key_config.as_ref(), path),
            Auth::AwsSigV4 => {
                self.bedrock(provider, &mut key, section.bedrock_key_config.as_ref(), path);
            }
            Auth::GoogleToken => {
                self.vertex(provider, &mut key, section.vertex_key_config.as_ref(), path);
            }
            Auth::Bearer | Auth::Header(_) | Auth::None => {
                let own = own_server(&section);
                self.own_server(provider, &mut key, own, path);
            }
        }
        let keyed = matches!(provider.row.auth, Auth::Bearer | Auth::Header(_));
        if keyed && !provider.keyless && key.enabled && key.value.is_empty() {
            self.faults.push(&path.key("value"), "the key has no value");
        }
        self.aliases(provider, &mut key, section.aliases, deployments, path);
        key.login = Login::of(&key).map(Arc::new);
        Some(key)
    }

    /// The id of a key whose name and id are its own; made of the names where none is given, so
    /// that it stays the same from start to start.
    fn identity(&mut self, provider: &Provider, key: &Section, path: &Path) -> Option<Box<str>> {
        if key.name.trim().is_empty() {
            self.faults.push(&path.key("name"), "a key needs a name");
            return None;
        }
        let id = key.id.clone().filter(|id| !id.is_empty()).unwrap_or_else(|| {
            let digest = blake3::hash(format!("{}\0{}", provider.name, key.name).as_bytes());
            let mut bytes = [0; 16];
            bytes.copy_from_slice(digest.as_bytes().first_chunk::<16>().unwrap_or(&[0; 16]));
            uuid::Builder::from_custom_bytes(bytes).into_uuid().to_string()
        });
        let seen = [("name", &key.name), ("id", &id)];
        for (field, value) in seen {
            let known = if field == "name" { &mut self.key_names } else { &mut self.key_ids };
            if let Some(first) = known.insert(value.clone(), path.clone()) {
                let message = format!("the same {field} as {first}; keys are told apart by it");
                self.faults.push(&path.key(field), message);
                return None;
            }
        }
        Some(id.into())
    }

    /// A block for another provider than this key's is a mistake. Gives the blocks' own older
    /// form of aliases, and where they stand.
    fn blocks(
        &mut self,
        provider: &Provider,
        key: &Section,
        path: &Path,
    ) -> Option<(BTreeMap<String, String>, Path)> {
        let row = provider.row.name;
        let blocks = [
            ("azure_key_config", "azure", key.azure_key_config.is_some()),
            ("vertex_key_config", "vertex", key.vertex_key_config.is_some()),
            ("bedrock_key_config", "bedrock", key.bedrock_key_config.is_some()),
            ("vllm_key_config", "vllm", key.vllm_key_config.is_some()),
            ("ollama_key_config", "ollama", key.ollama_key_config.is_some()),
            ("sgl_key_config", "sgl", key.sgl_key_config.is_some()),
        ];
        for (block, owner, present) in blocks {
            if present && owner != row {
                self.faults.push(&path.key(block), format!("only for keys of `{owner}`"));
            }
        }
        let azure = key.azure_key_config.as_ref().map(|block| &block.deployments);
        let vertex = key.vertex_key_config.as_ref().map(|block| &block.deployments);
        let bedrock = key.bedrock_key_config.as_ref().map(|block| &block.deployments);
        let found = azure.or(vertex).or(bedrock)?.clone();
        Some((found, path.key(&format!("{row}_key_config")).key("deployments")))
    }

    fn models(&mut self, models: Option<&[String]>, path: &Path) -> ModelList {
        let Some(models) = models else { return ModelList::All };
        if models.iter().any(|model| model == "*") {
            return ModelList::All;
        }
        if models.is_empty() && self.empty_lists == EmptyLists::AllowAll {
            return ModelList::All;
        }
        for (at, model) in models.iter().enumerate().filter(|(_, m)| m.starts_with("regex:")) {
            let message = format!("`{model}`: patterns are for virtual keys; list the names here");
            self.faults.push(&path.index(at), message);
        }
        ModelList::Only(models.iter().map(|model| model.as_str().into()).collect())
    }

    fn azure(&mut self, provider: &Provider, key: &mut Key, block: Option<&AzureKey>, path: &Path) {
        let path = path.key("azure_key_config");
        let Some(block) = block else {
            if provider.origin.host.is_empty() {
                self.faults.push(&path, "the section is missing: a key of Azure has an `endpoint`");
            }
            return;
        };
        key.origin = self.server(provider, &block.endpoint, &path.key("endpoint"));
        key.api_version = text(block.api_version.as_ref());
        let login = [&block.client_id, &block.client_secret, &block.tenant_id];
        let [client_id, client_secret, tenant_id] = login.map(|field| text(field.as_ref()));
        let given = [&client_id, &client_secret, &tenant_id];
        let given = given.iter().filter(|field| field.is_some()).count();
        if given != 0 && given != 3 {
            let message = "`client_id`, `client_secret` and `tenant_id` go together";
            self.faults.push(&path, message);
        }
        if given == 3 || key.value.is_empty() {
            key.cloud = Cloud::Entra(EntraKey {
                client_id: client_id.unwrap_or_default(),
                client_secret: Secret::new(client_secret.unwrap_or_default()),
                tenant_id: tenant_id.unwrap_or_default(),
                scopes: block.scopes.iter().map(|scope| scope.as_str().into()).collect(),
            });
        }
    }

    fn bedrock(
        &mut self,
        provider: &Provider,
        key: &mut Key,
        block: Option<&BedrockKey>,
        path: &Path,
    ) {
        let path = path.key("bedrock_key_config");
        let region = block.and_then(|block| text(Some(&block.region)));
        let Some((block, region)) = block.zip(region) else {
            self.faults.push(&path.key("region"), "a key of Bedrock needs a region");
            return;
        };
        self.place_name(&region, &path.key("region"));
        if provider.origin.host.is_empty() {
            key.origin = Some((bedrock_origin(&region), "".into()));
        }
        key.region = Some(region);
        key.arn = text(block.arn.as_ref());
        let [access_key, secret_key] =
            [&block.access_key, &block.secret_key].map(|field| text(field.as_ref()));
        if access_key.is_some() != secret_key.is_some() {
            self.faults.push(&path, "`access_key` and `secret_key` go together");
        }
        key.cloud = Cloud::Aws(AwsKey {
            access_key: Secret::new(access_key.unwrap_or_default()),
            secret_key: Secret::new(secret_key.unwrap_or_default()),
            session_token: text(block.session_token.as_ref()).map(Secret::new),
            role_arn: text(block.role_arn.as_ref()),
            external_id: text(block.external_id.as_ref()),
            session_name: text(block.session_name.as_ref()),
        });
    }

    fn vertex(
        &mut self,
        provider: &Provider,
        key: &mut Key,
        block: Option<&VertexKey>,
        path: &Path,
    ) {
        let path = path.key("vertex_key_config");
        let region = block.and_then(|block| text(Some(&block.region)));
        let Some((block, region)) = block.zip(region) else {
            self.faults.push(&path.key("region"), "a key of Vertex needs a region");
            return;
        };
        self.place_name(&region, &path.key("region"));
        if provider.origin.host.is_empty() {
            key.origin = Some((vertex_origin(&region), "".into()));
        }
        key.region = Some(region);
        key.project =
            text(block.project_id.as_ref()).or_else(|| text(block.project_number.as_ref()));
        if key.project.is_none() {
            self.faults.push(&path.key("project_id"), "a key of Vertex needs a project");
        }
        let credentials = text(block.auth_credentials.as_ref()).unwrap_or_default();
        let json: Result<serde_json::Map<_, _>, _> = serde_json::from_str(&credentials);
        if !credentials.is_empty() && json.is_err() {
            let message = "expected the JSON text of a credential file";
            self.faults.push(&path.key("auth_credentials"), message);
        }
        key.cloud = Cloud::Google(GoogleKey {
            credentials: Secret::new(credentials),
            project_number: text(block.project_number.as_ref()),
        });
    }

    fn own_server(
        &mut self,
        provider: &Provider,
        key: &mut Key,
        block: Option<(&'static str, &ServerKey)>,
        path: &Path,
    ) {
        let Some((name, block)) = block else { return };
        key.origin = self.server(provider, &block.url, &path.key(name).key("url"));
        if let (Some(model), ModelList::All) = (&block.model_name, &key.models) {
            key.models = ModelList::Only(vec![model.as_str().into()]);
        }
    }

    fn server(&mut self, provider: &Provider, url: &Secret, path: &Path) -> Option<Server> {
        let private = provider.network.allow_private;
        let (origin, base) = network::server(url.expose(), private, path, self.faults)?;
        let base = without_version(provider.row, &base).into();
        Some((origin, base))
    }

    /// Regions become part of a server's name.
    fn place_name(&mut self, region: &str, path: &Path) {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        if region.is_empty() || !region.bytes().all(plain) {
            self.faults.push(path, "this is no region, as `eu-central-1`");
        }
    }

    fn aliases(
        &mut self,
        provider: &Provider,
        key: &mut Key,
        section: BTreeMap<String, AliasSection>,
        deployments: Option<(BTreeMap<String, String>, Path)>,
        path: &Path,
    ) {
        let path = path.key("aliases");
        let (older, older_path) = deployments.unwrap_or_else(|| (BTreeMap::new(), path.clone()));
        let older = older.into_iter().map(|(alias, model)| {
            let at = older_path.key(&alias);
            (alias, AliasSection::Model(model), at)
        });
        let newer = section.into_iter().map(|(alias, target)| {
            let at = path.key(&alias);
            (alias, target, at)
        });
        let all: Vec<_> = newer.chain(older).collect();
        for (alias, target, path) in all {
            let details = match target {
                AliasSection::Model(model_id) => {
                    AliasDetails { model_id, ..AliasDetails::default() }
                }
                AliasSection::Detailed(details) => *details,
            };
            let blank = |text: &str| text.is_empty() || text.trim() != text;
            if blank(&alias) || blank(&details.model_id) {
                self.faults.push(&path, "an alias and its model have no space around, and text");
            }
            if key.aliases.iter().any(|known| known.alias.eq_ignore_ascii_case(&alias)) {
                self.faults.push(&path, "stands here twice; the case of letters does not count");
            }
            let alias = self.alias(provider, alias, details, &path);
            key.aliases.push(alias);
        }
    }

    fn alias(
        &mut self,
        provider: &Provider,
        alias: String,
        details: AliasDetails,
        path: &Path,
    ) -> Alias {
        let row = provider.row.name;
        let fields: [(&str, bool, &[&str]); 7] = [
            ("region", details.region.is_some(), &["bedrock", "vertex"]),
            ("api_version", details.api_version.is_some(), &["azure"]),
            ("anthropic_version", details.anthropic_version.is_some(), &["azure"]),
            ("endpoint", details.endpoint.is_some(), &["azure"]),
            ("project_id", details.project_id.is_some(), &["vertex"]),
            ("project_number", details.project_number.is_some(), &["vertex"]),
            ("inference_profile_arn", details.inference_profile_arn.is_some(), &["bedrock"]),
        ];
        for (field, present, owners) in fields {
            if present && !owners.contains(&row) {
                let message = format!("only for keys of `{}`", owners.join("` and `"));
                self.faults.push(&path.key(field), message);
            }
        }
        let arn = text(details.inference_profile_arn.as_ref());
        let own = details.region.filter(|region| !region.is_empty());
        if let Some(region) = &own {
            self.place_name(region, &path.key("region"));
        }
        let region = own.or_else(|| arn.as_deref().and_then(arn_region).map(str::to_owned));
        let configured = !provider.origin.host.is_empty();
        let regional = region.as_deref().filter(|_| !configured).and_then(|region| match row {
            "bedrock" => Some((bedrock_origin(region), "".into())),
            "vertex" => Some((vertex_origin(region), "".into())),
            _ => None,
        });
        let endpoint = details.endpoint.as_ref();
        let endpoint = endpoint.and_then(|url| self.server(provider, url, &path.key("endpoint")));
        Alias {
            alias: alias.into(),
            model_id: details.model_id.into(),
            model_name: details.model_name.map(Into::into),
            model_family: details.model_family.map(|family| family.name().into()),
            origin: endpoint.or(regional),
            region: region.map(Into::into),
            project: text(details.project_id.as_ref())
                .or_else(|| text(details.project_number.as_ref())),
            api_version: details.api_version.map(Into::into),
            anthropic_version: details.anthropic_version.map(Into::into),
            arn,
        }
    }
}

fn own_server(key: &Section) -> Option<(&'static str, &ServerKey)> {
    let vllm = key.vllm_key_config.as_ref().map(|block| ("vllm_key_config", block));
    let ollama = key.ollama_key_config.as_ref().map(|block| ("ollama_key_config", block));
    let sgl = key.sgl_key_config.as_ref().map(|block| ("sgl_key_config", block));
    vllm.or(ollama).or(sgl)
}

fn text(field: Option<&Secret>) -> Option<Box<str>> {
    field.map(Secret::expose).filter(|text| !text.is_empty()).map(Into::into)
}
