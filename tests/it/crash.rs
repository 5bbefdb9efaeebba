//! What happens when the engine is killed, when a hundred of them share a folder, and when a run is
//! told to stop.

use std::time::Duration;

use rustix::process::Signal;

use crate::support::process;
use crate::support::run::Runbook;

const LONG: Duration = Duration::from_secs(30);

/// Two steps before one that says that it runs, and waits.
const PLAYBOOK: &str = "\
runbook: v1
name: long
steps:
  - { id: a, exec.command: { argv: [touch, a] } }
  - { id: b, foreach: { in: 'range(3)', as: n }, exec.command: { argv: [touch, \"b${{ n }}\"] } }
  - { id: wait, exec.script: { script: \"trap 'touch polite; exit 1' TERM; touch waits; sleep 1000 & wait\" } }
  - { id: after, exec.command: { argv: [touch, after] } }
finally:
  - { id: last, exec.command: { argv: [touch, last] } }
";

fn wait_for(ran: &crate::support::run::Started, file: &str) {
    crate::support::wait::until(file, LONG, || {
        ran.folder().join(file).exists().then_some(())
    });
}

#[test]
fn a_killed_engine_leaves_a_run_that_verifies() {
    let playbook = PLAYBOOK.replace("sleep 1000", "sleep 4244.5");
    let started = Runbook::new().arg("run").playbook(&playbook).start();
    wait_for(&started, "waits");
    started.signal(Signal::KILL);
    let state = started.state().to_path_buf();
    let status = || {
        let history = Runbook::new()
            .state(&state)
            .args(["history", "--format", "json"])
            .run();
        history.json()["runs"][0]["status"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    crate::support::wait::until("interrupted", LONG, || {
        (status() == "interrupted").then_some(())
    });
    // Its step's process lives on, which `resume` ends.
    process::output("pkill", &["-f", "sleep 4244[.]5"]).expect_code(0);
    let ran = started.finish();
    let verified = ran.then().args(["audit", "verify"]).run();
    verified.expect_code(0);
    let history = ran
        .then()
        .args(["history", "--format", "json"])
        .run()
        .json();
    assert_eq!(history["runs"][0]["status"], "interrupted");
    let status = ran
        .then()
        .args(["status", "last", "--format", "json"])
        .run()
        .json();
    assert_eq!(status["steps"][0]["status"], "succeeded");
    let steps = status["steps"].as_array().unwrap();
    let of = |id: &str| steps.iter().find(|step| step["id"] == id).unwrap()["status"].clone();
    assert_ne!(of("wait"), "succeeded");
    assert_eq!(of("after"), "pending");
    // The next run works, and both are there.
    let next = ran
        .then()
        .arg("run")
        .playbook(PLAYBOOK.split("  - { id: wait").next().unwrap());
    next.run().expect_code(0);
    ran.then().args(["audit", "verify"]).run().expect_code(0);
    let history = ran
        .then()
        .args(["history", "--format", "json"])
        .run()
        .json();
    assert_eq!(history["runs"].as_array().unwrap().len(), 2);
    assert_eq!(history["runs"][0]["status"], "succeeded");
}

#[test]
fn a_run_killed_at_any_moment_verifies() {
    let playbook = "\
runbook: v1
name: busy
steps:
  - { id: many, foreach: { in: 'range(200)', as: n }, exec.command: { argv: ['true'] } }
";
    let first = Runbook::new().arg("run").playbook(playbook).run();
    first.expect_code(0);
    let state = first.state().to_path_buf();
    for moment in 0..12 {
        let started = Runbook::new()
            .state(&state)
            .arg("run")
            .playbook(playbook)
            .start();
        std::thread::sleep(Duration::from_millis(5 + 17 * moment));
        started.signal(Signal::KILL);
        drop(started.finish());
        let verify = Runbook::new().state(&state).args(["audit", "verify"]).run();
        verify.expect_code(0);
    }
}

#[test]
fn a_hundred_runs_side_by_side_share_one_folder() {
    let playbook = "\
runbook: v1
name: one-of-many
steps:
  - { id: a, exec.command: { argv: ['true'] } }
  - { id: b, flow.set: { values: { x: 1 } } }
";
    let first = Runbook::new();
    let state = first.folder().join("state");
    let started: Vec<_> = (0..100)
        .map(|_| {
            Runbook::new()
                .state(&state)
                .arg("run")
                .playbook(playbook)
                .start()
        })
        .collect();
    for run in started {
        run.finish().expect_code(0);
    }
    let verify = Runbook::new().state(&state).args(["audit", "verify"]).run();
    assert!(verify.expect_code(0).stdout.contains("100 run"), "{verify}");
    let history = Runbook::new()
        .state(&state)
        .args(["history", "--format", "json", "--limit", "1000"])
        .run()
        .json();
    let runs = history["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 100);
    assert!(
        runs.iter().all(|run| run["status"] == "succeeded"),
        "{history}"
    );
}

#[test]
fn told_to_stop_it_ends_politely_and_runs_finally() {
    for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
        let started = Runbook::new().arg("run").playbook(PLAYBOOK).start();
        wait_for(&started, "waits");
        started.signal(signal);
        let ran = started.finish();
        ran.expect_code(code);
        assert!(ran.folder().join("polite").exists(), "{ran}");
        assert!(ran.folder().join("last").exists(), "{ran}");
        assert!(!ran.folder().join("after").exists(), "{ran}");
        ran.then().args(["audit", "verify"]).run().expect_code(0);
    }
}

#[test]
fn one_signal_after_the_deadline_leaves_finally_its_time() {
    let playbook = "\
runbook: v1
name: late
timeout: 200ms
steps:
  - { id: a, exec.command: { argv: [sleep, '4244'] } }
finally:
  - { id: tidy, exec.script: { script: 'touch waits; until [ -e go ]; do sleep 0.02; done; touch tidied' } }
";
    for (times, tidied) in [(1, true), (2, false)] {
        let started = Runbook::new().arg("run").playbook(playbook).start();
        wait_for(&started, "waits");
        for told in 1..=times {
            started.signal(Signal::INT);
            crate::support::wait::until("the signal is in the journal", LONG, || {
                let all = process::output(
                    "grep",
                    &["-rhoc", "SIGINT", started.state().to_str().unwrap()],
                );
                let count = |line: &str| line.parse::<usize>().unwrap_or(0);
                (all.stdout.lines().map(count).sum::<usize>() >= told).then_some(())
            });
        }
        std::fs::write(started.folder().join("go"), "").unwrap();
        let ran = started.finish();
        ran.expect_code(130);
        assert_eq!(ran.folder().join("tidied").exists(), tidied, "{ran}");
        ran.then().args(["audit", "verify"]).run().expect_code(0);
    }
}

#[test]
fn what_runs_out_of_time_ends_with_all_its_processes() {
    let playbook = "\
runbook: v1
name: slow
steps:
  - id: slow
    timeout: 500ms
    exec.script: { script: 'setsid -w sleep 4242.1 & (sleep 4242.2 & sleep 4242.3) & sleep 4242.4' }
finally:
  - { id: last, exec.command: { argv: [touch, last] } }
";
    let ran = Runbook::new().arg("run").playbook(playbook).run();
    ran.expect_code(1);
    assert!(ran.folder().join("last").exists(), "{ran}");
    // `setsid` leaves the group on purpose; the others do not survive.
    for left in ["sleep 4242[.]2", "sleep 4242[.]3", "sleep 4242[.]4"] {
        let found = process::output("pgrep", &["-f", left]);
        assert_eq!(found.code, 1, "{left}: {}", found.stdout);
    }
    drop(process::output("pkill", &["-f", "sleep 4242[.]1"]));

    let run = "runbook: v1\nname: late\ntimeout: 500ms\nsteps:\n  - { id: a, exec.command: { argv: [sleep, '4243'] } }\n  - { id: b, exec.command: { argv: [touch, b] } }\nfinally:\n  - { id: last, exec.command: { argv: [touch, last] } }\n";
    let ran = Runbook::new().arg("run").playbook(run).run();
    ran.expect_code(124);
    assert!(
        ran.folder().join("last").exists() && !ran.folder().join("b").exists(),
        "{ran}"
    );
}

#[test]
fn secrets_are_nowhere() {
    let secret = "s3cr3t-Canary/42";
    let playbook = "\
runbook: v1
name: canary
description: Signs in with s3cr3t-Canary/42
labels: { owner: an0ther-Canary/43 }
secrets: { token: { env: TOKEN }, file: { file: token.txt } }
steps:
  - id: leak
    exec.script:
      env: { T: \"${{ secrets.token }}\" }
      script: |
        echo \"plain $T\"; printf %s \"$T\" | base64; printf %s \"$T\" | od -An -v -tx1 | tr -d ' '
        printf 's3cr3t-'; sleep 0.2; printf 'Canary/42\\n' >&2; printf 'Canary/42\\n'
        echo \"got=$T\" >> \"$RUNBOOK_OUTPUT\"
  - { id: fails, on_error: continue, exec.script: { env: { F: \"${{ secrets.file }}\" }, script: 'echo \"$F\" >&2; exit 3' } }
reports:
  - { format: markdown, path: report.md }
  - { format: junit, path: report.xml }
";
    let ran = Runbook::new()
        .file("token.txt", "an0ther-Canary/43\n")
        .env("TOKEN", secret)
        .args(["run", "--verbose"])
        .playbook(playbook)
        .run();
    ran.expect_code(0);
    let canaries = [
        secret,
        "an0ther-Canary/43",
        "czNjcjN0LUNhbmFyeS80Mg",
        "7333637233742d43616e6172792f3432",
    ];
    let mut searched = 0;
    for folder in [
        ran.state().to_path_buf(),
        ran.folder().join("report.md"),
        ran.folder().join("report.xml"),
    ] {
        for canary in canaries {
            // The copy of the playbook is what its author wrote.
            let found = process::output(
                "grep",
                &[
                    "-rF",
                    "--exclude-dir=input",
                    canary,
                    folder.to_str().unwrap(),
                ],
            );
            assert_eq!(found.code, 1, "{canary}: {}", found.stdout);
            searched += 1;
        }
    }
    assert_eq!(searched, 12);
    for canary in canaries {
        assert!(
            !ran.stdout.contains(canary) && !ran.stderr.contains(canary),
            "{ran}"
        );
    }
    // The search finds what is there.
    let there = process::output("grep", &["-rF", "canary", ran.state().to_str().unwrap()]);
    assert_eq!(there.code, 0);
}

#[test]
fn tampering_is_told() {
    let playbook = "runbook: v1\nname: honest\nsteps:\n  - { id: a, flow.set: { values: { x: before } } }\n  - { id: b, flow.set: { values: { x: 2 } } }\n";
    let tampered = |change: fn(Vec<String>) -> Vec<String>| {
        let ran = Runbook::new().arg("run").playbook(playbook).run();
        ran.expect_code(0);
        let runs = std::fs::read_dir(ran.state().join("runs")).unwrap();
        let run = runs.map(|entry| entry.unwrap().path()).next().unwrap();
        let journal = run.join("journal.jsonl");
        let text = std::fs::read_to_string(&journal).unwrap();
        let lines = change(text.lines().map(str::to_owned).collect());
        std::fs::write(&journal, lines.join("\n") + "\n").unwrap();
        let verify = ran.then().args(["audit", "verify"]).run();
        verify.expect_code(5);
        assert!(verify.stdout.contains("NOT VERIFIED"), "{verify}");
    };
    tampered(|lines| {
        lines
            .into_iter()
            .map(|line| line.replace("before", "afterw"))
            .collect()
    });
    tampered(|mut lines| {
        lines.remove(1);
        lines
    });
    tampered(|mut lines| {
        lines.swap(1, 2);
        lines
    });
    tampered(|mut lines| {
        lines.pop();
        lines
    });
    tampered(|mut lines| {
        lines.insert(1, lines[1].clone());
        lines
    });
}

#[test]
fn reading_a_secret_ends_with_the_run() {
    let playbook = "\
runbook: v1
name: slow
timeout: 300ms
secrets: { slow: { command: [sleep, '7373'] } }
steps:
  - { id: a, exec.script: { env: { S: '${{ secrets.slow }}' }, script: 'touch never' } }
";
    let ran = Runbook::new().arg("run").playbook(playbook).run();
    ran.expect_code(124);
    assert!(ran.stderr.contains("while secrets were read"), "{ran}");
    let text = playbook
        .replace("timeout: 300ms\n", "")
        .replace("7373", "7374");
    let started = Runbook::new().arg("run").playbook(&text).start();
    crate::support::wait::until("the command", LONG, || {
        let found = process::output("pgrep", &["-f", "sleep 7374"]);
        (found.code == 0).then_some(())
    });
    started.signal(Signal::INT);
    started.finish().expect_code(130);
    for left in ["sleep 7373", "sleep 7374"] {
        process::output("pgrep", &["-f", left]).expect_code(1);
    }
}

#[test]
fn what_failed_says_why_whatever_it_left() {
    let playbook = "runbook: v1\nname: p\nsteps:\n  - { id: a, exec.script: { script: 'echo half line >> \"$RUNBOOK_OUTPUT\"; echo the real reason >&2; exit 3' } }\n";
    let ran = Runbook::new().arg("run").playbook(playbook).run();
    ran.expect_code(1);
    assert!(ran.stdout.contains("exited with status 3"), "{ran}");
    assert!(ran.stdout.contains("the real reason"), "{ran}");
}
