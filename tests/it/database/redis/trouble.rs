//! Servers that turn us away, are full, hang, or break off: each ends in time and is told for what it is.

use std::time::{Duration, Instant};

use super::{found, login, preview, run, runbook, with_args};
use crate::database::sql::step;
use crate::support::proxy::{Fault, Proxy};
use crate::support::redis::{Options, Redis};
use crate::support::run::Ran;

const LOOKS: &str = r#"
  - { id: info, needs: [], redis.info: { connection: cache, timeout: 1s } }
  - { id: get, needs: [], redis.get: { connection: cache, key: k, timeout: 1s } }
  - { id: slow, needs: [], redis.slowlog: { connection: cache, timeout: 1s } }
"#;

const ACTS: &str = r#"
  - { id: set, needs: [], redis.set: { connection: cache, key: k, value: x, timeout: 1s } }
  - { id: delete, needs: [], redis.delete: { connection: cache, keys: [k], timeout: 1s } }
  - { id: purge, needs: [], redis.purge: { connection: cache, pattern: 'k*', idle: 1s, timeout: 1s } }
"#;

/// Every look has a finding of this level, and says this.
#[track_caller]
fn looks_say(ran: &Ran, level: &str, said: &str) {
    ran.expect_code(1);
    for id in ["info", "get", "slow"] {
        let (found, message) = found(ran, id);
        assert_eq!(found, level, "{id}: {message}");
        assert!(message.contains(said), "{id}: {message}");
    }
}

/// Every act has failed, and says this.
#[track_caller]
fn acts_say(ran: &Ran, said: &str) {
    ran.expect_code(1);
    for id in ["set", "delete", "purge"] {
        let step = step(ran, id);
        assert_eq!(step["status"], "failed", "{step:#}");
        assert!(step["error"].to_string().contains(said), "{step:#}");
    }
}

#[test]
fn a_wrong_password_is_told_and_never_repeated() {
    let server = Redis::shared_with_password();
    let url = server.url_with("not-the-password");
    let (looks, acts) = (run(&url, LOOKS), run(&url, ACTS));
    looks_say(&looks, "critical", "WRONGPASS");
    acts_say(&acts, "WRONGPASS");
    for ran in [looks, acts] {
        assert!(!ran.to_string().contains("not-the-password"), "{ran}");
    }
}

#[test]
fn what_a_login_may_not_do_is_unknown_and_changes_nothing() {
    let server = Redis::start(&Options::default());
    server.fill("k", 1, 100);
    let url = login(&server, "nobody", &["+ping"]);
    looks_say(&run(&url, LOOKS), "unknown", "NOPERM");
    acts_say(&run(&url, ACTS), "NOPERM");
    // Who may not run INFO may still write: what it is, HELLO tells everybody.
    let url = login(
        &server,
        "writer",
        &["+@read", "+@write", "-@dangerous", "+pttl"],
    );
    run(
        &url,
        "  - { id: set, redis.set: { connection: cache, key: mine, value: x } }\n",
    )
    .expect_code(0);
    // Without EVAL nothing is purged: there is no other way that spares what is touched meanwhile.
    let purge = "  - { id: purge, redis.purge: { connection: cache, pattern: 'k*', idle: 1s } }\n";
    let ran = run(&url, purge);
    ran.expect_code(1);
    assert!(
        step(&ran, "purge")["error"].to_string().contains("NOPERM"),
        "{ran}"
    );
    assert_eq!(server.cli(&["EXISTS", "k1"]), "1");
    // An empty log says nothing to somebody who may not ask whether there is one.
    let url = login(&server, "looker", &["+slowlog", "+time"]);
    let ran = run(
        &url,
        "  - { id: slow, redis.slowlog: { connection: cache } }\n",
    );
    ran.expect_code(1);
    assert!(
        found(&ran, "slow")
            .1
            .contains("may not ask whether it keeps one"),
        "{ran}"
    );
}

#[test]
fn nothing_is_written_to_a_replica_or_to_a_node_of_a_cluster() {
    let master = Redis::start(&Options::default());
    master.fill("k", 3, 100);
    let replica = master.replica();
    acts_say(&run(&replica.url(), ACTS), "it is a replica");
    // A plan says so too.
    let planned = runbook(&replica.url(), ACTS)
        .args(["plan", "playbook.yaml"])
        .run();
    assert!(planned.stdout.contains("it is a replica"), "{planned}");
    let ran = run(&replica.url(), LOOKS);
    ran.expect_code(0);
    assert_eq!(
        step(&ran, "info")["outputs"]["replication"]["link_up"],
        true
    );
    // Its lag, from the master's side.
    let lag = "  - { id: info, redis.info: { connection: cache, replica_lag: { fail: 30s } } }\n";
    let ran = run(&master.url(), lag);
    ran.expect_code(0);
    let info = step(&ran, "info");
    assert_eq!(
        info["outputs"]["replication"]["replicas"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
    // Without its master it says that it is stale.
    master.stop();
    let down = "  - { id: info, redis.info: { connection: cache, timeout: 5s } }\n";
    crate::support::wait::until("the link to be down", Duration::from_secs(20), || {
        let ran = run(&replica.url(), down);
        (found(&ran, "info").0 == "warning").then_some(())
    });

    let node = with_args(&[
        "--cluster-enabled",
        "yes",
        "--cluster-config-file",
        "nodes.conf",
    ]);
    acts_say(&run(&node.url(), ACTS), "node of a Redis Cluster");
}

#[test]
fn a_full_server_is_critical_and_takes_nothing() {
    let server = with_args(&["--maxmemory", "3mb", "--maxmemory-policy", "noeviction"]);
    let mut connection = server.connect();
    let filled = (0..10_000).find(|n| {
        let mut set = redis::cmd("SET");
        set.arg(format!("k{n}")).arg("x".repeat(4_000));
        set.exec(&mut connection).is_err()
    });
    assert!(filled.is_some(), "it never was full");
    let ran = run(
        &server.url(),
        "  - { id: info, redis.info: { connection: cache } }\n",
    );
    ran.expect_code(1);
    let (level, message) = found(&ran, "info");
    assert_eq!(level, "critical");
    assert!(message.contains("writes are refused"), "{message}");
    let set = "  - { id: set, redis.set: { connection: cache, key: new, value: x } }\n";
    let ran = run(&server.url(), set);
    ran.expect_code(1);
    let set = step(&ran, "set");
    assert!(set["error"].to_string().contains("OOM"), "{set:#}");
    assert_eq!(
        set["status"], "failed",
        "the server said no: nothing is in doubt"
    );
    // What makes room works.
    let url = server.url();
    let delete = "  - { id: gone, redis.delete: { connection: cache, pattern: 'k*' } }\n";
    run(&url, delete).expect_code(0);
    run(
        &url,
        "  - { id: set, redis.set: { connection: cache, key: new, value: x } }\n",
    )
    .expect_code(0);
}

#[test]
fn a_server_that_hangs_is_not_waited_for() {
    let server = Redis::start(&Options::default());
    server.pause();
    let began = Instant::now();
    looks_say(&run(&server.url(), LOOKS), "critical", "no answer");
    let acts = run(&server.url(), ACTS);
    acts_say(&acts, "no answer");
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    server.resume();
}

#[test]
fn a_byte_a_second_is_no_answer() {
    let server = Redis::start(&Options::default());
    let proxy = Proxy::before(server.port());
    proxy.now(Fault::OneByteASecond);
    let began = Instant::now();
    looks_say(
        &run(&proxy.redis_url(), LOOKS),
        "critical",
        "no answer in 1s",
    );
    acts_say(&run(&proxy.redis_url(), ACTS), "no answer in 1s");
    assert!(
        began.elapsed() < Duration::from_secs(15),
        "{:?}",
        began.elapsed()
    );
    assert_eq!(server.cli(&["DBSIZE"]), "0");
}

#[test]
fn a_command_that_was_sent_and_not_answered_is_in_doubt() {
    let server = Redis::start(&Options::default());
    let set =
        "  - { id: act, redis.set: { connection: cache, key: k, value: x, timeout: 500ms } }\n";
    let delete =
        "  - { id: act, redis.delete: { connection: cache, keys: [k], timeout: 500ms } }\n";
    for (word, fault, steps, left) in [
        ("SET", Fault::CutAfter, set, "1"),
        ("UNLINK", Fault::CutAfter, delete, "0"),
        ("SET", Fault::Mute, set, "1"),
        ("UNLINK", Fault::Mute, delete, "0"),
    ] {
        let proxy = Proxy::before(server.port());
        proxy.at(word, fault);
        let ran = run(&proxy.redis_url(), steps);
        // It may be run again, so that nobody has to find out: it has failed, and may have happened.
        ran.expect_code(1);
        let act = step(&ran, "act");
        assert_eq!(
            (&act["status"], &act["changed"]),
            (&"failed".into(), &serde_json::Value::Null)
        );
        let error = act["error"].to_string();
        assert!(
            error.contains("whether it happened is not known"),
            "{error}"
        );
        // It did.
        assert_eq!(server.cli(&["DBSIZE"]), left);
    }
    // What only looks is not.
    let proxy = Proxy::before(server.port());
    proxy.at("TYPE", Fault::CutAfter);
    let ran = run(
        &proxy.redis_url(),
        "  - { id: get, redis.get: { connection: cache, key: k } }\n",
    );
    ran.expect_code(1);
    assert_eq!(found(&ran, "get").0, "critical");
    assert_eq!(
        preview(
            &server.url(),
            "  - { id: act, redis.delete: { connection: cache, keys: [k] } }\n"
        ),
        serde_json::json!({ "kind": "no_change" })
    );
}
