//! Transactions of sessions that may touch, and what became of one whose COMMIT was not answered.

use futures_util::TryStreamExt as _;
use serde::de::DeserializeOwned;

use super::effect::{Alone, Done, PgEffect, Verdict, in_doubt, lost};
use super::error::refused;
use super::observe::{as_json, read_json};
use super::session::{Bound, Opening, server_limit};
use super::sql::{Sql, settings};
use crate::base::Duration;
use crate::host::net::Allowance;
use crate::host::reach::{Obstacle, ReachError};

/// How long it may take to find out what became of a transaction.
const INQUEST_LIMIT: Duration = Duration::from_secs(10);

/// How often it is asked until it is over.
const INQUEST_POLL: Duration = Duration::from_millis(100);

/// A transaction that was begun. Dropped without an end, it is rolled back.
#[derive(Debug)]
pub struct PgTransaction<'t, 'a> {
    on: &'t PgEffect<'a>,
}

impl PgTransaction<'_, '_> {
    /// Does one statement within it.
    ///
    /// # Errors
    /// Why it was not done. The transaction can then only be rolled back.
    pub async fn run(
        &self,
        sql: impl Into<Sql>,
        bound: &[Bound<'_>],
        allowance: Allowance,
    ) -> Result<Done, ReachError> {
        let done = self
            .on
            .statement(&sql.into(), bound, allowance, Alone::No)
            .await;
        self.on.session().set_busy(true);
        done
    }

    /// The rows of a query within it, read as JSON.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn records<T: DeserializeOwned>(
        &self,
        sql: impl Into<Sql>,
        bound: &[Bound<'_>],
        allowance: Allowance,
    ) -> Result<Vec<T>, ReachError> {
        let done = self.run(as_json(&sql.into()), bound, allowance).await?;
        read_json(self.on.shown(), &done.rows)
    }

    /// How long a statement waits for a lock from here on, within it.
    ///
    /// # Errors
    /// When the server did not take it.
    pub async fn set_lock_timeout(
        &self,
        limit: Duration,
        allowance: Allowance,
    ) -> Result<(), ReachError> {
        let millis = limit.as_millis().clamp(1, i32::MAX as u64);
        let text = settings(true, &[("lock_timeout", &millis.to_string())]);
        let done = self.on.plainly(&text, allowance).await;
        self.on.session().set_busy(true);
        done
    }

    /// Makes it last. Where the answer is lost, the server is asked what became of it.
    ///
    /// # Errors
    /// When it was rolled back; [`Obstacle::InDoubt`] where nobody knows.
    pub async fn commit(self, allowance: Allowance) -> Result<(), ReachError> {
        let (on, session) = (self.on, self.on.session());
        let action = || format!("commit in {}", on.shown());
        let number = "SELECT pg_current_xact_id_if_assigned()::text";
        let numbered = on
            .statement(&number.into(), &[], allowance, Alone::No)
            .await;
        session.set_busy(true);
        let numbered = numbered?.rows;
        let number: Option<String> = numbered
            .first()
            .and_then(|row| row.try_get(0).ok())
            .flatten();
        let work = session
            .client
            .query_typed_raw("COMMIT", std::iter::empty::<Nothing>());
        let work = async {
            let rows = work.await?;
            let mut rows = std::pin::pin!(rows);
            while rows.try_next().await?.is_some() {}
            Ok(())
        };
        let why = match on.verdict(work, allowance).await {
            Verdict::Said(Ok(())) => {
                session.set_busy(false);
                return Ok(());
            }
            Verdict::Said(Err(error)) if lost(&error) => refused(action(), &error, None).cause,
            Verdict::Said(Err(error)) => {
                session.set_busy(false);
                return Err(refused(action(), &error, None));
            }
            // A COMMIT that is cancelled while it waits for a standby has been made all the same.
            Verdict::Cancelled(stopped) | Verdict::Silent(stopped) => stopped.error(action()).cause,
        };
        // Without a number it has changed nothing.
        let Some(number) = number else { return Ok(()) };
        match on.inquest(&number).await {
            Ok(true) => Ok(()),
            Ok(false) => {
                let cause = format!("{why}; the server says that it was rolled back");
                Err(ReachError::new(Obstacle::HungUp, action(), cause))
            }
            Err(unknown) => Err(in_doubt(action(), &format!("{why}; {unknown}"))),
        }
    }

    /// Takes it back.
    ///
    /// # Errors
    /// When the server did not say so; then it does it by itself.
    pub async fn roll_back(self, allowance: Allowance) -> Result<(), ReachError> {
        self.on.plainly("ROLLBACK", allowance).await
    }
}

type Nothing = (
    &'static (dyn tokio_postgres::types::ToSql + Sync),
    tokio_postgres::types::Type,
);

impl<'a> PgEffect<'a> {
    /// Begins a transaction.
    ///
    /// # Errors
    /// When the server does not.
    pub async fn begin(&self, allowance: Allowance) -> Result<PgTransaction<'_, 'a>, ReachError> {
        let limit = server_limit(self.scope(), allowance).to_string();
        let values = [
            ("standard_conforming_strings", "on"),
            ("statement_timeout", &limit),
        ];
        let begin = format!("BEGIN; {}", settings(true, &values));
        self.plainly(&begin, allowance).await?;
        // Whoever drops it without an end leaves it to the server, which rolls it back.
        self.session().set_busy(true);
        Ok(PgTransaction { on: self })
    }

    /// What became of a transaction whose COMMIT was not answered.
    async fn inquest(&self, transaction: &str) -> Result<bool, String> {
        let scope = self.scope();
        let allowance = scope.allow(INQUEST_LIMIT).despite_end();
        let opening = Opening {
            observe: self.observe,
            target: &self.target,
            allowance,
            options: None,
        };
        let session = opening.open().await.map_err(|error| error.to_string())?;
        let same = session.identity(scope, allowance).await;
        if same.map_err(|error| error.to_string())? != self.identity {
            return Err("another database answers by now".to_owned());
        }
        // Its number is digits.
        let sql = Sql::new("SELECT pg_xact_status('")
            .number(
                transaction
                    .parse()
                    .map_err(|_| "it has no number".to_owned())?,
            )
            .then("'::xid8)");
        loop {
            let rows = session.rows(scope, sql.clone(), &[], allowance).await;
            let rows = rows.map_err(|error| error.to_string())?;
            let status: Option<String> = rows.first().and_then(|row| row.try_get(0).ok()).flatten();
            match status.as_deref() {
                Some("committed") => return Ok(true),
                Some("aborted") => return Ok(false),
                Some("in progress") => {}
                _ => return Err("the server does not remember it".to_owned()),
            }
            let wait = scope.clock().sleep(INQUEST_POLL);
            if scope.within(allowance, wait).await.is_err() {
                return Err("it is still in progress".to_owned());
            }
        }
    }
}
