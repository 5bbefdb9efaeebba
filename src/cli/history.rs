//! `runbook history`: past runs, newest first.

use std::collections::BTreeSet;

use super::args::HistoryArgs;
use super::exit;
use super::output::Output;
use crate::audit::{HistoryEntry, history};
use crate::base::{Format, suggest};
use crate::diag::did_you_mean;
use crate::host::StateDir;
use crate::report::json::{self, HistoryRow};
use crate::report::terminal::{self, Look};

pub(super) fn run(out: &mut Output, args: HistoryArgs) -> u8 {
    let state = match StateDir::locate() {
        Ok(state) => state,
        Err(error) => {
            out.error(&error.to_string(), error.help.as_deref());
            return exit::USAGE;
        }
    };
    let limit = args.limit as usize;
    // Of one playbook, the last few may lie far back.
    let read = args.playbook.is_none().then_some(limit);
    let found = match history(&state, read) {
        Ok(found) => found,
        Err(error) => {
            out.error(&error.to_string(), error.help.as_deref());
            return exit::AUDIT;
        }
    };
    let wanted = |entry: &HistoryEntry| args.playbook.as_ref().is_none_or(|p| *p == entry.playbook);
    let names: BTreeSet<String> = found.runs.iter().map(|r| r.playbook.clone()).collect();
    let runs: Vec<HistoryEntry> = found.runs.into_iter().filter(wanted).take(limit).collect();
    for problem in &found.problems {
        out.error(problem, Some("`runbook audit verify` says more"));
    }
    let rows: Vec<HistoryRow> = runs.iter().map(row).collect();
    match args.format {
        Format::Json => out.data(json::history(&rows)),
        _ if runs.is_empty() => {
            let state = state.path().display();
            match &args.playbook {
                Some(name) if !names.is_empty() => {
                    let near = suggest::nearest(name, names.iter().map(String::as_str));
                    let hint = did_you_mean(near).map(|hint| format!("; {hint}"));
                    let hint = hint.unwrap_or_default();
                    out.note_line(&format!("no run of playbook `{name}` in {state}{hint}"));
                }
                _ => out.note_line(&format!("no run yet in {state}")),
            }
        }
        _ => {
            let look = Look::detect(&std::io::stdout(), out.color);
            out.data(terminal::history(&rows, &look));
        }
    }
    for run in &runs {
        if let Some(problem) = &run.problem {
            out.warn(&format!("run {}: {problem}", run.run));
        }
    }
    if found.problems.is_empty() {
        exit::DONE
    } else {
        exit::AUDIT
    }
}

fn row(run: &HistoryEntry) -> HistoryRow {
    HistoryRow {
        id: run.run.clone(),
        playbook: run.playbook.clone(),
        status: run.status,
        started_at: run.started_at,
        ended_at: run.ended_at,
        duration_ms: run.duration_ms,
        exit_code: run.exit_code,
    }
}
