//! `redis.set`: a value that a key shall have.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::asking::{check_timeout, thirty_seconds};
use super::keys::{Pace, shown};
use crate::base::Duration;
use crate::base::field::SecretText;
use crate::event::{EffectClass, RepeatClass};
use crate::host::connect::Conn;
use crate::host::connect::redis::{Life, Redis, RedisObserve, WriteIf};
use crate::host::reach::ReachError;
use crate::host::{Effect, Observe, Scope};
use crate::step::{Act, Change, Description, Outcome, Partial, Preview, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Set;

/// When the value is written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum When {
    /// Only where there is no such key.
    Absent,
    /// Only where there is.
    Present,
    /// Either way.
    #[default]
    Always,
}

/// Gives a key of a Redis database a text as its value.
///
/// Where it has that value already, and the time to live that is asked for (to the second), or none where
/// none is, nothing is written. A key that holds a hash, a list or anything else but a string is never
/// overwritten. Nothing is written to a replica or to a node of a Redis Cluster.
///
/// Where the connection is lost after the command was sent, the step fails and says that it may have
/// happened. To run it again is right.
///
/// # Changes
///
/// The key: its value, and its time to live.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: maintenance-on
/// secrets:
///   redis_url: { env: REDIS_URL }
/// connections:
///   cache:
///     redis: { url: "${{ secrets.redis_url }}" }
/// steps:
///   - id: mode
///     redis.set: { connection: cache, key: maintenance, value: "on", ttl: 2h }
///     undo: { redis.delete: { connection: cache, keys: [maintenance] } }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server; the master.
    pub connection: Conn<Redis>,
    /// The key.
    pub key: String,
    /// The value. A secret may flow in here.
    pub value: SecretText,
    /// For how long the key lives from then on; without end by default.
    pub ttl: Option<Duration>,
    /// When it is written.
    #[serde(default, rename = "if")]
    pub when: When,
    /// How long each answer may take.
    #[serde(default = "thirty_seconds")]
    pub timeout: Duration,
}

/// What was done.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// Whether the key has the value now.
    pub set: bool,
    /// Whether it was written: false where the key had the value already, or `if` kept it from being
    /// written.
    pub written: bool,
    /// Whether there was such a key before.
    pub existed: bool,
}

impl StepType for Set {
    const NAME: &'static str = "redis.set";
    const EFFECT: EffectClass = EffectClass::Change;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        check_timeout(config.timeout)?;
        match config.ttl == Some(Duration::ZERO) {
            true => Err("`ttl` is zero: use redis.delete to remove a key".to_owned()),
            false => Ok(()),
        }
    }

    fn describe(config: &Partial) -> Description {
        let text = |key| config.text(key).unwrap_or_default();
        let (key, connection) = (text("key"), text("connection"));
        let when = match config.text("if").as_deref() {
            Some("absent") => ", unless it is there",
            Some("present") => ", if it is there",
            _ => "",
        };
        let ttl = config.text("ttl").map(|ttl| format!(" for {ttl}"));
        let ttl = ttl.unwrap_or_default();
        Description::line(format!("set `{key}` of Redis `{connection}`{ttl}{when}"))
    }
}

impl Act for Set {
    async fn preview(config: Config, host: &Observe) -> Result<Preview, StepError> {
        let pace = Pace {
            scope: host.scope(),
            limit: config.timeout,
        };
        let session = host
            .redis_to_change(&config.connection, pace.next())
            .await?;
        let found = find(&session, &config, pace).await?;
        if !wanted(&config, &found, session.shown())? {
            return Ok(Preview::NoChange);
        }
        let key = shown(config.key.as_bytes());
        let verb = if found.is_there() { "change" } else { "set" };
        let ttl = config.ttl.map(|ttl| format!(", to live for {ttl}"));
        let summary = format!(
            "{verb} `{key}` of {}{}",
            session.shown(),
            ttl.unwrap_or_default()
        );
        let counts = Map::from_iter([("keys".to_owned(), json!(1))]);
        Ok(Preview::Change(Change {
            summary,
            counts,
            diff: diff(&config, &found, host.scope()),
            ..Change::default()
        }))
    }

    async fn run(config: Config, host: &Effect) -> Result<Outcome<Outputs>, StepError> {
        let pace = Pace {
            scope: host.scope(),
            limit: config.timeout,
        };
        let session = host.redis(&config.connection, pace.next()).await?;
        let found = find(session.looking(), &config, pace).await?;
        let existed = found.is_there();
        if !wanted(&config, &found, session.shown())? {
            return Ok(Outcome::unchanged(Outputs {
                set: found.same,
                written: false,
                existed,
            }));
        }
        let when = match config.when {
            When::Absent => WriteIf::Absent,
            When::Present => WriteIf::Present,
            When::Always => WriteIf::Always,
        };
        let value = config.value.expose();
        let written = session
            .set(&config.key, value, config.ttl, when, pace.next())
            .await?;
        let outputs = Outputs {
            set: written,
            written,
            existed,
        };
        Ok(match written {
            true => Outcome::changed(outputs),
            // Somebody was faster.
            false => Outcome::unchanged(outputs),
        })
    }
}

/// What the key is now.
struct Found {
    kind: String,
    life: Life,
    /// Whether it has the value already.
    same: bool,
    /// The beginning of what it has.
    value: Vec<u8>,
    /// Whether that is all of it.
    whole: bool,
}

impl Found {
    fn is_there(&self) -> bool {
        self.kind != "none"
    }
}

/// How much of another value is looked at, to show it.
const SHOWN_BYTES: u64 = 4096;

async fn find(
    session: &RedisObserve<'_>,
    config: &Config,
    pace: Pace<'_>,
) -> Result<Found, ReachError> {
    let key = config.key.as_str();
    let kind = session.kind(key, pace.next()).await?;
    let mut found = Found {
        life: session.life(key, pace.next()).await?,
        kind,
        same: false,
        value: Vec::new(),
        whole: true,
    };
    if found.kind == "string" {
        let length = session
            .length(key, "string", pace.next())
            .await?
            .unwrap_or(0);
        let value = config.value.expose().as_bytes();
        let equal_long = length == value.len() as u64;
        let read = if equal_long {
            length
        } else {
            length.min(SHOWN_BYTES)
        };
        found.value = session.text(key, read, pace.next()).await?;
        found.same = equal_long && found.value == value;
        found.whole = found.value.len() as u64 >= length;
    }
    Ok(found)
}

/// Whether it is to be written.
fn wanted(config: &Config, found: &Found, shown_server: &str) -> Result<bool, StepError> {
    if !found.is_there() {
        return Ok(config.when != When::Present);
    }
    if config.when == When::Absent {
        return Ok(false);
    }
    if found.kind != "string" {
        let key = shown(config.key.as_bytes());
        let message = format!(
            "could not set `{key}` of {shown_server}: it holds a {}, which would be lost",
            found.kind
        );
        return Err(StepError::permanent(message)
            .with_help("remove it first (redis.delete) where that is meant"));
    }
    Ok(!found.same || !lives_as_asked(config.ttl, found.life))
}

/// To the second: time goes by between two looks.
fn lives_as_asked(ttl: Option<Duration>, life: Life) -> bool {
    match (ttl, life) {
        (None, Life::Unlimited) => true,
        (Some(ttl), Life::Millis(left)) => ttl.as_millis().abs_diff(left) < 1000,
        _ => false,
    }
}

/// What was and what would be; nothing where a secret is in play, for what was may be an older one.
fn diff(config: &Config, found: &Found, scope: &Scope) -> Option<String> {
    let redactor = &scope.shared.redactor;
    let value = config.value.expose();
    if redactor.finds(value) || redactor.finds(&String::from_utf8_lossy(&found.value)) {
        return None;
    }
    let line = |sign: char, bytes: &[u8], whole: bool| {
        let text = shown(bytes);
        let cut: String = text.chars().take(200).collect();
        let more = if whole && cut.len() == text.len() {
            ""
        } else {
            "…"
        };
        format!("{sign} {cut}{more}\n")
    };
    let mut text = String::new();
    if found.is_there() {
        // Of what is cut off, the redactor says how much can be shown without half a secret.
        let end = if found.whole {
            found.value.len()
        } else {
            redactor.whole(&found.value)
        };
        text.push_str(&line('-', &found.value[..end], found.whole));
    }
    text.push_str(&line('+', value.as_bytes(), true));
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::{Config, Found, lives_as_asked, wanted};
    use crate::base::Duration;
    use crate::host::connect::redis::Life;
    use serde_json::json;

    fn found(kind: &str, same: bool, life: Life) -> Found {
        Found {
            kind: kind.to_owned(),
            life,
            same,
            value: Vec::new(),
            whole: true,
        }
    }

    #[test]
    fn what_is_as_wanted_is_not_written() {
        let config = |when: &str| {
            let config = json!({ "connection": "c", "key": "k", "value": "v", "if": when });
            serde_json::from_value::<Config>(config).unwrap()
        };
        let none = || found("none", false, Life::Gone);
        let other = || found("string", false, Life::Unlimited);
        let same = || found("string", true, Life::Unlimited);
        let mortal = || found("string", true, Life::Millis(5000));
        for (when, found, written) in [
            ("always", none(), true),
            ("always", other(), true),
            ("always", same(), false),
            ("always", mortal(), true),
            ("absent", none(), true),
            ("absent", other(), false),
            ("present", none(), false),
            ("present", other(), true),
            ("present", same(), false),
        ] {
            let wants = wanted(&config(when), &found, "h").unwrap();
            assert_eq!(wants, written, "{when} {}", found.kind);
        }
        let hash = found("hash", false, Life::Unlimited);
        assert!(wanted(&config("always"), &hash, "h").is_err());
        assert!(!wanted(&config("absent"), &hash, "h").unwrap());
    }

    #[test]
    fn a_time_to_live_is_the_same_to_the_second() {
        let minute = Some(Duration::from_secs(60));
        assert!(lives_as_asked(minute, Life::Millis(59_500)));
        assert!(!lives_as_asked(minute, Life::Millis(58_500)));
        assert!(!lives_as_asked(minute, Life::Millis(90_000)));
        assert!(!lives_as_asked(minute, Life::Unlimited));
        assert!(!lives_as_asked(None, Life::Millis(1)));
    }
}
