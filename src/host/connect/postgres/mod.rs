//! PostgreSQL connections.
//!
//! Three means: [`PgObserve`] looks, one statement at a time in a READ ONLY transaction; [`PgLock`]
//! holds an advisory lock, and can say nothing but that; what touches will be handed out by `Effect`
//! beside them. All are opened here and nowhere else.

mod lock;
mod session;
mod strays;
mod url;

use schemars::JsonSchema;
use serde::Deserialize;

pub use lock::{PgHolder, PgLock, PgTaken};
pub use session::{Bound, PgObserve};
pub use url::{Host, Session, Target, TlsPolicy};

use self::session::Opening;
use super::{Conn, ConnectionKind};
use crate::base::Duration;
use crate::base::field::SecretText;
use crate::host::net::Allowance;
use crate::host::reach::ReachError;
use crate::host::{HostError, Observe};

/// How long to wait for a connection, unless told otherwise.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The kind.
#[derive(Debug)]
pub struct Postgres;

/// A PostgreSQL database.
///
/// TLS is as `sslmode` in the URL says: `disable`, `prefer`, `require`, `verify-ca` or
/// `verify-full`; without it, `verify-full` for any other machine than this one, `prefer` on
/// loopback, none on a Unix socket. `sslrootcert` names a PEM file with the authorities to trust
/// instead of this machine's. Several hosts and `target_session_attrs` work as in libpq.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database?sslmode=…`
    pub url: SecretText,
    /// How long to wait for a connection; 5 s by default.
    #[serde(default)]
    pub connect_timeout: Option<Duration>,
}

impl ConnectionKind for Postgres {
    const NAME: &'static str = "postgres";
    type Config = PostgresConfig;

    fn check(config: &PostgresConfig) -> Result<(), String> {
        Target::parse(config.url.expose()).map(|_| ())
    }
}

impl Observe {
    /// The database that `conn` names, and how long a connection to it may take.
    ///
    /// # Errors
    /// When the connection is not declared, or its declaration is wrong.
    fn postgres_target(&self, conn: &Conn<Postgres>) -> Result<(Target, Duration), HostError> {
        let config = self.scope().shared.connections.get(conn)?;
        let target = Target::parse(config.url.expose()).map_err(|cause| {
            HostError::permanent(format!("use connection `{}`", conn.name), cause)
        })?;
        let limit = config.connect_timeout.or(target.connect_timeout);
        Ok((target, limit.unwrap_or(CONNECT_LIMIT)))
    }

    /// A session that may only look, with the database that `conn` names. It takes no longer than
    /// `allowance`, nor than the connection's own `connect_timeout`.
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
        let (target, limit) = self.postgres_target(conn)?;
        let opening = Opening {
            observe: self,
            target: &target,
            allowance: allowance.at_most(self.scope(), limit),
            options: None,
        };
        let opened = opening.open().await;
        Ok(opened.map(|session| PgObserve::new(self.scope(), session)))
    }
}
