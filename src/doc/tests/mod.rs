//! Whole documents: what comes out of them, what is told of them, and that nothing breaks on what
//! people and machines write.

mod budgets;
mod random;
mod syntax;
mod trees;

use super::{Document, Kind, Node, parse};
use crate::base::{SourceId, Span};
use crate::diag::{Code, Diagnostics};

const SOURCE: SourceId = SourceId(0);

fn read(text: &str) -> (Option<Document>, Diagnostics) {
    let mut out = Diagnostics::new();
    let document = parse(SOURCE, text, &mut out);
    (document, out)
}

fn good(text: &str) -> Node {
    let (document, out) = read(text);
    assert!(out.is_empty(), "{text:?}: {out:?}");
    document.unwrap().root
}

/// The tree as JSON, with every scalar as its text, except nothing.
fn json(node: &Node) -> serde_json::Value {
    match &node.kind {
        Kind::Scalar(scalar) if node.is_null() => serde_json::json!({ "null": scalar.text }),
        Kind::Scalar(scalar) => serde_json::json!(scalar.text),
        Kind::Seq(items) => items.iter().map(json).collect(),
        Kind::Map(map) => map
            .iter()
            .map(|entry| (entry.key.value.to_string(), json(&entry.value)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
    }
}

fn slice(text: &str, span: Span) -> &str {
    &text[span.start as usize..span.end as usize]
}

/// Every value with its text in the source, in order.
fn written<'t>(node: &Node, text: &'t str, out: &mut Vec<&'t str>) {
    out.push(slice(text, node.span));
    match &node.kind {
        Kind::Scalar(_) => {}
        Kind::Seq(items) => items.iter().for_each(|item| written(item, text, out)),
        Kind::Map(map) => {
            for entry in map {
                out.push(slice(text, entry.key.span));
                written(&entry.value, text, out);
            }
        }
    }
}

fn places(text: &str) -> Vec<&str> {
    let mut out = Vec::new();
    written(&good(text), text, &mut out);
    out
}

/// Code and place, as `line:column`, of everything that is told of `text`.
fn told(text: &str) -> Vec<(Code, String)> {
    let (_, out) = read(text);
    out.into_sorted()
        .into_iter()
        .map(|diagnostic| {
            let at = diagnostic
                .primary
                .map_or(0, |label| label.span.start as usize);
            let start = text[..at].rfind('\n').map_or(0, |found| found + 1);
            let line = text[..at].matches('\n').count() + 1;
            (diagnostic.code, format!("{line}:{}", at - start + 1))
        })
        .collect()
}

/// `text` after the one fix that is offered for it.
fn fixed(text: &str) -> String {
    let (_, out) = read(text);
    let fix = out.iter().find_map(|diagnostic| diagnostic.fix.clone());
    let fix = fix.expect(text);
    let mut cured = text.to_owned();
    cured.replace_range(
        fix.span.start as usize..fix.span.end as usize,
        &fix.replacement,
    );
    cured
}
