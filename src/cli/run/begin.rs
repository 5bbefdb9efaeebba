//! What stands before a run: its id, what is refused, and what it is given.

use crate::base::{Clock, RunId, suggest};
use crate::cli::exit;
use crate::cli::output::Output;
use crate::compile::Program;
use crate::diag::{codes, did_you_mean};
use crate::event::EffectClass;
use crate::host::{HostError, RunFolder, files};

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

/// What this version does not run, and what nobody has agreed to.
pub(in crate::cli) fn refuse(out: &Output, program: &Program, yes: bool) -> Option<u8> {
    let playbook = program.playbook();
    let steps = playbook.steps.iter().chain(&playbook.finally);
    let not_yet: Vec<String> = steps
        .filter(|step| step.approval.is_some())
        .map(|step| format!("`approval` of step `{}`", step.id.value))
        .collect();
    if !not_yet.is_empty() {
        let code = codes::NOT_YET;
        out.error(
            &format!(
                "this version cannot run {} yet; nothing ran ({code})",
                not_yet.join(", ")
            ),
            Some("running without it would not be what the playbook says; `--dry-run` works"),
        );
        return Some(exit::USAGE);
    }
    let destroys: Vec<&str> = program
        .nodes()
        .iter()
        .enumerate()
        .filter(|(_, node)| node.effect == EffectClass::Destroy)
        .map(|(at, _)| program.step(at).id.value.as_str())
        .collect();
    if !destroys.is_empty() && !yes {
        let steps = destroys.join("`, `");
        out.error(
            &format!("`{steps}` would destroy something, and nobody has confirmed it; nothing ran"),
            Some("look at it with `--dry-run`, then run it with `--yes`"),
        );
        return Some(exit::REFUSED);
    }
    None
}

/// The steps that were asked for with `--step`, with those that they need or read; `None` is all.
pub(super) fn only(
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
