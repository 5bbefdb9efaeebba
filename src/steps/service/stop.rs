//! `service.stop`: a unit that is not to run.

use schemars::JsonSchema;
use serde::Deserialize;

use super::act::{self, Outputs};
use super::find::{check_name, full_name};
use super::order::{self, Order};
use crate::base::Duration;
use crate::event::{EffectClass, RepeatClass};
use crate::host::systemd::Verb;
use crate::host::{Effect, Observe};
use crate::step::{Act, Description, Outcome, Partial, Preview, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Stop;

/// Stops a unit of this machine's systemd, and waits until nothing of it runs.
///
/// The preview lists the other units that are stopped with it, because they require it, are bound to it or
/// are part of it, and `max` limits how many those may be. One that is stopped already, or has failed,
/// stays as it is. A socket or timer that is active and would start it again is a warning. A stop that
/// would end this very run is refused.
///
/// systemd is asked over the system bus, or over its own socket, which only root may use; other users need
/// a polkit rule. When the step's time is over, a job that has not begun is cancelled; what systemd has
/// begun it goes on with, and the error says how the unit stands.
///
/// # Changes
///
/// The unit, and the units that need it, are stopped. Whether it is started at the next boot stays as it
/// is.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: web-down
/// steps:
///   - id: web
///     service.stop: { unit: nginx, max: 0 }
///     timeout: 1m
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The unit; `nginx` means `nginx.service`.
    pub unit: String,
    /// Nothing is stopped where more other units than this would be stopped with it; without it, however
    /// many there are.
    pub max: Option<u32>,
}

impl Config {
    fn order(&self) -> Order {
        Order {
            verb: Verb::Stop,
            name: full_name(&self.unit),
            stable_for: Duration::ZERO,
            max: self.max,
        }
    }
}

impl StepType for Stop {
    const NAME: &'static str = "service.stop";
    const EFFECT: EffectClass = EffectClass::Destroy;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        check_name(&config.unit)
    }

    fn describe(config: &Partial) -> Description {
        order::describe(Verb::Stop, config)
    }
}

impl Act for Stop {
    async fn preview(config: Config, host: &Observe) -> Result<Preview, StepError> {
        order::preview(&config.order(), host).await
    }

    async fn run(config: Config, host: &Effect) -> Result<Outcome<Outputs>, StepError> {
        act::run(&config.order(), host).await
    }
}
