//! What the steps of a playbook took in its last runs, for estimates.

use super::index::Newest;
use super::read::load;
use crate::event::Status;
use crate::host::{HostError, StateDir};
use crate::plan::Durations;

/// How many runs of it are looked at.
const RUNS: usize = 5;

/// How many runs of any playbook are passed over before that is given up.
const PATIENCE: usize = 1000;

/// What the steps of the playbook called `name` took in its last runs that have ended. A run that
/// cannot be read is passed over: an estimate is no place to tell of it.
///
/// # Errors
/// When the ledger cannot be read.
pub fn durations(state: &StateDir, name: &str) -> Result<Durations, HostError> {
    let mut found = Durations::default();
    let mut newest = Newest::of(state)?;
    for _ in 0..PATIENCE {
        let Some(run) = newest.next_run()? else { break };
        if run.start.playbook != name || run.end.is_none() || run.pruned.is_some() {
            continue;
        }
        let seals = run.seals();
        let Ok((run, _)) = load(state, &run.start.run, seals, false) else {
            continue;
        };
        found.runs += 1;
        for (path, step) in &run.steps {
            if path.item.is_none()
                && step.status == Status::Succeeded
                && let Some(took) = step.duration_ms
            {
                found.steps.entry(path.step.clone()).or_default().push(took);
            }
        }
        if found.runs == RUNS {
            break;
        }
    }
    Ok(found)
}
