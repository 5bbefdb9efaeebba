//! `postgres.analyze`, `postgres.vacuum` and `postgres.sequences`: what the seed's monthly optimisation
//! (S07) gets wrong, and what ours does instead.

use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::json;

use super::sql::{findings, planned, playbook, run, step};
use crate::support::postgres::Postgres;
use crate::support::run::{LIMIT, Ran, Runbook};
use crate::support::session::Session;
use crate::support::{lifetime, wait};

const LONG: Duration = Duration::from_secs(30);

/// A schema and tables whose names nobody should take apart.
const NASTY: &str = r#"
    CREATE SCHEMA "My ""Schema""";
    CREATE TABLE "My ""Schema"""."User.Data=
x" (id int);
    CREATE TABLE "Orders" (id int);
    CREATE TABLE plain (id int);
"#;

/// A login of its own that may do what everybody may in a database.
#[track_caller]
pub fn stranger(server: &Postgres, database: &str) -> (String, String) {
    let name = format!("stranger_{}", lifetime::serial());
    server.create_role(&name, "secret");
    let url = server.url_as(&name, "secret", database);
    (name, url)
}

#[test]
fn statistics_are_renewed_where_rows_have_changed() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        &format!(
            "{NASTY}
             CREATE TABLE parts (id int) PARTITION BY RANGE (id);
             CREATE TABLE low PARTITION OF parts FOR VALUES FROM (0) TO (100);
             CREATE TABLE high PARTITION OF parts FOR VALUES FROM (100) TO (1000);
             INSERT INTO parts SELECT generate_series(0, 999);
             INSERT INTO \"Orders\" SELECT generate_series(1, 1000)"
        ),
    );
    let analyze = "  - id: a\n    postgres.analyze: { connection: main, min_changed: 10 }\n";
    let preview = planned(&url, analyze, "a");
    assert_eq!(preview["counts"]["tables"], 4, "{preview:#}");
    let items = preview["notes"].to_string();
    assert!(items.contains("public.parts: never analyzed"), "{items}");
    let ran = run(&url, analyze);
    ran.expect_code(0);
    assert_eq!(step(&ran, "a")["outputs"]["analyzed"], 4);
    // Partitions and their table.
    let never = "SELECT count(*) FROM pg_stat_user_tables WHERE last_analyze IS NULL";
    assert_eq!(server.psql_in(&database, never), "0");
    assert_eq!(planned(&url, analyze, "a")["kind"], "no_change");

    server.psql_in(
        &database,
        "INSERT INTO plain SELECT 1; INSERT INTO high SELECT generate_series(100, 149)",
    );
    let again = planned(&url, analyze, "a");
    assert_eq!(again["notes"], json!(["public.parts: 50 rows changed"]));
    let named = r#"  - id: a
    postgres.analyze: { connection: main, tables: ['"Orders"', "\"My \"\"Schema\"\"\".\"User.Data=\nx\""] }
"#;
    let ran = run(&url, named);
    ran.expect_code(0);
    assert_eq!(step(&ran, "a")["outputs"]["analyzed"], 2);
    let typo = "  - id: a\n    postgres.analyze: { connection: main, tables: [orders] }\n";
    let ran = run(&url, typo);
    ran.expect_code(1);
    let error = step(&ran, "a")["error"].to_string();
    assert!(
        error.contains("`orders`") && error.contains("no such table"),
        "{error}"
    );
}

#[test]
fn what_a_server_skips_is_no_success() {
    let server = Postgres::shared();
    let database = server.new_database();
    server.psql_in(&database, NASTY);
    let (name, url) = stranger(server, &database);
    server.psql_in(
        &database,
        &format!("CREATE TABLE own (id int); ALTER TABLE own OWNER TO {name}"),
    );
    let files = || {
        server.psql_in(
            &database,
            "SELECT relfilenode FROM pg_class WHERE relname = 'Orders'",
        )
    };

    // The seed: status 0, a warning that nobody reads, and nothing done.
    let before = files();
    let seed = server.try_psql(&url, "VACUUM FULL ANALYZE \"Orders\"");
    seed.expect_code(0);
    assert!(seed.stderr.contains("WARNING"), "{seed}");
    assert_eq!(files(), before);

    for step_type in ["analyze", "vacuum"] {
        let named = format!(
            "  - id: named\n    postgres.{step_type}: {{ connection: main, tables: ['\"Orders\"', own] }}\n"
        );
        let ran = run(&url, &named);
        ran.expect_code(1);
        let told = findings(&ran, "named");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].starts_with("critical public.\"Orders\": the server says: skipping"),
            "{told:?}"
        );
        assert_eq!(step(&ran, "named")["outputs"]["skipped"], 1);

        let all = format!("  - id: all\n    postgres.{step_type}: {{ connection: main }}\n");
        let ran = run(&url, &all);
        ran.expect_code(0);
        let told = findings(&ran, "all");
        assert_eq!(told.len(), 1, "{told:?}");
        assert!(
            told[0].starts_with("warning main: 3 tables not "),
            "{told:?}"
        );
        assert!(told[0].ends_with("of postgres (3)"), "{told:?}");
        let outputs = step(&ran, "all")["outputs"].clone();
        assert_eq!(
            (&outputs["others"], &outputs["tables"][0]["table"]),
            (&json!(3), &json!("own"))
        );
    }
}

#[test]
fn tables_with_dead_rows_are_vacuumed() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        &format!(
            "{NASTY}
             CREATE TABLE parts (id int) PARTITION BY RANGE (id);
             CREATE TABLE \"Low\" PARTITION OF parts FOR VALUES FROM (0) TO (1000);
             CREATE TABLE high PARTITION OF parts FOR VALUES FROM (1000) TO (2000);
             ALTER TABLE \"Low\" SET (autovacuum_enabled = false);
             ALTER TABLE \"Orders\" SET (autovacuum_enabled = false);
             INSERT INTO parts SELECT generate_series(0, 1999);
             INSERT INTO \"Orders\" SELECT generate_series(1, 1000)"
        ),
    );
    server.psql_in(
        &database,
        "DELETE FROM parts WHERE id < 500; DELETE FROM \"Orders\" WHERE id <= 100",
    );
    let vacuum = "  - id: v\n    postgres.vacuum: { connection: main, min_dead: 200, min_dead_percent: 20 }\n";
    let preview = planned(&url, vacuum, "v");
    assert_eq!(preview["counts"], json!({ "tables": 1, "others": 0 }));
    assert_eq!(
        preview["notes"],
        json!(["public.\"Low\": 500 of 1,000 rows are dead"])
    );
    let ran = run(&url, vacuum);
    ran.expect_code(0);
    let outputs = step(&ran, "v")["outputs"].clone();
    assert_eq!(
        (&outputs["vacuumed"], &outputs["tables"][0]["dead"]),
        (&json!(1), &json!(500))
    );
    assert_eq!(planned(&url, vacuum, "v")["kind"], "no_change");
    // A partitioned table that is named stands for its partitions.
    let named = "  - id: v\n    postgres.vacuum: { connection: main, tables: [parts], freeze: true, parallel: 0 }\n";
    let ran = run(&url, named);
    ran.expect_code(0);
    assert_eq!(step(&ran, "v")["outputs"]["vacuumed"], 2);
}

#[test]
fn a_locked_table_holds_nobody_up_for_long() {
    let server = Postgres::shared();
    let database = server.new_database();
    server.psql_in(&database, NASTY);
    let holder = Session::holding(
        &server.url(&database),
        "LOCK TABLE plain IN SHARE UPDATE EXCLUSIVE MODE",
    );
    // A limit that the login has does not count: VACUUM takes as long as it takes.
    server.psql(&format!(
        "ALTER DATABASE {database} SET statement_timeout = '100ms'"
    ));
    let ran = run(
        &server.url(&database),
        "  - id: v\n    postgres.vacuum: { connection: main, lock_timeout: 200ms }\n",
    );
    ran.expect_code(1);
    let told = findings(&ran, "v");
    assert_eq!(told.len(), 1, "{told:?}");
    assert!(
        told[0].starts_with("critical public.plain: canceling statement due to lock timeout"),
        "{told:?}"
    );
    let outputs = step(&ran, "v")["outputs"].clone();
    assert_eq!(
        (&outputs["vacuumed"], &outputs["skipped"]),
        (&json!(2), &json!(1))
    );
    holder.let_go();
}

#[test]
fn a_rewrite_is_foreseen_while_an_index_of_its_table_is_locked() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(&database, "CREATE TABLE plain (id int PRIMARY KEY)");
    // To ask for the size of the table would wait for it.
    let holder = Session::holding(&url, "REINDEX INDEX plain_pkey");
    let preview = planned(&url, &rewrite(&window(-1)), "full");
    let note = preview["notes"][0].as_str().unwrap();
    assert!(note.contains("holder (ShareLock)"), "{preview:#}");
    holder.let_go();
}

#[test]
fn a_plan_that_cannot_look_fails() {
    let server = Postgres::shared();
    let url = server.url(&server.new_database());
    let plan = |steps: &str| {
        Runbook::new()
            .file("playbook.yaml", playbook(steps))
            .env("DATABASE_URL", &url)
            .args(["plan", "playbook.yaml"])
            .run()
    };
    let purge =
        "  - { id: purge, postgres.purge: { connection: main, table: absent, where: 'true' } }\n";
    let planned = plan(purge);
    planned.expect_code(1);
    assert!(planned.stdout.contains("would FAIL"), "{planned}");
    // A step before it may be what makes the table.
    let made = format!("  - {{ id: make, exec.command: {{ argv: ['true'] }} }}\n{purge}");
    plan(&made).expect_code(0);
}

#[test]
fn dead_rows_that_somebody_still_sees_are_a_warning() {
    let server = Postgres::shared();
    let database = server.new_database();
    server.psql_in(
        &database,
        "CREATE TABLE t (id int) WITH (autovacuum_enabled = false);
         INSERT INTO t SELECT generate_series(1, 1000)",
    );
    let holder = Session::holding(&server.url(&database), "SELECT count(*) FROM pg_class");
    server.psql_in(&database, "DELETE FROM t");
    let vacuum = "  - id: v\n    postgres.vacuum: { connection: main, tables: [t] }\n";
    let ran = run(&server.url(&database), vacuum);
    ran.expect_code(0);
    let told = findings(&ran, "v");
    assert_eq!(
        told,
        [
            "warning public.t: 1,000 dead rows are still there, of 1,000: something may still see them"
        ]
    );
    holder.let_go();
    let ran = run(&server.url(&database), vacuum);
    assert_eq!(step(&ran, "v")["outputs"]["tables"][0]["dead_after"], 0);
}

/// `from` and `to` of a window that begins this many hours from now, and lasts two more.
fn window(hours: i8) -> String {
    let now = Timestamp::now().to_zoned(jiff::tz::TimeZone::UTC).hour();
    let hour = |more: i8| (now + more).rem_euclid(24);
    format!(
        "{{ from: \"{:02}:00\", to: \"{:02}:00\" }}",
        hour(hours),
        hour(hours + 3)
    )
}

fn rewrite(window: &str) -> String {
    format!(
        "  - id: full\n    approval: {{ kind: approve }}\n    postgres.vacuum:\n      connection: main\n      \
         tables: [plain]\n      full: true\n      window: {window}\n"
    )
}

/// Runs a rewrite of `plain` that somebody approves of.
fn approved(url: &str, window: &str, between: impl Fn()) -> Ran {
    let env = |runbook: Runbook| runbook.env("DATABASE_URL", url).env("TZ", "UTC");
    let asks = env(Runbook::new().file("playbook.yaml", playbook(&rewrite(window))))
        .args(["run", "playbook.yaml", "--yes"])
        .run();
    asks.expect_code(3);
    between();
    env(asks.then())
        .args(["approve", "last", "full"])
        .run()
        .expect_code(0);
    env(asks.then())
        .args(["resume", "last", "--yes", "--format", "json"])
        .run()
}

#[test]
fn tables_are_rewritten_in_their_window_and_with_an_approval_alone() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE plain (id int) WITH (autovacuum_enabled = false);
         INSERT INTO plain SELECT generate_series(1, 20000); DELETE FROM plain WHERE id > 100",
    );
    let file = || {
        server.psql_in(
            &database,
            "SELECT relfilenode FROM pg_class WHERE relname = 'plain'",
        )
    };
    let before = file();
    let check = |steps: &str| {
        let ran = Runbook::new()
            .env("DATABASE_URL", &url)
            .file("playbook.yaml", playbook(steps));
        ran.args(["validate", "playbook.yaml"]).run()
    };
    let full = rewrite(&window(-1));
    for (steps, missing) in [
        (
            full.replace("kind: approve", "kind: confirm"),
            "somebody has to approve of this",
        ),
        (rewrite("null"), "`full` needs the hours"),
        (
            full.replace("tables: [plain]", "analyze: true"),
            "`full` needs the tables",
        ),
    ] {
        let told = check(&steps);
        told.expect_code(1);
        assert!(told.stdout.contains(missing), "{missing}: {}", told.stdout);
    }
    check(&rewrite(&window(-1))).expect_code(0);

    let holder = Session::holding(&url, "SELECT FROM plain");
    let preview = planned(&url, &rewrite(&window(-1)), "full");
    let note = preview["notes"][0].as_str().unwrap().to_owned();
    let size = || {
        let size = server.psql_in(&database, "SELECT pg_total_relation_size('plain')");
        size.parse::<u64>().unwrap()
    };
    let large = size();
    for told in [" now, needs up to ", " free; ", "holder (AccessShareLock)"] {
        assert!(note.contains(told), "{told}: {preview:#}");
    }
    let now = format!("; {:.1} KiB now, ", large as f64 / 1024.0);
    assert!(note.contains(&now), "{now}: {preview:#}");
    assert_eq!(preview["items"], json!(["public.plain"]));
    holder.let_go();

    let late = approved(&url, &window(3), || ());
    late.expect_code(1);
    let error = step(&late, "full")["error"].to_string();
    assert!(error.contains("nothing was done: here it is"), "{error}");
    assert_eq!(file(), before);

    let ran = approved(&url, &window(-1), || {
        // What is agreed to is which tables: not how full they are, nor who is in the way.
        server.psql_in(&database, "DELETE FROM plain WHERE id > 90");
        // The server's own ANALYZE may still see the dead rows.
        wait::until("nobody to see the dead rows", LIMIT, || {
            let sees = "SELECT count(*) FROM pg_stat_activity WHERE backend_xmin IS NOT NULL \
                        AND datname = current_database() AND pid <> pg_backend_pid()";
            (server.psql_in(&database, sees) == "0").then_some(())
        });
    });
    ran.expect_code(0);
    assert_ne!(file(), before);
    let table = step(&ran, "full")["outputs"]["tables"][0].clone();
    assert_eq!(table["bytes_before"], large);
    assert_eq!(table["bytes_after"], size());
    assert!(size() < large / 10, "{table}");
}

#[test]
fn a_cancelled_run_ends_the_servers_vacuum() {
    let server = Postgres::shared();
    let database = server.new_database();
    server.psql_in(
        &database,
        "CREATE TABLE big (id int, pad text) WITH (autovacuum_enabled = false);
         INSERT INTO big SELECT n, repeat('x', 500) FROM generate_series(1, 40000) n; DELETE FROM big",
    );
    // It rests for longer than this test takes.
    let text =
        playbook("  - id: v\n    postgres.vacuum: { connection: main, cost_delay: 100ms }\n");
    let started = Runbook::new()
        .file("playbook.yaml", text)
        .env("DATABASE_URL", server.url(&database))
        .args(["run", "playbook.yaml", "--yes", "--format", "json"])
        .start();
    let at_work =
        format!("SELECT count(*) FROM pg_stat_progress_vacuum WHERE datname = '{database}'");
    wait::until("VACUUM", LONG, || {
        (server.psql(&at_work) == "1").then_some(())
    });
    started.signal(Signal::INT);
    let ran = started.finish();
    assert_eq!(step(&ran, "v")["status"], "cancelled");
    assert_eq!(server.psql(&at_work), "0");
    let vacuumed = "SELECT last_vacuum IS NOT NULL FROM pg_stat_user_tables";
    assert_eq!(server.psql_in(&database, vacuumed), "f");
}
