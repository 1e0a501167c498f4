//! What a model's name tells of the parameters it takes.
//!
//! In: a model name as it goes upstream. Out: the few facts on which an encoder has to decide,
//! because the vendor refuses the request otherwise. Never: guesses about an unknown name; an
//! unknown model is taken to accept everything.

/// The last path segment, without a vendor prefix (`openai/gpt-4o` is `gpt-4o`).
fn base(model: &str) -> &str {
    model.rsplit('/').next().unwrap_or(model)
}

/// The version of a Claude model: `claude-opus-4-7` and `us.anthropic.claude-opus-4-7-v1:0` are
/// (4, 7), `claude-3-7-sonnet-20250219` is (3, 7).
pub(super) fn claude_version(model: &str) -> Option<(u32, u32)> {
    let (_, name) = base(model).rsplit_once("claude-")?;
    let numbers: Vec<Option<u32>> = name
        .split(['-', '.', '@', ':'])
        .map(|token| (token.len() <= 2).then(|| token.parse().ok()).flatten())
        .collect();
    let first = numbers.iter().position(Option::is_some)?;
    let major = numbers.get(first).copied().flatten()?;
    let minor = numbers.get(first + 1).copied().flatten().unwrap_or(0);
    Some((major, minor))
}

/// Whether this Claude takes `thinking.type: "adaptive"` and `output_config.effort`.
pub(super) fn claude_thinks_adaptively(model: &str) -> bool {
    claude_version(model).is_some_and(|version| version >= (4, 6))
}

/// Whether this Claude refuses `temperature`, `top_p` and `top_k`.
pub(super) fn claude_refuses_sampling(model: &str) -> bool {
    claude_version(model).is_some_and(|version| version >= (4, 7))
}

/// Whether this Claude refuses `temperature` and `top_p` in one request.
pub(super) fn claude_refuses_both_samplings(model: &str) -> bool {
    claude_version(model).is_some_and(|version| version >= (4, 1))
}

/// Whether it is one of OpenAI's reasoning models, which refuse sampling parameters and `stop`.
pub(super) fn openai_reasons(model: &str) -> bool {
    let model = base(model);
    ["o1", "o3", "o4"].iter().any(|name| {
        model.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    }) || (model.starts_with("gpt-5") && !model.contains("chat"))
}

/// Whether the effort `none` can be said to it (GPT-5.1 and later).
pub(super) fn openai_may_not_reason(model: &str) -> bool {
    let rest = base(model).strip_prefix("gpt-5.");
    rest.is_some_and(|rest| !rest.starts_with('0')) && openai_reasons(model)
}

/// The least effort that an OpenAI model takes; unknown for all others.
pub(super) fn openai_least_effort(model: &str) -> Option<&'static str> {
    if openai_may_not_reason(model) {
        Some("none")
    } else if !openai_reasons(model) {
        None
    } else if model.contains("gpt-5") {
        Some("minimal")
    } else {
        Some("low")
    }
}

/// Whether it is known to refuse `reasoning_effort`.
pub(super) fn never_reasons(model: &str) -> bool {
    let model = base(model);
    ["gpt-3", "gpt-4", "chatgpt-", "gpt-5-chat", "llama", "Llama", "mixtral", "gemma"]
        .iter()
        .any(|name| model.starts_with(name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_from_every_form_of_the_name() {
        for (name, version) in [
            ("claude-opus-4-7", Some((4, 7))),
            ("claude-sonnet-4-20250514", Some((4, 0))),
            ("claude-3-7-sonnet-20250219", Some((3, 7))),
            ("us.anthropic.claude-sonnet-4-5-20250929-v1:0", Some((4, 5))),
            ("anthropic/claude-opus-4.6", Some((4, 6))),
            ("claude-opus-5-5", Some((5, 5))),
            ("claude-haiku-4-5@20251001", Some((4, 5))),
            ("gpt-4o", None),
            ("claude-next", None),
        ] {
            assert_eq!(claude_version(name), version, "{name}");
        }
    }

    #[test]
    fn reasoning_models_of_openai_are_told_apart() {
        for model in ["o3", "o4-mini", "gpt-5", "openai/gpt-5.1-codex"] {
            assert!(openai_reasons(model), "{model}");
            assert!(!never_reasons(model), "{model}");
        }
        for model in ["gpt-4o-mini", "gpt-4.1", "chatgpt-4o-latest", "gpt-5-chat-latest"] {
            assert!(!openai_reasons(model), "{model}");
            assert!(never_reasons(model), "{model}");
        }
        assert!(openai_may_not_reason("gpt-5.1"));
        assert!(!openai_may_not_reason("gpt-5"));
        assert!(!openai_reasons("deepseek-reasoner") && !never_reasons("deepseek-reasoner"));
    }
}
