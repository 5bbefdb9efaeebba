//! `postgres.reindex`: indexes built anew.

mod rebuild;
mod targets;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, json};

use self::rebuild::{Cleaning, rebuild};
use self::targets::{Plan, Target};
use super::relation::Within;
use crate::base::count::count;
use crate::base::{ByteSize, Duration};
use crate::event::{EffectClass, Finding, RepeatClass};
use crate::host::connect::Conn;
use crate::host::connect::postgres::{PgEffect, Postgres};
use crate::host::{Effect, Observe};
use crate::step::{Act, Change, Description, Outcome, Partial, Preview, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Reindex;

/// Builds an index of a PostgreSQL database anew, or all indexes of a table.
///
/// By default that is done CONCURRENTLY: reads and writes go on, and the new index takes its place when it
/// is done. It needs room for both, and waits for every transaction that uses the table, and for older
/// ones. Of a table, one index is rebuilt after the other, with the one of its large values (TOAST); of a
/// partitioned one, those of all its partitions.
///
/// A rebuild that fails leaves an invalid index behind (`…_ccnew`, `…_ccold`), which every write keeps up
/// from then on. What an earlier one has left of the same index is dropped first, and what this one leaves
/// is dropped when it fails. Only what is invalid, of the same table and definition (a copy of it: columns,
/// condition, and whether it is unique), and named after the index is dropped; nothing that somebody works
/// on. Of a table, such leftovers are not rebuilt; and an index that somebody drops meanwhile is a warning.
///
/// The index must be valid afterwards, else the step has failed. An invalid index that somebody wanted (see
/// `postgres.invalid_indexes`) is finished so.
///
/// PostgreSQL rebuilds neither exclusion constraints nor its own catalogs concurrently: such an index is an
/// error before anything is done, and one among others of a table is left out, which is critical. So are
/// tables of others an error before anything is done.
///
/// # Changes
///
/// The indexes on disk, not what they hold. With `concurrently: false` nobody can write to the table, nor
/// read by the index, while it is built: that is `destroy`.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: rebuild-orders
/// secrets:
///   database_url: { env: DATABASE_URL }
/// connections:
///   main:
///     postgres: { url: "${{ secrets.database_url }}" }
/// steps:
///   - id: reindex
///     postgres.reindex: { connection: main, table: shop.orders, lock_timeout: 2m }
///     retry: { attempts: 3, delay: 1m }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database; its primary.
    pub connection: Conn<Postgres>,
    /// The index, as SQL writes it: `index` or `schema.index`, in double quotes where it has capitals. Either
    /// this or `table`.
    pub index: Option<String>,
    /// The table or materialized view whose indexes are all rebuilt, as SQL writes it.
    pub table: Option<String>,
    /// Whether reads and writes go on.
    #[serde(default = "yes")]
    pub concurrently: bool,
    /// How long is waited for others, each time. By default 1 m concurrently: nobody who reads or writes
    /// waits meanwhile. Else 5 s: whoever wants to write waits behind it.
    pub lock_timeout: Option<Duration>,
}

fn yes() -> bool {
    true
}

impl Config {
    fn lock_timeout(&self) -> Duration {
        let default = if self.concurrently { 60 } else { 5 };
        self.lock_timeout.unwrap_or(Duration::from_secs(default))
    }

    fn how(&self) -> &'static str {
        match self.concurrently {
            true => "concurrently",
            false => "while nobody can write",
        }
    }
}

/// What was done.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// The indexes that were rebuilt.
    pub indexes: Vec<Rebuilt>,
    /// What they took before, in bytes.
    pub before_bytes: u64,
    /// What they take now, in bytes.
    pub after_bytes: u64,
    /// What rebuilding them had left and was dropped, as SQL writes it.
    pub dropped: Vec<String>,
}

/// An index that was rebuilt.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Rebuilt {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its table's name.
    pub table: String,
    /// Schema and name as SQL writes them.
    pub quoted: String,
    /// What it took before, in bytes.
    pub before_bytes: u64,
    /// What it takes now, in bytes.
    pub after_bytes: u64,
    /// How long it took, in seconds.
    pub seconds: f64,
}

/// What was done so far.
#[derive(Debug, Default)]
struct Work {
    outputs: Outputs,
    /// Those that somebody has dropped meanwhile, as SQL writes them.
    gone: Vec<String>,
}

impl StepType for Reindex {
    const NAME: &'static str = "postgres.reindex";
    const EFFECT: EffectClass = EffectClass::Change;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        let is_empty = |name: &String| name.trim().is_empty();
        match (&config.index, &config.table) {
            (Some(name), None) if is_empty(name) => Err("`index` is empty".to_owned()),
            (None, Some(name)) if is_empty(name) => Err("`table` is empty".to_owned()),
            (Some(_), None) | (None, Some(_)) => Ok(()),
            (None, None) => Err("say what is rebuilt: `index` or `table`".to_owned()),
            (Some(_), Some(_)) => Err("`index` and `table` exclude each other".to_owned()),
        }
    }

    fn classify(config: &Partial) -> EffectClass {
        match config.get("concurrently") {
            None => EffectClass::Change,
            Some(_) if config.value("concurrently") == Some(true) => EffectClass::Change,
            Some(_) => EffectClass::Destroy,
        }
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        let what = match (config.text("index"), config.text("table")) {
            (Some(index), _) => format!("the index {index}"),
            (None, table) => format!("the indexes of {}", table.unwrap_or_default()),
        };
        let how = match Self::classify(config) {
            EffectClass::Destroy => "while nobody can write",
            _ => "concurrently",
        };
        Description::line(format!("rebuild {what} in `{connection}`, {how}"))
    }
}

impl Act for Reindex {
    async fn preview(config: Config, host: &Observe) -> Result<Preview, StepError> {
        let allowance = host.scope().allow_all();
        let session = host.postgres(&config.connection, allowance).await??;
        let plan = Plan::look(&config, &Within(&session, allowance)).await?;
        if plan.targets.is_empty() {
            return Ok(Preview::NoChange);
        }
        let mut counts = Map::new();
        counts.insert("indexes".to_owned(), json!(plan.targets.len()));
        counts.insert("bytes".to_owned(), json!(plan.bytes()));
        counts.insert("leftovers".to_owned(), json!(plan.leftovers.len()));
        counts.insert("left_out".to_owned(), json!(plan.left_out.len()));
        let item =
            |target: &Target| format!("rebuild {}: {}", target.shown, ByteSize(target.bytes));
        let mut items: Vec<String> = plan.targets.iter().map(item).collect();
        items.extend(plan.leftovers.iter().map(|leftover| {
            let size = ByteSize(leftover.bytes);
            format!(
                "drop {}: {size}, left by a rebuild that failed",
                leftover.shown
            )
        }));
        items.extend(
            plan.left_out
                .iter()
                .map(|target| format!("leave out {}: {}", target.shown, target.why_left_out())),
        );
        Ok(Preview::Change(Change {
            summary: summary(&config, &plan, session.shown()),
            counts,
            items,
            ..Change::default()
        }))
    }

    async fn run(config: Config, host: &Effect) -> Result<Outcome<Outputs>, StepError> {
        let allowance = host.scope().allow_all();
        let mut session = host.postgres(&config.connection, allowance).await?;
        session.keep_apart();
        let plan = Plan::look(&config, &Within(&session, allowance)).await?;
        session.set_statement_limit(allowance).await?;
        let mut work = Work::default();
        let done = rebuild_all(&config, host, &session, &plan, &mut work).await;
        session.close().await;
        let Work { outputs, gone } = work;
        let mut findings = plan.findings();
        findings.extend(gone.iter().map(|index| {
            let message = "it was not rebuilt: somebody has dropped it meanwhile";
            Finding::warning(index, message)
        }));
        match done {
            Ok(()) if outputs.indexes.is_empty() && outputs.dropped.is_empty() => {
                Ok(Outcome::unchanged(outputs).with_findings(findings))
            }
            Ok(()) => Ok(Outcome::changed(outputs).with_findings(findings)),
            Err(error) => {
                let mut error = error.with_outputs(&outputs);
                error.findings = findings;
                Err(error)
            }
        }
    }
}

async fn rebuild_all(
    config: &Config,
    host: &Effect,
    session: &PgEffect<'_>,
    plan: &Plan,
    work: &mut Work,
) -> Result<(), StepError> {
    let scope = host.scope();
    let cleaning = Cleaning::before(scope, session);
    let dropped = cleaning.drop(&plan.leftovers, work).await;
    dropped.map_err(|error| rebuild::waited(config, error))?;
    let total = Some(plan.targets.len() as u64);
    for (at, target) in plan.targets.iter().enumerate() {
        scope.progress(at as u64, total, "indexes");
        rebuild(config, host, session, target, work).await?;
    }
    scope.progress(plan.targets.len() as u64, total, "indexes");
    match plan.targets.last() {
        Some(_) if work.gone.len() == plan.targets.len() => Err(StepError::permanent(format!(
            "could not rebuild {}: somebody has dropped it meanwhile",
            plan.shown
        ))),
        _ => Ok(()),
    }
}

fn summary(config: &Config, plan: &Plan, shown: &str) -> String {
    let what = match &config.index {
        Some(_) => format!("the index {}", plan.shown),
        None if plan.targets.len() == 1 => format!("the index of {}", plan.shown),
        None => format!(
            "{} indexes of {}",
            count(plan.targets.len() as u64),
            plan.shown
        ),
    };
    let mut summary = format!(
        "rebuild {what} ({}) in {shown}, {}",
        ByteSize(plan.bytes()),
        config.how()
    );
    if !plan.leftovers.is_empty() {
        let many = count(plan.leftovers.len() as u64);
        summary.push_str(&format!(", and drop {many} that failed rebuilds left"));
    }
    summary
}

#[cfg(test)]
mod tests {
    use super::{Config, Reindex};
    use crate::event::EffectClass;
    use crate::step::{Partial, StepType as _};
    use serde_json::json;

    #[test]
    fn whoever_blocks_writers_destroys() {
        let classify = |config| Reindex::classify(&Partial::Known(config));
        assert_eq!(classify(json!({ "index": "i" })), EffectClass::Change);
        let concurrently = json!({ "index": "i", "concurrently": true });
        assert_eq!(classify(concurrently), EffectClass::Change);
        let blocking = json!({ "index": "i", "concurrently": false });
        assert_eq!(classify(blocking), EffectClass::Destroy);
        let unknown = Partial::Unknown("later".into());
        assert_eq!(Reindex::classify(&unknown), EffectClass::Destroy);
    }

    #[test]
    fn one_thing_is_rebuilt() {
        for (config, is_right) in [
            (json!({ "connection": "main", "index": "i" }), true),
            (json!({ "connection": "main", "table": "t" }), true),
            (json!({ "connection": "main" }), false),
            (
                json!({ "connection": "main", "index": "i", "table": "t" }),
                false,
            ),
            (json!({ "connection": "main", "index": " " }), false),
        ] {
            let config: Config = serde_json::from_value(config).unwrap();
            assert_eq!(Reindex::check(&config).is_ok(), is_right);
        }
    }
}
