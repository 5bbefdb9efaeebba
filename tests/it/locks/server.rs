//! Locks that are taken on a PostgreSQL server too: two machines, as far as their own locks go, never
//! do at once what they lock there.

use rustix::process::Signal;

use super::{LONG, key};
use crate::support::net;
use crate::support::pgbouncer::PgBouncer;
use crate::support::postgres::{Options, Postgres};
use crate::support::run::{Ran, Runbook, Started};
use crate::support::wait;

/// A password, to see that it is told nowhere.
const PASSWORD: &str = "lockpassword17";

/// A playbook that is locked as `lock` says; it says that it `holds`, waits for a file `go`, and
/// changes something after that.
fn playbook(lock: &str) -> String {
    format!(
        "\
runbook: v1
name: holder
secrets: {{ url: {{ env: DATABASE_URL }} }}
connections: {{ main: {{ postgres: {{ url: '${{{{ secrets.url }}}}' }} }} }}
{lock}
steps:
  - {{ id: a, exec.script: {{ script: 'touch holds; until [ -e go ]; do sleep 0.02; done' }} }}
  - {{ id: b, exec.command: {{ argv: [touch, after] }} }}
finally:
  - {{ id: bye, exec.command: {{ argv: [touch, bye] }} }}
"
    )
}

fn whole(key: &str) -> String {
    playbook(&format!("lock: {{ key: {key}, connection: main }}"))
}

/// A playbook one step of which is locked, and waits for a file `go`.
fn one_step(key: &str, more: &str) -> String {
    let step = format!("  - {{ id: a, lock: {{ key: {key}, connection: main{more} }}, exec");
    playbook("").replace("  - { id: a, exec", &step)
}

/// The database of a test, and the URL of a user whose password is [`PASSWORD`].
fn database(server: &Postgres) -> (String, String) {
    let name = server.new_database();
    let role = format!("locks_{name}");
    server.create_role(&role, PASSWORD);
    let url = server.url_as(&role, PASSWORD, &name);
    (name, url)
}

/// A run on a machine of its own: no other sees its `/run/lock`.
fn elsewhere(url: &str) -> Runbook {
    const OWN: &str = "mount -t tmpfs tmpfs /run/lock && exec \"$@\"";
    Runbook::new()
        .env("DATABASE_URL", url)
        .under(["unshare", "--mount", "sh", "-c", OWN, "sh"])
        .arg("run")
}

#[track_caller]
fn holding(run: Runbook) -> Started {
    let started = run.start();
    wait::until("it to hold the lock", LONG, || {
        started.folder().join("holds").exists().then_some(())
    });
    started
}

fn go(started: Started) -> Ran {
    std::fs::write(started.folder().join("go"), "").unwrap();
    started.finish()
}

fn says(ran: &Ran, text: &str) -> bool {
    assert!(!ran.stdout.contains(PASSWORD), "{ran}");
    assert!(!ran.stderr.contains(PASSWORD), "{ran}");
    ran.stdout.contains(text) || ran.stderr.contains(text)
}

/// What the session that holds `key` is called: found as the documentation says.
fn session_of(server: &Postgres, database: &str, key: &str) -> String {
    let sql = format!(
        "SELECT application_name FROM pg_locks JOIN pg_stat_activity USING (pid) \
         WHERE locktype = 'advisory' AND (classid::bigint << 32) | objid::bigint = \
         ('x' || left(encode(sha256('runbook/{key}'), 'hex'), 16))::bit(64)::bigint"
    );
    server.psql_in(database, &sql)
}

/// Ends the sessions of locks in a database.
fn terminate(server: &Postgres, database: &str) {
    let sql = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity \
               WHERE datname = current_database() AND application_name LIKE 'rb/%/lock'";
    assert_eq!(server.psql_in(database, sql), "1");
}

#[test]
fn of_two_machines_one_runs_and_the_other_says_who_does() {
    let server = Postgres::shared();
    let (database, url) = database(server);
    let key = key();
    let first = holding(elsewhere(&url).playbook(&whole(&key)));
    let session = session_of(server, &database, &key);
    let run = session.strip_prefix("rb/").unwrap();
    let run = run.strip_suffix("/lock").unwrap();
    let refused = elsewhere(&url).playbook(&whole(&key)).run();
    refused.expect_code(75);
    assert!(
        says(&refused, &format!("is held by run {run} ")),
        "{refused}"
    );
    assert!(says(&refused, " from 127.0.0.1, since 20"), "{refused}");
    assert!(!refused.folder().join("holds").exists());
    // What others lock is not in the way, and neither is another database.
    let other = elsewhere(&url).file("go", "");
    other
        .playbook(&whole(&format!("{key}-2")))
        .run()
        .expect_code(0);
    let (_, apart) = self::database(server);
    let apart = elsewhere(&apart).file("go", "").playbook(&whole(&key));
    apart.run().expect_code(0);
    let waits = elsewhere(&url).file("go", "").arg("--wait");
    let waits = waits.playbook(&whole(&key)).start();
    waits.wait_for_text("waiting for the lock", LONG);
    assert!(!waits.folder().join("holds").exists());
    go(first).expect_code(0);
    let waited = waits.finish();
    waited.expect_code(0);
    assert!(says(&waited, &format!("held by run {run} ")), "{waited}");
    assert_eq!(session_of(server, &database, &key), "");
}

#[test]
fn a_killed_run_holds_nothing_on_the_server() {
    let server = Postgres::shared();
    let (_, url) = database(server);
    let key = key();
    let first = holding(elsewhere(&url).playbook(&whole(&key)));
    let again = || {
        let run = elsewhere(&url).file("go", "").playbook(&whole(&key));
        run.run()
    };
    again().expect_code(75);
    first.signal(Signal::KILL);
    wait::until("the lock to be free", LONG, || {
        (again().code == 0).then_some(())
    });
    go(first);
}

#[test]
fn a_run_that_lost_its_lock_changes_nothing_more() {
    let server = Postgres::shared();
    let (database, url) = database(server);
    let key = key();
    let undone = "steps:\n  - { id: z, exec.command: { argv: [touch, z] }, undo: { exec.command: { argv: [rm, z] } } }\n";
    let started = whole(&key).replace("steps:\n", undone);
    let started = holding(elsewhere(&url).playbook(&started));
    terminate(server, &database);
    let ran = started.finish();
    ran.expect_code(3);
    assert!(says(&ran, "cancelled by the loss of the lock"), "{ran}");
    assert!(says(&ran, "`: terminating connection"), "{ran}");
    let exists = |name| ran.folder().join(name).exists();
    assert_eq!((exists("after"), exists("bye")), (false, true), "{ran}");
    // What was done is not taken back: somebody else may be at it.
    assert!(exists("z"), "{ran}");
    let status = ran.then().args(["status", "last"]).run();
    assert!(status.stdout.contains("cancelled"), "{status}");
    // It is asked for too, before each step that changes something: here it is lost within one.
    let sql = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE application_name LIKE ''rb/%/lock'' AND datname = current_database()";
    let loses = whole(&key).replace(
        "touch holds; until [ -e go ]; do sleep 0.02; done",
        &format!("psql -X -d {} -c \"{sql}\"", server.url(&database)),
    );
    let ran = elsewhere(&url).playbook(&loses).run();
    ran.expect_code(3);
    assert!(says(&ran, "the loss of the lock"), "{ran}");
    assert!(!ran.folder().join("after").exists(), "{ran}");
}

#[test]
fn a_server_that_does_not_answer_is_no_lock() {
    let server = Postgres::start(&Options::default());
    let (database, url) = database(&server);
    let key = key();
    let started = holding(elsewhere(&url).playbook(&whole(&key)));
    let pid = server.psql_in(
        &database,
        "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'rb/%/lock'",
    );
    let pid = rustix::process::Pid::from_raw(pid.parse().unwrap()).unwrap();
    rustix::process::kill_process(pid, Signal::STOP).unwrap();
    let ran = go(started);
    rustix::process::kill_process(pid, Signal::CONT).unwrap();
    ran.expect_code(3);
    assert!(says(&ran, "no answer in 10s"), "{ran}");
    assert!(!ran.folder().join("after").exists(), "{ran}");
}

#[test]
fn what_cannot_be_locked_does_not_run() {
    let server = Postgres::shared();
    let (_, url) = database(server);
    let lock = whole(&key());
    let wrong = url.replace(PASSWORD, "wrongpassword");
    let down = format!("postgres://app:{PASSWORD}@127.0.0.1:{}/x", net::free_port());
    for (url, why) in [
        (&wrong, "password authentication failed"),
        (&down, "nobody listens there"),
    ] {
        let ran = elsewhere(url).file("go", "").playbook(&lock).run();
        ran.expect_code(2);
        assert!(says(&ran, why) && says(&ran, "nothing ran"), "{ran}");
        assert!(!ran.folder().join("holds").exists(), "{ran}");
        assert!(ran.then().arg("history").run().stdout.lines().count() <= 1);
    }
    // Saying what would run needs no server.
    let dry = elsewhere(&down).arg("--dry-run").playbook(&lock).run();
    dry.expect_code(0);
    let plan = Runbook::new().env("DATABASE_URL", &down).arg("plan");
    let plan = plan.playbook(&lock).run();
    plan.expect_code(0);
    assert!(says(&plan, "`, on `main` too"), "{plan}");
}

#[test]
fn a_standby_is_no_place_for_a_lock() {
    let server = Postgres::start(&Options::default());
    let (database, url) = database(&server);
    let standby = server.standby();
    wait::until("the standby to have the database", LONG, || {
        let sql = format!("SELECT 1 FROM pg_database WHERE datname = '{database}'");
        (standby.psql(&sql) == "1").then_some(())
    });
    let there = url.replace(&server.port().to_string(), &standby.port().to_string());
    let ran = elsewhere(&there)
        .file("go", "")
        .playbook(&whole(&key()))
        .run();
    ran.expect_code(2);
    assert!(says(&ran, "it is a standby"), "{ran}");
}

#[test]
fn who_goes_on_with_a_run_locks_again() {
    let server = Postgres::shared();
    let (_, url) = database(server);
    let key = key();
    let fails = whole(&key).replace("argv: [touch, after]", "argv: [test, -e, good]");
    let failed = elsewhere(&url).file("go", "").playbook(&fails).run();
    failed.expect_code(1);
    let other = holding(elsewhere(&url).playbook(&whole(&key)));
    std::fs::write(failed.folder().join("good"), "").unwrap();
    let retry = || {
        let run = failed.then().env("DATABASE_URL", &url);
        run.args(["retry", "last", "--from", "b"]).run()
    };
    let refused = retry();
    refused.expect_code(75);
    assert!(says(&refused, "on `main`"), "{refused}");
    go(other).expect_code(0);
    retry().expect_code(0);
}

#[test]
fn whoever_waits_for_a_lock_can_be_told_to_end() {
    let server = Postgres::shared();
    let (_, url) = database(server);
    let key = key();
    let first = holding(elsewhere(&url).playbook(&whole(&key)));
    let waits = elsewhere(&url).arg("--wait").playbook(&whole(&key)).start();
    waits.wait_for_text("waiting for the lock", LONG);
    waits.signal(Signal::TERM);
    waits.finish().expect_code(143);
    // The run's deadline holds too.
    let waits = elsewhere(&url).args(["--wait", "--timeout", "1s"]);
    waits.playbook(&whole(&key)).run().expect_code(124);
    go(first).expect_code(0);
}

#[test]
fn a_step_locks_for_all_machines() {
    let server = Postgres::shared();
    let (database, url) = database(server);
    let key = key();
    let first = holding(elsewhere(&url).playbook(&one_step(&key, "")));
    let refused = elsewhere(&url).playbook(&one_step(&key, "")).run();
    refused.expect_code(1);
    assert!(says(&refused, "is held by run 0"), "{refused}");
    let waits = elsewhere(&url).file("go", "");
    let waits = waits
        .playbook(&one_step(&key, ", on_conflict: wait"))
        .start();
    go(first).expect_code(0);
    waits.finish().expect_code(0);
    // Lost, it fails the step.
    let loses = holding(elsewhere(&url).playbook(&one_step(&key, "")));
    terminate(server, &database);
    let ran = loses.finish();
    ran.expect_code(1);
    assert!(says(&ran, "was lost: terminating connection"), "{ran}");
    assert!(!ran.folder().join("after").exists(), "{ran}");
    // A run that holds the same as a whole need not take it again.
    let both = one_step(&key, "").replace(
        "steps:\n",
        &format!("lock: {{ key: {key}, connection: main }}\nsteps:\n"),
    );
    elsewhere(&url)
        .file("go", "")
        .playbook(&both)
        .run()
        .expect_code(0);
}

#[test]
fn a_pooler_is_no_place_for_a_lock() {
    let server = Postgres::shared();
    let (database, _) = database(server);
    for (settings, why) in [
        ("", "unsupported startup parameter"),
        (
            "ignore_startup_parameters = options",
            "a pooler stands before it",
        ),
    ] {
        let pooler = PgBouncer::before(server, settings);
        let url = pooler.url(&database);
        server.try_psql(&url, "SELECT 1").expect_code(0);
        let run = elsewhere(&url).file("go", "");
        let ran = run.playbook(&whole(&key())).run();
        ran.expect_code(2);
        assert!(says(&ran, why), "{ran}");
        assert!(says(&ran, "name the server itself"), "{ran}");
        assert!(!ran.folder().join("holds").exists(), "{ran}");
    }
}
