//! What a unit is to be told, whether it can be, and what else that would change: the looking that a
//! preview and a run share.

use std::collections::{BTreeSet, VecDeque};

use serde_json::json;

use super::find::find;
use super::judge::{Found, Wanted, shown, unloaded};
use crate::base::Duration;
use crate::base::count::plural;
use crate::host::Observe;
use crate::host::reach::ReachError;
use crate::host::systemd::{Systemd, Unit, Verb};
use crate::step::{Change, Description, Partial, Preview, StepError};

/// How long a unit must stay active after it was started, unless told otherwise: what cannot work ends
/// within a moment, and a `Type=simple` service counts as started before its program even runs.
pub(super) fn two_seconds() -> Duration {
    Duration::from_secs(2)
}

/// What a unit is to be told.
#[derive(Debug)]
pub(super) struct Order {
    pub verb: Verb,
    /// The unit, with its suffix.
    pub name: String,
    /// How long it must stay active then.
    pub stable_for: Duration,
    /// How many other units may be stopped with it.
    pub max: Option<u32>,
}

/// A unit that is told something, as it was found.
pub(super) struct Intent {
    pub found: Found,
    /// Whether it is not as it should be already.
    pub needed: bool,
    /// The units behind it that it starts and that do not run, where it is a meta-unit that is active.
    pub behind: Vec<Unit>,
    /// What is stopped with it, and with what is stopped then; by name.
    pub stopped_with: Vec<Unit>,
    /// What is active and starts it again.
    pub triggers: Vec<String>,
}

/// What it would do, said without looking.
pub(super) fn describe(verb: Verb, config: &Partial) -> Description {
    let unit = config.text("unit").unwrap_or_default();
    Description::line(format!("{} the unit {unit}", verb.word()))
}

/// What it would do, found out by looking.
pub(super) async fn preview(order: &Order, host: &Observe) -> Result<Preview, StepError> {
    let intent = order.look(&host.systemd().await?).await?;
    if !intent.needed {
        return Ok(Preview::NoChange);
    }
    let (unit, others) = (&intent.found.unit, &intent.stopped_with);
    let also = match (others.len(), order.verb) {
        (0, _) => String::new(),
        (count, Verb::Restart) => format!(", and with it {}", plural(count, "other unit")),
        (count, _) => format!(", and {} that need it", plural(count, "other unit")),
    };
    let verb = order.verb.word();
    let mut summary = format!("{verb} {}, which is {}{also}", order.name, state(unit));
    let mut count = others.len() + 1;
    if !intent.behind.is_empty() {
        count = intent.behind.len();
        let behind = behind(&intent.behind);
        summary = format!("start {behind}, through the meta-unit {}", order.name);
    }
    let mut items: Vec<String> = others
        .iter()
        .map(|other| format!("{} is stopped too; it is {}", other.id, state(other)))
        .collect();
    if order.verb == Verb::Stop {
        let again = |trigger: &String| format!("{trigger} stays active, and starts it again");
        items.extend(intent.triggers.iter().map(again));
    }
    let counts = json!({ "units": count });
    Ok(Preview::Change(Change {
        summary,
        counts: counts.as_object().cloned().unwrap_or_default(),
        items,
        ..Change::default()
    }))
}

/// `a.service (inactive) and b.service (failed)`.
fn behind(units: &[Unit]) -> String {
    let each = units
        .iter()
        .map(|unit| format!("{} ({})", unit.id, unit.active_state));
    each.collect::<Vec<_>>().join(" and ")
}

/// `active (running)`.
fn state(unit: &Unit) -> String {
    format!("{} ({})", unit.active_state, unit.sub_state)
}

pub(super) fn is_up(unit: &Unit) -> bool {
    matches!(
        unit.active_state.as_str(),
        "active" | "reloading" | "refreshing"
    )
}

/// Whether nothing of it runs, nor will by itself.
pub(super) fn is_down(unit: &Unit) -> bool {
    matches!(unit.active_state.as_str(), "inactive" | "failed")
}

impl Order {
    /// The state that is promised.
    pub fn wanted(&self) -> Wanted {
        match self.verb {
            Verb::Stop => Wanted::Inactive,
            _ => Wanted::Active,
        }
    }

    /// Why it could not be done.
    pub fn could_not(&self, why: &str) -> StepError {
        StepError::permanent(format!(
            "could not {} {}: {why}",
            self.verb.word(),
            self.name
        ))
    }

    /// Looks at the unit, and at what else is changed with it.
    ///
    /// # Errors
    /// When systemd cannot be asked, or it cannot be done.
    pub async fn look(&self, systemd: &Systemd<'_>) -> Result<Intent, StepError> {
        let found = find(systemd, &self.name, self.wanted()).await?;
        let unit = &found.unit;
        self.is_possible(&found)?;
        let started = |instance: &&Unit| is_down(instance) && unit.pulls_in.contains(&instance.id);
        let instances = found.instances.iter().flatten();
        let behind: Vec<Unit> = instances.filter(started).cloned().collect();
        let needed = match self.verb {
            // To start a unit that is active starts what it pulls in, where that is not.
            Verb::Start => !is_up(unit) || !behind.is_empty(),
            Verb::Stop => !is_down(unit),
            Verb::Restart | Verb::Reload => true,
        };
        let mut intent = Intent {
            needed,
            behind: match self.verb {
                Verb::Start => behind,
                _ => Vec::new(),
            },
            stopped_with: Vec::new(),
            triggers: Vec::new(),
            found: found.clone(),
        };
        if !needed {
            return Ok(intent);
        }
        if matches!(self.verb, Verb::Stop | Verb::Restart) && !is_down(unit) {
            intent.stopped_with = stopped_with(systemd, unit).await?;
            self.is_allowed(systemd, &intent).await?;
        }
        match self.verb {
            Verb::Stop => intent.triggers = active(systemd, &unit.triggered_by).await?,
            // Only what does not run displaces what does.
            Verb::Start | Verb::Restart if !is_up(unit) => {
                self.displaces_nothing(systemd, unit).await?;
            }
            _ => {}
        }
        Ok(intent)
    }

    /// Whether such a unit can be told this at all.
    fn is_possible(&self, found: &Found) -> Result<(), StepError> {
        let unit = &found.unit;
        // What runs without its file can be stopped.
        let may_lack_file =
            self.verb == Verb::Stop && (!is_down(unit) || unit.load_state != "not-found");
        if let Some(finding) = unloaded(&self.name, found).filter(|_| !may_lack_file) {
            let error = self.could_not(&finding.message);
            return Err(match finding.help {
                Some(help) => error.with_help(help),
                None => error,
            });
        }
        let (possible, why) = match self.verb {
            Verb::Start => (unit.can_start || is_up(unit), MANUAL_START),
            Verb::Restart if is_down(unit) => (unit.can_start, MANUAL_START),
            Verb::Restart => (unit.can_start && unit.can_stop, MANUAL_STOP),
            Verb::Stop => (unit.can_stop || is_down(unit), MANUAL_STOP),
            Verb::Reload => (
                unit.can_reload,
                "it has no way to be reloaded (`ExecReload=`)",
            ),
        };
        if !possible {
            let error = self.could_not(why);
            return Err(match self.verb {
                Verb::Reload => error.with_help("restart it instead: `service.restart`"),
                _ => error,
            });
        }
        if self.verb == Verb::Reload && !is_up(unit) {
            let why = format!("it is {}, and only what runs can be reloaded", shown(unit));
            return Err(self.could_not(&why).with_help("start it: `service.start`"));
        }
        Ok(())
    }

    /// Whether what would be stopped may be: not too much, and not this very run.
    async fn is_allowed(&self, systemd: &Systemd<'_>, intent: &Intent) -> Result<(), StepError> {
        let (unit, others) = (&intent.found.unit, &intent.stopped_with);
        if let Some(max) = self.max
            && others.len() > max as usize
        {
            let names: Vec<&str> = others.iter().map(|other| other.id.as_str()).collect();
            let why = format!(
                "{} would be stopped with it, more than `max` ({max}): {}",
                plural(others.len(), "other unit"),
                names.join(", ")
            );
            return Err(self.could_not(&why));
        }
        let own = systemd.own_unit().await?;
        let mut all = others.iter().chain([unit]);
        match all.find(|stopped| own.as_ref() == Some(&stopped.id)) {
            Some(own) => {
                let why = format!("this very run belongs to {}, and would be killed", own.id);
                Err(self
                    .could_not(&why)
                    .with_help("start the run from elsewhere"))
            }
            None => Ok(()),
        }
    }

    /// A start is harmless only where it stops nothing.
    async fn displaces_nothing(&self, systemd: &Systemd<'_>, unit: &Unit) -> Result<(), StepError> {
        let displaced = active(systemd, &unit.conflicts).await?;
        if displaced.is_empty() {
            return Ok(());
        }
        let displaced = displaced.join(" and ");
        let why = format!("that would stop {displaced}, which conflicts with it");
        let help = "stop that first: `service.stop`";
        Err(self.could_not(&why).with_help(help))
    }
}

const MANUAL_START: &str = "nobody may start it by hand (`RefuseManualStart=`, or its kind)";
const MANUAL_STOP: &str = "nobody may stop it by hand (`RefuseManualStop=`, or its kind)";

/// Those of `names` that are active.
async fn active(systemd: &Systemd<'_>, names: &[String]) -> Result<Vec<String>, ReachError> {
    let mut active = Vec::new();
    for name in names {
        let unit = systemd.unit(name).await?;
        if !is_down(&unit) {
            active.push(unit.id);
        }
    }
    Ok(active)
}

/// What is stopped with `unit`, and with what is stopped then.
async fn stopped_with(systemd: &Systemd<'_>, unit: &Unit) -> Result<Vec<Unit>, ReachError> {
    let mut seen = BTreeSet::from([unit.id.clone()]);
    let mut next: VecDeque<String> = unit.stopped_with.iter().cloned().collect();
    let mut stopped = Vec::new();
    while let Some(name) = next.pop_front() {
        if !seen.insert(name.clone()) {
            continue;
        }
        let other = systemd.unit(&name).await?;
        if is_down(&other) {
            continue;
        }
        next.extend(other.stopped_with.iter().cloned());
        stopped.push(other);
    }
    stopped.sort_by(|a, b| a.id.cmp(&b.id));
    Ok(stopped)
}
