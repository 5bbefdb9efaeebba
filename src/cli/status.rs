//! `runbook status RUN`: one run, as its journal tells it.

use super::args::StatusArgs;
use super::output::Output;
use super::{exit, resolve};
use crate::audit::lookup;
use crate::audit::{FindError, find_run};
use crate::audit::{JournalReader, load_run};
use crate::base::{Format, RunId, StepPath};
use crate::event::{RunState, StepState};
use crate::host::StateDir;
use crate::report;
use crate::report::terminal::{Look, render as render_terminal};

pub(super) fn run(out: &mut Output, args: StatusArgs) -> u8 {
    let (folder, state) = match load(out, &args.run) {
        Ok(loaded) => loaded,
        Err(code) => return code,
    };
    match args.format {
        Format::Text => {
            let look = Look::detect(&std::io::stdout(), out.color);
            out.data(render_terminal(&state, &look, out.verbosity()));
            // What people said meanwhile counts once it is gone on with.
            match resolve::said(&folder, &state) {
                Ok(said) => {
                    for (path, said) in said {
                        let word = if said.done { "done" } else { "not done" };
                        out.note_line(&format!(
                            "`{path}` counts as {word} ({}: {}); go on with `runbook resume {}`",
                            said.user, said.reason, state.run
                        ));
                    }
                }
                Err(error) => out.error(&error.to_string(), error.help.as_deref()),
            }
            exit::DONE
        }
        Format::Jsonl => events(out, &folder, &state.run),
        format => match report::render(&state, format) {
            Ok(text) => {
                out.data(text);
                exit::DONE
            }
            Err(error) => {
                out.error(&error.to_string(), None);
                exit::USAGE
            }
        },
    }
}

/// The events as they were told when it ran.
fn events(out: &mut Output, folder: &StateDir, run: &RunId) -> u8 {
    let reader = lookup(folder, run)
        .map_err(|error| error.to_string())
        .map(|known| known.map(|known| known.seals()).unwrap_or_default())
        .and_then(|seals| {
            JournalReader::open(folder, run, seals).map_err(|error| error.to_string())
        });
    let reader = match reader {
        Ok(reader) => reader,
        Err(message) => {
            out.error(&message, None);
            return exit::AUDIT;
        }
    };
    for happening in reader {
        match happening {
            Ok(happening) => out.data(report::jsonl::render([&happening])),
            Err(fault) if fault.is_torn() => break,
            Err(fault) => {
                out.error(&format!("run {run}: {fault}"), None);
                return exit::AUDIT;
            }
        }
    }
    exit::DONE
}

/// The run that `text` means, and its state; what is wrong is told.
pub(super) fn load(out: &Output, text: &str) -> Result<(StateDir, RunState), u8> {
    let (state, id) = find(out, text)?;
    match load_run(&state, &id) {
        Ok(run) => Ok((state, run)),
        Err(error) => {
            out.error(
                &error.to_string(),
                Some(&format!("`runbook audit verify {id}` says more")),
            );
            Err(exit::AUDIT)
        }
    }
}

/// The step at `path` of a run; that there is none is told.
pub(super) fn step<'a>(
    out: &Output,
    run: &'a RunState,
    path: &StepPath,
) -> Result<&'a StepState, u8> {
    run.step(path).ok_or_else(|| {
        let help = format!("`runbook status {}` lists its steps", run.run);
        out.error(&format!("this run has no step `{path}`"), Some(&help));
        exit::USAGE
    })
}

/// The run that `text` means; what is wrong is told.
pub(super) fn find(out: &Output, text: &str) -> Result<(StateDir, RunId), u8> {
    let state = StateDir::locate().map_err(|error| {
        out.error(&error.to_string(), error.help.as_deref());
        exit::USAGE
    })?;
    match find_run(&state, text) {
        Ok(id) => Ok((state, id)),
        // Not what was asked for is wrong then, but the record.
        Err(FindError::Host(error)) => {
            out.error(&error.to_string(), error.help.as_deref());
            Err(exit::AUDIT)
        }
        Err(error) => {
            out.error(&error.to_string(), Some("`runbook history` lists the runs"));
            Err(exit::USAGE)
        }
    }
}
