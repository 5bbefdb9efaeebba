//! What the state of a unit means.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::event::{Finding, Level};
use crate::host::systemd::{Service, Unit};

/// The state that a unit should be in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Wanted {
    /// It does its work.
    #[default]
    Active,
    /// It does not run; it need not even exist.
    Inactive,
    /// Whatever it does, it has not failed: for what a timer starts.
    Any,
}

/// A unit as it was found, with what else its state depends on.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// The unit.
    pub(super) unit: Unit,
    /// The instances behind it, where it is a meta-unit.
    pub(super) instances: Option<Vec<Unit>>,
    /// The sockets and timers that start it and are active.
    pub(super) triggers: Vec<String>,
    /// A loaded unit whose name is near, where there is no such unit.
    pub(super) similar: Option<String>,
}

/// Whether the unit may be a meta-unit: one that runs nothing itself and stands for the instances of
/// a template of the same name, such as Debian's `postgresql.service` for `postgresql@15-main`.
pub(super) fn may_be_meta(unit: &Unit) -> bool {
    let oneshot = unit.service.as_ref().is_some_and(|s| s.kind == "oneshot");
    oneshot && unit.active_state == "active" && unit.sub_state == "exited"
}

/// Whether all that the unit itself starts is `true`.
pub(super) fn does_nothing(unit: &Unit) -> bool {
    let programs = unit.service.as_ref().map(|s| &s.programs[..]);
    programs.unwrap_or_default().iter().all(|program| {
        std::path::Path::new(program)
            .file_name()
            .is_some_and(|n| n == "true")
    })
}

/// What `found`, asked for as `name`, means.
pub(super) fn judge(
    name: &str,
    found: &Found,
    wanted: Wanted,
    max_restarts: Option<u32>,
) -> Vec<Finding> {
    let mut findings = match &found.instances {
        Some(instances) if wanted != Wanted::Inactive => {
            meta(name, &found.unit, instances, wanted, max_restarts)
        }
        _ => {
            let mut findings = vec![state(name, found, wanted)];
            findings.extend(restarts(name, &found.unit, max_restarts));
            findings
        }
    };
    for finding in &mut findings {
        if finding.level > Level::Ok && finding.help.is_none() {
            finding.help = Some(format!("look at `journalctl -u {}`", finding.subject));
        }
    }
    findings
}

fn meta(
    name: &str,
    unit: &Unit,
    instances: &[Unit],
    wanted: Wanted,
    max_restarts: Option<u32>,
) -> Vec<Finding> {
    // An instance that nothing starts at boot may be stopped; a failed one may not.
    let counts = |instance: &&Unit| {
        instance.active_state != "inactive" || unit.pulls_in.contains(&instance.id)
    };
    let mut findings = Vec::new();
    for instance in instances.iter().filter(counts) {
        let found = Found {
            unit: instance.clone(),
            ..Found::default()
        };
        let mut finding = state(&instance.id, &found, wanted);
        finding.message = format!(
            "{name} is only a meta-unit; behind it, {} {}",
            instance.id,
            finding.message.trim_start_matches("it ")
        );
        findings.push(finding);
        findings.extend(restarts(&instance.id, instance, max_restarts));
    }
    if findings.is_empty() {
        let message = "it is only a meta-unit, and nothing runs behind it";
        let help = format!(
            "list what could: `systemctl list-units --all '{}@*'`",
            name.trim_end_matches(".service")
        );
        findings.push(Finding::critical(name, message).with_help(help));
    }
    findings
}

fn restarts(name: &str, unit: &Unit, max: Option<u32>) -> Option<Finding> {
    let max = max?;
    if unit.load_state != "loaded" || unit.active_state == "inactive" {
        return None;
    }
    let count = unit.service.as_ref()?.restarts;
    let (level, than) = if count > max {
        (Level::Warning, "more than")
    } else {
        (Level::Ok, "at most")
    };
    let message = format!("it was restarted by itself {count} times, {than} {max}");
    Some(Finding::new(level, name, message))
}

fn state(name: &str, found: &Found, wanted: Wanted) -> Finding {
    match wanted {
        Wanted::Active => active(name, found),
        Wanted::Inactive => inactive(name, &found.unit),
        Wanted::Any => any(name, found),
    }
}

/// `active (running) since 2026-11-05T12:00:00Z`.
pub(super) fn shown(unit: &Unit) -> String {
    let since = match unit.since {
        Some(since) => format!(" since {}", since.strftime("%Y-%m-%d %H:%M:%SZ")),
        None => String::new(),
    };
    format!("{} ({}){since}", unit.active_state, unit.sub_state)
}

fn active(name: &str, found: &Found) -> Finding {
    let unit = &found.unit;
    match unit.active_state.as_str() {
        "active" => running(name, unit),
        "failed" => failed(name, unit),
        "inactive" => stopped(name, found),
        "activating" if waits_to_restart(unit) => restarting(name, unit),
        "activating" | "deactivating" | "reloading" | "refreshing" | "maintenance" => {
            Finding::warning(name, format!("it is {}", shown(unit)))
        }
        other => Finding::unknown(
            name,
            format!("it is in a state that we do not know: `{other}`"),
        ),
    }
}

fn running(name: &str, unit: &Unit) -> Finding {
    let shown = shown(unit);
    if unit.load_state != "loaded" {
        let message = format!(
            "it is {shown}, but would not start again: its unit file is {}",
            unit.load_state
        );
        return Finding::warning(name, message);
    }
    // An init script that systemd wraps stays "active (exited)" after its daemon has died, and so
    // does a service with RemainAfterExit=. Of a oneshot it is what is wanted.
    let service = unit.service.as_ref();
    if unit.sub_state == "exited" && service.is_some_and(|s| s.kind != "oneshot") {
        let message = format!("it is {shown}: none of its processes runs");
        return Finding::warning(name, message);
    }
    Finding::ok(name, format!("it is {shown}"))
}

fn waits_to_restart(unit: &Unit) -> bool {
    unit.sub_state.starts_with("auto-restart")
}

fn restarting(name: &str, unit: &Unit) -> Finding {
    let why = unit.service.as_ref().map(ended).unwrap_or_default();
    Finding::critical(name, format!("it ended and waits to be restarted{why}"))
}

fn failed(name: &str, unit: &Unit) -> Finding {
    let why = unit.service.as_ref().map(ended).unwrap_or_default();
    Finding::critical(name, format!("it is {}{why}", shown(unit)))
}

/// `: exit-code, its main process exited with status 1`.
pub(super) fn ended(service: &Service) -> String {
    let process = match way(service.exit_code, service.exit_status) {
        Some(way) => format!(", its main process {way}"),
        None => String::new(),
    };
    format!(": {}{process}", service.result)
}

/// How a process ended: `exited with status 203 (it could not be executed)`.
pub(super) fn way(code: i32, status: i32) -> Option<String> {
    // CLD_EXITED, CLD_KILLED, CLD_DUMPED of waitid(2).
    Some(match code {
        1 => match before_it_ran(status) {
            Some(why) => format!("exited with status {status} ({why})"),
            None => format!("exited with status {status}"),
        },
        2 => format!("was killed by signal {status}"),
        3 => format!("dumped core on signal {status}"),
        _ => return None,
    })
}

/// What systemd itself means by a status, whose step before the program failed: systemd.exec(5),
/// "Process Exit Codes".
fn before_it_ran(status: i32) -> Option<&'static str> {
    Some(match status {
        200 => "its `WorkingDirectory=` is not there",
        203 => "its program is not there, or cannot be executed",
        205 => "its limits (`Limit…=`) could not be set",
        208 => "its standard input could not be set up",
        209 => "its standard output could not be set up",
        216 => "its `Group=` is not there",
        217 => "its `User=` is not there",
        226 => "its namespaces (`Protect…=`, `Private…=`) could not be set up",
        233 => "its `RuntimeDirectory=` could not be made",
        238 => "its `StateDirectory=` could not be made",
        240 => "its `LogsDirectory=` could not be made",
        243 => "its credentials could not be set up",
        _ => return None,
    })
}

fn stopped(name: &str, found: &Found) -> Finding {
    let unit = &found.unit;
    if let Some(finding) = unloaded(name, found) {
        return finding;
    }
    let sockets: Vec<&str> = found
        .triggers
        .iter()
        .map(String::as_str)
        .filter(|trigger| trigger.ends_with(".socket"))
        .collect();
    if !sockets.is_empty() {
        let sockets = sockets.join(" and ");
        return Finding::ok(
            name,
            format!("it is started by {sockets}, which listens, when somebody connects"),
        );
    }
    let finding = Finding::critical(name, format!("it is {}", shown(unit)));
    let service = unit.service.as_ref();
    let ends = service.is_some_and(|s| s.kind == "oneshot" && !s.remains);
    if ends || !found.triggers.is_empty() {
        let by = match found.triggers.first() {
            Some(trigger) => format!(" by {trigger}"),
            None => String::new(),
        };
        let help = format!(
            "it is started{by} to do its work and then ends: check it with `state: any`, which asks \
             that it has not failed"
        );
        return finding.with_help(help);
    }
    finding.with_help(format!("start it: `systemctl start {name}`"))
}

/// What is wrong with a unit that could not be loaded.
pub(super) fn unloaded(name: &str, found: &Found) -> Option<Finding> {
    let unit = &found.unit;
    let why = match &unit.load_error {
        Some(error) => format!(": {error}"),
        None => String::new(),
    };
    Some(match unit.load_state.as_str() {
        "loaded" => return None,
        "not-found" => {
            let finding = Finding::critical(name, "there is no such unit");
            match &found.similar {
                Some(similar) => finding.with_help(format!("did you mean {similar}?")),
                None => finding.with_help("list the units: `systemctl list-unit-files`"),
            }
        }
        "masked" => Finding::critical(name, "it is masked: nothing can start it")
            .with_help(format!("`systemctl unmask {name}`, and start it")),
        state => Finding::critical(name, format!("its unit file does not load ({state}){why}"))
            .with_help(format!("`systemd-analyze verify {name}`")),
    })
}

fn inactive(name: &str, unit: &Unit) -> Finding {
    match unit.active_state.as_str() {
        "inactive" if unit.load_state == "not-found" => Finding::ok(name, "there is no such unit"),
        "inactive" => Finding::ok(name, format!("it is {}", shown(unit))),
        "failed" => failed_but_stopped(name, unit),
        _ => Finding::critical(name, format!("it is {}, and should not run", shown(unit)))
            .with_help(format!("stop it: `systemctl disable --now {name}`")),
    }
}

fn failed_but_stopped(name: &str, unit: &Unit) -> Finding {
    let mut finding = failed(name, unit);
    finding.level = Level::Warning;
    finding
}

fn any(name: &str, found: &Found) -> Finding {
    let unit = &found.unit;
    match unit.active_state.as_str() {
        "failed" => failed(name, unit),
        "activating" if waits_to_restart(unit) => restarting(name, unit),
        "inactive" => unloaded(name, found)
            .unwrap_or_else(|| Finding::ok(name, format!("it is {}", shown(unit)))),
        _ => Finding::ok(name, format!("it is {}", shown(unit))),
    }
}

#[cfg(test)]
mod tests {
    use super::{Found, Wanted, does_nothing, judge, may_be_meta};
    use crate::event::Level;
    use crate::host::systemd::{Service, Unit};

    fn unit(id: &str, active: &str, sub: &str) -> Unit {
        Unit {
            id: id.to_owned(),
            load_state: "loaded".to_owned(),
            active_state: active.to_owned(),
            sub_state: sub.to_owned(),
            service: Some(Service {
                kind: "simple".to_owned(),
                result: "success".to_owned(),
                ..Service::default()
            }),
            ..Unit::default()
        }
    }

    fn oneshot(id: &str, active: &str, sub: &str) -> Unit {
        let mut unit = unit(id, active, sub);
        unit.service.as_mut().unwrap().kind = "oneshot".to_owned();
        unit
    }

    fn of(unit: Unit) -> Found {
        Found {
            unit,
            ..Found::default()
        }
    }

    fn level(found: &Found, wanted: Wanted) -> Level {
        let findings = judge("x.service", found, wanted, None);
        findings.iter().map(|f| f.level).max().unwrap()
    }

    #[test]
    fn every_state_has_its_level() {
        use Level::{Critical as C, Ok as O, Unknown as U, Warning as W};
        // Active and sub-state; the level where it should be active, inactive, whatever.
        let table = [
            ("active", "running", O, C, O),
            ("active", "exited", W, C, O),
            ("activating", "start", W, C, O),
            ("activating", "auto-restart", C, C, C),
            ("reloading", "reload", W, C, O),
            ("deactivating", "stop", W, C, O),
            ("inactive", "dead", C, O, O),
            ("failed", "failed", C, W, C),
            ("dreaming", "deep", U, C, O),
        ];
        for (active, sub, wanted_active, wanted_inactive, wanted_any) in table {
            let found = of(unit("x.service", active, sub));
            assert_eq!(level(&found, Wanted::Active), wanted_active, "{active}");
            assert_eq!(level(&found, Wanted::Inactive), wanted_inactive, "{active}");
            assert_eq!(level(&found, Wanted::Any), wanted_any, "{active}");
        }
        let done = of(oneshot("x.service", "active", "exited"));
        assert_eq!(level(&done, Wanted::Active), O);
    }

    #[test]
    fn what_does_not_load_is_told() {
        for (load, active, inactive) in [
            ("not-found", Level::Critical, Level::Ok),
            ("masked", Level::Critical, Level::Ok),
            ("bad-setting", Level::Critical, Level::Ok),
        ] {
            let mut found = of(unit("x.service", "inactive", "dead"));
            found.unit.load_state = load.to_owned();
            assert_eq!(level(&found, Wanted::Active), active, "{load}");
            assert_eq!(level(&found, Wanted::Inactive), inactive, "{load}");
        }
        let mut typo = of(unit("ngnix.service", "inactive", "dead"));
        typo.unit.load_state = "not-found".to_owned();
        typo.similar = Some("nginx.service".to_owned());
        let findings = judge("ngnix.service", &typo, Wanted::Active, None);
        assert_eq!(findings[0].message, "there is no such unit");
        let help = findings[0].help.as_deref();
        assert_eq!(help, Some("did you mean nginx.service?"));
        let mut gone = of(unit("x.service", "active", "running"));
        gone.unit.load_state = "not-found".to_owned();
        assert_eq!(level(&gone, Wanted::Active), Level::Warning);
    }

    #[test]
    fn a_meta_unit_is_judged_by_what_runs_behind_it() {
        let name = "postgresql.service";
        let mut meta = oneshot(name, "active", "exited");
        meta.pulls_in = vec!["postgresql@15-main.service".to_owned()];
        meta.service.as_mut().unwrap().programs = vec!["/bin/true".to_owned()];
        assert!(may_be_meta(&meta) && does_nothing(&meta));
        let behind = |instances: Vec<Unit>| {
            let found = Found {
                instances: Some(instances),
                ..of(meta.clone())
            };
            let findings = judge(name, &found, Wanted::Active, Some(3));
            let worst = findings.iter().max_by_key(|f| f.level).unwrap();
            (worst.level, worst.message.clone())
        };
        let main = |active, sub| unit("postgresql@15-main.service", active, sub);
        assert_eq!(behind(vec![main("active", "running")]).0, Level::Ok);
        let mut failed = main("failed", "failed");
        failed.service.as_mut().unwrap().result = "protocol".to_owned();
        let (level, message) = behind(vec![failed]);
        assert_eq!(level, Level::Critical);
        assert_eq!(
            message,
            "postgresql.service is only a meta-unit; behind it, postgresql@15-main.service is \
             failed (failed): protocol"
        );
        // Pulled in and stopped: somebody stopped it.
        assert_eq!(behind(vec![main("inactive", "dead")]).0, Level::Critical);
        assert_eq!(behind(Vec::new()).0, Level::Critical);
        // A second cluster that nothing starts at boot may be stopped.
        let manual = || unit("postgresql@16-test.service", "inactive", "dead");
        let both = vec![main("active", "running"), manual()];
        assert_eq!(behind(both).0, Level::Ok);
        assert_eq!(behind(vec![manual()]).0, Level::Critical);
    }

    #[test]
    fn counts_restarts() {
        let mut found = of(unit("x.service", "active", "running"));
        found.unit.service.as_mut().unwrap().restarts = 4;
        let worst = |max| {
            let findings = judge("x.service", &found, Wanted::Active, max);
            findings.iter().map(|f| f.level).max().unwrap()
        };
        assert_eq!(worst(None), Level::Ok);
        assert_eq!(worst(Some(4)), Level::Ok);
        assert_eq!(worst(Some(3)), Level::Warning);
    }

    #[test]
    fn a_socket_stands_in_for_its_service() {
        let mut found = of(unit("ssh.service", "inactive", "dead"));
        found.triggers = vec!["ssh.socket".to_owned()];
        assert_eq!(level(&found, Wanted::Active), Level::Ok);
        let mut found = of(oneshot("logrotate.service", "inactive", "dead"));
        found.triggers = vec!["logrotate.timer".to_owned()];
        let findings = judge("logrotate.service", &found, Wanted::Active, None);
        assert_eq!(findings[0].level, Level::Critical);
        let help = findings[0].help.as_ref().unwrap();
        assert!(help.contains("by logrotate.timer") && help.contains("state: any"));
    }
}
