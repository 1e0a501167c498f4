//! JSON text to a tree, without a doubt left: a field that stands twice is a fault.
//!
//! In: the text of a file. Out: its tree, or the first fault with line and column. Never: takes
//! the later of two values in silence, as most readers of JSON do.

use crate::config::fault::Faults;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::fmt;

/// # Errors
/// One fault: where the text is no JSON, or names a field twice.
pub fn parse(text: &str) -> Result<Value, Faults> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut reader = serde_json::Deserializer::from_str(text);
    let tree = Strict.deserialize(&mut reader).and_then(|tree| reader.end().map(|()| tree));
    tree.map_err(|error| {
        let place = format!(" at line {} column {}", error.line(), error.column());
        let message = error.to_string();
        let mut faults = Faults::default();
        let message = message.strip_suffix(&place).unwrap_or(&message);
        faults.push_at(message, error.line(), error.column());
        faults
    })
}

struct Strict;

impl<'de> DeserializeSeed<'de> for Strict {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::Number(value.into()))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("not a number"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element_seed(Strict)? {
            list.push(item);
        }
        Ok(Value::Array(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            if object.contains_key(&name) {
                return Err(A::Error::custom(format_args!("the field `{name}` stands here twice")));
            }
            let value = members.next_value_seed(Strict)?;
            object.insert(name, value);
        }
        Ok(Value::Object(object))
    }
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn what_is_no_json_is_said_with_its_place() {
        let said = |text: &str| parse(text).unwrap_err().to_string();
        assert_eq!(said("{\n  \"a\": 1,\n}"), "line 3, column 1: trailing comma");
        assert_eq!(said("{} x"), "line 1, column 4: trailing characters");
        assert_eq!(
            said("{\"a\": 1,\n \"a\": 2}"),
            "line 2, column 4: the field `a` stands here twice"
        );
        assert!(said("").contains("EOF"));
        assert!(said(&"[".repeat(10_000)).contains("recursion limit"));
    }

    #[test]
    fn the_tree_is_what_was_written() {
        let text = r#"{"b":[1,-2,3.5,null,true,"x"],"a":{"c":{}}}"#;
        assert_eq!(parse(text).unwrap().to_string(), text);
        assert!(parse("\u{feff}{}").is_ok(), "with a byte order mark");
    }
}
