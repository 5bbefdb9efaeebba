//! A run as a maintenance record: people read it, a ticket quotes it, an auditor checks it against the
//! journal.
//!
//! The order is that of a reader in a hurry: who did what where and how it went, what is wrong (worst
//! first), every step, and only then the details.

mod detail;
mod outputs;
mod table;
#[cfg(test)]
mod tests;
mod text;

use std::fmt::Write as _;

use serde_json::Value;

use self::table::{Align, Table};
use self::text::{cell, code, inline};
use super::tally::{Tally, is_allowed, is_told_by_items, repeats_items, word};
use super::{amount, brief};
use crate::event::{Finding, Level, RunState, RunStatus, Section, Status, StepState};

/// Findings in the summary that a record has room for.
const MAX_FINDINGS: usize = 100;

/// The record of `state`.
pub fn render(state: &RunState) -> String {
    let tally = Tally::of(state);
    let mut out = format!(
        "# {}: {}\n\n",
        inline(&state.playbook.name),
        verdict(state, &tally)
    );
    if let Some(description) = &state.playbook.description {
        let _ = writeln!(out, "{}\n", inline(description));
    }
    facts(&mut out, state, &tally);
    wrong(&mut out, state);
    findings(&mut out, state, &tally);
    steps(&mut out, state);
    let mut worth = state
        .whole_steps()
        .filter(|step| detail::is_worth_it(step))
        .peekable();
    if worth.peek().is_some() {
        out.push_str("## Details\n\n");
        worth.for_each(|step| detail::write(&mut out, state, step));
    }
    audit(&mut out, state);
    out
}

fn verdict(state: &RunState, tally: &Tally) -> String {
    match state.status {
        RunStatus::Succeeded if tally.finally.bad() > 0 => {
            "succeeded, but a finally step did not".to_owned()
        }
        RunStatus::Succeeded if tally.main.allowed() > 0 => {
            "succeeded with allowed failures".to_owned()
        }
        RunStatus::Succeeded if tally.levels.worse() > 0 => "succeeded with findings".to_owned(),
        RunStatus::TimedOut => "timed out".to_owned(),
        RunStatus::Unknown => "outcome unknown".to_owned(),
        status => status.as_str().to_owned(),
    }
}

/// A status as a symbol and a word.
fn status_in_words(status: Status, allowed: bool) -> String {
    let symbol = match status {
        Status::Succeeded => "✓",
        Status::Failed | Status::TimedOut => "✗",
        Status::Unknown => "?",
        Status::Skipped | Status::Pending => "–",
        Status::Cancelled => "⊘",
        Status::Running => "▸",
    };
    let allowed = if allowed && status.is_bad() {
        " (allowed)"
    } else {
        ""
    };
    format!("{symbol} {}{allowed}", word(status))
}

/// A level as a symbol and a word.
fn level_in_words(level: Level) -> String {
    let symbol = match level {
        Level::Ok => "✓",
        Level::Warning => "!",
        Level::Unknown => "?",
        Level::Critical => "✗",
    };
    format!("{symbol} {level}")
}

fn facts(out: &mut String, state: &RunState, tally: &Tally) {
    let moment = |at: jiff::Timestamp| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let mut table = Table::new(&["Fact", "Value"]);
    let mut fact = |name: &str, value: String| {
        if !value.is_empty() {
            table.row([name.to_owned(), value]);
        }
    };
    let playbook = &state.playbook;
    fact(
        "Playbook",
        format!("{}, {}", inline(&playbook.name), code(&playbook.path)),
    );
    fact("Labels", pairs(&playbook.labels));
    fact("Parameters", pairs(&state.params));
    fact("Run", code(state.run.as_str()));
    fact("Host", inline(&state.host));
    fact("User", inline(&state.user));
    fact("Started", moment(state.started_at));
    fact("Ended", state.ended_at.map(moment).unwrap_or_default());
    fact(
        "Duration",
        state.duration_ms.map(amount::duration).unwrap_or_default(),
    );
    let code = state.exit_code.map(|code| format!(" (exit {code})"));
    let verdict = format!("**{}**{}", verdict(state, tally), code.unwrap_or_default());
    fact("Verdict", verdict);
    let by = state.cancelled_by.as_deref().map(inline);
    fact("Told to end by", by.unwrap_or_default());
    fact("Steps", tally.main.in_words());
    fact("Finally", tally.finally.in_words());
    fact("Findings", tally.levels.in_words());
    table.write(out);
}

fn pairs(map: &serde_json::Map<String, Value>) -> String {
    let pairs = map.iter().map(|(key, value)| {
        let text = value
            .as_str()
            .map_or_else(|| value.to_string(), str::to_owned);
        code(&format!("{key}={text}"))
    });
    pairs.collect::<Vec<_>>().join(", ")
}

/// The steps that did not do what they say. The items of a `foreach` step stand for it.
fn wrong(out: &mut String, state: &RunState) {
    let mut table = Table::new(&["Step", "Status", "What went wrong", "What to do"]);
    let mut more = 0;
    for step in state.steps.values() {
        if !step.status.is_bad() || is_told_by_items(state, step) {
            continue;
        }
        if table.rows() >= MAX_FINDINGS {
            more += 1;
            continue;
        }
        let why = step.error.as_deref().or(step.reason.as_deref());
        table.row([
            code(&step.path.to_string()),
            status_in_words(step.status, is_allowed(state, step)),
            why.map(cell).unwrap_or_default(),
            step.help.as_deref().map(cell).unwrap_or_default(),
        ]);
    }
    if !table.is_empty() {
        out.push_str("## What went wrong\n\n");
        table.write(out);
        note_more(out, more, "step", state);
    }
}

fn note_more(out: &mut String, more: usize, noun: &str, state: &RunState) {
    if more > 0 {
        let whole = format!("runbook status {} --format json", state.run);
        let _ = writeln!(
            out,
            "… {}: {}\n",
            amount::plural(more, &format!("more {noun}")),
            code(&whole)
        );
    }
}

/// Findings worse than ok, worst first.
fn findings(out: &mut String, state: &RunState, tally: &Tally) {
    if tally.levels.total() == 0 {
        return;
    }
    let mut worse: Vec<(&StepState, &Finding)> = state
        .steps
        .values()
        .filter(|step| !repeats_items(step))
        .flat_map(|step| step.findings.iter().map(move |finding| (step, finding)))
        .filter(|(_, finding)| finding.level > Level::Ok)
        .collect();
    worse.sort_by_key(|(_, finding)| std::cmp::Reverse(finding.level));
    out.push_str("## Findings\n\n");
    let mut table = Table::new(&["Level", "Step", "Subject", "Finding", "What to do"]);
    for (step, finding) in worse.iter().take(MAX_FINDINGS) {
        table.row([
            level_in_words(finding.level),
            code(&step.path.to_string()),
            inline(&finding.subject),
            cell(&finding.message),
            finding.help.as_deref().map(cell).unwrap_or_default(),
        ]);
    }
    table.write(out);
    note_more(
        out,
        worse.len().saturating_sub(MAX_FINDINGS),
        "finding",
        state,
    );
    let ok = tally.levels.count(Level::Ok);
    if ok > 0 {
        let more = if worse.is_empty() { "" } else { " more" };
        let is = if ok == 1 { "is" } else { "are" };
        let _ = writeln!(out, "{}{more} {is} ok.\n", amount::count(ok));
    }
}

/// Every step on a line.
fn steps(out: &mut String, state: &RunState) {
    out.push_str("## Steps\n\n");
    let column = |name: &str, align| (name.to_owned(), align);
    let mut table = Table::aligned(vec![
        column("Step", Align::Left),
        column("Name", Align::Left),
        column("Status", Align::Left),
        column("Result", Align::Left),
        column("Duration", Align::Right),
    ]);
    for step in state.whole_steps() {
        let mut id = code(step.path.step.as_str());
        if step.section == Section::Finally {
            id.push_str(" (finally)");
        }
        table.row([
            id,
            step.name.as_deref().map(inline).unwrap_or_default(),
            status_in_words(step.status, step.allowed),
            result(state, step),
            step.duration_ms.map(amount::duration).unwrap_or_default(),
        ]);
    }
    table.write(out);
}

fn result(state: &RunState, step: &StepState) -> String {
    let mut parts = Vec::new();
    if step.changed {
        parts.push("changed".to_owned());
    }
    if repeats_items(step) {
        parts.push(inline(&Tally::items(state, step).in_words()));
    } else if !step.findings.is_empty() {
        parts.push(super::tally::Levels::of(&step.findings).in_words());
    }
    let why = step.error.as_deref().or(step.reason.as_deref());
    match why.and_then(|why| why.lines().next()) {
        Some(first) => parts.push(inline(first)),
        None if parts.is_empty() || step.changed && parts.len() == 1 => {
            let put_out = brief::brief(&step.outputs);
            if !put_out.is_empty() {
                parts.push(inline(&put_out));
            }
        }
        None => {}
    }
    parts.join("; ")
}

/// Where the proof of all this is.
fn audit(out: &mut String, state: &RunState) {
    out.push_str("## Audit\n\n");
    let mut table = Table::new(&["What", "Value"]);
    table.row(["Run".to_owned(), code(state.run.as_str())]);
    table.row([
        "Engine".to_owned(),
        inline(&format!("runbook {}", state.engine)),
    ]);
    table.row([
        "SHA-256 of the playbook".to_owned(),
        code(&state.playbook.sha256),
    ]);
    if let Some(project) = &state.playbook.project_sha256 {
        table.row(["SHA-256 of the project file".to_owned(), code(project)]);
    }
    table.write(out);
    let _ = writeln!(
        out,
        "The journal of this run proves it: {}.",
        code(&format!("runbook audit verify {}", state.run))
    );
}
