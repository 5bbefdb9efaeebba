//! `postgres.query`: rows of a database, as values that later steps read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::asking::thirty_seconds;
use super::notation;
use super::relation::Within;
use super::text::{self, Record, Single};
use crate::base::Duration;
use crate::base::field::Code;
use crate::event::{EffectClass, RepeatClass};
use crate::host::Observe;
use crate::host::connect::Conn;
use crate::host::connect::postgres::sql::Sql;
use crate::host::connect::postgres::{Bound, PgValue, Postgres};
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Query;

/// Asks a PostgreSQL database, and puts out the rows.
///
/// The statement only looks: it is read by a parser, every function that it calls must be one that is
/// known to only look, and it runs in a READ ONLY transaction (which alone would let
/// `SELECT pg_terminate_backend(…)` pass). What may do more is an error before the run; it belongs into
/// `postgres.execute`. SQL is never a template: values are bound, as `$1`, `$2`, …, and take the types
/// that the statement gives them.
///
/// Views, domains, operators and casts of the database's own are taken for what they say, whatever functions
/// are behind them: give a login that may only look. A column `t.f` for which there is a function `f` that
/// takes a row is refused.
///
/// Numbers, booleans and JSON are put out as such, everything else as PostgreSQL writes it in JSON: times
/// in ISO 8601. Two columns must not have the same name.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: orders-check
/// secrets:
///   database_url: { env: DATABASE_URL }
/// connections:
///   main:
///     postgres: { url: "${{ secrets.database_url }}" }
/// params:
///   days: { type: integer, default: 7 }
/// steps:
///   - id: orders
///     postgres.query:
///       connection: main
///       sql: |
///         SELECT status, count(*) AS orders FROM orders
///         WHERE created_at > now() - make_interval(days => $1) GROUP BY status
///       bind: ["${{ params.days }}"]
///   - id: some
///     flow.assert: { that: [steps.orders.outputs.row_count > 0], message: no orders at all }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database.
    pub connection: Conn<Postgres>,
    /// One statement: SELECT, WITH, VALUES, SHOW or EXPLAIN.
    pub sql: Code,
    /// The values of `$1`, `$2`, …; a list is an array, a mapping is JSON. Secrets may flow in here.
    #[serde(default)]
    #[schemars(extend("x-runbook-secrets" = true))]
    pub bind: Vec<Value>,
    /// The most rows that are put out; of more, the first ones are, and `truncated` says so.
    #[serde(default = "thousand")]
    #[schemars(range(min = 1, max = 100_000))]
    pub max_rows: u32,
    /// For everything: to connect, and to be answered.
    #[serde(default = "thirty_seconds")]
    pub timeout: Duration,
}

fn thousand() -> u32 {
    1000
}

/// What was answered.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// The rows, each by the names of its columns.
    pub rows: Vec<Map<String, Value>>,
    /// How many rows are put out.
    pub row_count: usize,
    /// Whether there were more.
    pub truncated: bool,
    /// The first column of the first row; null where there is no row.
    pub value: Value,
}

impl StepType for Query {
    const NAME: &'static str = "postgres.query";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        let statement = Single::parse(config.sql.expose())?;
        statement.only_looks()?;
        statement.takes(config.bind.len())
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        text::described(format!("ask `{connection}`"), config)
    }
}

impl Look for Query {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let statement = Single::parse(config.sql.expose()).map_err(StepError::permanent)?;
        let values: Vec<PgValue> = config.bind.iter().map(PgValue::of).collect();
        let bound: Vec<Bound<'_>> = values.iter().map(PgValue::bound).collect();
        let allowance = host.scope().allow(config.timeout);
        let session = host.postgres(&config.connection, allowance).await??;
        let answers = Within(&session, allowance);
        notation::only_columns(&answers, "sql", statement.0.fields()).await?;
        let refused = || StepError::permanent("the statement may do more than look");
        let most = i64::from(config.max_rows);
        let rows: Vec<Map<String, Value>> = if statement.0.is_query() {
            let sql = Sql::new("SELECT * FROM (")
                .reading(&statement.0)
                .ok_or_else(refused)?;
            let sql = sql.then("\n) AS q LIMIT ").number(most + 1);
            let rows: Vec<Record> = session.records(sql, &bound, allowance).await?;
            rows.into_iter().map(|row| row.0).collect()
        } else {
            // SHOW and EXPLAIN: text, and no more of it than there is.
            let sql = Sql::new("").reading(&statement.0).ok_or_else(refused)?;
            let rows = session.rows(sql, &bound, allowance).await?;
            rows.iter().map(text::row).collect()
        };
        let (mut rows, most) = (rows, config.max_rows as usize);
        let truncated = rows.len() > most;
        rows.truncate(most);
        let first = rows.first().and_then(|row| row.values().next());
        Ok(Outcome::unchanged(Outputs {
            value: first.cloned().unwrap_or(Value::Null),
            row_count: rows.len(),
            truncated,
            rows,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Query};
    use crate::step::StepType as _;
    use serde_json::json;

    fn check(sql: &str, bind: serde_json::Value) -> Result<(), String> {
        let config = json!({ "connection": "main", "sql": sql, "bind": bind });
        Query::check(&serde_json::from_value::<Config>(config).unwrap())
    }

    #[test]
    fn takes_one_statement_that_only_looks() {
        check("SELECT 1;", json!([])).unwrap();
        check("SHOW work_mem", json!([])).unwrap();
        check("SELECT $1::int + $2", json!([1, 2])).unwrap();
        for (sql, bind, said) in [
            ("SELECT 1; SELECT 2", json!([]), "one statement"),
            ("DELETE FROM t", json!([]), "postgres.execute"),
            (
                "SELECT pg_terminate_backend(1)",
                json!([]),
                "pg_terminate_backend",
            ),
            ("SELECT $2", json!([1]), "`$2`"),
            ("SELECT $1", json!([1, 2]), "binds 2 values"),
            ("", json!([]), "no statement"),
        ] {
            let error = check(sql, bind).unwrap_err();
            assert!(error.contains(said), "{sql}: {error}");
        }
    }
}
