//! Types of scalars by the core schema of YAML 1.2 (§10.3.2 of its specification).
//!
//! `no`, `on` and `yes` are texts there, `0755` is the decimal 755. A field that wants a text takes
//! the spelling instead, so nothing is lost by resolving.

use super::node::{Map, Node, Scalar, ScalarStyle};

/// A value with its type.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Resolved<'a> {
    /// Nothing: left out, `~` or `null`.
    Null,
    /// `true` or `false`.
    Bool(bool),
    /// An integer. One that does not fit is a [`Resolved::Float`], as in JSON readers.
    Int(i64),
    /// Any other number, infinities and NaN included.
    Float(f64),
    /// A text.
    Str(&'a str),
    /// Values in order.
    Seq(&'a [Node]),
    /// Values by key.
    Map(&'a Map),
}

impl Resolved<'_> {
    /// What it is, for messages: "a mapping", "an integer", "nothing".
    pub fn describe(&self) -> &'static str {
        match self {
            Self::Null => "nothing",
            Self::Bool(_) => "a boolean",
            Self::Int(_) => "an integer",
            Self::Float(_) => "a number",
            Self::Str(_) => "a text",
            Self::Seq(_) => "a sequence",
            Self::Map(_) => "a mapping",
        }
    }
}

/// A tag of the core schema: the only ones that mean something here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CoreTag {
    Str,
    Int,
    Float,
    Bool,
    Null,
    Seq,
    Map,
}

impl CoreTag {
    /// All of them, by the name after `!!`.
    pub(super) const ALL: [(&'static str, Self); 7] = [
        ("str", Self::Str),
        ("int", Self::Int),
        ("float", Self::Float),
        ("bool", Self::Bool),
        ("null", Self::Null),
        ("seq", Self::Seq),
        ("map", Self::Map),
    ];

    /// The value that `text` has under this tag, if it is one.
    pub(super) fn apply(self, text: &str) -> Option<Resolved<'_>> {
        let plain = resolve_plain(text);
        match (self, plain) {
            (Self::Str, _) => Some(Resolved::Str(text)),
            (Self::Float, Resolved::Int(int)) => Some(Resolved::Float(int as f64)),
            (Self::Int, Resolved::Int(_))
            | (Self::Float, Resolved::Float(_))
            | (Self::Bool, Resolved::Bool(_))
            | (Self::Null, Resolved::Null) => Some(plain),
            _ => None,
        }
    }
}

impl Scalar {
    /// The value with its type.
    pub fn resolve(&self) -> Resolved<'_> {
        match self.tag {
            Some(tag) => tag.apply(&self.text).unwrap_or(Resolved::Str(&self.text)),
            None if self.style == ScalarStyle::Plain => resolve_plain(&self.text),
            None => Resolved::Str(&self.text),
        }
    }
}

/// The value of a plain scalar.
fn resolve_plain(text: &str) -> Resolved<'_> {
    match text.as_bytes().first() {
        None => return Resolved::Null,
        // Whatever starts otherwise is a text; most scalars of a playbook do.
        Some(b'~' | b'n' | b'N' | b't' | b'T' | b'f' | b'F' | b'+' | b'-' | b'.' | b'0'..=b'9') => {
        }
        Some(_) => return Resolved::Str(text),
    }
    match text {
        "~" | "null" | "Null" | "NULL" => return Resolved::Null,
        "true" | "True" | "TRUE" => return Resolved::Bool(true),
        "false" | "False" | "FALSE" => return Resolved::Bool(false),
        ".nan" | ".NaN" | ".NAN" => return Resolved::Float(f64::NAN),
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => {
            return Resolved::Float(f64::INFINITY);
        }
        "-.inf" | "-.Inf" | "-.INF" => return Resolved::Float(f64::NEG_INFINITY),
        _ => {}
    }
    number(text).unwrap_or(Resolved::Str(text))
}

/// `text` as an integer or a finite number.
fn number(text: &str) -> Option<Resolved<'_>> {
    for (prefix, radix) in [("0o", 8), ("0x", 16)] {
        if let Some(digits) = text.strip_prefix(prefix) {
            // `from_str_radix` would take a sign here.
            if digits.is_empty() || !digits.chars().all(|c| c.is_digit(radix)) {
                return None;
            }
            return Some(match i64::from_str_radix(digits, radix) {
                Ok(int) => Resolved::Int(int),
                Err(_) => Resolved::Float(digits.chars().fold(0.0, |sum, c| {
                    sum * f64::from(radix) + f64::from(c.to_digit(radix).unwrap_or(0))
                })),
            });
        }
    }
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    if !unsigned.is_empty() && unsigned.bytes().all(|b| b.is_ascii_digit()) {
        return Some(match text.parse() {
            Ok(int) => Resolved::Int(int),
            Err(_) => Resolved::Float(text.parse().ok()?),
        });
    }
    is_decimal(unsigned)
        .then(|| text.parse().ok().map(Resolved::Float))
        .flatten()
}

/// Whether it is `(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?`; Rust's own reader takes more.
fn is_decimal(unsigned: &str) -> bool {
    let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
    let whole = digits(unsigned);
    let mut rest = &unsigned[whole..];
    if let Some(after) = rest.strip_prefix('.') {
        let fraction = digits(after);
        if whole + fraction == 0 {
            return false;
        }
        rest = &after[fraction..];
    } else if whole == 0 {
        return false;
    }
    match rest.strip_prefix(['e', 'E']) {
        None => rest.is_empty(),
        Some(exponent) => {
            let exponent = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
            !exponent.is_empty() && digits(exponent) == exponent.len()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{CoreTag, Resolved, resolve_plain};

    #[test]
    fn follows_the_core_schema() {
        for text in ["", "~", "null", "Null", "NULL"] {
            assert_eq!(resolve_plain(text), Resolved::Null, "{text}");
        }
        for text in ["true", "True", "TRUE"] {
            assert_eq!(resolve_plain(text), Resolved::Bool(true), "{text}");
        }
        for (text, int) in [
            ("0", 0),
            ("-7", -7),
            ("+7", 7),
            ("0755", 755),
            ("0o17", 15),
            ("0xFf", 255),
            ("9223372036854775807", i64::MAX),
            ("-9223372036854775808", i64::MIN),
        ] {
            assert_eq!(resolve_plain(text), Resolved::Int(int), "{text}");
        }
        for (text, float) in [
            ("1.20", 1.2),
            (".5", 0.5),
            ("5.", 5.0),
            ("-1e3", -1000.0),
            ("1.5E-1", 0.15),
            ("9223372036854775808", 9_223_372_036_854_775_808.0),
            ("0xffffffffffffffffff", 4_722_366_482_869_645_213_695.0),
            ("-.inf", f64::NEG_INFINITY),
            ("+.Inf", f64::INFINITY),
        ] {
            assert_eq!(resolve_plain(text), Resolved::Float(float), "{text}");
        }
        assert!(matches!(resolve_plain(".NaN"), Resolved::Float(f) if f.is_nan()));
    }

    #[test]
    fn the_rest_is_text() {
        for text in [
            "no", "on", "yes", "off", "y", "tRUE", "nULL", ".", "-", "+", "1_000", "0b1", "0o8",
            "0x", "0x-1", "+0x1", "1e", "1e+", ".e1", "1.2.3", "12:30", "2h30m", "10MB", "nan",
            "inf", ".iNf", "infinity", "1 2", "٣",
        ] {
            assert_eq!(resolve_plain(text), Resolved::Str(text), "{text}");
        }
    }

    #[test]
    fn tags_ask_for_a_type() {
        assert_eq!(CoreTag::Str.apply("12"), Some(Resolved::Str("12")));
        assert_eq!(CoreTag::Int.apply("12"), Some(Resolved::Int(12)));
        assert_eq!(CoreTag::Float.apply("12"), Some(Resolved::Float(12.0)));
        assert_eq!(CoreTag::Int.apply("1.5"), None);
        assert_eq!(CoreTag::Bool.apply("yes"), None);
    }
}
