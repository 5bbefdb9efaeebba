//! `service.check`: whether units of systemd do their work.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::judge::{Found, Wanted, does_nothing, judge, may_be_meta};
use crate::base::suggest;
use crate::event::{EffectClass, Finding, RepeatClass};
use crate::host::reach::{Obstacle, ReachError};
use crate::host::systemd::{Systemd, Unit};
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

/// The kinds of units: systemd.unit(5).
const SUFFIXES: [&str; 11] = [
    ".service",
    ".socket",
    ".device",
    ".mount",
    ".automount",
    ".swap",
    ".target",
    ".path",
    ".timer",
    ".slice",
    ".scope",
];

/// `name` with the suffix that it means.
fn full_name(name: &str) -> String {
    if SUFFIXES.iter().any(|suffix| name.ends_with(suffix)) {
        name.to_owned()
    } else {
        format!("{name}.service")
    }
}

/// Whether `name` can be a unit's: systemd.unit(5).
fn check_name(name: &str) -> Result<(), String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
    let full = full_name(name);
    if name.is_empty() || full.len() > 255 || !name.chars().all(fits) {
        return Err(format!("`{name}` is not the name of a unit"));
    }
    if full.contains("@.") {
        return Err(format!(
            "`{name}` names a template; name an instance of it, as in `postgresql@15-main`"
        ));
    }
    Ok(())
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

/// The unit, and what else its state depends on.
async fn find(systemd: &Systemd<'_>, name: &str, wanted: Wanted) -> Result<Found, ReachError> {
    let unit = systemd.unit(name).await?;
    let mut found = Found::default();
    if wanted != Wanted::Inactive && may_be_meta(&unit) {
        found.instances = instances(systemd, &unit).await?;
    }
    if unit.active_state == "inactive" {
        for trigger in &unit.triggered_by {
            if systemd.unit(trigger).await?.active_state == "active" {
                found.triggers.push(trigger.clone());
            }
        }
    }
    if unit.load_state == "not-found" {
        found.similar = similar(name, &systemd.loaded("*").await?);
    }
    found.unit = unit;
    Ok(found)
}

/// The unit of the same kind that `name` may have been meant to be.
fn similar(name: &str, loaded: &[String]) -> Option<String> {
    let (stem, kind) = name.rsplit_once('.')?;
    let same_kind = |other: &'_ String| other.rsplit_once('.').is_some_and(|(_, k)| k == kind);
    let stems = loaded
        .iter()
        .filter(|other| same_kind(other) && *other != name);
    let stems = stems.filter_map(|other| other.rsplit_once('.').map(|(stem, _)| stem));
    suggest::nearest(stem, stems).map(|stem| format!("{stem}.{kind}"))
}

/// The instances behind `unit`, if it is a meta-unit: of the template of its own name, those that
/// are loaded and those that it pulls in.
async fn instances(systemd: &Systemd<'_>, unit: &Unit) -> Result<Option<Vec<Unit>>, ReachError> {
    // By its real name: it may have been asked for by an alias.
    let Some(stem) = unit.id.strip_suffix(".service") else {
        return Ok(None);
    };
    let prefix = format!("{stem}@");
    let loaded = systemd.loaded(&format!("{prefix}*.service")).await?;
    let named = unit.pulls_in.iter().chain(&unit.consists_of).cloned();
    let names: BTreeSet<String> = loaded
        .into_iter()
        .chain(named.filter(|name| name.starts_with(&prefix)))
        .collect();
    if names.is_empty() {
        let is_meta = does_nothing(unit) && systemd.has_file(&format!("{prefix}.service")).await?;
        return Ok(is_meta.then(Vec::new));
    }
    let mut units = Vec::with_capacity(names.len());
    for name in names {
        units.push(systemd.unit(&name).await?);
    }
    Ok(Some(units))
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
    use super::{Check, Config, full_name};
    use crate::step::StepType as _;
    use serde_json::json;

    #[test]
    fn names_get_their_suffix() {
        for (name, full) in [
            ("nginx", "nginx.service"),
            ("nginx.service", "nginx.service"),
            ("backup.timer", "backup.timer"),
            ("postgresql@15-main", "postgresql@15-main.service"),
            ("foo.bar", "foo.bar.service"),
        ] {
            assert_eq!(full_name(name), full);
        }
    }

    #[test]
    fn suggests_units_of_the_same_kind() {
        let loaded = ["nginx.service", "ngin.timer", "gone.service"].map(str::to_owned);
        let similar = super::similar("nginz.service", &loaded);
        assert_eq!(similar.as_deref(), Some("nginx.service"));
        assert_eq!(super::similar("ssh.service", &loaded), None);
    }

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
