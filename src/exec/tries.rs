//! The attempts at one step or item: each is recorded before it begins, judged after it, and followed
//! by another one or by the end.

use serde_json::Value;

use super::attempt::{AttemptEnd, Work, unlocked};
use super::ended::{End, Judged, value_of};
use super::leaf::condition;
use super::locks::HeldLock;
use super::retry::{Policy, Shortfall};
use super::scheduler::Engine;
use crate::base::{Deadline, Duration, EndReason, Instant, StepPath};
use crate::compile::{Local, Node};
use crate::event::{
    EffectClass, Event, Finding, JournalError, LogFile, Status, StepAttempt, StepStart,
};
use crate::host::Part;
use crate::model::{FailOn, Step};
use crate::step::{StepError, StepErrorKind};

/// What all attempts at one step or item have in common.
pub(super) struct Tries<'a, 'e> {
    engine: &'a Engine<'e>,
    step: &'a Step,
    node: &'a Node,
    path: &'a StepPath,
    local: &'a Local<'a>,
    lock: Option<&'a HeldLock>,
    policy: Policy<'a>,
    config: Value,
    name: Option<String>,
    started: Instant,
    deadline: Deadline,
    /// How many attempts there were before the run was gone on with: each has files of its own.
    before: u32,
    logs: Vec<LogFile>,
}

/// One attempt, judged.
struct Tried {
    judged: Judged,
    /// The wait before the next one, before chance makes it shorter; none where there is no next.
    delay: Option<Duration>,
}

impl<'a, 'e> Tries<'a, 'e> {
    pub fn new(
        engine: &'a Engine<'e>,
        at: usize,
        path: &'a StepPath,
        config: Value,
        local: &'a Local<'a>,
        lock: Option<&'a HeldLock>,
    ) -> Self {
        let program = engine.program;
        let (step, node) = (program.step(at), &program.nodes()[at]);
        let timeout = step.timeout.as_ref().map(|timeout| timeout.value);
        let timeout = timeout.or(program.playbook().defaults.timeout);
        let deadline = timeout.map_or(Deadline::NEVER, |limit| engine.clock.deadline_in(limit));
        Self {
            engine,
            step,
            node,
            path,
            local,
            lock,
            policy: Policy {
                retry: step.retry.as_ref(),
                effect: node.effect,
                repeat: node.repeat,
                generic: step.ty.is_generic(),
            },
            config,
            name: engine.name_of(step, local),
            started: engine.clock.now(),
            deadline,
            before: engine.attempts_before(path),
            logs: Vec::new(),
        }
    }

    /// Tries until it is good, or there is no further attempt.
    pub async fn run(mut self) -> Result<End, JournalError> {
        let (engine, step, path) = (self.engine, self.step, self.path);
        if let Some(verify) = step.verify.as_ref().filter(|_| engine.is_unsettled(path)) {
            let section = self.node.section;
            match { engine.probe(verify, section, path, self.before, self.local) }.await? {
                Ok(true) => return engine.found_done(step, path, self.before),
                Ok(false) => {}
                Err(error) => return engine.stays_unknown(step, path, self.before, error),
            }
        }
        let mut attempt = self.before + 1;
        // What an earlier part of the run has done is not known.
        let mut untouched = self.before == 0;
        loop {
            self.begin(attempt).await?;
            let Tried { judged, delay } = self.one(attempt).await?;
            let (mut error, outcome) = match judged {
                Judged::Bad { error, outcome } => (error, outcome),
                good => return self.finish(attempt, good),
            };
            untouched &= match &outcome {
                Some(outcome) => !outcome.changed,
                None => error.untouched,
            };
            error.untouched = untouched;
            let section = self.node.section;
            let Some(full) = delay.filter(|_| !engine.is_told(section)) else {
                return self.finish(attempt, Judged::Bad { error, outcome });
            };
            self.wait(attempt, &error, full).await?;
            if let Some(mut error) = self.ended_meanwhile(&error).await? {
                error.untouched = untouched;
                return self.finish(attempt, Judged::Bad { error, outcome });
            }
            attempt += 1;
        }
    }

    /// Records that an attempt begins.
    async fn begin(&self, attempt: u32) -> Result<(), JournalError> {
        let Self {
            engine, step, node, ..
        } = self;
        let start = StepStart {
            ty: step.ty.name().to_owned(),
            effect: node.effect,
            repeat: node.repeat,
            claimed_by: node.claimed_by,
            name: self.name.clone(),
            lock: self.lock.map(|lock| lock.key.clone()),
            config: self.config.clone(),
            input: engine.shared.redactor.digest_of_secret(&self.config),
        };
        let recorder = &engine.recorder;
        recorder.record(Some(self.path), Some(attempt), Event::StepStart(start))?;
        if node.effect != EffectClass::Read {
            // No intent on disk, no effect. What was recorded before goes with it.
            recorder.sync().await?;
        }
        Ok(())
    }

    /// Makes an attempt, and judges it.
    async fn one(&mut self, attempt: u32) -> Result<Tried, JournalError> {
        let (engine, step, node) = (self.engine, self.step, self.node);
        let limit = step.retry.as_ref().and_then(|retry| retry.attempt_timeout);
        let deadline = match limit {
            Some(limit) => self.deadline.min(engine.clock.deadline_in(limit)),
            None => self.deadline,
        };
        let work = Work {
            ty: step.ty,
            effect: node.effect,
            section: node.section,
            part: Part::Step,
            lock: self.lock.and_then(HeldLock::remote),
        };
        let config = self.config.clone();
        let end = engine.attempt(work, self.path, attempt, config, deadline);
        let end = end.await;
        self.logs.extend(end.logs.iter().cloned());
        engine.check_audit(&end)?;
        // The attempt's own time is up, and not the step's.
        let attempt_timeout = end.told == Some(EndReason::Timeout)
            && !self.deadline.passed(&engine.clock)
            && !engine.is_told(node.section);
        let (judged, delay) = self.judge(end, attempt, attempt_timeout);
        Ok(Tried { judged, delay })
    }

    /// Records that another attempt follows, and waits for its time.
    async fn wait(
        &self,
        attempt: u32,
        error: &StepError,
        full: Duration,
    ) -> Result<(), JournalError> {
        let engine = self.engine;
        // Many who failed together do not come back together.
        let delay = match self.step.retry.as_ref().is_some_and(|retry| retry.jitter) {
            true => engine.outside.part_of(full),
            false => full,
        };
        let note = StepAttempt {
            error: error.to_string(),
            delay_ms: delay.as_millis(),
        };
        let note = Event::StepAttempt(note);
        engine
            .recorder
            .record(Some(self.path), Some(attempt), note)?;
        let until = self.deadline.min(engine.clock.deadline_in(delay));
        tokio::select! {
            biased;
            _ = engine.cancel_of(self.node.section).told() => {}
            () = engine.clock.sleep_until(until) => {}
        }
        Ok(())
    }

    /// Why there is no further attempt after all, if something has happened since.
    async fn ended_meanwhile(&self, error: &StepError) -> Result<Option<StepError>, JournalError> {
        let (engine, section) = (self.engine, self.node.section);
        engine.ask_lock(section, self.node.effect).await?;
        let gone = match self.lock {
            Some(lock) => lock.check().await.err(),
            None => None,
        };
        let of_kind = |kind| {
            let error = error.clone();
            Some(StepError { kind, ..error })
        };
        Ok(if engine.is_told(section) {
            of_kind(StepErrorKind::Cancelled)
        } else if let Some(why) = gone {
            Some(unlocked(error.clone(), &why))
        } else if self.deadline.passed(&engine.clock) {
            of_kind(StepErrorKind::TimedOut)
        } else {
            None
        })
    }

    fn finish(self, attempt: u32, judged: Judged) -> Result<End, JournalError> {
        let engine = self.engine;
        let took = engine.clock.now().since(self.started).as_millis();
        engine.finish(self.step, self.path, attempt, judged, self.logs, took)
    }

    /// Whether an attempt was good enough, and how long to wait before the next one if not.
    fn judge(
        &self,
        end: AttemptEnd,
        attempt: u32,
        attempt_timeout: bool,
    ) -> (Judged, Option<Duration>) {
        let Self {
            engine,
            step,
            policy,
            ..
        } = self;
        let attempt = attempt - self.before;
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
        let fail_on = engine.fail_on(step);
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
            let scope = self.local.clone().with_own(self.path.step.clone(), own);
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
