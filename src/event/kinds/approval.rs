//! What is asked of people before a step, and what they answer.

use serde::{Deserialize, Serialize};
use serde_json::Value;

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
