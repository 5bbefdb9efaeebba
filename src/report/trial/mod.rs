//! What came of tests of playbooks: for people, as JSON, as JUnit.

mod json;
mod junit;
mod text;

use super::{RenderError, clean};
use crate::base::Format;
use crate::diag::{self, Diagnostic, Sources, Style};
use crate::trial::{Coverage, Played};

/// A test file, and what came of it.
#[derive(Debug)]
pub struct Tested {
    /// The file, as people named it.
    pub path: String,
    /// The playbook that it tests; empty where the file is not valid.
    pub playbook: String,
    /// What is wrong with the file or the playbook: then nothing was played.
    pub errors: Vec<Diagnostic>,
    /// The cases that were played.
    pub cases: Vec<Played>,
    /// What they came to; none where not all of the file's cases were played.
    pub coverage: Option<Coverage>,
}

impl Tested {
    /// Its cases that failed.
    pub fn failed(&self) -> usize {
        self.cases.iter().filter(|case| !case.passed()).count()
    }
}

/// A diagnostic with its place. What a case put into it is told without control characters.
fn drawn(diagnostic: &Diagnostic, sources: &Sources, style: Style) -> String {
    let mut diagnostic = diagnostic.clone();
    diagnostic.message = clean::line(&diagnostic.message).into_owned();
    for help in &mut diagnostic.help {
        *help = clean::line(help).into_owned();
    }
    diag::render(&diagnostic, sources, style)
}

/// How much is told, and how.
#[derive(Clone, Copy, Debug)]
pub struct How {
    /// Whether to colour.
    pub color: bool,
    /// Failures and the verdict alone.
    pub quiet: bool,
    /// The steps of cases that passed too.
    pub verbose: bool,
}

/// What came of `files`, in `format`. `how` is for text alone.
///
/// # Errors
/// When tests are not told in this format.
pub fn render(
    format: Format,
    files: &[Tested],
    sources: &Sources,
    how: How,
) -> Result<String, RenderError> {
    Ok(match format.one_of(Format::FOR_TESTS)? {
        Format::Json => json::render(files, sources),
        Format::Junit => junit::render(files, sources)?,
        _ => text::render(files, sources, how),
    })
}
