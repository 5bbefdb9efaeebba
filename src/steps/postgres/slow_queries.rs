//! `postgres.slow_queries`: which statements take the time.

mod extension;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::extension::{EXTENSION, Extension, Source};
use super::asking::{self, Asking, Server, thirty_seconds};
use super::limits::{Limits, shown};
use super::text::one_line;
use crate::base::Duration;
use crate::base::count::{count, plural};
use crate::event::{EffectClass, Finding, RepeatClass};
use crate::host::Observe;
use crate::host::connect::Conn;
use crate::host::connect::postgres::Postgres;
use crate::host::connect::postgres::sql::Sql;
use crate::host::reach::ReachError;
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct SlowQueries;

/// What the list is ordered by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// The time of all calls together.
    #[default]
    TotalTime,
    /// The time of one call on average.
    MeanTime,
    /// The time of the longest call.
    MaxTime,
    /// How often it was called.
    Calls,
    /// How many rows it returned or changed.
    Rows,
}

/// Lists the statements that take the most time, as `pg_stat_statements` has counted them, and judges
/// how long one takes on average.
///
/// Times are those of execution, without planning. The extension counts since its statistics were reset
/// last (`since`), and forgets the statements that are called least. The columns are asked for as the
/// extension has them: a server that was upgraded keeps the old ones until `ALTER EXTENSION
/// pg_stat_statements UPDATE`.
///
/// What runbook itself asks, to look and to prepare its sessions, is left out (`left_out`), and so is what
/// only begins and ends transactions; what a `postgres.query` asks is not.
///
/// Where the extension is not there, not preloaded or not to be read, it is `unknown`, with what to do;
/// so it is where this login may not see the statements of others.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: slow-queries
/// secrets:
///   database_url: { env: DATABASE_URL }
/// connections:
///   main:
///     postgres: { url: "${{ secrets.database_url }}" }
/// steps:
///   - id: slow
///     postgres.slow_queries: { connection: main, order_by: mean_time, limit: 10, warn: 1s, fail: 10s }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database.
    pub connection: Conn<Postgres>,
    /// What the list is ordered by, the most first.
    #[serde(default)]
    pub order_by: Order,
    /// How many statements are listed at most, and how many findings there are at most.
    #[serde(default = "twenty")]
    #[schemars(range(min = 1, max = 1000))]
    pub limit: u32,
    /// Statements that were called less often do not count.
    #[serde(default = "five")]
    pub min_calls: u32,
    /// Whether those of all databases count, instead of this database's alone.
    #[serde(default)]
    pub all_databases: bool,
    /// A statement that takes longer on average is a warning.
    pub warn: Option<Duration>,
    /// A statement that takes longer on average is critical.
    pub fail: Option<Duration>,
    /// For everything: to connect, and to be answered.
    #[serde(default = "thirty_seconds")]
    pub timeout: Duration,
}

fn twenty() -> u32 {
    20
}

fn five() -> u32 {
    5
}

impl Config {
    fn limits(&self) -> Limits {
        Limits {
            warn: self.warn,
            fail: self.fail,
        }
    }
}

/// What was counted.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// The statements.
    pub queries: Vec<Query>,
    /// How many statements were called often enough to count; null where they cannot be read.
    pub statements: Option<u64>,
    /// How many are left out as runbook's own, or as the beginning or end of a transaction.
    pub left_out: Option<u64>,
    /// Since when it is counted, RFC 3339; null where the extension does not say (before 1.9).
    pub since: Option<String>,
    /// The version of the extension, such as `1.10`; null where it is not there.
    pub extension: Option<String>,
}

/// A statement. Constants in it are `$1`, `$2`, ….
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Query {
    /// What tells the statement from others, as text: it is larger than what JSON's numbers can be
    /// trusted with. Null where this login may not see it.
    pub query_id: Option<String>,
    /// The statement, on one line, 300 characters at most; null where this login may not see it.
    pub query: Option<String>,
    /// The user; null for one that is no more.
    pub user: Option<String>,
    /// The database; null for one that is no more.
    pub database: Option<String>,
    /// How often it was called.
    pub calls: u64,
    /// The time of all calls, in milliseconds.
    pub total_ms: f64,
    /// The time of one call on average, in milliseconds.
    pub mean_ms: f64,
    /// The time of the longest call, in milliseconds.
    pub max_ms: f64,
    /// The rows that all calls returned or changed.
    pub rows: u64,
    /// Of the blocks of tables that were read, how many the cache had, in percent; null where none was
    /// read.
    pub hit_percent: Option<f64>,
}

impl StepType for SlowQueries {
    const NAME: &'static str = "postgres.slow_queries";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        if config.limit == 0 {
            return Err("`limit` is at least 1: of no statement nothing is judged".to_owned());
        }
        config.limits().check()
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        Description::line(format!("list the slowest statements of `{connection}`"))
    }
}

impl Look for SlowQueries {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let server = Server {
            connection: &config.connection,
            timeout: config.timeout,
            in_need: false,
        };
        asking::look(host, server, Outputs::default(), async |asking, outputs| {
            let extension: Extension = asking.record(EXTENSION, &[]).await?;
            outputs.extension.clone_from(&extension.version);
            let source = match extension.source() {
                Ok(source) => source,
                Err((message, help)) => {
                    let finding = Finding::unknown(&config.connection.name, message);
                    return Ok(vec![finding.with_help(help)]);
                }
            };
            list(&config, &source, asking, outputs).await
        })
        .await
    }
}

/// The name of a time's column.
fn column(what: Order, renamed: bool) -> &'static str {
    match (what, renamed) {
        (Order::TotalTime, true) => "total_exec_time",
        (Order::TotalTime, false) => "total_time",
        (Order::MeanTime, true) => "mean_exec_time",
        (Order::MeanTime, false) => "mean_time",
        (Order::MaxTime, true) => "max_exec_time",
        (Order::MaxTime, false) => "max_time",
        (Order::Calls, _) => "calls",
        (Order::Rows, _) => "rows",
    }
}

/// What is left out: transactions' ends, and the shapes that our own questions have. An author's query has
/// that of `postgres.query`.
const LEFT_OUT: &str = r"(s.query ~* '^\s*(BEGIN|START\s+TRANSACTION|COMMIT|END|ROLLBACK|ABORT|SAVEPOINT|RELEASE)\M'
     OR starts_with(s.query, 'SELECT pg_catalog.set_config(')
     OR starts_with(s.query, 'SELECT coalesce(pg_catalog.json_agg(q)')
       AND s.query !~ '^[^(]*\(pg_catalog\.json_agg\(q\), [^)]*\)::pg_catalog\.text FROM \(SELECT \* FROM \(')";

/// The statements that count.
fn counted(config: &Config, source: &Source<'_>) -> Sql {
    called(config, source)
        .then(" AND ")
        .then(LEFT_OUT)
        .then(" IS NOT TRUE")
}

/// The statements that are called often enough, ours among them.
fn called(config: &Config, source: &Source<'_>) -> Sql {
    let time = |what| column(what, source.renamed);
    let sql = Sql::new(
        "SELECT s.queryid::text AS query_id, \
           CASE WHEN s.queryid IS NOT NULL THEN s.query END AS query, \
           r.rolname AS user, d.datname AS database, s.calls, s.rows, s.",
    )
    .then(time(Order::TotalTime))
    .then(" AS total_ms, s.")
    .then(time(Order::MeanTime))
    .then(" AS mean_ms, s.")
    .then(time(Order::MaxTime))
    .then(
        " AS max_ms, round(100.0 * s.shared_blks_hit \
           / nullif(s.shared_blks_hit + s.shared_blks_read, 0), 1) AS hit_percent FROM ",
    )
    .qualified(source.schema, "pg_stat_statements")
    .then(
        " s LEFT JOIN pg_roles r ON r.oid = s.userid LEFT JOIN pg_database d ON d.oid = s.dbid \
         WHERE s.calls >= ",
    )
    .number(config.min_calls.into());
    match config.all_databases {
        true => sql,
        false => sql.then(" AND d.datname = current_database()"),
    }
}

/// The first of them.
fn first(config: &Config, source: &Source<'_>, by: Order) -> Sql {
    counted(config, source)
        .then(" ORDER BY s.")
        .then(column(by, source.renamed))
        .then(" DESC, s.queryid LIMIT ")
        .number(config.limit.into())
}

/// How many there are, and of how many this login may not see what they are.
#[derive(Debug, Deserialize)]
struct Number {
    statements: u64,
    hidden: u64,
    left_out: u64,
}

#[derive(Debug, Deserialize)]
struct Since {
    since: Option<String>,
}

async fn list(
    config: &Config,
    source: &Source<'_>,
    asking: &Asking<'_>,
    outputs: &mut Outputs,
) -> Result<Vec<Finding>, ReachError> {
    let read = async |by| {
        let rows: Vec<Query> = asking.records(first(config, source, by), &[]).await?;
        let short = |query: Query| Query {
            query: query.query.as_deref().map(one_line),
            ..query
        };
        Ok::<_, ReachError>(rows.into_iter().map(short).collect::<Vec<_>>())
    };
    outputs.queries = read(config.order_by).await?;
    let by_mean = match config.order_by {
        Order::MeanTime => outputs.queries.clone(),
        _ => read(Order::MeanTime).await?,
    };
    let number = Sql::new(
        "SELECT count(*) FILTER (WHERE NOT ours) AS statements, \
         count(*) FILTER (WHERE query_id IS NULL) AS hidden, count(*) FILTER (WHERE ours) AS left_out \
         FROM (SELECT s.query_id, coalesce(",
    )
    .then(LEFT_OUT)
    .then(", false) AS ours FROM (")
    .sql(&called(config, source))
    .then(") AS s) AS counted");
    let number: Number = asking.record(number, &[]).await?;
    outputs.statements = Some(number.statements);
    outputs.left_out = Some(number.left_out);
    if source.has_info {
        let info = Sql::new("SELECT stats_reset AS since FROM ")
            .qualified(source.schema, "pg_stat_statements_info");
        let info: Since = asking.record(info, &[]).await?;
        outputs.since = info.since;
    }
    Ok(judge(config, asking.shown(), &number, &by_mean))
}

/// `by_mean` is the slowest of one call on average, the slowest first.
fn judge(config: &Config, shown_as: &str, number: &Number, by_mean: &[Query]) -> Vec<Finding> {
    let subject = &config.connection.name;
    let mut findings = Vec::new();
    for query in by_mean {
        let mean = query.mean_ms / 1000.0;
        let (level, Some(limit)) = config.limits().judge(mean) else {
            break;
        };
        let message = format!(
            "a statement takes {} on average, longer than {limit}, and was called {} times by {}: {}",
            shown(mean),
            count(query.calls),
            query.user.as_deref().unwrap_or("a user that is no more"),
            query.query.as_deref().unwrap_or("(not to be seen)"),
        );
        findings.push(Finding::new(level, subject, message));
    }
    if findings.is_empty() {
        let counted = plural(
            usize::try_from(number.statements).unwrap_or(usize::MAX),
            "statement",
        );
        let slowest = by_mean.first().map_or_else(String::new, |query| {
            format!(
                "; the slowest takes {} on average",
                shown(query.mean_ms / 1000.0)
            )
        });
        let left_out = match number.left_out {
            0 => String::new(),
            many => format!(
                " ({} of runbook itself or of transactions left out)",
                count(many)
            ),
        };
        let message = format!(
            "{counted} with {} calls or more at {shown_as}{slowest}{left_out}",
            config.min_calls
        );
        findings.push(Finding::ok(subject, message));
    }
    if number.hidden > 0 {
        let message = format!(
            "of {} statements this login may not see what they are",
            number.hidden
        );
        let help = "make the login a member of `pg_read_all_stats`";
        findings.push(Finding::unknown(subject, message).with_help(help));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{Config, Number, Query, SlowQueries, Source, first, judge};
    use crate::event::Level;
    use crate::step::StepType as _;
    use serde_json::json;

    fn config(more: serde_json::Value) -> Config {
        let mut config = json!({ "connection": "main" });
        let (into, more) = (config.as_object_mut().unwrap(), more.as_object().unwrap());
        into.extend(more.clone());
        serde_json::from_value(config).unwrap()
    }

    #[test]
    fn columns_are_named_as_the_view_names_them() {
        let ask = |renamed| {
            let source = Source {
                schema: "My \"Stats\"",
                renamed,
                has_info: false,
            };
            let sql = first(&config(json!({})), &source, super::Order::TotalTime);
            sql.text().to_owned()
        };
        assert!(ask(true).contains("ORDER BY s.total_exec_time DESC"));
        assert!(ask(false).contains("ORDER BY s.total_time DESC"));
        assert!(ask(false).contains("FROM \"My \"\"Stats\"\"\".\"pg_stat_statements\" s"));
    }

    #[test]
    fn every_statement_beyond_a_limit_is_a_finding() {
        let limits = json!({ "warn": "1s", "fail": "10s" });
        let number = |hidden| Number {
            statements: 3,
            hidden,
            left_out: 0,
        };
        let queries: Vec<Query> = { [11_000.0, 1_500.0, 900.0].iter() }
            .map(|&mean_ms| Query {
                mean_ms,
                ..Query::default()
            })
            .collect();
        let levels = |config: &Config, hidden| -> Vec<Level> {
            let findings = judge(config, "shop", &number(hidden), &queries);
            findings.into_iter().map(|it| it.level).collect()
        };
        let limited = config(limits);
        assert_eq!(levels(&limited, 0), [Level::Critical, Level::Warning]);
        assert_eq!(levels(&config(json!({})), 0), [Level::Ok]);
        assert_eq!(levels(&config(json!({})), 2), [Level::Ok, Level::Unknown]);
        let none = json!({ "warn": "1s", "limit": 0 });
        assert!(SlowQueries::check(&config(none)).is_err());
    }
}
