//! `postgres.cancel` and `postgres.terminate`: exactly the right sessions, also where nobody gets in.

use std::process::Command;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::sql::{run, step};
use crate::support::postgres::{Options, Postgres};
use crate::support::process::{Running, program};
use crate::support::run::{Ran, Runbook};
use crate::support::session::Session;
use crate::support::wait;

const LONG: Duration = Duration::from_secs(30);

/// Whatever a password is good for here.
const PASSWORD: &str = "apppassword17";

/// A program of PostgreSQL's against the database `shop`, as `app`.
fn client(server: &Postgres, name: &str, args: &[&str]) -> Running {
    let mut command = Command::new(program(name, "postgresql-client"));
    command
        .args(["-d", &server.url_as("app", PASSWORD, "shop")])
        .args(args)
        .env("PGAPPNAME", name);
    Running::start(command, b"")
}

/// Waits until one session is found by a condition, and says its process id.
fn one(server: &Postgres, condition: &str) -> i64 {
    let sql = format!("SELECT pid FROM pg_stat_activity WHERE {condition}");
    wait::until(condition, LONG, || server.psql(&sql).parse().ok())
}

/// A database `shop` of `app` with what must not be disturbed at work in it: a receiver of WAL, a dump
/// that waits for the table `held`, which `holder` has locked, and a VACUUM that takes its time.
struct Shop {
    server: Postgres,
    holder: Option<Session>,
    dump: Running,
    vacuum: Running,
    _receiver: Running,
    _folder: tempfile::TempDir,
    /// Process ids of the three.
    pids: [i64; 3],
}

const SETUP: &str = "\
CREATE TABLE held (a int); CREATE TABLE big (a int); INSERT INTO big SELECT generate_series(1, 300000);
CREATE TABLE small AS SELECT generate_series(1, 100) AS a;
CREATE FUNCTION slow(int) RETURNS int IMMUTABLE LANGUAGE plpgsql AS
  'BEGIN PERFORM pg_sleep(1); RETURN $1; END'";

fn shop(max_connections: u32) -> Shop {
    let server = Postgres::start(&Options {
        max_connections: Some(max_connections),
        settings: vec!["autovacuum = off".to_owned()],
        ..Options::default()
    });
    server.create_role("app", PASSWORD);
    server.create_role("ops", PASSWORD);
    server.psql("ALTER ROLE app REPLICATION; GRANT pg_signal_backend, pg_read_all_stats TO ops");
    server.psql("CREATE DATABASE shop OWNER app");
    let url = server.url_as("app", PASSWORD, "shop");
    server.try_psql(&url, SETUP).expect_code(0);
    let holder = Session::open(&url, "job-1");
    holder.run("BEGIN; LOCK TABLE held").unwrap();
    let folder = crate::support::lifetime::folder("wal");
    let path = folder.path().to_str().unwrap();
    let receiver = client(&server, "pg_receivewal", &["-D", path]);
    let dump = client(&server, "pg_dump", &["-f", "/dev/null"]);
    let slowly = "SET vacuum_cost_limit = 1; SET vacuum_cost_delay = 100";
    let vacuum = client(&server, "psql", &["-X", "-c", slowly, "-c", "VACUUM big"]);
    let pids = [
        one(
            &server,
            "application_name = 'pg_receivewal' AND state = 'active'",
        ),
        one(
            &server,
            "application_name = 'pg_dump' AND wait_event_type = 'Lock'",
        ),
        one(&server, "query = 'VACUUM big' AND state = 'active'"),
    ];
    Shop {
        server,
        holder: Some(holder),
        dump,
        vacuum,
        _receiver: receiver,
        _folder: folder,
        pids,
    }
}

impl Shop {
    fn session(&self, application: &str) -> Session {
        Session::open(&self.server.url_as("app", PASSWORD, "shop"), application)
    }

    /// Runs steps as `ops`, with a superuser in reserve.
    fn run(&self, steps: &str) -> Ran {
        let playbook = format!(
            "runbook: v1\nname: rescue\nsecrets: {{ url: {{ env: DATABASE_URL }}, reserve: {{ env: RESERVE_URL }} }}\n\
             connections:\n  main:\n    postgres: {{ url: '${{{{ secrets.url }}}}', reserve: {{ url: '${{{{ secrets.reserve }}}}' }} }}\n\
             steps:\n{steps}"
        );
        Runbook::new()
            .file("playbook.yaml", playbook)
            .env("DATABASE_URL", self.server.url_as("ops", PASSWORD, "shop"))
            .env("RESERVE_URL", self.server.url("shop"))
            .args(["run", "playbook.yaml", "--yes", "--format", "json"])
            .run()
    }

    fn is_there(&self, pid: i64) -> bool {
        let sql = format!("SELECT count(*) FROM pg_stat_activity WHERE pid = {pid}");
        self.server.psql(&sql) == "1"
    }

    fn spared_live(&self) {
        for pid in self.pids {
            assert!(self.is_there(pid), "{pid} of {:?} is gone", self.pids);
        }
    }
}

fn pids(list: &Value) -> Vec<i64> {
    let mut pids: Vec<i64> = { list.as_array().expect("a list").iter() }
        .map(|session| session["pid"].as_i64().expect("a process id"))
        .collect();
    pids.sort_unstable();
    pids
}

fn pids_of<'s>(sessions: impl IntoIterator<Item = &'s Session>) -> Vec<i64> {
    let mut pids: Vec<i64> = sessions.into_iter().map(|it| i64::from(it.pid)).collect();
    pids.sort_unstable();
    pids
}

/// S14: all connections are taken, so psql itself does not get in, and the clean-up does not happen. (As
/// a superuser it would, and count the server's own processes as clients.)
#[test]
fn where_nobody_gets_in_the_right_sessions_are_ended() {
    let mut shop = shop(20);
    let web: Vec<Session> = (0..9).map(|n| shop.session(&format!("web-{n}"))).collect();
    let jobs: Vec<Session> = (2..5).map(|n| shop.session(&format!("job-{n}"))).collect();
    for job in &jobs {
        job.run("BEGIN; SELECT FROM big FOR KEY SHARE LIMIT 1")
            .unwrap();
    }
    let mut others = Vec::new();
    while let Ok(session) = Session::try_open(&shop.server.url_as("app", PASSWORD, "shop"), "cron")
    {
        others.push(session);
    }
    assert_eq!(others.len(), 2, "3 of 20 are kept for superusers");
    let seeds = shop.server.try_psql(
        &shop.server.url_as("ops", PASSWORD, "shop"),
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE state = 'idle'",
    );
    assert_ne!(seeds.code, 0);
    assert!(seeds.stderr.contains("connection slots"), "{seeds}");
    let counted = shop.server.psql(
        "SELECT count(*) > count(*) FILTER (WHERE backend_type = 'client backend') FROM pg_stat_activity",
    );
    assert_eq!(counted, "t");

    let ran = shop.run(
        r#"
  - id: web
    postgres.terminate: { connection: main, state: [idle], application: ["web-*"], database: [shop] }
  - id: all
    postgres.terminate: { connection: main, user: [app] }
"#,
    );
    ran.expect_code(0);
    let first = step(&ran, "web");
    assert_eq!(pids(&first["outputs"]["victims"]), pids_of(&web));
    assert_eq!(first["outputs"]["spared"], json!([]));
    let findings = first["findings"].to_string();
    assert!(findings.contains("all connections are taken"), "{findings}");
    let second = step(&ran, "all")["outputs"].clone();
    let holder = shop.holder.take().unwrap();
    let expected = pids_of(jobs.iter().chain(&others).chain([&holder]));
    assert_eq!(pids(&second["victims"]), expected);
    let mut spared = shop.pids.to_vec();
    spared.sort_unstable();
    assert_eq!(pids(&second["spared"]), spared, "{second:#}");
    assert_eq!(
        (&second["ended"], &second["left"]),
        (&expected.len().into(), &0.into())
    );
    assert!(
        [web, jobs, others, vec![holder]]
            .iter()
            .flatten()
            .all(|it| !it.is_alive())
    );
    assert!(shop.is_there(shop.pids[0]) && shop.is_there(shop.pids[2]));
    // The dump gets its lock now.
    shop.dump.finish(LONG).expect_code(0);
}

/// S15: whatever is active for long is cancelled, dumps and VACUUM too.
#[test]
fn long_queries_are_cancelled_and_dumps_vacuum_and_index_builds_are_not() {
    let seeds = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE state = 'active' \
                 AND query_start < clock_timestamp() - interval '1 ms' AND pid <> pg_backend_pid() \
                 AND datname = 'shop'";
    let broken = shop(30);
    broken.server.psql(seeds);
    assert_ne!(broken.dump.finish(LONG).code, 0);
    assert_ne!(broken.vacuum.finish(LONG).code, 0);

    let shop = shop(30);
    let query = client(&shop.server, "psql", &["-X", "-c", "SELECT pg_sleep(600)"]);
    let build = "CREATE INDEX ON small (slow(a))";
    let _index = client(&shop.server, "psql", &["-X", "-c", build]);
    let query_pid = one(
        &shop.server,
        "query = 'SELECT pg_sleep(600)' AND state = 'active'",
    );
    let index_pid = one(
        &shop.server,
        &format!("query = '{build}' AND state = 'active'"),
    );
    let idle = shop.session("web-1");
    let ran =
        shop.run("  - { id: cancel, postgres.cancel: { connection: main, older_than: 1ms } }\n");
    ran.expect_code(0);
    let outputs = step(&ran, "cancel")["outputs"].clone();
    assert_eq!(pids(&outputs["victims"]), [query_pid], "{outputs:#}");
    let mut spared = shop.pids.to_vec();
    spared.push(index_pid);
    spared.sort_unstable();
    assert_eq!(pids(&outputs["spared"]), spared, "{outputs:#}");
    assert_eq!(outputs["ended"], 1);
    let said = query.finish(LONG);
    assert!(said.stderr.contains("canceling statement"), "{said}");
    shop.spared_live();
    assert!(shop.is_there(index_pid) && idle.is_alive());
}

#[test]
fn only_what_is_asked_for_and_no_more_than_that() {
    let server = Postgres::shared();
    let database = server.new_database();
    let (user, other) = (format!("u_{database}"), format!("o_{database}"));
    server.create_role(&user, PASSWORD);
    server.create_role(&other, PASSWORD);
    let url = server.url_as(&user, PASSWORD, &database);
    let open = |name: &str| Session::open(&url, name);
    let sessions = [open("a_1"), open("a_2"), open("ab1")];
    let terminate = |more: &str| {
        format!("  - {{ id: end, postgres.terminate: {{ connection: main, {more} }} }}\n")
    };
    let all_live = || assert!(sessions.iter().all(Session::is_alive));

    let ran = run(
        &server.url(&database),
        &terminate("application: [\"a*\"], max: 2"),
    );
    ran.expect_code(1);
    assert!(
        step(&ran, "end")["error"]
            .to_string()
            .contains("`max` is 2")
    );
    all_live();
    // Another database than the connection's own.
    let ran = run(&server.url("postgres"), &terminate("application: [\"a*\"]"));
    ran.expect_code(0);
    assert_eq!(step(&ran, "end")["outputs"]["signalled"], 0);
    // Nobody waits for them, none is older, none comes from there.
    for more in [
        "blocking: true",
        "older_than: 1h",
        "client: [10.0.0.0/8, local]",
        "pids: []",
    ] {
        let ran = run(&server.url(&database), &terminate(more));
        ran.expect_code(0);
        assert_eq!(step(&ran, "end")["outputs"]["signalled"], 0, "{more}");
    }
    all_live();
    let ran = run(
        &server.url_as(&other, PASSWORD, &database),
        &terminate("pids: [1], application: [\"a*\"]"),
    );
    ran.expect_code(0);
    let one = sessions[0].pid;
    let by_other = server.url_as(&other, PASSWORD, &database);
    let ran = run(&by_other, &terminate(&format!("pids: [{one}]")));
    let end = step(&ran, "end").to_string();
    assert!(end.contains("pg_read_all_stats"), "{end}");
    server.psql(&format!("GRANT pg_read_all_stats TO {other}"));
    let ran = run(&by_other, &terminate(&format!("pids: [{one}]")));
    ran.expect_code(1);
    let end = step(&ran, "end").to_string();
    assert!(end.contains("pg_signal_backend"), "{end}");
    all_live();
    // `_` is no pattern. And who has a session may end it.
    let ran = run(
        &url,
        &terminate("application: [\"a_?\"], state: [idle], client: [127.0.0.0/8]"),
    );
    ran.expect_code(0);
    assert_eq!(step(&ran, "end")["outputs"]["ended"], 2);
    let live: Vec<bool> = sessions.iter().map(Session::is_alive).collect();
    assert_eq!(live, [false, false, true]);
}

#[test]
fn who_blocks_others_is_found_and_a_process_that_does_not_react_is_critical() {
    let server = Postgres::start(&Options::default());
    let url = server.url("postgres");
    server.psql("CREATE TABLE t (a int)");
    let (holder, bystander) = (
        Session::open(&url, "holder"),
        Session::open(&url, "bystander"),
    );
    holder.run("BEGIN; LOCK TABLE t").unwrap();
    bystander.run("BEGIN; SELECT 1").unwrap();
    std::thread::scope(|scope| {
        let waiter = scope.spawn(|| server.try_psql(&url, "SELECT count(*) FROM t"));
        one(&server, "wait_event_type = 'Lock'");
        let pid = Pid::from_raw(holder.pid).unwrap();
        kill_process(pid, Signal::STOP).unwrap();
        let steps = "  - { id: end, postgres.terminate: { connection: main, blocking: true, timeout: 300ms } }\n";
        let ran = run(&url, steps);
        kill_process(pid, Signal::CONT).unwrap();
        ran.expect_code(1);
        let end = step(&ran, "end");
        assert_eq!(pids(&end["outputs"]["victims"]), [i64::from(holder.pid)]);
        assert_eq!(end["outputs"]["left"], 1);
        let findings = end["findings"].to_string();
        assert!(findings.contains("is still there 300ms"), "{findings}");
        waiter.join().unwrap().expect_code(0);
    });
    assert!(bystander.is_alive() && !holder.is_alive());
}

/// A dump that is told by what it does, as its name is another.
#[test]
fn a_dump_is_spared_whatever_it_calls_itself() {
    let server = &Postgres::start(&Options::default());
    let database = server.new_database();
    let url = server.url(&database);
    server.psql_in(
        &database,
        "CREATE TABLE small (a int); CREATE TABLE t (a int);
         CREATE TABLE big AS SELECT g, repeat(md5(g::text), 2) || md5((g * 7)::text) AS t
           FROM generate_series(1, 400000) g",
    );
    let folder = crate::support::lifetime::folder("dump");
    let mut command = Command::new(program("pg_dump", "postgresql-client"));
    command
        .args(["-d", &url, "-F", "d", "-j", "2", "-Z", "9", "-f"])
        .arg(folder.path().join("dump"))
        .env("PGAPPNAME", "nightly-backup");
    let dump = Running::start(command, b"");
    let of_dump = format!(
        "FROM pg_stat_activity WHERE datname = '{database}' AND application_name = 'nightly-backup'"
    );
    // One worker has nothing more to do than the other, which is at the large table.
    let idle = format!("SELECT count(*) {of_dump} AND state = 'idle in transaction'");
    wait::until("the dump of a table", LONG, || {
        let at_it = format!("SELECT count(*) {of_dump} AND query LIKE 'COPY public.big%'");
        (server.psql(&at_it) == "1" && server.psql(&idle) == "2").then_some(())
    });
    dump.signal_group(Signal::STOP);
    let all = server.psql(&format!(
        "SELECT string_agg(pid::text, ',' ORDER BY pid) {of_dump}"
    ));
    let all: Vec<i64> = all.split(',').map(|pid| pid.parse().unwrap()).collect();
    assert_eq!(all.len(), 3);

    let open = |name: &str, statements: &[&str]| {
        let session = Session::open(&url, name);
        for statement in statements {
            session.run(statement).unwrap();
        }
        session
    };
    let snapshot = "BEGIN ISOLATION LEVEL REPEATABLE READ";
    let exporter = open("nightly-export", &[snapshot, "SELECT pg_export_snapshot()"]);
    server.psql_in(&database, "INSERT INTO small VALUES (1)");
    let reader = open("nightly-backup", &[snapshot, "SELECT count(*) FROM small"]);
    // It has read what a dump reads, and locked a table against others.
    let catalogs = "SELECT FROM pg_event_trigger, pg_transform, pg_ts_template, pg_conversion, \
                    pg_foreign_data_wrapper LIMIT 1";
    let locker = open(
        "nightly-job",
        &[snapshot, catalogs, "LOCK TABLE t IN SHARE MODE"],
    );
    let waiter = Session::open(&url, "web").begin("INSERT INTO t VALUES (1)");
    let waits = format!("wait_event_type = 'Lock' AND datname = '{database}'");
    one(server, &waits);

    let ran = run(
        &url,
        "  - { id: blocking, postgres.terminate: { connection: main, blocking: true } }\n  \
         - { id: end, postgres.terminate: { connection: main, application: [\"nightly-*\"] } }\n",
    );
    ran.expect_code(0);
    let outputs = |id: &str| step(&ran, id)["outputs"].clone();
    assert_eq!(pids(&outputs("blocking")["victims"]), pids_of([&locker]));
    waiter.finish().unwrap();
    // The reader has imported nothing, and calls itself as the dump does.
    assert_eq!(pids(&outputs("end")["victims"]), pids_of([&reader]));
    let mut spared = [all, pids_of([&exporter])].concat();
    spared.sort_unstable();
    assert_eq!(pids(&outputs("end")["spared"]), spared);
    dump.signal_group(Signal::CONT);
    dump.finish(LONG).expect_code(0);
    assert!(exporter.is_alive());
}

/// A chain: the root does nothing, and between it and the last one is somebody who only waits.
#[test]
fn who_stands_in_the_middle_of_a_chain_is_not_touched() {
    let server = Postgres::shared();
    let database = server.new_database();
    let url = server.url(&database);
    let plain = format!("p_{database}");
    server.create_role(&plain, PASSWORD);
    server.psql_in(&database, "CREATE TABLE t AS SELECT 1 AS id, 0 AS n");
    let update = "UPDATE t SET n = n + 1 WHERE id = 1";
    let web = || server.try_psql(&url, update);
    let waiting = |number: usize| {
        let sql = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = '{database}' AND wait_event_type = 'Lock'"
        );
        wait::until("they wait", LONG, || {
            (server.psql(&sql) == number.to_string()).then_some(())
        });
    };
    let blocking = "connection: main, older_than: 1ms, blocking: true";
    let steps = format!(
        "  - {{ id: cancel, on_error: continue, postgres.cancel: {{ {blocking} }} }}\n  \
         - {{ id: end, on_error: continue, postgres.terminate: {{ {blocking}, state: [idle_in_transaction] }} }}\n"
    );
    std::thread::scope(|scope| {
        // It ends with this, whatever fails here.
        let holder = Session::open(&url, "holder");
        holder.run(&format!("BEGIN; {update}")).unwrap();
        let webs = [1, 2].map(|number| {
            let web = scope.spawn(web);
            waiting(number);
            web
        });
        // A login that may see none of it does not say that there is nothing.
        let ran = run(&server.url_as(&plain, PASSWORD, &database), &steps);
        for id in ["cancel", "end"] {
            let step = step(&ran, id);
            assert_eq!(step["status"], "failed", "{ran}");
            assert_eq!(step["changed"], false, "nobody was touched: {ran}");
            assert_eq!(pids(&step["outputs"]["spared"]), pids_of([&holder]));
            let findings = step["findings"].to_string();
            assert!(findings.contains("\"unknown\""), "{findings}");
            assert!(findings.contains("GRANT pg_read_all_stats, pg_signal_backend TO"));
        }
        let ran = run(&url, &steps);
        ran.expect_code(0);
        assert_eq!(step(&ran, "cancel")["outputs"]["signalled"], 0, "{ran}");
        let end = &step(&ran, "end")["outputs"];
        assert_eq!(pids(&end["victims"]), pids_of([&holder]));
        for web in webs {
            web.join().unwrap().expect_code(0);
        }
    });
    assert_eq!(server.psql_in(&database, "SELECT n FROM t"), "2");
}
