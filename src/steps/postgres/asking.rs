//! What all types that look at a PostgreSQL server have in common: a session of the run's pool, a time
//! by which all is answered, and a finding in place of an answer that does not come.

use serde::de::DeserializeOwned;

use crate::base::Duration;
use crate::event::Finding;
use crate::host::Observe;
use crate::host::connect::Conn;
use crate::host::connect::postgres::sql::Sql;
use crate::host::connect::postgres::{Bound, PgObserve, Postgres};
use crate::host::net::Allowance;
use crate::host::reach::{Obstacle, ReachError};
use crate::step::{Outcome, StepError};
use crate::steps::reach;

/// How long all answers may take, unless told otherwise.
pub(super) fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}

/// A server that is asked.
pub(super) struct Asking<'a> {
    session: PgObserve<'a>,
    allowance: Allowance,
    version: u32,
}

impl Asking<'_> {
    /// The database, for people.
    pub fn shown(&self) -> &str {
        self.session.shown()
    }

    /// The server's version as a number: 150008 is 15.8.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The rows of a query, read as JSON, each with the names of the columns as its fields.
    pub async fn records<T: DeserializeOwned>(
        &self,
        sql: impl Into<Sql>,
        bound: &[Bound<'_>],
    ) -> Result<Vec<T>, ReachError> {
        self.session.records(sql, bound, self.allowance).await
    }

    /// The one row of a query.
    pub async fn record<T: DeserializeOwned>(
        &self,
        sql: impl Into<Sql>,
        bound: &[Bound<'_>],
    ) -> Result<T, ReachError> {
        self.session.record(sql, bound, self.allowance).await
    }
}

/// Which server is asked, and how.
pub(super) struct Server<'a> {
    /// The connection.
    pub connection: &'a Conn<Postgres>,
    /// How long all answers may take.
    pub timeout: Duration,
    /// Whether the connection's reserve is used where all connections are taken.
    pub in_need: bool,
}

/// Asks a server. What keeps it from answering is a finding about the connection; what was filled of the
/// outputs by then stays.
///
/// # Errors
/// When the connection cannot be used, or the step was told to end.
pub(super) async fn look<O>(
    host: &Observe,
    server: Server<'_>,
    outputs: O,
    ask: impl AsyncFnOnce(&Asking<'_>, &mut O) -> Result<Vec<Finding>, ReachError>,
) -> Result<Outcome<O>, StepError> {
    look_noting(host, server, outputs, ask, |_, _| {}).await
}

/// As [`look`]; what keeps the server from answering is noted in the outputs too.
pub(super) async fn look_noting<O>(
    host: &Observe,
    server: Server<'_>,
    mut outputs: O,
    ask: impl AsyncFnOnce(&Asking<'_>, &mut O) -> Result<Vec<Finding>, ReachError>,
    note: impl FnOnce(&mut O, Obstacle),
) -> Result<Outcome<O>, StepError> {
    let Server {
        connection,
        timeout,
        in_need,
    } = server;
    let allowance = host.scope().allow(timeout);
    let opened = match in_need {
        true => host.postgres_in_need(connection, allowance).await?,
        false => host.postgres(connection, allowance).await?,
    };
    let failed = |error| reach::finding(&connection.name, error);
    let session = match opened {
        Ok(session) => session,
        Err(error) => {
            note(&mut outputs, error.obstacle);
            return Ok(Outcome::unchanged(outputs).with_findings(vec![failed(error)?]));
        }
    };
    let mut findings = Vec::new();
    if session.is_reserve() {
        let message = format!("all connections are taken: looked as {}", session.shown());
        findings.push(Finding::warning(&connection.name, message));
    }
    let version = session.version();
    let asking = Asking {
        session,
        allowance,
        version,
    };
    match ask(&asking, &mut outputs).await {
        Ok(found) => findings.extend(found),
        Err(error) => {
            note(&mut outputs, error.obstacle);
            findings.push(failed(error)?);
        }
    }
    Ok(Outcome::unchanged(outputs).with_findings(findings))
}
