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
fn words_count_in_their_place_alone() {
    for text in [
        "SELECT rows(20)",
        "SELECT sets(20)",
        "SELECT range(20)",
        "SELECT groups(20)",
        "SELECT rollup(20)",
        "SELECT cube(20)",
        "SELECT within(20)",
        "SELECT by(20)",
        "SELECT over(20)",
        "SELECT partition(20)",
        "SELECT filter(20)",
        "SELECT materialized(20)",
        "SELECT varying(20)",
        "SELECT like(20)",
        "SELECT ilike(20)",
        "SELECT similar(20)",
        "SELECT is(20)",
        "SELECT join(20)",
        "SELECT \"rows\"(20)",
        "SELECT * FROM rows(20)",
        "SELECT * FROM t JOIN join(20) ON true",
        "SELECT * FROM t, over(20)",
        "SELECT DISTINCT ON (a) over(20) FROM t",
        "SELECT DISTINCT ON (a) filter(20) FROM t",
        "SELECT DISTINCT ON (a) like(20) FROM t",
        "SELECT 1 OPERATOR(pg_catalog.+) over(20)",
        "SELECT 1 WHERE NOT like('a', 'b')",
        "SELECT 1 WHERE NOT materialized(20)",
        "SELECT CASE like(20) WHEN 1 THEN 2 END",
        "SELECT 1 WHERE 1 BETWEEN SYMMETRIC like(20) AND 9",
        "SELECT 'a' LIKE like('a')",
        "SELECT a FROM t GROUP BY (a, rollup(b))",
        "SELECT a FROM t GROUP BY lower(rollup(b))",
        "SELECT a FROM t GROUP BY ARRAY[a, rollup(b)]",
        "SELECT a FROM t GROUP BY a ORDER BY a, rollup(b)",
        "SELECT a FROM t GROUP BY a UNION SELECT b, cube(20)",
        "SELECT a FROM t GROUP BY a + cube(20)",
        "SELECT a FROM t ORDER BY range(20)",
        "SELECT count(*) OVER (PARTITION BY range(a)) FROM t",
        "SELECT count(*) OVER (ORDER BY a, cube(a)) FROM t",
        // One name to PostgreSQL.
        "SELECT public\u{a0}lower(20)",
        // The Kelvin sign, whose lower case is k.
        "SELECT ran\u{212a}()",
    ] {
        assert_eq!(effect(text), Destroy, "{text}");
    }
    for text in [
        "SELECT a, b, sum(c) FROM t GROUP BY a, ROLLUP (b, (c, d)), CUBE (e) HAVING count(*) > 1",
        "SELECT a FROM t GROUP BY GROUPING SETS ((a, b), ROLLUP (a, b), CUBE (c), ())",
        "SELECT rank() OVER (ORDER BY a), sum(b) FILTER (WHERE c) OVER (PARTITION BY (d)) FROM t",
        "SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY a) FILTER (WHERE b > 1) FROM t",
        "SELECT sum(a) OVER w FROM t WINDOW w AS (ORDER BY (b) ROWS BETWEEN 1 PRECEDING AND CURRENT ROW)",
        "SELECT * FROM a LEFT JOIN (b CROSS JOIN c) ON true JOIN (SELECT 1) d ON true",
        "SELECT * FROM a AS x JOIN (b CROSS JOIN c) ON true",
        "SELECT 1 FROM t WHERE a LIKE ('x' || $1) AND t.name NOT ILIKE ('%' || b) OR name LIKE ('x')",
        "SELECT 1 FROM t WHERE lower(a) LIKE ('x') AND \"B\" LIKE ('y') AND NOT c LIKE ('z')",
        "SELECT a::character varying(10), b::timestamptz(3), c::bit varying(4), d::char(2)",
        "SELECT substring(a FROM (1) FOR (2)), a BETWEEN SYMMETRIC (1) AND (2) FROM t",
        "WITH a AS NOT MATERIALIZED (SELECT 1) SELECT DISTINCT ON (x) x FROM a",
        "SELECT b'01', x'1F', B'1' || X'aB', U&'\\0061', E'it\\'s' || 'a'",
    ] {
        let script = Script::parse(text).unwrap();
        let only = &script.statements()[0];
        assert_eq!(only.effect(), Read, "{text}: {:?}", only.why());
    }
}

/// The first four are taken for other words by the server.
#[test]
fn what_the_server_reads_otherwise_is_refused() {
    for text in [
        "SELECT X'\\', wipe(20) --'",
        "SELECT x'\\'', wipe(20), '1'",
        "SELECT E'a'\n'\\'', wipe(20) --'",
        "SELECT E'a' -- b\n'\\'', wipe(20) --'",
        "SELECT seed.U&\"\\0077ipe\" FROM seed",
        "SELECT u&\"pg_terminate\\005fbackend\"(1)",
        "SELECT a.b\"wipe\" FROM a",
    ] {
        assert!(Script::parse(text).is_err(), "{text}");
        assert!(Predicate::parse(text).is_err(), "{text}");
    }
    assert_eq!(effect("SELECT a, u & \"b\" -- \u{a0}"), Read);
}

#[test]
fn names_after_a_dot_may_be_functions() {
    let text = "SELECT seed.wipe, s . \"Wipe\", (SELECT seed).w3, a[1].W4, $1.w5, seed.*, \
                pg_catalog.lower('a.b') FROM public.seed s";
    let script = Script::parse(text).unwrap();
    let fields = script.statements()[0].fields();
    assert_eq!(fields, ["Wipe", "w3", "w4", "w5", "wipe"]);
    let fields = |text: &str| {
        Script::parse(text).unwrap().statements()[0]
            .fields()
            .to_vec()
    };
    let tables = "SELECT (a.x) FROM s.t1 JOIN s.t2 ON (SELECT true FROM s.t3 WHERE b.y)";
    assert_eq!(fields(tables), ["x", "y"]);
    for text in [
        "SELECT extract(epoch FROM seed.wipe) FROM seed",
        "SELECT substring((SELECT 'a') FROM seed.wipe) FROM seed",
        "SELECT 1 IS DISTINCT FROM seed.wipe FROM seed",
        "SELECT 1 IS NOT DISTINCT FROM public.seed.wipe FROM public.seed",
        "SELECT trim(BOTH FROM seed.wipe) FROM seed",
    ] {
        let fields = fields(text);
        assert!(fields.contains(&"wipe".to_owned()), "{text}: {fields:?}");
    }
    assert_eq!(Predicate::parse("t.A > 1").unwrap().fields(), ["a"]);
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
        "ALTER TABLE t ADD COLUMN add boolean CHECK (add AND wipe(1))",
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
