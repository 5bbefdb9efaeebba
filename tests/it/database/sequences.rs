//! `postgres.sequences`: what the seed's monthly optimisation (S07) gets wrong, and what ours does instead.

use std::time::Duration;

use serde_json::json;

use super::maintenance::stranger;
use super::sql::{findings, planned, run, step};
use crate::support::postgres::Postgres;
use crate::support::session::Session;
use crate::support::wait;

const LONG: Duration = Duration::from_secs(30);

/// Sequences of every kind: `late` is behind, and so are `Down`, `identity`, `parts` and `shared`.
const SEQUENCES: &str = r#"
    CREATE TABLE fine (id serial PRIMARY KEY);
    INSERT INTO fine SELECT FROM generate_series(1, 10);
    CREATE TABLE ahead (id serial PRIMARY KEY);
    INSERT INTO ahead VALUES (5);
    SELECT setval('ahead_id_seq', 1000);
    CREATE TABLE late (id serial PRIMARY KEY);
    INSERT INTO late VALUES (1), (120);
    CREATE SEQUENCE "Down" INCREMENT -1 MAXVALUE -1;
    CREATE TABLE "Down Under" ("Id" int8 DEFAULT nextval('"Down"'));
    INSERT INTO "Down Under" VALUES (-7);
    CREATE TABLE ident (id int8 GENERATED ALWAYS AS IDENTITY (CACHE 10));
    INSERT INTO ident OVERRIDING SYSTEM VALUE VALUES (40);
    CREATE TABLE parts (id serial, at int) PARTITION BY RANGE (at);
    CREATE TABLE parts_1 PARTITION OF parts FOR VALUES FROM (0) TO (10);
    INSERT INTO parts_1 VALUES (9, 1);
    CREATE SEQUENCE shared;
    CREATE TABLE one (id int8 DEFAULT nextval('shared'));
    CREATE TABLE two (id int2 DEFAULT nextval('shared'));
    INSERT INTO one VALUES (3);
    INSERT INTO two VALUES (8), (-5);
    CREATE TABLE round (id int);
    CREATE SEQUENCE round_seq MAXVALUE 5 CYCLE OWNED BY round.id;
    INSERT INTO round VALUES (5);
    CREATE TABLE empty (id serial);
    CREATE TABLE text_id (id text DEFAULT 'T' || nextval('fine_id_seq'));
    CREATE SEQUENCE wide;
    CREATE TABLE narrow (id int DEFAULT nextval('wide'));
    SELECT setval('wide', 2100000000);
"#;

fn sequences(more: &str) -> String {
    format!("  - id: s\n    postgres.sequences: {{ connection: main{more} }}\n")
}

#[test]
fn sequences_that_are_behind_are_moved_up_and_no_others() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(&database, SEQUENCES);
    // The seed: a statement that nobody could run, and what it means moves sequences back.
    let seed = server.try_psql(
        &url,
        "SELECT 'ALTER SEQUENCE ' || sequence_name || ' RESTART WITH ' || (SELECT MAX(id) + 1 FROM ' || table_name || ');'
         FROM information_schema.sequences;",
    );
    assert_ne!(seed.code, 0);

    let look = run(&url, &sequences(""));
    look.expect_code(1);
    let told = findings(&look, "s");
    let behind = [
        "public.\"Down\": behind: it gives out -1 next, and public.\"Down Under\".\"Id\" has -7 already",
        "public.ident_id_seq: behind: it gives out 1 next, and public.ident.id has 40 already",
        "public.late_id_seq: behind: it gives out 1 next, and public.late.id has 120 already",
        "public.parts_id_seq: behind: it gives out 1 next, and public.parts.id has 9 already",
        "public.shared: behind: it gives out 1 next, and public.one.id, public.two.id has 8 already",
        "public.wide: 97.79 % used: it ends at 2,147,483,647 (public.narrow.id)",
    ];
    let mut behind: Vec<String> = behind.iter().map(|it| format!("critical {it}")).collect();
    let text = "unknown public.fine_id_seq: cannot be compared with public.text_id.id: it holds no whole \
                numbers, but text";
    behind.insert(1, text.to_owned());
    assert_eq!(told, behind);
    let outputs = step(&look, "s")["outputs"].clone();
    assert_eq!(
        (&outputs["checked"], &outputs["behind"]),
        (&json!(10), &json!(5))
    );

    let repair = sequences(", repair: true, fail: 99, warn: 99") + "    fail_on: critical\n";
    let preview = planned(&url, &repair, "s");
    assert_eq!(preview["counts"]["sequences"], 5);
    assert_eq!(
        preview["items"][2],
        "public.late_id_seq: 1 → 120 (public.late.id)"
    );
    let ran = run(&url, &repair);
    ran.expect_code(0);
    let outputs = step(&ran, "s")["outputs"].clone();
    assert_eq!(
        (&outputs["repaired"], &outputs["behind"]),
        (&json!(5), &json!(0))
    );
    assert_eq!(planned(&url, &repair, "s")["kind"], "no_change");
    let next = |sql: &str| server.psql_in(&database, sql);
    assert_eq!(next("INSERT INTO late DEFAULT VALUES RETURNING id"), "121");
    assert_eq!(
        next("INSERT INTO ahead DEFAULT VALUES RETURNING id"),
        "1001"
    );
    assert_eq!(next("INSERT INTO fine DEFAULT VALUES RETURNING id"), "11");
    assert_eq!(
        next("INSERT INTO \"Down Under\" DEFAULT VALUES RETURNING \"Id\""),
        "-8"
    );
    assert_eq!(next("INSERT INTO ident DEFAULT VALUES RETURNING id"), "41");
    assert_eq!(next("INSERT INTO parts (at) VALUES (1) RETURNING id"), "10");
    assert_eq!(next("INSERT INTO one DEFAULT VALUES RETURNING id"), "9");
    assert_eq!(next("INSERT INTO empty DEFAULT VALUES RETURNING id"), "1");
    assert_eq!(next("SELECT nextval('round_seq')"), "1");
    let cache = "SELECT seqcache FROM pg_sequence WHERE seqrelid = 'ident_id_seq'::regclass";
    assert_eq!(next(cache), "10");
    assert_eq!(
        next("SELECT pg_get_serial_sequence('ident', 'id')"),
        "public.ident_id_seq"
    );
}

#[test]
fn what_a_login_may_not_read_is_unknown() {
    let server = Postgres::shared();
    let database = server.new_database();
    server.psql_in(
        &database,
        "CREATE TABLE hidden (id serial); INSERT INTO hidden VALUES (5);
         CREATE TABLE rows (id serial); INSERT INTO rows VALUES (5);
         ALTER TABLE rows ENABLE ROW LEVEL SECURITY;
         CREATE POLICY few ON rows USING (id < 2);
         GRANT SELECT ON rows, rows_id_seq, hidden_id_seq TO public;
         CREATE TABLE seen (id serial); INSERT INTO seen VALUES (5);
         GRANT SELECT ON seen, seen_id_seq TO public",
    );
    let (_, url) = stranger(server, &database);
    let ran = run(&url, &sequences(""));
    let told = findings(&ran, "s");
    let begins = [
        "unknown public.hidden_id_seq",
        "unknown public.rows_id_seq",
        "critical public.seen_id_seq",
    ];
    assert_eq!(told.len(), 3, "{told:?}");
    for (told, begin) in told.iter().zip(begins) {
        assert!(told.starts_with(begin), "{told}");
    }
    let ran = run(&url, &sequences(", repair: true"));
    ran.expect_code(1);
    let told = findings(&ran, "s").join("\n");
    assert!(
        told.contains("critical public.seen_id_seq: not repaired: permission denied"),
        "{told}"
    );
    assert_eq!(
        server.psql_in(&database, "SELECT last_value FROM seen_id_seq"),
        "1"
    );
}

#[test]
fn nobody_fails_who_writes_while_a_sequence_is_moved_up() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    // Some values are taken before they are inserted.
    server.psql_in(
        &database,
        "CREATE TABLE t (id bigserial PRIMARY KEY, n int);
         CREATE TABLE failed (at timestamptz DEFAULT clock_timestamp(), why text);
         CREATE PROCEDURE write() LANGUAGE plpgsql AS $$
           DECLARE v int8;
           BEGIN
             FOR i IN 1..1000000 LOOP
               EXIT WHEN EXISTS (SELECT FROM failed WHERE why = 'stop');
               BEGIN
                 IF i % 2 = 0 THEN
                   v := nextval('t_id_seq');
                   PERFORM pg_sleep(0.002);
                   INSERT INTO t (id, n) VALUES (v, i);
                 ELSE
                   INSERT INTO t (n) VALUES (i);
                 END IF;
               EXCEPTION WHEN OTHERS THEN INSERT INTO failed (why) VALUES (SQLERRM);
               END;
               COMMIT;
             END LOOP;
           END $$;
         INSERT INTO t (id) SELECT generate_series(10000, 10200)",
    );
    let writers = [(); 3].map(|()| Session::open(&url, "writer").begin("CALL write()"));
    let many = || server.psql_in(&database, "SELECT count(*) > 400 FROM t") == "t";
    wait::until("writers", LONG, || many().then_some(()));
    let ran = run(&url, &sequences(", repair: true, lock_timeout: 20s"));
    ran.expect_code(0);
    assert_eq!(step(&ran, "s")["outputs"]["repaired"], 1);
    let far = "SELECT count(*) > 50 FROM t WHERE id > 10200";
    wait::until("writers", LONG, || {
        (server.psql_in(&database, far) == "t").then_some(())
    });
    server.psql_in(&database, "INSERT INTO failed (why) VALUES ('stop')");
    for writer in writers {
        writer.finish().unwrap();
    }
    // A value that was taken before is inserted afterwards, and is there once.
    assert_eq!(
        server.psql_in(&database, "SELECT why FROM failed WHERE why <> 'stop'"),
        ""
    );
}

#[test]
fn whoever_holds_a_value_and_waits_to_insert_it_is_let_through() {
    let server = Postgres::shared();
    for cache in [1, 2] {
        let database = server.new_database();
        let url = server.url(&database);
        let set_up = format!(
            "CREATE TABLE late (id serial PRIMARY KEY); INSERT INTO late VALUES (50);
             ALTER SEQUENCE late_id_seq CACHE {cache}"
        );
        server.psql_in(&database, &set_up);
        // It holds the sequence while we hold the table, and then waits for the table: a deadlock, were
        // it not let through.
        let writer = Session::open(&url, "writer").begin(
            "BEGIN; SELECT nextval('late_id_seq'); SELECT pg_sleep(0.6); \
             INSERT INTO late VALUES (51); SELECT pg_sleep(0.6); COMMIT",
        );
        let holds = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' \
                     AND datname = current_database()";
        let holds = || server.psql_in(&database, holds) == "1";
        wait::until("a value", LONG, || holds().then_some(()));
        let repair = sequences(", repair: true, lock_timeout: 20s");
        run(&url, &repair).expect_code(0);
        writer.finish().unwrap();
        run(&url, &repair).expect_code(0);
        let insert = "INSERT INTO late DEFAULT VALUES RETURNING id";
        assert_eq!(server.psql_in(&database, insert), "52");
    }
}

#[test]
fn a_sequence_is_not_moved_where_its_locks_do_not_come_in_time() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE late (id serial PRIMARY KEY); INSERT INTO late VALUES (50), (2000000)",
    );
    for held in [
        "INSERT INTO late VALUES (90)",
        "SELECT nextval('late_id_seq')",
    ] {
        let holder = Session::holding(&url, held);
        let ran = run(&url, &sequences(", repair: true, lock_timeout: 300ms"));
        ran.expect_code(1);
        let told = findings(&ran, "s").join("\n");
        assert!(
            told.contains("not repaired: canceling statement due to lock timeout"),
            "{held}: {told}"
        );
        holder.let_go();
    }
    // Two million values are not given out one by one.
    run(&url, &sequences(", repair: true")).expect_code(0);
    let insert = "INSERT INTO late DEFAULT VALUES RETURNING id";
    assert_eq!(server.psql_in(&database, insert), "2000001");
}

#[test]
fn values_that_a_session_had_kept_are_not_given_out_afterwards() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE t (id serial PRIMARY KEY); ALTER SEQUENCE t_id_seq CACHE 5",
    );
    // It inserts 1 and keeps 2 to 5.
    let writer = Session::open(&url, "writer");
    writer.run("INSERT INTO t DEFAULT VALUES").unwrap();
    server.psql_in(&database, "INSERT INTO t SELECT generate_series(2, 50)");
    run(&url, &sequences(", repair: true")).expect_code(0);
    writer.run("INSERT INTO t DEFAULT VALUES").unwrap();
    assert_eq!(server.psql_in(&database, "SELECT max(id) FROM t"), "51");
}

#[test]
fn whatever_takes_its_values_from_a_sequence_is_judged_or_told() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        r#"
    CREATE SCHEMA "x )::int";
    CREATE DOMAIN d1 AS int; CREATE DOMAIN d2 AS d1; CREATE DOMAIN "x )::int"."D 3" AS d2;
    CREATE SEQUENCE s_dom; CREATE TABLE in_domain (id d2 DEFAULT nextval('s_dom'));
    CREATE SEQUENCE s_deep;
    CREATE TABLE in_deep (id "x )::int"."D 3" DEFAULT nextval('s_deep')::int::"x )::int"."D 3");
    CREATE SEQUENCE s_cast; CREATE TABLE cast_to (id int DEFAULT nextval('s_cast')::int);
    CREATE SEQUENCE s_numeric;
    CREATE TABLE in_numeric (id numeric(10, 0) DEFAULT nextval('s_numeric')::numeric(10, 0));
    CREATE SEQUENCE s_quote; ALTER SEQUENCE s_quote RENAME TO "it's )::int + nextval(";
    CREATE TABLE quoted (id int DEFAULT nextval('"it''s )::int + nextval("'));
    CREATE SEQUENCE s_of_domain; CREATE DOMAIN own AS int8 DEFAULT nextval('s_of_domain');
    CREATE TABLE of_domain (id own, other own DEFAULT 5);
    CREATE SEQUENCE c_sum; CREATE TABLE computed (id int DEFAULT nextval('c_sum') + 1000);
    CREATE SEQUENCE c_two; CREATE TABLE two (id int DEFAULT nextval('c_two')::int + nextval('c_two')::int);
    CREATE SEQUENCE c_case; CREATE TABLE cased (id int8 DEFAULT coalesce(nextval('c_case'), 1));
    CREATE SEQUENCE c_text; CREATE TABLE in_text (id text DEFAULT 'T' || nextval('c_text'));
    CREATE TABLE none (id text); CREATE SEQUENCE c_none OWNED BY none.id;
    INSERT INTO in_domain SELECT generate_series(1, 50);
    INSERT INTO in_deep SELECT generate_series(1, 50);
    INSERT INTO cast_to SELECT generate_series(1, 50);
    INSERT INTO in_numeric SELECT generate_series(1, 50);
    INSERT INTO quoted SELECT generate_series(1, 50);
    INSERT INTO of_domain SELECT generate_series(1, 50);
"#,
    );
    let look = run(&url, &sequences(""));
    look.expect_code(1);
    let cannot = |sequence: &str, table: &str, why: &str| {
        format!("unknown public.{sequence}: cannot be compared with public.{table}.id: {why}")
    };
    let computes = |sequence: &str, table: &str, default: &str| {
        let why = format!("its default computes with the value: {default}");
        cannot(sequence, table, &why)
    };
    let next = "(nextval('public.c_two'::regclass))::integer";
    let unknown = [
        computes(
            "c_case",
            "cased",
            "COALESCE(nextval('public.c_case'::regclass), (1)::bigint)",
        ),
        computes(
            "c_sum",
            "computed",
            "(nextval('public.c_sum'::regclass) + 1000)",
        ),
        cannot("c_text", "in_text", "it holds no whole numbers, but text"),
        computes("c_two", "two", &format!("({next} + {next})")),
    ];
    let behind = |(sequence, table): (&str, &str)| {
        format!(
            "critical public.{sequence}: behind: it gives out 1 next, and public.{table}.id has 50 already"
        )
    };
    let fed = [
        ("\"it's )::int + nextval(\"", "quoted"),
        ("s_cast", "cast_to"),
        ("s_deep", "in_deep"),
        ("s_dom", "in_domain"),
        ("s_numeric", "in_numeric"),
        ("s_of_domain", "of_domain"),
    ];
    let expected: Vec<String> = { unknown.iter().cloned() }.chain(fed.map(behind)).collect();
    assert_eq!(findings(&look, "s"), expected);
    assert_eq!(step(&look, "s")["outputs"]["checked"], 6);

    let ran = run(&url, &sequences(", repair: true"));
    assert_eq!(step(&ran, "s")["outputs"]["repaired"], 6);
    assert_eq!(findings(&ran, "s"), unknown);
    for (_, table) in fed {
        let insert = format!("INSERT INTO {table} DEFAULT VALUES RETURNING id");
        assert_eq!(server.psql_in(&database, &insert), "51", "{table}");
    }
    // The cure: those that can be judged.
    let named = run(&url, &sequences(", tables: [in_domain, cast_to]"));
    named.expect_code(0);
    assert_eq!(findings(&named, "s"), [""; 0]);
}
