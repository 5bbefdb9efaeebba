//! For the audit's own tests: runs that were recorded, and processes of their own.

#![expect(
    clippy::disallowed_methods,
    reason = "tests start processes and change files behind the audit's back"
)]

use std::path::{Path, PathBuf};
use std::process::{Child, Command};

use super::read::load_taken_over;
use super::trail::Trail;
use crate::base::{Clock, RunId, StepId, StepPath};
use crate::event::{
    ClaimedBy, EffectClass, Event, Happening, Journal as _, PlannedStep, PlaybookInfo, RepeatClass,
    ResumeKind, RunEnd, RunResume, RunStart, RunStatus, Section, Status, StepResult, StepStart,
};
use crate::host::{RunFolder, StateDir};

/// What a child is told through its environment.
const ARGUMENT: &str = "RUNBOOK_AUDIT_TEST";

/// Starts an ignored test of this binary as a process of its own, after `setup` in the shell.
pub fn start_child(test: &str, setup: &str, argument: &Path) -> Child {
    let script = format!("{setup} exec \"$0\" --exact \"$1\" --ignored --quiet");
    let program = std::env::current_exe().unwrap();
    Command::new("sh")
        .args(["-c", &script])
        .arg(program)
        .arg(test)
        .env(ARGUMENT, argument)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap()
}

/// The same, to its good end.
pub fn in_child(test: &str, setup: &str, argument: &Path) {
    finish_child(start_child(test, setup, argument));
}

/// Waits for a child's good end.
pub fn finish_child(child: Child) {
    let output = child.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}");
    assert!(text.contains("1 passed"), "no such test: {text}");
}

/// In a child: what it was told. Nothing in a test that was started by hand.
pub fn argument() -> Option<PathBuf> {
    std::env::var_os(ARGUMENT).map(PathBuf::from)
}

/// A happening `number` seconds after 1970 about a step.
fn at(number: u64, step: Option<u64>, event: Event) -> Happening {
    Happening {
        at: jiff::Timestamp::from_second(number.try_into().unwrap()).unwrap(),
        path: step.map(|step| StepPath::step(StepId::new(&format!("s{step}")).unwrap())),
        attempt: step.map(|_| 1),
        event,
    }
}

/// A run's first event; it has steps `s1` to `s9`.
pub fn start(run: &RunId) -> Happening {
    let steps = (1..10).map(|step| PlannedStep {
        id: StepId::new(&format!("s{step}")).unwrap(),
        ty: "exec.command".to_owned(),
        name: None,
        section: Section::Main,
    });
    let start = RunStart {
        run: run.clone(),
        playbook: PlaybookInfo {
            name: "weekly".to_owned(),
            path: "/playbooks/weekly.yaml".to_owned(),
            sha256: "0".repeat(64),
            project_sha256: None,
            description: None,
            labels: serde_json::Map::new(),
        },
        params: serde_json::Map::new(),
        steps: steps.collect(),
        host: "db1".to_owned(),
        user: "ops".to_owned(),
        pid: 1,
        engine: "0.1.0".to_owned(),
        lock: None,
    };
    at(1, None, Event::RunStart(start))
}

/// The intent and the result of step `s<number>`.
pub fn step(number: u64) -> [Happening; 2] {
    let start = StepStart {
        ty: "exec.command".to_owned(),
        effect: EffectClass::Change,
        repeat: RepeatClass::Once,
        claimed_by: ClaimedBy::Type,
        name: None,
        config: serde_json::json!({ "argv": ["vacuum", number] }),
        lock: None,
        input: None,
    };
    let mut result = StepResult::of(Status::Succeeded);
    result.changed = true;
    result.outputs = serde_json::json!({ "rows": number, "text": "fünf" });
    [
        at(number * 2, Some(number), Event::StepStart(start)),
        at(number * 2 + 1, Some(number), Event::StepResult(result)),
    ]
}

/// A run is gone on with.
pub fn resume() -> Happening {
    let resume = RunResume {
        kind: ResumeKind::Resume,
        again: Vec::new(),
        edited: None,
        fenced: vec!["process 7 of `s1`: vacuumdb".to_owned()],
        host: "db1".to_owned(),
        user: "ops".to_owned(),
        pid: 2,
        engine: "0.1.0".to_owned(),
    };
    at(50, None, Event::RunResume(resume))
}

/// A run's last event.
pub fn end(status: RunStatus) -> Happening {
    let end = RunEnd {
        status,
        exit_code: u8::from(status != RunStatus::Succeeded),
        duration_ms: 1000,
    };
    at(100, None, Event::RunEnd(end))
}

/// A state folder with one run.
pub struct Recorded {
    /// The folder that goes when this is dropped.
    _place: tempfile::TempDir,
    /// The state folder.
    pub state: StateDir,
    /// The run.
    pub run: RunId,
}

impl Recorded {
    /// With nothing in it.
    pub fn empty() -> Self {
        // In memory where there is such a place: thousands of these are made and synced.
        let place = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let place = place.unwrap();
        let state = StateDir::at(place.path().join("state"));
        state.create().unwrap();
        Self {
            _place: place,
            state,
            run: RunId::from_parts(0, 0),
        }
    }

    /// A run of `steps` steps that has ended well.
    pub fn ended(steps: u64) -> Self {
        let mut recorded = Self::empty();
        recorded.run(1, steps, true);
        recorded
    }

    /// A run of `steps` steps whose engine is gone in the middle.
    pub fn unended(steps: u64) -> Self {
        let mut recorded = Self::empty();
        recorded.run(1, steps, false);
        recorded
    }

    /// One more run, which is the one that this is then about.
    pub fn run(&mut self, number: u64, steps: u64, ends: bool) {
        drop(self.running(number, steps, ends));
        // Processes that other tests start in this moment have inherited it, and hold it a while.
        std::fs::remove_file(self.state.run(&self.run).join("alive.lock")).unwrap();
    }

    /// One more run, whose engine still lives.
    pub fn running(&mut self, number: u64, steps: u64, ends: bool) -> (RunFolder, Trail) {
        self.run = RunId::from_parts(number, number);
        let folder = RunFolder::create(&self.state, &self.run).unwrap();
        let trail = Trail::create(&self.state, &folder, Clock::system()).unwrap();
        trail.append(&start(&self.run)).unwrap();
        for happening in (1..=steps).flat_map(step) {
            trail.append(&happening).unwrap();
        }
        if ends {
            trail.append(&end(RunStatus::Succeeded)).unwrap();
        }
        (folder, trail)
    }

    /// The run is gone on with: step `s<number>` and, if it `ends`, its end.
    pub fn resume(&mut self, number: u64, ends: bool) {
        let taken = RunFolder::take_over(&self.state, &self.run)
            .unwrap()
            .unwrap();
        let (past, head) = load_taken_over(&self.state, &self.run).unwrap();
        let folder = taken.open().unwrap();
        let clock = Clock::system();
        let trail = Trail::resume(&self.state, &folder, clock, &past, head).unwrap();
        trail.append(&resume()).unwrap();
        for happening in step(number) {
            trail.append(&happening).unwrap();
        }
        if ends {
            trail.append(&end(RunStatus::Succeeded)).unwrap();
        }
    }

    /// The run's journal.
    pub fn journal(&self) -> PathBuf {
        self.state.run(&self.run).join("journal.jsonl")
    }
}
