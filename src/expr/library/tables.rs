//! The tables themselves: minijinja's built-in filters and tests, without those that are about HTML
//! (`safe`, `escape`), about templates (`filter`, `test`) or for debugging (`pprint`).

use super::{Filter, Gives, Secrets, Takes, Test};
use crate::expr::tree::Op;

/// More positional arguments than anybody writes.
const ANY: usize = usize::MAX;

const fn filter(name: &'static str, takes: Takes, gives: Gives) -> Filter {
    Filter {
        name,
        takes,
        gives,
        arguments: (0, 0),
        named: &[],
        attribute: None,
        secrets: match gives {
            Gives::Text | Gives::Default => Secrets::IntoText,
            _ => Secrets::Never,
        },
    }
}

impl Filter {
    const fn with(mut self, least: usize, most: usize, named: &'static [&'static str]) -> Self {
        self.arguments = (least, most);
        self.named = named;
        self
    }

    const fn passes_secrets(mut self) -> Self {
        self.secrets = Secrets::Inside;
        self
    }

    const fn attribute(mut self, position: usize) -> Self {
        self.attribute = Some(position);
        self
    }
}

/// All filters.
pub(in crate::expr) static FILTERS: &[Filter] = &[
    filter("abs", Takes::Number, Gives::Same),
    filter("attr", Takes::Anything, Gives::Any).with(1, 1, &[]),
    filter("batch", Takes::Items, Gives::Lists)
        .with(1, 2, &[])
        .passes_secrets(),
    filter("bool", Takes::Scalar, Gives::Bool),
    filter("capitalize", Takes::Text, Gives::Text),
    filter("chain", Takes::Items, Gives::Any)
        .with(0, ANY, &[])
        .passes_secrets(),
    filter("count", Takes::ItemsOrText, Gives::Int).passes_secrets(),
    filter("d", Takes::EvenUndefined, Gives::Default).with(0, 2, &[]),
    filter("default", Takes::EvenUndefined, Gives::Default).with(0, 2, &[]),
    filter("dictsort", Takes::Map, Gives::AnyList).with(0, 0, &["by", "case_sensitive", "reverse"]),
    filter("first", Takes::ItemsOrText, Gives::Item).passes_secrets(),
    filter("float", Takes::Scalar, Gives::Number).with(0, 1, &["default"]),
    filter("format", Takes::Text, Gives::Text).with(0, ANY, &[]),
    filter("groupby", Takes::Items, Gives::AnyList)
        .with(0, 1, &["attribute", "default", "case_sensitive"])
        .attribute(0),
    filter("indent", Takes::Text, Gives::Text).with(0, 3, &["width", "first", "blank"]),
    filter("int", Takes::Scalar, Gives::Int).with(0, 2, &["default", "base"]),
    filter("items", Takes::Map, Gives::AnyList).passes_secrets(),
    filter("join", Takes::Items, Gives::Text)
        .with(0, 2, &["d", "attribute"])
        .attribute(1),
    filter("last", Takes::ItemsOrText, Gives::Item).passes_secrets(),
    filter("length", Takes::ItemsOrText, Gives::Int).passes_secrets(),
    filter("lines", Takes::Text, Gives::Texts),
    filter("list", Takes::ItemsOrText, Gives::List).passes_secrets(),
    filter("lower", Takes::Text, Gives::Text),
    filter("map", Takes::Items, Gives::Mapped)
        .with(0, ANY, &["attribute", "default"])
        .passes_secrets(),
    filter("max", Takes::Ordered, Gives::Item).with(0, 0, &["attribute", "case_sensitive"]),
    filter("min", Takes::Ordered, Gives::Item).with(0, 0, &["attribute", "case_sensitive"]),
    filter("reject", Takes::Items, Gives::List).with(0, ANY, &[]),
    filter("rejectattr", Takes::Items, Gives::List)
        .with(1, ANY, &[])
        .attribute(0),
    filter("replace", Takes::Text, Gives::Text).with(2, 3, &["count"]),
    filter("reverse", Takes::ItemsOrText, Gives::Same).passes_secrets(),
    filter("round", Takes::Number, Gives::Same).with(0, 2, &["precision", "method"]),
    filter("select", Takes::Items, Gives::List).with(0, ANY, &[]),
    filter("selectattr", Takes::Items, Gives::List)
        .with(1, ANY, &[])
        .attribute(0),
    filter("slice", Takes::Items, Gives::Lists)
        .with(1, 2, &[])
        .passes_secrets(),
    filter("sort", Takes::Ordered, Gives::List).with(
        0,
        0,
        &["attribute", "case_sensitive", "reverse"],
    ),
    filter("split", Takes::Text, Gives::Texts).with(0, 2, &[]),
    filter("string", Takes::Anything, Gives::Text),
    filter("sum", Takes::Numbers, Gives::Sum)
        .with(0, 2, &["attribute", "start"])
        .attribute(0),
    filter("title", Takes::Text, Gives::Text),
    filter("tojson", Takes::Anything, Gives::Text).with(0, 1, &["indent"]),
    filter("trim", Takes::Text, Gives::Text).with(0, 1, &[]),
    filter("unique", Takes::Items, Gives::List).with(0, 0, &["attribute", "case_sensitive"]),
    filter("upper", Takes::Text, Gives::Text),
    filter("zip", Takes::Items, Gives::AnyList)
        .with(0, ANY, &[])
        .passes_secrets(),
];

const fn test(name: &'static str, arguments: usize) -> Test {
    Test {
        name,
        arguments,
        operator: None,
        of_presence: false,
    }
}

const fn compares(name: &'static str, operator: Op) -> Test {
    Test {
        name,
        arguments: 1,
        operator: Some(operator),
        of_presence: false,
    }
}

const fn presence(name: &'static str) -> Test {
    Test {
        name,
        arguments: 0,
        operator: None,
        of_presence: true,
    }
}

/// All tests.
pub(in crate::expr) static TESTS: &[Test] = &[
    compares("!=", Op::NotEqual),
    compares("<", Op::Less),
    compares("<=", Op::LessOrEqual),
    compares("==", Op::Equal),
    compares(">", Op::Greater),
    compares(">=", Op::GreaterOrEqual),
    test("boolean", 0),
    presence("defined"),
    test("divisibleby", 1),
    test("endingwith", 1),
    compares("eq", Op::Equal),
    compares("equalto", Op::Equal),
    test("even", 0),
    test("false", 0),
    test("float", 0),
    compares("ge", Op::GreaterOrEqual),
    compares("greaterthan", Op::Greater),
    compares("gt", Op::Greater),
    compares("in", Op::In),
    test("int", 0),
    test("integer", 0),
    test("iterable", 0),
    compares("le", Op::LessOrEqual),
    compares("lessthan", Op::Less),
    test("lower", 0),
    compares("lt", Op::Less),
    test("mapping", 0),
    compares("ne", Op::NotEqual),
    test("none", 0),
    test("number", 0),
    test("odd", 0),
    test("sequence", 0),
    test("startingwith", 1),
    test("string", 0),
    test("true", 0),
    presence("undefined"),
    test("upper", 0),
];
