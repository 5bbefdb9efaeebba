//! What stands before a run: its id, what is refused, and what it is given.

use crate::base::{Clock, Format, RunId, StepId, suggest};
use crate::cli::args::HowArgs;
use crate::cli::exit;
use crate::cli::output::Output;
use crate::compile::Program;
use crate::diag::did_you_mean;
use crate::event::{ApprovalKind, EffectClass};
use crate::host::{HostError, RunFolder, console, files};

/// A new id.
pub(super) fn new_run_id(clock: &Clock) -> RunId {
    let millis = u64::try_from(clock.wall().as_millisecond()).unwrap_or(0);
    let random = getrandom::u64().unwrap_or_else(|_| u64::from(std::process::id()));
    RunId::from_parts(millis, random)
}

/// How many steps run side by side by default: one a core, at least four, because most wait for
/// something.
pub(super) fn default_parallel() -> usize {
    std::thread::available_parallelism()
        .map_or(4, usize::from)
        .max(4)
}

/// Whether somebody can be asked while it runs.
pub(in crate::cli) fn is_attended(how: &HowArgs) -> bool {
    console::is_attended() && !how.no_input && how.format == Format::Text
}

/// Refuses what would ask for a confirmation where nobody is there to give it, before anything runs:
/// of the steps that `open` says are still to run. Who has `seen` in a plan what is destroyed has confirmed that.
pub(in crate::cli) fn refuse(
    out: &Output,
    program: &Program,
    how: &HowArgs,
    seen: bool,
    open: impl Fn(&StepId) -> bool,
) -> Option<u8> {
    if how.yes || is_attended(how) {
        return None;
    }
    let places = (0..program.nodes().len()).filter(|at| open(&program.step(*at).id.value));
    let (mut destroys, mut confirms) = (Vec::new(), Vec::new());
    for at in places {
        let step = program.step(at);
        let destroys_unseen = program.nodes()[at].effect == EffectClass::Destroy && !seen;
        match &step.approval {
            None if destroys_unseen => destroys.push(step.id.value.as_str()),
            // Where it turns out that nobody has to approve of it, it asks as one without an `approval`.
            Some(approval)
                if destroys_unseen
                    && approval.kind == ApprovalKind::Approve
                    && approval.when.is_some() =>
            {
                destroys.push(step.id.value.as_str());
            }
            // Whether one with a `when` asks is known once it is its turn.
            Some(approval) if approval.kind == ApprovalKind::Confirm && approval.when.is_none() => {
                confirms.push(step.id.value.as_str());
            }
            _ => {}
        }
    }
    let (steps, what) = if destroys.is_empty() {
        (
            confirms,
            "asks for a confirmation, and nobody is there to give it",
        )
    } else {
        (
            destroys,
            "would destroy something, and nobody has confirmed it",
        )
    };
    if steps.is_empty() {
        return None;
    }
    let steps = steps.join("`, `");
    let path = &program.info().path;
    let here = std::env::current_dir().unwrap_or_default();
    let playbook = path.strip_prefix(here).unwrap_or(path).display();
    let help = format!(
        "`runbook plan {playbook}` shows what it would do and to what; then run it with `--yes`"
    );
    out.error(&format!("`{steps}` {what}; nothing ran"), Some(&help));
    Some(exit::REFUSED)
}

/// The steps that were asked for with `--step`, with those that they need or read; `None` is all.
pub(in crate::cli) fn only(
    program: &Program,
    asked: &[String],
) -> Result<Option<Vec<bool>>, (String, Option<String>)> {
    if asked.is_empty() {
        return Ok(None);
    }
    let mut only = vec![false; program.nodes().len()];
    let mut todo = Vec::new();
    for id in asked {
        let Some(at) = program.find(id) else {
            let ids: Vec<&str> = (0..only.len())
                .map(|at| program.step(at).id.value.as_str())
                .collect();
            let near = suggest::nearest(id, ids.iter().copied());
            return Err((format!("there is no step `{id}`"), did_you_mean(near)));
        };
        todo.push(at);
    }
    while let Some(at) = todo.pop() {
        if !only[at] {
            only[at] = true;
            todo.extend(&program.nodes()[at].asks_for);
        }
    }
    Ok(Some(only))
}

/// Keeps what is run beside its journal.
pub(super) fn keep_inputs(program: &Program, folder: &RunFolder) -> Result<(), HostError> {
    let info = program.info();
    let inputs = [
        Some(("playbook.yaml", &info.path)),
        info.project.as_ref().map(|p| ("runbook.yaml", p)),
    ];
    for (name, path) in inputs.into_iter().flatten() {
        let bytes = files::read_limited(path, 128 << 20)?;
        folder.keep_input(name, &bytes)?;
    }
    Ok(())
}
