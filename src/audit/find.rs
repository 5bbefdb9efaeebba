//! Which run is meant: an id, the beginning of one, or `last`.

use super::index::Newest;
use crate::base::RunId;
use crate::host::{HostError, StateDir, records};

/// How many runs an error names.
const SHOWN: usize = 5;

/// Why it is not known which run is meant.
#[derive(Clone, Debug, thiserror::Error)]
pub enum FindError {
    /// The state folder cannot be read.
    #[error(transparent)]
    Host(#[from] HostError),
    /// There are none at all.
    #[error("there is no run yet in {state}")]
    NoRuns {
        /// The state folder.
        state: String,
    },
    /// None has this id, or one that begins like this.
    #[error("no run is called `{text}`; the latest {}", named(.latest, .latest.len()))]
    NoSuchRun {
        /// What was asked for.
        text: String,
        /// The latest runs, newest first.
        latest: Vec<RunId>,
    },
    /// Its records were taken away.
    #[error("the records of run {run} were taken away by {user} at {at:.0}")]
    Pruned {
        /// The run.
        run: RunId,
        /// Who took them away.
        user: String,
        /// When; wall time.
        at: jiff::Timestamp,
    },
    /// Several begin like this.
    #[error("`{text}` may mean {count} runs; they {}", named(.candidates, *.count))]
    Ambiguous {
        /// What was asked for.
        text: String,
        /// How many runs it may mean.
        count: usize,
        /// The latest of them, newest first.
        candidates: Vec<RunId>,
    },
}

fn named(runs: &[RunId], count: usize) -> String {
    let names: Vec<_> = runs.iter().map(RunId::as_str).collect();
    let (verb, more) = (
        if runs.len() == 1 { "is" } else { "are" },
        count - runs.len().min(count),
    );
    let names = names.join(", ");
    if more > 0 {
        format!("{verb} {names} and {more} more")
    } else {
        format!("{verb} {names}")
    }
}

/// The run that `text` means, if its records were taken away.
fn pruned(state: &StateDir, text: &str) -> Result<Option<FindError>, HostError> {
    let mut newest = Newest::of(state)?;
    while let Some(run) = newest.next_run()? {
        if let Some((at, user)) = run.pruned
            && !text.is_empty()
            && run.start.run.as_str().starts_with(text)
        {
            let run = run.start.run;
            return Ok(Some(FindError::Pruned { run, user, at }));
        }
    }
    Ok(None)
}

/// The run that `text` means: `last` (the one that started last), an id, or the beginning of just
/// one id.
///
/// # Errors
/// When it means none or several, or the state folder cannot be read.
pub fn find_run(state: &StateDir, text: &str) -> Result<RunId, FindError> {
    let no_runs = || FindError::NoRuns {
        state: state.path().display().to_string(),
    };
    // The ledger's order, not that of the ids: the clock may have been set back between two runs.
    if text == "last" {
        let newest = Newest::of(state)?.next_run()?.ok_or_else(no_runs)?;
        let run = newest.start.run;
        return match newest.pruned {
            Some((at, user)) => Err(FindError::Pruned { run, user, at }),
            None => Ok(run),
        };
    }
    let mut runs: Vec<RunId> = records::run_names(state)?
        .iter()
        .filter_map(|name| RunId::parse(name.to_str()?))
        .collect();
    runs.reverse();
    let mut candidates: Vec<RunId> = runs
        .iter()
        .filter(|run| !text.is_empty() && run.as_str().starts_with(text))
        .cloned()
        .collect();
    match candidates.len() {
        1 => Ok(candidates.remove(0)),
        0 => {
            if let Some(pruned) = pruned(state, text)? {
                return Err(pruned);
            }
            if runs.is_empty() {
                return Err(no_runs());
            }
            runs.truncate(SHOWN);
            Err(FindError::NoSuchRun {
                text: text.to_owned(),
                latest: runs,
            })
        }
        count => {
            candidates.truncate(SHOWN);
            Err(FindError::Ambiguous {
                text: text.to_owned(),
                count,
                candidates,
            })
        }
    }
}
