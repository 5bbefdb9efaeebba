//! `postgres.reindex`: what the seed's weekly maintenance (S05) gets wrong, and what ours does instead.

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

/// How a rebuild goes on whose engine was killed.
#[derive(Clone, Copy, Debug)]
enum Afterwards {
    /// The server has finished it by itself.
    Finished,
    /// The server has ended it, and left what it had built.
    Left,
    /// The server is still at it, until it is resumed: that ends it first.
    StillAtIt,
}

#[test]
fn a_rebuild_whose_engine_was_killed_is_resumed() {
    use Afterwards::{Finished, Left, StillAtIt};
    let server = Postgres::shared();
    let cases = [
        ("text", Finished),
        ("text", Left),
        ("text", StillAtIt),
        ("int8", Left),
        ("int8", StillAtIt),
    ];
    for (of, afterwards) in cases {
        let database = server.new_database();
        let url = server.url(&database);
        server.psql_in(
            &database,
            &format!(
                "CREATE TABLE other (id int);
                 CREATE TABLE big (t {of}, u int PRIMARY KEY); CREATE INDEX big_a ON big (t);
                 INSERT INTO big SELECT g::text::{of}, g FROM generate_series(1, 1000) g"
            ),
        );
        // That of large values comes first.
        let first = match of {
            "text" => server.psql_in(
                &database,
                "SELECT indexrelid::regclass FROM pg_index JOIN pg_class t ON reltoastrelid = indrelid \
                 WHERE t.relname = 'big'",
            ),
            _ => "public.big_a".to_owned(),
        };
        let holder = Session::holding(&url, "SELECT count(*) FROM other");
        let started = Runbook::new()
            .file("playbook.yaml", playbook(&reindex("table: big")))
            .env("DATABASE_URL", &url)
            .args(["run", "playbook.yaml"])
            .start();
        waits(server, &database, "REINDEX INDEX");
        started.signal(Signal::KILL);
        let killed = started.finish();
        assert_eq!(killed.code, -9, "{killed}");
        assert!(invalid(server, &database).ends_with("_ccnew"));
        let working = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' \
             AND query LIKE 'REINDEX%' AND state = 'active'"
        );
        let at_it = server.psql(&working.replace("count(*)", "pid"));
        let is_over = || (server.psql(&working) == "0").then_some(());
        let resume = |killed: &crate::support::run::Ran| {
            killed
                .then()
                .env("DATABASE_URL", &url)
                .args(["resume", "last", "-y", "--format", "json"])
        };
        let resumed = match afterwards {
            Finished => {
                holder.let_go();
                wait::until("the rebuild to end", LONG, is_over);
                assert_eq!(invalid(server, &database), "");
                resume(&killed).run()
            }
            Left => {
                server.psql(&format!(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                     WHERE datname = '{database}' AND query LIKE 'REINDEX%'"
                ));
                wait::until("the rebuild to end", LONG, is_over);
                holder.let_go();
                let items = planned(&url, &reindex("table: big"), "r")["items"].to_string();
                let of_a_copy = |verb: &str| items.contains(&format!("{verb} {first}_ccnew:"));
                assert!(of_a_copy("drop") && !of_a_copy("rebuild"), "{items}");
                resume(&killed).run()
            }
            StillAtIt => {
                let resumed = resume(&killed).start();
                let another = format!("{working} AND pid <> {at_it}");
                let another = || (server.psql(&another) == "1").then_some(());
                wait::until("another rebuild", LONG, another);
                assert_eq!(server.psql(&working), "1");
                holder.let_go();
                resumed.finish()
            }
        };
        resumed.expect_code(0);
        let left = "SELECT count(*) FROM pg_class WHERE relname ~ '_cc(new|old)'";
        assert_eq!(server.psql_in(&database, left), "0", "{afterwards:?}");
        assert_eq!(invalid(server, &database), "", "{afterwards:?}");
        let done = step(&resumed, "r")["outputs"]["indexes"].clone();
        let done = each(&done, "name");
        assert!(
            done.contains(&"big_a".to_owned()) && done.contains(&"big_pkey".to_owned()),
            "{afterwards:?}: {done:?}"
        );
        assert!(!done.iter().any(|name| name.contains("_cc")), "{done:?}");
    }
}

#[test]
fn an_index_that_somebody_drops_keeps_no_other_from_being_rebuilt() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE t (a int, b int, c int, d int);
         CREATE INDEX t_a ON t (a); CREATE INDEX t_b ON t (b); CREATE INDEX t_c ON t (c);
         CREATE INDEX t_d ON t (d)",
    );
    let drops = |what: &str, statement: &str| {
        let somebody = Session::open(&url, "somebody");
        somebody.run(&format!("BEGIN; {statement}")).unwrap();
        let started = Runbook::new()
            .file("playbook.yaml", playbook(&reindex(what)))
            .env("DATABASE_URL", &url)
            .args(["run", "playbook.yaml", "--format", "json"])
            .start();
        waits(server, &database, "REINDEX INDEX");
        somebody.run("COMMIT").unwrap();
        started.finish()
    };
    let ran = drops("table: t", "DROP INDEX t_a, t_c");
    ran.expect_code(0);
    let done = step(&ran, "r")["outputs"]["indexes"].clone();
    assert_eq!(each(&done, "name"), ["t_b", "t_d"]);
    let gone = "it was not rebuilt: somebody has dropped it meanwhile";
    assert_eq!(
        findings(&ran, "r"),
        [
            format!("warning public.t_a: {gone}"),
            format!("warning public.t_c: {gone}")
        ]
    );
    let ran = drops("index: t_b", "DROP INDEX t_b");
    ran.expect_code(1);
    let error = step(&ran, "r")["error"].to_string();
    let said = "could not rebuild public.t_b: somebody has dropped it meanwhile";
    assert!(error.contains(said), "{error}");
}

#[test]
fn only_a_copy_of_the_index_is_what_its_rebuild_left() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE t (a int, b text);
         CREATE INDEX ri ON t (a);
         CREATE UNIQUE INDEX ri_ccnew ON t (a);
         CREATE INDEX ri_ccnew1 ON t (a) WHERE a > 0;
         CREATE INDEX ri_ccnew2 ON t (a DESC);
         CREATE INDEX ri_ccnew3 ON t USING hash (a);
         CREATE INDEX ri_ccnew4 ON t (a) INCLUDE (b);
         CREATE INDEX ri_ccnew5 ON t (abs(a));
         CREATE INDEX ri_ccold ON t (a);
         CREATE INDEX rb ON t (b COLLATE \"C\");
         CREATE INDEX rb_ccnew ON t (b COLLATE \"POSIX\");
         CREATE UNIQUE INDEX re ON t (lower(b), (a + 1)) WHERE a > 10;
         CREATE UNIQUE INDEX re_ccnew ON  t  ( lower( b ), (a  +  1))  WHERE  a > 10;
         CREATE UNIQUE INDEX re_ccnew1 ON t (lower(b), (a + 1)) WHERE a > 11;
         CREATE UNIQUE INDEX re_ccnew2 ON t (lower(b), (a + 2)) WHERE a > 10;
         ALTER TABLE t ADD CONSTRAINT rp PRIMARY KEY (a);
         CREATE UNIQUE INDEX rp_ccnew ON t (a);
         CREATE INDEX rp_ccnew1 ON t (a);
         UPDATE pg_index SET indisvalid = false WHERE indexrelid::regclass::text ~ '_cc'",
    );
    let mut dropped = Vec::new();
    for index in ["ri", "rb", "re", "rp"] {
        let ran = run(&url, &reindex(&format!("index: {index}")));
        ran.expect_code(0);
        let outputs = step(&ran, "r")["outputs"]["dropped"].clone();
        dropped.extend(outputs.as_array().unwrap().clone());
    }
    assert_eq!(
        dropped,
        ["public.ri_ccold", "public.re_ccnew", "public.rp_ccnew"]
    );
    let invalid = invalid(server, &database);
    let mut stay: Vec<&str> = invalid.split(' ').collect();
    stay.sort_unstable();
    assert_eq!(
        stay.join(" "),
        "rb_ccnew re_ccnew1 re_ccnew2 ri_ccnew ri_ccnew1 ri_ccnew2 ri_ccnew3 ri_ccnew4 ri_ccnew5 rp_ccnew1"
    );
}

#[test]
fn a_name_that_the_server_would_cut_names_nothing() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    // 63 bytes, and 64 of which the last is no character of its own.
    let (whole, wide) = ("t".repeat(63), "ü".repeat(31) + "x");
    let sql = format!(
        "CREATE SCHEMA s; CREATE TABLE {whole} (id int PRIMARY KEY);
         CREATE TABLE s.\"{wide}\" (id int PRIMARY KEY)"
    );
    server.psql_in(&database, &sql);
    let resolved = format!("SELECT to_regclass('{whole}t')");
    assert_eq!(server.psql_in(&database, &resolved), whole, "it is cut");
    run(&url, &reindex(&format!("table: {whole}"))).expect_code(0);
    run(&url, &reindex(&format!("table: '  s . \"{wide}\"'"))).expect_code(0);
    for (what, noun) in [
        (format!("table: {whole}t"), "table"),
        (format!("table: public.{whole}t"), "table"),
        (format!("table: 's.\"{wide}y\"'"), "table"),
        (format!("table: {whole}t.nope"), "table"),
        (format!("index: {whole}t"), "index"),
    ] {
        let ran = run(&url, &reindex(&what));
        ran.expect_code(1);
        let error = step(&ran, "r")["error"].to_string();
        let said = format!("could not find the {noun} `");
        assert!(
            error.contains(&said) && error.contains("has 64 bytes, and no name has more than 63"),
            "{what}: {error}"
        );
    }
    let analyze =
        format!("  - {{ id: r, postgres.analyze: {{ connection: main, tables: [{whole}t] }} }}\n");
    let ran = run(&url, &analyze);
    ran.expect_code(1);
    assert!(
        step(&ran, "r").to_string().contains("has 64 bytes"),
        "{ran}"
    );
}
