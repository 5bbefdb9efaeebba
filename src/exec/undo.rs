//! Taking back what was done, when a later step failed: the `undo:` of each step that has one, the
//! last one first.

use serde_json::Value;

use super::attempt::Work;
use super::ended::End;
use super::leaf::Item;
use super::scheduler::Engine;
use crate::base::{Duration, EndReason, StepPath};
use crate::compile::StepValue;
use crate::event::{
    EffectClass, Event, JournalError, RepeatClass, Section, Status, UndoResult, UndoStart,
};
use crate::expr::from_json;
use crate::host::Part;
use crate::model::Typed;
use crate::step::{Partial, StepErrorKind};

/// How long an `undo` may take where neither its step nor the playbook says it.
const UNDO_TIME: Duration = Duration::from_secs(10 * 60);

/// A step or item that was done and can be taken back.
pub(super) struct Done {
    at: usize,
    item: Option<Item>,
    path: StepPath,
    value: StepValue,
}

fn ended_by(reason: EndReason) -> Status {
    match reason {
        EndReason::Timeout => Status::TimedOut,
        EndReason::Cancelled => Status::Cancelled,
    }
}

impl Engine<'_> {
    /// Takes note of a step or item that was done and can be taken back.
    pub(super) fn note_done(&self, at: usize, item: Option<&Item>, path: &StepPath, end: &End) {
        let step = self.program.step(at);
        let done = end.status == Status::Succeeded && end.value.changed;
        if step.undo.is_none() || !done || self.was_undone(path) {
            return;
        }
        self.done.borrow_mut().push(Done {
            at,
            item: item.cloned(),
            path: path.clone(),
            value: end.value.clone(),
        });
    }

    /// The same of a step, or of each of its items, that was done in an earlier part of the run.
    pub(super) fn note_replayed(&self, at: usize, path: &StepPath, end: &End) {
        let items = self
            .items_before(path)
            .filter(|_| self.program.step(at).foreach.is_some());
        let Some(items) = items else {
            return self.note_done(at, None, path, end);
        };
        for (index, value) in (0..).zip(items) {
            let path = StepPath::item(path.step.clone(), index);
            let item = Item {
                index,
                value: from_json(value),
            };
            if let Some(end) = self.replayed(&path) {
                self.note_done(at, Some(&item), &path, &end);
            }
        }
    }

    /// Takes all of it back, the last one first. What cannot be taken back is told, and the others
    /// are taken back all the same.
    pub(super) async fn undo_all(&self) -> Result<(), JournalError> {
        while let Some(done) = self.pop_done() {
            self.ask_lock(Section::Main, EffectClass::Change).await?;
            if self.stopped(Section::Finally).is_some() || self.verdict.borrow().is_unlocked() {
                break;
            }
            if let Some(undo) = &self.program.step(done.at).undo {
                self.undo(&done, undo).await?;
            }
        }
        Ok(())
    }

    fn pop_done(&self) -> Option<Done> {
        self.done.borrow_mut().pop()
    }

    async fn undo(&self, done: &Done, undo: &Typed) -> Result<(), JournalError> {
        let step = self.program.step(done.at);
        let mut local = self.world.local();
        if let (Some(item), Some(foreach)) = (&done.item, &step.foreach) {
            local = local.with_item(&foreach.name, item.value.clone(), item.index);
        }
        let local = local.with_own(done.path.step.clone(), done.value.clone());
        let config = match undo.config.eval(&local) {
            Ok(Partial::Known(config)) => Ok(config),
            Ok(partial) => Err(partial.why_unknown().unwrap_or_default().to_string()),
            Err(error) => Err(error.to_string()),
        };
        let effect = match &config {
            Ok(config) => undo.ty.classify(&Partial::Known(config.clone())),
            Err(_) => undo.ty.effect(),
        };
        let start = UndoStart {
            ty: undo.ty.name().to_owned(),
            effect,
            repeat: match effect {
                EffectClass::Read => RepeatClass::Idempotent,
                _ => undo.ty.repeat(),
            },
            config: config.clone().unwrap_or(Value::Null),
        };
        let path = &done.path;
        self.recorder
            .record(Some(path), None, Event::UndoStart(start))?;
        // No intent on disk, no effect.
        self.recorder.sync().await?;
        let started = self.clock.now();
        let mut result = UndoResult {
            status: Status::Succeeded,
            duration_ms: 0,
            outputs: Value::Null,
            error: None,
            help: None,
            logs: Vec::new(),
        };
        match config {
            Err(why) => {
                result.status = Status::Failed;
                result.error = Some(format!(
                    "the configuration of its `undo` has no value: {why}"
                ));
            }
            Ok(config) => {
                let work = Work {
                    ty: undo.ty,
                    effect,
                    section: Section::Finally,
                    part: Part::Undo,
                    lock: None,
                };
                let timeout = step.timeout.as_ref().map(|timeout| timeout.value);
                let timeout = timeout.or(self.program.playbook().defaults.timeout);
                let deadline = self.clock.deadline_in(timeout.unwrap_or(UNDO_TIME));
                let end = self.attempt(work, path, 1, config, deadline).await;
                self.check_audit(&end)?;
                result.logs = end.logs;
                match end.result {
                    Ok(outcome) => result.outputs = outcome.outputs,
                    Err(error) => {
                        result.status = match (end.told, error.kind) {
                            (_, StepErrorKind::Unknown) => Status::Unknown,
                            (Some(reason), _) => ended_by(reason),
                            _ => Status::Failed,
                        };
                        result.outputs = error.outputs.unwrap_or_default();
                        result.error = Some(error.message);
                        result.help = error.help;
                    }
                }
            }
        }
        result.duration_ms = self.clock.now().since(started).as_millis();
        self.verdict.borrow_mut().undo(result.status);
        self.recorder
            .record(Some(path), None, Event::UndoResult(result))?;
        self.recorder.want_sync();
        Ok(())
    }
}
