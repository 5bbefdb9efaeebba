//! One step, or one item of a `foreach` step: its condition, its attempts, its result.

use serde_json::Value;

use super::approval::Gate;
use super::attempt::{AttemptEnd, Work, unlocked};
use super::locks::{HeldLock, StepLock};
use super::retry::{Policy, Shortfall};
use super::scheduler::Engine;
use crate::base::{Deadline, EndReason, StepPath};
use crate::compile::{Local, Node, StepValue};
use crate::event::{
    EffectClass, Event, Finding, JournalError, SkipKind, Status, StepAttempt, StepResult, StepStart,
};
use crate::expr::{Evaluated, RootSource, from_json};
use crate::host::Part;
use crate::model::{FailOn, OnError, Step};
use crate::step::{Partial, RawOutcome, StepError, StepErrorKind};

/// How a step or item ended, for those that wait for it.
#[derive(Clone, Debug)]
pub(super) struct End {
    pub status: Status,
    pub allowed: bool,
    /// Why it was not started, where it was not.
    pub skip: Option<SkipKind>,
    pub value: StepValue,
    /// Why what waits for it must not start, if that is so.
    pub cause: Option<String>,
}

/// One item of a `foreach` step.
#[derive(Clone, Debug)]
pub(super) struct Item {
    pub index: u32,
    pub value: crate::expr::Value,
}

/// An attempt's result, judged.
enum Judged {
    Good {
        outcome: RawOutcome,
        /// How that is known, where it did not just run.
        reason: Option<String>,
    },
    Bad {
        error: StepError,
        outcome: Option<RawOutcome>,
    },
}

impl Judged {
    fn good(outcome: RawOutcome) -> Self {
        let reason = None;
        Self::Good { outcome, reason }
    }
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
        if let Some(when) = &step.when {
            match condition(when, &local) {
                Ok(true) => {}
                Ok(false) => {
                    let reason = format!("`when` is false: {}", when.source().trim());
                    return self.skip(path, SkipKind::When, reason, None);
                }
                Err(message) => {
                    return self.failed_before(
                        step,
                        path,
                        format!("its `when` has no value: {message}"),
                    );
                }
            }
        }
        let config = match step.config.eval(&local) {
            Ok(Partial::Known(config)) => config,
            Ok(partial) => {
                let why = partial.why_unknown().unwrap_or_default();
                return self.failed_before(
                    step,
                    path,
                    format!("its configuration is not known: {why}"),
                );
            }
            Err(error) => {
                let message = format!("its configuration has no value: {error}");
                return self.failed_before(step, path, message);
            }
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
            return self.attempts(step, node, path, config, &local, None).await;
        };
        if let Err(why) = lock.check().await {
            return self.failed_before(step, path, why);
        }
        let end = { self.attempts(step, node, path, config, &local, Some(&lock)) }.await;
        lock.release().await;
        end
    }

    /// Tries until it is good, or there is no further attempt.
    async fn attempts(
        &self,
        step: &Step,
        node: &Node,
        path: &StepPath,
        config: Value,
        local: &Local<'_>,
        lock: Option<&HeldLock>,
    ) -> Result<End, JournalError> {
        let started = self.clock.now();
        let timeout = step.timeout.as_ref().map(|timeout| timeout.value);
        let timeout = timeout.or(self.program.playbook().defaults.timeout);
        let deadline = timeout.map_or(Deadline::NEVER, |timeout| self.clock.deadline_in(timeout));
        let policy = Policy {
            retry: step.retry.as_ref(),
            effect: node.effect,
            repeat: node.repeat,
            generic: step.ty.is_generic(),
        };
        let name = self.name_of(step, local);
        let work = Work {
            ty: step.ty,
            effect: node.effect,
            section: node.section,
            part: Part::Step,
            lock: lock.and_then(HeldLock::remote),
        };
        let mut logs = Vec::new();
        // Each attempt has files of its own, also those before the run was gone on with.
        let before = self.attempts_before(path);
        let mut attempt = before + 1;
        if let Some(verify) = step.verify.as_ref().filter(|_| self.is_unsettled(path)) {
            match self
                .probe(verify, node.section, path, before, local)
                .await?
            {
                Ok(true) => return self.found_done(step, path, before),
                Ok(false) => {}
                Err(error) => return self.stays_unknown(step, path, before, error),
            }
        }
        loop {
            let start = StepStart {
                ty: step.ty.name().to_owned(),
                effect: node.effect,
                repeat: node.repeat,
                claimed_by: node.claimed_by,
                name: name.clone(),
                lock: lock.map(|lock| lock.key.clone()),
                config: config.clone(),
                input: self.shared.redactor.digest_of_secret(&config),
            };
            self.recorder
                .record(Some(path), Some(attempt), Event::StepStart(start))?;
            if node.effect != EffectClass::Read {
                // No intent on disk, no effect. What was recorded before goes with it.
                self.recorder.sync().await?;
            }
            let attempt_deadline = match step.retry.as_ref().and_then(|retry| retry.attempt_timeout)
            {
                Some(limit) => deadline.min(self.clock.deadline_in(limit)),
                None => deadline,
            };
            let end = self
                .attempt(work, path, attempt, config.clone(), attempt_deadline)
                .await;
            logs.extend(end.logs.iter().cloned());
            self.check_audit(&end)?;
            let attempt_timeout = end.told == Some(EndReason::Timeout)
                && !deadline.passed(&self.clock)
                && !self.is_told(node.section);
            let (judged, full_delay) = self.judge(
                step,
                path,
                local,
                end,
                attempt - before,
                &policy,
                attempt_timeout,
            );
            let delay = match (&judged, full_delay) {
                (Judged::Bad { error, .. }, Some(full)) if !self.is_told(node.section) => {
                    // Many who failed together do not come back together.
                    let jitter = step.retry.as_ref().is_some_and(|retry| retry.jitter);
                    let delay = match jitter {
                        true => self.outside.part_of(full),
                        false => full,
                    };
                    let note = StepAttempt {
                        error: error.to_string(),
                        delay_ms: delay.as_millis(),
                    };
                    self.recorder
                        .record(Some(path), Some(attempt), Event::StepAttempt(note))?;
                    delay
                }
                _ => {
                    let took = self.clock.now().since(started).as_millis();
                    return self.finish(step, path, attempt, judged, logs, took);
                }
            };
            let wait_until = deadline.min(self.clock.deadline_in(delay));
            tokio::select! {
                biased;
                _ = self.cancel_of(node.section).told() => {}
                () = self.clock.sleep_until(wait_until) => {}
            }
            self.ask_lock(node.section, node.effect).await?;
            let gone = match lock {
                Some(lock) => lock.check().await.err(),
                None => None,
            };
            let told = self.is_told(node.section);
            if told || gone.is_some() || deadline.passed(&self.clock) {
                let judged = match judged {
                    Judged::Bad { error, outcome } if gone.is_some() && !told => Judged::Bad {
                        error: unlocked(error, &gone.unwrap_or_default()),
                        outcome,
                    },
                    Judged::Bad { error, outcome } => {
                        let kind = if told {
                            StepErrorKind::Cancelled
                        } else {
                            StepErrorKind::TimedOut
                        };
                        Judged::Bad {
                            error: StepError { kind, ..error },
                            outcome,
                        }
                    }
                    good => good,
                };
                let took = self.clock.now().since(started).as_millis();
                return self.finish(step, path, attempt, judged, logs, took);
            }
            attempt += 1;
        }
    }

    /// It happened in an earlier part of the run, as its `verify` found out.
    fn found_done(&self, step: &Step, path: &StepPath, attempt: u32) -> Result<End, JournalError> {
        let outcome = RawOutcome {
            outputs: Value::Null,
            findings: Vec::new(),
            changed: true,
        };
        let reason = Some("its `verify` found that it had happened".to_owned());
        self.finish(
            step,
            path,
            attempt,
            Judged::Good { outcome, reason },
            Vec::new(),
            0,
        )
    }

    /// Nobody knows whether it happened in an earlier part of the run.
    fn stays_unknown(
        &self,
        step: &Step,
        path: &StepPath,
        attempt: u32,
        error: String,
    ) -> Result<End, JournalError> {
        let judged = Judged::Bad {
            error: StepError::new(StepErrorKind::Unknown, error),
            outcome: None,
        };
        self.finish(step, path, attempt, judged, Vec::new(), 0)
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

    /// Whether an attempt was good enough, and how long to wait before the next one if not.
    #[expect(
        clippy::too_many_arguments,
        reason = "all of it decides, and it is called once"
    )]
    fn judge(
        &self,
        step: &Step,
        path: &StepPath,
        local: &Local<'_>,
        end: AttemptEnd,
        attempt: u32,
        policy: &Policy<'_>,
        attempt_timeout: bool,
    ) -> (Judged, Option<crate::base::Duration>) {
        let outcome = match end.result {
            Ok(outcome) => outcome,
            Err(mut error) => {
                if let Some(reason) = end.told
                    && error.kind != StepErrorKind::Unknown
                {
                    error.kind = match reason {
                        EndReason::Timeout => StepErrorKind::TimedOut,
                        EndReason::Cancelled => StepErrorKind::Cancelled,
                    };
                }
                let delay = if attempt_timeout {
                    policy.next_delay(attempt, &Shortfall::AttemptTimeout)
                } else {
                    policy.next_delay(attempt, &Shortfall::Error(&error))
                };
                return (
                    Judged::Bad {
                        error,
                        outcome: None,
                    },
                    delay,
                );
            }
        };
        let fail_on = self.fail_on(step);
        if let Some(message) = failing(&outcome.findings, fail_on) {
            let delay = policy.next_delay(attempt, &Shortfall::Findings);
            let error = StepError::permanent(message);
            return (
                Judged::Bad {
                    error,
                    outcome: Some(outcome),
                },
                delay,
            );
        }
        let until = step.retry.as_ref().and_then(|retry| retry.until.as_ref());
        if let Some(until) = until {
            let own = value_of(Status::Succeeded, &outcome);
            let scope = local.clone().with_own(path.step.clone(), own);
            let message = match condition(until, &scope) {
                Ok(true) => return (Judged::good(outcome), None),
                Ok(false) => format!("`until` is not true yet: {}", until.source().trim()),
                Err(message) => format!("its `until` has no value: {message}"),
            };
            let delay = policy.next_delay(attempt, &Shortfall::Until);
            let error = StepError::permanent(message);
            return (
                Judged::Bad {
                    error,
                    outcome: Some(outcome),
                },
                delay,
            );
        }
        (Judged::good(outcome), None)
    }

    fn fail_on(&self, step: &Step) -> FailOn {
        step.fail_on
            .or(self.program.playbook().defaults.fail_on)
            .unwrap_or_default()
    }

    /// Records the result, and what those that wait for it need to know.
    fn finish(
        &self,
        step: &Step,
        path: &StepPath,
        attempt: u32,
        judged: Judged,
        logs: Vec<crate::event::LogFile>,
        duration_ms: u64,
    ) -> Result<End, JournalError> {
        let mut result = StepResult {
            duration_ms,
            logs,
            ..StepResult::of(Status::Succeeded)
        };
        let value = match judged {
            Judged::Good { outcome, reason } => {
                let value = value_of(Status::Succeeded, &outcome);
                result.reason = reason;
                result.changed = outcome.changed;
                result.outputs = outcome.outputs;
                result.findings = outcome.findings;
                value
            }
            Judged::Bad { error, outcome } => {
                result.status = match error.kind {
                    StepErrorKind::TimedOut => Status::TimedOut,
                    StepErrorKind::Cancelled => Status::Cancelled,
                    StepErrorKind::Unknown => Status::Unknown,
                    _ => Status::Failed,
                };
                result.allowed = step.on_error == OnError::Continue && result.status.is_bad();
                let outcome = outcome.unwrap_or_else(|| RawOutcome {
                    outputs: error.outputs.clone().unwrap_or(Value::Null),
                    findings: error.findings.clone(),
                    changed: false,
                });
                let value = value_of(result.status, &outcome);
                result.changed = outcome.changed;
                result.outputs = outcome.outputs;
                result.findings = outcome.findings;
                result.help = error.help;
                result.error = Some(error.message);
                value
            }
        };
        let read = self.program.nodes()[self.place(path)].effect == EffectClass::Read;
        if read {
            result.changed = false;
        }
        let (status, allowed) = (result.status, result.allowed);
        let value = StepValue {
            changed: result.changed,
            ..value
        };
        let cause =
            (status.is_bad() && !allowed).then(|| format!("`{}` {}", path.step, past(status)));
        self.recorder
            .record(Some(path), Some(attempt), Event::StepResult(result))?;
        if !read {
            self.recorder.want_sync();
        }
        Ok(End {
            status,
            allowed,
            skip: None,
            value,
            cause,
        })
    }

    fn place(&self, path: &StepPath) -> usize {
        self.program.find(path.step.as_str()).unwrap_or(0)
    }

    /// Records that it is not run, because of `reason`. `cause` keeps what waits for it from
    /// starting.
    pub(super) fn skip(
        &self,
        path: &StepPath,
        kind: SkipKind,
        reason: String,
        cause: Option<String>,
    ) -> Result<End, JournalError> {
        self.recorder.record(
            Some(path),
            None,
            Event::StepResult(StepResult::skipped(kind, reason)),
        )?;
        Ok(End {
            status: Status::Skipped,
            allowed: false,
            skip: Some(kind),
            value: StepValue {
                status: Status::Skipped,
                changed: false,
                outputs: None,
                findings: Vec::new(),
            },
            cause,
        })
    }

    /// Records that it failed before it started.
    pub(super) fn failed_before(
        &self,
        step: &Step,
        path: &StepPath,
        message: String,
    ) -> Result<End, JournalError> {
        let judged = Judged::Bad {
            error: StepError::permanent(message),
            outcome: None,
        };
        self.finish(step, path, 1, judged, Vec::new(), 0)
    }

    fn name_of(&self, step: &Step, scope: &dyn RootSource) -> Option<String> {
        let name = step.name.as_ref()?;
        match name.eval(scope) {
            Ok(Evaluated::Known(value)) => Some(value.to_string()),
            _ => None,
        }
    }
}

/// "failed", "timed out".
pub(super) fn past(status: Status) -> &'static str {
    match status {
        Status::TimedOut => "timed out",
        Status::Cancelled => "was cancelled",
        Status::Unknown => "has an unknown outcome",
        Status::Skipped => "was skipped",
        _ => "failed",
    }
}

fn value_of(status: Status, outcome: &RawOutcome) -> StepValue {
    let outputs = (!outcome.outputs.is_null()).then(|| from_json(outcome.outputs.clone()));
    StepValue {
        status,
        changed: outcome.changed,
        outputs,
        findings: outcome.findings.clone(),
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

/// What fails a step of its findings: the worst, and how many more there are.
pub(super) fn failing(findings: &[Finding], fail_on: FailOn) -> Option<String> {
    let bad: Vec<&Finding> = findings.iter().filter(|f| fail_on.fails(f.level)).collect();
    let worst = bad.iter().rev().max_by_key(|finding| finding.level)?;
    let more = match bad.len() - 1 {
        0 => String::new(),
        count => format!(", and {count} more"),
    };
    Some(format!(
        "{}: {}: {}{more}",
        worst.level, worst.subject, worst.message
    ))
}
