//! Who waits for whom, also where nobody answers and where all connections are taken.

use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

use super::super::sql::run;
use super::{SOON, backend, called, findings, session, step};
use crate::support::postgres::{Options, Postgres};
use crate::support::run::Runbook;
use crate::support::session::Session;
use crate::support::wait;

const IDLE: &str = "state = 'idle in transaction'";
const WAITS: &str = "wait_event_type = 'Lock'";

/// Stops a process until this is dropped.
struct Stopped(Pid);

impl Stopped {
    fn stop(pid: i32) -> Stopped {
        let pid = Pid::from_raw(pid).expect("a pid");
        kill_process(pid, Signal::STOP).expect("it is there");
        Stopped(pid)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        kill_process(self.0, Signal::CONT).ok();
    }
}

#[test]
fn a_chain_of_three_has_one_root_even_if_that_is_stopped() {
    let server = Postgres::start(&Options::default());
    let shop = server.create_database("\"Shop\"");
    let shop = shop.replace('"', "");
    let database = "Shop";
    server.psql_in(
        database,
        "CREATE TABLE \"Order Lines\" (id int PRIMARY KEY, n int); \
         INSERT INTO \"Order Lines\" VALUES (1, 0), (2, 0)",
    );
    // What the seed's script asks is gone since PostgreSQL 9.6.
    let seed = server.try_psql(&shop, "SELECT pid FROM pg_stat_activity WHERE waiting");
    assert_ne!(seed.code, 0);
    assert!(seed.stderr.contains("\"waiting\" does not exist"), "{seed}");

    let update = |id| format!("UPDATE \"Order Lines\" SET n = n + 1\nWHERE id = {id}");
    let (one, two) = (update(1), update(2));
    let _first = session(&called(&shop, "first"), &["BEGIN", &one]);
    let first = backend(&server, "first", IDLE);
    let _second = session(&called(&shop, "second"), &["BEGIN", &two, &one]);
    let second = backend(&server, "second", WAITS);
    let _third = session(&called(&shop, "third"), &["BEGIN", &two]);
    let third = backend(&server, "third", WAITS);

    let stopped = Stopped::stop(first);
    let look = "  - id: locks\n    postgres.locks: { connection: main, warn: 1ms, fail: 1h }\n";
    let ran = run(&server.url("postgres"), look);
    ran.expect_code(0);
    let locks = step(&ran, "locks");
    let [root] = locks["outputs"]["roots"]
        .as_array()
        .expect("roots")
        .as_slice()
    else {
        panic!("not one root\n{ran}")
    };
    assert_eq!(root["pid"], first);
    assert_eq!(root["database"], "Shop");
    assert_eq!(root["state"], "idle in transaction");
    assert_eq!(root["blocks_directly"], 1);
    assert_eq!(root["blocks_in_all"], 2);
    assert!(root["transaction_s"].as_f64().expect("an age") > 0.0);
    let blocked = locks["outputs"]["blocked"].as_array().expect("blocked");
    assert_eq!(blocked.len(), 2, "{ran}");
    // The longest wait comes first.
    assert_eq!(blocked[0]["pid"], second);
    assert_eq!(blocked[0]["blocked_by"], json!([first]));
    assert_eq!(blocked[1]["pid"], third);
    assert_eq!(blocked[1]["blocked_by"], json!([second]));
    assert_eq!(blocked[1]["user"], "postgres");
    assert_eq!(
        blocked[1]["query"],
        "UPDATE \"Order Lines\" SET n = n + 1 WHERE id = 2"
    );
    assert!(findings(&ran, "locks").starts_with("warning: "), "{ran}");

    // In its own database a table has a name.
    let look = "  - id: locks\n    postgres.locks: { connection: main, warn: 0s, fail: 1ms }\n";
    let ran = run(&shop, look);
    ran.expect_code(1);
    let said = findings(&ran, "locks");
    assert!(
        said.contains("wait for the end of a transaction (rows of public.\"Order Lines\")"),
        "{said}"
    );
    assert!(said.contains("of postgres (first), idle in"), "{said}");
    assert!(said.contains("postgres.terminate"), "{said}");
    drop(stopped);
    server.psql(&format!("SELECT pg_terminate_backend({first})"));
    backend(&server, "second", IDLE);
    server.psql(&format!("SELECT pg_terminate_backend({second})"));
    backend(&server, "third", IDLE);
    let ran = run(&server.url("postgres"), look);
    ran.expect_code(0);
    assert_eq!(step(&ran, "locks")["outputs"]["blocked"], json!([]));
}

#[test]
fn a_prepared_transaction_can_be_the_root_and_a_login_without_rights_sees_it() {
    let server = Postgres::start(&Options {
        settings: vec!["max_prepared_transactions = 2".to_owned()],
        ..Options::default()
    });
    server.psql(
        "CREATE ROLE plain LOGIN; CREATE TABLE t (a int); \
         BEGIN; LOCK TABLE t; PREPARE TRANSACTION 'left behind'",
    );
    let _waiter = session(
        &called(&server.url("postgres"), "waiter"),
        &["SELECT * FROM t"],
    );
    let waiter = backend(&server, "waiter", WAITS);
    let ran = run(
        &server.url("postgres").replace("postgres@", "plain@"),
        "  - id: locks\n    postgres.locks: { connection: main, warn: 1ms, fail: 1h }\n  \
         - id: clients\n    postgres.activity: { connection: main }\n  \
         - id: sizes\n    postgres.table_sizes: { connection: main, timeout: 10s }\n    fail_on: never\n",
    );
    ran.expect_code(0);
    // It is not waited for to measure its table.
    assert_eq!(
        step(&ran, "sizes")["outputs"]["locked"],
        json!(["public.t"]),
        "{ran}"
    );
    let locks = step(&ran, "locks");
    assert_eq!(locks["outputs"]["roots"][0]["pid"], 0, "{ran}");
    assert_eq!(locks["outputs"]["blocked"][0]["pid"], waiter);
    // What others do is hidden; that they wait, and since when, is not.
    assert_eq!(locks["outputs"]["blocked"][0]["query"], json!(null));
    let said = findings(&ran, "locks");
    assert!(
        said.contains("a prepared transaction blocks 1 session"),
        "{said}"
    );
    assert!(said.contains("pg_prepared_xacts"), "{said}");
    // Neither are they nobody.
    let clients = step(&ran, "clients");
    assert_eq!(clients["outputs"]["clients"], 1, "{ran}");
    assert_eq!(clients["outputs"]["hidden"], 1, "{ran}");
    let said = clients["findings"][0]["message"].to_string();
    assert!(said.contains("1 session may be anything"), "{said}");
    server.psql("ROLLBACK PREPARED 'left behind'");
}

#[test]
fn where_all_connections_are_taken_the_reserve_looks() {
    let server = Postgres::start(&Options {
        max_connections: Some(6),
        settings: vec!["max_wal_senders = 0".to_owned()],
        ..Options::default()
    });
    server.psql("CREATE ROLE app LOGIN");
    let app = server.url("postgres").replace("postgres@", "app@");
    // Whoever made the role may still be on the way out.
    let _taken = ["a", "b", "c"]
        .map(|name| wait::until("a connection", SOON, || Session::try_open(&app, name).ok()));
    let seed = server.try_psql(&app, "SELECT 1");
    assert!(seed.stderr.contains("remaining connection slots"), "{seed}");
    let playbook = "runbook: v1\nname: locks\nsecrets: { app: { env: APP }, super: { env: SUPER } }\n\
         connections:\n  main:\n    postgres:\n      url: \"${{ secrets.app }}\"\n      \
         reserve: { url: \"${{ secrets.super }}\" }\n\
         steps:\n  - id: locks\n    postgres.locks: { connection: main }\n";
    let ran = Runbook::new()
        .env("APP", &app)
        .env("SUPER", server.url("postgres"))
        .args(["run"])
        .playbook(playbook)
        .args(["--format", "json"])
        .run();
    ran.expect_code(0);
    let said = findings(&ran, "locks");
    assert!(
        said.contains("all connections are taken: looked as"),
        "{said}"
    );
    assert!(said.contains("no session waits"), "{said}");
}

#[test]
fn a_backend_of_ours_that_is_stopped_ends_in_time() {
    let server = Postgres::start(&Options::default());
    // The session of the first step is the one that the others are lent.
    let look = |id: &str, ty: &str| {
        format!(
            "  - id: {id}\n    on_error: continue\n    postgres.{ty}: {{ connection: main, timeout: 1s }}\n"
        )
    };
    let mut steps = "  - id: ours\n    postgres.query: { connection: main, sql: SELECT pg_backend_pid() }\n  \
         - id: stop\n    exec.command: { argv: [kill, -STOP, \"${{ steps.ours.outputs.value }}\"] }\n"
        .to_owned();
    steps.push_str(&look("locks", "locks"));
    // On a busy machine the session may have been silent for so long that it is asked first whether it is
    // still there, and another one is opened: that ends in time as well.
    let said = wait::until("a look to be lent the stopped one", SOON, || {
        let began = Instant::now();
        let ran = run(&server.url("postgres"), &steps);
        assert!(began.elapsed() < SOON, "{ran}");
        let ours = step(&ran, "ours")["outputs"]["value"].as_i64();
        let ours = ours.and_then(|pid| Pid::from_raw(i32::try_from(pid).ok()?));
        drop(Stopped(ours.expect("a pid")));
        let said = findings(&ran, "locks");
        (!said.starts_with("ok: ")).then_some(said)
    });
    assert!(said.starts_with("critical: could not ask"), "{said}");
    assert!(said.contains("no answer in 1s"), "{said}");
}
