//! How the bodies of each provider differ from its language's standard.
//!
//! In: nothing. Out: the [`Manner`]s of the catalogue's rows. Never: depends on the model. Facts
//! are the vendors' API references: a list names what a provider answers with an error or takes
//! no notice of, so that its loss is reported to the client.

use crate::dialect::Manner;

pub(super) const fn standard() -> Manner {
    Manner::standard()
}

/// The token limit under its older name, which every OpenAI-compatible server knows.
pub(super) const fn older() -> Manner {
    Manner { max_tokens_field: "max_tokens", ..Manner::standard() }
}

pub(super) const fn older_without(refuses: &'static [&'static str]) -> Manner {
    Manner { refuses, ..older() }
}

/// Parameters that it does not know are refused with 422.
const MISTRAL_REFUSES: &[&str] = &[
    "seed",
    "user",
    "logprobs",
    "top_logprobs",
    "logit_bias",
    "service_tier",
    "store",
    "stream_options",
    "max_completion_tokens",
    "verbosity",
    "modalities",
    "audio",
    "web_search_options",
    "safety_identifier",
    "prompt_cache_key",
];
const COHERE_REFUSES: &[&str] = &[
    "store",
    "metadata",
    "logit_bias",
    "top_logprobs",
    "n",
    "modalities",
    "prediction",
    "audio",
    "service_tier",
    "parallel_tool_calls",
];
const PERPLEXITY_REFUSES: &[&str] =
    &["tools", "tool_choice", "parallel_tool_calls", "logit_bias", "seed", "n", "user"];
const OLLAMA_REFUSES: &[&str] =
    &["tool_choice", "parallel_tool_calls", "logit_bias", "user", "n", "service_tier", "store"];
/// Answered with 400: <https://console.groq.com/docs/openai>.
const GROQ_REFUSES: &[&str] =
    &["logprobs", "top_logprobs", "logit_bias", "n", "store", "messages[].name"];
/// Answered with 400.
const CEREBRAS_REFUSES: &[&str] = &[
    "frequency_penalty",
    "presence_penalty",
    "logit_bias",
    "n",
    "store",
    "parallel_tool_calls",
    "service_tier",
    "prompt_cache_key",
    "verbosity",
];
/// Taken no notice of: <https://api-docs.deepseek.com/api/create-chat-completion>.
const DEEPSEEK_REFUSES: &[&str] = &[
    "seed",
    "n",
    "logit_bias",
    "user",
    "parallel_tool_calls",
    "service_tier",
    "store",
    "metadata",
    "verbosity",
    "prompt_cache_key",
    "modalities",
    "audio",
    "prediction",
    "web_search_options",
];

pub(super) fn groq() -> Manner {
    Manner { refuses: GROQ_REFUSES, reasoning_field: Some("reasoning"), ..standard() }
}
pub(super) fn cerebras() -> Manner {
    Manner { refuses: CEREBRAS_REFUSES, reasoning_field: Some("reasoning"), ..standard() }
}
pub(super) fn mistral() -> Manner {
    older_without(MISTRAL_REFUSES)
}
pub(super) fn cohere() -> Manner {
    older_without(COHERE_REFUSES)
}
pub(super) fn perplexity() -> Manner {
    older_without(PERPLEXITY_REFUSES)
}
pub(super) fn ollama() -> Manner {
    Manner { reasoning_field: Some("reasoning"), ..older_without(OLLAMA_REFUSES) }
}
/// Its reasoning has to come back with each call that it led to
/// (<https://api-docs.deepseek.com/guides/thinking_mode>); it knows JSON, but no JSON Schema.
pub(super) fn deepseek() -> Manner {
    Manner {
        reasoning_field: Some("reasoning_content"),
        json_schema: false,
        ..older_without(DEEPSEEK_REFUSES)
    }
}
/// Servers that give reasoning, and take it back, as DeepSeek named it.
pub(super) fn reasoning_content() -> Manner {
    Manner { reasoning_field: Some("reasoning_content"), ..older() }
}
pub(super) fn openrouter() -> Manner {
    Manner { reasoning_field: Some("reasoning"), ..older() }
}
