//! `postgres.query` and `postgres.execute`, and what every type relies on: the pool, the identity, the
//! deadlines.

use serde_json::{Value, json};

use crate::support::postgres::Postgres;
use crate::support::run::{Ran, Runbook};

/// A playbook with one connection, `main`, to the database at `$DATABASE_URL`.
pub fn playbook(steps: &str) -> String {
    format!(
        "runbook: v1\nname: database\nsecrets:\n  database_url: {{ env: DATABASE_URL }}\n\
         connections:\n  main:\n    postgres: {{ url: \"${{{{ secrets.database_url }}}}\" }}\n\
         steps:\n{steps}"
    )
}

/// Runs it against a database, with `--yes`.
pub fn run(url: &str, steps: &str) -> Ran {
    Runbook::new()
        .file("playbook.yaml", playbook(steps))
        .env("DATABASE_URL", url)
        .args(["run", "playbook.yaml", "--yes", "--format", "json"])
        .run()
}

/// A step of what ran.
#[track_caller]
pub fn step(ran: &Ran, id: &str) -> Value {
    let status = ran.json();
    let steps = status["steps"].as_array().expect("steps");
    let step = steps.iter().find(|step| step["id"] == id);
    step.unwrap_or_else(|| panic!("no step {id} in {status:#}"))
        .clone()
}

/// What a plan of `steps` says of the step `id`.
#[track_caller]
pub fn planned(url: &str, steps: &str, id: &str) -> Value {
    let ran = Runbook::new()
        .file("playbook.yaml", playbook(steps))
        .env("DATABASE_URL", url)
        .args(["plan", "playbook.yaml", "--format", "json"])
        .run();
    ran.expect_code(0);
    let plan = ran.json();
    let mut all = plan["steps"].as_array().unwrap().iter();
    all.find(|step| step["path"] == id).unwrap()["preview"].clone()
}

/// The findings of a step that are no `ok`, as `level subject: message`.
#[track_caller]
pub fn findings(ran: &Ran, id: &str) -> Vec<String> {
    let step = step(ran, id);
    let findings = step["findings"].as_array().cloned().unwrap_or_default();
    let told = |it: &Value| {
        let text = |key: &str| it[key].as_str().unwrap().to_owned();
        format!("{} {}: {}", text("level"), text("subject"), text("message"))
    };
    let bad = findings.iter().filter(|it| it["level"] != "ok");
    bad.map(told).collect()
}

#[test]
fn rows_are_values_that_later_steps_read() {
    let server = Postgres::shared();
    let database = server.new_database();
    server.psql_in(
        &database,
        "CREATE TABLE \"Order Lines\" (id int, \"Price\" numeric(8, 2), at timestamptz, tags text[]);
         INSERT INTO \"Order Lines\" VALUES (1, 1.20, '2026-01-02 03:04:05Z', '{a,b}'), (2, NULL, NULL, '{}')",
    );
    let ran = run(
        &server.url(&database),
        r#"
  - id: rows
    postgres.query:
      connection: main
      sql: |
        SELECT id, "Price", at, tags FROM "Order Lines" -- all; of them
        WHERE id = ANY($1) ORDER BY id;
      bind: [[1, 2, 3]]
  - id: first
    postgres.query: { connection: main, sql: SELECT id FROM "Order Lines" ORDER BY id, max_rows: 1 }
  - id: shown
    postgres.query: { connection: main, sql: SHOW max_connections }
  - id: read
    flow.assert:
      that:
        - steps.rows.outputs.row_count == 2
        - steps.rows.outputs.rows[0].Price == 1.2
        - steps.rows.outputs.rows[0].tags == ["a", "b"]
        - steps.first.outputs.truncated
        - steps.first.outputs.value == 1
        - steps.shown.outputs.value == "100"
"#,
    );
    ran.expect_code(0);
    let rows = step(&ran, "rows")["outputs"]["rows"].clone();
    let first =
        json!({ "id": 1, "Price": 1.2, "at": "2026-01-02T03:04:05+00:00", "tags": ["a", "b"] });
    assert_eq!(rows[0], first);
}

#[test]
fn no_column_is_lost_to_another_of_its_name() {
    let server = Postgres::shared();
    let ran = run(
        &server.url("postgres"),
        "  - id: two\n    postgres.query: { connection: main, sql: \"SELECT 1 AS a, 2 AS a\" }\n",
    );
    ran.expect_code(1);
    let error = step(&ran, "two")["error"].to_string();
    assert!(error.contains("two columns are called `a`"), "{error}");
    // A place in the answer would be taken for one in the statement.
    assert!(error.ends_with("another name\""), "{error}");
}

#[test]
fn an_error_says_where_in_the_statement_it_is() {
    let server = Postgres::shared();
    let ran = run(
        &server.url("postgres"),
        "  - id: wrong\n    postgres.query:\n      connection: main\n      sql: |\n        SELECT 1,\n          nothing\n",
    );
    ran.expect_code(1);
    let error = step(&ran, "wrong")["error"].to_string();
    assert!(
        error.contains("column \\\"nothing\\\" does not exist"),
        "{error}"
    );
    assert!(error.contains("line 2, column 3 of `sql`"), "{error}");
    assert!(!error.contains("in statement"), "{error}");
}

#[test]
fn where_nothing_was_reached_nothing_was_changed() {
    let server = Postgres::shared();
    let steps = "  - id: cancel\n    on_error: continue\n    retry: { attempts: 2, delay: 1ms }\n    \
         postgres.cancel: { connection: main, older_than: 1h }\n  \
         - id: write\n    postgres.execute: { connection: main, sql: CREATE TABLE nowhere (a int) }\n";
    let nowhere = "postgres://postgres@127.0.0.1:1/postgres".to_owned();
    for url in [nowhere, server.url("no_such_database")] {
        let ran = run(&url, steps);
        ran.expect_code(1);
        for id in ["cancel", "write"] {
            assert_eq!(step(&ran, id)["status"], "failed", "{ran}");
            assert_eq!(step(&ran, id)["changed"], false, "{ran}");
        }
    }
}

#[test]
fn an_error_says_in_which_statement_it_is() {
    let server = Postgres::shared();
    let ran = run(
        &server.url("postgres"),
        "  - id: wrong\n    postgres.execute:\n      connection: main\n      sql: |\n        SELECT 1;\n        \
         SELECT 2; SELECT 3,\n          nothing;\n        SELECT 4;\n",
    );
    ran.expect_code(1);
    let error = step(&ran, "wrong")["error"].to_string();
    assert!(
        error.contains("line 3, column 3 of `sql`, in statement 3"),
        "{error}"
    );
}

#[test]
fn a_name_that_needs_quotes_is_shown_with_them() {
    let server = Postgres::shared();
    let database = server.new_database();
    server.psql_in(&database, "CREATE TABLE \"Order Items\" (a int)");
    let purge = |table: &str| {
        let steps = format!(
            "  - id: purge\n    postgres.purge: {{ connection: main, table: '{table}', where: a > 0, max: 1 }}\n"
        );
        run(&server.url(&database), &steps)
    };
    for (table, quoted) in [
        ("Order Items", "`\"Order Items\"`"),
        ("public.Order Items", "`\"public\".\"Order Items\"`"),
        ("Orders", "`\"Orders\"`"),
    ] {
        let ran = purge(table);
        ran.expect_code(1);
        let wrong = step(&ran, "purge");
        let said = format!("{} {}", wrong["error"], wrong["help"]).replace('\\', "");
        assert!(
            said.contains(&format!("find the table `{table}`")),
            "{said}"
        );
        assert!(said.contains(quoted), "{said}");
        assert!(!said.contains("42602"), "{said}");
    }
    purge("\"Order Items\"").expect_code(0);
}

/// A column that is none is a function: `seed.wipe` calls `wipe(seed)`, which the first part shows.
#[test]
fn a_function_in_the_place_of_a_column_is_not_called() {
    let server = Postgres::shared();
    let database = server.new_database();
    server.psql_in(
        &database,
        "CREATE TABLE seed (a int, fine int); INSERT INTO seed VALUES (1, 2);
         CREATE FUNCTION calls(text) RETURNS int LANGUAGE plpgsql IMMUTABLE AS
           $$ BEGIN RAISE EXCEPTION 'called by %', $1; END $$;
         CREATE FUNCTION wipe(seed) RETURNS int LANGUAGE sql AS $$ SELECT calls('wipe') $$;
         CREATE FUNCTION \"Wipe\"(anyelement, int DEFAULT 1) RETURNS int LANGUAGE sql AS
           $$ SELECT calls('Wipe') $$;
         CREATE FUNCTION wipe3(VARIADIC anyarray) RETURNS int LANGUAGE sql AS
           $$ SELECT calls('wipe3') $$;
         CREATE FUNCTION fine(int) RETURNS int LANGUAGE sql AS $$ SELECT 1 $$;
         CREATE DOMAIN seeded AS seed;
         CREATE FUNCTION wipe4(seeded) RETURNS int LANGUAGE plpgsql AS
           $$ BEGIN RETURN calls('wipe4'); END $$;
         CREATE TABLE grown (s seeded); INSERT INTO grown VALUES (ROW(1, 2))",
    );
    let url = server.url(&database);
    let queries = [
        "SELECT seed.wipe FROM seed",
        "SELECT s.\"Wipe\" FROM seed s",
        "SELECT (SELECT seed FROM seed).wipe3",
        "SELECT (s).wipe4 FROM grown",
        "EXPLAIN SELECT (ROW(1, 2)::seed).wipe",
    ];
    let steps: String = { queries.iter().enumerate() }
        .map(|(n, sql)| {
            format!(
                "  - id: q{n}\n    needs: []\n    postgres.query: {{ connection: main, sql: '{sql}' }}\n"
            )
        })
        .collect();
    let ran = run(&url, &steps);
    for (n, sql) in queries.iter().enumerate() {
        let told = server.try_psql(&url, sql).stderr;
        assert!(told.contains("called by"), "{sql}: {told}");
        let failed = step(&ran, &format!("q{n}"));
        let error = failed["error"].to_string();
        assert!(
            error.contains("a function of the database"),
            "{sql}: {error}"
        );
        assert!(
            failed
                .to_string()
                .contains("belongs into `postgres.execute`"),
            "{sql}: {failed}"
        );
    }
    let purge = "  - id: gone\n    postgres.purge: { connection: main, table: seed, where: seed.wipe > 0 }\n";
    let ran = run(&url, purge);
    ran.expect_code(1);
    let error = step(&ran, "gone")["error"].to_string();
    assert!(error.contains("`where` may do more"), "{error}");
    let ran = run(
        &url,
        "  - id: fine\n    postgres.query: { connection: main, sql: 'SELECT s.fine FROM seed s' }\n  \
         - id: gone\n    postgres.purge: { connection: main, table: seed, where: seed.a = 1 }\n",
    );
    ran.expect_code(0);
    assert_eq!(step(&ran, "fine")["outputs"]["value"], 2);
    assert_eq!(step(&ran, "gone")["outputs"]["deleted"], 1);
}

#[test]
fn what_really_deletes_is_confirmed() {
    let server = Postgres::shared();
    let database = server.new_database();
    server.psql_in(
        &database,
        "CREATE TABLE victim AS SELECT generate_series(1, 100) AS id",
    );
    let url = server.url(&database);
    let explained =
        "EXPLAIN ANALYZE WITH a AS (DELETE FROM victim WHERE id > 90 RETURNING 1) SELECT * FROM a";
    let count = || server.psql_in(&database, "SELECT count(*) FROM victim");
    for kind in ["query", "execute"] {
        let steps = format!(
            "  - id: it\n    postgres.{kind}: {{ connection: main, sql: '{explained}' }}\n"
        );
        let ran = Runbook::new()
            .file("playbook.yaml", playbook(&steps))
            .env("DATABASE_URL", &url)
            .args(["run", "playbook.yaml", "--format", "json"])
            .run();
        assert_ne!(ran.code, 0, "{kind}: {}", ran.stdout);
        assert_eq!(count(), "100", "{kind}");
    }
    // It is meant so: the same text deletes rows once it is confirmed.
    let steps =
        format!("  - id: it\n    postgres.execute: {{ connection: main, sql: '{explained}' }}\n");
    run(&url, &steps).expect_code(0);
    assert_eq!(count(), "90");
}

#[test]
fn what_is_executed_is_one_transaction_and_its_warnings_are_findings() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(&database, "CREATE TABLE t (a int PRIMARY KEY)");
    let ran = run(
        &url,
        r#"
  - id: fill
    postgres.execute:
      connection: main
      sql: |
        DO $$ BEGIN RAISE WARNING 'mind the gap'; END $$;
        INSERT INTO t SELECT generate_series(1, $1);
        UPDATE t SET a = a + 100 WHERE a > 3
      bind: [5]
"#,
    );
    ran.expect_code(0);
    let fill = step(&ran, "fill");
    assert_eq!(fill["outputs"]["affected"], 7);
    assert_eq!(
        fill["outputs"]["statements"][1],
        json!({ "statement": "INSERT", "affected": 5 })
    );
    assert_eq!(fill["findings"][0]["level"], "warning");
    assert!(
        fill["findings"][0]["message"]
            .to_string()
            .contains("mind the gap")
    );

    let ran = run(
        &url,
        "  - id: half\n    postgres.execute:\n      connection: main\n      sql: INSERT INTO t VALUES (50); INSERT INTO t VALUES (1)\n",
    );
    ran.expect_code(1);
    assert_eq!(
        server.psql_in(&database, "SELECT count(*) FROM t WHERE a = 50"),
        "0"
    );
    let ran = run(
        &url,
        "  - id: half\n    postgres.execute:\n      connection: main\n      transaction: false\n      sql: INSERT INTO t VALUES (50); INSERT INTO t VALUES (1)\n",
    );
    ran.expect_code(1);
    assert_eq!(
        server.psql_in(&database, "SELECT count(*) FROM t WHERE a = 50"),
        "1"
    );
    assert_eq!(step(&ran, "half")["outputs"]["affected"], 1);
}

#[test]
fn a_run_has_few_sessions_and_leaves_none() {
    let server = Postgres::start(&Default::default());
    let steps: String = (0..30)
        .map(|n| {
            format!(
                "  - id: s{n}\n    needs: []\n    postgres.query:\n      connection: main\n      \
                 sql: SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'rb/%'\n"
            )
        })
        .collect();
    let ran = run(&server.url("postgres"), &steps);
    ran.expect_code(0);
    for n in 0..30 {
        let sessions = step(&ran, &format!("s{n}"))["outputs"]["value"]
            .as_u64()
            .expect("a number");
        assert!(sessions <= 4, "{sessions} sessions");
    }
    let left = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'rb/%'";
    assert_eq!(server.psql(left), "0");
    assert!(!server.log().contains("unexpected EOF"), "{}", server.log());
}
