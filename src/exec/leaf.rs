//! One step, or one item of a `foreach` step: what stands before it, up to its attempts.

use serde_json::Value;

use super::approval::Gate;
use super::attempt::AttemptEnd;
use super::ended::End;
use super::locks::StepLock;
use super::scheduler::Engine;
use super::tries::Tries;
use crate::base::StepPath;
use crate::compile::Local;
use crate::event::{JournalError, SkipKind};
use crate::expr::{Evaluated, RootSource};
use crate::model::{FailOn, Step};
use crate::step::{Partial, StepErrorKind};

/// One item of a `foreach` step.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub index: u32,
    pub value: crate::expr::Value,
}

impl Engine<'_> {
    /// Runs step `at`, or one item of it.
    pub(super) async fn leaf(&self, at: usize, item: Option<Item>) -> Result<End, JournalError> {
        let id = self.program.step(at).id.value.clone();
        let path = match &item {
            None => StepPath::step(id),
            Some(item) => StepPath::item(id, item.index),
        };
        let end = self.leaf_at(at, item.clone(), &path).await?;
        self.note_done(at, item.as_ref(), &path, &end);
        Ok(end)
    }

    async fn leaf_at(
        &self,
        at: usize,
        item: Option<Item>,
        path: &StepPath,
    ) -> Result<End, JournalError> {
        let step = self.program.step(at);
        let node = &self.program.nodes()[at];
        let mut local = self.world.local();
        if let (Some(item), Some(foreach)) = (item, &step.foreach) {
            local = local.with_item(&foreach.name, item.value, item.index);
        }
        if let Some(end) = self.replayed(path) {
            return Ok(end);
        }
        let config = match self.asked(step, path, &local)? {
            Ok(config) => config,
            Err(end) => return Ok(*end),
        };
        if let Some(reason) = self.breaks_plan(at, path, &config).await {
            self.verdict.borrow_mut().denied();
            let cause = Some(format!("`{}` is not as it was planned", path.step));
            return self.skip(path, SkipKind::Denied, reason, cause);
        }
        if step.foreach.is_none() {
            match self.gate(at, path, &config, &local).await? {
                Gate::Open => {}
                Gate::End(end) => return Ok(*end),
                Gate::Wait => return Ok(End::waiting()),
            }
        }
        // Before the permit: whoever waits for a lock keeps nobody else from running.
        let lock = match self.lock_of(step, node.section, path, &local).await? {
            StepLock::None => None,
            StepLock::Held(held) => Some(held),
            StepLock::End(end) => return Ok(*end),
        };
        // Never closed, so it cannot fail.
        let _permit = self.permits.acquire().await.ok();
        self.ask_lock(node.section, node.effect).await?;
        if let Some(reason) = self.stopped(node.section) {
            let cause = Some(reason.to_owned());
            return self.skip(path, SkipKind::Stopped, reason.to_owned(), cause);
        }
        let Some(lock) = lock else {
            return Tries::new(self, at, path, config, &local, None).run().await;
        };
        if let Err(why) = lock.check().await {
            return self.failed_before(step, path, why);
        }
        let tries = Tries::new(self, at, path, config, &local, Some(&lock));
        let end = tries.run().await;
        lock.release().await;
        end
    }

    /// Whether it is to run, and with which configuration; else how it ends instead.
    fn asked(
        &self,
        step: &Step,
        path: &StepPath,
        local: &Local<'_>,
    ) -> Result<Result<Value, Box<End>>, JournalError> {
        let failed = |message: String| self.failed_before(step, path, message);
        if let Some(when) = &step.when {
            match condition(when, local) {
                Ok(true) => {}
                Ok(false) => {
                    let reason = format!("`when` is false: {}", when.source().trim());
                    let end = self.skip(path, SkipKind::When, reason, None)?;
                    return Ok(Err(Box::new(end)));
                }
                Err(message) => {
                    let end = failed(format!("its `when` has no value: {message}"))?;
                    return Ok(Err(Box::new(end)));
                }
            }
        }
        let message = match step.config.eval(local) {
            Ok(Partial::Known(config)) => return Ok(Ok(config)),
            Ok(partial) => {
                let why = partial.why_unknown().unwrap_or_default();
                format!("its configuration is not known: {why}")
            }
            Err(error) => format!("its configuration has no value: {error}"),
        };
        Ok(Err(Box::new(failed(message)?)))
    }

    /// Our own record (a log) could not be written: nothing more may happen.
    pub(super) fn check_audit(&self, end: &AttemptEnd) -> Result<(), JournalError> {
        match &end.result {
            Err(error) if error.kind == StepErrorKind::Audit => {
                self.recorder
                    .fail("write the log of a step", &error.message);
                Err(JournalError {
                    what: "write the log of a step".to_owned(),
                    cause: error.message.clone(),
                })
            }
            _ => Ok(()),
        }
    }

    pub(super) fn fail_on(&self, step: &Step) -> FailOn {
        step.fail_on
            .or(self.program.playbook().defaults.fail_on)
            .unwrap_or_default()
    }

    pub(super) fn name_of(&self, step: &Step, scope: &dyn RootSource) -> Option<String> {
        let name = step.name.as_ref()?;
        match name.eval(scope) {
            Ok(Evaluated::Known(value)) => Some(value.to_string()),
            _ => None,
        }
    }
}

/// The value of a condition.
pub(super) fn condition(expr: &crate::expr::Expr, scope: &dyn RootSource) -> Result<bool, String> {
    match expr.eval(scope) {
        Ok(Evaluated::Known(value)) => match crate::expr::to_json(&value) {
            Value::Bool(value) => Ok(value),
            other => Err(format!(
                "`{}` is {other}, not true or false",
                expr.source().trim()
            )),
        },
        Ok(Evaluated::Unknown(unknown)) => Err(unknown.why.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
