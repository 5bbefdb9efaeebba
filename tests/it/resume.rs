//! Runs that are gone on with: nothing that is finished happens again, and nothing that may have
//! happened is taken for granted.
//!
//! The judge is a file that the steps append to and the engine never reads.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::postgres::Postgres;
use crate::support::process;
use crate::support::run::{Ran, Runbook, Started};
use crate::support::wait;

const LONG: Duration = Duration::from_secs(30);

/// What each step appends to.
const ORACLE: &str = "oracle";

fn oracle(ran: &Ran) -> String {
    let text = std::fs::read_to_string(ran.folder().join(ORACLE)).unwrap_or_default();
    text.lines().collect::<Vec<_>>().join(" ")
}

/// Waits until the steps have said `last`, then kills the engine.
#[track_caller]
fn kill_after(started: Started, last: &str) -> Ran {
    wait::until(last, LONG, || {
        let text = std::fs::read_to_string(started.folder().join(ORACLE)).ok()?;
        text.lines().any(|line| line == last).then_some(())
    });
    started.signal(Signal::KILL);
    started.finish()
}

fn go(ran: &Ran, args: &[&str]) -> Ran {
    ran.then().args(args).run()
}

#[track_caller]
fn verifies(ran: &Ran) {
    go(ran, &["audit", "verify"]).expect_code(0);
}

/// A step that says its id to the oracle and then runs `more`.
fn step(id: &str, keys: &str, more: &str) -> String {
    format!(
        "  - {{ id: {id}, {keys} exec.script: {{ script: 'echo {id} >> {ORACLE}; {more}' }} }}\n"
    )
}

fn playbook(steps: &[String]) -> String {
    let steps = steps.concat();
    format!(
        "runbook: v1\nname: p\nsteps:\n{steps}finally:\n{}",
        step("bye", "", "true")
    )
}

#[test]
fn what_is_finished_is_not_run_again() {
    let text = "\
runbook: v1
name: mixed
params: { word: { type: string } }
steps:
  - id: first
    exec.script: { env: { W: '${{ params.word }}' }, script: 'echo first $W >> oracle; echo \"rows=7\" >> \"$RUNBOOK_OUTPUT\"' }
  - { id: never, when: params.word == 'other', exec.command: { argv: [touch, never] } }
  - { id: allowed, on_error: continue, exec.script: { script: 'echo allowed >> oracle; exit 3' } }
  - id: items
    foreach: { in: [a, b, c], as: item }
    repeat: idempotent
    exec.script: { env: { I: '${{ item }}' }, script: 'echo item $I >> oracle; [ $I != b ] || [ -e go ] || sleep 5151' }
  - { id: last, exec.script: { env: { R: '${{ steps.first.outputs.values.rows }}' }, script: 'echo last $R >> oracle' } }
finally:
  - { id: bye, exec.script: { script: 'echo bye >> oracle' } }
";
    let started = Runbook::new()
        .args(["run", "-p", "word=hello"])
        .playbook(text)
        .start();
    let ran = kill_after(started, "item b");
    std::fs::write(ran.folder().join("go"), "").unwrap();
    assert_eq!(oracle(&ran), "first hello allowed item a item b");
    let left = || process::output("pgrep", &["-f", "sleep 5151"]).code;
    assert_eq!(left(), 0, "its process lives on");

    let resumed = go(&ran, &["resume", "last"]);
    resumed.expect_code(0);
    assert_eq!(left(), 1, "what was left was ended");
    assert!(
        resumed.stderr.contains("of `items[1]`: sleep 5151"),
        "{resumed}"
    );
    assert_eq!(
        oracle(&ran),
        "first hello allowed item a item b item b item c last 7 bye"
    );
    assert!(!ran.folder().join("never").exists());
    let status = go(&ran, &["status", "last", "--format", "json"]).json();
    assert_eq!(status["run"]["status"], "succeeded");
    let steps = status["steps"].as_array().unwrap();
    let of = |path: &str| steps.iter().find(|step| step["path"] == path).unwrap();
    assert_eq!(of("items[1]")["attempts"], 2);
    assert_eq!(of("allowed")["status"], "failed");
    assert_eq!(of("never")["status"], "skipped");
    verifies(&ran);

    let again = go(&ran, &["resume", "last"]);
    again.expect_code(0);
    assert!(again.stderr.contains("nothing is left to do"), "{again}");
}

#[test]
fn what_happens_once_waits_for_a_person() {
    let text = playbook(&[
        step("a", "", "true"),
        step("once", "", "[ -e go ] || sleep 5252"),
        step("b", "", "true"),
    ]);
    for (said, after) in [("done", "a once b bye"), ("not-done", "a once once b bye")] {
        let started = Runbook::new().arg("run").playbook(&text).start();
        let ran = kill_after(started, "once");
        std::fs::write(ran.folder().join("go"), "").unwrap();
        let refused = go(&ran, &["resume", "last"]);
        refused.expect_code(4);
        assert!(refused.stderr.contains("runbook resolve"), "{refused}");
        assert_eq!(oracle(&ran), "a once");
        // Nothing is left that could still do it while a person looks.
        process::output("pgrep", &["-f", "sleep 5252"]).expect_code(1);
        let shown = go(&ran, &["audit", "show", "last", "--format", "json"]);
        assert!(shown.stdout.contains("of `once`: sleep 5252"), "{shown}");
        let reason = format!("seen {said}");
        go(
            &ran,
            &["resolve", "last", "a", "--as", said, "--reason", "x"],
        )
        .expect_code(2);
        go(
            &ran,
            &["resolve", "last", "once", "--as", said, "--reason", &reason],
        )
        .expect_code(0);
        go(&ran, &["resume", "last"]).expect_code(0);
        assert_eq!(oracle(&ran), after);
        let shown = go(&ran, &["audit", "show", "last", "--format", "json"]);
        assert!(shown.stdout.contains(&reason), "{shown}");
        verifies(&ran);
    }
}

#[test]
fn a_probe_finds_out_whether_it_happened() {
    let verify = |test: &str| {
        let verify = "verify: { exec.command: { argv: [sh, -c, '";
        format!("{verify}{test}'] }}, expect: probe.outputs.exit_code == 0 }},")
    };
    let cases = [
        ("true", 0, "a once b bye"),
        ("false", 0, "a once once b bye"),
        ("kill -9 $$", 4, "a once bye"),
    ];
    for (test, code, after) in cases {
        let text = playbook(&[
            step("a", "", "true"),
            step("once", &verify(test), "[ -e go ] || sleep 5353"),
            step("b", "", "true"),
        ]);
        let started = Runbook::new().arg("run").playbook(&text).start();
        let ran = kill_after(started, "once");
        std::fs::write(ran.folder().join("go"), "").unwrap();
        let resumed = go(&ran, &["resume", "last"]);
        resumed.expect_code(code);
        assert_eq!(oracle(&ran), after, "{test}: {resumed}");
        verifies(&ran);
    }
}

#[test]
fn an_edit_is_told_and_refused_where_it_concerns_what_is_finished() {
    let before = playbook(&[
        step("a", "", "true"),
        step("b", "repeat: idempotent,", "[ -e go ] || sleep 5454"),
    ]);
    let start = || {
        let started = Runbook::new().arg("run").playbook(&before).start();
        let ran = kill_after(started, "b");
        std::fs::write(ran.folder().join("go"), "").unwrap();
        ran
    };
    let edit = |ran: &Ran, text: &str| {
        std::fs::write(ran.folder().join("playbook.yaml"), text).unwrap();
    };
    // What is not finished may be edited.
    let ran = start();
    edit(
        &ran,
        &(before.replace("sleep 5454", "sleep 5455") + "# new\n"),
    );
    let resumed = go(&ran, &["resume", "last"]);
    resumed.expect_code(0);
    assert!(resumed.stderr.contains("still valid: a"), "{resumed}");
    assert_eq!(oracle(&ran), "a b b bye");
    verifies(&ran);
    // What is finished and would now do something else is not taken for granted.
    let ran = start();
    edit(&ran, &before.replace("echo a >>", "echo A >>"));
    let refused = go(&ran, &["resume", "last"]);
    refused.expect_code(3);
    assert!(refused.stderr.contains("done, and changed: a"), "{refused}");
    assert_eq!(oracle(&ran), "a b");
    go(&ran, &["resume", "last", "--rerun-changed"]).expect_code(3);
    go(&ran, &["resume", "last", "--rerun-changed", "--yes"]).expect_code(0);
    assert_eq!(oracle(&ran), "a b A b bye");
    verifies(&ran);
    let ran = start();
    edit(&ran, &before.replace("echo a >>", "echo A >>"));
    go(&ran, &["resume", "last", "--keep-changed"]).expect_code(0);
    assert_eq!(oracle(&ran), "a b b bye");
    // Nor is a playbook that is not there any more.
    let ran = start();
    std::fs::remove_file(ran.folder().join("playbook.yaml")).unwrap();
    go(&ran, &["resume", "last"]).expect_code(2);
    assert_eq!(oracle(&ran), "a b");
}

#[test]
fn what_failed_is_tried_again_from_where_one_says() {
    let text = playbook(&[
        step("a", "", "true"),
        step("b", "", "[ -e go ]"),
        step("c", "", "true"),
    ]);
    let ran = Runbook::new().arg("run").playbook(&text).run();
    ran.expect_code(1);
    assert_eq!(oracle(&ran), "a b bye");
    let refused = go(&ran, &["resume", "last"]);
    refused.expect_code(2);
    assert!(refused.stderr.contains("--from b"), "{refused}");
    std::fs::write(ran.folder().join("go"), "").unwrap();
    go(&ran, &["retry", "last", "--from", "bb"]).expect_code(2);
    go(&ran, &["retry", "last", "--from", "b"]).expect_code(0);
    assert_eq!(oracle(&ran), "a b bye b c bye");
    // They have happened now, and were not said to bear it twice.
    go(&ran, &["retry", "last", "--from", "b"]).expect_code(3);
    assert_eq!(oracle(&ran), "a b bye b c bye");
    go(&ran, &["retry", "last", "--from", "c", "-y"]).expect_code(0);
    assert_eq!(oracle(&ran), "a b bye b c bye c bye");
    verifies(&ran);
    let history = go(&ran, &["history", "--format", "json"]).json();
    assert_eq!(history["runs"].as_array().unwrap().len(), 1);
    // It took what its parts took, whoever tells it.
    let ends = go(&ran, &["audit", "show", "last", "--format", "json"]);
    let ends: Vec<u64> = { ends.stdout.lines() }
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|line| line["kind"] == "run.end")
        .filter_map(|line| line["data"]["duration_ms"].as_u64())
        .collect();
    assert!(ends.len() >= 3 && ends.is_sorted(), "{ends:?}");
    let status = go(&ran, &["status", "last", "--format", "json"]).json();
    assert_eq!(status["run"]["duration_ms"].as_u64(), ends.last().copied());
    let told = &history["runs"][0]["duration_ms"];
    assert_eq!(told.as_u64(), ends.last().copied(), "{history}");
}

#[test]
fn only_one_goes_on_and_not_while_the_engine_lives() {
    let text = playbook(&[step("a", "repeat: idempotent,", "[ -e go ] || sleep 5555")]);
    let started = Runbook::new().arg("run").playbook(&text).start();
    wait::until("a", LONG, || {
        started.folder().join(ORACLE).exists().then_some(())
    });
    let state = started.state().to_path_buf();
    let resume = || Runbook::new().state(&state).args(["resume", "last"]);
    resume().run().expect_code(75);
    // Stopped is not gone.
    started.signal(Signal::STOP);
    resume().run().expect_code(75);
    started.signal(Signal::CONT);
    let ran = kill_after(started, "a");
    std::fs::write(ran.folder().join("go"), "").unwrap();
    let all: Vec<_> = (0..4)
        .map(|_| ran.then().args(["resume", "last"]).start())
        .collect();
    let codes: Vec<i32> = all.into_iter().map(|one| one.finish().code).collect();
    assert!(
        codes.contains(&0) && codes.iter().all(|code| [0, 75].contains(code)),
        "{codes:?}"
    );
    assert_eq!(oracle(&ran), "a a bye");
    verifies(&ran);
}

#[test]
fn a_daemon_of_a_finished_step_is_left_alone() {
    let text = playbook(&[
        step("daemon", "", "setsid -f sleep 5656 >/dev/null 2>&1"),
        step("b", "repeat: idempotent,", "[ -e go ] || sleep 5657"),
    ]);
    let started = Runbook::new().arg("run").playbook(&text).start();
    let ran = kill_after(started, "b");
    std::fs::write(ran.folder().join("go"), "").unwrap();
    go(&ran, &["resume", "last"]).expect_code(0);
    assert_eq!(oracle(&ran), "daemon b b bye");
    process::output("pgrep", &["-f", "sleep 5657"]).expect_code(1);
    process::output("pkill", &["-f", "sleep 5656"]).expect_code(0);
    verifies(&ran);
}

#[test]
fn sessions_of_a_killed_run_are_ended_first() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    let ping = "  - { id: ping, postgres.ping: { connection: main } }\n";
    let text = playbook(&[step("a", "repeat: idempotent,", "[ -e go ] || sleep 5959")])
        .replace(
            "steps:\n",
            &format!("connections: {{ main: {{ postgres: {{ url: '{url}' }} }} }}\nsteps:\n"),
        )
        .replace("finally:\n", &format!("{ping}finally:\n"));
    let started = Runbook::new().arg("run").playbook(&text).start();
    let ran = kill_after(started, "a");
    process::output("pkill", &["-f", "sleep 5959"]);
    std::fs::write(ran.folder().join("go"), "").unwrap();
    let history = go(&ran, &["history", "--format", "json"]).json();
    let run = history["runs"][0]["id"].as_str().unwrap().to_owned();
    // As a statement that goes on although its client is gone; and one of another run.
    let sleeps = |name: &str| {
        Runbook::new()
            .env("PGAPPNAME", name)
            .instead([process::program("psql", "postgresql-client")])
            .args(["-X", "-d", &url, "-c", "select pg_sleep(1000)"])
            .limit(Duration::from_secs(100))
            .start()
    };
    let (left, other) = (format!("rb/{run}/a"), "rb/0000000000000000/a");
    let (ours, theirs) = (sleeps(&left), sleeps(other));
    let count = |name: &str| {
        let sql =
            format!("SELECT count(*) FROM pg_stat_activity WHERE application_name = '{name}'");
        server.psql_in(&database, &sql).trim().to_owned()
    };
    wait::until("both sessions", LONG, || {
        (count(&left) == "1" && count(other) == "1").then_some(())
    });
    let resumed = go(&ran, &["resume", "last"]);
    resumed.expect_code(0);
    assert!(
        resumed.stderr.contains(&format!("in `main`: {left}")),
        "{resumed}"
    );
    assert_eq!(
        (count(&left), count(other)),
        ("0".to_owned(), "1".to_owned())
    );
    let ended = ours.finish();
    assert!(ended.stderr.contains("terminating connection"), "{ended}");
    drop(theirs);
    let journal =
        std::fs::read_to_string(ran.state().join("runs").join(&run).join("journal.jsonl"));
    assert!(journal.unwrap().contains(&format!("in `main`: {left}")));
    verifies(&ran);
}

#[test]
fn a_cancelled_run_goes_on_and_tidies_up_again() {
    let text = playbook(&[
        step("a", "repeat: idempotent,", "[ -e go ] || sleep 5757"),
        step("b", "", "true"),
    ]);
    let started = Runbook::new().arg("run").playbook(&text).start();
    wait::until("a", LONG, || {
        started.folder().join(ORACLE).exists().then_some(())
    });
    started.signal(Signal::INT);
    let ran = started.finish();
    ran.expect_code(130);
    assert_eq!(oracle(&ran), "a bye");
    std::fs::write(ran.folder().join("go"), "").unwrap();
    go(&ran, &["resume", "last"]).expect_code(0);
    assert_eq!(oracle(&ran), "a bye a b bye");
    verifies(&ran);
}

#[test]
fn a_torn_record_is_set_aside_and_a_tampered_one_refused() {
    let text = playbook(&[
        step("a", "", "true"),
        step("b", "repeat: idempotent,", "[ -e go ] || sleep 5858"),
    ]);
    let started = Runbook::new().arg("run").playbook(&text).start();
    let ran = kill_after(started, "b");
    std::fs::write(ran.folder().join("go"), "").unwrap();
    process::output("pkill", &["-f", "sleep 5858"]);
    let runs = std::fs::read_dir(ran.state().join("runs")).unwrap();
    let run = runs.flatten().next().unwrap().path();
    let journal = run.join("journal.jsonl");
    let whole = std::fs::read(&journal).unwrap();
    // Somebody says that `a` did not happen.
    let edited = String::from_utf8(whole.clone()).unwrap();
    let edited = edited.replacen("\"status\":\"succeeded\"", "\"status\":\"cancelled\"", 1);
    std::fs::write(&journal, edited).unwrap();
    go(&ran, &["resume", "last"]).expect_code(5);
    assert_eq!(oracle(&ran), "a b");
    let torn = [&whole[..], b"{\"v\":1,\"seq\":9"].concat();
    std::fs::write(&journal, torn).unwrap();
    go(&ran, &["resume", "last"]).expect_code(0);
    assert_eq!(oracle(&ran), "a b b bye");
    let verified = go(&ran, &["audit", "verify"]);
    verified.expect_code(0);
}

#[test]
fn an_output_that_held_a_secret_is_not_made_up() {
    let text = "\
runbook: v1
name: secret
secrets: { token: { env: TOKEN } }
steps:
  - { id: a, exec.script: { env: { T: '${{ secrets.token }}' }, script: 'echo a >> oracle; echo \"url=http://$T@host\" >> \"$RUNBOOK_OUTPUT\"' } }
  - { id: b, repeat: idempotent, exec.script: { script: 'echo b >> oracle; [ -e go ] || sleep 5959' } }
  - { id: c, exec.command: { argv: [test, '${{ steps.a.outputs.values.url }}', '=', http://s3cr3t@host] } }
";
    let start = Runbook::new().env("TOKEN", "s3cr3t").arg("run");
    let ran = kill_after(start.playbook(text).start(), "b");
    std::fs::write(ran.folder().join("go"), "").unwrap();
    let resume = |args: &[&str]| ran.then().env("TOKEN", "s3cr3t").args(args).run();
    let refused = resume(&["resume", "last"]);
    refused.expect_code(3);
    assert!(refused.stderr.contains("held a secret"), "{refused}");
    let run = resume(&["retry", "last", "--from", "a", "--yes"]);
    run.expect_code(0);
    assert_eq!(oracle(&ran), "a b a b");
}

/// A playbook whose steps say when they are taken back, and that fails in the end.
fn undone(more: &str, last: &str) -> String {
    format!(
        "\
runbook: v1
name: undone
steps:
  - id: a
    exec.script: {{ script: 'echo a >> oracle; echo \"n=7\" >> \"$RUNBOOK_OUTPUT\"' }}
    undo: {{ exec.script: {{ env: {{ N: '${{{{ steps.a.outputs.values.n }}}}' }}, script: 'echo undo a $N >> oracle' }} }}
  - id: looked
    effect: read
    exec.command: {{ argv: ['true'] }}
    undo: {{ exec.command: {{ argv: [touch, never] }} }}
  - id: items
    foreach: {{ in: [x, y], as: item, max_parallel: 1 }}
    exec.script: {{ env: {{ I: '${{{{ item }}}}' }}, script: 'echo item $I >> oracle' }}
    undo: {{ exec.script: {{ env: {{ I: '${{{{ item }}}}' }}, script: 'echo undo item $I >> oracle{more}' }} }}
  - {{ id: plain, exec.script: {{ script: 'echo plain >> oracle' }} }}
  - {{ id: last, exec.script: {{ script: 'echo last >> oracle; {last}' }}, undo: {{ exec.command: {{ argv: [touch, never] }} }} }}
finally:
  - {{ id: bye, exec.script: {{ script: 'echo bye >> oracle' }} }}
"
    )
}

#[test]
fn what_was_done_is_taken_back_when_a_later_step_fails() {
    let run = |text: &str| Runbook::new().arg("run").playbook(text).run();
    let done = "a item x item y plain last";
    let ran = run(&undone("", "exit 3"));
    ran.expect_code(1);
    assert_eq!(
        oracle(&ran),
        format!("{done} undo item y undo item x undo a 7 bye")
    );
    assert!(!ran.folder().join("never").exists());
    let told = "items[1] was taken back by its `undo`";
    assert!(ran.stdout.contains(told), "{ran}");
    let status = go(&ran, &["status", "last"]);
    assert!(status.stdout.contains(told), "{status}");
    verifies(&ran);
    // What was taken back is done again.
    let again = go(&ran, &["retry", "last", "--from", "last"]);
    again.expect_code(1);
    assert_eq!(
        oracle(&ran).matches("item x").count(),
        4,
        "{}",
        oracle(&ran)
    );
    assert_eq!(oracle(&ran).matches("plain").count(), 1, "{}", oracle(&ran));
    verifies(&ran);

    // One that cannot be taken back keeps none of the others from it.
    let ran = run(&undone("; [ $I != y ]", "exit 3"));
    ran.expect_code(1);
    assert_eq!(
        oracle(&ran),
        format!("{done} undo item y undo item x undo a 7 bye")
    );
    assert!(
        ran.stdout
            .contains("items[1] could not be taken back (failed)"),
        "{ran}"
    );

    // Nothing is taken back after an end that somebody asked for, or one that is good.
    let ran = run(&undone("", "true"));
    ran.expect_code(0);
    assert_eq!(oracle(&ran), format!("{done} bye"));
    let ran = run(&undone("", "kill -INT $PPID; sleep 30"));
    ran.expect_code(130);
    assert_eq!(oracle(&ran), format!("{done} bye"));
}

#[test]
fn taking_back_goes_on_after_a_crash() {
    let text = undone(
        "; if [ $I = x ] \\&\\& ! [ -e go ]; then sleep 6060; fi",
        "exit 3",
    )
    .replace("\\&", "&");
    let started = Runbook::new().arg("run").playbook(&text).start();
    let ran = kill_after(started, "undo item x");
    std::fs::write(ran.folder().join("go"), "").unwrap();
    let before = "a item x item y plain last undo item y undo item x";
    assert_eq!(oracle(&ran), before);
    // A script may not be repeated by itself: nobody knows how much of `items[0]` was taken back.
    go(&ran, &["resume", "last"]).expect_code(4);
    let resolve = [
        "resolve", "last", "items[0]", "--reason", "looked", "--as", "done",
    ];
    go(&ran, &resolve).expect_code(0);
    go(&ran, &["resume", "last"]).expect_code(1);
    assert_eq!(oracle(&ran), format!("{before} undo item x undo a 7 bye"));
    verifies(&ran);
}

#[test]
fn what_is_left_and_goes_on_starting_processes_is_ended_all_the_same() {
    let text = playbook(&[
        step("a", "", "true"),
        step(
            "forks",
            "repeat: idempotent,",
            "[ -e go ] || { trap \"\" TERM INT HUP; while :; do sleep 0.3737; done; }",
        ),
    ]);
    let started = Runbook::new().arg("run").playbook(&text).start();
    let ran = kill_after(started, "forks");
    std::fs::write(ran.folder().join("go"), "").unwrap();
    go(&ran, &["resume", "last"]).expect_code(0);
    process::output("pgrep", &["-f", "sleep 0.3737"]).expect_code(1);
    assert_eq!(oracle(&ran), "a forks forks bye");
}

#[test]
fn what_is_left_and_is_between_two_programs_is_known_all_the_same() {
    let forks = "for n in 1 2 3 4 5 6 7 8; do sh ./again & done; wait";
    let text = playbook(&[step(
        "execs",
        "repeat: idempotent,",
        &format!("[ -e go ] || {{ {forks}; }}"),
    )]);
    for _ in 0..3 {
        let run = Runbook::new().file("again", "exec sh ./again\n").arg("run");
        let ran = kill_after(run.playbook(&text).start(), "execs");
        std::fs::write(ran.folder().join("go"), "").unwrap();
        go(&ran, &["resume", "last"]).expect_code(0);
        assert_eq!(oracle(&ran), "execs execs bye");
    }
}

/// Twelve steps of all repeat classes; those that happen once can be found out by the oracle.
fn mixed() -> String {
    let mut text = "runbook: v1\nname: mixed\nsteps:\n".to_owned();
    for step in 0..12 {
        let keys = match step % 4 {
            0 => "repeat: idempotent,".to_owned(),
            1 => format!(
                "verify: {{ exec.command: {{ argv: [grep, -qx, s{step}, oracle] }}, expect: probe.outputs.exit_code == 0 }},"
            ),
            2 => "effect: read,".to_owned(),
            _ => format!(
                "foreach: {{ in: 'range(3)', as: n }}, verify: {{ exec.command: {{ argv: [grep, -qx, 's{step} ${{{{ n }}}}', oracle] }}, expect: probe.outputs.exit_code == 0 }},"
            ),
        };
        let script = match step % 4 {
            2 => "sleep 0.002".to_owned(),
            3 => format!("echo s{step} $N >> oracle; sleep 0.002"),
            _ => format!("echo s{step} >> oracle; sleep 0.002"),
        };
        let env = if step % 4 == 3 {
            "env: { N: '${{ n }}' }, "
        } else {
            ""
        };
        text.push_str(&format!(
            "  - {{ id: s{step}, {keys} exec.script: {{ {env}script: '{script}' }} }}\n"
        ));
    }
    text
}

/// The lines of the oracle, and how often each stands there.
fn told(ran: &Ran) -> std::collections::BTreeMap<String, usize> {
    let text = std::fs::read_to_string(ran.folder().join(ORACLE)).unwrap_or_default();
    let mut told = std::collections::BTreeMap::new();
    for line in text.lines() {
        *told.entry(line.to_owned()).or_default() += 1;
    }
    told
}

/// The lines of the oracle that belong to steps and items with a result in the journal.
fn finished(ran: &Ran) -> Vec<String> {
    let runs = std::fs::read_dir(ran.state().join("runs"))
        .into_iter()
        .flatten();
    let journal = runs
        .flatten()
        .next()
        .map(|run| run.path().join("journal.jsonl"));
    let text = journal.and_then(|path| std::fs::read_to_string(path).ok());
    let results = text.unwrap_or_default();
    let results = results.lines().filter_map(|line| {
        let record: serde_json::Value = serde_json::from_str(line).ok()?;
        let done = record["kind"] == "step.result" && record["data"]["status"] == "succeeded";
        done.then(|| record["path"].as_str().map(str::to_owned))?
    });
    results
        .map(|path| path.replace('[', " ").replace(']', ""))
        .collect()
}

/// Kills the engine of a run after some milliseconds, goes on with it, and sees that it came to
/// `expected`.
fn killed_at(millis: u64, expected: &[String]) {
    let started = Runbook::new().arg("run").playbook(&mixed()).start();
    std::thread::sleep(Duration::from_millis(millis));
    // It may have ended by itself.
    let _ = rustix::process::kill_process(started.pid(), Signal::KILL);
    let ran = started.finish();
    // Made, and not written to yet: nothing has happened.
    let ledger = std::fs::metadata(ran.state().join("ledger.jsonl"));
    if ledger.map_or(0, |ledger| ledger.len()) == 0 {
        assert!(told(&ran).is_empty(), "{millis}: {ran}");
        return;
    }
    verifies(&ran);
    let (finished, before) = (finished(&ran), told(&ran));
    let resumed = go(&ran, &["resume", "last"]);
    resumed.expect_code(0);
    let after = told(&ran);
    let lines: Vec<&String> = after.keys().collect();
    assert!(lines.into_iter().eq(expected), "{millis}: {resumed}");
    for line in finished.iter().filter(|line| before.contains_key(*line)) {
        assert_eq!(
            after[line], before[line],
            "{line} ran again: {millis}\n{resumed}"
        );
    }
    // What happens once and is found out happened once.
    for (line, count) in &after {
        let number: usize = line[1..].split(' ').next().unwrap().parse().unwrap();
        let bears_it = number.is_multiple_of(4);
        assert!(
            bears_it || *count == 1,
            "{line}: {count}: {millis}\n{resumed}"
        );
    }
    verifies(&ran);
}

#[test]
fn killed_at_any_moment_it_comes_to_the_same() {
    // `RUNBOOK_TEST_KILLS=1000` for a longer look.
    let kills = std::env::var("RUNBOOK_TEST_KILLS").ok();
    let kills: u64 = kills.and_then(|kills| kills.parse().ok()).unwrap_or(32);
    let began = std::time::Instant::now();
    let undisturbed = Runbook::new().arg("run").playbook(&mixed()).run();
    undisturbed.expect_code(0);
    let took = u64::try_from(began.elapsed().as_millis()).unwrap();
    let expected: Vec<String> = told(&undisturbed).into_keys().collect();
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let expected = &expected;
            scope.spawn(move || {
                for kill in (worker..kills).step_by(4) {
                    killed_at(took * kill / kills, expected);
                }
            });
        }
    });
}

#[test]
fn what_was_said_of_one_interruption_says_nothing_of_the_next() {
    let text = playbook(&[step("once", "", "[ -e go ] || sleep 6161")]);
    let started = Runbook::new().arg("run").playbook(&text).start();
    let ran = kill_after(started, "once");
    go(
        &ran,
        &[
            "resolve", "last", "once", "--as", "not-done", "--reason", "x",
        ],
    )
    .expect_code(0);
    let again = ran.then().args(["resume", "last"]).start();
    wait::until("the second time", LONG, || {
        (oracle(&ran) == "once once").then_some(())
    });
    again.signal(Signal::KILL);
    again.finish();
    std::fs::write(ran.folder().join("go"), "").unwrap();
    go(&ran, &["resume", "last"]).expect_code(4);
    go(
        &ran,
        &["resolve", "last", "once", "--as", "done", "--reason", "y"],
    )
    .expect_code(0);
    go(&ran, &["resume", "last"]).expect_code(0);
    assert_eq!(oracle(&ran), "once once bye");
}

#[test]
fn its_parameters_stay_as_they_were() {
    let text = "\
runbook: v1
name: params
params: { must: { type: string }, word: { type: string, default: a } }
secrets: { token: { env: TOKEN } }
steps:
  - { id: a, repeat: idempotent, exec.script: { env: { M: '${{ params.must }}', W: '${{ params.word }}', T: '${{ secrets.token }}' }, script: 'echo $M $W >> oracle; [ -e go ] || sleep 6262' } }
";
    let start = |must: &str| {
        let run = Runbook::new().env("TOKEN", "s3cr3t-word");
        let run = run.args(["run", "-p", &format!("must={must}"), "-p", "word=b"]);
        let ran = kill_after(run.playbook(text).start(), &format!("{must} b"));
        std::fs::write(ran.folder().join("go"), "").unwrap();
        ran
    };
    let resume = |ran: &Ran, args: &[&str]| {
        let run = ran.then().env("TOKEN", "s3cr3t-word");
        run.args([&["resume", "last"], args].concat()).run()
    };
    let ran = start("m");
    std::fs::write(ran.folder().join("params.json"), "{\"word\": \"c\"}").unwrap();
    resume(&ran, &["--params-file", "params.json"]).expect_code(2);
    resume(&ran, &["-p", "word=c"]).expect_code(2);
    resume(&ran, &["-p", "nothing=c"]).expect_code(2);
    assert_eq!(oracle(&ran), "m b");
    resume(&ran, &["-p", "word=b"]).expect_code(0);
    assert_eq!(oracle(&ran), "m b m b");
    // One that held a secret is in no record: it is given again, and the others need not be.
    let ran = start("s3cr3t-word");
    resume(&ran, &[]).expect_code(2);
    resume(&ran, &["-p", "word=b"]).expect_code(2);
    resume(&ran, &["-p", "must=s3cr3t-word"]).expect_code(0);
    assert_eq!(oracle(&ran), "s3cr3t-word b s3cr3t-word b");
}
