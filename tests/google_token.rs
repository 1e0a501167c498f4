//! Tokens of Google's: each kind of credential, step by step, as the control thread goes.

#![expect(clippy::unwrap_used, clippy::panic, reason = "a test says what failed by panicking")]

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use finops_gateway::provider::google_credential::{Credential, METADATA_HOST, Unusable};
use finops_gateway::provider::google_token::{Fetch, Step};
use finops_gateway::provider::oauth::{Call, Failure, Token};
use ring::signature::{KeyPair as _, RSA_PKCS1_2048_8192_SHA256, RsaKeyPair, UnparsedPublicKey};
use rustls_pki_types::PrivatePkcs8KeyDer;
use rustls_pki_types::pem::PemObject as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;

const KEY: &str = include_str!("data/rsa_test_key.pem");
const KEY_PKCS1: &str = include_str!("data/rsa_test_key_pkcs1.pem");
const NOW_S: u64 = 1_790_000_000;

fn account(key: &str) -> Value {
    json!({"type": "service_account", "project_id": "p-1", "private_key_id": "kid1",
        "private_key": key, "client_email": "gw@p-1.iam.gserviceaccount.com",
        "token_uri": "https://oauth2.googleapis.com/token"})
}

fn parsed(file: &Value) -> Credential {
    Credential::parse(&file.to_string()).unwrap()
}

fn call(step: Step) -> Call {
    match step {
        Step::Call(call) => call,
        other => panic!("{other:?}"),
    }
}

fn token(step: Step) -> (String, u64) {
    match step {
        Step::Token(Token { value, expires_at }) => (value.expose().to_owned(), expires_at),
        other => panic!("{other:?}"),
    }
}

fn fields(call: &Call) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(call.body.expose().as_bytes()).into_owned().collect()
}

fn header(call: &Call, name: &str) -> Option<String> {
    let header = call.headers.iter().find(|(key, _)| **key == *name);
    header.map(|(_, value)| value.expose().to_owned())
}

fn json_of(part: &str) -> Value {
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}

#[test]
fn a_service_account_signs_for_its_token() {
    for pem in [KEY, KEY_PKCS1] {
        let credential = parsed(&account(pem));
        assert_eq!(credential.project(), Some("p-1"));
        let (mut fetch, step) = Fetch::begin(&credential, NOW_S).unwrap();
        let call = call(step);
        assert_eq!((call.method, &*call.url), ("POST", "https://oauth2.googleapis.com/token"));
        let fields = fields(&call);
        assert_eq!(fields["grant_type"], "urn:ietf:params:oauth:grant-type:jwt-bearer");
        let parts: Vec<_> = fields["assertion"].split('.').collect();
        assert_eq!(json_of(parts[0]), json!({"alg": "RS256", "typ": "JWT", "kid": "kid1"}));
        assert_eq!(
            json_of(parts[1]),
            json!({"iss": "gw@p-1.iam.gserviceaccount.com",
                "scope": "https://www.googleapis.com/auth/cloud-platform",
                "aud": "https://oauth2.googleapis.com/token",
                "iat": NOW_S, "exp": NOW_S + 3600})
        );
        let der = PrivatePkcs8KeyDer::from_pem_slice(KEY.as_bytes()).unwrap();
        let key = RsaKeyPair::from_pkcs8(der.secret_pkcs8_der()).unwrap();
        let public = UnparsedPublicKey::new(&RSA_PKCS1_2048_8192_SHA256, key.public_key());
        let signed = format!("{}.{}", parts[0], parts[1]);
        public.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(parts[2]).unwrap()).unwrap();

        let answer = br#"{"access_token":"ya29.x","expires_in":3599,"token_type":"Bearer"}"#;
        let got = token(fetch.answered(200, answer, NOW_S + 1).unwrap());
        assert_eq!(got, ("ya29.x".to_owned(), NOW_S + 3600));
        assert_eq!(fetch.answered(200, answer, NOW_S), Err(Failure::OutOfTurn));
    }
}

#[test]
fn an_authorized_user_refreshes() {
    let credential = parsed(&json!({"type": "authorized_user", "client_id": "id",
        "client_secret": "s&cret", "refresh_token": "1//r", "quota_project_id": "q"}));
    assert_eq!(credential.project(), Some("q"));
    let call = call(Fetch::begin(&credential, NOW_S).unwrap().1);
    let fields = fields(&call);
    assert_eq!(fields["grant_type"], "refresh_token");
    assert_eq!((&*fields["client_id"], &*fields["client_secret"]), ("id", "s&cret"));
    assert_eq!(fields["refresh_token"], "1//r");
    let printed = format!("{credential:?} {call:?}");
    assert!(!["s&cret", "26cret", "1//r"].iter().any(|secret| printed.contains(secret)));
}

#[test]
fn the_metadata_server_is_asked() {
    let credential = Credential::metadata(METADATA_HOST);
    let (mut fetch, step) = Fetch::begin(&credential, NOW_S).unwrap();
    let call = call(step);
    assert_eq!(
        (call.method, &*call.url),
        (
            "GET",
            "http://metadata.google.internal/computeMetadata/v1/instance/service-accounts/default/token"
        )
    );
    assert_eq!(header(&call, "metadata-flavor").as_deref(), Some("Google"));
    let got = fetch.answered(200, br#"{"access_token":"t..","expires_in":10}"#, NOW_S).unwrap();
    assert_eq!(token(got), ("t..".to_owned(), NOW_S + 10));
}

fn external(source: &Value) -> Value {
    json!({"type": "external_account", "audience": "//iam.googleapis.com/projects/1/x",
        "subject_token_type": "urn:ietf:params:oauth:token-type:jwt",
        "token_url": "https://sts.googleapis.com/v1/token",
        "service_account_impersonation_url":
            "https://iamcredentials.googleapis.com/v1/projects/-/serviceAccounts/a@b:generateAccessToken",
        "service_account_impersonation": {"token_lifetime_seconds": 1800},
        "credential_source": source})
}

#[test]
fn an_external_account_exchanges_and_impersonates() {
    let credential = parsed(&external(&json!({"file": "/var/run/token"})));
    let (mut fetch, step) = Fetch::begin(&credential, NOW_S).unwrap();
    assert_eq!(step, Step::ReadFile("/var/run/token".into()));
    let exchange = call(fetch.read(b"eyJ.subject\n").unwrap());
    assert_eq!(&*exchange.url, "https://sts.googleapis.com/v1/token");
    let sent = fields(&exchange);
    assert_eq!(sent["grant_type"], "urn:ietf:params:oauth:grant-type:token-exchange");
    assert_eq!(sent["subject_token"], "eyJ.subject");
    assert_eq!(sent["subject_token_type"], "urn:ietf:params:oauth:token-type:jwt");
    assert_eq!(sent["audience"], "//iam.googleapis.com/projects/1/x");
    let first = br#"{"access_token":"sts","expires_in":3600}"#;
    let impersonate = call(fetch.answered(200, first, NOW_S).unwrap());
    assert!(impersonate.url.ends_with(":generateAccessToken"));
    assert_eq!(header(&impersonate, "authorization").as_deref(), Some("Bearer sts"));
    let body: Value = serde_json::from_str(impersonate.body.expose()).unwrap();
    assert_eq!(
        body,
        json!({"scope": ["https://www.googleapis.com/auth/cloud-platform"], "lifetime": "1800s"})
    );
    let answer = br#"{"accessToken":"imp","expireTime":"2026-09-21T14:13:20Z"}"#;
    let got = token(fetch.answered(200, answer, NOW_S).unwrap());
    assert_eq!(got, ("imp".to_owned(), NOW_S));
}

#[test]
fn a_subject_token_may_come_from_an_address() {
    let credential = parsed(&external(&json!({"url": "http://169.254.169.254/token",
        "headers": {"Metadata": "True"},
        "format": {"type": "json", "subject_token_field_name": "access_token"}})));
    let (mut fetch, step) = Fetch::begin(&credential, NOW_S).unwrap();
    let asked = call(step);
    assert_eq!((asked.method, header(&asked, "Metadata").as_deref()), ("GET", Some("True")));
    let exchange = call(fetch.answered(200, br#"{"access_token":"az"}"#, NOW_S).unwrap());
    assert_eq!(fields(&exchange)["subject_token"], "az");
}

#[test]
fn an_impersonated_account_goes_through_its_source() {
    let credential = parsed(&json!({"type": "impersonated_service_account",
        "service_account_impersonation_url": "https://iamcredentials.googleapis.com/v1/x",
        "delegates": ["d"], "source_credentials": {"type": "authorized_user",
        "client_id": "i", "client_secret": "s", "refresh_token": "r"}}));
    let (mut fetch, _) = Fetch::begin(&credential, NOW_S).unwrap();
    let first = br#"{"access_token":"user","expires_in":1}"#;
    let impersonate = call(fetch.answered(200, first, NOW_S).unwrap());
    assert_eq!(header(&impersonate, "authorization").as_deref(), Some("Bearer user"));
    let body: Value = serde_json::from_str(impersonate.body.expose()).unwrap();
    assert_eq!(body["delegates"], json!(["d"]));
}

#[test]
fn an_external_user_sends_its_client_as_a_header() {
    let credential = parsed(&json!({"type": "external_account_authorized_user",
        "token_url": "https://sts.googleapis.com/v1/oauthtoken",
        "client_id": "id", "client_secret": "secret", "refresh_token": "r"}));
    let call = call(Fetch::begin(&credential, NOW_S).unwrap().1);
    assert_eq!(header(&call, "authorization").as_deref(), Some("Basic aWQ6c2VjcmV0"));
    assert_eq!(fields(&call).len(), 2);
}

#[test]
fn refusals_say_whether_asking_again_helps() {
    let credential = Credential::metadata("h");
    let ask = |status, body: &[u8]| {
        Fetch::begin(&credential, NOW_S).unwrap().0.answered(status, body, NOW_S)
    };
    let body = br#"{"error":"invalid_grant","error_description":"Bad key"}"#;
    let refused = |status, reason: &str, permanent| {
        Err(Failure::Refused { status, reason: reason.to_owned(), permanent })
    };
    assert_eq!(ask(400, body), refused(400, "invalid_grant: Bad key", true));
    let body = br#"{"error":{"code":403,"message":"no role","status":"PERMISSION_DENIED"}}"#;
    assert_eq!(ask(403, body), refused(403, "no role", true));
    assert_eq!(ask(503, b"<html>"), refused(503, "no reason given", false));
    assert!(matches!(ask(200, b"{}"), Err(Failure::Unreadable(_))));
}

#[test]
fn unusable_credentials_are_named() {
    let parse = |file: Value| Credential::parse(&file.to_string()).unwrap_err();
    assert_eq!(
        parse(json!({"type": "gdch_service_account"})),
        Unusable::Kind("gdch_service_account".into())
    );
    assert!(matches!(parse(account("no key")), Unusable::PrivateKey(_)));
    let mut clear = account(KEY);
    clear["token_uri"] = json!("http://evil.example/token");
    assert_eq!(parse(clear), Unusable::Address("token_uri".into()));
    let mut local = account(KEY);
    local["token_uri"] = json!("http://127.0.0.1:9000/token");
    parsed(&local);
    let executable = external(&json!({"executable": {"command": "x"}}));
    assert_eq!(parse(executable), Unusable::Source("an executable"));
    let error = Credential::parse(r#"{"type":"authorized_user","client_secret":[]}"#).unwrap_err();
    assert!(!error.to_string().contains("secret"), "{error}");
}
