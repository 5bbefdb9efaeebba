//! `postgres.vacuum`: the room of dead rows, to be used again or given back.

mod work;

use std::collections::HashMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use self::work::Work;
use super::relation::{Answers, Within};
use super::rewrite::{self, Forecast};
use super::tables::{self, Chosen, Table, Threshold, Unit, five_seconds};
use super::window::Window;
use crate::base::Duration;
use crate::base::count::{count, plural};
use crate::base::field::Percent;
use crate::event::{EffectClass, RepeatClass};
use crate::host::connect::Conn;
use crate::host::connect::postgres::Postgres;
use crate::host::connect::postgres::sql::Sql;
use crate::host::net::Allowance;
use crate::host::{Effect, Observe};
use crate::step::{Act, Change, Description, Outcome, Partial, Preview, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Vacuum;

/// Makes the room of dead rows in PostgreSQL tables usable again.
///
/// It runs one `VACUUM` a table, so that no other table waits for one that is locked; each partition is a
/// table here. Which tables need it is what the server has counted (`pg_stat_all_tables`). PostgreSQL's
/// own catalogs are left to it, unless they are named. The statistics of a partitioned table as a whole
/// are the business of `postgres.analyze`.
///
/// A table that the server skipped, or whose lock did not come in time, is critical, although the server
/// calls that a success. Without `tables`, those that belong to others are left out, and one warning says
/// how many and whose.
///
/// Dead rows stay that an old transaction may still see, one of another database included. Where most of
/// a table's do, that is a warning.
///
/// With `full`, each table is written anew and its room is given back to the file system. Nobody can even
/// read it meanwhile, and there must be room for a copy beside it (`pg_wal` grows by as much). So the
/// tables are named one by one, it is done within a `window` alone, and somebody approves of it. A rewrite
/// that is at work when the window ends is cancelled, which leaves the table as it was. What each table
/// needs, who holds a lock on it, and what is free where it lies is in the preview; free space is known
/// where the server's files can be read on this machine.
///
/// # Changes
///
/// The files of the tables and of their indexes; their statistics with `analyze`. Reads and writes go on
/// meanwhile, except with `full`.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: vacuum
/// secrets:
///   database_url: { env: DATABASE_URL }
/// connections:
///   main:
///     postgres: { url: "${{ secrets.database_url }}" }
/// steps:
///   - id: dead
///     postgres.vacuum: { connection: main, min_dead: 1000, min_dead_percent: 10 }
///   - id: rewrite
///     approval: { kind: approve, message: "audit_log is locked while it is written anew" }
///     postgres.vacuum:
///       connection: main
///       tables: [public.audit_log]
///       full: true
///       window: { from: "02:00", to: "05:00" }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database; its primary.
    pub connection: Conn<Postgres>,
    /// These tables, as SQL writes them (`schema.table`); all tables of the database by default.
    #[schemars(length(min = 1))]
    pub tables: Option<Vec<String>>,
    /// Only tables with at least as many dead rows.
    pub min_dead: Option<u64>,
    /// Only tables of whose rows at least as many percent are dead. Where both are given, both must be
    /// reached.
    pub min_dead_percent: Option<Percent>,
    /// Whether the statistics are renewed as well.
    #[serde(default = "yes")]
    pub analyze: bool,
    /// Whether all rows are frozen, so that the server need not do it later against wraparound.
    #[serde(default)]
    pub freeze: bool,
    /// Whether each table is written anew, locked against everybody.
    #[serde(default)]
    pub full: bool,
    /// The hours in which it may be done, by the clock of this machine. Outside of them the step fails
    /// before it touches anything.
    pub window: Option<Window>,
    /// How long a table's lock is waited for: whoever waits for one makes others wait behind it.
    #[serde(default = "five_seconds")]
    pub lock_timeout: Duration,
    /// How many workers clean up indexes beside the session itself; as the server sees fit by default.
    #[schemars(range(min = 0, max = 1024))]
    pub parallel: Option<u16>,
    /// Whether empty pages at a table's end are given back, which takes an exclusive lock for a moment;
    /// as the table says by default.
    pub truncate: Option<bool>,
    /// How long it rests each time that it has worked for a while (`vacuum_cost_delay`, at most 100 ms);
    /// not at all by default.
    pub cost_delay: Option<Duration>,
    /// With `full`: whether a table is left alone where what is free may not be enough for its copy.
    #[serde(default = "yes")]
    pub check_space: bool,
}

fn yes() -> bool {
    true
}

/// What was vacuumed.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// How many tables were vacuumed.
    pub vacuumed: usize,
    /// How many were to be vacuumed, and were not, or not as asked for.
    pub skipped: usize,
    /// How many would have been, and belong to others.
    pub others: usize,
    /// Those that were vacuumed.
    pub tables: Vec<Vacuumed>,
}

/// A table that was vacuumed.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Vacuumed {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub table: String,
    /// How many dead rows it had, by the server's count.
    pub dead: u64,
    /// How many it still has; null with `full`, and before PostgreSQL 15, which counts them later.
    pub dead_after: Option<u64>,
    /// With `full`: its size before, with TOAST and indexes, in bytes.
    pub bytes_before: Option<u64>,
    /// With `full`: its size after, in bytes.
    pub bytes_after: Option<u64>,
    /// How long it took, in seconds.
    pub seconds: f64,
}

impl Config {
    fn threshold(&self) -> Threshold {
        Threshold {
            rows: self.min_dead,
            percent: self.min_dead_percent,
        }
    }

    async fn choose(&self, answers: &impl Answers) -> Result<Chosen, StepError> {
        let threshold = self.threshold();
        let due = |table: &Table| threshold.is_reached(table.dead, table.live + table.dead);
        tables::choose(answers, self.tables.as_deref(), Unit::Leaf, threshold, due).await
    }

    /// `VACUUM (…) "schema"."table"`.
    fn statement(&self, table: &Table) -> Sql {
        let flags = [
            (self.full, "FULL"),
            (self.freeze, "FREEZE"),
            (self.analyze, "ANALYZE"),
            (self.truncate == Some(true), "TRUNCATE true"),
            (self.truncate == Some(false), "TRUNCATE false"),
        ];
        let mut words = flags.iter().filter(|(is, _)| *is).map(|(_, word)| *word);
        let mut sql = Sql::new("VACUUM ");
        if let Some(first) = words.next() {
            sql = sql.then("(").then(first);
            for word in words {
                sql = sql.then(", ").then(word);
            }
            sql = match self.parallel {
                Some(workers) => sql.then(", PARALLEL ").number(workers.into()),
                None => sql,
            };
            sql = sql.then(") ");
        } else if let Some(workers) = self.parallel {
            sql = sql.then("(PARALLEL ").number(workers.into()).then(") ");
        }
        table.after(sql)
    }

    /// How long it may go on, where there is a window.
    fn allowance(&self, host: &Observe) -> Result<Allowance, StepError> {
        let scope = host.scope();
        let allowance = scope.allow_all();
        match self.window {
            None => Ok(allowance),
            Some(window) => Ok(allowance.at_most(scope, window.left(scope)?)),
        }
    }
}

/// Whether a configuration rewrites tables; what is not known yet counts as the worst.
fn is_full(config: &Partial) -> bool {
    match config.get("full") {
        None => false,
        Some(Partial::Known(Value::Bool(full))) => full,
        Some(_) => true,
    }
}

impl StepType for Vacuum {
    const NAME: &'static str = "postgres.vacuum";
    const EFFECT: EffectClass = EffectClass::Change;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        tables::check(config.tables.as_deref())?;
        config.window.map_or(Ok(()), Window::check)?;
        if { config.cost_delay }.is_some_and(|delay| delay > Duration::from_millis(100)) {
            return Err("`cost_delay` is at most 100ms".to_owned());
        }
        if !config.full {
            return Ok(());
        }
        let missing = match (&config.tables, config.window) {
            (None, _) => "the tables that may be locked: name them in `tables`",
            (_, None) => {
                "the hours in which tables may be locked: `window: { from: \"02:00\", to: \"05:00\" }`"
            }
            _ if config.parallel.is_some() || config.truncate.is_some() => {
                return Err("`parallel` and `truncate` mean nothing beside `full`".to_owned());
            }
            _ => return Ok(()),
        };
        Err(format!("`full` needs {missing}"))
    }

    fn classify(config: &Partial) -> EffectClass {
        match is_full(config) {
            true => EffectClass::Destroy,
            false => EffectClass::Change,
        }
    }

    fn needs_approval(config: &Partial) -> Option<&'static str> {
        is_full(config).then_some("with `full` nobody can read a table while it is written anew")
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        let what = config.text("tables");
        let what = what.unwrap_or_else(|| "all tables".to_owned());
        let verb = if is_full(config) { "rewrite" } else { "vacuum" };
        Description::line(format!("{verb} {what} of `{connection}`"))
    }
}

impl Act for Vacuum {
    async fn preview(config: Config, host: &Observe) -> Result<Preview, StepError> {
        let allowance = host.scope().allow_all();
        let session = host.postgres(&config.connection, allowance).await??;
        let answers = Within(&session, allowance);
        let chosen = config.choose(&answers).await?;
        if chosen.due.is_empty() {
            return Ok(Preview::NoChange);
        }
        let forecasts = match session.identity().filter(|_| config.full) {
            None => HashMap::new(),
            Some(identity) => rewrite::forecast(&answers, host, identity, &chosen.due).await?,
        };
        Ok(Preview::Change(change(
            &config,
            &chosen,
            &forecasts,
            session.shown(),
        )))
    }

    async fn run(config: Config, host: &Effect) -> Result<Outcome<Outputs>, StepError> {
        let allowance = config.allowance(host.observe())?;
        let session = host.postgres(&config.connection, allowance).await?;
        tables::prepare(&session, config.lock_timeout, allowance).await?;
        if let Some(delay) = config.cost_delay {
            let millis = i64::try_from(delay.as_millis()).unwrap_or(100);
            let sql = Sql::new("SET vacuum_cost_delay = ").number(millis);
            session.run(sql, &[], allowance).await?;
        }
        let chosen = config.choose(&Within(&session, allowance)).await?;
        let mut work = Work::new(&config, host, &session, allowance);
        work.findings
            .extend(chosen.others(&config.connection.name, "vacuumed"));
        work.outputs.others = chosen.others.len();
        let done = work.all(&chosen.due).await;
        let Work {
            outputs, findings, ..
        } = work;
        session.close().await;
        if let Err(error) = done {
            let mut error = StepError::from(error).with_outputs(&outputs);
            error.findings = findings;
            return Err(error);
        }
        let outcome = match outputs.vacuumed {
            0 => Outcome::unchanged(outputs),
            _ => Outcome::changed(outputs),
        };
        Ok(outcome.with_findings(findings))
    }
}

fn change(
    config: &Config,
    chosen: &Chosen,
    forecasts: &HashMap<u32, Forecast>,
    shown: &str,
) -> Change {
    let note = |table: &Table| {
        let all = table.live + table.dead;
        let dead = format!("{} of {} rows are dead", count(table.dead), count(all));
        match forecasts.get(&table.oid) {
            None => format!("{}: {dead}", table.shown),
            Some(forecast) => format!("{}: {dead}; {forecast}", table.shown),
        }
    };
    let mut counts = Map::new();
    counts.insert("tables".to_owned(), json!(chosen.due.len()));
    counts.insert("others".to_owned(), json!(chosen.others.len()));
    let tables = plural(chosen.due.len(), "table");
    let mut summary = match config.full {
        true => format!("rewrite {tables} in {shown}, each locked against everybody meanwhile"),
        false => format!("vacuum {tables} in {shown}"),
    };
    if let Some(window) = config.window {
        summary.push_str(&format!(", from {window} o'clock"));
    }
    Change {
        summary,
        counts,
        items: chosen.due.iter().map(|table| table.shown.clone()).collect(),
        notes: chosen.due.iter().map(note).collect(),
        diff: None,
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Vacuum};
    use crate::event::EffectClass;
    use crate::step::{Partial, StepType as _};
    use serde_json::{Value, json};

    fn config(mut more: Value) -> Value {
        more["connection"] = json!("main");
        more
    }

    fn check(more: Value) -> Result<(), String> {
        Vacuum::check(&serde_json::from_value::<Config>(config(more)).unwrap())
    }

    #[test]
    fn a_rewrite_has_a_window_and_names_its_tables() {
        let window = json!({ "from": "02:00", "to": "05:00" });
        let full = |tables: Value, window: Value| {
            check(json!({ "full": true, "tables": tables, "window": window }))
        };
        full(json!(["t"]), window.clone()).unwrap();
        assert!(
            full(json!(["t"]), Value::Null)
                .unwrap_err()
                .contains("window")
        );
        assert!(full(Value::Null, window).unwrap_err().contains("`tables`"));
        check(json!({})).unwrap();
        assert!(check(json!({ "tables": [] })).is_err());
        assert!(check(json!({ "cost_delay": "101ms" })).is_err());
    }

    #[test]
    fn a_rewrite_destroys_and_needs_an_approval() {
        let known = |full: bool| Partial::Known(config(json!({ "full": full })));
        assert_eq!(Vacuum::classify(&known(false)), EffectClass::Change);
        assert_eq!(Vacuum::needs_approval(&known(false)), None);
        let later = Partial::map(vec![("full".to_owned(), Partial::Unknown("later".into()))]);
        for full in [known(true), later] {
            assert_eq!(Vacuum::classify(&full), EffectClass::Destroy);
            assert!(Vacuum::needs_approval(&full).is_some());
        }
    }

    #[test]
    fn says_what_is_to_be_done() {
        let table = serde_json::from_value(json!({
            "oid": 1, "schema": "public", "name": "A\"b", "shown": "", "kind": "r", "owner": "",
            "permitted": true, "live": 0, "dead": 0, "changed": 0, "never_analyzed": false,
            "counted": true
        }));
        let table = table.unwrap();
        let statement = |more: Value| {
            let config: Config = serde_json::from_value(config(more)).unwrap();
            config.statement(&table).text().to_owned()
        };
        assert_eq!(
            statement(json!({ "freeze": true, "parallel": 0, "truncate": false })),
            "VACUUM (FREEZE, ANALYZE, TRUNCATE false, PARALLEL 0) \"public\".\"A\"\"b\""
        );
        assert_eq!(
            statement(json!({ "analyze": false })),
            "VACUUM \"public\".\"A\"\"b\""
        );
    }
}
