//! One attempt of one step: the step type is called with just the means that it needs, and ended
//! when its time is up or the run is.

use std::pin::pin;
use std::sync::Arc;

use serde_json::Value;

use super::Call;
use super::remote::Remote;
use super::scheduler::Engine;
use crate::base::{Cancel, Deadline, Duration, EndReason, StepPath};
use crate::event::{EffectClass, LogFile, Section};
use crate::host::process::GRACE;
use crate::host::{Effect, Observe, Part, Scope};
use crate::step::{AnyStep, Means, Preview, RawOutcome, StepError, StepErrorKind};

/// How long a step that was told to end is waited for, beyond what its processes are given.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is attempted: a step, or what stands within one (`verify`, `undo`).
#[derive(Clone, Copy)]
pub(super) struct Work<'l> {
    pub ty: &'static dyn AnyStep,
    /// What it does to the world: decides on the means that it is handed.
    pub effect: EffectClass,
    /// Whose end ends it.
    pub section: Section,
    pub part: Part,
    /// What it must not go on without.
    pub lock: Option<&'l Remote>,
}

impl Work<'_> {
    fn call(self, path: &StepPath, attempt: u32, config: Value) -> Call {
        Call {
            ty: self.ty,
            path: path.clone(),
            part: self.part,
            attempt,
            config,
        }
    }
}

/// How an attempt ended.
pub(super) struct AttemptEnd {
    pub result: Result<RawOutcome, StepError>,
    /// Why it was told to end, if it was.
    pub told: Option<EndReason>,
    pub logs: Vec<LogFile>,
}

impl Engine<'_> {
    /// Runs attempt number `attempt`.
    pub(super) async fn attempt(
        &self,
        work: Work<'_>,
        path: &StepPath,
        attempt: u32,
        config: Value,
        deadline: Deadline,
    ) -> AttemptEnd {
        let (scope, own) = self.scope(work, path, attempt, deadline);
        // What may not touch is not handed the means.
        let (observe, effect);
        let means = if work.effect == EffectClass::Read {
            observe = if work.ty.is_generic() {
                Observe::claimed(Arc::clone(&scope))
            } else {
                Observe::new(Arc::clone(&scope))
            };
            Means::Look(&observe)
        } else {
            effect = Effect::new(Arc::clone(&scope));
            Means::Act(&effect)
        };
        let call = work.call(path, attempt, config);
        let doing = self.outside.execute(call, means);
        let (result, told) = self.attend(work, doing, &own, deadline).await;
        AttemptEnd {
            result,
            told,
            logs: scope.take_logs(),
        }
    }

    /// Looks what a step would do.
    pub(super) async fn preview_of(
        &self,
        work: Work<'_>,
        path: &StepPath,
        config: Value,
        time: Duration,
    ) -> Result<Preview, StepError> {
        let deadline = self.clock.deadline_in(time);
        let (scope, own) = self.scope(work, path, 1, deadline);
        // It may look, and no more: whatever the step itself may.
        let observe = Observe::new(scope);
        let looking = self.outside.preview(work.call(path, 1, config), &observe);
        self.attend(work, looking, &own, deadline).await.0
    }

    fn scope(
        &self,
        work: Work<'_>,
        path: &StepPath,
        attempt: u32,
        deadline: Deadline,
    ) -> (Arc<Scope>, Cancel) {
        let own = Cancel::new();
        let scope = Scope {
            shared: Arc::clone(&self.shared),
            path: path.clone(),
            part: work.part,
            attempt,
            deadline,
            cancel: own.clone(),
            durable: work.effect != EffectClass::Read,
            logs: std::sync::Mutex::default(),
        };
        (Arc::new(scope), own)
    }

    /// Polls the step, and tells it to end when the time has come.
    async fn attend<T>(
        &self,
        what: Work<'_>,
        work: impl Future<Output = Result<T, StepError>>,
        own: &Cancel,
        deadline: Deadline,
    ) -> (Result<T, StepError>, Option<EndReason>) {
        let clock = &self.clock;
        let run = self.cancel_of(what.section);
        let mut work = pin!(work);
        let mut lost = pin!(async {
            match what.lock {
                Some(lock) => lock.gone(&lock.lost().await),
                None => std::future::pending().await,
            }
        });
        let mut gone: Option<String> = None;
        let mut told: Option<EndReason> = None;
        let (mut cancelled, mut killed) = (false, false);
        let mut abandon_at = Deadline::NEVER;
        let patience =
            |after: Duration| clock.deadline_in((after.as_std() + PATIENCE.as_std()).into());
        loop {
            tokio::select! {
                biased;
                result = &mut work => return match gone {
                    Some(why) if !cancelled => (Err(without_lock(result, &why)), None),
                    _ => (result, told),
                },
                why = &mut lost, if told.is_none() => {
                    gone = Some(why);
                    own.end(EndReason::Cancelled);
                    told = Some(EndReason::Cancelled);
                    abandon_at = patience(GRACE);
                }
                () = clock.sleep_until(deadline), if told.is_none() => {
                    own.end(EndReason::Timeout);
                    told = Some(EndReason::Timeout);
                    abandon_at = patience(GRACE);
                }
                reason = run.told(), if !cancelled => {
                    cancelled = true;
                    own.end(reason);
                    if told.is_none() {
                        told = Some(reason);
                        abandon_at = patience(GRACE);
                    }
                }
                () = run.told_now(), if cancelled && !killed => {
                    killed = true;
                    own.end_now(EndReason::Cancelled);
                    abandon_at = patience(Duration::ZERO);
                }
                () = clock.sleep_until(abandon_at), if told.is_some() => {
                    // What hangs in the kernel cannot be ended; whether it had its effect, nobody
                    // knows.
                    let kind = match (what.effect, told) {
                        (EffectClass::Read, Some(EndReason::Timeout)) => StepErrorKind::TimedOut,
                        (EffectClass::Read, _) => StepErrorKind::Cancelled,
                        _ => StepErrorKind::Unknown,
                    };
                    let message = "it was told to end and did not, so it is no longer waited for";
                    return (Err(StepError::new(kind, message)), told);
                }
            }
        }
    }
}

/// What a step comes to whose lock was lost while it ran: it was told to end, and failed.
fn without_lock<T>(result: Result<T, StepError>, why: &str) -> StepError {
    match result {
        Ok(_) => StepError::permanent(format!("{why}; the step had ended all the same")),
        Err(error) => unlocked(error, why),
    }
}

/// `error` of a step that must not be tried again because its lock was lost.
pub(super) fn unlocked(error: StepError, why: &str) -> StepError {
    let kind = match error.kind {
        StepErrorKind::Unknown | StepErrorKind::Audit => error.kind,
        _ => StepErrorKind::Permanent,
    };
    let message = format!("{why}; {}", error.message);
    StepError {
        kind,
        message,
        ..error
    }
}
