//! The configuration of a step or connection: the tree against the shape that its type states.

use serde_json::{Number, Value};

use super::read::{Decoder, locator};
use super::tree::{Text, Tree};
use crate::base::count::plural;
use crate::base::{Span, suggest};
use crate::diag::{Diagnostic, codes, did_you_mean};
use crate::doc::{Kind, Map, Node, Resolved, Scalar};
use crate::expr::{Template, contains_expression};
use crate::step::shape::{Field, Shape, TextKind};

/// Known keys are listed in full up to this many.
const LIST: usize = 12;

impl Decoder<'_> {
    /// The value at `node`, which is `what` for people, as `shape` wants it. Parts that are wrong
    /// are told and left out.
    pub fn lower(&mut self, node: &Node, shape: &Shape, what: &str, secrets: bool) -> Tree {
        match (&node.kind, shape) {
            (_, Shape::OneOf(shapes)) => self.lower_one_of(node, shapes, what, secrets),
            (Kind::Scalar(scalar), Shape::Text(TextKind::Code)) => {
                self.lower_code(node, scalar, what)
            }
            (Kind::Scalar(_), Shape::Text(TextKind::Expression)) => {
                match self.expression(what, node) {
                    Some(expr) => Tree::Judged(Box::new(expr)),
                    None => Tree::NULL,
                }
            }
            (Kind::Scalar(scalar), shape) => self.lower_scalar(node, scalar, shape, what, secrets),
            (Kind::Map(map), Shape::Object(fields)) => {
                self.lower_object(map, node.span, fields, what, secrets)
            }
            (Kind::Map(map), Shape::Map(value)) => self.lower_map(map, value, what, secrets),
            (Kind::Map(map), Shape::Any) => self.lower_map(map, &Shape::Any, what, secrets),
            (Kind::Seq(items), Shape::List { item, min_items }) => {
                if items.len() < *min_items {
                    let least = plural(*min_items, "item");
                    let message = format!("`{what}` needs at least {least}");
                    self.error(codes::BAD_VALUE, node.span, message);
                }
                Tree::list(
                    items
                        .iter()
                        .map(|n| self.lower(n, item, what, secrets))
                        .collect(),
                )
            }
            (Kind::Seq(items), Shape::Any) => Tree::list(
                items
                    .iter()
                    .map(|n| self.lower(n, &Shape::Any, what, secrets))
                    .collect(),
            ),
            _ => {
                self.wrong_type(what, &shape.describe(), node);
                Tree::NULL
            }
        }
    }

    /// The first of several shapes that has the node's YAML kind.
    fn lower_one_of(&mut self, node: &Node, shapes: &[Shape], what: &str, secrets: bool) -> Tree {
        let fits = |shape: &&Shape| match (&node.kind, *shape) {
            (Kind::Seq(_), Shape::List { .. } | Shape::Any) => true,
            (Kind::Map(_), Shape::Map(_) | Shape::Object(_) | Shape::Any) => true,
            (Kind::Scalar(_), Shape::Bool) => matches!(node.resolve(), Resolved::Bool(_)),
            (Kind::Scalar(_), Shape::Int { .. } | Shape::Number { .. }) => {
                matches!(node.resolve(), Resolved::Int(_) | Resolved::Float(_))
            }
            (Kind::Scalar(_), Shape::Text(_) | Shape::Word(_) | Shape::Any) => true,
            _ => false,
        };
        match shapes.iter().find(fits) {
            Some(shape) => self.lower(node, shape, what, secrets),
            None => {
                let shape = Shape::OneOf(shapes.to_vec());
                self.wrong_type(what, &shape.describe(), node);
                Tree::NULL
            }
        }
    }

    fn lower_code(&mut self, node: &Node, scalar: &Scalar, what: &str) -> Tree {
        if let Some(at) = scalar.text.find("${{") {
            let end = scalar.text[at..]
                .find("}}")
                .map_or(scalar.text.len(), |len| at + len + 2);
            let span = scalar.locate(node.span, self.text, at..end);
            self.diagnostics.push(
                Diagnostic::error(codes::EXPR_IN_CODE, format!("`{what}` is never a template"))
                    .label(span, "this would paste a value into code")
                    .help(
                        "pass the value instead: into a script by `env: { NAME: \"${{ … }}\" }` and \
                         `\"$NAME\"`, into SQL by `bind: [\"${{ … }}\"]` and `$1`",
                    ),
            );
        }
        Tree::Known(Value::String(scalar.text.to_string()))
    }

    fn lower_scalar(
        &mut self,
        node: &Node,
        scalar: &Scalar,
        shape: &Shape,
        what: &str,
        secrets: bool,
    ) -> Tree {
        if contains_expression(&scalar.text) {
            let locate = locator(self.text, node, scalar);
            return match Template::parse(&scalar.text, &locate) {
                Ok(Template::Literal(text)) => Tree::Known(Value::String(text.into())),
                Ok(template) => Tree::Text(Box::new(Text {
                    template,
                    span: node.span,
                    want: shape.clone(),
                    secrets: secrets || *shape == Shape::Text(TextKind::Secret),
                })),
                Err(diagnostic) => {
                    self.diagnostics.push(diagnostic);
                    Tree::NULL
                }
            };
        }
        match self.literal(node, scalar, shape, what) {
            Some(value) => Tree::Known(value),
            None => Tree::NULL,
        }
    }

    /// The value of a scalar without expressions.
    fn literal(
        &mut self,
        node: &Node,
        scalar: &Scalar,
        shape: &Shape,
        what: &str,
    ) -> Option<Value> {
        let resolved = node.resolve();
        if matches!(shape, Shape::Any | Shape::Number { .. })
            && matches!(resolved, Resolved::Float(value) if !value.is_finite())
        {
            let message = format!("`{what}` takes no infinite number, and no `.nan`");
            self.error(codes::BAD_VALUE, node.span, message);
            return None;
        }
        let value = match (shape, &resolved) {
            (Shape::Any, _) => plain_value(&resolved),
            (_, Resolved::Null) => None,
            (Shape::Bool, Resolved::Bool(value)) => Some(Value::Bool(*value)),
            (Shape::Int { min, max }, Resolved::Int(value)) => {
                let low = min.is_some_and(|min| *value < min);
                let high = max.is_some_and(|max| *value > max);
                if low || high {
                    return self.out_of_range(node, shape, what, &value.to_string());
                }
                Some(Value::from(*value))
            }
            (Shape::Number { min, max }, Resolved::Int(_) | Resolved::Float(_)) => {
                let value = match resolved {
                    Resolved::Int(value) => value as f64,
                    Resolved::Float(value) => value,
                    _ => f64::NAN,
                };
                let low = min.is_some_and(|min| value < min);
                let high = max.is_some_and(|max| value > max);
                if low || high {
                    return self.out_of_range(node, shape, what, &value.to_string());
                }
                plain_value(&resolved)
            }
            (Shape::Word(words), _) => {
                if !words.iter().any(|word| **word == *scalar.text) {
                    let near = suggest::nearest(&scalar.text, words.iter().map(String::as_str));
                    self.diagnostics.push(
                        Diagnostic::error(
                            codes::BAD_VALUE,
                            format!("`{what}` is {}", shape.describe()),
                        )
                        .at(node.span)
                        .maybe_help(did_you_mean(near)),
                    );
                    return None;
                }
                Some(Value::String(scalar.text.to_string()))
            }
            (Shape::Text(kind), _) => return self.literal_text(node, scalar, kind, what),
            _ => None,
        };
        if value.is_none() {
            self.wrong_type(what, &shape.describe(), node);
        }
        value
    }

    fn literal_text(
        &mut self,
        node: &Node,
        scalar: &Scalar,
        kind: &TextKind,
        what: &str,
    ) -> Option<Value> {
        let text = &*scalar.text;
        let wrong = match kind {
            TextKind::Duration => text
                .parse::<crate::base::Duration>()
                .err()
                .map(|e| e.to_string()),
            TextKind::Size => {
                return self.size(what, node).map(|size| Value::from(size.0));
            }
            TextKind::Pattern => pattern_error(text),
            _ => None,
        };
        if let Some(message) = wrong {
            self.error(codes::BAD_VALUE, node.span, format!("`{what}`: {message}"));
            return None;
        }
        Some(Value::String(text.to_owned()))
    }

    fn out_of_range(
        &mut self,
        node: &Node,
        shape: &Shape,
        what: &str,
        value: &str,
    ) -> Option<Value> {
        let message = format!("`{what}` takes {}, and this is {value}", shape.describe());
        self.error(codes::BAD_VALUE, node.span, message);
        None
    }

    fn lower_map(&mut self, map: &Map, value: &Shape, what: &str, secrets: bool) -> Tree {
        let entries = map.entries.iter().map(|entry| {
            let key = entry.key.value.to_string();
            let tree = self.lower(&entry.value, value, &format!("{what}.{key}"), secrets);
            (key, tree)
        });
        Tree::map(entries.collect())
    }

    fn lower_object(
        &mut self,
        map: &Map,
        span: Span,
        fields: &[Field],
        what: &str,
        secrets: bool,
    ) -> Tree {
        let mut entries = Vec::with_capacity(map.entries.len());
        for entry in &map.entries {
            let key = &*entry.key.value;
            let Some(field) = fields.iter().find(|field| field.name == key) else {
                self.unknown_field(key, entry.key.span, fields, what);
                continue;
            };
            // An explicit null says "none", where none can be said; else it is as if left out.
            if entry.value.is_null() && field.nullable {
                entries.push((field.name.clone(), Tree::NULL));
                continue;
            }
            if entry.value.is_null() && field.default.is_some() {
                continue;
            }
            let tree = self.lower(&entry.value, &field.shape, key, secrets || field.secrets);
            entries.push((field.name.clone(), tree));
        }
        for field in fields {
            if field.required && map.get(&field.name).is_none() {
                let at = map.entries.first().map_or(span, |entry| entry.key.span);
                self.diagnostics.push(
                    Diagnostic::error(
                        codes::MISSING_KEY,
                        format!("`{what}` needs the key `{}`", field.name),
                    )
                    .label(at, format!("`{}` is missing here", field.name))
                    .help(format!(
                        "`{}` is {}",
                        field.name,
                        field.shape.describe()
                    )),
                );
            }
        }
        Tree::map(entries)
    }

    fn unknown_field(&mut self, key: &str, span: Span, fields: &[Field], what: &str) {
        let names = || fields.iter().map(|field| field.name.as_str());
        let near = suggest::nearest(key, names());
        let list = (near.is_none() && fields.len() <= LIST).then(|| {
            let quoted: Vec<String> = names().map(|name| format!("`{name}`")).collect();
            format!("`{what}` takes {}", quoted.join(", "))
        });
        self.diagnostics.push(
            Diagnostic::error(codes::UNKNOWN_KEY, format!("`{what}` has no key `{key}`"))
                .at(span)
                .maybe_help(did_you_mean(near))
                .maybe_help(list),
        );
    }
}

/// The JSON value of a scalar, by YAML's core schema.
fn plain_value(resolved: &Resolved<'_>) -> Option<Value> {
    match resolved {
        Resolved::Null => Some(Value::Null),
        Resolved::Bool(value) => Some(Value::Bool(*value)),
        Resolved::Int(value) => Some(Value::from(*value)),
        Resolved::Float(value) => Number::from_f64(*value).map(Value::Number),
        Resolved::Str(text) => Some(Value::String((*text).to_owned())),
        Resolved::Seq(_) | Resolved::Map(_) => None,
    }
}

/// What is wrong with a regular expression, in one line.
fn pattern_error(text: &str) -> Option<String> {
    let error = regex::bytes::RegexBuilder::new(text)
        .size_limit(10 << 20)
        .build()
        .err()?;
    let text = error.to_string();
    let last = text
        .lines()
        .rev()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("it is not valid");
    Some(last.trim().trim_start_matches("error: ").to_owned())
}
