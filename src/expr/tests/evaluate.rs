//! Values, known and not.

use super::{Values, expr};
use crate::base::{SourceId, Span};
use crate::expr::{EvalErrorKind, Evaluated, Template, to_json};

/// The value of `source` as JSON, or what went wrong, or `<type>` where it is not known.
fn eval(source: &str) -> String {
    match expr(source).eval(&Values::new()) {
        Ok(Evaluated::Known(value)) => to_json(&value).to_string(),
        Ok(Evaluated::Unknown(unknown)) => format!("<{}>", unknown.ty),
        Err(error) => format!("{:?}", error.kind),
    }
}

/// Each expression with what it should come to; all that differ are told at once.
fn table(rows: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (source, expected) in rows {
        let found = eval(source);
        if found != *expected {
            wrong.push(format!(
                "{source}\n  expected {expected}\n  found    {found}"
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn values() {
    table(&[
        ("1 + 2 * 3", "7"),
        ("(1 + 2) * 3", "9"),
        ("7 // 2", "3"),
        ("6 / 2", "3.0"),
        ("2 ** 10", "1024"),
        ("-7 % 3", "2"),
        ("'a' ~ 1 ~ true ~ 2.5", "\"a1true2.5\""),
        ("'a' ~ [1, 'b']", r#""a[1,\"b\"]""#),
        ("[1, 2] + [3]", "[1,2,3]"),
        ("1 < 2 < 3", "true"),
        ("1 < 2 > 3", "false"),
        ("3 in [1, 2, 3]", "true"),
        ("'x' in {'x': 1}", "true"),
        ("none == none", "true"),
        ("1 == 1.0", "true"),
        ("'1' == 1", "false"),
        ("true and 3", "3"),
        ("0 or 'x'", "\"x\""),
        ("not []", "true"),
        ("1 if 2 > 1 else 3", "1"),
        ("{'b': 1, 'a': [1]}", r#"{"b":1,"a":[1]}"#),
        // paths through objects that look up when asked
        ("steps.bloat.status", "\"succeeded\""),
        ("steps.bloat.outputs.id", "\"bloat\""),
        ("steps['other'].outputs['id']", "\"other\""),
        ("steps.bloat.outputs.indexes[0].name", "\"a_idx\""),
        ("steps.bloat.outputs.indexes[-1].name", "\"b_idx\""),
        ("steps.bloat.outputs.indexes|length", "2"),
        ("params.tables[1:]", "[\"a\",\"c\"]"),
        ("params.tables[::-1]", "[\"c\",\"a\",\"b\"]"),
        ("params.tables[-2:5]", "[\"a\",\"c\"]"),
        ("params.tables[5:]", "[]"),
        ("'häuser'[1]", "\"ä\""),
        ("'häuser'[:3]", "\"häu\""),
        ("params['na' ~ 'me']", "\"nightly\""),
        // filters
        ("params.tables|sort|join(', ')", "\"a, b, c\""),
        ("params.tables|map('upper')|list", r#"["B","A","C"]"#),
        ("steps.x.outputs.indexes|map(attribute='bytes')|sum", "400"),
        ("steps.x.outputs.indexes|sum(attribute='bytes')", "400"),
        (
            "(steps.x.outputs.indexes|max(attribute='bloat_percent')).name",
            "\"a_idx\"",
        ),
        (
            "steps.x.outputs.indexes|selectattr('bloat_percent', 'gt', 30)|map(attribute='name')",
            "[\"a_idx\"]",
        ),
        ("steps.x.outputs.sizes|items", r#"[["x",1],["y",2]]"#),
        (
            "(steps.x.outputs.indexes|groupby('name'))[0].grouper",
            "\"a_idx\"",
        ),
        (
            "(steps.x.outputs.indexes|groupby('name'))[0].list|length",
            "1",
        ),
        ("[3, 1]|min", "1"),
        ("[3, 1, 3]|unique", "[3,1]"),
        ("42.55|round(1)", "42.5"),
        ("42.5|round|int", "42"),
        ("'42'|int", "42"),
        ("'4.9'|int", "4"),
        ("'x'|int(default=-1)", "-1"),
        ("none|int(default=7)", "7"),
        ("'2.5'|float", "2.5"),
        ("'true'|bool", "true"),
        ("'false'|bool", "false"),
        ("5|string", "\"5\""),
        ("[1, 'a']|string", r#""[1,\"a\"]""#),
        ("{'a': '<'}|tojson", r#""{\"a\":\"<\"}""#),
        ("[1]|tojson(indent=2)", "\"[\\n  1\\n]\""),
        ("params.missing|default(3)", "3"),
        ("''|default('x', true)", "\"x\""),
        ("[]|first|default('none')", "\"none\""),
        ("'a,b'|split(',')", r#"["a","b"]"#),
        ("range(3)", "[0,1,2]"),
        ("range(5, 0, -2)", "[5,3,1]"),
        ("range(3, 1)", "[]"),
        (
            "range(9223372036854775807, -9223372036854775807, -9223372036854775807)",
            "[9223372036854775807,0]",
        ),
        ("'%s has %d'|format('x', 3)", "\"x has 3\""),
        ("'abc'|reverse", "\"cba\""),
        ("[1, 2, 3]|batch(2)", "[[1,2],[3]]"),
        ("['a']|zip([1])", r#"[["a",1]]"#),
        // tests
        ("params.name is defined", "true"),
        ("params.nothing is defined", "false"),
        ("steps.missing is undefined", "true"),
        ("none is none", "true"),
        ("3 is odd", "true"),
        ("4 is divisibleby 2", "true"),
        ("'abc' is startingwith 'a'", "true"),
        ("3 is gt 2", "true"),
        ("3 is in [3]", "true"),
    ]);
}

#[test]
fn what_has_no_value() {
    table(&[
        ("nothing", "Undefined"),
        ("params.nothing", "Undefined"),
        ("params.nothing.more", "Undefined"),
        ("params.nothing.more is defined", "Undefined"),
        ("steps.missing.outputs", "Undefined"),
        ("steps.bloat.outputs.rowz > 3", "Undefined"),
        ("[1][5]", "Undefined"),
        ("[]|first", "Undefined"),
        ("[]|max", "Undefined"),
        ("[params.nothing]", "Undefined"),
        ("params.tables|join(params.nothing)", "Undefined"),
        ("params.nothing or 3", "Undefined"),
        ("steps.bloat.outputs.owner.name", "Null"),
        ("steps.bloat.outputs.owner ~ 'x'", "Null"),
        ("steps.bloat.outputs.owner|upper", "Null"),
        ("none|length", "Null"),
        ("steps.bloat.outputs.size > 3", "Type"),
        ("steps.bloat.outputs.mixed|sort", "Value"),
        ("steps.bloat.outputs.mixed|max", "Value"),
        ("steps.bloat.outputs.mixed|select('gt', 0)", "Value"),
        ("[none]|sort", "Value"),
        (
            "steps.bloat.outputs.indexes|sort(attribute='nothing')",
            "Value",
        ),
        ("params.name.length", "Type"),
        ("params.tables.x", "Type"),
        ("params.name - 1", "Type"),
        ("params.name|round", "Type"),
        ("params.days|upper", "Type"),
        ("1 in 2", "Type"),
        ("{[]: 1, none: 2}", "Type"),
        ("'abc'|int", "Value"),
        ("'maybe'|bool", "Value"),
        ("none|string", "Value"),
        ("[none]|join", "Value"),
        ("'1'|int(base=99)", "Value"),
        ("[1]|map('nothing')", "Value"),
        ("[1]|map('safe')", "Value"),
        ("[1]|batch(0)", "Value"),
        ("range(0, 5, 0)", "Value"),
        ("[1][::0]", "Value"),
        ("1 / 0", "Arithmetic"),
        ("1 // 0", "Arithmetic"),
        ("1 % 0.0", "Arithmetic"),
        ("9223372036854775807 + 1", "Arithmetic"),
        ("[9223372036854775807, 1]|sum", "Arithmetic"),
        ("9223372036854775807|float * 1e300", "Arithmetic"),
        ("-9223372036854775808|abs", "Arithmetic"),
        ("2 ** 200", "Arithmetic"),
        ("range(10 ** 9)", "TooCostly"),
        (
            "range(100000)|select('in', range(100000))|length",
            "TooCostly",
        ),
        ("'x' * 10 ** 9", "TooCostly"),
        (
            "range(100000)|map('string')|sort|map('string')|sort|map('string')|sort|length",
            "TooCostly",
        ),
        ("'%1000000000d'|format(1)", "TooCostly"),
        ("('x' * 100000)|replace('x', 'y' * 100000)", "TooCostly"),
        ("'a'|indent(10000000000)", "TooCostly"),
    ]);
}

#[test]
fn what_is_not_known_has_a_type() {
    table(&[
        ("steps.later.outputs.rows", "<a whole number>"),
        ("steps.later.outputs.rows + 1", "<a whole number>"),
        ("steps.later.outputs.rows / 2", "<a number>"),
        ("steps.later.outputs.rows > 3", "<a boolean>"),
        ("1 < steps.later.outputs.rows < 3", "<a boolean>"),
        ("2 < 1 < steps.later.outputs.rows", "false"),
        ("not steps.later.changed", "<a boolean>"),
        ("-steps.later.outputs.rows", "<a whole number>"),
        ("steps.later.outputs.indexes", "<a list of texts>"),
        ("steps.later.outputs.indexes[0]", "<a text>"),
        ("steps.later.outputs.indexes[0:2]", "<a list of texts>"),
        ("params.tables[steps.later.outputs.rows]", "<any value>"),
        ("steps.later.outputs.indexes|length > 0", "<a boolean>"),
        ("steps.later.outputs.indexes|join(',')", "<a text>"),
        (
            "params.name|replace('x', steps.later.outputs.path)",
            "<a text>",
        ),
        ("steps.later.outputs.path is defined", "<a boolean>"),
        ("[1, steps.later.outputs.rows]", "<a list of whole numbers>"),
        ("{'a': steps.later.outputs.rows}", "<a mapping>"),
        (
            "{'a': steps.later.outputs.rows, 'b': steps.later.outputs.secret}",
            "<a mapping of secrets>",
        ),
        (
            "range(steps.later.outputs.rows)",
            "<a list of whole numbers>",
        ),
        ("steps.later.outputs.path ~ 'x'", "<a text>"),
        ("steps.later.outputs.secret ~ 'x'", "<a secret>"),
        ("[steps.later.outputs.secret]|join", "<a secret>"),
        // decided without it
        ("false and steps.later.changed", "false"),
        ("steps.later.changed and false", "false"),
        ("steps.later.changed and params.force", "false"),
        ("steps.later.changed or true", "true"),
        ("true or steps.later.changed", "true"),
        ("true and steps.later.changed", "<a boolean>"),
        ("steps.later.changed and params.days > 3", "<a boolean>"),
        ("steps.later.outputs.rows > 3 and params.days > 99", "false"),
        ("steps.later.outputs.rows and false", "<any value>"),
        ("1 if steps.later.changed else 2", "<a whole number>"),
        ("1 if steps.later.changed else 1", "1"),
        (
            "1 if params.force else steps.later.outputs.rows",
            "<a whole number>",
        ),
        // what the left side may guard against is no error
        ("steps.later.changed and params.nothing > 3", "<any value>"),
    ]);
    let unknown = expr("steps.later.outputs.rows + 1").eval(&Values::new());
    let Ok(Evaluated::Unknown(unknown)) = unknown else {
        unreachable!("{unknown:?}")
    };
    assert_eq!(&*unknown.why, "known once step `later` has run");
}

#[test]
fn templates_are_texts_or_keep_their_type() {
    let locate = |range: std::ops::Range<usize>| Span::new(SourceId(0), range.start, range.end);
    for (text, expected) in [
        ("plain", "\"plain\""),
        ("${{ params.days }}", "30"),
        ("${{ params.tables }}", r#"["b","a","c"]"#),
        ("${{ params.days }} days", "\"30 days\""),
        (
            "[${{ params.force }}|${{ params.ratio }}]",
            "\"[false|0.5]\"",
        ),
        ("t=${{ params.tables }}", r#""t=[\"b\",\"a\",\"c\"]""#),
        ("${{ '${{' }}", "\"${{\""),
        ("${{ '}}' }}!", "\"}}!\""),
        ("x ${{ steps.later.outputs.rows }}", "<a text>"),
        ("x ${{ steps.later.outputs.secret }}", "<a secret>"),
        (
            "${{ steps.later.outputs.rows }}${{ steps.later.outputs.secret }}${{ steps.later.outputs.path }}",
            "<a secret>",
        ),
        ("x ${{ none }}", "Null"),
        ("${{ none }}", "null"),
    ] {
        let value = match Template::parse(text, &locate).unwrap().eval(&Values::new()) {
            Ok(Evaluated::Known(value)) => to_json(&value).to_string(),
            Ok(Evaluated::Unknown(unknown)) => format!("<{}>", unknown.ty),
            Err(error) => format!("{:?}", error.kind),
        };
        assert_eq!(value, expected, "{text}");
    }
    for (text, expected) in [
        ("params.days > 3", Some("params.days > 3")),
        ("  params.days > 3\n", Some("params.days > 3")),
        ("${{ params.days > 3 }}", Some("params.days > 3")),
        (" ${{ params.days }} ", Some("params.days")),
        ("${{ params.days }} > 3", None),
        ("params.days > ${{ 3 }}", None),
        ("", None),
    ] {
        let parsed = Template::parse_bare(text, &locate).ok();
        assert_eq!(
            parsed.as_ref().map(|expr| expr.source()),
            expected,
            "{text}"
        );
    }
}

#[test]
fn expressions_are_shared_between_threads() {
    fn shared<T: Send + Sync + Clone>(_: &T) {}
    let parsed = expr("params.days");
    shared(&parsed);
    shared(&Template::Whole(parsed));
}

#[test]
fn operands_say_what_stood_there() {
    let parsed = expr("steps.a.outputs.rows > params.days or steps.a.outputs.rows == params.nope");
    let operands = parsed.operands(&Values::new());
    let operands: Vec<String> = operands
        .iter()
        .map(|(name, value)| format!("{name}={}", value.known().unwrap()))
        .collect();
    assert_eq!(operands, ["steps.a.outputs.rows=3", "params.days=30"]);
}

#[test]
fn limits_end_soon_and_with_a_reason() {
    let started = std::time::Instant::now();
    for (source, part) in [
        ("1 + ".repeat(990) + "1", "nested too deeply"),
        ("1 + ".repeat(5000) + "1", "more than 1000 operators"),
        ("not ".repeat(999) + "true", "nested too deeply"),
        ("-".repeat(999) + "x", "nested too deeply"),
        (
            "(".repeat(999) + "1" + &")".repeat(999),
            "nested too deeply",
        ),
        ("[".repeat(70) + &"]".repeat(70), ""),
        ("1 if 1 else ".repeat(400) + "1", "nested too deeply"),
        ("x".repeat(70_000), "longer than 64 KiB"),
        ("1 + ".repeat(125) + "1", ""),
        ("a".to_owned() + &".a".repeat(900), ""),
        ("a[0]".to_owned() + &".a".repeat(900), "nested too deeply"),
        (format!("[{}1]", "'x', ".repeat(8000)), ""),
    ] {
        let span = Span::new(SourceId(0), 0, source.len());
        let message = match crate::expr::Expr::parse(&source, span) {
            Ok(parsed) => {
                let _ = parsed.eval(&Values::new());
                String::new()
            }
            Err(diagnostic) => diagnostic.message,
        };
        assert!(message.contains(part), "{}…: {message}", &source[..20]);
        assert_eq!(part.is_empty(), message.is_empty(), "{message}");
    }
    assert_eq!(
        eval("range(100000)|map('string')|sort|join|length"),
        "488890"
    );
    assert!(started.elapsed().as_secs() < 30);
    let error = expr("range(10 ** 9)").eval(&Values::new()).unwrap_err();
    assert_eq!(error.kind, EvalErrorKind::TooCostly);
}
