//! Every format of the same diagnostics, as snapshots: read them before you accept them.

use serde_json::Value;

use super::{Checked, render};
use crate::base::{Format, SourceId, Span};
use crate::diag::{Diagnostic, Sources, Style, codes};

const PLAYBOOK: &str = "\
runbook: v1
name: 每日巡检
steps:
  - id: a
    exec.comand: { argv: [ls] }
  - id: a
    flow.set: { values: { x: ${{ params.x }} } }
";

const PROJECT: &str = "runbook-project: v1\nconection: {}\n";

fn span(source: SourceId, text: &str, what: &str, nth: usize) -> Span {
    let (at, found) = text.match_indices(what).nth(nth).unwrap();
    Span::new(source, at, at + found.len())
}

/// A playbook with problems, one with those of the project file alone, one that is fine.
fn example() -> (Sources, Vec<(&'static str, Vec<Diagnostic>)>) {
    let mut sources = Sources::new();
    let a = sources.add("./playbooks/daily check.yaml", PLAYBOOK);
    let project = sources.add("/srv/runbook.yaml", PROJECT);
    let shared = Diagnostic::error(codes::UNKNOWN_KEY, "`conection` is not known here")
        .at(span(project, PROJECT, "conection", 0))
        .help("did you mean `connections`?");
    let flow = span(a, PLAYBOOK, "${{ params.x }}", 0);
    let found = vec![
        Diagnostic::error(
            codes::UNKNOWN_STEP_TYPE,
            "there is no step type `exec.comand`",
        )
        .label(
            span(a, PLAYBOOK, "exec.comand", 0),
            "not a step type: 50 %, really",
        )
        .help("did you mean `exec.command`?"),
        Diagnostic::error(codes::DUPLICATE_STEP, "two steps have the id `a`")
            .label(
                span(a, PLAYBOOK, "a\n    flow", 0).slice(0, 1),
                "the second",
            )
            .also(span(a, PLAYBOOK, "a\n    exec", 0).slice(0, 1), "the first"),
        Diagnostic::warning(
            codes::EXPR_FLOW_STYLE,
            "an expression in flow style needs quotes",
        )
        .at(flow)
        .fix("quote the value", flow, "\"${{ params.x }}\""),
        shared.clone(),
    ];
    let unreadable = Diagnostic::error(codes::FILE_UNREADABLE, "gone.yaml does not exist");
    let all = vec![
        ("playbooks/daily check.yaml", found),
        ("playbooks/weekly.yaml", vec![shared]),
        ("playbooks/fine.yaml", Vec::new()),
        ("gone.yaml", vec![unreadable]),
    ];
    (sources, all)
}

fn told(format: Format) -> String {
    let (sources, all) = example();
    let checked: Vec<Checked> = all
        .iter()
        .map(|(name, diagnostics)| Checked {
            name,
            is_test: false,
            diagnostics,
        })
        .collect();
    render(format, &checked, &sources, Style::Plain).unwrap()
}

#[test]
fn for_people() {
    insta::assert_snapshot!(told(Format::Text));
}

#[test]
fn as_json() {
    let text = told(Format::Json);
    insta::assert_snapshot!(text);
    let value: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(value["errors"], 4, "the project's error is one");
}

#[test]
fn as_sarif() {
    let text = told(Format::Sarif);
    insta::assert_snapshot!(text);
    let value: Value = serde_json::from_str(&text).unwrap();
    for result in value["runs"][0]["results"].as_array().unwrap() {
        let index = usize::try_from(result["ruleIndex"].as_u64().unwrap()).unwrap();
        let rule = &value["runs"][0]["tool"]["driver"]["rules"][index];
        assert_eq!(rule["id"], result["ruleId"]);
    }
}

#[test]
fn as_github_annotations() {
    insta::assert_snapshot!(told(Format::Github));
}

#[test]
fn as_junit() {
    insta::assert_snapshot!(told(Format::Junit));
}

#[test]
fn nothing_to_tell() {
    let checked = [Checked {
        is_test: false,
        name: "a.yaml",
        diagnostics: &[],
    }];
    let told = |format| render(format, &checked, &Sources::new(), Style::Plain).unwrap();
    assert_eq!(told(Format::Text), "1 playbook is valid\n");
    assert_eq!(told(Format::Github), "");
}

#[test]
fn not_every_format_fits() {
    let error = render(Format::Markdown, &[], &Sources::new(), Style::Plain).unwrap_err();
    assert_eq!(
        error.to_string(),
        "the format `markdown` does not fit here; there are text, json, junit, sarif, github"
    );
}
