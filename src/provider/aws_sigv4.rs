//! AWS Signature Version 4: signs calls to an upstream, reads and checks a client's signature.
//!
//! In: method, raw target, headers, body and credential of a call, and the time. Out: the headers
//! to add; or who signed a client's call, and whether the signature holds. Never: reads a clock or
//! an environment, or keeps a key longer than its caller keeps [`SigningKeys`].
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>

use super::Secret;
use aws_sigv4::sign::v4::{calculate_signature, generate_signing_key};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
/// Clients whose clocks differ by more are refused, as AWS does.
const SKEW_SECONDS: u64 = 15 * 60;

/// A call as it goes over the wire.
#[derive(Debug, Clone, Copy)]
pub struct Call<'c> {
    pub method: &'c str,
    /// Path and query, percent-encoded as they are sent.
    pub target: &'c str,
    /// All that is to be signed, `host` among them; names in any case.
    pub headers: &'c [(&'c str, &'c str)],
    pub body: &'c [u8],
}

#[derive(Debug, Clone, Copy)]
pub struct Credential<'c> {
    pub access_key_id: &'c str,
    pub secret: &'c Secret,
    pub session_token: Option<&'c str>,
}

/// What a signing key is valid for, beside its day.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scope<'s> {
    pub region: &'s str,
    /// `bedrock` for all hosts of Bedrock, `s3`, `sts`.
    pub service: &'s str,
}

/// The headers that make a call signed; those that are `None` are not needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signed {
    pub authorization: String,
    pub x_amz_date: String,
    pub x_amz_security_token: Option<String>,
    pub x_amz_content_sha256: Option<String>,
}

/// Keys derived from secrets, for the day they are valid. One per owner of credentials.
#[derive(Debug, Default)]
pub struct SigningKeys {
    cached: Vec<CachedKey>,
}

struct CachedKey {
    secret: Secret,
    day: String,
    region: Box<str>,
    service: Box<str>,
    key: [u8; 32],
}

impl std::fmt::Debug for CachedKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "CachedKey({} {} {})", self.day, self.region, self.service)
    }
}

impl SigningKeys {
    /// More secrets, regions and services than one provider has.
    const MAX: usize = 32;

    /// The whole secret is compared, so a rotated one never signs with the old key.
    fn key(&mut self, secret: &Secret, day: &str, scope: Scope<'_>, now: u64) -> [u8; 32] {
        let found = self.cached.iter().find(|cached| {
            cached.day == day
                && *cached.region == *scope.region
                && *cached.service == *scope.service
                && cached.secret == *secret
        });
        if let Some(cached) = found {
            return cached.key;
        }
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(now);
        let derived = generate_signing_key(secret.expose(), time, scope.region, scope.service);
        let mut key = [0; 32];
        for (to, from) in key.iter_mut().zip(derived.as_ref()) {
            *to = *from;
        }
        self.cached.retain(|cached| cached.day == day);
        if self.cached.len() >= Self::MAX {
            self.cached.remove(0);
        }
        self.cached.push(CachedKey {
            secret: secret.clone(),
            day: day.to_owned(),
            region: scope.region.into(),
            service: scope.service.into(),
            key,
        });
        key
    }
}

/// Signs a call at `now`, in seconds since 1970-01-01.
pub fn sign(
    call: Call<'_>,
    credential: Credential<'_>,
    scope: Scope<'_>,
    now: u64,
    keys: &mut SigningKeys,
) -> Signed {
    let date = timestamp(now);
    let digest = hex(&Sha256::digest(call.body));
    let s3 = scope.service == "s3";
    let mut headers = call.headers.to_vec();
    headers.push(("x-amz-date", &date));
    if let Some(token) = credential.session_token {
        headers.push(("x-amz-security-token", token));
    }
    if s3 {
        headers.push(("x-amz-content-sha256", &digest));
    }
    let names = names_of(&headers);
    let canonical = canonical_request(call, &headers, &names, &digest, s3);
    let day = day_of(&date);
    let to_sign = string_to_sign(&canonical, &date, day, scope);
    let key = keys.key(credential.secret, day, scope, now);
    let signature = calculate_signature(key, to_sign.as_bytes());
    let authorization = format!(
        "{ALGORITHM} Credential={}/{day}/{}/{}/aws4_request, SignedHeaders={}, Signature={signature}",
        credential.access_key_id,
        scope.region,
        scope.service,
        names.join(";"),
    );
    Signed {
        authorization,
        x_amz_security_token: credential.session_token.map(ToOwned::to_owned),
        x_amz_content_sha256: s3.then_some(digest),
        x_amz_date: date,
    }
}

/// What an `Authorization` header of this scheme says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Presented<'h> {
    /// May be a virtual key of the gateway.
    pub access_key_id: &'h str,
    pub day: &'h str,
    pub region: &'h str,
    pub service: &'h str,
    /// Lower-case names.
    pub signed_headers: Vec<&'h str>,
    pub signature: &'h str,
}

/// Reads an `Authorization` header; `None` if it is not of this scheme.
pub fn parse(authorization: &str) -> Option<Presented<'_>> {
    let fields = authorization.trim().strip_prefix(ALGORITHM)?;
    let (mut credential, mut names, mut signature) = (None, None, None);
    for field in fields.split([',', ' ']).filter(|field| !field.is_empty()) {
        match field.split_once('=')? {
            ("Credential", value) => credential = Some(value),
            ("SignedHeaders", value) => names = Some(value),
            ("Signature", value) => signature = Some(value),
            _ => {}
        }
    }
    let mut scope = credential?.rsplitn(5, '/');
    let terminator = scope.next()?;
    let (service, region, day) = (scope.next()?, scope.next()?, scope.next()?);
    let access_key_id = scope.next().filter(|id| !id.is_empty())?;
    (terminator == "aws4_request").then_some(Presented {
        access_key_id,
        day,
        region,
        service,
        signed_headers: names?.split(';').collect(),
        signature: signature?,
    })
}

/// Why a client's signature is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("the request is signed without `host` or `x-amz-date`")]
    Unsigned,
    #[error("a signed header is missing from the request")]
    HeaderMissing,
    #[error("the signature has expired or is not yet valid; check the client's clock")]
    Expired,
    #[error("the body is not the one that was signed")]
    Body,
    #[error("the signature does not match")]
    Signature,
}

/// Checks a client's signature against the secret that belongs to its access-key id.
///
/// `call` holds all headers as they came; `now` is in seconds since 1970-01-01.
pub fn verify(
    presented: &Presented<'_>,
    call: Call<'_>,
    secret: &Secret,
    now: u64,
    keys: &mut SigningKeys,
) -> Result<(), Refused> {
    let header = |wanted: &str| {
        let found = call.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.trim())
    };
    let is_signed = |name: &str| presented.signed_headers.contains(&name);
    if !is_signed("host") || !is_signed("x-amz-date") {
        return Err(Refused::Unsigned);
    }
    let date = header("x-amz-date").ok_or(Refused::HeaderMissing)?;
    let signed_at = seconds_of(date).ok_or(Refused::Expired)?;
    if signed_at.abs_diff(now) > SKEW_SECONDS || day_of(date) != presented.day {
        return Err(Refused::Expired);
    }
    let mut headers = Vec::new();
    for name in &presented.signed_headers {
        let before = headers.len();
        headers.extend(call.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)));
        if headers.len() == before {
            return Err(Refused::HeaderMissing);
        }
    }
    let computed = hex(&Sha256::digest(call.body));
    let digest = header("x-amz-content-sha256").unwrap_or(&computed);
    let unsigned_body = digest == "UNSIGNED-PAYLOAD" || digest.starts_with("STREAMING-");
    if !unsigned_body && digest != computed {
        return Err(Refused::Body);
    }
    let scope = Scope { region: presented.region, service: presented.service };
    let names = names_of(&headers);
    let canonical = canonical_request(call, &headers, &names, digest, scope.service == "s3");
    let to_sign = string_to_sign(&canonical, date, presented.day, scope);
    let key = keys.key(secret, presented.day, scope, signed_at);
    let expected = calculate_signature(key, to_sign.as_bytes());
    if same(expected.as_bytes(), presented.signature.as_bytes()) {
        Ok(())
    } else {
        Err(Refused::Signature)
    }
}

/// A model id or ARN as one segment of a path: `:` is `%3A`, `/` is `%2F`, as the AWS SDKs send it.
pub fn model_segment(model: &str) -> String {
    let mut segment = String::with_capacity(model.len() + 16);
    encode(model, false, &mut segment);
    segment
}

fn canonical_request(
    call: Call<'_>,
    headers: &[(&str, &str)],
    names: &[String],
    digest: &str,
    s3: bool,
) -> String {
    let (path, query) = call.target.split_once('?').unwrap_or((call.target, ""));
    let mut text = String::with_capacity(512);
    text.push_str(call.method);
    text.push('\n');
    if s3 {
        text.push_str(path);
    } else {
        // All services but S3 encode the path, as it was sent, once more.
        encode(&normalized(path), true, &mut text);
    }
    text.push('\n');
    canonical_query(query, &mut text);
    text.push('\n');
    for name in names {
        text.push_str(name);
        text.push(':');
        let values = headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
        for (index, (_, value)) in values.enumerate() {
            if index > 0 {
                text.push(',');
            }
            for (index, word) in value.split_ascii_whitespace().enumerate() {
                if index > 0 {
                    text.push(' ');
                }
                text.push_str(word);
            }
        }
        text.push('\n');
    }
    text.push('\n');
    text.push_str(&names.join(";"));
    text.push('\n');
    text.push_str(digest);
    text
}

fn string_to_sign(canonical: &str, date: &str, day: &str, scope: Scope<'_>) -> String {
    let digest = hex(&Sha256::digest(canonical.as_bytes()));
    format!("{ALGORITHM}\n{date}\n{day}/{}/{}/aws4_request\n{digest}", scope.region, scope.service)
}

/// The headers' names, lower-case, sorted, each once.
fn names_of(headers: &[(&str, &str)]) -> Vec<String> {
    let mut names: Vec<_> = headers.iter().map(|(name, _)| name.to_ascii_lowercase()).collect();
    names.sort_unstable();
    names.dedup();
    names
}

fn canonical_query(query: &str, out: &mut String) {
    let pairs = query.split('&').filter(|pair| !pair.is_empty());
    let mut pairs: Vec<_> = pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
    pairs.sort_unstable();
    for (index, (name, value)) in pairs.into_iter().enumerate() {
        if index > 0 {
            out.push('&');
        }
        out.push_str(name);
        out.push('=');
        out.push_str(value);
    }
}

/// The path without `.`, `..` and empty segments, as RFC 3986 says.
fn normalized(path: &str) -> Cow<'_, str> {
    let tame = path.starts_with('/')
        && (path.len() == 1
            || path.split('/').skip(1).all(|segment| !matches!(segment, "" | "." | "..")));
    if tame {
        return Cow::Borrowed(path);
    }
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            _ => kept.push(segment),
        }
    }
    let mut clean = String::from("/");
    clean.push_str(&kept.join("/"));
    if path.ends_with('/') && !kept.is_empty() {
        clean.push('/');
    }
    Cow::Owned(clean)
}

fn encode(text: &str, keep_slash: bool, out: &mut String) {
    for byte in text.bytes() {
        let kept =
            byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) || (keep_slash && byte == b'/');
        if kept {
            out.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

/// `20261120T103457Z`.
fn timestamp(now: u64) -> String {
    let time = i64::try_from(now).ok().and_then(|now| jiff::Timestamp::from_second(now).ok());
    time.unwrap_or_default().strftime("%Y%m%dT%H%M%SZ").to_string()
}

fn seconds_of(date: &str) -> Option<u64> {
    let time = jiff::civil::DateTime::strptime("%Y%m%dT%H%M%SZ", date).ok()?;
    let zoned = time.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    u64::try_from(zoned.timestamp().as_second()).ok()
}

fn day_of(date: &str) -> &str {
    date.get(..8).unwrap_or_default()
}

/// Compares without telling by its duration where the difference is.
fn same(left: &[u8], right: &[u8]) -> bool {
    left.len() == right.len()
        && left.iter().zip(right).fold(0, |difference, (a, b)| difference | (a ^ b)) == 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("../../tests/aws_sigv4/vectors.json")).unwrap()
    }

    /// A case's call, with its host among the headers.
    fn headers(case: &Value) -> Vec<(&str, &str)> {
        let given = case["headers"].as_object().unwrap().iter();
        let mut headers: Vec<_> = given.map(|(n, v)| (n.as_str(), v.as_str().unwrap())).collect();
        headers.push(("Host", case["host"].as_str().unwrap()));
        headers
    }

    fn call<'c>(case: &'c Value, headers: &'c [(&'c str, &'c str)]) -> Call<'c> {
        Call {
            method: case["method"].as_str().unwrap(),
            target: case["target"].as_str().unwrap(),
            headers,
            body: case["body"].as_str().unwrap().as_bytes(),
        }
    }

    fn scope(case: &Value) -> Scope<'_> {
        Scope {
            region: case["region"].as_str().unwrap(),
            service: case["service"].as_str().unwrap(),
        }
    }

    #[test]
    fn signatures_are_those_of_botocore() {
        let all = vectors();
        let secret = Secret::new(all["secret"].as_str().unwrap());
        let mut keys = SigningKeys::default();
        for case in all["cases"].as_array().unwrap() {
            let headers = headers(case);
            let credential = Credential {
                access_key_id: all["access_key_id"].as_str().unwrap(),
                secret: &secret,
                session_token: case["session_token"].as_str(),
            };
            let now = all["now"].as_u64().unwrap();
            let signed = sign(call(case, &headers), credential, scope(case), now, &mut keys);
            let expected = &case["signed"];
            assert_eq!(signed.authorization, expected["authorization"], "{}", case["name"]);
            assert_eq!(signed.x_amz_date, expected["x-amz-date"]);
            assert_eq!(signed.x_amz_security_token.as_deref(), case["session_token"].as_str());
            let digest = expected["x-amz-content-sha256"].as_str();
            assert_eq!(signed.x_amz_content_sha256.as_deref(), digest);
        }
        // One key per region and service of the cases, however many calls.
        assert_eq!(keys.cached.len(), 4);
    }

    #[test]
    fn signatures_of_botocore_are_accepted_and_altered_ones_are_not() {
        let all = vectors();
        let secret = Secret::new(all["secret"].as_str().unwrap());
        let now = all["now"].as_u64().unwrap();
        let mut keys = SigningKeys::default();
        for case in all["cases"].as_array().unwrap() {
            let mut headers = headers(case);
            for (name, value) in case["signed"].as_object().unwrap() {
                headers.push((name, value.as_str().unwrap()));
            }
            headers.push(("user-agent", "not signed"));
            let presented = parse(case["signed"]["authorization"].as_str().unwrap()).unwrap();
            assert_eq!(presented.access_key_id, all["access_key_id"]);
            let call = call(case, &headers);
            let mut check =
                |call, secret: &Secret, now| verify(&presented, call, secret, now, &mut keys);
            assert_eq!(check(call, &secret, now + 60), Ok(()), "{}", case["name"]);
            let other = Secret::new("another");
            assert_eq!(check(call, &other, now), Err(Refused::Signature));
            assert_eq!(check(call, &secret, now + 901), Err(Refused::Expired));
            assert_eq!(check(call, &secret, now - 901), Err(Refused::Expired));
            let elsewhere = Call { target: "/model/other/converse", ..call };
            assert_eq!(check(elsewhere, &secret, now), Err(Refused::Signature));
            assert!(check(Call { body: b"altered", ..call }, &secret, now).is_err());
        }
    }

    #[test]
    fn a_signature_must_cover_the_host_and_the_date() {
        let authorization = "AWS4-HMAC-SHA256 Credential=A/20261120/r/bedrock/aws4_request, \
             SignedHeaders=x-amz-date, Signature=00";
        let presented = parse(authorization).unwrap();
        let call = Call { method: "GET", target: "/", headers: &[], body: b"" };
        let mut keys = SigningKeys::default();
        let mut check =
            |presented: &_| verify(presented, call, &Secret::new("s"), 0, &mut keys).unwrap_err();
        assert_eq!(check(&presented), Refused::Unsigned);
        let both = Presented { signed_headers: vec!["host", "x-amz-date"], ..presented };
        assert_eq!(check(&both), Refused::HeaderMissing);
    }

    #[test]
    fn virtual_keys_are_found_in_the_credential() {
        for (header, id) in [
            (
                "AWS4-HMAC-SHA256 Credential=sk-bf-abc/20261120/us-west-2/bedrock/aws4_request, SignedHeaders=host;x-amz-date, Signature=aa",
                Some("sk-bf-abc"),
            ),
            (
                "AWS4-HMAC-SHA256 Credential=a/b/20261120/us-west-2/bedrock/aws4_request,SignedHeaders=host,Signature=aa",
                Some("a/b"),
            ),
            (
                "AWS4-HMAC-SHA256 Credential=/20261120/us-west-2/bedrock/aws4_request, SignedHeaders=host, Signature=aa",
                None,
            ),
            (
                "AWS4-HMAC-SHA256 Credential=x/20261120/bedrock/aws4_request, SignedHeaders=host, Signature=aa",
                None,
            ),
            ("AWS4-HMAC-SHA256 Credential=x/20261120/us-west-2/bedrock/aws4_request", None),
            ("Bearer sk-bf-abc", None),
            ("AWS4-HMAC-SHA256", None),
            ("", None),
        ] {
            assert_eq!(parse(header).map(|presented| presented.access_key_id), id, "{header}");
        }
    }

    #[test]
    fn a_rotated_secret_gets_its_own_key() {
        let mut keys = SigningKeys::default();
        let scope = Scope { region: "us-east-1", service: "bedrock" };
        let first = keys.key(&Secret::new("one"), "20261120", scope, 1_795_170_897);
        let second = keys.key(&Secret::new("two"), "20261120", scope, 1_795_170_897);
        assert_ne!(first, second);
        assert_eq!(keys.key(&Secret::new("one"), "20261120", scope, 1_795_170_897), first);
        assert_eq!(keys.cached.len(), 2);
        keys.key(&Secret::new("two"), "20261121", scope, 1_795_257_297);
        assert_eq!(keys.cached.len(), 1, "keys of other days are dropped");
        assert_eq!(
            format!("{keys:?}"),
            "SigningKeys { cached: [CachedKey(20261121 us-east-1 bedrock)] }"
        );
    }

    #[test]
    fn a_model_is_one_segment() {
        assert_eq!(model_segment("anthropic.claude-v1:0"), "anthropic.claude-v1%3A0");
        assert_eq!(model_segment("a:b/c d"), "a%3Ab%2Fc%20d");
    }
}
