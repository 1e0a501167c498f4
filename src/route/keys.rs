//! Which of a provider's keys a call uses.
//!
//! In: the provider, the model, what limits the choice (pins, the virtual key's list, keys that
//! failed this request), the session, health, and a random number. Out: the key, or why there is
//! none. Never: prefers a key that cools down while another one can be used.

use super::health::{Health, Place};
use super::random::{Random, Session};
use super::{KeyPin, PinRef};
use crate::provider::model_name::serves;
use crate::provider::{Key, Provider};
use smallvec::SmallVec;

/// What a call wants of a key.
#[derive(Clone, Copy)]
pub struct KeyAsk<'a> {
    pub model: &'a str,
    /// Whether the virtual key may use it; by id or name.
    pub allowed: &'a dyn Fn(&Key) -> bool,
    pub pin: Option<PinRef<'a>>,
    pub session: Option<Session>,
    /// A batch job: only keys that are meant for them.
    pub batch: bool,
    /// Places of keys in the provider's list that this request shall not use again.
    pub spent: &'a [usize],
    pub random: Random,
}

/// Why no key can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoKey {
    #[error("the provider has no key of that name")]
    UnknownPin,
    #[error("the key of that name may not be used for this model or by this virtual key")]
    PinNotAllowed,
    #[error("no key of the provider supports this model")]
    NoneForModel,
    #[error("all keys of the provider were tried")]
    AllSpent,
}

/// Why a key is no candidate for a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Bar {
    #[error("another key is named by the request or its rule")]
    OtherIsPinned,
    #[error("it is disabled, or does not serve this model")]
    Model,
    #[error("the virtual key may not use it")]
    VirtualKey,
    #[error("it is not meant for batches")]
    Batch,
    #[error("this request has tried it")]
    Spent,
}

impl KeyAsk<'_> {
    /// What keeps the key at this place of the provider's list from being a candidate.
    pub fn bar(&self, at: usize, key: &Key) -> Option<Bar> {
        if self.pin.is_some_and(|pin| !pin.names(key)) {
            Some(Bar::OtherIsPinned)
        } else if !serves(key, self.model) {
            Some(Bar::Model)
        } else if !(self.allowed)(key) {
            Some(Bar::VirtualKey)
        } else if self.batch && !key.use_for_batch_api {
            Some(Bar::Batch)
        } else {
            self.spent.contains(&at).then_some(Bar::Spent)
        }
    }
}

/// The place of the key in `provider.keys`; `None` for a provider that needs none and has none.
pub fn choose(
    provider: &Provider,
    ask: &KeyAsk<'_>,
    health: &Health,
    now: i64,
) -> Result<Option<usize>, NoKey> {
    if provider.keyless && provider.keys.is_empty() && ask.pin.is_none() {
        return Ok(None);
    }
    let (mut pinned, mut fits) = (false, false);
    let mut named: SmallVec<[(usize, &Key); 8]> = SmallVec::new();
    for (at, key) in provider.keys.iter().enumerate() {
        let bar = ask.bar(at, key);
        pinned |= bar != Some(Bar::OtherIsPinned);
        fits |= matches!(bar, None | Some(Bar::Spent));
        if bar.is_none() {
            named.push((at, key));
        }
    }
    match (ask.pin.is_some(), pinned, fits, named.is_empty()) {
        (true, false, _, _) => return Err(NoKey::UnknownPin),
        (true, true, false, _) => return Err(NoKey::PinNotAllowed),
        (false, _, false, _) => return Err(NoKey::NoneForModel),
        (_, _, true, true) => return Err(NoKey::AllSpent),
        _ => {}
    }
    let place = |key: &Key| Place::key(&provider.name, &key.id);
    if named.iter().any(|(_, key)| health.usable(place(key), now)) {
        named.retain(|(_, key)| health.usable(place(key), now));
    }
    let best = health.fastest(named.iter().map(|(_, key)| place(key)));
    let weight = |(_, key): &(usize, &Key)| key.weight * health.factor(place(key), best);
    let chosen = match ask.session {
        Some(session) => session.choose(&named, |(_, key)| &key.id, weight),
        None => ask.random.draw(&named, weight),
    };
    chosen.map(|(at, _)| Some(*at)).ok_or(NoKey::NoneForModel)
}

impl PinRef<'_> {
    pub(super) fn names(self, key: &Key) -> bool {
        match self {
            Self::Id(id) => *key.id == *id,
            Self::Name(name) => *key.name == *name,
        }
    }
}

impl KeyPin {
    pub fn as_ref(&self) -> PinRef<'_> {
        match self {
            Self::Id(id) => PinRef::Id(id),
            Self::Name(name) => PinRef::Name(name),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::health::Trouble;
    use super::*;
    use crate::provider::{ModelList, catalog};

    fn provider() -> Provider {
        let key = |name: &str, weight: f64| Key { weight, ..Key::named(name) };
        Provider {
            keys: vec![
                key("a", 0.75),
                key("b", 0.25),
                Key { models: ModelList::Only(vec!["gpt-4o".into()]), ..key("c", 1.0) },
                Key { enabled: false, ..key("off", 1.0) },
            ],
            ..Provider::of(catalog::row("openai").unwrap())
        }
    }

    fn ask(seed: u64) -> KeyAsk<'static> {
        KeyAsk {
            model: "m",
            allowed: &|_| true,
            pin: None,
            session: None,
            batch: false,
            spent: &[],
            random: Random::new(seed),
        }
    }

    fn pick(ask: &KeyAsk<'_>) -> Result<Option<usize>, NoKey> {
        choose(&provider(), ask, &Health::default(), 0)
    }

    #[test]
    fn by_weight_among_those_that_may() {
        let mut counts = [0_u32; 4];
        for seed in 0..4_000 {
            counts[pick(&ask(seed)).unwrap().unwrap()] += 1;
        }
        assert!((2_850..3_150).contains(&counts[0]), "{counts:?}");
        assert_eq!(counts[2..], [0, 0], "not for this model, and disabled");
        let only_b = |key: &Key| &*key.id == "b";
        for seed in 0..50 {
            assert_eq!(pick(&KeyAsk { allowed: &only_b, ..ask(seed) }), Ok(Some(1)));
        }
    }

    #[test]
    fn pins_are_exact_and_say_what_is_wrong() {
        let pinned = |pin| pick(&KeyAsk { pin: Some(pin), ..ask(1) });
        assert_eq!(pinned(PinRef::Name("b")), Ok(Some(1)));
        assert_eq!(pinned(PinRef::Id("a")), Ok(Some(0)));
        assert_eq!(pinned(PinRef::Name("z")), Err(NoKey::UnknownPin));
        assert_eq!(pinned(PinRef::Name("c")), Err(NoKey::PinNotAllowed));
        assert_eq!(pinned(PinRef::Name("off")), Err(NoKey::PinNotAllowed));
        let none = |_: &Key| false;
        let all = KeyAsk { allowed: &none, ..ask(1) };
        assert_eq!(pick(&all), Err(NoKey::NoneForModel));
        assert_eq!(pick(&KeyAsk { batch: true, ..ask(1) }), Err(NoKey::NoneForModel));
    }

    #[test]
    fn spent_keys_are_not_used_again() {
        for seed in 0..50 {
            assert_eq!(pick(&KeyAsk { spent: &[0], ..ask(seed) }), Ok(Some(1)));
        }
        assert_eq!(pick(&KeyAsk { spent: &[0, 1], ..ask(1) }), Err(NoKey::AllSpent));
    }

    #[test]
    fn a_session_keeps_its_key_and_moves_only_while_it_cools_down() {
        let mut health = Health::default();
        let session = Some(Session::of(&["vk", "s-1"]));
        let chosen = |health: &Health, seed| {
            let ask = KeyAsk { session, ..ask(seed) };
            choose(&provider(), &ask, health, 0).unwrap().unwrap()
        };
        let first = chosen(&health, 0);
        assert!((1..100).all(|seed| chosen(&health, seed) == first));
        let name = provider().keys[first].id.clone();
        health.failed(Place::key("openai", &name), Trouble::Refused, 0);
        assert_eq!(chosen(&health, 0), 1 - first);
        let other = provider().keys[1 - first].id.clone();
        health.failed(Place::key("openai", &other), Trouble::Refused, 0);
        assert_eq!(chosen(&health, 0), first, "when all cool down, one is still tried");
    }

    #[test]
    fn keyless_providers_need_none() {
        let keyless = Provider { keyless: true, ..Provider::of(catalog::row("ollama").unwrap()) };
        assert_eq!(choose(&keyless, &ask(1), &Health::default(), 0), Ok(None));
    }
}
