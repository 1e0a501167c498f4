//! `provider/model`, and what a key's aliases make of a model.
//!
//! In: a model as a client wrote it. Out: provider and model. Never: guesses a provider.

/// Splits at the first slash, and only where the left part is a known provider (case-sensitive).
pub fn split(model: &str, known: impl Fn(&str) -> bool) -> (Option<&str>, &str) {
    match model.split_once('/') {
        Some((provider, rest)) if known(provider) && !rest.is_empty() => (Some(provider), rest),
        _ => (None, model),
    }
}

#[cfg(test)]
mod tests {
    use super::split;

    #[test]
    fn only_known_providers_are_split_off() {
        let known = |name: &str| matches!(name, "openai" | "ollama" | "bedrock");
        assert_eq!(split("openai/gpt-4o", known), (Some("openai"), "gpt-4o"));
        assert_eq!(split("ollama/llama3.1:8b", known), (Some("ollama"), "llama3.1:8b"));
        assert_eq!(split("meta-llama/Llama-3", known), (None, "meta-llama/Llama-3"));
        assert_eq!(split("bedrock/us/anthropic", known), (Some("bedrock"), "us/anthropic"));
        assert_eq!(split("gpt-4o", known), (None, "gpt-4o"));
        assert_eq!(split("openai/", known), (None, "openai/"));
    }
}
