//! AWS signatures: put on heads that are about to leave.
//!
//! In: a head but for its end, what it is the head of, the key's credential. Out: the head, signed.
//! The keys that are derived for it are this worker's own. Never: signs a header that a proxy may
//! change, or a body other than the one that is sent.

use smallvec::SmallVec;

use super::Core;
use super::own::unix_seconds;
use crate::provider::aws_sigv4::{self, Call, Credential, Scope, Signed};
use crate::wire::http1;

/// Of the servers that no configuration places anywhere.
const REGION_DEFAULT: &str = "us-east-1";

/// Appends the signature's headers to `head`, which has its request line and all other headers.
pub fn sign(
    core: &Core,
    head: &mut Vec<u8>,
    (target, body): (&str, &[u8]),
    credential: Credential<'_>,
    region: Option<&str>,
) {
    let signed = signature(core, head, (target, body), credential, region);
    http1::header(head, "x-amz-date", signed.x_amz_date.as_bytes());
    if let Some(token) = &signed.x_amz_security_token {
        http1::header(head, "x-amz-security-token", token.as_bytes());
    }
    if let Some(digest) = &signed.x_amz_content_sha256 {
        http1::header(head, "x-amz-content-sha256", digest.as_bytes());
    }
    http1::header(head, "authorization", signed.authorization.as_bytes());
}

fn signature(
    core: &Core,
    head: &[u8],
    (target, body): (&str, &[u8]),
    credential: Credential<'_>,
    region: Option<&str>,
) -> Signed {
    let written = String::from_utf8_lossy(head);
    let mut lines = written.split("\r\n");
    let method = lines.next().and_then(|line| line.split(' ').next()).unwrap_or_default();
    let headers: SmallVec<[(&str, &str); 8]> = lines
        .filter_map(|line| line.split_once(": "))
        .filter(|(name, _)| is_signed(name))
        .collect();
    let call = Call { method, target, headers: &headers, body };
    let scope = Scope { region: region.unwrap_or(REGION_DEFAULT), service: "bedrock" };
    let keys = &mut core.signing_keys.borrow_mut();
    aws_sigv4::sign(call, credential, scope, unix_seconds(), keys)
}

/// AWS wants `host` and its own headers signed; a trace id changes on the way.
fn is_signed(name: &str) -> bool {
    let own = name.starts_with("x-amz") && name != "x-amzn-trace-id";
    own || matches!(name, "host" | "content-type")
}
