//! How a secret is written in the file.
//!
//! In: `"literal"`, `"env.NAME"`, or the object that Bifrost's management API writes. Out: a
//! [`Secret`]. References to the environment are resolved while the file is read
//! ([`super::shape`]), so that a literal is all that arrives here. Never: prints one.

use crate::provider::Secret;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer};
use std::borrow::Cow;

/// Marks a schema whose value is a secret: any form of it is resolved to text.
pub const SECRET: &str = "x-secret";
/// Marks a schema whose text is kept as written, references to the environment too.
pub const VERBATIM: &str = "x-verbatim";

impl<'de> Deserialize<'de> for Secret {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(Self::new)
    }
}

impl JsonSchema for Secret {
    fn schema_name() -> Cow<'static, str> {
        "Secret".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Text, `env.NAME` for a variable of the environment, or an object.",
            "x-secret": true,
            "anyOf": [
                { "type": "string" },
                {
                    "type": "object",
                    "additionalProperties": false,
                    "properties": {
                        "value": { "type": "string" },
                        "env_var": { "type": "string", "description": "`NAME` or `env.NAME`." },
                        "from_env": { "type": "boolean" },
                        "ref": { "type": "string" },
                        "type": { "enum": ["plain_text", "env", "vault"] }
                    }
                }
            ]
        })
    }
}

/// Text that is kept as written: `env.NAME` in it is read where it is used.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Verbatim(pub String);

impl JsonSchema for Verbatim {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Verbatim".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "x-verbatim": true })
    }
}
