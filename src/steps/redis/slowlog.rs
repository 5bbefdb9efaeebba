//! `redis.slowlog`: the commands that held up a Redis server.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asking::{self, Asking, check_timeout, thirty_seconds};
use super::keys::shown;
use crate::base::Duration;
use crate::base::count::plural;
use crate::event::{EffectClass, Finding, Level, RepeatClass};
use crate::host::Observe;
use crate::host::connect::Conn;
use crate::host::connect::redis::{Redis, SlowCommand};
use crate::host::reach::{Obstacle, ReachError};
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Slowlog;

/// Looks at the commands that took long, as the server's own slow log keeps them.
///
/// Redis runs one command at a time, so that a long one holds up everybody. The log is kept in memory: it
/// is empty after a restart, and holds the last `slowlog-max-len` commands that took longer than
/// `slowlog-log-slower-than`. Where that keeps none, or none as short as `warn` or `fail` ask for, an
/// empty log says nothing: `unknown`. So is a login that may not run SLOWLOG, and an empty log where it
/// may not ask (CONFIG GET) what is kept.
///
/// Commands are told with their arguments, as far as the server keeps them: they can hold values.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: cache-slow-commands
/// secrets:
///   redis_url: { env: REDIS_URL }
/// connections:
///   cache:
///     redis: { url: "${{ secrets.redis_url }}" }
/// steps:
///   - id: slow
///     redis.slowlog: { connection: cache, within: 1d, warn: 50ms, fail: 1s }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server.
    pub connection: Conn<Redis>,
    /// How many commands are looked at, the newest first.
    #[serde(default = "hundred")]
    #[schemars(range(min = 1, max = 10_000))]
    pub limit: u32,
    /// Only commands that ran so long ago at most, by the server's clock; all by default.
    pub within: Option<Duration>,
    /// A command that took longer is a warning.
    pub warn: Option<Duration>,
    /// A command that took longer is critical.
    pub fail: Option<Duration>,
    /// For everything: to connect, and to be answered.
    #[serde(default = "thirty_seconds")]
    pub timeout: Duration,
}

fn hundred() -> u32 {
    100
}

/// What the log holds.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// The commands, the newest first.
    pub commands: Vec<Command>,
    /// How long the longest took, in milliseconds; null where there is none.
    pub longest_ms: Option<f64>,
    /// Commands that take longer are logged, in milliseconds; null where none is, or where this login
    /// may not ask.
    pub threshold_ms: Option<f64>,
    /// Whether there can be no more such commands: false where older ones have been left out, by `limit`
    /// or by the server.
    pub complete: bool,
}

/// A command that took long.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Command {
    /// Its number in the log; the server counts from its start.
    pub id: u64,
    /// When it ran, by the server's clock: `2026-03-02T06:00:00Z`.
    pub at: String,
    /// How long it ran, in milliseconds.
    pub duration_ms: f64,
    /// The command with its arguments, up to 200 characters.
    pub command: String,
    /// Who sent it: address and port.
    pub client: String,
    /// What that one calls itself; empty where it does not.
    pub name: String,
}

impl StepType for Slowlog {
    const NAME: &'static str = "redis.slowlog";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        check_timeout(config.timeout)?;
        if config.limit == 0 {
            return Err("`limit` is 0: there would be nothing to look at".to_owned());
        }
        match (config.warn, config.fail) {
            (Some(warn), Some(fail)) if warn > fail => {
                Err(format!("`warn` ({warn}) is more than `fail` ({fail})"))
            }
            _ => Ok(()),
        }
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        Description::line(format!("read the slow log of Redis `{connection}`"))
    }
}

impl Look for Slowlog {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let (connection, timeout) = (&config.connection, config.timeout);
        let outputs = Outputs::default();
        asking::look(
            host,
            connection,
            timeout,
            outputs,
            async |asking, outputs| {
                let log = ask(&config, asking).await?;
                *outputs = read(&config, &log);
                Ok(judge(&config, &log.kept, outputs))
            },
        )
        .await
    }
}

/// What the server keeps.
#[derive(Debug, PartialEq)]
enum Kept {
    /// Nothing.
    Nothing,
    /// So many commands that took longer than so many microseconds.
    Longer { micros: u64, most: usize },
    /// This login may not ask.
    Hidden,
}

struct Log {
    commands: Vec<SlowCommand>,
    kept: Kept,
    now: f64,
}

async fn ask(config: &Config, asking: &Asking<'_>) -> Result<Log, ReachError> {
    let Asking { session, allowance } = asking;
    let setting = async |name| session.setting(name, *allowance).await;
    let kept = match (
        setting("slowlog-log-slower-than").await,
        setting("slowlog-max-len").await,
    ) {
        (Ok(Some(longer)), Ok(Some(most))) => match (longer.parse(), most.parse()) {
            // -1 is never.
            (Err(_), _) | (_, Ok(0)) => Kept::Nothing,
            (Ok(micros), most) => Kept::Longer {
                micros,
                most: most.unwrap_or(usize::MAX),
            },
        },
        // Forbidden by the ACL, or taken away with `rename-command` as managed servers do.
        (Err(error), _) | (_, Err(error))
            if !matches!(error.obstacle, Obstacle::Forbidden | Obstacle::Rejected) =>
        {
            return Err(error);
        }
        _ => Kept::Hidden,
    };
    Ok(Log {
        commands: session.slow_commands(config.limit, *allowance).await?,
        kept,
        now: session.now(*allowance).await?,
    })
}

fn read(config: &Config, log: &Log) -> Outputs {
    let since = config.within.map(|within| log.now - within.as_secs_f64());
    let recent = |command: &&SlowCommand| since.is_none_or(|since| command.at as f64 >= since);
    let commands: Vec<Command> = log.commands.iter().filter(recent).map(told).collect();
    let most = match log.kept {
        Kept::Longer { most, .. } => most.min(config.limit as usize),
        _ => config.limit as usize,
    };
    let longest = commands.iter().map(|command| command.duration_ms);
    Outputs {
        longest_ms: longest.reduce(f64::max),
        threshold_ms: match log.kept {
            Kept::Longer { micros, .. } => Some(millis(micros)),
            _ => None,
        },
        complete: commands.len() < log.commands.len() || log.commands.len() < most,
        commands,
    }
}

fn told(command: &SlowCommand) -> Command {
    let words: Vec<String> = command.words.iter().map(|word| shown(word)).collect();
    let mut text = words.join(" ");
    if text.chars().count() > 200 {
        text = text.chars().take(199).chain(['…']).collect();
    }
    let at = jiff::Timestamp::from_second(command.at);
    Command {
        id: command.id,
        at: at.map(|at| at.to_string()).unwrap_or_default(),
        duration_ms: millis(command.micros),
        command: text,
        client: command.client.clone(),
        name: command.name.clone(),
    }
}

fn millis(micros: u64) -> f64 {
    micros as f64 / 1000.0
}

fn judge(config: &Config, kept: &Kept, outputs: &Outputs) -> Vec<Finding> {
    let subject = &config.connection.name;
    let mut findings = vec![judge_commands(config, subject, outputs)];
    let least = config.warn.or(config.fail);
    match kept {
        Kept::Nothing => {
            let message = "it keeps no slow log, so that nothing is known of slow commands";
            let help = "`CONFIG SET slowlog-log-slower-than 10000` keeps those of more than 10 ms";
            // What is left of an earlier time counts all the same.
            findings.retain(|finding| finding.level > Level::Ok);
            findings.push(Finding::unknown(subject, message).with_help(help));
        }
        Kept::Longer { micros, .. } => {
            if let Some(least) = least.filter(|least| least.as_secs_f64() * 1e6 < *micros as f64) {
                let message = format!(
                    "it logs commands of more than {} ms, so that shorter ones are not known that took \
                     longer than {least}",
                    millis(*micros)
                );
                let help = format!(
                    "`CONFIG SET slowlog-log-slower-than {}`",
                    least.as_millis() * 1000
                );
                findings.push(Finding::unknown(subject, message).with_help(help));
            }
        }
        Kept::Hidden if outputs.commands.is_empty() => {
            let message = "its slow log is empty, and this login may not ask whether it keeps one";
            let help = "let the login run CONFIG GET: `ACL SETUSER <user> +config|get`";
            findings = vec![Finding::unknown(subject, message).with_help(help)];
        }
        Kept::Hidden => {}
    }
    findings
}

fn judge_commands(config: &Config, subject: &str, outputs: &Outputs) -> Finding {
    let within = config
        .within
        .map(|within| format!(" within {within}"))
        .unwrap_or_default();
    let longer = |limit: Duration| {
        let exceeds = |command: &&Command| command.duration_ms > limit.as_secs_f64() * 1000.0;
        outputs.commands.iter().filter(exceeds).count()
    };
    let limits = [
        (Level::Critical, config.fail),
        (Level::Warning, config.warn),
    ];
    let exceeded = limits.into_iter().find_map(|(level, limit)| {
        let limit = limit?;
        let found = longer(limit);
        (found > 0).then_some((level, limit, found))
    });
    let longest = outputs.commands.iter().reduce(|longest, command| {
        match command.duration_ms > longest.duration_ms {
            true => command,
            false => longest,
        }
    });
    match (exceeded, longest) {
        (Some((level, limit, found)), Some(longest)) => {
            let message = format!(
                "{} took longer than {limit}{within}; the longest {} ms at {}: {}",
                plural(found, "command"),
                longest.duration_ms,
                longest.at,
                longest.command
            );
            Finding::new(level, subject, message)
        }
        (_, Some(longest)) => {
            let count = plural(outputs.commands.len(), "command");
            let all = match outputs.complete {
                true => "",
                false => ", without older ones",
            };
            let message = format!(
                "{count} in the slow log{within}{all}; the longest {} ms: {}",
                longest.duration_ms, longest.command
            );
            Finding::ok(subject, message)
        }
        (_, None) => Finding::ok(subject, format!("no command in the slow log{within}")),
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Kept, Log, judge, read};
    use crate::event::Level;
    use crate::host::connect::redis::SlowCommand;
    use serde_json::json;

    fn command(at: i64, micros: u64) -> SlowCommand {
        SlowCommand {
            id: 1,
            at,
            micros,
            words: vec![b"SET".to_vec(), b"a\nb".to_vec(), vec![0xff; 300]],
            client: "h:1".to_owned(),
            name: String::new(),
        }
    }

    fn levels(kept: Kept, commands: Vec<SlowCommand>) -> Vec<Level> {
        let config = json!({ "connection": "c", "within": "1h", "warn": "50ms", "fail": "1s" });
        let config: Config = serde_json::from_value(config).unwrap();
        let log = Log {
            commands,
            kept,
            now: 10_000.0,
        };
        let findings = judge(&config, &log.kept, &read(&config, &log));
        findings.into_iter().map(|finding| finding.level).collect()
    }

    fn longer(micros: u64) -> Kept {
        Kept::Longer { micros, most: 128 }
    }

    #[test]
    fn durations_are_numbers_and_old_ones_do_not_count() {
        let all = |commands| levels(longer(10_000), commands);
        assert_eq!(all(vec![]), [Level::Ok]);
        assert_eq!(all(vec![command(9000, 9_000)]), [Level::Ok]);
        assert_eq!(all(vec![command(9000, 100_000)]), [Level::Warning]);
        assert_eq!(all(vec![command(9000, 1_000_001)]), [Level::Critical]);
        assert_eq!(all(vec![command(1000, 9_000_000)]), [Level::Ok]);
    }

    #[test]
    fn an_empty_log_says_nothing_where_nothing_is_kept() {
        assert_eq!(levels(Kept::Nothing, vec![]), [Level::Unknown]);
        assert_eq!(
            levels(Kept::Nothing, vec![command(9000, 2_000_000)]),
            [Level::Critical, Level::Unknown]
        );
        assert_eq!(levels(Kept::Hidden, vec![]), [Level::Unknown]);
        assert_eq!(
            levels(Kept::Hidden, vec![command(9000, 60_000)]),
            [Level::Warning]
        );
        assert_eq!(levels(longer(100_000), vec![]), [Level::Ok, Level::Unknown]);
    }

    #[test]
    fn what_was_left_out_is_told() {
        let config = json!({ "connection": "c", "limit": 2, "within": "1h" });
        let config: Config = serde_json::from_value(config).unwrap();
        let complete = |commands| {
            let log = Log {
                commands,
                kept: longer(0),
                now: 10_000.0,
            };
            let outputs = read(&config, &log);
            let said = &judge(&config, &log.kept, &outputs)[0].message;
            assert_eq!(said.contains("without older ones"), !outputs.complete);
            assert!(
                outputs
                    .commands
                    .iter()
                    .all(|command| command.command.chars().count() <= 200)
            );
            outputs.complete
        };
        assert!(complete(vec![command(9000, 1)]));
        assert!(!complete(vec![command(9000, 1), command(9000, 1)]));
        assert!(complete(vec![command(9000, 1), command(100, 1)]));
    }
}
