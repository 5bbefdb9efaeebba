//! `redis.ping`: whether a Redis server can be used, over the very connection that its users have.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::base::Duration;
use crate::event::{EffectClass, Finding, RepeatClass};
use crate::host::Observe;
use crate::host::connect::Conn;
use crate::host::connect::redis::{Info, Redis};
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
    Master,
    /// It follows a master.
    Replica,
    /// Either.
    #[default]
    Any,
}

/// Connects to a Redis server, logs in, and asks it something: version, role, since when it runs.
///
/// It always opens a connection of its own, so that `ok` means: whoever uses this connection can use
/// the server now. Whatever such a user would meet is `critical`: nobody listens, no answer within
/// `timeout`, data that is still being loaded, a replica without its master that serves nothing, no
/// connection left, a certificate that is not to be trusted, a login that is turned away. A replica
/// that serves although its link to the master is down is a `warning`. What says nothing about the
/// server is `unknown`: a name that does not resolve, a network of this machine that does not work,
/// a `ca_file` that cannot be read, a login that may not run PING, and the role where it may not run
/// INFO.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: cache-health
/// secrets:
///   redis_url: { env: REDIS_URL }
/// connections:
///   cache:
///     redis: { url: "${{ secrets.redis_url }}" }
/// steps:
///   - id: cache
///     redis.ping: { connection: cache, expect: master, warn: 50ms, fail: 1s }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server.
    pub connection: Conn<Redis>,
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
    Master,
    /// It follows a master.
    Replica,
}

/// What was answered. A value is null where it did not come to it, or where this login may not run
/// INFO.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// The server's version, such as `7.0.15`.
    pub version: Option<String>,
    /// What it is.
    pub role: Option<Role>,
    /// Whether it is still loading its data.
    pub loading: Option<bool>,
    /// Of a replica: whether its link to the master is up.
    pub master_link_up: Option<bool>,
    /// How long it has been running, in seconds.
    pub uptime_s: Option<u64>,
    /// From the beginning to the answer to PING, in milliseconds.
    pub latency_ms: Option<f64>,
    /// The part of it that it took to connect and log in, in milliseconds.
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
    const NAME: &'static str = "redis.ping";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        config.limits().check(config.timeout)
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        Description::line(format!("ask Redis `{connection}` what it is"))
    }
}

impl Look for Ping {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let subject = config.connection.name.clone();
        let clock = host.scope().clock();
        let began = clock.now();
        let allowance = host.scope().allow(config.timeout);
        let opened = host.redis(&config.connection, allowance).await?;
        let session = match opened {
            Ok(session) => session,
            Err(error) => return failed(&subject, error, Outputs::default()),
        };
        let mut outputs = Outputs {
            connect_ms: Some(latency::millis(clock.now().since(began))),
            tls: Some(session.is_encrypted()),
            ..Outputs::default()
        };
        let answered = session.ping(allowance).await;
        let took = clock.now().since(began);
        // A server that loads its data, or a replica without its master, still tells what it is.
        let info = match &answered {
            Err(error) if error.obstacle != Obstacle::NotReady => None,
            _ => Some(session.info(allowance).await),
        };
        if let Some(Ok(info)) = &info {
            read(info, &mut outputs);
        }
        if let Err(error) = answered {
            return failed(&subject, error, outputs);
        }
        outputs.latency_ms = Some(latency::millis(took));
        let mut findings = match info {
            Some(Err(error)) if error.obstacle == Obstacle::Forbidden => {
                vec![nameless(&subject, session.shown(), config.expect, &error)]
            }
            Some(Err(error)) => return failed(&subject, error, outputs),
            _ => judge(&subject, session.shown(), config.expect, &outputs),
        };
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

fn read(info: &Info, outputs: &mut Outputs) {
    let version = info.get("valkey_version").or(info.get("redis_version"));
    outputs.version = version.map(str::to_owned);
    outputs.role = match info.get("role") {
        Some("master") => Some(Role::Master),
        Some("slave" | "replica") => Some(Role::Replica),
        _ => None,
    };
    outputs.loading = info.get("loading").map(|loading| loading != "0");
    outputs.master_link_up = info.get("master_link_status").map(|link| link == "up");
    outputs.uptime_s = info
        .get("uptime_in_seconds")
        .and_then(|seconds| seconds.parse().ok());
}

/// It answers, and this login may not ask what it is.
fn nameless(subject: &str, shown: &str, expect: Expect, error: &ReachError) -> Finding {
    let message = format!(
        "{shown} answers; what it is, it does not tell: {}",
        error.cause
    );
    match expect {
        Expect::Any => Finding::ok(subject, message),
        _ => Finding::unknown(subject, message)
            .with_help("let the login run INFO: `ACL SETUSER <user> +info`"),
    }
}

fn judge(subject: &str, shown: &str, expect: Expect, outputs: &Outputs) -> Vec<Finding> {
    let version = outputs.version.as_deref().unwrap_or("of unknown version");
    let (role, is_expected) = match (outputs.role, expect) {
        (Some(Role::Master), expect) => ("master", expect != Expect::Replica),
        (Some(Role::Replica), expect) => ("replica", expect != Expect::Master),
        // A sentinel is neither.
        (None, expect) => ("neither master nor replica", expect == Expect::Any),
    };
    let what = format!("{shown} answers: Redis {version}, {role}");
    let mut findings = Vec::new();
    if is_expected {
        findings.push(Finding::ok(subject, what));
    } else {
        let (wanted, help) = match expect {
            Expect::Master => (
                "a master",
                "after a fail-over, let the URL name the new master",
            ),
            _ => (
                "a replica",
                "it was promoted, or the URL names the wrong server",
            ),
        };
        let message = format!("{what}; {wanted} is expected");
        findings.push(Finding::critical(subject, message).with_help(help));
    }
    if outputs.master_link_up == Some(false) {
        let message = "its link to the master is down: what it serves is stale";
        let help = "look at `master_link_down_since_seconds` of `INFO replication`";
        findings.push(Finding::warning(subject, message).with_help(help));
    }
    findings
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's own server")]
mod tests {
    use std::io::{BufRead as _, BufReader, Write as _};

    use super::{Config, Expect, Outputs, Ping, Role, judge};
    use crate::event::Level;
    use crate::host::{Observe, testing};
    use crate::step::{Look as _, Outcome, StepType as _};
    use serde_json::json;

    #[test]
    fn the_role_counts() {
        for (role, expect, level) in [
            (Some(Role::Master), Expect::Any, Level::Ok),
            (Some(Role::Replica), Expect::Any, Level::Ok),
            (None, Expect::Any, Level::Ok),
            (Some(Role::Master), Expect::Master, Level::Ok),
            (Some(Role::Replica), Expect::Master, Level::Critical),
            (Some(Role::Master), Expect::Replica, Level::Critical),
            (Some(Role::Replica), Expect::Replica, Level::Ok),
            (None, Expect::Master, Level::Critical),
        ] {
            let outputs = Outputs {
                role,
                ..Outputs::default()
            };
            let findings = judge("cache", "h:6379", expect, &outputs);
            assert_eq!(findings[0].level, level, "{role:?} {expect:?}");
        }
    }

    async fn look(url: &str, config: serde_json::Value) -> Outcome<Outputs> {
        let connection = ("cache".to_owned(), "redis", json!({ "url": url }));
        let test = testing::scope_with(vec![connection]);
        let config: Config = serde_json::from_value(config).unwrap();
        let outcome = Ping::look(config, &Observe::new(test.scope.clone())).await;
        outcome.unwrap()
    }

    /// A server that gives each command the answer that stands with its name, and hangs at others.
    fn serve(answers: &[(&'static str, &'static str)]) -> String {
        let answers = answers.to_vec();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut out = stream.try_clone().unwrap();
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    let answer = answers.iter().find(|(command, _)| *command == line);
                    if let Some((_, answer)) = answer {
                        let _ = out.write_all(answer.as_bytes());
                    }
                }
            }
        });
        format!("redis://:hunter2@127.0.0.1:{port}")
    }

    fn config() -> serde_json::Value {
        json!({ "connection": "cache", "expect": "master", "timeout": "300ms" })
    }

    async fn finds(answers: &[(&'static str, &'static str)], level: Level, said: &str) {
        let outcome = look(&serve(answers), config()).await;
        let finding = &outcome.findings[0];
        assert_eq!(finding.level, level, "{finding:?}");
        assert!(finding.message.contains(said), "{}", finding.message);
        assert!(!finding.message.contains("hunter2"), "{}", finding.message);
    }

    #[tokio::test]
    async fn what_a_server_answers_has_its_level() {
        let (auth, pong) = (("AUTH", "+OK\r\n"), ("PING", "+PONG\r\n"));
        let master = ("INFO", "$11\r\nrole:master\r\n");
        finds(&[auth, pong, master], Level::Ok, "master").await;
        let replica = ("INFO", "$10\r\nrole:slave\r\n");
        finds(
            &[auth, pong, replica],
            Level::Critical,
            "a master is expected",
        )
        .await;
        let silent = ("INFO", "-NOPERM no permissions\r\n");
        finds(
            &[auth, pong, silent],
            Level::Unknown,
            "NOPERM no permissions",
        )
        .await;
        let loading = ("PING", "-LOADING Redis is loading\r\n");
        finds(&[auth, loading, master], Level::Critical, "LOADING").await;
        let orphan = ("PING", "-MASTERDOWN Link is down\r\n");
        finds(&[auth, orphan, replica], Level::Critical, "MASTERDOWN").await;
        let wrong = ("AUTH", "-WRONGPASS invalid username-password pair\r\n");
        finds(&[wrong], Level::Critical, "WRONGPASS invalid").await;
        finds(&[auth], Level::Critical, "no answer in 300ms").await;
        finds(&[], Level::Critical, "no answer came in 300ms").await;
    }

    #[tokio::test]
    async fn what_is_no_redis_is_critical() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let _ = stream.write_all(b"220 mail.example.org ESMTP\r\n");
            }
        });
        let outcome = look(&format!("redis://127.0.0.1:{port}"), config()).await;
        assert_eq!(outcome.findings[0].level, Level::Critical);
        let outcome = look("redis://nobody.invalid", config()).await;
        assert_eq!(outcome.findings[0].level, Level::Unknown);
    }

    #[test]
    fn limits_must_make_sense() {
        let wrong = json!({ "connection": "cache", "warn": "2s", "fail": "1s" });
        let config: Config = serde_json::from_value(wrong).unwrap();
        assert!(Ping::check(&config).is_err());
    }
}
