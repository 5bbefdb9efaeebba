//! What tells one database from another, however they are reached.

use serde::{Deserialize, Serialize};

use super::session::Session;
use super::sql::Sql;
use crate::host::Scope;
use crate::host::net::Allowance;
use crate::host::reach::{Obstacle, ReachError};

/// What tells a database from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PgIdentity {
    /// Of the cluster and its standbys; none where this login may not ask for it.
    pub system_identifier: Option<String>,
    /// The database's name.
    pub database: String,
    /// Whether it follows a primary, or recovers.
    pub standby: bool,
}

impl std::fmt::Display for PgIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let role = if self.standby { "standby" } else { "primary" };
        write!(f, "database {} of a {role}", self.database)?;
        match &self.system_identifier {
            Some(id) => write!(f, ", cluster {id}"),
            None => write!(f, ", of which cluster it may not tell"),
        }
    }
}

/// All of it; asking takes the right to run `pg_control_system`, which a managed server may not give.
const WHOLE: &str = "SELECT pg_is_in_recovery(), current_database()::text, \
     (SELECT system_identifier::text FROM pg_control_system()), \
     current_setting('server_version_num')::int4";

/// What everybody may ask.
const PART: &str = "SELECT pg_is_in_recovery(), current_database()::text, NULL::text, \
     current_setting('server_version_num')::int4";

impl Session {
    /// What the session's database is.
    pub(super) async fn identity(
        &self,
        scope: &Scope,
        allowance: Allowance,
    ) -> Result<PgIdentity, ReachError> {
        let ask = async |sql: &'static str| self.rows(scope, Sql::new(sql), &[], allowance).await;
        let rows = match ask(WHOLE).await {
            Err(error) if error.obstacle == Obstacle::Forbidden => ask(PART).await?,
            other => other?,
        };
        let read = || {
            let row = rows.first()?;
            let version: i32 = row.try_get(3).ok()?;
            self.set_version(u32::try_from(version).ok()?);
            Some(PgIdentity {
                standby: row.try_get(0).ok()?,
                database: row.try_get(1).ok()?,
                system_identifier: row.try_get(2).ok()?,
            })
        };
        read().ok_or_else(|| {
            let action = format!("find out which database {} is", self.shown());
            ReachError::new(Obstacle::Garbled, action, "the answer is not one")
        })
    }
}
