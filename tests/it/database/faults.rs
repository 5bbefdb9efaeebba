//! A PostgreSQL that is in trouble, or on the other side of a network that is: every step ends in time,
//! and says what is so. What is not known is said to be unknown.

use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::sql::{playbook, run, step};
use crate::support::certificates::{Authority, Subject};
use crate::support::pgbouncer::PgBouncer;
use crate::support::postgres::{Options, Postgres};
use crate::support::proxy::{Fault, Proxy};
use crate::support::run::{Ran, Runbook};
use crate::support::wait;

pub const LIMIT: Duration = Duration::from_secs(20);

/// A step that looks.
const LOOK: &str = "  - { id: look, on_error: continue, postgres.query: { connection: main, sql: SELECT count(*) FROM t, timeout: 2s } }\n";

/// A check.
const CHECK: &str =
    "  - { id: check, on_error: continue, postgres.activity: { connection: main, timeout: 2s } }\n";

/// A step that writes one row.
pub const WRITE: &str = "  - { id: write, timeout: 4s, postgres.execute: { connection: main, sql: INSERT INTO t VALUES (1) } }\n";

/// A look that takes as long as it is let.
const LONG_LOOK: &str = "SELECT count(*) FROM pg_class a, pg_class b, pg_class c, pg_class d";

/// All three.
fn all() -> String {
    [CHECK, LOOK, WRITE].concat()
}

/// A database of its own in the shared server, with an empty table `t`.
pub fn database(server: &Postgres) -> String {
    let database = server.new_database();
    server.psql_in(&database, "CREATE TABLE t (a int)");
    database
}

pub fn rows(server: &Postgres, database: &str) -> String {
    server.psql_in(database, "SELECT count(*) FROM t")
}

/// What a step says of its error, and of what to do about it.
#[track_caller]
fn said(ran: &Ran, id: &str) -> String {
    let step = step(ran, id);
    format!("{} {}", step["error"], step["help"])
}

#[track_caller]
fn status(ran: &Ran, id: &str) -> String {
    step(ran, id)["status"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

/// The level and the text of a check's worst finding.
#[track_caller]
fn found(ran: &Ran, id: &str) -> (String, String) {
    let findings = step(ran, id)["findings"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let weight = |finding: &Value| {
        let order = ["ok", "warning", "unknown", "critical"];
        order.iter().position(|level| finding["level"] == *level)
    };
    let worst = findings.iter().max_by_key(|finding| weight(finding));
    let worst = worst.unwrap_or_else(|| panic!("{id} found nothing\n{ran}"));
    let level = worst["level"].as_str().unwrap_or_default().to_owned();
    (level, worst.to_string())
}

/// A run to come.
pub fn prepared(url: &str, steps: &str) -> Runbook {
    Runbook::new()
        .file("playbook.yaml", playbook(steps))
        .env("DATABASE_URL", url)
        .args(["run", "playbook.yaml", "--yes", "--format", "json"])
}

/// Waits until a backend of a run of ours is in the middle of `text`, and returns its pid.
#[track_caller]
fn backend(server: &Postgres, text: &str) -> String {
    let sql = format!(
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'rb/%' AND state = 'active'
         AND query LIKE '%{text}%' AND query NOT LIKE 'EXPLAIN%'"
    );
    wait::until("a backend", LIMIT, || {
        Some(server.psql(&sql)).filter(|pid| !pid.is_empty())
    })
}

/// A backend that is stopped (SIGSTOP), until this is dropped.
struct Stopped(Pid);

impl Stopped {
    #[track_caller]
    fn of(pid: &str) -> Stopped {
        let pid = pid.parse().ok().and_then(Pid::from_raw).expect("a pid");
        kill_process(pid, Signal::STOP).expect("it is there");
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).ok();
    }
}

#[test]
fn a_connection_that_is_cut_at_commit_is_looked_into() {
    let server = Postgres::shared();
    // Where the server can be asked, what it says is what counts.
    for (fault, code, ends, count) in [
        (Fault::CutBefore, 1, "failed", "0"),
        (Fault::CutAfter, 0, "succeeded", "1"),
    ] {
        let database = database(server);
        let proxy = Proxy::before(server.port());
        proxy.at("COMMIT", fault);
        let ran = run(&proxy.url(&database), WRITE);
        ran.expect_code(code);
        assert!(proxy.has_seen());
        assert_eq!(status(&ran, "write"), ends, "{ran}");
        assert_eq!(rows(server, &database), count);
        if code == 1 {
            assert!(said(&ran, "write").contains("it was rolled back"), "{ran}");
        }
    }
    // Where it cannot, nobody knows.
    for (fault, count) in [(Fault::CutBefore, "0"), (Fault::CutAfter, "1")] {
        let database = database(server);
        let proxy = Proxy::before(server.port());
        proxy.at_and_close("COMMIT", fault);
        let ran = run(&proxy.url(&database), WRITE);
        ran.expect_code(4);
        assert_eq!(status(&ran, "write"), "unknown", "{ran}");
        assert!(said(&ran, "write").contains("is not known"), "{ran}");
        assert_eq!(rows(server, &database), count);
        // It is not done again before somebody has looked.
        proxy.open();
        let again = ran.then().env("DATABASE_URL", proxy.url(&database));
        again.args(["resume", "last", "--yes"]).run().expect_code(4);
        assert_eq!(rows(server, &database), count);
    }
}

#[test]
fn a_commit_that_is_swallowed_ends_in_time() {
    let server = Postgres::shared();
    for closes in [false, true] {
        let database = database(server);
        let proxy = Proxy::before(server.port());
        match closes {
            true => proxy.at_and_close("COMMIT", Fault::Swallow),
            false => proxy.at("COMMIT", Fault::Swallow),
        }
        let begun = Instant::now();
        let ran = run(&proxy.url(&database), &WRITE.replace("4s", "1s"));
        assert!(begun.elapsed() < Duration::from_secs(20), "{ran}");
        // The transaction stays open on the server for as long as the connection seems to be.
        ran.expect_code(4);
        assert_eq!(status(&ran, "write"), "unknown", "{ran}");
        assert_eq!(rows(server, &database), "0");
    }
}

#[test]
fn a_backend_that_is_stopped_is_not_waited_for() {
    let server = Postgres::start(&Options::default());
    server.psql("CREATE TABLE t (a int)");
    let url = server.url("postgres");
    let sleep = |more: &str| {
        format!(
            "  - {{ id: write, {more} sql: \"INSERT INTO t SELECT 1 FROM pg_sleep(300)\" }} }}\n"
        )
    };
    let execute = "postgres.execute: { connection: main,";
    let stopped = |run: Runbook, text: &str| {
        let begun = Instant::now();
        let started = run.start();
        let stopped = Stopped::of(&backend(&server, text));
        let ran = started.finish();
        assert!(begun.elapsed() < Duration::from_secs(20), "{ran}");
        drop(stopped);
        let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'rb/%'";
        wait::until("its end", LIMIT, || {
            (server.psql(left) == "0").then_some(())
        });
        ran
    };
    // In a transaction that nobody has committed.
    let together = sleep(&format!("timeout: 1s, {execute}"));
    let ran = stopped(prepared(&url, &together), "pg_sleep");
    ran.expect_code(1);
    assert_eq!(status(&ran, "write"), "timed_out", "{ran}");
    // By itself: it may be done when the backend goes on.
    let alone = sleep(&format!("timeout: 1s, {execute} transaction: false,"));
    let ran = stopped(prepared(&url, &alone), "pg_sleep");
    ran.expect_code(4);
    assert_eq!(status(&ran, "write"), "unknown", "{ran}");
    // The run's own deadline.
    let all = prepared(&url, &sleep(execute)).args(["--timeout", "1s"]);
    let ran = stopped(all, "pg_sleep");
    ran.expect_code(124);
    assert_eq!(status(&ran, "write"), "timed_out", "{ran}");
    // A look.
    let look = format!(
        "  - {{ id: look, postgres.query: {{ connection: main, timeout: 1s, sql: \"{LONG_LOOK}\" }} }}\n"
    );
    let ran = stopped(prepared(&url, &look), "pg_class");
    ran.expect_code(1);
    assert!(said(&ran, "look").contains("no answer in 1s"), "{ran}");
    assert_eq!(server.psql("SELECT count(*) FROM t"), "0");
}

#[test]
fn a_server_that_says_a_byte_a_second_is_not_waited_for() {
    let server = Postgres::shared();
    let database = database(server);
    let proxy = Proxy::before(server.port());
    let begun = Instant::now();
    proxy.now(Fault::OneByteASecond);
    let url = format!("{}?connect_timeout=1", proxy.url(&database));
    let ran = run(&url, &all());
    assert!(begun.elapsed() < Duration::from_secs(20), "{ran}");
    ran.expect_code(1);
    assert_eq!(found(&ran, "check").0, "critical");
    for id in ["look", "write"] {
        assert_eq!(status(&ran, id), "failed", "{ran}");
        assert!(said(&ran, id).contains("no answer came in"), "{ran}");
    }
    // It becomes slow while it answers a statement that has been begun.
    proxy.now(Fault::None);
    proxy.at("INSERT", Fault::OneByteASecond);
    let ran = run(&proxy.url(&database), &WRITE.replace("4s", "1s"));
    ran.expect_code(1);
    assert_eq!(status(&ran, "write"), "timed_out", "{ran}");
    assert_eq!(rows(server, &database), "0");
}

#[test]
fn a_server_that_recovers_is_not_ready() {
    let server = Postgres::start(&Options::default());
    server.psql("CREATE TABLE t (a int)");
    let look = |ran: &Ran| {
        ran.expect_code(1);
        let (level, text) = found(ran, "check");
        assert_eq!(level, "critical");
        assert!(text.contains("57P03"), "{text}");
        for id in ["look", "write"] {
            assert_eq!(status(ran, id), "failed", "{ran}");
            let said = said(ran, id);
            assert!(
                said.contains("57P03") && said.contains("server's log"),
                "{said}"
            );
        }
    };
    server.stop();
    server.start_to_recover();
    look(&run(&server.url("postgres"), &all()));
    server.finish_starting();
    run(&server.url("postgres"), &all()).expect_code(0);
    server.stop();
    server.start_as_closed_standby();
    look(&run(&server.url("postgres"), &all()));
}

#[test]
fn a_standby_is_read_and_not_written_to() {
    let primary = Postgres::start(&Options::default());
    primary.psql("CREATE TABLE t (a int)");
    let standby = primary.standby();
    let ran = run(&standby.url("postgres"), &all());
    ran.expect_code(1);
    assert_eq!(found(&ran, "check").0, "ok", "{ran}");
    assert_eq!(status(&ran, "look"), "succeeded");
    assert_eq!(status(&ran, "write"), "failed");
    let said = said(&ran, "write");
    for part in ["it is a standby", "target_session_attrs=primary"] {
        assert!(said.contains(part), "{said}");
    }
    // With all hosts in the URL, the primary is found.
    let url = format!(
        "postgres://postgres@127.0.0.1:{},127.0.0.1:{}/postgres?target_session_attrs=primary",
        standby.port(),
        primary.port()
    );
    run(&url, &all()).expect_code(0);
    assert_eq!(primary.psql("SELECT count(*) FROM t"), "1");
}

#[test]
fn who_is_turned_away_is_told_so() {
    let server = Postgres::start(&Options {
        tls: true,
        certificate: Some(Subject::expired()),
        ..Options::default()
    });
    server.create_role("known", "right1");
    let url = server.url_as("known", "wrong1", "postgres");
    let ran = run(&url, &all());
    ran.expect_code(1);
    let (level, text) = found(&ran, "check");
    assert_eq!(level, "critical");
    assert!(text.contains("28P01"), "{text}");
    for id in ["look", "write"] {
        assert_eq!(status(&ran, id), "failed", "{ran}");
        let said = said(&ran, id);
        assert!(
            said.contains("28P01") && said.contains("the password"),
            "{said}"
        );
    }
    assert!(!format!("{ran}").contains("wrong1"), "{ran}");

    let ca = Authority::shared().file();
    let url = format!(
        "{}?sslmode=verify-full&sslrootcert={}",
        server.url("postgres"),
        ca.display()
    );
    let ran = run(&url, &all());
    ran.expect_code(1);
    let (level, text) = found(&ran, "check");
    assert_eq!(level, "critical");
    assert!(text.contains("expired"), "{text}");
    for id in ["look", "write"] {
        assert_eq!(status(&ran, id), "failed", "{ran}");
        assert!(said(&ran, id).contains("expired"), "{ran}");
    }
}

#[test]
fn a_pooler_is_read_through_and_not_written_through() {
    let server = Postgres::start(&Options::default());
    server.psql("CREATE TABLE t (a int)");
    // The second does not even say that it knows no sessions.
    for settings in ["", "ignore_startup_parameters = options"] {
        let pooler = PgBouncer::before(&server, settings);
        let ran = run(&pooler.url("postgres"), &all());
        ran.expect_code(1);
        assert_eq!(found(&ran, "check").0, "ok", "{ran}");
        assert_eq!(status(&ran, "look"), "succeeded", "{ran}");
        assert_eq!(status(&ran, "write"), "failed", "{ran}");
        let said = said(&ran, "write");
        assert!(said.contains("name the server itself"), "{said}");
    }
    assert_eq!(server.psql("SELECT count(*) FROM t"), "0");
}

#[test]
fn the_reserve_is_for_those_who_help() {
    let server = Postgres::start(&Options {
        max_connections: Some(6),
        settings: vec![
            "superuser_reserved_connections = 3".to_owned(),
            "log_connections = on".to_owned(),
        ],
        ..Options::default()
    });
    server.psql("CREATE TABLE t (a int); CREATE ROLE app LOGIN; GRANT ALL ON t TO app");
    let app = format!("postgres://app@127.0.0.1:{}/postgres", server.port());
    let mut steps = playbook(&all());
    steps = steps.replace(
        "secrets.database_url }}\" }",
        "secrets.database_url }}\", reserve: { url: \"${{ secrets.reserve }}\" } }",
    );
    steps = steps.replace("secrets:\n", "secrets:\n  reserve: { env: RESERVE_URL }\n");
    let go = || {
        Runbook::new()
            .file("playbook.yaml", &steps)
            .env("DATABASE_URL", &app)
            .env("RESERVE_URL", server.url("postgres"))
            .args(["run", "playbook.yaml", "--yes", "--format", "json"])
            .run()
    };
    go().expect_code(0);
    // Three clients take what there is.
    let logins = || {
        let log = server.log();
        log.matches("connection authorized: user=app").count()
    };
    let before = logins();
    let ran = thread::scope(|clients| {
        for _ in 0..3 {
            clients.spawn(|| server.try_psql(&app, "SELECT pg_sleep(300)"));
        }
        // Whoever asks the server itself before that takes a place from them.
        wait::until("their logins", LIMIT, || {
            (logins() == before + 3).then_some(())
        });
        let all =
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app' AND state = 'active'";
        wait::until("them all", LIMIT, || {
            (server.psql(all) == "3").then_some(())
        });
        let ran = go();
        server.psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
        ran
    });
    ran.expect_code(1);
    let check = step(&ran, "check");
    let findings = check["findings"].to_string();
    assert!(
        findings.contains("all connections are taken: looked as"),
        "{ran}"
    );
    assert_eq!(check["outputs"]["active"], 3, "{ran}");
    for id in ["look", "write"] {
        assert_eq!(status(&ran, id), "failed", "{ran}");
        assert!(said(&ran, id).contains("53300"), "{ran}");
    }
    assert_eq!(server.psql("SELECT count(*) FROM t"), "1");
}

#[test]
fn ten_runs_have_ten_sessions() {
    let server = Postgres::start(&Options::default());
    server.psql(
        "CREATE TABLE t (a int); CREATE ROLE app LOGIN CONNECTION LIMIT 10; GRANT ALL ON t TO app",
    );
    let mut steps = String::new();
    for n in 0..4 {
        steps.push_str(&format!(
            "  - {{ id: look{n}, needs: [], postgres.query: {{ connection: main, sql: SELECT count(*) FROM t }} }}\n  \
             - {{ id: write{n}, needs: [], postgres.execute: {{ connection: main, sql: INSERT INTO t VALUES ({n}) }} }}\n"
        ));
    }
    let text = playbook(&steps).replace("database_url }}\" }", "database_url }}\", pool_size: 1 }");
    assert!(text.contains("pool_size"), "{text}");
    let url = format!("postgres://app@127.0.0.1:{}/postgres", server.port());
    let start = || {
        Runbook::new()
            .file("playbook.yaml", &text)
            .env("DATABASE_URL", &url)
            .args(["run", "playbook.yaml", "--yes", "--format", "json"])
            .start()
    };
    // An eleventh session of theirs would be turned away by the server.
    let runs: Vec<_> = (0..10).map(|_| start()).collect();
    for run in runs {
        run.finish().expect_code(0);
    }
    assert_eq!(server.psql("SELECT count(*) FROM t"), "40");
    assert!(!server.log().contains("unexpected EOF"), "{}", server.log());
}

#[test]
fn a_cancelled_run_leaves_no_session_and_no_statement() {
    let server = Postgres::start(&Options::default());
    server.psql("CREATE TABLE t (a int)");
    let long = "  - { id: write, postgres.execute: { connection: main, sql: \"INSERT INTO t SELECT 1 FROM pg_sleep(300)\" } }\n";
    let look = format!(
        "  - {{ id: write, postgres.query: {{ connection: main, timeout: 10m, sql: \"{LONG_LOOK}\" }} }}\n"
    );
    let both = [(long, "pg_sleep"), (&look, "pg_class")];
    for (at, (steps, text)) in both.into_iter().enumerate() {
        let started = prepared(&server.url("postgres"), steps).start();
        backend(&server, text);
        let begun = Instant::now();
        started.signal(Signal::INT);
        let ran = started.finish();
        assert!(begun.elapsed() < Duration::from_secs(5), "{ran}");
        ran.expect_code(130);
        assert_eq!(status(&ran, "write"), "cancelled", "{ran}");
        let left = "SELECT state, query FROM pg_stat_activity WHERE application_name LIKE 'rb/%'";
        let ended = wait::try_until(LIMIT, || server.psql(left).is_empty().then_some(()));
        assert!(
            ended.is_some(),
            "{}\n{}\n{ran}",
            server.psql(left),
            server.log()
        );
        let cancelled = server
            .log()
            .matches("canceling statement due to user request")
            .count();
        assert_eq!(cancelled, at + 1, "{}", server.log());
    }
    assert_eq!(server.psql("SELECT count(*) FROM t"), "0");
}
