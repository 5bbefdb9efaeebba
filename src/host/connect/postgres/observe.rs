//! Sessions that may only look.

use serde::de::DeserializeOwned;
use tokio_postgres::Row;

use super::Postgres;
use super::identity::PgIdentity;
use super::pool::Lease;
use super::session::{Bound, Opening};
use super::sql::Sql;
use crate::host::connect::Conn;
use crate::host::net::Allowance;
use crate::host::reach::{Obstacle, ReachError};
use crate::host::{HostError, Observe, Part, Scope};

/// A session that may only look: each statement runs alone, in a READ ONLY transaction of its own.
///
/// What a READ ONLY transaction does not stop (functions such as `pg_terminate_backend`, `COPY TO
/// PROGRAM`) is stopped by this: a statement is a [`Sql`], which is text of ours, known when we compile,
/// with parts of an author's that were classed as looking.
#[derive(Debug)]
pub struct PgObserve<'a> {
    scope: &'a Scope,
    lease: Lease,
    identity: Option<PgIdentity>,
    reserve: bool,
}

impl Observe {
    /// A session that may only look, with the database that `conn` names; one of the run's pool. It
    /// takes no longer than `allowance`, and to connect no longer than the connection's own
    /// `connect_timeout`.
    ///
    /// The outer error is a declaration that cannot be used; the inner one is a server that cannot.
    ///
    /// # Errors
    /// When the connection is not declared, or its declaration is wrong.
    pub async fn postgres(
        &self,
        conn: &Conn<Postgres>,
        allowance: Allowance,
    ) -> Result<Result<PgObserve<'_>, ReachError>, HostError> {
        self.postgres_through(conn, allowance, false).await
    }

    /// The same for what helps in trouble: where all connections are taken, the connection's `reserve`
    /// is used.
    ///
    /// # Errors
    /// As [`Observe::postgres`].
    pub async fn postgres_in_need(
        &self,
        conn: &Conn<Postgres>,
        allowance: Allowance,
    ) -> Result<Result<PgObserve<'_>, ReachError>, HostError> {
        self.postgres_through(conn, allowance, true).await
    }

    async fn postgres_through(
        &self,
        conn: &Conn<Postgres>,
        allowance: Allowance,
        need: bool,
    ) -> Result<Result<PgObserve<'_>, ReachError>, HostError> {
        let reached = self.postgres_reached(conn)?;
        let taken = match reached.look(self, allowance, need).await {
            Ok(taken) => taken,
            Err(error) => return Ok(Err(error)),
        };
        // Who looks what a step would do, looks at what the step would touch.
        if self.scope().part == Part::Preview {
            self.scope().shared.targets.see(&conn.name, &taken.identity);
        }
        Ok(Ok(PgObserve {
            scope: self.scope(),
            lease: taken.lease,
            identity: Some(taken.identity),
            reserve: taken.reserve,
        }))
    }

    /// A session of its own that may only look, opened now: to find out whether it can be.
    ///
    /// # Errors
    /// As [`Observe::postgres`].
    pub async fn postgres_alone(
        &self,
        conn: &Conn<Postgres>,
        allowance: Allowance,
    ) -> Result<Result<PgObserve<'_>, ReachError>, HostError> {
        let (target, limit) = self.postgres_target(conn)?;
        let opening = Opening {
            observe: self,
            target: &target,
            allowance: allowance.at_most(self.scope(), limit),
            options: None,
        };
        let opened = opening.open().await;
        Ok(opened.map(|session| PgObserve {
            scope: self.scope(),
            lease: Lease::alone(session),
            identity: None,
            reserve: false,
        }))
    }
}

impl PgObserve<'_> {
    /// The database, for people: `shop at 127.0.0.1:5432 as app`.
    pub fn shown(&self) -> &str {
        self.lease.session().shown()
    }

    /// The server's version as a number: 150008 is 15.8; 0 for a session that was opened alone.
    pub fn version(&self) -> u32 {
        self.lease.session().version()
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.lease.session().is_encrypted()
    }

    /// What tells this database from others; not for a session that was opened alone.
    pub fn identity(&self) -> Option<&PgIdentity> {
        self.identity.as_ref()
    }

    /// Whether all connections were taken, and the reserve is used.
    pub fn is_reserve(&self) -> bool {
        self.reserve
    }

    /// The rows of one statement, which runs alone in a READ ONLY transaction. When `allowance` runs
    /// out it is cancelled on the server too.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn rows(
        &self,
        sql: impl Into<Sql>,
        bound: &[Bound<'_>],
        allowance: Allowance,
    ) -> Result<Vec<Row>, ReachError> {
        let session = self.lease.session();
        session.rows(self.scope, sql, bound, allowance).await
    }

    /// The rows of one query, read as JSON, each with the names of the columns as its fields. The query
    /// can stand in parentheses.
    ///
    /// # Errors
    /// Why there are none, or that they are no `T`.
    pub async fn records<T: DeserializeOwned>(
        &self,
        sql: impl Into<Sql>,
        bound: &[Bound<'_>],
        allowance: Allowance,
    ) -> Result<Vec<T>, ReachError> {
        let sql = as_json(&sql.into());
        let rows = self.rows(sql, bound, allowance).await?;
        read_json(self.shown(), &rows)
    }

    /// The one row of a query: see [`PgObserve::records`].
    ///
    /// # Errors
    /// Why it is not there.
    pub async fn record<T: DeserializeOwned>(
        &self,
        sql: impl Into<Sql>,
        bound: &[Bound<'_>],
        allowance: Allowance,
    ) -> Result<T, ReachError> {
        let rows = self.records(sql, bound, allowance).await?;
        only(self.shown(), rows)
    }

    /// Ends the session politely, so that the server's log stays quiet. One of a pool stays open.
    pub async fn close(self) {
        self.lease.close(self.scope).await;
    }
}

/// A query whose one cell is the rows of `sql` as a JSON text.
pub(super) fn as_json(sql: &Sql) -> Sql {
    Sql::new("SELECT coalesce(pg_catalog.json_agg(q), '[]')::pg_catalog.text FROM (")
        .sql(sql)
        .then("\n) AS q")
}

/// What stands in the one cell of `rows`.
pub(super) fn read_json<T: DeserializeOwned>(
    shown: &str,
    rows: &[Row],
) -> Result<Vec<T>, ReachError> {
    let garbled = |cause: String| {
        let action = format!("read the answer of {shown}");
        ReachError::new(Obstacle::Garbled, action, cause)
    };
    let row = rows
        .first()
        .ok_or_else(|| garbled("it has no row".to_owned()))?;
    let text: &str = row.try_get(0).map_err(|error| garbled(error.to_string()))?;
    serde_json::from_str(text).map_err(|error| garbled(said(&error)))
}

/// What is wrong with an answer. Where in the answer is nobody's business, who has never seen it.
fn said(error: &serde_json::Error) -> String {
    let place = format!(" at line {} column {}", error.line(), error.column());
    let said = error.to_string();
    said.strip_suffix(&place)
        .map_or(said.clone(), str::to_owned)
}

pub(super) fn only<T>(shown: &str, rows: Vec<T>) -> Result<T, ReachError> {
    rows.into_iter().next().ok_or_else(|| {
        let action = format!("read the answer of {shown}");
        ReachError::new(Obstacle::Garbled, action, "it has no row")
    })
}
