//! Holds a document against the schema: unknown and missing fields, types, ranges, references.
//!
//! In: the tree of a file, the schema generated from the file's types, the environment. Out: every
//! fault of shape at once, each with its path; and in the tree, text in place of `env.NAME` and
//! of the object forms of a secret. Never: knows what a field means.

use crate::config::fault::{Faults, Path};
use crate::config::file_secret::{SECRET, VERBATIM};
use crate::config::network::Lookup;
use serde_json::{Map, Value};

/// Checks the document, and resolves its references to the environment in place.
pub fn hold(document: &mut Value, schema: &Value, env: Lookup<'_>, faults: &mut Faults) {
    let definitions = schema.get("$defs").and_then(Value::as_object);
    let mut walk = Walk { definitions, env, dormant: false, faults };
    walk.value(document, schema, &Path::root());
}

struct Walk<'s, 'f> {
    definitions: Option<&'s Map<String, Value>>,
    env: Lookup<'s>,
    /// Inside of what is switched off: a variable may be missing.
    dormant: bool,
    faults: &'f mut Faults,
}

impl<'s> Walk<'s, '_> {
    /// The schema that a reference stands for.
    fn followed(&self, schema: &'s Value) -> &'s Value {
        let name = schema.get("$ref").and_then(Value::as_str);
        let name = name.and_then(|name| name.strip_prefix("#/$defs/"));
        name.and_then(|name| self.definitions?.get(name)).unwrap_or(schema)
    }

    fn value(&mut self, value: &mut Value, schema: &'s Value, path: &Path) {
        let schema = self.followed(schema);
        if flag(schema, SECRET) {
            return self.secret(value, schema, path);
        }
        if let (Some(allowed), Value::String(text)) = (words(schema), &mut *value) {
            self.resolve(text, path);
            return self.word(text, &allowed, path);
        }
        if let Some(branches) = branches(schema) {
            let fitting = branches.iter().find(|branch| self.takes(branch, value));
            return match fitting {
                Some(branch) => self.value(value, branch, path),
                None => self.mistyped(value, schema, path),
            };
        }
        if !self.takes(schema, value) {
            return self.mistyped(value, schema, path);
        }
        match value {
            Value::String(_) if flag(schema, VERBATIM) => {}
            Value::String(text) => {
                self.resolve(text, path);
                self.text(text, schema, path);
            }
            Value::Number(number) => self.number(number, schema, path),
            Value::Array(items) => {
                for (at, item) in items.iter_mut().enumerate() {
                    let rules = schema.get("items").unwrap_or(&Value::Null);
                    self.value(item, rules, &path.index(at));
                }
            }
            Value::Object(members) => self.object(members, schema, path),
            Value::Null | Value::Bool(_) => {}
        }
    }

    fn object(&mut self, members: &mut Map<String, Value>, schema: &'s Value, path: &Path) {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema.get("additionalProperties");
        let outer = self.dormant;
        let is = |name: &str, state: bool| members.get(name) == Some(&Value::Bool(state));
        self.dormant |= is("enabled", false) || is("disabled", true);
        for (name, value) in members.iter_mut() {
            let known = properties.and_then(|properties| properties.get(name));
            match known.or(others.filter(|others| **others != Value::Bool(false))) {
                Some(rules) => self.value(value, rules, &path.key(name)),
                None if others.is_none() => self.value(value, &Value::Null, &path.key(name)),
                None => {
                    let known = properties.into_iter().flat_map(Map::keys);
                    let message = unknown(name, known.map(String::as_str));
                    self.faults.push(&path.key(name), message);
                }
            }
        }
        self.dormant = outer;
        let required = schema.get("required").and_then(Value::as_array);
        for name in required.into_iter().flatten().filter_map(Value::as_str) {
            if !members.contains_key(name) {
                self.faults.push(path, format!("the field `{name}` is missing"));
            }
        }
    }

    /// Brings every form of a secret into one: text.
    fn secret(&mut self, value: &mut Value, schema: &'s Value, path: &Path) {
        let form = branches(schema).and_then(|all| all.iter().find(|form| self.takes(form, value)));
        let Some(form) = form else { return self.mistyped(value, schema, path) };
        if let Value::Object(members) = value {
            let before = self.faults.len();
            let mut shape = members.clone();
            let (env, dormant) = (self.env, true);
            let mut walk = Walk { env, dormant, faults: &mut *self.faults, ..*self };
            walk.object(&mut shape, form, path);
            if self.faults.len() > before {
                return;
            }
            *value = Value::String(reference(members));
        }
        if let Value::String(text) = value {
            if text.starts_with("vault.") {
                self.faults.push(path, "references to a vault are not supported by this version");
            }
            self.resolve(text, path);
        }
    }

    /// `env.NAME` becomes the variable's value.
    fn resolve(&mut self, text: &mut String, path: &Path) {
        let Some(name) = variable(text) else { return };
        match (self.env)(name) {
            Some(value) => *text = value,
            None if self.dormant => {}
            None => {
                let message = format!("the environment variable {name} is not set");
                self.faults.push(path, message);
            }
        }
    }

    fn word(&mut self, text: &str, allowed: &[&str], path: &Path) {
        if !allowed.contains(&text) {
            let names: Vec<_> = allowed.iter().map(|name| format!("`{name}`")).collect();
            let meant = suggestion(text, allowed.iter().copied())
                .map_or_else(String::new, |meant| format!("; did you mean `{meant}`?"));
            let names = names.join(", ");
            self.faults.push(path, format!("expected one of {names}{meant}"));
        }
    }

    fn text(&mut self, text: &str, schema: &'s Value, path: &Path) {
        let longest = schema.get("maxLength").and_then(Value::as_u64);
        if let Some(longest) = longest
            && text.chars().count() as u64 > longest
        {
            self.faults.push(path, format!("at most {longest} characters"));
        }
    }

    fn number(&mut self, number: &serde_json::Number, schema: &'s Value, path: &Path) {
        let bound = |name: &str| schema.get(name).and_then(Value::as_f64);
        let Some(value) = number.as_f64() else { return };
        let low = bound("minimum").filter(|low| value < *low);
        let widest = match schema.get("format").and_then(Value::as_str) {
            Some("uint8") => Some(f64::from(u8::MAX)),
            Some("uint16") => Some(f64::from(u16::MAX)),
            Some("uint32") => Some(f64::from(u32::MAX)),
            _ => None,
        };
        let high = bound("maximum").or(widest).filter(|high| value > *high);
        if let Some(low) = low {
            self.faults.push(path, format!("must be at least {low}"));
        } else if let Some(high) = high {
            self.faults.push(path, format!("must be at most {high}"));
        }
    }

    fn mistyped(&mut self, value: &Value, schema: &'s Value, path: &Path) {
        let mut wanted = Vec::new();
        self.describe(schema, &mut wanted);
        let found = match value {
            Value::Null => "null",
            Value::Bool(_) => "true or false",
            Value::Number(_) => "a number",
            Value::String(_) => "a text",
            Value::Array(_) => "a list",
            Value::Object(_) => "an object",
        };
        self.faults.push(path, format!("expected {}, found {found}", wanted.join(" or ")));
    }

    /// Whether the JSON type of a value is one that the schema has.
    fn takes(&self, schema: &'s Value, value: &Value) -> bool {
        let schema = self.followed(schema);
        if let Some(branches) = branches(schema) {
            return branches.iter().any(|branch| self.takes(branch, value));
        }
        let mut types = types(schema).peekable();
        if types.peek().is_none() {
            return words(schema).is_none() || value.is_string();
        }
        types.any(|name| match name {
            "null" => value.is_null(),
            "boolean" => value.is_boolean(),
            "integer" => value.is_i64() || value.is_u64(),
            "number" => value.is_number(),
            "string" => value.is_string(),
            "array" => value.is_array(),
            _ => value.is_object(),
        })
    }

    fn describe(&self, schema: &'s Value, out: &mut Vec<&'static str>) {
        let schema = self.followed(schema);
        for branch in branches(schema).into_iter().flatten() {
            self.describe(branch, out);
        }
        for name in types(schema) {
            let word = match name {
                "null" => continue,
                "boolean" => "true or false",
                "integer" => "a whole number",
                "number" => "a number",
                "string" => "a text",
                "array" => "a list",
                _ => "an object",
            };
            if !out.contains(&word) {
                out.push(word);
            }
        }
    }
}

fn flag(schema: &Value, name: &str) -> bool {
    schema.get(name) == Some(&Value::Bool(true))
}

/// The words that are allowed, where the schema lists some.
fn words(schema: &Value) -> Option<Vec<&str>> {
    if let Some(word) = schema.get("const").and_then(Value::as_str) {
        return Some(vec![word]);
    }
    if let Some(list) = schema.get("enum").and_then(Value::as_array) {
        return Some(list.iter().filter_map(Value::as_str).collect());
    }
    let all: Option<Vec<_>> = branches(schema)?.iter().map(words).collect();
    all.map(|all| all.concat())
}

fn branches(schema: &Value) -> Option<&Vec<Value>> {
    schema.get("anyOf").or_else(|| schema.get("oneOf")).and_then(Value::as_array)
}

fn types(schema: &Value) -> impl Iterator<Item = &str> {
    let (one, many) = match schema.get("type") {
        Some(Value::String(one)) => (Some(one.as_str()), None),
        Some(Value::Array(many)) => (None, Some(many)),
        _ => (None, None),
    };
    one.into_iter().chain(many.into_iter().flatten().filter_map(Value::as_str))
}

/// The variable that a text refers to: `env.NAME`, the whole of it.
pub fn variable(text: &str) -> Option<&str> {
    let name = text.strip_prefix("env.")?;
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let named = !name.is_empty() && name.bytes().all(plain);
    (named && !name.starts_with(|first: char| first.is_ascii_digit())).then_some(name)
}

/// The object form of a secret as text: `env.NAME`, `vault.…`, or the value itself.
fn reference(members: &Map<String, Value>) -> String {
    let text =
        |name: &str| members.get(name).and_then(Value::as_str).filter(|text| !text.is_empty());
    let kind = text("type");
    let named = text("env_var").or_else(|| text("ref"));
    let from_env = members.get("from_env") == Some(&Value::Bool(true));
    if kind == Some("vault") {
        return format!("vault.{}", text("ref").unwrap_or_default());
    }
    let is_env = kind == Some("env") || from_env || text("value").is_none();
    let name = if is_env { named.or_else(|| text("value")) } else { None };
    match name {
        Some(name) if name.starts_with("vault.") => name.to_owned(),
        Some(name) => format!("env.{}", name.strip_prefix("env.").unwrap_or(name)),
        None => text("value").unwrap_or_default().to_owned(),
    }
}

fn unknown<'n>(name: &str, known: impl Iterator<Item = &'n str> + Clone) -> String {
    if let Some(meant) = suggestion(name, known.clone()) {
        return format!("unknown field; did you mean `{meant}`?");
    }
    let known: Vec<_> = known.map(|name| format!("`{name}`")).collect();
    if known.is_empty() || known.len() > 12 {
        return "unknown field".to_owned();
    }
    format!("unknown field; known here: {}", known.join(", "))
}

/// The known name that was probably meant.
pub fn suggestion<'n>(name: &str, known: impl Iterator<Item = &'n str>) -> Option<&'n str> {
    let plain = |name: &str| name.to_ascii_lowercase().replace(['_', '-'], "");
    let written = plain(name);
    let near = known.map(|known| {
        let meant = plain(known);
        let edits = strsim::damerau_levenshtein(&written, &meant);
        let limit = (meant.len().min(written.len()) / 3).max(1);
        (if edits <= limit { edits } else { usize::MAX }, known)
    });
    near.min_by_key(|(edits, _)| *edits).filter(|(edits, _)| *edits != usize::MAX).map(|(_, n)| n)
}

#[cfg(test)]
mod tests {
    use super::{reference, suggestion, variable};
    use serde_json::json;

    #[test]
    fn a_variable_is_the_whole_text() {
        assert_eq!(variable("env.OPENAI_KEY"), Some("OPENAI_KEY"));
        for text in ["env.", "env.a.b", "env.1X", "xenv.A", "env.A == 1", "ENV.A"] {
            assert_eq!(variable(text), None, "{text}");
        }
    }

    #[test]
    fn object_forms_of_a_secret_become_text() {
        let text = |value: serde_json::Value| reference(value.as_object().unwrap());
        assert_eq!(text(json!({"value": "x", "type": "plain_text"})), "x");
        assert_eq!(text(json!({"value": "", "env_var": "A", "from_env": true})), "env.A");
        assert_eq!(text(json!({"value": "env.A", "env_var": "", "from_env": true})), "env.A");
        assert_eq!(text(json!({"ref": "env.A", "type": "env"})), "env.A");
        assert_eq!(text(json!({"value": "x", "env_var": "A", "from_env": false})), "x");
        assert_eq!(text(json!({"ref": "a/b#c", "type": "vault"})), "vault.a/b#c");
        assert_eq!(text(json!({})), "");
    }

    #[test]
    fn only_near_names_are_suggested() {
        let known = ["weight", "value", "enabled", "blacklisted_models"];
        let of = |name| suggestion(name, known.into_iter());
        assert_eq!(of("weigth"), Some("weight"));
        assert_eq!(of("blacklistedModels"), Some("blacklisted_models"));
        assert_eq!(of("enable"), Some("enabled"));
        assert_eq!(of("colour"), None);
    }
}
