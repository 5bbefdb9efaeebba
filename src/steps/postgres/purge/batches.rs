//! Deleting in batches, pass after pass, until nothing matches.
//!
//! Rows are found by where they lie (`blocks`, `lists`), and not by a key. Measured with 1,000,000 of
//! 5,000,000 rows that lie everywhere in a table with a random key (one DELETE: 1.6 s): batches by
//! `key > $last ORDER BY key LIMIT 5000` took 53 s, by ranges of keys 60 s, by lists of keys 5.7 s, by
//! lists of row addresses 2.3 s; by ranges of blocks, the table is read once less. A place may be another
//! row's by the time its batch comes: the condition is asked again of whatever is there, and a row that
//! has moved meanwhile is found by the last look.

use super::brake::Brake;
use super::condition;
use super::lists::Listed;
use super::subject::{Leaf, Subject};
use super::{Config, Outputs, bound};
use crate::base::Duration;
use crate::event::Finding;
use crate::host::connect::postgres::sql::{Predicate, Sql};
use crate::host::connect::postgres::{Bound, Done, PgEffect, PgValue};
use crate::host::reach::{Obstacle, ReachError};
use crate::host::{Effect, Scope};
use crate::step::{StepError, StepErrorKind};
use crate::steps::postgres::relation::Within;

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

/// What the server says where an archive does not take all rows, in [`Deletion::checked`].
macro_rules! turned_away {
    () => {
        "rows that the archive did not take: "
    };
}

/// A statement that deletes rows, and one that puts them elsewhere.
pub(super) struct Deletion {
    delete: Sql,
    insert: Option<Sql>,
}

impl Deletion {
    /// As one statement; [`Deletion::gone`] says of its result how many rows are gone.
    pub fn alone(self) -> Sql {
        if self.insert.is_none() {
            return self.delete;
        }
        let (parts, gone) = self.checked();
        Sql::new("WITH ").sql(&parts).then(" SELECT ").then(gone)
    }

    /// As parts of a WITH, and what is then the number of the rows that are gone. Where an archive did not
    /// take each of them, it is an error instead, and nothing has happened.
    pub fn checked(self) -> (Sql, &'static str) {
        let Some(insert) = self.insert else {
            let gone = Sql::new("runbook_gone AS (").sql(&self.delete);
            let count = "(SELECT pg_catalog.count(*) FROM runbook_gone)";
            return (gone.then(" RETURNING 1)"), count);
        };
        let gone = Sql::new("runbook_gone AS (").sql(&self.delete);
        let parts = gone.then("), runbook_kept AS (").sql(&insert);
        // A text that is no number is an error with it in its message.
        let count = concat!(
            "(SELECT CASE WHEN gone = kept THEN gone ELSE ('",
            turned_away!(),
            "' || gone - kept)::pg_catalog.int8 END \
             FROM (SELECT (SELECT pg_catalog.count(*) FROM runbook_gone) AS gone, \
               (SELECT pg_catalog.count(*) FROM runbook_kept) AS kept) AS counted)"
        );
        (parts.then(" RETURNING 1)"), count)
    }
}

/// A purge at work.
pub(super) struct Batches<'a, 's> {
    pub(super) session: &'a PgEffect<'s>,
    scope: &'a Scope,
    pub(super) config: &'a Config,
    subject: &'a Subject,
    pub(super) predicate: &'a Predicate,
    pub(super) values: Vec<PgValue>,
    brake: Brake,
    /// How many rows were listed so far.
    listed: u64,
    pub outputs: Outputs,
    pub findings: Vec<Finding>,
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
        let answers = Within(self.session, self.session.allow_all());
        let values = bound(&self.values);
        condition::refuse_circular(&answers, self.subject, self.predicate, &values).await?;
        drop(values);
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
        match self.config.vacuum && self.outputs.deleted > 0 {
            true => self.vacuum().await,
            false => Ok(()),
        }
    }

    /// Deletes the rows that match by now; says whether there may be more.
    async fn pass(&mut self) -> Result<bool, StepError> {
        let listed_before = self.listed;
        let (mut lists, mut ranges) = (Vec::new(), Vec::new());
        for (at, leaf) in self.subject.leaves.iter().enumerate() {
            if self.is_read_whole(leaf).await? {
                ranges.push(leaf);
                continue;
            }
            let cursor = format!("runbook_{at}");
            self.listed += self.list(leaf, &cursor).await?;
            lists.push(Listed { leaf, cursor });
        }
        let listed = self.listed - listed_before;
        let matching = match (ranges.is_empty(), self.config.max) {
            (true, _) => listed,
            (false, None) => 0,
            (false, Some(_)) => self.count().await?,
        };
        self.config.allows(self.outputs.deleted, matching)?;
        self.outputs.passes += 1;
        // A batch is found by the place of its rows alone, whatever the statistics say of the condition;
        // and many small transactions are flushed together, at the end.
        self.set("SET enable_seqscan = off").await?;
        self.set("SET synchronous_commit = off").await?;
        let done = match self.drain(&lists).await {
            Ok(()) => self.sweep(&ranges).await,
            error => error,
        };
        let flushed = self.flush().await;
        done?;
        flushed?;
        self.set("RESET enable_seqscan").await?;
        self.set("CLOSE ALL").await?;
        Ok(listed > 0 || !ranges.is_empty())
    }

    async fn count(&self) -> Result<u64, StepError> {
        let answers = Within(self.session, self.session.allow_all());
        let values = bound(&self.values);
        Ok(self
            .subject
            .count(&answers, self.predicate, &values)
            .await?)
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

    /// A leaf under the name that the author knows.
    pub(super) fn named(&self, sql: Sql, leaf: &Leaf) -> Sql {
        let sql = sql.qualified(&leaf.schema, &leaf.name);
        sql.then(" AS ").name(&self.subject.table.name)
    }

    /// The number of the first parameter that says where rows lie, after those of the condition.
    pub(super) fn first_place(&self) -> i64 {
        i64::try_from(self.values.len() + 1).unwrap_or(i64::MAX)
    }

    /// What deletes the rows of a batch that still match; `place` says where they lie. `IS TRUE` says the
    /// same as the condition alone, but no index of a column in it can be chosen.
    pub(super) fn delete(&self, leaf: &Leaf, place: impl Fn(Sql) -> Sql) -> Deletion {
        let delete = self.named(Sql::new("DELETE FROM ONLY "), leaf);
        let delete = place(delete.then(" WHERE ")).then(" AND ");
        let delete = delete.predicate(self.predicate).then(" IS TRUE");
        let Some(archive) = &self.subject.archive else {
            return Deletion {
                delete,
                insert: None,
            };
        };
        let columns = || archive.columns.iter().map(String::as_str);
        let delete = delete.then(" RETURNING ").names(columns());
        let insert = Sql::new("INSERT INTO ").qualified(&archive.table.schema, &archive.table.name);
        let insert = insert.then(" (").names(columns());
        let insert = insert.then(") OVERRIDING SYSTEM VALUE SELECT ");
        let insert = insert.names(columns()).then(" FROM runbook_gone");
        Deletion {
            delete,
            insert: Some(insert),
        }
    }

    /// Does a batch, once it may begin.
    pub(super) async fn batch(
        &mut self,
        delete: &Sql,
        place: &[Bound<'_>],
    ) -> Result<Done, StepError> {
        self.brake().await?;
        let (clock, session) = (self.scope.clock(), self.session);
        let began = clock.now();
        let work = async |took: &mut Duration| {
            let mut parameters: Vec<Bound<'_>> = bound(&self.values);
            parameters.extend(place.iter().map(|(value, ty)| (*value, ty.clone())));
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
        let longest = self.outputs.longest_batch_ms.max(took.as_millis());
        self.outputs.longest_batch_ms = longest;
        let gone = gone(&done);
        if gone > 0 {
            self.outputs.batches += 1;
            self.outputs.deleted += gone;
            if self.subject.archive.is_some() {
                self.outputs.archived += gone;
            }
            self.tell("rows");
            if self.config.pause > Duration::ZERO {
                self.rest(self.config.pause).await?;
            }
        }
        Ok(done)
    }

    /// Does `work`, and again after a rest where it did not get a lock.
    pub(super) async fn patiently(
        &self,
        mut work: impl AsyncFnMut() -> Result<Done, ReachError>,
    ) -> Result<Done, StepError> {
        let (mut rest, mut tries) = (FIRST_REST, 1);
        loop {
            let error = match work().await {
                Ok(done) => return Ok(done),
                Err(error) if error.cause.contains(turned_away!()) => {
                    return Err(self.turned_away(&error));
                }
                Err(error) if error.obstacle != Obstacle::Locked => return Err(error.into()),
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

    fn turned_away(&self, error: &ReachError) -> StepError {
        let table = &self.subject.table.shown;
        let message = format!("could not purge {table}: {}", error.cause);
        StepError::permanent(message).with_help(
            "a trigger or policy of the archive, or of a part of it, keeps rows out of it",
        )
    }

    async fn rest(&self, pause: Duration) -> Result<(), ReachError> {
        let sleep = self.scope.clock().sleep(pause);
        let waited = self.scope.within(self.session.allow_all(), sleep).await;
        waited.map_err(|stopped| stopped.error(format!("purge {}", self.subject.table.shown)))
    }

    async fn brake(&mut self) -> Result<(), ReachError> {
        let (done, total) = (self.outputs.deleted, self.total());
        let tell = |_: &str| {
            let unit = "rows, waiting for a standby";
            self.scope.progress(done, total, unit);
        };
        let waited = self.brake.wait(self.session, self.scope, tell).await?;
        self.outputs.waited_ms += waited.as_millis();
        Ok(())
    }

    /// How many rows there are to delete, where they were listed.
    fn total(&self) -> Option<u64> {
        (self.listed >= self.outputs.deleted).then_some(self.listed)
    }

    fn tell(&self, unit: &'static str) {
        self.scope
            .progress(self.outputs.deleted, self.total(), unit);
    }

    /// Whether any row matches by now.
    async fn more(&self) -> Result<bool, StepError> {
        // All of them are counted, and not the first one looked for: that is done side by side.
        let sql = Sql::new("SELECT pg_catalog.count(*)");
        let sql = self.subject.matching(sql, self.predicate);
        let (values, all) = (bound(&self.values), self.session.allow_all());
        let work = async || self.session.run(sql.clone(), &values, all).await;
        let found = self.patiently(work).await?;
        let rows: i64 = { found.rows.first() }.map_or(0, |row| row.try_get(0).unwrap_or(0));
        Ok(rows > 0)
    }

    pub(super) async fn set(&self, sql: &'static str) -> Result<(), ReachError> {
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

/// How many rows a batch deleted: what its statement says of it, or the server.
pub(super) fn gone(done: &Done) -> u64 {
    number(done, 0).unwrap_or(done.affected)
}

/// A number in the answer's only row, where there is one.
pub(super) fn number(done: &Done, at: usize) -> Option<u64> {
    let number: i64 = done.rows.first().and_then(|row| row.try_get(at).ok())?;
    u64::try_from(number).ok()
}
