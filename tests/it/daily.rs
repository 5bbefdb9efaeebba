//! What we ship runs: the daily check in a healthy world and in a broken one, and every example.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::support::http::{HttpServer, Reply};
use crate::support::net::free_port;
use crate::support::postgres::{self, Postgres};
use crate::support::redis::{self, Redis};
use crate::support::run::{Ran, Runbook};
use crate::support::systemd::SystemdHost;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn shipped(folder: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(root().join(folder)).expect("a folder");
    let paths = entries.map(|entry| entry.expect("an entry").path());
    let mut paths: Vec<PathBuf> = paths
        .filter(|path| {
            let name = path.to_string_lossy();
            name.ends_with(".yaml") && !name.ends_with(".test.yaml")
        })
        .collect();
    paths.sort();
    assert!(!paths.is_empty(), "{folder} is empty");
    paths
}

/// The daily check as it is shipped, with its project file, in a folder of its own.
fn daily_check() -> Runbook {
    let read = |name: &str| std::fs::read(root().join("playbooks").join(name)).expect(name);
    Runbook::new()
        .file("daily-check.yaml", read("daily-check.yaml"))
        .file("runbook.yaml", read("runbook.yaml"))
        .args(["run", "daily-check.yaml", "--format", "json"])
}

/// The worst level that a step found, and its status.
fn outcome(ran: &Ran, id: &str) -> (String, String) {
    let status = ran.json();
    let steps = status["steps"].as_array().expect("steps");
    let step = steps.iter().find(|step| step["id"] == id).expect(id);
    let weight = |level: &str| {
        ["ok", "warning", "unknown", "critical"]
            .iter()
            .position(|l| *l == level)
    };
    let findings = step["findings"].as_array().expect("findings");
    let levels = findings
        .iter()
        .filter_map(|finding| finding["level"].as_str());
    let worst = levels.max_by_key(|level| weight(level)).unwrap_or("none");
    let status = step["status"].as_str().unwrap_or_default();
    (worst.to_owned(), status.to_owned())
}

fn report(ran: &Ran) -> String {
    let folder = std::fs::read_dir(ran.folder().join("reports")).expect("a folder of reports");
    let reports: Vec<_> = folder
        .map(|entry| entry.expect("an entry").path())
        .collect();
    assert_eq!(reports.len(), 1, "one report");
    std::fs::read_to_string(&reports[0]).expect("a report")
}

const STEPS: [&str; 8] = [
    "services", "disk", "memory", "load", "errors", "database", "cache", "api",
];

#[test]
fn the_daily_check_says_that_all_is_well() {
    let (postgres, redis, api) = (Postgres::shared(), Redis::shared(), HttpServer::start());
    api.route("/health", Reply::json(r#"{"status": "ok"}"#));
    let ran = daily_check()
        .file("app.log", "2026-01-01T00:00:00Z INFO started\n")
        .env("DATABASE_URL", postgres.url("postgres"))
        .env("REDIS_URL", redis.url())
        .args(["-p", "units=[\"demo\"]", "-p", "log_path=app.log"])
        .args(["-p", "disk_warn=99", "-p", "disk_fail=100"])
        .args(["-p", "memory_warn=98", "-p", "memory_fail=100"])
        .args(["-p", "load_warn=1000", "-p", "load_fail=2000"])
        .arg("-p")
        .arg(format!("api_url={}", api.url("/health")))
        .inside(SystemdHost::shared())
        .run();
    ran.expect_code(0);
    for step in STEPS {
        let expected = ("ok".to_owned(), "succeeded".to_owned());
        assert_eq!(outcome(&ran, step), expected, "{step}\n{ran}");
    }
    let report = report(&ran);
    assert!(report.starts_with("# daily-check: succeeded"), "{report}");
    for step in STEPS {
        assert!(
            report.contains(&format!("### `{step}`")),
            "{step}: {report}"
        );
    }
}

#[test]
fn the_daily_check_says_what_is_broken_and_what_it_could_not_look_at() {
    let (postgres, redis, api) = (Postgres::shared(), Redis::shared(), HttpServer::start());
    api.route("/health", Reply::status(500));
    let now = jiff::Timestamp::now();
    let ran = daily_check()
        .file("app.log", format!("{now} ERROR out of memory\n"))
        .env(
            "DATABASE_URL",
            postgres.url_as("nobody", "wrong-password", "postgres"),
        )
        .env("REDIS_URL", redis.url())
        .args(["-p", "units=[\"demo\", \"broken\", \"missing\"]"])
        .args(["-p", "log_path=app.log"])
        .args(["-p", "disk_warn=0.001", "-p", "disk_fail=100"])
        .args(["-p", "memory_warn=1", "-p", "memory_fail=100"])
        .arg("-p")
        .arg(format!("api_url={}", api.url("/health")))
        .inside(SystemdHost::shared())
        .run();
    // A parameter that its declaration refuses: nothing has run.
    assert!(ran.expect_code(2).stderr.contains("disk_warn"), "{ran}");

    let ran = daily_check()
        .file("app.log", format!("{now} ERROR out of memory\n"))
        .env(
            "DATABASE_URL",
            postgres.url_as("nobody", "wrong-password", "postgres"),
        )
        .env("REDIS_URL", redis.url())
        .args(["-p", "units=[\"demo\", \"broken\", \"missing\"]"])
        .args(["-p", "log_path=app.log"])
        .arg("-p")
        .arg(format!("api_url={}", api.url("/health")))
        .inside(SystemdHost::shared())
        .run();
    ran.expect_code(1);
    for step in ["services", "errors", "api"] {
        let expected = ("critical".to_owned(), "failed".to_owned());
        assert_eq!(outcome(&ran, step), expected, "{step}\n{ran}");
    }
    assert_eq!(outcome(&ran, "cache").0, "ok", "{ran}");
    // The server is there, and turns this login away: who uses it has no database.
    let expected = ("critical".to_owned(), "failed".to_owned());
    assert_eq!(outcome(&ran, "database"), expected, "{ran}");
    let report = report(&ran);
    for named in ["broken", "missing", "out of memory", "500"] {
        assert!(report.contains(named), "{named}: {report}");
    }
    assert!(!report.contains("wrong-password") && !ran.stdout.contains("wrong-password"));

    // Without a systemd nobody could look, and that is not fine.
    let ran = daily_check()
        .env("DATABASE_URL", postgres.url("postgres"))
        .env("REDIS_URL", redis.url())
        .args(["-p", "log_path=missing.log"])
        .under([
            "unshare",
            "--mount",
            "sh",
            "-c",
            "mount -t tmpfs none /run && exec \"$@\"",
            "sh",
        ])
        .run();
    ran.expect_code(1);
    for step in ["services", "errors"] {
        let expected = ("unknown".to_owned(), "failed".to_owned());
        assert_eq!(outcome(&ran, step), expected, "{step}\n{ran}");
    }
}

#[test]
fn the_daily_check_names_every_server_that_is_gone() {
    let postgres = Postgres::start(&postgres::Options::default());
    let redis = Redis::start(&redis::Options::default());
    let host = SystemdHost::shared();
    let closed_port = free_port();
    let look = || {
        let ran = daily_check()
            .file("app.log", "2026-01-01T00:00:00Z INFO started\n")
            .env("DATABASE_URL", postgres.url("postgres"))
            .env("REDIS_URL", redis.url())
            // The database's unit is active; the cluster behind it is down.
            .args(["-p", "units=[\"postgresql\"]", "-p", "log_path=app.log"])
            .args(["-p", "disk_warn=99", "-p", "disk_fail=100"])
            .args(["-p", "memory_warn=1", "-p", "memory_fail=100"])
            .args(["-p", "load_warn=1000", "-p", "load_fail=2000"])
            .arg("-p")
            .arg(format!("api_url=http://127.0.0.1:{closed_port}/health"))
            .inside(host)
            .run();
        ran.expect_code(1);
        for (step, level, status) in [
            ("services", "critical", "failed"),
            ("disk", "ok", "succeeded"),
            // A warning is told, and fails nothing.
            ("memory", "warning", "succeeded"),
            ("errors", "ok", "succeeded"),
            ("api", "critical", "failed"),
        ] {
            let expected = (level.to_owned(), status.to_owned());
            assert_eq!(outcome(&ran, step), expected, "{step}\n{ran}");
        }
        let found = (outcome(&ran, "database").0, outcome(&ran, "cache").0);
        (found, report(&ran))
    };
    let both = |level: &str| (level.to_owned(), level.to_owned());
    assert_eq!(look().0, both("ok"));
    postgres.stop();
    redis.stop();
    let (found, report) = look();
    assert_eq!(found, both("critical"));
    for gone in [postgres.port(), redis.port(), closed_port] {
        let gone = format!("127.0.0.1:{gone}");
        assert!(report.contains(&gone), "{gone}: {report}");
    }
    for step in STEPS.into_iter().chain(["postgresql@15-main"]) {
        assert!(report.contains(step), "{step}: {report}");
    }
    postgres.start_again();
    redis.start_again();
    assert_eq!(look().0, both("ok"));
}

/// The healthy world, but with a warning: the run succeeds.
#[test]
fn a_warning_fails_no_daily_check() {
    let (postgres, redis, api) = (Postgres::shared(), Redis::shared(), HttpServer::start());
    api.route("/health", Reply::json("{}"));
    let ran = daily_check()
        .file("app.log", "")
        .env("DATABASE_URL", postgres.url("postgres"))
        .env("REDIS_URL", redis.url())
        .args([
            "-p",
            "units=[\"demo\", \"starting\"]",
            "-p",
            "log_path=app.log",
        ])
        .args(["-p", "disk_warn=99", "-p", "disk_fail=100"])
        .args(["-p", "memory_warn=1", "-p", "memory_fail=100"])
        .args(["-p", "load_warn=1000", "-p", "load_fail=2000"])
        .arg("-p")
        .arg(format!("api_url={}", api.url("/health")))
        .inside(SystemdHost::shared())
        .run();
    ran.expect_code(0);
    for step in ["services", "memory"] {
        let expected = ("warning".to_owned(), "succeeded".to_owned());
        assert_eq!(outcome(&ran, step), expected, "{step}\n{ran}");
    }
    let report = report(&ran);
    assert!(report.contains("starting.service"), "{report}");
}

#[test]
fn what_is_shipped_validates_and_can_be_described() {
    for path in shipped("playbooks").into_iter().chain(shipped("examples")) {
        if path.ends_with("runbook.yaml") {
            continue;
        }
        let valid = Runbook::new().arg("validate").arg(&path).run();
        assert_eq!(valid.expect_code(0).stderr, "", "{}", path.display());
        let dry = Runbook::new().args(["run", "--dry-run"]).arg(&path).run();
        assert!(dry.expect_code(0).stdout.contains("Dry run of"), "{dry}");
        assert!(!dry.state().exists(), "{}", path.display());
    }
}

#[test]
fn every_example_runs() {
    for path in shipped("examples") {
        let text = std::fs::read(&path).expect("an example");
        let name = path.file_name().expect("a name").to_owned();
        let ran = Runbook::new()
            .file(&name, text)
            .env("API_TOKEN", "a-token-of-the-example")
            .args(["run", "--format", "json"])
            .args(
                ["-p", "disk_fail=100"]
                    .iter()
                    .filter(|_| path.ends_with("quickstart.yaml")),
            )
            .arg(&name)
            .run();
        ran.expect_code(0);
        let status: Value = ran.json();
        assert_eq!(status["run"]["status"], "succeeded", "{}", path.display());
        ran.then().args(["audit", "verify"]).run().expect_code(0);
    }
}
