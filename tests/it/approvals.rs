//! Approvals: a step runs when those who must agree have agreed to just that, and not before.

use std::time::Duration;

use crate::support::run::{Ran, Runbook};
use crate::support::{process, wait};

const LONG: Duration = Duration::from_secs(30);

/// A playbook whose second step asks like this.
fn asks(approval: &str) -> String {
    format!(
        "\
runbook: v1
name: asks
params: {{ rows: {{ type: integer, default: 5 }} }}
steps:
  - {{ id: before, exec.command: {{ argv: [touch, before] }} }}
  - id: purge
    approval: {approval}
    exec.script: {{ script: 'echo purge >> purged' }}
  - {{ id: after, exec.command: {{ argv: [touch, after] }} }}
finally:
  - {{ id: bye, exec.command: {{ argv: [touch, bye] }} }}
"
    )
}

fn run(approval: &str, args: &[&str]) -> Ran {
    let run = Runbook::new().arg("run").args(args);
    run.playbook(&asks(approval)).run()
}

/// As a person who became root: that is who counts.
fn by(ran: &Ran, uid: &str, args: &[&str]) -> Ran {
    ran.then().env("SUDO_UID", uid).args(args).run()
}

fn go(ran: &Ran, args: &[&str]) -> Ran {
    ran.then().args(args).run()
}

fn is_there(ran: &Ran, name: &str) -> bool {
    ran.folder().join(name).exists()
}

#[track_caller]
fn waits(ran: &Ran) {
    ran.expect_code(3);
    assert!(is_there(ran, "before") && !is_there(ran, "purged"), "{ran}");
    assert!(!is_there(ran, "after") && !is_there(ran, "bye"), "{ran}");
    let history = go(ran, &["history", "--format", "json"]).json();
    assert_eq!(history["runs"][0]["status"], "waiting");
    let status = go(ran, &["status", "last", "--format", "json"]).json();
    assert_eq!(status["run"]["status"], "waiting");
    go(ran, &["audit", "verify"]).expect_code(0);
}

#[track_caller]
fn ran_once(ran: &Ran) {
    let purged = std::fs::read_to_string(ran.folder().join("purged")).unwrap();
    assert_eq!(purged, "purge\n");
    assert!(is_there(ran, "after") && is_there(ran, "bye"));
    go(ran, &["audit", "verify"]).expect_code(0);
}

#[test]
fn a_run_that_waits_is_ended_by_a_denial() {
    let ran = run("{ kind: approve, message: Purge? }", &[]);
    waits(&ran);
    let cancelled = go(&ran, &["cancel", "last"]);
    let told = &cancelled.expect_code(2).stderr;
    assert!(
        told.contains("STEP --deny`") && told.contains("runbook resume"),
        "{told}"
    );
    go(&ran, &["approve", "last", "purge", "--deny"]).expect_code(0);
    go(&ran, &["resume", "last"]).expect_code(3);
    assert!(is_there(&ran, "bye") && !is_there(&ran, "purged"), "{ran}");
}

#[test]
fn a_run_waits_until_somebody_agrees() {
    let ran = run(
        "{ kind: approve, message: 'Purge ${{ params.rows }} rows?' }",
        &["--yes"],
    );
    waits(&ran);
    assert!(ran.stdout.contains("Purge 5 rows?"), "{ran}");
    assert!(ran.stdout.contains("waits for an approval"), "{ran}");
    let status = go(&ran, &["status", "last"]);
    assert!(status.stdout.contains("runbook approve"), "{status}");
    // Nobody has agreed yet, whoever goes on with it.
    waits(&go(&ran, &["resume", "last", "--yes"]));
    go(&ran, &["approve", "last", "before"]).expect_code(2);
    go(&ran, &["approve", "last", "nothing"]).expect_code(2);
    go(
        &ran,
        &["approve", "last", "purge", "--reason", "on the ticket"],
    )
    .expect_code(0);
    assert!(!is_there(&ran, "purged"), "it is recorded, and no more");
    go(&ran, &["resume", "last"]).expect_code(0);
    ran_once(&ran);
    let shown = go(&ran, &["audit", "show", "last", "--format", "json"])
        .stdout
        .clone();
    assert!(
        shown.contains("on the ticket") && shown.contains("approval.answer"),
        "{shown}"
    );
    // It is used up: once more is another question.
    let again = go(&ran, &["retry", "last", "--from", "purge", "--yes"]);
    again.expect_code(3);
    let purged = std::fs::read_to_string(ran.folder().join("purged")).unwrap();
    assert_eq!(purged, "purge\n");
}

#[test]
fn a_step_that_nobody_agrees_to_does_not_run() {
    let ran = run("{ kind: approve }", &[]);
    waits(&ran);
    go(
        &ran,
        &[
            "approve",
            "last",
            "purge",
            "--deny",
            "--reason",
            "not today",
        ],
    )
    .expect_code(0);
    let denied = go(&ran, &["resume", "last"]);
    denied.expect_code(3);
    assert!(denied.stdout.contains("not today"), "{denied}");
    assert!(!is_there(&ran, "purged") && !is_there(&ran, "after"));
    assert!(is_there(&ran, "bye"), "{denied}");
    go(&ran, &["audit", "verify"]).expect_code(0);
}

#[test]
fn only_those_count_who_may_agree_and_each_once() {
    // `daemon` is in the group `daemon`, `bin` in its own; both are in every /etc/passwd.
    let ran = run(
        "{ kind: approve, from: [daemon, bin], count: 2, separate: true }",
        &[],
    );
    waits(&ran);
    let approve = |uid| by(&ran, uid, &["approve", "last", "purge"]);
    go(&ran, &["approve", "last", "purge"]).expect_code(3);
    approve("3").expect_code(3);
    approve("1").expect_code(0);
    waits(&go(&ran, &["resume", "last"]));
    approve("1").expect_code(0);
    waits(&go(&ran, &["resume", "last"]));
    approve("2").expect_code(0);
    go(&ran, &["resume", "last"]).expect_code(0);
    ran_once(&ran);

    let started = Runbook::new().env("SUDO_UID", "1").arg("run");
    let ran = started
        .playbook(&asks("{ kind: approve, separate: true }"))
        .run();
    waits(&ran);
    let refused = by(&ran, "1", &["approve", "last", "purge"]);
    assert!(
        refused.expect_code(3).stderr.contains("started the run"),
        "{refused}"
    );
    by(&ran, "2", &["approve", "last", "purge"]).expect_code(0);
    go(&ran, &["resume", "last"]).expect_code(0);
    ran_once(&ran);
}

#[test]
fn what_was_agreed_to_is_what_runs() {
    let ran = run("{ kind: approve }", &[]);
    waits(&ran);
    go(&ran, &["approve", "last", "purge"]).expect_code(0);
    let path = ran.folder().join("playbook.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, text.replace("echo purge", "echo everything")).unwrap();
    waits(&go(&ran, &["resume", "last"]));
    std::fs::write(&path, text).unwrap();
    // The first question was not answered with this one either: it was asked anew.
    waits(&go(&ran, &["resume", "last"]));
    go(&ran, &["approve", "last", "purge"]).expect_code(0);
    go(&ran, &["resume", "last"]).expect_code(0);
    ran_once(&ran);
}

#[test]
fn a_confirmation_is_given_by_whoever_runs_it() {
    let refused = run("{ message: Sure? }", &[]);
    refused.expect_code(3);
    assert!(!is_there(&refused, "before"), "{refused}");
    let ran = run("{ message: Sure? }", &["--yes"]);
    ran.expect_code(0);
    ran_once(&ran);
    let destroys = "runbook: v1\nname: d\nsteps:\n  - { id: a, effect: destroy, exec.command: { argv: [touch, a] } }\n";
    let run = |args: &[&str]| {
        Runbook::new()
            .arg("run")
            .args(args)
            .playbook(destroys)
            .run()
    };
    run(&[]).expect_code(3);
    let ran = run(&["-y"]);
    ran.expect_code(0);
    assert!(ran.stdout.contains("was agreed to by"), "{ran}");
}

#[test]
fn it_is_asked_where_the_playbook_says_so() {
    let when = "{ when: params.rows > 10 }";
    let ran = run(when, &[]);
    ran.expect_code(0);
    ran_once(&ran);
    let ran = run(when, &["-p", "rows=11"]);
    ran.expect_code(3);
    assert!(
        is_there(&ran, "before") && !is_there(&ran, "purged"),
        "{ran}"
    );
    run(when, &["-p", "rows=11", "-y"]).expect_code(0);
    // A preview that cannot tell is no reason not to ask.
    let ran = run("{ when: steps.purge.preview.rows > 10 }", &[]);
    ran.expect_code(3);
    assert!(!is_there(&ran, "purged"), "{ran}");
}

#[test]
fn it_is_too_late_at_some_time() {
    for (ends, code) in [("deny", 3), ("skip", 0)] {
        let ran = run(
            &format!("{{ kind: approve, timeout: 50ms, on_timeout: {ends} }}"),
            &[],
        );
        waits(&ran);
        std::thread::sleep(Duration::from_millis(60));
        let resumed = go(&ran, &["resume", "last"]);
        resumed.expect_code(code);
        assert!(
            resumed.stdout.contains("nobody agreed to it in time"),
            "{resumed}"
        );
        assert!(!is_there(&ran, "purged"));
        assert_eq!(is_there(&ran, "after"), code == 0);
    }
}

#[test]
fn a_list_is_agreed_to_as_a_whole() {
    let playbook = "\
runbook: v1
name: list
steps:
  - id: each
    foreach: { in: [a, b, c], as: n }
    approval: { kind: approve, message: All of them? }
    exec.command: { argv: [sh, -c, 'echo \"$0\" >> purged', '${{ n }}'] }
";
    let ran = Runbook::new().arg("run").playbook(playbook).run();
    ran.expect_code(3);
    let status = go(&ran, &["status", "last"]);
    for told in [&ran, &status] {
        let item = told
            .stdout
            .lines()
            .find(|line| line.contains("| each[2]: "));
        assert!(item.is_some_and(|line| line.contains(" c")), "{told}");
    }
    go(&ran, &["approve", "last", "each"]).expect_code(0);
    let resumed = go(&ran, &["resume", "last"]);
    resumed.expect_code(0);
    assert!(!resumed.stdout.contains("0 steps"), "{resumed}");
    let purged = std::fs::read_to_string(ran.folder().join("purged")).unwrap();
    assert_eq!(purged.split_whitespace().count(), 3);
}

#[test]
fn it_is_asked_at_the_terminal() {
    let script = process::program("script", "bsdutils");
    for (typed, code, done) in [("y\n", 0, true), ("n\n", 3, false), ("\n", 3, false)] {
        let runbook = env!("CARGO_BIN_EXE_runbook");
        let command = format!("{runbook} run playbook.yaml");
        let started = Runbook::new()
            .file("playbook.yaml", asks("{ message: Really? }"))
            .stdin(typed)
            .instead([
                script.as_os_str(),
                "-qec".as_ref(),
                command.as_ref(),
                "/dev/null".as_ref(),
            ])
            .run();
        for told in ["asks for a confirmation: Really?", "yes or no? [y/N]"] {
            assert!(started.stdout.contains(told), "{started}");
        }
        started.expect_code(code);
        assert_eq!(is_there(&started, "purged"), done, "{started}");
    }
}

#[test]
fn a_run_that_waits_at_its_terminal_goes_on_by_itself() {
    let script = process::program("script", "bsdutils");
    let command = format!("{} run playbook.yaml", env!("CARGO_BIN_EXE_runbook"));
    // Standard input stays open, and nobody types.
    let held = format!(
        "sleep 60 | exec {} -qec '{command}' /dev/null",
        script.display()
    );
    let started = Runbook::new()
        .file("playbook.yaml", asks("{ kind: approve, from: [daemon] }"))
        .instead(["sh", "-c", &held])
        .start();
    started.wait_for_text("waiting for daemon", LONG);
    let state = started.state().to_path_buf();
    let approve = Runbook::new().state(state).env("SUDO_UID", "1");
    approve
        .args(["approve", "last", "purge"])
        .run()
        .expect_code(0);
    wait::until("it to go on", LONG, || {
        started.folder().join("bye").exists().then_some(())
    });
    started.signal_group(rustix::process::Signal::TERM);
    let ran = started.finish();
    ran_once(&ran);
}

#[test]
fn another_user_of_the_group_agrees() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    process::need_root("two users");
    // The groups `daemon` (1) and `bin` (2) are everywhere; `daemon` is in the first.
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let set = |path: &std::path::Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    set(place.path(), 0o755);
    let state = place.path().join("state");
    std::fs::create_dir(&state).unwrap();
    chown(&state, None, Some(1)).unwrap();
    set(&state, 0o770);
    let program = place.path().join("runbook");
    std::fs::copy(env!("CARGO_BIN_EXE_runbook"), &program).unwrap();
    let approval = "{ kind: approve, from: [daemon], separate: true }";
    let ran = Runbook::new()
        .state(&state)
        .arg("run")
        .playbook(&asks(approval))
        .run();
    ran.expect_code(3);
    let approve = |user: &str| {
        let variable = format!("RUNBOOK_STATE_DIR={}", state.display());
        let program = program.to_str().unwrap();
        let argv = [
            "-u", user, "--", "env", &variable, program, "approve", "last", "purge",
        ];
        process::output("runuser", &argv)
    };
    let stranger = approve("bin");
    assert_ne!(stranger.code, 0, "{stranger}");
    approve("daemon").expect_code(0);
    go(&ran, &["resume", "last"]).expect_code(0);
    ran_once(&ran);
    let shown = go(&ran, &["audit", "show", "last", "--format", "json"]);
    assert!(shown.stdout.contains("\"users\":[\"daemon\"]"), "{shown}");
}

#[test]
fn what_one_person_writes_silences_nobody_else() {
    let ran = run("{ kind: approve }", &[]);
    waits(&ran);
    let runs = std::fs::read_dir(ran.state().join("runs")).unwrap();
    let approvals = runs.flatten().next().unwrap().path().join("approvals");
    std::fs::write(approvals.join("approve.purge.a.json"), "no JSON").unwrap();
    let elsewhere = ran.folder().join("elsewhere.json");
    std::fs::write(&elsewhere, "{}").unwrap();
    std::os::unix::fs::symlink(&elsewhere, approvals.join("approve.purge.b.json")).unwrap();
    waits(&go(&ran, &["resume", "last"]));
    go(&ran, &["approve", "last", "purge"]).expect_code(0);
    go(&ran, &["resume", "last"]).expect_code(0);
    ran_once(&ran);
}

/// A step that destroys, and asks like this.
fn destroys(approval: &str) -> String {
    asks(approval).replace("id: purge\n", "id: purge\n    effect: destroy\n")
}

#[test]
fn that_nobody_has_to_approve_is_no_yes() {
    let run = |approval: &str, args: &[&str]| {
        let run = Runbook::new().arg("run").args(args);
        run.playbook(&destroys(approval)).run()
    };
    let unasked = "{ kind: approve, when: params.rows > 10 }";
    let refused = run(unasked, &[]);
    refused.expect_code(3);
    assert!(!is_there(&refused, "before"), "{refused}");
    for told in [
        "would destroy something",
        "`runbook plan playbook.yaml` shows",
    ] {
        assert!(refused.stderr.contains(told), "{refused}");
    }
    ran_once(&run(unasked, &["-y"]));
    // Where somebody has to approve of it, that is asked, and `-y` answers it not.
    waits(&run(unasked, &["-y", "-p", "rows=11"]));
    // Its author says that nothing is asked.
    ran_once(&run("{ when: params.rows > 10 }", &[]));

    let planned = Runbook::new()
        .file("playbook.yaml", destroys(unasked))
        .args(["plan", "playbook.yaml", "-o", "plan.json"])
        .run();
    planned.expect_code(0);
    assert!(
        planned.stdout.contains("asks for a confirmation"),
        "{planned}"
    );
    // Who saved it and gives it to be done has seen it.
    let ran = go(&planned, &["run", "--plan", "plan.json"]);
    ran.expect_code(0);
    ran_once(&ran);
    // What waits for an approval is gone on with without a yes to anything else.
    let ran = run(unasked, &["-y", "-p", "rows=11"]);
    go(&ran, &["approve", "last", "purge"]).expect_code(0);
    go(&ran, &["resume", "last"]).expect_code(0);
    ran_once(&ran);
}

#[test]
fn what_destroys_is_asked_at_the_terminal_where_nobody_has_to_approve() {
    let script = process::program("script", "bsdutils");
    for (typed, code, done) in [("y\n", 0, true), ("n\n", 3, false)] {
        let command = format!("{} run playbook.yaml", env!("CARGO_BIN_EXE_runbook"));
        let started = Runbook::new()
            .file(
                "playbook.yaml",
                destroys("{ kind: approve, when: params.rows > 10 }"),
            )
            .stdin(typed)
            .instead([
                script.as_os_str(),
                "-qec".as_ref(),
                command.as_ref(),
                "/dev/null".as_ref(),
            ])
            .run();
        assert!(
            started
                .stdout
                .contains("asks for a confirmation: run with bash: echo purge"),
            "{started}"
        );
        started.expect_code(code);
        assert_eq!(is_there(&started, "purged"), done, "{started}");
    }
}

#[test]
fn what_cannot_be_looked_at_is_asked_of_nobody() {
    let playbook = "\
runbook: v1
name: nobody
connections: { main: { postgres: { url: 'postgresql://nobody@127.0.0.1:1/none' } } }
steps:
  - id: purge
    postgres.purge: { connection: main, table: gone, where: a < 1 }
    approval: { kind: approve, when: steps.purge.preview.rows > 10 }
";
    let planned = Runbook::new()
        .file("playbook.yaml", playbook)
        .args(["plan", "playbook.yaml"])
        .run();
    planned.expect_code(1);
    assert!(planned.stdout.contains("would FAIL"), "{planned}");
    assert!(!planned.stdout.contains("asks for"), "{planned}");
    let ran = go(&planned, &["run", "playbook.yaml", "-y"]);
    ran.expect_code(1);
    assert!(!ran.stdout.contains("asks for"), "{ran}");
    let status = go(&ran, &["status", "last", "--format", "json"]).json();
    assert_eq!(status["steps"][0]["status"], "failed", "{status}");
    go(&ran, &["audit", "verify"]).expect_code(0);
}
