//! `redis.purge`: removes keys that nobody needs any more.

use std::collections::BTreeSet;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asking::thirty_seconds;
use super::keys::{self, Pace, ten_thousand};
use crate::base::Duration;
use crate::base::count::plural;
use crate::event::{EffectClass, Finding, RepeatClass};
use crate::host::connect::Conn;
use crate::host::connect::redis::{Fate, Info, Redis, RedisEffect, RedisObserve, Stale};
use crate::host::reach::{Obstacle, ReachError};
use crate::host::{Effect, Observe};
use crate::step::{Act, Description, Outcome, Partial, Preview, StepError, StepType};

/// How many keys are judged and removed in one go: well below a millisecond of the server's one thread.
const BATCH: usize = 200;

/// Redis keeps the time of the last use as 24 bits of seconds, which begin anew after 194 days
/// (`LRU_BITS` in `server.h`).
const LONGEST_IDLE: Duration = Duration::from_secs(190 * 86_400);

/// The type.
#[derive(Debug)]
pub struct Purge;

/// Removes the keys of a pattern that nobody has touched for `idle`, that have no time to live
/// (`without_ttl`), or both.
///
/// Keys are found by SCAN, a portion at a time, and all of them before the first is removed. Where there
/// are more than `max`, none is. Each is judged again in the very moment in which it is removed, by a
/// small script that runs on the server (EVAL): a key that was touched meanwhile, or got a time to live,
/// stays. A pattern that matches every key is refused without `all: true`.
///
/// How long nobody has touched a key is what Redis knows of it (`OBJECT IDLETIME`), to the second: reads
/// count as well as writes, but not those at a replica, which is a warning where there is one. After a
/// restart of the server the time can begin anew. With an LFU `maxmemory-policy` Redis does not know it,
/// and the step refuses. Nothing is removed from a replica or from a node of a Redis Cluster. To Redis each
/// question about a key is a read that found it: the hit rate of `redis.info` grows by it.
///
/// # Changes
///
/// The keys are gone.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: purge-sessions
/// secrets:
///   redis_url: { env: REDIS_URL }
/// connections:
///   cache:
///     redis: { url: "${{ secrets.redis_url }}" }
/// steps:
///   - id: sessions
///     redis.purge: { connection: cache, pattern: "session:*", idle: 30d, max: 100000 }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server; the master.
    pub connection: Conn<Redis>,
    /// Which keys are looked at: a pattern as Redis knows them, with `*`, `?`, `[abc]` and `\` before a
    /// character that means itself.
    pub pattern: String,
    /// Removes keys that nobody has touched for this long; 190 days at most.
    pub idle: Option<Duration>,
    /// Removes keys that have no time to live; with `idle`, only those that are idle too.
    #[serde(default)]
    pub without_ttl: bool,
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
    /// How many keys were to be removed when they were looked for.
    pub found: u64,
    /// How many were removed.
    pub removed: u64,
    /// How many were touched meanwhile, or got a time to live, and stay.
    pub spared: u64,
    /// How many had gone by themselves.
    pub gone: u64,
}

impl Config {
    fn stale(&self) -> Stale {
        Stale {
            // A part of a second more would be a second too early.
            idle_s: self.idle.map(|idle| idle.as_millis().div_ceil(1000)),
            without_ttl: self.without_ttl,
        }
    }

    fn what(&self) -> String {
        let idle = self.idle.map(|idle| format!("were not touched for {idle}"));
        let ttl = self.without_ttl.then(|| "have no time to live".to_owned());
        let rules: Vec<String> = idle.into_iter().chain(ttl).collect();
        format!("match `{}` and {}", self.pattern, rules.join(" and "))
    }
}

impl StepType for Purge {
    const NAME: &'static str = "redis.purge";
    const EFFECT: EffectClass = EffectClass::Destroy;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        keys::check_limits(config.max, config.timeout)?;
        keys::check_pattern(&config.pattern, config.all)?;
        match config.idle {
            None if !config.without_ttl => {
                Err("say which keys nobody needs: `idle`, `without_ttl: true`, or both".to_owned())
            }
            Some(idle) if idle < Duration::from_secs(1) => Err(format!(
                "`idle` ({idle}) is too short: Redis counts seconds"
            )),
            Some(idle) if idle > LONGEST_IDLE => Err(format!(
                "`idle` ({idle}) is too long: Redis counts to 194 days and begins anew"
            )),
            _ => Ok(()),
        }
    }

    fn describe(config: &Partial) -> Description {
        let text = |key| config.text(key).unwrap_or_default();
        let (connection, pattern) = (text("connection"), text("pattern"));
        let idle = config
            .text("idle")
            .map(|idle| format!(" and were not touched for {idle}"));
        let ttl = match config.value("without_ttl") {
            Some(true) => " and have no time to live",
            _ => "",
        };
        let idle = idle.unwrap_or_default();
        Description::line(format!(
            "remove the keys that match `{pattern}`{idle}{ttl} from Redis `{connection}`"
        ))
    }
}

impl Act for Purge {
    async fn preview(config: Config, host: &Observe) -> Result<Preview, StepError> {
        let pace = Pace {
            scope: host.scope(),
            limit: config.timeout,
        };
        let session = host
            .redis_to_change(&config.connection, pace.next())
            .await?;
        let found = find(&session, &config, pace).await?;
        if found.keys.is_empty() {
            return Ok(Preview::NoChange);
        }
        let mut change = keys::removal(&session, &found.keys, &config.what(), pace).await?;
        if let Some(unseen) = &found.unseen {
            change.summary.push_str(&format!("; {unseen}"));
        }
        Ok(Preview::Change(change))
    }

    async fn run(config: Config, host: &Effect) -> Result<Outcome<Outputs>, StepError> {
        let pace = Pace {
            scope: host.scope(),
            limit: config.timeout,
        };
        let session = host.redis(&config.connection, pace.next()).await?;
        let found = find(session.looking(), &config, pace).await?;
        let unseen = found.unseen.iter();
        let findings: Vec<Finding> = unseen
            .map(|unseen| Finding::warning(&config.connection.name, unseen))
            .collect();
        let mut outputs = Outputs {
            found: found.keys.len() as u64,
            ..Outputs::default()
        };
        let keys: Vec<Vec<u8>> = found.keys.into_iter().collect();
        if let Err(error) = remove(&session, &keys, config.stale(), pace, &mut outputs).await {
            let mut error = StepError::from(error).with_outputs(&outputs);
            error.findings = findings;
            return Err(error);
        }
        let outcome = match outputs.removed {
            0 => Outcome::unchanged(outputs),
            _ => Outcome::changed(outputs),
        };
        Ok(outcome.with_findings(findings))
    }
}

/// What is to be removed.
struct Found {
    keys: BTreeSet<Vec<u8>>,
    /// What Redis does not see of the use of keys.
    unseen: Option<String>,
}

async fn find(
    session: &RedisObserve<'_>,
    config: &Config,
    pace: Pace<'_>,
) -> Result<Found, StepError> {
    let idle = config.idle.is_some();
    let mut unseen = None;
    if idle {
        let info = match session.info(pace.next()).await {
            Ok(info) => info,
            // Then the first key says it.
            Err(error) if error.obstacle == Obstacle::Forbidden => Info::default(),
            Err(error) => return Err(error.into()),
        };
        if let Some(policy) = info.get("maxmemory_policy").filter(|it| it.contains("lfu")) {
            return Err(unknowable(session.shown(), policy));
        }
        let replicas: usize = info.number("connected_slaves").unwrap_or(0);
        unseen = (replicas > 0).then(|| {
            let replicas = plural(replicas, "replica");
            format!("reads at its {replicas} do not count: the master does not know of them")
        });
    }
    let stale = config.stale();
    let keep = async |keys: Vec<Vec<u8>>| {
        if keys.is_empty() {
            return Ok(keys);
        }
        let rests = session.rests(&keys, stale, pace.next()).await?;
        let fits = |rest: Option<_>| rest.is_some_and(|rest| stale.fits(rest));
        let kept = keys.into_iter().zip(rests).filter(|(_, rest)| fits(*rest));
        Ok(kept.map(|(key, _)| key).collect())
    };
    let keys = keys::matching(session, &config.pattern, config.max, pace, keep).await;
    let keys = keys.map_err(|error| match error.cause.contains("LFU") {
        true => unknowable(session.shown(), "an LFU policy"),
        false => error.into(),
    })?;
    keys::not_too_many(keys.len(), config.max, &config.what())?;
    Ok(Found { keys, unseen })
}

/// Under an LFU policy Redis counts how often a key is used in place of when.
fn unknowable(shown: &str, policy: &str) -> StepError {
    let message = format!(
        "could not find idle keys of {shown}: its `maxmemory-policy` is {policy}, with which Redis knows \
         how often a key is used, and not when it last was"
    );
    StepError::permanent(message).with_help(
        "purge by `without_ttl`, or by a pattern with redis.delete; with an LRU policy it would count anew",
    )
}

async fn remove(
    session: &RedisEffect<'_>,
    keys: &[Vec<u8>],
    stale: Stale,
    pace: Pace<'_>,
    outputs: &mut Outputs,
) -> Result<(), ReachError> {
    let mut done: u64 = 0;
    for batch in keys.chunks(BATCH) {
        for fate in session.unlink_stale(batch, stale, pace.next()).await? {
            match fate {
                Fate::Removed => outputs.removed += 1,
                Fate::Spared => outputs.spared += 1,
                Fate::Gone => outputs.gone += 1,
            }
        }
        done += batch.len() as u64;
        pace.scope.progress(done, Some(outputs.found), "keys");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{Config, Purge};
    use crate::step::StepType as _;
    use serde_json::json;

    fn config(more: serde_json::Value) -> Config {
        let mut whole = json!({ "connection": "c", "pattern": "session:*" });
        whole
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    #[test]
    fn what_nobody_needs_must_be_said() {
        let check = |more| Purge::check(&config(more));
        for right in [
            json!({ "idle": "30d" }),
            json!({ "without_ttl": true }),
            json!({ "idle": "1h", "without_ttl": true }),
            json!({ "idle": "1h", "pattern": "*", "all": true }),
        ] {
            assert_eq!(check(right.clone()), Ok(()), "{right}");
        }
        for wrong in [
            json!({}),
            json!({ "idle": "1h", "pattern": "*" }),
            json!({ "idle": "999ms" }),
            json!({ "idle": "200d" }),
            json!({ "idle": "1h", "max": 0 }),
        ] {
            assert!(check(wrong.clone()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_part_of_a_second_is_a_second() {
        let stale = config(json!({ "idle": "1s500ms" })).stale();
        assert_eq!(stale.idle_s, Some(2));
    }
}
