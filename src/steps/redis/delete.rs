//! `redis.delete`: removes keys, by name or by pattern.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asking::thirty_seconds;
use super::keys::{self, ASKED, Pace, ten_thousand};
use crate::base::Duration;
use crate::event::{EffectClass, RepeatClass};
use crate::host::connect::Conn;
use crate::host::connect::redis::{Redis, RedisEffect, RedisObserve};
use crate::host::reach::ReachError;
use crate::host::{Effect, Observe};
use crate::step::{Act, Description, Outcome, Partial, Preview, StepError, StepType};

/// How many keys are removed in one go.
const BATCH: usize = 500;

/// The type.
#[derive(Debug)]
pub struct Delete;

/// Removes keys of a Redis database: those named in `keys`, or those that `pattern` matches.
///
/// Keys are found by SCAN, a portion at a time, never by KEYS, which holds up everybody; and removed by
/// UNLINK, which frees their memory in the background. All of them are found before the first is removed.
/// Where there are more than `max`, none is. A pattern that matches every key (`*`, `?*`, `*:*`) is refused
/// without `all: true`.
///
/// A key that is made after the search has begun may be found or not. Nothing is removed from a replica or
/// from a node of a Redis Cluster. Where the connection is lost after a command was sent, the step fails
/// and says that keys may be gone. To run it again is right.
///
/// # Changes
///
/// The keys are gone.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: drop-rendered-pages
/// secrets:
///   redis_url: { env: REDIS_URL }
/// connections:
///   cache:
///     redis: { url: "${{ secrets.redis_url }}" }
/// steps:
///   - id: pages
///     redis.delete: { connection: cache, pattern: "page:*", max: 50000 }
///     approval:
///       when: steps.pages.preview.keys > 1000
///       message: More pages than usual
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server; the master.
    pub connection: Conn<Redis>,
    /// The keys.
    #[schemars(length(min = 1))]
    pub keys: Option<Vec<String>>,
    /// In place of `keys`: a pattern as Redis knows them, with `*`, `?`, `[abc]` and `\` before a
    /// character that means itself.
    pub pattern: Option<String>,
    /// Whether a pattern that matches every key is meant.
    #[serde(default)]
    pub all: bool,
    /// How many keys may be removed; where there are more, none is.
    #[serde(default = "ten_thousand")]
    #[schemars(range(min = 1))]
    pub max: u64,
    /// How long each answer may take.
    #[serde(default = "thirty_seconds")]
    pub timeout: Duration,
}

/// What was done.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// How many keys were found.
    pub found: u64,
    /// How many were removed by this step. The others had gone by themselves.
    pub removed: u64,
}

impl Config {
    fn what(&self) -> String {
        match &self.pattern {
            Some(pattern) => format!("match `{pattern}`"),
            None => "are named".to_owned(),
        }
    }
}

impl StepType for Delete {
    const NAME: &'static str = "redis.delete";
    const EFFECT: EffectClass = EffectClass::Destroy;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        keys::check_limits(config.max, config.timeout)?;
        match (&config.keys, &config.pattern) {
            (Some(names), None) if names.is_empty() => Err("`keys` is empty".to_owned()),
            (Some(_), None) if config.all => Err("`all` goes with `pattern`".to_owned()),
            (Some(_), None) => Ok(()),
            (None, Some(pattern)) => keys::check_pattern(pattern, config.all),
            _ => Err("say which keys: either `keys` or `pattern`".to_owned()),
        }
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        let what = match (config.text("pattern"), config.text("keys")) {
            (Some(pattern), _) => format!("the keys that match `{pattern}`"),
            (None, keys) => format!("the keys {}", keys.unwrap_or_default()),
        };
        Description::line(format!("remove {what} from Redis `{connection}`"))
    }
}

impl Act for Delete {
    async fn preview(config: Config, host: &Observe) -> Result<Preview, StepError> {
        let pace = Pace {
            scope: host.scope(),
            limit: config.timeout,
        };
        let session = host
            .redis_to_change(&config.connection, pace.next())
            .await?;
        let found = find(&session, &config, pace).await?;
        keys::not_too_many(found.len(), config.max, &config.what())?;
        if found.is_empty() {
            return Ok(Preview::NoChange);
        }
        let change = keys::removal(&session, &found, &config.what(), pace).await?;
        Ok(Preview::Change(change))
    }

    async fn run(config: Config, host: &Effect) -> Result<Outcome<Outputs>, StepError> {
        let pace = Pace {
            scope: host.scope(),
            limit: config.timeout,
        };
        let session = host.redis(&config.connection, pace.next()).await?;
        let found = find(session.looking(), &config, pace).await?;
        keys::not_too_many(found.len(), config.max, &config.what())?;
        let mut outputs = Outputs {
            found: found.len() as u64,
            removed: 0,
        };
        let found: Vec<Vec<u8>> = found.into_iter().collect();
        if let Err(error) = remove(&session, &found, pace, &mut outputs).await {
            return Err(StepError::from(error).with_outputs(&outputs));
        }
        Ok(match outputs.removed {
            0 => Outcome::unchanged(outputs),
            _ => Outcome::changed(outputs),
        })
    }
}

async fn find(
    session: &RedisObserve<'_>,
    config: &Config,
    pace: Pace<'_>,
) -> Result<BTreeSet<Vec<u8>>, ReachError> {
    if let Some(pattern) = &config.pattern {
        return keys::matching(session, pattern, config.max, pace, async |keys| Ok(keys)).await;
    }
    let named = config.keys.iter().flatten();
    let named: BTreeSet<Vec<u8>> = named.map(|key| key.clone().into_bytes()).collect();
    let named: Vec<Vec<u8>> = named.into_iter().collect();
    let mut found = BTreeSet::new();
    for batch in named.chunks(ASKED) {
        let there = session.are_there(batch, pace.next()).await?;
        let there = batch.iter().zip(there).filter(|(_, there)| *there);
        found.extend(there.map(|(key, _)| key.clone()));
    }
    Ok(found)
}

async fn remove(
    session: &RedisEffect<'_>,
    found: &[Vec<u8>],
    pace: Pace<'_>,
    outputs: &mut Outputs,
) -> Result<(), ReachError> {
    let mut done: u64 = 0;
    for batch in found.chunks(BATCH) {
        outputs.removed += session.unlink(batch, pace.next()).await?;
        done += batch.len() as u64;
        pace.scope.progress(done, Some(outputs.found), "keys");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Config, Delete};
    use crate::step::StepType as _;
    use serde_json::json;

    #[test]
    fn which_keys_must_be_said_and_everything_must_be_meant() {
        let check = |config| Delete::check(&serde_json::from_value::<Config>(config).unwrap());
        for right in [
            json!({ "connection": "c", "keys": ["*"] }),
            json!({ "connection": "c", "pattern": "page:*" }),
            json!({ "connection": "c", "pattern": "*", "all": true }),
        ] {
            assert_eq!(check(right.clone()), Ok(()), "{right}");
        }
        for wrong in [
            json!({ "connection": "c" }),
            json!({ "connection": "c", "keys": [] }),
            json!({ "connection": "c", "keys": ["a"], "pattern": "a*" }),
            json!({ "connection": "c", "keys": ["a"], "all": true }),
            json!({ "connection": "c", "pattern": "" }),
            json!({ "connection": "c", "pattern": "**" }),
            json!({ "connection": "c", "pattern": "a*", "max": 0 }),
            json!({ "connection": "c", "pattern": "a*", "timeout": "0" }),
        ] {
            assert!(check(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
