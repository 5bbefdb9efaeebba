//! `redis.info`: how a Redis server is doing, by its own figures.

use schemars::JsonSchema;
use serde::Deserialize;

use super::asking::{self, Asking, check_timeout, thirty_seconds};
use super::facts::{self, Outputs};
use super::judge;
use super::limits::{AtLeast, AtMost, Within, tenth};
use crate::base::Duration;
use crate::event::{EffectClass, Finding, RepeatClass};
use crate::host::Observe;
use crate::host::connect::Conn;
use crate::host::connect::redis::Redis;
use crate::host::reach::{Obstacle, ReachError};
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Info;

/// Asks a Redis server for its figures: memory, clients, hits, evictions, keys, persistence and
/// replication, as `INFO` tells them.
///
/// Without any limit it judges what is wrong in any case. Critical are: data that is still being loaded,
/// an RDB or append-only file that could not be written, and memory that is full where `maxmemory-policy`
/// is `noeviction`, so that writes are refused. A replica that does not hear of its master, and one that
/// is still being brought up, is a warning.
///
/// Limits are compared as numbers. Memory counts against `maxmemory`, or, where none is set, against the
/// machine's own memory, and the finding says which. With an eviction policy, full memory is what a cache
/// is meant to have: judge `evictions` and `hit_rate` there. The hit rate is that of all reads since the
/// server started (or `CONFIG RESETSTAT`); where there has been none, it is null and nothing is judged.
///
/// A node of a Redis Cluster tells of itself alone. A login that may not run INFO gets `unknown`.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: cache-figures
/// secrets:
///   redis_url: { env: REDIS_URL }
/// connections:
///   cache:
///     redis: { url: "${{ secrets.redis_url }}" }
/// steps:
///   - id: figures
///     redis.info:
///       connection: cache
///       memory: { warn: 80, fail: 95 }
///       hit_rate: { warn: 80, fail: 50 }
///       evictions: { warn: 1, fail: 1000 }
///       last_save: { warn: 2h, fail: 1d }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server.
    pub connection: Conn<Redis>,
    /// Limits of the memory in use, in percent of `maxmemory` or of the machine's memory.
    #[serde(default)]
    memory: AtMost,
    /// Limits of the hit rate, in percent; less is worse.
    #[serde(default)]
    hit_rate: AtLeast,
    /// Limits of the connected clients, in percent of `maxclients`.
    #[serde(default)]
    clients: AtMost,
    /// Limits of the keys that are removed to make room, per second, measured over `sample`.
    #[serde(default)]
    evictions: AtMost,
    /// For how long evictions are counted, where they have a limit.
    #[serde(default = "one_second")]
    sample: Duration,
    /// Limits of the age of the last RDB file, where anything has changed since.
    #[serde(default)]
    last_save: Within,
    /// Limits of how long ago each replica, or the replica's master, was last heard of. On a master
    /// without replicas the lag is `unknown`.
    #[serde(default)]
    replica_lag: Within,
    /// For everything: to connect, and to be answered.
    #[serde(default = "thirty_seconds")]
    timeout: Duration,
}

fn one_second() -> Duration {
    Duration::from_secs(1)
}

impl StepType for Info {
    const NAME: &'static str = "redis.info";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        check_timeout(config.timeout)?;
        config.memory.check("memory")?;
        config.hit_rate.check("hit_rate")?;
        config.clients.check("clients")?;
        config.evictions.check("evictions")?;
        config.last_save.check("last_save")?;
        config.replica_lag.check("replica_lag")?;
        if config.evictions != AtMost::default() {
            if config.sample < Duration::from_millis(100) {
                return Err(format!(
                    "`sample` ({}) is too short: 100ms at least",
                    config.sample
                ));
            }
            if config.sample >= config.timeout {
                return Err(format!(
                    "`sample` ({}) is not shorter than `timeout` ({})",
                    config.sample, config.timeout
                ));
            }
        }
        Ok(())
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        Description::line(format!("ask Redis `{connection}` for its figures"))
    }
}

impl Look for Info {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let (connection, timeout) = (&config.connection, config.timeout);
        let outputs = Outputs::default();
        asking::look(
            host,
            connection,
            timeout,
            outputs,
            async |asking, outputs| {
                *outputs = ask(&config, asking, host).await?;
                Ok(judge_all(&config, asking.session.shown(), outputs))
            },
        )
        .await
    }
}

async fn ask(config: &Config, asking: &Asking<'_>, host: &Observe) -> Result<Outputs, ReachError> {
    let Asking { session, allowance } = asking;
    let info = session.info(*allowance).await?;
    let now = match info.number::<f64>("server_time_usec") {
        Some(micros) => Some(micros / 1e6),
        None => session.now(*allowance).await.ok(),
    };
    let garbled = || {
        let action = format!("read INFO of {}", session.shown());
        ReachError::new(
            Obstacle::Garbled,
            action,
            "a figure is missing that every Redis has",
        )
    };
    let mut outputs = facts::read(&info, now).ok_or_else(garbled)?;
    if config.evictions != AtMost::default() {
        let clock = host.scope().clock();
        let began = clock.now();
        let pause = host
            .scope()
            .within(*allowance, clock.sleep(config.sample))
            .await;
        pause.map_err(|stopped| stopped.error(format!("watch {}", session.shown())))?;
        let again = facts::read(&session.info(*allowance).await?, now).ok_or_else(garbled)?;
        let seconds = clock.now().since(began).as_secs_f64();
        let counted = outputs.evicted.zip(again.evicted);
        // Less than before is no count: it was told to count anew meanwhile.
        let counted = counted.and_then(|(then, now)| now.checked_sub(then));
        outputs.evictions_per_s = counted.map(|keys| tenth(keys as f64 / seconds));
    }
    Ok(outputs)
}

fn judge_all(config: &Config, shown: &str, outputs: &Outputs) -> Vec<Finding> {
    let subject = |what: &str| format!("{} {what}", config.connection.name);
    let mut findings = Vec::new();
    if let Some(memory) = &outputs.memory {
        findings.push(judge::memory(config.memory, &subject("memory"), memory));
    }
    if config.hit_rate != AtLeast::default() {
        let subject = subject("hit rate");
        findings.push(match (outputs.hit_rate, outputs.hits, outputs.misses) {
            (Some(rate), Some(hits), Some(misses)) => {
                let reads = hits.saturating_add(misses);
                let message = format!("{rate} % of {reads} reads found their key");
                config.hit_rate.finding(&subject, rate, &message)
            }
            _ => Finding::ok(
                &subject,
                "nothing has been read yet, so there is no hit rate",
            ),
        });
    }
    if config.clients != AtMost::default()
        && let Some(clients) = &outputs.clients
    {
        let subject = subject("clients");
        findings.push(match (clients.percent, clients.max) {
            (Some(percent), Some(max)) => {
                let connected = clients.connected;
                let message = format!("{connected} of {max} clients are connected ({percent} %)");
                config.clients.finding(&subject, percent, &message)
            }
            _ => Finding::unknown(&subject, "it does not say how many clients it takes"),
        });
    }
    if config.evictions != AtMost::default() {
        let subject = subject("evictions");
        findings.push(match outputs.evictions_per_s {
            Some(rate) => {
                let message = format!("{rate} keys per second are removed to make room");
                config.evictions.finding(&subject, rate, &message)
            }
            None => Finding::unknown(
                &subject,
                "it does not say how many keys were removed, or began to count anew meanwhile",
            ),
        });
    }
    if let Some(persistence) = &outputs.persistence {
        let subject = subject("persistence");
        findings.extend(judge::persistence(config.last_save, &subject, persistence));
    }
    if let Some(replication) = &outputs.replication {
        let subject = subject("replication");
        findings.extend(judge::replication(
            config.replica_lag,
            &subject,
            replication,
        ));
    }
    let what = format!(
        "{shown} answers: Redis {}, {} keys",
        outputs.version.as_deref().unwrap_or("of unknown version"),
        outputs.keys.unwrap_or(0)
    );
    findings.insert(0, Finding::ok(&config.connection.name, what));
    findings
}

#[cfg(test)]
mod tests {
    use super::super::facts::{Memory, Outputs, Persistence, Replica, Replication};
    use super::{Config, Info, judge_all};
    use crate::event::Level;
    use crate::step::StepType as _;
    use serde_json::json;

    fn config(more: serde_json::Value) -> Config {
        let mut whole = json!({ "connection": "cache" });
        whole
            .as_object_mut()
            .unwrap()
            .extend(more.as_object().unwrap().clone());
        serde_json::from_value(whole).unwrap()
    }

    /// The worst level.
    fn worst(more: serde_json::Value, outputs: Outputs) -> Level {
        let findings = judge_all(&config(more), "h:6379", &outputs);
        findings.iter().map(|finding| finding.level).max().unwrap()
    }

    fn memory(percent: f64, max_bytes: Option<u64>, policy: &str) -> Outputs {
        Outputs {
            memory: Some(Memory {
                percent: Some(percent),
                max_bytes,
                machine_bytes: Some(1 << 30),
                policy: policy.to_owned(),
                ..Memory::default()
            }),
            ..Outputs::default()
        }
    }

    #[test]
    fn the_hit_rate_is_a_number() {
        let rate = |hits, misses| Outputs {
            hits: Some(hits),
            misses: Some(misses),
            hit_rate: super::super::limits::percent(hits, hits + misses),
            ..Outputs::default()
        };
        let limits = json!({ "hit_rate": { "warn": 80, "fail": 50 } });
        for (hits, misses, level) in [
            (9, 91, Level::Critical),
            (100, 0, Level::Ok),
            (70, 30, Level::Warning),
            (0, 0, Level::Ok),
        ] {
            assert_eq!(
                worst(limits.clone(), rate(hits, misses)),
                level,
                "{hits}/{misses}"
            );
        }
    }

    #[test]
    fn a_full_cache_is_fine_and_a_full_store_is_not() {
        let max = Some(1 << 20);
        assert_eq!(
            worst(json!({}), memory(100.0, max, "allkeys-lru")),
            Level::Ok
        );
        assert_eq!(
            worst(json!({}), memory(100.0, max, "noeviction")),
            Level::Critical
        );
        let limits = json!({ "memory": { "warn": 80, "fail": 95 } });
        assert_eq!(
            worst(limits.clone(), memory(9.0, max, "noeviction")),
            Level::Ok
        );
        assert_eq!(
            worst(limits.clone(), memory(85.0, max, "noeviction")),
            Level::Warning
        );
        let machine = judge_all(&config(limits), "h", &memory(96.0, None, "noeviction"));
        assert_eq!(machine[1].level, Level::Critical);
        assert!(
            machine[1].message.contains("maxmemory is not set"),
            "{machine:?}"
        );
    }

    #[test]
    fn evictions_that_were_not_counted_are_unknown() {
        let counted = |evictions_per_s| Outputs {
            evictions_per_s,
            ..Outputs::default()
        };
        let limits = json!({ "evictions": { "warn": 1, "fail": 100 } });
        assert_eq!(worst(limits.clone(), counted(Some(0.0))), Level::Ok);
        assert_eq!(worst(limits.clone(), counted(Some(9.5))), Level::Warning);
        assert_eq!(worst(limits, counted(None)), Level::Unknown);
        assert_eq!(worst(json!({}), counted(None)), Level::Ok);
    }

    #[test]
    fn what_is_not_on_disk_is_told() {
        let saved = |age, unsaved_changes, last_save_ok| Outputs {
            persistence: Some(Persistence {
                last_save_age_s: Some(age),
                unsaved_changes,
                last_save_ok,
                ..Persistence::default()
            }),
            ..Outputs::default()
        };
        let limits = json!({ "last_save": { "warn": "1h", "fail": "1d" } });
        assert_eq!(worst(limits.clone(), saved(99_999.0, 0, true)), Level::Ok);
        assert_eq!(
            worst(limits.clone(), saved(7200.0, 5, true)),
            Level::Warning
        );
        assert_eq!(worst(limits, saved(99_999.0, 5, true)), Level::Critical);
        assert_eq!(worst(json!({}), saved(0.0, 0, false)), Level::Critical);
    }

    #[test]
    fn a_replica_that_is_not_there_has_no_lag() {
        let with = |replicas, link_up| Outputs {
            replication: Some(Replication {
                role: if link_up == Some(false) {
                    "replica"
                } else {
                    "master"
                }
                .to_owned(),
                replicas,
                link_up,
                heard_s: Some(99),
            }),
            ..Outputs::default()
        };
        let replica = |lag_s, state: &str| Replica {
            address: "r:6379".to_owned(),
            state: state.to_owned(),
            lag_s: Some(lag_s),
            behind_bytes: Some(0),
        };
        let limits = json!({ "replica_lag": { "warn": "10s", "fail": "1m" } });
        assert_eq!(worst(limits.clone(), with(vec![], None)), Level::Unknown);
        assert_eq!(worst(json!({}), with(vec![], None)), Level::Ok);
        assert_eq!(
            worst(limits.clone(), with(vec![replica(20, "online")], None)),
            Level::Warning
        );
        assert_eq!(
            worst(limits.clone(), with(vec![replica(100, "online")], None)),
            Level::Critical
        );
        assert_eq!(
            worst(json!({}), with(vec![replica(0, "wait_bgsave")], None)),
            Level::Warning
        );
        let silent = Replica {
            lag_s: None,
            ..replica(0, "online")
        };
        assert_eq!(
            worst(limits.clone(), with(vec![silent], None)),
            Level::Unknown
        );
        assert_eq!(
            worst(limits.clone(), with(vec![], Some(false))),
            Level::Critical
        );
        assert_eq!(worst(json!({}), with(vec![], Some(false))), Level::Warning);
        // Since when its link is down is not known: it never was up.
        let mut never = with(vec![], Some(false));
        never.replication.as_mut().unwrap().heard_s = None;
        assert_eq!(worst(limits, never), Level::Unknown);
    }

    #[test]
    fn limits_must_make_sense() {
        for wrong in [
            json!({ "memory": { "warn": 90, "fail": 80 } }),
            json!({ "hit_rate": { "warn": 50, "fail": 80 } }),
            json!({ "evictions": { "warn": 1 }, "sample": "1ms" }),
            json!({ "evictions": { "warn": 1 }, "sample": "1m" }),
            json!({ "timeout": "0" }),
        ] {
            assert!(Info::check(&config(wrong.clone())).is_err(), "{wrong}");
        }
    }
}
