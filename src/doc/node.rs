//! The tree: nodes, scalars and mappings, each with the place that it was written at.
//!
//! How a plain scalar gets its type is in `resolve`, where a part of a scalar stands in `locate`.

use crate::base::{Span, Spanned};

use super::resolve::{CoreTag, Resolved};

/// A value of the document.
///
/// `span` covers the value's own text: quotes and brackets included, anchors and tags before it
/// not. A block scalar reaches from its indicator to the end of its last line, a block collection
/// from its first key or dash to the end of its last value. A value that is left out (`key:`) has
/// an empty span where it would stand. A copy that an alias made has the places of the original,
/// because that is the text to change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Where it is written.
    pub span: Span,
    /// What it is.
    pub kind: Kind,
}

/// What a [`Node`] is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A text, number, boolean, or nothing.
    Scalar(Scalar),
    /// Values in order.
    Seq(Vec<Node>),
    /// Values by key.
    Map(Map),
}

/// A value without parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Scalar {
    /// The text after unescaping and folding. Numbers keep their spelling: `0755`, `1.20`.
    pub text: Box<str>,
    /// How it is written.
    pub style: ScalarStyle,
    /// The core tag that it was given, if any.
    pub(super) tag: Option<CoreTag>,
}

/// How a [`Scalar`] is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ScalarStyle {
    /// Without quotes: the one style whose type is taken from its text.
    Plain,
    /// `'…'`.
    SingleQuoted,
    /// `"…"`, with escapes.
    DoubleQuoted,
    /// `|`: lines kept.
    Literal,
    /// `>`: lines joined.
    Folded,
}

/// Values by key, in the author's order, each key once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Map {
    /// The entries, as written.
    pub entries: Vec<Entry>,
    /// Whether it is written in braces.
    pub flow: bool,
}

/// One key with its value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The key; quotes belong to its span, not to its text.
    pub key: Spanned<Box<str>>,
    /// The value.
    pub value: Node,
}

impl Node {
    /// The text of any scalar that is not nothing: numbers and booleans as they are spelled.
    pub fn as_str(&self) -> Option<&str> {
        match &self.kind {
            Kind::Scalar(scalar) if scalar.resolve() != Resolved::Null => Some(&scalar.text),
            _ => None,
        }
    }

    /// The scalar, if it is one.
    pub fn as_scalar(&self) -> Option<&Scalar> {
        match &self.kind {
            Kind::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// The mapping, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match &self.kind {
            Kind::Map(map) => Some(map),
            _ => None,
        }
    }

    /// The values in order, if it is a sequence.
    pub fn as_seq(&self) -> Option<&[Node]> {
        match &self.kind {
            Kind::Seq(items) => Some(items),
            _ => None,
        }
    }

    /// Whether it is nothing: left out, `~` or `null`.
    pub fn is_null(&self) -> bool {
        self.resolve() == Resolved::Null
    }

    /// The value with its type, by YAML's core schema.
    pub fn resolve(&self) -> Resolved<'_> {
        match &self.kind {
            Kind::Scalar(scalar) => scalar.resolve(),
            Kind::Seq(items) => Resolved::Seq(items),
            Kind::Map(map) => Resolved::Map(map),
        }
    }

    /// What it is, for messages: "a mapping", "an integer", "nothing".
    pub fn describe(&self) -> &'static str {
        self.resolve().describe()
    }
}

impl Map {
    /// The entry with this key.
    pub fn get(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| &*entry.key.value == key)
    }

    /// The entries, as written.
    pub fn iter(&self) -> std::slice::Iter<'_, Entry> {
        self.entries.iter()
    }
}

impl<'a> IntoIterator for &'a Map {
    type Item = &'a Entry;
    type IntoIter = std::slice::Iter<'a, Entry>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Node {
    /// Nothing, at `span`.
    pub(super) fn nothing(span: Span) -> Self {
        Self {
            span,
            kind: Kind::Scalar(Scalar {
                text: Box::from(""),
                style: ScalarStyle::Plain,
                tag: None,
            }),
        }
    }
}
