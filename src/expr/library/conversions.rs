//! Filters between texts, numbers, booleans and JSON, in place of minijinja's: those would read null
//! as 0 and `"false"` as true, write lists as Python does, and escape JSON for HTML.

use minijinja::value::{Kwargs, ValueKind};
use minijinja::{Environment, Error, State, Value};
use serde::Serialize;
use serde_json::ser::PrettyFormatter;

use super::environment::{failed, field};
use crate::expr::value::{describe, to_json, to_text};

/// Adds them.
pub(super) fn add_conversions(environment: &mut Environment<'static>) {
    environment.add_filter("int", to_int);
    environment.add_filter("float", to_float);
    environment.add_filter("bool", to_bool);
    environment.add_filter("string", |value: &Value| {
        to_text(value).ok_or_else(|| failed("null has no text; `… or 'none'` gives it one"))
    });
    environment.add_filter("tojson", to_json_text);
    environment.add_filter("join", join);
}

/// What stands in where a conversion fails: the `default` argument.
fn stand_in(default: Option<Value>, kwargs: &Kwargs) -> Result<Option<Value>, Error> {
    match default {
        Some(default) => Ok(Some(default)),
        None => kwargs.get("default"),
    }
}

fn to_int(
    value: &Value,
    default: Option<Value>,
    base: Option<u32>,
    kwargs: Kwargs,
) -> Result<Value, Error> {
    let default = stand_in(default, &kwargs)?;
    let base = match base {
        Some(base) => base,
        None => kwargs.get::<Option<u32>>("base")?.unwrap_or(10),
    };
    kwargs.assert_all_used()?;
    if !(2..=36).contains(&base) {
        return Err(failed("`base` is from 2 to 36"));
    }
    let read = match value.kind() {
        ValueKind::Bool => Some(i64::from(value.is_true())),
        ValueKind::Number if value.is_integer() => value.as_i64(),
        ValueKind::Number => f64::try_from(value.clone()).ok().and_then(truncate),
        ValueKind::String => read_int(value.as_str().unwrap_or_default(), base),
        _ => None,
    };
    read.map(Value::from)
        .or(default)
        .ok_or_else(|| unreadable(value, "a whole number"))
}

fn read_int(text: &str, base: u32) -> Option<i64> {
    let text = text.trim();
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let prefix = match base {
        2 => "0b",
        8 => "0o",
        16 => "0x",
        _ => "",
    };
    let digits = digits.strip_prefix(prefix).unwrap_or(digits);
    let plain = digits.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let sign = if negative { "-" } else { "" };
    let whole = plain
        .then(|| i64::from_str_radix(&format!("{sign}{digits}"), base).ok())
        .flatten();
    whole.or_else(|| {
        (base == 10)
            .then(|| read_float(text).and_then(truncate))
            .flatten()
    })
}

fn read_float(text: &str) -> Option<f64> {
    let number: f64 = text.trim().parse().ok()?;
    number.is_finite().then_some(number)
}

/// The whole part, where 64 bits hold it.
fn truncate(float: f64) -> Option<i64> {
    // 2^63 is the first that does not fit, and has an exact float.
    let limit = 9_223_372_036_854_775_808.0;
    (float >= -limit && float < limit).then_some(float as i64)
}

fn to_float(value: &Value, default: Option<Value>, kwargs: Kwargs) -> Result<Value, Error> {
    let default = stand_in(default, &kwargs)?;
    kwargs.assert_all_used()?;
    let read = match value.kind() {
        ValueKind::Bool => Some(f64::from(u8::from(value.is_true()))),
        ValueKind::Number => f64::try_from(value.clone()).ok(),
        ValueKind::String => read_float(value.as_str().unwrap_or_default()),
        _ => None,
    };
    read.map(Value::from)
        .or(default)
        .ok_or_else(|| unreadable(value, "a number"))
}

fn to_bool(value: &Value) -> Result<bool, Error> {
    match value.kind() {
        ValueKind::Bool | ValueKind::Number => Ok(value.is_true()),
        ValueKind::String => match value.as_str().unwrap_or_default() {
            "true" | "True" | "TRUE" => Ok(true),
            "false" | "False" | "FALSE" => Ok(false),
            _ => Err(unreadable(value, "`true` or `false`")),
        },
        _ => Err(unreadable(value, "`true` or `false`")),
    }
}

/// The deepest indentation of `tojson`, in spaces.
const MAX_INDENT: usize = 8;

/// Longest part of a value that is shown in a message, in characters.
const SHOWN: usize = 40;

fn unreadable(value: &Value, wanted: &str) -> Error {
    match value.as_str() {
        Some(text) if text.chars().count() > SHOWN => {
            let start: String = text.chars().take(SHOWN).collect();
            failed(format!("cannot read {start:?}… as {wanted}"))
        }
        Some(text) => failed(format!("cannot read {text:?} as {wanted}")),
        None => failed(format!("cannot read {} as {wanted}", describe(value))),
    }
}

fn to_json_text(
    state: &State,
    value: &Value,
    indent: Option<Value>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let indent = match indent {
        Some(indent) => Some(indent),
        None => kwargs.get("indent")?,
    };
    kwargs.assert_all_used()?;
    let width = match indent {
        Some(indent) if indent.kind() == ValueKind::Bool => 2 * usize::from(indent.is_true()),
        Some(indent) => indent.as_usize().unwrap_or(0).min(MAX_INDENT),
        None => 0,
    };
    let json = to_json(value);
    let text = if width > 0 {
        let spaces = [b' '; MAX_INDENT];
        let mut text = Vec::new();
        let formatter = PrettyFormatter::with_indent(&spaces[..width]);
        let mut serializer = serde_json::Serializer::with_formatter(&mut text, formatter);
        let written = json.serialize(&mut serializer);
        written.map(|()| String::from_utf8_lossy(&text).into_owned())
    } else {
        serde_json::to_string(&json)
    };
    let text = text.map_err(|error| failed(error.to_string()))?;
    state.consume_fuel(text.len() as u64 / 4)?;
    Ok(text)
}

/// minijinja's `join`, with items as they stand in texts.
fn join(
    state: &mut State,
    value: &Value,
    separator: Option<&str>,
    attribute: Option<&str>,
    kwargs: Kwargs,
) -> Result<String, Error> {
    let separator = match separator {
        Some(separator) => separator,
        None => kwargs.get::<Option<&str>>("d")?.unwrap_or_default(),
    };
    let attribute = match attribute {
        Some(attribute) => Some(attribute),
        None => kwargs.get::<Option<&str>>("attribute")?,
    };
    kwargs.assert_all_used()?;
    let mut text = String::new();
    for (at, item) in value.try_iter()?.checked().enumerate() {
        let item = match attribute {
            Some(path) => field(&item?, path)?,
            None => item?,
        };
        let part = to_text(&item)
            .ok_or_else(|| failed(format!("item {at} is {} and has no text", describe(&item))))?;
        state.consume_fuel(1 + (separator.len() + part.len()) as u64 / 64)?;
        if at > 0 {
            text.push_str(separator);
        }
        text.push_str(&part);
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::read_int;

    #[test]
    fn reads_whole_numbers() {
        for (text, base, expected) in [
            ("42", 10, Some(42)),
            (" -7 ", 10, Some(-7)),
            ("+7", 10, Some(7)),
            ("3.9", 10, Some(3)),
            ("1e3", 10, Some(1000)),
            ("0x1f", 16, Some(31)),
            ("-0b11", 2, Some(-3)),
            ("-9223372036854775808", 10, Some(i64::MIN)),
            ("9223372036854775808", 10, None),
            ("--7", 10, None),
            ("1e300", 10, None),
            ("inf", 10, None),
            ("", 10, None),
            ("12 MB", 10, None),
        ] {
            assert_eq!(read_int(text, base), expected, "{text:?}");
        }
    }
}
