//! What happens to a run as a whole.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::base::{RunId, StepId};
use crate::event::RunStatus;

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

/// What a named connection leads to, before the run changes something there for the first time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TargetIdentify {
    /// The connection.
    pub connection: String,
    /// Its kind.
    pub kind: String,
    /// What tells it from others, such as the identifier of a database's cluster.
    pub identity: Value,
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
    /// How long it took, in milliseconds, with the earlier parts of it that came to an end.
    pub duration_ms: u64,
}
