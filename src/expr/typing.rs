//! The types of operations, from the types of their operands: for the check before the run, and for
//! what is not known yet while a dry-run evaluates.

use super::operate::{disorder, mismatch};
use super::tree::Op;
use super::types::Type;

/// Why an operation has no type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Problem {
    /// Whether it is that a secret would tell something of itself.
    pub(super) of_secret: bool,
    pub(super) message: String,
    pub(super) help: Option<String>,
}

impl Problem {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self {
            of_secret: false,
            message: message.into(),
            help: None,
        }
    }

    pub(super) fn help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// For what would tell something of a secret: one answer is one bit, a loop tells all.
    pub(super) fn secret(what: &str) -> Self {
        let problem = Self::new(format!("{what} would tell something of a secret"));
        Self {
            of_secret: true,
            ..problem.help("a secret may be handed on, or joined with texts; only `is defined` may be asked of it")
        }
    }
}

/// The type of `left op right`.
pub(super) fn binary(op: Op, left: &Type, right: &Type) -> Result<Type, Problem> {
    if left.contains_secret() || right.contains_secret() {
        return with_secret(op, left, right);
    }
    let (a, b) = (left.without_null(), right.without_null());
    let any = matches!(a, Type::Any) || matches!(b, Type::Any);
    let unfit = || {
        let (message, help) = mismatch(op, &name(left), &name(right));
        Problem {
            help,
            ..Problem::new(message)
        }
    };
    match op {
        Op::Equal | Op::NotEqual if comparable(a, b) => Ok(Type::Bool),
        Op::Equal | Op::NotEqual => Err(never_equal(op, a, b)),
        Op::In | Op::NotIn => within(op, a, b).map(|()| Type::Bool),
        op if op.is_order() => order(op, a, b).map(|()| Type::Bool),
        Op::Concatenate if matches!((a, b), (Type::Null, _) | (_, Type::Null)) => Err(unfit()),
        Op::Concatenate => Ok(Type::String),
        Op::Add if a.is_text() && b.is_text() => Ok(Type::String),
        Op::Add if let (Type::List(x), Type::List(y)) = (a, b) => Ok(Type::list(x.join(y))),
        Op::Multiply if (a.is_text() && *b == Type::Int) || (*a == Type::Int && b.is_text()) => {
            Ok(Type::String)
        }
        _ if a.is_number() && b.is_number() => Ok(arithmetic(op, a, b)),
        _ if any && takes(op, a) && takes(op, b) => Ok(Type::Any),
        _ => Err(unfit()),
    }
}

fn arithmetic(op: Op, a: &Type, b: &Type) -> Type {
    let whole = *a == Type::Int && *b == Type::Int;
    // `2 ** -1` is a half.
    if whole && !matches!(op, Op::Divide | Op::Power) {
        Type::Int
    } else {
        Type::Number
    }
}

/// Whether an operand of this type may be right when the other one is not known.
fn takes(op: Op, ty: &Type) -> bool {
    match ty {
        Type::Any | Type::Int | Type::Number => true,
        Type::String | Type::Enum(_) => matches!(op, Op::Add | Op::Multiply),
        Type::List(_) => op == Op::Add,
        _ => false,
    }
}

fn with_secret(op: Op, left: &Type, right: &Type) -> Result<Type, Problem> {
    let joins = |ty: &Type| {
        let ty = ty.without_null();
        *ty == Type::Secret || ty.is_text() || *ty == Type::Any
    };
    match op {
        Op::Concatenate => Ok(Type::Secret),
        Op::Add if joins(left) && joins(right) => Ok(Type::Secret),
        Op::Add if matches!((left, right), (Type::List(_), Type::List(_))) => Ok(left.join(right)),
        Op::Add => Err(Problem::new(format!(
            "`+` does not take {} and {}",
            name(left),
            name(right)
        ))
        .help("`~` joins values as texts")),
        _ => Err(Problem::secret(&format!("`{}`", op.symbol()))),
    }
}

/// A type as it stands in messages about operators.
fn name(ty: &Type) -> String {
    match ty {
        Type::Enum(_) => "a text".to_owned(),
        other => other.to_string(),
    }
}

/// Whether values of two types can be equal at all.
pub(super) fn comparable(a: &Type, b: &Type) -> bool {
    match (a.without_null(), b.without_null()) {
        (Type::Any | Type::Null, _) | (_, Type::Any | Type::Null) => true,
        (Type::Enum(a), Type::Enum(b)) => a.iter().any(|text| b.contains(text)),
        (a, b) if a.is_text() && b.is_text() => true,
        (a, b) if a.is_number() && b.is_number() => true,
        (Type::List(a), Type::List(b)) => comparable(a, b),
        (Type::Map(_) | Type::Object(_), Type::Map(_) | Type::Object(_)) => true,
        (Type::Bool, Type::Bool) => true,
        _ => false,
    }
}

fn never_equal(op: Op, a: &Type, b: &Type) -> Problem {
    let answer = if op == Op::Equal { "false" } else { "true" };
    let problem = Problem::new(format!(
        "`{}` between {a} and {b} is always {answer}",
        op.symbol()
    ));
    let one = |yes: fn(&Type) -> bool| yes(a) || yes(b);
    if one(Type::is_text) && one(Type::is_number) {
        problem.help("write the number without quotes; `…|int` reads a text as a number")
    } else if one(Type::is_text) && one(|ty| *ty == Type::Bool) {
        problem.help("write `true` or `false` without quotes, or the boolean alone")
    } else {
        problem
    }
}

fn order(op: Op, a: &Type, b: &Type) -> Result<(), Problem> {
    let any = matches!(a, Type::Any) || matches!(b, Type::Any);
    let ordered = |ty: &Type| ty.is_number() || matches!(ty, Type::String | Type::Any);
    let same = a.is_number() && b.is_number() || a.is_text() && b.is_text();
    if ordered(a) && ordered(b) && (same || any) {
        return Ok(());
    }
    if same {
        // One of a few words: their order in the alphabet is not their weight.
        let problem = Problem::new(format!(
            "`{}` has no order between these words",
            op.symbol()
        ));
        return Err(problem.help("`… in ['one', 'another']` asks for some of them"));
    }
    let (message, help) = disorder(op.symbol(), &name(a), &name(b));
    Err(Problem::new(message).help(help))
}

fn within(op: Op, needle: &Type, haystack: &Type) -> Result<(), Problem> {
    let symbol = op.symbol();
    match haystack {
        Type::Any | Type::Map(_) | Type::Object(_) => Ok(()),
        Type::List(item) if comparable(needle, item) => Ok(()),
        Type::List(item) => {
            let problem = Problem::new(format!("`{symbol}` never finds {needle} in {haystack}"));
            Err(match (needle, &**item) {
                (text, item) if text.is_text() && item.is_number() => {
                    problem.help("`…|int` reads a text as a number")
                }
                (number, item) if number.is_number() && item.is_text() => {
                    problem.help("`…|string` writes a value as a text")
                }
                _ => problem,
            })
        }
        text if text.is_text() && (needle.is_text() || *needle == Type::Any) => Ok(()),
        text if text.is_text() => Err(Problem::new(format!(
            "`{symbol}` looks for a text in a text, not for {needle}"
        ))
        .help("`…|string` writes a value as a text")),
        other => Err(Problem::new(format!(
            "`{symbol}` looks into a list, a mapping or a text, not into {other}"
        ))),
    }
}

/// The type of `-value`.
pub(super) fn negate(ty: &Type) -> Result<Type, Problem> {
    match ty.without_null() {
        Type::Any | Type::Int | Type::Number => Ok(ty.without_null().clone()),
        Type::Secret => Err(Problem::secret("`-`")),
        other => Err(Problem::new(format!(
            "`-` takes a number, not {}",
            name(other)
        ))),
    }
}

/// Whether a value of this type can decide something; `what` is what asks: "`not`".
pub(super) fn condition(what: &str, ty: &Type) -> Result<(), Problem> {
    match ty.without_null() {
        ty if ty.contains_secret() => Err(Problem::secret(what)),
        ty if ty.is_text() => Err(Problem::new(format!(
            "{what} takes a condition, and a text is none: any but the empty one would count as true"
        ))
        .help("compare it, as in `… == 'yes'`, or ask `… != ''`")),
        _ => Ok(()),
    }
}

/// The type of `left and right` or `left or right`.
pub(super) fn either(is_or: bool, left: &Type, right: &Type) -> Result<Type, Problem> {
    let what = if is_or { "`or`" } else { "`and`" };
    if left.contains_secret() {
        return Err(Problem::secret(what));
    }
    if !is_or {
        condition(what, left)?;
    }
    if is_or {
        // The left one comes through only where it counts as true, which null does not.
        return Ok(match left {
            Type::Null => right.clone(),
            left => left.without_null().join(right),
        });
    }
    Ok(left.join(right))
}

#[cfg(test)]
mod tests {
    use super::{Type, binary, comparable, either};
    use crate::expr::tree::Op;

    fn of(op: Op, left: &Type, right: &Type) -> String {
        match binary(op, left, right) {
            Ok(ty) => ty.to_string(),
            Err(problem) if problem.of_secret => "secret".to_owned(),
            Err(_) => "wrong".to_owned(),
        }
    }

    #[test]
    fn operators_by_their_operands() {
        let (int, number, text) = (Type::Int, Type::Number, Type::String);
        let (any, secret) = (Type::Any, Type::Secret);
        let texts = Type::list(Type::String);
        for (op, left, right, expected) in [
            (Op::Add, &int, &int, "a whole number"),
            (Op::Add, &int, &number, "a number"),
            (Op::Divide, &int, &int, "a number"),
            (Op::DivideFloor, &int, &int, "a whole number"),
            (Op::Add, &text, &text, "a text"),
            (Op::Add, &text, &int, "wrong"),
            (Op::Add, &any, &int, "any value"),
            (Op::Add, &texts, &texts, "a list of texts"),
            (Op::Subtract, &text, &any, "wrong"),
            (Op::Multiply, &text, &int, "a text"),
            (Op::Concatenate, &text, &int, "a text"),
            (Op::Concatenate, &text, &Type::Null, "wrong"),
            (Op::Less, &int, &number, "a boolean"),
            (Op::Less, &text, &int, "wrong"),
            (Op::Less, &any, &int, "a boolean"),
            (Op::Less, &any, &texts, "wrong"),
            (Op::Less, &Type::Bool, &Type::Bool, "wrong"),
            (Op::Equal, &text, &int, "wrong"),
            (Op::Equal, &text, &Type::Null, "a boolean"),
            (Op::In, &text, &texts, "a boolean"),
            (Op::In, &int, &texts, "wrong"),
            (Op::In, &text, &int, "wrong"),
            (Op::Concatenate, &text, &secret, "a secret"),
            (
                Op::Concatenate,
                &Type::list(Type::Secret),
                &text,
                "a secret",
            ),
            (Op::Add, &secret, &text, "a secret"),
            (Op::Add, &secret, &int, "wrong"),
            (Op::Equal, &secret, &text, "secret"),
            (Op::In, &text, &secret, "secret"),
            (Op::Less, &secret, &secret, "secret"),
        ] {
            assert_eq!(
                of(op, left, right),
                expected,
                "{left} {} {right}",
                op.symbol()
            );
        }
    }

    #[test]
    fn words_have_no_order_and_may_never_meet() {
        let status = Type::one_of(["ok", "warning"]);
        assert_eq!(of(Op::Less, &status, &Type::String), "wrong");
        assert!(comparable(&status, &Type::String));
        assert!(!comparable(&status, &Type::one_of(["failed"])));
    }

    #[test]
    fn or_replaces_null() {
        let maybe = Type::nullable(Type::String);
        assert_eq!(either(true, &maybe, &Type::String), Ok(Type::String));
        assert!(either(true, &Type::Secret, &Type::String).is_err());
        assert!(either(false, &Type::String, &Type::Bool).is_err());
    }
}
