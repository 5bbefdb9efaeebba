//! `service.start`: a unit that is to run.

use schemars::JsonSchema;
use serde::Deserialize;

use super::act::{self, Outputs};
use super::find::{check_name, full_name};
use super::order::{self, Order, two_seconds};
use crate::base::Duration;
use crate::event::{EffectClass, RepeatClass};
use crate::host::systemd::Verb;
use crate::host::{Effect, Observe};
use crate::step::{Act, Description, Outcome, Partial, Preview, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Start;

/// Starts a unit of this machine's systemd, and waits until it runs.
///
/// It is started when systemd's job is done and the unit has then been active for `stable_for`: a service
/// of `Type=simple` counts as started for systemd before its program even runs. One that ends in that
/// time, or that systemd had to restart, is a failed step, which says how it ended. A oneshot that ended
/// well has done its work. A meta-unit such as Debian's `postgresql.service` is judged by the units behind
/// it, as in `service.check`; those that it pulls in are started even where it says itself that it is
/// active.
///
/// One that is active already stays as it is. A start that would stop another unit (`Conflicts=`) is
/// refused.
///
/// systemd is asked over the system bus, or over its own socket, which only root may use; other users need
/// a polkit rule. When the step's time is over, a job that has not begun is cancelled; what systemd has
/// begun it goes on with, and the error says how the unit stands.
///
/// # Changes
///
/// The unit, and the units that it pulls in (`Wants=`, `Requires=`), are started.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: web-up
/// steps:
///   - id: web
///     service.start: { unit: nginx }
///     timeout: 1m
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The unit; `nginx` means `nginx.service`.
    pub unit: String,
    /// How long it must have been active, without a restart by systemd, to count as started.
    #[serde(default = "two_seconds")]
    pub stable_for: Duration,
}

impl Config {
    fn order(&self) -> Order {
        Order {
            verb: Verb::Start,
            name: full_name(&self.unit),
            stable_for: self.stable_for,
            max: None,
        }
    }
}

impl StepType for Start {
    const NAME: &'static str = "service.start";
    const EFFECT: EffectClass = EffectClass::Change;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        check_name(&config.unit)
    }

    fn describe(config: &Partial) -> Description {
        order::describe(Verb::Start, config)
    }
}

impl Act for Start {
    async fn preview(config: Config, host: &Observe) -> Result<Preview, StepError> {
        order::preview(&config.order(), host).await
    }

    async fn run(config: Config, host: &Effect) -> Result<Outcome<Outputs>, StepError> {
        act::run(&config.order(), host).await
    }
}
