//! `postgres.index_bloat`: how much of an index is air.

mod ask;
mod pages;
mod read;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio_postgres::types::Type;

use self::ask::Candidate;
use self::read::{NotKnown, Reader};
use super::asking::{self, Asking, Server, thirty_seconds};
use crate::base::count::count;
use crate::base::field::Percent;
use crate::base::{ByteSize, Duration};
use crate::event::{EffectClass, Finding, Level, RepeatClass};
use crate::host::Observe;
use crate::host::connect::Conn;
use crate::host::connect::postgres::Postgres;
use crate::host::reach::ReachError;
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct IndexBloat;

/// Tells how much smaller the B-tree indexes of a PostgreSQL database would be if they were built anew.
///
/// What counts is the difference to an index that `postgres.reindex` has just built with the same fill
/// factor, so that one without bloat has 0 %, and not 10. There are two ways to know it, and each index
/// says which of them it was (`method`):
///
/// - `exact`: `pgstatindex()` of the extension `pgstattuple` reads the whole index. The login must be a
///   member of `pg_stat_scan_tables`.
/// - `estimate`: from the average length and the number of different values of its columns (`pg_stats`)
///   and the number of its entries (`pg_class`), by PostgreSQL's own page layout. It is as good as the
///   last ANALYZE, and a few percent off where values differ in length. Where columns depend on each
///   other it rather says too little.
///
/// Indexes of other methods (GIN, GiST, …) are listed in `not_judged`, and so are those that could not be
/// judged, with the reason; the latter are `unknown`. Those of PostgreSQL's own tables, of TOAST and of
/// temporary tables are left out.
///
/// # Changes
///
/// Nothing. `exact` reads the indexes from disk.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: rebuild-bloated-indexes
/// secrets:
///   database_url: { env: DATABASE_URL }
/// connections:
///   main:
///     postgres: { url: "${{ secrets.database_url }}" }
/// steps:
///   - id: bloat
///     postgres.index_bloat: { connection: main, min_size: 10MB, warn: 30 }
///   - id: reindex
///     foreach: { in: steps.bloat.outputs.indexes, as: index, max_parallel: 1 }
///     when: index.bloat_percent > 30
///     postgres.reindex: { connection: main, index: "${{ index.quoted }}" }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database.
    pub connection: Conn<Postgres>,
    /// Only indexes that are at least as large.
    #[serde(default = "ten_megabytes")]
    pub min_size: ByteSize,
    /// How it is found out.
    #[serde(default)]
    pub method: Method,
    /// A warning for an index from this much bloat on, in percent of its size.
    #[serde(default = "thirty")]
    pub warn: Percent,
    /// Critical from this much bloat on; never without it.
    pub fail: Option<Percent>,
    /// For everything: to connect, and to be answered. What could not be read by then is estimated, where
    /// `method` is `auto`.
    #[serde(default = "thirty_seconds")]
    pub timeout: Duration,
}

/// How bloat is found out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Method {
    /// Exactly where that can be had, by estimate elsewhere.
    #[default]
    Auto,
    /// By reading the whole index; `unknown` where that cannot be.
    Exact,
    /// From statistics.
    Estimate,
}

fn ten_megabytes() -> ByteSize {
    ByteSize(10_000_000)
}

fn thirty() -> Percent {
    Percent(30.0)
}

/// What was found.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// The indexes that were judged, those with the most bloat first.
    pub indexes: Vec<Index>,
    /// Those that are large enough, and were not judged.
    pub not_judged: Vec<NotJudged>,
    /// What the judged ones take, in bytes; null where it could not be looked.
    pub size_bytes: Option<u64>,
    /// How much of it is bloat, in bytes; null where it could not be looked.
    pub bloat_bytes: Option<u64>,
}

/// An index that was judged.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Index {
    /// Its schema.
    pub schema: String,
    /// Its name.
    pub name: String,
    /// Its table's name.
    pub table: String,
    /// Schema and name as SQL writes them: for `index` of `postgres.reindex`.
    pub quoted: String,
    /// Its size, in bytes.
    pub size_bytes: u64,
    /// By how much smaller it would be, in percent of its size.
    pub bloat_percent: f64,
    /// By how much smaller it would be, in bytes.
    pub bloat_bytes: u64,
    /// How that was found out.
    pub method: Found,
}

/// How bloat was found out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Found {
    /// By `pgstatindex()`.
    Exact,
    /// From statistics.
    Estimate,
}

/// An index that was not judged.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct NotJudged {
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
    /// Why.
    pub reason: String,
}

impl StepType for IndexBloat {
    const NAME: &'static str = "postgres.index_bloat";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        match config.fail {
            Some(fail) if config.warn > fail => {
                Err("`warn` is above `fail`, so it would never be reached".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        let least = config.text("min_size").unwrap_or_else(|| "10MB".to_owned());
        Description::line(format!(
            "judge the bloat of the indexes of `{connection}` from {least} on"
        ))
    }
}

impl Look for IndexBloat {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let server = Server {
            connection: &config.connection,
            timeout: config.timeout,
            in_need: false,
        };
        asking::look(host, server, Outputs::default(), async |asking, outputs| {
            judge_all(&config, asking, outputs).await
        })
        .await
    }
}

async fn judge_all(
    config: &Config,
    asking: &Asking<'_>,
    outputs: &mut Outputs,
) -> Result<Vec<Finding>, ReachError> {
    let subject = &config.connection.name;
    let least = i64::try_from(config.min_size.0).unwrap_or(i64::MAX);
    let bound = [(&least as _, Type::INT8)];
    let candidates: Vec<Candidate> = asking.records(ask::candidates(), &bound).await?;
    let mut findings = Vec::new();
    let mut reader = Reader::new(config.method, asking, subject, &mut findings).await?;
    for candidate in &candidates {
        if let Some(reason) = candidate.is_none_of_ours() {
            outputs.not_judged.push(candidate.not_judged(reason));
            continue;
        }
        match reader.judge(candidate).await? {
            Ok(index) => {
                outputs.indexes.push(index);
            }
            Err(NotKnown { reason, help }) => {
                let message = format!("its bloat is not known: {reason}");
                findings.push(Finding::unknown(&candidate.quoted, message).with_help(help));
                outputs.not_judged.push(candidate.not_judged(reason));
            }
        }
    }
    let sum = |of: fn(&Index) -> u64| Some(outputs.indexes.iter().map(of).sum());
    let (size, bloat) = (sum(|it| it.size_bytes), sum(|it| it.bloat_bytes));
    (outputs.size_bytes, outputs.bloat_bytes) = (size, bloat);
    outputs
        .indexes
        .sort_by_key(|index| std::cmp::Reverse(index.bloat_bytes));
    findings.extend(
        outputs
            .indexes
            .iter()
            .filter_map(|index| weigh(config, index)),
    );
    findings.insert(
        0,
        Finding::ok(subject, summary(config, asking.shown(), outputs)),
    );
    Ok(findings)
}

/// A finding about an index that reaches a limit.
fn weigh(config: &Config, index: &Index) -> Option<Finding> {
    let percent = index.bloat_percent;
    let (level, limit) = match config.fail {
        Some(fail) if percent >= fail.0 => (Level::Critical, ("fail", fail)),
        _ if percent >= config.warn.0 => (Level::Warning, ("warn", config.warn)),
        _ => return None,
    };
    let how = match index.method {
        Found::Exact => "counted",
        Found::Estimate => "estimated",
    };
    let message = format!(
        "{percent} % of its {} are bloat, as {how} ({} {} %)",
        ByteSize(index.size_bytes),
        limit.0,
        limit.1.0
    );
    let help = "`postgres.reindex` builds it anew";
    Some(Finding::new(level, &index.quoted, message).with_help(help))
}

fn summary(config: &Config, shown: &str, outputs: &Outputs) -> String {
    let exact = { outputs.indexes.iter() }.filter(|index| index.method == Found::Exact);
    let exact = exact.count();
    let estimated = outputs.indexes.len() - exact;
    format!(
        "{} of at least {} in {shown}: {} of {} are bloat ({exact} counted, {estimated} estimated, {} not \
         judged)",
        match outputs.indexes.len() {
            1 => "1 B-tree index".to_owned(),
            many => format!("{} B-tree indexes", count(many)),
        },
        config.min_size,
        ByteSize(outputs.bloat_bytes.unwrap_or_default()),
        ByteSize(outputs.size_bytes.unwrap_or_default()),
        outputs.not_judged.len()
    )
}

#[cfg(test)]
mod tests {
    use super::{Config, Found, Index, weigh};
    use crate::event::Level;
    use serde_json::json;

    #[test]
    fn a_limit_counts_from_its_own_value_on() {
        let config = json!({ "connection": "main", "warn": 30, "fail": 60 });
        let config: Config = serde_json::from_value(config).unwrap();
        for (percent, level) in [
            (29.9, None),
            (30.0, Some(Level::Warning)),
            (60.0, Some(Level::Critical)),
        ] {
            let index = Index {
                schema: "public".to_owned(),
                name: "i".to_owned(),
                table: "t".to_owned(),
                quoted: "public.i".to_owned(),
                size_bytes: 100,
                bloat_percent: percent,
                bloat_bytes: 1,
                method: Found::Estimate,
            };
            let finding = weigh(&config, &index);
            assert_eq!(finding.map(|finding| finding.level), level, "{percent}");
        }
    }
}
