//! `service.check`: whether units of systemd do their work.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::find::{check_name, find, full_name};
use super::judge::{Found, Wanted, judge};
use crate::event::{EffectClass, Finding, RepeatClass};
use crate::host::reach::{Obstacle, ReachError};
use crate::host::systemd::Unit;
use crate::host::{HostError, Observe};
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Check;

/// Asks systemd whether units do their work.
///
/// A unit that is active is `ok`; one on its way (`activating`, `reloading`, `deactivating`) is a
/// `warning`; one that has failed, is stopped, is masked, waits to be restarted or does not exist
/// is `critical`. A service that is `active (exited)` although it is no oneshot is a `warning`:
/// none of its processes runs. One that a listening socket starts on demand is `ok`. What systemd
/// could not be asked for is `unknown`.
///
/// A meta-unit is judged by what runs behind it: Debian's `postgresql.service` is active even when
/// the cluster is down, so `postgresql@15-main.service` and its like are looked at instead. An
/// instance that nothing starts at boot may be stopped, as long as another one runs.
///
/// systemd is asked over the system bus, or over its own socket, which only root may use.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: services
/// steps:
///   - id: services
///     service.check: { units: [nginx, postgresql, redis-server], max_restarts: 3 }
///   - id: rotation
///     service.check: { unit: logrotate.service, state: any }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// One unit; `nginx` means `nginx.service`.
    pub unit: Option<String>,
    /// Several units.
    #[serde(default)]
    pub units: Vec<String>,
    /// More restarts by systemd than this, since the unit was last started on purpose, are a
    /// warning.
    pub max_restarts: Option<u32>,
    /// What they should do.
    #[serde(default)]
    pub state: Wanted,
}

/// What systemd knows.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Outputs {
    /// Each unit that was asked for, in order.
    pub units: Vec<UnitOutputs>,
}

/// What systemd knows of a unit. Null is what it could not be asked for.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct UnitOutputs {
    /// Its name, with its suffix.
    pub unit: String,
    /// `loaded`, `not-found`, `masked`, `error`, `bad-setting`.
    pub load_state: Option<String>,
    /// `active`, `reloading`, `inactive`, `failed`, `activating`, `deactivating`.
    pub active_state: Option<String>,
    /// `running`, `exited`, `dead`, `auto-restart`, …
    pub sub_state: Option<String>,
    /// How a service ended last: `success`, `exit-code`, `signal`, …
    pub result: Option<String>,
    /// How often systemd restarted a service since it was last started on purpose.
    pub restarts: Option<u32>,
    /// The main process of a service.
    pub main_pid: Option<u32>,
    /// Since when it is in this state; RFC 3339.
    pub since: Option<String>,
    /// The units behind a meta-unit; empty for any other.
    pub instances: Vec<InstanceOutputs>,
}

/// What systemd knows of a unit behind a meta-unit.
#[derive(Debug, Serialize, JsonSchema)]
pub struct InstanceOutputs {
    /// Its name.
    pub unit: String,
    /// `active`, `inactive`, `failed`, …
    pub active_state: String,
    /// `running`, `dead`, `failed`, …
    pub sub_state: String,
    /// Its main process.
    pub main_pid: Option<u32>,
}

impl Config {
    fn names(&self) -> Vec<String> {
        let all = self.unit.iter().chain(&self.units);
        all.map(|name| full_name(name)).collect()
    }
}

impl StepType for Check {
    const NAME: &'static str = "service.check";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        match (&config.unit, config.units.is_empty()) {
            (None, true) => return Err("write `unit` or `units`".to_owned()),
            (Some(_), false) => return Err("write either `unit` or `units`".to_owned()),
            _ => {}
        }
        let all = config.unit.iter().chain(&config.units);
        all.into_iter().try_for_each(|name| check_name(name))?;
        let mut seen = BTreeSet::new();
        match config.names().into_iter().find(|n| !seen.insert(n.clone())) {
            Some(twice) => Err(format!("`{twice}` is named twice")),
            None => Ok(()),
        }
    }

    fn describe(config: &Partial) -> Description {
        let names = config.text("unit").or_else(|| config.text("units"));
        Description::line(format!("ask systemd about {}", names.unwrap_or_default()))
    }
}

impl Look for Check {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let names = config.names();
        let mut findings = Vec::new();
        let mut units = Vec::new();
        match host.systemd().await {
            Err(error) => {
                findings.push(unknown("systemd", error)?);
                units.extend(names.into_iter().map(nothing));
            }
            Ok(systemd) => {
                for name in names {
                    match find(&systemd, &name, config.state).await {
                        Ok(found) => {
                            findings.extend(judge(
                                &name,
                                &found,
                                config.state,
                                config.max_restarts,
                            ));
                            units.push(outputs(name, found));
                        }
                        Err(error) => {
                            findings.push(unknown(&name, error)?);
                            units.push(nothing(name));
                        }
                    }
                }
            }
        }
        Ok(Outcome::unchanged(Outputs { units }).with_findings(findings))
    }
}

/// systemd could not be asked, which says nothing about the units, whatever was in the way.
fn unknown(subject: &str, error: ReachError) -> Result<Finding, StepError> {
    if matches!(error.obstacle, Obstacle::Ended(_)) {
        return Err(HostError::from(error).into());
    }
    let mut finding = Finding::unknown(subject, error.to_string());
    finding.help = error.help;
    Ok(finding)
}

fn nothing(unit: String) -> UnitOutputs {
    UnitOutputs {
        unit,
        ..UnitOutputs::default()
    }
}

fn outputs(name: String, found: Found) -> UnitOutputs {
    let Found {
        unit, instances, ..
    } = found;
    let instance = |unit: Unit| InstanceOutputs {
        main_pid: unit.service.and_then(|service| service.main_pid),
        unit: unit.id,
        active_state: unit.active_state,
        sub_state: unit.sub_state,
    };
    let service = unit.service.as_ref();
    UnitOutputs {
        unit: name,
        result: service.map(|service| service.result.clone()),
        restarts: service.map(|service| service.restarts),
        main_pid: service.and_then(|service| service.main_pid),
        load_state: Some(unit.load_state),
        active_state: Some(unit.active_state),
        sub_state: Some(unit.sub_state),
        since: unit.since.map(|since| since.to_string()),
        instances: instances
            .unwrap_or_default()
            .into_iter()
            .map(instance)
            .collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Check, Config};
    use crate::step::StepType as _;
    use serde_json::json;

    #[test]
    fn refuses_what_is_no_unit() {
        let check = |config| {
            let config: Config = serde_json::from_value(config).unwrap();
            Check::check(&config)
        };
        assert!(check(json!({ "unit": "nginx" })).is_ok());
        assert!(check(json!({ "units": ["nginx", "postgresql@15-main"] })).is_ok());
        for wrong in [
            json!({}),
            json!({ "unit": "a", "units": ["b"] }),
            json!({ "units": [] }),
            json!({ "unit": "" }),
            json!({ "unit": "a b" }),
            json!({ "unit": "ng*nx" }),
            json!({ "unit": "postgresql@" }),
            json!({ "unit": "../x" }),
            json!({ "units": ["a", "a.service"] }),
        ] {
            assert!(check(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
