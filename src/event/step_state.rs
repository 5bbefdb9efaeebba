//! What is known of one step or item of a run: the part of the fold that is about it alone.

use serde_json::Value;

use super::kinds::{
    ApprovalAsk, Happening, LogFile, ResumeKind, Section, SkipKind, StepResolve, StepResult,
    StepStart,
};
use super::status::{EffectClass, Finding, Level, RepeatClass, Status};
use crate::base::StepPath;

/// A step or an item of one, as far as the events tell.
#[derive(Clone, Debug)]
pub struct StepState {
    /// Where it is.
    pub path: StepPath,
    /// Its type.
    pub ty: String,
    /// Its name, evaluated once it has started.
    pub name: Option<String>,
    /// Main or finally.
    pub section: Section,
    /// How it stands.
    pub status: Status,
    /// Whether its failure lets the run go on.
    pub allowed: bool,
    /// Whether it changed something.
    pub changed: bool,
    /// Of one that failed: whether it is known that it touched nothing.
    pub untouched: bool,
    /// What it does to the world, once it has started.
    pub effect: Option<EffectClass>,
    /// What may be done after a crash in its middle, once it has started.
    pub repeat: Option<RepeatClass>,
    /// When it started.
    pub started_at: Option<jiff::Timestamp>,
    /// How long it took, in milliseconds.
    pub duration_ms: Option<u64>,
    /// Its attempts that failed and were followed by another, and the one that counts.
    pub attempts: u32,
    /// The attempts that failed and were followed by another.
    pub failed_attempts: Vec<AttemptState>,
    /// A `foreach` step's items, once they are known.
    pub items: Option<u32>,
    /// What an item is for: its element of the list, redacted. Null for a step.
    pub item: Value,
    /// Its configuration, evaluated and redacted.
    pub config: Value,
    /// Its outputs, redacted.
    pub outputs: Value,
    /// What it found.
    pub findings: Vec<Finding>,
    /// What went wrong.
    pub error: Option<String>,
    /// What to do about it.
    pub help: Option<String>,
    /// Why it was skipped, cancelled or is unknown.
    pub reason: Option<String>,
    /// Why it was not started, where it was not.
    pub skip: Option<SkipKind>,
    /// A keyed digest of what it was given.
    pub input: Option<String>,
    /// What its processes wrote.
    pub logs: Vec<LogFile>,
    /// How it was taken back, where it was.
    pub undo: Option<UndoState>,
    /// What somebody is asked before it may run, as long as it has not.
    pub asked: Option<ApprovalAsk>,
    /// Whether it was begun in an earlier part of the run, and nobody has found out or said since
    /// whether it has happened: a crash right after the run was gone on with must not forget that.
    pub may_have_happened: bool,
}

/// How a step was taken back.
#[derive(Clone, Debug)]
pub struct UndoState {
    /// How that stands.
    pub status: Status,
    /// What may be done after a crash in its middle.
    pub repeat: RepeatClass,
    /// What went wrong.
    pub error: Option<String>,
}

impl UndoState {
    /// Whether it is not known how much was taken back, nor to be found out by doing so again.
    pub fn is_unsettled(&self) -> bool {
        match self.status {
            Status::Succeeded => false,
            Status::Running => self.repeat > RepeatClass::Keyed,
            _ => true,
        }
    }
}

/// An attempt that failed and was followed by another.
#[derive(Clone, Debug)]
pub struct AttemptState {
    /// Which, from 1.
    pub attempt: u32,
    /// What went wrong.
    pub error: String,
    /// How long the engine then waited, in milliseconds.
    pub delay_ms: u64,
}

impl StepState {
    pub(super) fn new(path: StepPath, ty: String, name: Option<String>, section: Section) -> Self {
        Self {
            path,
            ty,
            name,
            section,
            status: Status::Pending,
            allowed: false,
            changed: false,
            untouched: false,
            effect: None,
            repeat: None,
            started_at: None,
            duration_ms: None,
            attempts: 0,
            failed_attempts: Vec::new(),
            items: None,
            item: Value::Null,
            config: Value::Null,
            outputs: Value::Null,
            findings: Vec::new(),
            error: None,
            help: None,
            reason: None,
            skip: None,
            input: None,
            logs: Vec::new(),
            undo: None,
            asked: None,
            may_have_happened: false,
        }
    }

    /// Whether it has come to a result that a run which is gone on with takes as it is: it
    /// succeeded, failed, or was not wanted.
    pub fn stands(&self) -> bool {
        match self.status {
            Status::Succeeded => !self.undo.as_ref().is_some_and(UndoState::is_unsettled),
            Status::Failed => true,
            Status::Skipped => {
                matches!(self.skip, Some(SkipKind::When | SkipKind::NotAsked))
            }
            Status::TimedOut => self.allowed,
            Status::Pending | Status::Running | Status::Cancelled | Status::Unknown => false,
        }
    }

    /// Whether it was begun, may have had its effect, and has no result that stands; or was being taken
    /// back, and nobody knows how much of it was.
    pub fn is_unsettled(&self) -> bool {
        let touches = self
            .effect
            .is_some_and(|effect| effect != EffectClass::Read);
        let open = match self.status {
            Status::Running | Status::Cancelled | Status::TimedOut | Status::Unknown => true,
            Status::Succeeded => self.is_half_undone(),
            _ => self.may_have_happened,
        };
        // A `foreach` step itself does nothing: its items do.
        touches && open && !self.stands() && self.items.is_none()
    }

    /// Whether it was done and was being taken back, and nobody knows how much of it was.
    pub fn is_half_undone(&self) -> bool {
        self.status == Status::Succeeded && self.undo.as_ref().is_some_and(UndoState::is_unsettled)
    }

    /// The run is gone on with, and it is to run again: whether it may have happened is kept.
    pub(super) fn pending_again(&mut self, open: bool) {
        let (effect, repeat) = (self.effect, self.repeat);
        self.reset();
        if open {
            self.may_have_happened = true;
            self.effect = effect;
            self.repeat = repeat;
        }
    }

    /// It has not started, but for the number of its attempts: each has files of its own.
    pub(super) fn reset(&mut self) {
        let fresh = Self::new(
            self.path.clone(),
            self.ty.clone(),
            self.name.take(),
            self.section,
        );
        let old = std::mem::replace(self, fresh);
        self.attempts = old.attempts;
        self.items = old.items;
        self.asked = old.asked;
        self.item = old.item;
    }

    /// A person said whether it had happened, and (where it was being taken back) still stands.
    pub(super) fn resolve(
        &mut self,
        happening: &Happening,
        resolve: &StepResolve,
        kind: ResumeKind,
    ) {
        let StepResolve { done, reason, user } = resolve;
        self.may_have_happened = false;
        let half_undone = self.is_half_undone();
        if !*done && half_undone && kind == ResumeKind::Resume {
            if let Some(undo) = &mut self.undo {
                undo.status = Status::Succeeded;
                undo.error = None;
            }
            self.reason = Some(format!("{user} said that it was taken back: {reason}"));
        } else if *done {
            self.undo = None;
            self.status = Status::Succeeded;
            self.changed = true;
            self.started_at.get_or_insert(happening.at);
            self.reason = Some(format!("{user} said that it is done: {reason}"));
        } else {
            self.reset();
        }
    }

    /// The worst of what it found.
    pub fn worst(&self) -> Option<Level> {
        self.findings.iter().map(|finding| finding.level).max()
    }

    pub(super) fn start(&mut self, happening: &Happening, start: &StepStart) {
        self.status = Status::Running;
        self.may_have_happened = false;
        self.asked = None;
        self.started_at.get_or_insert(happening.at);
        self.attempts = happening.attempt.unwrap_or(1);
        self.effect = Some(start.effect);
        self.repeat = Some(start.repeat);
        if start.name.is_some() {
            self.name.clone_from(&start.name);
        }
        self.config = start.config.clone();
        self.input.clone_from(&start.input);
    }

    pub(super) fn end(&mut self, happening: &Happening, result: &StepResult) {
        // One that is skipped is as it was.
        self.may_have_happened &= result.status == Status::Skipped;
        self.status = result.status;
        self.allowed = result.allowed;
        self.changed = result.changed;
        self.untouched = result.untouched;
        self.duration_ms = (result.status != Status::Skipped).then_some(result.duration_ms);
        self.outputs = result.outputs.clone();
        self.findings.clone_from(&result.findings);
        self.error.clone_from(&result.error);
        self.help.clone_from(&result.help);
        self.reason.clone_from(&result.reason);
        self.skip = result.skip;
        self.logs.clone_from(&result.logs);
        if let Some(attempt) = happening.attempt {
            self.attempts = attempt;
        }
    }
}
