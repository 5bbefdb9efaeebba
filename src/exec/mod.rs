//! The engine: turns a program into events.
//!
//! One task of one thread polls all running steps; what blocks or computes long is handed to other
//! threads by the host. Every durable event goes to the journal first: the intent before the
//! effect, the result before the next step.

mod approval;
mod asked;
mod asks;
mod attempt;
mod ended;
mod ending;
mod foreach;
mod leaf;
mod locks;
mod outside;
mod past;
mod plan;
mod pledge;
mod probe;
mod recorder;
mod remote;
mod retry;
mod scheduler;
mod secrets;
mod targets;
mod tries;
mod undo;
mod veil;
mod verdict;

use std::collections::HashMap;
use std::ffi::OsString;
use std::sync::Arc;

use serde_json::{Map, Value};

use crate::base::{Clock, Duration, RunId};
use crate::compile::Program;
use crate::event::{Journal, RedactorError, RunStatus, Sink};
use crate::expr::EvalError;
use crate::host::RunFolder;
use crate::host::lock::Locks;
use crate::host::signals::Signals;
use crate::plan::Pledge;

pub use approval::{APPROVE, Consent, Console, may_approve};
pub use asked::{CANCEL, Cancellation};
pub use locks::{REMOTE_POLL, Whole, whole};
pub use outside::{Call, Machine, Outside};
pub use past::{Edits, Past, again_from, compare_edit, stays_failed, world_after};
pub use plan::plan;
pub use remote::{Remote, Seek, said};
pub use scheduler::{playbook_info, run};
pub use secrets::{SecretError, Secrets, resolve as resolve_secrets};
pub use verdict::Verdict;

/// Why a run cannot begin.
#[derive(Clone, Debug, thiserror::Error)]
pub enum StartError {
    /// A variable or a connection has no value.
    #[error(transparent)]
    Eval(#[from] EvalError),
    /// Its secrets could not be hidden.
    #[error(transparent)]
    Redactor(#[from] RedactorError),
}

/// Everything that a run needs.
pub struct Request<'a> {
    /// What is run.
    pub program: &'a Program,
    /// The run's id.
    pub run: RunId,
    /// The parameters' values.
    pub params: Map<String, Value>,
    /// The values of the secrets that the program uses.
    pub secrets: Secrets,
    /// The key of keyed digests.
    pub digest_key: Vec<u8>,
    /// The source of time.
    pub clock: Clock,
    /// What it reaches of the world.
    pub outside: &'a dyn Outside,
    /// The run's folder.
    pub folder: Arc<RunFolder>,
    /// Where durable events go first.
    pub journal: &'a dyn Journal,
    /// Whoever shows or renders the run.
    pub sinks: Vec<&'a mut dyn Sink>,
    /// The signals that tell it to end.
    pub signals: Signals,
    /// The environment that processes inherit.
    pub environment: HashMap<OsString, OsString>,
    /// How many steps run side by side.
    pub max_parallel: usize,
    /// How long the run may take; the playbook's own timeout where there is none.
    pub timeout: Option<Duration>,
    /// Whether anybody wants to see what processes write while they write it.
    pub follow_output: bool,
    /// The plan that it must keep to, where it was given one.
    pub plan: Option<Pledge>,
    /// Whether whoever runs it confirms whatever asks for a confirmation.
    pub yes: bool,
    /// What is typed at its terminal, where somebody is there to be asked.
    pub console: Option<Console>,
    /// The locks that its steps may take.
    pub locks: Locks,
    /// What it has locked as a whole.
    pub lock: Option<String>,
    /// The same on a server.
    pub remote: Option<Remote>,
    /// What it came to before, where it is gone on with.
    pub past: Option<Past>,
    /// By place, the steps that were asked for; all where there is none.
    pub only: Option<Vec<bool>>,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// How.
    pub status: RunStatus,
    /// The exit status of the engine.
    pub exit_code: u8,
    /// Why the audit could not be written, if that is so.
    pub audit_error: Option<String>,
}
