//! `redis.*`: what a server is asked, and what is changed in it.

mod health;
mod keys;
mod trouble;

use serde_json::{Value, json};

use super::sql::step;
use crate::support::redis::{Options, Redis};
use crate::support::run::{Ran, Runbook};

/// A playbook with one connection, `cache`, to the server at `$REDIS_URL`.
pub fn playbook(steps: &str) -> String {
    format!(
        "runbook: v1\nname: redis\nsecrets:\n  redis_url: {{ env: REDIS_URL }}\n  \
         token: {{ env: TOKEN }}\n\
         connections:\n  cache:\n    redis: {{ url: \"${{{{ secrets.redis_url }}}}\" }}\n\
         steps:\n{steps}"
    )
}

/// One to come, against a server.
pub fn runbook(url: &str, steps: &str) -> Runbook {
    Runbook::new()
        .file("playbook.yaml", playbook(steps))
        .env("REDIS_URL", url)
        .env("TOKEN", TOKEN)
}

/// A secret of the playbook's.
pub const TOKEN: &str = "hunter2-hunter2";

/// Runs it, with `--yes`.
pub fn run(url: &str, steps: &str) -> Ran {
    runbook(url, steps)
        .args(["run", "playbook.yaml", "--yes", "--format", "json"])
        .run()
}

/// What a plan says that the one step would do.
#[track_caller]
pub fn preview(url: &str, steps: &str) -> Value {
    let planned = runbook(url, steps)
        .args(["plan", "playbook.yaml", "--format", "json"])
        .run();
    let plan = planned.expect_code(0).json();
    plan["steps"][0]["preview"].clone()
}

/// The worst finding of a step: its level and message.
#[track_caller]
pub fn found(ran: &Ran, id: &str) -> (String, String) {
    let step = step(ran, id);
    let weight = |finding: &&Value| {
        let level = finding["level"].as_str();
        ["ok", "warning", "unknown", "critical"]
            .iter()
            .position(|l| Some(*l) == level)
    };
    let findings = step["findings"].as_array().expect("findings");
    let worst = findings.iter().max_by_key(weight).expect("a finding");
    let text = |field: &str| worst[field].as_str().unwrap_or_default().to_owned();
    (text("level"), text("message"))
}

/// A login that may run these commands alone.
#[track_caller]
fn login(server: &Redis, name: &str, commands: &[&str]) -> String {
    let mut args = vec!["ACL", "SETUSER", name, "reset", "on", ">pw", "~*"];
    args.extend(commands);
    server.cli(&args);
    format!("redis://{name}:pw@127.0.0.1:{}", server.port())
}

fn with_args(args: &[&str]) -> Redis {
    Redis::start(&Options {
        args: args.iter().map(|&arg| arg.to_owned()).collect(),
        ..Options::default()
    })
}

#[test]
fn figures_are_numbers_and_a_fresh_server_has_no_hit_rate() {
    let server = with_args(&["--maxmemory", "64mb", "--maxmemory-policy", "allkeys-lru"]);
    let steps = r#"
  - id: figures
    redis.info:
      connection: cache
      memory: { warn: 90, fail: 95 }
      hit_rate: { warn: 80, fail: 50 }
      clients: { warn: 80, fail: 90 }
      evictions: { warn: 1, fail: 10 }
      sample: 100ms
      last_save: { warn: 1h }
  - id: read
    flow.assert:
      that:
        - steps.figures.outputs.memory.max_bytes == 67108864
        - steps.figures.outputs.memory.policy == "allkeys-lru"
        - steps.figures.outputs.replication.role == "master"
        - steps.figures.outputs.evictions_per_s == 0
"#;
    let ran = run(&server.url(), steps);
    ran.expect_code(0);
    let figures = step(&ran, "figures");
    assert_eq!(figures["outputs"]["hit_rate"], Value::Null, "{figures:#}");
    assert_eq!(figures["outputs"]["keys"], 0);
    let said = figures["findings"].to_string();
    assert!(said.contains("nothing has been read yet"), "{said}");
    assert!(
        said.contains("nothing has changed since the last RDB file"),
        "{said}"
    );

    let mut connection = server.connect();
    redis::cmd("SET")
        .arg("a")
        .arg("1")
        .exec(&mut connection)
        .unwrap();
    redis::cmd("SELECT").arg(3).exec(&mut connection).unwrap();
    redis::cmd("SETEX")
        .arg("b")
        .arg(99)
        .arg("1")
        .exec(&mut connection)
        .unwrap();
    let ran = run(
        &server.url(),
        "  - id: figures\n    redis.info: { connection: cache }\n",
    );
    ran.expect_code(0);
    let outputs = step(&ran, "figures");
    let databases = json!([
        { "database": 0, "keys": 1, "with_ttl": 0 },
        { "database": 3, "keys": 1, "with_ttl": 1 },
    ]);
    assert_eq!(outputs["outputs"]["databases"], databases);
    assert_eq!(outputs["outputs"]["persistence"]["unsaved_changes"], 2);
}

#[test]
fn memory_counts_against_the_machine_where_there_is_no_limit() {
    let server = Redis::shared();
    let ran = run(
        &server.url(),
        "  - id: figures\n    redis.info: { connection: cache, memory: { warn: 0, fail: 99 } }\n",
    );
    ran.expect_code(0);
    let (level, message) = found(&ran, "figures");
    assert_eq!(level, "warning");
    assert!(message.contains("of the machine's memory"), "{message}");
    assert!(message.contains("maxmemory is not set"), "{message}");
}

#[test]
fn every_kind_of_key_is_read() {
    let server = Redis::start(&Options::default());
    let mut connection = server.connect();
    let mut fill = redis::pipe();
    fill.cmd("SETEX").arg("line\nbreak").arg(100).arg("é\n");
    fill.cmd("SET").arg("binary").arg(&[0xff_u8, 0, 1][..]);
    fill.cmd("HSET")
        .arg("hash")
        .arg("f")
        .arg("1")
        .arg("g")
        .arg("2");
    fill.cmd("RPUSH").arg("list").arg(&["c", "a", "b"][..]);
    fill.cmd("SADD").arg("set").arg(&["y", "x"][..]);
    fill.cmd("ZADD")
        .arg("zset")
        .arg(2)
        .arg("two")
        .arg("inf")
        .arg("all");
    fill.cmd("XADD").arg("stream").arg("*").arg("f").arg("v");
    for number in 0..5_000 {
        fill.cmd("SADD")
            .arg("large")
            .arg(format!("member-{number:05}"));
    }
    fill.exec(&mut connection).unwrap();
    let get = |id: &str, key: &str, more: &str| {
        format!(
            "  - {{ id: {id}, needs: [], fail_on: never, redis.get: {{ connection: cache, key: {key}{more} }} }}\n"
        )
    };
    let steps: String = [
        get("text", r#""line\nbreak""#, ""),
        get("cut", r#""line\nbreak""#, ", max_size: 1B"),
        get("binary", "binary", ""),
        get("hash", "hash", ""),
        get("list", "list", ", max: 2"),
        get("set", "set", ""),
        get("zset", "zset", ""),
        get("large", "large", ", max: 7"),
        get("stream", "stream", ""),
        get("about", "stream", ", max: 0"),
        get("none", "nobody", ""),
    ]
    .concat();
    let ran = run(&server.url(), &steps);
    ran.expect_code(0);
    let read = |id: &str| step(&ran, id)["outputs"].clone();
    let value = |id: &str| read(id)["value"].clone();
    assert_eq!(value("text"), "é\n");
    assert!(read("text")["ttl_s"].as_f64().is_some_and(|ttl| ttl > 50.0));
    assert_eq!(
        (&value("cut"), &read("cut")["truncated"]),
        (&json!(""), &json!(true))
    );
    assert_eq!(
        (&value("binary"), &read("binary")["encoding"]),
        (&json!("/wAB"), &json!("base64"))
    );
    assert_eq!(value("hash"), json!({ "f": "1", "g": "2" }));
    assert_eq!(
        (&value("list"), &read("list")["truncated"]),
        (&json!(["c", "a"]), &json!(true))
    );
    assert_eq!(
        (&value("set"), &read("set")["ttl_s"]),
        (&json!(["x", "y"]), &Value::Null)
    );
    let ranked = json!([{ "member": "two", "score": 2.0 }, { "member": "all", "score": "inf" }]);
    assert_eq!(value("zset"), ranked);
    let large = read("large");
    assert_eq!(
        (value("large").as_array().unwrap().len(), &large["length"]),
        (7, &json!(5000))
    );
    assert_eq!(found(&ran, "stream").0, "unknown");
    assert_eq!(
        (&read("about")["type"], &read("about")["length"]),
        (&json!("stream"), &json!(1))
    );
    assert_eq!(
        (&read("none")["exists"], &read("none")["type"]),
        (&json!(false), &Value::Null)
    );
}

#[test]
fn slow_commands_are_told_and_a_log_that_is_not_kept_is_unknown() {
    let server = with_args(&["--slowlog-log-slower-than", "5000"]);
    let steps = "  - id: slow\n    redis.slowlog: { connection: cache, within: 1h, warn: 10ms, fail: 10s }\n";
    let ran = run(&server.url(), steps);
    ran.expect_code(0);
    assert_eq!(found(&ran, "slow").0, "ok");
    // 20 ms by the server's own clock.
    let busy = "local function now() local t = redis.call('TIME') return t[1] * 1000000 + t[2] end \
                redis.replicate_commands() local till = now() + 20000 while now() < till do end return 1";
    server.cli(&["EVAL", busy, "1", "the key"]);
    let ran = run(&server.url(), steps);
    ran.expect_code(0);
    let (level, message) = found(&ran, "slow");
    assert_eq!(level, "warning", "{message}");
    assert!(
        message.contains("longer than 10ms") && message.contains("EVAL"),
        "{message}"
    );
    let slow = step(&ran, "slow");
    assert!(
        slow["outputs"]["longest_ms"]
            .as_f64()
            .is_some_and(|ms| ms >= 20.0)
    );
    assert_eq!(slow["outputs"]["threshold_ms"], 5.0);

    // Where nothing is logged, an empty log says nothing.
    server.cli(&["CONFIG", "SET", "slowlog-log-slower-than", "-1"]);
    server.cli(&["SLOWLOG", "RESET"]);
    let ran = run(&server.url(), steps);
    ran.expect_code(1);
    assert_eq!(found(&ran, "slow").0, "unknown");
}

#[test]
fn a_value_is_set_once() {
    let server = Redis::start(&Options::default());
    let set = |more: &str| {
        format!(
            "  - id: mode\n    redis.set: {{ connection: cache, key: mode, value: 'on'{more} }}\n"
        )
    };
    let url = server.url();
    let written = |more: &str| {
        let ran = run(&url, &set(more));
        ran.expect_code(0);
        let mode = step(&ran, "mode");
        assert_eq!(mode["outputs"]["written"], mode["changed"], "{mode:#}");
        mode["changed"] == true
    };
    // `present` where it is absent.
    assert_eq!(
        preview(&url, &set(", if: present")),
        json!({ "kind": "no_change" })
    );
    assert!(!written(", if: present"));
    let planned = preview(&url, &set(""));
    assert_eq!(planned["diff"], "+ on\n");
    assert!(written("") && !written("") && !written(", if: absent"));
    assert_eq!(preview(&url, &set("")), json!({ "kind": "no_change" }));
    // A time to live is a change, and so is none.
    assert!(written(", ttl: 1h") && !written(", ttl: 1h") && written(", ttl: 2h") && written(""));
    assert_eq!(server.cli(&["TTL", "mode"]), "-1");
    server.cli(&["SET", "mode", "off\nline"]);
    assert_eq!(preview(&url, &set(""))["diff"], "- off\\nline\n+ on\n");
    assert!(written(", if: present"));
    // What is no string is never overwritten.
    server.cli(&["DEL", "mode"]);
    server.cli(&["HSET", "mode", "a", "b"]);
    let ran = run(&url, &set(""));
    ran.expect_code(1);
    assert!(
        step(&ran, "mode")["error"]
            .to_string()
            .contains("it holds a hash")
    );
    assert_eq!(server.cli(&["HGET", "mode", "a"]), "b");
}

#[test]
fn a_secret_is_set_and_shown_nowhere() {
    let server = Redis::start(&Options::default());
    server.cli(&["SET", "token", "the-old-secret"]);
    let steps = "  - id: token\n    redis.set: { connection: cache, key: token, value: \"${{ secrets.token }}\" }\n";
    let planned = runbook(&server.url(), steps)
        .args([
            "plan",
            "playbook.yaml",
            "-o",
            "plan.json",
            "--format",
            "json",
        ])
        .run();
    let ran = planned
        .then()
        .env("REDIS_URL", server.url())
        .env("TOKEN", TOKEN);
    let ran = ran.args(["run", "--plan", "plan.json", "-y", "-v"]).run();
    ran.expect_code(0);
    assert_eq!(server.cli(&["GET", "token"]), TOKEN);
    let mut shown = format!("{planned}{ran}{}", ran.read("plan.json"));
    for file in walk(ran.state()) {
        shown.push_str(&String::from_utf8_lossy(&std::fs::read(file).unwrap()));
    }
    for secret in [TOKEN, "the-old-secret"] {
        assert!(!shown.contains(secret), "{secret}: {shown}");
    }
}

/// The files below a folder.
fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let entries = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let below = entries.flat_map(|path| {
        if path.is_dir() {
            walk(&path)
        } else {
            vec![path]
        }
    });
    below.collect()
}
