//! Tests for people: a line a case; of one that failed, every failure with its place, and the steps by
//! the virtual clock.

use std::fmt::Write as _;

use super::{How, Tested, drawn};
use crate::diag::{self, Sources, Style};
use crate::event::{RunState, Status, StepState};
use crate::report::tally::word;
use crate::report::terminal::{Ink, Look, pad, text_width};
use crate::report::{amount, clean};
use crate::trial::{Coverage, Played};

/// So many items of a `foreach` step are told that are well.
const ITEMS: u32 = 10;

/// So many steps and items are told at most.
const ROWS: usize = 200;

/// What was never reached is listed up to this many.
const LIST: usize = 20;

pub(super) fn render(files: &[Tested], sources: &Sources, how: How) -> String {
    let look = Look {
        color: how.color,
        ..Look::PLAIN
    };
    let mut told = Told {
        out: String::new(),
        look,
        how,
    };
    for file in files {
        told.file(file, sources);
    }
    told.closing(files);
    told.out
}

struct Told {
    out: String,
    look: Look,
    how: How,
}

impl Told {
    fn line(&mut self, ink: Ink, text: &str) {
        let _ = writeln!(self.out, "{}", self.look.paint(ink, text));
    }

    fn file(&mut self, file: &Tested, sources: &Sources) {
        let fine = file.errors.is_empty() && file.failed() == 0;
        if self.how.quiet && fine {
            return;
        }
        self.line(Ink::Strong, &clean::line(&file.path));
        for diagnostic in &file.errors {
            self.diagnostic(diagnostic, sources);
        }
        for case in &file.cases {
            if self.how.quiet && case.passed() {
                continue;
            }
            self.case(case, sources);
        }
        if let Some(coverage) = file.coverage.as_ref().filter(|_| !self.how.quiet) {
            self.coverage(coverage);
        }
        self.out.push('\n');
    }

    fn case(&mut self, case: &Played, sources: &Sources) {
        let (ink, mark) = match case.passed() {
            true => (Ink::Good, "✓"),
            false => (Ink::Bad, "✗"),
        };
        let took = amount::duration(case.duration.as_millis());
        let _ = writeln!(
            self.out,
            "{} {}  {}",
            self.look.paint(ink, mark),
            clean::line(&case.name),
            self.look.paint(Ink::Dim, took)
        );
        if !case.passed() {
            self.out.push('\n');
        }
        for failure in &case.failures {
            self.diagnostic(failure, sources);
        }
        if !case.passed() || self.how.verbose {
            if let Some(state) = &case.state {
                self.steps(state);
            }
            if !case.passed() {
                self.out.push('\n');
            }
        }
    }

    fn diagnostic(&mut self, diagnostic: &diag::Diagnostic, sources: &Sources) {
        let style = if self.look.color {
            Style::Colored
        } else {
            Style::Plain
        };
        let text = drawn(diagnostic, sources, style);
        let _ = writeln!(self.out, "{text}\n");
    }

    /// The steps: when each began after the run's begin, how long it took, what came of it. Of many
    /// items that are well, the first stand for all.
    fn steps(&mut self, state: &RunState) {
        let is_told = |step: &&StepState| {
            let first = step.path.item.is_none_or(|item| item < ITEMS);
            first || step.status.is_bad()
        };
        let told: Vec<&StepState> = state.steps.values().filter(is_told).take(ROWS).collect();
        let rows: Vec<[String; 4]> = told.iter().map(|step| row(state, step)).collect();
        let width = |column: usize| {
            { rows.iter() }
                .map(|row| text_width(&row[column]))
                .max()
                .unwrap_or(0)
        };
        let widths = [width(0), width(1), width(2)];
        for (row, step) in rows.iter().zip(&told) {
            self.out.push_str("    ");
            let mut line = String::new();
            for (text, width) in row.iter().zip(widths) {
                pad(&mut line, text, width);
                line.push_str("  ");
            }
            line.push_str(&row[3]);
            self.line(ink(step), line.trim_end());
        }
        let more = state.steps.len() - told.len();
        if more > 0 {
            self.line(Ink::Dim, &format!("    and {} more", amount::count(more)));
        }
    }

    fn coverage(&mut self, coverage: &Coverage) {
        let (steps, branches) = (&coverage.steps, &coverage.branches);
        let ran = steps.iter().filter(|(_, ran)| *ran).count();
        let taken = branches.iter().filter(|(_, taken)| *taken).count();
        let branches_text = match branches.len() {
            0 => String::new(),
            1 => format!(", {taken} of 1 branch"),
            all => format!(", {taken} of {all} branches"),
        };
        let text = format!(
            "coverage {} %: {ran} of {}{branches_text}",
            coverage.percent(),
            amount::plural(steps.len(), "step"),
        );
        self.line(Ink::Dim, &text);
        let unrun = steps
            .iter()
            .filter(|(_, ran)| !ran)
            .map(|(id, _)| format!("{id}: never ran"));
        let untaken = branches
            .iter()
            .filter(|(_, taken)| !taken)
            .map(|(branch, _)| format!("never: {branch}"));
        let missing: Vec<String> = unrun.chain(untaken).collect();
        for line in missing.iter().take(LIST) {
            self.line(Ink::Dim, &format!("    {line}"));
        }
        if missing.len() > LIST {
            self.line(Ink::Dim, &format!("    and {} more", missing.len() - LIST));
        }
    }

    fn closing(&mut self, files: &[Tested]) {
        let all: usize = files.iter().map(|file| file.cases.len()).sum();
        let failed: usize = files.iter().map(Tested::failed).sum();
        let invalid = files.iter().filter(|file| !file.errors.is_empty()).count();
        let mut text = format!("{}: {} passed", amount::plural(all, "test"), all - failed);
        if failed > 0 {
            let _ = write!(text, ", {failed} failed");
        }
        if invalid > 0 {
            let _ = write!(text, ", {} not valid", amount::plural(invalid, "file"));
        }
        let ink = if failed + invalid == 0 {
            Ink::Good
        } else {
            Ink::Bad
        };
        self.line(ink, &text);
    }
}

fn ink(step: &StepState) -> Ink {
    match step.status {
        status if status.is_bad() && !step.allowed => Ink::Bad,
        status if status.is_bad() => Ink::Warn,
        Status::Succeeded => Ink::Plain,
        _ => Ink::Dim,
    }
}

/// When it began, its mark and path, how long it took, what came of it.
fn row(state: &RunState, step: &StepState) -> [String; 4] {
    let began = step.started_at.map(|at| {
        let after = at.duration_since(state.started_at).as_millis();
        format!("+{}", amount::duration(u64::try_from(after).unwrap_or(0)))
    });
    let indent = if step.path.item.is_some() { "  " } else { "" };
    let took = step.duration_ms.map(amount::duration);
    let mut what = word(step.status).to_owned();
    if step.allowed {
        what.push_str(" (allowed)");
    }
    if step.attempts > 1 {
        let _ = write!(what, " ({} attempts)", step.attempts);
    }
    if let Some(why) = step.error.as_deref().or(step.reason.as_deref()) {
        let _ = write!(
            what,
            ": {}",
            clean::line(why.lines().next().unwrap_or_default())
        );
    } else if step.asked.is_some() {
        what.push_str(": waits for an approval");
    }
    if let Some(undo) = &step.undo {
        let _ = write!(what, "; taking it back: {}", word(undo.status));
    }
    [
        began.unwrap_or_default(),
        format!("{indent}{}", step.path),
        took.unwrap_or_default(),
        what,
    ]
}
