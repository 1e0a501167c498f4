//! What is wrong with a configuration, and where.
//!
//! In: faults, as the checks find them. Out: all of them, in the order of the file, each on one
//! line with its JSON path and, where the text is at hand, its line and column. Never: repeats a
//! value, which might be a secret.

use std::fmt;

/// Where in the document: `providers.openai.keys[0].weight`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Path(Vec<Step>);

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    Key(Box<str>),
    Index(usize),
}

impl Path {
    pub const fn root() -> Self {
        Self(Vec::new())
    }

    #[must_use]
    pub fn key(&self, name: &str) -> Self {
        self.with(Step::Key(name.into()))
    }

    #[must_use]
    pub fn index(&self, index: usize) -> Self {
        self.with(Step::Index(index))
    }

    fn with(&self, step: Step) -> Self {
        let mut steps = Vec::with_capacity(self.0.len() + 1);
        steps.extend_from_slice(&self.0);
        steps.push(step);
        Self(steps)
    }

    pub fn steps(&self) -> &[Step] {
        &self.0
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, step) in self.0.iter().enumerate() {
            match step {
                Step::Index(index) => write!(f, "[{index}]")?,
                Step::Key(key) if is_plain(key) => {
                    if place > 0 {
                        f.write_str(".")?;
                    }
                    f.write_str(key)?;
                }
                Step::Key(key) => write!(f, "[{key:?}]")?,
            }
        }
        Ok(())
    }
}

fn is_plain(key: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'$');
    !key.is_empty() && key.bytes().all(plain)
}

/// One fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    pub path: Path,
    pub message: String,
    /// Line and column, from one.
    pub at: Option<(usize, usize)>,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((line, column)) = self.at {
            write!(f, "line {line}, column {column}: ")?;
        }
        if !self.path.steps().is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

/// All that is wrong; empty when nothing is.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Faults(Vec<Fault>);

impl Faults {
    pub fn push(&mut self, path: &Path, message: impl Into<String>) {
        self.0.push(Fault { path: path.clone(), message: message.into(), at: None });
    }

    pub fn push_at(&mut self, message: impl Into<String>, line: usize, column: usize) {
        let at = (line > 0).then_some((line, column));
        self.0.push(Fault { path: Path::root(), message: message.into(), at });
    }

    pub fn extend(&mut self, others: Self) {
        self.0.extend(others.0);
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn as_slice(&self) -> &[Fault] {
        &self.0
    }

    /// Says where in the text each fault is, and brings them into the text's order.
    pub fn locate(&mut self, text: &str) {
        for fault in &mut self.0 {
            if fault.at.is_none() && !fault.path.steps().is_empty() {
                fault.at = place(text, fault.path.steps());
            }
        }
        self.0.sort_by_key(|fault| fault.at.unwrap_or((usize::MAX, 0)));
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, fault) in self.0.iter().enumerate() {
            let end = if place + 1 < self.0.len() { "\n" } else { "" };
            write!(f, "{fault}{end}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Faults {}

/// Line and column of the value at a path; of the innermost one on the way to it that exists.
fn place(text: &str, steps: &[Step]) -> Option<(usize, usize)> {
    let mut raw: &serde_json::value::RawValue = serde_json::from_str(text).ok()?;
    for step in steps {
        let next = match step {
            Step::Key(key) => member(raw, key),
            Step::Index(index) => {
                let items: Option<Vec<&serde_json::value::RawValue>> =
                    serde_json::from_str(raw.get()).ok();
                items.and_then(|items| items.get(*index).copied())
            }
        };
        let Some(next) = next else { break };
        raw = next;
    }
    let offset = (raw.get().as_ptr() as usize).checked_sub(text.as_ptr() as usize)?;
    let before = text.as_bytes().get(..offset)?;
    let line = memchr::memchr_iter(b'\n', before).count() + 1;
    let column = before.iter().rev().take_while(|byte| **byte != b'\n').count() + 1;
    Some((line, column))
}

fn member<'t>(
    raw: &'t serde_json::value::RawValue,
    key: &str,
) -> Option<&'t serde_json::value::RawValue> {
    let members: std::collections::HashMap<
        std::borrow::Cow<'t, str>,
        &'t serde_json::value::RawValue,
    > = serde_json::from_str(raw.get()).ok()?;
    members.get(key).copied()
}

#[cfg(test)]
mod tests {
    use super::{Faults, Path};

    #[test]
    fn paths_read_like_the_file() {
        let path = Path::root().key("providers").key("my.own").key("keys").index(2).key("weight");
        assert_eq!(path.to_string(), "providers[\"my.own\"].keys[2].weight");
        assert_eq!(Path::root().key("$schema").to_string(), "$schema");
    }

    #[test]
    fn faults_are_located_and_sorted() {
        let text = "{\n  \"a\": [\n    {\"b\": 1},\n    {\"b\": \"x\"}\n  ],\n  \"c\": 2\n}";
        let mut faults = Faults::default();
        faults.push(&Path::root().key("c"), "second");
        faults.push(&Path::root().key("a").index(1).key("b"), "first");
        faults.push(&Path::root().key("a").index(0).key("missing"), "nearest that exists");
        faults.locate(text);
        let said = faults.to_string();
        let lines: Vec<_> = said.lines().collect();
        assert_eq!(lines[0], "line 3, column 5: a[0].missing: nearest that exists");
        assert_eq!(lines[1], "line 4, column 11: a[1].b: first");
        assert_eq!(lines[2], "line 6, column 8: c: second");
    }
}
