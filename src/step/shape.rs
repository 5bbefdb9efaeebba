//! The shape of a configuration: what the checker of playbooks reads out of a type's JSON Schema.

use serde_json::Value;

/// What a field takes.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// Anything.
    Any,
    /// `true` or `false`.
    Bool,
    /// A whole number in a range.
    Int {
        /// Smallest.
        min: Option<i64>,
        /// Largest.
        max: Option<i64>,
    },
    /// A number in a range.
    Number {
        /// Smallest.
        min: Option<f64>,
        /// Largest.
        max: Option<f64>,
    },
    /// A text of some kind.
    Text(TextKind),
    /// One of these words.
    Word(Vec<String>),
    /// A list of these.
    List {
        /// Each item.
        item: Box<Shape>,
        /// Fewest items.
        min_items: usize,
    },
    /// A mapping with any keys to these.
    Map(Box<Shape>),
    /// A mapping with known keys.
    Object(Vec<Field>),
    /// One of several shapes, told apart by their YAML kind.
    OneOf(Vec<Shape>),
}

/// What kind of text a field takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextKind {
    /// Any.
    Plain,
    /// Any, and a secret may flow in.
    Secret,
    /// A script or SQL: never a template.
    Code,
    /// A regular expression.
    Pattern,
    /// `5m`.
    Duration,
    /// `10MB`, or a number of bytes.
    Size,
    /// The name of a connection of this kind.
    Connection(String),
    /// An expression that the engine evaluates before the step sees its value.
    Expression,
}

/// A known key of a mapping.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// Its name.
    pub name: String,
    /// What it takes.
    pub shape: Shape,
    /// Whether it must be there.
    pub required: bool,
    /// Whether it may be `null`.
    pub nullable: bool,
    /// What it is when it is not there.
    pub default: Option<Value>,
    /// Its documentation; Markdown.
    pub doc: String,
    /// Whether secrets may flow into every value of it (`env:`).
    pub secrets: bool,
}

impl Shape {
    /// The shape that a schema (with everything inline) describes.
    pub fn from_schema(schema: &Value) -> Self {
        if let Some(mark) = schema["x-runbook"].as_str() {
            return Self::from_mark(mark);
        }
        if let Some(words) = schema["enum"].as_array() {
            return Self::Word(
                words
                    .iter()
                    .filter_map(Value::as_str)
                    .map(str::to_owned)
                    .collect(),
            );
        }
        for key in ["oneOf", "anyOf"] {
            if let Some(variants) = schema[key].as_array() {
                return Self::from_variants(variants);
            }
        }
        match type_of(schema) {
            Some("boolean") => Self::Bool,
            Some("integer") => Self::Int {
                min: bound(schema, "minimum"),
                max: bound(schema, "maximum"),
            },
            Some("number") => Self::Number {
                min: schema["minimum"].as_f64(),
                max: schema["maximum"].as_f64(),
            },
            Some("string") => Self::Text(TextKind::Plain),
            Some("array") => Self::List {
                item: Box::new(Self::from_schema(&schema["items"])),
                min_items: schema["minItems"]
                    .as_u64()
                    .and_then(|n| usize::try_from(n).ok())
                    .unwrap_or(0),
            },
            Some("object") => Self::from_object(schema),
            _ => Self::Any,
        }
    }

    fn from_mark(mark: &str) -> Self {
        Self::Text(match mark {
            "secret" => TextKind::Secret,
            "code" => TextKind::Code,
            "pattern" => TextKind::Pattern,
            "duration" => TextKind::Duration,
            "size" => TextKind::Size,
            "expression" => TextKind::Expression,
            other => match other.strip_prefix("connection:") {
                Some(kind) => TextKind::Connection(kind.to_owned()),
                None => TextKind::Plain,
            },
        })
    }

    fn from_variants(variants: &[Value]) -> Self {
        let words: Vec<String> = variants
            .iter()
            .filter_map(|v| v["const"].as_str())
            .map(str::to_owned)
            .collect();
        if words.len() == variants.len() {
            return Self::Word(words);
        }
        let mut shapes: Vec<Self> = variants
            .iter()
            .filter(|v| v["type"] != "null")
            .map(Self::from_schema)
            .collect();
        if shapes.len() == 1 {
            return shapes.remove(0);
        }
        Self::OneOf(shapes)
    }

    fn from_object(schema: &Value) -> Self {
        let Some(properties) = schema["properties"].as_object() else {
            return match &schema["additionalProperties"] {
                Value::Object(_) => {
                    Self::Map(Box::new(Self::from_schema(&schema["additionalProperties"])))
                }
                _ => Self::Map(Box::new(Self::Any)),
            };
        };
        let required: Vec<&str> = schema["required"]
            .as_array()
            .map(|names| names.iter().filter_map(Value::as_str).collect())
            .unwrap_or_default();
        let field = |(name, schema): (&String, &Value)| Field {
            name: name.clone(),
            shape: Self::from_schema(schema),
            required: required.contains(&name.as_str()),
            nullable: is_nullable(schema),
            default: schema
                .get("default")
                .filter(|value| !value.is_null())
                .cloned(),
            doc: schema["description"]
                .as_str()
                .unwrap_or_default()
                .to_owned(),
            secrets: schema["x-runbook-secrets"].as_bool().unwrap_or(false),
        };
        Self::Object(properties.iter().map(field).collect())
    }

    /// What it takes, for people: "a duration", "one of `fail`, `wait`".
    pub fn describe(&self) -> String {
        match self {
            Self::Any => "any value".to_owned(),
            Self::Bool => "`true` or `false`".to_owned(),
            Self::Int { min, max } => range("a whole number", *min, *max),
            Self::Number { min, max } => range("a number", *min, *max),
            Self::Text(kind) => kind.describe(),
            Self::Word(words) => {
                let quoted: Vec<String> = words.iter().map(|word| format!("`{word}`")).collect();
                format!("one of {}", quoted.join(", "))
            }
            Self::List { item, .. } => format!("a list, each item {}", item.describe()),
            Self::Map(value) => format!("a mapping, each value {}", value.describe()),
            Self::Object(_) => "a mapping".to_owned(),
            Self::OneOf(shapes) => {
                let parts: Vec<String> = shapes.iter().map(Self::describe).collect();
                parts.join(", or ")
            }
        }
    }

    /// The same with no key that must be there.
    pub fn without_required(self) -> Self {
        match self {
            Self::List { item, .. } => Self::List {
                item: Box::new(item.without_required()),
                min_items: 0,
            },
            Self::Map(value) => Self::Map(Box::new(value.without_required())),
            Self::Object(fields) => Self::Object(
                { fields.into_iter() }
                    .map(|field| Field {
                        required: false,
                        shape: field.shape.without_required(),
                        ..field
                    })
                    .collect(),
            ),
            Self::OneOf(shapes) => {
                Self::OneOf(shapes.into_iter().map(Self::without_required).collect())
            }
            other => other,
        }
    }

    /// The fields of a mapping with known keys.
    pub fn fields(&self) -> &[Field] {
        match self {
            Self::Object(fields) => fields,
            _ => &[],
        }
    }
}

impl TextKind {
    fn describe(&self) -> String {
        match self {
            Self::Plain | Self::Secret => "a text".to_owned(),
            Self::Code => "a text of code".to_owned(),
            Self::Pattern => "a regular expression".to_owned(),
            Self::Duration => "a duration such as `90s`, `5m`, `2h30m`".to_owned(),
            Self::Size => "a size such as `10MB`, `1GiB`".to_owned(),
            Self::Connection(kind) => format!("the name of a {kind} connection"),
            Self::Expression => "an expression".to_owned(),
        }
    }
}

fn range<T: std::fmt::Display>(what: &str, min: Option<T>, max: Option<T>) -> String {
    match (min, max) {
        (Some(min), Some(max)) => format!("{what} from {min} to {max}"),
        (Some(min), None) => format!("{what}, at least {min}"),
        (None, Some(max)) => format!("{what}, at most {max}"),
        (None, None) => what.to_owned(),
    }
}

/// `type`, also where it is a list with `null` in it.
fn type_of(schema: &Value) -> Option<&str> {
    match &schema["type"] {
        Value::String(name) => Some(name),
        Value::Array(names) => names
            .iter()
            .filter_map(Value::as_str)
            .find(|name| *name != "null"),
        _ => None,
    }
}

fn is_nullable(schema: &Value) -> bool {
    let null_type = |value: &Value| value["type"] == "null";
    schema["type"]
        .as_array()
        .is_some_and(|names| names.iter().any(|name| name == "null"))
        || ["anyOf", "oneOf"].iter().any(|key| {
            schema[key]
                .as_array()
                .is_some_and(|v| v.iter().any(null_type))
        })
}

/// A bound of an integer. The bounds that `schemars` writes for Rust's own integer types are
/// whole numbers too.
fn bound(schema: &Value, key: &str) -> Option<i64> {
    schema[key]
        .as_i64()
        .or_else(|| schema[key].as_f64().map(|value| value as i64))
}

#[cfg(test)]
mod tests {
    use schemars::JsonSchema;
    use serde::Deserialize;

    use super::{Shape, TextKind};
    use crate::base::Duration;
    use crate::base::field::Code;
    use crate::host::connect::{Conn, inline_schema, postgres::Postgres};

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields, rename_all = "snake_case")]
    #[allow(dead_code, reason = "the schema alone is of interest")]
    enum Shell {
        Bash,
        Sh,
    }

    #[derive(Deserialize, JsonSchema)]
    #[serde(deny_unknown_fields)]
    #[allow(dead_code, reason = "the schema alone is of interest")]
    struct Config {
        /// What to run.
        script: Code,
        shell: Option<Shell>,
        wait: Option<Duration>,
        connection: Conn<Postgres>,
        #[schemars(length(min = 1))]
        argv: Vec<String>,
        count: u8,
        #[schemars(extend("x-runbook-secrets" = true))]
        #[serde(default)]
        env: std::collections::BTreeMap<String, String>,
    }

    #[test]
    fn reads_what_schemars_writes() {
        let shape = Shape::from_schema(&inline_schema::<Config>());
        let field = |name: &str| shape.fields().iter().find(|f| f.name == name).unwrap();
        assert_eq!(field("script").shape, Shape::Text(TextKind::Code));
        assert_eq!(field("script").doc, "What to run.");
        assert!(field("script").required && !field("shell").required);
        assert_eq!(
            field("shell").shape,
            Shape::Word(vec!["bash".into(), "sh".into()])
        );
        assert!(field("shell").nullable);
        assert_eq!(field("wait").shape, Shape::Text(TextKind::Duration));
        assert_eq!(
            field("connection").shape,
            Shape::Text(TextKind::Connection("postgres".into()))
        );
        let text = Box::new(Shape::Text(TextKind::Plain));
        assert_eq!(
            field("argv").shape,
            Shape::List {
                item: text.clone(),
                min_items: 1
            }
        );
        assert_eq!(
            field("count").shape,
            Shape::Int {
                min: Some(0),
                max: Some(255)
            }
        );
        assert_eq!(field("env").shape, Shape::Map(text));
        assert!(field("env").secrets);
    }
}
