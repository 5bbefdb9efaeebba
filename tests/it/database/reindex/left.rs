//! What a rebuild has left that did not finish, what somebody drops meanwhile, and names that mean another.

use rustix::process::Signal;

use super::{LONG, invalid, reindex, waits};
use crate::database::indexes::each;
use crate::database::sql::{findings, planned, playbook, run, step};
use crate::support::postgres::Postgres;
use crate::support::run::{Ran, Runbook};
use crate::support::session::Session;
use crate::support::wait;

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
        let resume = |killed: &Ran| {
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
