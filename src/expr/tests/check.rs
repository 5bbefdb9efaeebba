//! Types, and the codes of what is wrong.

use super::{Names, expr};
use crate::base::{SourceId, Span};
use crate::diag::Diagnostics;
use crate::expr::{Expr, Template};

/// The type of `source`, or the codes of what is wrong with it.
fn check(source: &str) -> String {
    let parsed = match Expr::parse(source, Span::new(SourceId(0), 0, source.len())) {
        Ok(parsed) => parsed,
        Err(diagnostic) => return diagnostic.code.to_string(),
    };
    let mut diagnostics = Diagnostics::new();
    let ty = parsed.infer(&Names::new(), &mut diagnostics);
    if diagnostics.is_empty() {
        return ty.to_string();
    }
    let codes = diagnostics
        .iter()
        .map(|diagnostic| diagnostic.code.as_str());
    codes.collect::<Vec<_>>().join(" ")
}

/// Each expression with what it should come to; all that differ are told at once.
fn table(rows: &[(&str, &str)]) {
    let mut wrong = Vec::new();
    for (source, expected) in rows {
        let found = check(source);
        if found != *expected {
            wrong.push(format!(
                "{source}\n  expected {expected}\n  found    {found}"
            ));
        }
    }
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn types_of_expressions() {
    table(&[
        ("1", "a whole number"),
        ("1.0", "a number"),
        ("-9223372036854775808", "a whole number"),
        ("'a' 'b'", "a text"),
        ("none", "null"),
        ("true", "a boolean"),
        ("[]", "a list"),
        ("[1, 2.5]", "a list of numbers"),
        ("('a', none)", "a list of texts or nulls"),
        ("{'a': 1}", "a mapping"),
        ("{'a': 1}.a", "a whole number"),
        ("{params.name: 1}", "a mapping of whole numbers"),
        ("{params.name: 1}.x", "a whole number"),
        // paths
        ("params.days", "a whole number"),
        ("params['days']", "a whole number"),
        ("params[params.name]", "any value"),
        (
            "steps.bloat.status",
            "one of `succeeded`, `failed`, `skipped`, `cancelled`, `timed_out`",
        ),
        ("steps.bloat.outputs.indexes", "a list of mappings"),
        ("steps.bloat.outputs.indexes[0]", "a mapping"),
        ("steps.bloat.outputs.indexes[-1].name", "a text"),
        ("steps.bloat.outputs.indexes[1:]", "a list of mappings"),
        ("steps.bloat.outputs.sizes.anything", "a whole number"),
        ("steps.bloat.outputs.body.a[0].b", "any value"),
        ("params.name[0]", "a text"),
        ("params.name[:3]", "a text"),
        // operators
        ("params.days * 86400", "a whole number"),
        ("params.days / 2", "a number"),
        ("params.days + params.ratio", "a number"),
        ("-params.days", "a whole number"),
        ("'a' + params.name", "a text"),
        ("params.days ~ ' days'", "a text"),
        ("params.tables + ['x']", "a list of texts"),
        ("params.days > 3", "a boolean"),
        ("1 < params.days <= 31", "a boolean"),
        ("params.name == 'x'", "a boolean"),
        ("params.name == none", "a boolean"),
        ("steps.bloat.outputs.owner > 'a'", "a boolean"),
        ("steps.bloat.status == 'failed'", "a boolean"),
        ("steps.bloat.status in ['failed', 'skipped']", "a boolean"),
        ("'x' in params.tables", "a boolean"),
        ("'x' not in params.name", "a boolean"),
        ("'rows' in steps.bloat.outputs", "a boolean"),
        ("not params.force and params.days > 3", "a boolean"),
        ("params.name or 'none'", "a text"),
        ("steps.bloat.outputs.owner or 'none'", "a text"),
        ("params.tables and params.force", "any value"),
        ("1 if params.force else 2.5", "a number"),
        ("'a' if params.force else none", "a text or null"),
        ("any > 3", "a boolean"),
        ("any + 3", "any value"),
        ("any ~ 3", "a text"),
        ("not any", "a boolean"),
        // filters
        ("params.tables|length", "a whole number"),
        ("params.tables|join(', ')", "a text"),
        ("params.tables|first", "a text"),
        ("params.tables|map('length')|sum", "a whole number"),
        (
            "params.tables|map('upper')|sort|unique|reverse|list",
            "a list of texts",
        ),
        (
            "params.tables|select('startingwith', 'a')|list",
            "a list of texts",
        ),
        (
            "steps.bloat.outputs.indexes|map(attribute='name')",
            "a list of texts",
        ),
        (
            "steps.bloat.outputs.indexes|map(attribute='bytes')|max",
            "a whole number",
        ),
        (
            "steps.bloat.outputs.indexes|sum(attribute='bytes')",
            "a whole number",
        ),
        (
            "steps.bloat.outputs.indexes|sum('bloat_percent')",
            "a number",
        ),
        (
            "steps.bloat.outputs.indexes|max(attribute='bytes')",
            "a mapping",
        ),
        (
            "steps.bloat.outputs.indexes|sort(attribute='bytes,name', reverse=true)",
            "a list of mappings",
        ),
        (
            "steps.bloat.outputs.indexes|selectattr('bloat_percent', 'gt', 30)|map(attribute='name')|join(',')",
            "a text",
        ),
        ("steps.bloat.outputs.sizes|items", "a list"),
        ("steps.bloat.outputs.sizes|list", "a list of texts"),
        ("params.ratio|round(2)", "a number"),
        ("params.days|round", "a whole number"),
        ("params.ratio|round|int", "a whole number"),
        ("params.days|string", "a text"),
        ("params.name|int(default=0)", "a whole number"),
        ("params.name|upper|trim|replace('a', 'b')", "a text"),
        ("params.name|split(',')", "a list of texts"),
        ("params.tables|tojson", "a text"),
        ("params.name|default('x')", "a text"),
        (
            "steps.bloat.outputs.owner|default('x', true)",
            "a text or null",
        ),
        ("params.tables|batch(2)", "a list of lists of texts"),
        ("any|first", "any value"),
        ("any|length", "a whole number"),
        ("range(params.days)|list", "a list of whole numbers"),
        ("'%s: %d'|format(params.name, params.days)", "a text"),
        // tests
        ("params.name is defined", "a boolean"),
        ("params.days is divisibleby(7)", "a boolean"),
        ("params.days is divisibleby 7", "a boolean"),
        ("params.name is not none", "a boolean"),
        ("params.days is gt 3", "a boolean"),
        // secrets
        ("secrets.token", "a secret"),
        ("secrets.token ~ ':' ~ params.name", "a secret"),
        ("'Bearer ' + secrets.token", "a secret"),
        ("secrets.token|upper|trim", "a secret"),
        ("secrets.token|default('')", "a secret"),
        ("secrets.token is defined", "a boolean"),
        ("[secrets.token, 'a']", "a list of secrets"),
        ("[secrets.token, 'a']|join(':')", "a secret"),
        ("[secrets.token, 'a']|tojson", "a secret"),
        ("[secrets.token, 'a']|length", "a whole number"),
        ("[secrets.token, 'a'][0]", "a secret"),
        ("{'p': secrets.token}|tojson", "a secret"),
        ("{'p': secrets.token} ~ ''", "a secret"),
        (
            "secrets.token if params.force else secrets.password",
            "a secret",
        ),
        ("secrets.token if params.force else 'x'", "a secret"),
        ("secrets[params.name]", "a secret"),
        ("'%s'|format(secrets.token)", "a secret"),
        ("params.name|replace('x', secrets.token)", "a secret"),
        ("params.name|default(secrets.token)", "a secret"),
        ("[params.name]|join(secrets.token)", "a secret"),
        (
            "params.tables|map('replace', 'x', secrets.token)",
            "a list of secrets",
        ),
        ("params.tables|zip([secrets.token])", "a list of secrets"),
        ("[secrets.token]|chain(params.tables)", "a secret"),
        (
            "params.tables|batch(2, secrets.token)",
            "a list of lists of secrets",
        ),
        ("secrets.token|replace('a', 'b')", "a secret"),
        ("params.name|replace(secrets.token, 'x')", "a secret"),
        ("[secrets.token]|first", "a secret"),
        ("[secrets.token]|map('upper')|list", "a list of secrets"),
        ("secrets|length", "a whole number"),
        ("{'a': secrets.token}|items", "a list of secrets"),
    ]);
}

#[test]
fn what_is_wrong() {
    table(&[
        // the syntax
        ("", "RB401"),
        ("   ", "RB401"),
        ("a b", "RB401"),
        ("a = 3", "RB401"),
        ("a && b", "RB401"),
        ("(a", "RB401"),
        ("a }} b", "RB401"),
        ("'a", "RB401"),
        ("a if b", "RB401"),
        ("9223372036854775808", "RB401"),
        ("1e999", "RB401"),
        ("f(*a)", "RB405"),
        ("any|join(*any)", "RB401"),
        ("range()", "RB401"),
        ("[1][0](2)", "RB401"),
        // what does not exist
        ("any|uper", "RB405"),
        ("any|safe", "RB405"),
        ("any is empty", "RB405"),
        ("len(any)", "RB405"),
        ("any.items()", "RB405"),
        ("env('HOME')", "RB405"),
        ("any|map('uper')", "RB405"),
        ("any|select('gtt', 3)", "RB405"),
        ("any|selectattr('x', 'gtt', 3)", "RB405"),
        ("parms.days", "RB402"),
        ("days > 3", "RB402"),
        ("null", "RB402"),
        ("env.HOME", "RB402"),
        ("params.dys", "RB403"),
        ("params['dys']", "RB403"),
        ("params.dys is defined", "RB403"),
        ("params.dys|default(3)", "RB403"),
        ("steps.blot.status", "RB403"),
        ("steps.bloat.outputs.indexes.name", "RB403"),
        ("steps.bloat.outputs.indexes[0].nam", "RB403"),
        ("steps.bloat.outputs.indexes|map(attribute='nam')", "RB403"),
        (
            "steps.bloat.outputs.indexes|selectattr('bloat', 'gt', 3)",
            "RB403",
        ),
        ("params.name.length", "RB403"),
        ("none.x", "RB403"),
        // types
        ("params.name > 3", "RB404"),
        ("'5' > 3", "RB404"),
        ("params.name == 3", "RB404"),
        ("params.force == 'true'", "RB404"),
        ("params.tables == 'a'", "RB404"),
        ("params.force > 0", "RB404"),
        ("steps.bloat.status >= 'failed'", "RB404"),
        ("steps.bloat.status == 'suceeded'", "RB404"),
        ("'ok' != steps.bloat.status", "RB404"),
        ("steps.bloat.status in ['failed', 'okay']", "RB404"),
        ("steps.bloat.status is eq 'okay'", "RB404"),
        ("params.days in params.tables", "RB404"),
        ("'a' in params.days", "RB404"),
        ("3 in params.name", "RB404"),
        ("params.name + 1", "RB404"),
        ("params.name - 1", "RB404"),
        ("params.tables * 2", "RB404"),
        ("none ~ 'a'", "RB404"),
        ("none + 1", "RB404"),
        ("true + 1", "RB404"),
        ("-params.name", "RB404"),
        ("not params.name", "RB404"),
        ("1 if params.name else 2", "RB404"),
        ("params.name and true", "RB404"),
        ("params.tables['a']", "RB403"),
        ("steps.bloat.outputs.sizes[0]", "RB404"),
        ("params.days[0]", "RB404"),
        ("params.tables['a':]", "RB404"),
        ("params.days[1:]", "RB404"),
        ("range('a')", "RB404"),
        ("params.days|upper", "RB404"),
        ("params.tables|upper", "RB404"),
        ("params.name|round", "RB404"),
        ("params.name|join", "RB404"),
        ("params.tables|sum", "RB404"),
        ("steps.bloat.outputs.indexes|sort", "RB404"),
        ("steps.bloat.outputs.indexes|sum('name')", "RB404"),
        ("params.tables|int", "RB404"),
        ("params.days|length", "RB404"),
        ("params.tables|select('gt', 3)", "RB404"),
        (
            "steps.bloat.outputs.indexes|selectattr('name', 'gt', 3)",
            "RB404",
        ),
        ("params.tables|map('round')", "RB404"),
        ("params.name|upper(1)", "RB404"),
        ("params.name|replace('a')", "RB404"),
        ("params.tables|join(sep=',')", "RB404"),
        ("params.tables|sort(reversed=true)", "RB404"),
        ("params.days is gt", "RB404"),
        ("params.days is odd(1)", "RB404"),
        ("params.days is gt 'x'", "RB404"),
        // one finding each
        ("params.dys > 3 and params.nme == 'x'", "RB403 RB403"),
        ("params.dys + 1 > 3", "RB403"),
        // secrets
        ("secrets.token == 'x'", "RB407"),
        ("secrets.token > 'x'", "RB407"),
        ("'x' in secrets.token", "RB407"),
        ("secrets.token in ['x']", "RB407"),
        ("not secrets.token", "RB407"),
        ("secrets.token or 'x'", "RB407"),
        ("1 if secrets.token else 2", "RB407"),
        ("secrets.token|length", "RB407"),
        ("secrets.token|first", "RB407"),
        ("secrets.token|list", "RB407"),
        ("secrets.token|int", "RB407"),
        ("secrets.token|split", "RB407"),
        ("secrets.token[0]", "RB407"),
        ("secrets.token[:3]", "RB407"),
        ("secrets.token is startingwith('x')", "RB407"),
        ("secrets.token is none", "RB407"),
        ("params.name is startingwith(secrets.token)", "RB407"),
        ("[secrets.token]|sort", "RB407"),
        ("[secrets.token]|unique", "RB407"),
        ("[secrets.token]|select('eq', 'x')", "RB407"),
        ("params.tables|select('eq', secrets.token)", "RB407"),
        ("[{'p': secrets.token}]|selectattr('p', 'eq', 'x')", "RB407"),
        ("[{'p': secrets.token}]|selectattr('p')", "RB407"),
        ("[secrets.token]|select", "RB407"),
        ("[secrets.token]|map('length')", "RB407"),
        ("[{'p': secrets.token}] == any", "RB407"),
        ("{secrets.token: 1}", "RB407"),
        ("any[secrets.token]", "RB407"),
        ("params.name|split(secrets.token)", "RB407"),
        ("any|attr(secrets.token)", "RB407"),
        ("range(3)|join|int(default=secrets.token)", "RB407"),
        ("[{'a': secrets.token}]|groupby('a')", "RB407"),
        ("params.tables|map('split', secrets.token)", "RB407"),
        ("params.ratio|round(secrets.token)", "RB407"),
        ("secrets.missing", "RB403"),
    ]);
}

#[test]
fn references_are_paths_with_places() {
    let source = "steps.a.outputs['x'].y + steps[params.id].z ~ [loop.index][0]|length";
    let parsed = expr(source);
    let paths: Vec<String> = parsed
        .references()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        paths,
        ["steps.a.outputs.x.y", "steps", "params.id", "loop.index"]
    );
    for reference in parsed.references() {
        let written = &source[reference.span.start as usize..reference.span.end as usize];
        assert!(source.contains(written));
        assert!(written.starts_with(reference.root()), "{written}");
    }
    assert!(parsed.references()[0].starts_with(&["steps", "a"]));
    assert!(!parsed.is_constant());
    assert!(expr("1 + 2 > 2").is_constant());
}

#[test]
fn templates_have_types_too() {
    let locate = |range: std::ops::Range<usize>| Span::new(SourceId(0), range.start, range.end);
    let ty = |text: &str| {
        let mut diagnostics = Diagnostics::new();
        let template = Template::parse(text, &locate).unwrap();
        let ty = template.infer(&Names::new(), &mut diagnostics);
        if diagnostics.is_empty() {
            ty.to_string()
        } else {
            "wrong".to_owned()
        }
    };
    assert_eq!(ty("plain"), "a text");
    assert_eq!(ty("${{ params.days }}"), "a whole number");
    assert_eq!(ty("${{ params.days }}\n"), "a whole number");
    assert_eq!(ty(" ${{ params.days }}"), "a text");
    assert_eq!(ty("${{ params.days }} days"), "a text");
    assert_eq!(ty("postgres://x:${{ secrets.password }}@db"), "a secret");
    assert_eq!(ty("a ${{ [secrets.password] }}"), "a secret");
    assert_eq!(ty("a ${{ none }}"), "wrong");
    assert_eq!(ty("$5 and $ {{ x }}"), "a text");
}
