//! Batches by lists of row addresses: where an index finds the matching rows.

use super::batches::Batches;
use super::bound;
use super::subject::Leaf;
use crate::host::connect::postgres::PgOpaque;
use crate::host::connect::postgres::sql::Sql;
use crate::host::reach::{Obstacle, ReachError};
use crate::step::StepError;

/// A cursor over lists of row addresses of one table.
pub(super) struct Listed<'a> {
    pub leaf: &'a Leaf,
    pub cursor: String,
}

impl Batches<'_, '_> {
    /// Lists the addresses of a table's matching rows in a cursor, a row a batch; says how many there are.
    /// It outlives its transaction, so that no snapshot is held while batches go on.
    pub(super) async fn list(&self, leaf: &Leaf, cursor: &str) -> Result<u64, StepError> {
        let batch = i64::from(self.config.batch);
        let declare = Sql::new("DECLARE ").name(cursor).then(
            " SCROLL CURSOR WITH HOLD FOR SELECT batch, pg_catalog.count(*), \
             pg_catalog.array_agg(address) FROM (SELECT ctid AS address, \
             (pg_catalog.row_number() OVER () - 1) / ",
        );
        let declare = declare.number(batch).then(" AS batch FROM ONLY ");
        let declare = self.named(declare, leaf).then(" WHERE ");
        let declare = declare
            .predicate(self.predicate)
            .then(") AS q GROUP BY batch ORDER BY batch");
        let all = self.session.allow_all();
        let values = bound(&self.values);
        // The addresses of some ten million rows, which would else go to the disk and back.
        self.set("SET work_mem = '64MB'").await?;
        self.patiently(async || self.session.run(declare.clone(), &values, all).await)
            .await?;
        self.set("RESET work_mem").await?;
        let last = Sql::new("FETCH LAST FROM ").name(cursor);
        let last = self.session.run(last, &[], all).await?;
        let number = |at| { last.rows.first() }.and_then(|row| row.try_get::<_, i64>(at).ok());
        let (full, rest) = (number(0).unwrap_or(0), number(1).unwrap_or(0));
        let back = Sql::new("MOVE ABSOLUTE 0 FROM ").name(cursor);
        self.session.run(back, &[], all).await?;
        Ok(u64::try_from(full * batch + rest).unwrap_or(0))
    }

    /// Deletes what is listed.
    pub(super) async fn drain(&mut self, lists: &[Listed<'_>]) -> Result<(), StepError> {
        let all = self.session.allow_all();
        for Listed { leaf, cursor } in lists {
            let first = self.first_place();
            let place = |sql: Sql| sql.then("ctid = ANY($").number(first).then(")");
            let delete = self.delete(leaf, place).alone();
            loop {
                let next = Sql::new("FETCH NEXT FROM ").name(cursor);
                let next = self.session.run(next, &[], all).await?;
                let Some(row) = next.rows.first() else { break };
                let garbled = |error: tokio_postgres::Error| {
                    let action = format!("read the answer of {}", self.session.shown());
                    ReachError::new(Obstacle::Garbled, action, error.to_string())
                };
                let addresses: PgOpaque = row.try_get(2).map_err(garbled)?;
                self.batch(&delete, &[addresses.bound()]).await?;
            }
        }
        Ok(())
    }
}
