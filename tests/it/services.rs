//! `service.start`, `stop`, `restart` and `reload`: what they promise is so when they say that it is.

use std::sync::OnceLock;
use std::time::Duration;

use serde_json::{Value, json};

use crate::checks::hidden::{after, as_nobody, as_nobody_after};
use crate::support::run::{Ran, Runbook};
use crate::support::systemd::SystemdHost;
use crate::support::wait;

const LIMIT: Duration = Duration::from_secs(20);

/// The host of these tests: each has units of its own in it.
fn host() -> &'static SystemdHost {
    static HOST: OnceLock<SystemdHost> = OnceLock::new();
    HOST.get_or_init(SystemdHost::start)
}

/// A run to come of these steps, each with the id `s<n>`.
fn prepared(steps: &[&str]) -> Runbook {
    written(steps, "")
}

/// The same, where none stops the others.
fn lenient(steps: &[&str]) -> Runbook {
    written(steps, "on_error: continue, ")
}

fn written(steps: &[&str], more: &str) -> Runbook {
    let mut text = "runbook: v1\nname: services\nsteps:\n".to_owned();
    for (at, step) in steps.iter().enumerate() {
        text.push_str(&format!("  - {{ id: s{at}, {more}{step} }}\n"));
    }
    Runbook::new().file("playbook.yaml", text)
}

const RUN: [&str; 5] = ["run", "playbook.yaml", "--yes", "--format", "json"];

fn run(steps: &[&str]) -> Ran {
    prepared(steps).args(RUN).inside(host()).run()
}

/// The same; none stops the others.
fn run_all(steps: &[&str]) -> Ran {
    lenient(steps).args(RUN).inside(host()).run()
}

#[track_caller]
fn step(ran: &Ran, at: usize) -> Value {
    ran.json()["steps"][at].clone()
}

/// Its status, and what it says of its error and what to do about it.
#[track_caller]
fn failure(ran: &Ran, at: usize) -> (String, String) {
    let step = step(ran, at);
    let status = step["status"].as_str().unwrap_or_default().to_owned();
    (status, format!("{} {}", step["error"], step["help"]))
}

#[track_caller]
fn is_active(unit: &str) -> String {
    host().property(unit, "ActiveState")
}

#[test]
fn units_do_what_they_are_told() {
    host().install(
        "told.service",
        "[Service]\nExecStart=sleep infinity\nExecReload=sh -c 'echo >>/run/told-reloads'\n",
    );
    let fast = "unit: told, stable_for: 200ms";
    let ran = run(&[
        &format!("service.start: {{ {fast} }}"),
        &format!("service.start: {{ {fast} }}"),
        &format!("service.reload: {{ {fast} }}"),
        &format!("service.restart: {{ {fast} }}"),
        "service.check: { unit: told }",
    ]);
    ran.expect_code(0);
    let pid = |at| step(&ran, at)["outputs"]["main_pid"].as_u64();
    let changed = |ran: &Ran, at| step(ran, at)["changed"].clone();
    assert_eq!(changed(&ran, 0), true, "{ran}");
    assert_eq!(changed(&ran, 1), false);
    assert_eq!(step(&ran, 0)["outputs"]["before"], "inactive");
    assert_eq!((pid(0), pid(0)), (pid(1), pid(2)));
    assert_ne!(pid(2), pid(3));
    assert_eq!(
        pid(3).map(|pid| pid.to_string()),
        Some(host().property("told", "MainPID"))
    );
    host()
        .exec(&["test", "-s", "/run/told-reloads"])
        .expect_code(0);

    let planned = prepared(&[
        "service.start: { unit: told }",
        "service.stop: { unit: told }",
        "service.stop: { unit: idle }",
    ]);
    let planned = planned.args(["plan", "playbook.yaml", "--format", "json"]);
    let plan = planned.inside(host()).run().json();
    let preview = |at: usize| plan["steps"][at]["preview"].clone();
    assert_eq!(preview(0)["kind"], "no_change");
    assert_eq!(preview(1)["counts"], json!({ "units": 1 }));
    assert_eq!(preview(2)["kind"], "no_change");

    let ran = run(&[
        "service.stop: { unit: told }",
        "service.stop: { unit: told.service }",
    ]);
    ran.expect_code(0);
    assert_eq!(changed(&ran, 0), true);
    assert_eq!(changed(&ran, 1), false);
    assert_eq!(is_active("told"), "inactive");
}

#[test]
fn a_start_that_fails_says_why() {
    host().install("nobin.service", "[Service]\nExecStart=/nowhere/at-all\n");
    host().install(
        "pre.service",
        "[Service]\nExecStartPre=/bin/false\nExecStart=sleep infinity\n",
    );
    host().install(
        "needs-pre.service",
        "[Unit]\nRequires=pre.service\nAfter=pre.service\n[Service]\nExecStart=sleep infinity\n",
    );
    host().install(
        "iffy.service",
        "[Unit]\nConditionPathExists=/nowhere\n[Service]\nExecStart=sleep infinity\n",
    );
    host().install(
        "once.service",
        "[Service]\nType=oneshot\nExecStart=/bin/true\n",
    );
    let ran = run_all(&[
        "service.start: { unit: nobin }",
        "service.start: { unit: pre }",
        "service.start: { unit: needs-pre }",
        "service.start: { unit: iffy }",
        "service.start: { unit: once }",
    ]);
    for (at, said) in [
        (0, "exited with status 203 (its program is not there"),
        (1, "`/bin/false` of ExecStartPre= exited with status 1"),
        (2, "it requires pre.service (failed), which did not start"),
        (3, "a condition in its file does not hold"),
    ] {
        let (status, error) = failure(&ran, at);
        assert_eq!(status, "failed", "{ran}");
        assert!(error.contains(said), "{said}: {error}");
        assert!(error.contains("journalctl -u"), "{error}");
    }
    assert_eq!(step(&ran, 4)["status"], "succeeded", "{ran}");
}

/// Danger: a service that dies right after its start. `systemctl start` says that all is well.
#[test]
fn what_dies_after_300_ms_was_not_started() {
    let dies = "[Service]\nExecStart=sh -c 'sleep 0.3; exit 7'\n";
    host().install("dies.service", dies);
    host().install(
        "again.service",
        &format!("{dies}Restart=always\nRestartSec=10ms\n"),
    );
    host().install(
        "hup.service",
        "[Service]\nExecStart=sleep infinity\nExecReload=kill -HUP $MAINPID\n",
    );
    host().exec(&["systemctl", "start", "dies"]).expect_code(0);
    host().exec(&["systemctl", "start", "hup"]).expect_code(0);
    wait::until("its end", LIMIT, || {
        (is_active("dies") == "failed").then_some(())
    });

    let ran = run_all(&[
        "service.start: { unit: dies }",
        "service.start: { unit: again }",
        "service.restart: { unit: dies }",
        "service.reload: { unit: hup }",
        "service.start: { unit: dies, stable_for: 0s }",
    ]);
    host().exec(&["systemctl", "stop", "again"]).expect_code(0);
    for at in 0..3 {
        let (status, error) = failure(&ran, at);
        assert_eq!(status, "failed", "{ran}");
        assert!(error.contains("it did not stay up"), "{error}");
        // Of one that systemd starts again, how it ended is soon forgotten.
        assert!(at == 1 || error.contains("exited with status 7"), "{error}");
    }
    let (status, error) = failure(&ran, 3);
    assert_eq!(status, "failed", "{ran}");
    assert!(error.contains("it did not stay up"), "{error}");
    assert_eq!(step(&ran, 4)["status"], "succeeded");
}

#[test]
fn a_start_that_hangs_ends_in_time() {
    let hangs = "[Service]\nType=notify\nExecStart=sleep infinity\n";
    host().install("slow.service", &format!("{hangs}TimeoutStartSec=1s\n"));
    host().install(
        "never.service",
        &format!("{hangs}TimeoutStartSec=infinity\n"),
    );
    host().install(
        "behind.service",
        "[Unit]\nAfter=never.service\n[Service]\nExecStart=sleep infinity\n",
    );
    let ran = run_all(&[
        "service.start: { unit: slow }",
        "timeout: 1s, service.start: { unit: never }",
        // Its job waits for that one's.
        "timeout: 1s, service.start: { unit: behind }",
    ]);
    let (status, error) = failure(&ran, 0);
    assert_eq!(status, "failed", "{ran}");
    assert!(error.contains("TimeoutStartSec="), "{error}");
    let (status, error) = failure(&ran, 1);
    assert_eq!(status, "timed_out", "{ran}");
    assert!(error.contains("it is activating (start)"), "{error}");
    assert!(error.contains("systemd goes on with it"), "{error}");
    let (status, error) = failure(&ran, 2);
    assert_eq!(status, "timed_out", "{ran}");
    assert!(
        error.contains("had not begun, and was cancelled"),
        "{error}"
    );
    let jobs = host()
        .exec(&["systemctl", "list-jobs", "--no-legend"])
        .stdout;
    assert!(jobs.contains("never.service"), "{jobs}");
    assert!(!jobs.contains("behind.service"), "{jobs}");
    host().exec(&["systemctl", "stop", "never"]).expect_code(0);
}

#[test]
fn a_stop_tells_what_it_takes_with_it() {
    let sleeps = "[Service]\nExecStart=sleep infinity\n";
    host().install("base.service", sleeps);
    for (name, tie) in [
        ("user", "Requires"),
        ("bound", "BindsTo"),
        ("part", "PartOf"),
        ("friend", "Wants"),
    ] {
        let text = format!("[Unit]\n{tie}=base.service\nAfter=base.service\n{sleeps}");
        host().install(&format!("{name}.service"), &text);
    }
    host().install(
        "second.service",
        &format!("[Unit]\nRequires=user.service\nAfter=user.service\n{sleeps}"),
    );
    let all = ["base", "user", "bound", "part", "friend", "second"];
    host()
        .exec(&[&["systemctl", "start"], &all[..]].concat())
        .expect_code(0);
    let taken = json!([
        "bound.service",
        "part.service",
        "second.service",
        "user.service"
    ]);

    let plan = prepared(&[
        "service.stop: { unit: base }",
        "service.restart: { unit: base }",
    ]);
    let plan = plan.args(["plan", "playbook.yaml", "--format", "json"]);
    let plan = plan.inside(host()).run().json();
    for at in 0..2 {
        let preview = &plan["steps"][at]["preview"];
        assert_eq!(preview["counts"], json!({ "units": 5 }), "{plan:#}");
        let items = preview["items"].to_string();
        for name in taken.as_array().unwrap() {
            assert!(items.contains(name.as_str().unwrap()), "{items}");
        }
    }
    let ran = run(&["service.stop: { unit: base, max: 3 }"]);
    let (status, error) = failure(&ran, 0);
    assert_eq!(status, "failed", "{ran}");
    assert!(error.contains("more than `max` (3)"), "{error}");
    assert!(all.iter().all(|unit| is_active(unit) == "active"));

    let ran = run(&["service.restart: { unit: base, max: 4, stable_for: 100ms }"]);
    ran.expect_code(0);
    wait::until("them to be back", LIMIT, || {
        all.iter()
            .all(|unit| is_active(unit) == "active")
            .then_some(())
    });
    let ran = run(&["service.stop: { unit: base, max: 4 }"]);
    ran.expect_code(0);
    assert_eq!(step(&ran, 0)["outputs"]["stopped_with"], taken, "{ran}");
    let left: Vec<_> = all
        .iter()
        .filter(|unit| is_active(unit) == "active")
        .collect();
    assert_eq!(left, [&"friend"]);
}

#[test]
fn what_cannot_be_told_is_an_error() {
    let sleeps = "[Service]\nExecStart=sleep infinity\n";
    host().install("dull.service", sleeps);
    host().install("shut.service", sleeps);
    host().install(
        "byhand.service",
        &format!("[Unit]\nRefuseManualStart=yes\n{sleeps}"),
    );
    host().install(
        "rival.service",
        &format!("[Unit]\nConflicts=dull.service\n{sleeps}"),
    );
    host().install("ticks.service", sleeps);
    host().install("ticks.timer", "[Timer]\nOnActiveSec=1d\n");
    host()
        .exec(&["systemctl", "start", "dull", "ticks", "ticks.timer"])
        .expect_code(0);
    host()
        .exec(&["systemctl", "mask", "--runtime", "shut"])
        .expect_code(0);
    // A mask in /run lies below the file in /etc: that one has to go.
    host()
        .exec(&["rm", "/etc/systemd/system/shut.service"])
        .expect_code(0);
    host().exec(&["systemctl", "daemon-reload"]).expect_code(0);
    let cases = [
        ("service.start: { unit: shut }", "it is masked"),
        ("service.restart: { unit: shut }", "it is masked"),
        ("service.start: { unit: missing }", "there is no such unit"),
        ("service.stop: { unit: dul }", "did you mean dull.service?"),
        ("service.reload: { unit: dull }", "no way to be reloaded"),
        ("service.start: { unit: byhand }", "RefuseManualStart="),
        (
            "service.start: { unit: rival }",
            "that would stop dull.service",
        ),
        ("service.reload: { unit: missing }", "there is no such unit"),
    ];
    let ran = run_all(&cases.map(|case| case.0));
    for (at, (what, said)) in cases.iter().enumerate() {
        let (status, error) = failure(&ran, at);
        assert_eq!(status, "failed", "{what}: {ran}");
        assert!(error.contains(said), "{what}: {error}");
    }
    assert_eq!(is_active("dull"), "active");
    // A plan says so too.
    let plan = prepared(&["service.start: { unit: shut }"]).args(["plan", "playbook.yaml"]);
    let plan = plan.inside(host()).run();
    assert!(plan.stdout.contains("it is masked"), "{plan}");
    // What starts it again is told.
    let ran = run(&["service.stop: { unit: ticks }"]);
    ran.expect_code(0);
    let findings = step(&ran, 0)["findings"].to_string();
    assert!(
        findings.contains("ticks.timer is active, and starts"),
        "{findings}"
    );
    let template = prepared(&["service.stop: { unit: 'postgresql@' }"]);
    template
        .args(["validate", "playbook.yaml"])
        .run()
        .expect_code(1);
}

/// Danger S01: `active` for Debian's `postgresql.service`, although the cluster is down.
#[test]
fn a_meta_unit_is_up_when_what_is_behind_it_is() {
    let host = SystemdHost::start();
    let state = |unit| host.property(unit, "ActiveState");
    let main = "postgresql@15-main";
    let seed = host.exec(&["systemctl", "is-active", "postgresql"]);
    assert_eq!(seed.expect_code(0).stdout.trim(), "active");
    assert_eq!(state(main), "inactive");
    let run = |steps: &[&str]| prepared(steps).args(RUN).inside(&host).run();
    let start = ["service.start: { unit: postgresql, stable_for: 200ms }"];
    let plan = prepared(&start).args(["plan", "playbook.yaml", "--format", "json"]);
    let plan = plan.inside(&host).run().json();
    let summary = plan["steps"][0]["preview"]["summary"].to_string();
    assert!(
        summary.contains("start postgresql@15-main.service (inactive)"),
        "{plan:#}"
    );
    let ran = run(&start);
    ran.expect_code(0);
    assert_eq!(step(&ran, 0)["changed"], true);
    assert_eq!(state(main), "active");
    let ran = run(&start);
    assert_eq!(step(&ran, 0)["changed"], false, "{ran}");
    run(&["service.restart: { unit: postgresql, stable_for: 100ms }"]).expect_code(0);
    assert_eq!(state(main), "active");
    let ran = run(&["service.stop: { unit: postgresql }"]);
    ran.expect_code(0);
    let taken = &step(&ran, 0)["outputs"]["stopped_with"];
    assert_eq!(*taken, json!(["postgresql@15-main.service"]));
    assert_eq!(state(main), "inactive");

    // A cluster that does not start: Debian's unit is active all the same.
    let broken = "[Unit]\nPartOf=postgresql.service\nBefore=postgresql.service\n\
                  [Service]\nExecStart=sh -c 'sleep 0.1; exit 2'\n";
    host.install("postgresql@.service", broken);
    host.exec(&["systemctl", "start", "postgresql"])
        .expect_code(0);
    wait::until("its end", LIMIT, || (state(main) == "failed").then_some(()));
    let ran = run(&start);
    ran.expect_code(1);
    let findings = step(&ran, 0)["findings"].to_string();
    for said in [
        "behind it, postgresql@15-main.service is failed",
        "status 2",
    ] {
        assert!(findings.contains(said), "{findings}");
    }
}

#[test]
fn two_runs_at_once_share_a_job_or_say_who_won() {
    let slow =
        |seconds| format!("[Service]\nExecStartPre=sleep {seconds}\nExecStart=sleep infinity\n");
    host().install("shared.service", &slow(1));
    let start = || {
        let steps = ["service.start: { unit: shared, stable_for: 100ms }"];
        prepared(&steps).args(RUN).inside(host()).start()
    };
    let both = [start(), start()];
    for started in both {
        started.finish().expect_code(0);
    }
    host().install("fought.service", &slow(60));
    let steps = ["service.start: { unit: fought }"];
    let starting = prepared(&steps).args(RUN).inside(host()).start();
    wait::until("its start", LIMIT, || {
        (is_active("fought") == "activating").then_some(())
    });
    run(&["service.stop: { unit: fought }"]).expect_code(0);
    let (status, error) = failure(&starting.finish(), 0);
    assert_eq!(status, "failed", "{error}");
    assert!(error.contains("somebody asked for the contrary"), "{error}");
}

#[test]
fn a_systemd_that_does_not_obey_is_an_error() {
    let steps = [
        "service.stop: { unit: demo }",
        "service.restart: { unit: demo }",
    ];
    let all_say = |ran: &Ran, said: &str| {
        for at in 0..2 {
            let (status, error) = failure(ran, at);
            assert_eq!(status, "failed", "{ran}");
            assert!(error.contains(said), "{said}: {error}");
        }
    };
    let prepared = || lenient(&steps).args(RUN).inside(host());
    all_say(&as_nobody(prepared()).run(), "polkit rule");
    let no_bus = "mount -t tmpfs none /run/dbus";
    all_say(
        &as_nobody_after(no_bus, prepared()).run(),
        "start the system bus",
    );
    all_say(
        &after("mount -t tmpfs none /run", prepared()).run(),
        "not the init",
    );
    assert_eq!(is_active("demo"), "active");
    // Root needs no bus.
    host().install("private.service", "[Service]\nExecStart=sleep infinity\n");
    let steps = [
        "service.start: { unit: private, stable_for: 100ms }",
        "service.stop: { unit: private }",
    ];
    for _ in 0..3 {
        let run = self::prepared(&steps).args(RUN).inside(host());
        after(no_bus, run).run().expect_code(0);
    }
}

/// A run that a unit of systemd has started does not stop that unit.
#[test]
fn a_run_does_not_end_itself() {
    let run = lenient(&[
        "service.restart: { unit: mine }",
        "service.stop: { unit: below }",
    ]);
    let folder = run.folder().display().to_string();
    host().install("below.service", "[Service]\nExecStart=sleep infinity\n");
    host().install(
        "mine.service",
        &format!(
            "[Unit]\nRequires=below.service\nAfter=below.service\n[Service]\n\
             WorkingDirectory={folder}\nEnvironment=RUNBOOK_STATE_DIR={folder}/state\n\
             ExecStart=sh -c '/usr/local/bin/runbook {} >out.json 2>err; echo $$? >code; sleep infinity'\n",
            RUN.join(" ")
        ),
    );
    host().exec(&["systemctl", "start", "mine"]).expect_code(0);
    let code = run.folder().join("code");
    wait::until("its end", LIMIT, || {
        std::fs::read_to_string(&code)
            .ok()
            .filter(|code| code.ends_with('\n'))
    });
    let said = std::fs::read_to_string(run.folder().join("out.json")).unwrap();
    let said: Value = serde_json::from_str(&said).unwrap();
    for at in 0..2 {
        let error = said["steps"][at]["error"].to_string();
        assert!(
            error.contains("this very run belongs to mine.service"),
            "{said:#}"
        );
    }
    assert_eq!(is_active("mine"), "active");
    host()
        .exec(&["systemctl", "stop", "mine", "below"])
        .expect_code(0);
}
