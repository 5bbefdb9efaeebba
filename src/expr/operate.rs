//! The operators, on values.
//!
//! Stricter than minijinja's own: an order only between two numbers or two texts, whole numbers of
//! 64 bits that never wrap or widen, no arithmetic with booleans, no result that is not a number.

use std::cmp::Ordering;

use minijinja::Value;
use minijinja::value::ValueKind;

use super::error::{EvalErrorKind, Failure};
use super::tree::Op;
use super::value::{describe, to_text};

/// The longest text that an operator makes, in bytes.
const MAX_TEXT: usize = 16 << 20;

/// The longest list that an operator makes.
const MAX_ITEMS: usize = 1 << 20;

/// A number: whole ones stay whole.
#[derive(Clone, Copy, Debug)]
enum Number {
    Int(i64),
    Float(f64),
}

impl Number {
    fn float(self) -> f64 {
        match self {
            Self::Int(int) => int as f64,
            Self::Float(float) => float,
        }
    }
}

/// The value of `left op right`.
pub(super) fn operate(op: Op, left: &Value, right: &Value) -> Result<Value, Failure> {
    match op {
        Op::Equal => Ok(Value::from(left == right)),
        Op::NotEqual => Ok(Value::from(left != right)),
        Op::In => contains(op, left, right).map(Value::from),
        Op::NotIn => contains(op, left, right).map(|found| Value::from(!found)),
        Op::Less | Op::LessOrEqual | Op::Greater | Op::GreaterOrEqual => {
            let order = compare(op.symbol(), left, right)?;
            Ok(Value::from(match op {
                Op::Less => order.is_lt(),
                Op::LessOrEqual => order.is_le(),
                Op::Greater => order.is_gt(),
                _ => order.is_ge(),
            }))
        }
        Op::Concatenate => {
            let side = |value| to_text(value).ok_or_else(|| unfit(op, left, right));
            join_texts(&side(left)?, &side(right)?)
        }
        Op::Add => add(left, right),
        Op::Multiply => multiply(left, right),
        Op::Subtract | Op::Divide | Op::DivideFloor | Op::Remainder | Op::Power => {
            calculate(op, left, right)
        }
    }
}

/// Which of two values comes first, where they have an order.
pub(super) fn compare(symbol: &str, left: &Value, right: &Value) -> Result<Ordering, Failure> {
    let numbers = left.is_number() && right.is_number();
    let texts = left.kind() == ValueKind::String && right.kind() == ValueKind::String;
    if numbers || texts {
        return Ok(left.cmp(right));
    }
    let (message, help) = disorder(symbol, describe(left), describe(right));
    Err(Failure::new(EvalErrorKind::Type, message).help(help))
}

/// What to say of an order between two things that have none; static and at run time alike.
pub(super) fn disorder(symbol: &str, left: &str, right: &str) -> (String, String) {
    let message = format!("`{symbol}` has no order between {left} and {right}");
    let help = if left == "a text" || right == "a text" {
        "`…|int` or `…|float` reads a text as a number"
    } else {
        "numbers and texts have an order, each among themselves"
    };
    (message, help.to_owned())
}

/// `-value`.
pub(super) fn negate(value: &Value) -> Result<Value, Failure> {
    match number(value)? {
        Some(Number::Int(int)) => int.checked_neg().map(Value::from).ok_or_else(too_large),
        Some(Number::Float(float)) => Ok(Value::from(-float)),
        None => Err(Failure::new(
            EvalErrorKind::Type,
            format!("`-` takes a number, not {}", describe(value)),
        )),
    }
}

/// Refuses whole numbers that need more than 64 bits; filters may make them.
pub(super) fn in_range(value: Value) -> Result<Value, Failure> {
    if value.is_number() && !value.is_integer() {
        let float = f64::try_from(value.clone()).unwrap_or(f64::NAN);
        return if float.is_finite() {
            Ok(value)
        } else {
            let message = "the result is no number, or too large: the largest is about 1.8e308";
            Err(Failure::new(EvalErrorKind::Arithmetic, message))
        };
    }
    if value.is_integer() && value.as_i64().is_none() {
        return Err(too_large());
    }
    Ok(value)
}

fn number(value: &Value) -> Result<Option<Number>, Failure> {
    if !value.is_number() {
        return Ok(None);
    }
    if value.is_integer() {
        return value
            .as_i64()
            .map(Number::Int)
            .map(Some)
            .ok_or_else(too_large);
    }
    Ok(f64::try_from(value.clone()).ok().map(Number::Float))
}

fn too_large() -> Failure {
    Failure::new(
        EvalErrorKind::Arithmetic,
        "the number is too large: whole numbers have 64 bits",
    )
}

fn unfit(op: Op, left: &Value, right: &Value) -> Failure {
    let kind = if left.is_none() || right.is_none() {
        EvalErrorKind::Null
    } else {
        EvalErrorKind::Type
    };
    let (message, help) = mismatch(op, describe(left), describe(right));
    let failure = Failure::new(kind, message);
    match help {
        Some(help) => failure.help(help),
        None => failure,
    }
}

/// What to say of two things that an operator does not take; static and at run time alike.
pub(super) fn mismatch(op: Op, left: &str, right: &str) -> (String, Option<String>) {
    let text = |side: &str| side == "a text" || side.starts_with("one of ");
    let help = match op {
        _ if left == "null" || right == "null" => {
            Some("`… or 0`, `… or ''` give what stands in for null".to_owned())
        }
        Op::Add if text(left) || text(right) => {
            Some("`~` joins values as texts; `…|int` reads a text as a number".to_owned())
        }
        _ if text(left) || text(right) => {
            Some("`…|int` or `…|float` reads a text as a number".to_owned())
        }
        _ => None,
    };
    let message = format!("`{}` does not take {left} and {right}", op.symbol());
    (message, help)
}

fn calculate(op: Op, left: &Value, right: &Value) -> Result<Value, Failure> {
    let (Some(a), Some(b)) = (number(left)?, number(right)?) else {
        return Err(unfit(op, left, right));
    };
    if b.float() == 0.0 && matches!(op, Op::Divide | Op::DivideFloor | Op::Remainder) {
        return Err(division_by_zero());
    }
    if let (Number::Int(a), Number::Int(b)) = (a, b) {
        let whole = match op {
            Op::Add => Some(a.checked_add(b)),
            Op::Subtract => Some(a.checked_sub(b)),
            Op::Multiply => Some(a.checked_mul(b)),
            Op::DivideFloor => Some(divide_floor(a, b).map(|(quotient, _)| quotient)),
            Op::Remainder => Some(divide_floor(a, b).map(|(_, remainder)| remainder)),
            Op::Power if b >= 0 => Some(u32::try_from(b).ok().and_then(|b| power(a, b))),
            _ => None,
        };
        if let Some(whole) = whole {
            return whole.map(Value::from).ok_or_else(too_large);
        }
    }
    let (a, b) = (a.float(), b.float());
    if op == Op::Power && a == 0.0 && b < 0.0 {
        return Err(division_by_zero());
    }
    let result = match op {
        Op::Add => a + b,
        Op::Subtract => a - b,
        Op::Multiply => a * b,
        Op::Divide => a / b,
        Op::DivideFloor => (a / b).floor(),
        // The sign of the divisor, as in Python and Jinja.
        Op::Remainder => a - b * (a / b).floor(),
        _ => a.powf(b),
    };
    in_range(Value::from(result))
}

fn division_by_zero() -> Failure {
    Failure::new(EvalErrorKind::Arithmetic, "a division by zero")
}

/// Quotient and remainder, rounded down as in Python and Jinja; nothing where they do not fit.
fn divide_floor(a: i64, b: i64) -> Option<(i64, i64)> {
    let quotient = a.checked_div(b)?;
    let remainder = a.checked_rem(b)?;
    if remainder != 0 && (remainder < 0) != (b < 0) {
        Some((quotient - 1, remainder + b))
    } else {
        Some((quotient, remainder))
    }
}

fn power(a: i64, b: u32) -> Option<i64> {
    a.checked_pow(b)
}

fn add(left: &Value, right: &Value) -> Result<Value, Failure> {
    if left.kind() == ValueKind::String && right.kind() == ValueKind::String {
        let text = |value: &Value| to_text(value).unwrap_or_default();
        return join_texts(&text(left), &text(right));
    }
    if left.kind() == ValueKind::Seq && right.kind() == ValueKind::Seq {
        let length = left.len().unwrap_or(0) + right.len().unwrap_or(0);
        if length > MAX_ITEMS {
            return Err(Failure::too_costly());
        }
        let mut items = Vec::with_capacity(length);
        for side in [left, right] {
            items.extend(side.try_iter()?);
        }
        return Ok(Value::from(items));
    }
    calculate(Op::Add, left, right)
}

fn multiply(left: &Value, right: &Value) -> Result<Value, Failure> {
    let (text, times) = match (left.kind(), right.kind()) {
        (ValueKind::String, ValueKind::Number) => (left, right),
        (ValueKind::Number, ValueKind::String) => (right, left),
        _ => return calculate(Op::Multiply, left, right),
    };
    let Some(Number::Int(times)) = number(times)? else {
        return Err(unfit(Op::Multiply, left, right));
    };
    let text = text.as_str().unwrap_or_default();
    let times = usize::try_from(times).unwrap_or(0);
    match text.len().checked_mul(times) {
        Some(length) if length <= MAX_TEXT => Ok(Value::from(text.repeat(times))),
        _ => Err(Failure::too_costly()),
    }
}

fn join_texts(left: &str, right: &str) -> Result<Value, Failure> {
    if left.len() + right.len() > MAX_TEXT {
        return Err(Failure::too_costly());
    }
    let mut text = String::with_capacity(left.len() + right.len());
    text.push_str(left);
    text.push_str(right);
    Ok(Value::from(text))
}

fn contains(op: Op, needle: &Value, haystack: &Value) -> Result<bool, Failure> {
    match (needle.kind(), haystack.kind()) {
        (_, ValueKind::Seq | ValueKind::Iterable) => {
            let mut items = haystack.try_iter()?;
            Ok(items.any(|item| item == *needle))
        }
        (ValueKind::String, ValueKind::String) => {
            let text = |value: &Value| to_text(value).unwrap_or_default();
            Ok(text(haystack).contains(&text(needle)))
        }
        (_, ValueKind::Map) => Ok(!haystack.get_item(needle)?.is_undefined()),
        (_, ValueKind::String) => Err(unfit(op, needle, haystack)),
        _ => Err(Failure::new(
            EvalErrorKind::Type,
            format!(
                "`{}` looks into a list, a mapping or a text, not into {}",
                op.symbol(),
                describe(haystack)
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use minijinja::Value;

    use super::{Op, in_range, negate, operate};
    use crate::expr::error::EvalErrorKind;
    use crate::expr::value::to_json;

    fn of(
        op: Op,
        left: impl Into<Value>,
        right: impl Into<Value>,
    ) -> Result<String, EvalErrorKind> {
        operate(op, &left.into(), &right.into())
            .map(|value| to_json(&value).to_string())
            .map_err(|failure| failure.kind)
    }

    fn is(text: &str) -> Result<String, EvalErrorKind> {
        Ok(text.to_owned())
    }

    #[test]
    fn whole_numbers_stay_whole_and_never_wrap() {
        assert_eq!(of(Op::Add, 1, 2), is("3"));
        assert_eq!(of(Op::Divide, 6, 2), is("3.0"));
        assert_eq!(of(Op::DivideFloor, -7, 2), is("-4"));
        assert_eq!(of(Op::Remainder, -7, 2), is("1"));
        assert_eq!(of(Op::Remainder, 7.5, -2), is("-0.5"));
        assert_eq!(of(Op::Power, 2, 62), is("4611686018427387904"));
        assert_eq!(of(Op::Power, 2, -1), is("0.5"));
        let arithmetic = Err(EvalErrorKind::Arithmetic);
        assert_eq!(of(Op::Power, 2, 63), arithmetic);
        assert_eq!(of(Op::Add, i64::MAX, 1), arithmetic);
        assert_eq!(of(Op::Multiply, i64::MAX, 2), arithmetic);
        assert_eq!(of(Op::DivideFloor, i64::MIN, -1), arithmetic);
        assert_eq!(of(Op::Remainder, 1, 0), arithmetic);
        assert_eq!(of(Op::Divide, 1, 0.0), arithmetic);
        assert_eq!(of(Op::Power, 0, -1), arithmetic);
        assert_eq!(of(Op::Multiply, 1e308, 10), arithmetic);
        assert_eq!(of(Op::Add, u64::MAX, 1), arithmetic);
        assert!(negate(&Value::from(i64::MIN)).is_err());
        assert!(in_range(Value::from(i128::MAX)).is_err());
    }

    #[test]
    fn order_is_between_equals() {
        assert_eq!(of(Op::Less, 1, 1.5), is("true"));
        assert_eq!(of(Op::Greater, "b", "a"), is("true"));
        assert_eq!(of(Op::Equal, 1, 1.0), is("true"));
        assert_eq!(of(Op::Equal, "1", 1), is("false"));
        let wrong = Err(EvalErrorKind::Type);
        assert_eq!(of(Op::Greater, "5", 3), wrong);
        assert_eq!(of(Op::Less, (), 3), wrong);
        assert_eq!(of(Op::Less, true, 3), wrong);
        assert_eq!(of(Op::Less, vec![1], vec![2]), wrong);
    }

    #[test]
    fn texts_and_lists() {
        assert_eq!(of(Op::Add, "a", "b"), is("\"ab\""));
        assert_eq!(of(Op::Add, vec![1], vec![2]), is("[1,2]"));
        assert_eq!(of(Op::Multiply, "ab", 2), is("\"abab\""));
        assert_eq!(of(Op::Multiply, "ab", -2), is("\"\""));
        assert_eq!(of(Op::Concatenate, "n=", 3), is("\"n=3\""));
        assert_eq!(of(Op::In, 2, vec![1, 2]), is("true"));
        assert_eq!(of(Op::NotIn, "b", "abc"), is("false"));
        assert_eq!(of(Op::Add, "a", 1), Err(EvalErrorKind::Type));
        assert_eq!(of(Op::Concatenate, "a", ()), Err(EvalErrorKind::Null));
        assert_eq!(of(Op::In, 1, "abc"), Err(EvalErrorKind::Type));
        assert_eq!(of(Op::In, 1, 3), Err(EvalErrorKind::Type));
        assert_eq!(
            of(Op::Multiply, "ab", i64::MAX),
            Err(EvalErrorKind::TooCostly)
        );
    }
}
