//! Batches by ranges of blocks: where the whole table has to be read to find the matching rows, it is read
//! once, by the batches themselves.

use serde_json::Value;
use tokio_postgres::types::Type;

use super::batches::Batches;
use super::bound;
use super::subject::Leaf;
use crate::host::connect::postgres::sql::Sql;
use crate::host::connect::postgres::{Done, PgValue};
use crate::host::reach::ReachError;
use crate::step::StepError;

/// How many blocks a batch looks at, at most: 16 MiB, some milliseconds.
const BLOCKS_AT_ONCE: u64 = 2048;

/// How many blocks a table has by now.
const BLOCKS: &str = "SELECT pg_catalog.pg_relation_size($1::oid) \
     / pg_catalog.current_setting('block_size')::int8";

impl Batches<'_, '_> {
    /// Whether the server would read all of a table to find its matching rows. Ranges of blocks are there
    /// from 14 on ("TID Range Scan").
    pub(super) async fn is_read_whole(&self, leaf: &Leaf) -> Result<bool, ReachError> {
        if self.session.version() < 140_000 {
            return Ok(false);
        }
        let explain = Sql::new("EXPLAIN (FORMAT JSON) SELECT ctid FROM ONLY ");
        let explain = self.named(explain, leaf).then(" WHERE ");
        let explain = explain.predicate(self.predicate);
        let rows = self
            .session
            .rows(explain, &bound(&self.values), self.session.allow_all())
            .await?;
        let plan: Option<Value> = rows.first().and_then(|row| row.try_get(0).ok());
        let Some(mut node) = plan.as_ref().and_then(|plan| plan.get(0)?.get("Plan")) else {
            return Ok(false);
        };
        loop {
            match node.get("Node Type").and_then(Value::as_str) {
                Some("Seq Scan") => return Ok(true),
                Some("Gather") => {}
                _ => return Ok(false),
            }
            match node.get("Plans").and_then(|plans| plans.get(0)) {
                Some(below) => node = below,
                None => return Ok(false),
            }
        }
    }

    /// Deletes what matches in these tables, from their first blocks to those that are their last by now.
    pub(super) async fn sweep(&mut self, leaves: &[&Leaf]) -> Result<(), StepError> {
        for leaf in leaves {
            let (delete, end) = (self.delete_next(leaf), self.blocks(leaf).await?);
            // A row is named by its block and its number in there, from 1.
            let (mut after, mut block) = ("(0,0)".to_owned(), 0);
            while block < end {
                let next = (block + BLOCKS_AT_ONCE).min(u64::from(u32::MAX));
                let place = [after, format!("({next},0)")].map(|it| PgValue::of(&it.into()));
                let [first, last] = &place;
                let place = [first.bound(), last.bound()];
                let done = self.batch(&delete, &place, deleted).await?;
                (block, after) = match full(&done, self.config.batch) {
                    Some(last) => (block_of(&last).unwrap_or(block), last),
                    None => (next, format!("({next},0)")),
                };
            }
        }
        Ok(())
    }

    /// Deletes the next rows, as many as a batch has at most; says how many it found, the last of them, and
    /// how many it deleted.
    fn delete_next(&self, leaf: &Leaf) -> Sql {
        let first = self.first_place();
        let found = Sql::new("WITH found AS MATERIALIZED (SELECT ctid AS address FROM ONLY ");
        let found = self
            .named(found, leaf)
            .then(" WHERE ctid > $")
            .number(first);
        let found = found.then("::tid AND ctid < $").number(first + 1);
        let found = found.then("::tid AND ").predicate(self.predicate);
        let found = found
            .then(" IS TRUE LIMIT ")
            .number(self.config.batch.into());
        let gone = self.delete(leaf, |sql| {
            sql.then("ctid = ANY(ARRAY(SELECT address FROM found))")
        });
        // Whatever the statement is, it gives a row for each that is gone.
        let gone = found.then("), ").sql(&gone.counted());
        gone.then(
            " SELECT (SELECT pg_catalog.count(*) FROM found), \
             (SELECT pg_catalog.max(address)::pg_catalog.text FROM found), \
             (SELECT pg_catalog.count(*) FROM done)",
        )
    }

    async fn blocks(&self, leaf: &Leaf) -> Result<u64, ReachError> {
        let oid = i64::from(leaf.oid);
        let all = self.session.allow_all();
        let rows = self
            .session
            .rows(BLOCKS, &[(&oid, Type::INT8)], all)
            .await?;
        let blocks: Option<i64> = rows.first().and_then(|row| row.try_get(0).ok());
        Ok(blocks
            .and_then(|blocks| u64::try_from(blocks).ok())
            .unwrap_or(0))
    }
}

fn deleted(done: &Done) -> u64 {
    number(done, 2)
}

/// The last row that was found, where there may be more after it.
fn full(done: &Done, batch: u32) -> Option<String> {
    let is_full = number(done, 0) >= u64::from(batch);
    let last = done.rows.first().and_then(|row| row.try_get(1).ok());
    last.filter(|_| is_full)
}

fn number(done: &Done, at: usize) -> u64 {
    let number: Option<i64> = done.rows.first().and_then(|row| row.try_get(at).ok());
    number
        .and_then(|number| u64::try_from(number).ok())
        .unwrap_or(0)
}

/// The block of an address: 7 of `(7,3)`.
fn block_of(address: &str) -> Option<u64> {
    let (block, _) = address.strip_prefix('(')?.split_once(',')?;
    block.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::block_of;

    #[test]
    fn addresses_are_read() {
        assert_eq!(block_of("(4294967294,291)"), Some(4_294_967_294));
        assert_eq!(block_of("7"), None);
    }
}
