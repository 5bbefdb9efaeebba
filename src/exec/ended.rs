//! What came of a step or item, recorded, and what those that wait for it need to know of it.

use serde_json::Value;

use super::scheduler::Engine;
use crate::base::StepPath;
use crate::compile::StepValue;
use crate::event::{EffectClass, Event, JournalError, LogFile, SkipKind, Status, StepResult};
use crate::expr::from_json;
use crate::model::{OnError, Step};
use crate::step::{RawOutcome, StepError, StepErrorKind};

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

/// An attempt's result, judged.
pub(super) enum Judged {
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
    pub fn good(outcome: RawOutcome) -> Self {
        let reason = None;
        Self::Good { outcome, reason }
    }
}

impl Engine<'_> {
    /// It happened in an earlier part of the run, as its `verify` found out.
    pub(super) fn found_done(
        &self,
        step: &Step,
        path: &StepPath,
        attempt: u32,
    ) -> Result<End, JournalError> {
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
    pub(super) fn stays_unknown(
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

    /// Records the result, and what those that wait for it need to know.
    pub(super) fn finish(
        &self,
        step: &Step,
        path: &StepPath,
        attempt: u32,
        judged: Judged,
        logs: Vec<LogFile>,
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
                result.untouched = error.untouched && !outcome.changed;
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
            // It goes without saying.
            result.untouched = false;
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

pub(super) fn value_of(status: Status, outcome: &RawOutcome) -> StepValue {
    let outputs = (!outcome.outputs.is_null()).then(|| from_json(outcome.outputs.clone()));
    StepValue {
        status,
        changed: outcome.changed,
        outputs,
        findings: outcome.findings.clone(),
    }
}
