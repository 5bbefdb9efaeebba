//! Which indexes are to be rebuilt, and whether they can be.

use serde::Deserialize;
use tokio_postgres::types::Type;

use super::Config;
use crate::event::Finding;
use crate::host::connect::postgres::sql::Sql;
use crate::host::reach::{Obstacle, ReachError};
use crate::step::StepError;
use crate::steps::postgres::catalog::{LEFT_BY, Leftover, leftovers, size_of_index};
use crate::steps::postgres::relation::{Answers, Relation};

/// An index that is to be rebuilt.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct Target {
    pub oid: u32,
    pub schema: String,
    pub name: String,
    /// Its table's name.
    pub table: String,
    /// Schema and name as SQL writes them.
    pub shown: String,
    pub bytes: u64,
    /// The owner of its table.
    pub owner: String,
    /// Whether this login may rebuild it.
    permitted: bool,
    /// Whether it is of an exclusion constraint, which cannot be rebuilt concurrently.
    exclusion: bool,
    /// Whether it is of one of PostgreSQL's own tables, which cannot either.
    system: bool,
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Plan {
    /// The index or table that was named, for people.
    pub shown: String,
    pub targets: Vec<Target>,
    /// Of the same table, and cannot be rebuilt concurrently.
    pub left_out: Vec<Target>,
    /// What is left of rebuilding them before.
    pub leftovers: Vec<Leftover>,
}

/// An index alone, or all of a table with those of its large values; of a partitioned one those of its
/// partitions, which `pg_inherits` tells without a lock. What a rebuild of another index has left, or somebody
/// rebuilds right now, is not one of a table's. REINDEX takes the owner of the table, and from 17
/// on whoever has MAINTAIN on it; numbers below 12000 are those of PostgreSQL's own catalogs.
const BEGIN: &str = "WITH RECURSIVE tree AS (\
       SELECT oid, reltoastrelid FROM pg_class WHERE oid = $1 \
       UNION ALL \
       SELECT c.oid, c.reltoastrelid FROM tree JOIN pg_inherits h ON h.inhparent = tree.oid \
       JOIN pg_class c ON c.oid = h.inhrelid AND c.relispartition) \
     SELECT c.oid::int8 AS oid, n.nspname AS schema, c.relname AS name, t.relname AS \"table\", \
       format('%I.%I', n.nspname, c.relname) AS shown, pg_get_userbyid(t.relowner) AS owner, \
       CASE WHEN current_setting('server_version_num')::int >= 170000 \
         THEN has_table_privilege(t.oid, 'MAINTAIN') \
         ELSE pg_has_role(t.relowner, 'USAGE') END AS permitted, \
       i.indisexclusion AS exclusion, t.oid::int8 < 12000 AS system, ";

const MIDDLE: &str = "::int8 AS bytes FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
     JOIN pg_class t ON t.oid = i.indrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind = 'i' AND CASE WHEN $2 THEN c.oid IN (SELECT oid FROM tree) \
       ELSE t.oid IN (SELECT oid FROM tree UNION SELECT reltoastrelid FROM tree) \
         AND NOT EXISTS (SELECT FROM pg_index bi JOIN pg_class b ON b.oid = bi.indexrelid WHERE ";

const END: &str = ") END ORDER BY n.nspname, t.relname, c.relname";

impl Plan {
    /// What `config` is about.
    ///
    /// # Errors
    /// When it is not there, or cannot be rebuilt by this login, or not so.
    pub async fn look(config: &Config, answers: &impl Answers) -> Result<Self, StepError> {
        let (name, is_index) = match (&config.index, &config.table) {
            (Some(index), _) => (index, true),
            (None, Some(table)) => (table, false),
            (None, None) => {
                return Err(StepError::permanent("neither `index` nor `table` is given"));
            }
        };
        let named = resolve(answers, name, is_index).await?;
        let sql = size_of_index(Sql::new(BEGIN)).then(MIDDLE);
        let sql = sql.then(LEFT_BY).then(END);
        let bound = [(&named.oid as _, Type::OID), (&is_index as _, Type::BOOL)];
        let found: Vec<Target> = answers.records(sql, &bound).await?;
        if let Some(others) = found.iter().find(|target| !target.permitted) {
            let message = format!(
                "could not rebuild {}: its table belongs to {}, and this login is no member of that role",
                others.shown, others.owner
            );
            let help = "use a login that is (from PostgreSQL 17 on, `GRANT MAINTAIN` is enough)";
            return Err(StepError::permanent(message).with_help(help));
        }
        let cannot = |target: &Target| config.concurrently && (target.exclusion || target.system);
        let (left_out, targets): (Vec<_>, Vec<_>) = found.into_iter().partition(cannot);
        // A table has other indexes that can be.
        if let Some(first) = left_out.first().filter(|first| is_index || first.system) {
            let message = format!(
                "could not rebuild {}: {}",
                first.shown,
                first.why_left_out()
            );
            return Err(StepError::permanent(message).with_help(BLOCKING_HELP));
        }
        let oids: Vec<u32> = targets.iter().map(|target| target.oid).collect();
        Ok(Self {
            shown: named.shown,
            leftovers: leftovers(answers, &oids).await?,
            targets,
            left_out,
        })
    }

    /// What all of them take, in bytes.
    pub fn bytes(&self) -> u64 {
        self.targets.iter().map(|target| target.bytes).sum()
    }

    /// What was asked for and is not done.
    pub fn findings(&self) -> Vec<Finding> {
        let finding = |target: &Target| {
            let message = format!("it was not rebuilt: {}", target.why_left_out());
            Finding::critical(&target.shown, message).with_help(BLOCKING_HELP)
        };
        self.left_out.iter().map(finding).collect()
    }
}

const BLOCKING_HELP: &str =
    "rebuild it by `index` with `concurrently: false`, at a time when nobody writes";

impl Target {
    /// Why it cannot be rebuilt concurrently.
    pub fn why_left_out(&self) -> &'static str {
        match self.system {
            true => "PostgreSQL does not rebuild indexes of its own catalogs concurrently",
            false => "PostgreSQL does not rebuild exclusion constraints concurrently",
        }
    }
}

async fn resolve(
    answers: &impl Answers,
    name: &str,
    is_index: bool,
) -> Result<Relation, ReachError> {
    let noun = if is_index { "index" } else { "table" };
    let action = format!("find the {noun} `{name}`");
    let found = Relation::resolve(answers, name).await.map_err(|error| {
        let cause = error
            .cause
            .replace("no such table", &format!("no such {noun}"));
        ReachError {
            action: action.clone(),
            cause,
            ..error
        }
    })?;
    let fits = match is_index {
        true => matches!(found.kind, 'i' | 'I'),
        false => matches!(found.kind, 'r' | 'p' | 'm' | 't'),
    };
    if fits {
        return Ok(found);
    }
    let cause = format!("{} is no {noun}", found.shown);
    let help = "`index` names an index, `table` a table or materialized view";
    Err(ReachError::new(Obstacle::Rejected, action, cause).with_help(help))
}
