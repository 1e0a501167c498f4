//! What the built-in providers offer beside a chat: one row an operation.
//!
//! In: nothing. Out: the rows for `catalog`. Never: holds anything that the configuration may
//! change. Facts are the vendors' own API references.

use crate::dialect::{Dialect, Idiom};
use crate::provider::catalog::way;
use crate::provider::model_name::Family;
use crate::provider::{Envelope, Models, Operation, Spoken};

const fn openai(operation: Operation, path: &'static str) -> Spoken {
    way(operation, Dialect::OpenAiChat, path)
}

const fn responses(operation: Operation, path: &'static str) -> Spoken {
    way(operation, Dialect::OpenAiResponses, path)
}

const fn anthropic(operation: Operation, path: &'static str) -> Spoken {
    way(operation, Dialect::Anthropic, path)
}

/// Of Azure: the model is the deployment in the path.
const fn deployment(operation: Operation, path: &'static str) -> Spoken {
    Spoken { envelope: Envelope::ModelInPath, ..openai(operation, path) }
}

const fn embeds(dialect: Dialect, idiom: Idiom, path: &'static str) -> Spoken {
    Spoken { idiom: Some(idiom), ..way(Operation::Embedding, dialect, path) }
}

const COMPLETIONS: Spoken = openai(Operation::TextCompletion, "/v1/completions");
const EMBEDDINGS: Spoken = embeds(Dialect::OpenAiChat, Idiom::OpenAi, "/v1/embeddings");
const RERANK: Spoken = openai(Operation::Rerank, "/v1/rerank");
const MODERATIONS: Spoken = openai(Operation::Moderation, "/v1/moderations");
const SPEECH: Spoken = openai(Operation::Speech, "/v1/audio/speech");
const TRANSCRIPTIONS: Spoken = openai(Operation::Transcription, "/v1/audio/transcriptions");
const TRANSLATIONS: Spoken = openai(Operation::Translation, "/v1/audio/translations");
const IMAGES: Spoken = openai(Operation::ImageGeneration, "/v1/images/generations");
const FILE_UPLOAD: Spoken = openai(Operation::FileUpload, "/v1/files");
const FILE_LIST: Spoken = openai(Operation::FileList, "/v1/files");
const FILE_RETRIEVE: Spoken = openai(Operation::FileRetrieve, "/v1/files/{id}");
const FILE_DELETE: Spoken = openai(Operation::FileDelete, "/v1/files/{id}");
const FILE_CONTENT: Spoken = openai(Operation::FileContent, "/v1/files/{id}/content");
const BATCH_CREATE: Spoken = openai(Operation::BatchCreate, "/v1/batches");
const BATCH_LIST: Spoken = openai(Operation::BatchList, "/v1/batches");
const BATCH_RETRIEVE: Spoken = openai(Operation::BatchRetrieve, "/v1/batches/{id}");
const BATCH_CANCEL: Spoken = openai(Operation::BatchCancel, "/v1/batches/{id}/cancel");

/// Everything that OpenAI has; of the providers of one's own that speak like it, too.
pub(super) const OPENAI: &[Spoken] = &[
    COMPLETIONS,
    EMBEDDINGS,
    RERANK,
    MODERATIONS,
    SPEECH,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    IMAGES,
    openai(Operation::ImageEdit, "/v1/images/edits"),
    openai(Operation::ImageVariation, "/v1/images/variations"),
    responses(Operation::Compaction, "/v1/responses/compact"),
    responses(Operation::ResponsesRetrieve, "/v1/responses/{id}"),
    responses(Operation::ResponsesDelete, "/v1/responses/{id}"),
    responses(Operation::ResponsesCancel, "/v1/responses/{id}/cancel"),
    responses(Operation::ResponsesInputItems, "/v1/responses/{id}/input_items"),
    FILE_UPLOAD,
    FILE_LIST,
    FILE_RETRIEVE,
    FILE_DELETE,
    FILE_CONTENT,
    BATCH_CREATE,
    BATCH_LIST,
    BATCH_RETRIEVE,
    BATCH_CANCEL,
];

macro_rules! deployments {
    ($rest:literal) => {
        concat!("/openai/deployments/{model}/", $rest, "?api-version={api_version}")
    };
}

macro_rules! versioned {
    ($path:literal) => {
        concat!("/openai/", $path, "?api-version={api_version}")
    };
}

pub(super) const AZURE: &[Spoken] = &[
    deployment(Operation::TextCompletion, deployments!("completions")),
    Spoken {
        envelope: Envelope::ModelInPath,
        ..embeds(Dialect::OpenAiChat, Idiom::OpenAi, deployments!("embeddings"))
    },
    deployment(Operation::Speech, deployments!("audio/speech")),
    deployment(Operation::Transcription, deployments!("audio/transcriptions")),
    deployment(Operation::Translation, deployments!("audio/translations")),
    deployment(Operation::ImageGeneration, deployments!("images/generations")),
    deployment(Operation::ImageEdit, deployments!("images/edits")),
    deployment(Operation::ImageVariation, deployments!("images/variations")),
    responses(Operation::Compaction, "/openai/v1/responses/compact"),
    responses(Operation::ResponsesRetrieve, "/openai/v1/responses/{id}"),
    responses(Operation::ResponsesDelete, "/openai/v1/responses/{id}"),
    responses(Operation::ResponsesCancel, "/openai/v1/responses/{id}/cancel"),
    responses(Operation::ResponsesInputItems, "/openai/v1/responses/{id}/input_items"),
    openai(Operation::FileUpload, versioned!("files")),
    openai(Operation::FileList, versioned!("files")),
    openai(Operation::FileRetrieve, versioned!("files/{id}")),
    openai(Operation::FileDelete, versioned!("files/{id}")),
    openai(Operation::FileContent, versioned!("files/{id}/content")),
    openai(Operation::BatchCreate, versioned!("batches")),
    openai(Operation::BatchList, versioned!("batches")),
    openai(Operation::BatchRetrieve, versioned!("batches/{id}")),
    openai(Operation::BatchCancel, versioned!("batches/{id}/cancel")),
];

pub(super) const ANTHROPIC: &[Spoken] = &[
    anthropic(Operation::TextCompletion, "/v1/complete"),
    anthropic(Operation::FileUpload, "/v1/files"),
    anthropic(Operation::FileList, "/v1/files"),
    anthropic(Operation::FileRetrieve, "/v1/files/{id}"),
    anthropic(Operation::FileDelete, "/v1/files/{id}"),
    anthropic(Operation::FileContent, "/v1/files/{id}/content"),
    anthropic(Operation::BatchCreate, "/v1/messages/batches"),
    anthropic(Operation::BatchList, "/v1/messages/batches"),
    anthropic(Operation::BatchRetrieve, "/v1/messages/batches/{id}"),
    anthropic(Operation::BatchCancel, "/v1/messages/batches/{id}/cancel"),
    anthropic(Operation::BatchDelete, "/v1/messages/batches/{id}"),
    anthropic(Operation::BatchResults, "/v1/messages/batches/{id}/results"),
];

pub(super) const GEMINI: &[Spoken] = &[Spoken {
    envelope: Envelope::ModelInPath,
    ..embeds(Dialect::Gemini, Idiom::GeminiBatch, "/v1beta/models/{model}:batchEmbedContents")
}];

pub(super) const VERTEX: &[Spoken] = &[Spoken {
    envelope: Envelope::ModelInPath,
    ..embeds(
        Dialect::Gemini,
        Idiom::Vertex,
        "/v1/projects/{project}/locations/{region}/publishers/google/models/{model}:predict",
    )
}];

pub(super) const BEDROCK: &[Spoken] = &[
    Spoken {
        models: Models::Only(Family::Titan),
        envelope: Envelope::ModelInPath,
        ..embeds(Dialect::Bedrock, Idiom::Titan, "/model/{model}/invoke")
    },
    Spoken {
        models: Models::Only(Family::Cohere),
        envelope: Envelope::ModelInPath,
        ..embeds(Dialect::Bedrock, Idiom::CohereInvoke, "/model/{model}/invoke")
    },
    Spoken {
        models: Models::Only(Family::Cohere),
        envelope: Envelope::CohereInvoke,
        ..openai(Operation::Rerank, "/model/{model}/invoke")
    },
];

pub(super) const COHERE: &[Spoken] = &[
    embeds(Dialect::OpenAiChat, Idiom::Cohere, "/v2/embed"),
    openai(Operation::Rerank, "/v2/rerank"),
];

pub(super) const MISTRAL: &[Spoken] = &[
    EMBEDDINGS,
    MODERATIONS,
    TRANSCRIPTIONS,
    FILE_UPLOAD,
    FILE_LIST,
    FILE_RETRIEVE,
    FILE_DELETE,
    FILE_CONTENT,
];

pub(super) const OPENROUTER: &[Spoken] = &[COMPLETIONS, EMBEDDINGS, RERANK];

pub(super) const GROQ: &[Spoken] = &[
    SPEECH,
    TRANSCRIPTIONS,
    TRANSLATIONS,
    FILE_UPLOAD,
    FILE_LIST,
    FILE_RETRIEVE,
    FILE_DELETE,
    FILE_CONTENT,
    BATCH_CREATE,
    BATCH_LIST,
    BATCH_RETRIEVE,
    BATCH_CANCEL,
];

/// Only texts continued.
pub(super) const TEXTS: &[Spoken] = &[COMPLETIONS];

pub(super) const DEEPSEEK: &[Spoken] = &[openai(Operation::TextCompletion, "/beta/completions")];

pub(super) const XAI: &[Spoken] = &[
    COMPLETIONS,
    EMBEDDINGS,
    IMAGES,
    responses(Operation::ResponsesRetrieve, "/v1/responses/{id}"),
    responses(Operation::ResponsesDelete, "/v1/responses/{id}"),
];

pub(super) const TOGETHER: &[Spoken] =
    &[COMPLETIONS, EMBEDDINGS, RERANK, SPEECH, TRANSCRIPTIONS, TRANSLATIONS, IMAGES];

pub(super) const FIREWORKS: &[Spoken] = &[COMPLETIONS, EMBEDDINGS, RERANK];

pub(super) const NEBIUS: &[Spoken] = &[COMPLETIONS, EMBEDDINGS, IMAGES];

pub(super) const PARASAIL: &[Spoken] = &[COMPLETIONS, EMBEDDINGS, RERANK];

pub(super) const OLLAMA: &[Spoken] = &[COMPLETIONS, EMBEDDINGS];

/// vLLM and SGLang.
pub(super) const SERVED: &[Spoken] =
    &[COMPLETIONS, EMBEDDINGS, RERANK, TRANSCRIPTIONS, TRANSLATIONS];
