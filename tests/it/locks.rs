//! Locks: two that lock the same thing are never at work at once; and runs that are ended from
//! elsewhere.

mod server;

use std::time::Duration;

use crate::support::lifetime;
use crate::support::run::{Runbook, Started};
use crate::support::wait;

const LONG: Duration = Duration::from_secs(30);

/// A playbook that holds a lock of its own name until there is a file `go`.
fn holder(lock: &str) -> String {
    format!(
        "runbook: v1\nname: holder\nlock: {lock}\nsteps:\n  - {{ id: a, exec.script: {{ script: 'touch holds; until [ -e go ]; do sleep 0.02; done' }} }}\n"
    )
}

#[track_caller]
fn hold(playbook: &str) -> Started {
    let started = Runbook::new().arg("run").playbook(playbook).start();
    wait::until("it to hold the lock", LONG, || {
        started.folder().join("holds").exists().then_some(())
    });
    started
}

fn key() -> String {
    format!("test-{}-{}", lifetime::name(), lifetime::serial())
}

#[test]
fn two_runs_that_lock_the_same_are_not_at_work_at_once() {
    let lock = format!("{{ key: {} }}", key());
    let first = hold(&holder(&lock));
    let second = |args: &[&str]| {
        let run = Runbook::new().file("go", "").arg("run").args(args);
        run.playbook(&holder(&lock))
    };
    let refused = second(&[]).run();
    refused.expect_code(75);
    assert!(refused.stderr.contains("is held by run 0"), "{refused}");
    assert!(refused.stderr.contains("of holder by "), "{refused}");
    assert!(!refused.folder().join("holds").exists());
    // It has left nothing behind but its refusal.
    refused.then().arg("history").run().expect_code(0);
    let waits = second(&["--wait"]).start();
    waits.wait_for_text("waiting for the lock", LONG);
    let also_waits = Runbook::new()
        .file("go", "")
        .arg("run")
        .playbook(&holder(&lock.replace(" }", ", on_conflict: wait }")))
        .start();
    also_waits.wait_for_text("waiting for the lock", LONG);
    assert!(!waits.folder().join("holds").exists());
    std::fs::write(first.folder().join("go"), "").unwrap();
    first.finish().expect_code(0);
    waits.finish().expect_code(0);
    also_waits.finish().expect_code(0);
    second(&[]).run().expect_code(0);
}

#[test]
fn a_playbook_locks_itself_by_its_name_and_place() {
    let first = hold(&holder("{}"));
    let folder = first.folder().to_path_buf();
    let again = Runbook::new()
        .args(["run".as_ref(), folder.join("playbook.yaml").as_os_str()])
        .run();
    again.expect_code(75);
    // The same playbook elsewhere is another one.
    let elsewhere = Runbook::new().file("go", "").arg("run");
    elsewhere.playbook(&holder("{}")).run().expect_code(0);
    std::fs::write(folder.join("go"), "").unwrap();
    first.finish().expect_code(0);
}

#[test]
fn what_is_left_of_a_killed_run_keeps_its_lock() {
    let lock = format!("{{ key: {} }}", key());
    let first = hold(&holder(&lock));
    first.signal(rustix::process::Signal::KILL);
    let second = || {
        let run = Runbook::new().file("go", "").arg("run");
        run.playbook(&holder(&lock)).run()
    };
    wait::until("the engine to be gone", LONG, || {
        let status = Runbook::new().state(first.state()).arg("status").run();
        status.stdout.contains("interrupted").then_some(())
    });
    second().expect_code(75);
    std::fs::write(first.folder().join("go"), "").unwrap();
    first.finish();
    wait::until("its process to end", LONG, || {
        (second().code == 0).then_some(())
    });
}

#[test]
fn steps_that_lock_the_same_take_turns() {
    let key = key();
    let playbook = format!(
        "\
runbook: v1
name: turns
order: parallel
steps:
  - id: each
    foreach: {{ in: 'range(6)', as: n, max_parallel: 6 }}
    lock: {{ key: {key} }}
    exec.script: {{ script: 'mkdir busy; sleep 0.02; rmdir busy' }}
  - id: other
    lock: {{ key: '{key}-${{{{ params.x }}}}' }}
    exec.script: {{ script: 'touch free' }}
params: {{ x: {{ type: string, default: y }} }}
"
    );
    let ran = Runbook::new()
        .args(["run", "--max-parallel", "8"])
        .playbook(&playbook)
        .run();
    ran.expect_code(0);
    // Held by another run, it fails, and what the playbook says of failures holds.
    let other = hold(&holder(&format!("{{ key: {key} }}")));
    let ran = Runbook::new().arg("run").playbook(&playbook).run();
    ran.expect_code(1);
    assert!(ran.stdout.contains("is held by run 0"), "{ran}");
    let waits = playbook.replace(
        &format!("key: {key} }}"),
        &format!("key: {key}, on_conflict: wait }}"),
    );
    let waits = Runbook::new().arg("run").playbook(&waits).start();
    wait::until("it to wait", LONG, || {
        waits.folder().join("free").exists().then_some(())
    });
    assert!(!waits.folder().join("busy").exists());
    std::fs::write(other.folder().join("go"), "").unwrap();
    other.finish().expect_code(0);
    waits.finish().expect_code(0);
}

#[test]
fn a_run_is_ended_from_elsewhere() {
    let playbook = "\
runbook: v1
name: long
steps:
  - { id: a, exec.script: { script: \"trap 'touch polite; exit 1' TERM; touch runs; sleep 7171 & wait\" } }
  - { id: b, exec.command: { argv: [touch, never] } }
finally:
  - { id: bye, exec.command: { argv: [touch, bye] } }
";
    let started = Runbook::new().arg("run").playbook(playbook).start();
    wait::until("it to run", LONG, || {
        started.folder().join("runs").exists().then_some(())
    });
    let state = started.state().to_path_buf();
    let cancel = || {
        let cancel = Runbook::new().state(&state);
        cancel
            .args(["cancel", "last", "--reason", "wrong host"])
            .run()
    };
    cancel().expect_code(0);
    let ran = started.finish();
    ran.expect_code(143);
    assert!(
        ran.stdout.contains("runbook cancel by ") && ran.stdout.contains("wrong host"),
        "{ran}"
    );
    for (name, exists) in [("polite", true), ("bye", true), ("never", false)] {
        assert_eq!(ran.folder().join(name).exists(), exists, "{name}: {ran}");
    }
    cancel().expect_code(2);
    ran.then().args(["audit", "verify"]).run().expect_code(0);
}
