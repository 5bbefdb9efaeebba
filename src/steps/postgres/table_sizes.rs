//! `postgres.table_sizes`: what takes the space in a database.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;

use super::asking::{self, Asking, Server, thirty_seconds};
use super::catalog::LOCKED;
use crate::base::count::{count, plural};
use crate::base::{ByteSize, Duration};
use crate::event::{EffectClass, Finding, RepeatClass};
use crate::host::Observe;
use crate::host::connect::Conn;
use crate::host::connect::postgres::Postgres;
use crate::host::connect::postgres::sql::Sql;
use crate::host::reach::ReachError;
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct TableSizes;

/// Tells how large the tables of a PostgreSQL database are: rows, TOAST and indexes apart.
///
/// Tables and materialized views count; temporary ones and PostgreSQL's own do not. A partitioned table
/// is one with all its partitions, unless `partitions: apart`. Names are put out as they are (`schema`,
/// `name`) and as SQL writes them (`quoted`), whatever is in them.
///
/// It waits for nobody's lock: a table on which somebody holds ACCESS EXCLUSIVE (VACUUM FULL, ALTER
/// TABLE), or waits for it, is left out and `unknown`.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: largest-tables
/// secrets:
///   database_url: { env: DATABASE_URL }
/// connections:
///   main:
///     postgres: { url: "${{ secrets.database_url }}" }
/// steps:
///   - id: sizes
///     postgres.table_sizes: { connection: main, limit: 10, min_size: 100MB }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database.
    pub connection: Conn<Postgres>,
    /// Only tables of these schemas, each as it is called, without quotes. All but PostgreSQL's own by
    /// default.
    #[schemars(length(min = 1))]
    pub schemas: Option<Vec<String>>,
    /// Only tables that are at least as large, with their indexes.
    #[serde(default = "nothing")]
    pub min_size: ByteSize,
    /// The most tables that are put out: the largest ones.
    #[serde(default = "twenty")]
    #[schemars(range(min = 1, max = 10_000))]
    pub limit: usize,
    /// Whether partitions are summed up in their table, or told apart.
    #[serde(default)]
    pub partitions: Partitions,
    /// For everything: to connect, and to be answered.
    #[serde(default = "thirty_seconds")]
    pub timeout: Duration,
}

/// How partitioned tables are told.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Partitions {
    /// As one table with all its partitions.
    #[default]
    Summed,
    /// Each partition as a table of its own.
    Apart,
}

fn nothing() -> ByteSize {
    ByteSize(0)
}

fn twenty() -> usize {
    20
}

/// What was found.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// The tables, the largest first.
    pub tables: Vec<Table>,
    /// How many there are, of whatever size; null where it could not be looked.
    pub table_count: Option<usize>,
    /// What all of them take with their indexes, in bytes; null where it could not be looked.
    pub total_bytes: Option<u64>,
    /// Those that were locked, as SQL writes their names: they are not in any sum.
    pub locked: Vec<String>,
}

/// A table and its size.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Both as SQL writes them: to be used in `table`.
    pub quoted: String,
    /// What it is.
    pub kind: Kind,
    /// Its rows, in bytes, with its maps of free space and visibility; without large values.
    pub table_bytes: u64,
    /// Its large values (TOAST) with their index, in bytes.
    pub toast_bytes: u64,
    /// Its indexes, in bytes.
    pub index_bytes: u64,
    /// All of it, in bytes.
    pub total_bytes: u64,
    /// How many rows it has, by the server's estimate; null where it has none.
    pub rows: Option<u64>,
    /// How many dead rows it has, by the server's count.
    pub dead_rows: u64,
    /// How many partitions are summed up in it; 0 for one that is not partitioned.
    pub partitions: u64,
    /// The partitioned table that it is a part of, as SQL writes it; null where it is none.
    pub partition_of: Option<String>,
    /// Whether it could not be measured.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    locked: bool,
}

/// What holds rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A table, or a partition that is told apart.
    Table,
    /// A partitioned table with its partitions.
    PartitionedTable,
    /// A materialized view.
    MaterializedView,
}

/// PostgreSQL's manual, "Database Object Size Functions" and "Partition Information": a partition's root is
/// read without a lock. `reltuples` is -1 (0 on 13) where nothing is known.
const FROM: &str = ", \
     unit AS MATERIALIZED (\
       SELECT c.oid, c.reltoastrelid AS toast, c.reltuples AS rows, \
         pg_partition_root(c.oid) AS root, \
         CASE WHEN $1 THEN coalesce(pg_partition_root(c.oid), c.oid) ELSE c.oid END AS unit, \
         c.oid IN (SELECT oid FROM busy) OR c.reltoastrelid IN (SELECT oid FROM busy) AS locked \
       FROM pg_class c WHERE c.relkind IN ('r', 'm') AND c.relpersistence <> 't'), \
     chosen AS MATERIALIZED (\
       SELECT unit.*, n.nspname AS schema, u.relname AS name, u.relkind AS kind \
       FROM unit JOIN pg_class u ON u.oid = unit.unit JOIN pg_namespace n ON n.oid = u.relnamespace \
       WHERE CASE WHEN $2::text[] IS NULL \
         THEN n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') \
         ELSE n.nspname::text = ANY ($2) END), \
     sized AS MATERIALIZED (\
       SELECT chosen.*, \
         CASE WHEN NOT locked THEN coalesce(pg_total_relation_size(oid), 0) ELSE 0 END AS total_bytes, \
         CASE WHEN NOT locked THEN coalesce(pg_indexes_size(oid), 0) ELSE 0 END AS index_bytes, \
         CASE WHEN NOT locked AND toast <> 0 \
           THEN coalesce(pg_total_relation_size(toast), 0) ELSE 0 END AS toast_bytes \
       FROM chosen) \
     SELECT schema, name, format('%I.%I', schema, name) AS quoted, \
       CASE kind WHEN 'p' THEN 'partitioned_table' WHEN 'm' THEN 'materialized_view' \
         ELSE 'table' END AS kind, \
       greatest(sum(total_bytes - index_bytes - toast_bytes), 0)::int8 AS table_bytes, \
       sum(toast_bytes)::int8 AS toast_bytes, sum(index_bytes)::int8 AS index_bytes, \
       sum(total_bytes)::int8 AS total_bytes, \
       sum(CASE WHEN rows >= 0 THEN rows END)::int8 AS rows, \
       sum(pg_stat_get_dead_tuples(oid))::int8 AS dead_rows, \
       count(*) FILTER (WHERE kind = 'p') AS partitions, \
       (SELECT format('%I.%I', n.nspname, p.relname) FROM pg_class p \
         JOIN pg_namespace n ON n.oid = p.relnamespace \
         WHERE p.oid = nullif(min(root::oid::int8)::oid, unit)) AS partition_of, \
       bool_or(locked) AS locked \
     FROM sized GROUP BY unit, schema, name, kind ORDER BY total_bytes DESC, schema, name";

fn sizes() -> Sql {
    Sql::new("WITH held AS MATERIALIZED ")
        .then(LOCKED)
        .then(
            ", busy AS MATERIALIZED (SELECT relation AS oid FROM held \
             UNION SELECT i.indrelid FROM pg_index i JOIN held ON held.relation = i.indexrelid)",
        )
        .then(FROM)
}

const MISSING: &str = "SELECT wanted AS name FROM unnest($1::text[]) AS wanted \
     WHERE wanted NOT IN (SELECT nspname::text FROM pg_namespace) ORDER BY 1";

#[derive(Debug, Deserialize)]
struct Missing {
    name: String,
}

impl StepType for TableSizes {
    const NAME: &'static str = "postgres.table_sizes";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        if config.schemas.as_ref().is_some_and(Vec::is_empty) {
            return Err("`schemas` is empty; leave it out for all schemas".to_owned());
        }
        if config.limit == 0 {
            return Err("`limit` is at least 1".to_owned());
        }
        Ok(())
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        let limit = config.text("limit").unwrap_or_else(|| "20".to_owned());
        Description::line(format!(
            "measure the {limit} largest tables of `{connection}`"
        ))
    }
}

impl Look for TableSizes {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let server = Server {
            connection: &config.connection,
            timeout: config.timeout,
            in_need: false,
        };
        asking::look(host, server, Outputs::default(), async |asking, outputs| {
            let mut findings = measure(&config, asking, outputs).await?;
            let subject = &config.connection.name;
            findings.insert(0, Finding::ok(subject, summary(asking.shown(), outputs)));
            Ok(findings)
        })
        .await
    }
}

async fn measure(
    config: &Config,
    asking: &Asking<'_>,
    outputs: &mut Outputs,
) -> Result<Vec<Finding>, ReachError> {
    let summed = config.partitions == Partitions::Summed;
    let found: Vec<Table> = asking
        .records(
            sizes(),
            &[(&summed, Type::BOOL), (&config.schemas, Type::TEXT_ARRAY)],
        )
        .await?;
    let mut findings = Vec::new();
    outputs.table_count = Some(found.len());
    let mut total = 0;
    for table in found {
        if table.locked {
            let message = "its size is not known: somebody locks it (ACCESS EXCLUSIVE)";
            let help = "look at `postgres.locks`, and measure it again when that is over";
            findings.push(Finding::unknown(&table.quoted, message).with_help(help));
            outputs.locked.push(table.quoted);
            continue;
        }
        total += table.total_bytes;
        if table.total_bytes >= config.min_size.0 && outputs.tables.len() < config.limit {
            outputs.tables.push(table);
        }
    }
    outputs.total_bytes = Some(total);
    if config.schemas.is_some() {
        let bound = [(&config.schemas as _, Type::TEXT_ARRAY)];
        let missing: Vec<Missing> = asking.records(MISSING, &bound).await?;
        let finding = |Missing { name }| {
            let help = "write it as it is called, without quotes";
            Finding::unknown(name, "there is no such schema").with_help(help)
        };
        findings.extend(missing.into_iter().map(finding));
    }
    Ok(findings)
}

fn summary(shown: &str, outputs: &Outputs) -> String {
    let tables = plural(outputs.table_count.unwrap_or_default(), "table");
    let total = ByteSize(outputs.total_bytes.unwrap_or_default());
    let mut message = format!("{tables} take {total} in {shown}");
    if let Some(largest) = outputs.tables.first() {
        message.push_str(&format!(
            "; the largest is {} with {}",
            largest.quoted,
            ByteSize(largest.total_bytes)
        ));
    }
    if !outputs.locked.is_empty() {
        message.push_str(&format!(
            "; {} not measured",
            count(outputs.locked.len() as u64)
        ));
    }
    message
}
