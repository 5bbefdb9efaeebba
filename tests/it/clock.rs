//! The wall clock is set back and forward by a year, between runs and in their middle: order,
//! durations, timeouts, locks and what is gone on with stay right.
//!
//! libfaketime stands between the program and the C library, where wall time is asked for; waits
//! ask the kernel by other ways, so that this is just what a wrong clock does.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::process;
use crate::support::run::{Ran, Runbook, Started};
use crate::support::wait;

const LONG: Duration = Duration::from_secs(40);
const BACK: &str = "-365d";
const NOW: &str = "+0d";
const FORWARD: &str = "+365d";

const HOUR: i64 = 3600;
const DAYS_300: i64 = 300 * 24 * HOUR;

fn library() -> PathBuf {
    let folders = fs::read_dir("/usr/lib").expect("it is there").flatten();
    let folders = folders.map(|entry| entry.path().join("faketime"));
    process::find("libfaketimeMT.so.1", folders)
        .unwrap_or_else(|| process::missing("libfaketime", "faketime"))
}

/// Sets the clock of what runs with it.
fn set(folder: &Path, clock: &str) {
    let (next, file) = (folder.join("clock.next"), folder.join("clock"));
    fs::write(&next, clock).expect("a file can be written");
    fs::rename(next, file).expect("it can be renamed");
}

/// A run whose clock goes by `clock` in its folder.
fn clocked(run: Runbook, clock: &str) -> Runbook {
    set(run.folder(), clock);
    let file = run.folder().join("clock");
    run.env("LD_PRELOAD", library())
        .env("FAKETIME_TIMESTAMP_FILE", file)
        .env("FAKETIME_NO_CACHE", "1")
        .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
        .env("NO_FAKE_STAT", "1")
}

fn next(ran: &Ran, clock: &str, args: &[&str]) -> Ran {
    clocked(ran.then(), clock).args(args).run()
}

fn wait_for(run: &Started, file: &str) {
    let path = run.folder().join(file);
    wait::until(file, LONG, || path.exists().then_some(()));
}

/// The records of the last run's journal.
fn journal(ran: &Ran) -> Vec<Value> {
    let runs = fs::read_dir(ran.state().join("runs"))
        .expect("runs")
        .flatten();
    let written = |path: &PathBuf| fs::metadata(path).and_then(|m| m.modified()).ok();
    let journals = runs.map(|entry| entry.path().join("journal.jsonl"));
    let last = journals.max_by_key(written).expect("a run");
    let text = fs::read_to_string(last).expect("it can be read");
    text.lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect()
}

/// When records were made, in seconds.
fn times(records: &[Value]) -> Vec<i64> {
    let time =
        |record: &Value| -> jiff::Timestamp { record["t"].as_str().unwrap().parse().unwrap() };
    records
        .iter()
        .map(|record| time(record).as_second())
        .collect()
}

fn expect_verified(ran: &Ran) {
    next(ran, NOW, &["audit", "verify"]).expect_code(0);
}

fn steps(ran: &Ran) -> Vec<Value> {
    let status = next(ran, NOW, &["status", "last", "--format", "json"]).json();
    status["steps"].as_array().expect("steps").clone()
}

/// What `history` says, newest first.
fn history(ran: &Ran, clock: &str) -> Vec<Value> {
    let history = next(ran, clock, &["history", "--format", "json"]).json();
    history["runs"].as_array().expect("runs").clone()
}

fn word(value: &Value) -> &str {
    value.as_str().expect("a text")
}

#[test]
fn a_run_goes_on_through_years() {
    let playbook = "\
runbook: v1
name: years
timeout: 1h
steps:
  - { id: back, exec.script: { script: 'touch at-back; until [ -e go-back ]; do sleep 0.02; done' } }
  - { id: forward, timeout: 5m, exec.script: { script: 'touch at-forward; until [ -e go-forward ]; do sleep 0.02; done' } }
  - id: again
    retry: { attempts: 3, delay: 50ms, jitter: none }
    exec.script: { script: 'echo x >> tried; [ $(wc -l < tried) = 3 ]' }
  - { id: late, timeout: 1s, on_error: continue, exec.script: { script: 'touch at-late; sleep 6363' } }
  - { id: waits, flow.wait: { for: 100ms } }
";
    let started = clocked(Runbook::new(), NOW)
        .arg("run")
        .playbook(playbook)
        .start();
    wait_for(&started, "at-back");
    set(started.folder(), BACK);
    fs::write(started.folder().join("go-back"), "").unwrap();
    wait_for(&started, "at-forward");
    set(started.folder(), FORWARD);
    fs::write(started.folder().join("go-forward"), "").unwrap();
    wait_for(&started, "at-late");
    set(started.folder(), BACK);
    let ran = started.finish();
    ran.expect_code(0);

    // The clock was set, and the order is that of what happened.
    let records = journal(&ran);
    let times = times(&records);
    let leaps: Vec<i64> = times
        .windows(2)
        .map(|two| two[1] - two[0])
        .filter(|leap| leap.abs() > HOUR)
        .collect();
    assert!(
        matches!(leaps[..], [a, b, c] if a < -DAYS_300 && b > 2 * DAYS_300 && c < -2 * DAYS_300),
        "{leaps:?}"
    );
    for (at, record) in records.iter().enumerate() {
        assert_eq!(record["seq"], at + 1);
    }
    let done: Vec<(String, String)> = steps(&ran)
        .iter()
        .map(|step| {
            (
                word(&step["id"]).to_owned(),
                word(&step["status"]).to_owned(),
            )
        })
        .collect();
    let expected = [
        ("back", "succeeded"),
        ("forward", "succeeded"),
        ("again", "succeeded"),
        ("late", "timed_out"),
        ("waits", "succeeded"),
    ];
    assert_eq!(
        done,
        expected.map(|(id, status)| (id.to_owned(), status.to_owned()))
    );
    // No duration has a year in it, and a second is one.
    let results = records
        .iter()
        .filter(|record| !record["data"]["duration_ms"].is_null());
    let durations: Vec<(String, i64)> = results
        .map(|record| {
            (
                record["path"].as_str().unwrap_or("run").to_owned(),
                record["data"]["duration_ms"].as_i64().unwrap(),
            )
        })
        .collect();
    assert_eq!(durations.len(), 6, "{durations:?}");
    for (path, millis) in &durations {
        let least = match path.as_str() {
            "late" => 1000,
            "waits" => 100,
            "run" => 1100,
            _ => 0,
        };
        assert!((least..HOUR * 1000).contains(millis), "{path}: {millis} ms");
    }
    assert_eq!(ran.read("tried").lines().count(), 3);
    let told = history(&ran, FORWARD);
    assert_eq!((told.len(), word(&told[0]["status"])), (1, "succeeded"));
    for format in ["text", "markdown", "junit"] {
        next(&ran, FORWARD, &["status", "last", "--format", format]).expect_code(0);
    }
    expect_verified(&ran);
}

#[test]
fn the_last_run_is_the_one_that_started_last() {
    let playbook = "runbook: v1\nname: order\nparams: { n: { type: integer } }\nsteps:\n  - { id: a, flow.set: { values: { n: '${{ params.n }}' } } }\n";
    // A clock that stands: without a sign, it is this moment for ever.
    let clocks = [
        FORWARD,
        NOW,
        BACK,
        NOW,
        BACK,
        "2026-01-01 00:00:00",
        "2026-01-01 00:00:00",
        "2026-01-01 00:00:00",
    ];
    let mut ran: Option<Ran> = None;
    let mut started = Vec::new();
    for (number, clock) in clocks.iter().enumerate() {
        let run = ran.as_ref().map_or_else(Runbook::new, Ran::then);
        let param = format!("n={number}");
        let one = clocked(run, clock).args(["run", "-p", &param]);
        let one = one.playbook(playbook).run();
        one.expect_code(0);
        let last = next(&one, clock, &["status", "last", "--format", "json"]).json();
        assert_eq!(last["run"]["params"]["n"], number, "{last:#}");
        started.push(word(&last["run"]["id"]).to_owned());
        ran = Some(one);
    }
    let ran = ran.unwrap();
    for clock in [BACK, NOW, FORWARD] {
        let told = history(&ran, clock);
        assert_eq!(told.len(), clocks.len());
        // As they started, the last one first, whatever the clock said.
        let ids: Vec<&str> = told.iter().map(|run| word(&run["id"])).collect();
        assert!(ids.iter().eq(started.iter().rev()), "{ids:?} {started:?}");
    }
    // By their ids, which have the time in them, it is another order; and no id comes twice.
    let mut ids = started.clone();
    ids.sort_unstable();
    assert_ne!(ids, started);
    ids.dedup();
    assert_eq!(ids.len(), clocks.len());
    expect_verified(&ran);
}

#[test]
fn what_was_cut_off_is_gone_on_with_in_another_year() {
    let playbook = "\
runbook: v1
name: cut
steps:
  - { id: first, exec.script: { script: 'echo first >> oracle' } }
  - { id: second, repeat: idempotent, timeout: 5m, exec.script: { script: 'touch here; [ -e go ] || sleep 6464; echo second >> oracle' } }
  - { id: third, exec.script: { script: 'echo third >> oracle' } }
";
    for (before, after) in [(NOW, BACK), (NOW, FORWARD), (FORWARD, BACK)] {
        let started = clocked(Runbook::new(), before)
            .arg("run")
            .playbook(playbook)
            .start();
        wait_for(&started, "here");
        started.signal(Signal::KILL);
        let ran = started.finish();
        fs::write(ran.folder().join("go"), "").unwrap();
        let resumed = next(&ran, after, &["resume", "last"]);
        resumed.expect_code(0);
        assert_eq!(
            ran.read("oracle").split_whitespace().collect::<Vec<_>>(),
            ["first", "second", "third"],
            "{resumed}"
        );
        let end = journal(&ran).pop().unwrap();
        assert_eq!(end["kind"], "run.end");
        assert!(
            (0..HOUR * 1000).contains(&end["data"]["duration_ms"].as_i64().unwrap()),
            "{end}"
        );
        // Its sleep was ended with the rest of it.
        let left = process::output("pgrep", &["-f", "^sleep 6464$"]);
        assert_eq!(left.stdout, "", "{resumed}");
        expect_verified(&ran);
    }
}

#[test]
fn an_approval_waits_by_the_wall_clock_between_processes() {
    let playbook = "\
runbook: v1
name: asked
steps:
  - id: a
    approval: { kind: approve, message: Well, timeout: 2d }
    exec.script: { script: 'echo a >> oracle' }
";
    let paused = || {
        let ran = clocked(Runbook::new(), NOW)
            .args(["run", "--no-input"])
            .playbook(playbook)
            .run();
        ran.expect_code(3);
        ran
    };
    // In the past it has not run out; who agrees there has agreed.
    let ran = paused();
    next(&ran, BACK, &["resume", "last", "--no-input"]).expect_code(3);
    assert_eq!(word(&history(&ran, BACK)[0]["status"]), "waiting");
    next(&ran, BACK, &["approve", "last", "a", "--reason", "fine"]).expect_code(0);
    next(&ran, BACK, &["resume", "last", "--no-input"]).expect_code(0);
    assert_eq!(ran.read("oracle"), "a\n");
    expect_verified(&ran);
    // In a year it has.
    let ran = paused();
    let late = next(&ran, FORWARD, &["resume", "last", "--no-input"]);
    late.expect_code(3);
    assert!(!ran.folder().join("oracle").exists(), "{late}");
    let end = journal(&ran).pop().unwrap();
    assert_ne!(end["data"]["status"], "waiting", "{late}");
    expect_verified(&ran);
}

#[test]
fn a_lock_is_held_whatever_its_year() {
    let playbook = "\
runbook: v1
name: locked
lock: { key: of-another-year }
steps:
  - { id: a, exec.script: { script: 'touch here; until [ -e go ]; do sleep 0.02; done' } }
";
    let started = clocked(Runbook::new(), FORWARD)
        .arg("run")
        .playbook(playbook)
        .start();
    wait_for(&started, "here");
    for clock in [BACK, FORWARD] {
        let other = Runbook::new().file("go", "");
        let other = clocked(other, clock).arg("run").playbook(playbook).run();
        other.expect_code(75);
        assert!(other.stderr.contains("of-another-year"), "{other}");
    }
    fs::write(started.folder().join("go"), "").unwrap();
    let ran = started.finish();
    ran.expect_code(0);
    let other = Runbook::new().file("go", "");
    clocked(other, BACK)
        .arg("run")
        .playbook(playbook)
        .run()
        .expect_code(0);
}
