//! Access tokens of Microsoft Entra, for Azure.
//!
//! In: a key's client credentials, or the environment of a machine that has an identity of its own.
//! Out: an [`Identity`], and from it the call that gives a token. The control thread makes it. Never:
//! opens a connection or a file, reads the environment by itself, or prints a secret.
//! Source: learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow,
//! learn.microsoft.com/entra/identity/managed-identities-azure-resources/how-to-use-vm-token.

use super::oauth::{Call, form};
use super::{EntraKey, Secret};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

/// Where tokens are asked for, unless `AZURE_AUTHORITY_HOST` says otherwise (sovereign clouds).
const AUTHORITY: &str = "https://login.microsoftonline.com";
/// The machine's own metadata service, unless `AZURE_POD_IDENTITY_AUTHORITY_HOST` says otherwise.
const METADATA: &str = "http://169.254.169.254";
/// What Azure's AI services are called, where the key names no scopes.
const SCOPE: &str = "https://cognitiveservices.azure.com/.default";
const JWT_BEARER: &str = "urn:ietf:params:oauth:client-assertion-type:jwt-bearer";

/// As whom a token is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    way: Way,
    /// `scopes` of the key, separated by a space.
    scope: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Way {
    /// An application with its secret.
    Client { url: String, id: Box<str>, secret: Secret },
    /// A pod whose cluster vouches for it: the file holds the assertion.
    Federated { url: String, id: String, file: String },
    /// App Service, Functions, Container Apps.
    Service { endpoint: String, header: Secret, client: Option<String> },
    /// A virtual machine.
    Machine { host: String, client: Option<String> },
}

impl Identity {
    /// The key's own identity; without one, that of the environment, in the order of Azure's SDKs:
    /// client secret, workload identity, managed identity.
    pub fn of(key: &EntraKey, env: &dyn Fn(&str) -> Option<String>) -> Self {
        let set = |name: &str| env(name).filter(|value| !value.is_empty());
        let scope = if key.scopes.is_empty() { SCOPE.to_owned() } else { key.scopes.join(" ") };
        let authority = set("AZURE_AUTHORITY_HOST").unwrap_or_else(|| AUTHORITY.to_owned());
        let url = |tenant: &str| {
            let tenant = utf8_percent_encode(tenant, SEGMENT);
            format!("{}/{tenant}/oauth2/v2.0/token", authority.trim_end_matches('/'))
        };
        if !key.client_id.is_empty() {
            let (id, secret) = (key.client_id.clone(), key.client_secret.clone());
            return Self { way: Way::Client { url: url(&key.tenant_id), id, secret }, scope };
        }
        let client = set("AZURE_CLIENT_ID");
        let known = set("AZURE_TENANT_ID").zip(client.clone());
        let way = if let Some(((tenant, id), secret)) =
            known.clone().zip(set("AZURE_CLIENT_SECRET"))
        {
            Way::Client { url: url(&tenant), id: id.into(), secret: Secret::new(secret) }
        } else if let Some(((tenant, id), file)) = known.zip(set("AZURE_FEDERATED_TOKEN_FILE")) {
            Way::Federated { url: url(&tenant), id, file }
        } else if let Some((endpoint, header)) =
            set("IDENTITY_ENDPOINT").zip(set("IDENTITY_HEADER"))
        {
            Way::Service { endpoint, header: Secret::new(header), client }
        } else {
            let host = set("AZURE_POD_IDENTITY_AUTHORITY_HOST");
            Way::Machine { host: host.unwrap_or_else(|| METADATA.to_owned()), client }
        };
        Self { way, scope }
    }

    /// The file that has to be read for [`Identity::call`].
    pub fn file(&self) -> Option<&str> {
        match &self.way {
            Way::Federated { file, .. } => Some(file),
            _ => None,
        }
    }

    /// The call whose answer [`super::oauth::token`] reads. `assertion`: what the file holds.
    pub fn call(&self, assertion: &str) -> Call {
        let scope = self.scope.as_str();
        match &self.way {
            Way::Client { url, id, secret } => form(
                url,
                &[
                    ("grant_type", "client_credentials"),
                    ("client_id", id),
                    ("client_secret", secret.expose()),
                    ("scope", scope),
                ],
            ),
            Way::Federated { url, id, .. } => form(
                url,
                &[
                    ("grant_type", "client_credentials"),
                    ("client_id", id),
                    ("client_assertion_type", JWT_BEARER),
                    ("client_assertion", assertion.trim()),
                    ("scope", scope),
                ],
            ),
            Way::Service { endpoint, header, client } => {
                let url = self.managed(endpoint, "2019-08-01", client.as_deref());
                get(url, "x-identity-header", header.clone())
            }
            Way::Machine { host, client } => {
                let endpoint =
                    format!("{}/metadata/identity/oauth2/token", host.trim_end_matches('/'));
                let url = self.managed(&endpoint, "2018-02-01", client.as_deref());
                get(url, "metadata", Secret::new("true"))
            }
        }
    }

    /// Managed identities are asked for a resource, which a scope is but for its ending.
    fn managed(&self, endpoint: &str, version: &str, client: Option<&str>) -> String {
        let first = self.scope.split(' ').next().unwrap_or_default();
        let resource = utf8_percent_encode(first.trim_end_matches("/.default"), NON_ALPHANUMERIC);
        let mut url = format!("{endpoint}?api-version={version}&resource={resource}");
        if let Some(client) = client {
            url.push_str("&client_id=");
            url.extend(utf8_percent_encode(client, NON_ALPHANUMERIC));
        }
        url
    }
}

const SEGMENT: &percent_encoding::AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

fn get(url: String, header: &str, value: Secret) -> Call {
    Call {
        method: "GET",
        url: url.into(),
        headers: vec![(header.into(), value)],
        body: Secret::default(),
    }
}

#[cfg(test)]
mod tests {
    use super::Identity;
    use crate::provider::{EntraKey, Secret};

    fn called(key: &EntraKey, env: &[(&str, &str)]) -> (String, String, Option<String>) {
        let look_up = |name: &str| {
            let found = env.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let identity = Identity::of(key, &look_up);
        let call = identity.call("signed-by-the-cluster\n");
        let file = identity.file().map(str::to_owned);
        (call.url.to_string(), call.body.expose().to_owned(), file)
    }

    #[test]
    fn a_keys_own_application_comes_first() {
        let key = EntraKey {
            client_id: "app".into(),
            client_secret: Secret::new("s&t"),
            tenant_id: "acme".into(),
            scopes: vec!["api://x/.default".into()],
        };
        let (url, body, file) = called(&key, &[("AZURE_CLIENT_ID", "other")]);
        assert_eq!(url, "https://login.microsoftonline.com/acme/oauth2/v2.0/token");
        assert_eq!(
            body,
            "grant_type=client_credentials&client_id=app&client_secret=s%26t&scope=api%3A%2F%2Fx%2F.default"
        );
        assert_eq!(file, None);
    }

    #[test]
    fn without_one_the_environment_says_who_asks() {
        let none = EntraKey::default();
        let app = [("AZURE_TENANT_ID", "t"), ("AZURE_CLIENT_ID", "c")];
        let authority = ("AZURE_AUTHORITY_HOST", "https://login.microsoftonline.us/");
        let (url, body, _) =
            called(&none, &[app[0], app[1], ("AZURE_CLIENT_SECRET", "s"), authority]);
        assert_eq!(url, "https://login.microsoftonline.us/t/oauth2/v2.0/token");
        assert!(body.contains("client_secret=s&scope=https%3A%2F%2Fcognitiveservices"), "{body}");
        let (_, body, file) =
            called(&none, &[app[0], app[1], ("AZURE_FEDERATED_TOKEN_FILE", "/var/t")]);
        assert_eq!(file.as_deref(), Some("/var/t"));
        assert!(body.contains("&client_assertion=signed-by-the-cluster&"), "{body}");
    }

    #[test]
    fn a_machine_is_asked_for_the_resource_behind_the_scope() {
        let none = EntraKey::default();
        let resource = "resource=https%3A%2F%2Fcognitiveservices%2Eazure%2Ecom";
        let (url, ..) = called(&none, &[("AZURE_CLIENT_ID", "c")]);
        let path = "http://169.254.169.254/metadata/identity/oauth2/token";
        assert_eq!(url, format!("{path}?api-version=2018-02-01&{resource}&client_id=c"));
        let service = [("IDENTITY_ENDPOINT", "http://127.0.0.1:41/msi"), ("IDENTITY_HEADER", "h")];
        let (url, ..) = called(&none, &service);
        assert_eq!(url, format!("http://127.0.0.1:41/msi?api-version=2019-08-01&{resource}"));
    }
}
