//! `flow.wait`: a pause.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::{Duration, EndReason};
use crate::event::{EffectClass, RepeatClass};
use crate::host::Observe;
use crate::step::{Description, Look, Outcome, Partial, StepError, StepErrorKind, StepType};

/// The type.
#[derive(Debug)]
pub struct Wait;

/// Waits for a length of time.
///
/// Time is counted by a clock that goes on while the machine sleeps. To wait for something to come
/// true, give the step that looks a `retry` instead.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: pause
/// steps:
///   - id: settle
///     flow.wait: { for: 2s }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// How long.
    #[serde(rename = "for")]
    pub duration: Duration,
}

/// How long it was.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Outputs {
    /// In milliseconds, by the clock that counts suspension.
    pub waited_ms: u64,
}

impl StepType for Wait {
    const NAME: &'static str = "flow.wait";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    const PURE: bool = true;
    type Config = Config;
    type Outputs = Outputs;

    fn describe(config: &Partial) -> Description {
        Description::line(format!("wait {}", config.text("for").unwrap_or_default()))
    }
}

impl Look for Wait {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let clock = host.scope().clock();
        let start = clock.now();
        tokio::select! {
            () = clock.sleep(config.duration) => {}
            reason = host.scope().cancel.told() => {
                let kind = match reason {
                    EndReason::Timeout => StepErrorKind::TimedOut,
                    EndReason::Cancelled => StepErrorKind::Cancelled,
                };
                let waited = clock.now().since(start);
                return Err(StepError::new(kind, format!("ended after {waited} of {}", config.duration)));
            }
        }
        Ok(Outcome::unchanged(Outputs {
            waited_ms: clock.now().since(start).as_millis(),
        }))
    }
}
