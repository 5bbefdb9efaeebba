//! A mixed run, killed at each of its calls that change anything, or at any moment, and gone on with:
//! nothing that is finished happens again, what may happen once does, and the end is the same.
//!
//! Where nobody can know whether something has happened, the test is the person who looks: at the
//! oracles, which the engine never reads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use rustix::process::Signal;
use serde_json::Value;

use crate::support::oracle::{self, Oracle, REPEATABLE, Told};
use crate::support::run::{Ran, Runbook};
use crate::support::tracer::{Blow, Call, Trap};

/// How many runs are made side by side.
const SIDE_BY_SIDE: usize = 2;

/// How often a run may be gone on with until it has to be over: more often than it has steps of which
/// only a person can know.
const PATIENCE: usize = 8;

/// What a run is and what it comes to when nobody disturbs it.
struct Undisturbed {
    end: &'static str,
    code: i32,
    state: Value,
    told: Told,
    /// How many calls it makes that change anything.
    calls: usize,
    /// How long it takes.
    took: Duration,
}

fn everything(_: &Call) -> bool {
    true
}

/// A run to come, `end` of which says how its last step ends.
fn mixed(end: &str) -> (Oracle, Runbook) {
    let (oracle, run) = Oracle::of(Runbook::new());
    let run = run.args(["run", "-y", "-p", &format!("end={end}")]);
    (oracle, run.playbook(&oracle::mixed()))
}

fn look_only() -> Trap<'static> {
    Trap {
        counts: &everything,
        at: None,
    }
}

fn strike(at: usize, blow: Blow) -> Trap<'static> {
    Trap {
        counts: &everything,
        at: Some((at, blow)),
    }
}

fn undisturbed(end: &'static str) -> Undisturbed {
    let (oracle, run) = mixed(end);
    let began = std::time::Instant::now();
    let (ran, trace) = run.trace(look_only());
    let took = began.elapsed();
    let code = if end == "good" { 0 } else { 1 };
    ran.expect_code(code);
    let told = oracle.lines();
    assert_eq!(told, oracle.rows());
    assert_eq!(oracle.keys().len(), 1);
    for (effect, times) in &told {
        assert_eq!(*times, if effect == "flaky" { 2 } else { 1 }, "{effect}");
    }
    assert_eq!(told.keys().any(|told| told.contains("undo")), end == "bad");
    Undisturbed {
        end,
        code,
        state: oracle::end_state(&ran),
        told,
        calls: trace.calls.len(),
        took,
    }
}

/// Goes on with a run that was killed until it is over, and holds what came of it against the run that
/// nobody disturbed.
struct Judge<'a> {
    expected: &'a Undisturbed,
    oracle: &'a Oracle,
    /// What was done to it, for people.
    what: &'a str,
}

impl Judge<'_> {
    #[track_caller]
    fn judge(&self, killed: &Ran) {
        let what = self.what;
        if !killed.state().exists() {
            return self.judge_unbegun(killed);
        }
        let verified = killed.then().args(["audit", "verify"]).run();
        assert_eq!(verified.code, 0, "{what}: {verified}");
        let history = killed.then().args(["history", "--format", "json"]).run();
        if history.json()["runs"].as_array().is_some_and(Vec::is_empty) {
            self.judge_unbegun(killed);
            return;
        }
        let records = oracle::records(killed.state());
        let succeeded = |record: &Value| record["data"]["status"] == "succeeded";
        let mut finished = oracle::recorded(&records, "step.result", succeeded);
        finished.extend(oracle::recorded(&records, "undo.result", succeeded));
        let before = self.oracle.lines();
        let ran = self.go_on(killed);
        let (lines, rows) = (self.oracle.lines(), self.oracle.rows());
        for effect in &finished {
            assert_eq!(
                before.get(effect),
                lines.get(effect),
                "{what}: `{effect}` was finished and ran again\n{ran}"
            );
        }
        for told in [&lines, &rows] {
            for (effect, times) in told.iter() {
                let bears_it = REPEATABLE.contains(&effect.as_str());
                assert!(bears_it || *times == 1, "{what}: {effect}: {times}\n{ran}");
            }
            assert!(
                told.keys().eq(self.expected.told.keys()),
                "{what}: {told:?}\n{ran}"
            );
        }
        assert_eq!(self.oracle.keys().len(), 1, "{what}\n{ran}");
        self.is_over(&ran);
    }

    /// The state folder knows of no run: nothing has happened, and the next run is the first.
    #[track_caller]
    fn judge_unbegun(&self, killed: &Ran) {
        let what = self.what;
        let told = (self.oracle.lines(), self.oracle.rows(), self.oracle.keys());
        assert_eq!(told, (Told::new(), Told::new(), Told::new()), "{what}");
        let end = format!("end={}", self.expected.end);
        let args = ["run", "-y", "-p", &end, "playbook.yaml"];
        let ran = killed.then().args(args).run();
        assert_eq!(ran.code, self.expected.code, "{what}\n{ran}");
        assert_eq!(self.oracle.lines(), self.expected.told, "{what}\n{ran}");
        self.is_over(&ran);
    }

    #[track_caller]
    fn is_over(&self, ran: &Ran) {
        let what = self.what;
        assert_eq!(oracle::end_state(ran), self.expected.state, "{what}\n{ran}");
        let verified = ran.then().args(["audit", "verify"]).run();
        assert_eq!(verified.code, 0, "{what}: {verified}");
    }

    /// Resumes, and says what a person would say, until the run is over.
    #[track_caller]
    fn go_on(&self, killed: &Ran) -> Ran {
        let what = self.what;
        if is_ended(killed) {
            // Killed when all was done and said.
            let over = killed.then().args(["resume", "last", "-y"]).run();
            let code = if self.expected.code == 0 { 0 } else { 2 };
            assert_eq!(over.code, code, "{what}\n{over}");
            return over;
        }
        for _ in 0..PATIENCE {
            let ran = killed.then().args(["resume", "last", "-y"]).run();
            if ran.code != 4 {
                assert_eq!(ran.code, self.expected.code, "{what}\n{ran}");
                return ran;
            }
            self.resolve(&ran);
        }
        panic!("{what}: it is never over");
    }

    /// A person looks at each thing that nobody else can know of.
    #[track_caller]
    fn resolve(&self, ran: &Ran) {
        let what = self.what;
        let open = oracle::open(&oracle::records(ran.state()));
        let told = ran.stderr.lines();
        let told: Vec<&str> = told
            .filter(|line| line.contains("nobody but you"))
            .collect();
        let is_asked = |path: &str| told.iter().any(|line| line.contains(&format!("`{path}`")));
        let asked = open.iter().filter(|(path, _)| is_asked(path));
        let mut said = 0;
        for (path, undo) in asked {
            let effect = oracle::effect_of(path, *undo);
            let (line, row) = (
                self.oracle.lines().contains_key(&effect),
                self.oracle.rows().contains_key(&effect),
            );
            assert_eq!(line, row, "{what}: `{effect}` is half done\n{ran}");
            // It is asked of the step: what was taken back is not done any more.
            let outcome = if line == *undo { "not-done" } else { "done" };
            let args = [
                "resolve", "last", path, "--as", outcome, "--reason", "looked",
            ];
            let resolved = ran.then().args(args).run();
            assert_eq!(resolved.code, 0, "{what}: {resolved}\n{ran}");
            said += 1;
        }
        assert!(said > 0, "{what}: nobody knows of what\n{ran}");
    }
}

/// Whether the ledger has the end of the newest run.
fn is_ended(ran: &Ran) -> bool {
    let status = ran
        .then()
        .args(["status", "last", "--format", "json"])
        .run();
    status.json()["run"]["status"] != "interrupted"
}

/// Does each of these on `SIDE_BY_SIDE` threads.
fn side_by_side<T: Sync>(all: &[T], one: impl Fn(&T) + Sync) {
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                while let Some(item) = all.get(next.fetch_add(1, Ordering::Relaxed)) {
                    one(item);
                }
            });
        }
    });
}

/// Whether everything is to be tried (`tests/full.sh`), not an evenly spread part of it.
fn is_full() -> bool {
    std::env::var_os("RUNBOOK_TEST_FULL").is_some()
}

/// `count` of the numbers below `below`, evenly spread; all of them in the full form.
fn spread(below: usize, count: usize) -> Vec<usize> {
    if is_full() || count >= below {
        return (0..below).collect();
    }
    (0..count)
        .map(|n| (2 * n + 1) * below / (2 * count))
        .collect()
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
        // Killed the first time when the effect of `first` has taken place and is in no record.
        let kill_first = || {
            let (oracle, run) = mixed(end);
            let is_open = |call: &Call| {
                call.writes()
                    && call.path.ends_with("journal.jsonl")
                    && oracle.lines().contains_key(first)
            };
            let trap = Trap {
                counts: &is_open,
                at: Some((0, Blow::KillBefore)),
            };
            let (killed, trace) = run.trace(trap);
            assert!(trace.struck, "{first}: {killed}");
            let judge = Judge {
                expected: &expected,
                oracle: &oracle,
                what: first,
            };
            let asked = killed.then().args(["resume", "last", "-y"]);
            if first != "probed" {
                let asked = asked.run();
                asked.expect_code(4);
                judge.resolve(&asked);
            }
            (oracle, killed)
        };
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
        side_by_side(&points, |&at| {
            let (oracle, killed) = kill_first();
            let (again, trace) = resume(&killed, strike(at, Blow::KillAfter));
            let Some(call) = trace.calls.last().filter(|_| trace.struck) else {
                return;
            };
            let what = format!("{first}: killed again after call {at} of {calls}, {call:?}");
            Judge {
                expected: &expected,
                oracle: &oracle,
                what: &what,
            }
            .judge(&again);
        });
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
