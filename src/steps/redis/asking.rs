//! What all types that look at a Redis server have in common: a session, a time by which all is
//! answered, and a finding in place of an answer that does not come.

use crate::base::Duration;
use crate::event::Finding;
use crate::host::Observe;
use crate::host::connect::Conn;
use crate::host::connect::redis::{Redis, RedisObserve};
use crate::host::net::Allowance;
use crate::host::reach::ReachError;
use crate::step::{Outcome, StepError};
use crate::steps::reach;

/// How long all answers may take, unless told otherwise.
pub(super) fn thirty_seconds() -> Duration {
    Duration::from_secs(30)
}

/// Whether `timeout` leaves any time.
pub(super) fn check_timeout(timeout: Duration) -> Result<(), String> {
    match timeout == Duration::ZERO {
        true => Err("`timeout` is zero: there would be no time for an answer".to_owned()),
        false => Ok(()),
    }
}

/// A server that is asked.
pub(super) struct Asking<'a> {
    pub(super) session: RedisObserve<'a>,
    pub(super) allowance: Allowance,
}

/// Asks a server. What keeps it from answering is a finding about the connection; what was filled of the
/// outputs by then stays.
///
/// # Errors
/// When the connection cannot be used, or the step was told to end.
pub(super) async fn look<O>(
    host: &Observe,
    connection: &Conn<Redis>,
    timeout: Duration,
    mut outputs: O,
    ask: impl AsyncFnOnce(&Asking<'_>, &mut O) -> Result<Vec<Finding>, ReachError>,
) -> Result<Outcome<O>, StepError> {
    let allowance = host.scope().allow(timeout);
    let answered = match host.redis(connection, allowance).await? {
        Ok(session) => ask(&Asking { session, allowance }, &mut outputs).await,
        Err(error) => Err(error),
    };
    let findings = match answered {
        Ok(findings) => findings,
        Err(error) => vec![reach::finding(&connection.name, error)?],
    };
    Ok(Outcome::unchanged(outputs).with_findings(findings))
}
