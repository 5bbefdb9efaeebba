//! `runbook audit prune`: takes away the records of old runs.

use super::super::args::PruneArgs;
use super::super::output::Output;
use super::super::{exit, witnesses};
use crate::audit::{OldRun, PrunePolicy, old_runs, prune};
use crate::base::Clock;
use crate::base::count::plural;
use crate::host::{StateDir, identity};

pub(super) fn run(out: &mut Output, args: &PruneArgs) -> u8 {
    let state = match super::state(out) {
        Ok(state) => state,
        Err(code) => return code,
    };
    let policy = match policy(out, &state, args) {
        Ok(policy) => policy,
        Err(code) => return code,
    };
    let clock = Clock::system();
    let old = match old_runs(&state, &policy, clock.wall()) {
        Ok(old) => old,
        Err(error) => {
            out.error(&error.to_string(), error.help.as_deref());
            return exit::AUDIT;
        }
    };
    let mut text = String::new();
    for OldRun {
        run,
        playbook,
        status,
        ended_at,
        kept,
    } in &old
    {
        let (verb, why) = match kept {
            None => ("prune", String::new()),
            Some(why) => ("keep", format!("  {why}")),
        };
        text.push_str(&format!(
            "{verb:5}  {run}  {ended_at:.0}  {:9}  {playbook}{why}\n",
            status.as_str()
        ));
    }
    out.data(text);
    let going = old.iter().filter(|old| old.kept.is_none()).count();
    let runs = plural(going, "run");
    if args.dry_run {
        out.note_line(&format!("would take away the records of {runs}"));
        return exit::DONE;
    }
    if going > 0 && !args.yes {
        out.error(
            &format!(
                "the records of {runs} would be gone, and nobody has confirmed it; nothing was done"
            ),
            Some("keep a copy with `runbook audit export`, then run it with `--yes`"),
        );
        return exit::REFUSED;
    }
    match prune(&state, &clock, &policy, &old, &identity::user_name()) {
        Ok(taken) => {
            if taken.runs == 0 {
                out.note_line("no run is old enough: nothing was done");
                return exit::DONE;
            }
            let runs = plural(taken.runs, "run");
            out.note_line(&format!(
                "took away the records of {runs}; the ledger says so"
            ));
            match &taken.checkpoint {
                Some(checkpoint) => super::keys::send(out, &state, checkpoint, &clock),
                None => exit::DONE,
            }
        }
        Err(error) => {
            out.error(&error.to_string(), error.help.as_deref());
            exit::AUDIT
        }
    }
}

/// What the command line says, else the state folder's `audit.yaml`.
fn policy(out: &Output, state: &StateDir, args: &PruneArgs) -> Result<PrunePolicy, u8> {
    let retention = match witnesses::load(state) {
        Ok(config) => config.retention,
        Err(refusal) => return Err(refusal.tell(out)),
    };
    let Some(keep_for) = args.keep_for.or(retention.keep_for) else {
        out.error(
            "it is not said which runs are old",
            Some("write `--keep-for 365d`, or `retention: { keep_for: 365d }` in the state folder's audit.yaml"),
        );
        return Err(exit::USAGE);
    };
    Ok(PrunePolicy {
        keep_for,
        keep_last: args.keep_last.or(retention.keep_last).unwrap_or(1),
    })
}
