//! `postgres.ready`: waits until a server can be used, and is what it should be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::ping::{Expect, Role};
use crate::base::count::plural;
use crate::base::{Duration, EndReason};
use crate::event::{EffectClass, Finding, RepeatClass};
use crate::host::connect::Conn;
use crate::host::connect::postgres::{PgObserve, Postgres};
use crate::host::net::{Allowance, Stopped};
use crate::host::reach::{Obstacle, ReachError};
use crate::host::{HostError, Observe};
use crate::step::{Description, Look, Outcome, Partial, StepError, StepErrorKind, StepType};

/// The type.
#[derive(Debug)]
pub struct Ready;

/// Waits until a PostgreSQL server accepts connections and has the wanted role.
///
/// It connects anew each time, to whatever the URL leads to by then, and asks the server what it is. What
/// may pass is waited for: nobody listens, a name that does not resolve, no answer, starting up, no
/// connection left, another role. What does not pass by waiting fails at once: a password or a database
/// that is turned away, a certificate that is not to be trusted. When `timeout` has passed, the step has
/// timed out, and says what was missing last.
///
/// After a fail-over, `min_timeline` keeps the old primary from being taken for the new one: each
/// promotion begins a new timeline.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: wait-for-primary
/// secrets:
///   database_url: { env: DATABASE_URL }
/// connections:
///   main:
///     postgres: { url: "${{ secrets.database_url }}" }
/// steps:
///   - id: database
///     postgres.ready: { connection: main, role: primary, timeout: 2m }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database.
    pub connection: Conn<Postgres>,
    /// What the server should be.
    #[serde(default)]
    pub role: Expect,
    /// The lowest timeline that it should be on.
    #[schemars(range(min = 1))]
    pub min_timeline: Option<u32>,
    /// How long to wait.
    #[serde(default = "one_minute")]
    pub timeout: Duration,
}

fn one_minute() -> Duration {
    Duration::from_secs(60)
}

/// What the server is. A value is null where it did not come to it.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// What it is.
    pub role: Option<Role>,
    /// Its timeline; null where this login may not ask for it.
    pub timeline: Option<u32>,
    /// How long it took, in milliseconds.
    pub waited_ms: u64,
    /// How often it was tried to connect.
    pub attempts: u32,
}

/// How long one attempt may take: what hangs now may answer whoever comes next.
const ATTEMPT: Duration = Duration::from_secs(5);

/// How long to wait before the next attempt, at first and at most.
const PAUSE: Duration = Duration::from_millis(50);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

impl StepType for Ready {
    const NAME: &'static str = "postgres.ready";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        match config.timeout {
            Duration::ZERO => Err("`timeout` is zero: there would be no time to look".to_owned()),
            _ => Ok(()),
        }
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        let role = match config.text("role").as_deref() {
            None | Some("any") => String::new(),
            Some(role) => format!(" as {role}"),
        };
        Description::line(format!(
            "wait until `{connection}` accepts connections{role}"
        ))
    }
}

impl Look for Ready {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let scope = host.scope();
        let clock = scope.clock();
        let (allowance, began) = (scope.allow(config.timeout), clock.now());
        let mut outputs = Outputs::default();
        let mut pause = PAUSE;
        let mut missing: Option<ReachError> = None;
        loop {
            outputs.attempts += 1;
            let turn = allowance.at_most(scope, ATTEMPT);
            let found = attempt(&config, host, turn, &mut outputs).await?;
            outputs.waited_ms = clock.now().since(began).as_millis();
            match found {
                Ok(message) => {
                    let finding = Finding::ok(&config.connection.name, message);
                    return Ok(Outcome::unchanged(outputs).with_findings(vec![finding]));
                }
                Err(error) => match error.obstacle {
                    Obstacle::Ended(reason) => {
                        return Err(ended(&config, reason, missing.as_ref(), &outputs));
                    }
                    obstacle if !may_pass(obstacle) => {
                        return Err(StepError::from(error).with_outputs(&outputs));
                    }
                    // An attempt that had no time left says less than the one before.
                    _ if missing.is_some() && allowance.left(scope) == Duration::ZERO => {}
                    _ => missing = Some(error),
                },
            }
            let reason = match scope.within(allowance, clock.sleep(pause)).await {
                Ok(()) => None,
                Err(Stopped::Late(_)) => Some(EndReason::Timeout),
                Err(Stopped::Told(reason)) => Some(reason),
            };
            outputs.waited_ms = clock.now().since(began).as_millis();
            if let Some(reason) = reason {
                return Err(ended(&config, reason, missing.as_ref(), &outputs));
            }
            pause = Duration::from(pause.as_std() * 2).min(LONGEST_PAUSE);
        }
    }
}

/// Whether waiting helps. A URL that asks for a primary by itself rejects a standby.
fn may_pass(obstacle: Obstacle) -> bool {
    match obstacle {
        Obstacle::Unresolved
        | Obstacle::Refused
        | Obstacle::NoRoute
        | Obstacle::NoAnswer
        | Obstacle::HungUp
        | Obstacle::NotReady
        | Obstacle::Exhausted
        | Obstacle::Locked
        | Obstacle::Rejected
        | Obstacle::OurNetwork => true,
        Obstacle::Tls
        | Obstacle::Garbled
        | Obstacle::Denied
        | Obstacle::Forbidden
        | Obstacle::InDoubt
        | Obstacle::OurSide
        | Obstacle::Ended(_) => false,
    }
}

/// The time was over before the server was ready.
fn ended(
    config: &Config,
    reason: EndReason,
    missing: Option<&ReachError>,
    outputs: &Outputs,
) -> StepError {
    let kind = match reason {
        EndReason::Timeout => StepErrorKind::TimedOut,
        EndReason::Cancelled => StepErrorKind::Cancelled,
    };
    let (name, waited) = (
        &config.connection.name,
        Duration::from_millis(outputs.waited_ms),
    );
    let tried = plural(outputs.attempts as usize, "attempt");
    let last = missing.map_or_else(String::new, |error| format!("; at last: {error}"));
    let message = format!("`{name}` was not ready after {waited} and {tried}{last}");
    StepError {
        help: missing.and_then(|error| error.help.clone()),
        ..StepError::new(kind, message).with_outputs(outputs)
    }
}

#[derive(Deserialize)]
struct Is {
    standby: bool,
    timeline: Option<u32>,
}

// A primary writes its WAL on its timeline; what the control file says is as old as its last checkpoint.
// PostgreSQL's manual, "Backup Control Functions": the name of a WAL file begins with it.
const ROLE: &str = "SELECT standby, CASE WHEN NOT standby THEN \
     ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int8 END AS timeline \
     FROM (SELECT pg_is_in_recovery() AS standby) AS role";

#[derive(Deserialize)]
struct Follows {
    timeline: Option<u32>,
}

// A standby is on the timeline that it receives, or that it had come to.
const FOLLOWS: &str = "SELECT greatest((SELECT received_tli FROM pg_stat_wal_receiver), \
     (SELECT min_recovery_end_timeline FROM pg_control_recovery()), \
     (SELECT timeline_id FROM pg_control_checkpoint())) AS timeline";

/// Connects once, and asks: what the server is, for people; or what is missing.
async fn attempt(
    config: &Config,
    host: &Observe,
    allowance: Allowance,
    outputs: &mut Outputs,
) -> Result<Result<String, ReachError>, HostError> {
    let session = match host.postgres_alone(&config.connection, allowance).await? {
        Ok(session) => session,
        Err(error) => return Ok(Err(error)),
    };
    let found = ask(config, &session, allowance, outputs).await;
    session.close().await;
    Ok(found)
}

async fn ask(
    config: &Config,
    session: &PgObserve<'_>,
    allowance: Allowance,
    outputs: &mut Outputs,
) -> Result<String, ReachError> {
    let is: Is = session.record(ROLE, &[], allowance).await?;
    outputs.role = Some(if is.standby {
        Role::Standby
    } else {
        Role::Primary
    });
    outputs.timeline = match is.timeline {
        None => match session.record::<Follows>(FOLLOWS, &[], allowance).await {
            Ok(follows) => follows.timeline,
            Err(error)
                if error.obstacle == Obstacle::Forbidden && config.min_timeline.is_none() =>
            {
                None
            }
            Err(error) => return Err(error),
        },
        known => known,
    };
    judge(config, session.shown(), outputs)
}

/// What the server is, for people; else what is missing.
fn judge(config: &Config, shown: &str, found: &Outputs) -> Result<String, ReachError> {
    let (is, wanted) = match (found.role, config.role) {
        (Some(Role::Standby), Expect::Primary) => ("a standby", Some("a primary")),
        (Some(Role::Primary), Expect::Standby) => ("a primary", Some("a standby")),
        (Some(Role::Standby), _) => ("a standby", None),
        (Some(Role::Primary), _) => ("a primary", None),
        (None, _) => ("of unknown role", Some("known")),
    };
    let not_yet = |cause| ReachError::new(Obstacle::NotReady, format!("use {shown}"), cause);
    if let Some(wanted) = wanted {
        return Err(not_yet(format!("it is {is}, and not yet {wanted}")));
    }
    let timeline = found.timeline.unwrap_or(0);
    match config.min_timeline {
        Some(least) if timeline < least => Err(not_yet(format!(
            "it is on timeline {timeline}, and {least} or a later one is wanted"
        ))),
        _ if timeline > 0 => Ok(format!("{shown} is ready: {is}, timeline {timeline}")),
        _ => Ok(format!("{shown} is ready: {is}")),
    }
}

#[cfg(test)]
#[expect(clippy::disallowed_methods, reason = "a test's own server")]
mod tests {
    use super::{Config, Outputs, Ready, Role, judge};
    use crate::host::{Observe, testing};
    use crate::step::{Look as _, StepError, StepErrorKind};
    use serde_json::{Value, json};

    #[test]
    fn role_and_timeline_count() {
        let ready = |config: Value, role, timeline| {
            let config: Config = serde_json::from_value(config).unwrap();
            let found = Outputs {
                role: Some(role),
                timeline,
                ..Outputs::default()
            };
            judge(&config, "shop", &found).map_err(|error| error.cause)
        };
        let any = json!({ "connection": "main" });
        assert!(ready(any.clone(), Role::Primary, None).is_ok());
        assert!(ready(any, Role::Standby, Some(1)).is_ok());
        let primary = json!({ "connection": "main", "role": "primary", "min_timeline": 2 });
        assert!(ready(primary.clone(), Role::Primary, Some(2)).is_ok());
        let old = ready(primary.clone(), Role::Primary, Some(1)).unwrap_err();
        assert!(old.contains("timeline 1"), "{old}");
        assert!(
            ready(primary, Role::Standby, Some(2))
                .unwrap_err()
                .contains("not yet a primary")
        );
    }

    async fn wait(url: &str, timeout: &str) -> StepError {
        let connection = ("main".to_owned(), "postgres", json!({ "url": url }));
        let test = testing::scope_with(vec![connection]);
        let config = json!({ "connection": "main", "timeout": timeout });
        let config: Config = serde_json::from_value(config).unwrap();
        let outcome = Ready::look(config, &Observe::new(test.scope.clone())).await;
        outcome.unwrap_err()
    }

    #[tokio::test]
    async fn nobody_is_waited_for_until_the_time_is_over() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let url = format!("postgres://app:hunter2@127.0.0.1:{port}/shop");
        let silent = wait(&url, "300ms").await;
        assert_eq!(silent.kind, StepErrorKind::TimedOut);
        assert!(silent.message.contains("no answer"), "{silent}");
        drop(listener);
        let gone = wait(&url, "300ms").await;
        assert_eq!(gone.kind, StepErrorKind::TimedOut);
        assert!(gone.message.contains("nobody listens"), "{gone}");
        assert!(!gone.message.contains("hunter2"), "{gone}");
        assert!(gone.outputs.unwrap()["attempts"].as_u64().unwrap() > 1);
    }

    #[tokio::test]
    async fn what_waiting_does_not_mend_fails_at_once() {
        let url = "postgres://app@127.0.0.1/shop?sslmode=verify-full&sslrootcert=/nonexistent";
        assert_eq!(wait(url, "1h").await.kind, StepErrorKind::Permanent);
    }
}
