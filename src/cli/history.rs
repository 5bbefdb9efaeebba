//! `runbook history`: past runs, newest first.

use super::args::HistoryArgs;
use super::exit;
use super::output::Output;
use crate::audit::{HistoryEntry, history};
use crate::base::{Duration, Format};
use crate::host::StateDir;
use crate::report::json::{self, HistoryRow};

pub(super) fn run(out: &mut Output, args: HistoryArgs) -> u8 {
    let state = match StateDir::locate() {
        Ok(state) => state,
        Err(error) => {
            out.error(&error.to_string(), error.help.as_deref());
            return exit::USAGE;
        }
    };
    // Of one playbook, the last few may lie far back.
    let limit = args.playbook.is_none().then_some(args.limit);
    let found = match history(&state, limit) {
        Ok(found) => found,
        Err(error) => {
            out.error(&error.to_string(), error.help.as_deref());
            return exit::AUDIT;
        }
    };
    let wanted = |entry: &HistoryEntry| args.playbook.as_ref().is_none_or(|p| *p == entry.playbook);
    let runs: Vec<HistoryEntry> = found
        .runs
        .into_iter()
        .filter(wanted)
        .take(args.limit)
        .collect();
    for problem in &found.problems {
        out.error(problem, Some("`runbook audit verify` says more"));
    }
    match args.format {
        Format::Json => {
            let rows: Vec<HistoryRow> = runs
                .iter()
                .map(|run| HistoryRow {
                    id: run.run.clone(),
                    playbook: run.playbook.clone(),
                    status: run.status,
                    started_at: run.started_at,
                    ended_at: run.ended_at,
                    exit_code: run.exit_code,
                })
                .collect();
            out.data(json::history(&rows));
        }
        _ if runs.is_empty() => {
            out.note_line(&format!("no run yet in {}", state.path().display()));
        }
        _ => print(out, &runs),
    }
    if found.problems.is_empty() {
        exit::DONE
    } else {
        exit::AUDIT
    }
}

fn print(out: &mut Output, runs: &[HistoryEntry]) {
    let width = runs
        .iter()
        .map(|run| run.playbook.chars().count())
        .max()
        .unwrap_or(0);
    let zone = jiff::tz::TimeZone::system();
    let mut text = String::new();
    for run in runs {
        let started = run
            .started_at
            .to_zoned(zone.clone())
            .strftime("%Y-%m-%d %H:%M:%S");
        let took = run
            .duration_ms
            .map(|ms| short(Duration::from_millis(ms)))
            .unwrap_or_default();
        let code = run
            .exit_code
            .map(|code| format!("exit {code}"))
            .unwrap_or_default();
        let line = format!(
            "{}  {started}  {:width$}  {:11}  {took:>8}  {code:8}  {}",
            run.run, run.playbook, run.status, run.user
        );
        text.push_str(line.trim_end());
        text.push('\n');
        if let Some(problem) = &run.problem {
            text.push_str(&format!("  {problem}\n"));
        }
    }
    out.data(text);
}

/// A duration as a person reads it: milliseconds matter in short ones alone.
fn short(duration: Duration) -> String {
    match duration.as_millis() {
        ms @ 0..1000 => format!("{ms}ms"),
        ms @ 1000..60_000 => format!("{:.1}s", ms as f64 / 1000.0),
        ms => Duration::from_secs(ms / 1000).to_string(),
    }
}
