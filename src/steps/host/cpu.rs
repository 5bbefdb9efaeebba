//! `host.cpu`: how busy the processors are.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::{self, Limits, tenth};
use crate::base::Duration;
use crate::base::field::Percent;
use crate::event::{EffectClass, RepeatClass};
use crate::host::system::{CpuShares, CpuTimes};
use crate::host::{HostError, Observe};
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Cpu;

/// Checks how busy the processors are, over a span of time.
///
/// The kernel counts since boot (`/proc/stat`), so that two readings are taken, `sample` apart, and
/// their difference is judged. Busy is everything but idle: programs, the kernel, and what the
/// hypervisor took for other machines (`steal_percent`). Waiting for a disk (`iowait_percent`) is
/// idle time. To see which processes are busy, use `host.processes`.
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
/// name: busy
/// steps:
///   - id: cpu
///     host.cpu: { warn: 80, fail: 95, sample: 5s }
///   - id: disks
///     when: steps.cpu.outputs.iowait_percent > 20
///     host.disk: {}
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// A warning from here on, in percent of all processors together.
    #[serde(default = "limits::eighty")]
    pub warn: Percent,
    /// Critical from here on, in percent of all processors together.
    #[serde(default = "ninety_five")]
    pub fail: Percent,
    /// How long to look, at least 100ms.
    #[serde(default = "limits::one_second")]
    pub sample: Duration,
}

fn ninety_five() -> Percent {
    Percent(95.0)
}

/// What was found; `null` where it could not be read. Percentages are of all processors together,
/// to one decimal.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// Not idle: programs, the kernel, and what the hypervisor took.
    pub busy_percent: Option<f64>,
    /// In programs.
    pub user_percent: Option<f64>,
    /// In the kernel.
    pub system_percent: Option<f64>,
    /// Idle, while something waited for a disk.
    pub iowait_percent: Option<f64>,
    /// Taken by the hypervisor for other machines.
    pub steal_percent: Option<f64>,
    /// How many processors are online.
    pub cores: Option<usize>,
    /// Each processor, by number; without those that came or went in between.
    pub per_core: Vec<Core>,
}

/// One processor.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Core {
    /// Its number.
    pub core: u32,
    /// How busy it was, in percent, to one decimal.
    pub busy_percent: f64,
}

impl StepType for Cpu {
    const NAME: &'static str = "host.cpu";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        Limits::percent(config.warn, config.fail).check("warn", "fail")?;
        limits::check_sample(config.sample)
    }

    fn describe(config: &Partial) -> Description {
        let limits = limits::described(config, [("warn", "80"), ("fail", "95")]);
        let sample = config.text("sample").unwrap_or_else(|| "1s".to_owned());
        Description::line(format!(
            "look for {sample} at how busy the processors are ({limits} %)"
        ))
    }
}

impl Look for Cpu {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        judge(&config, sample(config.sample, host).await)
    }
}

async fn sample(length: Duration, host: &Observe) -> Result<(CpuTimes, CpuTimes), HostError> {
    let before = host.cpu_times().await?;
    host.pause(length).await?;
    Ok((before, host.cpu_times().await?))
}

fn judge(
    config: &Config,
    samples: Result<(CpuTimes, CpuTimes), HostError>,
) -> Result<Outcome<Outputs>, StepError> {
    let shares = samples.and_then(|(before, after)| {
        let shares = after.total.shares_since(&before.total).ok_or_else(|| {
            HostError::permanent("look at the processors", "their counters stand still")
        })?;
        Ok((shares, per_core(&before, &after), after.cores.len()))
    });
    let (shares, per_core, cores) = match shares {
        Ok(shares) => shares,
        Err(error) => {
            let finding = limits::could_not_look("cpu", error)?;
            return Ok(Outcome::unchanged(Outputs::default()).with_findings(vec![finding]));
        }
    };
    let CpuShares {
        busy,
        user,
        system,
        iowait,
        steal,
    } = shares;
    let message = format!(
        "{} % busy over {}, {} % waiting for disks, {} % stolen",
        tenth(busy),
        config.sample,
        tenth(iowait),
        tenth(steal)
    );
    let limits = Limits::percent(config.warn, config.fail);
    let finding = limits.finding("cpu", tenth(busy), " %", &message);
    let outputs = Outputs {
        busy_percent: Some(tenth(busy)),
        user_percent: Some(tenth(user)),
        system_percent: Some(tenth(system)),
        iowait_percent: Some(tenth(iowait)),
        steal_percent: Some(tenth(steal)),
        cores: Some(cores),
        per_core,
    };
    Ok(Outcome::unchanged(outputs).with_findings(vec![finding]))
}

fn per_core(before: &CpuTimes, after: &CpuTimes) -> Vec<Core> {
    let core = |(core, ticks): (&u32, _)| {
        let shares = after.cores.get(core)?.shares_since(ticks)?;
        Some(Core {
            core: *core,
            busy_percent: tenth(shares.busy),
        })
    };
    before.cores.iter().filter_map(core).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Config, Cpu, judge};
    use crate::base::EndReason;
    use crate::event::Level;
    use crate::host::system::{CpuTicks, CpuTimes};
    use crate::host::{HostError, Observe, testing};
    use crate::step::{Look, StepErrorKind, StepType};
    use crate::steps::host::testing::beside_a_busy_process;

    fn config(value: serde_json::Value) -> Config {
        serde_json::from_value(value).unwrap()
    }

    fn times(user: u64, idle: u64) -> CpuTimes {
        let ticks = CpuTicks {
            user,
            idle,
            ..CpuTicks::default()
        };
        CpuTimes {
            total: ticks,
            cores: [(0, ticks), (2, ticks)].into(),
        }
    }

    #[test]
    fn the_four_answers() {
        let told = |samples| {
            let outcome = judge(&config(json!({})), samples).unwrap();
            (
                outcome.findings[0].level,
                outcome.findings[0].message.clone(),
            )
        };
        let busy = |percent: u64| told(Ok((times(500, 500), times(500 + percent, 600 - percent))));
        assert_eq!(
            busy(9),
            (
                Level::Ok,
                "9 % busy over 1s, 0 % waiting for disks, 0 % stolen (warn 80 %)".to_owned()
            )
        );
        assert_eq!(busy(80).0, Level::Warning);
        assert_eq!(busy(100).0, Level::Critical);
        assert_eq!(told(Ok((times(1, 1), times(1, 1)))).0, Level::Unknown);
        let error = HostError::permanent("read /proc/stat", "permission denied");
        assert_eq!(told(Err(error)).0, Level::Unknown);
    }

    #[test]
    fn processors_that_come_or_go_are_left_out() {
        let mut after = times(150, 50);
        after.cores.remove(&2);
        after.cores.insert(3, CpuTicks::default());
        let outputs = judge(&config(json!({})), Ok((times(100, 0), after)))
            .unwrap()
            .outputs;
        assert_eq!(outputs.per_core.len(), 1);
        assert_eq!(
            (outputs.per_core[0].core, outputs.per_core[0].busy_percent),
            (0, 50.0)
        );
        assert_eq!(outputs.cores, Some(2));
    }

    #[test]
    fn configurations_are_checked() {
        assert_eq!(Cpu::check(&config(json!({ "sample": "100ms" }))), Ok(()));
        assert!(Cpu::check(&config(json!({ "sample": "99ms" }))).is_err());
        assert!(Cpu::check(&config(json!({ "warn": 96 }))).is_err());
    }

    #[tokio::test]
    async fn a_busy_machine_is_seen_at_the_first_look() {
        let host = Observe::new(testing::scope().scope);
        let look = Cpu::look(config(json!({ "sample": "300ms" })), &host);
        let outcome = beside_a_busy_process("busy", look).await;
        let outputs = outcome.unwrap().outputs;
        assert!(outputs.busy_percent.unwrap() > 0.0);
        assert_eq!(outputs.per_core.len(), outputs.cores.unwrap());
    }

    #[tokio::test]
    async fn a_long_sample_ends_when_told() {
        let test = testing::scope();
        let host = Observe::new(test.scope.clone());
        let looking = Cpu::look(config(json!({ "sample": "1h" })), &host);
        let telling = async { test.scope.cancel.end(EndReason::Cancelled) };
        let (result, ()) = tokio::join!(looking, telling);
        assert_eq!(result.unwrap_err().kind, StepErrorKind::Cancelled);
    }
}
