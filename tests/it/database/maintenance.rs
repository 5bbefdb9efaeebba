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
fn stranger(server: &Postgres, database: &str) -> (String, String) {
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
    let behind: Vec<String> = behind.iter().map(|it| format!("critical {it}")).collect();
    assert_eq!(told, behind);
    let outputs = step(&look, "s")["outputs"].clone();
    assert_eq!(
        (&outputs["checked"], &outputs["behind"]),
        (&json!(10), &json!(5))
    );

    let repair = sequences(", repair: true, fail: 99, warn: 99");
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
