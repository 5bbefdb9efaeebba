//! `postgres.reindex`: what the seed's weekly maintenance (S05) gets wrong, and what ours does instead.

mod left;

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::indexes::{LONGEST, NASTY, each, plan};
use super::sql::{findings, planned, playbook, run, step};
use crate::support::postgres::Postgres;
use crate::support::run::Runbook;
use crate::support::session::Session;
use crate::support::{lifetime, wait};

const LONG: Duration = Duration::from_secs(30);

/// Waits until a statement that begins so waits for a lock.
#[track_caller]
fn waits(server: &Postgres, database: &str, statement: &str) {
    let sql = format!(
        "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' \
         AND query LIKE '{statement}%' AND wait_event_type = 'Lock'"
    );
    wait::until("a statement to wait", LONG, || {
        (server.psql(&sql) != "0").then_some(())
    });
}

/// The names of the invalid indexes of a database.
#[track_caller]
fn invalid(server: &Postgres, database: &str) -> String {
    let sql = "SELECT string_agg(indexrelid::regclass::text, ' ' ORDER BY 1) FROM pg_index WHERE NOT indisvalid";
    server.psql_in(database, sql)
}

pub fn reindex(what: &str) -> String {
    format!("  - id: r\n    postgres.reindex: {{ connection: main, {what} }}\n")
}

#[test]
fn an_index_that_was_never_finished_is_found_and_finished() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE \"UserData\" (id int, mail text);
         INSERT INTO \"UserData\" VALUES (1, 'a'), (2, 'a'), (3, 'b'); CREATE INDEX plain ON \"UserData\" (id)",
    );
    let look = "  - id: look\n    postgres.invalid_indexes: { connection: main }\n";
    let ran = run(&url, look);
    ran.expect_code(0);
    assert_eq!(findings(&ran, "look"), [""; 0]);

    let failed = server.try_psql(
        &url,
        "CREATE UNIQUE INDEX CONCURRENTLY \"a\"\"b.mail\" ON \"UserData\" (mail)",
    );
    assert_ne!(failed.code, 0);
    let ran = run(&url, look);
    ran.expect_code(0);
    let found = step(&ran, "look")["outputs"]["indexes"].clone();
    assert_eq!(found[0]["kind"], "unfinished", "{found:#}");
    assert_eq!(found[0]["quoted"], "public.\"a\"\"b.mail\"");
    assert_eq!(found[0]["leftover_of"], Value::Null);

    // Its rebuild fails too, and leaves nothing: as plain SQL it would.
    let quoted = r#"index: 'public."a""b.mail"'"#;
    let seed = server.try_psql(&url, "REINDEX INDEX CONCURRENTLY \"a\"\"b.mail\"");
    assert_ne!(seed.code, 0);
    assert_eq!(
        invalid(server, &database),
        "\"a\"\"b.mail\" \"a\"\"b.mail_ccnew\""
    );
    let ran = run(&url, look);
    let found = step(&ran, "look")["outputs"]["indexes"].clone();
    assert_eq!(found[1]["kind"], "leftover", "{found:#}");
    assert_eq!(found[1]["leftover_of"], "public.\"a\"\"b.mail\"");
    let preview = planned(&url, &reindex(quoted), "r");
    assert_eq!(preview["counts"]["leftovers"], 1, "{preview:#}");
    let ran = run(&url, &reindex(quoted));
    ran.expect_code(1);
    let error = step(&ran, "r")["error"].to_string();
    assert!(
        error.contains("23505") && error.contains("what it had left is dropped"),
        "{error}"
    );
    assert_eq!(invalid(server, &database), "\"a\"\"b.mail\"");

    server.psql_in(&database, "DELETE FROM \"UserData\" WHERE id = 2");
    run(&url, &reindex(quoted)).expect_code(0);
    assert_eq!(invalid(server, &database), "");
    let again = server.try_psql(&url, "INSERT INTO \"UserData\" VALUES (4, 'b')");
    assert!(again.stderr.contains("duplicate key"), "{}", again.stderr);
}

#[test]
fn what_somebody_builds_is_not_invalid_and_not_dropped() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE t (id int); CREATE INDEX i ON t (id)",
    );
    let holder = Session::holding(&url, "INSERT INTO t VALUES (1)");
    let created = Session::open(&url, "builder").begin("CREATE INDEX CONCURRENTLY built ON t (id)");
    waits(server, &database, "CREATE INDEX");
    let look = "  - id: look\n    postgres.invalid_indexes: { connection: main }\n";
    let ran = run(&url, look);
    assert_eq!(invalid(server, &database), "built");
    assert_eq!(step(&ran, "look")["outputs"]["indexes"], json!([]));
    server.psql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE query LIKE 'CREATE INDEX CONCURRENTLY built%'");
    created.finish().unwrap_err();
    let ran = run(&url, look);
    assert_eq!(
        each(&step(&ran, "look")["outputs"]["indexes"], "name"),
        ["built"]
    );

    let rebuilt = Session::open(&url, "builder").begin("REINDEX INDEX CONCURRENTLY i");
    waits(server, &database, "REINDEX INDEX");
    let ran = run(&url, look);
    assert_eq!(invalid(server, &database), "built i_ccnew");
    assert_eq!(
        each(&step(&ran, "look")["outputs"]["indexes"], "name"),
        ["built"]
    );
    assert_eq!(
        planned(&url, &reindex("index: i"), "r")["counts"]["leftovers"],
        0
    );
    holder.let_go();
    rebuilt.finish().unwrap();
    assert_eq!(invalid(server, &database), "built");
}

#[test]
fn a_rebuild_that_waits_in_vain_leaves_nothing() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        &format!(
            "CREATE TABLE other (id int);
             CREATE TABLE t (id int, text text); CREATE INDEX \"{LONGEST}\" ON t (id);
             INSERT INTO t SELECT g FROM generate_series(1, 1000) g;
             CREATE INDEX mine_ccnew ON t (id)"
        ),
    );
    let step_r = reindex(&format!("index: '\"{LONGEST}\"', lock_timeout: 300ms"));
    // Somebody who has not even touched the table, but began before.
    let holder = Session::holding(&url, "SELECT count(*) FROM other");
    let seed = format!("SET lock_timeout = '300ms'; REINDEX INDEX CONCURRENTLY \"{LONGEST}\"");
    let seed = "\\set ON_ERROR_STOP 1\n".to_owned() + &seed;
    assert_ne!(server.try_psql(&url, &seed).code, 0);
    assert!(invalid(server, &database).contains("_ccnew"));

    let ran = run(&url, &step_r);
    ran.expect_code(1);
    let error = step(&ran, "r")["error"].clone();
    assert!(error.to_string().contains("55P03"), "{error}");
    assert!(
        error.to_string().contains("what it had left is dropped"),
        "{error}"
    );
    assert_eq!(invalid(server, &database), "");
    // What the seed's had left was dropped before.
    assert_eq!(
        step(&ran, "r")["outputs"]["dropped"]
            .as_array()
            .unwrap()
            .len(),
        2
    );

    // It may pass.
    let retried =
        format!("{step_r}    retry: {{ attempts: 20, delay: 100ms, backoff: 1, jitter: none }}\n");
    let started = Runbook::new()
        .file("playbook.yaml", playbook(&retried))
        .env("DATABASE_URL", &url)
        .args(["run", "playbook.yaml", "--format", "json"])
        .start();
    waits(server, &database, "REINDEX INDEX");
    holder.let_go();
    started.finish().expect_code(0);
    assert_eq!(invalid(server, &database), "");
    let mine = "SELECT count(*) FROM pg_class WHERE relname = 'mine_ccnew'";
    assert_eq!(server.psql_in(&database, mine), "1");
}

#[test]
fn what_a_rebuild_left_is_dropped_once_its_table_is_free() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE t (id int); CREATE INDEX i ON t (id)",
    );
    let holder = Session::holding(&url, "INSERT INTO t VALUES (1)");
    let started = Runbook::new()
        .file(
            "playbook.yaml",
            playbook(&reindex("index: i, lock_timeout: 200ms")),
        )
        .env("DATABASE_URL", &url)
        .args(["run", "playbook.yaml", "--format", "json"])
        .start();
    waits(server, &database, "DROP INDEX");
    // Nobody who writes waits for that.
    server.psql_in(
        &database,
        "SET lock_timeout = '100ms'; INSERT INTO t VALUES (2)",
    );
    holder.let_go();
    let ran = started.finish();
    ran.expect_code(1);
    assert_eq!(invalid(server, &database), "");
}

#[test]
fn a_rebuild_that_is_cancelled_leaves_nothing() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE other (id int); CREATE TABLE t (id int PRIMARY KEY, text text)",
    );
    let holder = Session::holding(&url, "SELECT count(*) FROM other");
    let started = Runbook::new()
        .file("playbook.yaml", playbook(&reindex("table: t")))
        .env("DATABASE_URL", &url)
        .args(["run", "playbook.yaml", "--format", "json"])
        .start();
    waits(server, &database, "REINDEX INDEX");
    started.signal(Signal::TERM);
    let ran = started.finish();
    ran.expect_code(143);
    assert_eq!(step(&ran, "r")["status"], "cancelled");
    assert_eq!(invalid(server, &database), "");
    holder.let_go();
}

#[test]
fn writers_go_on_while_an_index_is_rebuilt() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE other (id int); CREATE TABLE t (id int PRIMARY KEY);
         INSERT INTO t SELECT generate_series(1, 1000)",
    );
    let write = "SET lock_timeout = '200ms'; INSERT INTO t SELECT max(id) + 1 FROM t";
    // The lock that REINDEX DATABASE takes of one table after the other.
    let seed = Session::holding(&url, "REINDEX TABLE t");
    let blocked = server.try_psql(&url, write);
    assert!(
        blocked.stderr.contains("lock timeout"),
        "{}",
        blocked.stderr
    );
    seed.let_go();

    let holder = Session::holding(&url, "SELECT count(*) FROM other");
    let started = Runbook::new()
        .file("playbook.yaml", playbook(&reindex("table: t")))
        .env("DATABASE_URL", &url)
        .args(["run", "playbook.yaml", "--format", "json"])
        .start();
    waits(server, &database, "REINDEX INDEX");
    for _ in 0..5 {
        server.psql_in(&database, write);
    }
    holder.let_go();
    started.finish().expect_code(0);
    let indexed = "SET enable_seqscan = off; SELECT count(*) FROM t WHERE id > 0";
    assert_eq!(server.psql_in(&database, indexed), "1005");
}

#[test]
fn a_rebuild_that_blocks_is_confirmed_and_waits_for_a_moment() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE t (id int PRIMARY KEY, span int4range, EXCLUDE USING gist (span WITH &&))",
    );
    let blocking = reindex("index: t_span_excl, concurrently: false, lock_timeout: 300ms");
    let unasked = Runbook::new()
        .file("playbook.yaml", playbook(&blocking))
        .env("DATABASE_URL", &url)
        .args(["run", "playbook.yaml", "--no-input"])
        .run();
    unasked.expect_code(3);
    let holder = Session::holding(&url, "INSERT INTO t VALUES (1, '[1,2)')");
    let ran = run(&url, &blocking);
    ran.expect_code(1);
    assert!(step(&ran, "r")["error"].to_string().contains("55P03"));
    holder.let_go();
    run(&url, &blocking).expect_code(0);

    // Concurrently it cannot be: alone an error, among others left out, and that is critical.
    let alone = plan(&url, &reindex("index: t_span_excl"));
    assert!(alone.stdout.contains("exclusion constraints"), "{alone}");
    let ran = run(&url, &reindex("table: t"));
    ran.expect_code(1);
    let said = findings(&ran, "r");
    assert!(
        said[0].starts_with("critical public.t_span_excl: it was not rebuilt"),
        "{said:?}"
    );
    let done = step(&ran, "r")["outputs"]["indexes"].clone();
    assert_eq!(done.as_array().unwrap().len(), 2);
    assert_eq!(done[1]["name"], "t_pkey");
}

#[test]
fn what_cannot_be_rebuilt_is_said_before_anything() {
    let server = Postgres::shared();
    let database = server.new_database();
    let role = format!("owner_{}", lifetime::serial());
    server.create_role(&role, "secret");
    server.psql_in(
        &database,
        &format!(
            "CREATE TABLE t (id int PRIMARY KEY); CREATE SCHEMA \"S\" AUTHORIZATION {role};
             ALTER ROLE {role} IN DATABASE {database} SET search_path = \"S\", public;
             CREATE TABLE \"S\".\"UserData\" (id int PRIMARY KEY);
             ALTER TABLE \"S\".\"UserData\" OWNER TO {role}"
        ),
    );
    let url = server.url_as(&role, "secret", &database);
    for (what, said) in [
        ("table: t", "its table belongs to postgres"),
        ("index: t_pkey", "its table belongs to postgres"),
        (
            "index: nope",
            "find the index `nope`: there is no such index",
        ),
        ("index: t", "public.t is no index"),
        ("table: t_pkey", "public.t_pkey is no table"),
        ("table: userdata", "there is no such table"),
    ] {
        let ran = run(&url, &reindex(what));
        ran.expect_code(1);
        let error = step(&ran, "r")["error"].to_string();
        assert!(error.contains(said), "{what}: {error}");
        let planned = plan(&url, &reindex(what));
        assert!(planned.stdout.contains(said), "{what}: {planned}");
    }
    // Its own, by the path of its login.
    run(&url, &reindex(r#"table: '"UserData"'"#)).expect_code(0);
    let ran = run(
        &server.url(&database),
        &reindex("index: pg_catalog.pg_am_name_index"),
    );
    ran.expect_code(1);
    assert!(
        step(&ran, "r")["error"]
            .to_string()
            .contains("its own catalogs")
    );
}

#[test]
fn names_are_rebuilt_as_they_are_put_out() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(&database, NASTY);
    let ran = run(
        &url,
        r#"
  - id: unused
    postgres.unused_indexes: { connection: main, min_size: 0, min_age: 0s }
  - id: rebuild
    foreach: { in: steps.unused.outputs.indexes, as: index, max_parallel: 1 }
    postgres.reindex: { connection: main, index: "${{ index.quoted }}" }
"#,
    );
    ran.expect_code(0);
    let outputs = step(&ran, "unused")["outputs"]["indexes"].clone();
    assert_eq!(outputs.as_array().unwrap().len(), 3, "{outputs:#}");
}

#[test]
fn an_index_of_a_partitioned_table_is_those_of_its_partitions() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE parts (id int, n int) PARTITION BY RANGE (id);
         CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (100);
         CREATE TABLE high PARTITION OF parts FOR VALUES FROM (100) TO (200);
         CREATE INDEX whole ON parts (id); CREATE INDEX lone ON low (n);
         CREATE INDEX half ON ONLY parts (n)",
    );
    let steps = format!(
        "{}  - id: invalid\n    postgres.invalid_indexes: {{ connection: main }}\n",
        reindex("index: whole")
    );
    assert_eq!(planned(&url, &steps, "r")["counts"]["indexes"], 2);
    assert_eq!(
        planned(&url, &reindex("table: parts"), "r")["counts"]["indexes"],
        3
    );
    let ran = run(&url, &steps);
    ran.expect_code(0);
    let done = step(&ran, "r")["outputs"]["indexes"].clone();
    assert_eq!(each(&done, "table"), ["high", "low"]);
    let invalid = step(&ran, "invalid")["outputs"]["indexes"].clone();
    assert_eq!(
        (&invalid[0]["name"], &invalid[0]["kind"]),
        (&json!("half"), &json!("partitioned"))
    );
}
