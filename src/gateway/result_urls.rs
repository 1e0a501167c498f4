//! Anthropic's batches name the URL of their results: here it leads back to the gateway.
//!
//! In: the answer to a call about batches. Out: the same, with each `results_url` on the address that
//! the client itself used, so that its SDK fetches the results with its own key. Never: touches
//! anything else of the answer.

use super::Scene;
use super::Visit;
use super::exchange::{Answer, Halt};
use super::outlet;
use super::reply::Head;
use super::trail::Trail;
use crate::chat::Dialect;
use crate::net::client_conn::{ClientConn, Incoming};
use crate::net::upstream::HEADROOM;
use crate::provider::Operation;
use crate::wire::json_read::{field, items, text};
use crate::wire::json_scan::{self, DEPTH_MAX};
use crate::wire::json_write;

/// A list of a thousand batches is no larger.
const ANSWER_MAX: usize = 16 << 20;

/// Whether the answer may name such a URL.
pub fn concerns(scene: &Scene<'_>) -> bool {
    scene.upstream == Dialect::Anthropic
        && scene.operation.is_batch()
        && scene.operation != Operation::BatchResults
}

/// Passes the answer on.
///
/// # Errors
/// The upstream broke off, or the client went away.
pub async fn pass(
    visit: &Visit<'_>,
    client: &mut ClientConn,
    scene: &Scene<'_>,
    mut answer: Answer,
    (incoming, trail): (&Incoming, &Trail),
) -> Result<(), Halt> {
    answer.read_whole(client, scene.provider, ANSWER_MAX).await?;
    let body = answer.buf.get(HEADROOM + answer.head.len..).unwrap_or_default();
    let valid = json_scan::validate(body, DEPTH_MAX).is_ok();
    let said = std::str::from_utf8(body).ok().filter(|_| valid);
    let body = match said {
        Some(said) => rewritten(said, |path| own_url(visit, scene, incoming, path)).into_bytes(),
        None => body.to_vec(),
    };
    let mut head: Head<'_> = scene.head_of(&answer, trail);
    answer.finish(visit.core);
    outlet::write(client, head.whole(&body), 0).await.map(drop)
}

/// The body with other URLs in the place of those of the results; `own` is given their paths.
fn rewritten(body: &str, own: impl Fn(&str) -> String) -> String {
    let listed = field(body, "data").into_iter().flat_map(items);
    let mut out = body.to_owned();
    for batch in std::iter::once(body).chain(listed) {
        let Some(raw) = field(batch, "results_url") else { continue };
        let url = text(raw).unwrap_or_default();
        let Some(at) = url.find("/v1/messages/batches/") else { continue };
        let mut with = Vec::new();
        json_write::string(&mut with, &own(url.get(at..).unwrap_or_default()));
        out = out.replace(raw, &String::from_utf8_lossy(&with));
    }
    out
}

/// Where the client reaches a path of this mount.
fn own_url(visit: &Visit<'_>, scene: &Scene<'_>, incoming: &Incoming, path: &str) -> String {
    let secure = visit.snapshot.server.tls.is_some();
    let scheme =
        incoming.header("x-forwarded-proto").unwrap_or(if secure { "https" } else { "http" });
    let host = incoming.header("x-forwarded-host").or_else(|| incoming.header("host"));
    let (host, prefix) = (host.unwrap_or_default(), visit.mount.prefix);
    let provider = &*scene.provider.name;
    let query = if provider == visit.mount.provider {
        String::new()
    } else {
        format!("?provider={provider}")
    };
    format!("{scheme}://{host}{prefix}{path}{query}")
}

#[cfg(test)]
mod tests {
    use super::rewritten;

    #[test]
    fn only_the_urls_of_results_change() {
        let own = |path: &str| format!("http://gw/anthropic{path}");
        let body = r#"{"id":"b", "results_url": "https:\/\/api.anthropic.com/v1/messages/batches/b/results","x":[1 ]}"#;
        let wanted = r#"{"id":"b", "results_url": "http://gw/anthropic/v1/messages/batches/b/results","x":[1 ]}"#;
        assert_eq!(rewritten(body, own), wanted);
        let list = r#"{"data":[{"results_url":null},{"results_url":"https://h/v1/messages/batches/c/results"}]}"#;
        let wanted = r#"{"data":[{"results_url":null},{"results_url":"http://gw/anthropic/v1/messages/batches/c/results"}]}"#;
        assert_eq!(rewritten(list, own), wanted);
    }
}
