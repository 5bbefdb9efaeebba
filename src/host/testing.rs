//! A scope for unit tests of step types: a run's folder in a temporary place, no secrets, no
//! deadline.

use std::sync::{Arc, Mutex};

use super::connect::Connections;
use super::targets::Targets;
use super::{RunFolder, Scope, Shared, StateDir};
use crate::base::{Cancel, Clock, Deadline, RunId, StepId, StepPath};
use crate::event::Redactor;

/// A scope, and the folder that goes with it when it is dropped.
pub struct TestScope {
    /// The scope.
    pub scope: Arc<Scope>,
    /// Its folder.
    pub folder: tempfile::TempDir,
}

/// A scope with these connections, given as name, kind and declaration.
pub fn scope_with(connections: Vec<(String, &'static str, serde_json::Value)>) -> TestScope {
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::at(folder.path().join("state"));
    state.create().unwrap();
    let run = RunId::from_parts(1, 1);
    let shared = Shared {
        run: run.clone(),
        clock: Clock::system(),
        redactor: Arc::new(Redactor::default()),
        connections: Connections::new(connections),
        environment: std::env::vars_os().collect(),
        base_dir: folder.path().to_owned(),
        folder: Arc::new(RunFolder::create(&state, &run).unwrap()),
        transients: tokio::sync::mpsc::channel(1024).0,
        targets: agreeable(),
        follow_output: false,
    };
    let scope = Scope {
        shared: Arc::new(shared),
        path: StepPath::step(StepId::new("test").unwrap()),
        part: super::Part::Step,
        attempt: 1,
        deadline: Deadline::NEVER,
        cancel: Cancel::new(),
        durable: false,
        logs: Mutex::default(),
    };
    TestScope {
        scope: Arc::new(scope),
        folder,
    }
}

/// Somebody who agrees to whatever is about to be changed. Ends with the test's runtime.
fn agreeable() -> Targets {
    let (targets, mut asked) = Targets::new();
    if let Ok(runtime) = tokio::runtime::Handle::try_current() {
        runtime.spawn(async move {
            while let Some((_, answer)) = asked.recv().await {
                let _ = answer.send(Ok(()));
            }
        });
    }
    targets
}

/// A scope without connections.
pub fn scope() -> TestScope {
    scope_with(Vec::new())
}
