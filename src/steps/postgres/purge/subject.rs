//! What is known of a table before rows of it are deleted: where they lie, what else goes with them, and
//! whether the archive takes them.

use serde::Deserialize;
use tokio_postgres::types::Type;

use super::Config;
use crate::host::connect::postgres::Bound;
use crate::host::connect::postgres::sql::{Predicate, Sql};
use crate::host::reach::{Obstacle, ReachError};
use crate::step::StepError;
use crate::steps::postgres::relation::{Answers, Relation};

/// A table of which rows are to go.
#[derive(Debug)]
pub(super) struct Subject {
    /// The table that was named.
    pub table: Relation,
    /// The tables in which its rows lie: itself, its partitions, its children.
    pub leaves: Vec<Leaf>,
    /// Foreign keys that refer to it, and those that refer to what they delete.
    pub references: Vec<Reference>,
    /// Triggers that fire for each deleted row or statement.
    pub triggers: Vec<Trigger>,
    /// Where the rows are moved.
    pub archive: Option<Target>,
}

/// A table that has rows itself.
#[derive(Debug, Deserialize)]
pub(super) struct Leaf {
    pub oid: u32,
    /// How many rows and blocks the statistics say that it has; -1 and 0 where they say nothing.
    pub rows: f64,
    pub pages: f64,
    pub schema: String,
    pub name: String,
    kind: char,
}

/// A foreign key.
#[derive(Debug, Deserialize)]
pub(super) struct Reference {
    name: String,
    from: String,
    to: String,
    /// `pg_constraint.confdeltype`.
    action: char,
    /// Whether an index finds the rows that refer to one.
    indexed: bool,
}

/// A trigger.
#[derive(Debug, Deserialize)]
pub(super) struct Trigger {
    name: String,
    function: String,
    /// The table, where it is another one.
    of: Option<String>,
}

/// An archive, and the columns that are moved.
#[derive(Debug)]
pub(super) struct Target {
    pub table: Relation,
    pub columns: Vec<String>,
}

#[derive(Deserialize)]
struct Rights {
    select: bool,
    delete: bool,
    filtered: bool,
}

#[derive(Deserialize)]
struct Column {
    name: String,
    ty: String,
    /// The type of the archive's column of that name.
    theirs: Option<String>,
    generated: bool,
}

/// The rights of this login, and whether row security keeps rows from it.
const RIGHTS: &str = "SELECT has_table_privilege($1::oid, 'SELECT') \
       OR has_any_column_privilege($1::oid, 'SELECT') AS select, \
     has_table_privilege($1::oid, 'DELETE') AS delete, \
     row_security_active($1::oid) AS filtered";

/// The tables of the tree under one, itself included, but those that have no rows of their own.
const LEAVES: &str = "WITH RECURSIVE tree AS (\
       SELECT $1::oid AS oid \
       UNION SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid) \
     SELECT c.oid::int8 AS oid, n.nspname AS schema, c.relname AS name, c.relkind AS kind, \
       c.reltuples::float8 AS rows, c.relpages::float8 AS pages \
     FROM tree JOIN pg_class c ON c.oid = tree.oid JOIN pg_namespace n ON n.oid = c.relnamespace \
     WHERE c.relkind <> 'p' ORDER BY c.oid";

/// The tables of which rows are deleted: the tree under one, and what refers to it with ON DELETE CASCADE.
/// PostgreSQL's manual, `pg_constraint`.
macro_rules! gone {
    () => {
        "WITH RECURSIVE gone AS (\
           SELECT $1::oid AS oid \
           UNION SELECT more.oid FROM gone CROSS JOIN LATERAL (\
             SELECT i.inhrelid AS oid FROM pg_inherits i WHERE i.inhparent = gone.oid \
             UNION ALL SELECT r.conrelid FROM pg_constraint r WHERE r.confrelid = gone.oid \
               AND r.contype = 'f' AND r.confdeltype = 'c') AS more)"
    };
}

/// A foreign key with a partitioned table has one row for each partition too, which says nothing more.
const REFERENCES: &str = concat!(
    gone!(),
    ", keys AS (SELECT r.* FROM pg_constraint r JOIN gone ON r.confrelid = gone.oid \
       WHERE r.contype = 'f') \
     SELECT r.conname AS name, r.conrelid::regclass::text AS \"from\", \
       r.confrelid::regclass::text AS \"to\", r.confdeltype AS action, \
       EXISTS (SELECT FROM pg_index i WHERE i.indrelid = r.conrelid AND i.indpred IS NULL \
         AND i.indisvalid AND (i.indkey::int2[])[0:cardinality(r.conkey) - 1] @> r.conkey) AS indexed \
     FROM keys r WHERE NOT EXISTS (SELECT FROM keys k WHERE k.oid = r.conparentid) \
     ORDER BY r.confdeltype = 'c' DESC, 2, 1"
);

/// The triggers that fire for a deleted row, and where a foreign key overwrites rows (SET NULL, SET DEFAULT)
/// for those. PostgreSQL's source, `pg_trigger.h`: bits 3 and 4 of `tgtype` are DELETE and UPDATE. A trigger
/// of a partitioned table is there for each partition once more (`tgparentid`).
const TRIGGERS: &str = concat!(
    gone!(),
    ", changed AS (SELECT r.conrelid AS oid FROM pg_constraint r JOIN gone ON r.confrelid = gone.oid \
       WHERE r.contype = 'f' AND r.confdeltype IN ('n', 'd')) \
     SELECT t.tgname AS name, t.tgfoid::regprocedure::text AS function, \
       CASE WHEN t.tgrelid <> $1::oid THEN t.tgrelid::regclass::text END AS \"of\" \
     FROM pg_trigger t WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgparentid = 0 \
       AND (t.tgtype & 8 <> 0 AND t.tgrelid IN (SELECT oid FROM gone) \
         OR t.tgtype & 16 <> 0 AND t.tgrelid IN (SELECT oid FROM changed)) \
     ORDER BY t.tgrelid <> $1::oid, t.tgrelid::regclass::text, 1"
);

/// Rules that put something else in the place of a deletion, or beside it.
const RULES: &str = concat!(
    gone!(),
    " SELECT r.rulename || ' of ' || r.ev_class::regclass::text AS name FROM pg_rewrite r \
     WHERE r.ev_class IN (SELECT oid FROM gone) AND r.ev_type = '4' AND r.ev_enabled <> 'D' ORDER BY 1"
);

/// The columns of a table, and what the archive has under the same names.
const COLUMNS: &str = "SELECT a.attname AS name, format_type(a.atttypid, a.atttypmod) AS ty, \
       format_type(b.atttypid, b.atttypmod) AS theirs, \
       coalesce(b.attgenerated <> '', false) AS generated \
     FROM pg_attribute a LEFT JOIN pg_attribute b ON b.attrelid = $2::oid AND b.attname = a.attname \
       AND b.attnum > 0 AND NOT b.attisdropped \
     WHERE a.attrelid = $1::oid AND a.attnum > 0 AND NOT a.attisdropped ORDER BY a.attnum";

/// What could keep a row from getting into the archive without an error: a trigger that turns it away
/// (bits 1 and 2 of `tgtype` are BEFORE and INSERT), on a part of it too, or a rule.
const DETOURS: &str = "WITH RECURSIVE tree AS (\
       SELECT $1::oid AS oid \
       UNION SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid) \
     SELECT t.tgname || ' of ' || t.tgrelid::regclass::text AS name FROM pg_trigger t JOIN tree ON t.tgrelid = tree.oid \
       WHERE NOT t.tgisinternal AND t.tgenabled <> 'D' AND t.tgtype & 6 = 6 \
     UNION ALL SELECT r.rulename || ' of ' || r.ev_class::regclass::text \
       FROM pg_rewrite r JOIN tree ON r.ev_class = tree.oid WHERE r.ev_type = '3' AND r.ev_enabled <> 'D'";

/// Columns that children have and their parent has not: the archive, made like the parent, would lose them.
const MORE_COLUMNS: &str = "WITH RECURSIVE tree AS (\
       SELECT $1::oid AS oid \
       UNION SELECT i.inhrelid FROM pg_inherits i JOIN tree ON i.inhparent = tree.oid) \
     SELECT a.attname || ' of ' || a.attrelid::regclass::text AS name \
     FROM pg_attribute a JOIN tree ON a.attrelid = tree.oid \
     WHERE a.attnum > 0 AND NOT a.attisdropped AND NOT EXISTS (SELECT FROM pg_attribute p \
       WHERE p.attrelid = $1::oid AND p.attname = a.attname AND NOT p.attisdropped) ORDER BY 1 LIMIT 1";

#[derive(Deserialize)]
struct Named {
    name: String,
}

impl Subject {
    /// Looks at the table, and refuses what cannot or must not be purged.
    pub async fn look(answers: &impl Answers, config: &Config) -> Result<Self, StepError> {
        let table = Relation::resolve(answers, &config.table).await?;
        may_be_purged(&table)?;
        let oid = i64::from(table.oid);
        let by_oid: [Bound<'_>; 1] = [(&oid, Type::INT8)];
        let leaves: Vec<Leaf> = answers.records(LEAVES.into(), &by_oid).await?;
        if let Some(leaf) = leaves.iter().find(|leaf| leaf.kind != 'r') {
            let cause = format!("its part {}.{} is a foreign table", leaf.schema, leaf.name);
            return Err(refused(&table, &cause, "purge its other parts one by one"));
        }
        rights(answers, &table, leaves.len()).await?;
        let rules: Vec<Named> = answers.records(RULES.into(), &by_oid).await?;
        if let Some(Named { name }) = rules.first() {
            let cause = format!("the rule {name} does something else for a deletion, or more");
            return Err(refused(&table, &cause, "put a trigger in its place"));
        }
        let subject = Self {
            references: answers.records(REFERENCES.into(), &by_oid).await?,
            triggers: answers.records(TRIGGERS.into(), &by_oid).await?,
            archive: match &config.archive {
                None => None,
                Some(archive) => Some(target(answers, &table, &archive.table).await?),
            },
            leaves,
            table,
        };
        let takes_more: Vec<String> = { subject.references.iter() }
            .filter(|reference| reference.changes_others())
            .map(Reference::said)
            .collect();
        if !takes_more.is_empty() && !config.cascade {
            let more = takes_more.join("; ");
            let cause = format!("rows of other tables would be deleted or overwritten too: {more}");
            let help = "if that is wanted, say `cascade: true`";
            return Err(refused(&subject.table, &cause, help));
        }
        Ok(subject)
    }

    /// How many rows match.
    pub async fn count(
        &self,
        answers: &impl Answers,
        predicate: &Predicate,
        bound: &[Bound<'_>],
    ) -> Result<u64, ReachError> {
        #[derive(Deserialize)]
        struct Counted {
            rows: u64,
        }
        let sql = self.matching(Sql::new("SELECT count(*) AS rows"), predicate);
        let counted: Vec<Counted> = answers.records(sql, bound).await?;
        Ok(counted.first().map_or(0, |counted| counted.rows))
    }

    /// `begin` with the matching rows of the whole table.
    pub fn matching(&self, begin: Sql, predicate: &Predicate) -> Sql {
        let Relation { schema, name, .. } = &self.table;
        let sql = begin.then(" FROM ").qualified(schema, name);
        // What the author calls it, whatever its schema.
        let sql = sql.then(" AS ").name(name).then(" WHERE ");
        sql.predicate(predicate)
    }

    /// What else happens, one a line.
    pub fn items(&self) -> Vec<String> {
        let references = self.references.iter().map(Reference::said);
        let triggers = { self.triggers.iter() }.map(Trigger::said);
        references.chain(triggers).collect()
    }

    /// The foreign keys for which every deleted row means that a whole table is read.
    pub fn slow(&self) -> impl Iterator<Item = String> {
        let slow = self
            .references
            .iter()
            .filter(|reference| !reference.indexed);
        slow.map(|reference| {
            let Reference { name, from, .. } = reference;
            format!(
                "foreign key {name} of {from} has no index: {from} was read for each deleted row"
            )
        })
    }
}

impl Reference {
    fn changes_others(&self) -> bool {
        matches!(self.action, 'c' | 'n' | 'd')
    }

    fn said(&self) -> String {
        let action = match self.action {
            'c' => "CASCADE",
            'n' => "SET NULL",
            'd' => "SET DEFAULT",
            'r' => "RESTRICT",
            _ => "NO ACTION",
        };
        let Self { name, from, to, .. } = self;
        format!("foreign key {name} of {from} to {to}: ON DELETE {action}")
    }
}

impl Trigger {
    fn said(&self) -> String {
        let Self { name, function, of } = self;
        let of = of.as_ref().map(|table| format!(" of {table}"));
        format!("trigger {name}{} calls {function}", of.unwrap_or_default())
    }
}

fn refused(table: &Relation, cause: &str, help: &str) -> StepError {
    let message = format!("could not purge {}: {cause}", table.shown);
    StepError::permanent(message).with_help(help)
}

fn may_be_purged(table: &Relation) -> Result<(), StepError> {
    let what = match table.kind {
        'r' | 'p' => return Ok(()),
        'v' | 'm' => "it is a view",
        'f' => "it is a foreign table",
        _ => "it is no table",
    };
    Err(refused(table, what, "name the table itself"))
}

async fn rights(answers: &impl Answers, table: &Relation, leaves: usize) -> Result<(), StepError> {
    let oid = i64::from(table.oid);
    let rights: Vec<Rights> = answers
        .records(RIGHTS.into(), &[(&oid, Type::INT8)])
        .await?;
    for Rights {
        select,
        delete,
        filtered,
    } in rights
    {
        if !(select && delete) {
            let error = ReachError::new(
                Obstacle::Forbidden,
                format!("purge {}", table.shown),
                format!(
                    "it belongs to {}, and this login may not delete its rows",
                    table.owner
                ),
            );
            let help = "`GRANT SELECT, DELETE` on it to the login";
            return Err(error.with_help(help).into());
        }
        // Row security of a table says nothing of its partitions, which are read one by one.
        if filtered && (leaves > 1 || table.kind == 'p') {
            let cause = "row security of it does not hold for its parts";
            return Err(refused(
                table,
                cause,
                "purge its parts one by one, or as their owner",
            ));
        }
    }
    Ok(())
}

async fn target(
    answers: &impl Answers,
    table: &Relation,
    archive: &str,
) -> Result<Target, StepError> {
    let to = Relation::resolve(answers, archive).await?;
    let wrong = |cause: String| {
        let message = format!("could not archive {} in {}: {cause}", table.shown, to.shown);
        let help = "make the archive with the same columns: `CREATE TABLE … (LIKE …)`";
        StepError::permanent(message).with_help(help)
    };
    if !matches!(to.kind, 'r' | 'p') {
        return Err(wrong("it is no table".to_owned()));
    }
    let (from_oid, to_oid) = (i64::from(table.oid), i64::from(to.oid));
    let by_oid: [Bound<'_>; 1] = [(&from_oid, Type::INT8)];
    let to_by_oid: [Bound<'_>; 1] = [(&to_oid, Type::INT8)];
    let own: Vec<Leaf> = answers.records(LEAVES.into(), &by_oid).await?;
    let theirs: Vec<Leaf> = answers.records(LEAVES.into(), &to_by_oid).await?;
    let is_own = |leaf: &Leaf| own.iter().any(|own| own.oid == leaf.oid);
    if to.oid == table.oid || theirs.iter().any(is_own) {
        return Err(wrong("rows of the one are rows of the other".to_owned()));
    }
    let more: Vec<Named> = answers.records(MORE_COLUMNS.into(), &by_oid).await?;
    if let Some(Named { name }) = more.first() {
        let message = format!(
            "could not archive {} in {}: it has no column {name}, which is a child of {}",
            table.shown, to.shown, table.shown
        );
        let help = "archive the child by itself, in a table like it";
        return Err(StepError::permanent(message).with_help(help));
    }
    let detours: Vec<Named> = answers.records(DETOURS.into(), &to_by_oid).await?;
    if let Some(Named { name }) = detours.first() {
        return Err(wrong(format!(
            "its trigger or rule {name} could turn rows away"
        )));
    }
    let both: [Bound<'_>; 2] = [(&from_oid, Type::INT8), (&to_oid, Type::INT8)];
    let columns: Vec<Column> = answers.records(COLUMNS.into(), &both).await?;
    for Column {
        name,
        ty,
        theirs,
        generated,
    } in &columns
    {
        match theirs {
            None => return Err(wrong(format!("it has no column {name}"))),
            Some(_) if *generated => return Err(wrong(format!("its column {name} is generated"))),
            Some(theirs) if theirs != ty => {
                return Err(wrong(format!("its column {name} is {theirs}, not {ty}")));
            }
            Some(_) => {}
        }
    }
    Ok(Target {
        table: to,
        columns: columns.into_iter().map(|column| column.name).collect(),
    })
}
