//! Google's credential files, read.
//!
//! In: the JSON text of a service account, an authorized user, an external account (workload or
//! workforce identity), or an impersonation of one of them; or the metadata server's address.
//! Out: a checked [`Credential`], from which [`google_token`](super::google_token) fetches tokens.
//! Never: reads a file or a variable; never lets a secret go in clear to another host.
//! Source: google.aip.dev/auth/4110 to 4117.

use super::Secret;
use ring::rsa::KeyPair;
use rustls_pki_types::PrivateKeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde::Deserialize;
use std::collections::BTreeMap;
use url::{Host, Url};

const TOKEN_URI: &str = "https://oauth2.googleapis.com/token";
/// The host that Google's machines know the metadata server by.
pub const METADATA_HOST: &str = "metadata.google.internal";
/// How long an impersonated token is asked to live, in seconds.
const LIFETIME_S: u64 = 3600;

/// Why a credential cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    #[error("the credential is no JSON of the expected form: {0}")]
    Malformed(String),
    #[error("credentials of type `{0}` are not supported")]
    Kind(String),
    #[error("the private key cannot be read: {0}")]
    PrivateKey(String),
    #[error("`{0}` must be an https address")]
    Address(String),
    #[error("the credential source must be a file or a url, not {0}")]
    Source(&'static str),
}

/// A credential for Google's APIs.
#[derive(Debug)]
pub struct Credential {
    pub(super) origin: Origin,
    /// The service account to act as, with the origin's token.
    pub(super) acts_as: Option<Impersonation>,
    project: Option<Box<str>>,
}

/// Where the first token comes from.
#[derive(Debug)]
pub(super) enum Origin {
    ServiceAccount(Box<ServiceAccount>),
    /// A user's refresh token.
    Refresh(Box<Refresh>),
    /// A token of another identity provider, exchanged.
    External(Box<External>),
    Metadata {
        host: Box<str>,
    },
}

#[derive(Debug)]
pub(super) struct ServiceAccount {
    pub(super) email: Box<str>,
    pub(super) key: KeyPair,
    pub(super) key_id: Option<Box<str>>,
    pub(super) token_uri: Box<str>,
}

#[derive(Debug)]
pub(super) struct Refresh {
    pub(super) client_id: Box<str>,
    pub(super) client_secret: Secret,
    pub(super) token: Secret,
    pub(super) token_uri: Box<str>,
    /// Whether the client's id and secret go as a header instead of form fields.
    pub(super) basic: bool,
}

#[derive(Debug)]
pub(super) struct External {
    pub(super) audience: Box<str>,
    pub(super) subject_token_type: Box<str>,
    pub(super) token_url: Box<str>,
    pub(super) client: Option<(Box<str>, Secret)>,
    pub(super) user_project: Option<Box<str>>,
    pub(super) subject: Subject,
    /// The member of a JSON document that holds the token; the whole text without it.
    pub(super) field: Option<Box<str>>,
}

#[derive(Debug)]
pub(super) enum Subject {
    File(Box<str>),
    Url { url: Box<str>, headers: Vec<(Box<str>, Secret)> },
}

#[derive(Debug)]
pub(super) struct Impersonation {
    pub(super) url: Box<str>,
    pub(super) delegates: Vec<Box<str>>,
    pub(super) lifetime_s: u64,
}

impl Credential {
    /// Reads a credential file's text.
    pub fn parse(json: &str) -> Result<Self, Unusable> {
        let file: File = serde_json::from_str(json).map_err(malformed)?;
        file.checked(false)
    }

    /// The credential of the machine or pod that the gateway runs on. `host` is
    /// [`METADATA_HOST`], unless the environment names another (`GCE_METADATA_HOST`).
    pub fn metadata(host: &str) -> Self {
        Self { origin: Origin::Metadata { host: host.into() }, acts_as: None, project: None }
    }

    /// The project that the file names, if it does.
    pub fn project(&self) -> Option<&str> {
        self.project.as_deref()
    }
}

/// Any credential file; which members are needed depends on `type`.
#[derive(Deserialize)]
struct File {
    #[serde(rename = "type")]
    kind: String,
    project_id: Option<Box<str>>,
    quota_project_id: Option<Box<str>>,
    client_email: Option<Box<str>>,
    private_key: Option<String>,
    private_key_id: Option<Box<str>>,
    token_uri: Option<Box<str>>,
    client_id: Option<Box<str>>,
    client_secret: Option<Box<str>>,
    refresh_token: Option<Box<str>>,
    audience: Option<Box<str>>,
    subject_token_type: Option<Box<str>>,
    token_url: Option<Box<str>>,
    workforce_pool_user_project: Option<Box<str>>,
    service_account_impersonation_url: Option<Box<str>>,
    #[serde(default)]
    service_account_impersonation: Lifetime,
    #[serde(default)]
    delegates: Vec<Box<str>>,
    credential_source: Option<SourceFile>,
    source_credentials: Option<Box<Self>>,
}

#[derive(Deserialize, Default)]
struct Lifetime {
    token_lifetime_seconds: Option<u64>,
}

#[derive(Deserialize)]
struct SourceFile {
    file: Option<Box<str>>,
    url: Option<Box<str>>,
    #[serde(default)]
    headers: BTreeMap<Box<str>, Box<str>>,
    #[serde(default)]
    format: FormatFile,
    environment_id: Option<String>,
    executable: Option<serde::de::IgnoredAny>,
    certificate: Option<serde::de::IgnoredAny>,
}

#[derive(Deserialize, Default)]
struct FormatFile {
    #[serde(rename = "type")]
    kind: Option<String>,
    subject_token_field_name: Option<Box<str>>,
}

impl File {
    fn checked(self, inner: bool) -> Result<Credential, Unusable> {
        let project = self.project_id.clone().or_else(|| self.quota_project_id.clone());
        if self.kind == "impersonated_service_account" && !inner {
            let acts_as = self.impersonation()?;
            let source = self.source_credentials.ok_or_else(|| missing("source_credentials"))?;
            let origin = source.checked(true)?;
            if origin.acts_as.is_some() {
                return Err(Unusable::Kind("impersonation of an impersonation".to_owned()));
            }
            let acts_as =
                Some(acts_as.ok_or_else(|| missing("service_account_impersonation_url"))?);
            return Ok(Credential { origin: origin.origin, acts_as, project });
        }
        let acts_as = match self.kind.as_str() {
            "external_account" => self.impersonation()?,
            _ => None,
        };
        let origin = match self.kind.as_str() {
            "service_account" => self.service_account()?,
            "authorized_user" => self.refresh(false)?,
            "external_account_authorized_user" => self.refresh(true)?,
            "external_account" => Origin::External(Box::new(self.external()?)),
            other => return Err(Unusable::Kind(other.to_owned())),
        };
        Ok(Credential { origin, acts_as, project })
    }

    fn impersonation(&self) -> Result<Option<Impersonation>, Unusable> {
        let Some(url) = self.service_account_impersonation_url.clone() else { return Ok(None) };
        let url = safe("service_account_impersonation_url", url)?;
        let lifetime = self.service_account_impersonation.token_lifetime_seconds;
        let lifetime_s = lifetime.unwrap_or(LIFETIME_S);
        Ok(Some(Impersonation { url, delegates: self.delegates.clone(), lifetime_s }))
    }

    fn service_account(self) -> Result<Origin, Unusable> {
        let pem = self.private_key.ok_or_else(|| missing("private_key"))?;
        Ok(Origin::ServiceAccount(Box::new(ServiceAccount {
            email: self.client_email.ok_or_else(|| missing("client_email"))?,
            key: private_key(&pem)?,
            key_id: self.private_key_id,
            token_uri: safe("token_uri", self.token_uri.unwrap_or_else(|| TOKEN_URI.into()))?,
        })))
    }

    fn refresh(self, external: bool) -> Result<Origin, Unusable> {
        let secret =
            |name, value: Option<Box<str>>| value.map(Secret::new).ok_or_else(|| missing(name));
        let token_uri = if external {
            safe("token_url", self.token_url.ok_or_else(|| missing("token_url"))?)?
        } else {
            safe("token_uri", self.token_uri.unwrap_or_else(|| TOKEN_URI.into()))?
        };
        Ok(Origin::Refresh(Box::new(Refresh {
            client_id: self.client_id.ok_or_else(|| missing("client_id"))?,
            client_secret: secret("client_secret", self.client_secret)?,
            token: secret("refresh_token", self.refresh_token)?,
            token_uri,
            basic: external,
        })))
    }

    fn external(self) -> Result<External, Unusable> {
        let source = self.credential_source.ok_or_else(|| missing("credential_source"))?;
        let (subject, field) = source.checked()?;
        Ok(External {
            audience: self.audience.ok_or_else(|| missing("audience"))?,
            subject_token_type: self
                .subject_token_type
                .ok_or_else(|| missing("subject_token_type"))?,
            token_url: safe("token_url", self.token_url.ok_or_else(|| missing("token_url"))?)?,
            client: self.client_id.zip(self.client_secret.map(Secret::new)),
            user_project: self.workforce_pool_user_project,
            subject,
            field,
        })
    }
}

impl SourceFile {
    fn checked(self) -> Result<(Subject, Option<Box<str>>), Unusable> {
        if self.environment_id.is_some() {
            return Err(Unusable::Source("an AWS environment"));
        }
        if self.executable.is_some() {
            return Err(Unusable::Source("an executable"));
        }
        if self.certificate.is_some() {
            return Err(Unusable::Source("a certificate"));
        }
        let field = match self.format.kind.as_deref() {
            Some("json") => Some(
                self.format
                    .subject_token_field_name
                    .ok_or_else(|| missing("credential_source.format.subject_token_field_name"))?,
            ),
            _ => None,
        };
        let headers =
            self.headers.into_iter().map(|(name, value)| (name, Secret::new(value))).collect();
        match (self.file, self.url) {
            (Some(file), None) => Ok((Subject::File(file), field)),
            (None, Some(url)) => Ok((Subject::Url { url, headers }, field)),
            (Some(_), Some(_)) => Err(Unusable::Source("both")),
            (None, None) => Err(Unusable::Source("none")),
        }
    }
}

fn private_key(pem: &str) -> Result<KeyPair, Unusable> {
    let der = PrivateKeyDer::from_pem_slice(pem.as_bytes())
        .map_err(|error| Unusable::PrivateKey(error.to_string()))?;
    let rejected = |error: ring::error::KeyRejected| Unusable::PrivateKey(error.to_string());
    match &der {
        PrivateKeyDer::Pkcs8(der) => KeyPair::from_pkcs8(der.secret_pkcs8_der()).map_err(rejected),
        PrivateKeyDer::Pkcs1(der) => KeyPair::from_der(der.secret_pkcs1_der()).map_err(rejected),
        _ => Err(Unusable::PrivateKey("it is no RSA key".to_owned())),
    }
}

/// Secrets go over TLS, or not further than this machine.
fn safe(name: &str, address: Box<str>) -> Result<Box<str>, Unusable> {
    let url = Url::parse(&address).map_err(|_| Unusable::Address(name.to_owned()))?;
    let local = match url.host() {
        Some(Host::Domain(name)) => name == "localhost",
        Some(Host::Ipv4(ip)) => ip.is_loopback(),
        Some(Host::Ipv6(ip)) => ip.is_loopback(),
        None => false,
    };
    match url.scheme() {
        "https" => Ok(address),
        "http" if local => Ok(address),
        _ => Err(Unusable::Address(name.to_owned())),
    }
}

fn missing(name: &str) -> Unusable {
    Unusable::Malformed(format!("`{name}` is missing"))
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that `map_err` wants")]
fn malformed(error: serde_json::Error) -> Unusable {
    // the message may quote a value, which may be a secret: only where it went wrong is said
    let (line, column) = (error.line(), error.column());
    Unusable::Malformed(format!("at line {line} column {column}"))
}
