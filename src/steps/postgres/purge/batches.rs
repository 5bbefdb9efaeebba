//! Deleting in batches.
//!
//! Measured with 1,000,000 of 5,000,000 rows that lie everywhere in a table with a random key (one
//! DELETE: 1.6 s): batches by `key > $last ORDER BY key LIMIT 5000` took 53 s, by ranges of keys 60 s, by
//! lists of keys 5.7 s, by lists of row addresses 2.3 s. So it is addresses. An address may be another
//! row's by the time its batch comes: the condition is asked again of whatever is there, and a row that
//! has moved meanwhile is found by the last look.

use super::brake::Brake;
use super::subject::{Leaf, Subject};
use super::{Config, Outputs, bound};
use crate::base::Duration;
use crate::event::Finding;
use crate::host::connect::postgres::sql::{Predicate, Sql};
use crate::host::connect::postgres::{Bound, Done, PgEffect, PgOpaque, PgValue};
use crate::host::reach::{Obstacle, ReachError};
use crate::host::{Effect, Scope};
use crate::step::{StepError, StepErrorKind};

/// How often rows are listed at most: while others add matching rows faster than they are deleted, there
/// is no end.
const MOST_PASSES: u32 = 20;

/// How many passes in a row may delete nothing of what they find: a trigger keeps it.
const MOST_IDLE_PASSES: u32 = 3;

/// How often a batch that does not get its locks is tried.
const TRIES: u32 = 6;

/// How long it rests before it is tried again; twice as long each time.
const FIRST_REST: Duration = Duration::from_millis(100);

/// How long it may take until the batches are on the disk.
const FLUSH_LIMIT: Duration = Duration::from_secs(60);

/// A purge at work.
pub(super) struct Batches<'a, 's> {
    session: &'a PgEffect<'s>,
    scope: &'a Scope,
    config: &'a Config,
    subject: &'a Subject,
    predicate: &'a Predicate,
    values: Vec<PgValue>,
    brake: Brake,
    /// How many rows were listed so far.
    listed: u64,
    pub outputs: Outputs,
    pub findings: Vec<Finding>,
}

/// A cursor over lists of row addresses of one table.
struct Listed<'a> {
    leaf: &'a Leaf,
    cursor: String,
}

impl<'a, 's> Batches<'a, 's> {
    pub fn new(
        session: &'a PgEffect<'s>,
        host: &'a Effect,
        config: &'a Config,
        subject: &'a Subject,
        predicate: &'a Predicate,
    ) -> Self {
        Self {
            session,
            scope: host.scope(),
            config,
            subject,
            predicate,
            values: config.values(),
            brake: Brake::new(config.max_lag),
            listed: 0,
            outputs: Outputs::default(),
            findings: Vec::new(),
        }
    }

    /// Deletes until nothing matches.
    pub async fn run(&mut self) -> Result<(), StepError> {
        let limit = self.config.lock_timeout;
        self.session
            .set_lock_timeout(limit, self.session.allow_all())
            .await?;
        let mut idle = 0;
        loop {
            let before = self.outputs.deleted;
            let found = self.pass().await?;
            if !found || !self.more().await? {
                break;
            }
            idle = match self.outputs.deleted == before {
                true => idle + 1,
                false => 0,
            };
            if idle == MOST_IDLE_PASSES {
                let message = format!(
                    "could not purge {}: rows that match do not go",
                    self.subject.table.shown
                );
                let help = "a trigger or rule of the table may keep them, or something that writes \
                            to them without an end";
                return Err(StepError::permanent(message).with_help(help));
            }
            if self.outputs.passes == MOST_PASSES {
                let table = &self.subject.table.shown;
                let message = format!(
                    "rows of {table} came to match as fast as they were deleted: some are left after \
                     {MOST_PASSES} passes"
                );
                let finding = Finding::warning(&self.config.connection.name, message);
                self.findings.push(finding);
                break;
            }
        }
        if self.outputs.deleted > 0 {
            let slow = self.subject.slow();
            let subject = &self.config.connection.name;
            let slow = slow.map(|message| Finding::warning(subject, message));
            self.findings.extend(slow);
        }
        let hidden = self.brake.finding(&self.config.connection.name);
        self.findings.extend(hidden);
        match self.config.vacuum {
            true => self.vacuum().await,
            false => Ok(()),
        }
    }

    /// Lists the rows that match by now, and deletes them; says whether there were any.
    async fn pass(&mut self) -> Result<bool, StepError> {
        let listed_before = self.listed;
        let mut lists = Vec::new();
        let leaves = &self.subject.leaves;
        for (at, leaf) in leaves.iter().enumerate() {
            let cursor = format!("runbook_{at}");
            self.listed += self.list(leaf, &cursor).await?;
            lists.push(Listed { leaf, cursor });
        }
        let found = self.listed - listed_before;
        if self.outputs.passes == 0 {
            self.config.allows(found)?;
        }
        self.outputs.passes += 1;
        // A batch is found by its addresses alone, whatever the statistics say of the condition; and many
        // small transactions are flushed together, at the end.
        self.set("SET enable_seqscan = off").await?;
        self.set("SET synchronous_commit = off").await?;
        let drained = self.drain(&lists).await;
        let flushed = self.flush().await;
        drained?;
        flushed?;
        self.set("RESET enable_seqscan").await?;
        self.set("CLOSE ALL").await?;
        Ok(found > 0)
    }

    /// A small transaction whose commit takes those before it to the disk.
    async fn flush(&self) -> Result<(), ReachError> {
        let allowance = self.scope.allow(FLUSH_LIMIT).despite_end();
        for sql in [
            "RESET synchronous_commit",
            "SELECT pg_catalog.pg_logical_emit_message(true, 'runbook', '')",
        ] {
            match self.session.run(sql, &[], allowance).await {
                // Who may not do that waits for nothing: the server does it by itself within a second.
                Ok(_) => {}
                Err(error) if error.obstacle == Obstacle::Forbidden => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Lists the addresses of a table's matching rows in a cursor, a row a batch; says how many there are.
    /// It outlives its transaction, so that no snapshot is held while batches go on.
    async fn list(&self, leaf: &Leaf, cursor: &str) -> Result<u64, StepError> {
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
        self.patiently(async || self.session.run(declare.clone(), &values, all).await)
            .await?;
        let last = Sql::new("FETCH LAST FROM ").name(cursor);
        let last = self.session.run(last, &[], all).await?;
        let number = |at| { last.rows.first() }.and_then(|row| row.try_get::<_, i64>(at).ok());
        let (full, rest) = (number(0).unwrap_or(0), number(1).unwrap_or(0));
        let back = Sql::new("MOVE ABSOLUTE 0 FROM ").name(cursor);
        self.session.run(back, &[], all).await?;
        Ok(u64::try_from(full * batch + rest).unwrap_or(0))
    }

    /// A leaf under the name that the author knows.
    fn named(&self, sql: Sql, leaf: &Leaf) -> Sql {
        let sql = sql.qualified(&leaf.schema, &leaf.name);
        sql.then(" AS ").name(&self.subject.table.name)
    }

    async fn drain(&mut self, lists: &[Listed<'_>]) -> Result<(), StepError> {
        let all = self.session.allow_all();
        for Listed { leaf, cursor } in lists {
            let delete = self.delete(leaf);
            loop {
                let next = Sql::new("FETCH NEXT FROM ").name(cursor);
                let next = self.session.run(next, &[], all).await?;
                let Some(row) = next.rows.first() else { break };
                let garbled = |error: tokio_postgres::Error| {
                    let action = format!("read the answer of {}", self.session.shown());
                    ReachError::new(Obstacle::Garbled, action, error.to_string())
                };
                let addresses: PgOpaque = row.try_get(2).map_err(garbled)?;
                if self.outputs.batches > 0 && self.config.pause > Duration::ZERO {
                    self.rest(self.config.pause).await?;
                }
                self.brake().await?;
                self.batch(&delete, &addresses).await?;
            }
        }
        Ok(())
    }

    /// The statement of a batch. `IS TRUE` says the same as the condition alone, but no index of a column
    /// in it can be chosen.
    fn delete(&self, leaf: &Leaf) -> Sql {
        let delete = self.named(Sql::new("DELETE FROM ONLY "), leaf);
        let parameter = i64::try_from(self.values.len() + 1).unwrap_or(i64::MAX);
        let delete = delete.then(" WHERE ctid = ANY($").number(parameter);
        let delete = delete.then(") AND ").predicate(self.predicate);
        let delete = delete.then(" IS TRUE");
        let Some(archive) = &self.subject.archive else {
            return delete;
        };
        let columns = || archive.columns.iter().map(String::as_str);
        let moved = Sql::new("WITH gone AS (").sql(&delete).then(" RETURNING ");
        let moved = moved.names(columns()).then(") INSERT INTO ");
        let moved = moved.qualified(&archive.table.schema, &archive.table.name);
        let moved = moved.then(" (").names(columns());
        let moved = moved.then(") OVERRIDING SYSTEM VALUE SELECT ");
        moved.names(columns()).then(" FROM gone")
    }

    async fn batch(&mut self, delete: &Sql, addresses: &PgOpaque) -> Result<(), StepError> {
        let (clock, session) = (self.scope.clock(), self.session);
        let began = clock.now();
        let work = async |took: &mut Duration| {
            let mut parameters: Vec<Bound<'_>> = bound(&self.values);
            parameters.push(addresses.bound());
            let began = clock.now();
            let done = session
                .run(delete.clone(), &parameters, session.allow_all())
                .await;
            *took = clock.now().since(began);
            done
        };
        let mut took = Duration::ZERO;
        let done = self.patiently(async || work(&mut took).await).await?;
        let whole = clock.now().since(began).as_millis();
        self.outputs.waited_ms += whole.saturating_sub(took.as_millis());
        self.outputs.batches += 1;
        self.outputs.deleted += done.affected;
        if self.subject.archive.is_some() {
            self.outputs.archived += done.affected;
        }
        let longest = self.outputs.longest_batch_ms.max(took.as_millis());
        self.outputs.longest_batch_ms = longest;
        self.tell("rows");
        Ok(())
    }

    /// Does `work`, and again after a rest where it did not get a lock.
    async fn patiently(
        &self,
        mut work: impl AsyncFnMut() -> Result<Done, ReachError>,
    ) -> Result<Done, StepError> {
        let (mut rest, mut tries) = (FIRST_REST, 1);
        loop {
            let error = match work().await {
                Ok(done) => return Ok(done),
                Err(error) if !is_about_locks(&error) => return Err(error.into()),
                Err(error) => error,
            };
            if tries == TRIES {
                let message = format!("{error}, {TRIES} times");
                let help = "somebody holds locks on the table or on rows of it: see \
                            `postgres.locks`; then run the step again";
                return Err(StepError::new(StepErrorKind::Transient, message).with_help(help));
            }
            tries += 1;
            self.rest(rest).await?;
            rest = Duration::from_millis(rest.as_millis() * 2);
        }
    }

    async fn rest(&self, pause: Duration) -> Result<(), ReachError> {
        let sleep = self.scope.clock().sleep(pause);
        let waited = self.scope.within(self.session.allow_all(), sleep).await;
        waited.map_err(|stopped| stopped.error(format!("purge {}", self.subject.table.shown)))
    }

    async fn brake(&mut self) -> Result<(), ReachError> {
        let (done, total) = (self.outputs.deleted, Some(self.listed));
        let tell = |_: &str| {
            let unit = "rows, waiting for a standby";
            self.scope.progress(done, total, unit);
        };
        let waited = self.brake.wait(self.session, self.scope, tell).await?;
        self.outputs.waited_ms += waited.as_millis();
        Ok(())
    }

    fn tell(&self, unit: &'static str) {
        self.scope
            .progress(self.outputs.deleted, Some(self.listed), unit);
    }

    /// Whether any row matches by now.
    async fn more(&self) -> Result<bool, StepError> {
        let sql = self
            .subject
            .matching(Sql::new("SELECT true"), self.predicate)
            .then(" LIMIT 1");
        let (values, all) = (bound(&self.values), self.session.allow_all());
        let work = async || self.session.run(sql.clone(), &values, all).await;
        let found = self.patiently(work).await?;
        Ok(!found.rows.is_empty())
    }

    async fn set(&self, sql: &'static str) -> Result<(), ReachError> {
        let all = self.session.allow_all();
        self.session.run(sql, &[], all).await.map(drop)
    }

    async fn vacuum(&mut self) -> Result<(), StepError> {
        let all = self.session.allow_all();
        let table = &self.subject.table;
        let sql = Sql::new("VACUUM (ANALYZE) ").qualified(&table.schema, &table.name);
        let work = async || self.session.run(sql.clone(), &[], all).await;
        let done = self.patiently(work).await?;
        let warnings = done.notices.iter().filter(|notice| notice.is_warning());
        let warnings: Vec<Finding> = warnings
            .map(|notice| {
                let message = format!("{} was not vacuumed: {}", table.shown, notice.message);
                Finding::critical(&self.config.connection.name, message)
            })
            .collect();
        self.outputs.vacuumed = warnings.is_empty();
        self.findings.extend(warnings);
        Ok(())
    }
}

/// Whether the server broke it off because of others: no lock in time, a deadlock, a row that somebody
/// has changed (where transactions are serializable by default).
fn is_about_locks(error: &ReachError) -> bool {
    let codes = ["SQLSTATE 55P03", "SQLSTATE 40P01", "SQLSTATE 40001"];
    codes.iter().any(|code| error.cause.contains(code))
}

#[cfg(test)]
mod tests {
    use super::is_about_locks;
    use crate::host::reach::{Obstacle, ReachError};

    #[test]
    fn only_what_others_hold_is_waited_for() {
        let error = |cause: &str| ReachError::new(Obstacle::Rejected, "change shop", cause);
        assert!(is_about_locks(&error(
            "canceling statement due to lock timeout (SQLSTATE 55P03)"
        )));
        assert!(!is_about_locks(&error(
            "update or delete on table violates foreign key (SQLSTATE 23503)"
        )));
    }
}
