//! The runs of a state folder, newest first, from the ledger alone where it knows enough.

use super::index::{LedgerRun, Newest};
use super::read::load;
use crate::base::RunId;
use crate::event::RunStatus;
use crate::host::{HostError, StateDir, run_folder};

/// A run in the history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HistoryEntry {
    /// Its id.
    pub run: RunId,
    /// Its playbook's name.
    pub playbook: String,
    /// Who ran it.
    pub user: String,
    /// On which machine.
    pub host: String,
    /// How it stands or ended. `unknown` where not even that can be told: see `problem`.
    pub status: RunStatus,
    /// When it started; wall time.
    pub started_at: jiff::Timestamp,
    /// When it ended; wall time.
    pub ended_at: Option<jiff::Timestamp>,
    /// How long it took, in milliseconds.
    pub duration_ms: Option<u64>,
    /// The exit status of its engine.
    pub exit_code: Option<u8>,
    /// Why this may not be the whole truth: its journal cannot be read.
    pub problem: Option<String>,
}

/// The runs of a state folder.
#[derive(Clone, Debug, Default)]
pub struct History {
    /// The runs, those that started last first.
    pub runs: Vec<HistoryEntry>,
    /// What is wrong with the part of the ledger that was read; it hides no other run.
    pub problems: Vec<String>,
}

/// The last `limit` runs, or all. A run that has not ended is running if anything of it lives, else
/// interrupted, unless its journal knows of its end.
///
/// # Errors
/// When the ledger cannot be read at all. A run that cannot be read is in the list, with its
/// problem.
pub fn history(state: &StateDir, limit: Option<usize>) -> Result<History, HostError> {
    let mut history = History::default();
    let mut newest = Newest::of(state)?;
    while limit.is_none_or(|limit| history.runs.len() < limit) {
        let Some(run) = newest.next_run()? else { break };
        history.runs.push(entry(state, run));
    }
    history.problems = newest.problems().to_vec();
    Ok(history)
}

fn entry(state: &StateDir, run: LedgerRun) -> HistoryEntry {
    let seals = run.seals();
    let mut entry = HistoryEntry {
        run: run.start.run,
        playbook: run.start.playbook,
        user: run.start.user,
        host: run.start.host,
        status: RunStatus::Running,
        started_at: run.started_at,
        ended_at: None,
        duration_ms: None,
        exit_code: None,
        problem: None,
    };
    if let Some(end) = run.end {
        entry.status = end.status;
        entry.ended_at = Some(end.ended_at);
        entry.duration_ms = Some(end.duration_ms);
        entry.exit_code = Some(end.exit_code);
        return entry;
    }
    match run_folder::is_alive(state, &entry.run) {
        Ok(true) => {}
        Ok(false) => match load(state, &entry.run, seals, false) {
            Ok((run, _)) => {
                entry.status = run.status;
                entry.ended_at = run.ended_at;
                entry.duration_ms = run.duration_ms;
                entry.exit_code = run.exit_code;
            }
            Err(error) => {
                entry.status = RunStatus::Interrupted;
                entry.problem = Some(error.to_string());
            }
        },
        Err(error) => {
            entry.status = RunStatus::Unknown;
            entry.problem = Some(error.to_string());
        }
    }
    entry
}
