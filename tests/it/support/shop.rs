//! A database as the seed has it, filled: pgbench's tables, and the platform's own, with everything in
//! them that weekly and monthly maintenance is for.

use std::process::Command;
use std::time::Duration;

use super::postgres::{self, Options, Postgres};
use super::process::{Output, Running};

/// How long pgbench may take, on a machine that is busy compiling.
const LIMIT: Duration = Duration::from_secs(120);

/// How many rows the tables have that maintenance is about.
pub const EXPIRED_AUDIT: u64 = 30_000;
pub const FRESH_AUDIT: u64 = 10_000;
pub const EXPIRED_SESSIONS: u64 = 5_000;
pub const LIVE_SESSIONS: u64 = 5_000;

/// The platform's tables. Nothing expires within the minutes of a test.
const TABLES: &str = r#"
CREATE EXTENSION pgstattuple;
CREATE EXTENSION pg_stat_statements;
CREATE TABLE audit_logs (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, created_at timestamptz NOT NULL, actor text, action text);
INSERT INTO audit_logs (created_at, actor, action)
  SELECT now() - interval '40 days' - n * interval '1 second', 'user ' || n % 100, repeat('x', 60)
  FROM generate_series(1, 30000) n;
INSERT INTO audit_logs (created_at, actor, action)
  SELECT now() - n * interval '1 minute', 'user ' || n % 100, repeat('y', 60)
  FROM generate_series(1, 10000) n;
CREATE TABLE user_sessions (token uuid PRIMARY KEY, expires_at timestamptz NOT NULL);
INSERT INTO user_sessions SELECT gen_random_uuid(), now() - interval '1 hour' FROM generate_series(1, 5000);
INSERT INTO user_sessions SELECT gen_random_uuid(), now() + interval '1 day' FROM generate_series(1, 5000);

-- Names that break whoever puts SQL together from text.
CREATE TABLE "UserData" ("Id" serial PRIMARY KEY, "eMail" text NOT NULL);
INSERT INTO "UserData" ("eMail") SELECT 'u' || n || '@example.org' FROM generate_series(1, 1000) n;
CREATE SCHEMA "Odd.Schema";
CREATE TABLE "Odd.Schema"."a ""b"" = c" (id int PRIMARY KEY);

-- Most of its entries point nowhere any more.
CREATE TABLE events (id int PRIMARY KEY, kind text NOT NULL) WITH (autovacuum_enabled = off);
INSERT INTO events SELECT n, md5(n::text) FROM generate_series(1, 400000) n;
CREATE INDEX "Events by Kind" ON events (kind);
DELETE FROM events WHERE id % 10 <> 0;

-- A sequence that rows were written past.
INSERT INTO "UserData" ("Id", "eMail") VALUES (5000, 'explicit@example.org');
"#;

/// What cannot be in one transaction with the rest.
const LATER: &str = "VACUUM events";

/// What an interrupted build leaves: an index that is not valid.
const BROKEN: &str = r#"
CREATE INDEX "Broken" ON audit_logs (actor);
UPDATE pg_index SET indisvalid = false WHERE indexrelid = '"Broken"'::regclass;
"#;

/// A server of its own with the database `shop`.
pub struct Shop {
    pub server: Postgres,
}

impl Shop {
    /// With pgbench's tables at this scale: 100,000 accounts each.
    #[track_caller]
    pub fn filled(scale: u32) -> Shop {
        Shop::with(scale, Options::default())
    }

    #[track_caller]
    pub fn with(scale: u32, mut options: Options) -> Shop {
        options.settings.extend([
            "shared_preload_libraries = 'pg_stat_statements'".to_owned(),
            "autovacuum = off".to_owned(),
        ]);
        let server = Postgres::start(&options);
        server.create_database("shop");
        let shop = Shop { server };
        shop.pgbench(&["-i", "-q", "-s", &scale.to_string()]);
        shop.psql(TABLES);
        shop.psql(LATER);
        shop.psql(BROKEN);
        shop
    }

    pub fn url(&self) -> String {
        self.server.url("shop")
    }

    #[track_caller]
    pub fn psql(&self, sql: &str) -> String {
        self.server.psql_in("shop", sql)
    }

    #[track_caller]
    pub fn count(&self, sql: &str) -> u64 {
        self.psql(sql).parse().expect("a number")
    }

    /// A run of pgbench to come.
    pub fn bench(&self, args: &[&str]) -> Command {
        let mut command = Command::new(postgres::bin("pgbench"));
        command.args(args).arg(self.url());
        command
    }

    #[track_caller]
    pub fn pgbench(&self, args: &[&str]) -> Output {
        let output = Running::start(self.bench(args), b"").finish(LIMIT);
        output.expect_code(0);
        output
    }
}
