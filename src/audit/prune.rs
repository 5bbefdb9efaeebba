//! Taking away the records of old runs, so that the ledger still verifies: it keeps what it says of
//! their starts and ends, and that they were taken away, when and by whom.

use std::collections::HashMap;

use super::index::LedgerReading;
use super::ledger::{Ledger, Pruned};
use super::verify::{RunVerdict, verify_known};
use crate::audit::Checkpoint;
use crate::base::{Clock, Duration, RunId};
use crate::event::RunStatus;
use crate::host::{HostError, RunFolder, StateDir, run_folder};

/// Which runs' records are taken away.
#[derive(Clone, Copy, Debug)]
pub struct PrunePolicy {
    /// Those of runs that ended at least this long ago.
    pub keep_for: Duration,
    /// But not those of the last so many runs of each playbook.
    pub keep_last: u32,
}

impl PrunePolicy {
    /// In words, for the record.
    fn reason(&self) -> String {
        let Self {
            keep_for,
            keep_last,
        } = self;
        format!(
            "ended more than {keep_for} ago, and not among the last {keep_last} of its playbook"
        )
    }
}

/// A run whose records are old.
#[derive(Clone, Debug)]
pub struct OldRun {
    /// The run.
    pub run: RunId,
    /// Its playbook.
    pub playbook: String,
    /// How it ended.
    pub status: RunStatus,
    /// When; wall time.
    pub ended_at: jiff::Timestamp,
    /// Why its records stay although they are old.
    pub kept: Option<String>,
}

/// The runs whose records are old, the oldest first.
///
/// A run that waits for somebody, or whose outcome is not known, or that does not verify, is kept:
/// what is not settled, and what may be evidence, is for people to look at.
///
/// # Errors
/// When the ledger cannot be read, or does not verify.
pub fn old_runs(
    state: &StateDir,
    policy: &PrunePolicy,
    now: jiff::Timestamp,
) -> Result<Vec<OldRun>, HostError> {
    let reading = LedgerReading::read(state)?;
    if let Some(fault) = reading.fault.as_ref().filter(|fault| !fault.is_torn()) {
        let action = "take runs away";
        let cause = format!("the ledger does not verify: {fault}");
        return Err(HostError::permanent(action, cause));
    }
    let mut newer: HashMap<&str, u32> = HashMap::new();
    let mut old = Vec::new();
    for (run, known) in reading.runs.iter().rev() {
        let newer = newer.entry(&known.start.playbook).or_default();
        *newer += 1;
        let Some(end) = &known.end else { continue };
        let age = now.duration_since(end.ended_at).unsigned_abs();
        let is_old = now > end.ended_at && age >= policy.keep_for.as_std();
        if known.pruned.is_some() || !is_old || *newer <= policy.keep_last {
            continue;
        }
        old.push(OldRun {
            run: run.clone(),
            playbook: known.start.playbook.clone(),
            status: end.status,
            ended_at: end.ended_at,
            kept: match end.status {
                RunStatus::Waiting => Some("it waits for an approval".to_owned()),
                RunStatus::Unknown => Some("the outcome of a step is not known".to_owned()),
                _ => kept_because_of(state, run, verify_known(state, run, Some(known)))?,
            },
        });
    }
    old.reverse();
    Ok(old)
}

fn kept_because_of(
    state: &StateDir,
    run: &RunId,
    verdict: RunVerdict,
) -> Result<Option<String>, HostError> {
    if run_folder::has_processes(state, run)? {
        return Ok(Some("a process of it still lives".to_owned()));
    }
    if run_folder::is_link(state, run) {
        return Ok(Some("its folder is a link".to_owned()));
    }
    Ok(match verdict {
        RunVerdict::Good { .. } => None,
        other => Some(format!("it does not verify: {other}")),
    })
}

/// What was taken away.
#[derive(Clone, Debug, Default)]
pub struct Taken {
    /// How many runs.
    pub runs: usize,
    /// The checkpoint after the ledger's line about it, where there is a key.
    pub checkpoint: Option<Checkpoint>,
}

/// Takes away the records of `old` runs, but for those that are kept: first the ledger says so, on
/// disk, then they go. Also those that an earlier call was to take away and did not come to.
///
/// # Errors
/// When the ledger cannot be written, or a folder not be removed; the next call goes on.
pub fn prune(
    state: &StateDir,
    clock: &Clock,
    policy: &PrunePolicy,
    old: &[OldRun],
    user: &str,
) -> Result<Taken, HostError> {
    let runs: Vec<RunId> = { old.iter() }
        .filter(|old| old.kept.is_none())
        .map(|old| old.run.clone())
        .collect();
    let mut taken = Taken::default();
    if !runs.is_empty() {
        let pruned = Pruned {
            runs,
            user: user.to_owned(),
            reason: policy.reason(),
        };
        taken.checkpoint = Ledger::of(state, clock.clone()).prune(&pruned)?;
    }
    let reading = LedgerReading::read(state)?;
    let pruned = reading
        .runs
        .iter()
        .filter(|(_, known)| known.pruned.is_some());
    for (run, _) in pruned {
        if !state.run(run).is_dir() || run_folder::is_link(state, run) {
            continue;
        }
        if let Some(folder) = RunFolder::take_over(state, run)? {
            folder.remove(state)?;
            taken.runs += 1;
        }
    }
    Ok(taken)
}
