//! The playbooks for databases, as they are shipped, on a filled database: each is looked at without a
//! touch, planned, done exactly so, gone on with after a crash, and reported.

mod killed;
mod load;

use std::path::Path;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::sql::step;
use crate::pure::trace::{Call, is_pure, traced};
use crate::support::postgres::Options;
use crate::support::run::{LIMIT, Ran, Runbook};
use crate::support::session::Session;
use crate::support::shop::{EXPIRED_AUDIT, EXPIRED_SESSIONS, FRESH_AUDIT, LIVE_SESSIONS, Shop};
use crate::support::wait;

fn shipped_file(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks");
    std::fs::read(folder.join(name)).expect(name)
}

/// A playbook as it is shipped, with its project file, in a folder of its own.
fn shipped(name: &str, shop: &Shop) -> Runbook {
    Runbook::new()
        .file(name, shipped_file(name))
        .file("runbook.yaml", shipped_file("runbook.yaml"))
        .env("DATABASE_URL", shop.url())
        .env("DATABASE_RESERVE_URL", shop.url())
        .env("REDIS_URL", "redis://127.0.0.1:1")
}

/// The counts of a plan, by path.
fn counts(plan: &Value, path: &str) -> Value {
    let steps = plan["steps"].as_array().expect("steps");
    let step = steps.iter().find(|step| step["path"] == path);
    step.unwrap_or_else(|| panic!("no {path} in {plan:#}"))["preview"]["counts"].clone()
}

/// Which paths a plan would run, of the items of a step.
fn planned_items(plan: &Value, id: &str) -> Vec<String> {
    let steps = plan["steps"].as_array().expect("steps").iter();
    steps
        .filter(|step| step["id"] == id && step["decision"] == "run" && step["path"] != id)
        .map(|step| step["path"].as_str().expect("a path").to_owned())
        .collect()
}

fn done_items(ran: &Ran, id: &str) -> Vec<String> {
    let status = ran.json();
    let steps = status["steps"].as_array().expect("steps").iter();
    steps
        .filter(|step| step["id"] == id && step["status"] == "succeeded" && step["path"] != id)
        .map(|step| step["path"].as_str().expect("a path").to_owned())
        .collect()
}

#[track_caller]
fn report(ran: &Ran) -> String {
    let folder = std::fs::read_dir(ran.folder().join("reports")).expect("a folder of reports");
    let mut reports: Vec<_> = folder
        .map(|entry| entry.expect("an entry").path())
        .collect();
    reports.sort();
    std::fs::read_to_string(reports.last().expect("a report")).expect("a report")
}

#[test]
fn a_dry_run_of_each_touches_nothing() {
    for name in [
        "weekly-db-maintenance.yaml",
        "monthly-db-optimization.yaml",
        "db-connections-exhausted.yaml",
        "db-slow.yaml",
        "db-locks.yaml",
        "redis-health.yaml",
    ] {
        let run = Runbook::new()
            .file("playbook.yaml", shipped_file(name))
            .file("runbook.yaml", shipped_file("runbook.yaml"))
            .args(["run", "--dry-run", "playbook.yaml"]);
        let (ran, calls) = traced(run);
        ran.expect_code(0);
        // Beside what every dry-run does, it looks whose the playbook and its project file are.
        let looks = |call: &&Call| call.name == "statx" && call.rest.contains("/playbook.yaml\"");
        let touched: Vec<&Call> = { calls.iter() }
            .filter(|call| !is_pure(call) && !looks(call))
            .collect();
        assert!(touched.is_empty(), "{name}: {touched:#?}");
    }
}

#[test]
fn the_weekly_maintenance_does_what_it_planned() {
    let name = "weekly-db-maintenance.yaml";
    let shop = Shop::filled(10);
    let args = ["plan", name, "-o", "plan.json", "--format", "json"];
    let planned = shipped(name, &shop).args(args).run();
    planned.expect_code(0);
    let plan = planned.json();
    assert_eq!(counts(&plan, "purge_audit")["rows"], json!(EXPIRED_AUDIT));
    assert_eq!(
        counts(&plan, "purge_sessions")["rows"],
        json!(EXPIRED_SESSIONS)
    );
    assert!(planned_items(&plan, "rebuild").len() == 1, "{plan:#}");
    assert!(planned_items(&plan, "repair").len() == 1, "{plan:#}");
    // Nothing was touched.
    assert_eq!(
        shop.count("SELECT count(*) FROM audit_logs"),
        EXPIRED_AUDIT + FRESH_AUDIT
    );

    let before = shop.count("SELECT pg_relation_size('\"Events by Kind\"')");
    let ran = planned
        .then()
        .env("DATABASE_URL", shop.url())
        .env("REDIS_URL", "redis://127.0.0.1:1")
        .args([
            "run",
            "--plan",
            "plan.json",
            "--wait",
            "--yes",
            "--format",
            "json",
        ])
        .run();
    ran.expect_code(0);
    assert_eq!(
        step(&ran, "purge_audit")["outputs"]["deleted"],
        json!(EXPIRED_AUDIT)
    );
    assert_eq!(
        step(&ran, "purge_sessions")["outputs"]["deleted"],
        json!(EXPIRED_SESSIONS)
    );
    for id in ["rebuild", "repair"] {
        assert_eq!(done_items(&ran, id), planned_items(&plan, id), "{ran}");
    }
    assert_eq!(shop.count("SELECT count(*) FROM audit_logs"), FRESH_AUDIT);
    assert_eq!(
        shop.count("SELECT count(*) FROM user_sessions"),
        LIVE_SESSIONS
    );
    assert_eq!(
        shop.count("SELECT count(*) FROM pg_index WHERE NOT indisvalid"),
        0
    );
    let after = shop.count("SELECT pg_relation_size('\"Events by Kind\"')");
    assert!(after * 2 < before, "{before} bytes came to {after}");
    let stale =
        "SELECT count(*) FROM pg_stat_user_tables WHERE n_live_tup > 0 AND last_analyze IS NULL";
    assert_eq!(shop.count(stale), 0);
    let report = report(&ran);
    for named in [
        "# weekly-db-maintenance: succeeded",
        "UserData",
        "pgbench_accounts",
        "| --",
    ] {
        assert!(report.contains(named), "{named}: {report}");
    }

    // A second time there is nothing to purge, and the plan says so.
    let again = ran
        .then()
        .env("DATABASE_URL", shop.url())
        .env("REDIS_URL", "redis://127.0.0.1:1");
    let again = again.args(["plan", name, "--format", "json"]).run();
    let plan = again.expect_code(0).json();
    for id in ["purge_audit", "purge_sessions"] {
        let steps = plan["steps"].as_array().expect("steps");
        let step = steps.iter().find(|step| step["id"] == id).expect(id);
        assert_eq!(step["preview"]["kind"], "no_change", "{plan:#}");
    }
    // Nobody is asked about nothing, although the number of rows is in the question.
    let again = again
        .then()
        .env("DATABASE_URL", shop.url())
        .env("REDIS_URL", "redis://127.0.0.1:1")
        .args(["run", name, "--wait", "--yes", "--format", "json"])
        .run();
    again.expect_code(0);
    assert_eq!(step(&again, "purge_audit")["outputs"]["deleted"], json!(0));
}

#[test]
fn a_weekly_maintenance_that_is_killed_is_gone_on_with() {
    let name = "weekly-db-maintenance.yaml";
    let shop = Shop::filled(1);
    let started = shipped(name, &shop)
        .args(["run", name, "--wait", "--yes"])
        .start();
    wait::until("some of the rows to be gone", LIMIT, || {
        let left = shop.count("SELECT count(*) FROM audit_logs");
        (left < EXPIRED_AUDIT + FRESH_AUDIT).then_some(())
    });
    started.signal(Signal::KILL);
    let killed = started.finish();
    let ran = killed
        .then()
        .env("DATABASE_URL", shop.url())
        .env("REDIS_URL", "redis://127.0.0.1:1")
        .args(["resume", "last", "--yes", "--format", "json"])
        .run();
    ran.expect_code(0);
    assert_eq!(shop.count("SELECT count(*) FROM audit_logs"), FRESH_AUDIT);
    assert_eq!(
        shop.count("SELECT count(*) FROM user_sessions"),
        LIVE_SESSIONS
    );
    let fresh = "SELECT count(*) FROM audit_logs WHERE created_at > now() - interval '30 days'";
    assert_eq!(shop.count(fresh), FRESH_AUDIT);
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'rb/%'";
    assert_eq!(shop.count(sessions), 0);
    ran.then().args(["audit", "verify"]).run().expect_code(0);
}

#[test]
fn the_monthly_optimization_repairs_and_locks_nothing_unasked() {
    let name = "monthly-db-optimization.yaml";
    let shop = Shop::filled(1);
    let ran = shipped(name, &shop)
        .args(["run", name, "--wait", "--yes", "--format", "json"])
        .args(["-p", "statistics_age=0s"])
        .run();
    ran.expect_code(0);
    // The sequence was behind: the seed's own SQL is a syntax error.
    assert!(shop.count("SELECT nextval('\"UserData_Id_seq\"')") > 5000);
    assert_eq!(step(&ran, "rewrite")["status"], "succeeded");
    assert_eq!(done_items(&ran, "rewrite"), Vec::<String>::new());
    let vacuumed = "SELECT count(*) FROM pg_stat_user_tables WHERE relname = 'events' AND last_vacuum IS NOT NULL";
    assert_eq!(shop.count(vacuumed), 1);
    assert!(report(&ran).contains("# monthly-db-optimization"), "{ran}");

    // A rewrite waits for somebody who approves of it.
    let size = "SELECT pg_relation_size('events')";
    let before = shop.count(size);
    let waiting = shipped(name, &shop)
        .args([
            "run",
            name,
            "--yes",
            "--format",
            "json",
            "-p",
            "full_tables=[\"events\"]",
        ])
        .args([
            "-p",
            "statistics_age=0s",
            "-p",
            "window_from=00:00",
            "-p",
            "window_to=23:59",
        ])
        .run();
    waiting.expect_code(3);
    assert_eq!(shop.count(size), before);
    waiting
        .then()
        .args(["approve", "last", "rewrite", "--reason", "quiet"])
        .run()
        .expect_code(0);
    let done = waiting
        .then()
        .env("DATABASE_URL", shop.url())
        .env("REDIS_URL", "redis://127.0.0.1:1")
        .args(["resume", "last", "--yes", "--format", "json"])
        .run();
    done.expect_code(0);
    assert!(shop.count(size) < before / 2, "{done}");
}

#[test]
fn exhausted_connections_are_cleared_of_the_right_ones() {
    let name = "db-connections-exhausted.yaml";
    let options = Options {
        max_connections: Some(12),
        settings: vec!["superuser_reserved_connections = 3".to_owned()],
        ..Options::default()
    };
    let shop = Shop::with(1, options);
    shop.psql("CREATE ROLE app LOGIN; GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO app");
    let app = shop.server.url_as("app", "x", "shop");
    // Whoever watches has a connection already, and takes nobody's.
    let watch = Session::open(&shop.url(), "watch");
    let sees = |what: &str| watch.run(&format!("SELECT 1 / ({what})::int")).is_ok();
    let sessions = |of: &str, least: usize| {
        sees(&format!(
            "(SELECT count(*) >= {least} FROM pg_stat_activity WHERE {of})"
        ))
    };
    let idle: Vec<Session> = (0..5).map(|_| Session::open(&app, "web")).collect();
    let stuck = Session::open(&app, "worker");
    stuck
        .run("BEGIN; UPDATE pgbench_branches SET bbalance = 1")
        .expect("a lock");
    let update = "UPDATE pgbench_branches SET bbalance = 2";
    let blocked = [(); 2].map(|()| Session::open(&app, "worker").begin(update));
    wait::until("all connections to be taken", LIMIT, || {
        let waits = sessions("wait_event_type = 'Lock'", 2);
        let idle = "application_name = 'web' AND state_change < now() - interval '3 s'";
        (waits && sessions(idle, 5)).then_some(())
    });
    // The seed's way: nobody gets in to clear anything.
    let refused = shop.server.try_psql(&app, "SELECT 1");
    assert!(
        refused.stderr.contains("remaining connection slots"),
        "{refused}"
    );

    let ran = shipped(name, &shop)
        .env("DATABASE_URL", &app)
        .args(["run", name, "--wait", "--yes", "--format", "json"])
        .args(["-p", "idle_for=3s", "-p", "stuck_for=0s"])
        .run();
    ran.expect_code(0);
    let ended = |id: &str| {
        let victims = step(&ran, id)["outputs"]["victims"].clone();
        let names = victims.as_array().expect("a list").iter();
        let names = names.map(|victim| victim["application"].as_str().unwrap_or_default());
        names.map(str::to_owned).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(ended("stuck"), "worker", "{ran}");
    assert_eq!(ended("idle"), "web web web web web", "{ran}");
    let before = step(&ran, "before")["findings"][0].clone();
    assert_eq!(before["level"], "warning", "the reserve was used: {before}");
    let left =
        "SELECT string_agg(application_name, ',') FROM pg_stat_activity WHERE usename = 'app'";
    wait::until("those that waited to go on", LIMIT, || {
        let left = shop.psql(left);
        (left == "worker,worker").then_some(())
    });
    drop((idle, stuck, blocked, watch));
    assert!(report(&ran).contains("| --"), "{ran}");
}

#[test]
fn locks_are_ended_at_their_root() {
    let name = "db-locks.yaml";
    let shop = Shop::filled(1);
    let root = Session::open(&shop.url(), "forgotten");
    root.run("BEGIN; UPDATE pgbench_branches SET bbalance = 1")
        .expect("a lock");
    let next = Session::open(&shop.url(), "next");
    let _next = next.begin("UPDATE pgbench_branches SET bbalance = 2");
    wait::until("somebody to wait", LIMIT, || {
        let waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
        (shop.count(waiting) == 1).then_some(())
    });
    let ran = shipped(name, &shop)
        .args([
            "run",
            name,
            "--yes",
            "--format",
            "json",
            "-p",
            "stuck_for=0s",
        ])
        .run();
    ran.expect_code(0);
    assert_eq!(
        shop.psql("SELECT bbalance FROM pgbench_branches"),
        "2",
        "{ran}"
    );
    let ended = step(&ran, "terminate")["outputs"]["victims"].clone();
    assert_eq!(ended[0]["application"], "forgotten", "{ran}");
}

#[test]
fn a_slow_database_is_relieved() {
    let name = "db-slow.yaml";
    let shop = Shop::filled(1);
    let slow = Session::open(&shop.url(), "report");
    let _slow = slow.begin("SELECT pg_sleep(600)");
    wait::until("the statement to run", LIMIT, || {
        let active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
        (shop.count(active) == 1).then_some(())
    });
    let ran = shipped(name, &shop)
        .args([
            "run",
            name,
            "--wait",
            "--yes",
            "--format",
            "json",
            "-p",
            "longest=0s",
        ])
        .args(["-p", "application=[\"report\"]"])
        .run();
    ran.expect_code(0);
    let active = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'SELECT pg_sleep%' AND state = 'active'";
    assert_eq!(shop.count(active), 0, "{ran}");
    let stale = "SELECT count(*) FROM pg_stat_user_tables WHERE relname = 'audit_logs' AND last_analyze IS NULL";
    assert_eq!(shop.count(stale), 0);
}
