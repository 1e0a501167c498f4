//! `provider/model`, and what a key's aliases make of a model.
//!
//! In: a model as a client wrote it. Out: provider, model, family, the id that the upstream knows.
//! Never: guesses a provider.

use crate::provider::{Alias, Key, ModelList};

/// Whose model it is, as far as a provider speaks to it in another way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Family {
    Claude,
    Gemini,
    Mistral,
    /// Amazon's; for its embeddings on Bedrock.
    Titan,
    /// For its embeddings and rerankers on Bedrock.
    Cohere,
    /// Vertex: a tuned model, called by the number of its endpoint.
    Numbered,
    /// Every other one.
    Other,
}

/// Splits at the first slash, and only where the left part is a known provider (case-sensitive).
pub fn split(model: &str, known: impl Fn(&str) -> bool) -> (Option<&str>, &str) {
    match model.split_once('/') {
        Some((provider, rest)) if known(provider) && !rest.is_empty() => (Some(provider), rest),
        _ => (None, model),
    }
}

/// The alias of a key that the model names, if it does.
pub fn alias_of<'k>(key: &'k Key, model: &str) -> Option<&'k Alias> {
    key.aliases.iter().find(|alias| alias.alias.eq_ignore_ascii_case(model))
}

/// The id that the upstream knows the model by when it is called with this key.
pub fn model_for<'m>(key: &'m Key, model: &'m str) -> &'m str {
    alias_of(key, model).map_or(model, |alias| &*alias.model_id)
}

/// Whose model it is. An alias that says so is believed; a name has to show it.
pub fn family(model: &str, alias: Option<&Alias>) -> Family {
    if let Some(family) = alias.and_then(|alias| alias.model_family.as_deref()) {
        return match family {
            "anthropic" => Family::Claude,
            "gemini" | "gemma" => Family::Gemini,
            "mistral" => Family::Mistral,
            "titan" => Family::Titan,
            "cohere" => Family::Cohere,
            _ => Family::Other,
        };
    }
    if contains(model, "claude") || contains(model, "anthropic.") {
        Family::Claude
    } else if contains(model, "gemini") {
        Family::Gemini
    } else if ["mistral", "codestral", "ministral"].iter().any(|name| contains(model, name)) {
        Family::Mistral
    } else if contains(model, "amazon.titan") {
        Family::Titan
    } else if contains(model, "cohere.") {
        Family::Cohere
    } else if !model.is_empty() && model.bytes().all(|byte| byte.is_ascii_digit()) {
        Family::Numbered
    } else {
        Family::Other
    }
}

fn contains(text: &str, lower: &str) -> bool {
    text.as_bytes().windows(lower.len()).any(|part| part.eq_ignore_ascii_case(lower.as_bytes()))
}

/// A Bedrock model that brings its region: `us-gov-west-1/anthropic.claude-…`. Only what has the
/// shape of an AWS region counts, so `meta-llama/…` and ARNs stay whole.
pub fn aws_region(model: &str) -> Option<(&str, &str)> {
    let (region, rest) = model.split_once('/')?;
    (is_aws_region(region) && !rest.is_empty()).then_some((region, rest))
}

/// The region of a Bedrock resource: `arn:aws:bedrock:eu-west-1:…`. An inference profile is known
/// nowhere else.
pub fn arn_region(arn: &str) -> Option<&str> {
    let mut parts = arn.strip_prefix("arn:aws")?.split(':').skip(1);
    let (service, region) = (parts.next()?, parts.next()?);
    (service == "bedrock" && is_aws_region(region)).then_some(region)
}

/// Regions become part of a server's name, so nothing else may pass for one.
fn is_aws_region(region: &str) -> bool {
    let mut words = region.split('-');
    let (Some(area), Some(number)) = (words.next(), words.next_back()) else { return false };
    let between = words.clone().count();
    let named = words.all(|word| word.len() > 1 && word.bytes().all(|b| b.is_ascii_lowercase()));
    area.len() == 2
        && area.bytes().all(|byte| byte.is_ascii_lowercase())
        && between >= 1
        && named
        && number.len() == 1
        && number.bytes().all(|byte| byte.is_ascii_digit())
}

/// Whether the configuration lets this key serve the model: enabled, listed by the name that the
/// client said or by the one its alias stands for, and not blacklisted. A call that asks no model
/// (an empty name) is served by any enabled key.
pub fn serves(key: &Key, model: &str) -> bool {
    if model.is_empty() {
        return key.enabled;
    }
    let alias = alias_of(key, model);
    let named = |listed: &str| {
        listed == "*" || listed == model || alias.is_some_and(|alias| &*alias.model_id == listed)
    };
    let listed = match &key.models {
        ModelList::All => true,
        ModelList::Only(models) => models.iter().any(|listed| named(listed)),
    };
    key.enabled && listed && !key.blacklisted.iter().any(|listed| named(listed))
}

#[cfg(test)]
mod tests {
    use super::{Family, arn_region, aws_region, family, model_for, serves, split};
    use crate::provider::{Alias, Key, ModelList};

    fn key(models: ModelList) -> Key {
        let alias = Alias {
            alias: "Sonnet".into(),
            model_id: "prod-llm".into(),
            model_family: Some("anthropic".into()),
            ..Alias::default()
        };
        Key { models, aliases: vec![alias], ..Key::named("k") }
    }

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

    #[test]
    fn an_alias_is_found_whatever_its_case_and_names_the_family() {
        let key = key(ModelList::All);
        assert_eq!(model_for(&key, "sonnet"), "prod-llm");
        assert_eq!(model_for(&key, "prod-llm"), "prod-llm");
        assert_eq!(family("prod-llm", key.aliases.first()), Family::Claude);
        assert_eq!(family("prod-llm", None), Family::Other);
        assert_eq!(family("eu.anthropic.claude-sonnet-4-6", None), Family::Claude);
        assert_eq!(family("Gemini-2.5-pro", None), Family::Gemini);
        assert_eq!(family("1234567890", None), Family::Numbered);
    }

    #[test]
    fn only_what_looks_like_a_region_is_one() {
        let found = aws_region("us-gov-west-1/anthropic.claude-3");
        assert_eq!(found, Some(("us-gov-west-1", "anthropic.claude-3")));
        assert_eq!(aws_region("eu-central-1/a/b"), Some(("eu-central-1", "a/b")));
        for whole in ["meta-llama/Llama-3", "1-month-commitment/x", "arn:aws:x:eu-west-1:1:y/z"] {
            assert_eq!(aws_region(whole), None, "{whole}");
        }
        assert_eq!(aws_region("eu-central-1/"), None);
        assert_eq!(
            arn_region("arn:aws:bedrock:eu-west-1:1:inference-profile/x"),
            Some("eu-west-1")
        );
        assert_eq!(arn_region("arn:aws-us-gov:bedrock:us-gov-west-1:1:x"), Some("us-gov-west-1"));
        assert_eq!(arn_region("arn:aws:bedrock:evil.example/:1:x"), None);
        assert_eq!(arn_region("anthropic.claude"), None);
    }

    #[test]
    fn lists_decide_which_models_a_key_serves() {
        let only = |models: &[&str]| ModelList::Only(models.iter().map(|m| (*m).into()).collect());
        assert!(serves(&key(ModelList::All), "anything"));
        assert!(!serves(&key(only(&[])), "anything"));
        assert!(serves(&key(only(&["gpt-4o"])), "gpt-4o"));
        assert!(!serves(&key(only(&["gpt-4o"])), "sonnet"));
        assert!(serves(&key(only(&["prod-llm"])), "sonnet"), "listed by what the alias stands for");
        let blocked = Key { blacklisted: vec!["gpt-4o".into()], ..key(ModelList::All) };
        assert!(!serves(&blocked, "gpt-4o"));
        assert!(serves(&blocked, "gpt-4o-mini"));
        assert!(!serves(&Key { enabled: false, ..key(ModelList::All) }, "gpt-4o"));
    }
}
