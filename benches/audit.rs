//! What the audit costs: `cargo bench --bench audit`. Prints a table; asserts nothing.

#![expect(
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a table for people; what fails ends it"
)]

use std::time::Instant;

use runbook::audit::{Against, FileJournal, Trail, history, load_run, verify};
use runbook::base::{Clock, RunId, StepId, StepPath};
use runbook::event::{
    ClaimedBy, EffectClass, Event, Happening, Journal as _, PlannedStep, PlaybookInfo, RepeatClass,
    RunEnd, RunStart, RunStatus, Section, Status, StepResult, StepStart,
};
use runbook::host::{RunFolder, StateDir};
use rustix::time::{ClockId, clock_gettime};
use serde_json::json;

const STEPS: u32 = 10_000;

/// Seconds of CPU that this process has used.
fn cpu() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn row<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let (wall, used) = (Instant::now(), cpu());
    let value = work();
    let (wall, used) = (wall.elapsed().as_secs_f64(), cpu() - used);
    println!("{what:<58} {:>9.2} ms {:>9.2} ms", wall * 1e3, used * 1e3);
    value
}

fn step(index: u32) -> StepId {
    StepId::new(&format!("step_{index}")).expect("a step's id")
}

fn happening(path: Option<StepPath>, event: Event) -> Happening {
    Happening {
        at: jiff::Timestamp::now(),
        attempt: path.as_ref().map(|_| 1),
        path,
        event,
    }
}

fn start(run: &RunId, steps: u32) -> Happening {
    let steps = (0..steps).map(|index| PlannedStep {
        id: step(index),
        ty: "flow.set".to_owned(),
        name: None,
        section: Section::Main,
    });
    let playbook = PlaybookInfo {
        name: "bench".to_owned(),
        path: "/playbooks/bench.yaml".to_owned(),
        sha256: "0".repeat(64),
        project_sha256: None,
        description: None,
        labels: serde_json::Map::new(),
    };
    let start = RunStart {
        run: run.clone(),
        playbook,
        params: serde_json::Map::new(),
        steps: steps.collect(),
        host: "localhost".to_owned(),
        user: "root".to_owned(),
        pid: std::process::id(),
        engine: env!("CARGO_PKG_VERSION").to_owned(),
        lock: None,
    };
    happening(None, Event::RunStart(start))
}

fn intent_and_result(index: u32) -> [Happening; 2] {
    let path = StepPath::step(step(index));
    let start = StepStart {
        ty: "flow.set".to_owned(),
        effect: EffectClass::Read,
        repeat: RepeatClass::Idempotent,
        claimed_by: ClaimedBy::Type,
        name: None,
        config: json!({ "values": { "answer": index, "text": "some text of a common length" } }),
        lock: None,
        input: None,
    };
    let mut result = StepResult::of(Status::Succeeded);
    result.outputs = json!({ "answer": index, "text": "some text of a common length" });
    [
        happening(Some(path.clone()), Event::StepStart(start)),
        happening(Some(path), Event::StepResult(result)),
    ]
}

fn end() -> Happening {
    let end = RunEnd {
        status: RunStatus::Succeeded,
        exit_code: 0,
        duration_ms: 1,
    };
    happening(None, Event::RunEnd(end))
}

fn main() {
    // Beside the build, not in a file system in memory, whose fsync costs nothing.
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a folder");
    let state = StateDir::at(place.path().join("state"));
    state.create().expect("a state folder");
    let folder = |number| {
        let run = RunId::from_parts(number, number);
        let folder = RunFolder::create(&state, &run).expect("a run's folder");
        (run, folder)
    };
    println!("{:<58} {:>12} {:>12}", "", "wall", "CPU");

    let steps: Vec<_> = (0..STEPS).flat_map(intent_and_result).collect();
    let (run, run_folder) = folder(1);
    let trail = Trail::create(&state, &run_folder, Clock::system()).expect("a journal");
    let first = start(&run, STEPS);
    row("a run's start, 10,000 steps", || trail.append(&first)).expect("a start");
    row("20,000 records appended", || {
        steps.iter().try_for_each(|step| trail.append(step))
    })
    .expect("records");
    row("a run's end", || trail.append(&end())).expect("an end");
    row("its state read back", || load_run(&state, &run)).expect("its state");
    row("verified", || verify(&state, None, &Against::default())).expect("a verification");

    let (_, sync_folder) = folder(2);
    let journal = FileJournal::create(&sync_folder).expect("a journal");
    let runtime = tokio::runtime::Builder::new_current_thread().build();
    let runtime = runtime.expect("a runtime");
    let one = async |step: &Happening| {
        journal.append(step)?;
        journal.sync().await
    };
    runtime.block_on(one(&steps[0])).expect("a sync");
    row("1,000 records, each waited for, in a chain", || {
        runtime.block_on(async {
            for step in &steps[..1000] {
                one(step).await.expect("a sync");
            }
        });
    });
    let before = journal.fsyncs();
    row("1,000 records, each waited for, 8 side by side", || {
        runtime.block_on(async {
            for steps in steps[..1000].chunks(8) {
                let all = futures_util::future::join_all(steps.iter().map(one)).await;
                assert!(all.iter().all(Result::is_ok));
            }
        });
    });
    println!("  fsyncs: {}", journal.fsyncs() - before);

    row("1,000 runs of one step", || {
        for number in 0..1000 {
            let (run, folder) = folder(1000 + number);
            let trail = Trail::create(&state, &folder, Clock::system()).expect("a journal");
            let middle = intent_and_result(0);
            for happening in [start(&run, 1)].iter().chain(&middle).chain([&end()]) {
                trail.append(happening).expect("a record");
            }
        }
    });
    row("the last 20 of 1,001 runs", || history(&state, Some(20))).expect("a history");
    row("all of 1,001 runs", || history(&state, None)).expect("a history");
    row("all of them verified", || {
        verify(&state, None, &Against::default())
    })
    .expect("a verification");
}
