//! `postgres.sequences`: whether sequences give out values that are there already, or end soon.

mod repair;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::repair::Repair;
use super::asking::{self, Server, thirty_seconds};
use super::relation::{Answers, Within};
use super::sequence::{Sequence, State, number, sequences};
use super::tables::{self, five_seconds};
use crate::base::Duration;
use crate::base::count::{count, plural};
use crate::base::field::Percent;
use crate::event::{EffectClass, Finding, Level, RepeatClass};
use crate::host::connect::Conn;
use crate::host::connect::postgres::Postgres;
use crate::host::reach::ReachError;
use crate::host::{Effect, Observe};
use crate::step::{Act, Change, Description, Outcome, Partial, Preview, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Sequences;

/// Checks PostgreSQL sequences against the columns that take their values from them, and moves up those
/// that are behind.
///
/// A sequence is behind when the next value that it gives out is not beyond all that are in its columns:
/// after rows came in with values of their own (an import, a restore, logical replication), inserts then
/// fail with duplicate keys. That is critical. Its columns are those that own it (`serial`, identity) and
/// those whose default, or that of their domain, is its next value, whatever that is cast to. One that
/// begins anew at its end (`CYCLE`) meets old values by intention, and is not judged.
///
/// Where a default does anything else with a sequence (`'T' || nextval('s')`), or its column holds no whole
/// numbers, nobody can tell: that is `unknown`. A sequence that a default names only within a function or
/// as text (`nextval('s'::text)`), or that a trigger or an application asks, is not found.
///
/// How much of it is used counts up to its own end, or to what the narrowest of its columns can hold: an
/// `integer` column with a `bigint` sequence ends at 2,147,483,647.
///
/// The columns are read by their furthest value, which takes an index on them to be fast.
///
/// With `repair`, a sequence that is behind is moved to the furthest value in its columns, never back: in
/// one transaction that locks the tables (SHARE ROW EXCLUSIVE: they can be read, not written), and then
/// reads both anew. It gives out the values that are there already; where those are many, or sessions keep
/// some ahead (`CACHE`), it is locked too and set, and what was kept ahead is dropped, which takes the
/// login of its owner. Whoever has taken a value by itself and is about to insert it is let through first.
///
/// # Changes
///
/// Nothing; with `repair`, the sequences that are behind.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: sequences
/// secrets:
///   database_url: { env: DATABASE_URL }
/// connections:
///   main:
///     postgres: { url: "${{ secrets.database_url }}" }
/// steps:
///   - id: look
///     fail_on: never
///     postgres.sequences: { connection: main, warn: 70, fail: 90 }
///   - id: repair
///     when: steps.look.outputs.behind > 0
///     postgres.sequences: { connection: main, repair: true }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database; its primary with `repair`.
    pub connection: Conn<Postgres>,
    /// The sequences of these tables, as SQL writes them (`schema.table`); of all by default.
    #[schemars(length(min = 1))]
    pub tables: Option<Vec<String>>,
    /// Whether those that are behind are moved up.
    #[serde(default)]
    pub repair: bool,
    /// A warning from this use of a sequence on, in percent.
    #[serde(default = "eighty")]
    pub warn: Percent,
    /// Critical from this use on, in percent.
    #[serde(default = "ninety")]
    pub fail: Percent,
    /// With `repair`: how long the locks of one sequence are waited for.
    #[serde(default = "five_seconds")]
    pub lock_timeout: Duration,
    /// Without `repair`: for everything, to connect and to be answered.
    #[serde(default = "thirty_seconds")]
    pub timeout: Duration,
}

fn eighty() -> Percent {
    Percent(80.0)
}

fn ninety() -> Percent {
    Percent(90.0)
}

/// What was found, and done.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// How many sequences there are whose values go into a column.
    pub checked: usize,
    /// How many are behind; with `repair`, how many still are.
    pub behind: usize,
    /// How many were moved up.
    pub repaired: usize,
    /// The largest share of one that is used, in percent, of those that end; null where there is none.
    pub max_used_percent: Option<f64>,
    /// The sequences, by schema and name.
    pub sequences: Vec<Entry>,
}

/// A sequence.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Entry {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub sequence: String,
    /// The columns that take its values, as SQL writes them.
    pub columns: Vec<String>,
    /// The value that it gives out next; null where it is at its end.
    pub next: Option<i64>,
    /// The furthest value in its columns; null where there is none.
    pub reached: Option<i64>,
    /// The last value that it and its columns can hold.
    pub limit: i64,
    /// How much of it is used, in percent.
    pub used_percent: f64,
    /// Whether it is behind.
    pub behind: bool,
    /// Whether it begins anew at its end.
    pub cycles: bool,
}

impl StepType for Sequences {
    const NAME: &'static str = "postgres.sequences";
    const EFFECT: EffectClass = EffectClass::Change;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        if config.warn.0 > config.fail.0 {
            return Err("`warn` is above `fail`, so it would never be reached".to_owned());
        }
        tables::check(config.tables.as_deref())
    }

    fn classify(config: &Partial) -> EffectClass {
        match config.get("repair") {
            None | Some(Partial::Known(Value::Bool(false))) => EffectClass::Read,
            Some(_) => EffectClass::Change,
        }
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        let verb = match Self::classify(config) {
            EffectClass::Read => "check",
            _ => "check and repair",
        };
        Description::line(format!("{verb} the sequences of `{connection}`"))
    }
}

/// A sequence, and how far it is; none where this login may not see that.
type Seen = (Sequence, Option<State>);

async fn see(config: &Config, answers: &impl Answers) -> Result<Vec<Seen>, ReachError> {
    let oids = match &config.tables {
        None => None,
        Some(names) => Some(tables::oids(answers, names).await?),
    };
    let mut seen = Vec::new();
    for sequence in sequences(answers, oids).await? {
        let state = match sequence.is_readable() && !sequence.columns.is_empty() {
            true => sequence.state(answers).await?,
            false => None,
        };
        seen.push((sequence, state));
    }
    Ok(seen)
}

impl Act for Sequences {
    async fn preview(config: Config, host: &Observe) -> Result<Preview, StepError> {
        if !config.repair {
            return Ok(Preview::NoChange);
        }
        let allowance = host.scope().allow_all();
        let session = host.postgres(&config.connection, allowance).await??;
        let seen = see(&config, &Within(&session, allowance)).await?;
        let items = seen.iter().filter_map(|(sequence, state)| {
            let state = state.as_ref()?;
            let to = sequence.behind(state)?;
            let (way, columns) = (sequence.way(state, to), sequence.columns_shown());
            let whose = match sequence.owned {
                true => String::new(),
                false => format!("; it takes the login of {}", sequence.owner),
            };
            Some(format!("{}: {way} ({columns}){whose}", sequence.shown))
        });
        let items: Vec<String> = items.collect();
        if items.is_empty() {
            return Ok(Preview::NoChange);
        }
        let mut counts = Map::new();
        counts.insert("sequences".to_owned(), json!(items.len()));
        let behind = plural(items.len(), "sequence");
        let (of, shown) = (count(judged(&seen) as u64), session.shown());
        Ok(Preview::Change(Change {
            summary: format!("move up {behind} of {of} in {shown}"),
            counts,
            items,
            ..Change::default()
        }))
    }

    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let server = Server {
            connection: &config.connection,
            timeout: config.timeout,
            in_need: false,
        };
        asking::look(host, server, Outputs::default(), async |asking, outputs| {
            let seen = see(&config, asking).await?;
            let (judged, findings) = judge(&config, &seen);
            *outputs = judged;
            Ok(findings)
        })
        .await
    }

    async fn run(config: Config, host: &Effect) -> Result<Outcome<Outputs>, StepError> {
        let allowance = host.scope().allow_all();
        let session = host.postgres(&config.connection, allowance).await?;
        let mut seen = see(&config, &Within(&session, allowance)).await?;
        let work = Repair {
            scope: host.scope(),
            session: &session,
            allowance,
            lock_timeout: config.lock_timeout,
        };
        let (mut findings, mut repaired) = (Vec::new(), 0);
        for (sequence, state) in &mut seen {
            let Some(before) = state.filter(|state| sequence.behind(state).is_some()) else {
                continue;
            };
            match work.one(sequence).await {
                Ok((after, moved)) => {
                    *state = Some(after);
                    repaired += usize::from(moved);
                    let way = sequence.way(&before, after.last_value);
                    let message = format!("moved up: {way} ({})", sequence.columns_shown());
                    findings.push(Finding::ok(&sequence.shown, message));
                }
                Err(error) => match repair::refused(sequence, error) {
                    Ok(finding) => findings.push(finding),
                    Err(error) => {
                        let mut error = StepError::from(error);
                        error.findings = findings;
                        return Err(error);
                    }
                },
            }
        }
        session.close().await;
        let (outputs, judged) = judge(&config, &seen);
        findings.extend(judged);
        let outputs = Outputs {
            repaired,
            ..outputs
        };
        let outcome = match repaired {
            0 => Outcome::unchanged(outputs),
            _ => Outcome::changed(outputs),
        };
        Ok(outcome.with_findings(findings))
    }
}

/// How many of these have columns to be judged by.
fn judged(seen: &[Seen]) -> usize {
    seen.iter().filter(|(it, _)| !it.columns.is_empty()).count()
}

fn judge(config: &Config, seen: &[Seen]) -> (Outputs, Vec<Finding>) {
    let checked = judged(seen);
    let mut outputs = Outputs {
        checked,
        ..Outputs::default()
    };
    let mut findings = Vec::new();
    for (sequence, state) in seen {
        findings.extend(sequence.unjudged.iter().map(|column| {
            let message = format!("cannot be compared with {}: {}", column.shown, column.why);
            let help = "compare them yourself, and let `fail_on: critical` pass over it; or make the default \
                        of the column `nextval` of the sequence alone; or name in `tables` those that are \
                        to be judged";
            Finding::unknown(&sequence.shown, message).with_help(help)
        }));
        if sequence.columns.is_empty() {
            continue;
        }
        let Some(state) = state else {
            let message = "this login may not read the sequence, or not all of its columns";
            let help = format!(
                "grant SELECT on it and on {}, and look at their row security",
                sequence.columns_shown()
            );
            findings.push(Finding::unknown(&sequence.shown, message).with_help(help));
            continue;
        };
        let entry = entry(sequence, state);
        outputs.behind += usize::from(entry.behind);
        findings.extend(weigh(config, sequence, state, &entry));
        if !entry.cycles {
            let most = outputs.max_used_percent.unwrap_or(0.0);
            outputs.max_used_percent = Some(most.max(entry.used_percent));
        }
        outputs.sequences.push(entry);
    }
    let bad = findings.iter().any(|finding| finding.level > Level::Ok);
    if !bad {
        let sequences = plural(checked, "sequence");
        let message = format!("{sequences}, none behind its columns or near its end");
        findings.push(Finding::ok(&config.connection.name, message));
    }
    (outputs, findings)
}

fn entry(sequence: &Sequence, state: &State) -> Entry {
    Entry {
        schema: sequence.schema.clone(),
        sequence: sequence.name.clone(),
        columns: sequence.columns.iter().map(|it| it.shown.clone()).collect(),
        next: sequence.next(state),
        reached: state.reached,
        limit: sequence.limit(),
        used_percent: sequence.used_percent(state),
        behind: sequence.behind(state).is_some(),
        cycles: sequence.cycles,
    }
}

fn weigh(config: &Config, sequence: &Sequence, state: &State, entry: &Entry) -> Vec<Finding> {
    let mut findings = Vec::new();
    if let Some(reached) = sequence.behind(state) {
        let next = entry.next.map_or("nothing".to_owned(), number);
        let message = format!(
            "behind: it gives out {next} next, and {} has {} already",
            sequence.columns_shown(),
            number(reached)
        );
        let help = "inserts will fail with duplicate keys: `repair: true` moves it up";
        findings.push(Finding::critical(&sequence.shown, message).with_help(help));
    }
    let level = match entry.used_percent {
        used if used >= config.fail.0 => Level::Critical,
        used if used >= config.warn.0 => Level::Warning,
        _ => return findings,
    };
    if !sequence.cycles {
        let message = format!(
            "{} % used: it ends at {} ({})",
            entry.used_percent,
            number(entry.limit),
            sequence.columns_shown()
        );
        let help = "make the column and the sequence `bigint`, or begin another range of values";
        findings.push(Finding::new(level, &sequence.shown, message).with_help(help));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::Sequences;
    use crate::event::EffectClass;
    use crate::step::{Partial, StepType as _};
    use serde_json::json;

    #[test]
    fn only_a_repair_changes_something() {
        let class = |config| Sequences::classify(&Partial::Known(config));
        assert_eq!(class(json!({})), EffectClass::Read);
        assert_eq!(class(json!({ "repair": false })), EffectClass::Read);
        assert_eq!(class(json!({ "repair": true })), EffectClass::Change);
        let later = Partial::Unknown("later".into());
        assert_eq!(Sequences::classify(&later), EffectClass::Change);
    }
}
