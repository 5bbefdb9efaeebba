//! Types out of JSON Schemas, as schemars writes them for configuration and output types.
//!
//! What a schema says beyond our types (ranges, patterns, lengths) is not read here: values are
//! checked against the schema itself.

use serde_json::{Map, Value};

use super::fields::Fields;
use super::types::Type;

/// Schemas that are nested deeper end in [`Type::Any`].
const MAX_DEPTH: usize = 32;

/// What a field means beyond its JSON type; see `base::field`.
const MARK: &str = "x-runbook";

/// Marks a map into whose values secrets may flow.
const SECRETS: &str = "x-runbook-secrets";

impl Type {
    /// The type that a JSON Schema describes; [`Type::Any`] where it says more than types can.
    ///
    /// A text that is marked by `x-runbook: secret`, or by `writeOnly: true` (JSON Schema's own
    /// mark for passwords), is a [`Type::Secret`]; so are the values of a map that is marked by
    /// `x-runbook-secrets: true`. What is marked as an expression has any type.
    pub fn from_json_schema(schema: &Value) -> Type {
        let mut reader = Reader {
            root: schema,
            within: Vec::new(),
            depth: 0,
        };
        reader.convert(schema)
    }
}

struct Reader<'a> {
    root: &'a Value,
    /// The references that are being followed: one that comes again would never end.
    within: Vec<&'a str>,
    depth: usize,
}

impl<'a> Reader<'a> {
    fn convert(&mut self, schema: &'a Value) -> Type {
        let Some(schema) = schema.as_object() else {
            return Type::Any;
        };
        if self.depth > MAX_DEPTH {
            return Type::Any;
        }
        self.depth += 1;
        let ty = match schema.get("$ref").and_then(Value::as_str) {
            Some(reference) => self.follow(reference),
            None => self.describe(schema),
        };
        self.depth -= 1;
        ty
    }

    fn follow(&mut self, reference: &'a str) -> Type {
        let target = reference
            .strip_prefix('#')
            .and_then(|at| self.root.pointer(at));
        match target {
            Some(target) if !self.within.contains(&reference) => {
                self.within.push(reference);
                let ty = self.convert(target);
                self.within.pop();
                ty
            }
            _ => Type::Any,
        }
    }

    fn describe(&mut self, schema: &'a Map<String, Value>) -> Type {
        if let Some(value) = schema.get("const") {
            return constant(value);
        }
        if let Some(Value::Array(values)) = schema.get("enum") {
            return join_all(values.iter().map(constant));
        }
        for key in ["anyOf", "oneOf"] {
            if let Some(Value::Array(choices)) = schema.get(key) {
                return join_all(choices.iter().map(|one| self.convert(one)));
            }
        }
        if let Some(Value::Array(parts)) = schema.get("allOf") {
            return match parts.as_slice() {
                [only] => self.convert(only),
                _ => Type::Any,
            };
        }
        if schema.get(MARK).is_some_and(|mark| mark == "expression") {
            return Type::Any;
        }
        match schema.get("type") {
            Some(Value::String(name)) => self.named(name, schema),
            Some(Value::Array(names)) => join_all(
                names
                    .iter()
                    .filter_map(Value::as_str)
                    .map(|name| self.named(name, schema)),
            ),
            _ if schema.contains_key("properties") => self.object(schema),
            _ => Type::Any,
        }
    }

    fn named(&mut self, name: &str, schema: &'a Map<String, Value>) -> Type {
        match name {
            "null" => Type::Null,
            "boolean" => Type::Bool,
            "integer" => Type::Int,
            "number" => Type::Number,
            "string" => {
                let secret = schema.get("writeOnly") == Some(&Value::Bool(true))
                    || schema.get(MARK).is_some_and(|mark| mark == "secret");
                if secret { Type::Secret } else { Type::String }
            }
            "array" => Type::list(self.items(schema)),
            "object" => self.object(schema),
            _ => Type::Any,
        }
    }

    fn items(&mut self, schema: &'a Map<String, Value>) -> Type {
        let tuple = match schema.get("prefixItems") {
            Some(Value::Array(items)) => items.as_slice(),
            _ => &[],
        };
        let rest = schema.get("items").filter(|items| items.is_object());
        join_all(tuple.iter().chain(rest).map(|item| self.convert(item)))
    }

    fn object(&mut self, schema: &'a Map<String, Value>) -> Type {
        let properties = schema.get("properties").and_then(Value::as_object);
        let others = schema
            .get("additionalProperties")
            .filter(|others| others.is_object());
        if schema.get(SECRETS) == Some(&Value::Bool(true)) {
            return Type::map(Type::Secret);
        }
        match (properties, others) {
            (Some(properties), None) => Type::object(Fields::new(
                properties
                    .iter()
                    .map(|(name, schema)| (name.as_str(), self.convert(schema))),
            )),
            (properties, Some(others)) => {
                let known = properties.into_iter().flat_map(Map::values);
                let all = known.chain(std::iter::once(others));
                Type::map(join_all(all.map(|one| self.convert(one))))
            }
            (None, None) => Type::map(Type::Any),
        }
    }
}

fn constant(value: &Value) -> Type {
    match value {
        Value::Null => Type::Null,
        Value::Bool(_) => Type::Bool,
        Value::Number(number) if number.is_i64() => Type::Int,
        Value::Number(_) => Type::Number,
        Value::String(text) => Type::one_of([text.as_str()]),
        Value::Array(_) | Value::Object(_) => Type::Any,
    }
}

fn join_all(types: impl IntoIterator<Item = Type>) -> Type {
    types
        .into_iter()
        .reduce(|all, one| all.join(&one))
        .unwrap_or(Type::Any)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use schemars::JsonSchema;
    use serde_json::json;

    use super::Type;

    #[derive(JsonSchema)]
    #[allow(dead_code)]
    struct Index {
        name: String,
        bloat_percent: f64,
        bytes: u64,
        valid: bool,
        schema: Option<String>,
        kind: Kind,
    }

    #[derive(JsonSchema)]
    #[allow(dead_code)]
    enum Kind {
        /// Documented, so that schemars writes `oneOf` of `const`.
        Btree,
        /// Another one.
        Gin,
    }

    #[derive(JsonSchema)]
    #[allow(dead_code)]
    struct Outputs {
        indexes: Vec<Index>,
        by_table: BTreeMap<String, u32>,
        worst: Option<Index>,
        raw: serde_json::Value,
        pair: (String, i64),
    }

    #[derive(JsonSchema)]
    #[allow(dead_code)]
    struct Node {
        children: Vec<Node>,
    }

    fn field(ty: &Type, path: &[&str]) -> String {
        let mut ty = ty.clone();
        for name in path {
            ty = match ty.without_null() {
                Type::Object(fields) => fields.get(name).unwrap().clone(),
                Type::List(item) if *name == "[]" => (**item).clone(),
                other => unreachable!("no {name} in {other}"),
            };
        }
        ty.to_string()
    }

    #[test]
    fn reads_what_schemars_writes() {
        let inline = schemars::generate::SchemaSettings::default()
            .with(|settings| settings.inline_subschemas = true)
            .into_generator();
        for generator in [inline, schemars::SchemaGenerator::default()] {
            let schema = generator.into_root_schema_for::<Outputs>();
            let ty = Type::from_json_schema(schema.as_value());
            for (path, expected) in [
                (&["indexes"][..], "a list of mappings"),
                (&["indexes", "[]", "name"], "a text"),
                (&["indexes", "[]", "bloat_percent"], "a number"),
                (&["indexes", "[]", "bytes"], "a whole number"),
                (&["indexes", "[]", "schema"], "a text or null"),
                (&["indexes", "[]", "kind"], "one of `Btree`, `Gin`"),
                (&["by_table"], "a mapping of whole numbers"),
                (&["worst"], "a mapping or null"),
                (&["worst", "valid"], "a boolean"),
                (&["raw"], "any value"),
                (&["pair"], "a list"),
            ] {
                assert_eq!(field(&ty, path), expected, "{path:?}");
            }
        }
    }

    #[test]
    fn ends_where_a_schema_does_not() {
        let schema = schemars::schema_for!(Node);
        let ty = Type::from_json_schema(schema.as_value());
        assert_eq!(field(&ty, &["children", "[]", "children"]), "a list");
        let hostile = json!({"$ref": "#"});
        assert_eq!(Type::from_json_schema(&hostile), Type::Any);
    }

    #[test]
    fn secrets_are_marked() {
        let schema = json!({"type": "object", "properties": {
            "password": {"type": "string", "writeOnly": true},
            "tokens": {"type": "array", "items": {"type": "string", "x-runbook": "secret"}},
            "env": {"type": "object", "additionalProperties": {"type": "string"},
                "x-runbook-secrets": true},
            "when": {"type": ["string", "boolean"], "x-runbook": "expression"},
        }});
        let ty = Type::from_json_schema(&schema);
        assert_eq!(field(&ty, &["password"]), "a secret");
        assert_eq!(field(&ty, &["tokens"]), "a list of secrets");
        assert_eq!(field(&ty, &["env"]), "a mapping of secrets");
        assert_eq!(field(&ty, &["when"]), "any value");
        assert!(ty.contains_secret());
    }
}
