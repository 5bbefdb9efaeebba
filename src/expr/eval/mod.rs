//! The value of an expression, in a run or before one.
//!
//! In a dry-run some values are not known. What is made from one is not known either, and has a
//! type; but where `and`, `or` or a choice is decided without it, it does not matter.

mod calls;
mod roots;
mod select;

use minijinja::State;

use super::error::{EvalError, EvalErrorKind, Failure};
use super::expression::Expr;
use super::operate::{negate, operate};
use super::template::{Part, Template};
use super::tree::{Kind, Node, Op};
use super::types::Type;
use super::typing;
use super::value::{Value, describe, to_text};

pub use roots::{Evaluated, RootSource, Unknown};

impl Expr {
    /// Its value, as far as it is known.
    ///
    /// # Errors
    /// Where a name, field or item is not there, a type does not fit, a number is too large or
    /// divided by zero, or the expression takes too long.
    pub fn eval(&self, roots: &dyn RootSource) -> Result<Evaluated, EvalError> {
        let mut evaluator = Evaluator {
            expr: self,
            roots,
            state: None,
        };
        evaluator.defined(self.root())
    }

    /// What each path in it stands for, in the order of their places, each once: for a message
    /// about an expression that came out wrong. What is not there is left out.
    pub fn operands(&self, roots: &dyn RootSource) -> Vec<(String, Evaluated)> {
        let mut evaluator = Evaluator {
            expr: self,
            roots,
            state: None,
        };
        let mut operands: Vec<(String, Evaluated)> = Vec::new();
        for (index, reference) in self.references().iter().enumerate() {
            let name = reference.to_string();
            let known = operands.iter().any(|(other, _)| *other == name);
            match evaluator.path(index) {
                Ok(Evaluated::Known(value)) if value.is_undefined() => {}
                Ok(value) if !known => operands.push((name, value)),
                _ => {}
            }
        }
        operands
    }
}

impl Template {
    /// Its value, as far as it is known: that of a single expression, else a text.
    ///
    /// # Errors
    /// Those of [`Expr::eval`]; and null has no text.
    pub fn eval(&self, roots: &dyn RootSource) -> Result<Evaluated, EvalError> {
        let parts = match self {
            Self::Literal(text) => return Ok(Evaluated::Known(Value::from(&**text))),
            Self::Whole(expr) => return expr.eval(roots),
            Self::Mixed(parts) => parts,
        };
        let mut text = String::new();
        let mut unknown: Option<Unknown> = None;
        for part in parts {
            match part {
                Part::Text(part) => text.push_str(part),
                Part::Expr(expr) => match expr.eval(roots)? {
                    Evaluated::Known(value) => match to_text(&value) {
                        Some(part) => text.push_str(&part),
                        None => return Err(without_text(expr)),
                    },
                    Evaluated::Unknown(part) => {
                        let secret = part.ty.contains_secret()
                            || unknown.as_ref().is_some_and(|all| all.ty == Type::Secret);
                        let ty = if secret { Type::Secret } else { Type::String };
                        unknown = Some(unknown.unwrap_or(part).of(ty));
                    }
                },
            }
        }
        Ok(match unknown {
            None => Evaluated::Known(Value::from(text)),
            Some(part) => Evaluated::Unknown(part),
        })
    }
}

fn without_text(expr: &Expr) -> EvalError {
    let message = format!("`{}` is null, in the middle of a text", expr.source());
    Failure::new(EvalErrorKind::Null, message)
        .help(format!(
            "`{} or 'none'` says what stands there",
            expr.source()
        ))
        .at(expr.span())
}

struct Evaluator<'a> {
    expr: &'a Expr,
    roots: &'a dyn RootSource,
    /// Made when the first filter or test is called: most expressions have none.
    state: Option<State<'static, 'static>>,
}

type Result<T, E = EvalError> = std::result::Result<T, E>;

impl Evaluator<'_> {
    /// The value of `node`, which has to be there.
    fn defined(&mut self, node: &Node) -> Result<Evaluated> {
        match self.node(node)? {
            Evaluated::Known(value) if value.is_undefined() => Err(self.undefined(node)),
            other => Ok(other),
        }
    }

    /// The value of `node`; it may be undefined.
    fn node(&mut self, node: &Node) -> Result<Evaluated> {
        match &node.kind {
            Kind::Constant(value) => Ok(Evaluated::Known(value.clone())),
            Kind::Path(index) => self.path(*index),
            Kind::Attribute(base, name) => self.attribute(base, name, node),
            Kind::Item(pair) => self.item(&pair.0, &pair.1, node),
            Kind::Slice(base, bounds) => self.slice(base, bounds, node),
            Kind::Not(operand) => Ok(match self.defined(operand)? {
                Evaluated::Known(value) => Evaluated::Known(Value::from(!value.is_true())),
                Evaluated::Unknown(unknown) => Evaluated::Unknown(unknown.of(Type::Bool)),
            }),
            Kind::Negate(operand) => match self.defined(operand)? {
                Evaluated::Known(value) => {
                    let value = negate(&value).map_err(|failure| self.fail(failure, node))?;
                    Ok(Evaluated::Known(value))
                }
                Evaluated::Unknown(unknown) => {
                    let ty = typing::negate(&unknown.ty).unwrap_or(Type::Any);
                    Ok(Evaluated::Unknown(unknown.of(ty)))
                }
            },
            Kind::And(pair) => self.either(false, &pair.0, &pair.1),
            Kind::Or(pair) => self.either(true, &pair.0, &pair.1),
            Kind::Binary(op, pair) => {
                let left = self.defined(&pair.0)?;
                let right = self.defined(&pair.1)?;
                self.binary(*op, &left, &right, node)
            }
            Kind::Chain(first, rest) => self.chain(first, rest, node),
            Kind::Choose(parts) => self.choose(parts),
            Kind::Filter(filter, input, arguments) => self.filter(filter, input, arguments, node),
            Kind::Test(test, input, arguments) => self.test(test, input, arguments, node),
            Kind::Range(arguments) => self.range(arguments, node),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
        }
    }

    fn binary(
        &mut self,
        op: Op,
        left: &Evaluated,
        right: &Evaluated,
        node: &Node,
    ) -> Result<Evaluated> {
        match (left, right) {
            (Evaluated::Known(a), Evaluated::Known(b)) => operate(op, a, b)
                .map(Evaluated::Known)
                .map_err(|failure| self.fail(failure, node)),
            (Evaluated::Unknown(unknown), _) | (_, Evaluated::Unknown(unknown)) => {
                let ty = typing::binary(op, &left.ty(), &right.ty());
                let otherwise = if op.is_question() {
                    Type::Bool
                } else {
                    Type::Any
                };
                Ok(Evaluated::Unknown(unknown.of(ty.unwrap_or(otherwise))))
            }
        }
    }

    /// `a < b < c`: true when each pair is.
    fn chain(&mut self, first: &Node, rest: &[(Op, Node)], node: &Node) -> Result<Evaluated> {
        let mut left = self.defined(first)?;
        let mut unknown = None;
        for (op, right) in rest {
            let step = self.defined(right).and_then(|right| {
                let answer = self.binary(*op, &left, &right, node)?;
                Ok((answer, right))
            });
            let (answer, right) = match (step, &unknown) {
                (Ok(step), _) => step,
                // An answer that is not known yet may turn out to end the chain before this.
                (Err(_), Some(_)) => break,
                (Err(error), None) => return Err(error),
            };
            match answer {
                Evaluated::Known(answer) if !answer.is_true() => {
                    return Ok(Evaluated::Known(answer));
                }
                Evaluated::Known(_) => {}
                Evaluated::Unknown(answer) => unknown = unknown.or(Some(answer)),
            }
            left = right;
        }
        Ok(unknown.map_or(Evaluated::Known(Value::from(true)), Evaluated::Unknown))
    }

    fn either(&mut self, is_or: bool, left: &Node, right: &Node) -> Result<Evaluated> {
        let left = match self.defined(left)? {
            Evaluated::Known(value) if value.is_true() == is_or => {
                return Ok(Evaluated::Known(value));
            }
            Evaluated::Known(_) => return self.defined(right),
            Evaluated::Unknown(left) => left,
        };
        // What is wrong on the right may be just what the left side would have guarded against.
        let right = match self.defined(right) {
            // `… and false` is false, and `… or true` true, whatever the left side will be.
            Ok(Evaluated::Known(value)) if decides(&value, is_or) && left.ty == Type::Bool => {
                return Ok(Evaluated::Known(value));
            }
            Ok(right) => right.ty(),
            Err(_) => Type::Any,
        };
        let ty = typing::either(is_or, &left.ty, &right).unwrap_or(Type::Any);
        Ok(Evaluated::Unknown(left.of(ty)))
    }

    fn choose(&mut self, parts: &[Node; 3]) -> Result<Evaluated> {
        let [test, then, otherwise] = parts;
        let unknown = match self.defined(test)? {
            Evaluated::Known(answer) if answer.is_true() => return self.defined(then),
            Evaluated::Known(_) => return self.defined(otherwise),
            Evaluated::Unknown(unknown) => unknown,
        };
        let (then, otherwise) = (self.defined(then), self.defined(otherwise));
        let ty = match (&then, &otherwise) {
            (Ok(Evaluated::Known(a)), Ok(Evaluated::Known(b))) if a == b => {
                return Ok(Evaluated::Known(a.clone()));
            }
            (Ok(a), Ok(b)) => a.ty().join(&b.ty()),
            _ => Type::Any,
        };
        Ok(Evaluated::Unknown(unknown.of(ty)))
    }

    fn list(&mut self, items: &[Node]) -> Result<Evaluated> {
        let items: Vec<Evaluated> = items
            .iter()
            .map(|item| self.defined(item))
            .collect::<Result<_>>()?;
        let unknown = items.iter().find_map(|item| match item {
            Evaluated::Known(_) => None,
            Evaluated::Unknown(unknown) => Some(unknown),
        });
        if let Some(unknown) = unknown {
            let types = items.iter().map(Evaluated::ty);
            let item = types.reduce(|all, one| all.join(&one));
            let ty = Type::list(item.unwrap_or(Type::Any));
            return Ok(Evaluated::Unknown(unknown.of(ty)));
        }
        let values = items.into_iter().filter_map(Evaluated::into_known);
        Ok(Evaluated::Known(Value::from(values.collect::<Vec<_>>())))
    }

    fn map(&mut self, entries: &[(Node, Node)]) -> Result<Evaluated> {
        let mut pairs = Vec::with_capacity(entries.len());
        let mut unknown = None;
        let mut secret = false;
        for (key_node, value) in entries {
            let (key, value) = (self.defined(key_node)?, self.defined(value)?);
            secret |= value.ty().contains_secret();
            match (key, value) {
                (Evaluated::Known(key), Evaluated::Known(value)) => {
                    let Some(name) = to_text(&key) else {
                        let message = format!("a key is {}", describe(&key));
                        return Err(self.fail(Failure::new(EvalErrorKind::Type, message), key_node));
                    };
                    pairs.push((name, value));
                }
                (Evaluated::Unknown(part), _) | (_, Evaluated::Unknown(part)) => {
                    unknown = unknown.or(Some(part));
                }
            }
        }
        let item = if secret { Type::Secret } else { Type::Any };
        Ok(match unknown {
            None => Evaluated::Known(Value::from_pairs(pairs)),
            Some(part) => Evaluated::Unknown(part.of(Type::map(item))),
        })
    }

    fn fail(&self, failure: Failure, node: &Node) -> EvalError {
        let written = self.expr.text(node.range());
        Failure {
            message: format!("in `{}`: {}", shortened(written), failure.message),
            ..failure
        }
        .at(self.expr.place(node.range()))
    }
}

/// Whether the right side alone decides `and` or `or`.
fn decides(value: &Value, is_or: bool) -> bool {
    value.kind() == minijinja::value::ValueKind::Bool && value.is_true() == is_or
}

/// Longest part of an expression that a message repeats, in characters.
const SHOWN: usize = 80;

fn shortened(text: &str) -> String {
    if text.chars().count() <= SHOWN {
        return text.to_owned();
    }
    let start: String = text.chars().take(SHOWN).collect();
    format!("{start}…")
}
