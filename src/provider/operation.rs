//! What can be asked for, and the names that configuration, rules and prices have for it.
//!
//! In: nothing. Out: an [`Operation`] and its properties. Never: knows a path or a provider.

/// What a client asks for, whatever its language.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operation {
    /// One answer of a model (Messages, Chat Completions, Responses, Converse, generateContent).
    Chat,
    CountTokens,
    ListModels,
    RetrieveModel,
    /// A prompt continued (OpenAI's legacy `/completions`).
    TextCompletion,
    Embedding,
    Rerank,
    Moderation,
    Speech,
    Transcription,
    Translation,
    ImageGeneration,
    ImageEdit,
    ImageVariation,
    /// A long conversation made shorter (`/responses/compact`).
    Compaction,
    ResponsesRetrieve,
    ResponsesDelete,
    ResponsesCancel,
    ResponsesInputItems,
    FileUpload,
    FileList,
    FileRetrieve,
    FileDelete,
    FileContent,
    BatchCreate,
    BatchList,
    BatchRetrieve,
    BatchCancel,
    BatchDelete,
    BatchResults,
    /// A path of the provider's own API, whatever it does.
    Passthrough,
}

impl Operation {
    pub const ALL: [Self; 31] = [
        Self::Chat,
        Self::CountTokens,
        Self::ListModels,
        Self::RetrieveModel,
        Self::TextCompletion,
        Self::Embedding,
        Self::Rerank,
        Self::Moderation,
        Self::Speech,
        Self::Transcription,
        Self::Translation,
        Self::ImageGeneration,
        Self::ImageEdit,
        Self::ImageVariation,
        Self::Compaction,
        Self::ResponsesRetrieve,
        Self::ResponsesDelete,
        Self::ResponsesCancel,
        Self::ResponsesInputItems,
        Self::FileUpload,
        Self::FileList,
        Self::FileRetrieve,
        Self::FileDelete,
        Self::FileContent,
        Self::BatchCreate,
        Self::BatchList,
        Self::BatchRetrieve,
        Self::BatchCancel,
        Self::BatchDelete,
        Self::BatchResults,
        Self::Passthrough,
    ];

    /// As `allowed_requests`, rules and prices name it, streamed or not; for a chat, Chat
    /// Completions' name.
    pub fn request_type(self) -> &'static str {
        match self {
            Self::Chat => "chat_completion",
            Self::CountTokens => "count_tokens",
            Self::ListModels | Self::RetrieveModel => "list_models",
            Self::TextCompletion => "text_completion",
            Self::Embedding => "embedding",
            Self::Rerank => "rerank",
            Self::Moderation => "moderation",
            Self::Speech => "speech",
            Self::Transcription | Self::Translation => "transcription",
            Self::ImageGeneration => "image_generation",
            Self::ImageEdit => "image_edit",
            Self::ImageVariation => "image_variation",
            Self::Compaction => "compaction",
            Self::ResponsesRetrieve => "responses_retrieve",
            Self::ResponsesDelete => "responses_delete",
            Self::ResponsesCancel => "responses_cancel",
            Self::ResponsesInputItems => "responses_input_items",
            Self::FileUpload => "file_upload",
            Self::FileList => "file_list",
            Self::FileRetrieve => "file_retrieve",
            Self::FileDelete => "file_delete",
            Self::FileContent => "file_content",
            Self::BatchCreate => "batch_create",
            Self::BatchList => "batch_list",
            Self::BatchRetrieve => "batch_retrieve",
            Self::BatchCancel => "batch_cancel",
            Self::BatchDelete => "batch_delete",
            Self::BatchResults => "batch_results",
            Self::Passthrough => "passthrough",
        }
    }

    /// Whether the answer is an event stream of a conversation, whose end is known by its events.
    pub fn converses(self) -> bool {
        matches!(self, Self::Chat | Self::TextCompletion | Self::ResponsesRetrieve)
    }

    /// Whether an upstream of the client's dialect is known to say its errors in it; other vendors
    /// that offer the operation have their own.
    pub fn relays_errors(self) -> bool {
        matches!(self, Self::Chat | Self::CountTokens | Self::Passthrough)
    }

    /// Whether it is about things that one provider keeps, so that no other one can be asked.
    pub fn is_owned(self) -> bool {
        self.is_response() || self.is_file() || self.is_batch() || self == Self::Passthrough
    }

    pub fn is_batch(self) -> bool {
        matches!(
            self,
            Self::BatchCreate
                | Self::BatchList
                | Self::BatchRetrieve
                | Self::BatchCancel
                | Self::BatchDelete
                | Self::BatchResults
        )
    }

    pub fn is_file(self) -> bool {
        matches!(
            self,
            Self::FileUpload
                | Self::FileList
                | Self::FileRetrieve
                | Self::FileDelete
                | Self::FileContent
        )
    }

    fn is_response(self) -> bool {
        matches!(
            self,
            Self::ResponsesRetrieve
                | Self::ResponsesDelete
                | Self::ResponsesCancel
                | Self::ResponsesInputItems
        )
    }
}
