//! `status` and `history` for machines. Every key is always there, null where there is nothing to
//! tell; keys are only ever added while `schema_version` stays the same.

use indexmap::IndexMap;
use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Map, Value};

use super::tally::{self, Levels, Statuses, Tally};
use crate::base::{RunId, StepId, StepPath};
use crate::event::{
    ApprovalAsk, EffectClass, Finding, Level, LogFile, RepeatClass, RunState, RunStatus, Section,
    Status, StepState,
};

/// The version of what these documents look like.
pub const SCHEMA_VERSION: u32 = 1;

/// A run in a list of runs.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HistoryRow {
    /// Its id.
    pub id: RunId,
    /// The playbook's name.
    pub playbook: String,
    /// How it stands.
    pub status: RunStatus,
    /// When it began.
    pub started_at: Timestamp,
    /// When it ended.
    pub ended_at: Option<Timestamp>,
    /// How long it took, in milliseconds, without the time before it was gone on with.
    pub duration_ms: Option<u64>,
    /// The exit status of its engine.
    pub exit_code: Option<u8>,
}

#[derive(Serialize)]
struct History<'a> {
    schema_version: u32,
    runs: &'a [HistoryRow],
}

/// The runs of a state folder, newest first as they are given.
pub fn history(runs: &[HistoryRow]) -> String {
    document(&History {
        schema_version: SCHEMA_VERSION,
        runs,
    })
}

/// A run with its steps and items, in the order in which they stand.
pub fn status(state: &RunState) -> String {
    document(&StatusDocument {
        schema_version: SCHEMA_VERSION,
        run: Run::of(state),
        steps: state
            .steps
            .values()
            .map(|step| Step::of(state, step))
            .collect(),
    })
}

/// `value` as JSON for people and programs, with a line break at its end.
pub(crate) fn document(value: &impl Serialize) -> String {
    // Writing to memory cannot fail, and these types have nothing that JSON cannot hold.
    let mut text = serde_json::to_string_pretty(value).unwrap_or_default();
    text.push('\n');
    text
}

#[derive(Serialize)]
struct StatusDocument<'a> {
    schema_version: u32,
    run: Run<'a>,
    steps: Vec<Step<'a>>,
}

#[derive(Serialize)]
struct Run<'a> {
    id: &'a RunId,
    playbook: &'a str,
    status: RunStatus,
    started_at: Timestamp,
    ended_at: Option<Timestamp>,
    exit_code: Option<u8>,
    duration_ms: Option<u64>,
    cancelled_by: Option<&'a str>,
    host: &'a str,
    user: &'a str,
    engine: &'a str,
    description: Option<&'a str>,
    labels: &'a Map<String, Value>,
    params: &'a Map<String, Value>,
    source: Source<'a>,
    counts: Counts,
}

#[derive(Serialize)]
struct Source<'a> {
    path: &'a str,
    sha256: &'a str,
    project_sha256: Option<&'a str>,
}

/// How many steps (items are not counted) and findings there are of which kind.
#[derive(Serialize)]
struct Counts {
    steps: IndexMap<&'static str, usize>,
    finally: IndexMap<&'static str, usize>,
    findings: IndexMap<&'static str, usize>,
}

#[derive(Serialize)]
struct Step<'a> {
    id: &'a StepId,
    path: &'a StepPath,
    status: Status,
    allowed: bool,
    /// Null where nobody knows.
    changed: Option<bool>,
    attempts: u32,
    findings: &'a [Finding],
    outputs: &'a Value,
    reason: Option<&'a str>,
    error: Option<&'a str>,
    help: Option<&'a str>,
    #[serde(rename = "type")]
    ty: &'a str,
    name: Option<&'a str>,
    section: Section,
    effect: Option<EffectClass>,
    repeat: Option<RepeatClass>,
    started_at: Option<Timestamp>,
    duration_ms: Option<u64>,
    /// Of a `foreach` step, how many items it has.
    items: Option<u32>,
    /// Of an item, what it is for.
    item: &'a Value,
    failed_attempts: Vec<FailedAttempt<'a>>,
    /// What somebody is asked before it may run.
    approval: Option<&'a ApprovalAsk>,
    /// How it was taken back, where it was.
    undo: Option<Undo<'a>>,
    logs: &'a [LogFile],
    config: &'a Value,
}

#[derive(Serialize)]
struct Undo<'a> {
    status: Status,
    error: Option<&'a str>,
}

#[derive(Serialize)]
struct FailedAttempt<'a> {
    attempt: u32,
    error: &'a str,
    delay_ms: u64,
}

impl<'a> Run<'a> {
    fn of(state: &'a RunState) -> Self {
        let tally = Tally::of(state);
        Self {
            id: &state.run,
            playbook: &state.playbook.name,
            status: state.status,
            started_at: state.started_at,
            ended_at: state.ended_at,
            exit_code: state.exit_code,
            duration_ms: state.duration_ms,
            cancelled_by: state.cancelled_by.as_deref(),
            host: &state.host,
            user: &state.user,
            engine: &state.engine,
            description: state.playbook.description.as_deref(),
            labels: &state.playbook.labels,
            params: &state.params,
            source: Source {
                path: &state.playbook.path,
                sha256: &state.playbook.sha256,
                project_sha256: state.playbook.project_sha256.as_deref(),
            },
            counts: Counts {
                steps: statuses(&tally.main),
                finally: statuses(&tally.finally),
                findings: levels(&tally.levels),
            },
        }
    }
}

fn statuses(statuses: &Statuses) -> IndexMap<&'static str, usize> {
    let total = ("total", statuses.total());
    let each = Status::ALL.iter();
    let each = each.map(|status| (status.as_str(), statuses.of(*status)));
    std::iter::once(total)
        .chain(each)
        .chain([
            ("allowed", statuses.allowed()),
            ("changed", statuses.changed()),
            ("may_have_changed", statuses.may_have_changed()),
        ])
        .collect()
}

fn levels(levels: &Levels) -> IndexMap<&'static str, usize> {
    let each = Level::ALL.iter();
    each.map(|level| (level.as_str(), levels.count(*level)))
        .collect()
}

impl<'a> Step<'a> {
    fn of(state: &RunState, step: &'a StepState) -> Self {
        let failed = step.failed_attempts.iter().map(|failed| FailedAttempt {
            attempt: failed.attempt,
            error: &failed.error,
            delay_ms: failed.delay_ms,
        });
        Self {
            id: &step.path.step,
            path: &step.path,
            status: step.status,
            allowed: step.allowed,
            changed: tally::changed(state, step),
            attempts: step.attempts,
            findings: &step.findings,
            outputs: &step.outputs,
            reason: step.reason.as_deref(),
            error: step.error.as_deref(),
            help: step.help.as_deref(),
            ty: &step.ty,
            name: step.name.as_deref(),
            section: step.section,
            effect: step.effect,
            repeat: step.repeat,
            started_at: step.started_at,
            duration_ms: step.duration_ms,
            items: step.items,
            item: &step.item,
            failed_attempts: failed.collect(),
            approval: step.asked.as_ref(),
            undo: step.undo.as_ref().map(|undo| Undo {
                status: undo.status,
                error: undo.error.as_deref(),
            }),
            logs: &step.logs,
            config: &step.config,
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::{HistoryRow, history, status};
    use crate::event::RunStatus;
    use crate::report::script;

    #[test]
    fn a_status() {
        let state = script::fold(&script::daily_check());
        let text = status(&state);
        insta::assert_snapshot!(text);
        let value: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["schema_version"], 1);
        assert_eq!(value["steps"][1]["path"], "disk");
        // A run in `history` has the same keys with the same values.
        let rows = history(&[HistoryRow {
            id: state.run.clone(),
            playbook: state.playbook.name.clone(),
            status: state.status,
            started_at: state.started_at,
            ended_at: state.ended_at,
            duration_ms: state.duration_ms,
            exit_code: state.exit_code,
        }]);
        let rows: Value = serde_json::from_str(&rows).unwrap();
        for (key, known) in rows["runs"][0].as_object().unwrap() {
            assert_eq!(&value["run"][key], known, "{key}");
        }
    }

    #[test]
    fn a_history() {
        let state = script::fold(&script::quiet_night());
        let row = HistoryRow {
            id: state.run.clone(),
            playbook: state.playbook.name.clone(),
            status: RunStatus::Running,
            started_at: state.started_at,
            ended_at: None,
            duration_ms: None,
            exit_code: None,
        };
        insta::assert_snapshot!(history(&[row]));
        assert_eq!(
            history(&[]),
            "{\n  \"schema_version\": 1,\n  \"runs\": []\n}\n"
        );
    }
}
