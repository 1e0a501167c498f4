//! The built-in providers: one row each.
//!
//! In: a name. Out: the [`Row`]. Never: holds anything that the configuration may change.
//! Facts are the vendors' own API references.

use crate::dialect::Dialect;
use crate::dialect::Manner;
use crate::provider::catalog_also as also;
use crate::provider::manners::{
    cerebras, cohere, deepseek, groq, mistral, older, ollama, openrouter, perplexity,
    reasoning_content, standard,
};
use crate::provider::model_name::Family;
use crate::provider::{Auth, Betas, Envelope, Models, Operation, Row, Spoken};
use crate::wire::frames::Framing;

const ANTHROPIC_FORWARDS: &[&str] =
    &["anthropic-*", "user-agent", "x-app", "x-claude-code-*", "x-stainless-*"];
const OPENAI_FORWARDS: &[&str] = &["openai-*", "user-agent", "x-stainless-*"];
const NONE: &[&str] = &[];

const ANTHROPIC_VERSION: (&str, &str) = ("anthropic-version", "2023-06-01");
/// In the body of Claude on Bedrock Invoke.
pub const BEDROCK_VERSION: &str = "bedrock-2023-05-31";
/// In the body of Claude on Vertex.
pub const VERTEX_VERSION: &str = "vertex-2023-10-16";
const CLAUDE_ON_BEDROCK: Envelope =
    Envelope::Claude { version: BEDROCK_VERSION, keeps_model: false, keeps_stream: false };
const CLAUDE_ON_VERTEX: Envelope =
    Envelope::Claude { version: VERTEX_VERSION, keeps_model: false, keeps_stream: true };
/// Its tokens are counted by a model of their own, which the path names.
const COUNTED_ON_VERTEX: Envelope =
    Envelope::Claude { version: VERTEX_VERSION, keeps_model: true, keeps_stream: false };
/// Azure's `api-version` where neither key nor alias names one.
pub const AZURE_API_VERSION: &str = "2024-10-21";

pub(super) const fn way(operation: Operation, dialect: Dialect, path: &'static str) -> Spoken {
    Spoken {
        operation,
        dialect,
        models: Models::All,
        path,
        stream_path: None,
        framing: Framing::Sse,
        envelope: Envelope::Plain,
        idiom: None,
    }
}

const CHAT: Spoken = way(Operation::Chat, Dialect::OpenAiChat, "/v1/chat/completions");
const RESPONSES: Spoken = way(Operation::Chat, Dialect::OpenAiResponses, "/v1/responses");
const MESSAGES: Spoken = way(Operation::Chat, Dialect::Anthropic, "/v1/messages");
const LIST: Spoken = way(Operation::ListModels, Dialect::OpenAiChat, "/v1/models");
const RETRIEVE: Spoken = way(Operation::RetrieveModel, Dialect::OpenAiChat, "/v1/models/{model}");

const COMPATIBLE: &[Spoken] = &[CHAT, LIST, RETRIEVE];

/// A provider that speaks Chat Completions with a bearer key, and lists its models.
const fn compatible(
    name: &'static str,
    base_url: &'static str,
    env: Option<&'static str>,
    manner: fn() -> Manner,
) -> Row {
    Row {
        name,
        base_url,
        auth: Auth::Bearer,
        speaks: COMPATIBLE,
        also: &[],
        manner,
        env,
        keyless: false,
        headers: &[],
        forwards: NONE,
        betas: Betas::All,
        in_process: false,
    }
}

pub static ANTHROPIC: Row = Row {
    name: "anthropic",
    base_url: "https://api.anthropic.com",
    auth: Auth::Header("x-api-key"),
    speaks: &[
        MESSAGES,
        way(Operation::CountTokens, Dialect::Anthropic, "/v1/messages/count_tokens"),
        way(Operation::ListModels, Dialect::Anthropic, "/v1/models"),
        way(Operation::RetrieveModel, Dialect::Anthropic, "/v1/models/{model}"),
    ],
    also: also::ANTHROPIC,
    manner: standard,
    env: Some("ANTHROPIC_API_KEY"),
    keyless: false,
    headers: &[ANTHROPIC_VERSION],
    forwards: ANTHROPIC_FORWARDS,
    betas: Betas::All,
    in_process: false,
};

pub static OPENAI: Row = Row {
    speaks: &[
        CHAT,
        RESPONSES,
        way(Operation::CountTokens, Dialect::OpenAiResponses, "/v1/responses/input_tokens"),
        LIST,
        RETRIEVE,
    ],
    forwards: OPENAI_FORWARDS,
    also: also::OPENAI,
    ..compatible("openai", "https://api.openai.com", Some("OPENAI_API_KEY"), standard)
};

pub static GEMINI: Row = Row {
    name: "gemini",
    base_url: "https://generativelanguage.googleapis.com",
    auth: Auth::Header("x-goog-api-key"),
    speaks: &[
        Spoken {
            stream_path: Some("/v1beta/models/{model}:streamGenerateContent?alt=sse"),
            envelope: Envelope::ModelInPath,
            ..way(Operation::Chat, Dialect::Gemini, "/v1beta/models/{model}:generateContent")
        },
        Spoken {
            envelope: Envelope::ModelInPath,
            ..way(Operation::CountTokens, Dialect::Gemini, "/v1beta/models/{model}:countTokens")
        },
        way(Operation::ListModels, Dialect::Gemini, "/v1beta/models"),
        way(Operation::RetrieveModel, Dialect::Gemini, "/v1beta/models/{model}"),
    ],
    also: also::GEMINI,
    manner: standard,
    env: Some("GEMINI_API_KEY"),
    keyless: false,
    headers: &[],
    forwards: &["x-goog-api-client", "x-goog-user-project"],
    betas: Betas::All,
    in_process: false,
};

const AZURE_CHAT: &str = "/openai/deployments/{model}/chat/completions?api-version={api_version}";

pub static AZURE: Row = Row {
    name: "azure",
    base_url: "",
    auth: Auth::Azure,
    speaks: &[
        Spoken {
            models: Models::Except(&[Family::Claude]),
            envelope: Envelope::ModelInPath,
            ..way(Operation::Chat, Dialect::OpenAiChat, AZURE_CHAT)
        },
        Spoken {
            models: Models::Except(&[Family::Claude]),
            ..way(Operation::Chat, Dialect::OpenAiResponses, "/openai/v1/responses")
        },
        Spoken {
            models: Models::Only(Family::Claude),
            ..way(Operation::Chat, Dialect::Anthropic, "/anthropic/v1/messages")
        },
        Spoken {
            models: Models::Only(Family::Claude),
            ..way(Operation::CountTokens, Dialect::Anthropic, "/anthropic/v1/messages/count_tokens")
        },
        way(Operation::ListModels, Dialect::OpenAiChat, "/openai/models?api-version={api_version}"),
        way(
            Operation::RetrieveModel,
            Dialect::OpenAiChat,
            "/openai/models/{model}?api-version={api_version}",
        ),
    ],
    also: also::AZURE,
    manner: standard,
    env: None,
    keyless: false,
    headers: &[ANTHROPIC_VERSION],
    forwards: &["anthropic-*", "openai-*", "user-agent", "x-stainless-*", "x-ms-*"],
    betas: Betas::Azure,
    in_process: false,
};

pub static BEDROCK: Row = Row {
    name: "bedrock",
    base_url: "",
    auth: Auth::AwsSigV4,
    speaks: &[
        Spoken {
            stream_path: Some("/model/{model}/converse-stream"),
            framing: Framing::AwsEventStream,
            envelope: Envelope::ModelInPath,
            ..way(Operation::Chat, Dialect::Bedrock, "/model/{model}/converse")
        },
        Spoken {
            models: Models::Only(Family::Claude),
            stream_path: Some("/model/{model}/invoke-with-response-stream"),
            framing: Framing::AwsInvokeChunks,
            envelope: CLAUDE_ON_BEDROCK,
            ..way(Operation::Chat, Dialect::Anthropic, "/model/{model}/invoke")
        },
        Spoken {
            envelope: Envelope::ModelInPath,
            ..way(Operation::CountTokens, Dialect::Bedrock, "/model/{model}/count-tokens")
        },
        way(Operation::ListModels, Dialect::Bedrock, "/foundation-models"),
    ],
    also: also::BEDROCK,
    manner: standard,
    env: None,
    keyless: false,
    headers: &[],
    forwards: &["anthropic-beta", "x-amzn-bedrock-*", "x-amzn-trace-id"],
    betas: Betas::Bedrock,
    in_process: false,
};

macro_rules! vertex {
    ($rest:literal) => {
        concat!("/v1/projects/{project}/locations/{region}/", $rest)
    };
}

pub static VERTEX: Row = Row {
    name: "vertex",
    base_url: "",
    auth: Auth::GoogleToken,
    speaks: &[
        Spoken {
            models: Models::Only(Family::Gemini),
            stream_path: Some(vertex!(
                "publishers/google/models/{model}:streamGenerateContent?alt=sse"
            )),
            envelope: Envelope::ModelInPath,
            ..way(
                Operation::Chat,
                Dialect::Gemini,
                vertex!("publishers/google/models/{model}:generateContent"),
            )
        },
        Spoken {
            models: Models::Only(Family::Claude),
            stream_path: Some(vertex!("publishers/anthropic/models/{model}:streamRawPredict")),
            envelope: CLAUDE_ON_VERTEX,
            ..way(
                Operation::Chat,
                Dialect::Anthropic,
                vertex!("publishers/anthropic/models/{model}:rawPredict"),
            )
        },
        Spoken {
            models: Models::Only(Family::Mistral),
            stream_path: Some(vertex!("publishers/mistralai/models/{model}:streamRawPredict")),
            ..way(
                Operation::Chat,
                Dialect::OpenAiChat,
                vertex!("publishers/mistralai/models/{model}:rawPredict"),
            )
        },
        Spoken {
            models: Models::Only(Family::Numbered),
            stream_path: Some(
                "/v1beta1/projects/{project}/locations/{region}/endpoints/{model}:streamGenerateContent?alt=sse",
            ),
            envelope: Envelope::ModelInPath,
            ..way(
                Operation::Chat,
                Dialect::Gemini,
                "/v1beta1/projects/{project}/locations/{region}/endpoints/{model}:generateContent",
            )
        },
        Spoken {
            models: Models::Only(Family::Other),
            ..way(
                Operation::Chat,
                Dialect::OpenAiChat,
                vertex!("endpoints/openapi/chat/completions"),
            )
        },
        Spoken {
            models: Models::Only(Family::Gemini),
            envelope: Envelope::ModelInPath,
            ..way(
                Operation::CountTokens,
                Dialect::Gemini,
                vertex!("publishers/google/models/{model}:countTokens"),
            )
        },
        Spoken {
            models: Models::Only(Family::Claude),
            envelope: COUNTED_ON_VERTEX,
            ..way(
                Operation::CountTokens,
                Dialect::Anthropic,
                vertex!("publishers/anthropic/models/count-tokens:rawPredict"),
            )
        },
    ],
    also: also::VERTEX,
    manner: older,
    env: None,
    keyless: false,
    headers: &[],
    forwards: &["anthropic-beta", "x-goog-api-client", "x-goog-user-project"],
    betas: Betas::Vertex,
    in_process: false,
};

pub static MISTRAL: Row = Row {
    also: also::MISTRAL,
    ..compatible("mistral", "https://api.mistral.ai", Some("MISTRAL_API_KEY"), mistral)
};

pub static OPENROUTER: Row = Row {
    speaks: &[CHAT, RESPONSES, MESSAGES, LIST],
    headers: &[ANTHROPIC_VERSION],
    forwards: &["anthropic-*", "http-referer", "x-title"],
    also: also::OPENROUTER,
    ..compatible("openrouter", "https://openrouter.ai/api", Some("OPENROUTER_API_KEY"), openrouter)
};

pub static GROQ: Row = Row {
    also: also::GROQ,
    ..compatible("groq", "https://api.groq.com/openai", Some("GROQ_API_KEY"), groq)
};

pub static CEREBRAS: Row = Row {
    also: also::TEXTS,
    ..compatible("cerebras", "https://api.cerebras.ai", Some("CEREBRAS_API_KEY"), cerebras)
};

pub static DEEPSEEK: Row = Row {
    also: also::DEEPSEEK,
    ..compatible("deepseek", "https://api.deepseek.com", Some("DEEPSEEK_API_KEY"), deepseek)
};

pub static XAI: Row = Row {
    speaks: &[CHAT, RESPONSES, LIST, RETRIEVE],
    also: also::XAI,
    ..compatible("xai", "https://api.x.ai", Some("XAI_API_KEY"), standard)
};

pub static TOGETHER: Row = Row {
    speaks: &[CHAT, LIST],
    also: also::TOGETHER,
    ..compatible("together", "https://api.together.xyz", Some("TOGETHER_API_KEY"), older)
};

pub static FIREWORKS: Row = Row {
    also: also::FIREWORKS,
    ..compatible(
        "fireworks",
        "https://api.fireworks.ai/inference",
        Some("FIREWORKS_API_KEY"),
        reasoning_content,
    )
};

pub static PERPLEXITY: Row = Row {
    speaks: &[way(Operation::Chat, Dialect::OpenAiChat, "/chat/completions")],
    ..compatible("perplexity", "https://api.perplexity.ai", Some("PERPLEXITY_API_KEY"), perplexity)
};

pub static NEBIUS: Row = Row {
    also: also::NEBIUS,
    ..compatible("nebius", "https://api.tokenfactory.nebius.com", Some("NEBIUS_API_KEY"), older)
};

pub static PARASAIL: Row = Row {
    also: also::PARASAIL,
    ..compatible("parasail", "https://api.parasail.io", Some("PARASAIL_API_KEY"), older)
};

pub static COHERE: Row = Row {
    speaks: &[way(Operation::Chat, Dialect::OpenAiChat, "/compatibility/v1/chat/completions")],
    also: also::COHERE,
    ..compatible("cohere", "https://api.cohere.ai", Some("COHERE_API_KEY"), cohere)
};

pub static HUGGINGFACE: Row = Row {
    speaks: &[CHAT, LIST],
    ..compatible("huggingface", "https://router.huggingface.co", Some("HF_TOKEN"), older)
};

pub static OLLAMA: Row = Row {
    keyless: true,
    also: also::OLLAMA,
    ..compatible("ollama", "http://localhost:11434", None, ollama)
};

pub static VLLM: Row =
    Row { keyless: true, also: also::SERVED, ..compatible("vllm", "", None, reasoning_content) };

pub static SGL: Row =
    Row { keyless: true, also: also::SERVED, ..compatible("sgl", "", None, reasoning_content) };

/// A provider of the user's own that speaks Chat Completions.
pub static CUSTOM_OPENAI: Row = Row {
    forwards: OPENAI_FORWARDS,
    also: also::OPENAI,
    ..compatible("openai-compatible", "", None, older)
};

/// A provider of the user's own that speaks Responses, too.
pub static CUSTOM_RESPONSES: Row =
    Row { speaks: &[CHAT, RESPONSES, LIST, RETRIEVE], ..CUSTOM_OPENAI };

/// The provider that the gateway itself plays, in every language.
pub static MOCK: Row = Row {
    name: "mock",
    base_url: "",
    auth: Auth::None,
    speaks: &[
        CHAT,
        RESPONSES,
        MESSAGES,
        Spoken { framing: Framing::AwsEventStream, ..way(Operation::Chat, Dialect::Bedrock, "/") },
        way(Operation::Chat, Dialect::Gemini, "/"),
        way(Operation::CountTokens, Dialect::Anthropic, "/"),
        way(Operation::CountTokens, Dialect::OpenAiResponses, "/"),
        way(Operation::CountTokens, Dialect::Bedrock, "/"),
        way(Operation::CountTokens, Dialect::Gemini, "/"),
        LIST,
        RETRIEVE,
    ],
    also: &[],
    manner: standard,
    env: None,
    keyless: true,
    headers: &[],
    forwards: NONE,
    betas: Betas::All,
    in_process: true,
};

/// Every provider that has a name of its own, in the order of the documentation.
pub static ROWS: &[&Row] = &[
    &ANTHROPIC,
    &OPENAI,
    &AZURE,
    &BEDROCK,
    &VERTEX,
    &GEMINI,
    &MISTRAL,
    &OPENROUTER,
    &GROQ,
    &CEREBRAS,
    &DEEPSEEK,
    &XAI,
    &TOGETHER,
    &FIREWORKS,
    &PERPLEXITY,
    &NEBIUS,
    &PARASAIL,
    &COHERE,
    &HUGGINGFACE,
    &OLLAMA,
    &VLLM,
    &SGL,
    &MOCK,
];

/// Names that Bifrost knows and this version does not speak to yet.
pub const NOT_YET: &[&str] = &[
    "bedrock_mantle",
    "opencode-go",
    "opencode-zen",
    "replicate",
    "elevenlabs",
    "deepgram",
    "runway",
    "runware",
    "sarvam",
];

/// The row of a built-in provider.
pub fn row(name: &str) -> Option<&'static Row> {
    ROWS.iter().copied().find(|row| row.name == name)
}

/// The row behind a provider of the user's own, by `custom_provider_config.base_provider_type`,
/// and whether the configuration says that it answers Responses.
pub fn custom(base: &str, responses: bool) -> Option<&'static Row> {
    match base {
        "openai" if responses => Some(&CUSTOM_RESPONSES),
        "openai" => Some(&CUSTOM_OPENAI),
        "mock" => None,
        _ => row(base),
    }
}

#[cfg(test)]
mod tests {
    use super::{NOT_YET, ROWS, custom, row};
    use crate::chat::Loss;
    use crate::dialect::{self, Dialect};
    use crate::provider::{Operation, endpoint};

    #[test]
    fn every_row_is_found_by_its_own_name_and_can_chat() {
        for (place, entry) in ROWS.iter().enumerate() {
            assert!(std::ptr::eq(row(entry.name).unwrap(), *entry), "{} twice", entry.name);
            assert!(entry.speaks.iter().any(|way| way.operation == Operation::Chat), "{place}");
            assert!(!NOT_YET.contains(&entry.name));
        }
    }

    #[test]
    fn every_base_url_is_an_address() {
        for entry in ROWS.iter().filter(|row| !row.base_url.is_empty()) {
            let (origin, base) = endpoint::split_url(entry.base_url).unwrap();
            assert!(!origin.host.is_empty() && !base.ends_with('/'), "{}", entry.name);
        }
    }

    /// What a provider's body holds of a conversation whose answer thought and called.
    fn said(provider: &str) -> (serde_json::Value, String) {
        let body = r#"{"model":"m","max_tokens":5,"thinking":{"type":"disabled"},
            "metadata":{"user_id":"u"},"output_config":{"format":{"type":"json_schema","schema":{"type":"object"}}},
            "tools":[{"name":"f","input_schema":{}}],"tool_choice":{"type":"any","disable_parallel_tool_use":true},
            "messages":[{"role":"assistant","content":[{"type":"thinking","thinking":"hm","signature":""},
                {"type":"tool_use","id":"a","name":"f","input":{}}]},
              {"role":"user","content":[{"type":"tool_result","tool_use_id":"a","content":"r"}]},
              {"role":"assistant","content":[{"type":"tool_use","id":"b","name":"f","input":{}}]},
              {"role":"user","content":[{"type":"tool_result","tool_use_id":"b","content":"r"}]}]}"#;
        let mut loss = Loss::default();
        let request = dialect::decode_request(Dialect::Anthropic, body, &mut loss).unwrap();
        let manner = (row(provider).unwrap().manner)();
        let mut out = Vec::new();
        dialect::encode_request(Dialect::OpenAiChat, &request, &manner, &mut out, &mut loss)
            .unwrap();
        (serde_json::from_slice(&out).unwrap(), loss.header_value())
    }

    #[test]
    fn reasoning_goes_back_under_the_name_that_each_provider_gave_it() {
        for (provider, field) in [
            ("openai", None),
            ("deepseek", Some("reasoning_content")),
            ("vllm", Some("reasoning_content")),
            ("groq", Some("reasoning")),
            ("openrouter", Some("reasoning")),
        ] {
            let (body, dropped) = said(provider);
            let answer = &body["messages"][0];
            for name in ["reasoning_content", "reasoning"] {
                let said = (field == Some(name)).then_some("hm");
                assert_eq!(answer[name].as_str(), said, "{provider}");
            }
            assert_eq!(dropped.contains("messages[0].content[0]"), field.is_none(), "{provider}");
        }
        // A call that was not thought about: DeepSeek insists on the field.
        assert_eq!(said("deepseek").0["messages"][2]["reasoning_content"], "");
        assert!(said("groq").0["messages"][2].get("reasoning").is_none());
    }

    #[test]
    fn what_a_provider_does_not_take_is_left_out_and_told() {
        for (provider, limit, absent) in [
            ("openai", "max_completion_tokens", &[][..]),
            ("deepseek", "max_tokens", &["user", "parallel_tool_calls"]),
            ("mistral", "max_tokens", &["user"]),
            ("cerebras", "max_completion_tokens", &["parallel_tool_calls"]),
            ("ollama", "max_tokens", &["tool_choice", "user"]),
            ("perplexity", "max_tokens", &["tools", "tool_choice", "user"]),
        ] {
            let (body, dropped) = said(provider);
            assert_eq!(body[limit], 5, "{provider}");
            for field in absent {
                assert!(body.get(field).is_none(), "{provider} {field}: {body}");
                let told = if *field == "user" { "metadata.user_id" } else { "tool" };
                assert!(dropped.contains(told), "{provider} {field}: {dropped}");
            }
        }
        let (body, dropped) = said("deepseek");
        assert_eq!(body["response_format"]["type"], "json_object");
        assert!(dropped.contains("output_config.format"));
    }

    #[test]
    fn the_mock_speaks_every_language() {
        let mock = row("mock").unwrap();
        for dialect in Dialect::ALL {
            let spoken = mock.speaks.iter().any(|way| way.dialect == dialect);
            assert!(spoken && mock.in_process, "{dialect:?}");
        }
        assert!(custom("mock", false).is_none());
    }
}
