//! A mixed run, killed at each of its calls that change anything, or at any moment, and gone on with:
//! nothing that is finished happens again, what may happen once does, and the end is the same.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use crate::support::judge::{
    Judge, Undisturbed, everything, look_only, mixed, side_by_side, spread, undisturbed,
};
use crate::support::oracle::Oracle;
use crate::support::run::Ran;
use crate::support::tracer::{Blow, Call, Trap};

fn strike(at: usize, blow: Blow) -> Trap<'static> {
    Trap {
        counts: &everything,
        at: Some((at, blow)),
    }
}

/// Kills the engine of a run after some time; none where it ended before.
fn killed_after(end: &str, micros: u64) -> Option<(Oracle, Ran)> {
    let (oracle, run) = mixed(end);
    let started = run.start();
    std::thread::sleep(Duration::from_micros(micros));
    let killed = rustix::process::kill_process(started.pid(), Signal::KILL);
    let ran = started.finish();
    (killed.is_ok() && ran.code == -9).then_some((oracle, ran))
}

fn killed_at_every_call(end: &'static str, count: usize) {
    let expected = undisturbed(end);
    let half = count / 2;
    let points = { spread(expected.calls, half).into_iter() }
        .map(|at| (at, Blow::KillBefore))
        .chain(
            spread(expected.calls, half)
                .into_iter()
                .map(|at| (at, Blow::KillAfter)),
        );
    let points: Vec<_> = points.collect();
    let struck = AtomicUsize::new(0);
    side_by_side(&points, |&(at, blow)| {
        let (oracle, run) = mixed(end);
        let (killed, trace) = run.trace(strike(at, blow));
        // Threads wake each other in another order each time: the last calls of one run may be
        // beyond the end of another.
        if !trace.struck {
            return;
        }
        struck.fetch_add(1, Ordering::Relaxed);
        assert_eq!(trace.code, -9, "{killed}");
        let call = trace.calls.last().expect("it was struck at one");
        let what = format!("{end}: {blow:?} call {at}, {call:?}");
        Judge {
            expected: &expected,
            oracle: &oracle,
            what: &what,
        }
        .judge(&killed);
    });
    let (struck, all) = (struck.into_inner(), points.len());
    println!(
        "figure: {end}: killed at {struck} of {all} points of {} calls",
        expected.calls
    );
    assert!(struck * 20 >= all * 19, "only {struck} of {all} were met");
}

#[test]
fn killed_at_every_call_it_comes_to_the_same() {
    killed_at_every_call("good", 32);
}

#[test]
fn killed_at_every_call_of_taking_back_it_comes_to_the_same() {
    killed_at_every_call("bad", 32);
}

/// Kills a run when the effect `done` has taken place and is in no record, and lets a person say so.
fn killed_when_done(expected: &Undisturbed, done: &str) -> (Oracle, Ran) {
    let (oracle, run) = mixed(expected.end);
    let is_open = |call: &Call| {
        call.writes() && call.path.ends_with("journal.jsonl") && oracle.lines().contains_key(done)
    };
    let trap = Trap {
        counts: &is_open,
        at: Some((0, Blow::KillBefore)),
    };
    let (killed, trace) = run.trace(trap);
    assert!(trace.struck, "{done}: {killed}");
    // What is probed needs nobody.
    if done != "probed" {
        let asked = killed.then().args(["resume", "last", "-y"]).run();
        asked.expect_code(4);
        let judge = Judge {
            expected,
            oracle: &oracle,
            what: done,
        };
        judge.resolve(&asked);
    }
    (oracle, killed)
}

/// A run that was killed, is gone on with and killed again: what was said and found out of what was open
/// the first time is not forgotten.
#[test]
fn killed_again_while_it_is_gone_on_with_it_comes_to_the_same() {
    for (end, first) in [
        ("good", "left"),
        ("good", "probed"),
        ("bad", "undo items 1"),
    ] {
        let expected = undisturbed(end);
        let kill_first = || killed_when_done(&expected, first);
        let resume = |killed: &Ran, trap| killed.then().args(["resume", "last", "-y"]).trace(trap);
        let (_, killed) = kill_first();
        let (resumed, whole) = resume(&killed, look_only());
        resumed.expect_code(expected.code);
        let calls = whole.calls.len();
        let mut points = spread(calls, 8);
        // Where it says that it goes on.
        let records = |call: &Call| call.writes() && call.path.ends_with("journal.jsonl");
        let said = (0..calls).filter(|at| records(&whole.calls[*at]));
        points.extend(said.take(4));
        let struck = AtomicUsize::new(0);
        side_by_side(&points, |&at| {
            let (oracle, killed) = kill_first();
            let (again, trace) = resume(&killed, strike(at, Blow::KillAfter));
            let Some(call) = trace.calls.last().filter(|_| trace.struck) else {
                return;
            };
            struck.fetch_add(1, Ordering::Relaxed);
            let what = format!("{first}: killed again after call {at} of {calls}, {call:?}");
            Judge {
                expected: &expected,
                oracle: &oracle,
                what: &what,
            }
            .judge(&again);
        });
        let struck = struck.into_inner();
        println!("figure: {end}, `{first}` open: killed again at {struck} calls of `resume`");
        assert!(struck * 10 >= points.len() * 8, "only {struck} were met");
    }
}

#[test]
fn killed_at_any_time_everything_comes_to_the_same() {
    // `RUNBOOK_TEST_KILLS=1000` for a longer look.
    let kills = std::env::var("RUNBOOK_TEST_KILLS").ok();
    let kills: u64 = kills.and_then(|kills| kills.parse().ok()).unwrap_or(8);
    let both = [undisturbed("good"), undisturbed("bad")];
    let moments: Vec<u64> = (0..kills).collect();
    let struck = AtomicUsize::new(0);
    side_by_side(&moments, |&moment| {
        let expected = &both[usize::from(moment % 2 == 1)];
        let took = u64::try_from(expected.took.as_micros()).expect("it is short");
        let after = took * moment / kills;
        if let Some((oracle, killed)) = killed_after(expected.end, after) {
            struck.fetch_add(1, Ordering::Relaxed);
            let what = format!("{}: killed after {after} µs", expected.end);
            Judge {
                expected,
                oracle: &oracle,
                what: &what,
            }
            .judge(&killed);
        }
    });
    println!(
        "figure: killed at {} of {kills} moments",
        struck.into_inner()
    );
}
