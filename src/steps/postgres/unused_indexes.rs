//! `postgres.unused_indexes`: indexes that every write keeps up, and nobody has read.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;

use super::asking::{self, Asking, Server, thirty_seconds};
use super::catalog::{LOCKED, size_of_index};
use crate::base::count::count;
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
pub struct UnusedIndexes;

/// Finds the indexes of a PostgreSQL database that no query has used.
///
/// An index is unused when the server has counted no scan of it since the statistics began: since they
/// were reset, or lost in a crash. From PostgreSQL 16 on, one whose last scan is longer ago than `min_age`
/// is unused too. Where the statistics are younger than `min_age`, nothing is said about any index, and
/// that is `unknown`.
///
/// An index that does something else than to be scanned is never called unused, but put out in `kept` with
/// the reason: primary keys, unique ones and exclusions, whatever backs a constraint, a replica identity,
/// one by which its table is clustered, and one whose first columns are those of a foreign key of its
/// table (without it, to delete a row of the other table reads this whole one). Invalid ones are left to
/// `postgres.invalid_indexes`. An index of a partitioned table is one with those of all partitions.
///
/// Each server counts for itself: an index that the primary does not use may be one that standbys do, so
/// ask there as well before one is dropped. An index over an expression also gives the planner statistics
/// of it. How old an index is, PostgreSQL does not know: a new one has not been used either.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: unused-indexes
/// secrets:
///   database_url: { env: DATABASE_URL }
/// connections:
///   main:
///     postgres: { url: "${{ secrets.database_url }}" }
/// steps:
///   - id: unused
///     postgres.unused_indexes: { connection: main, min_size: 50MB, min_age: 60d }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database.
    pub connection: Conn<Postgres>,
    /// Only indexes that are at least as large.
    #[serde(default = "ten_megabytes")]
    pub min_size: ByteSize,
    /// For how long the server must have counted.
    #[serde(default = "thirty_days")]
    pub min_age: Duration,
    /// For everything: to connect, and to be answered.
    #[serde(default = "thirty_seconds")]
    pub timeout: Duration,
}

fn ten_megabytes() -> ByteSize {
    ByteSize(10_000_000)
}

fn thirty_days() -> Duration {
    Duration::from_secs(30 * 24 * 60 * 60)
}

/// What was found.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// The unused indexes, the largest first; none where the statistics are too young.
    pub indexes: Vec<Index>,
    /// Those that nobody has scanned either, and that are there for something else.
    pub kept: Vec<Index>,
    /// What the unused ones take, in bytes; null where it could not be looked.
    pub total_bytes: Option<u64>,
    /// Since when the server has counted; null where that is not known.
    pub counted_since: Option<String>,
    /// For how long that is, in seconds.
    pub counted_s: Option<f64>,
    /// How many standbys and other receivers of its log are connected to this server;
    /// null where it could not be looked.
    pub replicas: Option<u32>,
}

/// An index that nobody has scanned.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Index {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its table's name.
    pub table: String,
    /// Schema and name as SQL writes them.
    pub quoted: String,
    /// Its size, in bytes.
    pub size_bytes: u64,
    /// How often it was scanned; above 0 only where that is longer ago than `min_age`.
    pub scans: u64,
    /// When it was scanned last, from PostgreSQL 16 on.
    pub last_scan: Option<String>,
    /// How it is defined, as SQL; null where its table is locked.
    pub definition: Option<String>,
    /// What it is there for; null where nothing is known.
    pub reason: Option<String>,
}

/// Since when is counted.
#[derive(Debug, Deserialize)]
struct Counted {
    since: Option<String>,
    seconds: Option<f64>,
    counts: bool,
    replicas: u32,
}

/// A crash loses the counts. From 15 on that does not show in `pg_stat_database`, but in what is counted
/// for the whole server: all of that begins anew, while somebody who resets a part of it leaves the others.
const COUNTED: &str = "SELECT since, \
     extract(epoch FROM clock_timestamp() - since)::float8 AS seconds, \
     current_setting('track_counts')::bool AS counts, \
     (SELECT count(*) FROM pg_stat_replication) AS replicas \
     FROM (SELECT greatest(d.stats_reset, least(b.stats_reset, a.stats_reset)) AS since \
       FROM pg_stat_database d, pg_stat_bgwriter b, pg_stat_archiver a \
       WHERE d.datname = current_database()) AS s";

const UNIT: &str = "::int8 AS bytes, \
         coalesce(pg_partition_root(c.oid)::oid, c.oid) AS unit \
       FROM pg_class c WHERE c.relkind = 'i' AND c.relpersistence <> 't'), \
     unit AS MATERIALIZED (\
       SELECT unit AS oid, sum(bytes)::int8 AS bytes, sum(pg_stat_get_numscans(leaf.oid))::int8 AS scans, ";

/// Of what an index is there for, the manual's `pg_index` and `pg_constraint`.
const UNUSED: &str = " AS last_scan FROM leaf GROUP BY unit) \
     SELECT n.nspname AS schema, c.relname AS name, t.relname AS \"table\", \
       format('%I.%I', n.nspname, c.relname) AS quoted, unit.bytes AS size_bytes, \
       unit.scans, unit.last_scan, \
       CASE WHEN t.oid NOT IN (SELECT relation FROM held) \
         THEN pg_get_indexdef(c.oid) END AS definition, \
       CASE WHEN i.indisprimary THEN 'primary key' WHEN i.indisexclusion THEN 'exclusion constraint' \
         WHEN i.indisreplident THEN 'replica identity' WHEN i.indisunique THEN 'unique' \
         WHEN k.conname IS NOT NULL THEN 'constraint ' || quote_ident(k.conname) \
         WHEN f.conname IS NOT NULL THEN 'foreign key ' || quote_ident(f.conname) \
         WHEN i.indisclustered THEN 'its table is clustered by it' END AS reason \
     FROM unit JOIN pg_index i ON i.indexrelid = unit.oid JOIN pg_class c ON c.oid = unit.oid \
     JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
     LEFT JOIN LATERAL (SELECT conname FROM pg_constraint k WHERE k.conindid = unit.oid \
       AND k.contype <> 'f' LIMIT 1) AS k ON true \
     LEFT JOIN LATERAL (SELECT conname FROM pg_constraint f \
       WHERE f.contype = 'f' AND f.conrelid = i.indrelid AND cardinality(f.conkey) <= i.indnkeyatts \
         AND (SELECT array_agg(a ORDER BY a) FROM unnest(f.conkey) AS a) \
           = (SELECT array_agg(i.indkey[at] ORDER BY i.indkey[at]) \
              FROM generate_series(0, cardinality(f.conkey) - 1) AS at) \
       ORDER BY conname LIMIT 1) AS f ON true \
     WHERE i.indisvalid AND i.indisready AND i.indislive AND unit.bytes >= $1 \
       AND (unit.scans = 0 OR unit.last_scan < clock_timestamp() - make_interval(secs => $2)) \
       AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') \
     ORDER BY unit.bytes DESC, n.nspname, c.relname";

/// From this version on the server knows when an index was scanned last.
const LAST_SCAN: u32 = 160_000;

fn unused(version: u32) -> Sql {
    let sql = Sql::new("WITH held AS MATERIALIZED ")
        .then(LOCKED)
        .then(", leaf AS MATERIALIZED (SELECT c.oid, ");
    let sql = size_of_index(sql).then(UNIT);
    let sql = match version >= LAST_SCAN {
        true => sql.then("max(pg_stat_get_lastscan(leaf.oid))"),
        false => sql.then("NULL::timestamptz"),
    };
    sql.then(UNUSED)
}

impl StepType for UnusedIndexes {
    const NAME: &'static str = "postgres.unused_indexes";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        Description::line(format!("look for unused indexes in `{connection}`"))
    }
}

impl Look for UnusedIndexes {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let server = Server {
            connection: &config.connection,
            timeout: config.timeout,
            in_need: false,
        };
        asking::look(host, server, Outputs::default(), async |asking, outputs| {
            find(&config, asking, outputs).await
        })
        .await
    }
}

async fn find(
    config: &Config,
    asking: &Asking<'_>,
    outputs: &mut Outputs,
) -> Result<Vec<Finding>, ReachError> {
    let subject = &config.connection.name;
    let counted: Counted = asking.record(COUNTED, &[]).await?;
    outputs.replicas = Some(counted.replicas);
    if let Some(finding) = too_young(config, &counted) {
        outputs.counted_since = counted.since;
        outputs.counted_s = counted.seconds;
        return Ok(vec![finding]);
    }
    let least = i64::try_from(config.min_size.0).unwrap_or(i64::MAX);
    let age = config.min_age.as_secs_f64();
    let bound = [(&least as _, Type::INT8), (&age as _, Type::FLOAT8)];
    let found: Vec<Index> = asking.records(unused(asking.version()), &bound).await?;
    (outputs.kept, outputs.indexes) = found.into_iter().partition(|index| index.reason.is_some());
    let sizes = outputs.indexes.iter().map(|index| index.size_bytes);
    outputs.total_bytes = Some(sizes.sum());
    let since = counted.since.as_deref().unwrap_or("ever");
    let mut findings: Vec<Finding> = { outputs.indexes.iter() }
        .map(|index| finding(index, since, counted.replicas))
        .collect();
    if findings.is_empty() {
        let message = format!(
            "every index of at least {} in {} was used since {since}, or is there for something else ({})",
            config.min_size,
            asking.shown(),
            count(outputs.kept.len() as u64)
        );
        findings.push(Finding::ok(subject, message));
    }
    outputs.counted_since = counted.since;
    outputs.counted_s = counted.seconds;
    Ok(findings)
}

/// Why nothing can be said.
fn too_young(config: &Config, counted: &Counted) -> Option<Finding> {
    let subject = &config.connection.name;
    if !counted.counts {
        let message = "the server does not count how indexes are used";
        let finding = Finding::unknown(subject, message);
        return Some(finding.with_help("turn on `track_counts`"));
    }
    let seconds = counted.seconds.unwrap_or(0.0).max(0.0);
    if seconds >= config.min_age.as_secs_f64() {
        return None;
    }
    let age = Duration::from_secs(seconds as u64);
    let message = format!(
        "the server has counted for {age} only, and `min_age` is {}: its statistics were reset, or lost in \
         a crash, or it is new",
        config.min_age
    );
    Some(Finding::unknown(subject, message).with_help("ask again when they are older"))
}

fn finding(index: &Index, since: &str, replicas: u32) -> Finding {
    let size = ByteSize(index.size_bytes);
    let message = match &index.last_scan {
        Some(last) => format!("nobody has used it since {last}; it takes {size}"),
        None => format!("nobody has used it since {since}; it takes {size}"),
    };
    let help = match replicas {
        0 => "drop it, where nothing rare needs it: `DROP INDEX CONCURRENTLY`",
        _ => "ask the standbys too: they count for themselves; then `DROP INDEX CONCURRENTLY`",
    };
    Finding::warning(&index.quoted, message).with_help(help)
}

#[cfg(test)]
mod tests {
    use super::{Config, Counted, LAST_SCAN, too_young, unused};
    use crate::event::Level;
    use serde_json::json;

    #[test]
    fn young_statistics_say_nothing() {
        let config = json!({ "connection": "main", "min_age": "1h" });
        let config: Config = serde_json::from_value(config).unwrap();
        let counted = |seconds, counts| Counted {
            since: None,
            seconds,
            counts,
            replicas: 0,
        };
        assert!(too_young(&config, &counted(Some(3600.0), true)).is_none());
        for young in [
            counted(Some(3599.0), true),
            counted(None, true),
            counted(Some(1e9), false),
        ] {
            let finding = too_young(&config, &young).unwrap();
            assert_eq!(finding.level, Level::Unknown);
        }
    }

    #[test]
    fn only_later_servers_know_the_last_scan() {
        let asks = |version| unused(version).text().contains("pg_stat_get_lastscan");
        assert!(!asks(LAST_SCAN - 1));
        assert!(asks(LAST_SCAN));
    }
}
