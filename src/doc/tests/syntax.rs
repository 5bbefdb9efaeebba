//! Findings that leave no tree: their places, and that their fixes cure.

use super::{fixed, good, json, told};
use crate::diag::codes;

#[test]
fn syntax_errors_have_a_place() {
    for (text, place) in [
        ("steps:\n\t- id: a\n", "2:1"),
        ("steps:\n  - id: a\n\tname: b\n", "3:1"),
        ("a: |\n\tx\n", "2:1"),
        ("name: a: b\n", "1:8"),
        ("a: b\n  c: d\n", "2:3"),
        ("a:\n    b: c\n  d: e\n", "3:3"),
        ("steps:\n  - id: a\n   name: b\n", "3:4"),
        ("a: b\nfoo\nc: d\n", "2:1"),
        ("name:foo\nb: c\n", "1:5"),
        ("name: \"open\nb: c\n", "1:7"),
        ("\"open", "1:1"),
        ("name: 'it's'\n", "1:11"),
        ("a: \"\\d+\"\n", "1:5"),
        ("a: @b\n", "1:4"),
        ("a: - b\n", "1:4"),
        ("a: [- b]\n", "1:5"),
        ("a: [b, c\n", "1:4"),
        ("a: [b, c\nd: e\n", "2:2"),
        ("a:\n  - b: { c: [d]\n  - e: f\n", "3:3"),
        ("a: ]\n", "1:4"),
        ("a: {b:[c]}\n", "1:6"),
        ("  a: b\nc: d\n", "2:1"),
        ("a: |x\n", "1:4"),
        ("a: b # c\n  d\n", "1:6"),
        ("a: \"x\"#y\n", "1:7"),
        ("a: [b,, c]\n", "1:7"),
        ("a: &x *y\n", "1:7"),
        ("a: b\n%c\n", "2:1"),
        ("a: \u{feff}b\n", "1:4"),
        ("a: b\u{0}\n", "1:5"),
        ("a: \u{1b}[1m\n", "1:4"),
    ] {
        assert_eq!(
            told(text),
            [(codes::YAML_SYNTAX, place.to_owned())],
            "{text:?}"
        );
    }
    assert_eq!(
        told("a: &x 1\nb: *y\n"),
        [(codes::YAML_ALIAS, "2:4".to_owned())]
    );
    assert_eq!(
        told("a: &x [*x]\n"),
        [(codes::YAML_ALIAS, "1:8".to_owned())]
    );
    assert_eq!(told("a: !b!c d\n"), [(codes::YAML_TAG, "1:4".to_owned())]);
}

#[test]
fn fixes_cure() {
    for (text, cured) in [
        ("name: a: b # c\n", "name: \"a: b\" # c\n"),
        ("name: say \"a: b\"\n", "name: 'say \"a: b\"'\n"),
        ("name:foo\nb: c\n", "name: foo\nb: c\n"),
        ("a: {b:[c]}\n", "a: {b: [c]}\n"),
        ("a: \"\\d+\"\n", "a: \"\\\\d+\"\n"),
        ("a: @b c\n", "a: \"@b c\"\n"),
        ("a: [@b, c]\n", "a: [\"@b\", c]\n"),
        ("a: */5 * * * *\n", "a: \"*/5 * * * *\"\n"),
        ("a: * * * * *\n", "a: \"* * * * *\"\n"),
        ("a: [b] c\n", "a: \"[b] c\"\n"),
        ("a: \"x\"#y\n", "a: \"x\" #y\n"),
        ("when: \"x\" == y # c\n", "when: '\"x\" == y' # c\n"),
        ("a: ? b\n", "a: \"? b\"\n"),
        ("a: [-, b]\n", "a: [\"-\", b]\n"),
        ("a:\tb\n-\tc", "a: b\n-\tc"),
    ] {
        assert_eq!(fixed(text), cured);
    }
}

#[test]
fn expressions_in_braces_are_told_with_a_fix() {
    for (text, place, cured) in [
        ("a: {b: ${{ x }}}\n", "1:8", "a: {b: \"${{ x }}\"}\n"),
        ("a: [c, ${{ x }} ]\n", "1:8", "a: [c, \"${{ x }}\" ]\n"),
        (
            "- { a: [\"b\", c-${{ x[\"d\"] }}-e, f] }\n",
            "1:16",
            "- { a: [\"b\", 'c-${{ x[\"d\"] }}-e', f] }\n",
        ),
        (
            "- {a: ${{ 'x' ~ y }}, b: c}\n",
            "1:7",
            "- {a: \"${{ 'x' ~ y }}\", b: c}\n",
        ),
        ("a: {{ x }}\n", "1:4", "a: \"${{ x }}\"\n"),
        ("a: {{ x }}/y # c\n", "1:4", "a: \"${{ x }}/y\" # c\n"),
        ("a: [{{ x }}, y]\n", "1:5", "a: [\"${{ x }}\", y]\n"),
    ] {
        assert_eq!(
            told(text),
            [(codes::EXPR_FLOW_STYLE, place.to_owned())],
            "{text:?}"
        );
        assert_eq!(fixed(text), cured);
        good(&fixed(text));
    }
    // Not about flow style: quotes in quotes, a colon in block style.
    assert_eq!(told("a: [\"${{ x[\"y\"] }}\"]\n")[0].0, codes::YAML_SYNTAX);
    assert_eq!(told("a: ${{ x: y }}\n")[0].0, codes::YAML_SYNTAX);
    assert_eq!(told("a: [${{ x ]\n")[0].0, codes::EXPR_FLOW_STYLE);
    assert_eq!(
        json(&good("a: ${{ x }}\n")),
        serde_json::json!({"a": "${{ x }}"})
    );
}
