//! Whether a failed attempt is followed by another one, and after how long.

use crate::base::Duration;
use crate::event::{EffectClass, RepeatClass};
use crate::model::Retry;
use crate::step::{StepError, StepErrorKind};

/// What decides on a retry besides the error itself.
#[derive(Clone, Copy, Debug)]
pub(super) struct Policy<'a> {
    pub retry: Option<&'a Retry>,
    pub effect: EffectClass,
    pub repeat: RepeatClass,
    pub generic: bool,
}

/// Why an attempt was not good enough.
#[derive(Clone, Debug)]
pub(super) enum Shortfall<'a> {
    /// It failed.
    Error(&'a StepError),
    /// It took longer than an attempt may take, and the step has time left.
    AttemptTimeout,
    /// What it found fails the step.
    Findings,
    /// `retry.until` is not true yet.
    Until,
}

impl Policy<'_> {
    /// The wait before the next attempt after attempt `attempt`, before chance makes it shorter; `None`
    /// where there is no next.
    pub fn next_delay(&self, attempt: u32, shortfall: &Shortfall<'_>) -> Option<Duration> {
        let retry = self.retry?;
        if attempt >= retry.attempts || !self.may_repeat() {
            return None;
        }
        let again = match shortfall {
            Shortfall::Until | Shortfall::AttemptTimeout => true,
            // Looking again is harmless; whatever else found something has done its work.
            Shortfall::Findings => self.effect == EffectClass::Read,
            Shortfall::Error(error) => match error.kind {
                StepErrorKind::Transient => true,
                StepErrorKind::Opaque => self.on_status(retry, error),
                // Only the author of a generic step knows what passes.
                StepErrorKind::Permanent => self.generic && retry.on.is_none(),
                _ => false,
            },
        };
        again.then(|| full_delay(retry, attempt))
    }

    /// A `once` step is never retried; a generic step is `once` by default because nobody knows
    /// better, and an explicit `retry:` is its author saying so.
    fn may_repeat(&self) -> bool {
        self.repeat != RepeatClass::Once || self.generic
    }

    fn on_status(&self, retry: &Retry, error: &StepError) -> bool {
        let Some(on) = &retry.on else { return true };
        let code = error
            .outputs
            .as_ref()
            .and_then(|outputs| outputs["exit_code"].as_i64());
        code.is_some_and(|code| on.contains(&code))
    }
}

/// The wait after `attempt` before chance makes it shorter.
fn full_delay(retry: &Retry, attempt: u32) -> Duration {
    let factor = retry
        .backoff
        .powi(i32::try_from(attempt - 1).unwrap_or(i32::MAX));
    let millis = retry.delay.as_millis() as f64 * factor;
    let most = retry.max_delay.as_millis();
    if millis.is_finite() && millis < most as f64 {
        Duration::from_millis(millis as u64)
    } else {
        retry.max_delay
    }
}

#[cfg(test)]
mod tests {
    use super::{Policy, Shortfall, full_delay};
    use crate::base::Duration;
    use crate::event::{EffectClass, RepeatClass};
    use crate::model::Retry;
    use crate::step::{StepError, StepErrorKind};

    fn retry() -> Retry {
        Retry {
            attempts: 3,
            delay: Duration::from_secs(1),
            backoff: 2.0,
            max_delay: Duration::from_secs(3),
            jitter: false,
            on: None,
            until: None,
            attempt_timeout: None,
        }
    }

    #[test]
    fn delays_grow_to_their_limit() {
        let delays: Vec<u64> = (1..=4)
            .map(|n| full_delay(&retry(), n).as_millis())
            .collect();
        assert_eq!(delays, [1000, 2000, 3000, 3000]);
    }

    #[test]
    fn who_is_tried_again() {
        let retry = Retry {
            on: Some(vec![75]),
            ..retry()
        };
        let policy = |repeat, generic, retry| Policy {
            retry,
            effect: EffectClass::Change,
            repeat,
            generic,
        };
        let transient = StepError::new(StepErrorKind::Transient, "reset");
        let permanent = StepError::permanent("no such table");
        let again = |policy: Policy<'_>, attempt, error: &StepError| {
            policy
                .next_delay(attempt, &Shortfall::Error(error))
                .is_some()
        };
        let typed = policy(RepeatClass::Idempotent, false, Some(&retry));
        assert!(again(typed, 1, &transient) && again(typed, 2, &transient));
        assert!(!again(typed, 3, &transient) && !again(typed, 1, &permanent));
        assert!(!again(
            policy(RepeatClass::Once, false, Some(&retry)),
            1,
            &transient
        ));
        assert!(!again(
            policy(RepeatClass::Idempotent, false, None),
            1,
            &transient
        ));
        let status = |code: i32| {
            StepError::new(StepErrorKind::Opaque, "failed")
                .with_outputs(&serde_json::json!({ "exit_code": code }))
        };
        let generic = policy(RepeatClass::Once, true, Some(&retry));
        assert!(again(generic, 1, &status(75)) && !again(generic, 1, &status(1)));
    }
}
