//! What people read: the snapshot is to be reviewed as prose.

use std::ops::Range;

use super::{Names, Values};
use crate::base::{SourceId, Span};
use crate::diag::{Diagnostics, Sources, Style, render};
use crate::doc;
use crate::expr::{Evaluated, Template};

/// What is said of the value in `line`, which is `key: value`.
fn said_of(line: &str, bare: bool) -> String {
    let mut sources = Sources::new();
    let id = sources.add("playbook.yaml", format!("{line}\n").as_str());
    let start = line.find(": ").unwrap() + 2;
    let (text, places) = unquoted(&line[start..], start);
    let locate = |range: Range<usize>| Span::new(id, places[range.start], places[range.end]);
    let parsed = match bare {
        true => Template::parse_bare(&text, &locate).map(Template::Whole),
        false => Template::parse(&text, &locate),
    };
    let mut diagnostics = Diagnostics::new();
    match parsed {
        Err(diagnostic) => diagnostics.push(diagnostic),
        Ok(template) => {
            template.infer(&Names::new(), &mut diagnostics);
        }
    }
    let drawn = diagnostics.into_sorted();
    let drawn = drawn.iter().map(|one| render(one, &sources, Style::Plain));
    drawn.collect::<Vec<_>>().join("\n")
}

/// A YAML scalar, and where each byte of its text is; one more for the end.
fn unquoted(scalar: &str, start: usize) -> (String, Vec<usize>) {
    let Some(inner) = scalar
        .strip_prefix('"')
        .and_then(|rest| rest.strip_suffix('"'))
    else {
        return (scalar.to_owned(), (start..=start + scalar.len()).collect());
    };
    let (mut text, mut places) = (String::new(), Vec::new());
    let mut chars = inner.char_indices();
    while let Some((at, char)) = chars.next() {
        let char = match char {
            '\\' => chars.next().unwrap().1,
            other => other,
        };
        text.push(char);
        places.extend(std::iter::repeat_n(start + 1 + at, char.len_utf8()));
    }
    places.push(start + 1 + inner.len());
    (text, places)
}

#[test]
fn before_the_run() {
    let mut all = String::new();
    for line in [
        "when: params.dys > 3",
        "when: days > 3",
        "when: steps.blot.status == 'failed'",
        "when: steps.bloat.outputs.pth is defined",
        "when: steps.bloat.status == 'suceeded'",
        "when: steps.bloat.outputs.indexes.name == 'x'",
        "when: env.HOME == '/root'",
        "when: null == params.name",
        "when: params.name > 3",
        "when: (params.name) == 3 and params.force",
        "when: params.force == 'true'",
        "when: params.name and params.force",
        "when: params.days in params.tables",
        "when: params.days + params.name > 3",
        "when: steps.bloat.status >= 'failed'",
        "when: secrets.token == 'x'",
        "when: secrets.token|length > 8",
        "when: params.tables|uper",
        "when: params.tables|upper|length > 3",
        "when: params.tables|join(sep=', ') == ''",
        "when: params.tables|map('uper')|list",
        "when: steps.bloat.outputs.indexes|selectattr('bloat', 'gt', 30)",
        "when: steps.bloat.outputs.indexes|sum('name') > 3",
        "when: len(params.tables) > 3",
        "when: params.name.startswith('a')",
        "when: params.days is empty",
        "when: params.days = 3",
        "when: params.days > 3 && params.force",
        "when: !params.force",
        "when: params.force ? 1 : 2",
        "when: params.days >",
        "when: (params.days > 3",
        "when: params.name == 'x",
        "when: params.days > ${{ 3 }}",
        "when: ${{ params.days }} > 3",
        "when: params.force if params.days > 3",
        "when: 99999999999999999999 > params.days",
    ] {
        all.push_str(&said_of(line, true));
        all.push_str("\n\n");
    }
    for line in [
        "title: Report of ${{ params.name",
        "title: Report of ${{ params.name|default('x }}",
        "title: Report of ${{ {'a': 1 }}",
        "title: Report of ${{ }}",
        "title: Report of ${{ params.nme }} for ${{ params.dys }}",
        r#"title: "Report \"of\" ${{ params.name == \"x\" + 1 }} é ${{ params.nme }}""#,
    ] {
        all.push_str(&said_of(line, false));
        all.push_str("\n\n");
    }
    insta::assert_snapshot!("before_the_run", all);
}

/// The places of findings in real YAML, where what is read is not what is written.
#[test]
fn as_it_is_written() {
    for (yaml, expected) in [
        ("x: params.dys > 3\n", "dys"),
        ("x: '${{ params.name == ''x'' + params.dys }}'\n", "dys"),
        (r#"x: "${{ params.name == \"x\" + params.dys }}""#, "dys"),
        (r#"x: "${{ params.name == \"\" + 1 }}""#, r#"\"\" + 1"#),
        (r#"x: "a\tb ${{ params.dys }}""#, "dys"),
        ("x: >-\n  params.days > 3\n  and params.dys < 4\n", "dys"),
        ("x: >\n  params.days\n\n  > params.dys\n", "dys"),
        ("x: |\n  params.days > 3\n    and params.dys < 4\n", "dys"),
        ("x: params.days > 3\n  and params.dys < 4\n", "dys"),
        (
            "x: \"${{ params.days > 3\n  and params.dys < 4 }}\"\n",
            "dys",
        ),
        ("x: 'äöü ${{ params.dys }}'\n", "dys"),
        ("x: ${{ steps.bloat.status == 'fialed' }}\n", "'fialed'"),
    ] {
        let mut sources = Sources::new();
        let id = sources.add("playbook.yaml", yaml);
        let mut diagnostics = Diagnostics::new();
        let document = doc::parse(id, yaml, &mut diagnostics).unwrap();
        let node = &document.root.as_map().unwrap().get("x").unwrap().value;
        let scalar = node.as_scalar().unwrap();
        let locate = |range: Range<usize>| scalar.locate(node.span, yaml, range);
        let template = match scalar.text.contains("${{") {
            true => Template::parse(&scalar.text, &locate).unwrap(),
            false => Template::Whole(Template::parse_bare(&scalar.text, &locate).unwrap()),
        };
        template.infer(&Names::new(), &mut diagnostics);
        let found: Vec<&str> = diagnostics
            .iter()
            .map(|one| sources.slice(one.primary.as_ref().unwrap().span).unwrap())
            .collect();
        assert!(found.contains(&expected), "{yaml}: {found:?}");
    }
}

#[test]
fn in_the_run() {
    let mut all = String::new();
    for text in [
        "${{ params.nothing > 3 }}",
        "${{ steps.missing }}",
        "${{ steps.missing.outputs.rows }}",
        "${{ steps.bloat.outputs.owner.name }}",
        "Owner: ${{ steps.bloat.outputs.owner }}",
        "${{ steps.bloat.outputs.size > 3 }}",
        "${{ params.name.length }}",
        "${{ steps.bloat.outputs.indexes.name }}",
        "${{ params.tables[7] }}",
        "${{ []|first }}",
        "${{ 'abc'|int + 1 }}",
        "${{ steps.bloat.outputs.mixed|sort }}",
        "${{ params.days // 0 }}",
        "${{ params.days * 9223372036854775807 }}",
        "${{ 1e308 * 10 }}",
        "${{ none + 1 }}",
        "${{ params.name|round }}",
        "${{ range(10 ** 9) }}",
        "${{ 'x' * 10 ** 9 }}",
        "${{ nowhere.x }}",
    ] {
        let locate = |range: Range<usize>| Span::new(SourceId(0), range.start, range.end);
        let template = Template::parse(text, &locate).unwrap();
        let said = match template.eval(&Values::new()) {
            Ok(Evaluated::Known(value)) => format!("{value:?}"),
            Ok(Evaluated::Unknown(unknown)) => format!("{unknown:?}"),
            Err(error) => {
                let place = error.span.start as usize..error.span.end as usize;
                format!("{error}\n    at {}", &text[place])
            }
        };
        all.push_str(&format!("{text}\n  {said}\n"));
    }
    insta::assert_snapshot!("in_the_run", all);
}
