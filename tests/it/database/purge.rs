//! `postgres.purge`: none too many and none too few, whatever goes on beside it.

mod traps;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rustix::process::Signal;

use super::sql::{playbook, run, step};
use crate::support::postgres::{Options, Postgres};
use crate::support::run::Runbook;
use crate::support::session::Session;
use crate::support::wait;

const LONG: Duration = Duration::from_secs(30);

/// A table `t` of `rows` rows, of which the odd ones are old.
fn filled(server: &Postgres, rows: u32) -> String {
    let database = server.new_database();
    server.psql_in(
        &database,
        &format!(
            "CREATE TABLE t (id int PRIMARY KEY, old bool NOT NULL, note text);
             INSERT INTO t SELECT g, g % 2 = 1, 'x' FROM generate_series(1, {rows}) g;
             ANALYZE t"
        ),
    );
    database
}

fn purge(more: &str) -> String {
    format!(
        "  - id: purge\n    postgres.purge: {{ connection: main, table: t, where: old{more} }}\n"
    )
}

fn start(server: &Postgres, database: &str, steps: &str, format: &str) -> Runbook {
    Runbook::new()
        .file("playbook.yaml", playbook(steps))
        .env("DATABASE_URL", server.url(database))
        .args(["run", "playbook.yaml", "--yes", "-v", "--format", format])
}

fn number(server: &Postgres, database: &str, sql: &str) -> u64 {
    let text = server.psql_in(database, sql);
    text.parse().expect("a number")
}

#[test]
fn rows_that_come_meanwhile_are_met_and_others_are_spared() {
    let server = Postgres::shared();
    let database = filled(server, 200_000);
    let url = server.url(&database);
    let left = || number(server, &database, "SELECT count(*) FROM t WHERE old");
    let stop = AtomicBool::new(false);
    let (inserted, ran) = std::thread::scope(|scope| {
        let inserter = scope.spawn(|| {
            let session = Session::open(&url, "inserter");
            let mut next = 1_000_000_i64;
            while !stop.load(Ordering::Relaxed) {
                // One that matches, one that does not, and two that change sides.
                let sql = format!(
                    "INSERT INTO t VALUES ({next}, true, 'new'), ({}, false, 'new');
                     UPDATE t SET old = false WHERE id = {} AND old;
                     UPDATE t SET note = 'y' WHERE id = {}",
                    next + 1,
                    200_001 - (next - 1_000_000) - 2,
                    100_001 + (next - 1_000_000),
                );
                session.run(&sql).unwrap();
                next += 2;
            }
            (next - 1_000_000) / 2
        });
        let run = start(
            server,
            &database,
            &purge(", batch: 1000, pause: 2ms"),
            "json",
        )
        .start();
        let half = wait::try_until(LONG, || (left() < 50_000).then_some(()));
        stop.store(true, Ordering::Relaxed);
        assert!(half.is_some(), "half of the rows did not go");
        (inserter.join().unwrap(), run.finish())
    });
    ran.expect_code(0);
    assert_eq!(left(), 0);
    let outputs = step(&ran, "purge")["outputs"].clone();
    let all = 200_000 + 2 * u64::try_from(inserted).unwrap();
    let there = number(server, &database, "SELECT count(*) FROM t");
    assert_eq!(outputs["deleted"], all - there, "{outputs}");
    // Those that never matched, and those that were changed before their batch came.
    let evens = number(
        server,
        &database,
        "SELECT count(*) FROM t WHERE id % 2 = 0 AND id <= 200000",
    );
    assert_eq!(evens, 100_000);
    let new = number(
        server,
        &database,
        "SELECT count(*) FROM t WHERE note = 'new'",
    );
    assert_eq!(new, u64::try_from(inserted).unwrap());
    assert!(outputs["passes"].as_u64().unwrap() >= 2, "{outputs}");
    assert!(outputs["batches"].as_u64().unwrap() >= 100, "{outputs}");
}

#[test]
fn any_table_is_purged_with_or_without_a_key() {
    let server = Postgres::shared();
    let database = server.new_database();
    server.psql_in(
        &database,
        r#"
CREATE SCHEMA "S.ch=""ema";
CREATE TABLE "S.ch=""ema"."Log
Lines" ("Tenant Id" int, "batch" text, "address" timestamptz, PRIMARY KEY ("Tenant Id", "batch"));
INSERT INTO "S.ch=""ema"."Log
Lines" SELECT g % 10, 'n' || g, now() - make_interval(days => g) FROM generate_series(1, 1000) g;
CREATE TABLE no_key (a int);
INSERT INTO no_key SELECT g % 4 FROM generate_series(1, 1000) g;
CREATE TABLE parted (a int, b int) PARTITION BY RANGE (a);
CREATE TABLE "Parted 1" PARTITION OF parted FOR VALUES FROM (0) TO (500);
CREATE TABLE parted2 PARTITION OF parted FOR VALUES FROM (500) TO (2000);
INSERT INTO parted SELECT g, g % 5 FROM generate_series(1, 1000) g;
CREATE VIEW v AS SELECT * FROM no_key"#,
    );
    let steps = r#"
  - id: composite
    postgres.purge:
      connection: main
      table: "\"S.ch=\"\"ema\".\"Log\nLines\""
      where: |
        "Log
        Lines"."Tenant Id" = ANY($1) AND "address" < now() - make_interval(days => $2) -- old
      bind: [[1, 2, 3], 500]
      batch: 7
  - { id: keyless, postgres.purge: { connection: main, table: no_key, where: a = 1, batch: 100 } }
  - { id: parted, postgres.purge: { connection: main, table: parted, where: parted.b = 0, max: 200 } }
  - { id: again, postgres.purge: { connection: main, table: parted, where: parted.b = 0 } }
"#;
    let ran = run(&server.url(&database), steps);
    ran.expect_code(0);
    let composite = step(&ran, "composite");
    assert_eq!(composite["outputs"]["deleted"], 150, "{composite}");
    assert_eq!(composite["outputs"]["batches"], 22);
    assert_eq!(step(&ran, "keyless")["outputs"]["deleted"], 250);
    assert_eq!(step(&ran, "parted")["outputs"]["deleted"], 200);
    let again = step(&ran, "again");
    assert_eq!(again["outputs"]["deleted"], 0);
    assert_eq!(again["changed"], false);
    let wrong = "  - { id: view, postgres.purge: { connection: main, table: v, where: a = 2 } }\n";
    let ran = run(&server.url(&database), wrong);
    ran.expect_code(1);
    assert!(step(&ran, "view")["error"].to_string().contains("view"));
    let left = number(server, &database, "SELECT count(*) FROM parted");
    assert_eq!(
        (left, number(server, &database, "SELECT count(*) FROM v")),
        (800, 750)
    );
}

/// S05's own way: one DELETE without `lock_timeout` waits for one row without an end, and all that time
/// whoever wants one of the others waits for it. Statistics are gathered before it, dead rows stay.
#[test]
fn one_locked_row_keeps_no_writer_waiting() {
    let server = Postgres::shared();
    let database = filled(server, 20_000);
    let url = server.url(&database);
    let holder = Session::open(&url, "holder");
    let writer = Session::open(&url, "writer");
    writer.run("SET lock_timeout = '200ms'").unwrap();
    let blocked = |name: &str| {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' \
             AND application_name LIKE '{name}' AND wait_event_type = 'Lock'"
        );
        wait::until("it to wait for a lock", LONG, || {
            (server.psql(&sql) == "1").then_some(())
        });
    };
    let hold = "BEGIN; UPDATE t SET note = 'held' WHERE id = 19999";

    holder.run(hold).unwrap();
    let seed = std::thread::scope(|scope| {
        let url = format!("{url}?application_name=seed");
        let seeds =
            scope.spawn(move || server.try_psql(&url, "ANALYZE t; DELETE FROM t WHERE old"));
        blocked("seed");
        let error = writer
            .run("UPDATE t SET note = 'w' WHERE id = 1")
            .unwrap_err();
        assert!(error.starts_with("55P03"), "{error}");
        holder.run("ROLLBACK").unwrap();
        seeds.join().unwrap()
    });
    seed.expect_code(0);
    let told = "SELECT last_vacuum IS NULL, reltuples FROM pg_stat_user_tables u JOIN pg_class c \
                ON c.oid = u.relid WHERE u.relname = 't'";
    assert_eq!(server.psql_in(&database, told), "t|20000");

    let database = filled(server, 20_000);
    let url = server.url(&database);
    let holder = Session::open(&url, "holder");
    let writer = Session::open(&url, "writer");
    writer.run("SET lock_timeout = '200ms'").unwrap();
    holder.run(hold).unwrap();
    let steps = purge(", batch: 500, lock_timeout: 100ms, vacuum: true");
    let run = start(server, &database, &steps, "json").start();
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' \
         AND application_name LIKE 'rb/%' AND wait_event_type = 'Lock'"
    );
    wait::until("it to wait for a lock", LONG, || {
        (server.psql(&sql) == "1").then_some(())
    });
    writer.run("UPDATE t SET note = 'w' WHERE id = 1").unwrap();
    holder.run("COMMIT").unwrap();
    let ran = run.finish();
    ran.expect_code(0);
    let outputs = step(&ran, "purge")["outputs"].clone();
    assert_eq!(outputs["deleted"], 10_000, "{outputs}");
    assert_eq!(outputs["vacuumed"], true);
    let told = "SELECT last_vacuum IS NULL, reltuples FROM pg_stat_user_tables u JOIN pg_class c \
                ON c.oid = u.relid WHERE u.relname = 't'";
    let fresh = || (server.psql_in(&database, told) == "f|10000").then_some(());
    wait::until("the statistics", LONG, fresh);
}

#[test]
fn a_lock_that_stays_fails_the_step_and_it_says_how_many_are_gone() {
    let server = Postgres::shared();
    let database = filled(server, 2000);
    let url = server.url(&database);
    let holder = Session::open(&url, "holder");
    holder
        .run("BEGIN; SELECT FROM t WHERE id = 1501 FOR UPDATE")
        .unwrap();
    let steps = purge(", batch: 100, lock_timeout: 20ms");
    let ran = run(&url, &steps);
    ran.expect_code(1);
    let error = step(&ran, "purge")["error"].to_string();
    assert!(error.contains("700 rows are gone by then"), "{error}");
    assert_eq!(step(&ran, "purge")["outputs"]["deleted"], 700);
    holder.run("ROLLBACK").unwrap();
    let ran = run(&url, &steps);
    ran.expect_code(0);
    assert_eq!(step(&ran, "purge")["outputs"]["deleted"], 300);
    assert_eq!(server.psql_in(&database, "SELECT count(*) FROM t"), "1000");
}

#[test]
fn killed_in_the_middle_it_goes_on_with_the_rest() {
    let server = Postgres::shared();
    let database = filled(server, 20_000);
    let left = || number(server, &database, "SELECT count(*) FROM t WHERE old");
    let steps = purge(", batch: 100, pause: 10ms");
    let run = start(server, &database, &steps, "json").start();
    wait::until("some rows to go", LONG, || (left() < 9000).then_some(()));
    run.signal(Signal::KILL);
    let killed = run.finish();
    assert_eq!(killed.code, -9);
    assert!(left() > 0, "it was killed too late");
    let resumed = killed
        .then()
        .env("DATABASE_URL", server.url(&database))
        .args(["resume", "last", "--yes"])
        .run();
    resumed.expect_code(0);
    assert_eq!(
        server.psql_in(&database, "SELECT count(*), bool_or(old) FROM t"),
        "10000|f"
    );
}

#[test]
fn an_archive_gets_exactly_what_is_deleted() {
    let server = Postgres::shared();
    let database = filled(server, 10_000);
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE SCHEMA \"Old Rows\"; CREATE TABLE \"Old Rows\".\"T\" (note text, at timestamptz DEFAULT now(), old bool, id int);
         CREATE TABLE narrow (id int, old bool); CREATE TABLE other (id bigint, old bool, note text);
         CREATE TABLE guarded (LIKE t);
         CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER no BEFORE INSERT ON guarded FOR EACH ROW EXECUTE FUNCTION no()",
    );
    for (archive, said) in [
        ("narrow", "no column note"),
        ("other", "its column id is bigint, not integer"),
        ("guarded", "could turn rows away"),
        ("t", "rows of the one are rows of the other"),
        ("nowhere", "no such table"),
    ] {
        let ran = run(&url, &purge(&format!(", archive: {{ table: {archive} }}")));
        ran.expect_code(1);
        let error = step(&ran, "purge")["error"].to_string();
        assert!(error.contains(said), "{archive}: {error}");
    }
    let ran = run(
        &url,
        &purge(", batch: 999, archive: { table: '\"Old Rows\".\"T\"' }"),
    );
    ran.expect_code(0);
    let outputs = step(&ran, "purge")["outputs"].clone();
    assert_eq!(
        (&outputs["deleted"], &outputs["archived"]),
        (&5000.into(), &5000.into())
    );
    let moved =
        "SELECT count(*), count(DISTINCT id), min(id % 2), bool_and(old) FROM \"Old Rows\".\"T\"";
    assert_eq!(server.psql_in(&database, moved), "5000|5000|1|t");
    assert_eq!(server.psql_in(&database, "SELECT count(*) FROM t"), "5000");
}

#[test]
fn rows_elsewhere_and_more_rows_than_expected_are_refused() {
    let server = Postgres::shared();
    let database = filled(server, 100);
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE \"Notes\" (t int REFERENCES t ON DELETE CASCADE); INSERT INTO \"Notes\" SELECT id FROM t;
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
         CREATE TRIGGER \"on delete\" BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION f()",
    );
    let ran = run(&url, &purge(""));
    ran.expect_code(1);
    let error = step(&ran, "purge")["error"].to_string();
    assert!(
        error.contains("Notes") && error.contains("ON DELETE CASCADE"),
        "{error}"
    );
    let ran = run(&url, &purge(", cascade: true, max: 49"));
    ran.expect_code(1);
    assert!(
        step(&ran, "purge")["error"]
            .to_string()
            .contains("50 rows match")
    );
    assert_eq!(server.psql_in(&database, "SELECT count(*) FROM t"), "100");

    let plan = Runbook::new()
        .file(
            "playbook.yaml",
            playbook(&purge(", cascade: true, max: 50, batch: 20")),
        )
        .env("DATABASE_URL", &url)
        .args(["plan", "playbook.yaml", "--format", "json"])
        .run();
    plan.expect_code(0);
    let planned = plan.json().to_string();
    for said in [
        "\"rows\":50",
        "\"batches\":3",
        "ON DELETE CASCADE",
        "on delete",
    ] {
        assert!(planned.contains(said), "{said}: {planned}");
    }
    let ran = run(&url, &purge(", cascade: true, max: 50"));
    ran.expect_code(0);
    assert_eq!(step(&ran, "purge")["outputs"]["deleted"], 50);
    assert_eq!(
        server.psql_in(&database, "SELECT count(*) FROM \"Notes\""),
        "50"
    );
    let findings = step(&ran, "purge")["findings"].to_string();
    assert!(findings.contains("has no index"), "{findings}");
}

#[test]
fn what_a_trigger_keeps_is_no_endless_loop() {
    let server = Postgres::shared();
    let database = filled(server, 100);
    server.psql_in(
        &database,
        "CREATE FUNCTION keep() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER keep BEFORE DELETE ON t FOR EACH ROW EXECUTE FUNCTION keep()",
    );
    let ran = run(&server.url(&database), &purge(""));
    ran.expect_code(1);
    let error = step(&ran, "purge")["error"].to_string();
    assert!(error.contains("do not go"), "{error}");
}

#[test]
fn a_standby_that_is_behind_is_waited_for() {
    let server = Postgres::start(&Options::default());
    let database = filled(&server, 20_000);
    let standby = server.standby();
    standby.psql("SELECT pg_wal_replay_pause()");
    let steps = purge(", batch: 100, pause: 10ms, max_lag: 300ms");
    let run = start(&server, &database, &steps, "jsonl").start();
    run.wait_for_text("waiting for a standby", LONG);
    let left = || number(&server, &database, "SELECT count(*) FROM t WHERE old");
    let (before, again) = (left(), left());
    assert!(before > 0 && before == again, "{before} {again}");
    standby.psql("SELECT pg_wal_replay_resume()");
    let ran = run.finish();
    ran.expect_code(0);
    assert_eq!(left(), 0);
    let status = ran
        .then()
        .args(["status", "last", "--format", "json"])
        .run();
    let outputs = step(&status, "purge")["outputs"].clone();
    assert!(outputs["waited_ms"].as_u64().unwrap() > 0, "{outputs}");
}
