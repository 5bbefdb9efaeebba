//! `postgres.ping`: whether a database can be used, over the very connection that its users have.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::Duration;
use crate::event::{EffectClass, Finding, RepeatClass};
use crate::host::Observe;
use crate::host::connect::Conn;
use crate::host::connect::postgres::{PgObserve, Postgres};
use crate::host::net::Allowance;
use crate::host::reach::{Obstacle, ReachError};
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};
use crate::steps::latency::{self, Limits};
use crate::steps::reach;

/// The type.
#[derive(Debug)]
pub struct Ping;

/// What the server should be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Expect {
    /// It takes writes.
    Primary,
    /// It follows a primary.
    Standby,
    /// Either.
    #[default]
    Any,
}

/// Connects to a PostgreSQL database and asks it something: version, role, since when it runs.
///
/// It always opens a connection of its own and runs a real query in a READ ONLY transaction, so
/// that `ok` means: whoever uses this connection can use the database now. Whatever such a user
/// would meet is `critical`: nobody listens, no answer within `timeout`, starting up or shutting
/// down, no connection left, a certificate that is not to be trusted, a login or a database that is
/// turned away. What says nothing about the server is `unknown`: a name that does not resolve, a
/// network of this machine that does not work, an `sslrootcert` that cannot be read.
///
/// Its sessions are called `rb/<run>/<step>` in `pg_stat_activity`.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: database-health
/// secrets:
///   database_url: { env: DATABASE_URL }
/// connections:
///   main:
///     postgres: { url: "${{ secrets.database_url }}" }
/// steps:
///   - id: database
///     postgres.ping: { connection: main, expect: primary, warn: 200ms, fail: 2s }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database.
    pub connection: Conn<Postgres>,
    /// What the server should be; anything else is critical.
    #[serde(default)]
    pub expect: Expect,
    /// A longer time to connect and be answered is a warning.
    pub warn: Option<Duration>,
    /// A longer time to connect and be answered is critical.
    pub fail: Option<Duration>,
    /// For everything; to connect takes no longer than the connection's own `connect_timeout`.
    #[serde(default = "ten_seconds")]
    pub timeout: Duration,
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

/// What the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It takes writes.
    Primary,
    /// It follows a primary, or recovers.
    Standby,
}

/// What was answered. A value is null where it did not come to it.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// The server's version, such as `15.8 (Debian 15.8-0+deb12u1)`.
    pub version: Option<String>,
    /// The same as a number, such as `150008`.
    pub version_num: Option<i32>,
    /// What it is.
    pub role: Option<Role>,
    /// The database's name.
    pub database: Option<String>,
    /// The user's name.
    pub user: Option<String>,
    /// What tells this cluster and its standbys from all others; null where this login may not ask
    /// for it.
    pub system_identifier: Option<String>,
    /// Since when the server runs; RFC 3339.
    pub started_at: Option<String>,
    /// From the beginning to the answer, in milliseconds.
    pub latency_ms: Option<f64>,
    /// The part of it that it took to connect, in milliseconds.
    pub connect_ms: Option<f64>,
    /// Whether the connection is encrypted.
    pub tls: Option<bool>,
}

impl Config {
    fn limits(&self) -> Limits {
        Limits {
            warn: self.warn,
            fail: self.fail,
        }
    }
}

impl StepType for Ping {
    const NAME: &'static str = "postgres.ping";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        config.limits().check(config.timeout)
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        Description::line(format!("ask PostgreSQL `{connection}` what it is"))
    }
}

impl Look for Ping {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let subject = config.connection.name.clone();
        let clock = host.scope().clock();
        let began = clock.now();
        let allowance = host.scope().allow(config.timeout);
        let opened = host.postgres_alone(&config.connection, allowance).await?;
        let session = match opened {
            Ok(session) => session,
            Err(error) => return failed(&subject, error, Outputs::default()),
        };
        let mut outputs = Outputs {
            connect_ms: Some(latency::millis(clock.now().since(began))),
            tls: Some(session.is_encrypted()),
            ..Outputs::default()
        };
        let may_identify = match ask(&session, allowance, &mut outputs).await {
            Ok(may_identify) => may_identify,
            Err(error) => return failed(&subject, error, outputs),
        };
        let took = clock.now().since(began);
        outputs.latency_ms = Some(latency::millis(took));
        if may_identify {
            match identify(&session, allowance).await {
                Ok(identifier) => outputs.system_identifier = identifier,
                Err(error) => return failed(&subject, error, outputs),
            }
        }
        let shown = session.shown().to_owned();
        session.close().await;
        let mut findings = judge(&subject, &shown, config.expect, &outputs);
        findings.extend(config.limits().finding(&subject, took));
        Ok(Outcome::unchanged(outputs).with_findings(findings))
    }
}

fn failed(
    subject: &str,
    error: ReachError,
    outputs: Outputs,
) -> Result<Outcome<Outputs>, StepError> {
    let finding = reach::finding(subject, error)?;
    Ok(Outcome::unchanged(outputs).with_findings(vec![finding]))
}

/// Fills `outputs`; whether this login may ask for the system identifier.
async fn ask(
    session: &PgObserve<'_>,
    allowance: Allowance,
    outputs: &mut Outputs,
) -> Result<bool, ReachError> {
    let sql = "SELECT current_setting('server_version'), \
               current_setting('server_version_num')::int4, \
               pg_is_in_recovery(), \
               current_database()::text, \
               current_user::text, \
               extract(epoch FROM pg_postmaster_start_time())::float8, \
               has_function_privilege('pg_control_system()', 'execute')";
    let rows = session.rows(sql, &[], allowance).await?;
    let garbled = |cause: String| {
        let action = format!("read the answer of {}", session.shown());
        ReachError::new(Obstacle::Garbled, action, cause)
    };
    let Some(row) = rows.first() else {
        return Err(garbled("it has no row".to_owned()));
    };
    let read = || -> Result<_, tokio_postgres::Error> {
        Ok((
            (row.try_get(0)?, row.try_get(1)?, row.try_get::<_, bool>(2)?),
            (row.try_get(3)?, row.try_get(4)?),
            (row.try_get::<_, f64>(5)?, row.try_get::<_, bool>(6)?),
        ))
    };
    let ((version, number, standby), (database, user), (started, may_identify)) =
        read().map_err(|error| garbled(error.to_string()))?;
    outputs.version = Some(version);
    outputs.version_num = Some(number);
    outputs.role = Some(if standby {
        Role::Standby
    } else {
        Role::Primary
    });
    outputs.database = Some(database);
    outputs.user = Some(user);
    outputs.started_at = jiff::Timestamp::from_microsecond((started * 1e6) as i64)
        .ok()
        .map(|at| at.to_string());
    Ok(may_identify)
}

/// `system_identifier` of the cluster.
async fn identify(
    session: &PgObserve<'_>,
    allowance: Allowance,
) -> Result<Option<String>, ReachError> {
    let sql = "SELECT system_identifier::text FROM pg_control_system()";
    let rows = session.rows(sql, &[], allowance).await?;
    Ok(rows.first().and_then(|row| row.try_get(0).ok()))
}

fn judge(subject: &str, shown: &str, expect: Expect, outputs: &Outputs) -> Vec<Finding> {
    let version = outputs.version.as_deref().unwrap_or_default();
    let (role, is_expected) = match (outputs.role, expect) {
        (Some(Role::Primary), expect) => ("primary", expect != Expect::Standby),
        (Some(Role::Standby), expect) => ("standby", expect != Expect::Primary),
        (None, _) => ("of unknown role", false),
    };
    let what = format!("{shown} answers: PostgreSQL {version}, {role}");
    if is_expected {
        return vec![Finding::ok(subject, what)];
    }
    let (wanted, help) = match expect {
        Expect::Primary => (
            "a primary",
            "it follows another server, or recovers: after a fail-over, let the URL name the new \
             primary",
        ),
        _ => (
            "a standby",
            "it was promoted, or the URL names the wrong server",
        ),
    };
    vec![Finding::critical(subject, format!("{what}; {wanted} is expected")).with_help(help)]
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's own server")]
mod tests {
    use super::{Config, Expect, Outputs, Ping, Role, judge};
    use crate::event::Level;
    use crate::host::{Observe, testing};
    use crate::step::{Look as _, StepType as _};
    use serde_json::json;

    #[test]
    fn the_role_counts() {
        for (role, expect, level) in [
            (Role::Primary, Expect::Any, Level::Ok),
            (Role::Standby, Expect::Any, Level::Ok),
            (Role::Primary, Expect::Primary, Level::Ok),
            (Role::Standby, Expect::Primary, Level::Critical),
            (Role::Primary, Expect::Standby, Level::Critical),
            (Role::Standby, Expect::Standby, Level::Ok),
        ] {
            let outputs = Outputs {
                role: Some(role),
                ..Outputs::default()
            };
            let findings = judge("main", "shop at h:5432 as app", expect, &outputs);
            assert_eq!(findings[0].level, level, "{role:?} {expect:?}");
        }
    }

    async fn look(url: &str, config: serde_json::Value) -> Vec<(Level, String)> {
        let connection = ("main".to_owned(), "postgres", json!({ "url": url }));
        let test = testing::scope_with(vec![connection]);
        let config: Config = serde_json::from_value(config).unwrap();
        let outcome = Ping::look(config, &Observe::new(test.scope.clone())).await;
        let findings = outcome.unwrap().findings;
        findings.into_iter().map(|f| (f.level, f.message)).collect()
    }

    #[tokio::test]
    async fn a_server_that_accepts_and_says_nothing_ends_in_time() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("postgres://app:hunter2@127.0.0.1:{port}/shop");
        let config = json!({ "connection": "main", "timeout": "200ms" });
        let findings = look(&url, config.clone()).await;
        assert_eq!(findings[0].0, Level::Critical);
        let said = &findings[0].1;
        assert!(said.contains("no answer came in 200ms"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
        drop(listener);
        let findings = look(&url, config).await;
        assert_eq!(findings[0].0, Level::Critical);
        assert!(findings[0].1.contains("nobody listens"), "{findings:?}");
    }

    #[tokio::test]
    async fn what_is_no_postgres_is_critical() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            use std::io::Write as _;
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(b"220 mail.example.org ESMTP\r\n");
            }
        });
        let url = format!("postgres://app@127.0.0.1:{port}/shop");
        let findings = look(&url, json!({ "connection": "main", "timeout": "5s" })).await;
        assert_eq!(findings[0].0, Level::Critical, "{findings:?}");
    }

    #[tokio::test]
    async fn what_says_nothing_about_the_server_is_unknown() {
        let config = json!({ "connection": "main", "timeout": "5s" });
        let findings = look("postgres://app@nobody.invalid/shop", config.clone()).await;
        assert_eq!(findings[0].0, Level::Unknown, "{findings:?}");
        let url = "postgres://app@127.0.0.1/shop?sslmode=verify-full&sslrootcert=/nonexistent";
        let findings = look(url, config).await;
        assert_eq!(findings[0].0, Level::Unknown, "{findings:?}");
    }

    #[test]
    fn limits_must_make_sense() {
        for wrong in [
            json!({ "connection": "main", "warn": "2s", "fail": "1s" }),
            json!({ "connection": "main", "fail": "10s" }),
        ] {
            let config: Config = serde_json::from_value(wrong).unwrap();
            assert!(Ping::check(&config).is_err());
        }
    }
}
