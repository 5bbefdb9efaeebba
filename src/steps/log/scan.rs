//! `log.scan`: how many lines of a log match a pattern, and the last of them.

use std::path::{Path, PathBuf};

use jiff::Timestamp;
use jiff::tz::TimeZone;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize};

use super::count::Query;
use super::lines::Sizes;
use super::matcher::Matcher;
use super::stamp::{self, Stamps};
use super::survey::Survey;
use crate::base::Duration;
use crate::base::field::Pattern;
use crate::event::{EffectClass, Finding, Level, RepeatClass};
use crate::host::bounded::QUIET_FOR;
use crate::host::{HostError, HostErrorKind, Observe, glob};
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Scan;

/// Counts the lines of a log that match a pattern, and shows the last of them.
///
/// It finds `critical` when more than `max` lines match, `warning` when more than `warn` do, and
/// `unknown` when it could not look: the log is missing, may not be read or is no file, no file
/// matches the path, a compressed part is damaged, it is on a server that does not answer (within
/// 5 s where it is mounted by FUSE, 20 s elsewhere), or no line tells its time where `within` asks for
/// it. A log that is there and empty is `ok`.
///
/// The log may hold anything: lines that are not UTF-8, NUL bytes, Windows line ends, no line break
/// at its end. The pattern is looked for line by line: `^` and `$` are the ends of a line, and `.`
/// matches undecodable bytes too. Lines longer than 4 MiB are searched in overlapping pieces.
///
/// `max` is 0 if neither it nor `warn` is given, so that any match is critical; with `warn` alone,
/// nothing is. `max: null` only counts.
///
/// # Time
///
/// With `within`, lines count whose time stamp is that recent, or in the future. A line without a
/// stamp belongs to the line before, as those of a stack trace do; where there is none within the
/// last MiB, it counts. Stamps are recognised at the beginning of a line, after a level
/// (`ERROR 2026-…`), after a `[`, and under keys such as `time` or `ts` in lines of JSON or logfmt:
/// ISO 8601 (`2026-07-05T12:34:56Z`, `2026-07-05 12:34:56,789`), nginx (`2026/07/05 12:34:56`,
/// `05/Jul/2026:12:34:56 +0000`), syslog (`Jul  5 12:34:56`), Redis, Apache, and seconds or
/// milliseconds since 1970. Without a zone they are in the machine's own, or in `timestamp.zone`.
///
/// # Rotated logs
///
/// With `rotated`, the older parts of the log are read too: `app.log.1`, `app.log.2.gz`,
/// `app.log-20260705.zst`, `app-2026-07-05.log`. With `within`, those are left out that were last
/// written to more than a day before. Use both together: a log rotated an hour ago tells of one
/// hour.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: errors-of-the-day
/// params:
///   log: { type: string, default: /var/log/syslog }
/// steps:
///   - id: errors
///     log.scan:
///       path: ${{ params.log }}
///       pattern: ERROR|FATAL
///       within: 24h
///       rotated: true
///       warn: 0
///       max: 100
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The log: a file, or a pattern such as `/var/log/nginx/*.log`. `.gz` and `.zst` are
    /// decompressed.
    pub path: PathBuf,
    /// What to look for in each line.
    pub pattern: Pattern,
    /// Whether upper and lower case are the same.
    #[serde(default)]
    pub ignore_case: bool,
    /// Only lines that were written this recently count; all do by default.
    pub within: Option<Duration>,
    /// Whether older parts of the log, which were rotated away, are read too.
    #[serde(default)]
    pub rotated: bool,
    /// More matching lines than this are a warning.
    pub warn: Option<u64>,
    /// More matching lines than this are critical; `null` for any number. 0 by default, or any
    /// number with `warn`.
    #[serde(default, deserialize_with = "given")]
    #[schemars(with = "Option<u64>")]
    pub max: Option<Option<u64>>,
    /// How many of the last matching lines are kept.
    #[serde(default = "five")]
    #[schemars(range(max = 1000))]
    pub last: usize,
    /// How time stamps look, where they are not recognised, or are in another zone.
    pub timestamp: Option<Stamp>,
}

/// How time stamps look.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Stamp {
    /// In the notation of `strptime`: `%d.%m.%Y %H:%M:%S`. The year may be missing.
    pub format: Option<String>,
    /// The text right before the stamp, such as `at=`; by default it is at the beginning of the
    /// line, after a level, after a `[`, or under a key.
    pub after: Option<String>,
    /// The zone of stamps that do not tell theirs: `UTC`, `Asia/Shanghai`. The machine's own by
    /// default.
    pub zone: Option<String>,
}

fn five() -> usize {
    5
}

/// Tells a `null` that is written from a field that is not.
fn given<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u64>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl Config {
    /// The most matching lines that are not critical; `None` for any number.
    fn limit(&self) -> Option<u64> {
        match (self.max, self.warn) {
            (Some(max), _) => max,
            (None, Some(_)) => None,
            (None, None) => Some(0),
        }
    }

    /// What is looked for, `now`; stamps that say no zone are in that of `here`.
    ///
    /// # Errors
    /// One sentence: what is wrong with the configuration.
    fn query(&self, now: Timestamp, here: fn() -> TimeZone) -> Result<Query, String> {
        let timestamp = self.timestamp.as_ref();
        let zone = match timestamp.and_then(|stamp| stamp.zone.as_deref()) {
            Some(name) => stamp::zone(name)?,
            None => here(),
        };
        let custom = stamp::Custom {
            format: timestamp.and_then(|stamp| stamp.format.clone()),
            after: timestamp.and_then(|stamp| stamp.after.clone()),
        };
        let stamps = Stamps::new(now, zone, custom);
        if !stamps.format_works() {
            return Err("`timestamp.format` does not tell a day and time".to_owned());
        }
        let since = self.within.map(|within| now.checked_sub(within.as_std()));
        Ok(Query {
            matcher: Matcher::new(self.pattern.as_str(), self.ignore_case)?,
            stamps,
            since: since
                .transpose()
                .map_err(|_| "`within` is too long".to_owned())?,
            keep: self.last,
            sizes: Sizes::USUAL,
        })
    }
}

/// What was found in the log.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Outputs {
    /// How many lines match, at least so many where not everything is `complete`; `null` where not
    /// a single file could be read and judged.
    pub count: Option<u64>,
    /// Whether everything could be read and judged.
    pub complete: bool,
    /// How many lines there were; `null` where they were not counted: in files above 256 MiB.
    pub scanned_lines: Option<u64>,
    /// How many bytes were looked at, decompressed.
    pub scanned_bytes: u64,
    /// The files that were read, in this order.
    pub files: Vec<FileOutput>,
    /// The last lines that match.
    pub last: Vec<LineOutput>,
    /// When the first line that matches was written, where it is known; RFC 3339.
    pub first_time: Option<String>,
    /// When the last one was.
    pub last_time: Option<String>,
}

/// What was found in one file.
#[derive(Debug, Serialize, JsonSchema)]
pub struct FileOutput {
    /// Its path.
    pub path: String,
    /// How many bytes of it were looked at, decompressed.
    pub bytes: u64,
    /// How many lines match.
    pub count: u64,
}

/// A line that matches.
#[derive(Debug, Serialize, JsonSchema)]
pub struct LineOutput {
    /// The path of the file that it is in.
    pub file: String,
    /// Its number, from 1; `null` in files above 256 MiB.
    pub line: Option<u64>,
    /// When it was written, where it is known; RFC 3339.
    pub time: Option<String>,
    /// Its first 500 characters, undecodable bytes replaced.
    pub text: String,
}

impl StepType for Scan {
    const NAME: &'static str = "log.scan";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        if config.path.as_os_str().is_empty() {
            return Err("`path` is empty".to_owned());
        }
        if glob::is_pattern(&config.path) {
            glob::check(&config.path)?;
        }
        if config.within.is_some_and(|within| within == Duration::ZERO) {
            return Err("`within: 0` leaves nothing to look at".to_owned());
        }
        if config.last > 1000 {
            return Err("`last` is at most 1000".to_owned());
        }
        if let (Some(warn), Some(max)) = (config.warn, config.limit())
            && warn >= max
        {
            return Err(format!(
                "`warn: {warn}` is never reached: more than `max: {max}` lines are critical"
            ));
        }
        // Where the machine is, and when it is asked, makes no configuration right or wrong.
        { config.query(Timestamp::UNIX_EPOCH, || TimeZone::UTC) }.map(|_| ())
    }

    fn describe(config: &Partial) -> Description {
        let text = |key: &str| config.text(key).unwrap_or_default();
        let within = config.text("within");
        let within = within.map_or(String::new(), |within| format!(", written within {within}"));
        let (pattern, path) = (text("pattern"), text("path"));
        Description::line(format!(
            "count lines that match `{pattern}` in {path}{within}"
        ))
    }
}

impl Look for Scan {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        // Whoever asks a FUSE daemon that is gone can never be ended: so first in a process.
        if let Err(error) = host.answers(&glob::folder(&config.path)).await {
            return nothing_seen(&config.path, error);
        }
        let handle = host.clone();
        match host
            .watched(QUIET_FOR, move || scan(&config, &handle))
            .await
        {
            Ok(scanned) => scanned,
            Err(error) => nothing_seen(&host.pulse().about(), error),
        }
    }
}

/// Where it is does not answer, or did not until the step's time was up.
fn nothing_seen(path: &Path, error: HostError) -> Result<Outcome<Outputs>, StepError> {
    let finding = Finding::unknown(path.display().to_string(), error.to_string())
        .with_help("its server may be gone; whatever else looks there will hang as well");
    match error.kind {
        HostErrorKind::Transient => {}
        HostErrorKind::TimedOut => {
            return Err(StepError {
                findings: vec![finding],
                ..error.into()
            });
        }
        _ => return Err(error.into()),
    }
    let outputs = Outputs {
        count: None,
        complete: false,
        scanned_lines: None,
        scanned_bytes: 0,
        files: Vec::new(),
        last: Vec::new(),
        first_time: None,
        last_time: None,
    };
    Ok(Outcome::unchanged(outputs).with_findings(vec![finding]))
}

fn scan(config: &Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
    let query = config.query(host.scope().clock().wall(), TimeZone::system);
    let query = query.map_err(StepError::permanent)?;
    let mut survey = Survey::new(host, &query);
    survey.read(&config.path, config.rotated)?;

    let paths: Vec<String> = survey
        .files
        .iter()
        .map(|f| f.path.display().to_string())
        .collect();
    let counted = survey.files.iter().map(|file| &file.counted);
    let files = paths
        .iter()
        .zip(counted.clone())
        .map(|(path, counted)| FileOutput {
            path: path.clone(),
            bytes: counted.bytes,
            count: counted.count,
        });
    let last = survey.counter.last.iter().map(|hit| LineOutput {
        file: paths.get(hit.stream).cloned().unwrap_or_default(),
        line: hit.line,
        time: hit.time.map(|time| time.to_string()),
        text: hit.text.clone(),
    });
    let count: u64 = counted.clone().map(|counted| counted.count).sum();
    let outputs = Outputs {
        count: (count > 0 || survey.files.iter().any(|file| file.judged)).then_some(count),
        complete: survey.unknown.is_empty(),
        scanned_lines: counted.clone().map(|counted| counted.lines).sum(),
        scanned_bytes: counted.map(|counted| counted.bytes).sum(),
        files: files.collect(),
        last: last.collect(),
        first_time: survey.counter.first_time.map(|time| time.to_string()),
        last_time: survey.counter.last_time.map(|time| time.to_string()),
    };
    let mut findings: Vec<Finding> = judge(config, &outputs).into_iter().collect();
    findings.extend(survey.unknown);
    Ok(Outcome::unchanged(outputs).with_findings(findings))
}

/// The longest pattern, and the longest line, that a message repeats, in characters.
const LONGEST: usize = 120;

/// What the number of lines means. That there are few enough says nothing if not all were seen.
fn judge(config: &Config, outputs: &Outputs) -> Option<Finding> {
    let count = outputs.count?;
    let (level, limit) = match (config.limit(), config.warn) {
        (Some(max), _) if count > max => (Level::Critical, Some(max)),
        (_, Some(warn)) if count > warn => (Level::Warning, Some(warn)),
        _ if !outputs.complete => return None,
        (max, warn) => (Level::Ok, warn.or(max)),
    };
    let lines = match count {
        0 => "no line matches".to_owned(),
        1 => "1 line matches".to_owned(),
        _ => format!("{count} lines match"),
    };
    let pattern = shortened(config.pattern.as_str());
    let within = config.within.map(|within| format!(" within {within}"));
    let compared = match (level, limit) {
        (_, None) => String::new(),
        (Level::Ok, Some(limit)) => format!(" (at most {limit})"),
        (_, Some(limit)) => format!(" (more than {limit})"),
    };
    let last = outputs.last.last().filter(|_| count > 0);
    let last = last.map(|line| format!("; the last one: {}", shortened(&line.text)));
    let message = format!(
        "{lines} `{pattern}`{}{compared}{}",
        within.unwrap_or_default(),
        last.unwrap_or_default()
    );
    Some(Finding::new(
        level,
        config.path.display().to_string(),
        message,
    ))
}

fn shortened(text: &str) -> String {
    let mut chars = text.chars();
    let mut short: String = chars.by_ref().take(LONGEST).collect();
    if chars.next().is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests;
