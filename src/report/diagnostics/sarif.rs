//! Diagnostics as SARIF 2.1.0, which code-scanning services read.
//!
//! The format is OASIS's "Static Analysis Results Interchange Format (SARIF) Version 2.1.0"; the
//! section of a rule that is not obvious stands beside it.

use indexmap::IndexSet;
use serde_json::{Value, json};

use super::{Checked, Place, each_once, severity, whole_message};
use crate::base::Span;
use crate::diag::{Code, Diagnostic, Label, Sources, codes};
use crate::report::json::document;

pub(super) fn render(checked: &[Checked], sources: &Sources) -> String {
    let used: IndexSet<Code> = each_once(checked).map(|found| found.code).collect();
    let results = each_once(checked).map(|found| result(found, &used, sources));
    document(&json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": {
                "name": "runbook",
                "version": env!("CARGO_PKG_VERSION"),
                "rules": used.iter().map(|code| rule(*code)).collect::<Vec<_>>(),
            } },
            // Our columns count characters (3.14.17).
            "columnKind": "unicodeCodePoints",
            "results": results.collect::<Vec<_>>(),
        }],
    }))
}

fn rule(code: Code) -> Value {
    let known = codes::find(code.as_str());
    json!({
        "id": code.as_str(),
        "shortDescription": { "text": known.map_or("", |known| known.title) },
        "help": { "text": known.map_or("", |known| known.text) },
    })
}

fn result(found: &Diagnostic, used: &IndexSet<Code>, sources: &Sources) -> Value {
    let mut result = json!({
        "ruleId": found.code.as_str(),
        "ruleIndex": used.get_index_of(&found.code),
        "level": severity(found.severity),
        "message": { "text": whole_message(found) },
        "locations": [],
    });
    // A result without a place has an empty list of locations (3.27.12).
    if let Some(place) = found
        .primary
        .as_ref()
        .and_then(|label| physical(sources, label.span))
    {
        result["locations"] = json!([{ "physicalLocation": place }]);
    }
    let related: Vec<Value> = found
        .secondary
        .iter()
        .enumerate()
        .filter_map(|(at, label)| related(sources, at, label))
        .collect();
    if !related.is_empty() {
        result["relatedLocations"] = Value::Array(related);
    }
    if let Some(fix) = &found.fix
        && let Some(place) = Place::of(sources, fix.span)
    {
        result["fixes"] = json!([{
            "description": { "text": fix.title },
            "artifactChanges": [{
                "artifactLocation": { "uri": uri(place.file) },
                "replacements": [{
                    "deletedRegion": region(&place),
                    "insertedContent": { "text": fix.replacement },
                }],
            }],
        }]);
    }
    result
}

fn related(sources: &Sources, at: usize, label: &Label) -> Option<Value> {
    Some(json!({
        "id": at + 1,
        "physicalLocation": physical(sources, label.span)?,
        "message": { "text": label.text },
    }))
}

fn physical(sources: &Sources, span: Span) -> Option<Value> {
    let place = Place::of(sources, span)?;
    Some(json!({
        "artifactLocation": { "uri": uri(place.file) },
        "region": region(&place),
    }))
}

fn region(place: &Place) -> Value {
    json!({
        "startLine": place.start.line,
        "startColumn": place.start.column,
        "endLine": place.end.line,
        "endColumn": place.end.column,
    })
}

/// A path as a URI (3.10.1): relative ones stay so, and are relative to the root of the sources.
fn uri(path: &str) -> String {
    let mut out = String::from(if path.starts_with('/') { "file://" } else { "" });
    for byte in path.trim_start_matches("./").bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' | b'/' => {
                out.push(char::from(byte));
            }
            other => out.push_str(&format!("%{other:02X}")),
        }
    }
    out
}
