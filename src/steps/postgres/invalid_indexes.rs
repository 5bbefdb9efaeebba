//! `postgres.invalid_indexes`: indexes that cost writes and help nobody.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asking::{self, Asking, Server, thirty_seconds};
use super::catalog::{LEFT_BY, WORKED_ON, size_of_index};
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
pub struct InvalidIndexes;

/// Finds the indexes of a PostgreSQL database that no query uses, because they were never finished.
///
/// A `CREATE INDEX CONCURRENTLY`, `REINDEX CONCURRENTLY` or `DROP INDEX CONCURRENTLY` that fails leaves an
/// index behind that is invalid: it takes space, mostly every write keeps it up, and where it is to be
/// unique nobody has proven that it is. Each is a warning. Indexes that somebody works on at this very
/// moment are left out.
///
/// What a failed `REINDEX CONCURRENTLY` has left (`…_ccnew`, `…_ccold`) is told from an index that was
/// wanted: it has the table and definition of another index, whose name its own begins with. Then
/// `leftover_of` names that one, and `postgres.reindex` of it drops the leftover.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: finish-indexes
/// secrets:
///   database_url: { env: DATABASE_URL }
/// connections:
///   main:
///     postgres: { url: "${{ secrets.database_url }}" }
/// steps:
///   - id: invalid
///     postgres.invalid_indexes: { connection: main }
///   - id: finish
///     foreach: { in: steps.invalid.outputs.indexes, as: index, max_parallel: 1 }
///     when: index.kind == "unfinished"
///     postgres.reindex: { connection: main, index: "${{ index.quoted }}" }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The database.
    pub connection: Conn<Postgres>,
    /// For everything: to connect, and to be answered.
    #[serde(default = "thirty_seconds")]
    pub timeout: Duration,
}

/// What was found.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// The invalid indexes, by name.
    pub indexes: Vec<Index>,
    /// What they take, in bytes; null where it could not be looked.
    pub total_bytes: Option<u64>,
}

/// An invalid index.
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
    /// What it is.
    pub kind: Kind,
    /// The index whose rebuild has left it, as SQL writes it; null for one that was wanted.
    pub leftover_of: Option<String>,
    /// Its size, in bytes.
    pub size_bytes: u64,
    /// Whether it is to be unique.
    pub unique: bool,
    /// Whether every write keeps it up.
    pub maintained: bool,
    /// Its number, by which it is told in two looks.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    oid: u32,
}

/// What an invalid index is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Somebody wanted it, and it was not finished (or half dropped).
    Unfinished,
    /// A rebuild that did not finish has left it.
    Leftover,
    /// Of a partitioned table of which some partition lacks it.
    Partitioned,
}

fn invalid() -> Sql {
    let sql = Sql::new(
        "SELECT i.indexrelid::int8 AS oid, n.nspname AS schema, c.relname AS name, \
         t.relname AS \"table\", format('%I.%I', n.nspname, c.relname) AS quoted, \
         CASE WHEN c.relkind = 'I' THEN 'partitioned' WHEN left_by.index IS NOT NULL THEN 'leftover' \
           ELSE 'unfinished' END AS kind, left_by.index AS leftover_of, \
         i.indisunique AS unique, i.indisready AS maintained, ",
    );
    size_of_index(sql)
        .then(
            "::int8 AS size_bytes FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
             JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
             LEFT JOIN LATERAL (SELECT format('%I.%I', n.nspname, b.relname) AS index \
               FROM pg_index bi JOIN pg_class b ON b.oid = bi.indexrelid WHERE ",
        )
        .then(LEFT_BY)
        .then(
            " ORDER BY bi.indisvalid DESC, length(b.relname) LIMIT 1) AS left_by ON true \
             WHERE NOT (i.indisvalid AND i.indisready AND i.indislive) AND NOT ",
        )
        .then(WORKED_ON)
        .then(" ORDER BY n.nspname, c.relname")
}

impl StepType for InvalidIndexes {
    const NAME: &'static str = "postgres.invalid_indexes";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        Description::line(format!("look for invalid indexes in `{connection}`"))
    }
}

impl Look for InvalidIndexes {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let server = Server {
            connection: &config.connection,
            timeout: config.timeout,
            in_need: false,
        };
        asking::look(host, server, Outputs::default(), async |asking, outputs| {
            outputs.indexes = find(asking).await?;
            let sizes = outputs.indexes.iter().map(|index| index.size_bytes);
            outputs.total_bytes = Some(sizes.sum());
            let subject = &config.connection.name;
            Ok(judge(subject, asking.shown(), &outputs.indexes))
        })
        .await
    }
}

/// Locks are looked at a moment after the catalog: an index that was finished in between is none in the
/// second look.
async fn find(asking: &Asking<'_>) -> Result<Vec<Index>, ReachError> {
    let first: Vec<Index> = asking.records(invalid(), &[]).await?;
    if first.is_empty() {
        return Ok(first);
    }
    let mut second: Vec<Index> = asking.records(invalid(), &[]).await?;
    second.retain(|index| first.iter().any(|before| before.oid == index.oid));
    Ok(second)
}

fn judge(subject: &str, shown: &str, indexes: &[Index]) -> Vec<Finding> {
    if indexes.is_empty() {
        return vec![Finding::ok(
            subject,
            format!("no index is invalid in {shown}"),
        )];
    }
    indexes.iter().map(finding).collect()
}

fn finding(index: &Index) -> Finding {
    let size = ByteSize(index.size_bytes);
    let kept = match index.maintained {
        true => " and is kept up by every write",
        false => "",
    };
    let (message, help) = match (index.kind, &index.leftover_of) {
        (Kind::Leftover, Some(of)) => (
            format!(
                "a REINDEX CONCURRENTLY of {of} that did not finish has left it; it takes {size}{kept}"
            ),
            "`postgres.reindex` of that index drops it",
        ),
        (Kind::Partitioned, _) => (
            "it is invalid: some partition has no such index".to_owned(),
            "build it on that partition, and `ALTER INDEX … ATTACH PARTITION`",
        ),
        _ if index.unique => (
            format!(
                "it was not finished: no query uses it, and that its values are unique is not proven; it \
                 takes {size}{kept}"
            ),
            "remove what is there twice, then `postgres.reindex`; or `DROP INDEX CONCURRENTLY`",
        ),
        _ => (
            format!("it was not finished: no query uses it; it takes {size}{kept}"),
            "finish it with `postgres.reindex`, or `DROP INDEX CONCURRENTLY`",
        ),
    };
    Finding::warning(&index.quoted, message).with_help(help)
}

#[cfg(test)]
mod tests {
    use super::{Index, Kind, judge};
    use crate::event::Level;

    #[test]
    fn each_says_what_it_is() {
        let index = |kind, leftover_of: Option<&str>, unique| Index {
            schema: "public".to_owned(),
            name: "i".to_owned(),
            table: "t".to_owned(),
            quoted: "public.i".to_owned(),
            kind,
            leftover_of: leftover_of.map(str::to_owned),
            size_bytes: 8192,
            unique,
            maintained: true,
            oid: 1,
        };
        assert_eq!(judge("main", "shop", &[])[0].level, Level::Ok);
        for (index, said) in [
            (index(Kind::Leftover, Some("public.k"), true), "of public.k"),
            (index(Kind::Unfinished, None, true), "unique is not proven"),
            (
                index(Kind::Unfinished, None, false),
                "kept up by every write",
            ),
            (index(Kind::Partitioned, None, false), "some partition"),
        ] {
            let findings = judge("main", "shop", &[index]);
            assert_eq!(findings[0].level, Level::Warning);
            assert!(findings[0].message.contains(said), "{findings:?}");
        }
    }
}
