//! A configuration of every step type that works against a real target, and what gives the type away
//! when it runs.

use std::sync::Once;

use crate::support::http::{HttpServer, Reply};
use crate::support::postgres::Postgres;
use crate::support::redis::Redis;
use crate::support::run::Runbook;
use crate::support::systemd::SystemdHost;

/// What a step's own work is seen by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trip {
    /// It starts a program that makes this file.
    Process(&'static str),
    /// It connects to this port of this machine.
    Connect(u16),
    /// It connects to a socket of this name.
    Socket(&'static str),
    /// It opens a file whose path ends so.
    Read(&'static str),
    /// It asks with this call.
    Call(&'static str),
    /// It has no outside: it computes, or waits.
    Nothing,
}

/// One step type's step.
#[derive(Clone, Debug)]
pub struct Step {
    /// The step's id.
    pub id: String,
    /// The type.
    pub name: &'static str,
    /// What stands below the type, and beside it.
    pub config: String,
    /// What it is seen by.
    pub trip: Trip,
}

/// What the steps need to be there.
pub struct World {
    http: HttpServer,
    postgres: &'static Postgres,
    redis: &'static Redis,
    host: &'static SystemdHost,
}

impl World {
    pub fn new() -> World {
        let http = HttpServer::start();
        http.route("/health", Reply::json(r#"{"status":"ok"}"#));
        // `postgres.slow_queries` looks into it. Made by two tests at once, one of them would fail.
        static EXTENSION: Once = Once::new();
        EXTENSION.call_once(|| {
            Postgres::shared().psql("CREATE EXTENSION IF NOT EXISTS pg_stat_statements");
        });
        World {
            http,
            postgres: Postgres::shared(),
            redis: Redis::shared(),
            host: SystemdHost::shared(),
        }
    }

    /// A step of each registered type. One that is not known here fails the test: it would be claimed
    /// to be pure without having been looked at.
    pub fn steps(&self) -> Vec<Step> {
        let step = |at: usize, name: &'static str| {
            let (config, trip) = self.target(name).unwrap_or_else(|| {
                panic!("{name} has no configuration in tests/it/pure/targets.rs: add one that works, and what it is seen by")
            });
            Step {
                id: format!("s{at}"),
                name,
                config,
                trip,
            }
        };
        let types = runbook::steps::ALL.iter().map(|ty| ty.name());
        types.enumerate().map(|(at, name)| step(at, name)).collect()
    }

    fn target(&self, name: &str) -> Option<(String, Trip)> {
        let (config, trip) = match name {
            "exec.command" => ("{ argv: [touch, by-command] }", Trip::Process("by-command")),
            "exec.pipeline" => (
                "{ stages: [{ argv: [echo, x] }, { argv: [tee, by-pipeline] }] }",
                Trip::Process("by-pipeline"),
            ),
            "exec.script" => ("{ script: touch by-script }", Trip::Process("by-script")),
            "flow.assert" => ("{ that: [1 < 2] }", Trip::Nothing),
            "flow.set" => ("{ values: { x: 1 } }", Trip::Nothing),
            "flow.wait" => ("{ for: 1ms }", Trip::Nothing),
            "host.cpu" => (
                "{ sample: 100ms }, fail_on: never",
                Trip::Read("/proc/stat"),
            ),
            "host.disk" => ("{ paths: [/], warn: 100, fail: 100 }", Trip::Call("statfs")),
            "host.load" => ("{ warn: 1000, fail: 1000 }", Trip::Read("/proc/loadavg")),
            "host.memory" => ("{ warn: 100, fail: 100 }", Trip::Read("/proc/meminfo")),
            "host.processes" => ("{ sample: 100ms }", Trip::Read("/proc/1/status")),
            "http.check" => {
                let config = format!("{{ url: '{}' }}", self.http.url("/health"));
                return Some((config, Trip::Connect(self.http.port())));
            }
            "log.scan" => ("{ path: app.log, pattern: ERROR }", Trip::Read("/app.log")),
            name if name.starts_with("postgres.") => {
                let more = postgres(name)?;
                let config = format!("{{ connection: database{more} }}");
                return Some((config, Trip::Connect(self.postgres.port())));
            }
            name if name.starts_with("redis.") => {
                let more = redis(name)?;
                let config = format!("{{ connection: cache{more} }}");
                return Some((config, Trip::Connect(self.redis.port())));
            }
            name if name.starts_with("service.") => {
                (service(name)?, Trip::Socket("system_bus_socket"))
            }
            name if name.starts_with("service.") => {
                (service(name)?, Trip::Socket("system_bus_socket"))
            }
            name if name.starts_with("service.") => {
                (service(name)?, Trip::Socket("system_bus_socket"))
            }
            _ => return None,
        };
        Some((config.to_owned(), trip))
    }

    /// A run to come of these steps, side by side, inside the host with what they need.
    pub fn runbook(&self, steps: &[Step], args: &[&str]) -> Runbook {
        Runbook::new()
            .env("DATABASE_URL", self.postgres.url("postgres"))
            .env("CACHE_URL", self.redis.url())
            .file("app.log", "all is well\n")
            .args(args)
            .playbook(&playbook(steps))
            .inside(self.host)
    }
}

/// Units that no other test changes, or that are so already.
fn service(name: &str) -> Option<&'static str> {
    Some(match name {
        "service.check" | "service.start" => "{ unit: demo }",
        "service.stop" => "{ unit: idle }",
        "service.restart" => "{ unit: restarted, stable_for: 100ms }",
        "service.reload" => "{ unit: reloaded, stable_for: 100ms }",
        _ => return None,
    })
}

/// What a type for PostgreSQL needs beside its connection.
fn postgres(name: &str) -> Option<&'static str> {
    Some(match name {
        "postgres.activity"
        | "postgres.index_bloat"
        | "postgres.invalid_indexes"
        | "postgres.locks"
        | "postgres.ping"
        | "postgres.replication"
        | "postgres.sequences"
        | "postgres.settings"
        | "postgres.slow_queries"
        | "postgres.table_sizes"
        | "postgres.wraparound" => "",
        "postgres.analyze" | "postgres.vacuum" => ", tables: [pg_catalog.pg_am]",
        "postgres.execute" => ", sql: \"COMMENT ON DATABASE postgres IS 'mine'\"",
        "postgres.query" => ", sql: SELECT 1",
        "postgres.cancel" | "postgres.terminate" => ", pids: [1]",
        "postgres.purge" => ", table: pg_catalog.pg_description, where: 'false'",
        "postgres.ready" => ", timeout: 5s",
        // It has one index, that of its large values, and nobody uses it.
        "postgres.reindex" => ", table: information_schema.sql_features",
        "postgres.unused_indexes" => ", min_age: 0s",
        _ => return None,
    })
}

/// What a type for Redis needs beside its connection.
fn redis(name: &str) -> Option<&'static str> {
    Some(match name {
        "redis.info" | "redis.ping" => "",
        "redis.delete" => ", keys: [nobody]",
        "redis.get" => ", key: nobody",
        "redis.purge" => ", pattern: 'nobody:*', without_ttl: true",
        "redis.set" => ", key: nobody, value: x, if: present",
        "redis.slowlog" => "",
        _ => return None,
    })
}

/// They do not stop each other, so that each is seen.
fn playbook(steps: &[Step]) -> String {
    let mut text = "\
runbook: v1
name: every-type
order: parallel
secrets: { database: { env: DATABASE_URL }, cache: { env: CACHE_URL } }
connections:
  database: { postgres: { url: '${{ secrets.database }}' } }
  cache: { redis: { url: '${{ secrets.cache }}' } }
steps:
"
    .to_owned();
    for Step {
        id, name, config, ..
    } in steps
    {
        text.push_str(&format!(
            "  - {{ id: {id}, on_error: continue, {name}: {config} }}\n"
        ));
    }
    text
}
