//! Batches by ranges of blocks: where the whole table has to be read to find the matching rows, it is read
//! once, by the batches themselves.
//!
//! Where many rows match, a batch is a few blocks of which all is deleted that matches. Where few do, it is
//! the next rows that are found in many blocks, with a limit: that takes longer for a row (8 ms for 5,000
//! rows, where the other takes 5), but not a statement for each few blocks without any.

use serde_json::Value;
use tokio_postgres::types::Type;

use super::batches::{Batches, gone, number};
use super::bound;
use super::subject::Leaf;
use crate::host::connect::postgres::sql::Sql;
use crate::host::connect::postgres::{Done, PgValue};
use crate::host::reach::ReachError;
use crate::step::StepError;

/// How many blocks a batch looks at, at most: 16 MiB, some milliseconds.
const BLOCKS_AT_ONCE: u64 = 2048;

/// How many rows a block is taken to have where the statistics say nothing: the most that one of 8 KiB can
/// have (`MaxHeapTuplesPerPage`).
const ROWS_PER_BLOCK: f64 = 291.0;

/// Many rows match where a batch gets at least its limit divided by this.
const MANY: u64 = 16;

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
            let (next, range) = (self.delete_next(leaf), self.delete_range(leaf));
            let (batch, end) = (self.config.batch, self.blocks(leaf).await?);
            let narrow = width(batch, leaf.rows, leaf.pages);
            let (mut at, mut many) = (Place::start_of(0), false);
            while at.block < end {
                if let Some(narrow) = narrow.filter(|_| many) {
                    let to = Place::start_of(at.block + narrow);
                    let done = self.part(&range, &at, &to).await?;
                    (at, many) = (to, gone(&done) * MANY >= u64::from(batch));
                } else {
                    let to = Place::start_of(at.block + BLOCKS_AT_ONCE);
                    let done = self.part(&next, &at, &to).await?;
                    let last = full(&done, batch);
                    (many, at) = (last.is_some(), last.unwrap_or(to));
                }
            }
        }
        Ok(())
    }

    async fn part(&mut self, delete: &Sql, from: &Place, to: &Place) -> Result<Done, StepError> {
        let place = [from, to].map(|place| PgValue::of(&place.address.as_str().into()));
        let [from, to] = &place;
        self.batch(delete, &[from.bound(), to.bound()]).await
    }

    /// Deletes all that matches in a range.
    fn delete_range(&self, leaf: &Leaf) -> Sql {
        let first = self.first_place();
        let within = |sql: Sql| {
            let sql = sql
                .then("ctid > $")
                .number(first)
                .then("::tid AND ctid < $");
            sql.number(first + 1).then("::tid")
        };
        self.delete(leaf, within).alone()
    }

    /// Deletes the next rows, as many as a batch has at most; says how many are gone, how many it found, and
    /// the last of those.
    fn delete_next(&self, leaf: &Leaf) -> Sql {
        let first = self.first_place();
        let found =
            Sql::new("WITH runbook_found AS MATERIALIZED (SELECT ctid AS address FROM ONLY ");
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
            sql.then("ctid = ANY(ARRAY(SELECT address FROM runbook_found))")
        });
        let (parts, gone) = gone.checked();
        let found = found.then("), ").sql(&parts).then(" SELECT ").then(gone);
        found.then(
            ", (SELECT pg_catalog.count(*) FROM runbook_found), \
             (SELECT pg_catalog.max(address)::pg_catalog.text FROM runbook_found)",
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

/// The last row that was found, where there may be more after it.
fn full(done: &Done, batch: u32) -> Option<Place> {
    let is_full = number(done, 1).is_some_and(|found| found >= u64::from(batch));
    let last = done.rows.first().and_then(|row| row.try_get(2).ok());
    last.filter(|_| is_full).and_then(Place::of)
}

/// A place in a table. A row is named by its block and its number in there, from 1.
#[derive(Debug, PartialEq, Eq)]
struct Place {
    block: u64,
    address: String,
}

impl Place {
    /// Right before a block's first row. There are no more than 2^32 - 1 blocks.
    fn start_of(block: u64) -> Self {
        let block = block.min(u64::from(u32::MAX));
        let address = format!("({block},0)");
        Self { block, address }
    }

    /// From an address, such as `(7,3)`.
    fn of(address: String) -> Option<Self> {
        let (block, _) = address.strip_prefix('(')?.split_once(',')?;
        let block = block.parse().ok()?;
        Some(Self { block, address })
    }
}

/// How many blocks have no more rows than a batch, should all of them match; none where not even one has.
fn width(batch: u32, rows: f64, pages: f64) -> Option<u64> {
    let per_block = match rows > 0.0 && pages > 0.0 {
        true => (rows / pages).max(1.0),
        false => ROWS_PER_BLOCK,
    };
    let width = (f64::from(batch) / per_block) as u64;
    (width > 0).then_some(width.min(BLOCKS_AT_ONCE))
}

#[cfg(test)]
mod tests {
    use super::{Place, width};

    #[test]
    fn places_are_read() {
        let last = "(4294967294,291)".to_owned();
        assert_eq!(Place::of(last).unwrap().block, 4_294_967_294);
        assert_eq!(Place::of("7".to_owned()), None);
        assert_eq!(Place::start_of(7).address, "(7,0)");
    }

    #[test]
    fn as_many_blocks_as_a_batch_has_rows() {
        assert_eq!(width(5000, 5_000_000.0, 80_000.0), Some(80));
        assert_eq!(width(5000, -1.0, 0.0), Some(17));
        assert_eq!(width(99, 1000.0, 10.0), None);
        // Large rows, one a block.
        assert_eq!(width(5000, 10.0, 1000.0), Some(2048));
    }
}
