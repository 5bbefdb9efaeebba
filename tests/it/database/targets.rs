//! Which database is changed: it is recorded first, and no other one is changed in its place.

use rustix::process::Signal;

use super::faults::{LIMIT, WRITE, database, prepared, rows};
use super::sql::playbook;
use crate::support::oracle::records;
use crate::support::postgres::{Options, Postgres};
use crate::support::proxy::{Fault, Proxy};
use crate::support::run::Runbook;
use crate::support::wait;

/// The steps of a run that writes, waits for a file `go`, and writes again.
const TWICE: &str = "
  - { id: first, postgres.execute: { connection: main, sql: INSERT INTO t VALUES (1) } }
  - { id: wait, effect: read, exec.script: { script: 'touch waits; until [ -e go ]; do sleep 0.02; done' } }
  - { id: second, postgres.execute: { connection: main, sql: INSERT INTO t VALUES (2) } }
";

#[test]
fn what_is_written_to_is_recorded_before_it_is() {
    let server = Postgres::shared();
    let database = database(server);
    let proxy = Proxy::before(server.port());
    proxy.at("INSERT", Fault::Swallow);
    let started = prepared(&proxy.url(&database), WRITE).start();
    wait::until("the statement", LIMIT, || proxy.has_seen().then_some(()));
    // The statement has not come to the server yet.
    let records = records(started.state());
    let identify = records
        .iter()
        .find(|record| record["kind"] == "target.identify");
    let identity = &identify.expect("it is recorded")["data"]["identity"];
    assert_eq!(identity["system_identifier"], server.system_identifier());
    assert_eq!(identity["database"], database);
    started.signal(Signal::KILL);
    started.finish();
    assert_eq!(rows(server, &database), "0");
}

#[test]
fn a_run_goes_on_where_it_began_or_not_at_all() {
    let (server, other) = (Postgres::shared(), Postgres::start(&Options::default()));
    let database = database(server);
    let elsewhere = format!("CREATE DATABASE {database}");
    other.psql(&elsewhere);
    other.psql_in(&database, "CREATE TABLE t (a int)");
    let proxy = Proxy::before(server.port());
    let url = proxy.url(&database);
    let started = prepared(&url, TWICE).start();
    let waits = started.folder().join("waits");
    wait::until("the first write", LIMIT, || waits.exists().then_some(()));
    started.signal(Signal::KILL);
    let killed = started.finish();
    std::fs::write(killed.folder().join("go"), "").unwrap();
    let resume = || {
        let resume = killed.then().env("DATABASE_URL", &url);
        resume
            .args(["resume", "last", "--yes", "--format", "json"])
            .run()
    };
    proxy.lead_to(other.port());
    let refused = resume();
    refused.expect_code(3);
    let text = refused.to_string();
    for id in [server.system_identifier(), other.system_identifier()] {
        assert!(text.contains(&id), "{id}: {text}");
    }
    assert_eq!(rows(&other, &database), "0");
    assert_eq!(rows(server, &database), "1");
    killed.then().args(["audit", "verify"]).run().expect_code(0);
}

#[test]
fn what_was_planned_for_one_database_is_not_done_to_another() {
    let (server, other) = (Postgres::shared(), Postgres::start(&Options::default()));
    let database = database(server);
    other.psql(&format!("CREATE DATABASE {database}"));
    other.psql_in(&database, "CREATE TABLE t (a int)");
    let proxy = Proxy::before(server.port());
    let url = proxy.url(&database);
    let planned = Runbook::new()
        .file("playbook.yaml", playbook(WRITE))
        .env("DATABASE_URL", &url)
        .args(["plan", "playbook.yaml", "-o", "plan.json"])
        .run();
    planned.expect_code(0);
    let go = || {
        let run = planned.then().env("DATABASE_URL", &url);
        run.args(["run", "--plan", "plan.json", "--yes"]).run()
    };
    proxy.lead_to(other.port());
    let refused = go();
    refused.expect_code(3);
    assert!(
        refused.stderr.contains(&other.system_identifier()),
        "{refused}"
    );
    assert_eq!(rows(&other, &database), "0");
    proxy.lead_to(server.port());
    go().expect_code(0);
    assert_eq!(rows(server, &database), "1");
}
