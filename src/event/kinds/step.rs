//! What happens to a step, or to an item of it.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Stream;
use crate::event::{EffectClass, Finding, RepeatClass, Status};

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
    /// Of one that failed: whether it is known that it touched nothing.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub untouched: bool,
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
            untouched: false,
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
