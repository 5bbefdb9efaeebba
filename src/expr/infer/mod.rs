//! The check before the run: the type of an expression, and what is wrong with it.
//!
//! What has an error has the type [`Type::Any`] from there on, so that one mistake is one finding.

mod calls;
mod names;

use std::ops::Range;

use super::expression::Expr;
use super::template::{Part, Template};
use super::tree::{Kind, Node, Op};
use super::types::Type;
use super::typing::{self, Problem};
use crate::base::suggest::nearest;
use crate::diag::{Code, Diagnostic, Diagnostics, codes, did_you_mean};

/// The names that an expression may read, and their types.
pub trait TypeScope {
    /// The type of a root, if there is one of this name.
    fn root(&self, name: &str) -> Option<Type>;

    /// All roots, for "did you mean".
    fn roots(&self) -> Vec<String>;

    /// What to say of a path that does not exist, beyond what its neighbours say.
    fn describe_missing(&self, path: &[&str]) -> Option<String> {
        let _ = path;
        None
    }
}

impl Expr {
    /// The type of its value. What is wrong with it goes to `diagnostics`: RB402 a name that does
    /// not exist, RB403 a field that does not exist, RB404 a wrong type, RB407 a secret that would
    /// tell something of itself.
    pub fn infer(&self, scope: &dyn TypeScope, diagnostics: &mut Diagnostics) -> Type {
        let mut checker = Checker {
            expr: self,
            scope,
            diagnostics,
        };
        checker.node(self.root())
    }
}

impl Template {
    /// The type of its value: that of a single expression, else a text, or a secret where one is
    /// part of it. What is wrong goes to `diagnostics`.
    pub fn infer(&self, scope: &dyn TypeScope, diagnostics: &mut Diagnostics) -> Type {
        match self {
            Self::Literal(_) => Type::String,
            Self::Whole(expr) => expr.infer(scope, diagnostics),
            Self::Mixed(parts) => {
                let mut all = Type::String;
                for part in parts {
                    let Part::Expr(expr) = part else { continue };
                    let ty = expr.infer(scope, diagnostics);
                    if ty.contains_secret() {
                        all = Type::Secret;
                    } else if ty == Type::Null {
                        let message = "null has no text";
                        diagnostics
                            .push(Diagnostic::error(codes::EXPR_TYPE, message).at(expr.span()));
                    }
                }
                all
            }
        }
    }
}

struct Checker<'a> {
    expr: &'a Expr,
    scope: &'a dyn TypeScope,
    diagnostics: &'a mut Diagnostics,
}

impl Checker<'_> {
    fn node(&mut self, node: &Node) -> Type {
        match &node.kind {
            Kind::Constant(value) => Type::of(value),
            Kind::Path(index) => self.path(*index),
            Kind::Attribute(base, name) => {
                let base = self.node(base);
                let start = node.range().end - name.len();
                self.field(&base, name, start..node.range().end)
            }
            Kind::Item(pair) => self.item(&pair.0, &pair.1),
            Kind::Slice(base, bounds) => self.slice(base, bounds),
            Kind::Not(operand) => {
                let ty = self.node(operand);
                self.check(typing::condition("`not`", &ty), operand);
                Type::Bool
            }
            Kind::Negate(operand) => {
                let ty = self.node(operand);
                self.settle(typing::negate(&ty), node)
            }
            Kind::And(pair) | Kind::Or(pair) => {
                let (left, right) = (self.node(&pair.0), self.node(&pair.1));
                let is_or = matches!(node.kind, Kind::Or(_));
                self.settle(typing::either(is_or, &left, &right), &pair.0)
            }
            Kind::Binary(op, pair) => {
                let (left, right) = (self.node(&pair.0), self.node(&pair.1));
                self.binary(*op, (&pair.0, &left), (&pair.1, &right), node)
            }
            Kind::Chain(first, rest) => {
                let mut left = (&**first, self.node(first));
                for (op, right) in rest {
                    let ty = self.node(right);
                    self.binary(*op, (left.0, &left.1), (right, &ty), node);
                    left = (right, ty);
                }
                Type::Bool
            }
            Kind::Choose(parts) => {
                let [test, then, otherwise] = &**parts;
                let ty = self.node(test);
                self.check(typing::condition("`if`", &ty), test);
                let then = self.node(then);
                then.join(&self.node(otherwise))
            }
            Kind::Filter(filter, input, arguments) => self.filter(filter, input, arguments, node),
            Kind::Test(test, input, arguments) => self.test(test, input, arguments, node),
            Kind::Range(arguments) => {
                for argument in arguments {
                    self.whole_number(argument, "`range`");
                }
                Type::list(Type::Int)
            }
            Kind::List(items) => {
                let types = items.iter().map(|item| self.node(item));
                let item = types.reduce(|all, one| all.join(&one));
                Type::list(item.unwrap_or(Type::Any))
            }
            Kind::Map(entries) => self.map(entries),
        }
    }

    fn binary(
        &mut self,
        op: Op,
        left: (&Node, &Type),
        right: (&Node, &Type),
        whole: &Node,
    ) -> Type {
        if self.misses_its_word(op, left.0, right)
            | self.misses_its_word(op, right.0, left)
            | self.misses_every_word(op, right.0, left)
        {
            return Type::Bool;
        }
        let ty = typing::binary(op, left.1, right.1);
        self.settle(ty, whole)
    }

    /// Whether `node` is a text that no value of the other side's type is: a typing mistake in a
    /// status would otherwise be a condition that never holds.
    fn misses_its_word(&mut self, op: Op, node: &Node, other: (&Node, &Type)) -> bool {
        let (Some(text), Type::Enum(words)) = (node.text(), other.1.without_null()) else {
            return false;
        };
        let equality = matches!(op, Op::Equal | Op::NotEqual);
        if !equality || words.iter().any(|word| &**word == text) {
            return false;
        }
        let asked = self.expr.text(other.0.range());
        let near = nearest(text, words.iter().map(|word| &**word));
        self.report(
            Diagnostic::error(codes::EXPR_TYPE, format!("`{asked}` is never `{text}`"))
                .maybe_help(did_you_mean(near))
                .help(format!("it is {}", other.1)),
            node.range(),
        );
        true
    }

    fn misses_every_word(&mut self, op: Op, node: &Node, needle: (&Node, &Type)) -> bool {
        let (Kind::List(items), true) = (&node.kind, matches!(op, Op::In | Op::NotIn)) else {
            return false;
        };
        let missed = items
            .iter()
            .map(|item| self.misses_its_word(Op::Equal, item, needle));
        missed.fold(false, |any, one| any | one)
    }

    fn map(&mut self, entries: &[(Node, Node)]) -> Type {
        let mut fields = Vec::with_capacity(entries.len());
        let mut known = true;
        for (key, value) in entries {
            let ty = self.node(key);
            if ty.contains_secret() {
                self.problem(Problem::secret("a key"), key.range());
            }
            let value = self.node(value);
            match key.text() {
                Some(name) => fields.push((name, value)),
                None => {
                    known = false;
                    fields.push(("", value));
                }
            }
        }
        if known {
            return Type::object(super::Fields::new(fields));
        }
        let types = fields.into_iter().map(|(_, ty)| ty);
        Type::map(types.reduce(|all, one| all.join(&one)).unwrap_or(Type::Any))
    }

    /// `ty`, or its problem, reported for `node`.
    fn settle(&mut self, ty: Result<Type, Problem>, node: &Node) -> Type {
        ty.unwrap_or_else(|problem| {
            self.problem(problem, node.range());
            Type::Any
        })
    }

    fn check(&mut self, fine: Result<(), Problem>, node: &Node) {
        if let Err(problem) = fine {
            self.problem(problem, node.range());
        }
    }

    fn problem(&mut self, problem: Problem, range: Range<usize>) {
        let code: Code = if problem.of_secret {
            codes::EXPR_SECRET
        } else {
            codes::EXPR_TYPE
        };
        self.report(
            Diagnostic::error(code, problem.message).maybe_help(problem.help),
            range,
        );
    }

    fn report(&mut self, diagnostic: Diagnostic, range: Range<usize>) {
        self.diagnostics.push(diagnostic.at(self.expr.place(range)));
    }
}
