//! Credentials that have to be fetched before a call can be made, and what comes of the fetch.
//!
//! In: a key. Out: its [`Login`], known by the content of the credential, so that a rotated one is
//! never served what the old one gave; the control thread makes a [`Lease`] of it. Never: fetches.

use super::{AwsKey, Cloud, EntraKey, GoogleKey, Key, Secret};

/// Which login: a digest of all that decides what it gives.
pub type LoginId = [u8; 32];

/// What the control thread has to fetch for a key, before a worker can call with it.
#[derive(Debug, Clone)]
pub struct Login {
    pub id: LoginId,
    pub wants: Wants,
}

#[derive(Debug, Clone)]
pub enum Wants {
    /// Credentials of an assumed role or of AWS's default chain; the region is that of STS.
    Aws {
        key: AwsKey,
        region: Box<str>,
    },
    Google(GoogleKey),
    Entra(EntraKey),
}

/// A credential that calls are made with until it expires.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    pub credential: Leased,
    /// Seconds since 1970; `None`: it holds until another one comes.
    pub expires_at: Option<u64>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Leased {
    /// For `authorization: Bearer`.
    Token(Secret),
    Aws {
        access_key_id: Box<str>,
        secret: Secret,
        session_token: Option<Secret>,
    },
}

impl Lease {
    /// Whether calls can be made with it at `now_s`, in seconds since 1970.
    pub fn holds(&self, now_s: u64) -> bool {
        self.expires_at.is_none_or(|end| now_s < end)
    }
}

impl Login {
    /// What has to be fetched for a key; nothing where the key itself is all that a call needs.
    pub fn of(key: &Key) -> Option<Self> {
        let bare = key.value.is_empty();
        let wants = match &key.cloud {
            Cloud::None => return None,
            Cloud::Aws(aws) => {
                if !bare || (!aws.access_key.is_empty() && aws.role_arn.is_none()) {
                    return None;
                }
                let region = key.region.clone().unwrap_or_default();
                Wants::Aws { key: aws.clone(), region }
            }
            Cloud::Google(google) if google.credentials.is_empty() && !bare => return None,
            Cloud::Google(google) => Wants::Google(google.clone()),
            Cloud::Entra(entra) => Wants::Entra(entra.clone()),
        };
        Some(Self { id: digest(&wants), wants })
    }
}

/// Of every field, each with its length before it, so that no two logins read alike.
fn digest(wants: &Wants) -> LoginId {
    let mut hasher = blake3::Hasher::new();
    let mut add = |field: &str| {
        hasher.update(&(field.len() as u64).to_le_bytes());
        hasher.update(field.as_bytes());
    };
    match wants {
        Wants::Aws { key, region } => {
            let AwsKey {
                access_key,
                secret_key,
                session_token,
                role_arn,
                external_id,
                session_name,
            } = key;
            add("aws");
            add(region);
            add(access_key.expose());
            add(secret_key.expose());
            add(session_token.as_ref().map_or("", Secret::expose));
            for field in [role_arn, external_id, session_name] {
                add(field.as_deref().unwrap_or_default());
            }
        }
        Wants::Google(GoogleKey { credentials, project_number: _ }) => {
            add("google");
            add(credentials.expose());
        }
        Wants::Entra(EntraKey { client_id, client_secret, tenant_id, scopes }) => {
            add("entra");
            add(client_id);
            add(client_secret.expose());
            add(tenant_id);
            for scope in scopes {
                add(scope);
            }
        }
    }
    *hasher.finalize().as_bytes()
}

#[cfg(test)]
mod tests {
    use super::Login;
    use crate::provider::{AwsKey, Cloud, EntraKey, GoogleKey, Key, Secret};

    fn aws(access_key: &str, role_arn: Option<&str>) -> Cloud {
        Cloud::Aws(AwsKey {
            access_key: Secret::new(access_key),
            secret_key: Secret::new("s"),
            role_arn: role_arn.map(Into::into),
            ..AwsKey::default()
        })
    }

    fn login(value: &str, cloud: Cloud) -> Option<Login> {
        Login::of(&Key { value: Secret::new(value), cloud, ..Key::named("k") })
    }

    #[test]
    fn only_what_is_not_at_hand_is_fetched() {
        assert!(login("", aws("AK", None)).is_none(), "signs by itself");
        assert!(login("api-key", aws("", None)).is_none());
        assert!(login("", aws("", None)).is_some(), "the default chain");
        assert!(login("", aws("AK", Some("arn:aws:iam::1:role/r"))).is_some());
        let google = |text: &str| {
            let credentials = Secret::new(text);
            Cloud::Google(GoogleKey { credentials, ..GoogleKey::default() })
        };
        assert!(login("api-key", google("")).is_none());
        assert!(login("api-key", google("{}")).is_some() && login("", google("")).is_some());
        assert!(login("", Cloud::Entra(EntraKey::default())).is_some());
    }

    #[test]
    fn another_secret_is_another_login() {
        let role = Some("arn:aws:iam::1:role/r");
        let id = |cloud| login("", cloud).unwrap().id;
        let entra = |secret: &str| {
            let client_secret = Secret::new(secret);
            Cloud::Entra(EntraKey { client_id: "c".into(), client_secret, ..EntraKey::default() })
        };
        assert_eq!(id(entra("one")), id(entra("one")));
        assert_ne!(id(entra("one")), id(entra("two")), "the same client");
        assert_ne!(id(aws("AK", role)), id(aws("AK2", role)));
    }
}
