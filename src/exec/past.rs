//! A run that is gone on with: what it came to before is replayed, and never run again.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::StartError;
use super::ended::{End, past};
use super::leaf::condition;
use super::scheduler::Engine;
use super::secrets::Secrets;
use crate::base::{StepId, StepPath};
use crate::compile::{Local, Program, StepValue, World, run_value};
use crate::event::{
    Event, Happening, Redactor, RepeatClass, RunResume, RunState, RunStatus, Section, SkipKind,
    Status, StepResolve, StepState,
};
use crate::expr::{EvalError, from_json};
use crate::model::Step;
use crate::step::Partial;

/// What a run came to before it is gone on with.
#[derive(Clone, Debug)]
pub struct Past {
    /// Its state, folded from its journal.
    pub state: RunState,
    /// How it is gone on with.
    pub resume: RunResume,
    /// What people said of steps whose outcome was not known.
    pub resolved: Vec<(StepPath, StepResolve)>,
}

/// What of the past counts from now on.
#[derive(Debug)]
pub(super) struct Replay {
    /// The state once it is gone on with: what does not stand is pending.
    state: RunState,
    /// What was begun, may have had its effect, and has no result that stands.
    unsettled: HashSet<StepPath>,
}

impl Past {
    /// The events with which the next part of the run begins.
    pub(super) fn events(&self) -> Vec<(Option<StepPath>, Event)> {
        let resume = (None, Event::RunResume(self.resume.clone()));
        let resolved = self.resolved.iter().cloned();
        let resolved = resolved.map(|(path, resolve)| (Some(path), Event::StepResolve(resolve)));
        std::iter::once(resume).chain(resolved).collect()
    }

    /// Its state once it is gone on with: what does not stand is pending.
    pub fn state_after(&self) -> RunState {
        self.replay().state
    }

    /// What counts once these events have happened.
    pub(super) fn replay(&self) -> Replay {
        let mut unsettled: HashSet<StepPath> = { self.state.steps.values() }
            .filter(|step| step.is_unsettled())
            .filter(|step| !self.is_again(&step.path))
            .map(|step| step.path.clone())
            .collect();
        let mut state = self.state.clone();
        for (path, event) in self.events() {
            if let Some(path) = &path {
                unsettled.remove(path);
            }
            state.apply(&Happening {
                at: state.started_at,
                path,
                attempt: None,
                event,
            });
        }
        Replay { state, unsettled }
    }

    fn is_again(&self, path: &StepPath) -> bool {
        self.resume.again.contains(&path.step)
    }

    /// The steps and items of which a person must say first whether they happened: begun, not known
    /// to have ended, and neither to be repeated nor to be found out.
    pub fn unresolved(&self, program: &Program) -> Vec<&StepState> {
        let steps = self.state.steps.values().filter(|step| step.is_unsettled());
        steps
            .filter(|step| !self.is_again(&step.path))
            .filter(|step| !self.resolved.iter().any(|(path, _)| *path == step.path))
            .filter(|step| {
                // Of how much was taken back the step's own class says nothing.
                if step.is_half_undone() {
                    return true;
                }
                // By what the engine promised when it began, and by what the playbook says now.
                let now = program
                    .find(step.path.step.as_str())
                    .map(|at| &program.nodes()[at]);
                let now = now.map_or(RepeatClass::Once, |node| node.repeat);
                now.max(step.repeat.unwrap_or(RepeatClass::Once)) == RepeatClass::Once
            })
            .collect()
    }

    /// The steps and items that have happened, are to run again, and were not said to bear that.
    pub fn twice(&self) -> Vec<&StepState> {
        let again = self
            .state
            .steps
            .values()
            .filter(|step| self.is_again(&step.path));
        again
            .filter(|step| step.repeat > Some(RepeatClass::Keyed) && step.items.is_none())
            .filter(|step| step.status == Status::Succeeded || step.is_unsettled())
            .collect()
    }

    /// The finished steps whose outputs held a secret, of which the journal has a digest alone, and
    /// which a step that is still to run reads: each with such a step.
    pub fn sealed(&self, program: &Program) -> Vec<(StepId, StepId)> {
        let replay = self.replay();
        let mut found = Vec::new();
        for (at, node) in program.nodes().iter().enumerate() {
            let id = &program.step(at).id.value;
            let stands = |id: &StepId| {
                let state = replay.state.steps.get(&StepPath::step(id.clone()));
                state.is_some_and(StepState::stands)
            };
            if stands(id) {
                continue;
            }
            for need in &node.asks_for {
                let need = &program.step(*need).id.value;
                let outputs = replay.state.steps.get(&StepPath::step(need.clone()));
                if stands(need) && outputs.is_some_and(|step| is_sealed(&step.outputs)) {
                    found.push((need.clone(), id.clone()));
                }
            }
        }
        found
    }
}

fn is_sealed(outputs: &Value) -> bool {
    match outputs {
        Value::Object(map) => map.contains_key("$redacted") || map.values().any(is_sealed),
        Value::Array(items) => items.iter().any(is_sealed),
        _ => false,
    }
}

impl Engine<'_> {
    /// How a step or item ended in an earlier part of the run, where that stands.
    pub(super) fn replayed(&self, path: &StepPath) -> Option<End> {
        let step = self.past(path).filter(|step| step.stands())?;
        Some(End {
            status: step.status,
            allowed: step.allowed,
            skip: step.skip,
            value: value_of(step),
            cause: (step.status.is_bad() && !step.allowed)
                .then(|| format!("`{}` {}", path.step, past(step.status))),
        })
    }

    /// How many attempts a step or item had in earlier parts of the run.
    pub(super) fn attempts_before(&self, path: &StepPath) -> u32 {
        self.past(path).map_or(0, |step| step.attempts)
    }

    /// Whether a step or item was begun in an earlier part of the run, and may have happened.
    pub(super) fn is_unsettled(&self, path: &StepPath) -> bool {
        let replay = self.replay.as_ref();
        replay.is_some_and(|replay| replay.unsettled.contains(path))
    }

    /// The list of a `foreach` step, where it was known in an earlier part of the run and an item of
    /// it was begun: it does not change in between.
    pub(super) fn items_before(&self, path: &StepPath) -> Option<Vec<Value>> {
        let count = self.past(path)?.items?;
        let items = (0..count).map(|index| self.past(&StepPath::item(path.step.clone(), index)));
        let items: Vec<&StepState> = items.collect::<Option<_>>()?;
        let begun = items.iter().any(|item| item.attempts > 0 || item.stands());
        begun.then(|| items.iter().map(|item| item.item.clone()).collect())
    }

    /// Whether a step or item was taken back in an earlier part of the run.
    pub(super) fn was_undone(&self, path: &StepPath) -> bool {
        let undo = self.past(path).and_then(|step| step.undo.as_ref());
        undo.is_some_and(|undo| undo.status == Status::Succeeded)
    }

    /// What is known of a step or item from earlier parts of the run.
    pub(super) fn past(&self, path: &StepPath) -> Option<&StepState> {
        self.replay.as_ref()?.state.step(path)
    }
}

/// The steps that are run again when a run is gone on with from `from`: it, and all that wait for
/// it. `finally` steps are run again anyway.
pub fn again_from(program: &Program, from: usize) -> Vec<StepId> {
    let mut again = vec![false; program.nodes().len()];
    let mut todo = vec![from];
    while let Some(at) = todo.pop() {
        if !std::mem::replace(&mut again[at], true) {
            todo.extend(&program.nodes()[at].dependents);
        }
    }
    let places = (0..again.len()).filter(|at| again[*at]);
    let main = places.filter(|at| program.nodes()[*at].section == Section::Main);
    main.map(|at| program.step(at).id.value.clone()).collect()
}

/// The step that failed and keeps a run from being gone on with by itself: somebody has to try it
/// again.
pub fn stays_failed(past: &RunState) -> Option<&StepState> {
    past.whole_steps()
        .find(|step| step.status == Status::Failed && !step.allowed)
}

/// What expressions read once a run has come to `state`.
///
/// # Errors
/// When a variable has no value.
pub fn world_after(
    program: &Program,
    state: &RunState,
    params: &Map<String, Value>,
    secrets: &Secrets,
) -> Result<World, EvalError> {
    let values: Map<String, Value> = secrets
        .iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let run = run_value(
        &state.run,
        &state.playbook.name,
        state.status,
        state.started_at,
    );
    let world = World::new(program, params.clone(), Some(values), run)?;
    for at in 0..program.nodes().len() {
        let step = state.step(&StepPath::step(program.step(at).id.value.clone()));
        if let Some(step) = step.filter(|step| step.status.is_over()) {
            world.set_step(at, value_of(step));
        }
    }
    Ok(world)
}

/// What an edit of the playbook between two parts of a run means for the steps that are finished.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Edits {
    /// Finished, and the edited playbook would do the same.
    pub valid: Vec<StepId>,
    /// Finished, and the edited playbook would do something else: each with what.
    pub changed: Vec<(StepId, String)>,
    /// Finished, and no longer in the playbook.
    pub removed: Vec<StepId>,
    /// Not in the playbook before.
    pub added: Vec<StepId>,
}

/// Compares what the finished steps of `past` were given with what the steps of `program`, an edited
/// playbook, would be given now.
///
/// # Errors
/// When a variable has no value or a secret cannot be hidden.
pub fn compare_edit(
    program: &Program,
    past: &RunState,
    params: &Map<String, Value>,
    secrets: &Secrets,
    digest_key: &[u8],
) -> Result<Edits, StartError> {
    let values: Map<String, Value> = secrets
        .iter()
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect();
    let (name, began) = (&past.playbook.name, past.started_at);
    let run = run_value(&past.run, name, RunStatus::Running, began);
    let world = World::new(program, params.clone(), Some(values), run)?;
    let comparison = Comparison {
        program,
        past,
        world: &world,
        redactor: Redactor::new(secrets.iter().map(|(_, value)| value), digest_key)?,
    };
    let mut edits = Edits::default();
    for at in program.topological() {
        let id = &program.step(*at).id.value;
        let Some(step) = past.step(&StepPath::step(id.clone())) else {
            edits.added.push(id.clone());
            continue;
        };
        if step.stands() {
            world.set_step(*at, value_of(step));
            match comparison.difference(*at, step) {
                None => edits.valid.push(id.clone()),
                Some(what) => edits.changed.push((id.clone(), what)),
            }
        }
    }
    let gone = past.whole_steps().filter(|step| step.stands());
    let gone = gone.filter(|step| program.find(step.path.step.as_str()).is_none());
    edits.removed = gone.map(|step| step.path.step.clone()).collect();
    Ok(edits)
}

/// What is compared with what.
struct Comparison<'a> {
    program: &'a Program,
    past: &'a RunState,
    world: &'a World,
    redactor: Redactor,
}

impl Comparison<'_> {
    /// What a finished step would do otherwise; `None` where it is the same.
    fn difference(&self, at: usize, before: &StepState) -> Option<String> {
        let step = self.program.step(at);
        if step.ty.name() != before.ty {
            return Some(format!("it was a `{}`", before.ty));
        }
        let Some(foreach) = &step.foreach else {
            if before.items.is_some() {
                return Some("it ran once for each item of a list".to_owned());
            }
            return self.leaf_difference(step, before, &self.world.local());
        };
        let Some(count) = before.items else {
            return (before.status != Status::Skipped).then(|| "it ran just once".to_owned());
        };
        let Ok(Partial::Known(Value::Array(items))) = foreach.list.eval(self.world) else {
            return Some("its list is not known".to_owned());
        };
        let same = |item: &Value, index: u32| {
            let path = StepPath::item(before.path.step.clone(), index);
            let mut item = item.clone();
            self.redactor.value(&mut item);
            self.past
                .step(&path)
                .is_some_and(|state| state.item == item)
        };
        if items.len() != count as usize || !items.iter().zip(0..count).all(|(i, n)| same(i, n)) {
            return Some("its list is another".to_owned());
        }
        items.into_iter().zip(0..count).find_map(|(item, index)| {
            let path = StepPath::item(before.path.step.clone(), index);
            let local = self.world.local();
            let local = local.with_item(&foreach.name, from_json(item), index);
            self.leaf_difference(step, self.past.step(&path)?, &local)
        })
    }

    fn leaf_difference(
        &self,
        step: &Step,
        before: &StepState,
        local: &Local<'_>,
    ) -> Option<String> {
        if before.status == Status::Skipped {
            let when = step.when.as_ref().map(|when| condition(when, local));
            let still = before.skip != Some(SkipKind::When) || matches!(when, Some(Ok(false)));
            return (!still).then(|| "its `when` is not false any more".to_owned());
        }
        let Ok(Partial::Known(mut config)) = step.config.eval(local) else {
            return Some("its configuration is not known".to_owned());
        };
        let input = self.redactor.digest_of_secret(&config);
        self.redactor.value(&mut config);
        (config != before.config || input != before.input)
            .then(|| "its configuration is another".to_owned())
    }
}

fn value_of(step: &StepState) -> StepValue {
    let skipped = step.status == Status::Skipped;
    let outputs = (!step.outputs.is_null()).then(|| from_json(step.outputs.clone()));
    StepValue {
        status: step.status,
        changed: step.changed,
        outputs: outputs.filter(|_| !skipped),
        findings: step.findings.clone(),
    }
}
