//! Batches by ranges of blocks: where the whole table has to be read to find the matching rows, it is read
//! once, by the batches themselves.

use serde_json::Value;
use tokio_postgres::types::Type;

use super::batches::Batches;
use super::bound;
use super::subject::Leaf;
use crate::host::connect::postgres::PgValue;
use crate::host::connect::postgres::sql::Sql;
use crate::host::reach::ReachError;
use crate::step::StepError;

/// How many rows a block is taken to have where the statistics say nothing: the most that one of 8 KiB can
/// have (`MaxHeapTuplesPerPage`).
const ROWS_PER_BLOCK: f64 = 291.0;

/// How many blocks a table has by now.
const BLOCKS: &str = "SELECT pg_catalog.pg_relation_size($1::oid) \
     / pg_catalog.current_setting('block_size')::int8";

impl Batches<'_, '_> {
    /// How many blocks a batch has, where the server would read all of a table to find its matching rows.
    /// Ranges of blocks are there from 14 on ("TID Range Scan").
    pub(super) async fn range(&self, leaf: &Leaf) -> Result<Option<u64>, ReachError> {
        let width = width(self.config.batch, leaf.rows, leaf.pages);
        let is_able = width.is_some() && self.session.version() >= 140_000;
        match is_able && self.is_read_whole(leaf).await? {
            true => Ok(width),
            false => Ok(None),
        }
    }

    async fn is_read_whole(&self, leaf: &Leaf) -> Result<bool, ReachError> {
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
    pub(super) async fn sweep(&mut self, ranges: &[(&Leaf, u64)]) -> Result<(), StepError> {
        for (leaf, width) in ranges {
            let delete = self.delete(leaf, |sql, first| {
                let sql = sql
                    .then("ctid >= $")
                    .number(first)
                    .then("::tid AND ctid < $");
                sql.number(first + 1).then("::tid")
            });
            let (mut from, end) = (0, self.blocks(leaf).await?);
            while from < end {
                let to = from + width;
                let place = [from, to].map(|block| PgValue::of(&format!("({block},0)").into()));
                let [first, last] = &place;
                self.batch(&delete, &[first.bound(), last.bound()]).await?;
                from = to;
            }
        }
        Ok(())
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

/// How many blocks have no more rows than a batch, should all of them match; none where not even one has.
fn width(batch: u32, rows: f64, pages: f64) -> Option<u64> {
    let per_block = match rows > 0.0 && pages > 0.0 {
        true => (rows / pages).max(1.0),
        false => ROWS_PER_BLOCK,
    };
    let width = (f64::from(batch) / per_block) as u64;
    (width > 0).then_some(width)
}

#[cfg(test)]
mod tests {
    use super::width;

    #[test]
    fn as_many_blocks_as_a_batch_has_rows() {
        assert_eq!(width(5000, 5_000_000.0, 82_000.0), Some(81));
        assert_eq!(width(5000, -1.0, 0.0), Some(17));
        assert_eq!(width(99, 1000.0, 10.0), None);
        // Large rows, one a block.
        assert_eq!(width(5000, 10.0, 1000.0), Some(5000));
    }
}
