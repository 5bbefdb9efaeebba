//! `postgres.analyze`: the statistics that the planner plans by.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use super::relation::{Answers, Within};
use super::tables::{self, Chosen, Table, Threshold, Unit, five_seconds};
use crate::base::Duration;
use crate::base::count::{count, plural};
use crate::base::field::Percent;
use crate::event::{EffectClass, Finding, Level, RepeatClass};
use crate::host::connect::Conn;
use crate::host::connect::postgres::sql::Sql;
use crate::host::connect::postgres::{PgEffect, Postgres};
use crate::host::reach::ReachError;
use crate::host::{Effect, Observe};
use crate::step::{Act, Change, Description, Outcome, Partial, Preview, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Analyze;

/// Renews the statistics by which PostgreSQL plans its queries.
///
/// It runs one `ANALYZE` a table, so that no other table waits for one that is locked. Which tables need
/// it is what the server has counted (`pg_stat_all_tables`); one that it has never analyzed always does.
/// A partitioned table is one with its partitions: the server never analyzes it by itself. PostgreSQL's
/// own catalogs are left to it, unless they are named.
///
/// A table that was asked for by name and that the server skipped, or whose lock did not come in time,
/// is critical. Without `tables`, those that belong to others are left out, and one warning says how many
/// and whose.
///
/// # Changes
///
/// The statistics of the tables. Reads and writes go on meanwhile.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: renew-statistics
/// secrets:
///   database_url: { env: DATABASE_URL }
/// connections:
///   main:
///     postgres: { url: "${{ secrets.database_url }}" }
/// steps:
///   - id: statistics
///     postgres.analyze: { connection: main, min_changed: 1000, min_changed_percent: 5 }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database; its primary.
    pub connection: Conn<Postgres>,
    /// These tables, as SQL writes them (`schema.table`); all tables of the database by default.
    #[schemars(length(min = 1))]
    pub tables: Option<Vec<String>>,
    /// Only tables of which at least as many rows were changed since they were analyzed last.
    pub min_changed: Option<u64>,
    /// Only tables of whose rows at least as many percent were changed since. Where both are given, both
    /// must be reached.
    pub min_changed_percent: Option<Percent>,
    /// How long a table's lock is waited for: whoever waits for one makes others wait behind it.
    #[serde(default = "five_seconds")]
    pub lock_timeout: Duration,
}

/// What was analyzed.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// How many tables were analyzed.
    pub analyzed: usize,
    /// How many were to be analyzed, and were not, or not as asked for.
    pub skipped: usize,
    /// How many would have been, and belong to others.
    pub others: usize,
    /// Those that were analyzed.
    pub tables: Vec<Analyzed>,
}

/// A table that was analyzed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Analyzed {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// How many rows had been changed since it was analyzed last.
    pub changed: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Config {
    fn threshold(&self) -> Threshold {
        Threshold {
            rows: self.min_changed,
            percent: self.min_changed_percent,
        }
    }

    async fn choose(&self, answers: &impl Answers) -> Result<Chosen, StepError> {
        let threshold = self.threshold();
        let due =
            |table: &Table| table.never_analyzed || threshold.is_reached(table.changed, table.live);
        tables::choose(answers, self.tables.as_deref(), Unit::Whole, threshold, due).await
    }
}

impl StepType for Analyze {
    const NAME: &'static str = "postgres.analyze";
    const EFFECT: EffectClass = EffectClass::Change;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        tables::check(config.tables.as_deref())
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        let what = config.text("tables");
        let what = what.unwrap_or_else(|| "all tables".to_owned());
        Description::line(format!("analyze {what} of `{connection}`"))
    }
}

impl Act for Analyze {
    async fn preview(config: Config, host: &Observe) -> Result<Preview, StepError> {
        let allowance = host.scope().allow_all();
        let session = host.postgres(&config.connection, allowance).await??;
        let chosen = config.choose(&Within(&session, allowance)).await?;
        if chosen.due.is_empty() {
            return Ok(Preview::NoChange);
        }
        let note = |table: &Table| {
            let changed = match table.never_analyzed {
                true => "never analyzed".to_owned(),
                false => format!("{} rows changed", count(table.changed)),
            };
            format!("{}: {changed}", table.shown)
        };
        let mut counts = Map::new();
        counts.insert("tables".to_owned(), json!(chosen.due.len()));
        counts.insert("others".to_owned(), json!(chosen.others.len()));
        let tables = plural(chosen.due.len(), "table");
        let shown = session.shown();
        Ok(Preview::Change(Change {
            summary: format!("analyze {tables} in {shown}"),
            counts,
            items: chosen.due.iter().map(|it| it.shown.clone()).collect(),
            notes: chosen.due.iter().map(note).collect(),
            ..Change::default()
        }))
    }

    async fn run(config: Config, host: &Effect) -> Result<Outcome<Outputs>, StepError> {
        let allowance = host.scope().allow_all();
        let session = host.postgres(&config.connection, allowance).await?;
        tables::prepare(&session, config.lock_timeout, allowance).await?;
        let chosen = config.choose(&Within(&session, allowance)).await?;
        let mut outputs = Outputs {
            others: chosen.others.len(),
            ..Outputs::default()
        };
        let mut findings = Vec::new();
        findings.extend(chosen.others(&config.connection.name, "analyzed"));
        for (at, table) in chosen.due.iter().enumerate() {
            let total = Some(chosen.due.len() as u64);
            host.scope().progress(at as u64, total, "tables");
            match one(&session, host, table, chosen.named, &mut outputs).await {
                Ok(found) => findings.extend(found),
                Err(error) => {
                    let mut error = StepError::from(error).with_outputs(&outputs);
                    error.findings = findings;
                    return Err(error);
                }
            }
        }
        session.close().await;
        let outcome = match outputs.analyzed {
            0 => Outcome::unchanged(outputs),
            _ => Outcome::changed(outputs),
        };
        Ok(outcome.with_findings(findings))
    }
}

async fn one(
    session: &PgEffect<'_>,
    host: &Effect,
    table: &Table,
    named: bool,
    outputs: &mut Outputs,
) -> Result<Vec<Finding>, ReachError> {
    let clock = host.scope().clock();
    let began = clock.now();
    let sql = table.after(Sql::new("ANALYZE "));
    let done = match session.run(sql, &[], session.allow_all()).await {
        Ok(done) => done,
        Err(error) => {
            let finding = tables::failed(table, error)?;
            outputs.skipped += 1;
            return Ok(vec![finding]);
        }
    };
    // Partitions can belong to others than their table.
    let level = match !named && table.kind == 'p' {
        true => Level::Warning,
        false => Level::Critical,
    };
    let findings = tables::said(table, level, &done.notices);
    if findings.iter().any(|finding| finding.level > Level::Ok) {
        outputs.skipped += 1;
        return Ok(findings);
    }
    outputs.analyzed += 1;
    outputs.tables.push(Analyzed {
        schema: table.schema.clone(),
        table: table.name.clone(),
        changed: table.changed,
        seconds: clock.now().since(began).as_secs_f64(),
    });
    Ok(findings)
}
