//! `runbook resolve RUN STEP --as done|not-done --reason TEXT`: a person says whether a step has
//! happened of which nobody else knows.

use serde::{Deserialize, Serialize};

use super::args::{Outcome, ResolveArgs};
use super::output::Output;
use super::{exit, status};
use crate::base::StepPath;
use crate::event::StepResolve;
use crate::exec::is_unsettled;
use crate::host::{HostError, StateDir, inbox, run_folder};

/// What such statements are called.
const PREFIX: &str = "resolve.";

#[derive(Debug, Serialize, Deserialize)]
struct Said {
    path: StepPath,
    done: bool,
    reason: String,
}

pub(super) fn run(out: &mut Output, args: ResolveArgs) -> u8 {
    let (state, run) = match status::load(out, &args.run) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let Some(step) = run.step(&args.step) else {
        let help = format!("`runbook status {}` lists its steps", run.run);
        out.error(
            &format!("this run has no step `{}`", args.step),
            Some(&help),
        );
        return exit::USAGE;
    };
    if !is_unsettled(step) {
        let message = format!(
            "`{}` is {}: there is nothing to resolve",
            args.step, step.status
        );
        out.error(&message, None);
        return exit::USAGE;
    }
    if args.reason.trim().is_empty() {
        out.error(
            "--reason is empty",
            Some("say how you know: it is kept in the record"),
        );
        return exit::USAGE;
    }
    match run_folder::is_alive(&state, &run.run) {
        Ok(false) => {}
        Ok(true) => {
            out.error(&format!("run {} still runs", run.run), None);
            return exit::BUSY;
        }
        Err(error) => {
            out.error(&error.to_string(), error.help.as_deref());
            return exit::AUDIT;
        }
    }
    let said = Said {
        path: args.step.clone(),
        done: args.outcome == Outcome::Done,
        reason: args.reason,
    };
    if let Err(error) = inbox::say(
        &state.run(&run.run),
        &format!("{PREFIX}{}", args.step),
        &said,
    ) {
        out.error(&error.to_string(), error.help.as_deref());
        return exit::AUDIT;
    }
    let word = if said.done { "done" } else { "not done" };
    out.note_line(&format!(
        "`{}` counts as {word}; go on with `runbook resume {}`",
        args.step, run.run
    ));
    exit::DONE
}

/// What people said of the steps of a run.
pub(super) fn said(
    state: &StateDir,
    run: &crate::base::RunId,
) -> Result<Vec<(StepPath, StepResolve)>, HostError> {
    let said = inbox::heard::<Said>(&state.run(run), PREFIX)?;
    let resolved = said.into_iter().map(|statement| {
        let resolve = StepResolve {
            done: statement.said.done,
            reason: statement.said.reason,
            user: statement.user,
        };
        (statement.said.path, resolve)
    });
    Ok(resolved.collect())
}
