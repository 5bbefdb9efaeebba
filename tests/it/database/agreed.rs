//! What is asked before a step runs, and what a saved plan promises, of steps whose preview is a server's.

use super::sql::playbook;
use crate::support::postgres::Postgres;
use crate::support::run::{Ran, Runbook};

/// A database with a table of so many rows.
fn rows(count: u32) -> String {
    let server = Postgres::shared();
    let database = server.new_database();
    let fill = format!("CREATE TABLE t AS SELECT n FROM generate_series(1, {count}) n");
    server.psql_in(&database, &fill);
    server.url(&database)
}

/// A step that purges all of `table`, and asks like this.
fn purge(table: &str, approval: &str) -> String {
    playbook(&format!(
        "  - id: del\n    postgres.purge: {{ connection: main, table: {table}, where: n > 0, max: 100000 }}\n{approval}"
    ))
}

fn asks(approval: &str) -> String {
    format!("    approval: {{ kind: approve, {approval} }}\n")
}

fn go(url: &str, text: &str, args: &[&str]) -> Ran {
    Runbook::new()
        .file("playbook.yaml", text)
        .env("DATABASE_URL", url)
        .args(args)
        .run()
}

fn left(url: &str) -> String {
    let told = Postgres::shared().try_psql(url, "SELECT count(*) FROM t");
    told.stdout.trim().to_owned()
}

#[test]
fn what_fails_to_be_looked_at_is_asked_of_nobody() {
    let url = rows(3);
    let text = purge("gone", &asks("when: steps.del.preview.rows > 1000"));
    let planned = go(&url, &text, &["plan", "playbook.yaml"]);
    planned.expect_code(1);
    assert!(planned.stdout.contains("would FAIL"), "{planned}");
    assert!(!planned.stdout.contains("asks for"), "{planned}");
    let ran = go(&url, &text, &["run", "playbook.yaml", "-y"]);
    ran.expect_code(1);
    assert!(!ran.stdout.contains("asks for"), "{ran}");
    assert!(ran.stdout.contains("gone"), "{ran}");
    ran.then().args(["audit", "verify"]).run().expect_code(0);
}

#[test]
fn what_a_preview_does_not_have_is_told_and_never_taken_for_a_yes() {
    let url = rows(3);
    let text = purge("t", &asks("when: steps.del.preview.row > 1000"));
    let told = "the preview has no `row`; it has `rows`";
    let planned = go(&url, &text, &["plan", "playbook.yaml"]);
    planned.expect_code(1);
    assert!(planned.stdout.contains(told), "{planned}");
    let ran = go(&url, &text, &["run", "playbook.yaml", "-y"]);
    ran.expect_code(1);
    assert!(ran.stdout.contains(told), "{ran}");
    assert_eq!(left(&url), "3");
}

#[test]
fn a_step_that_destroys_is_never_unasked() {
    let url = rows(3);
    let text = purge("t", &asks("when: steps.del.preview.rows > 1000"));
    go(&url, &text, &["run", "playbook.yaml"]).expect_code(3);
    assert_eq!(left(&url), "3");
    let planned = go(&url, &text, &["plan", "playbook.yaml"]);
    planned.expect_code(0);
    assert!(
        planned.stdout.contains("asks for a confirmation"),
        "{planned}"
    );
    go(&url, &text, &["run", "playbook.yaml", "-y"]).expect_code(0);
    assert_eq!(left(&url), "0");
}

#[test]
fn a_plan_that_does_not_fit_any_more_says_what_is_another_one() {
    let url = rows(250);
    let planned = go(
        &url,
        &purge("t", ""),
        &["plan", "playbook.yaml", "-o", "plan.json"],
    );
    planned.expect_code(0);
    Postgres::shared()
        .try_psql(&url, "INSERT INTO t VALUES (251)")
        .expect_code(0);
    let run = planned.then().env("DATABASE_URL", &url);
    let ran = run.args(["run", "--plan", "plan.json"]).run();
    ran.expect_code(3);
    assert!(ran.stderr.contains("rows: 250, now 251"), "{ran}");
    assert_eq!(left(&url), "251");
}

#[test]
fn a_plan_helps_as_a_run_does() {
    let server = Postgres::shared();
    let database = server.new_database();
    server.psql_in(&database, "CREATE TABLE t (n int)");
    let role = format!("helpless_{database}");
    server.create_role(&role, "secret");
    let url = server.url_as(&role, "secret", &database);
    let text = purge("t", "");
    let planned = go(&url, &text, &["plan", "playbook.yaml"]);
    planned.expect_code(1);
    let ran = go(&url, &text, &["run", "playbook.yaml", "-y"]);
    ran.expect_code(1);
    assert!(ran.stdout.contains("help: "), "{ran}");
    assert!(planned.stdout.contains("help: "), "{planned}");
}
