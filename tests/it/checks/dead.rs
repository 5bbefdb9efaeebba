//! A mount whose server is gone: whoever looks at it says so, and ends.

use std::time::{Duration, Instant};

use rustix::process::Signal;

use super::levels;
use crate::support::fuse::{Answers, Dead};
use crate::support::process;
use crate::support::run::{Ran, Runbook};
use crate::support::wait;

const LONG: Duration = Duration::from_secs(30);

/// Runs one check where a file system is mounted at `dead` that gives these `answers`.
fn look(answers: Answers, check: &str) -> Ran {
    let text = format!("runbook: v1\nname: dead\nsteps:\n  - {{ id: a, {check} }}\n");
    let run = Runbook::new().file("fine.log", "ERROR\n");
    let run = run.args(["run", "--format", "json"]).playbook(&text);
    let dead = Dead::mount(&run, answers);
    let began = Instant::now();
    let ran = dead.inside(run).run();
    // Its own 5 s, not one of the 60 s after which no test waits.
    assert!(began.elapsed() < Duration::from_secs(40), "{ran}");
    // Everybody else can still see how it ended.
    ran.then().args(["audit", "verify"]).run().expect_code(0);
    let history = ran.then().args(["history", "--format", "json"]).run();
    assert_eq!(history.json()["runs"][0]["status"], "failed", "{history}");
    ran
}

#[track_caller]
fn is_unknown(ran: &Ran, said: &str) {
    ran.expect_code(1);
    assert_eq!(levels(ran)["a"], "unknown", "{ran}");
    let findings = &ran.json()["steps"][0]["findings"];
    let findings = findings.as_array().expect("findings").iter();
    let unknown: Vec<_> = findings.filter(|f| f["level"] == "unknown").collect();
    assert_eq!(unknown.len(), 1, "{ran}");
    let message = unknown[0]["message"].as_str().expect("a message");
    let mount = ran.folder().join("dead").display().to_string();
    for said in [said, &mount] {
        assert!(message.contains(said), "{said}: {ran}");
    }
}

/// The fixture is what it says: whoever asks it is held even against SIGKILL.
#[test]
fn a_dead_mount_holds_whoever_asks() {
    let run = Runbook::new();
    let dead = Dead::mount(&run, Answers::Nothing);
    let asks = dead.inside(run.instead(["stat", "-f", "dead"])).start();
    let status = format!("/proc/{}/status", asks.pid().as_raw_pid());
    let is = |line: &str| {
        let status = std::fs::read_to_string(&status).unwrap_or_default();
        status.lines().any(|is| is == line).then_some(())
    };
    wait::until("stat to ask", LONG, || {
        is("Name:\tstat").and(is("State:\tS (sleeping)"))
    });
    asks.signal(Signal::KILL);
    wait::until("stat to be held", LONG, || is("State:\tD (disk sleep)"));
    assert_eq!(is("SigPnd:\t0000000000000100"), Some(()));
    drop(dead);
    asks.finish().expect_code(-9);
}

#[test]
fn a_mount_that_does_not_answer_is_unknown_and_holds_nobody() {
    std::thread::scope(|scope| {
        let none = |check: &'static str| {
            scope.spawn(move || is_unknown(&look(Answers::Nothing, check), "no answer within 5s"));
        };
        none("host.disk: { paths: [dead] }");
        // What is fine is told all the same.
        none("host.disk: { warn: 100, fail: 100, inodes_warn: 100, inodes_fail: 100 }");
        none("log.scan: { path: dead/app.log, pattern: ERROR }");
        none("log.scan: { path: dead/other.log, pattern: ERROR, rotated: true }");
        none("log.scan: { path: 'dead/*.log', pattern: ERROR }");
        none("log.scan: { path: '*/*.log', pattern: ERROR }");
    });
}

#[test]
fn a_log_that_stops_answering_is_unknown_when_its_time_is_up() {
    let check = "timeout: 1s, log.scan: { path: dead/app.log, pattern: ERROR }";
    let ran = look(Answers::AllButReads, check);
    is_unknown(&ran, "its time was up");
    assert_eq!(ran.json()["steps"][0]["status"], "timed_out", "{ran}");
    let check = "log.scan: { path: fine.log, pattern: FATAL }";
    let text = format!("runbook: v1\nname: near\nsteps:\n  - {{ id: a, {check} }}\n");
    let run = Runbook::new().file("fine.log", "ERROR\n");
    let run = run.args(["run", "--format", "json"]).playbook(&text);
    let dead = Dead::mount(&run, Answers::Nothing);
    // A dead mount beside it is of no concern.
    dead.inside(run).run().expect_code(0);
}

#[test]
fn a_process_that_cannot_be_killed_keeps_nobody() {
    let script = "exec.script: { script: 'touch asks; stat -f dead; true' }";
    let text = format!("runbook: v1\nname: dead\nsteps:\n  - {{ id: a, {script} }}\n");
    let run = Runbook::new().arg("run").playbook(&text);
    let dead = Dead::mount(&run, Answers::Nothing);
    let run = dead.inside(run).start();
    wait::until("the script", LONG, || {
        run.folder().join("asks").exists().then_some(())
    });
    let engine = run.pid().as_raw_pid().unsigned_abs();
    let script = wait::until("the question", LONG, || {
        let script = *process::children(engine).first()?;
        let asks = *process::children(script).first()?;
        let name = std::fs::read_to_string(format!("/proc/{asks}/comm")).ok()?;
        (name == "stat\n").then_some(script)
    });
    run.signal(Signal::INT);
    wait::until("the script's end", LONG, || {
        (!process::children(engine).contains(&script)).then_some(())
    });
    run.signal(Signal::INT);
    let began = Instant::now();
    let ran = run.finish();
    assert!(began.elapsed() < LONG, "{ran}");
    ran.expect_code(130);
    assert!(ran.stdout.contains("told again by SIGINT"), "{ran}");
    let history = ran.then().args(["history", "--format", "json"]).run();
    assert_eq!(
        history.json()["runs"][0]["status"],
        "cancelled",
        "{history}"
    );
    drop(dead);
}
