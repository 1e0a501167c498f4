//! OAuth tokens of Google and of Entra.
//!
//! In: a key's credential, or none: then that of the machine. Out: a [`Lease`]. Never: prints a
//! secret; keeps anything.

use super::http_client::HttpClient;
use crate::config::load::process_env;
use crate::provider::entra_token::Identity;
use crate::provider::google_credential::{Credential, METADATA_HOST};
use crate::provider::google_token::{Fetch, Step};
use crate::provider::login::{Lease, Leased};
use crate::provider::oauth::{self, Token};
use crate::provider::{EntraKey, GoogleKey};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

/// Fetches a token of Google's.
///
/// # Errors
/// What the credential lacks, or the token endpoint says.
pub async fn google(http: &HttpClient, key: &GoogleKey) -> Result<Lease, String> {
    let credential = if key.credentials.is_empty() {
        google_default().await?
    } else {
        Credential::parse(key.credentials.expose()).map_err(|error| error.to_string())?
    };
    let failed = |failure: oauth::Failure| failure.to_string();
    let (mut fetch, mut step) = Fetch::begin(&credential, now_s()).map_err(failed)?;
    loop {
        step = match step {
            Step::Token(token) => return Ok(lease(token)),
            Step::ReadFile(path) => {
                let contents = read(Path::new(&*path)).await?;
                fetch.read(contents.as_bytes()).map_err(failed)?
            }
            Step::Call(call) => {
                let asked_at = now_s();
                let answered = http.ask(call).await?;
                let next = fetch.answered(answered.status, &answered.body, asked_at);
                next.map_err(failed)?
            }
        };
    }
}

/// Google's default: the file that the environment names, the one that `gcloud` writes, the machine.
async fn google_default() -> Result<Credential, String> {
    let set = |name: &str| process_env(name).filter(|value| !value.is_empty());
    let parse = |text: String| Credential::parse(&text).map_err(|error| error.to_string());
    if let Some(path) = set("GOOGLE_APPLICATION_CREDENTIALS") {
        return parse(read(Path::new(&path)).await?);
    }
    let own = set("CLOUDSDK_CONFIG").map(PathBuf::from);
    let own = own.or_else(|| set("HOME").map(|home| PathBuf::from(home).join(".config/gcloud")));
    if let Some(folder) = own {
        let path = folder.join("application_default_credentials.json");
        if tokio::fs::try_exists(&path).await.unwrap_or(false) {
            return parse(read(&path).await?);
        }
    }
    let host = set("GCE_METADATA_HOST").unwrap_or_else(|| METADATA_HOST.to_owned());
    Ok(Credential::metadata(&host))
}

/// Fetches a token of Entra's.
///
/// # Errors
/// What the token endpoint says.
pub async fn entra(http: &HttpClient, key: &EntraKey) -> Result<Lease, String> {
    let identity = Identity::of(key, &process_env);
    let assertion = match identity.file() {
        Some(file) => read(Path::new(file)).await?,
        None => String::new(),
    };
    let asked_at = now_s();
    let answered = http.ask(identity.call(&assertion)).await?;
    if !(200..300).contains(&answered.status) {
        return Err(oauth::refused(answered.status, &answered.body).to_string());
    }
    oauth::token(&answered.body, asked_at).map(lease).map_err(|failure| failure.to_string())
}

fn lease(token: Token) -> Lease {
    Lease { credential: Leased::Token(token.value), expires_at: Some(token.expires_at) }
}

async fn read(path: &Path) -> Result<String, String> {
    let text = tokio::fs::read_to_string(path).await;
    text.map_err(|error| format!("{}: {error}", path.display()))
}

/// Seconds since 1970.
pub fn now_s() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
