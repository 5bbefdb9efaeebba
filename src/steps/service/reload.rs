//! `service.reload`: a unit that is to read its configuration anew.

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
pub struct Reload;

/// Has a unit of this machine's systemd read its configuration anew, and waits until that is done.
///
/// It is done when systemd's job (`ExecReload=`) is done and the unit has then been active for
/// `stable_for`: what dies of its new configuration is a failed step. Many services are only sent a signal
/// there, and nobody tells whether they took the new configuration: check that afterwards. One that does
/// not run, or has no way to be reloaded, is an error.
///
/// systemd is asked over the system bus, or over its own socket, which only root may use; other users need
/// a polkit rule.
///
/// # Changes
///
/// What the unit does with its new configuration.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: web-reload
/// steps:
///   - id: web
///     service.reload: { unit: nginx }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The unit; `nginx` means `nginx.service`.
    pub unit: String,
    /// How long it must have been active, without a restart by systemd, to count as reloaded.
    #[serde(default = "two_seconds")]
    pub stable_for: Duration,
}

impl Config {
    fn order(&self) -> Order {
        Order {
            verb: Verb::Reload,
            name: full_name(&self.unit),
            stable_for: self.stable_for,
            max: None,
        }
    }
}

impl StepType for Reload {
    const NAME: &'static str = "service.reload";
    const EFFECT: EffectClass = EffectClass::Change;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        check_name(&config.unit)
    }

    fn describe(config: &Partial) -> Description {
        order::describe(Verb::Reload, config)
    }
}

impl Act for Reload {
    async fn preview(config: Config, host: &Observe) -> Result<Preview, StepError> {
        order::preview(&config.order(), host).await
    }

    async fn run(config: Config, host: &Effect) -> Result<Outcome<Outputs>, StepError> {
        act::run(&config.order(), host).await
    }
}
