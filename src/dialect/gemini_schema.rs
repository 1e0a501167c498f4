//! Gemini's own `Schema` as JSON Schema, for the languages that know only the latter.
//!
//! In: the schemas of a request that came in as Gemini. Out: the same request with JSON Schema in
//! their place: types in lower case, `nullable` as a type, counts as numbers, key order kept.
//! Never: touches what already is JSON Schema.

use super::Dialect;
use super::gemini_request::camel;
use crate::chat::{Format, Request, Tool};
use crate::wire::json_read;
use crate::wire::json_write::{Array, Object, string};
use std::borrow::Cow;

/// JSON Schemas in place of a request's Gemini schemas.
#[derive(Debug)]
pub(super) struct Lowered {
    tools: Vec<Option<String>>,
    format: Option<String>,
}

impl Lowered {
    /// `None` when the request needs no change on its way to `target`.
    pub(super) fn of(request: &Request<'_>, target: Dialect) -> Option<Self> {
        if request.from != Dialect::Gemini || target == Dialect::Gemini {
            return None;
        }
        let schema_of = |tool: &Tool<'_>| match tool {
            Tool::Function(function) => function.schema.map(json_schema),
            Tool::Hosted { .. } => None,
        };
        let tools = request.tools.iter().map(schema_of).collect();
        let format = match &request.format {
            Some(Format::JsonSchema { schema, .. }) => Some(json_schema(schema)),
            Some(Format::Text | Format::JsonObject) | None => None,
        };
        Some(Self { tools, format })
    }

    pub(super) fn applied<'b>(&'b self, request: &Request<'b>) -> Request<'b> {
        let mut request = request.clone();
        for (tool, lowered) in request.tools.iter_mut().zip(&self.tools) {
            if let (Tool::Function(function), Some(lowered)) = (tool, lowered) {
                function.schema = Some(lowered);
            }
        }
        if let (Some(Format::JsonSchema { schema, .. }), Some(lowered)) =
            (&mut request.format, &self.format)
        {
            *schema = Cow::Borrowed(lowered);
        }
        request
    }
}

/// Whether this is Gemini's `Schema`, as its upper-case type tells.
pub(super) fn is_gemini(schema: &str) -> bool {
    let kind = json_read::field(schema, "type").and_then(json_read::text);
    kind.is_some_and(|kind| lower_type(&kind).is_some())
}

/// The JSON Schema that says the same.
pub(super) fn json_schema(schema: &str) -> String {
    let mut out = Vec::with_capacity(schema.len());
    lower(schema, &mut out);
    String::from_utf8(out).unwrap_or_else(|_| schema.to_owned())
}

fn lower(schema: &str, out: &mut Vec<u8>) {
    if !json_read::is_object(schema) {
        out.extend_from_slice(schema.as_bytes());
        return;
    }
    let nullable = json_read::field(schema, "nullable").and_then(json_read::boolean) == Some(true);
    let mut object = Object::begin(out);
    for (name, raw) in json_read::fields(schema) {
        let keyword = camel(&name);
        match &*keyword {
            "nullable" | "propertyOrdering" => {}
            "type" => lower_type_member(raw, nullable, &mut object),
            "properties" | "patternProperties" | "$defs" | "defs" | "definitions" => {
                let mut children = object.object(&keyword);
                for (child, schema) in json_read::fields(raw) {
                    lower(schema, children.key(&child));
                }
                children.end();
            }
            "items" | "additionalProperties" | "not" if json_read::is_object(raw) => {
                lower(raw, object.key(&keyword));
            }
            "anyOf" | "oneOf" | "allOf" | "prefixItems" if json_read::is_array(raw) => {
                let mut members = object.array(&keyword);
                json_read::items(raw).for_each(|schema| lower(schema, members.item()));
                if nullable && &*keyword == "anyOf" {
                    members.raw(r#"{"type":"null"}"#);
                }
                members.end();
            }
            "enum" if nullable => lower_enum(raw, object.array("enum")),
            "minItems" | "maxItems" | "minLength" | "maxLength" | "minProperties"
            | "maxProperties" => {
                // 64-bit numbers are strings in protobuf's JSON
                let number = json_read::text(raw).filter(|text| text.parse::<u64>().is_ok());
                object.raw(&keyword, number.as_deref().unwrap_or(raw));
            }
            _ => {
                object.raw(&name, raw);
            }
        }
    }
    object.end();
}

fn lower_type_member(raw: &str, nullable: bool, object: &mut Object<'_>) {
    let Some(written) = json_read::text(raw) else {
        object.raw("type", raw);
        return;
    };
    if written == "TYPE_UNSPECIFIED" {
        return;
    }
    let name = lower_type(&written).unwrap_or(&written);
    if !nullable || name == "null" {
        object.text("type", name);
        return;
    }
    let mut both = object.array("type");
    string(both.item(), name);
    both.text("null");
    both.end();
}

fn lower_enum(raw: &str, mut members: Array<'_>) {
    let mut has_null = false;
    for member in json_read::items(raw) {
        has_null |= json_read::is_null(member);
        members.raw(member);
    }
    if !has_null {
        members.raw("null");
    }
    members.end();
}

fn lower_type(name: &str) -> Option<&'static str> {
    Some(match name {
        "STRING" => "string",
        "NUMBER" => "number",
        "INTEGER" => "integer",
        "BOOLEAN" => "boolean",
        "ARRAY" => "array",
        "OBJECT" => "object",
        "NULL" => "null",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn types_nullables_and_counts_are_said_in_json_schema() {
        let gemini = r#"{"type":"OBJECT","properties":{"z":{"type":"STRING","nullable":true,"enum":["a"]},"type":{"type":"ARRAY","items":{"type":"INTEGER"},"min_items":"2"},"u":{"any_of":[{"type":"NUMBER"},{"type":"BOOLEAN"}],"nullable":true}},"required":["z"],"propertyOrdering":["z","type"]}"#;
        assert_eq!(
            json_schema(gemini),
            r#"{"type":"object","properties":{"z":{"type":["string","null"],"enum":["a",null]},"type":{"type":"array","items":{"type":"integer"},"minItems":2},"u":{"anyOf":[{"type":"number"},{"type":"boolean"},{"type":"null"}]}},"required":["z"]}"#
        );
        assert!(is_gemini(gemini));
    }

    #[test]
    fn json_schema_stays_as_it_is() {
        let schema = r##"{"$defs":{"a":{"type":"string"}},"type":"object","properties":{"x":{"$ref":"#/$defs/a"}},"additionalProperties":false}"##;
        assert_eq!(json_schema(schema), schema);
        assert!(!is_gemini(schema));
        assert_eq!(json_schema("true"), "true");
    }
}
