//! Whose request it is: virtual keys, found by the digest of what was sent.
//!
//! In: the credentials of a request, in the order of the contract ([`Source`]), and now. Out: the
//! virtual key, a direct key where those are allowed, or the refusal. Texts of keys are not kept:
//! only their BLAKE3 digests, found by the first 16 bytes and compared in full in constant time.
//! Never: logs or returns a key's text.

use super::denied::{Denied, Reason};
use super::model_list::ModelList;
use hashbrown::HashMap;
use std::hash::{BuildHasher, Hasher};
use std::ops::Range;
use std::sync::Arc;

/// What a virtual key begins with, unless it was chosen freely. Compared in any case.
pub const PREFIX: &str = "sk-bf-";

/// BLAKE3 of a key's text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Digest([u8; 32]);

impl Digest {
    pub fn of(key: &str) -> Self {
        Self(*blake3::hash(key.as_bytes()).as_bytes())
    }

    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    fn prefix(&self) -> u128 {
        let mut first = [0; 16];
        first.copy_from_slice(self.0.first_chunk::<16>().unwrap_or(&[0; 16]));
        u128::from_le_bytes(first)
    }

    pub(super) fn same(&self, other: &Self) -> bool {
        let differing = self.0.iter().zip(&other.0).fold(0, |sum, (a, b)| sum | (a ^ b));
        std::hint::black_box(differing) == 0
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("[digest]")
    }
}

/// Where a credential stood; a request's are asked in this order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Source {
    /// `x-bf-vk`: a virtual key, or refused.
    VirtualKeyHeader,
    Bearer,
    XApiKey,
    ApiKey,
    XGoogApiKey,
    /// The access-key id of a SigV4 `authorization`; never a direct key, its secret is unknown.
    AccessKeyId,
}

/// A credential as it was sent.
#[derive(Clone, Copy)]
pub struct Credential<'a> {
    pub source: Source,
    pub value: &'a str,
}

impl std::fmt::Debug for Credential<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} [redacted]", self.source)
    }
}

/// Which keys of a provider may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyList {
    All,
    /// By id; empty is none.
    Only(Box<[Box<str>]>),
}

impl KeyList {
    pub fn holds(&self, id: &str) -> bool {
        match self {
            Self::All => true,
            Self::Only(ids) => ids.iter().any(|known| **known == *id),
        }
    }
}

/// Limits of one owner, as places in the tables' list of all: rate limits, then budgets.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Limits {
    pub(super) from: u32,
    pub(super) budgets: u32,
    pub(super) to: u32,
}

impl Limits {
    pub(super) fn rates(self) -> Range<u32> {
        self.from..self.budgets
    }

    pub(super) fn budgets(self) -> Range<u32> {
        self.budgets..self.to
    }

    pub(super) fn all(self) -> Range<u32> {
        self.from..self.to
    }
}

/// What a virtual key may do at one provider.
#[derive(Debug)]
pub struct ProviderGrant {
    pub id: Box<str>,
    pub provider: Arc<str>,
    /// `None`: allowed, but never drawn.
    pub weight: Option<f64>,
    /// Equal lists of many keys are one.
    pub allowed: Arc<ModelList>,
    pub blocked: Arc<ModelList>,
    pub keys: KeyList,
    pub limits: Limits,
}

impl ProviderGrant {
    /// A call without a model (files, batches, passthrough) needs a list without bounds.
    pub fn allows(&self, model: Option<&str>) -> bool {
        match model {
            Some(model) => self.allowed.holds(model) && !self.blocked.holds(model),
            None => self.allowed.is_all() && self.blocked.is_empty(),
        }
    }
}

/// A team or a customer.
#[derive(Debug)]
pub struct Group {
    pub id: Arc<str>,
    pub name: Arc<str>,
    pub limits: Limits,
}

/// Limits of a model: the name is `None` for all models, the provider for all providers.
#[derive(Debug)]
pub struct ModelLimits {
    pub model: Option<Box<str>>,
    pub provider: Option<Box<str>>,
    pub limits: Limits,
}

impl ModelLimits {
    pub fn applies(&self, provider: &str, model: Option<&str>) -> bool {
        self.provider.as_deref().is_none_or(|only| only == provider)
            && self.model.as_deref().is_none_or(|only| Some(only) == model)
    }
}

/// A virtual key, ready for the path of a request.
#[derive(Debug)]
pub struct VirtualKey {
    pub id: Arc<str>,
    pub name: Arc<str>,
    pub active: bool,
    /// Unix milliseconds.
    pub expires_at: Option<i64>,
    pub allow_all_providers: bool,
    pub providers: Box<[ProviderGrant]>,
    pub team: Option<Arc<Group>>,
    /// Its own, or its team's.
    pub customer: Option<Arc<Group>>,
    pub limits: Limits,
    pub models: Box<[ModelLimits]>,
    /// Overrides `client.disable_content_logging`.
    pub disable_content_logging: Option<bool>,
}

impl VirtualKey {
    pub fn provider(&self, name: &str) -> Option<&ProviderGrant> {
        self.providers.iter().find(|grant| *grant.provider == *name)
    }

    pub(super) fn in_force(&self, now: i64) -> Result<(), Box<Denied>> {
        let why = if !self.active {
            "is not active"
        } else if self.expires_at.is_some_and(|at| at <= now) {
            "has expired"
        } else {
            return Ok(());
        };
        let message = format!("access_blocked: virtual key `{}` {why}", self.name);
        Err(Denied::because(Reason::AccessBlocked, message).into())
    }
}

/// The digests that lead to keys.
#[derive(Debug, Default)]
pub struct KeyIndex(HashMap<u128, Slot, Uniform>);

#[derive(Debug)]
struct Slot {
    digest: Digest,
    key: u32,
    /// Of a rotated value: until when it is still good.
    until: Option<i64>,
}

impl KeyIndex {
    /// False where the same text already leads to another key.
    pub fn insert(&mut self, digest: Digest, key: u32, until: Option<i64>) -> bool {
        self.0.insert(digest.prefix(), Slot { digest, key, until }).is_none()
    }

    fn get(&self, value: &str, now: i64) -> Option<u32> {
        let digest = Digest::of(value);
        let slot = self.0.get(&digest.prefix()).filter(|slot| slot.digest.same(&digest))?;
        slot.until.is_none_or(|until| now < until).then_some(slot.key)
    }
}

/// What the credentials of a request came to.
#[derive(Debug, Clone, Copy)]
pub struct Found<'c> {
    /// Index of the virtual key and where it stood.
    pub key: Option<(u32, Source)>,
    /// The first other credential that may go upstream, if direct keys are allowed.
    pub direct: Option<Credential<'c>>,
}

impl KeyIndex {
    /// The first credential that is a virtual key. One that claims to be one and is not known is
    /// refused, unless a virtual key stood before it.
    pub fn find<'c>(
        &self,
        credentials: impl IntoIterator<Item = Credential<'c>>,
        allow_direct: bool,
        now: i64,
    ) -> Result<Found<'c>, Box<Denied>> {
        let mut found = Found { key: None, direct: None };
        for credential in credentials {
            let Credential { source, value } = credential;
            if value.is_empty() {
                continue;
            }
            let claims = source == Source::VirtualKeyHeader || claims_to_be_virtual(value);
            if found.key.is_none()
                && let Some(key) = self.get(value, now)
            {
                found.key = Some((key, source));
            } else if claims && found.key.is_none() {
                let message = "access_blocked: the virtual key that was sent is not known";
                return Err(Denied::because(Reason::AccessBlocked, message).into());
            } else if !claims
                && allow_direct
                && found.direct.is_none()
                && source != Source::AccessKeyId
                && self.get(value, now).is_none()
            {
                found.direct = Some(credential);
            }
        }
        Ok(found)
    }
}

fn claims_to_be_virtual(value: &str) -> bool {
    value.get(..PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(PREFIX))
}

/// Digests are spread evenly already.
#[derive(Debug, Clone, Copy, Default)]
struct Uniform;

#[derive(Debug, Default)]
struct FirstHalf(u64);

impl BuildHasher for Uniform {
    type Hasher = FirstHalf;

    fn build_hasher(&self) -> FirstHalf {
        FirstHalf(0)
    }
}

impl Hasher for FirstHalf {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            for (to, from) in word.iter_mut().zip(chunk) {
                *to = *from;
            }
            self.0 ^= u64::from_le_bytes(word);
        }
    }

    fn write_u128(&mut self, value: u128) {
        #[expect(clippy::cast_possible_truncation, reason = "half of it is spread enough")]
        let half = value as u64;
        self.0 = half;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn index() -> KeyIndex {
        let mut index = KeyIndex::default();
        index.insert(Digest::of("sk-bf-one"), 1, None);
        index.insert(Digest::of("vk_12345"), 2, None);
        index.insert(Digest::of("sk-bf-rotated"), 1, Some(1_000));
        index
    }

    fn find<'c>(
        sent: &[(Source, &'c str)],
        direct: bool,
        now: i64,
    ) -> Result<Found<'c>, Box<Denied>> {
        let sent = sent.iter().map(|&(source, value)| Credential { source, value });
        index().find(sent.collect::<Vec<_>>(), direct, now)
    }

    #[test]
    fn keys_are_found_wherever_they_stand_and_whatever_their_shape() {
        use Source::{AccessKeyId, ApiKey, Bearer, VirtualKeyHeader, XApiKey, XGoogApiKey};
        for source in [VirtualKeyHeader, Bearer, XApiKey, ApiKey, XGoogApiKey, AccessKeyId] {
            let found = find(&[(source, "vk_12345")], false, 0).unwrap();
            assert_eq!(found.key, Some((2, source)));
        }
        let first = find(&[(VirtualKeyHeader, "sk-bf-one"), (XApiKey, "vk_12345")], true, 0);
        assert_eq!(first.unwrap().key, Some((1, VirtualKeyHeader)));
    }

    #[test]
    fn what_claims_to_be_virtual_must_be_known() {
        for sent in [
            (Source::VirtualKeyHeader, "nobody"),
            (Source::Bearer, "sk-bf-nobody"),
            (Source::XApiKey, "SK-BF-nobody"),
        ] {
            let denied = find(&[sent], true, 0).unwrap_err();
            assert_eq!((denied.reason.status(), denied.should_retry), (403, false));
            assert!(!denied.message.contains("nobody"), "{}", denied.message);
        }
    }

    #[test]
    fn other_values_are_direct_keys_or_nothing() {
        let sent = [(Source::XApiKey, "sk-ant-api03-x")];
        assert!(find(&sent, false, 0).unwrap().direct.is_none());
        assert_eq!(find(&sent, true, 0).unwrap().direct.unwrap().value, "sk-ant-api03-x");
        let sigv4 = [(Source::AccessKeyId, "AKIAEXAMPLE")];
        assert!(find(&sigv4, true, 0).unwrap().direct.is_none());
        let both = [(Source::VirtualKeyHeader, "sk-bf-one"), (Source::Bearer, "sk-ant-oat01-x")];
        let found = find(&both, true, 0).unwrap();
        assert_eq!(found.direct.unwrap().value, "sk-ant-oat01-x");
        let twice = [(Source::VirtualKeyHeader, "vk_12345"), (Source::Bearer, "vk_12345")];
        assert!(find(&twice, true, 0).unwrap().direct.is_none(), "a virtual key is never direct");
    }

    #[test]
    fn a_rotated_value_is_good_until_its_time() {
        let sent = [(Source::Bearer, "sk-bf-rotated")];
        assert_eq!(find(&sent, false, 999).unwrap().key, Some((1, Source::Bearer)));
        assert!(find(&sent, false, 1_000).is_err());
    }
}
