//! `runbook resolve RUN STEP --as done|not-done --reason TEXT`: a person says whether a step has
//! happened of which nobody else knows.

use serde::{Deserialize, Serialize};

use super::args::{Outcome, ResolveArgs};
use super::output::Output;
use super::{exit, status};
use crate::base::StepPath;
use crate::event::{RunState, StepResolve};
use crate::host::{HostError, StateDir, inbox, run_folder};

/// What such statements are called.
const PREFIX: &str = "resolve.";

#[derive(Debug, Serialize, Deserialize)]
struct Said {
    path: StepPath,
    /// How many attempts it had had: what was said of one says nothing of the next.
    attempts: u32,
    done: bool,
    reason: String,
}

pub(super) fn run(out: &mut Output, args: ResolveArgs) -> u8 {
    let (state, run) = match status::load(out, &args.run) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let step = match status::step(out, &run, &args.step) {
        Ok(step) => step,
        Err(code) => return code,
    };
    if !step.is_unsettled() {
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
        attempts: step.attempts,
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

/// What people said of the steps of `run` whose outcome is not known.
pub(super) fn said(
    state: &StateDir,
    run: &RunState,
) -> Result<Vec<(StepPath, StepResolve)>, HostError> {
    let said = inbox::heard::<Said>(&state.run(&run.run), PREFIX)?;
    let said: Vec<_> = said.into_iter().collect::<Result<_, _>>()?;
    let about = |said: &Said| {
        let step = run.step(&said.path).filter(|step| step.is_unsettled());
        step.is_some_and(|step| step.attempts == said.attempts)
    };
    let said = said.into_iter().filter(|statement| about(&statement.said));
    let resolved = said.map(|statement| {
        let resolve = StepResolve {
            done: statement.said.done,
            reason: statement.said.reason,
            user: statement.user,
        };
        (statement.said.path, resolve)
    });
    Ok(resolved.collect())
}
