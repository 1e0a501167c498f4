//! Credentials of AWS that are not in the configuration: assumed roles and the default chain.
//!
//! In: a key's AWS part and its region. Out: a [`Lease`]. The AWS SDK does the work (environment,
//! shared files, web identity, containers, EC2), over the control thread's own HTTP client. Never:
//! caches: each fetch looks anew, so that a changed file is seen.

use super::http_client::HttpClient;
use crate::provider::login::{Lease, Leased};
use crate::provider::{AwsKey, Secret};
use aws_config::sts::AssumeRoleProvider;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_credential_types::Credentials;
use aws_credential_types::provider::ProvideCredentials;
use aws_credential_types::provider::error::CredentialsError;
use aws_smithy_runtime_api::client::http::{
    HttpClient as AwsHttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings,
    SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::{HttpRequest, HttpResponse};
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::StatusCode;
use aws_smithy_types::body::SdkBody;
use aws_smithy_types::error::display::DisplayErrorContext;
use std::time::{Duration, UNIX_EPOCH};

/// Answers of STS and of metadata services are a few kilobytes.
const ANSWER_MAX: usize = 1 << 20;
const SESSION_NAME: &str = "finops-gateway";

/// Fetches credentials.
///
/// # Errors
/// What AWS or its SDK says.
pub async fn fetch(http: &HttpClient, key: &AwsKey, region: &str) -> Result<Lease, String> {
    let region = Region::new(if region.is_empty() { "us-east-1" } else { region }.to_owned());
    let config = aws_config::defaults(BehaviorVersion::latest())
        .http_client(http.clone())
        .region(region.clone())
        .load()
        .await;
    let found = match &key.role_arn {
        Some(role) => assume(key, role, &config).await,
        None => match config.credentials_provider() {
            Some(chain) => chain.provide_credentials().await,
            None => return Err("there is no chain of credentials".to_owned()),
        },
    };
    let found = found.map_err(|error| reason(&error))?;
    let expires_at = found.expiry().and_then(|at| at.duration_since(UNIX_EPOCH).ok());
    Ok(Lease {
        credential: Leased::Aws {
            access_key_id: found.access_key_id().into(),
            secret: Secret::new(found.secret_access_key()),
            session_token: found.session_token().map(Secret::new),
        },
        expires_at: expires_at.map(|since| since.as_secs()),
    })
}

/// Assumes a role as the key's own pair, or as whom the default chain says.
async fn assume(
    key: &AwsKey,
    role: &str,
    config: &SdkConfig,
) -> Result<Credentials, CredentialsError> {
    let mut builder = AssumeRoleProvider::builder(role)
        .configure(config)
        .session_name(key.session_name.as_deref().unwrap_or(SESSION_NAME));
    if let Some(external_id) = &key.external_id {
        builder = builder.external_id(&**external_id);
    }
    let provider = if key.access_key.is_empty() {
        builder.build().await
    } else {
        let token = key.session_token.as_ref().map(|token| token.expose().to_owned());
        let (id, secret) = (key.access_key.expose(), key.secret_key.expose());
        let own = Credentials::new(id, secret, token, None, "config.json");
        builder.build_from_provider(own).await
    };
    provider.provide_credentials().await
}

/// Without the SDK's trailing debug output, which is as long as it is unreadable.
fn reason(error: &CredentialsError) -> String {
    let text = DisplayErrorContext(error).to_string();
    let end = text.rfind(" (").filter(|_| text.ends_with(')')).unwrap_or(text.len());
    text.get(..end).unwrap_or(&text).to_owned()
}

impl AwsHttpClient for HttpClient {
    fn http_connector(
        &self,
        settings: &HttpConnectorSettings,
        _: &RuntimeComponents,
    ) -> SharedHttpConnector {
        // Metadata services are waited for a second only, where there may be none.
        let limit = settings.connect_timeout().zip(settings.read_timeout());
        let limit = limit.map(|(connect, read)| connect + read);
        SharedHttpConnector::new(Connector { client: self.clone(), limit })
    }
}

#[derive(Debug)]
struct Connector {
    client: HttpClient,
    limit: Option<Duration>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (client, limit) = (self.client.clone(), self.limit);
        HttpConnectorFuture::new(async move {
            let asked = exchange(&client, request);
            match limit {
                None => asked.await,
                Some(limit) => tokio::time::timeout(limit, asked)
                    .await
                    .map_err(|late| ConnectorError::timeout(late.into()))?,
            }
        })
    }
}

async fn exchange(
    client: &HttpClient,
    request: HttpRequest,
) -> Result<HttpResponse, ConnectorError> {
    let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
    let request = request.map(|body| body.bytes().unwrap_or_default().to_vec());
    let request = request
        .try_into()
        .map_err(|error: reqwest::Error| ConnectorError::user(error.without_url().into()))?;
    let answered =
        client.send(request, ANSWER_MAX).await.map_err(|error| ConnectorError::io(error.into()))?;
    let status = StatusCode::try_from(answered.status)
        .map_err(|error| ConnectorError::other(error.into(), None))?;
    let mut response = HttpResponse::new(status, SdkBody::from(answered.body));
    for (name, value) in &answered.headers {
        if let Ok(value) = value.to_str() {
            response.headers_mut().append(name.as_str().to_owned(), value.to_owned());
        }
    }
    Ok(response)
}
