//! `service.restart`: a unit that is to begin anew.

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
pub struct Restart;

/// Restarts a unit of this machine's systemd, and waits until it runs again; one that does not run is
/// started.
///
/// It is done when systemd's job is done and the unit has then been active for `stable_for`; see
/// `service.start` for what that is good for. The preview lists the other units that are restarted with
/// it, because they require it, are bound to it or are part of it, and `max` limits how many those may be.
/// A restart that would end this very run is refused.
///
/// systemd is asked over the system bus, or over its own socket, which only root may use; other users need
/// a polkit rule. When the step's time is over, a job that has not begun is cancelled; what systemd has
/// begun it goes on with, and the error says how the unit stands.
///
/// # Changes
///
/// The unit, and the units that need it, are stopped and started.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: web-again
/// steps:
///   - id: web
///     service.restart: { unit: nginx, stable_for: 5s }
///     timeout: 1m
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The unit; `nginx` means `nginx.service`.
    pub unit: String,
    /// How long it must have been active, without a restart by systemd, to count as restarted.
    #[serde(default = "two_seconds")]
    pub stable_for: Duration,
    /// Nothing is stopped where more other units than this would be stopped with it; without it, however
    /// many there are.
    pub max: Option<u32>,
}

impl Config {
    fn order(&self) -> Order {
        Order {
            verb: Verb::Restart,
            name: full_name(&self.unit),
            stable_for: self.stable_for,
            max: self.max,
        }
    }
}

impl StepType for Restart {
    const NAME: &'static str = "service.restart";
    const EFFECT: EffectClass = EffectClass::Destroy;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        check_name(&config.unit)
    }

    fn describe(config: &Partial) -> Description {
        order::describe(Verb::Restart, config)
    }
}

impl Act for Restart {
    async fn preview(config: Config, host: &Observe) -> Result<Preview, StepError> {
        order::preview(&config.order(), host).await
    }

    async fn run(config: Config, host: &Effect) -> Result<Outcome<Outputs>, StepError> {
        act::run(&config.order(), host).await
    }
}
