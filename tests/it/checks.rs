//! Each check is seen to say ok, warning, critical and unknown, about real components.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::support::certificates::{Authority, Subject};
use crate::support::http::{HttpServer, Reply};
use crate::support::net::free_port;
use crate::support::postgres::{Options, Postgres};
use crate::support::redis::{self, Redis};
use crate::support::run::{Ran, Runbook};
use crate::support::systemd::SystemdHost;
use crate::support::wait;

mod dead;
pub mod hidden;
mod host;
mod logs;
mod servers;
mod services;
mod unready;

/// The worst level that each step found.
fn levels(ran: &Ran) -> BTreeMap<String, String> {
    let status = ran.json();
    let weight = |level: &str| {
        let order = ["ok", "warning", "unknown", "critical"];
        order.iter().position(|known| *known == level)
    };
    let worst = |step: &serde_json::Value| {
        let findings = step["findings"].as_array().expect("findings");
        let levels = findings.iter().filter_map(|f| f["level"].as_str());
        levels
            .max_by_key(|level| weight(level))
            .unwrap_or("none")
            .to_owned()
    };
    let steps = status["steps"].as_array().expect("steps");
    let levels = steps
        .iter()
        .map(|step| (step["id"].as_str().expect("an id").to_owned(), worst(step)));
    levels.collect()
}

/// A playbook of checks; each stands with the level that is expected of it.
struct Checks {
    head: String,
    checks: Vec<(&'static str, String)>,
}

impl Checks {
    fn new(head: &str) -> Self {
        Self {
            head: head.to_owned(),
            checks: Vec::new(),
        }
    }

    fn expect(&mut self, level: &'static str, check: impl Into<String>) -> &mut Self {
        self.checks.push((level, check.into()));
        self
    }

    /// Runs them all, in a world that `change` makes.
    #[track_caller]
    fn run(&self, change: impl FnOnce(Runbook) -> Runbook) -> Ran {
        let mut text = format!(
            "runbook: v1\nname: checks\norder: parallel\n{}steps:\n",
            self.head
        );
        for (at, (_, check)) in self.checks.iter().enumerate() {
            text.push_str(&format!("  - {{ id: c{at}, {check} }}\n"));
        }
        let runbook = Runbook::new()
            .args(["run", "--format", "json"])
            .playbook(&text);
        let ran = change(runbook).run();
        let found = levels(&ran);
        for (at, (level, check)) in self.checks.iter().enumerate() {
            assert_eq!(found[&format!("c{at}")], *level, "{check}\n{ran}");
        }
        let bad = self
            .checks
            .iter()
            .any(|(level, _)| ["critical", "unknown"].contains(level));
        ran.expect_code(i32::from(bad));
        ran
    }
}

#[test]
fn services() {
    let mut checks = Checks::new("");
    checks
        .expect("ok", "service.check: { unit: demo }")
        .expect("ok", "service.check: { unit: idle, state: inactive }")
        .expect(
            "warning",
            "service.check: { unit: flapping, max_restarts: 1 }",
        )
        .expect("critical", "service.check: { unit: idle }")
        .expect("critical", "service.check: { unit: broken }")
        .expect("critical", "service.check: { unit: missing }")
        .expect("critical", "service.check: { unit: crashloop }")
        // Debian's unit says `active (exited)`, whatever its clusters do.
        .expect("critical", "service.check: { unit: postgresql }");
    let ran = checks.run(|run| run.inside(SystemdHost::shared()));
    assert!(ran.stdout.contains("postgresql@15-main"), "{ran}");

    let mut blind = Checks::new("");
    blind.expect("unknown", "service.check: { unit: demo }");
    let hide = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs none /run && exec \"$@\"",
        "sh",
    ];
    blind.run(|run| run.under(hide));
}

#[test]
fn http() {
    let server = HttpServer::start();
    let slow = Reply::json("{}").delay(Duration::from_millis(400));
    server
        .route("/ok", Reply::json(r#"{"db": {"up": true, "replicas": 2}}"#))
        .route("/slow", slow)
        .route("/never", Reply::never())
        .route("/error", Reply::status(500))
        .route("/text", Reply::text("not JSON"))
        .route("/cut", Reply::text("0123456789").close_after(20));
    let url = |path: &str| server.url(path);
    let (ok, slow, text) = (url("/ok"), url("/slow"), url("/text"));
    let tls = |subject: &Subject| HttpServer::tls(subject);
    let good = tls(&Subject::expires_in_days(300));
    let (soon, expired) = (tls(&Subject::expires_in_days(14)), tls(&Subject::expired()));
    let other = tls(&Subject::wrong_host());
    for server in [&good, &soon, &expired, &other] {
        server.route("/", Reply::text("ok"));
    }
    let ca = Authority::shared().file();
    let with_ca = |server: &HttpServer| {
        format!(
            "http.check: {{ url: '{}', ca_file: '{}' }}",
            server.url("/"),
            ca.display()
        )
    };
    let mut checks = Checks::new("");
    checks
        .expect(
            "ok",
            format!("http.check: {{ url: '{ok}', json: {{ db.up: true, db.replicas: 2 }} }}"),
        )
        .expect(
            "warning",
            format!("http.check: {{ url: '{slow}', warn: 100ms }}"),
        )
        .expect(
            "critical",
            format!("http.check: {{ url: '{slow}', fail: 100ms }}"),
        )
        .expect(
            "critical",
            format!("http.check: {{ url: '{ok}', json: {{ db.up: false }} }}"),
        )
        .expect(
            "critical",
            format!("http.check: {{ url: '{text}', json: {{ db.up: true }} }}"),
        )
        .expect(
            "critical",
            format!("http.check: {{ url: '{text}', body_contains: something }}"),
        )
        .expect(
            "critical",
            format!("http.check: {{ url: '{}' }}", url("/error")),
        )
        .expect(
            "critical",
            format!("http.check: {{ url: '{}', timeout: 300ms }}", url("/never")),
        )
        .expect(
            "critical",
            format!("http.check: {{ url: '{}' }}", url("/cut")),
        )
        .expect(
            "critical",
            format!("http.check: {{ url: 'http://127.0.0.1:{}/' }}", free_port()),
        )
        .expect("ok", with_ca(&good))
        .expect("warning", with_ca(&soon))
        .expect("critical", with_ca(&expired))
        .expect("critical", with_ca(&other))
        // Nobody could ask: the authority to trust is not there.
        .expect(
            "unknown",
            format!(
                "http.check: {{ url: '{}', ca_file: missing.pem }}",
                good.url("/")
            ),
        );
    checks.run(|run| run);
}

#[test]
fn postgres() {
    let server = Postgres::shared();
    let stopped = Postgres::start(&Options::default());
    let there = stopped.url("postgres");
    stopped.stop();
    let head = "\
secrets: { good: { env: GOOD }, wrong: { env: WRONG }, gone: { env: GONE } }
connections:
  good: { postgres: { url: '${{ secrets.good }}' } }
  wrong: { postgres: { url: '${{ secrets.wrong }}' } }
  gone: { postgres: { url: '${{ secrets.gone }}' } }
  nowhere: { postgres: { url: 'postgres://nobody@nowhere.invalid/none' } }
";
    server.create_role("pinger", "the-right-one");
    let mut checks = Checks::new(head);
    checks
        .expect("ok", "postgres.ping: { connection: good, expect: primary }")
        .expect(
            "warning",
            "postgres.ping: { connection: good, warn: 0ms, fail: 9s }",
        )
        .expect(
            "critical",
            "postgres.ping: { connection: good, expect: standby }",
        )
        .expect("critical", "postgres.ping: { connection: gone }")
        // Who uses this login has no database.
        .expect("critical", "postgres.ping: { connection: wrong }")
        // A name that comes to nothing says nothing about the server.
        .expect("unknown", "postgres.ping: { connection: nowhere }");
    let ran = checks.run(|run| {
        run.env("GOOD", server.url("postgres"))
            .env(
                "WRONG",
                server.url_as("pinger", "the-wrong-one", "postgres"),
            )
            .env("GONE", there)
    });
    assert!(!ran.stdout.contains("the-wrong-one"), "{ran}");
}

#[test]
fn redis_servers() {
    let (server, closed) = (Redis::shared(), Redis::shared_with_password());
    let stopped = Redis::start(&redis::Options::default());
    let there = stopped.url();
    stopped.stop();
    let head = "\
secrets: { good: { env: GOOD }, wrong: { env: WRONG }, gone: { env: GONE } }
connections:
  good: { redis: { url: '${{ secrets.good }}' } }
  wrong: { redis: { url: '${{ secrets.wrong }}' } }
  gone: { redis: { url: '${{ secrets.gone }}' } }
  nowhere: { redis: { url: 'redis://nowhere.invalid' } }
";
    let mut checks = Checks::new(head);
    checks
        .expect("ok", "redis.ping: { connection: good, expect: master }")
        .expect(
            "critical",
            "redis.ping: { connection: good, expect: replica }",
        )
        .expect("critical", "redis.ping: { connection: gone }")
        .expect(
            "warning",
            "redis.ping: { connection: good, warn: 0ms, fail: 9s }",
        )
        .expect("critical", "redis.ping: { connection: wrong }")
        .expect("unknown", "redis.ping: { connection: nowhere }");
    checks.run(|run| {
        run.env("GOOD", server.url())
            .env("WRONG", closed.url_with("not-this-one"))
            .env("GONE", there)
    });
}

#[test]
fn the_host() {
    let mut checks = Checks::new("");
    checks
        .expect(
            "ok",
            "host.disk: { paths: [/], warn: 100, fail: 100, inodes_warn: 100, inodes_fail: 100 }",
        )
        .expect(
            "warning",
            "host.disk: { paths: [/], warn: 0, fail: 100, inodes_warn: 100, inodes_fail: 100 }",
        )
        .expect("critical", "host.disk: { paths: [/], warn: 0, fail: 0 }")
        .expect("unknown", "host.disk: { paths: [/no/such/mount] }")
        .expect("ok", "host.memory: { warn: 100, fail: 100 }")
        .expect("critical", "host.memory: { warn: 0, fail: 0 }")
        .expect("ok", "host.load: { warn: 10000, fail: 10000 }")
        .expect("warning", "host.load: { warn: 0, fail: 10000 }")
        .expect("critical", "host.cpu: { warn: 0, fail: 0, sample: 100ms }");
    checks.run(|run| run);

    // The processors may be busy with other tests for a while.
    let playbook = "runbook: v1\nname: cpu\nsteps:\n  - { id: cpu, host.cpu: { warn: 100, fail: 100, sample: 100ms } }\n";
    wait::until("a processor that idles", Duration::from_secs(90), || {
        let runbook = Runbook::new().args(["run", "--format", "json"]);
        let ran = runbook.playbook(playbook).run();
        let level = levels(&ran).remove("cpu").expect("the step");
        assert_eq!(level == "ok", ran.code == 0, "{ran}");
        (level == "ok").then_some(())
    });

    // Without /proc nobody can look.
    let mut blind = Checks::new("");
    blind
        .expect("unknown", "host.memory: {}")
        .expect("unknown", "host.load: {}")
        .expect("unknown", "host.cpu: { sample: 100ms }");
    let hide = [
        "unshare",
        "--mount",
        "sh",
        "-c",
        "mount -t tmpfs none /proc && exec \"$@\"",
        "sh",
    ];
    blind.run(|run| run.under(hide));
}

#[test]
fn logs() {
    let now = jiff::Timestamp::now();
    let old = now - jiff::SignedDuration::from_hours(48);
    let mut text = format!("{old} ERROR old\n{now} INFO fine\n").into_bytes();
    text.extend_from_slice(format!("{now} ERROR caf\u{e9} ").as_bytes());
    text.extend_from_slice(b"\xff\xfe not UTF-8\n");
    let mut checks = Checks::new("");
    checks
        .expect("ok", "log.scan: { path: app.log, pattern: FATAL }")
        .expect(
            "ok",
            "log.scan: { path: app.log, pattern: ERROR, within: 24h, max: 1 }",
        )
        .expect(
            "ok",
            "log.scan: { path: app.log, pattern: ERROR, max: null }",
        )
        .expect(
            "warning",
            "log.scan: { path: app.log, pattern: ERROR, warn: 1 }",
        )
        .expect(
            "critical",
            "log.scan: { path: app.log, pattern: ERROR, max: 1 }",
        )
        .expect(
            "critical",
            "log.scan: { path: app.log, pattern: ERROR, within: 24h }",
        )
        .expect("unknown", "log.scan: { path: missing.log, pattern: ERROR }")
        .expect("unknown", "log.scan: { path: secret.log, pattern: ERROR }")
        .expect(
            "unknown",
            "log.scan: { path: broken.log.gz, pattern: ERROR }",
        );
    // As a user who may read one log and not the other.
    let ran = checks.run(|checks| {
        let checks = checks
            .file("app.log", &text)
            .file("secret.log", "ERROR\n")
            .file("broken.log.gz", b"\x1f\x8b\x08\0\0\0\0\0\0\x03broken");
        let (folder, nobody) = (checks.folder().to_path_buf(), Some(65534));
        std::os::unix::fs::chown(&folder, nobody, nobody).expect("root may give it away");
        for name in ["app.log", "playbook.yaml", "broken.log.gz"] {
            std::os::unix::fs::chown(folder.join(name), nobody, nobody).expect("likewise");
        }
        let closed = std::os::unix::fs::PermissionsExt::from_mode(0o600);
        std::fs::set_permissions(folder.join("secret.log"), closed).expect("it is ours");
        checks.under([
            "setpriv",
            "--reuid=65534",
            "--regid=65534",
            "--clear-groups",
        ])
    });
    assert!(ran.stdout.contains("permission denied"), "{ran}");
}
