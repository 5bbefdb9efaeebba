//! Types of expressions: what flows where, and how a type is named in a message.
//!
//! Deciding the type of an expression is `infer`; reading a type from a JSON Schema is `schema`.

use std::fmt;
use std::sync::Arc;

use super::fields::Fields;

/// The type of a value, as far as it is known before the run.
#[derive(Clone, Debug, PartialEq)]
pub enum Type {
    /// Not known before the run, but no secret.
    Any,
    /// Nothing (`none` in expressions, `null` in YAML and JSON).
    Null,
    /// True or false.
    Bool,
    /// A whole number of 64 bits.
    Int,
    /// A number, whole or not.
    Number,
    /// A text.
    String,
    /// A text that is one of these.
    Enum(Arc<[Arc<str>]>),
    /// A text that is a secret, or was made from one.
    Secret,
    /// A list; all items have this type.
    List(Arc<Type>),
    /// A map with any keys; all values have this type.
    Map(Arc<Type>),
    /// A map whose keys are all known.
    Object(Arc<Fields>),
    /// This, or nothing.
    Nullable(Arc<Type>),
}

impl Type {
    /// A list of `item`.
    pub fn list(item: Type) -> Self {
        Self::List(Arc::new(item))
    }

    /// A map from any key to `value`.
    pub fn map(value: Type) -> Self {
        Self::Map(Arc::new(value))
    }

    /// A map of just these fields.
    pub fn object(fields: Fields) -> Self {
        Self::Object(Arc::new(fields))
    }

    /// `inner`, or nothing.
    pub fn nullable(inner: Type) -> Self {
        match inner {
            Self::Any | Self::Null | Self::Nullable(_) => inner,
            other => Self::Nullable(Arc::new(other)),
        }
    }

    /// One of these texts.
    pub fn one_of<T: Into<Arc<str>>>(texts: impl IntoIterator<Item = T>) -> Self {
        Self::Enum(texts.into_iter().map(Into::into).collect())
    }

    /// The type without its "or nothing".
    pub fn without_null(&self) -> &Type {
        match self {
            Self::Nullable(inner) => inner,
            other => other,
        }
    }

    /// Whether it is a text that is no secret.
    pub fn is_text(&self) -> bool {
        matches!(self, Self::String | Self::Enum(_))
    }

    /// Whether it is a number, whole or not.
    pub fn is_number(&self) -> bool {
        matches!(self, Self::Int | Self::Number)
    }

    /// Whether a value of it is a secret, or has one somewhere inside.
    pub fn contains_secret(&self) -> bool {
        match self {
            Self::Secret => true,
            Self::List(inner) | Self::Map(inner) | Self::Nullable(inner) => inner.contains_secret(),
            Self::Object(fields) => fields.contain_secret(),
            _ => false,
        }
    }

    /// Whether a value of type `value` may flow where `self` is wanted.
    ///
    /// Lenient where only the run can tell: what is [`Type::Any`], or may be null, flows, and is
    /// checked again when its value is there. A number or a boolean flows where a text is wanted,
    /// as it does in YAML. A secret flows only where one is wanted.
    pub fn accepts(&self, value: &Type) -> bool {
        if let Self::Nullable(wanted) = self {
            return matches!(value, Self::Null) || wanted.accepts(value);
        }
        match (self, value) {
            (_, Self::Nullable(inner)) => self.accepts(inner),
            (_, Self::Any) => true,
            (Self::Any, _) => !value.contains_secret(),
            (Self::Secret, Self::Secret) => true,
            (Self::Secret | Self::String, Self::Bool | Self::Int | Self::Number) => true,
            (Self::Secret | Self::String, Self::String | Self::Enum(_)) => true,
            (Self::Number, Self::Int) => true,
            (Self::Enum(_), Self::String) => true,
            (Self::Enum(wanted), Self::Enum(given)) => given.iter().any(|g| wanted.contains(g)),
            (Self::List(wanted), Self::List(given)) => wanted.accepts(given),
            (Self::Map(wanted), Self::Map(given)) => wanted.accepts(given),
            (Self::Map(wanted), Self::Object(given)) => {
                given.iter().all(|(_, ty)| wanted.accepts(ty))
            }
            (Self::Object(wanted), Self::Map(given)) => {
                wanted.iter().all(|(_, ty)| ty.accepts(given))
            }
            (Self::Object(wanted), Self::Object(given)) => {
                Arc::ptr_eq(wanted, given)
                    || given
                        .iter()
                        .all(|(name, ty)| wanted.get(name).is_some_and(|w| w.accepts(ty)))
            }
            (wanted, given) => wanted == given,
        }
    }

    /// The narrowest type that holds what either holds; a secret in one of them is kept.
    pub fn join(&self, other: &Type) -> Type {
        match (self, other) {
            (Self::Object(a), Self::Object(b)) if Arc::ptr_eq(a, b) => self.clone(),
            (a, b) if a == b => a.clone(),
            (Self::Null, ty) | (ty, Self::Null) => Self::nullable(ty.clone()),
            (Self::Nullable(a), b) | (b, Self::Nullable(a)) => {
                Self::nullable(a.join(b.without_null()))
            }
            (a, b) if a.is_number() && b.is_number() => Self::Number,
            (Self::Enum(a), Self::Enum(b)) => {
                let new = b.iter().filter(|text| !a.contains(text));
                Self::Enum(a.iter().chain(new).cloned().collect())
            }
            (a, b) if a.is_text() && b.is_text() => Self::String,
            (Self::List(a), Self::List(b)) => Self::list(a.join(b)),
            (Self::Map(a), Self::Map(b)) => Self::map(a.join(b)),
            (a, b) if a.contains_secret() || b.contains_secret() => Self::Secret,
            _ => Self::Any,
        }
    }

    /// The type as more than one: "texts".
    fn plural(&self) -> String {
        match self {
            Self::Any => "any values".into(),
            Self::Null => "nulls".into(),
            Self::Bool => "booleans".into(),
            Self::Int => "whole numbers".into(),
            Self::Number => "numbers".into(),
            Self::String | Self::Enum(_) => "texts".into(),
            Self::Secret => "secrets".into(),
            Self::List(item) => format!("lists of {}", item.plural()),
            Self::Map(value) => format!("mappings of {}", value.plural()),
            Self::Object(_) => "mappings".into(),
            Self::Nullable(inner) => format!("{} or nulls", inner.plural()),
        }
    }
}

/// As it stands in a message: "a list of texts".
impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("any value"),
            Self::Null => f.write_str("null"),
            Self::Bool => f.write_str("a boolean"),
            Self::Int => f.write_str("a whole number"),
            Self::Number => f.write_str("a number"),
            Self::String => f.write_str("a text"),
            Self::Enum(texts) => write!(f, "one of {}", quoted(texts.iter().map(|t| &**t))),
            Self::Secret => f.write_str("a secret"),
            Self::List(item) => match &**item {
                Self::Any => f.write_str("a list"),
                item => write!(f, "a list of {}", item.plural()),
            },
            Self::Map(value) => match &**value {
                Self::Any => f.write_str("a mapping"),
                value => write!(f, "a mapping of {}", value.plural()),
            },
            Self::Object(_) => f.write_str("a mapping"),
            Self::Nullable(inner) => write!(f, "{inner} or null"),
        }
    }
}

/// Names that are listed in a message at most.
const LISTED: usize = 12;

/// "`a`, `b`, `c`", cut where it grows too long to read.
pub(super) fn quoted<'a>(names: impl ExactSizeIterator<Item = &'a str>) -> String {
    let all = names.len();
    let shown = if all <= LISTED + 2 { all } else { LISTED };
    let mut text = String::new();
    for name in names.take(shown) {
        if !text.is_empty() {
            text.push_str(", ");
        }
        text.push('`');
        text.push_str(name);
        text.push('`');
    }
    if shown < all {
        text.push_str(&format!(" and {} more", all - shown));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::{Fields, Type, quoted};

    fn row() -> Type {
        Type::object(Fields::new([("name", Type::String), ("rows", Type::Int)]))
    }

    #[test]
    fn flows_where_it_may() {
        let texts = Type::list(Type::String);
        let status = Type::one_of(["succeeded", "failed"]);
        for (wanted, given) in [
            (Type::Number, Type::Int),
            (Type::String, Type::Int),
            (Type::String, status.clone()),
            (status.clone(), Type::String),
            (status.clone(), Type::one_of(["failed"])),
            (Type::String, Type::nullable(Type::String)),
            (Type::nullable(Type::String), Type::Null),
            (texts.clone(), Type::Any),
            (Type::Any, texts.clone()),
            (Type::map(Type::String), row()),
            (row(), row()),
            (row(), Type::object(Fields::new([("name", Type::String)]))),
            (Type::Secret, Type::Secret),
            (Type::Secret, Type::String),
            (Type::list(Type::Secret), Type::list(Type::Secret)),
        ] {
            assert!(wanted.accepts(&given), "{given} into {wanted}");
        }
        for (wanted, given) in [
            (Type::Int, Type::Number),
            (Type::Int, Type::String),
            (Type::Bool, Type::String),
            (Type::String, Type::Null),
            (Type::String, texts.clone()),
            (texts, Type::list(Type::Secret)),
            (status, Type::one_of(["skipped"])),
            (row(), Type::object(Fields::new([("nam", Type::String)]))),
            (Type::String, Type::Secret),
            (Type::Any, Type::Secret),
            (Type::Any, Type::list(Type::Secret)),
            (
                Type::Any,
                Type::object(Fields::new([("password", Type::Secret)])),
            ),
            (Type::map(Type::Any), Type::map(Type::Secret)),
        ] {
            assert!(!wanted.accepts(&given), "{given} into {wanted}");
        }
    }

    #[test]
    fn joins_without_losing_a_secret() {
        let join = |a: Type, b: Type| a.join(&b).to_string();
        assert_eq!(join(Type::Int, Type::Number), "a number");
        assert_eq!(join(Type::Null, Type::Int), "a whole number or null");
        assert_eq!(
            join(Type::nullable(Type::Int), Type::Number),
            "a number or null"
        );
        assert_eq!(
            join(Type::one_of(["a"]), Type::one_of(["b", "a"])),
            "one of `a`, `b`"
        );
        assert_eq!(join(Type::String, Type::Int), "any value");
        assert_eq!(join(Type::Any, Type::Secret), "a secret");
        assert_eq!(
            join(Type::list(Type::Secret), Type::list(Type::String)),
            "a list of secrets"
        );
        assert_eq!(join(Type::list(Type::Secret), Type::Any), "a secret");
    }

    #[test]
    fn names_itself() {
        let nested = Type::list(Type::map(Type::nullable(Type::Int)));
        assert_eq!(
            nested.to_string(),
            "a list of mappings of whole numbers or nulls"
        );
        assert_eq!(Type::list(Type::Any).to_string(), "a list");
        let names: Vec<String> = (0..30).map(|n| format!("n{n}")).collect();
        assert!(quoted(names.iter().map(String::as_str)).ends_with("`n11` and 18 more"));
    }
}
