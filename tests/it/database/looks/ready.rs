//! Waiting for a server: one that starts, one that is promoted, one that never is what is wanted.

use std::time::{Duration, Instant};

use super::super::sql::{playbook, run};
use super::{SOON, step};
use crate::support::postgres::{Options, Postgres};
use crate::support::run::{Runbook, Started};

fn start(url: &str, config: &str) -> Started {
    let steps = format!("  - id: ready\n    postgres.ready: {{ connection: main, {config} }}\n");
    Runbook::new()
        .file("playbook.yaml", playbook(&steps))
        .env("DATABASE_URL", url)
        .args(["run", "playbook.yaml", "--format", "json"])
        .start()
}

/// Waits until the run has been turned away by the server: the server's log says so.
#[track_caller]
fn turned_away(server: &Postgres, times: usize) {
    crate::support::wait::until("the run to be turned away", SOON, || {
        let log = server.log();
        (log.matches("the database system is").count() > times).then_some(())
    });
}

#[test]
fn a_server_that_starts_is_waited_for() {
    let server = Postgres::start(&Options::default());
    let url = server.url("postgres");
    server.stop();
    // First nobody listens, then it is starting, then it is ready.
    let before = server.log().matches("the database system is").count();
    let run = start(&url, "role: primary, timeout: 50s");
    server.start_to_recover();
    turned_away(&server, before);
    server.finish_starting();
    let ran = run.finish();
    ran.expect_code(0);
    let ready = step(&ran, "ready")["outputs"].clone();
    assert_eq!(ready["role"], "primary", "{ran}");
    // It recovered to the end of its archive, and began a new timeline.
    assert_eq!(ready["timeline"], 2, "{ran}");
    assert!(ready["attempts"].as_u64().expect("a number") > 1, "{ran}");
    assert!(ready["waited_ms"].as_u64().expect("a number") > 0, "{ran}");
}

#[test]
fn a_standby_is_no_primary_until_it_is_promoted() {
    let server = Postgres::start(&Options::default());
    let standby = server.standby();
    let url = standby.url("postgres");
    let ran = start(&url, "role: primary, timeout: 500ms").finish();
    ran.expect_code(1);
    let ready = step(&ran, "ready");
    assert_eq!(ready["status"], "timed_out", "{ran}");
    let error = ready["error"].to_string();
    assert!(
        error.contains("it is a standby, and not yet a primary"),
        "{error}"
    );
    assert_eq!(ready["outputs"]["role"], "standby", "{ran}");
    assert_eq!(ready["outputs"]["timeline"], 1, "{ran}");

    // The old primary is a primary too, but not the one that is waited for.
    let ran = start(&server.url("postgres"), "min_timeline: 2, timeout: 300ms").finish();
    assert_eq!(step(&ran, "ready")["status"], "timed_out", "{ran}");
    let error = step(&ran, "ready")["error"].to_string();
    assert!(error.contains("it is on timeline 1"), "{error}");

    let run = start(&url, "role: primary, min_timeline: 2, timeout: 50s");
    // It connects for moments only, which nobody would see who looks now and then.
    crate::support::wait::until("the step to begin", SOON, || {
        let runs = std::fs::read_dir(run.state().join("runs")).ok()?;
        let journals = runs.flatten().map(|run| run.path().join("journal.jsonl"));
        let begun = |journal| {
            std::fs::read_to_string(journal).is_ok_and(|text| text.contains("\"step.start\""))
        };
        journals.into_iter().any(begun).then_some(())
    });
    standby.psql("SELECT pg_promote(false)");
    let ran = run.finish();
    ran.expect_code(0);
    let ready = step(&ran, "ready");
    assert_eq!(ready["outputs"]["timeline"], 2, "{ran}");
    let ran = start(&url, "role: standby, timeout: 300ms").finish();
    assert!(
        step(&ran, "ready")["error"]
            .to_string()
            .contains("not yet a standby"),
        "{ran}"
    );
}

#[test]
fn a_wrong_password_is_not_waited_for() {
    let server = Postgres::shared();
    server.create_role("ready_waiter", "right1");
    let began = Instant::now();
    let ran = run(
        &server.url_as("ready_waiter", "wrong1", "postgres"),
        "  - id: ready\n    postgres.ready: { connection: main, timeout: 50s }\n",
    );
    ran.expect_code(1);
    assert!(began.elapsed() < Duration::from_secs(20), "{ran}");
    let ready = step(&ran, "ready");
    assert_eq!(ready["status"], "failed", "{ran}");
    assert_eq!(ready["outputs"]["attempts"], 1, "{ran}");
    let error = ready["error"].to_string();
    assert!(error.contains("password authentication failed"), "{error}");
    assert!(!ran.stdout.contains("wrong1"), "{ran}");
}
