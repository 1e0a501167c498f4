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

    pub fn providers(&self, model: &str) -> &[Box<str>] {
        self.0.get(model).map_or(&[], Vec::as_slice)
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

/// Whether a key of the provider names the model, by an alias in any case.
pub(super) fn listed(provider: &Provider, model: &str) -> bool {
    provider.keys.iter().any(|key| alias_of(key, model).is_some())
}
