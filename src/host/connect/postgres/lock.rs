//! Advisory locks: what is locked on a PostgreSQL server is locked for every machine that asks it.
//!
//! A lock is held by a session of its own, and ends with it, however that ends: PostgreSQL's manual,
//! "Advisory Locks". It is one of the database, so all have to name the same one, on the primary. A
//! pooler that hands a server's session from one client to another makes such a lock worthless; it is
//! told by a setting of ours, which it does not pass on.

use std::fmt;

use sha2::{Digest as _, Sha256};
use tokio::sync::Mutex;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use super::Postgres;
use super::session::{Bound, Opening, Session};
use crate::base::Duration;
use crate::host::connect::Conn;
use crate::host::net::{Allowance, Stopped};
use crate::host::reach::{Obstacle, ReachError};
use crate::host::{HostError, Observe};

/// How long an answer about a lock may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(10);

/// How often a lock's session is asked whether it still holds it. It also keeps the session from
/// being idle.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// How long an orderly end may take.
const RELEASE_LIMIT: Duration = Duration::from_secs(2);

/// What stands before the key in what is hashed to a lock's number.
const PREFIX: &[u8] = b"runbook/";

/// Of a machine that is gone, the server keeps no lock for longer than about a minute.
const KEEPALIVE: &str =
    "-c tcp_keepalives_idle=30 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3";

/// Whether it is a primary, and whose session the server takes this one for.
const SESSION: &str = "SELECT pg_catalog.pg_is_in_recovery(), \
     pg_catalog.current_setting('runbook.lock', true)";

/// Takes the lock `$1`, if nobody holds it.
const TAKE: &str = "SELECT pg_catalog.pg_try_advisory_lock($1)";

/// Gives it back.
const GIVE_BACK: &str = "SELECT pg_catalog.pg_advisory_unlock($1)";

/// Whether the session `$2` holds the lock `$1`, as the server sees it. The number of a lock is in two
/// halves there: PostgreSQL's manual, "pg_locks".
const HELD: &str = "SELECT coalesce(pg_catalog.current_setting('runbook.lock', true) = $2, false) \
     AND EXISTS (SELECT FROM pg_catalog.pg_locks l \
       JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = current_database() \
       WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
         AND l.pid = pg_catalog.pg_backend_pid() \
         AND ((l.classid::bigint << 32) | l.objid::bigint) = $1)";

/// Who holds the lock `$1`. A role without `pg_read_all_stats` is not told everything of others.
const HOLDER: &str = "SELECT l.pid, a.application_name, a.usename::text, \
       pg_catalog.host(a.client_addr), \
       pg_catalog.to_char(a.backend_start AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') \
     FROM pg_catalog.pg_locks l \
     JOIN pg_catalog.pg_database d ON d.oid = l.database AND d.datname = current_database() \
     LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid \
     WHERE l.locktype = 'advisory' AND l.granted AND l.objsubid = 1 \
       AND ((l.classid::bigint << 32) | l.objid::bigint) = $1";

/// A session for one lock. The lock is given back when this is dropped.
#[derive(Debug)]
pub struct PgLock {
    observe: Observe,
    session: Session,
    number: i64,
    /// What the session is called by a setting of its own.
    token: String,
    // Questions come from several places, and each is more than one message.
    asking: Mutex<()>,
}

/// What came of trying to take a lock.
#[derive(Debug)]
pub enum PgTaken {
    /// It is held now.
    Held,
    /// Somebody else holds it; who, unless it was given back meanwhile.
    Busy(Option<PgHolder>),
}

/// Who holds a lock, as the server says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PgHolder {
    /// The process of the session on the server.
    pid: i32,
    /// What the session is called.
    application: String,
    user: Option<String>,
    address: Option<String>,
    since: Option<String>,
}

impl PgHolder {
    fn of(row: &Row) -> Option<Self> {
        let text = |at| row.try_get::<_, Option<String>>(at).ok().flatten();
        Some(Self {
            pid: row.try_get(0).ok()?,
            application: text(1).unwrap_or_default(),
            user: text(2),
            address: text(3),
            since: text(4),
        })
    }

    /// The run that holds it, if it is one.
    pub fn run(&self) -> Option<&str> {
        let name = self.application.strip_prefix("rb/")?;
        name.split_once('/').map(|(run, _)| run)
    }
}

impl fmt::Display for PgHolder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.run() {
            Some(run) => write!(f, "run {run}")?,
            None => write!(f, "session {} (`{}`)", self.pid, self.application)?,
        }
        let told = |f: &mut fmt::Formatter<'_>, word, value: &Option<String>| match value {
            Some(value) => write!(f, "{word}{value}"),
            None => Ok(()),
        };
        told(f, " by ", &self.user)?;
        told(f, " from ", &self.address)?;
        told(f, ", since ", &self.since)
    }
}

/// The number of the lock `key`: the first 64 bits of the SHA-256 of `runbook/` and the key.
fn number(key: &str) -> i64 {
    let digest = Sha256::new().chain_update(PREFIX).chain_update(key);
    let [a, b, c, d, e, f, g, h, ..] = <[u8; 32]>::from(digest.finalize());
    i64::from_be_bytes([a, b, c, d, e, f, g, h])
}

impl Observe {
    /// A session for the lock `key` in the database that `conn` names. Nothing is locked yet.
    ///
    /// # Errors
    /// When the connection is not declared or cannot be used, or what answers is a standby or a pooler.
    pub async fn postgres_lock(
        &self,
        conn: &Conn<Postgres>,
        key: &str,
    ) -> Result<PgLock, HostError> {
        let scope = self.scope();
        let (target, limit) = self.postgres_target(conn)?;
        let number = number(key);
        let token = format!("{}.{number:016x}", scope.shared.run);
        let options = format!("-c runbook.lock={token} {KEEPALIVE}");
        let opening = Opening {
            observe: self,
            target: &target,
            allowance: scope.allow(limit),
            options: Some(&options),
        };
        let session = opening.open().await.map_err(explain)?;
        let lock = PgLock {
            observe: self.clone(),
            session,
            number,
            token,
            asking: Mutex::default(),
        };
        lock.can_lock().await?;
        Ok(lock)
    }
}

/// A pooler refuses settings that it does not know.
fn explain(error: ReachError) -> ReachError {
    if error.cause.contains("startup parameter") {
        return error.with_help(POOLER_HELP);
    }
    error
}

const POOLER_HELP: &str = "name the server itself in the `connection` of a lock: a pooler such as \
     PgBouncer may hand the session that holds a lock to somebody else";

impl PgLock {
    /// The database, for people.
    pub fn shown(&self) -> &str {
        self.session.shown()
    }

    async fn can_lock(&self) -> Result<(), ReachError> {
        let rows = self.ask(SESSION, &[], self.allow(ANSWER_LIMIT)).await?;
        let row = rows.first();
        let standby = row.and_then(|row| row.try_get(0).ok()).unwrap_or(true);
        let token: Option<String> = row.and_then(|row| row.try_get(1).ok()).flatten();
        let refused = |cause, help| {
            let action = format!("lock in {}", self.shown());
            Err(ReachError::new(Obstacle::Rejected, action, cause).with_help(help))
        };
        if standby {
            return refused(
                "it is a standby, and what is locked there is not locked on the primary",
                "write `target_session_attrs=primary` in the URL, with all hosts in it",
            );
        }
        if token.as_deref() != Some(&self.token) {
            return refused("a pooler stands before it", POOLER_HELP);
        }
        Ok(())
    }

    fn allow(&self, limit: Duration) -> Allowance {
        self.observe.scope().allow(limit)
    }

    async fn ask(
        &self,
        sql: &'static str,
        bound: &[Bound<'_>],
        allowance: Allowance,
    ) -> Result<Vec<Row>, ReachError> {
        let _asking = self.asking.lock().await;
        let scope = self.observe.scope();
        self.session.rows(scope, sql, bound, allowance).await
    }

    /// Whether the first cell of the first row is true.
    async fn is_true(
        &self,
        sql: &'static str,
        bound: &[Bound<'_>],
        allowance: Allowance,
    ) -> Result<bool, ReachError> {
        let rows = self.ask(sql, bound, allowance).await?;
        let cell = rows.first().and_then(|row| row.try_get(0).ok());
        Ok(cell.unwrap_or(false))
    }

    /// Takes the lock, if nobody holds it.
    ///
    /// # Errors
    /// When the server did not say.
    pub async fn try_take(&self) -> Result<PgTaken, ReachError> {
        let bound: [Bound<'_>; 1] = [(&self.number, Type::INT8)];
        let limit = self.allow(ANSWER_LIMIT);
        if self.is_true(TAKE, &bound, limit).await? {
            return Ok(PgTaken::Held);
        }
        let rows = self.ask(HOLDER, &bound, limit).await?;
        Ok(PgTaken::Busy(rows.first().and_then(PgHolder::of)))
    }

    /// Asks the server whether the lock is still held.
    ///
    /// # Errors
    /// Why it is not, or why nobody knows.
    pub async fn check(&self) -> Result<(), String> {
        let bound: [Bound<'_>; 2] = [(&self.number, Type::INT8), (&self.token, Type::TEXT)];
        let limit = self.allow(ANSWER_LIMIT).despite_end();
        tokio::select! {
            biased;
            why = self.session.ended() => Err(why),
            held = self.is_true(HELD, &bound, limit) => match held {
                Ok(true) => Ok(()),
                Ok(false) => Err("the server says that the session does not hold it".to_owned()),
                Err(error) => Err(error.to_string()),
            },
        }
    }

    /// Waits until the lock is lost, and says why.
    pub async fn lost(&self) -> String {
        loop {
            let pause = self.allow(HEARTBEAT).despite_end();
            let ended = self.observe.scope().within(pause, self.session.ended());
            match ended.await {
                Ok(why) => return why,
                Err(Stopped::Told(_) | Stopped::Late(_)) => {}
            }
            if let Err(why) = self.check().await {
                return why;
            }
        }
    }

    /// Gives it back, and waits until it is. What does not go through ends with the session.
    pub async fn release(&self) {
        let bound: [Bound<'_>; 1] = [(&self.number, Type::INT8)];
        let limit = self.allow(RELEASE_LIMIT).despite_end();
        let _ = self.ask(GIVE_BACK, &bound, limit).await;
    }
}

#[cfg(test)]
mod tests {
    use super::{PgHolder, number};

    #[test]
    fn numbers_are_what_a_shell_says_too() {
        // printf runbook/nightly | sha256sum | head -c 16
        assert_eq!(
            number("nightly").to_be_bytes(),
            [0x3b, 0x70, 0x3e, 0x67, 0xa7, 0xc7, 0xb2, 0xad]
        );
        assert_ne!(number("nightly"), number("nightly "));
    }

    #[test]
    fn says_who_holds_it() {
        let mut holder = PgHolder {
            pid: 17,
            application: "rb/0abc/lock".to_owned(),
            user: Some("app".to_owned()),
            address: Some("10.0.0.1".to_owned()),
            since: Some("2026-01-01T00:00:00Z".to_owned()),
        };
        assert_eq!(
            holder.to_string(),
            "run 0abc by app from 10.0.0.1, since 2026-01-01T00:00:00Z"
        );
        holder.application = "psql".to_owned();
        holder.since = None;
        holder.address = None;
        assert_eq!(holder.to_string(), "session 17 (`psql`) by app");
        assert_eq!(holder.run(), None);
    }
}
