//! `host.processes`: which processes need the processors or the memory.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::limits::{self, Limits, tenth};
use crate::base::Duration;
use crate::event::{EffectClass, Finding, Level, RepeatClass};
use crate::host::system::{ProcessActivity, ProcessUse};
use crate::host::{HostError, HostErrorKind, Observe};
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Processes;

/// Lists the processes that need most of the processors or of the memory, over a span of time.
///
/// All processes are read twice, `sample` apart, so that `cpu_percent` is what they do now rather
/// than since they began. Those that began in between are told with all of their CPU time; those
/// that ended in between are counted as `vanished`.
///
/// `cpu_warn` and `cpu_fail` judge every process, listed or not; without them nothing is judged and
/// the one finding says which process is the busiest. Where the system hides other users' processes
/// (`hidepid`), the answer is `unknown`, because the busy one may be among them.
///
/// Command lines are part of the outputs and so of the record. Programs that take passwords as
/// arguments show them there: set `command_lines: false` where such programs run.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: busiest
/// steps:
///   - id: processes
///     host.processes: { sort: cpu, top: 5, sample: 2s, cpu_warn: 90, zombies_warn: 20 }
///   - id: show
///     flow.set: { values: { busiest: "${{ steps.processes.outputs.processes[0].name }}" } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// What the list is sorted by, the most first.
    #[serde(default)]
    pub sort: Sort,
    /// How many are listed.
    #[serde(default = "ten")]
    #[schemars(range(min = 1, max = 1000))]
    pub top: usize,
    /// How long to look, at least 100ms.
    #[serde(default = "limits::one_second")]
    pub sample: Duration,
    /// A warning for each process from here on, in percent of one processor; more than 100 means
    /// several threads. Never by default.
    #[schemars(range(min = 0))]
    pub cpu_warn: Option<f64>,
    /// Critical for each process from here on, in percent of one processor. Never by default.
    #[schemars(range(min = 0))]
    pub cpu_fail: Option<f64>,
    /// A warning from this many processes on that have ended and wait for their parent. Never by
    /// default.
    #[schemars(range(min = 1))]
    pub zombies_warn: Option<u32>,
    /// Whether command lines are read and recorded.
    #[serde(default = "yes")]
    pub command_lines: bool,
}

fn ten() -> usize {
    10
}

fn yes() -> bool {
    true
}

/// What a list of processes is sorted by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sort {
    /// By CPU time in the sample.
    #[default]
    Cpu,
    /// By resident memory.
    Memory,
}

/// What was found; `null` where it could not be read.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// How many processes there are.
    pub count: Option<usize>,
    /// How many of them have ended and wait for their parent.
    pub zombies: Option<usize>,
    /// How many began during the sample and are still there.
    pub appeared: Option<usize>,
    /// How many ended during the sample.
    pub vanished: Option<usize>,
    /// The first `top` of them, the most first.
    pub processes: Vec<Process>,
}

/// One process.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// Its name; at most 15 bytes, as the kernel keeps it.
    pub name: String,
    /// Whose rights it has: a name, or a number without one in `/etc/passwd`.
    pub user: String,
    /// Its share of one processor during the sample, in percent, to one decimal.
    pub cpu_percent: f64,
    /// Its resident memory, in bytes.
    pub memory: u64,
    /// Its command line, words separated by spaces, at most 1,000 characters; `null` where it has
    /// none or was not asked for.
    pub command_line: Option<String>,
}

impl StepType for Processes {
    const NAME: &'static str = "host.processes";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        cpu_limits(config).check("cpu_warn", "cpu_fail")?;
        limits::check_sample(config.sample)?;
        if !(1..=1000).contains(&config.top) {
            return Err("`top` is from 1 to 1000".to_owned());
        }
        if config.zombies_warn == Some(0) {
            return Err("`zombies_warn: 0` would always warn; 1 is the least".to_owned());
        }
        Ok(())
    }

    fn describe(config: &Partial) -> Description {
        let field = |name, default: &str| config.text(name).unwrap_or_else(|| default.to_owned());
        let (sample, top, sort) = (
            field("sample", "1s"),
            field("top", "10"),
            field("sort", "cpu"),
        );
        Description::line(format!(
            "look for {sample} at processes, the first {top} by {sort}"
        ))
    }
}

impl Look for Processes {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let activity = match host.process_activity(config.sample).await {
            Ok(activity) => activity,
            Err(error) => {
                let finding = limits::could_not_look("processes", error)?;
                return Ok(Outcome::unchanged(Outputs::default()).with_findings(vec![finding]));
            }
        };
        let top = first(&activity, config.sort, config.top);
        let lines = if config.command_lines {
            command_lines(&top, host).await?
        } else {
            BTreeMap::new()
        };
        let processes = top.iter().map(|process| entry(process, &lines)).collect();
        let outputs = Outputs {
            count: Some(activity.processes.len()),
            zombies: Some(
                activity
                    .processes
                    .iter()
                    .filter(|process| process.zombie)
                    .count(),
            ),
            appeared: Some(activity.appeared),
            vanished: Some(activity.vanished),
            processes,
        };
        Ok(Outcome::unchanged(outputs).with_findings(judge(&config, &activity)))
    }
}

/// What each of these was started as. They serve people only: where a process does not give its
/// own away, the list goes without.
async fn command_lines(
    of: &[&ProcessUse],
    host: &Observe,
) -> Result<BTreeMap<u32, String>, HostError> {
    let pids: Vec<u32> = of.iter().map(|process| process.pid).collect();
    match host.command_lines(&pids).await {
        Err(error)
            if matches!(
                error.kind,
                HostErrorKind::Transient | HostErrorKind::Permanent
            ) =>
        {
            Ok(BTreeMap::new())
        }
        lines => lines,
    }
}

fn first(activity: &ProcessActivity, sort: Sort, top: usize) -> Vec<&ProcessUse> {
    let mut all: Vec<&ProcessUse> = activity.processes.iter().collect();
    // Stable, and they come by id: of equal ones the elder is first.
    match sort {
        Sort::Cpu => all.sort_by(|a, b| b.cpu_percent.total_cmp(&a.cpu_percent)),
        Sort::Memory => all.sort_by_key(|process| std::cmp::Reverse(process.memory)),
    }
    all.truncate(top);
    all
}

/// The longest command line that is kept, in characters.
const LONGEST_LINE: usize = 1000;

fn entry(process: &ProcessUse, lines: &BTreeMap<u32, String>) -> Process {
    let line = |text: &String| match text.char_indices().nth(LONGEST_LINE) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.clone(),
    };
    Process {
        pid: process.pid,
        name: process.name.clone(),
        user: process.user.clone(),
        cpu_percent: tenth(process.cpu_percent),
        memory: process.memory,
        command_line: lines.get(&process.pid).map(line),
    }
}

fn cpu_limits(config: &Config) -> Limits {
    Limits {
        warn: config.cpu_warn,
        fail: config.cpu_fail,
    }
}

fn judge(config: &Config, activity: &ProcessActivity) -> Vec<Finding> {
    let mut findings = Vec::new();
    if !activity.sees_all {
        findings.push(
            Finding::unknown("processes", "other users' processes cannot be seen")
                .with_help("/proc is mounted with `hidepid`: run this as root"),
        );
    }
    let limits = cpu_limits(config);
    let mut busy = first(activity, Sort::Cpu, activity.processes.len());
    let busiest = busy.first().copied();
    busy.retain(|process| limits.level(tenth(process.cpu_percent)) > Level::Ok);
    let over = |process: &ProcessUse| {
        format!(
            "{} % of a processor over {}",
            tenth(process.cpu_percent),
            config.sample
        )
    };
    for process in &busy {
        let message = format!("{}, as {}", over(process), process.user);
        let percent = tenth(process.cpu_percent);
        findings.push(limits.finding(&called(process), percent, " %", &message));
    }
    if let Some(process) = busiest.filter(|_| busy.is_empty()) {
        let count = activity.processes.len();
        let message = format!(
            "of {count}, the busiest is {} with {}",
            called(process),
            over(process)
        );
        let percent = tenth(process.cpu_percent);
        findings.push(limits.finding("processes", percent, " %", &message));
    }
    findings.extend(config.zombies_warn.map(|limit| zombies(activity, limit)));
    findings
}

fn called(process: &ProcessUse) -> String {
    format!("{} ({})", process.name, process.pid)
}

fn zombies(activity: &ProcessActivity, limit: u32) -> Finding {
    let limits = Limits {
        warn: Some(f64::from(limit)),
        fail: None,
    };
    let mut by_parent: BTreeMap<u32, usize> = BTreeMap::new();
    let parents = activity.processes.iter().filter(|process| process.zombie);
    for parent in parents.map(|process| process.parent.unwrap_or(0)) {
        *by_parent.entry(parent).or_default() += 1;
    }
    let count: usize = by_parent.values().sum();
    let message = format!("{count} ended and not yet collected by their parent");
    let finding = limits.finding("zombies", count as f64, "", &message);
    let most = by_parent.into_iter().max_by_key(|(_, count)| *count);
    match most.filter(|_| finding.level > Level::Ok) {
        None => finding,
        Some((parent, count)) => {
            let parent = activity
                .processes
                .iter()
                .find(|process| process.pid == parent);
            let parent = parent.map_or_else(|| "an unknown process".to_owned(), called);
            finding.with_help(format!(
                "{count} of them wait for {parent}; they go when it collects them or ends"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::{Config, Processes, Sort, first, judge};
    use crate::base::{Duration, EndReason};
    use crate::event::Level;
    use crate::host::system::{ProcessActivity, ProcessUse};
    use crate::host::{Observe, testing};
    use crate::step::{Look, StepErrorKind, StepType};
    use crate::steps::host::testing::beside_a_busy_process;

    fn config(value: serde_json::Value) -> Config {
        serde_json::from_value(value).unwrap()
    }

    fn process(pid: u32, cpu_percent: f64, memory: u64, zombie: bool) -> ProcessUse {
        ProcessUse {
            pid,
            parent: Some(1),
            name: format!("p{pid}"),
            user: "root".to_owned(),
            cpu_percent,
            memory,
            zombie,
        }
    }

    fn activity() -> ProcessActivity {
        ProcessActivity {
            processes: vec![
                process(1, 0.0, 500, false),
                process(2, 9.0, 10, false),
                process(3, 100.0, 20, false),
                process(4, 85.04, 30, false),
                process(5, 0.0, 0, true),
                process(6, 0.0, 0, true),
            ],
            elapsed: Duration::from_secs(1),
            appeared: 0,
            vanished: 0,
            sees_all: true,
        }
    }

    /// Each finding on one line.
    fn told(value: serde_json::Value, activity: &ProcessActivity) -> Vec<String> {
        let findings = judge(&config(value), activity).into_iter();
        findings
            .map(|f| format!("{}: {}: {}", f.level, f.subject, f.message))
            .collect()
    }

    #[test]
    fn every_process_above_a_limit_is_told() {
        let limits = json!({ "cpu_warn": 80, "cpu_fail": 95, "top": 1 });
        assert_eq!(
            told(limits, &activity()),
            [
                "critical: p3 (3): 100 % of a processor over 1s, as root (fail 95 %)",
                "warning: p4 (4): 85 % of a processor over 1s, as root (warn 80 %)",
            ]
        );
    }

    #[test]
    fn without_one_the_busiest_is_told() {
        let busiest =
            "ok: processes: of 6, the busiest is p3 (3) with 100 % of a processor over 1s";
        assert_eq!(told(json!({}), &activity()), [busiest]);
        let limits = json!({ "cpu_warn": 200 });
        assert_eq!(
            told(limits, &activity()),
            [format!("{busiest} (warn 200 %)")]
        );
    }

    #[test]
    fn zombies_are_told_with_their_parent() {
        let findings = judge(&config(json!({ "zombies_warn": 2 })), &activity());
        assert_eq!(findings[1].level, Level::Warning);
        assert_eq!(
            findings[1].message,
            "2 ended and not yet collected by their parent (warn 2)"
        );
        let help = findings[1].help.as_deref();
        assert_eq!(
            help,
            Some("2 of them wait for p1 (1); they go when it collects them or ends")
        );
        let findings = judge(&config(json!({ "zombies_warn": 3 })), &activity());
        assert_eq!(
            (findings[1].level, findings[1].help.is_none()),
            (Level::Ok, true)
        );
    }

    #[test]
    fn what_is_hidden_is_unknown() {
        let mut hidden = activity();
        hidden.sees_all = false;
        assert!(told(json!({}), &hidden)[0].starts_with("unknown: "));
    }

    #[test]
    fn sorted_by_what_is_asked() {
        let activity = activity();
        let pids = |sort| {
            first(&activity, sort, 3)
                .iter()
                .map(|p| p.pid)
                .collect::<Vec<_>>()
        };
        assert_eq!(pids(Sort::Cpu), [3, 4, 2]);
        assert_eq!(pids(Sort::Memory), [1, 4, 3]);
    }

    #[test]
    fn configurations_are_checked() {
        let check = |value| Processes::check(&config(value));
        assert_eq!(check(json!({ "cpu_warn": 150, "cpu_fail": 390.5 })), Ok(()));
        for wrong in [
            json!({ "cpu_warn": 2, "cpu_fail": 1 }),
            json!({ "cpu_warn": -1 }),
            json!({ "sample": "0" }),
            json!({ "top": 0 }),
            json!({ "zombies_warn": 0 }),
        ] {
            assert!(check(wrong.clone()).is_err(), "{wrong}");
        }
        assert!(serde_json::from_value::<Config>(json!({ "sort": "name" })).is_err());
    }

    #[tokio::test]
    async fn a_busy_process_is_found_at_the_first_look() {
        let host = Observe::new(testing::scope().scope);
        // Nothing else on the machine has this in its command line.
        let mark = format!("marked-{}", std::process::id());
        let look = json!({ "sample": "300ms", "top": 1000, "cpu_warn": 0.1 });
        let look = Processes::look(config(look), &host);
        let outcome = beside_a_busy_process(&mark, look).await.unwrap();
        let mut listed = outcome.outputs.processes.iter();
        let marked = |p: &&super::Process| {
            p.command_line
                .as_ref()
                .is_some_and(|line| line.ends_with(&mark))
        };
        let found = listed.find(marked).unwrap();
        assert_eq!((found.name.as_str(), found.memory > 0), ("sh", true));
        assert!(found.cpu_percent > 1.0, "{found:?}");
        let subject = format!("sh ({})", found.pid);
        assert!(outcome.findings.iter().any(|f| f.subject == subject));
        assert!(outcome.outputs.count.unwrap() > 1);
    }

    #[tokio::test]
    async fn command_lines_are_left_out_where_they_are_not_wanted() {
        let host = Observe::new(testing::scope().scope);
        let look = json!({ "sample": "100ms", "command_lines": false });
        let outputs = Processes::look(config(look), &host).await.unwrap().outputs;
        assert!(outputs.processes.iter().all(|p| p.command_line.is_none()));
        assert_eq!(outputs.processes.len(), 10.min(outputs.count.unwrap()));
    }

    #[tokio::test]
    async fn a_long_sample_ends_when_told() {
        let test = testing::scope();
        let host = Observe::new(test.scope.clone());
        let looking = Processes::look(config(json!({ "sample": "1h" })), &host);
        let telling = async { test.scope.cancel.end(EndReason::Timeout) };
        let (result, ()) = tokio::join!(looking, telling);
        assert_eq!(result.unwrap_err().kind, StepErrorKind::TimedOut);
    }
}
