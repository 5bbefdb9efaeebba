//! Tells a unit to change its state, and waits until it really is in it.

use schemars::JsonSchema;
use serde::Serialize;

use super::find::find;
use super::judge::{Found, Wanted, judge, shown, way};
use super::order::{Intent, Order, is_down, is_up};
use crate::base::{Duration, Instant};
use crate::event::Finding;
use crate::host::Effect;
use crate::host::net::Stopped;
use crate::host::reach::ReachError;
use crate::host::systemd::{JobEnd, Service, Systemd, SystemdEffect, Unit, Verb};
use crate::step::{Outcome, StepError, StepErrorKind};

/// How often a unit is looked at that must stay as it is.
const POLL: Duration = Duration::from_millis(100);

/// How the unit was found and left.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Outputs {
    /// Its name, with its suffix.
    pub unit: String,
    /// What it was before: `active`, `inactive`, `failed`, …
    pub before: String,
    /// What it is now: `active`, `inactive`, `failed`, …
    pub active_state: String,
    /// `running`, `exited`, `dead`, …
    pub sub_state: String,
    /// How a service ended last: `success`, `exit-code`, `signal`, …
    pub result: Option<String>,
    /// The main process of a service.
    pub main_pid: Option<u32>,
    /// The other units that were active and are stopped when it is, by name: of a restart, systemd starts
    /// them again.
    pub stopped_with: Vec<String>,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// A unit that is being told something.
struct Act<'a> {
    order: &'a Order,
    systemd: SystemdEffect<'a>,
    intent: Intent,
    since: Instant,
    host: &'a Effect,
}

/// Does what is ordered.
pub(super) async fn run(order: &Order, host: &Effect) -> Result<Outcome<Outputs>, StepError> {
    let systemd = host.systemd().await?;
    let intent = order.look(&systemd.look()).await?;
    let act = Act {
        order,
        systemd,
        intent,
        since: host.scope().clock().now(),
        host,
    };
    if !act.intent.needed {
        let found = &act.intent.found;
        return Ok(Outcome::unchanged(act.outputs(&found.unit)).with_findings(act.findings(found)));
    }
    match act
        .systemd
        .run(order.verb, &act.intent.found.unit.id)
        .await?
    {
        JobEnd::Over(result) if matches!(result.as_str(), "done" | "skipped" | "") => {
            act.settle().await
        }
        JobEnd::Over(result) => {
            let found = find(&act.systemd.look(), &order.name, Wanted::Any).await?;
            Err(act.failed(&found.unit, &act.why(&result, &found.unit).await))
        }
        JobEnd::Left { stopped, cancelled } => {
            let job = match cancelled {
                true => "its job had not begun, and was cancelled",
                false => "systemd goes on with it",
            };
            Err(act.left(stopped, job).await)
        }
    }
}

impl Act<'_> {
    /// Waits until the unit is what was promised, and has stayed so.
    async fn settle(self) -> Result<Outcome<Outputs>, StepError> {
        let scope = self.host.scope();
        let mut steady: Option<Instant> = None;
        let restarts = match self.order.verb {
            Verb::Reload => restarts(&self.intent.found.unit),
            // A start begins to count anew.
            _ => 0,
        };
        loop {
            let look = self.systemd.look();
            let found = find(&look, &self.order.name, self.order.wanted()).await?;
            let unit = &found.unit;
            let standing = match standing(self.order.verb, unit, restarts) {
                Standing::Done => with_instances(&found),
                other => other,
            };
            match standing {
                Standing::Done => return Ok(self.done(&found)),
                Standing::Holds => {
                    let now = scope.clock().now();
                    let since = *steady.get_or_insert(now);
                    if now.since(since) >= self.order.stable_for {
                        return Ok(self.done(&found));
                    }
                }
                Standing::OnItsWay => steady = None,
                Standing::Broken(why) => return Err(self.failed(unit, &why)),
            }
            let pause = scope.clock().sleep(POLL);
            if let Err(stopped) = scope.within(scope.allow_all(), pause).await {
                let job = match steady {
                    Some(_) => "it had not been so for as long as `stable_for` says",
                    None => "systemd goes on with it",
                };
                return Err(self.left(stopped, job).await);
            }
        }
    }

    fn done(&self, found: &Found) -> Outcome<Outputs> {
        Outcome::changed(self.outputs(&found.unit)).with_findings(self.findings(found))
    }

    /// What its state means, as `service.check` says it.
    fn findings(&self, found: &Found) -> Vec<Finding> {
        let (name, unit) = (&self.order.name, &found.unit);
        let wanted = match has_done_its_work(unit) && self.order.verb != Verb::Stop {
            true => Wanted::Any,
            false => self.order.wanted(),
        };
        let mut findings = judge(name, found, wanted, None);
        for trigger in &self.intent.triggers {
            let message = format!("{trigger} is active, and starts {name} again");
            let help = format!("stop {trigger} as well, where it is to stay stopped");
            findings.push(Finding::warning(name, message).with_help(help));
        }
        findings
    }

    fn outputs(&self, unit: &Unit) -> Outputs {
        let service = unit.service.as_ref();
        let now = self.host.scope().clock().now();
        Outputs {
            unit: self.order.name.clone(),
            before: self.intent.found.unit.active_state.clone(),
            active_state: unit.active_state.clone(),
            sub_state: unit.sub_state.clone(),
            result: service.map(|service| service.result.clone()),
            main_pid: service.and_then(|service| service.main_pid),
            stopped_with: { self.intent.stopped_with.iter() }
                .map(|other| other.id.clone())
                .collect(),
            took_ms: now.since(self.since).as_millis(),
        }
    }

    /// It is not what was promised. To try again may help: a port may be free by then.
    fn failed(&self, unit: &Unit, why: &str) -> StepError {
        let name = &self.order.name;
        let error = self
            .order
            .could_not(&format!("{why}; it is {}", shown(unit)));
        StepError {
            kind: StepErrorKind::Transient,
            ..error
        }
        .with_help(format!(
            "read what it said: `journalctl -u {name} -n 30 --no-pager`"
        ))
        .with_outputs(&self.outputs(unit))
    }

    /// Why a job ended so: "D-Bus API of systemd/PID 1", JobRemoved.
    async fn why(&self, result: &str, unit: &Unit) -> String {
        match result {
            "failed" => match unit.service.as_ref() {
                Some(service) => ending(service),
                None => "it failed".to_owned(),
            },
            "timeout" => "the time of its job (`JobTimeoutSec=`) was over".to_owned(),
            "dependency" => match self.required_and_down(unit).await {
                Ok(down) if !down.is_empty() => {
                    format!("it requires {}, which did not start", down.join(" and "))
                }
                _ => "a unit that it requires did not start".to_owned(),
            },
            "canceled" => "its job was cancelled: somebody asked for the contrary".to_owned(),
            "assert" => "an assertion in its file does not hold (`Assert…=`)".to_owned(),
            other => format!("its job ended as `{other}`"),
        }
    }

    async fn required_and_down(&self, unit: &Unit) -> Result<Vec<String>, ReachError> {
        let mut down = Vec::new();
        for name in &unit.pulls_in {
            let other = self.systemd.look().unit(name).await?;
            if !is_up(&other) {
                down.push(format!("{name} ({})", other.active_state));
            }
        }
        Ok(down)
    }

    /// We were told to end; what the state is by now is said.
    async fn left(&self, stopped: Stopped, job: &str) -> StepError {
        let (verb, name) = (self.order.verb.word(), &self.order.name);
        let mut error = stopped.error(format!("{verb} {name}"));
        let last: Systemd<'_> = self.systemd.look_last();
        let unit = last.unit(name).await.ok();
        let state = match &unit {
            Some(unit) => format!("it is {}", shown(unit)),
            None => "systemd does not say what it is".to_owned(),
        };
        error.cause = format!("{}; {state}, and {job}", error.cause);
        error.help = Some(format!("look at it: `systemctl status {name}`"));
        let error = StepError::from(error);
        match unit {
            Some(unit) => error.with_outputs(&self.outputs(&unit)),
            None => error,
        }
    }
}

/// How a unit stands, measured by what was promised.
#[derive(Debug, PartialEq, Eq)]
enum Standing {
    /// It is so.
    Holds,
    /// It is so, and nothing of it is left that could end.
    Done,
    /// It is not yet.
    OnItsWay,
    /// It is not, for this reason.
    Broken(String),
}

fn restarts(unit: &Unit) -> u32 {
    unit.service.as_ref().map_or(0, |service| service.restarts)
}

/// Whether it is a service that works and then ends, and has.
fn has_done_its_work(unit: &Unit) -> bool {
    let service = unit.service.as_ref();
    let ends = service.is_some_and(|s| s.kind == "oneshot" && !s.remains && s.result == "success");
    ends && unit.conditions_held && unit.active_state == "inactive"
}

/// A meta-unit stands as what is behind it, which ends as services do. What those come to is judged as
/// `service.check` does it.
fn with_instances(found: &Found) -> Standing {
    let Some(instances) = &found.instances else {
        return Standing::Done;
    };
    let starts = |unit: &Unit| {
        unit.active_state == "activating" && !unit.sub_state.starts_with("auto-restart")
    };
    match instances.iter().any(starts) {
        true => Standing::OnItsWay,
        false => Standing::Holds,
    }
}

fn standing(verb: Verb, unit: &Unit, known_restarts: u32) -> Standing {
    if verb == Verb::Stop {
        return match unit.active_state.as_str() {
            "inactive" | "failed" => Standing::Done,
            "deactivating" => Standing::OnItsWay,
            _ => Standing::Broken("it was stopped, and something started it again".to_owned()),
        };
    }
    let service = unit.service.as_ref();
    if restarts(unit) > known_restarts || unit.sub_state.starts_with("auto-restart") {
        let why = match service.filter(|service| service.result != "success") {
            Some(service) => ending(service),
            // It is being started again already.
            None => "systemd restarted it, and says no more of how it ended".to_owned(),
        };
        return Standing::Broken(format!("it did not stay up ({why})"));
    }
    match unit.active_state.as_str() {
        // Nothing of it runs that could end.
        "active" if unit.sub_state == "exited" => Standing::Done,
        "active" => Standing::Holds,
        "inactive" if has_done_its_work(unit) => Standing::Done,
        "inactive" if !unit.conditions_held => {
            Standing::Broken("a condition in its file does not hold (`Condition…=`)".to_owned())
        }
        "inactive" if service.is_some_and(|service| service.result == "success") => {
            Standing::Broken("it did not stay up: it ended, and says that all is well".to_owned())
        }
        _ if is_down(unit) || unit.active_state == "deactivating" => {
            let why = service.map(ending).unwrap_or_else(|| "it ended".to_owned());
            Standing::Broken(format!("it did not stay up ({why})"))
        }
        _ => Standing::OnItsWay,
    }
}

/// How a service ended, in words: `exit-code: its main process exited with status 1`.
fn ending(service: &Service) -> String {
    let mut words = match service.result.as_str() {
        "timeout" => "timeout: it was not ready in the time that its file gives it \
                      (`TimeoutStartSec=`)"
            .to_owned(),
        "start-limit-hit" => "start-limit-hit: it was started too often \
                              (`systemctl reset-failed` lets it start again)"
            .to_owned(),
        "oom-kill" => "oom-kill: the machine, or its own limit, had no memory left".to_owned(),
        "protocol" => "protocol: it did not say that it is ready as its `Type=` asks".to_owned(),
        result => result.to_owned(),
    };
    let mut said = Vec::new();
    for command in &service.failed {
        if let Some(way) = way(command.code, command.status) {
            said.push(format!(
                "`{}` of {}= {way}",
                command.program, command.setting
            ));
        }
    }
    if said.is_empty()
        && let Some(way) = way(service.exit_code, service.exit_status)
    {
        said.push(format!("its main process {way}"));
    }
    if !service.status_text.is_empty() {
        said.push(format!("its last status was \"{}\"", service.status_text));
    }
    if !said.is_empty() {
        words = format!("{words}: {}", said.join(", "));
    }
    words
}

#[cfg(test)]
mod tests {
    use super::{Standing, standing};
    use crate::host::systemd::{Command, Service, Unit, Verb};

    fn unit(active: &str, sub: &str) -> Unit {
        Unit {
            active_state: active.to_owned(),
            sub_state: sub.to_owned(),
            conditions_held: true,
            service: Some(Service {
                kind: "simple".to_owned(),
                result: "success".to_owned(),
                ..Service::default()
            }),
            ..Unit::default()
        }
    }

    #[test]
    fn a_start_is_what_stays_up() {
        let start = |unit: &Unit| standing(Verb::Start, unit, 0);
        assert_eq!(start(&unit("active", "running")), Standing::Holds);
        assert_eq!(start(&unit("active", "exited")), Standing::Done);
        assert_eq!(start(&unit("activating", "start-post")), Standing::OnItsWay);
        for (active, sub) in [
            ("inactive", "dead"),
            ("failed", "failed"),
            ("deactivating", "stop-sigterm"),
            ("activating", "auto-restart"),
        ] {
            let standing = start(&unit(active, sub));
            assert!(matches!(standing, Standing::Broken(_)), "{active}");
        }
        let mut oneshot = unit("inactive", "dead");
        oneshot.service.as_mut().unwrap().kind = "oneshot".to_owned();
        assert_eq!(start(&oneshot), Standing::Done);
        oneshot.conditions_held = false;
        assert!(matches!(start(&oneshot), Standing::Broken(why) if why.contains("condition")));
        let mut again = unit("active", "running");
        again.service.as_mut().unwrap().restarts = 2;
        assert!(matches!(start(&again), Standing::Broken(_)));
        assert_eq!(standing(Verb::Reload, &again, 2), Standing::Holds);
    }

    #[test]
    fn a_stop_is_what_stays_down() {
        let stop = |active, sub| standing(Verb::Stop, &unit(active, sub), 0);
        assert_eq!(stop("inactive", "dead"), Standing::Done);
        assert_eq!(stop("failed", "failed"), Standing::Done);
        assert_eq!(stop("deactivating", "stop"), Standing::OnItsWay);
        assert!(matches!(stop("active", "running"), Standing::Broken(_)));
    }

    #[test]
    fn says_which_command_failed() {
        let service = Service {
            result: "exit-code".to_owned(),
            failed: vec![Command {
                setting: "ExecStartPre",
                program: "/bin/false".to_owned(),
                code: 1,
                status: 1,
            }],
            ..Service::default()
        };
        let said = super::ending(&service);
        assert_eq!(
            said,
            "exit-code: `/bin/false` of ExecStartPre= exited with status 1"
        );
    }
}
