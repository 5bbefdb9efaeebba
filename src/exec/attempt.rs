//! One attempt of one step: the step type is called with just the means that it needs, and ended
//! when its time is up or the run is.

use std::pin::pin;
use std::sync::Arc;

use serde_json::Value;

use super::scheduler::Engine;
use crate::base::{Cancel, Deadline, Duration, EndReason, StepPath};
use crate::compile::Node;
use crate::event::{EffectClass, LogFile};
use crate::host::process::GRACE;
use crate::host::{Effect, Observe, Scope};
use crate::model::Step;
use crate::step::{Means, RawOutcome, StepError, StepErrorKind};

/// How long a step that was told to end is waited for, beyond what its processes are given.
const PATIENCE: Duration = Duration::from_secs(5);

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
        step: &Step,
        node: &Node,
        path: &StepPath,
        attempt: u32,
        config: Value,
        deadline: Deadline,
    ) -> AttemptEnd {
        let own = Cancel::new();
        let scope = Arc::new(Scope {
            shared: Arc::clone(&self.shared),
            path: path.clone(),
            attempt,
            deadline,
            cancel: own.clone(),
            durable: node.effect != EffectClass::Read,
            logs: std::sync::Mutex::default(),
        });
        // What may not touch is not handed the means.
        let (observe, effect);
        let means = if node.effect == EffectClass::Read {
            observe = if step.ty.is_generic() {
                Observe::claimed(Arc::clone(&scope))
            } else {
                Observe::new(Arc::clone(&scope))
            };
            Means::Look(&observe)
        } else {
            effect = Effect::new(Arc::clone(&scope));
            Means::Act(&effect)
        };
        let (result, told) = self.attend(step, node, config, means, &own, deadline).await;
        AttemptEnd {
            result,
            told,
            logs: scope.take_logs(),
        }
    }

    /// Polls a look that stands beside a step, such as its `verify`: for as long as it may take.
    pub(super) async fn attend_probe(
        &self,
        work: impl Future<Output = Result<RawOutcome, StepError>>,
        own: &Cancel,
        deadline: Deadline,
    ) -> Result<RawOutcome, StepError> {
        let mut work = pin!(work);
        let late = |patience: Duration| {
            let message = "it took too long".to_owned();
            (
                self.clock.deadline_in(patience),
                StepError::new(StepErrorKind::TimedOut, message),
            )
        };
        tokio::select! {
            biased;
            result = &mut work => return result,
            () = self.clock.sleep_until(deadline) => own.end(EndReason::Timeout),
            () = self.finally.told_now() => own.end_now(EndReason::Cancelled),
        }
        let (until, error) = late((GRACE.as_std() + PATIENCE.as_std()).into());
        self.clock.within(until, work).await.unwrap_or(Err(error))
    }

    /// Polls the step, and tells it to end when the time has come.
    async fn attend(
        &self,
        step: &Step,
        node: &Node,
        config: Value,
        means: Means<'_>,
        own: &Cancel,
        deadline: Deadline,
    ) -> (Result<RawOutcome, StepError>, Option<EndReason>) {
        let clock = &self.clock;
        let run = self.cancel_of(node.section);
        let mut work = pin!(step.ty.execute(config, means));
        let mut told: Option<EndReason> = None;
        let (mut cancelled, mut killed) = (false, false);
        let mut abandon_at = Deadline::NEVER;
        let patience =
            |after: Duration| clock.deadline_in((after.as_std() + PATIENCE.as_std()).into());
        loop {
            tokio::select! {
                biased;
                result = &mut work => return (result, told),
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
                    let kind = match (node.effect, told) {
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
