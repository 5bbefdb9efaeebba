//! What one attempt of a step is bound to.

use std::collections::HashMap;
use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;

use tokio::sync::mpsc;

use super::connect::Connections;
use super::run_folder::RunFolder;
use super::targets::Targets;
use crate::base::{Cancel, Clock, Deadline, RunId, StepPath};
use crate::event::{LogFile, Redactor, Transient};

/// What all steps of a run share.
#[derive(Debug)]
pub struct Shared {
    /// The run.
    pub run: RunId,
    /// The source of time.
    pub clock: Clock,
    /// Hides secrets in whatever is recorded.
    pub redactor: Arc<Redactor>,
    /// The named connections.
    pub connections: Connections,
    /// The environment that processes inherit: the engine's own, without the variables that hold
    /// secrets and parameters.
    pub environment: HashMap<OsString, OsString>,
    /// The folder that relative paths in the playbook start from: the playbook's own.
    pub base_dir: PathBuf,
    /// The run's folder, where logs and outputs go.
    pub folder: Arc<RunFolder>,
    /// Where passing events go; full means that nobody can follow, and they are dropped.
    pub transients: mpsc::Sender<Transient>,
    /// Told what is about to be changed.
    pub targets: Targets,
    /// Whether anybody wants to see what processes write while they write it.
    pub follow_output: bool,
}

/// Which part of a step is at work.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Part {
    /// The step itself.
    #[default]
    Step,
    /// Its `verify`.
    Verify,
    /// Its `undo`.
    Undo,
    /// A look at what it would do.
    Preview,
}

impl Part {
    /// What the names of its files and its idempotency key have after the step's own.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Step => "",
            Self::Verify => ".verify",
            Self::Undo => ".undo",
            Self::Preview => ".preview",
        }
    }
}

/// What one attempt of a step is bound to.
#[derive(Debug)]
pub struct Scope {
    /// What it shares with the other steps.
    pub shared: Arc<Shared>,
    /// The step or item.
    pub path: StepPath,
    /// Which part of it.
    pub part: Part,
    /// The attempt, from 1.
    pub attempt: u32,
    /// When this attempt must be over. The engine tells [`Scope::cancel`] when it has passed; a
    /// step asks it only to bound single waits of its own.
    pub deadline: Deadline,
    /// Tells it to end.
    pub cancel: Cancel,
    /// Whether what it writes must be on disk before its result: when it may change something.
    pub durable: bool,
    /// The log files that this attempt wrote.
    pub logs: std::sync::Mutex<Vec<LogFile>>,
}

impl Scope {
    /// The run's clock.
    pub fn clock(&self) -> &Clock {
        &self.shared.clock
    }

    /// Tells whoever watches how far a long step has come. `unit` is `bytes`, `rows`, `files`,
    /// `lines` or `tables`; where it waits, that too: `rows, waiting for a standby`.
    pub fn progress(&self, done: u64, total: Option<u64>, unit: &'static str) {
        let event = Transient::Progress {
            path: self.path.clone(),
            done,
            total,
            unit,
        };
        // A full queue means that nobody can follow; the next one will say more.
        let _ = self.shared.transients.try_send(event);
    }

    /// `path` as the playbook means it: relative ones start at the playbook's own folder.
    pub fn resolve(&self, path: &std::path::Path) -> PathBuf {
        self.shared.base_dir.join(path)
    }

    /// Keeps a log file for the step's result.
    pub fn add_log(&self, log: LogFile) {
        let mut logs = self
            .logs
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        logs.push(log);
    }

    /// Takes the log files out, for the step's result.
    pub fn take_logs(&self) -> Vec<LogFile> {
        let mut logs = self
            .logs
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        std::mem::take(&mut *logs)
    }
}
