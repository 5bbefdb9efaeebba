//! What all types about tables and indexes read in the catalog, and how: parts of their SQL, and what a
//! rebuild that did not finish has left.
//!
//! None of it waits for a lock: `pg_relation_size()` and its like would, for whoever holds ACCESS
//! EXCLUSIVE.

use serde::Deserialize;
use tokio_postgres::types::Type;

use super::relation::Answers;
use crate::host::connect::postgres::sql::Sql;
use crate::host::reach::ReachError;

/// The relations on which somebody else holds ACCESS EXCLUSIVE, or waits for it, so that we would wait
/// too: of PostgreSQL's manual, "Explicit Locking" and `pg_locks`. A prepared transaction has no pid.
pub(super) const LOCKED: &str = "(SELECT k.relation FROM pg_locks k WHERE k.locktype = 'relation' \
     AND k.mode = 'AccessExclusiveLock' AND k.pid IS DISTINCT FROM pg_backend_pid() \
     AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database()))";

/// The size of the index `c` in bytes: as it is, or where it is locked as it was when it was counted last.
pub(super) fn size_of_index(sql: Sql) -> Sql {
    sql.then("CASE WHEN c.oid IN ").then(LOCKED).then(
        " THEN c.relpages::int8 * current_setting('block_size')::int8 \
             ELSE coalesce(pg_relation_size(c.oid), 0) END",
    )
}

/// Whether somebody works on the index `i` right now. `REINDEX` and `DROP INDEX`, CONCURRENTLY, hold a lock
/// on it until they are done; `CREATE INDEX CONCURRENTLY` holds one on its table, and tells the index in
/// `pg_stat_progress_create_index`, but not to every login, and not in its first moment.
pub(super) const WORKED_ON: &str = "EXISTS (SELECT FROM pg_locks k WHERE k.locktype = 'relation' \
     AND k.granted AND k.pid <> pg_backend_pid() \
     AND k.database = (SELECT oid FROM pg_database WHERE datname = current_database()) \
     AND (k.relation = i.indexrelid AND k.mode = 'ShareUpdateExclusiveLock' \
       OR k.relation = i.indrelid AND k.pid IN (SELECT pid FROM pg_stat_progress_create_index p \
         WHERE coalesce(p.index_relid, 0) IN (0, i.indexrelid))))";

/// Whether the invalid index `i`, called `c`, was left behind by a `REINDEX CONCURRENTLY` of the index `b`
/// of `bi`: the manual, "REINDEX", "Rebuilding Indexes Concurrently". Its name is that of the other with
/// `_ccnew` or `_ccold`, and a number where that was taken; a name that would be longer than 63 bytes is
/// cut, by whole characters (of 4 bytes at most).
///
/// It is a copy of the other's definition: access method, columns and included ones, their operator
/// classes, collations and orders, expressions, condition, and whether it is unique. Whether it is of a
/// constraint (`indisprimary`, `indimmediate`) is moved over with the name, so it says nothing; and
/// exclusion constraints are never rebuilt so. Expressions are compared as they are stored, but for where
/// in its statement each part was written: `pg_get_expr()` can lock the table. `indnullsnotdistinct` is
/// there from 15 on.
pub(super) const LEFT_BY: &str = "i.indrelid = bi.indrelid AND i.indexrelid <> bi.indexrelid \
     AND NOT i.indisvalid AND c.relkind = 'i' AND b.relkind = 'i' AND NOT bi.indisexclusion \
     AND c.relname::text ~ '(_cc(new|old)[0-9]*)+$' \
     AND starts_with(b.relname::text, regexp_replace(c.relname::text, '(_cc(new|old)[0-9]*)+$', '')) \
     AND (b.relname::text = regexp_replace(c.relname::text, '(_cc(new|old)[0-9]*)+$', '') \
       OR octet_length(c.relname::text) >= 60) \
     AND c.relam = b.relam AND i.indisunique = bi.indisunique AND i.indnkeyatts = bi.indnkeyatts \
     AND i.indkey::text = bi.indkey::text AND i.indclass::text = bi.indclass::text \
     AND i.indcollation::text = bi.indcollation::text AND i.indoption::text = bi.indoption::text \
     AND to_jsonb(i) -> 'indnullsnotdistinct' IS NOT DISTINCT FROM to_jsonb(bi) -> 'indnullsnotdistinct' \
     AND regexp_replace(i.indexprs::text, ':location -?[0-9]+', '', 'g') IS NOT DISTINCT FROM \
       regexp_replace(bi.indexprs::text, ':location -?[0-9]+', '', 'g') \
     AND regexp_replace(i.indpred::text, ':location -?[0-9]+', '', 'g') IS NOT DISTINCT FROM \
       regexp_replace(bi.indpred::text, ':location -?[0-9]+', '', 'g')";

/// What a rebuild of an index that did not finish has left.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct Leftover {
    /// The index that it was to replace, or was replaced by.
    pub of: u32,
    pub schema: String,
    pub name: String,
    /// Both as SQL writes them.
    pub shown: String,
    pub bytes: u64,
}

/// What was left of rebuilding these indexes, and nobody works on.
pub(super) async fn leftovers(
    answers: &impl Answers,
    indexes: &[u32],
) -> Result<Vec<Leftover>, ReachError> {
    let sql = Sql::new(
        "SELECT bi.indexrelid::int8 AS of, n.nspname AS schema, c.relname AS name, \
         format('%I.%I', n.nspname, c.relname) AS shown, ",
    );
    let sql = size_of_index(sql)
        .then(
            " AS bytes FROM pg_index bi JOIN pg_class b ON b.oid = bi.indexrelid \
             JOIN pg_index i ON i.indrelid = bi.indrelid JOIN pg_class c ON c.oid = i.indexrelid \
             JOIN pg_namespace n ON n.oid = c.relnamespace \
             WHERE bi.indexrelid = ANY ($1) AND ",
        )
        .then(LEFT_BY)
        .then(" AND NOT ")
        .then(WORKED_ON)
        .then(" ORDER BY c.relname");
    answers.records(sql, &[(&indexes, Type::OID_ARRAY)]).await
}
