//! A mixed run whose state folder fails it: EIO and ENOSPC at each write and sync, a disk that is gone or
//! read-only from some moment on, and disks that are too small. What is not recorded does not happen,
//! nobody is told that it went well, and afterwards the run can be gone on with.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use nix::errno::Errno;

use crate::support::disk::Disk;
use crate::support::judge::{self, Judge, Undisturbed, mixed, side_by_side, spread, undisturbed};
use crate::support::oracle::{self, Oracle};
use crate::support::run::{Ran, Runbook};
use crate::support::tracer::{Blow, Call, Trap};

/// What is run next in the same state folder.
const NEXT: &str = "\
runbook: v1
name: next
steps:
  - { id: a, exec.command: { argv: [touch, next] } }
";

/// Every effect that took place has its intent in the journal.
#[track_caller]
fn every_effect_has_its_intent(oracle: &Oracle, ran: &Ran, what: &str) {
    let records = oracle::records(ran.state());
    let mut intents = oracle::recorded(&records, "step.start", |_| true);
    intents.extend(oracle::recorded(&records, "undo.start", |_| true));
    let told = [oracle.lines(), oracle.rows(), oracle.keys()];
    for effect in told.iter().flat_map(|told| told.keys()) {
        assert!(
            intents.contains(effect),
            "{what}: {effect}: {intents:?}\n{ran}"
        );
    }
}

/// Nobody is told that a run went well whose audit could not be written: not by the exit code, not by
/// the report, and by the ledger only where the journal is whole.
#[track_caller]
fn nobody_says_that_it_went_well(ran: &Ran, what: &str) {
    assert_eq!(ran.code, 5, "{what}\n{ran}");
    if !ran.stdout.is_empty() {
        assert_ne!(ran.json()["run"]["status"], "succeeded", "{what}\n{ran}");
    }
    let history = ran.then().args(["history", "--format", "json"]).run();
    if history.code == 0 && history.json()["runs"][0]["status"] == "succeeded" {
        let records = oracle::records(ran.state());
        let last = records.last().expect("it has records");
        assert_eq!(last["kind"], "run.end", "{what}\n{ran}");
        assert_eq!(oracle::open(&records), [], "{what}\n{ran}");
    }
}

/// The same state folder serves the next run.
#[track_caller]
fn the_next_run_works(ran: &Ran, what: &str) {
    let next = ran.then().file("next.yaml", NEXT);
    let next = next.args(["run", "next.yaml"]).run();
    assert_eq!(next.code, 0, "{what}\n{next}\n{ran}");
    let verified = ran.then().args(["audit", "verify"]).run();
    assert_eq!(verified.code, 0, "{what}: {verified}\n{ran}");
}

fn in_state(call: &Call, state: &Path) -> bool {
    call.path.starts_with(state)
}

/// Fails a run at one call within its state folder, and judges what came of it. Whether it came to it.
fn failed_at(expected: &Undisturbed, at: usize, blow: Blow) -> bool {
    let (oracle, run) = mixed(expected.end);
    let state = run.folder().join("state");
    let waits = |call: &Call| in_state(call, &state) && (call.writes() || call.syncs());
    // On a disk that is gone nothing works any more.
    let all = |call: &Call| in_state(call, &state) && call.name != "flock";
    let counts: &dyn Fn(&Call) -> bool = match blow {
        Blow::FailFrom(_) => &all,
        _ => &waits,
    };
    let trap = Trap {
        counts,
        at: Some((at, blow)),
    };
    let (ran, trace) = run.args(["--format", "json"]).trace(trap);
    let Some(call) = &trace.at else {
        return false;
    };
    let what = format!("{}: {blow:?} at {at}, {call:?}", expected.end);
    nobody_says_that_it_went_well(&ran, &what);
    every_effect_has_its_intent(&oracle, &ran, &what);
    // What runs may end; nothing begins.
    let begun = trace
        .after
        .iter()
        .filter(|call| call.name.starts_with("clone"));
    assert_eq!(begun.count(), 0, "{what}: {:#?}\n{ran}", trace.after);
    Judge {
        expected,
        oracle: &oracle,
        what: &what,
    }
    .judge(&ran);
    the_next_run_works(&ran, &what);
    true
}

/// How many calls within its state folder a run makes that count.
fn calls(end: &str, counts: impl Fn(&Call, &Path) -> bool) -> usize {
    let (_, run) = mixed(end);
    let state = run.folder().join("state");
    let (_, trace) = run.trace(judge::look_only());
    trace
        .calls
        .iter()
        .filter(|call| counts(call, &state))
        .count()
}

#[test]
fn what_cannot_be_written_or_synced_does_not_happen() {
    let mut tried = 0;
    let met = AtomicUsize::new(0);
    for (end, count) in [("good", 14), ("bad", 8)] {
        let expected = undisturbed(end);
        let calls = calls(end, |call, state| {
            in_state(call, state) && (call.writes() || call.syncs())
        });
        let points: Vec<_> = [Errno::EIO, Errno::ENOSPC]
            .into_iter()
            .flat_map(|error| spread(calls, count).into_iter().map(move |at| (at, error)))
            .collect();
        tried += points.len();
        side_by_side(&points, |&(at, error)| {
            met.fetch_add(
                usize::from(failed_at(&expected, at, Blow::Fail(error))),
                Ordering::Relaxed,
            );
        });
    }
    let met = met.into_inner();
    println!("figure: {met} of {tried} writes and syncs failed");
    assert!(met * 20 >= tried * 19, "only {met} of {tried} were met");
}

#[test]
fn a_disk_that_is_gone_or_read_only_from_some_moment_on_stops_the_run() {
    let expected = undisturbed("bad");
    let calls = calls("bad", |call, state| {
        in_state(call, state) && call.name != "flock"
    });
    let points: Vec<_> = [Errno::EIO, Errno::EROFS]
        .into_iter()
        .flat_map(|error| spread(calls, 6).into_iter().map(move |at| (at, error)))
        .collect();
    let met = AtomicUsize::new(0);
    side_by_side(&points, |&(at, error)| {
        met.fetch_add(
            usize::from(failed_at(&expected, at, Blow::FailFrom(error))),
            Ordering::Relaxed,
        );
    });
    let (met, all) = (met.into_inner(), points.len());
    println!("figure: {met} of {all} disks were gone");
    assert!(met * 20 >= all * 19, "only {met} of {all} were met");
}

#[test]
fn on_a_disk_of_any_size_nothing_happens_that_is_not_recorded() {
    let expected = undisturbed("bulk");
    let sizes: Vec<u32> = (0..9).map(|doubled| 16 << doubled).collect();
    // How many effects each size was enough for.
    let happened = Mutex::new(BTreeMap::new());
    side_by_side(&sizes, |size| {
        let what = format!("{size} KiB");
        let (oracle, run) = mixed("bulk");
        let disk = Disk::mount(&run.folder().join("state"), &format!("size={size}k"));
        let ran = run.args(["--format", "json"]).run();
        every_effect_has_its_intent(&oracle, &ran, &what);
        happened.lock().unwrap().insert(*size, oracle.lines().len());
        if ran.code != 0 {
            nobody_says_that_it_went_well(&ran, &what);
        }
        disk.remount("size=16m");
        Judge {
            expected: &expected,
            oracle: &oracle,
            what: &what,
        }
        .judge(&ran);
        the_next_run_works(&ran, &what);
    });
    let happened: Vec<usize> = happened.into_inner().unwrap().into_values().collect();
    println!("figure: effects on disks of 16 KiB to 4 MiB: {happened:?}");
    // Some are too small from the start, some in the middle, and the last is not.
    let all = expected.told.len();
    assert_eq!(happened.last(), Some(&all), "{happened:?}");
    assert!(happened.is_sorted(), "{happened:?}");
    let partly = happened.iter().filter(|count| (1..all).contains(count));
    assert!(partly.count() >= 3, "{happened:?}");
}

#[test]
fn in_a_read_only_state_folder_nothing_begins() {
    let run = Runbook::new()
        .file("next.yaml", NEXT)
        .args(["run", "next.yaml"]);
    let disk = Disk::mount(&run.folder().join("state"), "size=1m,ro");
    let ran = run.run();
    ran.expect_code(5);
    assert!(ran.stderr.contains("nothing ran"), "{ran}");
    assert!(!ran.folder().join("next").exists(), "{ran}");
    // One that has runs already can still be read.
    disk.remount("rw");
    the_next_run_works(&ran, "rw");
    std::fs::remove_file(ran.folder().join("next")).expect("it ran");
    disk.remount("ro");
    let again = ran.then().args(["run", "next.yaml"]).run();
    again.expect_code(5);
    assert!(again.stderr.contains("nothing ran"), "{again}");
    assert!(!ran.folder().join("next").exists(), "{again}");
    for args in [&["history"][..], &["status", "last"], &["audit", "verify"]] {
        ran.then().args(args).run().expect_code(0);
    }
    let resumed = ran.then().args(["resume", "last"]).run();
    assert!([0, 5].contains(&resumed.code), "{resumed}");
}
