//! Sessions that may touch.
//!
//! Every statement has a deadline of ours. When it passes, or the attempt is told to end, the server is
//! asked to cancel, and what it then says counts: what it cancelled has not happened, what it finished
//! all the same has. Where it says nothing, whether it happened is not known, and that is what is told.

use futures_util::TryStreamExt as _;
use serde::de::DeserializeOwned;
use tokio_postgres::Row;

use super::Postgres;
use super::error::refused;
use super::identity::PgIdentity;
use super::notice::Notice;
use super::observe::{as_json, only, read_json};
use super::pool::Lease;
use super::session::{Bound, Session, application_name, server_limit};
use super::sql::{Sql, settings};
use super::url::Target;
use crate::base::Duration;
use crate::host::connect::{Conn, ConnectionKind as _};
use crate::host::net::{Allowance, Stopped};
use crate::host::reach::{Obstacle, ReachError};
use crate::host::{Effect, HostError, Observe, Scope};

/// How long a server is waited for that was asked to cancel a statement.
const VERDICT_LIMIT: Duration = Duration::from_secs(3);

/// From this version on a server looks whether its client is still there while a statement runs
/// (`client_connection_check_interval`).
const CONNECTION_CHECK: u32 = 140_000;

const POOLER_HELP: &str = "name the server itself in the connection: a pooler such as PgBouncer may hand \
     the session to somebody else in the middle of a change";

/// A session that may touch.
#[derive(Debug)]
pub struct PgEffect<'a> {
    pub(super) observe: &'a Observe,
    pub(super) target: Target,
    lease: Lease,
    pub(super) identity: PgIdentity,
    reserve: bool,
}

/// A statement that was done.
#[derive(Debug)]
pub struct Done {
    /// Its rows.
    pub rows: Vec<Row>,
    /// How many rows it was about; 0 for a statement that is about none.
    pub affected: u64,
    /// What the server said beside it.
    pub notices: Vec<Notice>,
}

impl Effect {
    /// A session that may touch, with the primary that `conn` names; one of the run's pool. Which
    /// database it is was recorded before this returns.
    ///
    /// # Errors
    /// When the connection is not declared or cannot be used, what answers is a standby or a pooler, or
    /// it is another database than the run has written to before.
    pub async fn postgres(
        &self,
        conn: &Conn<Postgres>,
        allowance: Allowance,
    ) -> Result<PgEffect<'_>, HostError> {
        let session = self.postgres_through(conn, allowance, false).await;
        let session = session.map_err(HostError::before_a_touch)?;
        if session.identity.standby {
            let action = format!("write to {}", session.shown());
            let help = "write `target_session_attrs=primary` in the URL, with all hosts in it";
            let error = HostError::permanent(action, "it is a standby").with_help(help);
            return Err(error.before_a_touch());
        }
        Ok(session)
    }

    /// The same for what helps in trouble: where all connections are taken, the connection's `reserve`
    /// is used, and a standby is as good as a primary.
    ///
    /// # Errors
    /// As [`Effect::postgres`].
    pub async fn postgres_in_need(
        &self,
        conn: &Conn<Postgres>,
        allowance: Allowance,
    ) -> Result<PgEffect<'_>, HostError> {
        let session = self.postgres_through(conn, allowance, true).await;
        session.map_err(HostError::before_a_touch)
    }

    async fn postgres_through(
        &self,
        conn: &Conn<Postgres>,
        allowance: Allowance,
        need: bool,
    ) -> Result<PgEffect<'_>, HostError> {
        let observe = self.observe();
        let scope = observe.scope();
        let reached = observe.postgres_reached(conn)?;
        let token = format!("{}", scope.shared.run);
        let options = format!("-c runbook.session={token}");
        let taken = reached.act(observe, allowance, need, &options).await;
        let taken = taken.map_err(|error| match error.cause.contains("startup parameter") {
            true => error.with_help(POOLER_HELP),
            false => error,
        })?;
        let session = PgEffect {
            observe,
            target: match (taken.reserve, reached.reserve) {
                (true, Some(reserve)) => reserve,
                _ => reached.target,
            },
            lease: taken.lease,
            identity: taken.identity,
            reserve: taken.reserve,
        };
        session.is_own(&token, allowance).await?;
        let targets = &scope.shared.targets;
        targets
            .confirm(Postgres::NAME, &conn.name, &session.identity)
            .await?;
        // Of what we ask of catalogs, no plan is worth to be compiled.
        let name = application_name(scope);
        let values = [("jit", "off"), ("application_name", &name)];
        let begin = format!("RESET ALL; {}", settings(false, &values));
        session.plainly(&begin, allowance).await?;
        if session.version() >= CONNECTION_CHECK {
            // A server whose system cannot tell (Windows) refuses; then it is only noticed later.
            let check = "SET client_connection_check_interval = '10s'";
            let _ = session.plainly(check, allowance).await;
        }
        Ok(session)
    }
}

impl<'a> PgEffect<'a> {
    pub(super) fn session(&self) -> &Session {
        self.lease.session()
    }

    pub(super) fn scope(&self) -> &'a Scope {
        self.observe.scope()
    }

    /// As long as the attempt itself may take.
    pub fn allow_all(&self) -> Allowance {
        self.scope().allow_all()
    }

    /// The database, for people.
    pub fn shown(&self) -> &str {
        self.session().shown()
    }

    /// The server's version as a number: 150008 is 15.8.
    pub fn version(&self) -> u32 {
        self.session().version()
    }

    /// What tells this database from others.
    pub fn identity(&self) -> &PgIdentity {
        &self.identity
    }

    /// Whether all connections were taken, and the reserve is used.
    pub fn is_reserve(&self) -> bool {
        self.reserve
    }

    /// Whether the server's session is ours alone.
    async fn is_own(&self, token: &str, allowance: Allowance) -> Result<(), ReachError> {
        let sql = "SELECT current_setting('runbook.session', true)";
        let rows = self.rows(sql, &[], allowance).await?;
        let told: Option<String> = rows.first().and_then(|row| row.try_get(0).ok()).flatten();
        if told.as_deref() == Some(token) {
            return Ok(());
        }
        let action = format!("write to {}", self.shown());
        let error = ReachError::new(Obstacle::Rejected, action, "a pooler stands before it");
        Err(error.with_help(POOLER_HELP))
    }

    /// What was done in it may have left something behind (settings, locks, temporary tables): it is
    /// closed after this step.
    pub fn keep_apart(&mut self) {
        self.lease.keep_apart();
    }

    /// How long a statement waits for a lock from here on, in this step.
    ///
    /// # Errors
    /// When the server did not take it.
    pub async fn set_lock_timeout(
        &self,
        limit: Duration,
        allowance: Allowance,
    ) -> Result<(), ReachError> {
        // Zero would be no limit.
        let millis = limit.as_millis().clamp(1, i32::MAX as u64);
        let text = settings(false, &[("lock_timeout", &millis.to_string())]);
        self.plainly(&text, allowance).await
    }

    /// For statements that take long: until `allowance` runs out, whatever limit the login has
    /// (`statement_timeout`), which would end a VACUUM in its middle.
    ///
    /// # Errors
    /// When the server did not take it.
    pub async fn set_statement_limit(&self, allowance: Allowance) -> Result<(), ReachError> {
        let limit = server_limit(self.scope(), allowance).to_string();
        let text = settings(false, &[("statement_timeout", &limit)]);
        self.plainly(&text, allowance).await
    }

    /// Text of ours that has no result and no effect outside of its session.
    pub(super) async fn plainly(&self, text: &str, allowance: Allowance) -> Result<(), ReachError> {
        let session = self.session();
        session.set_busy(true);
        let action = || format!("prepare a session of {}", self.shown());
        let work = session.client.batch_execute(text);
        match self.scope().within(allowance, work).await {
            Ok(Ok(())) => {
                session.set_busy(false);
                Ok(())
            }
            Ok(Err(error)) => {
                session.set_busy(false);
                Err(refused(action(), &error, None))
            }
            Err(stopped) => Err(stopped.error(action())),
        }
    }

    /// The rows of a statement that only looks: as [`PgObserve::rows`](super::PgObserve::rows).
    ///
    /// # Errors
    /// Why there are none.
    pub async fn rows(
        &self,
        sql: impl Into<Sql>,
        bound: &[Bound<'_>],
        allowance: Allowance,
    ) -> Result<Vec<Row>, ReachError> {
        self.session()
            .rows(self.scope(), sql, bound, allowance)
            .await
    }

    /// The rows of a query that only looks, read as JSON.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn records<T: DeserializeOwned>(
        &self,
        sql: impl Into<Sql>,
        bound: &[Bound<'_>],
        allowance: Allowance,
    ) -> Result<Vec<T>, ReachError> {
        let rows = self.rows(as_json(&sql.into()), bound, allowance).await?;
        read_json(self.shown(), &rows)
    }

    /// The one row of a query that only looks.
    ///
    /// # Errors
    /// Why it is not there.
    pub async fn record<T: DeserializeOwned>(
        &self,
        sql: impl Into<Sql>,
        bound: &[Bound<'_>],
        allowance: Allowance,
    ) -> Result<T, ReachError> {
        only(self.shown(), self.records(sql, bound, allowance).await?)
    }

    /// Does one statement, in a transaction of its own. When `allowance` runs out it is cancelled.
    ///
    /// # Errors
    /// Why it was not done; [`Obstacle::InDoubt`] where nobody knows.
    pub async fn run(
        &self,
        sql: impl Into<Sql>,
        bound: &[Bound<'_>],
        allowance: Allowance,
    ) -> Result<Done, ReachError> {
        self.statement(&sql.into(), bound, allowance, Alone::Yes)
            .await
    }

    pub(super) async fn statement(
        &self,
        sql: &Sql,
        bound: &[Bound<'_>],
        allowance: Allowance,
        alone: Alone,
    ) -> Result<Done, ReachError> {
        let session = self.session();
        session.set_busy(true);
        session.take_notices();
        let action = || format!("change {}", self.shown());
        let work = async {
            let rows = session
                .client
                .query_typed_raw(sql.text(), bound.iter().map(borrowed))
                .await?;
            let mut rows = std::pin::pin!(rows);
            let mut kept = Vec::new();
            while let Some(row) = rows.try_next().await? {
                kept.push(row);
            }
            Ok((kept, rows.rows_affected().unwrap_or(0)))
        };
        let answer = self.verdict(work, allowance).await;
        let (rows, affected) = match answer {
            Verdict::Said(Ok(done)) => done,
            Verdict::Said(Err(error)) => {
                session.set_busy(false);
                let error = match lost(&error) && alone == Alone::Yes {
                    true => in_doubt(action(), &refused(action(), &error, Some(sql)).cause),
                    false => refused(action(), &error, Some(sql)),
                };
                return Err(error);
            }
            Verdict::Cancelled(stopped) => {
                session.set_busy(false);
                return Err(stopped.error(action()));
            }
            Verdict::Silent(stopped) if alone == Alone::Yes => {
                let cause = "it was cancelled, and the server does not say what became of it";
                return Err(in_doubt(stopped.error(action()).action, cause));
            }
            // The transaction ends with its session.
            Verdict::Silent(stopped) => return Err(stopped.error(action())),
        };
        session.set_busy(false);
        Ok(Done {
            rows,
            affected,
            notices: session.take_notices(),
        })
    }

    /// Waits for an answer; when it takes too long, for the answer to the cancel request.
    pub(super) async fn verdict<T>(
        &self,
        work: impl Future<Output = Result<T, tokio_postgres::Error>>,
        allowance: Allowance,
    ) -> Verdict<T> {
        let scope = self.scope();
        let mut work = std::pin::pin!(work);
        let stopped = match scope.within(allowance, &mut work).await {
            Ok(answer) => return Verdict::Said(answer),
            Err(stopped) => stopped,
        };
        match self.session().cancel(scope, work, VERDICT_LIMIT).await {
            Some(Err(error)) if error.code().is_some_and(|code| code.code() == "57014") => {
                Verdict::Cancelled(stopped)
            }
            Some(answer) => Verdict::Said(answer),
            None => Verdict::Silent(stopped),
        }
    }

    /// Ends the session, or gives it back to the run's pool.
    pub async fn close(self) {
        let scope = self.scope();
        self.lease.close(scope).await;
    }
}

/// Whether a statement is its own transaction.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Alone {
    Yes,
    No,
}

/// What came of a statement.
pub(super) enum Verdict<T> {
    /// The server answered.
    Said(Result<T, tokio_postgres::Error>),
    /// It was cancelled, and says so.
    Cancelled(Stopped),
    /// It was cancelled, and nothing came back.
    Silent(Stopped),
}

fn borrowed<'b>(bound: &Bound<'b>) -> Bound<'b> {
    (bound.0, bound.1.clone())
}

/// Whether an error is none of the server's answers: the connection is gone.
pub(super) fn lost(error: &tokio_postgres::Error) -> bool {
    match error.as_db_error() {
        // Ended by an administrator, or by a crash: before or after it was done, it does not say.
        Some(db) => matches!(db.code().code(), "57P01" | "57P02"),
        None => true,
    }
}

pub(super) fn in_doubt(action: String, cause: &str) -> ReachError {
    ReachError::new(
        Obstacle::InDoubt,
        action,
        format!("{cause}; whether it happened is not known"),
    )
}
