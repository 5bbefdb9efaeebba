//! A configuration, some of whose values may not be known yet.

use std::sync::Arc;

use serde::de::DeserializeOwned;
use serde_json::Value;

/// A value with holes.
#[derive(Clone, Debug, PartialEq)]
pub enum Partial {
    /// It is known.
    Known(Value),
    /// It will be known, for this reason not yet: "known once step `bloat` has run".
    Unknown(Arc<str>),
    /// A list, some of whose items are not known.
    List(Vec<Partial>),
    /// A mapping, some of whose values are not known.
    Map(Vec<(String, Partial)>),
}

impl Partial {
    /// From parts; a mapping without holes becomes one known value.
    pub fn map(entries: Vec<(String, Self)>) -> Self {
        if entries
            .iter()
            .all(|(_, value)| matches!(value, Self::Known(_)))
        {
            let known = entries.into_iter().filter_map(|(key, value)| match value {
                Self::Known(value) => Some((key, value)),
                _ => None,
            });
            return Self::Known(Value::Object(known.collect()));
        }
        Self::Map(entries)
    }

    /// From parts; a list without holes becomes one known value.
    pub fn list(items: Vec<Self>) -> Self {
        if items.iter().all(|item| matches!(item, Self::Known(_))) {
            let known = items.into_iter().filter_map(|item| match item {
                Self::Known(value) => Some(value),
                _ => None,
            });
            return Self::Known(Value::Array(known.collect()));
        }
        Self::List(items)
    }

    /// The whole value, where there is no hole in it.
    pub fn known(&self) -> Option<&Value> {
        match self {
            Self::Known(value) => Some(value),
            _ => None,
        }
    }

    /// Why something of it is not known.
    pub fn why_unknown(&self) -> Option<Arc<str>> {
        match self {
            Self::Known(_) => None,
            Self::Unknown(why) => Some(Arc::clone(why)),
            Self::List(items) => items.iter().find_map(Self::why_unknown),
            Self::Map(entries) => entries.iter().find_map(|(_, value)| value.why_unknown()),
        }
    }

    /// The field `key` of a mapping.
    pub fn get(&self, key: &str) -> Option<Self> {
        match self {
            Self::Known(Value::Object(map)) => map.get(key).cloned().map(Self::Known),
            Self::Map(entries) => entries
                .iter()
                .find(|(name, _)| name == key)
                .map(|(_, value)| value.clone()),
            Self::Unknown(why) => Some(Self::Unknown(Arc::clone(why))),
            _ => None,
        }
    }

    /// The field `key` as a type, where it is there and known.
    pub fn value<T: DeserializeOwned>(&self, key: &str) -> Option<T> {
        match self.get(key)? {
            Self::Known(value) => serde_json::from_value(value).ok(),
            _ => None,
        }
    }

    /// The field `key` for people: its text, or `‹known once step `x` has run›`; `None` where it is
    /// not there.
    pub fn text(&self, key: &str) -> Option<String> {
        self.get(key).map(|value| value.to_string())
    }
}

impl std::fmt::Display for Partial {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Known(Value::String(text)) => f.write_str(text),
            Self::Known(value) => write!(f, "{value}"),
            Self::Unknown(why) => write!(f, "‹{why}›"),
            Self::List(items) => {
                f.write_str("[")?;
                for (at, item) in items.iter().enumerate() {
                    if at > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{item}")?;
                }
                f.write_str("]")
            }
            Self::Map(entries) => {
                f.write_str("{")?;
                for (at, (key, value)) in entries.iter().enumerate() {
                    if at > 0 {
                        f.write_str(", ")?;
                    }
                    write!(f, "{key}: {value}")?;
                }
                f.write_str("}")
            }
        }
    }
}
