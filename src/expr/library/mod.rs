//! The filters and tests of the language: what each takes and gives.
//!
//! The tables say it once, for the check before the run and for the run; `environment` holds the
//! means to call them.

mod conversions;
mod environment;
mod output;
mod tables;

use minijinja::Value;
use minijinja::value::ValueKind;

use super::tree::Op;
use super::types::Type;

pub(super) use environment::state;
pub(super) use output::{Passed, filtered, item_of};
pub(super) use tables::{FILTERS, TESTS};

/// A filter: `value|name(…)`.
#[derive(Debug)]
pub(super) struct Filter {
    pub(super) name: &'static str,
    pub(super) takes: Takes,
    pub(super) gives: Gives,
    /// How many positional arguments, at least and at most.
    pub(super) arguments: (usize, usize),
    /// Its named arguments.
    pub(super) named: &'static [&'static str],
    /// Which positional argument names a field of the items, where one does.
    pub(super) attribute: Option<usize>,
    pub(super) secrets: Secrets,
}

/// What a filter may do with secrets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Secrets {
    /// Nothing: what it gives would tell something of them.
    Never,
    /// Make a text of them, which is a secret again.
    IntoText,
    /// Pass on what they are inside of.
    Inside,
}

/// A test: `value is name(…)`.
#[derive(Debug)]
pub(super) struct Test {
    pub(super) name: &'static str,
    /// How many arguments, exactly.
    pub(super) arguments: usize,
    /// The operator that it is another name of.
    pub(super) operator: Option<Op>,
    /// Whether it asks only whether the value is there: it may be asked of what is not, and of
    /// secrets.
    pub(super) of_presence: bool,
}

/// What a filter takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Takes {
    /// Whatever is there, null too.
    Anything,
    /// Whatever, even what is not there.
    EvenUndefined,
    /// A text, a number, a boolean, or null.
    Scalar,
    Text,
    Number,
    /// A list, or the keys of a map.
    Items,
    /// A list, the keys of a map, or the characters of a text.
    ItemsOrText,
    /// Numbers alone.
    Numbers,
    /// Items that have an order: numbers alone, or texts alone.
    Ordered,
    Map,
}

/// What a filter gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gives {
    Any,
    Bool,
    Int,
    Number,
    Text,
    Texts,
    /// What it was given.
    Same,
    /// One of the items.
    Item,
    /// A list of the items.
    List,
    /// A list of lists of the items.
    Lists,
    /// A list of anything.
    AnyList,
    /// The sum of the items.
    Sum,
    /// What it was given, or its argument.
    Default,
    /// A list of what a filter or a field gives for each item.
    Mapped,
}

impl Takes {
    /// As it stands in a message.
    pub(super) fn describe(self) -> &'static str {
        match self {
            Self::Anything | Self::EvenUndefined => "any value",
            Self::Scalar => "a text, a number or a boolean",
            Self::Text => "a text",
            Self::Number => "a number",
            Self::Items => "a list",
            Self::ItemsOrText => "a list, a mapping or a text",
            Self::Numbers => "a list of numbers",
            Self::Ordered => "a list of numbers or of texts",
            Self::Map => "a mapping",
        }
    }

    /// Whether a value of this type may be right.
    pub(super) fn accepts(self, ty: &Type) -> bool {
        let ty = ty.without_null();
        let is_map = matches!(ty, Type::Map(_) | Type::Object(_));
        match self {
            _ if matches!(ty, Type::Any) => true,
            Self::Anything | Self::EvenUndefined => true,
            Self::Scalar => ty.is_text() || ty.is_number() || matches!(ty, Type::Bool | Type::Null),
            Self::Text => ty.is_text(),
            Self::Number => ty.is_number(),
            Self::Items | Self::Numbers | Self::Ordered => is_map || matches!(ty, Type::List(_)),
            Self::ItemsOrText => is_map || ty.is_text() || matches!(ty, Type::List(_)),
            Self::Map => is_map,
        }
    }

    /// Whether this value, which is not undefined, is right.
    pub(super) fn admits(self, value: &Value) -> bool {
        let kind = value.kind();
        let is_list = matches!(kind, ValueKind::Seq | ValueKind::Iterable);
        match self {
            Self::Anything | Self::EvenUndefined => true,
            Self::Scalar => matches!(
                kind,
                ValueKind::String | ValueKind::Number | ValueKind::Bool | ValueKind::None
            ),
            Self::Text => kind == ValueKind::String,
            Self::Number => kind == ValueKind::Number,
            Self::Items | Self::Numbers | Self::Ordered => is_list || kind == ValueKind::Map,
            Self::ItemsOrText => is_list || matches!(kind, ValueKind::Map | ValueKind::String),
            Self::Map => kind == ValueKind::Map,
        }
    }
}

impl Filter {
    /// The one called `name`.
    pub(super) fn find(name: &str) -> Option<&'static Filter> {
        FILTERS.iter().find(|filter| filter.name == name)
    }
}

impl Test {
    /// The one called `name`.
    pub(super) fn find(name: &str) -> Option<&'static Test> {
        TESTS.iter().find(|test| test.name == name)
    }
}
