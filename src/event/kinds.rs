//! The events themselves, as they stand in the journal.
//!
//! A durable event is a `kind` and its `data`; readers skip kinds that they do not know. Fields are
//! only ever added, with a default, never renamed.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::status::{EffectClass, Finding, RepeatClass, RunStatus, Status};
use crate::base::{RunId, StepId, StepPath};

/// A durable event, where and when it happened.
#[derive(Clone, Debug, PartialEq)]
pub struct Happening {
    /// Wall time, for people; never for order.
    pub at: jiff::Timestamp,
    /// The step or item that it is about; none for the run as a whole.
    pub path: Option<StepPath>,
    /// The attempt, from 1, where it is about one.
    pub attempt: Option<u32>,
    /// What happened.
    pub event: Event,
}

macro_rules! events {
    ($($variant:ident $kind:literal,)*) => {
        /// What can happen in a run and is kept for good.
        #[derive(Clone, Debug, PartialEq)]
        pub enum Event {
            $(#[doc = $kind] $variant($variant),)*
        }

        impl Event {
            /// Every kind that is written.
            pub const KINDS: &[&str] = &[$($kind),*];

            /// The record's `kind`.
            pub fn kind(&self) -> &'static str {
                match self { $(Self::$variant(_) => $kind),* }
            }

            /// The event of a record; `None` for a kind that this version does not know.
            ///
            /// # Errors
            /// When the kind is known and `data` is not its data.
            pub fn from_parts(kind: &str, data: Value) -> Result<Option<Self>, serde_json::Error> {
                Ok(match kind {
                    $($kind => Some(Self::$variant(serde_json::from_value(data)?)),)*
                    _ => None,
                })
            }
        }

        /// As the record's `data`.
        impl Serialize for Event {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                match self { $(Self::$variant(data) => data.serialize(serializer)),* }
            }
        }
    };
}

events! {
    RunStart "run.start",
    ForeachExpand "foreach.expand",
    StepStart "step.start",
    StepAttempt "step.attempt",
    StepResult "step.result",
    ApprovalAsk "approval.ask",
    ApprovalAnswer "approval.answer",
    StepVerify "step.verify",
    UndoStart "undo.start",
    UndoResult "undo.result",
    StepResolve "step.resolve",
    RunResume "run.resume",
    RunCancel "run.cancel",
    RunEnd "run.end",
}

/// Which part of a playbook a step stands in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Section {
    /// `steps:`
    #[default]
    Main,
    /// `finally:`
    Finally,
}

/// The playbook of a run, and its bytes' digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlaybookInfo {
    /// Its `name:`.
    pub name: String,
    /// The file, as an absolute path.
    pub path: String,
    /// SHA-256 of the file, in hex.
    pub sha256: String,
    /// SHA-256 of the project file, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub project_sha256: Option<String>,
    /// Its `description:`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its `labels:`.
    #[serde(default, skip_serializing_if = "serde_json::Map::is_empty")]
    pub labels: serde_json::Map<String, Value>,
}

/// A step that a run will come to.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlannedStep {
    /// Its id.
    pub id: StepId,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: String,
    /// Its `name:` as written.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Where it stands.
    #[serde(default, skip_serializing_if = "is_main")]
    pub section: Section,
}

fn is_main(section: &Section) -> bool {
    *section == Section::Main
}

/// A run began.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunStart {
    /// Its id.
    pub run: RunId,
    /// What is run.
    pub playbook: PlaybookInfo,
    /// The parameters' values, secrets redacted.
    pub params: serde_json::Map<String, Value>,
    /// The steps, in the order in which they stand.
    pub steps: Vec<PlannedStep>,
    /// The machine's name.
    pub host: String,
    /// Who runs it: the login that the system knows.
    pub user: String,
    /// The engine's process.
    pub pid: u32,
    /// The engine's version.
    pub engine: String,
    /// What the run has locked as a whole.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
}

/// Why a run is gone on with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ResumeKind {
    /// From where it stood.
    Resume,
    /// From a step on, which is run again whatever it came to.
    Retry,
}

/// A run that had ended, was interrupted or waited is gone on with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RunResume {
    /// Why.
    pub kind: ResumeKind,
    /// The steps that are run again although they had ended, with their items.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub again: Vec<StepId>,
    /// What is run from now on, where that was edited meanwhile.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub edited: Option<Edited>,
    /// What still lived of it, and was ended first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fenced: Vec<String>,
    /// The machine's name.
    pub host: String,
    /// Who goes on with it.
    pub user: String,
    /// The engine's process.
    pub pid: u32,
    /// The engine's version.
    pub engine: String,
}

/// A playbook that was edited between two parts of a run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Edited {
    /// What is run from now on.
    pub playbook: PlaybookInfo,
    /// Its steps, in the order in which they stand.
    pub steps: Vec<PlannedStep>,
}

/// What kind of agreement is asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalKind {
    /// Whoever runs it says yes.
    #[default]
    Confirm,
    /// Somebody named says yes.
    Approve,
}

/// Somebody is asked whether a step may run.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ApprovalAsk {
    /// Which question this is: what is said to another one does not count.
    pub ask: String,
    /// What kind of agreement is asked for.
    pub kind: ApprovalKind,
    /// What they are asked.
    pub message: String,
    /// Who may agree: names or groups; anybody where there is none.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub from: Vec<String>,
    /// How many must.
    pub count: u32,
    /// Whether who started the run may not be one of them.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub separate: bool,
    /// When it is too late; wall time, because an approval may outlive its engine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until: Option<jiff::Timestamp>,
    /// What the step would do, found out by looking, where that was looked for.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub preview: Value,
    /// A keyed digest of all that is agreed to: the playbook, the step, its configuration and its
    /// preview.
    pub digest: String,
}

/// How an agreement came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AnswerBy {
    /// By `--yes`.
    Yes,
    /// At the run's terminal.
    Terminal,
    /// By `runbook approve`.
    Statement,
    /// By nobody: time was up.
    Timeout,
}

/// Whether a step may run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApprovalAnswer {
    /// Which question this is about.
    pub ask: String,
    /// Whether it may.
    pub granted: bool,
    /// How that came about.
    pub how: AnswerBy,
    /// Who said so.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub users: Vec<String>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// A step's `verify:` was asked whether it had happened.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepVerify {
    /// The type that looked.
    #[serde(rename = "type")]
    pub ty: String,
    /// Its configuration, evaluated and redacted.
    pub config: Value,
    /// Its outputs, redacted.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub outputs: Value,
    /// Whether the step had happened; nothing where that could not be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub happened: Option<bool>,
    /// Why it could not be found out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
}

/// A step is about to be taken back by its `undo:`: the intent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UndoStart {
    /// The type that takes it back.
    #[serde(rename = "type")]
    pub ty: String,
    /// What that does to the world.
    pub effect: EffectClass,
    /// What may be done after a crash in its middle.
    pub repeat: RepeatClass,
    /// Its configuration, evaluated and redacted.
    pub config: Value,
}

/// A step was taken back, or could not be.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct UndoResult {
    /// How that ended.
    pub status: Status,
    /// How long it took, in milliseconds.
    #[serde(default)]
    pub duration_ms: u64,
    /// Its outputs, redacted.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub outputs: Value,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// What its processes wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogFile>,
}

/// A person said whether a step had happened.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepResolve {
    /// Whether it had.
    pub done: bool,
    /// How they know.
    pub reason: String,
    /// Who.
    pub user: String,
}

/// Why a step was not started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SkipKind {
    /// Its `when` was false.
    When,
    /// Something that it waits for did not succeed, or an item before it.
    Blocked,
    /// It was not asked for.
    NotAsked,
    /// The run was told to end before.
    Stopped,
    /// Nobody agreed to it.
    Denied,
}

/// A `foreach` step's list is known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ForeachExpand {
    /// The items, in order.
    pub items: Vec<Value>,
}

/// Who said what a step does to the world.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClaimedBy {
    /// The step type itself.
    Type,
    /// The author of the playbook, by `effect:` or `repeat:`.
    Author,
}

/// A step's attempt is about to begin: the intent.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepStart {
    /// The step's type.
    #[serde(rename = "type")]
    pub ty: String,
    /// What it does to the world.
    pub effect: EffectClass,
    /// What may be done after a crash in its middle.
    pub repeat: RepeatClass,
    /// Who said so.
    pub claimed_by: ClaimedBy,
    /// Its name, evaluated.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// What it has locked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// Its configuration, evaluated and redacted.
    pub config: Value,
    /// A keyed digest of its type and its configuration before redaction, in hex: whether a step of
    /// an edited playbook would do the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
}

/// An attempt failed, and another will follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepAttempt {
    /// What went wrong.
    pub error: String,
    /// How long the engine waits before the next attempt, in milliseconds.
    pub delay_ms: u64,
}

/// A file with what a step's process wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogFile {
    /// Which stream.
    pub stream: Stream,
    /// The file, relative to the run's folder.
    pub file: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// SHA-256 of it, in hex.
    pub sha256: String,
}

/// A step or item ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepResult {
    /// How.
    pub status: Status,
    /// Whether its failure lets the run go on (`on_error: continue`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allowed: bool,
    /// Whether it changed something.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub changed: bool,
    /// How long it took with all its attempts, in milliseconds.
    #[serde(default)]
    pub duration_ms: u64,
    /// Its outputs, redacted.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub outputs: Value,
    /// What it found.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<Finding>,
    /// What went wrong: what was attempted, on what, what happened.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What to do about it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Why it was skipped, cancelled or is unknown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Why it was not started, where it was not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub skip: Option<SkipKind>,
    /// What its processes wrote.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub logs: Vec<LogFile>,
}

impl StepResult {
    /// A result of `status` and nothing else.
    pub fn of(status: Status) -> Self {
        Self {
            status,
            allowed: false,
            changed: false,
            duration_ms: 0,
            outputs: Value::Null,
            findings: Vec::new(),
            error: None,
            help: None,
            reason: None,
            skip: None,
            logs: Vec::new(),
        }
    }

    /// A step that was not started, because of `reason`.
    pub fn skipped(skip: SkipKind, reason: impl Into<String>) -> Self {
        Self {
            reason: Some(reason.into()),
            skip: Some(skip),
            ..Self::of(Status::Skipped)
        }
    }
}

/// The run was told to end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunCancel {
    /// By what: a signal's name, or the run's deadline.
    pub by: String,
}

/// A run ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnd {
    /// How.
    pub status: RunStatus,
    /// The exit status of its engine.
    pub exit_code: u8,
    /// How long it took, in milliseconds.
    pub duration_ms: u64,
}

/// A process's output stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Stream {
    /// Standard output.
    #[serde(rename = "out")]
    Stdout,
    /// Standard error.
    #[serde(rename = "err")]
    Stderr,
}

impl Stream {
    /// The log file's extension.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Stdout => "out",
            Self::Stderr => "err",
        }
    }
}

/// What happens in a run and is not kept: for whoever watches. Redacted like everything else.
#[derive(Clone, Debug, PartialEq)]
pub enum Transient {
    /// A process wrote something.
    Output {
        /// Whose.
        path: StepPath,
        /// Where to.
        stream: Stream,
        /// What; lossy where it is not UTF-8.
        text: String,
    },
    /// A long step came forward.
    Progress {
        /// Which.
        path: StepPath,
        /// How much is done, in `unit`.
        done: u64,
        /// Of how much, where it is known.
        total: Option<u64>,
        /// `bytes`, `rows`, `files`, `lines`.
        unit: &'static str,
    },
}
