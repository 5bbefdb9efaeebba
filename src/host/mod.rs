//! The only door to the outside, bound to a target (`local` for now).
//!
//! - [`Observe`] looks: reads files and `/proc`, asks systemd, opens connections that cannot write.
//! - [`Effect`] touches: starts processes and whatever else changes the world.
//! - [`Store`] is our own state: the run's folder, logs, reports.
//!
//! A step is handed just the one that it needs, so that a dry-run, which gets neither, cannot look,
//! and a plan, which gets an `Observe`, cannot touch. Lints forbid the standard library's own ways
//! to files, processes and sockets everywhere but here.

pub mod append;
pub mod bounded;
pub mod connect;
pub mod console;
pub mod doctor;
pub mod error;
pub mod export;
pub mod files;
pub mod glob;
pub mod http;
pub mod identity;
pub mod inbox;
mod keys;
pub mod lock;
pub mod net;
pub mod process;
pub mod reach;
pub mod records;
pub mod run_folder;
mod scope;
pub mod signals;
pub mod store;
pub mod system;
pub mod systemd;
pub mod targets;
#[cfg(test)]
pub mod testing;
pub mod tls;
pub mod witness;

use std::sync::Arc;

use bounded::Pulse;
pub use error::{HostError, HostErrorKind};
pub use process::{Processes, Stage};
pub use run_folder::{RunFolder, TakenOver};
pub use scope::{Part, Scope, Shared};
pub use store::{StateDir, Store};

/// The means to look, for one attempt of one step.
#[derive(Clone, Debug)]
pub struct Observe {
    scope: Arc<Scope>,
    claimed: bool,
    pulse: Pulse,
}

impl Observe {
    /// The means to look, within `scope`.
    pub fn new(scope: Arc<Scope>) -> Self {
        Self {
            scope,
            claimed: false,
            pulse: Pulse::default(),
        }
    }

    /// The means to look by starting a process that the playbook's author declared to change
    /// nothing (`effect: read` on a generic step).
    pub fn claimed(scope: Arc<Scope>) -> Self {
        Self {
            scope,
            claimed: true,
            pulse: Pulse::default(),
        }
    }

    /// What this attempt is bound to: its run, path, deadline, clock, connections.
    pub fn scope(&self) -> &Scope {
        &self.scope
    }

    /// How it goes with the questions to the system that it was used for.
    pub fn pulse(&self) -> &Pulse {
        &self.pulse
    }

    /// The means to start processes, where the author declared that they change nothing.
    pub fn processes(&self) -> Option<Processes<'_>> {
        self.claimed.then(|| Processes::new(&self.scope))
    }

    /// Runs `work` off the engine's thread: for what computes long or blocks. Whoever may work for
    /// more than a moment asks [`Scope::cancel`] from within, through a clone of it.
    ///
    /// # Errors
    /// When the work panicked, which is a defect of the step type.
    pub async fn blocking<T, F>(&self, work: F) -> Result<T, HostError>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static,
    {
        tokio::task::spawn_blocking(work)
            .await
            .map_err(|error| HostError::permanent("run a piece of work", error.to_string()))
    }
}

/// The means to touch, for one attempt of one step. Whoever may touch may look.
#[derive(Clone, Debug)]
pub struct Effect {
    observe: Observe,
}

impl Effect {
    /// The means to touch, within `scope`.
    pub fn new(scope: Arc<Scope>) -> Self {
        Self {
            observe: Observe::new(scope),
        }
    }

    /// The means to look.
    pub fn observe(&self) -> &Observe {
        &self.observe
    }

    /// What this attempt is bound to.
    pub fn scope(&self) -> &Scope {
        self.observe.scope()
    }

    /// The means to start processes.
    pub fn processes(&self) -> Processes<'_> {
        Processes::new(self.scope())
    }
}
