//! Sessions that are left of a run whose engine is gone. A server goes on with a statement whose client
//! has died until it has something to say to it, so they are found by their name and ended.

use tokio_postgres::types::Type;

use super::session::{Bound, Opening};
use super::{PgIdentity, Postgres};
use crate::base::Duration;
use crate::host::connect::Conn;
use crate::host::reach::{Obstacle, ReachError};
use crate::host::{HostError, Observe};

/// How long they may take to end, and an answer about them to come.
const LIMIT: Duration = Duration::from_secs(10);

/// How often it is looked whether they have ended.
const POLL: Duration = Duration::from_millis(50);

/// Sessions that are called `$1`, but for this one, and for the one that holds the run's lock by now.
const FIND: &str = "SELECT pid, application_name, coalesce(usename::text, '') \
     FROM pg_catalog.pg_stat_activity \
     WHERE application_name LIKE $1 AND application_name <> $2 \
       AND pid <> pg_catalog.pg_backend_pid() ORDER BY pid";

/// Ends them.
const END: &str = "SELECT pg_catalog.pg_terminate_backend(pid) \
     FROM pg_catalog.pg_stat_activity \
     WHERE application_name LIKE $1 AND application_name <> $2 \
       AND pid <> pg_catalog.pg_backend_pid()";

impl Observe {
    /// Ends the sessions of this run that are left on the server that `conn` names, and waits until
    /// they are gone; says which there were, and which database it is.
    ///
    /// # Errors
    /// When the connection is not declared or cannot be used, or they do not end.
    pub async fn end_postgres_strays(
        &self,
        conn: &Conn<Postgres>,
    ) -> Result<(Vec<String>, PgIdentity), HostError> {
        let scope = self.scope();
        let reached = self.postgres_reached(conn)?;
        let opening = Opening {
            observe: self,
            target: &reached.target,
            allowance: scope.allow(reached.limit),
            options: None,
        };
        let session = match (opening.open().await, &reached.reserve) {
            // What is left of us may be what takes all connections.
            (Err(error), Some(target)) if error.obstacle == Obstacle::Exhausted => {
                let allowance = scope.allow(reached.limit);
                let opening = Opening {
                    target,
                    allowance,
                    ..opening
                };
                opening.open().await?
            }
            (opened, _) => opened?,
        };
        // A run's id has nothing in it that `LIKE` would take for more than itself.
        let run = &scope.shared.run;
        let (named, lock) = (format!("rb/{run}/%"), format!("rb/{run}/lock"));
        let bound: [Bound<'_>; 2] = [(&named, Type::TEXT), (&lock, Type::TEXT)];
        let (clock, mut found) = (scope.clock(), None);
        let deadline = clock.deadline_in(LIMIT);
        loop {
            let rows = session
                .rows(scope, FIND, &bound, scope.allow(LIMIT))
                .await?;
            let left: Vec<String> = { rows.iter() }
                .map(|row| {
                    let pid: i32 = row.try_get(0).unwrap_or_default();
                    let text = |at| row.try_get::<_, String>(at).unwrap_or_default();
                    format!(
                        "session {pid} of {} in `{}`: {}",
                        text(2),
                        conn.name,
                        text(1)
                    )
                })
                .collect();
            let is_over = left.is_empty();
            let first = found.get_or_insert_with(|| left.clone()).clone();
            if is_over {
                let identity = session.identity(scope, scope.allow(LIMIT)).await?;
                session.close(scope).await;
                return Ok((first, identity));
            }
            if deadline.passed(clock) {
                let action = format!("end what is left of the run in {}", session.shown());
                let cause = format!("{} still lives after {LIMIT}", left.join(", "));
                return Err(ReachError::new(Obstacle::Rejected, action, cause).into());
            }
            session.rows(scope, END, &bound, scope.allow(LIMIT)).await?;
            clock.sleep(POLL).await;
        }
    }
}
