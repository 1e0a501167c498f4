//! Lists of models: exact names, `*`, and `regex:` patterns.
//!
//! In: the entries as the configuration writes them. Out: whether a model is on the list. Exact
//! names match by case after a `provider/` prefix is taken off both; a pattern must match the whole
//! name, in any case. Equal patterns of many keys are compiled once. Never: knows which models
//! exist; `*` leaves that to the catalogue.

use hashbrown::{HashMap, HashSet};
use regex::{Regex, RegexBuilder};
use std::sync::Arc;

/// Most memory that one compiled pattern may take.
const PATTERN_BYTES: usize = 1 << 20;

/// A compiled list. The default is empty and holds no model.
#[derive(Debug, Clone, Default)]
pub struct ModelList {
    all: bool,
    exact: Names,
    patterns: Box<[Arc<Regex>]>,
}

#[derive(Debug, Clone)]
enum Names {
    Few(Box<[Box<str>]>),
    Many(HashSet<Box<str>>),
}

impl Default for Names {
    fn default() -> Self {
        Self::Few(Box::default())
    }
}

/// Compiled patterns by their text.
#[derive(Debug, Default)]
pub struct Patterns(HashMap<Box<str>, Arc<Regex>>);

impl Patterns {
    /// `text` without `regex:`. Errors are those of the `regex` crate (RE2's grammar).
    pub fn compile(&mut self, text: &str) -> Result<Arc<Regex>, regex::Error> {
        if let Some(known) = self.0.get(text) {
            return Ok(Arc::clone(known));
        }
        let whole = format!("^(?:{text})$");
        let compiled =
            RegexBuilder::new(&whole).case_insensitive(true).size_limit(PATTERN_BYTES).build()?;
        let compiled = Arc::new(compiled);
        self.0.insert(text.into(), Arc::clone(&compiled));
        Ok(compiled)
    }
}

impl ModelList {
    /// Every model.
    pub fn all() -> Self {
        Self { all: true, ..Self::default() }
    }

    /// Faults name the entry's index.
    pub fn compile<'a>(
        entries: impl IntoIterator<Item = &'a str>,
        known: &dyn Fn(&str) -> bool,
        patterns: &mut Patterns,
    ) -> Result<Self, (usize, regex::Error)> {
        let mut list = Self::default();
        let (mut exact, mut compiled) = (Vec::new(), Vec::new());
        for (index, entry) in entries.into_iter().enumerate() {
            match entry.strip_prefix("regex:") {
                Some(pattern) => {
                    compiled.push(patterns.compile(pattern).map_err(|error| (index, error))?);
                }
                None if entry == "*" => list.all = true,
                None => exact.push(Box::from(bare(entry, known))),
            }
        }
        list.exact = if exact.len() > 8 {
            Names::Many(exact.into_iter().collect())
        } else {
            Names::Few(exact.into())
        };
        list.patterns = compiled.into();
        Ok(list)
    }

    /// `model` without its `provider/`.
    pub fn holds(&self, model: &str) -> bool {
        self.all
            || match &self.exact {
                Names::Few(names) => names.iter().any(|name| **name == *model),
                Names::Many(names) => names.contains(model),
            }
            || self.patterns.iter().any(|pattern| pattern.is_match(model))
    }

    /// Whether it is `*`: what a call that names no model needs.
    pub fn is_all(&self) -> bool {
        self.all
    }

    pub fn is_empty(&self) -> bool {
        !self.all
            && self.patterns.is_empty()
            && match &self.exact {
                Names::Few(names) => names.is_empty(),
                Names::Many(names) => names.is_empty(),
            }
    }
}

fn bare<'a>(model: &'a str, known: &dyn Fn(&str) -> bool) -> &'a str {
    match model.split_once('/') {
        Some((provider, rest)) if known(provider) && !rest.is_empty() => rest,
        _ => model,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(entries: &[&str]) -> ModelList {
        let known = |name: &str| name == "openai";
        ModelList::compile(entries.iter().copied(), &known, &mut Patterns::default()).unwrap()
    }

    #[test]
    fn names_patterns_and_the_star() {
        assert!(list(&["gpt-4o"]).holds("gpt-4o"));
        assert!(list(&["openai/gpt-4o"]).holds("gpt-4o"));
        assert!(!list(&["gpt-4o"]).holds("GPT-4o"), "exact names have case");
        assert!(!list(&["gpt-4o"]).holds("gpt-4o-mini"));
        assert!(list(&["regex:.*claude.*"]).holds("anthropic.Claude-3"));
        assert!(!list(&["regex:gpt"]).holds("gpt-4o"), "a pattern matches the whole name");
        assert!(!list(&["regex:a|gpt-4"]).holds("gpt-4o"), "each alternative, too");
        assert!(list(&["*"]).holds("anything"));
        assert!(list(&[]).is_empty() && !list(&[]).holds("gpt-4o"));
        let many: Vec<String> = (0..50).map(|index| format!("m{index}")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert!(list(&many).holds("m49") && !list(&many).holds("m50"));
    }

    #[test]
    fn a_bad_pattern_names_its_entry() {
        let bad = ModelList::compile(["*", "regex:("], &|_| false, &mut Patterns::default());
        assert_eq!(bad.map_err(|(index, _)| index).err(), Some(1));
    }

    #[test]
    fn equal_patterns_are_compiled_once() {
        let mut patterns = Patterns::default();
        let (a, b) = (patterns.compile("x.*").unwrap(), patterns.compile("x.*").unwrap());
        assert!(Arc::ptr_eq(&a, &b));
    }
}
