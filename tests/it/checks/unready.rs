//! Servers that answer, and say that they do not serve: full, starting, loading, stopping.

use std::process::Command;
use std::time::Duration;

use serde_json::json;

use super::Checks;
use super::servers::connections;
use crate::support::postgres::{Options, Postgres};
use crate::support::process::{self, Running};
use crate::support::redis::{self, Redis};
use crate::support::run::Ran;
use crate::support::wait;

#[test]
fn a_redis_that_loads_its_data_is_critical() {
    // 100 s of keys, if nobody says that it is enough.
    let server = Redis::start(&redis::Options {
        password: Some("loader1".to_owned()),
        args: ["--enable-debug-command", "yes"]
            .map(str::to_owned)
            .to_vec(),
    });
    server.cli(&["DEBUG", "POPULATE", "5000", "key", "1024"]);
    server.cli(&["SAVE"]);
    server.stop();
    server.start_loading();

    let look = |level| {
        let mut checks = Checks::new(&connections("redis", &["cache"]));
        checks
            .expect(level, "redis.ping: { connection: cache }")
            .expect(level, "redis.ping: { connection: cache, expect: master }");
        checks.run(|run| run.env("URL_cache", server.url()))
    };
    let ran = look("critical");
    for step in [0, 1] {
        let step = &ran.json()["steps"][step];
        let finding = &step["findings"][0];
        let said = finding["message"].as_str().expect("a message");
        assert!(said.contains("LOADING"), "{said}");
        assert_eq!(step["outputs"]["loading"], true, "{ran}");
        assert_eq!(step["outputs"]["latency_ms"], json!(null), "{ran}");
    }
    server.finish_loading();
    let ran = look("ok");
    assert_eq!(ran.json()["steps"][0]["outputs"]["loading"], false, "{ran}");
}

/// What `postgres.ping` says to `user`; it must be of this `level`.
#[track_caller]
fn ping(server: &Postgres, user: &str, level: &'static str) -> Ran {
    let mut checks = Checks::new(&connections("postgres", &["main"]));
    checks.expect(level, "postgres.ping: { connection: main }");
    let url = format!("postgres://{user}@127.0.0.1:{}/postgres", server.port());
    let ran = checks.run(|run| run.env("URL_main", url));
    // It is the server that answers, at once, and not a deadline.
    let took = ran.json()["steps"][0]["duration_ms"].as_u64();
    assert!(took.is_some_and(|took| took < 5_000), "{ran}");
    ran
}

/// The message and the help of its one finding.
fn said(ran: &Ran) -> String {
    let finding = &ran.json()["steps"][0]["findings"][0];
    format!("{} ({})", finding["message"], finding["help"])
}

/// A session that lasts until it is dropped.
fn session(server: &Postgres, user: &str) -> Running {
    let url = format!("postgres://{user}@127.0.0.1:{}/postgres", server.port());
    let mut command = Command::new(process::program("psql", "postgresql-client"));
    command.args(["-X", "-At", "-d", &url, "-c", "SELECT 'in'"]);
    // What is typed next never comes.
    command.args(["-c", "SELECT pg_sleep(600)"]);
    let session = Running::start(command, b"");
    session.wait_for_text("in", Duration::from_secs(30));
    session
}

#[test]
fn a_postgres_that_is_full_starting_or_stopping_is_critical() {
    let server = Postgres::start(&Options {
        max_connections: Some(3),
        settings: [
            "superuser_reserved_connections = 1",
            "max_wal_senders = 0",
            "autovacuum = off",
            // Or a session that sleeps outlives its client.
            "client_connection_check_interval = 100",
        ]
        .map(str::to_owned)
        .to_vec(),
        ..Options::default()
    });
    server.psql("CREATE ROLE app LOGIN");
    ping(&server, "app", "ok");

    // What is left is for superusers; then nothing is.
    let sessions = [session(&server, "app"), session(&server, "app")];
    let full = said(&ping(&server, "app", "critical"));
    assert!(
        full.contains("reserved") && full.contains("53300"),
        "{full}"
    );
    assert!(full.contains("all connections are taken"), "{full}");
    let last = session(&server, "postgres");
    for user in ["app", "postgres"] {
        let full = said(&ping(&server, user, "critical"));
        assert!(full.contains("too many clients already"), "{full}");
        assert!(full.contains("all connections are taken"), "{full}");
    }
    drop(sessions);
    drop(last);
    wait::until("the sessions to end", Duration::from_secs(30), || {
        let url = server.url("postgres");
        let left = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'";
        (server.try_psql(&url, left).stdout == "1\n").then_some(())
    });
    ping(&server, "app", "ok");

    let open = session(&server, "app");
    server.begin_to_stop();
    let stopping = said(&ping(&server, "app", "critical"));
    assert!(stopping.contains("is shutting down"), "{stopping}");
    drop(open);
    server.stop();

    server.start_to_recover();
    let starting = said(&ping(&server, "app", "critical"));
    assert!(starting.contains("is starting up"), "{starting}");
    assert!(starting.contains("57P03"), "{starting}");
    server.finish_starting();
    ping(&server, "app", "ok");

    server.stop();
    server.start_as_closed_standby();
    let closed = said(&ping(&server, "app", "critical"));
    assert!(closed.contains("not accepting connections"), "{closed}");
    assert!(closed.contains("Hot standby mode is disabled"), "{closed}");
}
