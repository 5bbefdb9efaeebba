//! Diagnostics as JSON: one entry a playbook, so that a program knows which ones are fine.
//!
//! Lines and columns count from 1, columns in characters; an end is exclusive.

use serde::Serialize;

use super::{Checked, Counts, Place, each_once, severity};
use crate::base::Span;
use crate::diag::{Diagnostic, Label, Sources};
use crate::report::json::{SCHEMA_VERSION, document};

#[derive(Serialize)]
struct Document<'a> {
    schema_version: u32,
    /// How many there are, each counted once.
    errors: usize,
    warnings: usize,
    playbooks: Vec<Playbook<'a>>,
}

#[derive(Serialize)]
struct Playbook<'a> {
    path: &'a str,
    errors: usize,
    warnings: usize,
    diagnostics: Vec<Entry<'a>>,
}

#[derive(Serialize)]
struct Entry<'a> {
    code: &'a str,
    severity: &'static str,
    message: &'a str,
    /// Null where it is in no text.
    place: Option<Where<'a>>,
    /// What to say at the place; may be empty.
    label: &'a str,
    also: Vec<Also<'a>>,
    help: &'a [String],
    fix: Option<Fix<'a>>,
}

#[derive(Serialize)]
struct Where<'a> {
    file: &'a str,
    line: usize,
    column: usize,
    end_line: usize,
    end_column: usize,
}

#[derive(Serialize)]
struct Also<'a> {
    place: Option<Where<'a>>,
    label: &'a str,
}

#[derive(Serialize)]
struct Fix<'a> {
    title: &'a str,
    place: Option<Where<'a>>,
    replacement: &'a str,
}

pub(super) fn render(checked: &[Checked], sources: &Sources) -> String {
    let counts = Counts::of(each_once(checked));
    document(&Document {
        schema_version: SCHEMA_VERSION,
        errors: counts.errors,
        warnings: counts.warnings,
        playbooks: checked
            .iter()
            .map(|checked| playbook(checked, sources))
            .collect(),
    })
}

fn playbook<'a>(checked: &Checked<'a>, sources: &'a Sources) -> Playbook<'a> {
    let counts = Counts::of(checked.diagnostics);
    let entries = checked.diagnostics.iter();
    Playbook {
        path: checked.name,
        errors: counts.errors,
        warnings: counts.warnings,
        diagnostics: entries.map(|found| entry(found, sources)).collect(),
    }
}

fn entry<'a>(found: &'a Diagnostic, sources: &'a Sources) -> Entry<'a> {
    let also = |label: &'a Label| Also {
        place: place(sources, label.span),
        label: &label.text,
    };
    Entry {
        code: found.code.as_str(),
        severity: severity(found.severity),
        message: &found.message,
        place: found
            .primary
            .as_ref()
            .and_then(|label| place(sources, label.span)),
        label: found.primary.as_ref().map_or("", |label| &label.text),
        also: found.secondary.iter().map(also).collect(),
        help: &found.help,
        fix: found.fix.as_ref().map(|fix| Fix {
            title: &fix.title,
            place: place(sources, fix.span),
            replacement: &fix.replacement,
        }),
    }
}

fn place(sources: &Sources, span: Span) -> Option<Where<'_>> {
    let place = Place::of(sources, span)?;
    Some(Where {
        file: place.file,
        line: place.start.line,
        column: place.start.column,
        end_line: place.end.line,
        end_column: place.end.column,
    })
}
