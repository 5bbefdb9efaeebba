//! The runs of a state folder, one a line.

use std::fmt::Write as _;

use super::frame::moment;
use super::look::{Ink, Look};
use super::wrap::{cut, pad, width};
use crate::event::RunStatus;
use crate::report::json::HistoryRow;
use crate::report::{amount, clean};

/// The widest that the column of playbooks becomes.
const MAX_NAME: usize = 32;

/// The columns of the longest word for a status (`interrupted`).
const STATUS: usize = 11;

/// `rows` as lines, in the order in which they are given; for `runbook history`.
pub fn history(rows: &[HistoryRow], look: &Look) -> String {
    if rows.is_empty() {
        return "no runs\n".to_owned();
    }
    let names: Vec<String> = rows
        .iter()
        .map(|row| cut(look, &clean::line(&row.playbook), MAX_NAME).into_owned())
        .collect();
    let widest = names.iter().map(|name| width(name)).max().unwrap_or(0);
    let mut out = String::new();
    for (row, name) in rows.iter().zip(&names) {
        let (symbol, ink, word) = mark(look, row.status);
        let mut playbook = String::new();
        pad(&mut playbook, name, widest);
        let took = row.duration_ms.map(amount::duration);
        let _ = write!(
            out,
            "{} {}  {}  {}  {}  {:>6}",
            look.paint(ink, symbol),
            row.id,
            look.paint(Ink::Strong, playbook),
            look.paint(ink, format_args!("{word:<STATUS$}")),
            look.paint(Ink::Dim, moment(look, row.started_at)),
            took.unwrap_or_default(),
        );
        if let Some(code) = row.exit_code.filter(|code| *code != 0) {
            let _ = write!(out, "  exit {code}");
        }
        out.truncate(out.trim_end_matches(' ').len());
        out.push('\n');
    }
    out
}

/// How the status of a run is marked: symbol, ink, word.
pub(super) fn mark(look: &Look, status: RunStatus) -> (&'static str, Ink, &'static str) {
    let cross = look.symbol("✗", "x");
    match status {
        RunStatus::Running => (look.symbol("▸", ">"), Ink::Help, "running"),
        RunStatus::Succeeded => (look.symbol("✓", "+"), Ink::Good, "succeeded"),
        RunStatus::Failed => (cross, Ink::Bad, "failed"),
        RunStatus::TimedOut => (cross, Ink::Bad, "timed out"),
        RunStatus::Cancelled => (look.symbol("⊘", "x"), Ink::Warn, "cancelled"),
        RunStatus::Unknown => ("?", Ink::Unknown, "unknown"),
        RunStatus::Interrupted => ("?", Ink::Unknown, "interrupted"),
        RunStatus::Waiting => (look.symbol("⏸", "="), Ink::Warn, "waiting"),
    }
}
