//! An engine or a step that is stopped (SIGSTOP) for longer than something may take, and then goes on:
//! what ran out of time meanwhile has run out of time, and nothing happens twice.

use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};
use serde_json::Value;

use crate::support::run::{Ran, Runbook, Started};
use crate::support::{oracle, process, wait};

const LONG: Duration = Duration::from_secs(30);

/// What a step or the run may take in these tests, and what somebody may think about.
const LIMIT: Duration = Duration::from_secs(3);

fn told(folder: &std::path::Path) -> String {
    let text = std::fs::read_to_string(folder.join("oracle")).unwrap_or_default();
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[track_caller]
fn until_told(started: &Started, what: &str) {
    wait::until(what, LONG, || {
        (told(started.folder()) == what).then_some(())
    });
}

/// Waits until more time has passed than `LIMIT` allows.
fn until_too_late(began: Instant) {
    let late = LIMIT + Duration::from_millis(100);
    wait::until("the time to pass", LONG, || {
        (began.elapsed() > late).then_some(())
    });
}

/// The engine's process, which may be a grandchild.
fn engine(started: &Started) -> Pid {
    let pid = wait::until("the engine's pid", LONG, || {
        let records = oracle::records(started.state());
        records.first()?["data"]["pid"].as_i64()
    });
    Pid::from_raw(i32::try_from(pid).expect("a pid is small")).expect("a pid")
}

fn status_of(ran: &Ran, path: &str) -> Value {
    let status = ran.then().args(["status", "last", "--format", "json"]);
    let status = status.run().json();
    let mut steps = status["steps"].as_array().expect("steps").iter();
    let step = steps.find(|step| step["path"] == path);
    step.expect("there is such a step")["status"].clone()
}

#[track_caller]
fn verifies(ran: &Ran) {
    ran.then().args(["audit", "verify"]).run().expect_code(0);
}

#[test]
fn the_time_of_a_step_passes_while_the_engine_is_stopped() {
    let text = "\
runbook: v1
name: stopped
steps:
  - { id: a, exec.script: { script: 'echo a >> oracle' } }
  - { id: slow, timeout: 3s, exec.script: { script: 'echo slow >> oracle; sleep 6464 || true; echo never >> oracle' } }
  - { id: after, exec.script: { script: 'echo after >> oracle' } }
finally:
  - { id: bye, exec.script: { script: 'echo bye >> oracle' } }
";
    let started = Runbook::new().arg("run").playbook(text).start();
    until_told(&started, "a slow");
    let began = Instant::now();
    started.signal(Signal::STOP);
    until_too_late(began);
    started.signal(Signal::CONT);
    let ran = started.finish();
    ran.expect_code(1);
    assert_eq!(told(ran.folder()), "a slow bye");
    assert_eq!(status_of(&ran, "slow"), "timed_out");
    process::output("pgrep", &["-f", "sleep 6464"]).expect_code(1);
    verifies(&ran);
    // Nobody knows how far it came: it is not simply run again.
    ran.then().args(["resume", "last"]).run().expect_code(4);
    assert_eq!(told(ran.folder()), "a slow bye");
}

#[test]
fn a_step_that_ended_while_the_engine_was_stopped_has_ended() {
    let text = "\
runbook: v1
name: stopped
steps:
  - { id: quick, timeout: 3s, exec.script: { script: 'echo quick >> oracle; until [ -e go ]; do sleep 0.01; done; echo done >> oracle' } }
  - { id: after, exec.script: { script: 'echo after >> oracle' } }
";
    let started = Runbook::new().arg("run").playbook(text).start();
    until_told(&started, "quick");
    let began = Instant::now();
    started.signal(Signal::STOP);
    std::fs::write(started.folder().join("go"), "").unwrap();
    until_told(&started, "quick done");
    until_too_late(began);
    started.signal(Signal::CONT);
    let ran = started.finish();
    ran.expect_code(0);
    assert_eq!(told(ran.folder()), "quick done after");
    assert_eq!(status_of(&ran, "quick"), "succeeded");
    verifies(&ran);
}

#[test]
fn the_time_of_a_run_passes_while_the_engine_is_stopped() {
    let text = "\
runbook: v1
name: stopped
timeout: 3s
steps:
  - { id: a, exec.script: { script: 'echo a >> oracle; until [ -e go ]; do sleep 0.01; done' } }
  - { id: after, exec.script: { script: 'echo after >> oracle' } }
finally:
  - { id: bye, exec.script: { script: 'echo bye >> oracle' } }
";
    // The step that runs ends meanwhile, or does not.
    for ends in [false, true] {
        let began = Instant::now();
        let started = Runbook::new().arg("run").playbook(text).start();
        until_told(&started, "a");
        started.signal(Signal::STOP);
        if ends {
            std::fs::write(started.folder().join("go"), "").unwrap();
        }
        until_too_late(began);
        started.signal(Signal::CONT);
        let ran = started.finish();
        ran.expect_code(124);
        assert_eq!(told(ran.folder()), "a bye", "{ran}");
        assert_ne!(status_of(&ran, "after"), "succeeded");
        verifies(&ran);
    }
}

/// A run that asks somebody at its terminal, for `LIMIT`.
fn asks() -> Started {
    let text = "\
runbook: v1
name: stopped
steps:
  - id: asks
    approval: { kind: approve, from: [daemon], timeout: 3s }
    exec.script: { script: 'echo asks >> oracle' }
";
    let script = process::program("script", "bsdutils");
    let command = format!("{} run playbook.yaml", env!("CARGO_BIN_EXE_runbook"));
    // Standard input stays open, and nobody types.
    let held = format!(
        "sleep 60 | exec {} -qec '{command}' /dev/null",
        script.display()
    );
    let run = Runbook::new().file("playbook.yaml", text);
    let started = run.instead(["sh", "-c", &held]).start();
    started.wait_for_text("waiting for daemon", LONG);
    started
}

/// When somebody agrees to it, while the engine is stopped.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Agreed {
    InTime,
    TooLate,
    /// In time; the statement is changed later, and dated back.
    Changed,
}

/// Nothing where the machine was too busy for it.
fn agreed_while_stopped(agreed: Agreed, code: i32) -> Option<()> {
    let started = asks();
    let engine = engine(&started);
    kill_process(engine, Signal::STOP).unwrap();
    let asked = Instant::now();
    let state = started.state().to_path_buf();
    let approve = || {
        let approve = Runbook::new().state(&state).env("SUDO_UID", "1");
        approve.args(["approve", "last", "asks"]).run()
    };
    if agreed != Agreed::TooLate && approve().code != 0 {
        return None;
    }
    until_too_late(asked);
    if agreed == Agreed::Changed {
        let said = process::output("find", &[state.to_str()?, "-name", "*asks*.json"]);
        process::output("touch", &["-d", "2020-01-01", said.stdout.trim()]).expect_code(0);
    }
    let late = approve();
    late.expect_code(3);
    assert!(late.stderr.contains("it is too late"), "{late}");
    kill_process(engine, Signal::CONT).unwrap();
    let end = wait::until("the run to end", LONG, || {
        let ledger = std::fs::read_to_string(state.join("ledger.jsonl")).ok()?;
        let end = ledger.lines().find(|line| line.contains("run.end"))?;
        serde_json::from_str::<Value>(end).ok()
    });
    assert_eq!(end["data"]["exit_code"], code, "{agreed:?}");
    let asks = if code == 0 { "asks" } else { "" };
    assert_eq!(told(started.folder()), asks, "{agreed:?}");
    let verify = Runbook::new().state(&state).args(["audit", "verify"]);
    verify.run().expect_code(0);
    started.signal_group(Signal::KILL);
    started.finish();
    Some(())
}

#[test]
fn the_time_to_agree_passes_while_the_engine_is_stopped() {
    let all = [
        (Agreed::InTime, 0),
        (Agreed::TooLate, 3),
        (Agreed::Changed, 3),
    ];
    std::thread::scope(|scope| {
        for (agreed, code) in all {
            scope.spawn(move || {
                wait::until("a machine that is quick enough", LONG, || {
                    agreed_while_stopped(agreed, code)
                });
            });
        }
    });
}

#[test]
fn a_step_that_is_stopped_runs_out_of_time_and_can_end_politely() {
    let text = "\
runbook: v1
name: stopped
steps:
  - { id: slow, timeout: 3s, exec.script: { script: 'trap \"echo polite >> oracle; exit 1\" TERM; echo $$ > pid; sleep 6565 & wait' } }
finally:
  - { id: bye, exec.script: { script: 'echo bye >> oracle' } }
";
    let started = Runbook::new().arg("run").playbook(text).start();
    let group = wait::until("the step", LONG, || {
        let pid = std::fs::read_to_string(started.folder().join("pid")).ok()?;
        Pid::from_raw(pid.trim().parse().ok()?)
    });
    kill_process_group(group, Signal::STOP).unwrap();
    let ran = started.finish();
    ran.expect_code(1);
    assert_eq!(told(ran.folder()), "polite bye");
    assert_eq!(status_of(&ran, "slow"), "timed_out");
    process::output("pgrep", &["-f", "sleep 6565"]).expect_code(1);
    verifies(&ran);
}

#[test]
fn what_is_left_of_a_run_and_is_stopped_can_end_politely() {
    let text = "\
runbook: v1
name: stopped
steps:
  - { id: slow, repeat: idempotent, exec.script: { script: '[ ! -e go ] || exit 0; trap \"echo polite >> oracle; exit 1\" TERM; echo $$ > pid; sleep 6666 & wait' } }
";
    let started = Runbook::new().arg("run").playbook(text).start();
    let group = wait::until("the step", LONG, || {
        let pid = std::fs::read_to_string(started.folder().join("pid")).ok()?;
        Pid::from_raw(pid.trim().parse().ok()?)
    });
    started.signal(Signal::KILL);
    let ran = started.finish();
    // Now, because the kernel wakes and ends a stopped group whose last parent dies.
    kill_process_group(group, Signal::STOP).unwrap();
    std::fs::write(ran.folder().join("go"), "").unwrap();
    ran.then().args(["resume", "last"]).run().expect_code(0);
    assert_eq!(told(ran.folder()), "polite");
    process::output("pgrep", &["-f", "sleep 6666"]).expect_code(1);
    verifies(&ran);
}
