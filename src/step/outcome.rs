//! What a step type gives back.

use serde::Serialize;
use serde_json::Value;

use crate::event::Finding;
use crate::host::reach::ReachError;
use crate::host::{HostError, HostErrorKind};

/// A step that did what it says.
#[derive(Clone, Debug)]
pub struct Outcome<O> {
    /// What expressions read as `steps.<id>.outputs`.
    pub outputs: O,
    /// What it found; `fail_on` decides whether that fails the step.
    pub findings: Vec<Finding>,
    /// Whether it changed something.
    pub changed: bool,
}

impl<O> Outcome<O> {
    /// It looked, or had nothing to change.
    pub fn unchanged(outputs: O) -> Self {
        Self {
            outputs,
            findings: Vec::new(),
            changed: false,
        }
    }

    /// It changed something.
    pub fn changed(outputs: O) -> Self {
        Self {
            outputs,
            findings: Vec::new(),
            changed: true,
        }
    }

    /// With `findings`.
    pub fn with_findings(mut self, findings: Vec<Finding>) -> Self {
        self.findings = findings;
        self
    }
}

/// What kind of failure it is: decides on retries and on the step's status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StepErrorKind {
    /// It may pass: a typed step's `retry:` tries again.
    Transient,
    /// It will be the same next time.
    Permanent,
    /// A generic step failed: an explicit `retry:` tries again, because only its author knows.
    Opaque,
    /// The deadline passed.
    TimedOut,
    /// The run was cancelled.
    Cancelled,
    /// Nobody knows whether it happened.
    Unknown,
    /// Our own record could not be written: nothing more may happen.
    Audit,
}

/// A step that failed.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{message}")]
pub struct StepError {
    /// What kind of failure it is.
    pub kind: StepErrorKind,
    /// What was attempted, on what, and what happened.
    pub message: String,
    /// What to do about it.
    pub help: Option<String>,
    /// What it put out before it failed (`exit_code`, `stdout`), for the record.
    pub outputs: Option<Value>,
    /// What it had found before it failed.
    pub findings: Vec<Finding>,
    /// Whether it is known that nothing was touched, because it failed before.
    pub untouched: bool,
}

impl StepError {
    /// A failure of `kind`.
    pub fn new(kind: StepErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            help: None,
            outputs: None,
            findings: Vec::new(),
            untouched: false,
        }
    }

    /// One that will be the same next time.
    pub fn permanent(message: impl Into<String>) -> Self {
        Self::new(StepErrorKind::Permanent, message)
    }

    /// Says what to do about it.
    pub fn with_help(mut self, help: impl Into<String>) -> Self {
        self.help = Some(help.into());
        self
    }

    /// With what it had put out before it failed.
    pub fn with_outputs(mut self, outputs: &impl Serialize) -> Self {
        self.outputs = serde_json::to_value(outputs).ok();
        self
    }
}

impl From<HostError> for StepError {
    fn from(error: HostError) -> Self {
        let kind = match error.kind {
            HostErrorKind::Transient => StepErrorKind::Transient,
            HostErrorKind::Permanent => StepErrorKind::Permanent,
            HostErrorKind::TimedOut => StepErrorKind::TimedOut,
            HostErrorKind::Cancelled => StepErrorKind::Cancelled,
            HostErrorKind::Audit => StepErrorKind::Audit,
            HostErrorKind::InDoubt => StepErrorKind::Unknown,
        };
        let message = error.to_string();
        Self {
            help: error.help,
            untouched: error.untouched,
            ..Self::new(kind, message)
        }
    }
}

impl From<ReachError> for StepError {
    fn from(error: ReachError) -> Self {
        HostError::from(error).into()
    }
}

/// What a step would do, said without looking.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Description {
    /// One line in the imperative: "run `df -h`".
    pub summary: String,
    /// More lines, where one does not say it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub details: Vec<String>,
}

impl Description {
    /// One line.
    pub fn line(summary: impl Into<String>) -> Self {
        Self {
            summary: summary.into(),
            details: Vec::new(),
        }
    }

    /// One more line.
    pub fn detail(mut self, line: impl Into<String>) -> Self {
        self.details.push(line.into());
        self
    }
}

/// What a step would do, found out by looking.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Preview {
    /// Nothing: it is as wanted.
    NoChange,
    /// This.
    Change(Change),
    /// It cannot be found out, because of this.
    Unknown {
        /// Why.
        because: String,
    },
    /// The type cannot tell: only its author knows.
    Opaque,
}

/// A change that a step would make.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Change {
    /// One line: what and how many.
    pub summary: String,
    /// Counts, as expressions read them: `steps.<id>.preview.rows`.
    pub counts: serde_json::Map<String, Value>,
    /// What exactly, one a line, where it is worth listing.
    pub items: Vec<String>,
    /// A textual difference, where there is one.
    pub diff: Option<String>,
    /// How things stand at this moment, one a line: who is in the way, what space there is. Whoever
    /// decides should know it, but it is nothing that is agreed to or planned: it may be otherwise when
    /// the step runs.
    pub notes: Vec<String>,
}
