//! What is read: roots, fields, items, slices.

use std::ops::Range;

use super::Checker;
use crate::base::suggest::nearest;
use crate::diag::{Diagnostic, codes, did_you_mean};
use crate::expr::fields::Fields;
use crate::expr::library::item_of;
use crate::expr::tree::Node;
use crate::expr::types::{Type, quoted};
use crate::expr::typing::Problem;

impl Checker<'_> {
    /// The type of the reference of this index.
    pub(super) fn path(&mut self, index: usize) -> Type {
        let expr = self.expr;
        let Some(reference) = expr.references().get(index) else {
            return Type::Any;
        };
        let place = |at: usize| {
            let (start, end) = reference.names.get(at).copied().unwrap_or_default();
            start as usize..end as usize
        };
        let Some(mut ty) = self.scope.root(reference.root()) else {
            self.unknown_root(reference.root(), place(0));
            return Type::Any;
        };
        for (at, name) in reference.fields().iter().enumerate() {
            if let Type::Object(fields) = ty.without_null()
                && fields.get(name).is_none()
            {
                let fields = fields.clone();
                let within = reference.text(at + 1);
                let path: Vec<&str> = reference.path[..=at + 1].iter().map(|n| &**n).collect();
                let more = self.scope.describe_missing(&path);
                self.unknown_field(&fields, name, Some(&within), more, place(at + 1));
                return Type::Any;
            }
            ty = self.field(&ty, name, place(at + 1));
        }
        ty
    }

    /// The type of the field `name`, which stands at `range`, of a value of type `ty`.
    pub(super) fn field(&mut self, ty: &Type, name: &str, range: Range<usize>) -> Type {
        match ty.without_null() {
            Type::Any => Type::Any,
            Type::Map(value) => (**value).clone(),
            Type::Object(fields) => match fields.get(name) {
                Some(ty) => ty.clone(),
                None => {
                    let fields = fields.clone();
                    self.unknown_field(&fields, name, None, None, range);
                    Type::Any
                }
            },
            Type::List(item) => {
                let message = format!("{} has no field `{name}`", ty.without_null());
                let help = match &**item {
                    Type::Object(fields) if fields.get(name).is_none() => {
                        format!("of its items, each has {}", quoted(fields.names()))
                    }
                    _ => format!(
                        "`…[0].{name}` is that of the first, `…|map(attribute='{name}')` those of all"
                    ),
                };
                let diagnostic = Diagnostic::error(codes::EXPR_UNKNOWN_FIELD, message).help(help);
                self.report(diagnostic, range);
                Type::Any
            }
            other => {
                let message = format!("{other} has no field `{name}`");
                self.report(Diagnostic::error(codes::EXPR_UNKNOWN_FIELD, message), range);
                Type::Any
            }
        }
    }

    fn unknown_field(
        &mut self,
        fields: &Fields,
        name: &str,
        within: Option<&str>,
        more: Option<String>,
        range: Range<usize>,
    ) {
        let within = within
            .map(|within| format!(" in `{within}`"))
            .unwrap_or_default();
        let message = format!("no {} `{name}`{within}", fields.noun());
        let diagnostic = Diagnostic::error(codes::EXPR_UNKNOWN_FIELD, message)
            .maybe_help(did_you_mean(nearest(name, fields.names())))
            .help(fields.describe())
            .maybe_help(more);
        self.report(diagnostic, range);
    }

    fn unknown_root(&mut self, name: &str, range: Range<usize>) {
        let roots = self.scope.roots();
        // Whoever writes `retention_days` means `params.retention_days`.
        let inside = ["params", "vars", "secrets", "steps"].into_iter().find(|root| {
            matches!(self.scope.root(root), Some(Type::Object(fields)) if fields.get(name).is_some())
        });
        let meant = match (inside, name) {
            (Some(root), _) => Some(format!("{root}.{name}")),
            (None, "null" | "nil" | "undefined") => Some("none".to_owned()),
            _ => nearest(name, roots.iter().map(String::as_str)).map(str::to_owned),
        };
        let mut diagnostic = Diagnostic::error(
            codes::EXPR_UNKNOWN_NAME,
            format!("there is no `{name}` here"),
        )
        .maybe_help(did_you_mean(meant.as_deref()));
        let more = self.scope.describe_missing(&[name]).or_else(|| {
            (name == "env").then(|| {
                "an environment variable is declared as a parameter with `from_env: NAME`, or as a secret"
                    .to_owned()
            })
        });
        if meant.is_none() && more.is_none() && !roots.is_empty() {
            let known = quoted(roots.iter().map(String::as_str));
            diagnostic = diagnostic.help(format!("what can be read here: {known}"));
        }
        self.report(diagnostic.maybe_help(more), range);
    }

    /// The type of `base[key]`.
    pub(super) fn item(&mut self, base: &Node, key: &Node) -> Type {
        let base = self.node(base);
        let key_type = self.node(key);
        if key_type.contains_secret() {
            self.problem(Problem::secret("a key"), key.range());
            return Type::Any;
        }
        let textual = key_type.is_text() || key_type == Type::Any;
        let whole = matches!(key_type, Type::Int | Type::Any);
        match base.without_null() {
            Type::Any => return Type::Any,
            Type::List(item) if whole => return (**item).clone(),
            Type::Map(value) if textual => return (**value).clone(),
            Type::Object(_) if key.text().is_some() => {
                let name = key.text().unwrap_or_default().to_owned();
                return self.field(&base, &name, key.range());
            }
            // Which of them it is, only the run knows.
            Type::Object(fields) if textual => {
                let types = fields.iter().map(|(_, ty)| ty.clone());
                return types.reduce(|all, one| all.join(&one)).unwrap_or(Type::Any);
            }
            text if text.is_text() && whole => return Type::String,
            Type::Secret => self.problem(Problem::secret("an index"), key.range()),
            other => {
                let message = format!("{other} has no item for {key_type}");
                let help = match other {
                    Type::List(_) => Some("items of a list are counted from 0: `…[0]`"),
                    Type::Map(_) | Type::Object(_) => Some("keys are texts: `…['name']`"),
                    _ => None,
                };
                let problem = Problem::new(message);
                let problem = match help {
                    Some(help) => problem.help(help),
                    None => problem,
                };
                self.problem(problem, key.range());
            }
        }
        Type::Any
    }

    /// The type of `base[start:stop:step]`.
    pub(super) fn slice(&mut self, base: &Node, bounds: &[Option<Node>; 3]) -> Type {
        let ty = self.node(base);
        for bound in bounds.iter().flatten() {
            self.whole_number(bound, "a slice");
        }
        match ty.without_null() {
            Type::Any => Type::Any,
            Type::List(_) => Type::list(item_of(&ty)),
            text if text.is_text() => Type::String,
            Type::Secret => {
                self.problem(Problem::secret("a slice"), base.range());
                Type::Any
            }
            other => {
                let problem =
                    Problem::new(format!("a slice is of a list or a text, not of {other}"));
                self.problem(problem, base.range());
                Type::Any
            }
        }
    }

    /// Checks that `node` is a whole number, which `what` takes.
    pub(super) fn whole_number(&mut self, node: &Node, what: &str) {
        let ty = self.node(node);
        match ty.without_null() {
            Type::Any | Type::Int => {}
            Type::Secret => self.problem(Problem::secret(what), node.range()),
            other => {
                let problem = Problem::new(format!("{what} takes whole numbers, not {other}"));
                let problem = match other {
                    Type::Number | Type::String => problem.help("`…|int` makes it one"),
                    _ => problem,
                };
                self.problem(problem, node.range());
            }
        }
    }
}
