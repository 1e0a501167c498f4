//! Which providers serve a model that names none.
//!
//! In: what is known of models (price tables, the models and aliases that keys list). Out: the
//! providers of a model, in the order in which they were configured. Never: guesses from a name.

use crate::provider::model_name::alias_of;
use crate::provider::{ModelList, Provider};
use hashbrown::HashMap;

/// Model to providers.
#[derive(Debug, Default)]
pub struct Catalogue(HashMap<Box<str>, Vec<Box<str>>>);

impl Catalogue {
    /// `known`: pairs of provider and model, of configured providers or not. Only `providers` count,
    /// with what their keys list beside.
    pub fn build<'a>(
        providers: impl IntoIterator<Item = &'a Provider>,
        known: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Self {
        let mut by_provider: HashMap<&str, Vec<&str>> = HashMap::new();
        for (provider, model) in known {
            by_provider.entry(provider).or_default().push(model);
        }
        let mut catalogue = Self::default();
        for provider in providers {
            let known = by_provider.get(&*provider.name).into_iter().flatten().copied();
            let aliases = provider.keys.iter().flat_map(|key| &key.aliases);
            let listed = provider.keys.iter().flat_map(|key| match &key.models {
                ModelList::All => &[],
                ModelList::Only(models) => models.as_slice(),
            });
            let listed = listed.map(|model| &**model).filter(|model| *model != "*");
            for model in known.chain(listed).chain(aliases.map(|alias| &*alias.alias)) {
                catalogue.add(&provider.name, model);
            }
        }
        catalogue
    }

    fn add(&mut self, provider: &str, model: &str) {
        let providers = self.0.entry(model.into()).or_default();
        if !providers.iter().any(|known| **known == *provider) {
            providers.push(provider.into());
        }
    }

    /// By the whole name, or by the name without its date: tables list families, clients often
    /// name a release (`claude-sonnet-4-5-20250929`).
    pub fn providers(&self, model: &str) -> &[Box<str>] {
        let found = self.0.get(model).or_else(|| self.0.get(undated(model)?));
        found.map_or(&[], Vec::as_slice)
    }

    pub fn serves(&self, provider: &str, model: &str) -> bool {
        self.providers(model).iter().any(|known| **known == *provider)
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Without `-20250929`, `-2025-04-14` or `-latest` at its end, if it has one of them.
fn undated(model: &str) -> Option<&str> {
    if let Some(plain) = model.strip_suffix("-latest") {
        return Some(plain);
    }
    [9, 11].into_iter().find_map(|length| {
        let (plain, date) = model.split_at_checked(model.len().checked_sub(length)?)?;
        let digits = date.bytes().filter(u8::is_ascii_digit).count();
        let shaped = date.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
        (shaped && digits == 8 && date.starts_with('-')).then_some(plain)
    })
}

/// Whether a key of the provider names the model, by an alias in any case.
pub(super) fn listed(provider: &Provider, model: &str) -> bool {
    provider.keys.iter().any(|key| alias_of(key, model).is_some())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::provider::{Alias, Key, catalog};

    #[test]
    fn releases_are_found_by_their_family_and_aliases_by_name() {
        let alias =
            Alias { alias: "fast".into(), model_id: "gpt-4o-mini".into(), ..Alias::default() };
        let only = ModelList::Only(vec!["*".into(), "ft:gpt-4o:me".into()]);
        let keys = vec![Key { aliases: vec![alias], models: only, ..Key::named("k") }];
        let row = |name| catalog::row(name).unwrap();
        let openai = Provider { keys, ..Provider::of(row("openai")) };
        let anthropic = Provider::of(row("anthropic"));
        let known = [("anthropic", "claude-sonnet-4-5"), ("openai", "gpt-4.1"), ("xai", "grok-4")];
        let catalogue = Catalogue::build([&openai, &anthropic], known);
        for (model, provider) in [
            ("claude-sonnet-4-5", "anthropic"),
            ("claude-sonnet-4-5-20250929", "anthropic"),
            ("claude-sonnet-4-5-latest", "anthropic"),
            ("gpt-4.1-2025-04-14", "openai"),
            ("fast", "openai"),
            ("ft:gpt-4o:me", "openai"),
        ] {
            assert!(catalogue.serves(provider, model), "{model}");
        }
        for model in ["grok-4", "*", "claude-sonnet-4-5-2025", "gpt-4.1-mini", "-20250929", ""] {
            assert!(catalogue.providers(model).is_empty(), "{model}");
        }
    }
}
