//! The tables that upkeep is about: which are there, which of them need it, and whose they are.

use std::collections::BTreeMap;

use serde::Deserialize;
use tokio_postgres::types::Type;

use super::relation::{Answers, Relation};
use crate::base::Duration;
use crate::base::count::{count, plural};
use crate::base::field::Percent;
use crate::event::{Finding, Level};
use crate::host::connect::postgres::sql::Sql;
use crate::host::connect::postgres::{Notice, PgEffect};
use crate::host::net::Allowance;
use crate::host::reach::{Obstacle, ReachError};
use crate::step::StepError;

/// How long a statement waits for a lock, unless told otherwise.
pub(super) fn five_seconds() -> Duration {
    Duration::from_secs(5)
}

/// A table, and what the server has counted of it.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Table {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// Both as SQL writes them: for people.
    pub shown: String,
    /// `pg_class.relkind`.
    pub kind: char,
    pub owner: String,
    /// Whether this login may do it.
    pub permitted: bool,
    /// Rows, by the server's estimate.
    pub live: u64,
    /// Dead rows, by the server's count.
    pub dead: u64,
    /// Rows that were changed since they were analyzed last.
    pub changed: u64,
    /// Whether the server knows of no ANALYZE.
    pub never_analyzed: bool,
    /// Whether the server counts at all (`track_counts`).
    pub counted: bool,
}

impl Table {
    /// `verb "s"."t"`, with the names as they are.
    pub fn after(&self, sql: Sql) -> Sql {
        sql.qualified(&self.schema, &self.name)
    }
}

/// What one statement is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unit {
    /// A table with all its partitions.
    Whole,
    /// Each partition by itself.
    Leaf,
}

/// Counts are of `pg_stat_all_tables`, whose functions take no lock; so does `pg_inherits`, while
/// `pg_partition_tree()` waits for whoever locks a partition. A login may maintain what it owns, all of a
/// database that it owns (but what all databases share), and from 17 on what it has MAINTAIN on
/// (`vacuum_is_permitted_for_relation` of the server). That the server has never analyzed a partitioned
/// table it knows from 14 on.
const TABLES: &str = "WITH RECURSIVE tree AS (\
       SELECT c.oid AS top, c.oid AS part, c.relkind AS kind FROM pg_class c \
       JOIN pg_namespace n ON n.oid = c.relnamespace \
       WHERE CASE WHEN $1::oid[] IS NULL \
         THEN c.relkind IN ('r', 'm', 'p') AND NOT c.relispartition AND c.relpersistence <> 't' \
           AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast') \
         ELSE c.oid = ANY ($1) END \
       UNION ALL \
       SELECT tree.top, c.oid, c.relkind FROM tree \
       JOIN pg_inherits i ON i.inhparent = tree.part \
       JOIN pg_class c ON c.oid = i.inhrelid AND c.relispartition), \
     leaf AS (\
       SELECT top, part, pg_stat_get_live_tuples(part) AS live, pg_stat_get_dead_tuples(part) AS dead, \
         pg_stat_get_mod_since_analyze(part) AS changed, \
         pg_stat_get_last_analyze_time(part) IS NULL \
           AND pg_stat_get_last_autoanalyze_time(part) IS NULL AS never \
       FROM tree WHERE kind IN ('r', 'm', 't') OR kind = 'f' AND part = top), \
     unit AS (\
       SELECT CASE WHEN $2 THEN part ELSE top END AS oid, \
         max(live) AS live, max(dead) AS dead, max(changed) AS changed, bool_or(never) AS never \
       FROM leaf WHERE $2 GROUP BY 1 \
       UNION ALL \
       SELECT top, sum(live), sum(dead), sum(changed), bool_or(never) \
       FROM leaf WHERE NOT $2 GROUP BY top) \
     SELECT c.oid::int8 AS oid, n.nspname AS schema, c.relname AS name, \
       format('%I.%I', n.nspname, c.relname) AS shown, c.relkind AS kind, \
       pg_get_userbyid(c.relowner) AS owner, \
       d.owned AND NOT c.relisshared OR CASE WHEN d.version >= 170000 \
         THEN has_table_privilege(c.oid, 'MAINTAIN') \
         ELSE pg_has_role(c.relowner, 'USAGE') END AS permitted, \
       unit.live::int8 AS live, unit.dead::int8 AS dead, unit.changed::int8 AS changed, \
       CASE WHEN c.relkind = 'p' AND d.version >= 140000 \
         THEN pg_stat_get_last_analyze_time(c.oid) IS NULL \
           AND pg_stat_get_last_autoanalyze_time(c.oid) IS NULL \
         ELSE unit.never END AS never_analyzed, \
       current_setting('track_counts')::bool AS counted \
     FROM unit JOIN pg_class c USING (oid) JOIN pg_namespace n ON n.oid = c.relnamespace, \
     (SELECT pg_has_role(datdba, 'USAGE') AS owned, \
        current_setting('server_version_num')::int AS version \
      FROM pg_database WHERE datname = current_database()) AS d \
     ORDER BY n.nspname, c.relname";

/// From how much on it is worth it; what is not said does not matter.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Threshold {
    pub rows: Option<u64>,
    pub percent: Option<Percent>,
}

impl Threshold {
    /// Whether `rows` of `all` reach it.
    pub fn is_reached(self, rows: u64, all: u64) -> bool {
        let share = rows as f64 * 100.0 / (all.max(1) as f64);
        self.rows.is_none_or(|least| rows >= least)
            && self.percent.is_none_or(|least| share >= least.0)
    }

    fn is_set(self) -> bool {
        self.rows.is_some() || self.percent.is_some()
    }
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Chosen {
    /// Those that need it, by name.
    pub due: Vec<Table>,
    /// Those that need it and are others'; none where tables were asked for by name.
    pub others: Vec<Table>,
    /// Whether tables were asked for by name.
    pub named: bool,
}

/// Chooses among the tables of `names`, or among all of the database.
pub(super) async fn choose(
    answers: &impl Answers,
    names: Option<&[String]>,
    unit: Unit,
    threshold: Threshold,
    is_due: impl Fn(&Table) -> bool,
) -> Result<Chosen, StepError> {
    let numbers = match names {
        None => None,
        Some(names) => Some(oids(answers, names).await?),
    };
    let leaves = unit == Unit::Leaf;
    let bound: [(&(dyn tokio_postgres::types::ToSql + Sync), Type); 2] =
        [(&numbers, Type::OID_ARRAY), (&leaves, Type::BOOL)];
    let tables: Vec<Table> = answers.records(Sql::new(TABLES), &bound).await?;
    if threshold.is_set() && tables.iter().any(|table| !table.counted) {
        let message = "could not tell which tables need it: the server does not count rows";
        let help = "turn on `track_counts`, or leave out the limits";
        return Err(StepError::permanent(message).with_help(help));
    }
    let due = tables.into_iter().filter(|table| is_due(table));
    let named = names.is_some();
    let (due, others) = due.partition(|table| named || table.permitted);
    Ok(Chosen { due, others, named })
}

/// The numbers of the tables of these names.
pub(super) async fn oids(answers: &impl Answers, names: &[String]) -> Result<Vec<u32>, ReachError> {
    let mut oids = Vec::new();
    for name in names {
        let relation = Relation::resolve(answers, name).await?;
        if !matches!(relation.kind, 'r' | 'm' | 'p' | 'f' | 't') {
            let action = format!("use {} as a table", relation.shown);
            let cause = "it is no table and no materialized view";
            return Err(ReachError::new(Obstacle::Rejected, action, cause));
        }
        oids.push(relation.oid);
    }
    Ok(oids)
}

impl Chosen {
    /// One finding about the tables that need it and are others'.
    pub fn others(&self, subject: &str, verb: &str) -> Option<Finding> {
        if self.others.is_empty() {
            return None;
        }
        let mut owners: BTreeMap<&str, usize> = BTreeMap::new();
        for table in &self.others {
            *owners.entry(&table.owner).or_default() += 1;
        }
        let owners = owners.iter().map(|(owner, tables)| match tables {
            1 => (*owner).to_owned(),
            more => format!("{owner} ({})", count(*more)),
        });
        let message = format!(
            "{} not {verb}, because this login does not own them: of {}",
            plural(self.others.len(), "table"),
            owners.collect::<Vec<_>>().join(", ")
        );
        let help = "use a login that is a member of their owners (17 and later: `GRANT MAINTAIN`)";
        Some(Finding::warning(subject, message).with_help(help))
    }
}

/// Prepares a session for statements that take long and must not wait long.
pub(super) async fn prepare(
    session: &PgEffect<'_>,
    lock_timeout: Duration,
    allowance: Allowance,
) -> Result<(), ReachError> {
    session.set_statement_limit(allowance).await?;
    session.set_lock_timeout(lock_timeout, allowance).await
}

/// What the server said beside a statement about `table`. Whoever asked for a table and gets a WARNING
/// did not get what was asked for, whatever the status.
pub(super) fn said(table: &Table, warning: Level, notices: &[Notice]) -> Vec<Finding> {
    let finding = |notice: &Notice| {
        let level = match notice.is_warning() {
            true => warning,
            false => Level::Ok,
        };
        let detail = notice.detail.as_ref().map(|detail| format!(" ({detail})"));
        let message = format!(
            "the server says: {}{}",
            notice.message,
            detail.unwrap_or_default()
        );
        let finding = Finding::new(level, &table.shown, message);
        match (&notice.hint, table.permitted) {
            (Some(hint), _) => finding.with_help(hint.clone()),
            (None, false) => {
                finding.with_help(format!("it belongs to {}: use that login", table.owner))
            }
            (None, true) => finding,
        }
    };
    notices.iter().map(finding).collect()
}

/// An error about one table as a finding: the others are still done.
///
/// # Errors
/// Where the server or the run is in trouble, and not the table.
pub(super) fn failed(table: &Table, error: ReachError) -> Result<Finding, ReachError> {
    if !is_about_one(error.obstacle) {
        return Err(error);
    }
    let finding = Finding::critical(&table.shown, error.cause.clone());
    Ok(match error.obstacle == Obstacle::Locked {
        true => finding.with_help(
            "somebody else holds a lock on it: look at `postgres.locks`, or give it a longer \
             `lock_timeout`",
        ),
        false => match error.help {
            Some(help) => finding.with_help(help),
            None => finding,
        },
    })
}

/// Whether it is about what was asked for, and not about the server or the run.
pub(super) fn is_about_one(obstacle: Obstacle) -> bool {
    matches!(
        obstacle,
        Obstacle::Locked | Obstacle::Rejected | Obstacle::Forbidden
    )
}

/// What names must be, where they are given.
pub(super) fn check(names: Option<&[String]>) -> Result<(), String> {
    match names {
        Some([]) => Err("`tables` is empty; leave it out for all tables".to_owned()),
        Some(names) if names.iter().any(|name| name.trim().is_empty()) => {
            Err("a name in `tables` is empty".to_owned())
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::{Chosen, Table, Threshold};
    use crate::base::field::Percent;

    fn table(owner: &str) -> Table {
        Table {
            oid: 1,
            schema: "public".to_owned(),
            name: "t".to_owned(),
            shown: "public.t".to_owned(),
            kind: 'r',
            owner: owner.to_owned(),
            permitted: false,
            live: 0,
            dead: 0,
            changed: 0,
            never_analyzed: false,
            counted: true,
        }
    }

    #[test]
    fn every_limit_that_is_given_must_be_reached() {
        let reached = |rows, percent: Option<f64>| {
            let percent = percent.map(Percent);
            Threshold { rows, percent }.is_reached(50, 1000)
        };
        assert!(reached(None, None));
        assert!(reached(Some(50), Some(5.0)));
        assert!(!reached(Some(51), None));
        assert!(!reached(Some(1), Some(5.1)));
        let some = Threshold {
            percent: Some(Percent(20.0)),
            rows: None,
        };
        assert!(!some.is_reached(0, 0));
    }

    #[test]
    fn says_whose_the_others_are() {
        let chosen = Chosen {
            due: Vec::new(),
            others: vec![table("bob"), table("alice"), table("bob")],
            named: false,
        };
        let finding = chosen.others("main", "analyzed").unwrap();
        assert_eq!(
            finding.message,
            "3 tables not analyzed, because this login does not own them: of alice, bob (2)"
        );
    }
}
