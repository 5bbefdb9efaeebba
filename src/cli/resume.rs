//! `runbook resume RUN` and `runbook retry RUN --from STEP`: a run is gone on with.

use std::path::Path;

use serde_json::{Map, Value};

use super::args::{ResumeArgs, RetryArgs};
use super::engine::{Recorded, Refusal, Setup, begin, on_runtime, reports};
use super::output::Output;
use super::{exit, load, resolve, status};
use crate::audit::{Trail, load_taken_over};
use crate::base::{RunId, StepId, suggest};
use crate::compile::Program;
use crate::diag::did_you_mean;
use crate::event::{
    ApprovalKind, Edited, Event, Happening, Journal as _, Redactor, ResumeKind, RunResume,
    RunState, RunStatus, StepState,
};
use crate::exec::{self, Edits, Past};
use crate::host::{RunFolder, StateDir, TakenOver, identity, process};
use crate::report::{self, Format};

pub(super) fn resume(out: &mut Output, args: ResumeArgs) -> u8 {
    go_on(out, &args, None)
}

pub(super) fn retry(out: &mut Output, args: RetryArgs) -> u8 {
    go_on(out, &args.resume, Some(&args.from))
}

fn go_on(out: &mut Output, args: &ResumeArgs, from: Option<&str>) -> u8 {
    let Some(reports) = reports::asked(out, &args.how.reports) else {
        return exit::USAGE;
    };
    let (state, id) = match status::find(out, &args.run) {
        Ok(found) => found,
        Err(code) => return code,
    };
    // From here on nobody else goes on with it.
    let taken = match take_over(&state, &id) {
        Ok(taken) => taken,
        Err(refusal) => return refusal.tell(out),
    };
    let (past, head) = match load_taken_over(&state, &id) {
        Ok(loaded) => loaded,
        Err(error) => {
            let help = format!("`runbook audit verify {id}` says more");
            out.error(&error.to_string(), Some(&help));
            return exit::AUDIT;
        }
    };
    if from.is_none()
        && let Some(code) = nothing_to_do(out, args.how.format, &past)
    {
        return code;
    }
    let registry = crate::steps::registry();
    let Some(program) = load::program(out, Path::new(&past.playbook.path), &registry) else {
        return exit::USAGE;
    };
    if let Some(code) = begin::refuse(out, &program, &args.how, false, |id| {
        let step = past.step(&id.clone().into());
        // What waits for an approval asks for that.
        let waits = step.and_then(|step| step.asked.as_ref());
        let approve = waits.is_some_and(|ask| ask.kind == ApprovalKind::Approve);
        !approve && !step.is_some_and(StepState::stands)
    }) {
        return code;
    }
    let again = match from.map(|from| again_from(&program, from)).transpose() {
        Ok(again) => again.unwrap_or_default(),
        Err(refusal) => return refusal.tell(out),
    };
    let Some(params) = load::params_again(out, &program, &past.params, &args.params) else {
        return exit::USAGE;
    };
    if !reports::keep_off(out, &program, &params, &reports) {
        return exit::USAGE;
    }
    let resolved = match resolve::said(&state, &past) {
        Ok(resolved) => resolved,
        Err(error) => return Refusal::host(error).tell(out),
    };
    let resolved = { resolved.into_iter() }
        .filter(|(path, _)| !again.contains(&path.step))
        .collect();
    let mut past = Past {
        resume: RunResume {
            kind: match from {
                Some(_) => ResumeKind::Retry,
                None => ResumeKind::Resume,
            },
            again,
            edited: None,
            fenced: Vec::new(),
            host: identity::host_name(),
            user: identity::user_name(),
            pid: std::process::id(),
            engine: env!("CARGO_PKG_VERSION").to_owned(),
        },
        state: past,
        resolved,
    };
    on_runtime(out, async |out| {
        let result = async {
            let mut setup = Setup::new(&program, &args.how, &reports).await?;
            edit(out, &setup, &mut past, &params, args)?;
            refuse(&program, &past, args.how.yes)?;
            let (locks, whole) = setup.lock(out, &id, &params).await?;
            let folder = fence(out, &setup, taken, &mut past).await?;
            let sessions = setup.end_sessions(out, &id, &params, &past.state).await?;
            past.resume.fenced.extend(sessions);
            let asked = unknown(&program, &past);
            if past.resume.fenced.is_empty()
                && let Some(refusal) = asked
            {
                return Err(refusal);
            }
            let trail = Trail::resume(
                &setup.state,
                &folder,
                setup.clock.clone(),
                &past.state,
                head,
            )
            .map_err(|error| Refusal::audit(&error))?;
            if let Some(refusal) = asked {
                record_fenced(&setup, &trail, &past).await?;
                return Err(refusal);
            }
            let recorded = Recorded {
                run: id.clone(),
                folder,
                trail,
                locks,
                whole,
                plan: None,
            };
            setup.go(out, params, None, recorded, Some(past)).await
        };
        match result.await {
            Ok(code) => code,
            Err(refusal) => refusal.tell(out),
        }
    })
}

fn take_over(state: &StateDir, id: &RunId) -> Result<TakenOver, Refusal> {
    RunFolder::take_over(state, id)
        .map_err(Refusal::host)?
        .ok_or_else(|| {
            let help = format!("`runbook status {id}` shows how it stands");
            Refusal::new(exit::BUSY, format!("run {id} still runs"), Some(help))
        })
}

/// A run that succeeded has nothing left; one that failed is not gone on with by itself.
fn nothing_to_do(out: &mut Output, format: Format, past: &RunState) -> Option<u8> {
    if past.status == RunStatus::Succeeded {
        if format == Format::Json
            && let Ok(text) = report::render(past, format)
        {
            out.data(text);
        }
        out.note_line(&format!(
            "run {} has succeeded: nothing is left to do",
            past.run
        ));
        return Some(exit::DONE);
    }
    // One that was interrupted has still to skip what waited, to take back, and to tidy up.
    if past.status == RunStatus::Interrupted {
        return None;
    }
    let failed = exec::stays_failed(past)?;
    let id = &failed.path.step;
    out.error(
        &format!("`{id}` failed, and what failed is not run again by itself; nothing ran"),
        Some(&format!(
            "mend the cause, then `runbook retry {} --from {id}`",
            past.run
        )),
    );
    Some(exit::USAGE)
}

fn again_from(program: &Program, from: &str) -> Result<Vec<StepId>, Refusal> {
    let Some(at) = program.find(from) else {
        let ids = (0..program.nodes().len()).map(|at| program.step(at).id.value.as_str());
        let help = did_you_mean(suggest::nearest(from, ids));
        return Err(Refusal::new(
            exit::USAGE,
            format!("there is no step `{from}`"),
            help,
        ));
    };
    Ok(exec::again_from(program, at))
}

/// What was edited since: told, and refused where it concerns finished steps and nobody said what to
/// do about them.
fn edit(
    out: &Output,
    setup: &Setup<'_>,
    past: &mut Past,
    params: &Map<String, Value>,
    args: &ResumeArgs,
) -> Result<(), Refusal> {
    let program = setup.program;
    let now = exec::playbook_info(program);
    let before = &past.state.playbook;
    if now.sha256 == before.sha256 && now.project_sha256 == before.project_sha256 {
        return Ok(());
    }
    let edits = exec::compare_edit(
        program,
        &past.state,
        params,
        &setup.secrets,
        &setup.digest_key,
    )
    .map_err(|error| Refusal::new(exit::USAGE, format!("{error}; nothing ran"), None))?;
    let changed: Vec<_> = edits
        .changed
        .iter()
        .filter(|(id, _)| !past.resume.again.contains(id))
        .collect();
    tell(out, &edits);
    if !changed.is_empty() && !args.keep_changed && !args.rerun_changed {
        let ids: Vec<_> = changed.iter().map(|(id, _)| format!("`{id}`")).collect();
        return Err(Refusal::new(
            exit::REFUSED,
            format!(
                "the playbook was edited, and {} would now do something else; nothing ran",
                ids.join(", ")
            ),
            Some(
                "`--rerun-changed` runs these again, `--keep-changed` takes them as they are"
                    .to_owned(),
            ),
        ));
    }
    if args.rerun_changed {
        let places = changed
            .iter()
            .filter_map(|(id, _)| program.find(id.as_str()));
        let again: Vec<StepId> = { places }
            .flat_map(|at| exec::again_from(program, at))
            .collect();
        past.resume.again.extend(again);
        past.resume.again.sort();
        past.resume.again.dedup();
    }
    past.resume.edited = Some(Edited {
        playbook: now,
        steps: program.planned(),
    });
    Ok(())
}

fn tell(out: &Output, edits: &Edits) {
    let list = |ids: &[StepId]| {
        let ids: Vec<&str> = ids.iter().map(StepId::as_str).collect();
        ids.join(", ")
    };
    out.warn("the playbook was edited since this run began");
    if !edits.valid.is_empty() {
        out.note_line(&format!("  done, and still valid: {}", list(&edits.valid)));
    }
    for (id, what) in &edits.changed {
        out.note_line(&format!("  done, and changed: {id}: {what}"));
    }
    if !edits.removed.is_empty() {
        out.note_line(&format!("  done, and removed: {}", list(&edits.removed)));
    }
    if !edits.added.is_empty() {
        out.note_line(&format!("  new: {}", list(&edits.added)));
    }
}

/// What would happen twice, and what cannot be known any more.
fn refuse(program: &Program, past: &Past, yes: bool) -> Result<(), Refusal> {
    let run = &past.state.run;
    let twice = past.twice();
    if !twice.is_empty() && !yes {
        let paths: Vec<_> = twice
            .iter()
            .map(|step| format!("`{}`", step.path))
            .collect();
        return Err(Refusal::new(
            exit::REFUSED,
            format!(
                "{} would happen a second time, and may have been meant to happen once; nothing ran",
                paths.join(", ")
            ),
            Some("if it may: `--yes`".to_owned()),
        ));
    }
    if let Some((done, reader)) = past.sealed(program).into_iter().next() {
        return Err(Refusal::new(
            exit::REFUSED,
            format!(
                "an output of `{done}` held a secret and is in no record, and `{reader}` may read \
                 it; nothing ran"
            ),
            Some(format!("run it again: `runbook retry {run} --from {done}`")),
        ));
    }
    Ok(())
}

/// What a person must say first: of which steps nobody else can know whether they happened, or how much
/// of them was taken back. Asked when nothing is left of them that could still do it.
fn unknown(program: &Program, past: &Past) -> Option<Refusal> {
    let run = &past.state.run;
    let unresolved = past.unresolved(program);
    let first = unresolved.first()?;
    let (halves, begun): (Vec<&StepState>, Vec<_>) =
        unresolved.iter().partition(|step| step.is_half_undone());
    let list = |steps: &[&StepState]| {
        let paths: Vec<_> = steps
            .iter()
            .map(|step| format!("`{}`", step.path))
            .collect();
        paths.join(", ")
    };
    let one = |steps: &[&StepState], one, more| if steps.len() == 1 { one } else { more };
    let mut what = Vec::new();
    if !begun.is_empty() {
        what.push(format!(
            "{} began and did not end, and may not be repeated: nobody but you can know whether {} \
             happened",
            list(&begun),
            one(&begun, "it has", "each has")
        ));
    }
    if !halves.is_empty() {
        what.push(format!(
            "the `undo` of {} began and did not end: nobody but you can know whether {} still done",
            list(&halves),
            one(&halves, "it is", "each is")
        ));
    }
    let taken_back = if halves.is_empty() {
        ""
    } else {
        " (`done`: it is still done, and its `undo` runs again; `not-done`: it was taken back)"
    };
    Some(Refusal::new(
        exit::UNKNOWN,
        format!("{}; nothing ran", what.join("; ")),
        Some(format!(
            "look, then say it of {}: `runbook resolve {run} {} --as done --reason …`, or \
             `--as not-done`{taken_back}",
            one(&unresolved, "it", "each"),
            first.path
        )),
    ))
}

/// Records that what was left of the run was ended, where it does not go on for now.
async fn record_fenced(setup: &Setup<'_>, trail: &Trail, past: &Past) -> Result<(), Refusal> {
    let values = setup.secrets.iter().map(|(_, value)| value);
    let redactor = Redactor::new(values, &setup.digest_key)
        .map_err(|error| Refusal::new(exit::USAGE, format!("{error}; nothing ran"), None))?;
    // Nothing runs again, and nothing edited counts yet.
    let mut resume = RunResume {
        kind: ResumeKind::Resume,
        again: Vec::new(),
        edited: None,
        ..past.resume.clone()
    };
    for line in &mut resume.fenced {
        *line = redactor.text(line).into_owned();
    }
    let happening = Happening {
        at: setup.clock.wall(),
        path: None,
        attempt: None,
        event: Event::RunResume(resume),
    };
    let audit = |error| Refusal::audit(&error);
    trail.append(&happening).map_err(audit)?;
    trail.sync().await.map_err(audit)
}

/// Ends what is left of the steps that did not end, and opens the folder.
async fn fence(
    out: &Output,
    setup: &Setup<'_>,
    taken: TakenOver,
    past: &mut Past,
) -> Result<RunFolder, Refusal> {
    let state = &past.state;
    let (run, lock) = (&state.run, taken.alive_lock());
    let step_of = |stray: &process::Stray| state.step(stray.step.as_ref()?);
    let strays = process::strays(run, &lock).map_err(Refusal::host)?;
    if let Some(stray) = strays.iter().find(|stray| step_of(stray).is_none()) {
        return Err(Refusal::new(
            exit::BUSY,
            format!(
                "process {} ({}) is left of run {run}, and does not say of which step; nothing ran",
                stray.pid, stray.command
            ),
            Some("end it, or wait for it".to_owned()),
        ));
    }
    // A daemon that a finished step started is what that step was for.
    let is_left = |stray: &process::Stray| !step_of(stray).is_some_and(StepState::stands);
    let mut fenced = Vec::new();
    for stray in strays.iter().filter(|stray| is_left(stray)) {
        let of = match &stray.step {
            Some(path) => format!(" of `{path}`"),
            None => String::new(),
        };
        fenced.push(format!("process {}{of}: {}", stray.pid, stray.command));
    }
    for line in &fenced {
        out.note_line(&format!("ending what is left of the run: {line}"));
    }
    let find = || {
        let mut strays = process::strays(run, &lock)?;
        strays.retain(|stray| is_left(stray));
        Ok(strays)
    };
    process::end_strays(&setup.clock, find)
        .await
        .map_err(Refusal::host)?;
    let daemons = process::strays(run, &lock).map_err(Refusal::host)?;
    past.resume.fenced = fenced;
    if daemons.is_empty() && taken.has_processes().map_err(Refusal::host)? {
        return Err(Refusal::new(
            exit::BUSY,
            format!(
                "something of run {} still lives that cannot be seen from here; nothing ran",
                past.state.run
            ),
            Some(format!(
                "it holds {}: `fuser -v` as root names it",
                taken.alive_lock().display()
            )),
        ));
    }
    taken.open().map_err(Refusal::host)
}
