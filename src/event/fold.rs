//! The fold: from durable events to the state of a run.
//!
//! `status`, reports and resume all read this state, so that a live run and an old journal say the
//! same.

use indexmap::IndexMap;
use serde_json::Value;

use super::kinds::{
    Edited, Event, Happening, PlaybookInfo, ResumeKind, RunResume, RunStart, Section,
    TargetIdentify,
};
use super::status::{EffectClass, RepeatClass, RunStatus, Status};
use super::step_state::{AttemptState, StepState, UndoState};
use crate::base::{RunId, StepId, StepPath};

/// A run, as far as its events tell.
#[derive(Clone, Debug)]
pub struct RunState {
    /// Its id.
    pub run: RunId,
    /// What is run.
    pub playbook: PlaybookInfo,
    /// The parameters' values, redacted.
    pub params: serde_json::Map<String, Value>,
    /// The machine.
    pub host: String,
    /// Who runs it.
    pub user: String,
    /// The engine's version.
    pub engine: String,
    /// How it stands.
    pub status: RunStatus,
    /// When it began.
    pub started_at: jiff::Timestamp,
    /// When it ended.
    pub ended_at: Option<jiff::Timestamp>,
    /// How long it took, in milliseconds, by the clock that counts suspension.
    pub duration_ms: Option<u64>,
    /// The same up to its last end, also once it is gone on with.
    pub worked_ms: u64,
    /// The exit status of its engine.
    pub exit_code: Option<u8>,
    /// How it was last gone on with, if it was.
    pub resumed: Option<ResumeKind>,
    /// By what it was told to end, if it was.
    pub cancelled_by: Option<String>,
    /// What it has changed something at, by connection.
    pub targets: IndexMap<String, Value>,
    /// Its steps and their items, in the order in which they stand; an item follows its step.
    pub steps: IndexMap<StepPath, StepState>,
}

impl RunState {
    /// The state after a run's first event.
    pub fn begin(at: jiff::Timestamp, start: &RunStart) -> Self {
        let steps = start
            .steps
            .iter()
            .map(|step| {
                let path = StepPath::step(step.id.clone());
                let state = StepState::new(
                    path.clone(),
                    step.ty.clone(),
                    step.name.clone(),
                    step.section,
                );
                (path, state)
            })
            .collect();
        Self {
            run: start.run.clone(),
            playbook: start.playbook.clone(),
            params: start.params.clone(),
            host: start.host.clone(),
            user: start.user.clone(),
            engine: start.engine.clone(),
            status: RunStatus::Running,
            started_at: at,
            ended_at: None,
            duration_ms: None,
            worked_ms: 0,
            exit_code: None,
            resumed: None,
            cancelled_by: None,
            targets: IndexMap::new(),
            steps,
        }
    }

    /// The state of a whole journal; `None` where its first event is not a run's start.
    pub fn fold<'a>(happenings: impl IntoIterator<Item = &'a Happening>) -> Option<Self> {
        let mut happenings = happenings.into_iter();
        let first = happenings.next()?;
        let Event::RunStart(start) = &first.event else {
            return None;
        };
        let mut state = Self::begin(first.at, start);
        happenings.for_each(|happening| state.apply(happening));
        Some(state)
    }

    /// The step or item at `path`.
    pub fn step(&self, path: &StepPath) -> Option<&StepState> {
        self.steps.get(path)
    }

    /// The steps and items whose status is `status`.
    pub fn with_status(&self, status: Status) -> impl Iterator<Item = &StepState> {
        self.steps
            .values()
            .filter(move |step| step.status == status)
    }

    /// The steps alone, without the items of `foreach` steps.
    pub fn whole_steps(&self) -> impl Iterator<Item = &StepState> {
        self.steps.values().filter(|step| step.path.item.is_none())
    }

    /// Takes one more event in.
    pub fn apply(&mut self, happening: &Happening) {
        match &happening.event {
            Event::RunStart(_) => {}
            Event::RunResume(resume) => self.resume(resume),
            Event::StepVerify(_) => {}
            Event::ApprovalAsk(ask) => {
                if let Some(step) = self.entry(happening) {
                    step.asked = Some(ask.clone());
                }
            }
            // What was granted is used up when it starts; what was denied is asked anew.
            Event::ApprovalAnswer(answer) => {
                if let Some(step) = self.entry(happening).filter(|_| !answer.granted) {
                    step.asked = None;
                }
            }
            Event::UndoStart(start) => {
                if let Some(step) = self.entry(happening) {
                    step.undo = Some(UndoState {
                        status: Status::Running,
                        repeat: start.repeat,
                        error: None,
                    });
                }
            }
            Event::UndoResult(result) => {
                let undo = self.entry(happening).and_then(|step| step.undo.as_mut());
                if let Some(undo) = undo {
                    undo.status = result.status;
                    undo.error.clone_from(&result.error);
                }
            }
            Event::StepResolve(resolve) => {
                let kind = self.resumed.unwrap_or(ResumeKind::Resume);
                if let Some(step) = self.entry(happening) {
                    step.resolve(happening, resolve, kind);
                }
            }
            Event::TargetIdentify(target) => {
                let TargetIdentify {
                    connection,
                    identity,
                    ..
                } = target;
                self.targets.insert(connection.clone(), identity.clone());
            }
            Event::RunCancel(cancel) => self.cancelled_by = Some(cancel.by.clone()),
            Event::RunEnd(end) => {
                self.status = end.status;
                self.exit_code = Some(end.exit_code);
                self.ended_at = Some(happening.at);
                self.duration_ms = Some(end.duration_ms);
                self.worked_ms = end.duration_ms;
            }
            Event::ForeachExpand(expand) => self.expand(happening, &expand.items),
            Event::StepStart(start) => {
                if let Some(step) = self.entry(happening) {
                    step.start(happening, start);
                }
            }
            Event::StepAttempt(attempt) => {
                if let Some(step) = self.entry(happening) {
                    step.failed_attempts.push(AttemptState {
                        attempt: happening.attempt.unwrap_or(0),
                        error: attempt.error.clone(),
                        delay_ms: attempt.delay_ms,
                    });
                }
            }
            Event::StepResult(result) => {
                if let Some(step) = self.entry(happening) {
                    step.end(happening, result);
                }
                self.collect_items(happening);
            }
        }
    }

    fn entry(&mut self, happening: &Happening) -> Option<&mut StepState> {
        self.steps.get_mut(happening.path.as_ref()?)
    }

    /// Makes the items of a `foreach` step, right after it.
    fn expand(&mut self, happening: &Happening, items: &[Value]) {
        let Some(path) = &happening.path else { return };
        let Some(at) = self.steps.get_index_of(path) else {
            return;
        };
        let rest = self.steps.split_off(at + 1);
        let step = &mut self.steps[at];
        step.items = u32::try_from(items.len()).ok();
        step.status = Status::Running;
        step.started_at.get_or_insert(happening.at);
        let (ty, name, section) = (step.ty.clone(), step.name.clone(), step.section);
        for (index, value) in (0..step.items.unwrap_or(0)).zip(items) {
            let path = StepPath::item(path.step.clone(), index);
            let mut item = StepState::new(path.clone(), ty.clone(), name.clone(), section);
            item.item = value.clone();
            self.steps.insert(path, item);
        }
        // A second expansion of the same step (after a resume) keeps what is known of its items.
        for (path, state) in rest {
            self.steps.insert(path, state);
        }
    }

    /// A `foreach` step's outputs are those of its items, in order; they stand in the journal once.
    fn collect_items(&mut self, happening: &Happening) {
        let Some(path) = happening.path.as_ref().filter(|path| path.item.is_none()) else {
            return;
        };
        let Some(count) = self.steps.get(path).and_then(|step| step.items) else {
            return;
        };
        let items = (0..count).map(|index| {
            let item = self.steps.get(&StepPath::item(path.step.clone(), index));
            item.map_or(Value::Null, |item| item.outputs.clone())
        });
        let outputs = Value::Array(items.collect());
        if let Some(step) = self.steps.get_mut(path) {
            step.outputs = outputs;
        }
    }

    /// It is gone on with: what has not come to a result that stands is pending again.
    fn resume(&mut self, resume: &RunResume) {
        if let Some(edited) = &resume.edited {
            self.edit(edited);
        }
        let ended = self.ended_at.is_some();
        // A `foreach` step of which an item is pending again is too.
        let mut open = Vec::new();
        for step in self.steps.values_mut() {
            // What cleans up after a part of a run does so after the next part too.
            let anew = ended && step.section == Section::Finally;
            // What was taken back is gone: who tries again begins with it.
            let gone = resume.kind == ResumeKind::Retry && step.undo.is_some();
            let again = resume.again.contains(&step.path.step);
            if !(anew || gone || again || !step.stands()) {
                continue;
            }
            open.push(StepPath::step(step.path.step.clone()));
            // One that was being taken back stays so until somebody says how it stands.
            if again || !step.is_half_undone() {
                step.pending_again(!again && step.is_unsettled());
            }
        }
        for path in open {
            if let Some(step) = self
                .steps
                .get_mut(&path)
                .filter(|step| step.items.is_some())
            {
                step.reset();
            }
        }
        self.resumed = Some(resume.kind);
        self.status = RunStatus::Running;
        self.ended_at = None;
        self.duration_ms = None;
        self.exit_code = None;
        self.cancelled_by = None;
    }

    /// The steps of an edited playbook, with what is known of those that it still has.
    fn edit(&mut self, edited: &Edited) {
        let mut before = std::mem::take(&mut self.steps);
        for step in &edited.steps {
            let path = StepPath::step(step.id.clone());
            let mut state = StepState::new(path, step.ty.clone(), step.name.clone(), step.section);
            let items = before
                .iter()
                .filter(|(path, _)| path.step == step.id && path.item.is_some());
            let items: Vec<StepPath> = items.map(|(path, _)| path.clone()).collect();
            if let Some(known) = before.shift_remove(&state.path) {
                state = StepState {
                    section: step.section,
                    ..known
                };
            }
            self.steps.insert(state.path.clone(), state);
            for path in items {
                if let Some(item) = before.shift_remove(&path) {
                    self.steps.insert(path, item);
                }
            }
        }
        self.playbook = edited.playbook.clone();
    }

    /// What is said of runs whose engine is gone: steps that had started and changed something once
    /// have an unknown outcome, the others were interrupted.
    pub fn interrupted(&mut self) {
        if self.status != RunStatus::Running {
            return;
        }
        self.status = RunStatus::Interrupted;
        for step in self.steps.values_mut() {
            if step.status != Status::Running && !step.may_have_happened {
                continue;
            }
            let harmless = step.effect == Some(EffectClass::Read)
                || step
                    .repeat
                    .is_some_and(|repeat| repeat <= RepeatClass::Keyed)
                || step.effect.is_none();
            step.status = if harmless {
                Status::Cancelled
            } else {
                Status::Unknown
            };
            step.reason = Some("the engine ended in the middle of it".to_owned());
        }
    }
}

/// The id of a step, as its path without an item.
impl From<StepId> for StepPath {
    fn from(step: StepId) -> Self {
        Self::step(step)
    }
}
