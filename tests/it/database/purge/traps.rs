//! Tables whose rows are not gone by a deletion alone, or not only they: what is planned is what happens, or
//! nothing does.

use serde_json::json;

use super::LONG;
use crate::database::sql::{findings, planned, playbook, run, step};
use crate::support::postgres::Postgres;
use crate::support::run::Runbook;
use crate::support::wait;

fn purge(table: &str, condition: &str, more: &str) -> String {
    format!(
        "  - id: purge\n    postgres.purge:\n      connection: main\n      table: {table}\n      where: {}\n{more}",
        json!(condition)
    )
}

/// The error of a purge that is refused; the same in a plan, and nothing is deleted.
#[track_caller]
fn refused(url: &str, steps: &str) -> String {
    let plan = Runbook::new()
        .file("playbook.yaml", playbook(steps))
        .env("DATABASE_URL", url)
        .args(["plan", "playbook.yaml"])
        .run();
    plan.expect_code(1);
    assert!(plan.stdout.contains("would FAIL"), "{plan}");
    let ran = run(url, steps);
    ran.expect_code(1);
    assert_eq!(
        step(&ran, "purge")["outputs"]["deleted"]
            .as_u64()
            .unwrap_or(0),
        0
    );
    step(&ran, "purge")["error"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn a_condition_over_its_own_table_is_refused() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE t (id int PRIMARY KEY, amount int); INSERT INTO t SELECT g, g FROM generate_series(1, 1000) g;
         CREATE VIEW seen AS SELECT amount FROM t;
         CREATE TABLE parted (id int, parent int) PARTITION BY RANGE (id);
         CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (100);
         INSERT INTO parted VALUES (1, null), (2, 1), (3, 2);
         CREATE TABLE found (id int); INSERT INTO found VALUES (1), (2)",
    );
    // One deletion would take 499 rows; batch by batch it would be all but one.
    for (table, condition, names) in [
        ("t", "amount < (SELECT avg(amount) FROM t)", "public.t"),
        ("t", "amount < (SELECT avg(amount) FROM seen)", "public.t"),
        (
            "t",
            "EXISTS (SELECT FROM t o WHERE o.amount = t.amount + 1)",
            "public.t",
        ),
        (
            "parted",
            "NOT EXISTS (SELECT FROM parted c WHERE c.parent = parted.id)",
            "public.part",
        ),
        (
            "part",
            "NOT EXISTS (SELECT FROM parted c WHERE c.parent = part.id)",
            "public.part",
        ),
    ] {
        let error = refused(&url, &purge(table, condition, "      max: 2000\n"));
        assert!(
            error.contains(&format!("its condition reads {names}")),
            "{condition}: {error}"
        );
    }
    // Other tables are read as they are, whatever they are called.
    let ran = run(&url, &purge("t", "id IN (SELECT id FROM found)", ""));
    ran.expect_code(0);
    assert_eq!(step(&ran, "purge")["outputs"]["deleted"], 2);
    assert_eq!(server.psql_in(&database, "SELECT count(*) FROM t"), "998");
}

#[test]
fn no_more_rows_go_than_may_in_all_passes() {
    let server = Postgres::shared();
    let database = server.new_database();
    server.psql_in(
        &database,
        "CREATE TABLE t (id serial PRIMARY KEY, old bool); INSERT INTO t (old) SELECT true FROM generate_series(1, 10);
         CREATE FUNCTION again() RETURNS trigger LANGUAGE plpgsql AS
           'BEGIN INSERT INTO t (old) VALUES (true); RETURN NULL; END';
         CREATE TRIGGER again AFTER DELETE ON t FOR EACH ROW EXECUTE FUNCTION again()",
    );
    let ran = run(
        &server.url(&database),
        &purge("t", "old", "      max: 15\n"),
    );
    ran.expect_code(1);
    let error = step(&ran, "purge")["error"].to_string();
    assert!(error.contains("10 rows match, and `max` is 15"), "{error}");
    assert!(error.contains("10 rows are gone by then"), "{error}");
    assert_eq!(step(&ran, "purge")["outputs"]["deleted"], 10);
}

#[test]
fn an_archive_that_takes_less_than_everything_is_refused() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE src (id int, v text); INSERT INTO src SELECT g, 'x' FROM generate_series(1, 10) g;
         CREATE TABLE arch (LIKE src) PARTITION BY RANGE (id);
         CREATE TABLE arch1 PARTITION OF arch FOR VALUES FROM (0) TO (100);
         CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END';
         CREATE TRIGGER no BEFORE INSERT ON arch1 FOR EACH ROW EXECUTE FUNCTION no();
         CREATE TABLE par (id int, v text); CREATE TABLE chi (secret text) INHERITS (par);
         INSERT INTO chi VALUES (1, 'a', 'precious'); CREATE TABLE kept (LIKE par);
         CREATE TABLE whole (id int) PARTITION BY RANGE (id);
         CREATE TABLE piece PARTITION OF whole FOR VALUES FROM (0) TO (100); INSERT INTO whole VALUES (1)",
    );
    for (table, archive, said) in [
        ("src", "arch", "no of public.arch1 could turn rows away"),
        ("par", "kept", "no column secret of public.chi"),
        ("piece", "whole", "rows of the one are rows of the other"),
    ] {
        let more = format!("      archive: {{ table: {archive} }}\n");
        let error = refused(&url, &purge(table, "id < 100", &more));
        assert!(error.contains(said), "{table}: {error}");
    }
    let left = "SELECT (SELECT count(*) FROM src), (SELECT count(*) FROM par), (SELECT count(*) FROM whole)";
    assert_eq!(server.psql_in(&database, left), "10|1|1");
}

#[test]
fn an_archive_that_begins_to_turn_rows_away_ends_it() {
    let server = Postgres::shared();
    let database = server.new_database();
    server.psql_in(
        &database,
        "CREATE TABLE src (id int); INSERT INTO src SELECT g FROM generate_series(1, 5000) g;
         CREATE TABLE arch (LIKE src);
         CREATE FUNCTION no() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'",
    );
    let count = |table: &str| {
        let sql = format!("SELECT count(*) FROM {table}");
        server.psql_in(&database, &sql).parse::<u32>().unwrap()
    };
    let more = "      archive: { table: arch }\n      batch: 100\n      pause: 100ms\n";
    let started = Runbook::new()
        .file("playbook.yaml", playbook(&purge("src", "id > 0", more)))
        .env("DATABASE_URL", server.url(&database))
        .args(["run", "playbook.yaml", "--yes", "--format", "json"])
        .start();
    wait::until("some rows to be moved", LONG, || {
        (count("arch") > 0).then_some(())
    });
    server.psql_in(
        &database,
        "CREATE TRIGGER no BEFORE INSERT ON arch FOR EACH ROW EXECUTE FUNCTION no()",
    );
    let ran = started.finish();
    ran.expect_code(1);
    let error = step(&ran, "purge")["error"].to_string();
    assert!(
        error.contains("rows that the archive did not take: "),
        "{error}"
    );
    assert_eq!(count("src") + count("arch"), 5000);
}

#[test]
fn rules_are_refused_and_all_triggers_are_told() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE ruled (id int PRIMARY KEY); INSERT INTO ruled VALUES (1), (2); CREATE TABLE victim (id int);
         CREATE RULE more AS ON DELETE TO ruled DO ALSO DELETE FROM victim;
         CREATE TABLE above (id int PRIMARY KEY); INSERT INTO above VALUES (1);
         CREATE TABLE below (id int REFERENCES above ON DELETE CASCADE); INSERT INTO below VALUES (1);
         CREATE RULE instead AS ON DELETE TO below DO INSTEAD NOTHING;
         CREATE TABLE parted (id int PRIMARY KEY) PARTITION BY RANGE (id);
         CREATE TABLE part PARTITION OF parted FOR VALUES FROM (0) TO (100); INSERT INTO parted VALUES (1);
         CREATE TABLE child (id int REFERENCES parted ON DELETE CASCADE);
         CREATE TABLE other (id int REFERENCES parted ON DELETE SET NULL);
         CREATE FUNCTION f() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN OLD; END';
         CREATE TRIGGER on_all AFTER DELETE ON parted FOR EACH ROW EXECUTE FUNCTION f();
         CREATE TRIGGER on_part AFTER DELETE ON part FOR EACH ROW EXECUTE FUNCTION f();
         CREATE TRIGGER on_child AFTER DELETE ON child FOR EACH ROW EXECUTE FUNCTION f();
         CREATE TRIGGER on_other AFTER UPDATE ON other FOR EACH ROW EXECUTE FUNCTION f();
         CREATE TRIGGER on_insert AFTER INSERT ON parted FOR EACH ROW EXECUTE FUNCTION f()",
    );
    let error = refused(&url, &purge("ruled", "id < 100", ""));
    assert!(error.contains("the rule more of public.ruled"), "{error}");
    let error = refused(&url, &purge("above", "id < 100", "      cascade: true\n"));
    assert!(
        error.contains("the rule instead of public.below"),
        "{error}"
    );
    let steps = purge("parted", "id < 100", "      cascade: true\n");
    let preview = planned(&url, &steps, "purge");
    let items = preview["items"].as_array().unwrap().iter();
    let triggers: Vec<&str> = items
        .filter_map(|item| item.as_str()?.strip_prefix("trigger "))
        .collect();
    assert_eq!(
        triggers,
        [
            "on_all calls public.f()",
            "on_child of public.child calls public.f()",
            "on_other of public.other calls public.f()",
            "on_part of public.part calls public.f()",
        ]
    );
}

#[test]
fn what_deletes_nothing_vacuums_nothing() {
    let server = Postgres::shared();
    let database = server.new_database();
    server.psql_in(&database, "CREATE TABLE t (id int)");
    let steps = purge("t", "id < 100", "      vacuum: true\n");
    let url = server.url(&database);
    assert_eq!(planned(&url, &steps, "purge")["kind"], "no_change");
    let ran = run(&url, &steps);
    ran.expect_code(0);
    assert_eq!(step(&ran, "purge")["changed"], false);
    assert_eq!(step(&ran, "purge")["outputs"]["vacuumed"], false);
    assert_eq!(findings(&ran, "purge"), Vec::<String>::new());
}
