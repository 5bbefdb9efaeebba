//! Types of configuration fields that mean more than their JSON type.
//!
//! Each says so in its schema by `x-runbook`, which the checker of playbooks reads: `secret` (a
//! secret may flow in), `code` (never a template), `pattern` (a regular expression), `duration` and
//! `size` (see their own files), `connection:<kind>` (see `host::connect`), `expression` (evaluated
//! by the engine before the step sees its value).

use std::borrow::Cow;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

macro_rules! text_field {
    ($(#[$doc:meta])* $name:ident, $mark:literal, $description:literal) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, Deserialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The text itself.
            pub fn expose(&self) -> &str {
                &self.0
            }
        }

        impl From<String> for $name {
            fn from(text: String) -> Self {
                Self(text)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({
                    "type": "string",
                    "description": $description,
                    "x-runbook": $mark,
                })
            }

            fn inline_schema() -> bool {
                true
            }
        }
    };
}

text_field!(
    /// A text that a secret may flow into. It never prints itself.
    SecretText,
    "secret",
    "A text that may hold a secret"
);

text_field!(
    /// A script or SQL text: never a template, so `${{` in it is an error.
    Code,
    "code",
    "Code: never a template; values reach it as environment variables or bound parameters"
);

impl fmt::Debug for SecretText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretText(…)")
    }
}

impl fmt::Debug for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Code({:?})", self.0)
    }
}

/// A regular expression in the syntax of the `regex` crate; checked before anything runs.
#[derive(Clone, Debug)]
pub struct Pattern(String);

impl Pattern {
    /// The expression as written.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Serialize for Pattern {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for Pattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        regex::bytes::RegexBuilder::new(&text)
            .size_limit(10 << 20)
            .build()
            .map_err(serde::de::Error::custom)?;
        Ok(Self(text))
    }
}

impl schemars::JsonSchema for Pattern {
    fn schema_name() -> Cow<'static, str> {
        "Pattern".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "description": "A regular expression (the syntax of Rust's `regex` crate)",
            "x-runbook": "pattern",
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// An expression that the engine has evaluated, with what it was made of: for steps that judge one.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evaluated {
    /// The expression as written.
    pub source: String,
    /// What it came to.
    pub value: serde_json::Value,
    /// What the paths in it stood for, in the order in which they stand.
    #[serde(default)]
    pub operands: serde_json::Map<String, serde_json::Value>,
}

impl schemars::JsonSchema for Evaluated {
    fn schema_name() -> Cow<'static, str> {
        "Evaluated".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": ["string", "boolean"],
            "description": "An expression, bare or in `${{ }}`",
            "x-runbook": "expression",
        })
    }

    fn inline_schema() -> bool {
        true
    }
}

/// A limit in percent, 0 to 100.
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Percent(pub f64);

impl<'de> Deserialize<'de> for Percent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = f64::deserialize(deserializer)?;
        if (0.0..=100.0).contains(&value) {
            Ok(Self(value))
        } else {
            Err(serde::de::Error::custom(format!(
                "{value} is not a percentage (0 to 100)"
            )))
        }
    }
}

impl schemars::JsonSchema for Percent {
    fn schema_name() -> Cow<'static, str> {
        "Percent".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "number", "minimum": 0, "maximum": 100 })
    }

    fn inline_schema() -> bool {
        true
    }
}
