//! `playbooks/redis-health.yaml`: in a healthy world and in a sick one.

use std::path::Path;

use super::{found, with_args};
use crate::database::sql::step;
use crate::support::process;
use crate::support::redis::Redis;
use crate::support::run::{Ran, Runbook};

/// The playbook as it is shipped, with its project file, in a folder of its own.
fn check(server: &Redis) -> Ran {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("playbooks");
    let read = |name: &str| std::fs::read(folder.join(name)).expect(name);
    Runbook::new()
        .file("redis-health.yaml", read("redis-health.yaml"))
        .file("runbook.yaml", read("runbook.yaml"))
        .env("DATABASE_URL", "postgres://nobody@127.0.0.1/none")
        .env("REDIS_URL", server.url())
        .args(["run", "redis-health.yaml", "--format", "json"])
        // The tests' machine is busy, and its memory is whatever it is.
        .args(["-p", "memory_warn=99", "-p", "memory_fail=100"])
        .run()
}

fn report(ran: &Ran) -> String {
    let folder = std::fs::read_dir(ran.folder().join("reports")).expect("a folder of reports");
    let reports: Vec<_> = folder
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert_eq!(reports.len(), 1, "one report");
    std::fs::read_to_string(&reports[0]).expect("a report")
}

/// Reads of which so many find their key.
fn reads(server: &Redis, hits: usize, misses: usize) {
    let mut commands = redis::pipe();
    commands
        .cmd("CONFIG")
        .arg("RESETSTAT")
        .cmd("SET")
        .arg("there")
        .arg(1);
    for _ in 0..hits {
        commands.cmd("GET").arg("there");
    }
    for _ in 0..misses {
        commands.cmd("GET").arg("not there");
    }
    commands.exec(&mut server.connect()).expect("it answers");
}

/// The seed's way to judge a percentage.
fn as_texts(percent: &str) -> bool {
    let bash = process::program("bash", "bash");
    let script = format!("[[ \"{percent}\" < \"50\" ]]");
    process::output(bash, &["-c", &script]).code == 0
}

#[test]
fn a_hit_rate_is_a_number_and_not_a_text() {
    // As texts, 9 % are fine and 100 % are an alarm.
    assert!(!as_texts("9") && as_texts("100"));
    let server = with_args(&["--slowlog-log-slower-than", "10000"]);
    reads(&server, 100, 0);
    let ran = check(&server);
    ran.expect_code(0);
    for id in ["ping", "info", "slow"] {
        assert_eq!(found(&ran, id).0, "ok", "{id}: {ran}");
    }
    assert_eq!(step(&ran, "info")["outputs"]["hit_rate"], 100.0);
    let healthy = report(&ran);
    assert!(
        healthy.starts_with("# redis-health: succeeded"),
        "{healthy}"
    );
    assert!(
        healthy.contains("100 % of 100 reads found their key"),
        "{healthy}"
    );

    reads(&server, 9, 91);
    let ran = check(&server);
    ran.expect_code(1);
    let (level, message) = found(&ran, "info");
    assert_eq!(
        (level.as_str(), message.as_str()),
        ("critical", "9 % of 100 reads found their key (fail 50)")
    );
    assert_eq!(step(&ran, "ping")["status"], "succeeded");
    let sick = report(&ran);
    assert!(
        sick.starts_with("# redis-health: failed") && sick.contains(&message),
        "{sick}"
    );
    assert!(sick.contains("| "), "{sick}");
}

#[test]
fn a_server_that_is_gone_or_slow_is_told() {
    let server = with_args(&["--slowlog-log-slower-than", "10000"]);
    let busy = "local function now() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end \
                redis.replicate_commands() local till = now() + 60000 while now() < till do end return 1";
    server.cli(&["EVAL", busy, "0"]);
    let ran = check(&server);
    ran.expect_code(0);
    let (level, message) = found(&ran, "slow");
    assert_eq!(level, "warning", "{message}");
    assert!(report(&ran).contains("EVAL"), "{ran}");
    server.stop();
    let ran = check(&server);
    ran.expect_code(1);
    let report = report(&ran);
    for id in ["ping", "info", "slow"] {
        let (level, message) = found(&ran, id);
        assert_eq!(level, "critical", "{message}");
        assert!(report.contains(&message), "{message}: {report}");
    }
}
