//! The details of one step: what it found, put out, tried, and wrote.

use std::fmt::Write as _;

use super::outputs;
use super::table::Table;
use super::text::{cell, code, inline};
use super::{level_in_words, status_in_words};
use crate::base::StepPath;
use crate::event::{Finding, Level, RunState, StepState};
use crate::report::tally::{self, repeats_items};
use crate::report::{amount, brief};

/// Findings of one step that a record has room for.
const MAX_FINDINGS: usize = 50;

/// Items of one step that a record has room for.
const MAX_ITEMS: usize = 50;

/// Whether there is more to tell of a step than its row in the table of steps.
pub(super) fn is_worth_it(step: &StepState) -> bool {
    !step.findings.is_empty()
        || step.error.is_some()
        || step.help.is_some()
        || step.items.is_some()
        || !step.failed_attempts.is_empty()
        || step.logs.iter().any(|log| log.bytes > 0)
        || (!step.outputs.is_null() && step.outputs != serde_json::json!({}))
}

/// Appends a step, and for a `foreach` step its items.
pub(super) fn write(out: &mut String, state: &RunState, step: &StepState) {
    let name = step.name.as_deref().map(inline);
    let _ = writeln!(
        out,
        "### {}{}\n",
        code(step.path.step.as_str()),
        name.map_or_else(String::new, |name| format!(" {name}"))
    );
    let mut line = format!(
        "{}, {}",
        code(&step.ty),
        status_in_words(step.status, step.allowed)
    );
    if let Some(took) = step.duration_ms {
        let _ = write!(line, " after {}", amount::duration(took));
    }
    if step.attempts > 1 {
        let _ = write!(line, ", {} attempts", step.attempts);
    }
    if let Some(effect) = step.effect {
        let changed = match tally::changed(state, step) {
            Some(true) => "changed something",
            Some(false) => "changed nothing",
            None => "may have changed something",
        };
        let _ = write!(line, "; effect `{effect}`, {changed}");
    }
    let _ = writeln!(out, "{line}.\n");
    if let Some(reason) = &step.reason {
        let _ = writeln!(out, "Why: {}\n", inline(reason));
    }
    if let Some(undo) = &step.undo {
        let told = match &undo.error {
            None => format!("its `undo` {}", undo.status),
            Some(error) => format!("its `undo` {}: {}", undo.status, inline(error)),
        };
        let _ = writeln!(out, "Taken back: {told}\n");
    }
    error(out, state, step);
    if !repeats_items(step) {
        findings(out, state, &step.findings);
        outputs::write(out, &step.outputs, &status(state));
    }
    attempts(out, step);
    items(out, state, step);
    logs(out, state, step);
}

fn status(state: &RunState) -> String {
    format!("runbook status {} --format json", state.run)
}

fn error(out: &mut String, state: &RunState, step: &StepState) {
    if let Some(error) = &step.error {
        out.push_str("What went wrong:\n\n");
        outputs::block(out, error, &status(state));
    }
    if let Some(help) = &step.help {
        let _ = writeln!(out, "What to do: {}\n", inline(help));
    }
}

fn findings(out: &mut String, state: &RunState, findings: &[Finding]) {
    let mut sorted: Vec<&Finding> = findings.iter().collect();
    sorted.sort_by_key(|finding| std::cmp::Reverse(finding.level));
    let mut table = Table::new(&["Level", "Subject", "Finding", "What to do"]);
    for finding in sorted.iter().take(MAX_FINDINGS) {
        table.row([
            level_in_words(finding.level),
            inline(&finding.subject),
            cell(&finding.message),
            finding.help.as_deref().map(cell).unwrap_or_default(),
        ]);
    }
    table.write(out);
    let more = sorted.len().saturating_sub(MAX_FINDINGS);
    if more > 0 {
        let _ = writeln!(
            out,
            "… {}: {}\n",
            amount::plural(more, "more finding"),
            code(&status(state))
        );
    }
}

fn attempts(out: &mut String, step: &StepState) {
    let mut table = Table::new(&["Attempt", "What went wrong", "Waited"]);
    for failed in &step.failed_attempts {
        table.row([
            failed.attempt.to_string(),
            cell(&failed.error),
            amount::duration(failed.delay_ms),
        ]);
    }
    table.write(out);
}

/// The items with problems first: a record must not hide them behind ten thousand others.
fn items(out: &mut String, state: &RunState, step: &StepState) {
    let Some(number) = step.items else { return };
    let paths = (0..number).map(|index| StepPath::item(step.path.step.clone(), index));
    let items: Vec<&StepState> = paths.filter_map(|path| state.steps.get(&path)).collect();
    let is_problem =
        |item: &StepState| item.status.is_bad() || item.worst().is_some_and(|l| l > Level::Ok);
    let (bad, good): (Vec<&StepState>, Vec<&StepState>) =
        items.iter().partition(|item| is_problem(item));
    let mut table = Table::new(&["Item", "Status", "Result", "Duration"]);
    for item in bad.iter().chain(&good).take(MAX_ITEMS) {
        table.row([
            item_title(item),
            status_in_words(item.status, item.allowed || step.allowed),
            item_result(item),
            item.duration_ms.map(amount::duration).unwrap_or_default(),
        ]);
    }
    table.write(out);
    let more = items.len().saturating_sub(MAX_ITEMS);
    if more > 0 {
        let _ = writeln!(
            out,
            "… {}: {}\n",
            amount::plural(more, "more item"),
            code(&format!("runbook status {} -v", state.run))
        );
    }
}

fn item_title(item: &StepState) -> String {
    let index = item.path.item.unwrap_or_default();
    let what = brief::item(&item.item).unwrap_or_default();
    format!("\\[{index}\\] {}", inline(&what))
        .trim_end()
        .to_owned()
}

/// What an item came to, in one cell.
fn item_result(item: &StepState) -> String {
    let mut parts: Vec<String> = Vec::new();
    parts.extend(item.error.as_deref().map(cell));
    parts.extend(item.reason.as_deref().map(cell));
    let worse = item.findings.iter().filter(|f| f.level > Level::Ok);
    parts.extend(worse.map(|finding| {
        format!(
            "{}: {}: {}",
            level_in_words(finding.level),
            inline(&finding.subject),
            cell(&finding.message)
        )
    }));
    if parts.is_empty() {
        parts.push(inline(&brief::brief(&item.outputs)));
    }
    parts.extend(item.help.as_deref().map(cell));
    parts.join("<br>")
}

/// Names of logs, and how to read them: the record holds no output twice.
fn logs(out: &mut String, state: &RunState, step: &StepState) {
    let mut table = Table::new(&["Log", "Bytes", "SHA-256"]);
    for log in step.logs.iter().filter(|log| log.bytes > 0) {
        table.row([code(&log.file), amount::count(log.bytes), code(&log.sha256)]);
    }
    if !table.is_empty() {
        table.write(out);
        let command = format!("runbook logs {} {}", state.run, step.path);
        let _ = writeln!(out, "Read with {}.\n", code(&command));
    }
}
