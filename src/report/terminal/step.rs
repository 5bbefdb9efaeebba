//! The lines of one step.

use std::fmt::Write as _;

use super::look::{Ink, Look, Mark};
use super::view::StepView;
use super::wrap::{Pieces, blanks, pad, width};
use crate::base::StepPath;
use crate::event::{Finding, Status};
use crate::report::{amount, clean};

/// The columns of the lines of a run's steps.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Columns {
    /// The widest id.
    id: usize,
}

/// The widest that the column of ids becomes; longer ones push their line to the right.
const MAX_ID: usize = 24;

/// The columns that a duration takes.
const DURATION: usize = 6;

/// Where a text column would be narrower than this, lines go on at a small indent instead.
const MIN_TEXT: usize = 30;

/// How many lines of an error are told; the rest is in the logs.
const MAX_ERROR_LINES: usize = 12;

/// How many findings of a step are told, without `-v`.
const MAX_FINDINGS: usize = 20;

impl Columns {
    /// For steps with these ids.
    pub(crate) fn of<'a>(look: &Look, ids: impl Iterator<Item = &'a str>) -> Self {
        Self::wide(look, ids.map(str::len).max().unwrap_or(0))
    }

    /// For the items of a step, counted from 0 to below `items`.
    pub(crate) fn of_items(look: &Look, id: &str, items: usize) -> Self {
        let digits = items.saturating_sub(1).to_string().len();
        Self::wide(look, id.len() + digits + 2)
    }

    fn wide(look: &Look, id: usize) -> Self {
        Self {
            id: id.min(MAX_ID).min(look.columns() / 3),
        }
    }

    /// `id`, and blanks up to the next column.
    pub(crate) fn pad(self, id: &str) -> String {
        let mut out = String::with_capacity(self.id.max(id.len()));
        pad(&mut out, id, self.id);
        out
    }

    /// Writes symbol and id. Returns the column at which the text of a step starts, behind its
    /// duration, and the one at which it goes on below.
    fn start(
        self,
        out: &mut String,
        look: &Look,
        indent: usize,
        mark: Mark,
        id: &str,
    ) -> (usize, usize) {
        blanks(out, indent);
        let padded = self.pad(id);
        let ink = if mark.ink == Ink::Dim {
            Ink::Dim
        } else {
            Ink::Strong
        };
        let _ = write!(
            out,
            "{} {}",
            look.paint(mark.ink, mark.symbol),
            look.paint(ink, &padded)
        );
        let text = indent + 2 + self.id + 1 + DURATION + 2;
        let pushed = text + width(&padded) - self.id;
        if look.columns() < text + MIN_TEXT {
            (pushed, indent + 4)
        } else {
            (pushed, text)
        }
    }
}

/// Writes a step: its line, and below it what it found and what to do. Items stand two columns in.
/// `all` tells findings that are ok too.
pub(crate) fn write(out: &mut String, look: &Look, columns: Columns, view: &StepView, all: bool) {
    let indent = if view.path.item.is_some() { 2 } else { 0 };
    let mark = Mark::step(look, view.status, view.allowed, view.worst());
    let (at, below) = columns.start(out, look, indent, mark, &view.label());
    match view.duration_ms.filter(|_| view.status != Status::Skipped) {
        Some(took) => {
            let took = format!("{:>DURATION$}", amount::duration(took));
            let _ = write!(out, " {}  ", look.paint(Ink::Dim, took));
        }
        None => blanks(out, DURATION + 3),
    }
    view.sentence(mark, all).write(out, look, at, below);
    if let Some(error) = view.error {
        error_rest(out, look, error, indent + 4);
    }
    let told = view.told(all);
    let shown = if all {
        told.len()
    } else {
        told.len().min(MAX_FINDINGS)
    };
    findings(out, look, indent + 4, &told[..shown], true);
    if shown < told.len() {
        let more = amount::plural(told.len() - shown, "more finding");
        blanks(out, indent + 4);
        let _ = writeln!(out, "{}", look.paint(Ink::Dim, format_args!("… {more}")));
    }
    if let Some(help) = view.help {
        help_line(out, look, indent + 4, help);
    }
}

/// Writes that an attempt failed and another will follow.
pub(crate) fn retry(
    out: &mut String,
    look: &Look,
    columns: Columns,
    id: &str,
    indent: usize,
    (attempt, error, delay_ms): (u32, &str, u64),
) {
    let mark = Mark {
        symbol: look.symbol("↻", "~"),
        ink: Ink::Warn,
        word: "retry",
    };
    let (at, below) = columns.start(out, look, indent, mark, id);
    blanks(out, DURATION + 3);
    let first = error.lines().next().unwrap_or_default();
    Pieces::new()
        .and(Ink::Warn, format!("attempt {attempt} failed"))
        .and(Ink::Plain, format!(": {}", clean::line(first)))
        .and(
            Ink::Dim,
            format!("; again in {}", amount::duration(delay_ms)),
        )
        .write(out, look, at, below);
}

/// The lines of an error after the first.
fn error_rest(out: &mut String, look: &Look, error: &str, indent: usize) {
    let rest = error.lines().skip(1);
    let mut lines = rest.filter(|line| !line.trim().is_empty());
    for line in lines.by_ref().take(MAX_ERROR_LINES) {
        blanks(out, indent);
        Pieces::new()
            .and(Ink::Plain, clean::block(line))
            .write(out, look, indent, indent + 2);
    }
    let more = lines.count();
    if more > 0 {
        blanks(out, indent);
        let text = format!("… {}", amount::plural(more, "more line"));
        let _ = writeln!(out, "{}", look.paint(Ink::Dim, text));
    }
}

/// The widest that the column of subjects becomes.
const MAX_SUBJECT: usize = 28;

/// The columns of a symbol, the longest word for a level, and a blank.
const LEVEL: usize = 11;

/// Writes findings, one a line, their subjects aligned; with what to do, where `help` is wanted.
pub(crate) fn findings(
    out: &mut String,
    look: &Look,
    indent: usize,
    told: &[&Finding],
    help: bool,
) {
    let subjects = told
        .iter()
        .map(|finding| width(&clean::line(&finding.subject)));
    let widest = subjects.max().unwrap_or(0).min(MAX_SUBJECT);
    for finding in told {
        let mark = Mark::level(look, finding.level);
        blanks(out, indent);
        let word = format!("{} {}", mark.symbol, mark.word);
        let _ = write!(out, "{}", look.paint(mark.ink, &word));
        blanks(out, LEVEL - width(&word));
        let subject = clean::line(&finding.subject);
        let message = clean::line(&finding.message);
        let start = indent + LEVEL + widest + 2;
        let mut text = Pieces::new();
        let (at, below) = if look.columns() < start + MIN_TEXT {
            text.push(Ink::Strong, subject);
            text.push(Ink::Plain, "  ");
            (indent + LEVEL, indent + 4)
        } else {
            let mut padded = String::new();
            pad(&mut padded, &subject, widest);
            let _ = write!(out, "{}  ", look.paint(Ink::Strong, &padded));
            (start + width(&padded) - widest, start)
        };
        text.and(Ink::Plain, message).write(out, look, at, below);
        if let Some(cure) = finding.help.as_deref().filter(|_| help) {
            help_line(out, look, below.min(indent + LEVEL), cure);
        }
    }
}

/// Writes what to do.
pub(crate) fn help_line(out: &mut String, look: &Look, indent: usize, help: &str) {
    blanks(out, indent);
    Pieces::new()
        .and(Ink::Help, "help: ")
        .and(Ink::Plain, clean::line(help))
        .write(out, look, indent, indent + 6);
}

/// A step that was taken back, or could not be.
pub(super) fn undone(
    out: &mut String,
    look: &Look,
    path: &StepPath,
    (status, error): (Status, Option<&str>),
) {
    let done = status == Status::Succeeded;
    let (symbol, ink) = match done {
        true => (look.symbol("↩", "<"), Ink::Warn),
        false => (look.symbol("✗", "x"), Ink::Bad),
    };
    let mut text = Pieces::new();
    text.push(Ink::Plain, format!("{path} "));
    if done {
        text.push(ink, "was taken back by its `undo`");
    } else {
        let error = clean::line(error.unwrap_or("it did not end"));
        text.push(ink, format!("could not be taken back ({status}): {error}"));
    }
    let _ = write!(out, "{} ", look.paint(ink, symbol));
    text.write(out, look, 2, 2);
}
