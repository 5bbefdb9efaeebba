//! `postgres.table_sizes`, `postgres.index_bloat`, `postgres.invalid_indexes`, `postgres.unused_indexes`
//! and `postgres.reindex`: what the seed's weekly maintenance (S05) gets wrong, and what ours does instead.

use std::time::Duration;

use rustix::process::Signal;
use serde_json::{Value, json};

use super::sql::{findings, planned, playbook, run, step};
use crate::support::postgres::Postgres;
use crate::support::run::{Ran, Runbook};
use crate::support::session::Session;
use crate::support::{lifetime, wait};

const LONG: Duration = Duration::from_secs(30);

/// 63 bytes, most of them of characters of two.
const LONGEST: &str = "nine_byteäöüäöüäöüäöüäöüäöüäöüäöüäöü";

/// Tables whose names nobody should take apart, each with an index that is named after it.
const NASTY: &str = r#"
    CREATE SCHEMA "My ""Schema""";
    CREATE TABLE "UserData" (id int);
    CREATE TABLE "My ""Schema"""."a""b.c" (id int);
    CREATE TABLE "line
break=1" (id int);
    CREATE INDEX "UserData_Idx" ON "UserData" (id);
    CREATE INDEX "a""b.i" ON "My ""Schema"""."a""b.c" (id);
    CREATE INDEX "i
=1" ON "line
break=1" (id);
"#;

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

fn plan(url: &str, steps: &str) -> Ran {
    Runbook::new()
        .file("playbook.yaml", playbook(steps))
        .env("DATABASE_URL", url)
        .args(["plan", "playbook.yaml", "--format", "json"])
        .run()
}

/// One field of each of a list of outputs.
fn each(list: &Value, field: &str) -> Vec<String> {
    let items = list.as_array().unwrap().iter();
    items
        .map(|item| item[field].as_str().unwrap().to_owned())
        .collect()
}

/// The names of the invalid indexes of a database.
#[track_caller]
fn invalid(server: &Postgres, database: &str) -> String {
    let sql = "SELECT string_agg(indexrelid::regclass::text, ' ' ORDER BY 1) FROM pg_index WHERE NOT indisvalid";
    server.psql_in(database, sql)
}

fn reindex(what: &str) -> String {
    format!("  - id: r\n    postgres.reindex: {{ connection: main, {what} }}\n")
}

#[test]
fn tables_are_measured_whatever_they_are_called() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    assert_eq!(LONGEST.len(), 63);
    server.psql_in(
        &database,
        &format!(
            "{NASTY}
             CREATE TABLE \"{LONGEST}\" (id int PRIMARY KEY, text text);
             ALTER TABLE \"{LONGEST}\" ALTER text SET STORAGE external;
             INSERT INTO \"{LONGEST}\" SELECT g, repeat('x', 9000) FROM generate_series(1, 100) g;
             CREATE TABLE parts (id int PRIMARY KEY) PARTITION BY RANGE (id);
             CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (1000);
             CREATE TABLE high PARTITION OF parts FOR VALUES FROM (1000) TO (2000);
             INSERT INTO parts SELECT generate_series(0, 1999);
             CREATE MATERIALIZED VIEW seen AS SELECT * FROM parts;
             DELETE FROM high WHERE id < 1100;
             ANALYZE"
        ),
    );
    // The seed's report: a name that is put together is taken apart again.
    let seed = "SELECT tablename, pg_size_pretty(pg_total_relation_size(schemaname || '.' || tablename)) \
                FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema')";
    let seed = server.try_psql(&url, seed);
    assert_ne!(seed.code, 0);
    assert!(seed.stderr.contains("does not exist"), "{}", seed.stderr);

    let ran = run(
        &url,
        r#"
  - id: all
    postgres.table_sizes: { connection: main }
  - id: apart
    postgres.table_sizes: { connection: main, partitions: apart, schemas: [public] }
  - id: some
    postgres.table_sizes: { connection: main, limit: 1, min_size: 10kB, schemas: ['My "Schema"', nope] }
    on_error: continue
"#,
    );
    ran.expect_code(0);
    let all = step(&ran, "all")["outputs"].clone();
    assert_eq!(all["table_count"], 6);
    for name in each(&all["tables"], "quoted") {
        server.psql_in(&database, &format!("SELECT count(*) FROM {name}"));
    }
    let table = |name: &str| {
        let tables = all["tables"].as_array().unwrap().iter();
        tables
            .clone()
            .find(|it| it["name"] == name)
            .unwrap()
            .clone()
    };
    assert_eq!(all["tables"][0]["name"], LONGEST);
    let sql =
        format!("SELECT pg_total_relation_size('\"{LONGEST}\"'), pg_indexes_size('\"{LONGEST}\"')");
    let sizes = server.psql_in(&database, &sql);
    let longest = table(LONGEST);
    assert_eq!(
        format!("{}|{}", longest["total_bytes"], longest["index_bytes"]),
        sizes
    );
    assert!(longest["toast_bytes"].as_u64() > longest["table_bytes"].as_u64());
    assert_eq!(longest["rows"], 100);
    let parts = table("parts");
    assert_eq!(parts["kind"], "partitioned_table");
    assert_eq!(
        (&parts["partitions"], &parts["rows"]),
        (&json!(2), &json!(1900))
    );
    assert_eq!(table("seen")["kind"], "materialized_view");

    let apart = step(&ran, "apart")["outputs"]["tables"].clone();
    let high = apart
        .as_array()
        .unwrap()
        .iter()
        .find(|it| it["name"] == "high");
    assert_eq!(high.unwrap()["partition_of"], "public.parts");
    assert_eq!(high.unwrap()["dead_rows"], 100);

    let some = step(&ran, "some");
    assert_eq!(some["outputs"]["tables"], json!([]));
    assert_eq!(
        findings(&ran, "some"),
        ["unknown nope: there is no such schema"]
    );
}

#[test]
fn nobody_waits_to_measure_a_table_that_is_locked() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE held (id int PRIMARY KEY); CREATE TABLE free (id int PRIMARY KEY)",
    );
    let holder = Session::holding(&url, "LOCK held");
    let ran = run(
        &url,
        "  - id: sizes\n    postgres.table_sizes: { connection: main, timeout: 10s }\n    fail_on: never\n  \
         - id: bloat\n    postgres.index_bloat: { connection: main, min_size: 0, timeout: 10s }\n    fail_on: never\n  \
         - id: unused\n    postgres.unused_indexes: { connection: main, min_size: 0, min_age: 0s, timeout: 10s }\n",
    );
    holder.let_go();
    ran.expect_code(0);
    let sizes = step(&ran, "sizes")["outputs"].clone();
    assert_eq!(sizes["locked"], json!(["public.held"]));
    assert_eq!(each(&sizes["tables"], "name"), ["free"]);
    let said = findings(&ran, "sizes");
    assert!(said[0].starts_with("unknown public.held: "), "{said:?}");
}

#[test]
fn bloat_is_counted_or_estimated_and_a_rebuild_gives_it_back() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE \"Big\" (id int, mail text, few int);
         INSERT INTO \"Big\" SELECT g, md5(g::text), g % 50 FROM generate_series(1, 60000) g;
         CREATE INDEX \"Id\" ON \"Big\" (id);
         CREATE INDEX mail ON \"Big\" (lower(mail));
         CREATE INDEX few ON \"Big\" (few);
         CREATE INDEX hashed ON \"Big\" USING hash (id);
         DELETE FROM \"Big\" WHERE id % 10 <> 0;
         VACUUM ANALYZE \"Big\";
         CREATE INDEX fresh ON \"Big\" (id);
         CREATE TABLE filled (id int PRIMARY KEY) WITH (autovacuum_enabled = off); INSERT INTO filled SELECT generate_series(1, 5000);
         ANALYZE filled; TRUNCATE filled; INSERT INTO filled SELECT generate_series(1, 5000)",
    );
    let look = |method: &str| {
        format!(
            "  - id: {method}\n    postgres.index_bloat: {{ connection: main, min_size: 0, method: {method} }}\n    \
             fail_on: never\n"
        )
    };
    let all = format!("{}{}{}", look("auto"), look("exact"), look("estimate"));
    let ran = run(&url, &all);
    ran.expect_code(0);
    let percent = |ran: &Ran, id: &str, name: &str| {
        let step = step(ran, id);
        let mut indexes = step["outputs"]["indexes"].as_array().unwrap().iter();
        let index = indexes.find(|it| it["name"] == name).unwrap().clone();
        (index["bloat_percent"].as_f64().unwrap(), index)
    };
    // Without the extension.
    assert_eq!(percent(&ran, "auto", "Id").1["method"], "estimate");
    let without = findings(&ran, "exact");
    assert!(
        without[0].contains("`pgstattuple` is not installed"),
        "{without:?}"
    );
    assert_eq!(step(&ran, "exact")["outputs"]["indexes"], json!([]));
    // A full index does not look empty because of what was known of it before.
    let auto = findings(&ran, "auto");
    assert!(
        auto[0].contains("public.filled_pkey: its bloat is not known"),
        "{auto:?}"
    );
    let hashed = step(&ran, "auto")["outputs"]["not_judged"].clone();
    assert_eq!(
        (hashed[0]["name"].as_str(), hashed[0]["reason"].as_str()),
        (Some("hashed"), Some("its method is hash"))
    );

    server.psql_in(
        &database,
        "CREATE SCHEMA \"Ext\"; CREATE EXTENSION pgstattuple SCHEMA \"Ext\"",
    );
    let ran = run(&url, &all);
    ran.expect_code(0);
    for name in ["Id", "mail", "few", "fresh"] {
        let (exact, index) = percent(&ran, "exact", name);
        assert_eq!(index["method"], "exact");
        assert_eq!(percent(&ran, "auto", name), (exact, index));
        let (estimate, _) = percent(&ran, "estimate", name);
        assert!(
            (exact - estimate).abs() < 6.0,
            "{name}: {exact} counted, {estimate} estimated"
        );
        println!("{name}: {exact} counted, {estimate} estimated");
        assert_eq!(exact > 70.0, name != "fresh", "{name}: {exact}");
    }

    let preview = planned(&url, &reindex("table: '\"Big\"'"), "r");
    assert_eq!(preview["counts"]["indexes"], 6, "{preview:#}");
    let (_, promised) = percent(&ran, "exact", "Id");
    let ran = run(&url, &reindex("index: '\"Id\"'"));
    ran.expect_code(0);
    let done = step(&ran, "r")["outputs"].clone();
    let size = "SELECT pg_relation_size('\"Id\"')";
    assert_eq!(
        done["after_bytes"].to_string(),
        server.psql_in(&database, size)
    );
    assert_eq!(done["before_bytes"], promised["size_bytes"]);
    let freed = done["before_bytes"].as_f64().unwrap() - done["after_bytes"].as_f64().unwrap();
    let off = (freed - promised["bloat_bytes"].as_f64().unwrap()).abs() / freed;
    assert!(off < 0.02, "{off} off: {done} {promised}");
}

#[test]
fn who_may_not_read_statistics_is_told_so() {
    let server = Postgres::shared();
    let database = server.new_database();
    let role = format!("reader_{}", lifetime::serial());
    server.create_role(&role, "secret");
    server.psql_in(
        &database,
        "CREATE EXTENSION pgstattuple; CREATE TABLE t (id int);
         INSERT INTO t SELECT generate_series(1, 1000); CREATE INDEX ON t (id); ANALYZE t",
    );
    let ran = run(
        &server.url_as(&role, "secret", &database),
        "  - id: auto\n    postgres.index_bloat: { connection: main, min_size: 0 }\n    fail_on: never\n  \
         - id: exact\n    postgres.index_bloat: { connection: main, min_size: 0, method: exact }\n    fail_on: never\n",
    );
    ran.expect_code(0);
    let auto = findings(&ran, "auto");
    assert!(
        auto[0]
            .contains("unknown public.t_id_idx: its bloat is not known: there are no statistics"),
        "{auto:?}"
    );
    let exact = findings(&ran, "exact");
    assert!(
        exact[0].contains("may not call `pgstatindex()`"),
        "{exact:?}"
    );
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

#[test]
fn only_an_index_without_another_purpose_is_unused() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE customers (id int PRIMARY KEY, mail text UNIQUE);
         CREATE TABLE orders (id int, a int, b int, customer int REFERENCES customers, span int4range,
           PRIMARY KEY (id), EXCLUDE USING gist (span WITH &&));
         CREATE INDEX \"Unused\" ON orders (a);
         CREATE INDEX supports ON orders (customer, a);
         CREATE INDEX used ON orders (b);
         CREATE UNIQUE INDEX lone ON orders (a, b);
         CREATE INDEX sorted ON customers (mail, id); ALTER TABLE customers CLUSTER ON sorted;
         INSERT INTO orders SELECT g, g, g FROM generate_series(1, 1000) g;
         SET enable_seqscan = off; SET enable_bitmapscan = off; SELECT count(*) FROM orders WHERE b = 7",
    );
    wait::until("the scan to be counted", LONG, || {
        let sql = "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'used'";
        (server.psql_in(&database, sql) != "0").then_some(())
    });
    let ran = run(
        &url,
        "  - id: young\n    postgres.unused_indexes: { connection: main, min_size: 0 }\n    fail_on: never\n  \
         - id: unused\n    postgres.unused_indexes: { connection: main, min_size: 0, min_age: 0s }\n",
    );
    ran.expect_code(0);
    let young = findings(&ran, "young");
    assert!(
        young[0].starts_with("unknown main: the server has counted for "),
        "{young:?}"
    );
    assert_eq!(step(&ran, "young")["outputs"]["indexes"], json!([]));
    let outputs = step(&ran, "unused")["outputs"].clone();
    assert_eq!(each(&outputs["indexes"], "quoted"), ["public.\"Unused\""]);
    let kept = outputs["kept"].as_array().unwrap().iter();
    let mut kept: Vec<String> = kept
        .map(|it| {
            format!(
                "{}: {}",
                it["name"].as_str().unwrap(),
                it["reason"].as_str().unwrap()
            )
        })
        .collect();
    kept.sort();
    assert_eq!(
        kept,
        [
            "customers_mail_key: unique",
            "customers_pkey: primary key",
            "lone: unique",
            "orders_pkey: primary key",
            "orders_span_excl: exclusion constraint",
            "sorted: its table is clustered by it",
            "supports: foreign key orders_customer_fkey",
        ]
    );
}
