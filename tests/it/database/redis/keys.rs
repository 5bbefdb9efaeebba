//! Keys that are removed: exactly those that are meant, whatever happens meanwhile.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Signal, kill_process};
use serde_json::json;

use super::{playbook, preview, run, runbook};
use crate::database::sql::step;
use crate::support::redis::{Options, Redis};
use crate::support::wait;

#[test]
fn what_is_planned_is_removed_and_nothing_else() {
    let server = Redis::start(&Options::default());
    server.fill("session:", 2_500, 0);
    let mut connection = server.connect();
    let mut fill = redis::pipe();
    fill.cmd("SET").arg("session:line\nbreak").arg(1);
    fill.cmd("SET").arg(&b"session:\xff\x00"[..]).arg(1);
    fill.cmd("SET").arg("sessions").arg(1);
    fill.cmd("SET").arg("a\nb").arg(1);
    fill.exec(&mut connection).unwrap();
    let url = server.url();
    // What people do by hand holds up everybody, and is seen.
    server.cli(&["KEYS", "session:*"]);
    assert_eq!(server.calls("keys"), 1);

    let steps = "  - id: gone\n    redis.delete: { connection: cache, pattern: 'session:*' }\n";
    let planned = preview(&url, steps);
    assert_eq!(planned["counts"]["keys"], 2_502, "{planned:#}");
    let items = planned["items"].as_array().unwrap();
    assert_eq!((items.len(), &items[20]), (21, &json!("… and 2,482 more")));
    assert_eq!(items[0], "session:1", "{items:?}");

    // More than `max`: nothing goes.
    let few = steps.replace("'session:*'", "'session:*', max: 2501");
    let ran = run(&url, &few);
    ran.expect_code(1);
    let error = step(&ran, "gone")["error"].to_string();
    assert!(
        error.contains("more than 2,501 keys match `session:*`: nothing was removed"),
        "{error}"
    );
    assert_eq!(server.cli(&["DBSIZE"]), "2504");

    let exact = steps.replace("'session:*'", "'session:*', max: 2502");
    let ran = run(&url, &exact);
    ran.expect_code(0);
    assert_eq!(
        step(&ran, "gone")["outputs"],
        json!({ "found": 2502, "removed": 2502 })
    );
    assert_eq!(server.cli(&["DBSIZE"]), "2");
    assert_eq!(preview(&url, steps), json!({ "kind": "no_change" }));
    let ran = run(&url, steps);
    ran.expect_code(0);
    assert_eq!(step(&ran, "gone")["changed"], false);

    let named = "  - id: gone\n    redis.delete: { connection: cache, keys: [\"a\\nb\", sessions, nobody, sessions] }\n";
    assert_eq!(preview(&url, named)["items"], json!(["a\\nb", "sessions"]));
    let ran = run(&url, named);
    ran.expect_code(0);
    assert_eq!(
        step(&ran, "gone")["outputs"],
        json!({ "found": 2, "removed": 2 })
    );
    assert_eq!(server.cli(&["DBSIZE"]), "0");
    assert_eq!(
        (server.calls("keys"), server.calls("del")),
        (1, 1),
        "only the test's own"
    );
    assert!(server.calls("unlink") >= 7);
}

#[test]
fn a_pattern_for_everything_must_be_meant() {
    let server = Redis::start(&Options::default());
    server.fill("k", 10, 100);
    for pattern in ["*", "**", "?*", "*:*", "[a-z]*"] {
        for ty in ["redis.delete", "redis.purge"] {
            let idle = if ty == "redis.purge" {
                ", idle: 1s"
            } else {
                ""
            };
            let steps = format!(
                "  - id: all\n    {ty}: {{ connection: cache, pattern: '{pattern}'{idle} }}\n"
            );
            let ran = run(&server.url(), &steps);
            let refused = ran.expect_code(2);
            assert!(refused.stderr.contains("all: true"), "{pattern}: {refused}");
        }
    }
    assert_eq!(server.cli(&["DBSIZE"]), "10");
    let steps = "  - id: all\n    redis.delete: { connection: cache, pattern: '*', all: true }\n";
    run(&server.url(), steps).expect_code(0);
    assert_eq!(server.cli(&["DBSIZE"]), "0");
}

/// Reads keys, and tells which of them there were.
fn read(server: &Redis, keys: impl Iterator<Item = usize> + Clone) -> BTreeSet<usize> {
    let mut reads = redis::pipe();
    keys.clone().for_each(|n| {
        reads.cmd("GET").arg(format!("session:{n}"));
    });
    let read: Vec<Option<String>> = reads.query(&mut server.connect()).unwrap();
    let alive = keys.zip(read).filter(|(_, value)| value.is_some());
    alive.map(|(n, _)| n).collect()
}

#[test]
fn a_hundred_thousand_idle_keys_go_and_none_that_is_touched() {
    const KEYS: usize = 100_000;
    let server = Redis::start(&Options::default());
    server.fill("session:", KEYS, 7_200);
    let steps = "  - id: purge\n    redis.purge: { connection: cache, pattern: 'session:*', idle: 1h, max: 200000 }\n";
    let planned = preview(&server.url(), steps);
    assert_eq!(planned["counts"]["keys"], KEYS, "{planned:#}");

    let over = AtomicBool::new(false);
    let reading = AtomicBool::new(false);
    let (ran, took, touched, made) = thread::scope(|scope| {
        // Reads a tenth of the keys: those that were there when they were read must stay.
        let early = scope.spawn(|| {
            let mut alive = BTreeSet::new();
            for first in (1..=KEYS).step_by(2_000).cycle() {
                alive.extend(read(&server, (first..first + 2_000).step_by(10)));
                reading.store(true, Ordering::Relaxed);
                if over.load(Ordering::Relaxed) {
                    break;
                }
            }
            alive
        });
        // Reads some of the last ones once the first are being removed: all had been found by then.
        let late = scope.spawn(|| {
            let deadline = Instant::now() + Duration::from_secs(60);
            let mut connection = server.connect();
            // EXISTS touches nothing.
            let mut there = || {
                let exists = redis::cmd("EXISTS").arg("session:10").to_owned();
                exists.query::<bool>(&mut connection).unwrap()
            };
            while there() && Instant::now() < deadline {}
            read(&server, 99_901..=99_999)
        });
        let maker = scope.spawn(|| {
            let mut connection = server.connect();
            let mut made = 0;
            while !over.load(Ordering::Relaxed) && made < 50_000 {
                let mut sets = redis::pipe();
                for _ in 0..50 {
                    made += 1;
                    sets.cmd("SET").arg(format!("session:new:{made}")).arg(1);
                }
                sets.exec(&mut connection).unwrap();
            }
            made
        });
        wait::until("the first reads", Duration::from_secs(20), || {
            reading.load(Ordering::Relaxed).then_some(())
        });
        let began = Instant::now();
        let ran = run(&server.url(), steps);
        let took = began.elapsed();
        over.store(true, Ordering::Relaxed);
        let mut touched = early.join().unwrap();
        touched.extend(late.join().unwrap());
        (ran, took, touched, maker.join().unwrap())
    });
    ran.expect_code(0);
    let purge = step(&ran, "purge")["outputs"].clone();
    // None too many: what was alive when it was read is there, and so is all that is new.
    let mut connection = server.connect();
    let mut reads = redis::pipe();
    touched.iter().for_each(|n| {
        reads.cmd("EXISTS").arg(format!("session:{n}"));
    });
    let there: Vec<bool> = reads.query(&mut connection).unwrap();
    let lost = there.iter().filter(|there| !**there).count();
    assert_eq!(lost, 0, "of {} touched keys", touched.len());
    let left: usize = redis::cmd("DBSIZE").query(&mut connection).unwrap();
    // None too few: nothing else is.
    assert_eq!(left, touched.len() + made, "{purge}");
    let count = |name: &str| purge[name].as_u64().unwrap() as usize;
    assert_eq!(count("removed"), KEYS - touched.len(), "{purge}");
    assert_eq!(
        count("found"),
        count("removed") + count("spared") + count("gone")
    );
    assert!(
        touched.len() >= KEYS / 10 && made > 0 && count("spared") > 0,
        "{purge}"
    );
    assert_eq!(server.calls("keys"), 0);
    println!(
        "figure: purge of {} of {KEYS} keys in {took:?}, {} touched, {} of them after they were found, \
         {made} made meanwhile",
        count("removed"),
        touched.len(),
        count("spared"),
    );
}

#[test]
fn keys_without_a_time_to_live_are_purged() {
    let server = Redis::start(&Options::default());
    let mut connection = server.connect();
    let mut fill = redis::pipe();
    for n in 0..30 {
        fill.cmd("SET").arg(format!("s:{n}")).arg(1);
        fill.cmd("SETEX")
            .arg(format!("s:ttl:{n}"))
            .arg(1_000)
            .arg(1);
    }
    fill.exec(&mut connection).unwrap();
    let steps = "  - id: purge\n    redis.purge: { connection: cache, pattern: 's:*', without_ttl: true }\n";
    assert_eq!(preview(&server.url(), steps)["counts"]["keys"], 30);
    let ran = run(&server.url(), steps);
    ran.expect_code(0);
    let outputs = json!({ "found": 30, "removed": 30, "spared": 0, "gone": 0 });
    assert_eq!(step(&ran, "purge")["outputs"], outputs);
    assert_eq!(server.cli(&["DBSIZE"]), "30");

    // A replica's reads are not seen.
    let replica = server.replica();
    let idle = "  - id: purge\n    redis.purge: { connection: cache, pattern: 's:*', idle: 1h }\n";
    let ran = run(&server.url(), idle);
    ran.expect_code(0);
    let (level, message) = super::found(&ran, "purge");
    assert!(
        level == "warning" && message.contains("reads at its 1 replica"),
        "{message}"
    );
    drop(replica);

    // Under an LFU policy nobody knows what is idle.
    server.cli(&["CONFIG", "SET", "maxmemory-policy", "allkeys-lfu"]);
    let ran = run(&server.url(), idle);
    ran.expect_code(1);
    let error = step(&ran, "purge")["error"].to_string();
    assert!(
        error.contains("maxmemory-policy` is allkeys-lfu"),
        "{error}"
    );
    assert_eq!(server.cli(&["DBSIZE"]), "30");
}

#[test]
fn killed_in_the_middle_it_is_gone_on_with_at_the_same_server_alone() {
    const KEYS: usize = 300_000;
    let server = Redis::start(&Options::default());
    let other = Redis::start(&Options::default());
    server.fill("page:", KEYS, 0);
    server.fill("other:", 100, 0);
    other.fill("page:", 100, 0);
    let steps =
        "  - id: pages\n    redis.delete: { connection: cache, pattern: 'page:*', max: 1000000 }\n";
    let started = runbook(&server.url(), steps)
        .args(["run", "playbook.yaml", "--yes"])
        .start();
    let mut connection = server.connect();
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let left: usize = redis::cmd("DBSIZE").query(&mut connection).unwrap();
        if left < KEYS + 100 {
            break;
        }
        assert!(Instant::now() < deadline, "nothing was removed");
    }
    kill_process(started.pid(), Signal::KILL).unwrap();
    let killed = started.finish();
    assert_eq!(killed.code, -9, "{killed}");
    let left: usize = redis::cmd("DBSIZE").query(&mut connection).unwrap();
    assert!(left > 100, "it was killed too late");

    let go_on = |url: String, verb: &[&str]| {
        let next = killed
            .then()
            .env("REDIS_URL", url)
            .env("TOKEN", super::TOKEN);
        next.args(verb).args(["--yes", "--format", "json"]).run()
    };
    // What it writes to was recorded: another server is refused.
    let refused = go_on(other.url(), &["resume", "last"]);
    refused.expect_code(3);
    let why = "what this run has changed so far is";
    assert!(refused.stdout.contains(why), "{refused}");
    assert_eq!(other.cli(&["DBSIZE"]), "100");
    let resumed = go_on(server.url(), &["retry", "last", "--from", "pages"]);
    resumed.expect_code(0);
    let pages = step(&resumed, "pages")["outputs"].clone();
    assert_eq!(pages["removed"], left - 100, "{pages}");
    assert_eq!(server.cli(&["DBSIZE"]), "100");
    println!(
        "figure: killed with {} of {KEYS} keys removed",
        KEYS + 100 - left
    );
}

/// Redis has no identity that outlives a restart; ours does.
#[test]
fn a_restart_is_no_other_server() {
    let server = Redis::start(&Options::default());
    let steps = r#"
  - { id: before, redis.set: { connection: cache, key: a, value: x } }
  - id: pause
    exec.script: { script: "touch here; until [ -e go ]; do sleep 0.02; done" }
  - { id: after, redis.set: { connection: cache, key: b, value: x } }
"#;
    let run_id = || {
        let info = server.cli(&["INFO", "server"]);
        let line = info.lines().find(|line| line.starts_with("run_id"));
        line.unwrap().to_owned()
    };
    let first = run_id();
    let started = super::Runbook::new()
        .file("playbook.yaml", playbook(steps))
        .env("REDIS_URL", server.url())
        .env("TOKEN", super::TOKEN)
        .args(["run", "playbook.yaml", "--format", "json"])
        .start();
    let folder = started.folder().to_owned();
    wait::until("the pause", Duration::from_secs(20), || {
        folder.join("here").exists().then_some(())
    });
    server.stop();
    server.start_again();
    assert_ne!(run_id(), first, "its own idea of who it is");
    std::fs::write(folder.join("go"), "").unwrap();
    started.finish().expect_code(0);
    assert_eq!(server.cli(&["GET", "b"]), "x");
}
