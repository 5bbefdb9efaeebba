//! What a server counts, what it is set to, and how old its transaction ids are.

use std::fs;
use std::os::unix::fs::{MetadataExt, chown};

use super::super::sql::run;
use super::{findings, step};
use crate::support::postgres::{Options, Postgres};
use crate::support::process;

#[test]
fn slow_statements_are_found_whatever_the_extensions_age() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    let look = "  - id: slow\n    postgres.slow_queries: { connection: main, min_calls: 2, warn: 1ms, fail: 5ms }\n";
    let ran = run(&url, look);
    ran.expect_code(1);
    let said = findings(&ran, "slow");
    assert!(said.starts_with("unknown: "), "{said}");
    assert!(
        said.contains("(`CREATE EXTENSION pg_stat_statements` in it)"),
        "{said}"
    );

    // The views of 1.7 and of 1.8 have different columns, on the same server.
    for version in ["1.7", "1.10"] {
        server.psql_in(
            &database,
            &format!(
                "DROP EXTENSION IF EXISTS pg_stat_statements; CREATE SCHEMA IF NOT EXISTS \"Stats\"; \
                 CREATE EXTENSION pg_stat_statements SCHEMA \"Stats\" VERSION '{version}'; \
                 CREATE TABLE IF NOT EXISTS \"Slow\" (a int)"
            ),
        );
        for _ in 0..2 {
            server.psql_in(
                &database,
                "SELECT count(*), pg_sleep(0.02) FROM \"Slow\"\nWHERE a = 42",
            );
        }
        let asks = "  - id: asks\n    postgres.query: { connection: main, sql: 'SELECT n FROM generate_series(1, 9) AS n' }\n";
        for _ in 0..2 {
            run(&url, asks).expect_code(0);
        }
        // The seed's own question fails on one of them.
        let seed =
            "SELECT query, total_time FROM \"Stats\".pg_stat_statements ORDER BY 2 DESC LIMIT 10";
        let seed = server.try_psql(&url, seed);
        assert_eq!(seed.code == 0, version == "1.7", "{seed}");
        let ran = run(&url, look);
        ran.expect_code(1);
        let slow = step(&ran, "slow");
        assert_eq!(slow["outputs"]["extension"], version);
        let queries = slow["outputs"]["queries"].as_array().expect("queries");
        let wanted = "SELECT count(*), pg_sleep($1) FROM \"Slow\" WHERE a = $2";
        let found = queries.iter().find(|it| it["query"] == wanted);
        let found = found.unwrap_or_else(|| panic!("it is not there\n{ran}"));
        assert!(
            found["mean_ms"].as_f64().expect("a time") >= 20.0,
            "{found}"
        );
        assert_eq!(found["database"], database.as_str());
        // Neither what looks here, again and again, nor where transactions begin and end.
        let ours = |it: &&serde_json::Value| {
            let text = it["query"].as_str().unwrap_or_default();
            [
                "BEGIN",
                "ROLLBACK",
                "SELECT pg_catalog.set_config",
                "SELECT coalesce(pg_catalog.json_agg",
            ]
            .iter()
            .any(|shape| text.starts_with(shape) && !text.contains("generate_series"))
        };
        assert_eq!(queries.iter().find(ours), None, "{ran}");
        assert!(slow["outputs"]["left_out"].as_u64() > Some(2), "{ran}");
        let asked = |it: &serde_json::Value| it["query"].to_string().contains("generate_series");
        assert!(queries.iter().any(asked), "{ran}");
        assert!(
            findings(&ran, "slow").contains("critical: a statement takes"),
            "{ran}"
        );
    }

    server.psql_in(
        &database,
        "DO $$ BEGIN CREATE ROLE slow_plain LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$",
    );
    let plain = url.replace("postgres@", "slow_plain@");
    let ran = run(&plain, look);
    ran.expect_code(1);
    let said = findings(&ran, "slow");
    assert!(
        said.starts_with("unknown: this login may not read"),
        "{said}"
    );
    server.psql_in(&database, "GRANT USAGE ON SCHEMA \"Stats\" TO slow_plain");
    let ran = run(&plain, look);
    ran.expect_code(1);
    let said = findings(&ran, "slow");
    assert!(said.contains("may not see what they are"), "{said}");
    assert!(said.contains("pg_read_all_stats"), "{said}");
}

#[test]
fn settings_are_compared_as_the_server_reads_them() {
    let server = Postgres::start(&Options {
        settings: vec![
            "shared_preload_libraries = ''".to_owned(),
            "primary_conninfo = 'host=nowhere password=hunter2'".to_owned(),
            "autovacuum = off".to_owned(),
        ],
        ..Options::default()
    });
    server.psql("ALTER DATABASE postgres SET work_mem = '8MB'");
    server.psql("ALTER SYSTEM SET max_connections = 50");
    server.psql("SELECT pg_reload_conf()");
    crate::support::wait::until("the server to have read its settings", super::SOON, || {
        let pending = "SELECT pending_restart FROM pg_settings WHERE name = 'max_connections'";
        (server.psql(pending) == "t").then_some(())
    });
    server.psql("CREATE EXTENSION pg_stat_statements; CREATE ROLE plain LOGIN");
    let url = server.url("postgres");
    let steps = r#"
  - id: same
    on_error: continue
    postgres.settings:
      connection: main
      expect:
        shared_buffers: 0.125GB
        work_mem: 8192kB
        checkpoint_timeout: 300s
        autovacuum_vacuum_cost_delay: 2000us
        fsync: off
        autovacuum: "no"
        wal_level: REPLICA
        datestyle: "iso,mdy"
        # What our own look is asked under is not what the server is set to.
        statement_timeout: 0
        search_path: '"$user",public'
  - id: other
    on_error: continue
    postgres.settings:
      connection: main
      expect: { shared_buffers: 1GB, autovacuum: on, work_memm: 4MB, max_wal_size: 1GiB }
  - id: slow
    on_error: continue
    postgres.slow_queries: { connection: main }
"#;
    let ran = run(&url, steps);
    let same = step(&ran, "same");
    assert_eq!(same["status"], "succeeded", "{ran}");
    let said = findings(&ran, "same");
    assert!(said.contains("is set as expected: 10 settings"), "{said}");
    assert!(
        said.contains("warning: max_connections was changed in the configuration"),
        "{said}"
    );
    let settings = &same["outputs"]["settings"];
    assert_eq!(settings["work_mem"]["value"], "8192", "{settings:#}");
    assert_eq!(settings["work_mem"]["unit"], "kB");
    assert_eq!(settings["work_mem"]["source"], "database");
    assert_eq!(settings["statement_timeout"]["value"], "0");
    assert_eq!(settings["max_connections"]["pending_restart"], true);
    assert!(settings["primary_conninfo"]["value"].is_null());
    assert!(settings.as_object().expect("settings").len() > 300);
    let said = findings(&ran, "other");
    assert!(
        said.contains("critical: shared_buffers is 128MB (configuration file), and should be 1GB"),
        "{said}"
    );
    assert!(
        said.contains("critical: autovacuum is off (configuration file), and should be on"),
        "{said}"
    );
    assert!(
        said.contains("unknown: there is no setting `work_memm`"),
        "{said}"
    );
    assert!(said.contains("did you mean `work_mem`?"), "{said}");
    assert!(
        said.contains("unknown: max_wal_size cannot be compared"),
        "{said}"
    );

    // The extension is there, and its library is not.
    let said = findings(&ran, "slow");
    assert!(said.starts_with("unknown: "), "{said}");
    assert!(said.contains("shared_preload_libraries"), "{said}");

    // Neither the run nor its record holds the password.
    assert!(!ran.stdout.contains("hunter2"), "{ran}");
    for run in fs::read_dir(ran.state().join("runs"))
        .expect("runs")
        .flatten()
    {
        let journal = fs::read_to_string(run.path().join("journal.jsonl")).expect("a journal");
        assert!(journal.contains("primary_conninfo") && !journal.contains("hunter2"));
    }
    // What a login may not see is not claimed to be fine.
    let hidden = "  - id: hidden\n    postgres.settings: { connection: main, expect: { shared_preload_libraries: '' } }\n";
    let ran = run_as_plain(&url, hidden);
    ran.expect_code(1);
    assert!(findings(&ran, "hidden").contains("unknown: "), "{ran}");
}

fn run_as_plain(url: &str, steps: &str) -> crate::support::run::Ran {
    run(&url.replace("postgres@", "plain@"), steps)
}

#[test]
fn old_transaction_ids_are_found_before_the_server_refuses() {
    // Autovacuum would make them young again at once.
    let server = Postgres::start(&Options {
        settings: vec!["autovacuum_freeze_max_age = 2000000000".to_owned()],
        ..Options::default()
    });
    let look = "  - id: ids\n    postgres.wraparound: { connection: main, limit: 1000 }\n";
    let ran = run(&server.url("postgres"), look);
    ran.expect_code(0);
    assert_eq!(step(&ran, "ids")["outputs"]["percent"], 0.0, "{ran}");
    server.psql("CREATE TABLE \"Old \"\"Orders\" (a int, b text)");
    use_up_ids(&server);
    server.psql("CREATE TABLE young (a int)");
    let ran = run(&server.url("postgres"), look);
    ran.expect_code(1);
    let ids = step(&ran, "ids")["outputs"].clone();
    assert_eq!(ids["percent"], 75.0, "{ran}");
    assert_eq!(ids["freeze_max_age"], 2_000_000_000_i64);
    let said = findings(&ran, "ids");
    assert!(
        said.contains("critical: database template1 has used up 75 %"),
        "{said}"
    );
    let tables = ids["tables"].as_array().expect("tables");
    let percent = |name: &str, toast: bool| {
        let table = tables
            .iter()
            .find(|it| it["name"] == name && it["toast"] == toast);
        table.unwrap_or_else(|| panic!("{name} is not there\n{ran}"))["percent"].clone()
    };
    assert_eq!(percent("Old \"Orders", false), 75.0);
    assert_eq!(percent("Old \"Orders", true), 75.0);
    assert_eq!(percent("young", false), 0.0);
}

/// Lets the next transaction have the id 0x60000000, three quarters of the way: `pg_resetwal`'s manual.
fn use_up_ids(server: &Postgres) {
    server.stop();
    let data = server.socket_folder().join("data");
    let path = data.join("pg_xact/0600");
    fs::write(&path, vec![0; 256 * 1024]).expect("a file can be written");
    let owner = fs::metadata(&data).expect("the data folder is there");
    chown(&path, Some(owner.uid()), Some(owner.gid())).expect("it can be given away");
    let folder = data.to_str().expect("a path of ours");
    let bin = process::find("pg_resetwal", versions()).expect("pg_resetwal is there");
    let bin = bin.to_str().expect("a path");
    let (user, group) = (owner.uid().to_string(), owner.gid().to_string());
    let argv = ["--reuid", &user, "--regid", &group, "--clear-groups"];
    let argv = [
        &argv[..],
        &["--", bin, "-f", "-x", "1610612736", "-D", folder],
    ]
    .concat();
    process::output("setpriv", &argv).expect_code(0);
    server.start_again();
}

/// The folders of the installed servers' programs, the newest first.
fn versions() -> Vec<std::path::PathBuf> {
    let versions = fs::read_dir("/usr/lib/postgresql").expect("a server is installed");
    let mut versions: Vec<_> = versions.flatten().map(|it| it.path().join("bin")).collect();
    versions.sort();
    versions.reverse();
    versions
}

#[test]
fn runs_leave_no_statements_of_their_own_behind() {
    let options = Options {
        settings: vec![
            "shared_preload_libraries = 'pg_stat_statements'".to_owned(),
            "autovacuum = off".to_owned(),
        ],
        ..Options::default()
    };
    let server = Postgres::start(&options);
    server.psql("CREATE EXTENSION pg_stat_statements; CREATE TABLE t (a int)");
    let steps = "  - { id: one, postgres.activity: { connection: main } }\n  \
                 - { id: two, postgres.locks: { connection: main } }\n  \
                 - { id: three, postgres.query: { connection: main, sql: SELECT 1 } }\n  \
                 - { id: four, postgres.vacuum: { connection: main, tables: [t] } }\n";
    let counted = || {
        run(&server.url("postgres"), steps).expect_code(0);
        server.psql("SELECT count(*) FROM pg_stat_statements")
    };
    counted();
    // The names and deadlines of each run are others.
    let second = counted();
    assert_eq!(counted(), second);
}

#[test]
fn where_nobody_answers_nothing_is_counted() {
    let server = Postgres::shared();
    let steps = "  - id: clients\n    postgres.activity: { connection: main }\n    fail_on: never\n  \
         - id: sizes\n    postgres.table_sizes: { connection: main }\n    fail_on: never\n  \
         - id: bloat\n    postgres.index_bloat: { connection: main }\n    fail_on: never\n  \
         - id: broken\n    postgres.invalid_indexes: { connection: main }\n    fail_on: never\n  \
         - id: unused\n    postgres.unused_indexes: { connection: main }\n    fail_on: never\n";
    let nowhere = "postgres://postgres@127.0.0.1:1/postgres".to_owned();
    for (url, obstacle) in [
        (nowhere, "refused"),
        (server.url("no_such_database"), "denied"),
    ] {
        let ran = run(&url, steps);
        ran.expect_code(0);
        let numbers = [
            ("clients", "max_connections clients percent idle hidden"),
            ("sizes", "table_count total_bytes"),
            ("bloat", "size_bytes bloat_bytes"),
            ("broken", "total_bytes"),
            ("unused", "total_bytes replicas"),
        ];
        for (id, names) in numbers {
            let step = step(&ran, id);
            let outputs = step["outputs"].as_object().expect("outputs");
            for name in names.split(' ') {
                assert_eq!(outputs[name], serde_json::Value::Null, "{id}.{name}\n{ran}");
            }
        }
        let clients = step(&ran, "clients");
        assert_eq!(clients["outputs"]["obstacle"], obstacle, "{ran}");
    }
    let ran = run(&server.url("postgres"), steps);
    let clients = step(&ran, "clients");
    assert_eq!(clients["outputs"]["obstacle"], serde_json::Value::Null);
    assert!(clients["outputs"]["clients"].is_u64(), "{ran}");
}
