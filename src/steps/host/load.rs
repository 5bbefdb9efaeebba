//! `host.load`: how many tasks compete for each processor.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::{self, Limits};
use crate::event::{EffectClass, RepeatClass};
use crate::host::system::Load as Reading;
use crate::host::{HostError, Observe};
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Load;

/// Checks the load average over five minutes, per processor.
///
/// The load counts tasks that run, that want to run, and that wait for a disk or a dead NFS server
/// (`/proc/loadavg`). Divided by the processors that are online, 1 means that they are just busy. A
/// high load with idle processors (`host.cpu`) means that tasks wait for a disk.
///
/// What cannot be read is `unknown`.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: load
/// steps:
///   - id: load
///     host.load: { warn: 1.5, fail: 3 }
///   - id: show
///     flow.set: { values: { per_core: "${{ steps.load.outputs.per_core }}" } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A warning from this load per processor on.
    #[serde(default = "one_and_a_half")]
    #[schemars(range(min = 0))]
    pub warn: f64,
    /// Critical from this load per processor on.
    #[serde(default = "three")]
    #[schemars(range(min = 0))]
    pub fail: f64,
}

fn one_and_a_half() -> f64 {
    1.5
}

fn three() -> f64 {
    3.0
}

/// What was found; `null` where it could not be read.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// The load over the last minute, in tasks.
    pub load1: Option<f64>,
    /// Over five minutes, in tasks.
    pub load5: Option<f64>,
    /// Over fifteen minutes, in tasks.
    pub load15: Option<f64>,
    /// How many processors are online.
    pub cores: Option<usize>,
    /// The load over five minutes per processor, to two decimals: what is judged.
    pub per_core: Option<f64>,
}

impl StepType for Load {
    const NAME: &'static str = "host.load";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        limits(config).check("warn", "fail")
    }

    fn describe(config: &Partial) -> Description {
        let limits = limits::described(config, [("warn", "1.5"), ("fail", "3")]);
        Description::line(format!("look at the load per processor ({limits})"))
    }
}

impl Look for Load {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        judge(&config, host.load().await)
    }
}

fn limits(config: &Config) -> Limits {
    Limits {
        warn: Some(config.warn),
        fail: Some(config.fail),
    }
}

fn judge(config: &Config, load: Result<Reading, HostError>) -> Result<Outcome<Outputs>, StepError> {
    let load = match load {
        Ok(load) => load,
        Err(error) => {
            let finding = limits::could_not_look("load", error)?;
            return Ok(Outcome::unchanged(Outputs::default()).with_findings(vec![finding]));
        }
    };
    // There is always a processor: a machine without any is an error of the reading.
    let per_core = (load.five * 100.0 / load.cores.max(1) as f64).round() / 100.0;
    let message = format!(
        "{per_core} per processor over 5 minutes, {} in all on {}",
        load.five, load.cores
    );
    let finding = limits(config).finding("load", per_core, "", &message);
    let outputs = Outputs {
        load1: Some(load.one),
        load5: Some(load.five),
        load15: Some(load.fifteen),
        cores: Some(load.cores),
        per_core: Some(per_core),
    };
    Ok(Outcome::unchanged(outputs).with_findings(vec![finding]))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Config, Load, Reading, judge};
    use crate::event::Level;
    use crate::host::{HostError, Observe, testing};
    use crate::step::{Look, StepType};

    fn config(value: serde_json::Value) -> Config {
        serde_json::from_value(value).unwrap()
    }

    #[test]
    fn the_four_answers() {
        let told = |load| {
            let outcome = judge(&config(json!({})), load).unwrap();
            (
                outcome.findings[0].level,
                outcome.findings[0].message.clone(),
            )
        };
        let on_four = |five| {
            told(Ok(Reading {
                one: 99.0,
                five,
                fifteen: 0.0,
                cores: 4,
            }))
        };
        assert_eq!(
            on_four(2.0),
            (
                Level::Ok,
                "0.5 per processor over 5 minutes, 2 in all on 4 (warn 1.5)".to_owned()
            )
        );
        assert_eq!(on_four(6.0).0, Level::Warning);
        assert_eq!(on_four(12.0).0, Level::Critical);
        // As texts, "10" would be below "3".
        assert_eq!(on_four(40.0).0, Level::Critical);
        let error = HostError::permanent("read /proc/loadavg", "no such file or directory");
        assert_eq!(told(Err(error)).0, Level::Unknown);
    }

    #[test]
    fn configurations_are_checked() {
        assert_eq!(
            Load::check(&config(json!({ "warn": 2, "fail": 2 }))),
            Ok(())
        );
        assert!(Load::check(&config(json!({ "warn": 4 }))).is_err());
        assert!(Load::check(&config(json!({ "warn": -1 }))).is_err());
    }

    #[tokio::test]
    async fn this_machine() {
        let host = Observe::new(testing::scope().scope);
        let outputs = Load::look(config(json!({})), &host).await.unwrap().outputs;
        assert!(outputs.cores.unwrap() >= 1 && outputs.load5.unwrap() >= 0.0);
    }
}
