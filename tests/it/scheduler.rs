//! The scheduler, run without a journal: order, skips, retries, foreach, finally.

use std::sync::Arc;

use serde_json::{Map, Value};

use runbook::base::{Clock, RunId, StepPath};
use runbook::compile::{self, Program};
use runbook::event::{Event, Happening, NoJournal, RunState, RunStatus, Sink, Status};
use runbook::exec::{Ended, Machine, Request, Secrets, run};
use runbook::host::lock::{Holder, Locks};
use runbook::host::signals::Signals;
use runbook::host::{RunFolder, StateDir};

struct Keep(Vec<Happening>);

impl Sink for Keep {
    fn happening(&mut self, happening: &Happening) {
        self.0.push(happening.clone());
    }
}

fn program(steps: &str) -> Program {
    let text = format!("runbook: v1\nname: test\n{steps}");
    let registry = runbook::steps::registry();
    let mut sources = runbook::diag::Sources::new();
    let loaded = compile::load_text("test.yaml", &text, &registry, &mut sources);
    let shown: Vec<String> = loaded
        .diagnostics
        .iter()
        .map(|d| runbook::diag::render(d, &sources, runbook::diag::Style::Plain))
        .collect();
    loaded
        .program
        .unwrap_or_else(|| panic!("{}", shown.join("\n")))
}

fn holder(run: &RunId, state: &StateDir) -> Holder {
    Holder {
        key: String::new(),
        run: run.clone(),
        playbook: "test".to_owned(),
        user: "ops".to_owned(),
        pid: std::process::id(),
        since: jiff::Timestamp::UNIX_EPOCH,
        state: state.path().to_owned(),
    }
}

/// Runs a playbook to its end: the verdict, the state, and the events in their order.
async fn play(text: &str) -> (Ended, RunState, Vec<Happening>) {
    let program = program(text);
    let folder = tempfile::tempdir().unwrap();
    let state = StateDir::at(folder.path());
    state.create().unwrap();
    let id = RunId::from_parts(1, 1);
    let mut keep = Keep(Vec::new());
    let request = Request {
        program: &program,
        run: id.clone(),
        params: Map::new(),
        secrets: Secrets::default(),
        digest_key: vec![0; 32],
        clock: Clock::system(),
        outside: &Machine,
        folder: Arc::new(RunFolder::create(&state, &id).unwrap()),
        journal: &NoJournal,
        sinks: vec![&mut keep],
        signals: Signals::listen().unwrap(),
        environment: std::env::vars_os().collect(),
        max_parallel: 4,
        timeout: None,
        follow_output: false,
        yes: false,
        console: None,
        plan: None,
        locks: Locks::new(&state, holder(&id, &state)),
        lock: None,
        remote: None,
        past: None,
        only: None,
    };
    let ended = run(request).await.unwrap();
    let run_state = RunState::fold(&keep.0).unwrap();
    // Shown with a test that fails.
    for step in run_state.steps.values() {
        println!(
            "{} {} {:?} {:?}",
            step.path, step.status, step.error, step.reason
        );
    }
    (ended, run_state, keep.0)
}

fn status(state: &RunState, path: &str) -> Status {
    let path: StepPath = path.parse().unwrap();
    state
        .step(&path)
        .unwrap_or_else(|| panic!("no step {path}"))
        .status
}

fn outputs(state: &RunState, path: &str) -> Value {
    state.step(&path.parse().unwrap()).unwrap().outputs.clone()
}

#[tokio::test]
async fn values_flow_from_step_to_step() {
    let (ended, state, _) = play(
        "steps:
  - { id: a, effect: read, exec.command: { argv: [echo, '7'] } }
  - { id: b, flow.set: { values: { n: \"${{ steps.a.outputs.stdout | int + 1 }}\" } } }
  - { id: c, flow.assert: { that: [steps.b.outputs.values.n == 8] } }
",
    )
    .await;
    assert_eq!((ended.status, ended.exit_code), (RunStatus::Succeeded, 0));
    assert_eq!(outputs(&state, "b")["values"]["n"], 8);
}

#[tokio::test]
async fn a_failure_skips_what_waits_for_it_and_nothing_else() {
    let (ended, state, _) = play(
        "steps:
  - { id: bad, exec.command: { argv: ['false'] } }
  - { id: after, flow.set: { values: {} } }
  - { id: later, needs: [after], flow.set: { values: {} } }
  - { id: free, needs: [], flow.set: { values: {} } }
finally:
  - { id: one, exec.command: { argv: ['false'] } }
  - { id: two, flow.set: { values: { s: \"${{ run.status }} ${{ steps.bad.status }}\" } } }
",
    )
    .await;
    assert_eq!((ended.status, ended.exit_code), (RunStatus::Failed, 1));
    assert_eq!(status(&state, "bad"), Status::Failed);
    assert_eq!(status(&state, "after"), Status::Skipped);
    assert_eq!(status(&state, "later"), Status::Skipped);
    assert_eq!(
        state
            .step(&"later".parse().unwrap())
            .unwrap()
            .reason
            .as_deref(),
        Some("`bad` failed")
    );
    assert_eq!(status(&state, "free"), Status::Succeeded);
    assert_eq!(status(&state, "one"), Status::Failed);
    assert_eq!(outputs(&state, "two")["values"]["s"], "failed failed");
}

#[tokio::test]
async fn an_allowed_failure_lets_the_run_go_on() {
    let (ended, state, _) = play(
        "steps:
  - { id: bad, on_error: continue, exec.command: { argv: ['false'] } }
  - { id: after, when: steps.bad.status == 'failed', flow.set: { values: {} } }
  - { id: never, when: steps.bad.status == 'succeeded', flow.set: { values: {} } }
  - { id: last, flow.set: { values: {} } }
",
    )
    .await;
    assert_eq!((ended.status, ended.exit_code), (RunStatus::Succeeded, 0));
    assert!(state.step(&"bad".parse().unwrap()).unwrap().allowed);
    assert_eq!(status(&state, "after"), Status::Succeeded);
    assert_eq!(status(&state, "never"), Status::Skipped);
    assert_eq!(status(&state, "last"), Status::Succeeded);
}

#[tokio::test]
async fn foreach_runs_each_item() {
    let (ended, state, _) = play(
        "steps:
  - id: each
    foreach: { in: [1, 2, 3], as: n, max_parallel: 2 }
    when: n != 2
    flow.set: { values: { square: \"${{ n * n }}\", at: \"${{ loop.index0 }}\", nth: \"${{ loop.index }}\" } }
  - id: none
    foreach: { in: \"${{ [] }}\" }
    flow.set: { values: {} }
  - id: after
    flow.set: { values: { last: \"${{ steps.each.outputs[2].values.square }}\" } }
",
    )
    .await;
    assert_eq!(ended.exit_code, 0);
    assert_eq!(status(&state, "each[1]"), Status::Skipped);
    assert_eq!(status(&state, "each"), Status::Succeeded);
    assert_eq!(status(&state, "none"), Status::Succeeded);
    let each = outputs(&state, "each");
    assert_eq!(each[0]["values"]["square"], 1);
    assert!(each[1].is_null());
    assert_eq!(each[2]["values"]["at"], 2);
    assert_eq!(outputs(&state, "after")["values"]["last"], 9);
}

#[tokio::test]
async fn what_changes_something_stops_at_the_first_item_that_fails() {
    let (ended, state, _) = play(
        "steps:
  - id: each
    foreach: { in: ['true', 'false', 'true'], as: program }
    exec.command: { argv: [\"${{ program }}\"] }
",
    )
    .await;
    assert_eq!(ended.exit_code, 1);
    assert_eq!(status(&state, "each[0]"), Status::Succeeded);
    assert_eq!(status(&state, "each[1]"), Status::Failed);
    assert_eq!(status(&state, "each[2]"), Status::Skipped);
    assert_eq!(status(&state, "each"), Status::Failed);
}

#[tokio::test]
async fn retries_until_it_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let counter = folder.path().join("count").display().to_string();
    let (ended, state, _) = play(&format!(
        "steps:
  - id: flaky
    retry: {{ attempts: 5, delay: 1ms, jitter: none }}
    exec.script:
      env: {{ COUNTER: {counter} }}
      script: |
        echo x >> \"$COUNTER\"
        test \"$(wc -l < \"$COUNTER\")\" -ge 3
  - id: until
    effect: read
    retry: {{ attempts: 5, delay: 1ms, until: steps.until.outputs.stdout == '5' }}
    exec.script:
      env: {{ COUNTER: {counter} }}
      script: |
        echo x >> \"$COUNTER\"
        wc -l < \"$COUNTER\"
"
    ))
    .await;
    assert_eq!(ended.exit_code, 0);
    let flaky = state.step(&"flaky".parse().unwrap()).unwrap();
    assert_eq!((flaky.attempts, flaky.failed_attempts.len()), (3, 2));
    assert_eq!(state.step(&"until".parse().unwrap()).unwrap().attempts, 2);
}

#[tokio::test]
async fn a_timeout_ends_the_step_and_the_run_goes_to_finally() {
    let (ended, state, _) = play(
        "steps:
  - { id: slow, timeout: 100ms, exec.command: { argv: [sleep, '60'] } }
  - { id: after, flow.set: { values: {} } }
finally:
  - { id: last, flow.set: { values: {} } }
",
    )
    .await;
    assert_eq!((ended.status, ended.exit_code), (RunStatus::Failed, 1));
    assert_eq!(status(&state, "slow"), Status::TimedOut);
    assert_eq!(status(&state, "after"), Status::Skipped);
    assert_eq!(status(&state, "last"), Status::Succeeded);
}

#[tokio::test]
async fn the_deadline_of_the_run_ends_it() {
    let (ended, state, _) = play(
        "timeout: 150ms
steps:
  - { id: slow, exec.command: { argv: [sleep, '60'] } }
  - { id: after, flow.set: { values: {} } }
finally:
  - { id: last, flow.set: { values: { s: \"${{ run.status }}\" } } }
",
    )
    .await;
    assert_eq!((ended.status, ended.exit_code), (RunStatus::TimedOut, 124));
    assert_eq!(status(&state, "slow"), Status::TimedOut);
    assert_eq!(status(&state, "after"), Status::Skipped);
    assert_eq!(outputs(&state, "last")["values"]["s"], "timed_out");
}

#[tokio::test]
async fn steps_side_by_side_really_run_so() {
    let folder = tempfile::tempdir().unwrap();
    let place = folder.path().display();
    // Each waits for the other one's file: in a row, the first would wait until its timeout.
    let meet = |mine: &str, other: &str| {
        format!("touch {place}/{mine}; until test -e {place}/{other}; do sleep 0.01; done")
    };
    let (ended, _, events) = play(&format!(
        "order: parallel
defaults: {{ timeout: 20s }}
steps:
  - {{ id: a, exec.script: {{ script: \"{}\" }} }}
  - {{ id: b, exec.script: {{ script: \"{}\" }} }}
",
        meet("a", "b"),
        meet("b", "a")
    ))
    .await;
    assert_eq!(ended.exit_code, 0);
    let kinds: Vec<&str> = events
        .iter()
        .map(|happening| happening.event.kind())
        .collect();
    assert_eq!(kinds[1..3], ["step.start", "step.start"]);
}

#[tokio::test]
async fn findings_fail_a_step_by_its_limit() {
    let (ended, state, _) = play(
        "steps:
  - { id: strict, on_error: continue, fail_on: warning, host.disk: { paths: [/no/such/place] } }
  - { id: never, fail_on: never, host.disk: { paths: [/no/such/place] } }
",
    )
    .await;
    assert_eq!(ended.exit_code, 0);
    assert_eq!(status(&state, "strict"), Status::Failed);
    assert_eq!(status(&state, "never"), Status::Succeeded);
    let error = state
        .step(&"strict".parse().unwrap())
        .unwrap()
        .error
        .clone()
        .unwrap();
    assert!(error.starts_with("unknown: /no/such/place: "), "{error}");
}

#[tokio::test]
async fn every_step_has_its_result_in_the_events() {
    let (_, state, events) = play(
        "steps:
  - { id: a, exec.command: { argv: ['false'] } }
  - { id: b, flow.set: { values: {} } }
finally:
  - { id: c, flow.set: { values: {} } }
",
    )
    .await;
    assert!(state.steps.values().all(|step| step.status.is_over()));
    assert!(matches!(events.last().unwrap().event, Event::RunEnd(_)));
}
