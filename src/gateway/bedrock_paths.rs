//! Bedrock's paths: calls of a model, and AWS's lists of models and inference profiles.
//!
//! In: the path below the mount. Out: the call that it means. Never: knows who answers.

use super::failure::Failure;
use super::ingress::{Call, Found, GET, POST, decoded};
use crate::chat::Dialect;
use crate::provider::Operation;
use crate::wire::frames::Framing;

/// `/model/{modelId}/{verb}`: the id is one raw segment, decoded after the split;
/// `/foundation-models[/{id}]` and `/inference-profiles[/{id}]`.
///
/// # Errors
/// 400 for an id that is no text.
pub fn call(rest: &str) -> Result<Found, Failure> {
    if let Some(path) = rest.strip_prefix("/model/") {
        let Some((model, verb)) = path.rsplit_once('/') else { return Ok(None) };
        return of_model(model, verb);
    }
    for (list, profiles) in [("/foundation-models", false), ("/inference-profiles", true)] {
        let Some(item) = rest.strip_prefix(list) else { continue };
        let (operation, item) = match item.strip_prefix('/') {
            Some(item) => (Operation::RetrieveModel, Some(decoded(item)?)),
            None if item.is_empty() => (Operation::ListModels, None),
            None => return Ok(None),
        };
        let call = Call::new(operation, Dialect::Bedrock);
        return Ok(Some((GET, Call { item, profiles, ..call })));
    }
    Ok(None)
}

fn of_model(model: &str, verb: &str) -> Result<Found, Failure> {
    let call = Call::new(Operation::Chat, Dialect::Bedrock);
    let stream = Some(verb.ends_with("-stream"));
    let mut call = match verb {
        "converse" | "converse-stream" => Call { framing: Framing::AwsEventStream, stream, ..call },
        "invoke" | "invoke-with-response-stream" => {
            Call { framing: Framing::AwsInvokeChunks, invoke: true, stream, ..call }
        }
        "count-tokens" => Call { operation: Operation::CountTokens, stream, ..call },
        _ => return Ok(None),
    };
    call.item = Some(decoded(model)?);
    Ok(Some((POST, call)))
}
