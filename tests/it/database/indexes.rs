//! `postgres.table_sizes`, `postgres.index_bloat`, `postgres.invalid_indexes`, `postgres.unused_indexes`
//! and `postgres.reindex`: what the seed's weekly maintenance (S05) gets wrong, and what ours does instead.

use std::time::Duration;

use serde_json::{Value, json};

use super::reindex::reindex;
use super::sql::{findings, planned, playbook, run, step};
use crate::support::postgres::Postgres;
use crate::support::run::{Ran, Runbook};
use crate::support::session::Session;
use crate::support::{lifetime, wait};

const LONG: Duration = Duration::from_secs(30);

/// 63 bytes, most of them of characters of two.
pub const LONGEST: &str = "nine_byteäöüäöüäöüäöüäöüäöüäöüäöüäöü";

/// Tables whose names nobody should take apart, each with an index that is named after it.
pub const NASTY: &str = r#"
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

pub fn plan(url: &str, steps: &str) -> Ran {
    Runbook::new()
        .file("playbook.yaml", playbook(steps))
        .env("DATABASE_URL", url)
        .args(["plan", "playbook.yaml", "--format", "json"])
        .run()
}

/// One field of each of a list of outputs.
pub fn each(list: &Value, field: &str) -> Vec<String> {
    let items = list.as_array().unwrap().iter();
    items
        .map(|item| item[field].as_str().unwrap().to_owned())
        .collect()
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
