//! `host.memory`: how much memory is left.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::{self, Limits, tenth};
use crate::base::ByteSize;
use crate::base::field::Percent;
use crate::event::{EffectClass, Finding, RepeatClass};
use crate::host::system::{Memory as Reading, MemoryUse};
use crate::host::{HostError, Observe};
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Memory;

/// Checks how much memory is used, by what is still available.
///
/// Available is what programs can get without swapping, as the kernel estimates it (`MemAvailable`
/// in `/proc/meminfo`). It is more than what is free: the kernel fills free memory with caches, and
/// gives them up when it has to. So `used_percent` is (total − available) / total.
///
/// In a container whose memory is limited, `/proc/meminfo` still shows the whole machine. Then the
/// limit of the container's control group is judged as well, by the same `warn` and `fail`; file
/// cache that can be given up at once does not count as used. Limits of single services on a
/// machine are not read.
///
/// Swap is judged where `swap_warn` or `swap_fail` is given. What cannot be read is `unknown`.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: memory
/// steps:
///   - id: memory
///     host.memory: { warn: 80, fail: 90, swap_warn: 50 }
///   - id: left
///     flow.set: { values: { bytes: "${{ steps.memory.outputs.available }}" } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A warning from this use on, in percent.
    #[serde(default = "limits::eighty")]
    pub warn: Percent,
    /// Critical from this use on, in percent.
    #[serde(default = "limits::ninety")]
    pub fail: Percent,
    /// A warning from this use of swap on, in percent; never by default.
    pub swap_warn: Option<Percent>,
    /// Critical from this use of swap on, in percent; never by default.
    pub swap_fail: Option<Percent>,
}

/// What was found; `null` where it could not be read.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// The machine's memory, in bytes.
    pub total: Option<u64>,
    /// What programs can get of it without swapping, in bytes.
    pub available: Option<u64>,
    /// The rest of it, in percent, to one decimal.
    pub used_percent: Option<f64>,
    /// Swap space, in bytes; 0 where there is none.
    pub swap_total: Option<u64>,
    /// What is used of it, in bytes.
    pub swap_used: Option<u64>,
    /// What is used of it, in percent, to one decimal; `null` where there is none.
    pub swap_used_percent: Option<f64>,
    /// The limit of the container that we run in, in bytes; `null` where there is none.
    pub container_limit: Option<u64>,
    /// What is used of it, in percent, to one decimal.
    pub container_used_percent: Option<f64>,
}

impl StepType for Memory {
    const NAME: &'static str = "host.memory";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        Limits::percent(config.warn, config.fail).check("warn", "fail")?;
        Limits::maybe(config.swap_warn, config.swap_fail).check("swap_warn", "swap_fail")
    }

    fn describe(config: &Partial) -> Description {
        let limits = limits::described(config, [("warn", "80"), ("fail", "90")]);
        Description::line(format!("look at how much memory is used ({limits} %)"))
    }
}

impl Look for Memory {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        judge(&config, host.memory().await)
    }
}

fn judge(
    config: &Config,
    memory: Result<Reading, HostError>,
) -> Result<Outcome<Outputs>, StepError> {
    let memory = match memory {
        Ok(memory) => memory,
        Err(error) => {
            let finding = limits::could_not_look("memory", error)?;
            return Ok(Outcome::unchanged(Outputs::default()).with_findings(vec![finding]));
        }
    };
    let limits = Limits::percent(config.warn, config.fail);
    let mut findings = vec![finding("memory", &memory.machine, limits)];
    if let Some(container) = &memory.container {
        findings.push(finding("container memory", container, limits));
    }
    let swap_limits = Limits::maybe(config.swap_warn, config.swap_fail);
    if swap_limits.any() {
        findings.push(finding("swap", &memory.swap, swap_limits));
    }
    let percent = |part: &MemoryUse| part.used_percent().map(tenth);
    let outputs = Outputs {
        total: Some(memory.machine.total),
        available: Some(memory.machine.available),
        used_percent: percent(&memory.machine),
        swap_total: Some(memory.swap.total),
        swap_used: Some(memory.swap.used()),
        swap_used_percent: percent(&memory.swap),
        container_limit: memory.container.map(|container| container.total),
        container_used_percent: memory.container.as_ref().and_then(percent),
    };
    Ok(Outcome::unchanged(outputs).with_findings(findings))
}

fn finding(subject: &str, part: &MemoryUse, limits: Limits) -> Finding {
    let Some(percent) = part.used_percent().map(tenth) else {
        return Finding::ok(subject, "there is none");
    };
    let (available, total) = (ByteSize(part.available), ByteSize(part.total));
    let message = format!("{percent} % used, {available} of {total} available");
    limits.finding(subject, percent, " %", &message)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Config, Memory, Reading, judge};
    use crate::event::Level;
    use crate::host::system::MemoryUse;
    use crate::host::{HostError, HostErrorKind, Observe, testing};
    use crate::step::{Look, StepErrorKind, StepType};

    fn config(value: serde_json::Value) -> Config {
        serde_json::from_value(value).unwrap()
    }

    /// 100 GiB, of which this much is used.
    fn used(percent: u64) -> MemoryUse {
        MemoryUse {
            total: 100 << 30,
            available: (100 - percent) << 30,
        }
    }

    fn reading(percent: u64) -> Reading {
        Reading {
            machine: used(percent),
            swap: MemoryUse {
                total: 0,
                available: 0,
            },
            container: None,
        }
    }

    #[test]
    fn the_four_answers() {
        let level = |memory| {
            let outcome = judge(&config(json!({})), memory).unwrap();
            (
                outcome.findings[0].level,
                outcome.findings[0].message.clone(),
            )
        };
        let told = |percent| level(Ok(reading(percent)));
        assert_eq!(told(9).0, Level::Ok);
        assert_eq!(
            told(80),
            (
                Level::Warning,
                "80 % used, 20.0 GiB of 100.0 GiB available (warn 80 %)".to_owned()
            )
        );
        assert_eq!(told(100).0, Level::Critical);
        let error = HostError::permanent("make sense of /proc/meminfo", "it has no MemAvailable");
        assert_eq!(
            level(Err(error)),
            (
                Level::Unknown,
                "could not make sense of /proc/meminfo: it has no MemAvailable".to_owned()
            )
        );
    }

    #[test]
    fn swap_and_containers_are_judged_apart() {
        let mut memory = reading(10);
        memory.container = Some(used(95));
        memory.swap = used(60);
        let outcome = judge(&config(json!({ "swap_warn": 50 })), Ok(memory)).unwrap();
        let found: Vec<(&str, Level)> = outcome
            .findings
            .iter()
            .map(|f| (f.subject.as_str(), f.level))
            .collect();
        assert_eq!(
            found,
            [
                ("memory", Level::Ok),
                ("container memory", Level::Critical),
                ("swap", Level::Warning)
            ]
        );
        assert_eq!(outcome.outputs.swap_used_percent, Some(60.0));
        assert_eq!(outcome.outputs.container_used_percent, Some(95.0));
        // A machine without swap does not use it up.
        let outcome = judge(&config(json!({ "swap_fail": 0 })), Ok(reading(10))).unwrap();
        assert_eq!(outcome.findings[1].level, Level::Ok);
        assert_eq!(outcome.outputs.swap_used_percent, None);
    }

    #[test]
    fn an_end_is_no_finding() {
        let end = HostError::new(HostErrorKind::Cancelled, "look at memory", "cancelled");
        let error = judge(&config(json!({})), Err(end)).unwrap_err();
        assert_eq!(error.kind, StepErrorKind::Cancelled);
    }

    #[test]
    fn configurations_are_checked() {
        assert_eq!(Memory::check(&config(json!({ "swap_fail": 10 }))), Ok(()));
        assert!(Memory::check(&config(json!({ "warn": 91 }))).is_err());
        let swap = json!({ "swap_warn": 2, "swap_fail": 1 });
        assert!(Memory::check(&config(swap)).is_err());
    }

    #[tokio::test]
    async fn this_machine() {
        let host = Observe::new(testing::scope().scope);
        let full = config(json!({ "warn": 0, "fail": 100 }));
        let outcome = Memory::look(full, &host).await.unwrap();
        assert_eq!(outcome.findings[0].level, Level::Warning);
        assert!(outcome.outputs.used_percent.unwrap() > 0.0);
    }
}
