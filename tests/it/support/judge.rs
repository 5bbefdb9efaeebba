//! Goes on with a mixed run that was disturbed until it is over, and judges what came of it.
//!
//! Where nobody can know whether something has happened, the judge is the person who looks: at the
//! oracles, which the engine never reads.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;

use super::oracle::{self, Oracle, REPEATABLE, Told};
use super::run::{Ran, Runbook};
use super::tracer::{Call, Trap};

/// How many runs are made side by side.
const SIDE_BY_SIDE: usize = 2;

/// How often a run may be gone on with until it has to be over: more often than it has steps of which
/// only a person can know.
const PATIENCE: usize = 8;

/// What a run is and what it comes to when nobody disturbs it.
pub struct Undisturbed {
    pub end: &'static str,
    pub code: i32,
    pub state: Value,
    pub told: Told,
    /// How many calls it makes that change anything.
    pub calls: usize,
    /// How long it takes.
    pub took: Duration,
}

/// Every call counts.
pub fn everything(_: &Call) -> bool {
    true
}

/// A run to come, `end` of which says how its last step ends: `good`, `bad`, or `bulk`, which is good and
/// writes more than others.
pub fn mixed(end: &str) -> (Oracle, Runbook) {
    let (oracle, run) = Oracle::of(Runbook::new());
    let run = run.args(["run", "-y", "-p", &parameter(end)]);
    (oracle, run.playbook(&oracle::mixed(end == "bulk")))
}

fn parameter(end: &str) -> String {
    format!("end={}", if end == "bad" { "bad" } else { "good" })
}

/// Lets a run be, and looks at all that it does.
pub fn look_only() -> Trap<'static> {
    Trap {
        counts: &everything,
        at: None,
    }
}

/// A run that nobody disturbs.
pub fn undisturbed(end: &'static str) -> Undisturbed {
    let (oracle, run) = mixed(end);
    let began = std::time::Instant::now();
    let (ran, trace) = run.trace(look_only());
    let took = began.elapsed();
    let code = if end == "bad" { 1 } else { 0 };
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
pub struct Judge<'a> {
    pub expected: &'a Undisturbed,
    pub oracle: &'a Oracle,
    /// What was done to it, for people.
    pub what: &'a str,
}

impl Judge<'_> {
    /// Goes on with it, and looks what has happened how often.
    #[track_caller]
    pub fn judge(&self, killed: &Ran) {
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
        let end = parameter(self.expected.end);
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
    pub fn resolve(&self, ran: &Ran) {
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
pub fn side_by_side<T: Sync>(all: &[T], one: impl Fn(&T) + Sync) {
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
pub fn is_full() -> bool {
    std::env::var_os("RUNBOOK_TEST_FULL").is_some()
}

/// `count` of the numbers below `below`, evenly spread; all of them in the full form.
pub fn spread(below: usize, count: usize) -> Vec<usize> {
    if is_full() || count >= below {
        return (0..below).collect();
    }
    (0..count)
        .map(|n| (2 * n + 1) * below / (2 * count))
        .collect()
}
