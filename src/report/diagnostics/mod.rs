//! What `validate` says, in every format that it takes: for people, for programs, for CI servers.
//!
//! Playbooks share a project file: what is wrong with it is found with each of them, and told once
//! where the format is a list of findings.

mod github;
mod json;
mod junit;
mod sarif;
#[cfg(test)]
mod tests;

use std::collections::HashSet;

use super::{RenderError, amount};
use crate::base::{Format, Span};
use crate::diag::{self, Diagnostic, Position, Severity, Sources, Style};

/// A playbook that was checked, and what was found.
#[derive(Clone, Copy, Debug)]
pub struct Checked<'a> {
    /// The file, as people named it.
    pub name: &'a str,
    /// Whether it holds tests of a playbook; else it is one.
    pub is_test: bool,
    /// What was found in it and in what it uses, in the order in which it is told.
    pub diagnostics: &'a [Diagnostic],
}

/// What was found, in `format`. `style` is for text alone.
///
/// # Errors
/// When diagnostics are not told in this format; see [`Format::FOR_DIAGNOSTICS`].
pub fn render(
    format: Format,
    checked: &[Checked],
    sources: &Sources,
    style: Style,
) -> Result<String, RenderError> {
    Ok(match format.one_of(Format::FOR_DIAGNOSTICS)? {
        Format::Json => json::render(checked, sources),
        Format::Junit => junit::render(checked, sources)?,
        Format::Sarif => sarif::render(checked, sources),
        Format::Github => github::render(checked, sources),
        _ => text(checked, sources, style),
    })
}

/// For people: each diagnostic with the lines that it is about, and a closing line that counts them.
fn text(checked: &[Checked], sources: &Sources, style: Style) -> String {
    let mut out = String::new();
    for diagnostic in each_once(checked) {
        out.push_str(&diag::render(diagnostic, sources, style));
        out.push_str("\n\n");
    }
    out.push_str(&closing(checked));
    out.push('\n');
    out
}

/// `2 errors, 1 warning in 3 playbooks`.
fn closing(checked: &[Checked]) -> String {
    let tests = checked.iter().filter(|checked| checked.is_test).count();
    let files = amount::plural(tests, "test file");
    let playbooks = amount::plural(checked.len() - tests, "playbook");
    let playbooks = match checked.len() - tests {
        _ if tests == 0 => playbooks,
        0 => files,
        _ => format!("{playbooks} and {files}"),
    };
    let counts = Counts::of(each_once(checked));
    if counts.errors + counts.warnings == 0 {
        let are = if checked.len() == 1 { "is" } else { "are" };
        return format!("{playbooks} {are} valid");
    }
    format!("{} in {playbooks}", counts.in_words())
}

/// How many there are of which severity.
#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    errors: usize,
    warnings: usize,
}

impl Counts {
    fn of<'a>(diagnostics: impl IntoIterator<Item = &'a Diagnostic>) -> Self {
        let mut counts = Self::default();
        for diagnostic in diagnostics {
            match diagnostic.severity {
                Severity::Error => counts.errors += 1,
                Severity::Warning => counts.warnings += 1,
            }
        }
        counts
    }

    fn in_words(self) -> String {
        let mut parts = Vec::new();
        if self.errors > 0 {
            parts.push(amount::plural(self.errors, "error"));
        }
        if self.warnings > 0 {
            parts.push(amount::plural(self.warnings, "warning"));
        }
        parts.join(", ")
    }
}

/// All diagnostics, those that several playbooks have in common once.
fn each_once<'a>(checked: &'a [Checked<'a>]) -> impl Iterator<Item = &'a Diagnostic> {
    let mut seen = HashSet::new();
    let all = checked.iter().flat_map(|checked| checked.diagnostics);
    all.filter(move |diagnostic| {
        let place = diagnostic.primary.as_ref().map(|label| label.span);
        // Without a place, it is about the playbook that it was found with.
        place.is_none() || seen.insert((diagnostic.code, place, diagnostic.message.as_str()))
    })
}

/// The word for a severity that JSON, SARIF and JUnit share.
fn severity(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// Where a span begins and ends: file, and places as people count them.
struct Place<'a> {
    file: &'a str,
    start: Position,
    end: Position,
}

impl<'a> Place<'a> {
    fn of(sources: &'a Sources, span: Span) -> Option<Self> {
        let source = sources.get(span.source)?;
        Some(Self {
            file: &source.name,
            start: source.position(span.start),
            end: source.position(span.end),
        })
    }
}

/// The message with what the primary label and the help lines add, one a line.
fn whole_message(diagnostic: &Diagnostic) -> String {
    let mut lines = vec![diagnostic.message.clone()];
    if let Some(label) = &diagnostic.primary
        && !label.text.is_empty()
    {
        lines.push(label.text.clone());
    }
    lines.extend(diagnostic.help.iter().map(|help| format!("help: {help}")));
    if let Some(fix) = &diagnostic.fix {
        lines.push(format!("help: {}", fix.title));
    }
    lines.join("\n")
}
