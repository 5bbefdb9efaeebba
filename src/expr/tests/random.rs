//! Whatever is written: no panic, an end, and values of the types that were promised.

use proptest::prelude::*;
use serde_json::json;

use crate::base::{SourceId, Span};
use crate::diag::Diagnostics;
use crate::expr::library::{FILTERS, TESTS};
use crate::expr::{
    Evaluated, Expr, Fields, Reference, RootSource, Template, Type, TypeScope, Unknown, Value,
    from_json, to_json,
};

/// Names whose values have the types that they say.
struct World {
    value: Value,
    /// Whether half of the fields are not known.
    early: bool,
}

impl World {
    fn ty() -> Type {
        let row = Fields::new([("n", Type::Int), ("s", Type::String), ("f", Type::Number)]);
        Type::object(Fields::new([
            ("n", Type::Int),
            ("big", Type::Int),
            ("f", Type::Number),
            ("s", Type::String),
            ("b", Type::Bool),
            ("e", Type::one_of(["ok", "failed"])),
            ("none", Type::nullable(Type::String)),
            ("ns", Type::list(Type::Int)),
            ("ss", Type::list(Type::String)),
            ("rows", Type::list(Type::object(row))),
            ("m", Type::map(Type::Int)),
            ("any", Type::Any),
        ]))
    }

    fn new() -> Self {
        let value = from_json(json!({
            "n": 7, "big": i64::MIN, "f": -2.5, "s": "ab,é", "b": true, "e": "ok", "none": null,
            "ns": [3, 1, 2], "ss": ["b", "A", ""],
            "rows": [{"n": 2, "s": "x", "f": 0.5}, {"n": 1, "s": "y", "f": 3.0}],
            "m": {"k": 1, "j": 2}, "any": [1, "x", null, {"a": [true]}],
        }));
        Self {
            value,
            early: false,
        }
    }
}

impl TypeScope for World {
    fn root(&self, name: &str) -> Option<Type> {
        (name == "w").then(Self::ty)
    }

    fn roots(&self) -> Vec<String> {
        vec!["w".to_owned()]
    }
}

impl RootSource for World {
    fn get(&self, root: &str) -> Option<Value> {
        (root == "w").then(|| self.value.clone())
    }

    fn unknown(&self, reference: &Reference) -> Option<Unknown> {
        let name = reference.fields().first()?;
        let hidden = ["n", "b", "s", "none", "ss", "rows", "m", "e"].contains(&&**name);
        if !self.early || !hidden {
            return None;
        }
        let ty = World::ty();
        let mut ty = match &ty {
            Type::Object(fields) => fields.get(name)?.clone(),
            other => other.clone(),
        };
        for _ in &reference.fields()[1..] {
            ty = match ty {
                Type::Map(item) => (*item).clone(),
                _ => Type::Any,
            };
        }
        Some(Unknown {
            ty,
            why: "early".into(),
        })
    }
}

/// Whether `value` is one of type `ty`.
fn conforms(value: &serde_json::Value, ty: &Type) -> bool {
    use serde_json::Value as Json;
    match (ty, value) {
        (Type::Any, _) => true,
        (Type::Nullable(inner), value) => value.is_null() || conforms(value, inner),
        (Type::Null, Json::Null) | (Type::Bool, Json::Bool(_)) => true,
        (Type::Int, Json::Number(number)) => number.is_i64(),
        (Type::Number, Json::Number(_)) | (Type::String, Json::String(_)) => true,
        (Type::Enum(words), Json::String(text)) => words.iter().any(|word| **word == **text),
        (Type::List(item), Json::Array(items)) => items.iter().all(|one| conforms(one, item)),
        (Type::Map(item), Json::Object(entries)) => entries.values().all(|one| conforms(one, item)),
        (Type::Object(fields), Json::Object(entries)) => entries
            .iter()
            .all(|(name, one)| fields.get(name).is_some_and(|ty| conforms(one, ty))),
        _ => false,
    }
}

/// Checks and evaluates `source`; where nothing is wrong, the value has the type.
fn exercise(source: &str) -> Result<(), TestCaseError> {
    let span = Span::new(SourceId(0), 0, source.len());
    let Ok(expr) = Expr::parse(source, span) else {
        return Ok(());
    };
    let world = World::new();
    let mut diagnostics = Diagnostics::new();
    let ty = expr.infer(&world, &mut diagnostics);
    for diagnostic in diagnostics.iter() {
        let place = diagnostic.primary.as_ref().map(|label| label.span);
        let inside = place.is_some_and(|place| place.end as usize <= source.len().max(1));
        prop_assert!(inside, "{diagnostic:?}");
    }
    let Ok(Evaluated::Known(value)) = expr.eval(&world) else {
        return Ok(());
    };
    let value = to_json(&value);
    if diagnostics.is_empty() {
        prop_assert!(conforms(&value, &ty), "{source} is {value}, not {ty}");
    }
    let early = World {
        early: true,
        ..world
    };
    match expr.eval(&early) {
        Ok(Evaluated::Known(known)) => prop_assert_eq!(to_json(&known), value, "{}", source),
        Ok(Evaluated::Unknown(unknown)) => {
            let ty = unknown.ty;
            prop_assert!(
                conforms(&value, &ty),
                "early, {source} is {ty}, then {value}"
            );
        }
        Err(error) => prop_assert!(false, "{source} has a value in the end, but early {error}"),
    }
    Ok(())
}

fn leaf() -> impl Strategy<Value = String> {
    let fields = World::ty();
    let Type::Object(fields) = fields else {
        unreachable!()
    };
    let paths: Vec<String> = fields.names().map(|name| format!("w.{name}")).collect();
    let literals = [
        "0",
        "1",
        "-1",
        "3",
        "2.5",
        "9223372036854775807",
        "'a'",
        "''",
        "'n'",
        "'upper'",
        "'gt'",
        "','",
        "true",
        "false",
        "none",
        "[]",
        "{}",
        "'%s|%d'",
        "'w'",
        "w.rows[0]",
        "w.missing",
    ];
    prop_oneof![
        3 => proptest::sample::select(paths),
        2 => proptest::sample::select(literals.to_vec()).prop_map(str::to_owned),
    ]
}

fn expression() -> impl Strategy<Value = String> {
    let operators = [
        "+", "-", "*", "/", "//", "%", "**", "~", "==", "!=", "<", "<=", ">", ">=", "in", "not in",
        "and", "or",
    ];
    let filters: Vec<&str> = FILTERS.iter().map(|filter| filter.name).collect();
    let named: Vec<&str> = FILTERS
        .iter()
        .flat_map(|filter| filter.named)
        .copied()
        .collect();
    let tests: Vec<&str> = TESTS.iter().map(|test| test.name).collect();
    leaf().prop_recursive(5, 40, 4, move |inner| {
        let select = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            proptest::sample::select(names)
        };
        let arguments = prop::collection::vec(inner.clone(), 0..3);
        prop_oneof![
            4 => (inner.clone(), select(&operators), inner.clone())
                .prop_map(|(a, op, b)| format!("({a} {op} {b})")),
            1 => (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("{a} < {b} <= {c}")),
            5 => (inner.clone(), select(&filters)).prop_map(|(a, filter)| format!("({a}|{filter})")),
            3 => (inner.clone(), select(&filters), arguments.clone())
                .prop_map(|(a, filter, args)| format!("({a}|{filter}({}))", args.join(", "))),
            2 => (inner.clone(), select(&filters), select(&named), inner.clone())
                .prop_map(|(a, filter, name, arg)| format!("({a}|{filter}({name}={arg}))")),
            2 => (inner.clone(), select(&tests), arguments.clone())
                .prop_map(|(a, test, args)| format!("({a} is {test}({}))", args.join(", "))),
            1 => inner.clone().prop_map(|a| format!("(not {a})")),
            1 => inner.clone().prop_map(|a| format!("(-{a})")),
            1 => (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("({a} if {b} else {c})")),
            1 => (inner.clone(), inner.clone()).prop_map(|(a, b)| format!("{a}[{b}]")),
            1 => (inner.clone(), inner.clone(), inner.clone())
                .prop_map(|(a, b, c)| format!("{a}[{b}:{c}]")),
            1 => arguments.clone().prop_map(|args| format!("[{}]", args.join(", "))),
            1 => arguments.clone().prop_map(|args| format!("range({})", args.join(", "))),
            1 => (inner.clone(), inner).prop_map(|(a, b)| format!("{{'k': {a}, {b}: 1}}")),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_text_is_survived(text in "\\PC{0,60}") {
        let locate = |range: std::ops::Range<usize>| Span::new(SourceId(0), range.start, range.end);
        if let Ok(template) = Template::parse(&text, &locate) {
            let _ = template.infer(&World::new(), &mut Diagnostics::new());
            let _ = template.eval(&World::new());
        }
        let _ = Template::parse_bare(&text, &locate);
        exercise(&text)?;
    }

    #[test]
    fn any_soup_of_tokens_is_survived(
        tokens in prop::collection::vec(proptest::sample::select(vec![
            "w", ".", "n", "s", "[", "]", "(", ")", "{", "}", "|", "join", "map", "is", "not", "in",
            "and", "or", "if", "else", "1", "2.5", "'a'", "\"", "'", "-", "+", "*", "**", "~", "<",
            "==", ",", ":", "range", "${{", "}}", "\\", "é", "\n", " ", "=",
        ]), 0..30),
    ) {
        let text = tokens.concat();
        let locate = |range: std::ops::Range<usize>| Span::new(SourceId(0), range.start, range.end);
        if let Ok(template) = Template::parse(&text, &locate) {
            let _ = template.infer(&World::new(), &mut Diagnostics::new());
            let _ = template.eval(&World::new());
        }
        exercise(&text)?;
        exercise(&tokens.join(" "))?;
    }

    #[test]
    fn values_have_the_types_that_were_promised(source in expression()) {
        exercise(&source)?;
    }
}
