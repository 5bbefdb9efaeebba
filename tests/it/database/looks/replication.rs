//! A primary, its standby, and its slots.

use serde_json::json;

use super::super::sql::run;
use super::{SOON, findings, step};
use crate::support::postgres::{Options, Postgres};
use crate::support::wait;

#[test]
fn standbys_and_slots_are_judged_from_both_sides() {
    let server = Postgres::start(&Options::default());
    server.psql(
        "CREATE ROLE plain LOGIN; CREATE TABLE t (a text); \
         SELECT pg_create_physical_replication_slot('nobody', true)",
    );
    let standby = server.standby();
    let (primary, second) = (server.url("postgres"), standby.url("postgres"));
    caught_up(&server, &standby);

    let steps = "
  - id: enough
    on_error: continue
    postgres.replication: { connection: main, expect: 1, max_retained: 1GB }
  - id: few
    on_error: continue
    postgres.replication: { connection: main, expect: 2, max_retained: 1B }
";
    let ran = run(&primary, steps);
    let enough = step(&ran, "enough");
    assert_eq!(enough["status"], "succeeded", "{ran}");
    assert_eq!(enough["outputs"]["role"], "primary");
    assert_eq!(enough["outputs"]["streaming"], 1);
    assert_eq!(enough["outputs"]["standbys"][0]["kind"], "standby", "{ran}");
    assert_eq!(
        enough["outputs"]["standbys"][0]["state"], "streaming",
        "{ran}"
    );
    assert_eq!(enough["outputs"]["slots"][0]["name"], "nobody");
    let said = findings(&ran, "enough");
    assert!(said.contains("warning: slot nobody keeps"), "{said}");
    assert!(said.contains("nobody uses it"), "{said}");
    let said = findings(&ran, "few");
    assert!(said.contains("critical: 1 standby streams from"), "{said}");
    assert!(said.contains("critical: slot nobody keeps"), "{said}");

    // A login without rights does not see how far they are, and that is not "fine".
    let look = "  - id: look\n    postgres.replication: { connection: main }\n";
    let ran = run(&primary.replace("postgres@", "plain@"), look);
    ran.expect_code(1);
    assert!(findings(&ran, "look").contains("unknown: "), "{ran}");

    // The age of what was replayed last grows where nothing happens: the usual question lies.
    server.psql("INSERT INTO t VALUES ('the last one')");
    caught_up(&server, &standby);
    wait::until("the last transaction to be a while ago", SOON, || {
        let age = "SELECT now() - pg_last_xact_replay_timestamp() > interval '50 ms'";
        (standby.psql(age) == "t").then_some(())
    });
    let strict =
        "  - id: look\n    postgres.replication: { connection: main, warn: 20ms, fail: 20ms }\n";
    let ran = run(&second, strict);
    ran.expect_code(0);
    let look = step(&ran, "look");
    assert_eq!(look["outputs"]["role"], "standby", "{ran}");
    assert_eq!(look["outputs"]["receiver"]["status"], "streaming", "{ran}");
    assert_eq!(look["outputs"]["receiver"]["port"], server.port());
    assert_eq!(look["outputs"]["replay_lag_bytes"], 0, "{ran}");
    assert_eq!(look["outputs"]["replay_lag_s"], json!(0.0), "{ran}");
}

/// Waits until the standby has replayed all of its primary.
#[track_caller]
fn caught_up(server: &Postgres, standby: &Postgres) {
    let here = server.psql("SELECT pg_current_wal_lsn()");
    let there = format!("SELECT pg_last_wal_replay_lsn() >= '{here}'");
    wait::until("the standby to catch up", SOON, || {
        (standby.psql(&there) == "t").then_some(())
    });
}

/// Waits until the standby has received all of its primary.
#[track_caller]
fn received(server: &Postgres, standby: &Postgres) {
    let here = server.psql("SELECT pg_current_wal_lsn()");
    let there = format!("SELECT pg_last_wal_receive_lsn() >= '{here}'");
    wait::until("the standby to receive", SOON, || {
        (standby.psql(&there) == "t").then_some(())
    });
}

#[test]
fn a_standby_that_does_not_replay_is_behind_in_bytes() {
    let server = Postgres::start(&Options::default());
    server.psql("CREATE TABLE t (a text)");
    let standby = server.standby();
    caught_up(&server, &standby);
    standby.psql("SELECT pg_wal_replay_pause()");
    // It has replayed no transaction yet, so nobody can tell how late it is: that is not "0 s".
    server.psql("SELECT pg_logical_emit_message(false, 'x', 'no transaction')");
    server.psql("SELECT pg_switch_wal()");
    received(&server, &standby);
    assert_eq!(standby.psql("SELECT pg_last_xact_replay_timestamp()"), "");
    let early = "  - id: early\n    postgres.replication: { connection: main }\n";
    let ran = run(&standby.url("postgres"), early);
    let outputs = step(&ran, "early")["outputs"].clone();
    assert_eq!(outputs["replay_lag_s"], json!(null), "{ran}");
    server.psql("INSERT INTO t SELECT repeat('x', 1000) FROM generate_series(1, 2000)");
    received(&server, &standby);
    let look = "  - id: look\n    postgres.replication: { connection: main, max_lag: 1MB }\n";
    let ran = run(&server.url("postgres"), look);
    ran.expect_code(1);
    let said = findings(&ran, "look");
    assert!(
        said.contains("critical: walreceiver (streaming) is"),
        "{said}"
    );
    let ran = run(&standby.url("postgres"), look);
    ran.expect_code(1);
    let said = findings(&ran, "look");
    assert!(said.contains("warning: replay is paused"), "{said}");
    assert!(said.contains("pg_wal_replay_resume"), "{said}");
    let look = step(&ran, "look")["outputs"].clone();
    assert!(
        look["replay_lag_bytes"].as_i64().expect("a number") > 1_000_000,
        "{ran}"
    );
    assert_eq!(look["replay_paused"], true);

    // And one that receives nothing is not "up to date".
    standby.psql("SELECT pg_wal_replay_resume()");
    caught_up(&server, &standby);
    server.stop();
    wait::until("the receiver to end", SOON, || {
        (standby.psql("SELECT count(*) FROM pg_stat_wal_receiver") == "0").then_some(())
    });
    let ran = run(
        &standby.url("postgres"),
        "  - id: look\n    postgres.replication: { connection: main }\n",
    );
    ran.expect_code(1);
    let said = findings(&ran, "look");
    assert!(said.contains("is a standby and receives no WAL"), "{said}");
}
