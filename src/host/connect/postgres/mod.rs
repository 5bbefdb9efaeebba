//! PostgreSQL connections.
//!
//! Three means: [`PgObserve`] looks, one statement at a time in a READ ONLY transaction; [`PgEffect`]
//! touches, and is handed out by `Effect` alone; [`PgLock`] holds an advisory lock, and can say nothing
//! but that. All are opened here and nowhere else. The sessions of a run with one database come from a
//! [`Pool`].

mod effect;
mod error;
mod identity;
mod lock;
mod notice;
mod observe;
mod pool;
mod session;
pub mod sql;
mod strays;
mod transaction;
mod url;
mod value;

use std::sync::Arc;

use schemars::JsonSchema;
use serde::Deserialize;

pub use effect::{Done, PgEffect};
pub use identity::PgIdentity;
pub use lock::{PgHolder, PgLock, PgTaken};
pub use notice::Notice;
pub use observe::PgObserve;
pub use pool::Pool;
pub use session::Bound;
pub use transaction::PgTransaction;
pub use url::{Host, Session, Target, TlsPolicy};
pub use value::{PgOpaque, PgValue};

use self::pool::{Home, Lease, Taken, Use};
use self::session::Opening;
use super::{Conn, ConnectionKind};
use crate::base::Duration;
use crate::base::field::SecretText;
use crate::host::net::Allowance;
use crate::host::reach::{Obstacle, ReachError};
use crate::host::{HostError, Observe};

/// How long to wait for a connection, unless told otherwise.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// How many sessions a run has with one database at most, unless told otherwise.
const POOL_SIZE: u8 = 4;

/// The kind.
#[derive(Debug)]
pub struct Postgres;

/// A PostgreSQL database.
///
/// TLS is as `sslmode` in the URL says: `disable`, `prefer`, `require`, `verify-ca` or
/// `verify-full`; without it, `verify-full` for any other machine than this one, `prefer` on
/// loopback, none on a Unix socket. `sslrootcert` names a PEM file with the authorities to trust
/// instead of this machine's. Several hosts and `target_session_attrs` work as in libpq.
///
/// Before a run writes for the first time, it records which database it is (cluster, name, primary or
/// standby), and refuses to write to another one from then on.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database?sslmode=…`
    pub url: SecretText,
    /// How long to wait for a connection; 5 s by default.
    #[serde(default)]
    pub connect_timeout: Option<Duration>,
    /// How many sessions a run has with it at most; 4 by default. Steps wait for one another beyond
    /// that.
    #[serde(default)]
    #[schemars(range(min = 1, max = 100))]
    pub pool_size: Option<u8>,
    /// Another login for when all connections are taken: a superuser's, for which PostgreSQL keeps
    /// some (`superuser_reserved_connections`). The types that look at such trouble and end it use it
    /// then, and nothing else does.
    #[serde(default)]
    pub reserve: Option<ReserveConfig>,
}

/// Another login to the same database.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ReserveConfig {
    /// `postgres://user:password@host:port/database?sslmode=…`
    pub url: SecretText,
}

impl ConnectionKind for Postgres {
    const NAME: &'static str = "postgres";
    type Config = PostgresConfig;

    fn check(config: &PostgresConfig) -> Result<(), String> {
        let target = Target::parse(config.url.expose())?;
        if let Some(reserve) = &config.reserve {
            let reserve =
                Target::parse(reserve.url.expose()).map_err(|why| format!("`reserve`: {why}"))?;
            if reserve.database() != target.database() {
                return Err("`reserve` names another database than `url`".to_owned());
            }
        }
        if config.pool_size == Some(0) {
            return Err("`pool_size` is at least 1".to_owned());
        }
        Ok(())
    }
}

/// A connection's declaration, and the run's sessions with it.
struct Reached {
    name: String,
    target: Target,
    reserve: Option<Target>,
    limit: Duration,
    pool: Arc<Pool>,
}

impl Observe {
    /// The database that `conn` names, and how long a connection to it may take.
    ///
    /// # Errors
    /// When the connection is not declared, or its declaration is wrong.
    fn postgres_target(&self, conn: &Conn<Postgres>) -> Result<(Target, Duration), HostError> {
        let reached = self.postgres_reached(conn)?;
        Ok((reached.target, reached.limit))
    }

    fn postgres_reached(&self, conn: &Conn<Postgres>) -> Result<Reached, HostError> {
        let connections = &self.scope().shared.connections;
        let config = connections.get(conn)?;
        let parse = |url: &SecretText| {
            Target::parse(url.expose()).map_err(|cause| {
                HostError::permanent(format!("use connection `{}`", conn.name), cause)
            })
        };
        let target = parse(&config.url)?;
        let reserve = config
            .reserve
            .as_ref()
            .map(|it| parse(&it.url))
            .transpose()?;
        let limit = config.connect_timeout.or(target.connect_timeout);
        let size = usize::from(config.pool_size.unwrap_or(POOL_SIZE));
        Ok(Reached {
            name: conn.name.clone(),
            target,
            reserve,
            limit: limit.unwrap_or(CONNECT_LIMIT),
            pool: connections.kept(&conn.name, || Pool::new(size, self.scope().clock().clone())),
        })
    }
}

impl Reached {
    /// A session to look with; with `need`, through the reserve where all connections are taken.
    async fn look(
        &self,
        observe: &Observe,
        allowance: Allowance,
        need: bool,
    ) -> Result<Taken, ReachError> {
        self.take(
            observe,
            allowance,
            need,
            None,
            [Use::Look, Use::ReserveLook],
        )
        .await
    }

    /// A session to touch with.
    async fn act(
        &self,
        observe: &Observe,
        allowance: Allowance,
        need: bool,
        options: &str,
    ) -> Result<Taken, ReachError> {
        let uses = [Use::Act, Use::ReserveAct];
        self.take(observe, allowance, need, Some(options), uses)
            .await
    }

    async fn take(
        &self,
        observe: &Observe,
        allowance: Allowance,
        need: bool,
        options: Option<&str>,
        [usual, reserve]: [Use; 2],
    ) -> Result<Taken, ReachError> {
        let scope = observe.scope();
        let place = scope
            .within(allowance, self.pool.place())
            .await
            .map_err(|stopped| {
                let action = format!("get a session of connection `{}`", self.name);
                ReachError {
                    obstacle: match stopped {
                        crate::host::net::Stopped::Late(_) => Obstacle::OurSide,
                        crate::host::net::Stopped::Told(reason) => Obstacle::Ended(reason),
                    },
                    help: Some("other steps hold all of them: raise its `pool_size`".to_owned()),
                    ..stopped.error(action)
                }
            })?;
        let opening = Opening {
            observe,
            target: &self.target,
            allowance: allowance.at_most(scope, self.limit),
            options,
        };
        let (usable, found) = match self.session(usual, opening).await {
            Err(error) if error.obstacle == Obstacle::Exhausted && need => {
                let Some(target) = &self.reserve else {
                    return Err(error);
                };
                let opening = Opening {
                    target,
                    allowance: allowance.at_most(scope, self.limit),
                    ..opening
                };
                (reserve, self.session(reserve, opening).await?)
            }
            found => (usual, found?),
        };
        let (session, identity) = found;
        let home = Home {
            pool: Arc::clone(&self.pool),
            identity: identity.clone(),
            usable,
        };
        Ok(Taken {
            lease: Lease::of(session, home, place),
            identity,
            reserve: usable == reserve,
        })
    }

    /// One that nobody uses, or a new one.
    async fn session(
        &self,
        usable: Use,
        opening: Opening<'_>,
    ) -> Result<(Arc<session::Session>, PgIdentity), ReachError> {
        let scope = opening.observe.scope();
        if let Some(found) = self.pool.take_soon(scope, usable).await {
            return Ok(found);
        }
        self.pool.make_room(scope).await;
        let session = opening.open().await?;
        let identity = session.identity(scope, opening.allowance).await?;
        Ok((Arc::new(session), identity))
    }
}
