//! The prefixes under which vendors' paths are served, one row each.
//!
//! In: a path. Out: its [`Mount`]. Never: looks behind the prefix.

use crate::chat::Dialect;

/// Whose paths are served under a prefix.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paths {
    Anthropic,
    OpenAi,
    Bedrock,
    Gemini,
}

/// A prefix under which one vendor's paths are served.
#[derive(Debug)]
pub struct Mount {
    pub prefix: &'static str,
    pub paths: Paths,
    /// The provider meant by a model without prefix.
    pub provider: &'static str,
    /// Every path below is the provider's own, and goes there as it is.
    pub raw: bool,
}

const fn anthropic(prefix: &'static str) -> Mount {
    Mount { prefix, paths: Paths::Anthropic, provider: "anthropic", raw: false }
}

const fn raw(mount: &Mount, provider: &'static str) -> Mount {
    Mount { prefix: mount.prefix, paths: mount.paths, provider, raw: true }
}

const fn openai(prefix: &'static str) -> Mount {
    Mount { prefix, paths: Paths::OpenAi, provider: "openai", raw: false }
}

const fn bedrock(prefix: &'static str) -> Mount {
    Mount { prefix, paths: Paths::Bedrock, provider: "bedrock", raw: false }
}

const fn gemini(prefix: &'static str) -> Mount {
    Mount { prefix, paths: Paths::Gemini, provider: "gemini", raw: false }
}

/// The first matching prefix counts; the last row matches everything.
static MOUNTS: [Mount; 22] = [
    anthropic("/anthropic"),
    openai("/openai"),
    bedrock("/bedrock"),
    gemini("/genai"),
    anthropic("/litellm/anthropic"),
    bedrock("/litellm/bedrock"),
    gemini("/litellm/genai"),
    openai("/litellm"),
    anthropic("/langchain/anthropic"),
    bedrock("/langchain/bedrock"),
    gemini("/langchain/genai"),
    openai("/langchain"),
    anthropic("/pydanticai/anthropic"),
    bedrock("/pydanticai/bedrock"),
    gemini("/pydanticai/genai"),
    openai("/pydanticai"),
    raw(&anthropic("/anthropic_passthrough"), "anthropic"),
    raw(&openai("/openai_passthrough"), "openai"),
    raw(&openai("/azure_passthrough"), "azure"),
    raw(&bedrock("/bedrock_passthrough"), "bedrock"),
    raw(&gemini("/genai_passthrough"), "gemini"),
    openai(""),
];

impl Mount {
    /// The language of errors under this prefix, where no request was understood.
    pub const fn dialect(&self) -> Dialect {
        match self.paths {
            Paths::Anthropic => Dialect::Anthropic,
            Paths::OpenAi => Dialect::OpenAiChat,
            Paths::Bedrock => Dialect::Bedrock,
            Paths::Gemini => Dialect::Gemini,
        }
    }
}

/// The mount of a path; for errors, too, since every error speaks its dialect.
pub fn mount_of(path: &str) -> &'static Mount {
    let under = |mount: &&Mount| {
        path.strip_prefix(mount.prefix).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    };
    MOUNTS.iter().find(under).unwrap_or(&MOUNTS[MOUNTS.len() - 1])
}
