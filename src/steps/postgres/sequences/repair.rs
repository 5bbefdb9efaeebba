//! A sequence that is behind is moved up, and nobody is hurt by it.

use tokio_postgres::types::Type;

use crate::base::Duration;
use crate::event::Finding;
use crate::host::Scope;
use crate::host::connect::postgres::sql::Sql;
use crate::host::connect::postgres::{PgEffect, PgTransaction};
use crate::host::net::Allowance;
use crate::host::reach::{Obstacle, ReachError};
use crate::steps::postgres::relation::Within;
use crate::steps::postgres::sequence::{Sequence, State};
use crate::steps::postgres::tables::is_about_one;

/// How long a sequence's lock is waited for while its tables are locked. Whoever has taken a value and
/// not inserted it yet holds the one and waits for the other: we give way long before the server finds out
/// that this is a deadlock (`deadlock_timeout`, 1 s) and ends one of the two.
const GIVE_WAY: Duration = Duration::from_millis(20);

/// How many values are given out rather than skipped, while the tables are locked: that needs no lock on
/// the sequence, for which every transaction would be waited that has taken a value. Takes 50 ms.
const STEPS: u64 = 100_000;

/// How long such a one is left alone before we look again.
const PAUSE: Duration = Duration::from_millis(3);

pub(super) struct Repair<'a> {
    pub scope: &'a Scope,
    pub session: &'a PgEffect<'a>,
    pub allowance: Allowance,
    pub lock_timeout: Duration,
}

impl Repair<'_> {
    /// Moves a sequence up; says how far it is then, and whether it was moved. Where somebody is in the
    /// way it is tried again until the time for that is over.
    pub async fn one(&self, sequence: &Sequence) -> Result<(State, bool), ReachError> {
        let waiting = self.scope.allow(self.lock_timeout);
        let is_over = || waiting.left(self.scope) <= PAUSE;
        loop {
            let transaction = self.session.begin(self.allowance).await?;
            let error = match self.within(&transaction, sequence, waiting).await {
                Ok(done) => {
                    transaction.commit(self.allowance).await?;
                    return Ok(done);
                }
                Err(error) => error,
            };
            if is_about_one(error.obstacle) {
                transaction.roll_back(self.allowance).await?;
            }
            if error.obstacle != Obstacle::Locked || is_over() {
                return Err(error);
            }
            let answers = Within(self.session, self.allowance);
            loop {
                self.pause(sequence).await?;
                if is_over() || !sequence.is_taken(&answers).await? {
                    break;
                }
            }
        }
    }

    async fn pause(&self, sequence: &Sequence) -> Result<(), ReachError> {
        let pause = self.scope.clock().sleep(PAUSE);
        let paused = self.scope.within(self.allowance, pause).await;
        paused.map_err(|stopped| stopped.error(format!("repair {}", sequence.shown)))
    }

    async fn within(
        &self,
        transaction: &PgTransaction<'_, '_>,
        sequence: &Sequence,
        waiting: Allowance,
    ) -> Result<(State, bool), ReachError> {
        let run = async |sql: Sql| transaction.run(sql, &[], self.allowance).await;
        run(Sql::new("SET LOCAL search_path = pg_catalog")).await?;
        run(Sql::new("SET LOCAL row_security = off")).await?;
        let left = waiting.left(self.scope);
        transaction.set_lock_timeout(left, self.allowance).await?;
        let mut tables: Vec<(&str, &str)> = { sequence.columns.iter() }
            .map(|column| (column.schema.as_str(), column.table.as_str()))
            .collect();
        tables.dedup();
        for (schema, table) in tables {
            let sql = Sql::new("LOCK TABLE ").qualified(schema, table);
            run(sql.then(" IN SHARE ROW EXCLUSIVE MODE")).await?;
            // Whoever holds one lock and waits for another gives way to those who do it the other way.
            let short = left.min(GIVE_WAY);
            transaction.set_lock_timeout(short, self.allowance).await?;
        }
        let before = read(transaction, sequence, self.allowance).await?;
        let Some(to) = sequence.behind(&before) else {
            return Ok((before, false));
        };
        let steps = sequence.steps(&before, to);
        if sequence.cache > 1 || steps > STEPS {
            return self.set(transaction, sequence).await;
        }
        // Never back, whoever takes values at the same time.
        let sql = "SELECT count(nextval($1::regclass)) FROM generate_series(1, $2)";
        let steps = i64::try_from(steps).unwrap_or(0);
        let bound = [(&sequence.oid as _, Type::OID), (&steps as _, Type::INT8)];
        transaction.run(sql, &bound, self.allowance).await?;
        let after = read(transaction, sequence, self.allowance).await?;
        Ok((after, true))
    }

    /// Sets a sequence while nobody can take a value. Sequences cannot be locked as such: this ALTER
    /// changes nothing and locks it against `nextval`, so that it cannot overtake us. As it is written
    /// anew, sessions forget the values that they kept.
    async fn set(
        &self,
        transaction: &PgTransaction<'_, '_>,
        sequence: &Sequence,
    ) -> Result<(State, bool), ReachError> {
        transaction
            .set_lock_timeout(GIVE_WAY, self.allowance)
            .await?;
        let sql = Sql::new("ALTER SEQUENCE ").qualified(&sequence.schema, &sequence.name);
        let sql = sql.then(" CACHE ").number(sequence.cache);
        transaction.run(sql, &[], self.allowance).await?;
        let before = read(transaction, sequence, self.allowance).await?;
        let Some(to) = sequence.behind(&before) else {
            return Ok((before, false));
        };
        let bound = [(&sequence.oid as _, Type::OID), (&to as _, Type::INT8)];
        let sql = "SELECT setval($1::regclass, $2)";
        transaction.run(sql, &bound, self.allowance).await?;
        let after = read(transaction, sequence, self.allowance).await?;
        Ok((after, true))
    }
}

/// How far a sequence and its columns are, in the middle of a transaction.
async fn read(
    transaction: &PgTransaction<'_, '_>,
    sequence: &Sequence,
    allowance: Allowance,
) -> Result<State, ReachError> {
    let state = sequence.state(&Within(transaction, allowance)).await?;
    state.ok_or_else(|| {
        let action = format!("repair {}", sequence.shown);
        ReachError::new(Obstacle::Rejected, action, "it is not there any more")
    })
}

/// An error about one sequence as a finding: the others are still done.
pub(super) fn refused(sequence: &Sequence, error: ReachError) -> Result<Finding, ReachError> {
    if !is_about_one(error.obstacle) {
        return Err(error);
    }
    let message = format!("not repaired: {}", error.cause);
    let help = match error.obstacle == Obstacle::Locked {
        true => "somebody writes to its tables in a long transaction: look at `postgres.locks`"
            .to_owned(),
        false => format!("use the login of its owner, {}", sequence.owner),
    };
    Ok(Finding::critical(&sequence.shown, message).with_help(help))
}
