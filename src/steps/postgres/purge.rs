//! `postgres.purge`: rows of a table that are not wanted any more, in batches.
//!
//! What is looked up before is in `subject`, the batches are in `batches` (by `blocks` or `lists`), and what
//! they wait for is in `brake`.

mod batches;
mod blocks;
mod brake;
mod condition;
mod lists;
mod subject;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use self::batches::Batches;
use self::subject::Subject;
use super::notation;
use super::relation::Within;
use crate::base::Duration;
use crate::base::count::{count, plural};
use crate::base::field::Code;
use crate::event::{EffectClass, RepeatClass};
use crate::host::connect::Conn;
use crate::host::connect::postgres::sql::Predicate;
use crate::host::connect::postgres::{Bound, PgValue, Postgres};
use crate::host::{Effect, Observe};
use crate::step::{Act, Change, Description, Outcome, Partial, Preview, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Purge;

/// Deletes the rows of a PostgreSQL table that match a condition, in batches.
///
/// Each batch is a transaction of its own, which holds its locks for milliseconds where one large
/// `DELETE` holds them for all of its time. Rows are taken in the order in which they lie: a range of
/// blocks a batch; or, where an index finds the matching ones, a list of their addresses that is made once.
/// (Batches by a random key took 30 times as long; so no key is needed.) Rows that come to match meanwhile,
/// or that moved, are found by a last look, and go in another pass, until none is left.
///
/// A batch that waits for a lock longer than `lock_timeout` is tried again five times; then the step
/// fails, and says how many rows are gone. Before each batch it waits while a standby is behind by more
/// than `max_lag`. The batches are not flushed to the disk one by one, but together at the end: should
/// the server crash before, the last ones are undone, and running the step again is right.
///
/// Foreign keys that refer to the table and delete or overwrite rows elsewhere are named in the preview,
/// and refused unless `cascade: true`. Of a table with partitions or children, all rows of them count.
/// Refused are tables with rules for DELETE, and conditions that read the table itself in a query within
/// them: what matches would be another thing after each batch.
///
/// # Changes
///
/// The rows are gone, or in the `archive`: a batch of which it does not take each row is undone, and the step
/// fails. With `vacuum: true`, the room that they took is free for new rows, and the statistics are fresh;
/// without, both is left to autovacuum.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: purge-audit-logs
/// params:
///   retention_days: { type: integer, default: 90 }
/// secrets:
///   database_url: { env: DATABASE_URL }
/// connections:
///   main:
///     postgres: { url: "${{ secrets.database_url }}" }
/// steps:
///   - id: purge
///     postgres.purge:
///       connection: main
///       table: audit_logs
///       where: created_at < now() - make_interval(days => $1)
///       bind: ["${{ params.retention_days }}"]
///       max: 5000000
///       vacuum: true
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database; its primary.
    pub connection: Conn<Postgres>,
    /// The table, as SQL writes it: `table` or `schema.table`, in double quotes where needed.
    pub table: String,
    /// Which rows go: a condition on the columns of the table, which only looks.
    #[serde(rename = "where")]
    pub condition: Code,
    /// The values of `$1`, `$2`, … in the condition; a list is an array. Secrets may flow in here.
    #[serde(default)]
    #[schemars(extend("x-runbook-secrets" = true))]
    pub bind: Vec<serde_json::Value>,
    /// How many rows a batch has at most; a few more where the rows of a table differ much in size.
    #[serde(default = "ten_thousand")]
    #[schemars(range(min = 1, max = 100_000))]
    pub batch: u32,
    /// How long a batch waits for a lock, and how long VACUUM does.
    #[serde(default = "one_second")]
    pub lock_timeout: Duration,
    /// How long it rests between two batches.
    #[serde(default)]
    pub pause: Duration,
    /// How far a standby may be behind: beyond that, no batch begins. It waits as long as the step may
    /// take.
    #[serde(default = "ten_seconds")]
    pub max_lag: Duration,
    /// If more rows than this match, none is deleted; and if more come to match meanwhile, no more than these.
    pub max: Option<u64>,
    /// Whether the table is vacuumed and analyzed after rows were deleted. It takes the owner's right.
    #[serde(default)]
    pub vacuum: bool,
    /// Where the rows are moved, in the same statement that deletes them.
    pub archive: Option<Archive>,
    /// Whether foreign keys may delete or overwrite rows of other tables too (ON DELETE CASCADE, SET NULL,
    /// SET DEFAULT).
    #[serde(default)]
    pub cascade: bool,
}

/// Where rows are moved.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Archive {
    /// A table of the same database with all columns of the purged one, of the same types.
    pub table: String,
}

fn ten_thousand() -> u32 {
    10_000
}

fn one_second() -> Duration {
    Duration::from_secs(1)
}

fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

/// What was deleted.
#[derive(Clone, Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// How many rows were deleted, those moved to the archive included; not those that foreign keys
    /// deleted elsewhere.
    pub deleted: u64,
    /// How many of them were moved to the archive.
    pub archived: u64,
    /// How many batches it took; those that found nothing are not counted.
    pub batches: u64,
    /// How often the table was gone through: more than once where rows came to match meanwhile.
    pub passes: u32,
    /// How long it waited for standbys, and for locks that it did not get, in milliseconds.
    pub waited_ms: u64,
    /// How long the longest batch took, in milliseconds.
    pub longest_batch_ms: u64,
    /// Whether the table was vacuumed.
    pub vacuumed: bool,
}

impl Config {
    fn predicate(&self) -> Result<Predicate, String> {
        let predicate = Predicate::parse(self.condition.expose());
        let predicate = predicate.map_err(|error| format!("`where`: {error}"))?;
        let (wanted, given) = (usize::from(predicate.parameters()), self.bind.len());
        if wanted != given {
            return Err(format!(
                "`where` takes {wanted} values, and `bind` has {given}: `$1`, `$2`, … stand for them"
            ));
        }
        Ok(predicate)
    }

    fn values(&self) -> Vec<PgValue> {
        self.bind.iter().map(PgValue::of).collect()
    }

    /// Refuses more rows than there may be, beside those that are gone.
    fn allows(&self, gone: u64, rows: u64) -> Result<(), StepError> {
        let Some(max) = self.max.filter(|max| gone.saturating_add(rows) > *max) else {
            return Ok(());
        };
        let (rows, max) = (count(rows), count(max));
        let more = match gone {
            0 => "; none was deleted",
            _ => "",
        };
        let message = format!(
            "could not purge {}: {rows} rows match, and `max` is {max}{more}",
            self.table
        );
        let help = "see whether the condition is right; if it is, raise `max`";
        Err(StepError::permanent(message).with_help(help))
    }
}

/// The values as parameters, in their order.
fn bound(values: &[PgValue]) -> Vec<Bound<'_>> {
    values.iter().map(PgValue::bound).collect()
}

impl StepType for Purge {
    const NAME: &'static str = "postgres.purge";
    const EFFECT: EffectClass = EffectClass::Destroy;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        config.predicate()?;
        if !(1..=100_000).contains(&config.batch) {
            return Err("`batch` is from 1 to 100000".to_owned());
        }
        if config.lock_timeout == Duration::ZERO {
            return Err("`lock_timeout` is more than 0".to_owned());
        }
        Ok(())
    }

    fn describe(config: &Partial) -> Description {
        let text = |key| config.text(key).unwrap_or_default();
        let (table, connection) = (text("table"), text("connection"));
        let verb = match config.get("archive") {
            Some(_) => "move rows out of",
            None => "delete rows of",
        };
        let summary = format!("{verb} {table} of `{connection}`, in batches");
        Description::line(summary).detail(format!("where {}", text("where").trim()))
    }
}

impl Act for Purge {
    async fn preview(config: Config, host: &Observe) -> Result<Preview, StepError> {
        let predicate = config.predicate().map_err(StepError::permanent)?;
        let allowance = host.scope().allow_all();
        let session = host.postgres(&config.connection, allowance).await??;
        let answers = Within(&session, allowance);
        notation::only_columns(&answers, "where", predicate.fields()).await?;
        let subject = Subject::look(&answers, &config).await?;
        let values = config.values();
        let values = bound(&values);
        condition::refuse_circular(&answers, &subject, &predicate, &values).await?;
        let rows = subject.count(&answers, &predicate, &values).await?;
        config.allows(0, rows)?;
        if rows == 0 {
            return Ok(Preview::NoChange);
        }
        let batches = rows.div_ceil(u64::from(config.batch));
        let mut counts = Map::new();
        counts.insert("rows".to_owned(), json!(rows));
        counts.insert("batches".to_owned(), json!(batches));
        counts.insert("foreign_keys".to_owned(), json!(subject.references.len()));
        counts.insert("triggers".to_owned(), json!(subject.triggers.len()));
        let (what, table) = (
            plural(usize::try_from(rows).unwrap_or(usize::MAX), "row"),
            &subject.table.shown,
        );
        let summary = match &subject.archive {
            None => format!("delete {what} of {table} in {}", session.shown()),
            Some(archive) => {
                let archive = &archive.table.shown;
                let shown = session.shown();
                format!("move {what} of {table} to {archive} in {shown}")
            }
        };
        Ok(Preview::Change(Change {
            summary,
            counts,
            items: subject.items(),
            ..Change::default()
        }))
    }

    async fn run(config: Config, host: &Effect) -> Result<Outcome<Outputs>, StepError> {
        let predicate = config.predicate().map_err(StepError::permanent)?;
        let allowance = host.scope().allow_all();
        let mut session = host.postgres(&config.connection, allowance).await?;
        // Its settings and cursors are its own.
        session.keep_apart();
        let answers = Within(&session, allowance);
        notation::only_columns(&answers, "where", predicate.fields()).await?;
        let subject = Subject::look(&answers, &config).await?;
        let mut batches = Batches::new(&session, host, &config, &subject, &predicate);
        let done = batches.run().await;
        let (outputs, findings) = (batches.outputs, batches.findings);
        session.close().await;
        match done {
            Ok(()) => {
                let outcome = match outputs.deleted > 0 || outputs.vacuumed {
                    true => Outcome::changed(outputs),
                    false => Outcome::unchanged(outputs),
                };
                Ok(outcome.with_findings(findings))
            }
            Err(error) => {
                let mut error = error.with_outputs(&outputs);
                if outputs.passes > 0 {
                    let gone = count(outputs.deleted);
                    let more = format!("; {gone} rows are gone by then, and the rest is there");
                    error.message.push_str(&more);
                }
                error.findings = findings;
                Err(error)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Purge};
    use crate::step::StepType as _;
    use serde_json::json;

    fn check(more: serde_json::Value) -> Result<(), String> {
        let mut config =
            json!({ "connection": "main", "table": "t", "where": "a < $1", "bind": [1] });
        for (key, value) in more.as_object().unwrap() {
            config[key] = value.clone();
        }
        let config: Config = serde_json::from_value(config).map_err(|error| error.to_string())?;
        Purge::check(&config)
    }

    #[test]
    fn conditions_only_look_and_take_what_is_bound() {
        check(json!({})).unwrap();
        check(json!({ "where": "a IN (SELECT b FROM u WHERE c = $1)" })).unwrap();
        for (wrong, said) in [
            (json!({ "bind": [] }), "takes 1 values"),
            (
                json!({ "where": "true; DROP TABLE t", "bind": [] }),
                "where",
            ),
            (json!({ "where": "nextval('s') > $1" }), "nextval"),
            (json!({ "batch": 0 }), "batch"),
            (json!({ "lock_timeout": "0" }), "lock_timeout"),
            (json!({ "key": ["id"] }), "unknown field"),
        ] {
            let error = check(wrong.clone()).unwrap_err();
            assert!(error.contains(said), "{wrong}: {error}");
        }
    }

    #[test]
    fn more_rows_than_allowed_are_refused() {
        let config = json!({ "connection": "main", "table": "t", "where": "true", "max": 10 });
        let config: Config = serde_json::from_value(config).unwrap();
        assert!(config.allows(0, 10).is_ok());
        assert!(config.allows(1, 10).is_err());
        let error = config.allows(0, 11).unwrap_err();
        assert!(error.message.contains("11 rows match"), "{error}");
    }
}
