//! What the name of a Bedrock model tells of its family.
//!
//! In: a model id, an inference profile or an ARN. Out: the family, on which it depends which
//! fields beside Converse's own a model takes, and whether it takes cache points.
//! Never: guesses; the ARN of an application inference profile is of an unknown family, which is
//! taken to accept what Claude accepts, since the client asked for it.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Family {
    Claude,
    Nova,
    /// OpenAI's open-weight models.
    OpenAi,
    /// Known to be none of these.
    Other,
    Unknown,
}

/// Vendors' prefixes in model ids, and names in those of imported models.
const OTHERS: [&str; 20] = [
    "meta.",
    "llama",
    "mistral",
    "mixtral",
    "cohere.",
    "ai21.",
    "deepseek",
    "qwen",
    "titan",
    "writer.",
    "luma.",
    "google.",
    "gemma",
    "minimax",
    "moonshot",
    "kimi",
    "nvidia.",
    "zai.",
    "twelvelabs.",
    "stability.",
];

impl Family {
    pub(super) fn of(model: &str) -> Self {
        if model.contains("application-inference-profile/") {
            Self::Unknown
        } else if model.contains("claude") || model.contains("anthropic.") {
            Self::Claude
        } else if model.contains("amazon.nova") {
            Self::Nova
        } else if model.contains("openai.") || model.contains("gpt-oss") {
            Self::OpenAi
        } else if OTHERS.iter().any(|name| model.contains(name)) {
            Self::Other
        } else {
            Self::Unknown
        }
    }

    /// Whether it may be sent what Claude takes.
    pub(super) const fn is_claude(self) -> bool {
        matches!(self, Self::Claude | Self::Unknown)
    }

    /// Whether cache points may stand in its messages and system prompt.
    pub(super) const fn caches(self) -> bool {
        matches!(self, Self::Claude | Self::Nova | Self::Unknown)
    }
}

#[cfg(test)]
mod tests {
    use super::Family;

    #[test]
    fn families_are_told_by_every_form_of_the_id() {
        for (model, family) in [
            ("us.anthropic.claude-opus-4-6-v1:0", Family::Claude),
            ("arn:aws:bedrock:us-east-1:1:inference-profile/eu.amazon.nova-pro-v1:0", Family::Nova),
            ("arn:aws:bedrock:us-east-1:1:application-inference-profile/llama9", Family::Unknown),
            ("openai.gpt-oss-120b-1:0", Family::OpenAi),
            ("us.meta.llama3-3-70b-instruct-v1:0", Family::Other),
            ("mistral.mistral-large-2407-v1:0", Family::Other),
        ] {
            assert_eq!(Family::of(model), family, "{model}");
        }
    }
}
