//! The paths of each vendor's API beside its chats: one row each.
//!
//! In: a method and a path below a mount. Out: the operation, and what the path names. Never: a
//! second place that knows such a path.

use super::failure::Failure;
use super::ingress::{Call, Paths, decoded};
use crate::chat::Dialect;
use crate::dialect::Idiom;
use crate::provider::Operation;
use crate::wire::http1::Method;

/// One way to call one operation.
#[derive(Debug)]
struct Row {
    paths: Paths,
    method: Method,
    /// `{id}` stands for one segment.
    path: &'static str,
    operation: Operation,
    dialect: Dialect,
}

const fn openai(method: Method, path: &'static str, operation: Operation) -> Row {
    Row { paths: Paths::OpenAi, method, path, operation, dialect: Dialect::OpenAiChat }
}

const fn responses(method: Method, path: &'static str, operation: Operation) -> Row {
    Row { dialect: Dialect::OpenAiResponses, ..openai(method, path, operation) }
}

const fn anthropic(method: Method, path: &'static str, operation: Operation) -> Row {
    Row { paths: Paths::Anthropic, method, path, operation, dialect: Dialect::Anthropic }
}

/// Paths stand below the version (`/v1`).
static ROWS: &[Row] = &[
    openai(Method::Post, "/completions", Operation::TextCompletion),
    openai(Method::Post, "/embeddings", Operation::Embedding),
    openai(Method::Post, "/rerank", Operation::Rerank),
    openai(Method::Post, "/moderations", Operation::Moderation),
    openai(Method::Post, "/audio/speech", Operation::Speech),
    openai(Method::Post, "/audio/transcriptions", Operation::Transcription),
    openai(Method::Post, "/audio/translations", Operation::Translation),
    openai(Method::Post, "/images/generations", Operation::ImageGeneration),
    openai(Method::Post, "/images/edits", Operation::ImageEdit),
    openai(Method::Post, "/images/variations", Operation::ImageVariation),
    responses(Method::Post, "/responses/compact", Operation::Compaction),
    responses(Method::Get, "/responses/{id}", Operation::ResponsesRetrieve),
    responses(Method::Delete, "/responses/{id}", Operation::ResponsesDelete),
    responses(Method::Post, "/responses/{id}/cancel", Operation::ResponsesCancel),
    responses(Method::Get, "/responses/{id}/input_items", Operation::ResponsesInputItems),
    openai(Method::Post, "/files", Operation::FileUpload),
    openai(Method::Get, "/files", Operation::FileList),
    openai(Method::Get, "/files/{id}", Operation::FileRetrieve),
    openai(Method::Delete, "/files/{id}", Operation::FileDelete),
    openai(Method::Get, "/files/{id}/content", Operation::FileContent),
    openai(Method::Post, "/batches", Operation::BatchCreate),
    openai(Method::Get, "/batches", Operation::BatchList),
    openai(Method::Get, "/batches/{id}", Operation::BatchRetrieve),
    openai(Method::Post, "/batches/{id}/cancel", Operation::BatchCancel),
    anthropic(Method::Post, "/complete", Operation::TextCompletion),
    anthropic(Method::Post, "/files", Operation::FileUpload),
    anthropic(Method::Get, "/files", Operation::FileList),
    anthropic(Method::Get, "/files/{id}", Operation::FileRetrieve),
    anthropic(Method::Delete, "/files/{id}", Operation::FileDelete),
    anthropic(Method::Get, "/files/{id}/content", Operation::FileContent),
    anthropic(Method::Post, "/messages/batches", Operation::BatchCreate),
    anthropic(Method::Get, "/messages/batches", Operation::BatchList),
    anthropic(Method::Get, "/messages/batches/{id}", Operation::BatchRetrieve),
    anthropic(Method::Delete, "/messages/batches/{id}", Operation::BatchDelete),
    anthropic(Method::Post, "/messages/batches/{id}/cancel", Operation::BatchCancel),
    anthropic(Method::Get, "/messages/batches/{id}/results", Operation::BatchResults),
];

/// What a path leads to.
#[derive(Debug)]
pub struct Found {
    pub call: Call,
    /// The methods that the path takes: a value of `allow`.
    pub allowed: &'static str,
}

/// Looks a path up. Where it is known, but not by this method, the call is another one's.
///
/// # Errors
/// 400 for an id that can't be decoded.
pub fn find(paths: Paths, method: Method, path: &str) -> Result<Option<Found>, Failure> {
    let mut methods = (false, false, false);
    let mut found: Option<(&Row, &str)> = None;
    for row in ROWS.iter().filter(|row| row.paths == paths) {
        let Some(id) = fit(row.path, path) else { continue };
        match row.method {
            Method::Get => methods.0 = true,
            Method::Post => methods.1 = true,
            _ => methods.2 = true,
        }
        if found.is_none_or(|(other, _)| other.method != method) {
            found = Some((row, id));
        }
    }
    let Some((row, id)) = found else { return Ok(None) };
    let mut call = Call::new(row.operation, row.dialect);
    call.item = (!id.is_empty()).then(|| decoded(id)).transpose()?;
    call.idiom = (row.operation == Operation::Embedding).then_some(Idiom::OpenAi);
    let allowed = match methods {
        (true, true, _) => "GET, POST",
        (true, false, true) => "GET, DELETE",
        (true, false, false) => "GET",
        (false, _, _) => "POST",
    };
    Ok(Some(Found { call, allowed }))
}

/// Whether a path is of a row's form: the segment that stands for `{id}`, empty where there is none.
fn fit<'p>(form: &str, path: &'p str) -> Option<&'p str> {
    let Some((before, after)) = form.split_once("{id}") else {
        return (form == path).then_some("");
    };
    let id = path.strip_prefix(before)?.strip_suffix(after)?;
    (!id.is_empty() && !id.contains('/')).then_some(id)
}

/// The model that a vendor takes where the client names none.
pub fn default_model(operation: Operation) -> Option<&'static str> {
    match operation {
        Operation::Moderation => Some("omni-moderation-latest"),
        Operation::ImageGeneration | Operation::ImageEdit | Operation::ImageVariation => {
            Some("dall-e-2")
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(paths: Paths, method: Method, path: &str) -> Option<(Operation, String, String)> {
        let found = find(paths, method, path).unwrap()?;
        let id = found.call.item.unwrap_or_default();
        Some((found.call.operation, id, found.allowed.to_owned()))
    }

    #[test]
    fn a_path_and_a_method_lead_to_one_operation() {
        let wanted = |operation, id: &str, allowed: &str| {
            Some((operation, id.to_owned(), allowed.to_owned()))
        };
        let (openai, anthropic) = (Paths::OpenAi, Paths::Anthropic);
        assert_eq!(
            found(openai, Method::Get, "/files/f%2F1/content"),
            wanted(Operation::FileContent, "f/1", "GET")
        );
        assert_eq!(
            found(openai, Method::Delete, "/responses/resp_1"),
            wanted(Operation::ResponsesDelete, "resp_1", "GET, DELETE")
        );
        assert_eq!(
            found(anthropic, Method::Post, "/messages/batches"),
            wanted(Operation::BatchCreate, "", "GET, POST")
        );
        assert_eq!(found(openai, Method::Get, "/files/a/b"), None);
        assert_eq!(found(anthropic, Method::Post, "/embeddings"), None);
    }

    #[test]
    fn no_two_rows_say_the_same() {
        for (at, row) in ROWS.iter().enumerate() {
            let same = |other: &Row| {
                (other.paths, other.method, other.path) == (row.paths, row.method, row.path)
            };
            assert!(!ROWS[at + 1..].iter().any(same), "{}", row.path);
        }
    }
}
