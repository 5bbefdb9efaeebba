//! What a playbook or project declares before its steps: parameters, secrets, connections,
//! variables, reports.

use indexmap::IndexMap;
use serde_json::{Map, Value, json};

use super::read::Decoder;
use super::tree::Tree;
use crate::base::{Format, Span, Spanned, suggest};
use crate::diag::{Diagnostic, codes, did_you_mean};
use crate::doc::{Entry, Kind, Node};
use crate::expr::{Template, Type};
use crate::host::connect;
use crate::step::Shape;

/// The type of a parameter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParamType {
    /// A text.
    String,
    /// A whole number.
    Integer,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list.
    List,
    /// A mapping.
    Object,
    /// A duration, as its text.
    Duration,
    /// A size, as its text.
    Size,
}

impl ParamType {
    /// The words of `type:`.
    pub const WORDS: &[(&str, Self)] = &[
        ("string", Self::String),
        ("integer", Self::Integer),
        ("number", Self::Number),
        ("boolean", Self::Boolean),
        ("list", Self::List),
        ("object", Self::Object),
        ("duration", Self::Duration),
        ("size", Self::Size),
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        Self::WORDS
            .iter()
            .find(|(_, ty)| *ty == self)
            .map_or("", |(word, _)| word)
    }

    fn json_type(self) -> &'static str {
        match self {
            Self::String | Self::Duration | Self::Size => "string",
            Self::Integer => "integer",
            Self::Number => "number",
            Self::Boolean => "boolean",
            Self::List => "array",
            Self::Object => "object",
        }
    }
}

/// A parameter.
#[derive(Clone, Debug)]
pub struct Param {
    /// Where it is declared.
    pub span: Span,
    /// Its type.
    pub ty: ParamType,
    /// Its value where none is given.
    pub default: Option<Spanned<Value>>,
    /// What it is for.
    pub description: Option<String>,
    /// The environment variable that gives its value.
    pub from_env: Option<String>,
    /// Its declaration as JSON Schema.
    pub schema: Value,
}

impl Param {
    /// The type of its value in expressions.
    pub fn expr_type(&self) -> Type {
        match self.ty {
            ParamType::String => match self.schema["enum"].as_array() {
                Some(words) if words.iter().all(Value::is_string) => {
                    Type::one_of(words.iter().filter_map(Value::as_str))
                }
                _ => Type::String,
            },
            ParamType::Duration | ParamType::Size => Type::String,
            ParamType::Integer => Type::Int,
            ParamType::Number => Type::Number,
            ParamType::Boolean => Type::Bool,
            ParamType::List => Type::from_json_schema(&self.schema),
            ParamType::Object => Type::map(Type::Any),
        }
    }
}

/// A secret.
#[derive(Clone, Debug)]
pub struct SecretDecl {
    /// Where it is declared.
    pub span: Span,
    /// Where its value comes from.
    pub source: SecretSource,
}

/// Where a secret's value comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// An environment variable.
    Env(String),
    /// A file; a line break at its end is not part of it.
    File(String),
    /// The standard output of a command; a line break at its end is not part of it.
    Command(Vec<String>),
}

/// A named connection.
#[derive(Clone, Debug)]
pub struct Connection {
    /// Where it is declared.
    pub span: Span,
    /// Its kind.
    pub kind: &'static str,
    /// Its declaration.
    pub config: Tree,
}

/// A variable.
#[derive(Clone, Debug)]
pub struct Var {
    /// Where it is declared.
    pub span: Span,
    /// Its value.
    pub value: Tree,
}

/// A report that is written when the run is over.
#[derive(Clone, Debug)]
pub struct ReportDecl {
    /// Its format.
    pub format: Format,
    /// Where it goes, relative to the playbook's folder.
    pub path: Template,
    /// Where it is declared.
    pub span: Span,
}

/// The formats of reports that a playbook can ask for.
pub const REPORT_FORMATS: &[(&str, Format)] = &[
    ("markdown", Format::Markdown),
    ("json", Format::Json),
    ("junit", Format::Junit),
    ("text", Format::Text),
];

impl Decoder<'_> {
    pub(super) fn params(&mut self, entry: &Entry) -> IndexMap<String, Param> {
        let mut params = IndexMap::new();
        for entry in self.named(entry, "params") {
            if let Some(param) = self.param(entry) {
                params.insert(entry.key.value.to_string(), param);
            }
        }
        params
    }

    fn param(&mut self, entry: &Entry) -> Option<Param> {
        let mut map = self.map(&entry.value, "a parameter")?;
        let ty = match map.take("type") {
            Some(entry) => self.word(entry, ParamType::WORDS),
            None => {
                map.missing("type", self.diagnostics);
                None
            }
        };
        let default = map.take("default").map(|entry| {
            Spanned::new(
                self.plain(&entry.value, ty == Some(ParamType::String)),
                entry.value.span,
            )
        });
        let description = map
            .take("description")
            .and_then(|e| self.text(e))
            .map(|t| t.value);
        let from_env = map
            .take("from_env")
            .and_then(|e| self.text(e))
            .map(|t| t.value);
        let mut schema = Map::new();
        schema.insert(
            "type".to_owned(),
            json!(ty.map_or("string", ParamType::json_type)),
        );
        for (key, keyword) in [
            ("enum", "enum"),
            ("minimum", "minimum"),
            ("maximum", "maximum"),
            ("pattern", "pattern"),
            ("min_length", "minLength"),
            ("max_length", "maxLength"),
            ("min_items", "minItems"),
            ("max_items", "maxItems"),
            ("items", "items"),
        ] {
            if let Some(entry) = map.take(key) {
                let as_text = key == "pattern" || key == "enum" && ty == Some(ParamType::String);
                let value = self.keyword(entry, key, as_text);
                schema.insert(keyword.to_owned(), value);
            }
        }
        map.finish(self.diagnostics);
        let schema = Value::Object(schema);
        if let Err(error) = jsonschema::validator_for(&schema) {
            let message = format!(
                "the declaration of `{}` makes no sense: {error}",
                entry.key.value
            );
            self.error(codes::BAD_VALUE, entry.value.span, message);
            return None;
        }
        Some(Param {
            span: entry.key.span,
            ty: ty?,
            default,
            description,
            from_env,
            schema,
        })
    }

    /// The value of one of a parameter's keywords, as JSON Schema has it.
    fn keyword(&mut self, entry: &Entry, key: &str, as_text: bool) -> Value {
        if key != "items" {
            return self.plain(&entry.value, as_text);
        }
        // The items of a list: `{ type: integer, … }`, in our words for types.
        let mut value = self.plain(&entry.value, false);
        let word = value["type"].as_str().map(str::to_owned);
        if let Some(word) = word {
            match ParamType::WORDS.iter().find(|(known, _)| *known == word) {
                Some((_, ty)) => value["type"] = json!(ty.json_type()),
                None => self.error(
                    codes::BAD_VALUE,
                    entry.value.span,
                    format!("`{word}` is not a type of parameters"),
                ),
            }
        }
        value
    }

    /// A value in which expressions are not taken; its scalars are texts where `as_text`.
    pub fn plain(&mut self, node: &Node, as_text: bool) -> Value {
        match &node.kind {
            Kind::Scalar(scalar) if as_text && !node.is_null() => {
                Value::String(scalar.text.to_string())
            }
            Kind::Seq(items) if as_text => {
                Value::Array(items.iter().map(|item| self.plain(item, true)).collect())
            }
            _ => match self.lower(node, &Shape::Any, "value", false) {
                Tree::Known(value) => value,
                _ => {
                    let message = "a declaration is read before anything is evaluated";
                    self.error(codes::EXPR_NOT_HERE, node.span, message);
                    Value::Null
                }
            },
        }
    }

    pub(super) fn secrets(&mut self, entry: &Entry) -> IndexMap<String, SecretDecl> {
        let mut secrets = IndexMap::new();
        for entry in self.named(entry, "secrets") {
            if let Some(source) = self.secret_source(entry) {
                let decl = SecretDecl {
                    span: entry.key.span,
                    source,
                };
                secrets.insert(entry.key.value.to_string(), decl);
            }
        }
        secrets
    }

    fn secret_source(&mut self, entry: &Entry) -> Option<SecretSource> {
        let mut map = self.map(&entry.value, "a secret")?;
        let env = map
            .take("env")
            .and_then(|e| self.text(e))
            .map(|t| SecretSource::Env(t.value));
        let file = map
            .take("file")
            .and_then(|e| self.text(e))
            .map(|t| SecretSource::File(t.value));
        let command = map.take("command").and_then(|e| {
            let words: Vec<String> = self.texts(e)?.into_iter().map(|text| text.value).collect();
            if words.is_empty() {
                self.error(codes::BAD_VALUE, e.value.span, "`command` names no program");
                return None;
            }
            Some(SecretSource::Command(words))
        });
        map.finish(self.diagnostics);
        let mut sources = [env, file, command].into_iter().flatten();
        match (sources.next(), sources.next()) {
            (Some(source), None) => Some(source),
            (None, _) => {
                self.diagnostics.push(
                    Diagnostic::error(codes::MISSING_KEY, "a secret needs a source")
                        .at(entry.value.span)
                        .help("write one of `env: NAME`, `file: PATH`, `command: [PROGRAM, …]`"),
                );
                None
            }
            (Some(_), Some(_)) => {
                let message = "a secret has one source: `env`, `file` or `command`";
                self.error(codes::BAD_VALUE, entry.value.span, message);
                None
            }
        }
    }

    pub(super) fn connections(&mut self, entry: &Entry) -> IndexMap<String, Connection> {
        let mut connections = IndexMap::new();
        for entry in self.named(entry, "connections") {
            if let Some(connection) = self.connection(entry) {
                connections.insert(entry.key.value.to_string(), connection);
            }
        }
        connections
    }

    fn connection(&mut self, entry: &Entry) -> Option<Connection> {
        let entries = entry
            .value
            .as_map()
            .map(|map| map.entries.as_slice())
            .unwrap_or_default();
        let [of_kind] = entries else {
            let kinds: Vec<String> = connect::KINDS
                .iter()
                .map(|kind| format!("`{}`", kind.name()))
                .collect();
            self.diagnostics.push(
                Diagnostic::error(
                    codes::WRONG_TYPE,
                    "a connection has exactly one key, its kind",
                )
                .at(entry.value.span)
                .help(format!("the kinds are {}", kinds.join(", "))),
            );
            return None;
        };
        let name = &*of_kind.key.value;
        let Some(kind) = connect::kind(name) else {
            let names = connect::KINDS.iter().map(|kind| kind.name());
            self.diagnostics.push(
                Diagnostic::error(
                    codes::UNKNOWN_KEY,
                    format!("there is no connection kind `{name}`"),
                )
                .at(of_kind.key.span)
                .maybe_help(did_you_mean(suggest::nearest(name, names.clone())))
                .help(format!(
                    "the kinds are {}",
                    names.collect::<Vec<_>>().join(", ")
                )),
            );
            return None;
        };
        let shape = Shape::from_schema(&kind.schema());
        let config = self.lower(&of_kind.value, &shape, kind.name(), false);
        Some(Connection {
            span: entry.key.span,
            kind: kind.name(),
            config,
        })
    }

    pub(super) fn vars(&mut self, entry: &Entry) -> IndexMap<String, Var> {
        let mut vars = IndexMap::new();
        for entry in self.named(entry, "vars") {
            // A variable may hold a secret; where it flows is checked where it is used.
            let value = self.lower(&entry.value, &Shape::Any, &entry.key.value, true);
            vars.insert(
                entry.key.value.to_string(),
                Var {
                    span: entry.key.span,
                    value,
                },
            );
        }
        vars
    }

    pub(super) fn reports(&mut self, entry: &Entry) -> Vec<ReportDecl> {
        let Some(items) = entry.value.as_seq() else {
            self.wrong_type("reports", "a list", &entry.value);
            return Vec::new();
        };
        items.iter().filter_map(|item| self.report(item)).collect()
    }

    fn report(&mut self, node: &Node) -> Option<ReportDecl> {
        let mut map = self.map(node, "a report")?;
        let format = match map.take("format") {
            Some(entry) => self.word(entry, REPORT_FORMATS),
            None => {
                map.missing("format", self.diagnostics);
                None
            }
        };
        let path = match map.take("path") {
            Some(entry) => self.template(entry),
            None => {
                map.missing("path", self.diagnostics);
                None
            }
        };
        map.finish(self.diagnostics);
        Some(ReportDecl {
            format: format?,
            path: path?,
            span: node.span,
        })
    }
}
