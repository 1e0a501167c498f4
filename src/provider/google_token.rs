//! Access tokens of Google's, step by step.
//!
//! In: a [`Credential`], the time in seconds since 1970, and the answers to the calls that were
//! asked for. Out: the next [`Step`]: a call to make, a file to read, or the token. The control
//! thread makes the calls and keeps the token. Never: opens a connection or a file, reads a clock,
//! or prints a secret.
//! Source: developers.google.com/identity/protocols/oauth2/service-account,
//! cloud.google.com/iam/docs/reference/sts/rest.

use super::Secret;
use super::google_credential::{
    Credential, External, Impersonation, Origin, Refresh, ServiceAccount, Subject,
};
use super::oauth::{Call, Failure, Token, form, refused, token};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ring::rand::SystemRandom;
use ring::signature::RSA_PKCS1_SHA256;
use serde::Deserialize;

const SCOPE: &str = "https://www.googleapis.com/auth/cloud-platform";
/// How long the assertion of a service account holds, in seconds; the most that Google allows.
const ASSERTION_S: u64 = 3600;
const JWT_BEARER: &str = "urn:ietf:params:oauth:grant-type:jwt-bearer";
const TOKEN_EXCHANGE: &str = "urn:ietf:params:oauth:grant-type:token-exchange";
const ACCESS_TOKEN: &str = "urn:ietf:params:oauth:token-type:access_token";

/// What is to be done next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Make the call, and give its answer to [`Fetch::answered`].
    Call(Call),
    /// Read the file, and give its contents to [`Fetch::read`].
    ReadFile(Box<str>),
    Token(Token),
}

/// What is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// The token of the other identity provider.
    Subject,
    /// The first token of Google's.
    Origin,
    /// The token of the service account that is acted as.
    Impersonated,
    Done,
}

/// One fetch of a token.
///
/// ```text
/// Subject --file or answer--> Origin --answer--> Impersonated --answer--> Done
///         (external accounts)                   (where one is acted as)
/// ```
#[derive(Debug)]
pub struct Fetch<'c> {
    credential: &'c Credential,
    stage: Stage,
}

impl<'c> Fetch<'c> {
    /// Begins a fetch at `now_s`.
    pub fn begin(credential: &'c Credential, now_s: u64) -> Result<(Self, Step), Failure> {
        let mut stage = Stage::Origin;
        let step = match &credential.origin {
            Origin::ServiceAccount(account) => {
                let assertion = assertion(account, now_s)?;
                Step::Call(form(
                    &account.token_uri,
                    &[("grant_type", JWT_BEARER), ("assertion", &assertion)],
                ))
            }
            Origin::Refresh(user) => Step::Call(refresh(user)),
            Origin::Metadata { host } => Step::Call(metadata(host)),
            Origin::External(external) => {
                stage = Stage::Subject;
                subject(external)
            }
        };
        Ok((Self { credential, stage }, step))
    }

    /// Takes the contents of the file that was asked for.
    pub fn read(&mut self, contents: &[u8]) -> Result<Step, Failure> {
        match (self.stage, &self.credential.origin) {
            (Stage::Subject, Origin::External(external)) => self.exchange(external, contents),
            _ => Err(Failure::OutOfTurn),
        }
    }

    /// Takes the answer to the call that was asked for.
    pub fn answered(&mut self, status: u16, body: &[u8], now_s: u64) -> Result<Step, Failure> {
        if !(200..300).contains(&status) {
            self.stage = Stage::Done;
            return Err(refused(status, body));
        }
        match (self.stage, &self.credential.origin) {
            (Stage::Subject, Origin::External(external)) => self.exchange(external, body),
            (Stage::Origin, _) => {
                let token = token(body, now_s)?;
                let Some(acts_as) = &self.credential.acts_as else {
                    self.stage = Stage::Done;
                    return Ok(Step::Token(token));
                };
                self.stage = Stage::Impersonated;
                Ok(Step::Call(impersonate(acts_as, &token)?))
            }
            (Stage::Impersonated, _) => {
                self.stage = Stage::Done;
                impersonated(body).map(Step::Token)
            }
            (Stage::Subject | Stage::Done, _) => Err(Failure::OutOfTurn),
        }
    }

    fn exchange(&mut self, external: &External, document: &[u8]) -> Result<Step, Failure> {
        let subject = subject_token(external, document)?;
        self.stage = Stage::Origin;
        Ok(Step::Call(exchange(external, &subject)))
    }
}

/// The signed statement of a service account that it asks for a token (RFC 7523).
fn assertion(account: &ServiceAccount, now_s: u64) -> Result<String, Failure> {
    let ServiceAccount { email, key, key_id, token_uri } = account;
    let mut header = serde_json::json!({"alg": "RS256", "typ": "JWT"});
    if let (Some(key_id), Some(header)) = (key_id, header.as_object_mut()) {
        header.insert("kid".to_owned(), key_id.as_ref().into());
    }
    let claims = serde_json::json!({
        "iss": email,
        "scope": SCOPE,
        "aud": token_uri,
        "iat": now_s,
        "exp": now_s.saturating_add(ASSERTION_S),
    });
    let mut signed = URL_SAFE_NO_PAD.encode(header.to_string());
    signed.push('.');
    URL_SAFE_NO_PAD.encode_string(claims.to_string(), &mut signed);
    let mut signature = vec![0; key.public().modulus_len()];
    key.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), signed.as_bytes(), &mut signature)
        .map_err(|_| Failure::Signing)?;
    signed.push('.');
    URL_SAFE_NO_PAD.encode_string(&signature, &mut signed);
    Ok(signed)
}

fn refresh(user: &Refresh) -> Call {
    let Refresh { client_id, client_secret, token, token_uri, basic } = user;
    let mut fields = vec![("grant_type", "refresh_token"), ("refresh_token", token.expose())];
    if *basic {
        let mut call = form(token_uri, &fields);
        call.headers.push(basic_header(client_id, client_secret));
        return call;
    }
    fields.extend([("client_id", client_id.as_ref()), ("client_secret", client_secret.expose())]);
    form(token_uri, &fields)
}

fn basic_header(id: &str, secret: &Secret) -> (Box<str>, Secret) {
    let value = format!("Basic {}", STANDARD.encode(format!("{id}:{}", secret.expose())));
    ("authorization".into(), Secret::new(value))
}

fn metadata(host: &str) -> Call {
    let path = "computeMetadata/v1/instance/service-accounts/default/token";
    Call {
        method: "GET",
        url: format!("http://{host}/{path}").into(),
        headers: vec![("metadata-flavor".into(), Secret::new("Google"))],
        body: Secret::default(),
    }
}

fn subject(external: &External) -> Step {
    match &external.subject {
        Subject::File(path) => Step::ReadFile(path.clone()),
        Subject::Url { url, headers } => Step::Call(Call {
            method: "GET",
            url: url.clone(),
            headers: headers.clone(),
            body: Secret::default(),
        }),
    }
}

fn subject_token(external: &External, document: &[u8]) -> Result<Secret, Failure> {
    let text = std::str::from_utf8(document)
        .map_err(|_| Failure::Unreadable("the subject token is no text"))?;
    let Some(field) = &external.field else {
        return match text.trim() {
            "" => Err(Failure::Unreadable("the subject token is empty")),
            token => Ok(Secret::new(token)),
        };
    };
    let document: serde_json::Value = serde_json::from_str(text)
        .map_err(|_| Failure::Unreadable("the subject token's document is no JSON"))?;
    let token = document.get(field.as_ref()).and_then(serde_json::Value::as_str);
    token
        .map(Secret::new)
        .ok_or(Failure::Unreadable("the subject token's document lacks the configured field"))
}

/// The exchange at Google's security token service (RFC 8693).
fn exchange(external: &External, subject: &Secret) -> Call {
    let options = external
        .user_project
        .as_ref()
        .map(|project| serde_json::json!({"userProject": project}).to_string());
    let mut fields = vec![
        ("grant_type", TOKEN_EXCHANGE),
        ("audience", external.audience.as_ref()),
        ("scope", SCOPE),
        ("requested_token_type", ACCESS_TOKEN),
        ("subject_token", subject.expose()),
        ("subject_token_type", external.subject_token_type.as_ref()),
    ];
    if let (Some(options), None) = (&options, &external.client) {
        fields.push(("options", options));
    }
    let mut call = form(&external.token_url, &fields);
    if let Some((id, secret)) = &external.client {
        call.headers.push(basic_header(id, secret));
    }
    call
}

fn impersonate(acts_as: &Impersonation, token: &Token) -> Result<Call, Failure> {
    let mut body = serde_json::json!({
        "scope": [SCOPE],
        "lifetime": format!("{}s", acts_as.lifetime_s),
    });
    if let (false, Some(body)) = (acts_as.delegates.is_empty(), body.as_object_mut()) {
        let delegates = serde_json::to_value(&acts_as.delegates);
        let delegates = delegates.map_err(|_| Failure::Unreadable("the delegates"))?;
        body.insert("delegates".to_owned(), delegates);
    }
    Ok(Call {
        method: "POST",
        url: acts_as.url.clone(),
        headers: vec![
            ("content-type".into(), Secret::new("application/json")),
            ("authorization".into(), Secret::new(format!("Bearer {}", token.value.expose()))),
        ],
        body: Secret::new(body.to_string()),
    })
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ImpersonatedAnswer {
    access_token: Box<str>,
    /// RFC 3339.
    expire_time: Box<str>,
}

fn impersonated(body: &[u8]) -> Result<Token, Failure> {
    let unreadable = || Failure::Unreadable("it holds no impersonated token");
    let answer: ImpersonatedAnswer = serde_json::from_slice(body).map_err(|_| unreadable())?;
    let expires: jiff::Timestamp = answer.expire_time.parse().map_err(|_| unreadable())?;
    let expires_at = u64::try_from(expires.as_second()).map_err(|_| unreadable())?;
    Ok(Token { value: Secret::new(answer.access_token), expires_at })
}
