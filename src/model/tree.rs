//! A value of a playbook, some of whose parts are expressions.

use serde_json::Value;

use crate::base::Span;
use crate::expr::{
    EvalError, Evaluated, Expr, Reference, RootSource, Template, Type, from_json, to_json, to_text,
};
use crate::step::Partial;
use crate::step::shape::{Shape, TextKind};

/// A value, some of whose parts are expressions.
#[derive(Clone, Debug)]
pub enum Tree {
    /// Nothing in it is an expression.
    Known(Value),
    /// A text with expressions in it.
    Text(Box<Text>),
    /// An expression that is judged: its value goes to the step with its source.
    Judged(Box<Expr>),
    /// A list.
    List(Vec<Tree>),
    /// A mapping.
    Map(Vec<(String, Tree)>),
}

/// A text with expressions in it, and what its field wants.
#[derive(Clone, Debug)]
pub struct Text {
    /// The text.
    pub template: Template,
    /// Where it is.
    pub span: Span,
    /// What the field takes.
    pub want: Shape,
    /// Whether a secret may flow in.
    pub secrets: bool,
}

/// Where the names in expressions are looked up.
pub type Scope<'a> = &'a dyn RootSource;

impl Tree {
    /// Nothing.
    pub const NULL: Self = Self::Known(Value::Null);

    /// Whether nothing in it is an expression.
    pub fn is_known(&self) -> bool {
        matches!(self, Self::Known(_))
    }

    /// One expression that is the whole value.
    pub(super) fn whole(expr: Expr, span: Span) -> Self {
        let want = Shape::List {
            item: Box::new(Shape::Any),
            min_items: 0,
        };
        Self::Text(Box::new(Text {
            template: Template::Whole(expr),
            span,
            want,
            secrets: false,
        }))
    }

    /// From parts; a mapping without expressions is one known value.
    pub(super) fn map(entries: Vec<(String, Self)>) -> Self {
        if entries.iter().all(|(_, tree)| tree.is_known()) {
            let known = entries.into_iter().filter_map(|(key, tree)| match tree {
                Self::Known(value) => Some((key, value)),
                _ => None,
            });
            return Self::Known(Value::Object(known.collect()));
        }
        Self::Map(entries)
    }

    /// From parts; a list without expressions is one known value.
    pub(super) fn list(items: Vec<Self>) -> Self {
        if items.iter().all(Self::is_known) {
            let known = items.into_iter().filter_map(|tree| match tree {
                Self::Known(value) => Some(value),
                _ => None,
            });
            return Self::Known(Value::Array(known.collect()));
        }
        Self::List(items)
    }

    /// Calls `visit` for every text with expressions, and for every judged expression.
    pub fn visit<'a>(&'a self, visit: &mut dyn FnMut(Visited<'a>)) {
        match self {
            Self::Known(_) => {}
            Self::Text(text) => visit(Visited::Text(text)),
            Self::Judged(expr) => visit(Visited::Judged(expr)),
            Self::List(items) => items.iter().for_each(|item| item.visit(visit)),
            Self::Map(entries) => entries.iter().for_each(|(_, tree)| tree.visit(visit)),
        }
    }

    /// Every path that its expressions read.
    pub fn references(&self) -> Vec<&Reference> {
        let mut found = Vec::new();
        self.visit(&mut |visited| match visited {
            Visited::Text(text) => found.extend(text.template.references()),
            Visited::Judged(expr) => found.extend(expr.references()),
        });
        found
    }

    /// The type that its value has.
    pub fn infer(
        &self,
        scope: &dyn crate::expr::TypeScope,
        diagnostics: &mut crate::diag::Diagnostics,
    ) -> Type {
        match self {
            Self::Known(value) => Type::of(&from_json(value.clone())),
            Self::Text(text) => text.template.infer(scope, diagnostics),
            Self::Judged(expr) => expr.infer(scope, diagnostics),
            Self::List(items) => {
                let types = items.iter().map(|item| item.infer(scope, diagnostics));
                Type::list(types.reduce(|a, b| a.join(&b)).unwrap_or(Type::Any))
            }
            Self::Map(entries) => {
                let fields: Vec<(String, Type)> = entries
                    .iter()
                    .map(|(key, tree)| (key.clone(), tree.infer(scope, diagnostics)))
                    .collect();
                Type::object(crate::expr::Fields::new(fields))
            }
        }
    }

    /// Its value with holes where an expression stands, whatever that comes to.
    pub fn outline(&self) -> Partial {
        match self {
            Self::Known(value) => Partial::Known(value.clone()),
            Self::Text(_) | Self::Judged(_) => Partial::Unknown("known when it runs".into()),
            Self::List(items) => Partial::list(items.iter().map(Self::outline).collect()),
            Self::Map(entries) => {
                let entries = { entries.iter() }.map(|(key, tree)| (key.clone(), tree.outline()));
                Partial::map(entries.collect())
            }
        }
    }

    /// Its value, with holes where something is not known yet.
    ///
    /// # Errors
    /// When an expression fails.
    pub fn eval(&self, scope: Scope<'_>) -> Result<Partial, EvalError> {
        Ok(match self {
            Self::Known(value) => Partial::Known(value.clone()),
            Self::Text(text) => text.eval(scope)?,
            Self::Judged(expr) => judge(expr, scope)?,
            Self::List(items) => Partial::list(
                items
                    .iter()
                    .map(|item| item.eval(scope))
                    .collect::<Result<_, _>>()?,
            ),
            Self::Map(entries) => Partial::map(
                entries
                    .iter()
                    .map(|(key, tree)| Ok((key.clone(), tree.eval(scope)?)))
                    .collect::<Result<_, EvalError>>()?,
            ),
        })
    }
}

/// What [`Tree::visit`] comes to.
#[derive(Clone, Copy, Debug)]
pub enum Visited<'a> {
    /// A text with expressions in it.
    Text(&'a Text),
    /// An expression that is judged.
    Judged(&'a Expr),
}

impl Text {
    fn eval(&self, scope: Scope<'_>) -> Result<Partial, EvalError> {
        let value = match self.template.eval(scope)? {
            Evaluated::Known(value) => value,
            Evaluated::Unknown(unknown) => return Ok(Partial::Unknown(unknown.why)),
        };
        // As in YAML, a number or a boolean is a text where a text is wanted.
        let wants_text = matches!(&self.want, Shape::Text(kind) if *kind != TextKind::Size);
        let scalar = matches!(
            value.kind(),
            minijinja::value::ValueKind::Number | minijinja::value::ValueKind::Bool
        );
        if wants_text
            && scalar
            && let Some(text) = to_text(&value)
        {
            return Ok(Partial::Known(Value::String(text)));
        }
        Ok(Partial::Known(to_json(&value)))
    }
}

/// An expression's value with its source and what its paths stood for.
fn judge(expr: &Expr, scope: Scope<'_>) -> Result<Partial, EvalError> {
    let value = match expr.eval(scope)? {
        Evaluated::Known(value) => value,
        Evaluated::Unknown(unknown) => return Ok(Partial::Unknown(unknown.why)),
    };
    let operands: serde_json::Map<String, Value> = expr
        .operands(scope)
        .into_iter()
        .filter_map(|(path, operand)| Some((path, to_json(operand.known()?))))
        .collect();
    Ok(Partial::Known(serde_json::json!({
        "source": expr.source().trim(),
        "value": to_json(&value),
        "operands": operands,
    })))
}
