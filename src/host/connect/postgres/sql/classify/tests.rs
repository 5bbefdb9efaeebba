//! What authors may write, and what it is taken for.

use crate::event::EffectClass::{self, Change, Destroy, Read};
use crate::host::connect::postgres::sql::script::{Predicate, Script};

fn effect(text: &str) -> EffectClass {
    let script = Script::parse(text).unwrap();
    assert_eq!(script.statements().len(), 1, "{text}");
    script.effect()
}

#[test]
fn what_only_looks_is_read() {
    for text in [
        "SELECT 1",
        "select count(*) from \"UserData\" where created_at < now() - make_interval(secs => $1)",
        "WITH a (x, y) AS (SELECT 1, 2), b AS MATERIALIZED (TABLE a) SELECT x FROM a JOIN b USING (x)",
        "SELECT t.a, pg_catalog.pg_size_pretty(8::numeric(10, 2)) FROM (VALUES (1)) AS t (a)",
        "SELECT count(*) FILTER (WHERE a > 1) OVER (PARTITION BY b) FROM t GROUP BY ROLLUP (a, b)",
        "SELECT 'it''s; pg_terminate_backend(1)' -- nextval('s')\n",
        "SELECT $tag$ setval('s', 1) $tag$ /* pg_sleep(1) /* nested */ nextval('x') */",
        "WITH a (x) AS NOT MATERIALIZED (VALUES (1)), b (y) AS ((SELECT 1)) SELECT x FROM a, b",
        "SHOW max_connections",
        "EXPLAIN SELECT * FROM t",
        "EXPLAIN (FORMAT JSON, BUFFERS) SELECT * FROM t",
        "EXPLAIN DELETE FROM t",
        "VALUES (1), (2)",
        "SELECT ARRAY(SELECT 1), ROW(1, 2), EXTRACT(epoch FROM now()), CAST(1 AS varchar(3))",
        "SELECT * FROM a CROSS JOIN LATERAL (SELECT 1) l",
        "SELECT x FROM generate_series(1, 3) AS g(x) WHERE x IN (1, 2) AND x = ANY($1)",
    ] {
        let script = Script::parse(text).unwrap();
        let only = &script.statements()[0];
        assert_eq!(only.effect(), Read, "{text}: {:?}", only.why());
    }
}

#[test]
fn what_passes_a_read_only_transaction_is_not_read() {
    for text in [
        "SELECT pg_terminate_backend(1)",
        "SELECT pg_catalog.pg_terminate_backend(1)",
        "SELECT \"pg_terminate_backend\"(1)",
        "SELECT pg_terminate_backend /* a */ (1)",
        "SELECT * FROM pg_terminate_backend(1)",
        "SELECT PG_CANCEL_BACKEND(1)",
        "SELECT 1 WHERE pg_sleep(1) IS NULL",
        "SELECT U&\"pg_terminate\\005fbackend\"(1)",
        "SELECT x FROM t ORDER BY setval('s', 1)",
        "WITH a AS (SELECT nextval('s')) SELECT * FROM a",
        "SELECT a.b.c(1)",
        "SELECT myschema.lower('a')",
        "SELECT dblink_exec('host=x', 'DROP TABLE t')",
        "SELECT query_to_xml('DELETE FROM t', true, true, '')",
        "SELECT (SELECT (SELECT lo_unlink(1)))",
        "SELECT count(*) FROM t, LATERAL pg_advisory_lock(1)",
        "VALUES (pg_reload_conf())",
        "EXPLAIN ANALYZE SELECT pg_terminate_backend(1)",
        "SELECT x FROM queries, dblink(text) AS (x int)",
        "SELECT x FROM queries, dblink(text) AS materialized (x int)",
        "SELECT x FROM queries, dblink(text) AS (values int)",
        "COPY (SELECT 1) TO PROGRAM 'rm -rf /'",
        "COPY t TO '/tmp/x'",
        "DO $$ BEGIN PERFORM 1; END $$",
        "CALL p()",
        "VACUUM FULL",
        "REINDEX DATABASE x",
        "ALTER SYSTEM SET work_mem = '1MB'",
        "LOCK TABLE t",
        "PREPARE p AS DELETE FROM t",
        "EXECUTE p",
        "DISCARD ALL",
        "nonsense that nobody reads",
    ] {
        assert_eq!(effect(text), Destroy, "{text}");
    }
}

#[test]
fn what_loses_data_is_destroy_and_what_adds_is_change() {
    for text in [
        "UPDATE t SET a = 1",
        "DELETE FROM t WHERE a = 1",
        "WITH d AS (DELETE FROM t RETURNING *) SELECT count(*) FROM d",
        "EXPLAIN ANALYZE DELETE FROM t",
        "EXPLAIN (ANALYZE) UPDATE t SET a = 1",
        "INSERT INTO t VALUES (1) ON CONFLICT (a) DO UPDATE SET a = 2",
        "MERGE INTO t USING s ON t.a = s.a WHEN MATCHED THEN DELETE",
        "TRUNCATE t",
        "DROP TABLE t",
        "ALTER TABLE t DROP COLUMN a",
        "CREATE OR REPLACE VIEW v AS SELECT 1",
        "INSERT INTO t SELECT setval('s', 1)",
    ] {
        assert_eq!(effect(text), Destroy, "{text}");
    }
    for text in [
        "INSERT INTO t (a, b) VALUES ($1, $2)",
        "SELECT * INTO u FROM t",
        "SELECT * FROM t FOR UPDATE",
        "CREATE INDEX CONCURRENTLY i ON t (a)",
        "CREATE TABLE t (a int)",
        "ANALYZE t",
        "ALTER TABLE t ADD COLUMN a int",
        "COMMENT ON TABLE t IS 'x'",
    ] {
        let script = Script::parse(text).unwrap();
        let only = &script.statements()[0];
        assert_eq!(only.effect(), Change, "{text}: {:?}", only.why());
    }
}

#[test]
fn what_is_explained_and_run_is_judged_with_everything_in_it() {
    for (text, class) in [
        (
            "EXPLAIN ANALYZE WITH a AS (DELETE FROM t WHERE id > 90 RETURNING 1) SELECT * FROM a",
            Destroy,
        ),
        (
            "EXPLAIN (VERBOSE, ANALYZE) WITH a AS (UPDATE t SET b = 1 RETURNING 1) TABLE a",
            Destroy,
        ),
        ("EXPLAIN ANALYZE DELETE FROM t", Destroy),
        ("EXPLAIN ANALYZE SELECT wipe(1)", Destroy),
        ("EXPLAIN SELECT wipe(1)", Destroy),
        ("EXPLAIN ANALYZE INSERT INTO t VALUES (1)", Change),
        ("EXPLAIN ANALYZE SELECT 1 FROM t FOR UPDATE", Change),
        ("EXPLAIN ANALYZE SELECT * INTO u FROM t", Change),
        (
            "EXPLAIN WITH a AS (DELETE FROM t RETURNING 1) SELECT * FROM a",
            Read,
        ),
        ("EXPLAIN ANALYZE SELECT lower(a) FROM t", Read),
    ] {
        assert_eq!(effect(text), class, "{text}");
    }
}

#[test]
fn what_a_definition_evaluates_at_once_is_judged() {
    for text in [
        "CREATE TABLE ended AS SELECT pg_terminate_backend(pid) FROM pg_stat_activity",
        "CREATE TABLE ended (a, b) WITH (fillfactor = 70) AS SELECT wipe(1), 2",
        "CREATE MATERIALIZED VIEW v AS SELECT wipe(1)",
        "CREATE MATERIALIZED VIEW v (a) AS (SELECT rows(1))",
        "ALTER TABLE t ADD COLUMN c int DEFAULT wipe(1)",
        "ALTER TABLE t ADD COLUMN c int CHECK (c > public.wipe(1))",
        "ALTER TABLE t ADD COLUMN c int GENERATED ALWAYS AS (wipe(1)) STORED",
        "CREATE INDEX ON t (wipe(a))",
        "CREATE INDEX i ON public.t USING btree (a, (b + wipe(a)))",
        "CREATE INDEX i ON t (a) INCLUDE (b) WHERE wipe(1) > 0",
        "CREATE TABLE t (a int, b int GENERATED ALWAYS AS (wipe(1)) STORED)",
        "CREATE TABLE p PARTITION OF t FOR VALUES IN (wipe(1))",
        "CREATE TABLE p PARTITION OF t FOR VALUES FROM (wipe(1)) TO (9)",
        "CREATE TABLE t (a int) PARTITION BY RANGE ((a + wipe(1)))",
    ] {
        assert_eq!(effect(text), Destroy, "{text}");
    }
    for text in [
        "CREATE TABLE u AS SELECT lower(a), count(*) FROM t GROUP BY 1",
        "CREATE TABLE t (id int PRIMARY KEY DEFAULT nextval('s'), b numeric(8, 2) CHECK (wipe(b)),
           c int REFERENCES u (id), UNIQUE (b, c), FOREIGN KEY (c) REFERENCES u (id))",
        "CREATE TABLE t (a int, b int) PARTITION BY RANGE (a, lower(b))",
        "CREATE TABLE p PARTITION OF t FOR VALUES FROM ('2026-01-01') TO ('2026-02-01')",
        "CREATE VIEW v (a) AS SELECT wipe(1)",
        "CREATE MATERIALIZED VIEW v (a, b) AS SELECT a, max(b) FROM t GROUP BY a",
        "CREATE INDEX i ON t (lower(a), b DESC) INCLUDE (c) WHERE d IN (1, 2)",
        "CREATE UNIQUE INDEX CONCURRENTLY i ON public.t USING gin (a gin_trgm_ops) WITH (fastupdate = off)",
        "ALTER TABLE t ADD COLUMN c numeric(8, 2) DEFAULT 0 REFERENCES public.u (id)",
        "ALTER TABLE t ADD COLUMN IF NOT EXISTS at geometry(4, 2), ADD COLUMN d timestamptz DEFAULT now()",
        "ALTER TABLE t ADD COLUMN i int GENERATED BY DEFAULT AS IDENTITY (START 5)",
        "CREATE TYPE mood AS ENUM ('good', 'bad')",
    ] {
        let script = Script::parse(text).unwrap();
        let only = &script.statements()[0];
        assert_eq!(only.effect(), Change, "{text}: {:?}", only.why());
    }
}

#[test]
fn settings_that_guard_something_are_not_switched_off_unasked() {
    for text in [
        "SET session_replication_role = replica",
        "SET LOCAL session_replication_role TO 'replica'",
        "SET \"session_replication_role\" = replica",
        "SET row_security = off",
        "SET synchronous_commit = off",
        "SET standard_conforming_strings = off",
        "SET my.setting = 1",
        "SET ROLE postgres",
        "SET SESSION AUTHORIZATION postgres",
        "SET search_path = public, pg_catalog",
        "SET zero_damaged_pages = on",
    ] {
        assert_eq!(effect(text), Destroy, "{text}");
    }
    for text in [
        "SET statement_timeout = '5s'",
        "SET LOCAL lock_timeout TO 100",
        "SET search_path = a, \"B\"",
        "SET SESSION work_mem = '64MB'",
        "SET TIME ZONE 'UTC'",
        "SET TimeZone = 'UTC'",
        "SET TRANSACTION ISOLATION LEVEL SERIALIZABLE",
    ] {
        assert_eq!(effect(text), Change, "{text}");
    }
}

#[test]
fn scripts_are_taken_apart_where_their_statements_end() {
    let text = "SELECT 'a;b', $1 ; -- one; two\nDELETE FROM \"t;\" WHERE a = $2;;\n/* ; */ ";
    let script = Script::parse(text).unwrap();
    let texts: Vec<&str> = script.statements().iter().map(|s| s.text()).collect();
    assert_eq!(
        texts,
        ["SELECT 'a;b', $1", "DELETE FROM \"t;\" WHERE a = $2"]
    );
    let numbers: Vec<u16> = script.statements().iter().map(|s| s.parameters()).collect();
    assert_eq!(numbers, [1, 2]);
    assert_eq!(script.statements()[1].word(), "DELETE");
    assert_eq!(script.effect(), Destroy);
    let text = "SELECT 'ä', 'ö' ;SELECT 2";
    let script = Script::parse(text).unwrap();
    assert_eq!(script.statements()[0].text(), "SELECT 'ä', 'ö'");
    assert_eq!(script.statements()[1].text(), "SELECT 2");
    for nothing in ["", " ; ;", "-- nothing", "SELECT 'open", "SELECT \0"] {
        assert!(Script::parse(nothing).is_err(), "{nothing}");
    }
    for control in [
        "BEGIN",
        "COMMIT",
        "ROLLBACK",
        "SAVEPOINT a",
        "PREPARE TRANSACTION 'x'",
        "END",
        "ABORT",
    ] {
        let script = Script::parse(control).unwrap();
        assert!(script.statements()[0].is_transaction_control(), "{control}");
    }
}

#[test]
fn conditions_only_look() {
    let good = "created_at < now() - make_interval(secs => $1) AND NOT kept";
    assert_eq!(Predicate::parse(good).unwrap().parameters(), 1);
    for bad in [
        "",
        "a = 1; DROP TABLE t",
        "a = 1) OR (1 = 1",
        "pg_terminate_backend(a)",
        "a IN (SELECT nextval('s'))",
        "a = 1 RETURNING a",
        "a = 1 ORDER BY a",
        "a = 'open",
    ] {
        assert!(Predicate::parse(bad).is_err(), "{bad}");
    }
}

#[test]
fn nothing_that_is_nested_deeply_ends_the_program() {
    let deep = format!("SELECT {}1{}", "(".repeat(50_000), ")".repeat(50_000));
    assert_eq!(effect(&deep), Destroy);
    assert!(Predicate::parse(&"(".repeat(100_000)).is_err());
    let long = format!("SELECT {}", vec!["1"; 20_000].join("+"));
    assert_eq!(effect(&long), Destroy);
    let long = format!("SELECT {}", vec!["1"; 1_900].join("+"));
    assert_eq!(effect(&long), Read);
}
