//! What stands around the steps of a run: who runs what where, and what it came to.

use std::fmt::Write as _;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde_json::{Map, Value};

use super::history::mark;
use super::look::{Ink, Look, Mark};
use super::step;
use super::view::StepView;
use super::wrap::{Pieces, cut};
use crate::base::{RunId, StepPath};
use crate::event::{Finding, Level, RunStatus, Status};
use crate::report::tally::Tally;
use crate::report::{amount, clean};

/// The head of a run.
pub(crate) struct Head<'a> {
    pub run: &'a RunId,
    pub playbook: &'a str,
    pub host: &'a str,
    pub user: &'a str,
    pub started_at: Timestamp,
    pub params: &'a Map<String, Value>,
    pub steps: usize,
}

/// The longest value of a parameter that the head shows, in columns.
const MAX_VALUE: usize = 40;

/// How many parameters the head shows; `runbook status --format json` has all.
const MAX_PARAMS: usize = 12;

/// Writes who runs what where.
pub(crate) fn head(out: &mut String, look: &Look, head: &Head) {
    let _ = write!(out, "{} ", look.paint(Ink::Help, look.symbol("▶", ">")));
    Pieces::new()
        .and(Ink::Strong, clean::line(head.playbook))
        .and(Ink::Plain, " on ")
        .and(Ink::Plain, clean::line(head.host))
        .and(Ink::Plain, " by ")
        .and(Ink::Plain, clean::line(head.user))
        .write(out, look, 2, 2);
    out.push_str("  ");
    let line = format!(
        "run {}, {}, {}",
        head.run,
        amount::plural(head.steps, "step"),
        moment(look, head.started_at)
    );
    Pieces::new().and(Ink::Dim, line).write(out, look, 2, 2);
    if head.params.is_empty() {
        return;
    }
    let shown = head.params.iter().take(MAX_PARAMS).map(|(name, value)| {
        let text = match value {
            Value::String(text) => clean::line(text).into_owned(),
            other => other.to_string(),
        };
        format!("{}={}", clean::line(name), cut(look, &text, MAX_VALUE))
    });
    let mut params = shown.collect::<Vec<_>>().join(", ");
    let more = head.params.len().saturating_sub(MAX_PARAMS);
    if more > 0 {
        let _ = write!(params, ", and {more} more");
    }
    out.push_str("  ");
    Pieces::new()
        .and(Ink::Dim, format!("with {params}"))
        .write(out, look, 2, 4);
}

/// A moment as people read it: in their own time where they sit at the machine.
pub(crate) fn moment(look: &Look, at: Timestamp) -> String {
    if look.local_time {
        let zoned = at.to_zoned(TimeZone::system());
        zoned.strftime("%Y-%m-%d %H:%M:%S %:z").to_string()
    } else {
        at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
    }
}

/// Writes that `finally` steps follow.
pub(crate) fn finally(out: &mut String, look: &Look) {
    let _ = writeln!(out, "  {}", look.paint(Ink::Dim, "finally"));
}

/// A step that needs a person's eye, kept for the summary.
#[derive(Clone, Debug)]
pub(crate) struct Problem {
    path: StepPath,
    status: Status,
    allowed: bool,
    worst: Option<Level>,
    has_logs: bool,
    line: String,
    findings: Vec<Finding>,
}

impl Problem {
    pub(crate) fn of(look: &Look, view: &StepView) -> Self {
        let result = view.result(true);
        let mut line = view.label().into_owned();
        if view.status != Status::Succeeded {
            let mark = Mark::step(look, view.status, view.allowed, view.worst());
            let _ = write!(line, ": {}", mark.word);
        }
        if !result.is_empty() {
            let _ = write!(line, ": {result}");
        }
        Self {
            path: view.path.clone(),
            status: view.status,
            allowed: view.allowed,
            worst: view.worst(),
            has_logs: !view.logs.is_empty(),
            line,
            findings: view.told(false).into_iter().cloned().collect(),
        }
    }
}

/// The end of a run.
pub(crate) struct End<'a> {
    pub run: &'a RunId,
    pub playbook: &'a str,
    pub status: RunStatus,
    pub exit_code: Option<u8>,
    pub duration_ms: Option<u64>,
    pub cancelled_by: Option<&'a str>,
    /// What asks for an approval.
    pub waits_for: &'a [StepPath],
    pub tally: &'a Tally,
    pub problems: &'a [Problem],
    /// Problems that are not among those.
    pub more_problems: usize,
    /// Whether the problems have scrolled away.
    pub repeat: bool,
    /// Verdict and problems only.
    pub quiet: bool,
}

/// Writes what a run came to.
pub(crate) fn end(out: &mut String, look: &Look, end: &End) {
    if !end.quiet {
        out.push('\n');
    }
    verdict(out, look, end);
    if !end.quiet {
        counts(out, look, end);
    }
    advice(out, look, end);
    if end.repeat && !end.problems.is_empty() {
        out.push('\n');
        problems(out, look, end);
    }
    if end.status != RunStatus::Running {
        commands(out, look, end);
    }
}

fn verdict(out: &mut String, look: &Look, end: &End) {
    let tally = end.tally;
    let worse = tally.levels.worse();
    let allowed = tally.main.allowed() + tally.finally.allowed();
    let (mut symbol, mut ink, word) = mark(look, end.status);
    let words = match end.status {
        RunStatus::Running => "is running".to_owned(),
        RunStatus::Succeeded if tally.finally.bad() > 0 => {
            (symbol, ink) = (look.symbol("✗", "x"), Ink::Bad);
            "succeeded, but a finally step did not".to_owned()
        }
        RunStatus::Succeeded if worse > 0 || allowed > 0 => {
            (symbol, ink) = ("!", Ink::Warn);
            let mut with = Vec::new();
            if worse > 0 {
                with.push(format!(
                    "{} worse than ok",
                    amount::plural(worse, "finding")
                ));
            }
            if allowed > 0 {
                with.push(amount::plural(allowed, "allowed failure"));
            }
            format!("succeeded with {}", with.join(" and "))
        }
        RunStatus::Succeeded | RunStatus::Failed | RunStatus::TimedOut => word.to_owned(),
        RunStatus::Cancelled => {
            let by = end
                .cancelled_by
                .map(|by| format!(" by {}", clean::line(by)));
            format!("was cancelled{}", by.unwrap_or_default())
        }
        RunStatus::Unknown => "has an outcome that nobody knows".to_owned(),
        RunStatus::Interrupted => "was interrupted: its engine is gone".to_owned(),
        RunStatus::Waiting => "waits for an approval".to_owned(),
    };
    let mut tail = String::new();
    if let Some(took) = end.duration_ms {
        let _ = write!(tail, " after {}", amount::duration(took));
    }
    if let Some(code) = end.exit_code.filter(|code| *code != 0) {
        let _ = write!(tail, " (exit {code})");
    }
    let _ = write!(out, "{} ", look.paint(ink, symbol));
    Pieces::new()
        .and(Ink::Strong, clean::line(end.playbook))
        .and(Ink::Plain, " ")
        .and(ink, words)
        .and(Ink::Plain, tail)
        .write(out, look, 2, 2);
}

/// What to do where the verdict itself does not say it.
fn advice(out: &mut String, look: &Look, end: &End) {
    let unknown = end
        .problems
        .iter()
        .filter(|problem| problem.status == Status::Unknown);
    let unknown: Vec<String> = unknown.map(|p| format!("`{}`", p.path)).collect();
    let run = end.run;
    if let Some(first) = unknown.first() {
        let text = format!(
            "look whether {} happened, and say it: `runbook resolve {run} {} --as done --reason …`",
            unknown.join(", "),
            first.trim_matches('`'),
        );
        step::help_line(out, look, 2, &text);
    } else if end.status == RunStatus::Interrupted {
        step::help_line(out, look, 2, &format!("go on with `runbook resume {run}`"));
    } else if end.status == RunStatus::Waiting {
        for path in end.waits_for {
            let text = format!("`runbook approve {run} {path}`, then `runbook resume {run}`");
            step::help_line(out, look, 2, &text);
        }
    }
}

fn counts(out: &mut String, look: &Look, end: &End) {
    let mut line = |label: &str, text: String| {
        out.push_str("  ");
        Pieces::new()
            .and(Ink::Dim, format!("{label} "))
            .and(Ink::Plain, text)
            .write(out, look, 2, 4);
    };
    let tally = end.tally;
    // A playbook may have `finally` steps alone.
    if tally.main.total() > 0 {
        line(
            &format!("{}:", amount::plural(tally.main.total(), "step")),
            tally.main.in_words(),
        );
    }
    if tally.finally.total() > 0 {
        line("finally:", tally.finally.in_words());
    }
    if tally.levels.total() > 0 {
        line("findings:", tally.levels.in_words());
    }
}

/// Findings of one step that the summary repeats at most.
const MAX_FINDINGS: usize = 5;

fn problems(out: &mut String, look: &Look, end: &End) {
    for problem in end.problems {
        let mark = Mark::step(look, problem.status, problem.allowed, problem.worst);
        let _ = write!(out, "  {} ", look.paint(mark.ink, mark.symbol));
        Pieces::new()
            .and(Ink::Plain, problem.line.as_str())
            .write(out, look, 4, 6);
        let found: Vec<&Finding> = problem.findings.iter().take(MAX_FINDINGS).collect();
        step::findings(out, look, 6, &found, false);
    }
    if end.more_problems > 0 {
        let text = format!(
            "… and {} more",
            amount::plural(end.more_problems, "problem")
        );
        out.push_str("  ");
        Pieces::new().and(Ink::Dim, text).write(out, look, 2, 2);
    }
}

/// How many steps get a line of their own with the command that shows their logs.
const MAX_LOGS: usize = 5;

fn commands(out: &mut String, look: &Look, end: &End) {
    let wrote = end.problems.iter().filter(|problem| problem.has_logs);
    let mut lines = vec![(format!("runbook status {}", end.run), "all of it")];
    for problem in wrote.take(MAX_LOGS) {
        // Brackets mean something to a shell.
        let quote = if problem.path.item.is_some() { "'" } else { "" };
        lines.push((
            format!("runbook logs {} {quote}{}{quote}", end.run, problem.path),
            "what it wrote",
        ));
    }
    if end.quiet && lines.len() == 1 && end.tally.levels.worse() == 0 {
        return;
    }
    let widest = lines.iter().map(|(command, _)| command.len()).max();
    for (command, what) in &lines {
        let _ = write!(out, "  {}", look.paint(Ink::Help, command));
        let pad = widest.unwrap_or(0) - command.len() + 2;
        if look.columns() >= 2 + command.len() + pad + what.len() {
            let _ = write!(out, "{}{}", " ".repeat(pad), look.paint(Ink::Dim, what));
        }
        out.push('\n');
    }
}
