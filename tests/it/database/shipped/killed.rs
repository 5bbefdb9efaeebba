//! Each playbook does what it planned; and killed after any record of its journal, it is gone on with until
//! the database is as it should be.

use serde_json::{Value, json};

use super::{counts, shipped_file};
use crate::database::sql::step;
use crate::support::judge::spread;
use crate::support::postgres::Options;
use crate::support::redis::{Options as RedisOptions, Redis};
use crate::support::run::{LIMIT, Ran, Runbook};
use crate::support::session::{Busy, Session};
use crate::support::shop::Shop;
use crate::support::tracer::{Blow, Call, Trap};
use crate::support::wait;

/// After how many records each playbook is killed; after all of them in the full form.
const POINTS: usize = 5;

/// A playbook, and the trouble that it is for.
struct Case<'a, T> {
    name: &'a str,
    parameters: &'a [&'a str],
    env: Vec<(&'static str, String)>,
    /// Makes the trouble; what it gives is there until the run has ended.
    trouble: &'a dyn Fn() -> T,
    /// What a plan says, against the run that follows it.
    kept: &'a dyn Fn(&Value, &Ran),
    /// Fails where the trouble is not over.
    is_over: &'a dyn Fn(&Ran),
}

fn is_record(call: &Call) -> bool {
    call.writes() && call.path.ends_with("journal.jsonl")
}

impl<T> Case<'_, T> {
    fn with(&self, run: Runbook) -> Runbook {
        { self.env.iter() }.fold(run, |run, (name, value)| run.env(name, value))
    }

    fn run(&self, verb: &[&str]) -> Runbook {
        let run = Runbook::new()
            .file(self.name, shipped_file(self.name))
            .file("runbook.yaml", shipped_file("runbook.yaml"));
        let parameters = self.parameters.iter().flat_map(|value| ["-p", value]);
        self.with(run).args(verb).args(parameters)
    }

    fn judge(&self) {
        let records = self.is_kept();
        // Before its second record nobody knows of it, and with its last it has ended.
        for at in spread(records - 2, POINTS) {
            self.is_survived(at + 1);
        }
    }

    /// Plans and does it; how many records that made.
    fn is_kept(&self) -> usize {
        let trouble = (self.trouble)();
        let planned = self
            .run(&["plan", self.name, "-o", "plan.json", "--format", "json"])
            .run();
        planned.expect_code(0);
        let run = [
            "run",
            "--plan",
            "plan.json",
            "--wait",
            "--yes",
            "--format",
            "json",
        ];
        let (ran, trace) = self.with(planned.then()).args(run).trace(Trap {
            counts: &is_record,
            at: None,
        });
        ran.expect_code(0);
        (self.kept)(&planned.json(), &ran);
        (self.is_over)(&ran);
        drop(trouble);
        trace.calls.len()
    }

    fn is_survived(&self, at: usize) {
        let trouble = (self.trouble)();
        let (killed, trace) = self
            .run(&["run", self.name, "--wait", "--yes"])
            .trace(Trap {
                counts: &is_record,
                at: Some((at, Blow::KillAfter)),
            });
        assert!(trace.struck, "record {at}: {killed}");
        assert_eq!(trace.code, -9, "record {at}: {killed}");
        let resume = ["resume", "last", "--wait", "--yes", "--format", "json"];
        let ran = self.with(killed.then()).args(resume).run();
        assert_eq!(ran.code, 0, "{} killed after record {at}: {ran}", self.name);
        (self.is_over)(&ran);
        drop(trouble);
        ran.then().args(["audit", "verify"]).run().expect_code(0);
        let report = super::report(&ran);
        let title = format!("# {}: ", self.name.trim_end_matches(".yaml"));
        assert!(report.starts_with(&title), "{report}");
        assert!(report.contains("| --"), "{report}");
    }
}

fn env(shop: &Shop) -> Vec<(&'static str, String)> {
    vec![
        ("DATABASE_URL", shop.url()),
        ("REDIS_URL", "redis://127.0.0.1:1".to_owned()),
    ]
}

#[test]
fn the_monthly_optimization() {
    let shop = Shop::filled(1);
    Case {
        name: "monthly-db-optimization.yaml",
        parameters: &["statistics_age=0s"],
        env: env(&shop),
        trouble: &|| {
            shop.psql("UPDATE events SET kind = kind");
            shop.psql("SELECT setval('\"UserData_Id_seq\"', 1)")
        },
        kept: &|plan, ran| {
            let outputs = |id: &str| step(ran, id)["outputs"].clone();
            let sequences = counts(plan, "sequences")["sequences"].clone();
            assert_eq!(sequences, json!(1));
            assert_eq!(outputs("sequences")["repaired"], sequences);
            let tables = counts(plan, "vacuum")["tables"].clone();
            assert!(tables.as_u64() > Some(0), "{plan:#}");
            assert_eq!(outputs("vacuum")["vacuumed"], tables);
        },
        is_over: &|_| {
            assert!(shop.count("SELECT nextval('\"UserData_Id_seq\"')") > 5000);
            let dead = "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'events'";
            assert_eq!(shop.count(dead), 0);
        },
    }
    .judge();
}

/// Who has all connections: idle ones, and a forgotten transaction that somebody waits for.
struct Taken<'a> {
    shop: &'a Shop,
    idle: Vec<Session>,
    stuck: Session,
    blocked: Option<Busy>,
}

impl Taken<'_> {
    fn of(shop: &Shop) -> Taken<'_> {
        let app = shop.server.url_as("app", "x", "shop");
        let idle = (0..7).map(|_| Session::open(&app, "web")).collect();
        let stuck = Session::open(&app, "worker");
        let lock = "BEGIN; UPDATE pgbench_branches SET bbalance = 1";
        stuck.run(lock).expect("a lock");
        // Who was blocked goes on, and is busy then.
        let next = "UPDATE pgbench_branches SET bbalance = 2; SELECT pg_sleep(600)";
        let blocked = Some(Session::open(&app, "next").begin(next));
        wait::until("somebody to wait", LIMIT, || {
            let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
            (shop.count(waits) == 1).then_some(())
        });
        let refused = shop.server.try_psql(&app, "SELECT 1");
        assert!(refused.stderr.contains("connection slots"), "{refused}");
        Taken {
            shop,
            idle,
            stuck,
            blocked,
        }
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.shop
            .psql("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'app'");
        self.blocked.take().map(Busy::finish);
        assert!(self.idle.iter().all(|it| !it.is_alive()) && !self.stuck.is_alive());
        wait::until("their connections to be free", LIMIT, || {
            let left = "SELECT count(*) FROM pg_stat_activity WHERE usename = 'app'";
            (self.shop.count(left) == 0).then_some(())
        });
    }
}

#[test]
fn exhausted_connections() {
    let options = Options {
        max_connections: Some(12),
        settings: vec!["superuser_reserved_connections = 3".to_owned()],
        ..Options::default()
    };
    let shop = Shop::with(1, options);
    shop.psql("CREATE ROLE app LOGIN; GRANT SELECT, UPDATE ON ALL TABLES IN SCHEMA public TO app");
    let ended = |ran: &Ran, id: &str| step(ran, id)["outputs"]["victims"].clone();
    Case {
        name: "db-connections-exhausted.yaml",
        parameters: &["idle_for=0s", "stuck_for=0s"],
        env: vec![
            ("DATABASE_URL", shop.server.url_as("app", "x", "shop")),
            ("DATABASE_RESERVE_URL", shop.url()),
            ("REDIS_URL", "redis://127.0.0.1:1".to_owned()),
        ],
        trouble: &|| Taken::of(&shop),
        kept: &|plan, ran| {
            assert_eq!(counts(plan, "stuck")["sessions"], json!(1), "{plan:#}");
            assert_eq!(counts(plan, "idle")["sessions"], json!(7), "{plan:#}");
            assert_eq!(ended(ran, "stuck").as_array().map(Vec::len), Some(1));
            assert_eq!(ended(ran, "idle").as_array().map(Vec::len), Some(7));
        },
        is_over: &|ran| {
            let left = "SELECT string_agg(application_name, ',') FROM pg_stat_activity WHERE usename = 'app'";
            assert_eq!(shop.psql(left), "next", "{ran}");
        },
    }
    .judge();
}

#[test]
fn locks() {
    let shop = Shop::filled(1);
    let count = |plan: &Value, id: &str| counts(plan, id)["sessions"].clone();
    Case {
        name: "db-locks.yaml",
        parameters: &["stuck_for=0s"],
        env: env(&shop),
        trouble: &|| {
            shop.psql("UPDATE pgbench_branches SET bbalance = 0");
            let root = Session::open(&shop.url(), "forgotten");
            root.run("BEGIN; UPDATE pgbench_branches SET bbalance = 1")
                .expect("a lock");
            let next = Session::open(&shop.url(), "next");
            let next = next.begin("UPDATE pgbench_branches SET bbalance = 2");
            wait::until("somebody to wait", LIMIT, || {
                let waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'";
                (shop.count(waits) == 1).then_some(())
            });
            (root, next)
        },
        kept: &|plan, ran| {
            assert_eq!(count(plan, "cancel"), Value::Null, "{plan:#}");
            assert_eq!(count(plan, "terminate"), json!(1), "{plan:#}");
            let ended = step(ran, "terminate")["outputs"]["victims"].clone();
            assert_eq!(ended.as_array().map(Vec::len), Some(1), "{ran}");
        },
        is_over: &|ran| {
            let balance = shop.psql("SELECT bbalance FROM pgbench_branches");
            assert_eq!(balance, "2", "{ran}");
        },
    }
    .judge();
}

#[test]
fn a_slow_database() {
    let shop = Shop::filled(1);
    let reports = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'report' AND state = 'active'";
    Case {
        name: "db-slow.yaml",
        parameters: &["longest=0s", "application=[\"report\"]"],
        env: env(&shop),
        trouble: &|| {
            shop.psql("UPDATE events SET kind = kind");
            let slow = Session::open(&shop.url(), "report").begin("SELECT pg_sleep(600)");
            wait::until("the statement to run", LIMIT, || {
                (shop.count(reports) == 1).then_some(())
            });
            slow
        },
        kept: &|plan, ran| {
            assert_eq!(counts(plan, "cancel")["sessions"], json!(1), "{plan:#}");
            let ended = step(ran, "cancel")["outputs"]["victims"].clone();
            assert_eq!(ended.as_array().map(Vec::len), Some(1), "{ran}");
            let tables = counts(plan, "analyze")["tables"].clone();
            assert!(tables.as_u64() > Some(0), "{plan:#}");
            assert_eq!(step(ran, "analyze")["outputs"]["analyzed"], tables);
        },
        is_over: &|ran| {
            assert_eq!(shop.count(reports), 0, "{ran}");
            let changed =
                "SELECT n_mod_since_analyze FROM pg_stat_user_tables WHERE relname = 'events'";
            assert_eq!(shop.count(changed), 0, "{ran}");
        },
    }
    .judge();
}

#[test]
fn the_health_of_redis() {
    let server = Redis::start(&RedisOptions::default());
    server.cli(&["SET", "there", "1"]);
    let keys = || server.cli(&["DBSIZE"]);
    Case {
        name: "redis-health.yaml",
        parameters: &["memory_warn=99", "memory_fail=100"],
        env: vec![
            (
                "DATABASE_URL",
                "postgres://nobody@127.0.0.1/none".to_owned(),
            ),
            ("REDIS_URL", server.url()),
        ],
        trouble: &|| (),
        kept: &|plan, _| {
            let steps = plan["steps"].as_array().expect("steps");
            let changes = steps.iter().filter(|it| it["preview"]["kind"] == "change");
            assert_eq!(changes.count(), 0, "{plan:#}");
        },
        is_over: &|ran| {
            for id in ["ping", "info", "slow"] {
                assert_eq!(step(ran, id)["status"], "succeeded", "{ran}");
            }
            assert_eq!(keys(), "1");
        },
    }
    .judge();
}
