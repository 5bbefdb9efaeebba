//! One session with a PostgreSQL server: opened, asked and ended within deadlines of ours.

use std::error::Error as _;
use std::io;

use rustls::ClientConfig;
use tokio::sync::watch;
use tokio_postgres::error::SqlState;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{Client, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::url::{Host, Session as Wanted, Target, TlsPolicy};
use crate::base::Duration;
use crate::host::net::{Allowance, Stopped, Stream, dial};
use crate::host::reach::{Obstacle, ReachError};
use crate::host::tls::{Tls, Verify};
use crate::host::{Observe, Scope};

/// How long a cancel request may take before the socket is closed without it.
const CANCEL_LIMIT: Duration = Duration::from_secs(1);

/// How long a polite end may take.
const CLOSE_LIMIT: Duration = Duration::from_millis(200);

/// The longest application name, in bytes (`NAMEDATALEN - 1`).
const LONGEST_NAME: usize = 63;

/// A statement's parameter and its type.
pub type Bound<'a> = (&'a (dyn ToSql + Sync), Type);

/// A session that may only look: each statement runs alone, in a READ ONLY transaction of its own.
///
/// What a READ ONLY transaction does not stop (functions such as `pg_terminate_backend`, `COPY TO
/// PROGRAM`) is stopped by this: a statement is text of ours, known when we compile.
#[derive(Debug)]
pub struct PgObserve<'a> {
    scope: &'a Scope,
    session: Session,
}

/// A session that is open. What is said in it is up to whoever holds it.
#[derive(Debug)]
pub(super) struct Session {
    client: Client,
    driver: Driver,
    shown: String,
    host: Host,
    tls: Option<Tls>,
}

/// The task that moves the bytes; it ends with its session.
#[derive(Debug)]
struct Driver {
    task: tokio::task::JoinHandle<()>,
    /// Why the session is over, once it is.
    end: watch::Receiver<Option<String>>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is needed to open a session.
pub(super) struct Opening<'a> {
    pub(super) observe: &'a Observe,
    pub(super) target: &'a Target,
    pub(super) allowance: Allowance,
    /// Settings of the session beside those of the URL: `-c name=value …`.
    pub(super) options: Option<&'a str>,
}

impl Opening<'_> {
    /// A session with the first host that answers and is of the wanted kind.
    pub(super) async fn open(&self) -> Result<Session, ReachError> {
        let mut last = None;
        let hosts = &self.target.hosts;
        for (at, host) in hosts.iter().enumerate() {
            let parts = hosts.len() - at;
            let turn = self.allowance.share(self.observe.scope(), parts);
            match self.open_at(host, turn).await {
                Ok(session) => return Ok(session),
                Err(error) if another_may(error.obstacle) => last = Some(error),
                Err(error) => return Err(error),
            }
        }
        let none = || ReachError::new(Obstacle::OurSide, "connect", "`url` names no host");
        Err(last.unwrap_or_else(none))
    }

    async fn open_at(&self, host: &Host, allowance: Allowance) -> Result<Session, ReachError> {
        let scope = self.observe.scope();
        let shown = self.target.shown(host);
        let action = format!("connect to {shown}");
        let tls = self.tls(host).await?;
        let stream = dial(scope, &host.endpoint, allowance)
            .await
            .map_err(|error| ReachError {
                action: action.clone(),
                ..error
            })?;
        let handshake = self.handshake(host, tls.as_ref(), stream);
        let (client, driver) = match scope.within(allowance, handshake).await {
            Ok(Ok(pair)) => pair,
            Ok(Err(error)) => return Err(explain(action, &error, tls.as_ref())),
            Err(Stopped::Late(limit)) => {
                let cause = format!("it accepted the connection, and no answer came in {limit}");
                return Err(ReachError::new(Obstacle::NoAnswer, action, cause));
            }
            Err(stopped) => return Err(stopped.error(action)),
        };
        let session = Session {
            client,
            driver,
            shown,
            host: host.clone(),
            tls,
        };
        let wanted = self.target.session;
        session.is_wanted(scope, wanted, allowance).await?;
        Ok(session)
    }

    async fn tls(&self, host: &Host) -> Result<Option<Tls>, ReachError> {
        let verify = match host.tls {
            TlsPolicy::Never => return Ok(None),
            TlsPolicy::Offered => Verify::Nothing,
            TlsPolicy::Always(verify) => verify,
        };
        let tls = self.observe.tls(&self.target.trust, verify, &[]).await?;
        Ok(Some(tls))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    async fn handshake(
        &self,
        host: &Host,
        tls: Option<&Tls>,
        stream: Box<dyn Stream>,
    ) -> Result<(Client, Driver), tokio_postgres::Error> {
        let mut login = self.target.login.clone();
        login.application_name(application_name(self.observe.scope()));
        if let Some(ours) = self.options {
            let theirs = login.get_options().unwrap_or_default();
            login.options(format!("{theirs} {ours}"));
        }
        login.ssl_mode(ssl_mode(host.tls));
        let Some(tls) = tls else {
            let (client, connection) = login.connect_raw(stream, NoTls).await?;
            return Ok((client, drive(connection)));
        };
        let connector = connector(tls, &host.name);
        let (client, connection) = login.connect_raw(stream, connector).await?;
        Ok((client, drive(connection)))
    }
}

type Made = <MakeRustlsConnect as MakeTlsConnect<Box<dyn Stream>>>::TlsConnect;

fn connector(tls: &Tls, name: &str) -> Made {
    let mut maker = MakeRustlsConnect::new(ClientConfig::clone(tls.config()));
    let Ok(made) = MakeTlsConnect::<Box<dyn Stream>>::make_tls_connect(&mut maker, name);
    made
}

fn ssl_mode(policy: TlsPolicy) -> tokio_postgres::config::SslMode {
    match policy {
        TlsPolicy::Never => tokio_postgres::config::SslMode::Disable,
        TlsPolicy::Offered => tokio_postgres::config::SslMode::Prefer,
        TlsPolicy::Always(_) => tokio_postgres::config::SslMode::Require,
    }
}

fn drive<T>(connection: tokio_postgres::Connection<Box<dyn Stream>, T>) -> Driver
where
    T: tokio_postgres::tls::TlsStream + Unpin + Send + 'static,
{
    let (tell, end) = watch::channel(None);
    // What goes wrong here, every statement that waits is told too.
    let task = tokio::spawn(async move {
        let why = match connection.await {
            Ok(()) => "the session was ended".to_owned(),
            Err(error) => explain(String::new(), &error, None).cause,
        };
        tell.send_replace(Some(why));
    });
    Driver { task, end }
}

/// `rb/<run>/<step>`, so that a session can be told in `pg_stat_activity`; all of it is ASCII.
fn application_name(scope: &Scope) -> String {
    let mut name = format!("rb/{}/{}", scope.shared.run, scope.path);
    name.truncate(LONGEST_NAME);
    name
}

/// Whether the next host of a URL may do better: libpq, "Specifying Multiple Hosts". A login that
/// is turned away is not tried elsewhere.
fn another_may(obstacle: Obstacle) -> bool {
    !matches!(
        obstacle,
        Obstacle::Denied | Obstacle::Tls | Obstacle::OurSide | Obstacle::Ended(_)
    )
}

impl<'a> PgObserve<'a> {
    pub(super) fn new(scope: &'a Scope, session: Session) -> Self {
        Self { scope, session }
    }

    /// The database, for people: `shop at 127.0.0.1:5432 as app`.
    pub fn shown(&self) -> &str {
        &self.session.shown
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        // Only a handshake brings a certificate.
        { self.session.tls.as_ref() }.is_some_and(|tls| tls.certificate().is_some())
    }

    /// The rows of one statement, which runs alone in a READ ONLY transaction. When `allowance` runs
    /// out it is cancelled on the server too.
    ///
    /// # Errors
    /// Why there are none.
    pub async fn rows(
        &self,
        sql: &'static str,
        bound: &[Bound<'_>],
        allowance: Allowance,
    ) -> Result<Vec<Row>, ReachError> {
        self.session.rows(self.scope, sql, bound, allowance).await
    }

    /// Ends the session politely, so that the server's log stays quiet.
    pub async fn close(self) {
        self.session.close(self.scope).await;
    }
}

impl Session {
    /// The database, for people.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// The rows of one statement: see [`PgObserve::rows`].
    pub(super) async fn rows(
        &self,
        scope: &Scope,
        sql: &'static str,
        bound: &[Bound<'_>],
        allowance: Allowance,
    ) -> Result<Vec<Row>, ReachError> {
        let action = || format!("ask {}", self.shown);
        let work = async {
            // One after the other: if the first failed, the second would run outside of it.
            self.client.batch_execute("BEGIN READ ONLY").await?;
            // An unnamed statement: poolers that share sessions lose named ones.
            let rows = self.client.query_typed(sql, bound).await;
            let ended = self.client.batch_execute("ROLLBACK").await;
            rows.and_then(|rows| ended.map(|()| rows))
        };
        match scope.within(allowance, work).await {
            Ok(Ok(rows)) => Ok(rows),
            Ok(Err(error)) => Err(refused(action(), &error)),
            Err(stopped) => {
                self.cancel(scope).await;
                Err(stopped.error(action()))
            }
        }
    }

    /// Asks the server to end what this session does, as far as it listens.
    async fn cancel(&self, scope: &Scope) {
        let allowance = scope.allow(CANCEL_LIMIT).despite_end();
        let token = self.client.cancel_token();
        let request = async {
            let stream = dial(scope, &self.host.endpoint, allowance).await.ok()?;
            match &self.tls {
                None => token.cancel_query_raw(stream, NoTls).await.ok(),
                Some(tls) => {
                    let connector = connector(tls, &self.host.name);
                    token.cancel_query_raw(stream, connector).await.ok()
                }
            }
        };
        // If it does not go through, the closed socket is what is left.
        let _ = scope.within(allowance, request).await;
    }

    /// Whether this host is of the kind that the URL asks for.
    async fn is_wanted(
        &self,
        scope: &Scope,
        wanted: Wanted,
        allowance: Allowance,
    ) -> Result<(), ReachError> {
        if wanted == Wanted::Any {
            return Ok(());
        }
        let sql = "SELECT pg_is_in_recovery(), \
                   pg_is_in_recovery() OR current_setting('default_transaction_read_only')::bool";
        let rows = self.rows(scope, sql, &[], allowance).await?;
        let cell = |at| rows.first().and_then(|row| row.try_get::<_, bool>(at).ok());
        let (standby, read_only) = (cell(0).unwrap_or(false), cell(1).unwrap_or(false));
        let is = match wanted {
            Wanted::Any => true,
            Wanted::ReadWrite => !read_only,
            Wanted::ReadOnly => read_only,
            Wanted::Primary => !standby,
            Wanted::Standby => standby,
        };
        if is {
            return Ok(());
        }
        let role = if standby { "a standby" } else { "a primary" };
        let cause = format!("it is {role}, and `target_session_attrs` in the URL asks for another");
        Err(ReachError::new(
            Obstacle::Rejected,
            format!("use {}", self.shown),
            cause,
        ))
    }

    /// Waits until the session is over, and says why.
    pub(super) async fn ended(&self) -> String {
        let mut end = self.driver.end.clone();
        let why = end.wait_for(Option::is_some).await;
        why.map(|why| why.clone().unwrap_or_default())
            .unwrap_or_else(|_| "the session was ended".to_owned())
    }

    /// Ends it politely.
    pub(super) async fn close(self, scope: &Scope) {
        let Self {
            client, mut driver, ..
        } = self;
        drop(client);
        let allowance = scope.allow(CLOSE_LIMIT).despite_end();
        let _ = scope.within(allowance, &mut driver.task).await;
    }
}

/// What an error of the library means.
fn explain(action: String, error: &tokio_postgres::Error, tls: Option<&Tls>) -> ReachError {
    if let Some(rejected) = tls.and_then(|tls| tls.rejection(&action)) {
        return rejected;
    }
    if let Some(db) = error.as_db_error() {
        let (obstacle, help) = meaning(db.code());
        let detail = db.detail().map(|text| format!(": {text}"));
        let (said, code) = (db.message(), db.code().code());
        let cause = format!("{said} (SQLSTATE {code}){}", detail.unwrap_or_default());
        let error = ReachError::new(obstacle, action, cause);
        return match help {
            Some(help) => error.with_help(help),
            None => error,
        };
    }
    if error.is_closed() {
        let cause = "the server closed the connection";
        return ReachError::new(Obstacle::HungUp, action, cause);
    }
    match error.source() {
        Some(source) => match source.downcast_ref::<io::Error>() {
            Some(io) => match tls {
                Some(tls) => tls.error(&action, io),
                None => ReachError::io(action, io),
            },
            None => in_words(action, &source.to_string()),
        },
        None => ReachError::new(Obstacle::Garbled, action, error.to_string()),
    }
}

/// What an error of a statement means: to lack a right here is not to be turned away.
fn refused(action: String, error: &tokio_postgres::Error) -> ReachError {
    let refused = explain(action, error, None);
    if error.code() != Some(&SqlState::INSUFFICIENT_PRIVILEGE) {
        return refused;
    }
    ReachError {
        obstacle: Obstacle::Forbidden,
        help: Some("give the login the right to ask for it: `GRANT`".to_owned()),
        ..refused
    }
}

/// What the library says in words alone (`connect_tls.rs`, `connect_raw.rs`).
fn in_words(action: String, said: &str) -> ReachError {
    match said {
        "server does not support TLS" => ReachError::new(
            Obstacle::Tls,
            action,
            "the server offers no TLS, and the connection asks for it",
        )
        .with_help(
            "turn on `ssl` on the server; or, where the way there is trusted, write \
             `sslmode=disable` in the URL",
        ),
        "password missing" => ReachError::new(
            Obstacle::Denied,
            action,
            "the server asks for a password, and the URL has none",
        ),
        _ => ReachError::new(Obstacle::Garbled, action, said),
    }
}

/// What a server's own error means for a session, and what to do about it: PostgreSQL, "Error
/// Codes".
fn meaning(state: &SqlState) -> (Obstacle, Option<&'static str>) {
    let code = state.code();
    match code {
        "28P01" => (
            Obstacle::Denied,
            Some("look at the user and the password in the URL of the connection"),
        ),
        "3D000" => (
            Obstacle::Denied,
            Some("look at the name of the database in the URL of the connection"),
        ),
        "53300" => (
            Obstacle::NotReady,
            Some("all connections are taken: look at `pg_stat_activity` as a superuser"),
        ),
        // Starting up, shutting down, in recovery without `hot_standby`.
        "57P03" => (
            Obstacle::NotReady,
            Some("it is starting, stopping or recovering: look at the server's log"),
        ),
        // Ended by an administrator, or because another process crashed.
        "57P01" | "57P02" => (Obstacle::NotReady, None),
        // Invalid authorization, and a missing right to connect.
        _ if code.starts_with("28") || code == "42501" => (
            Obstacle::Denied,
            Some("let the login in: `pg_hba.conf`, and the role's rights on the database"),
        ),
        // Insufficient resources.
        _ if code.starts_with("53") => (Obstacle::NotReady, None),
        _ => (Obstacle::Rejected, None),
    }
}

#[cfg(test)]
mod tests {
    use super::{application_name, in_words, meaning};
    use crate::host::reach::Obstacle;
    use crate::host::testing;
    use tokio_postgres::error::SqlState;

    #[test]
    fn tells_a_login_from_a_server() {
        for (code, obstacle) in [
            ("28P01", Obstacle::Denied),
            ("28000", Obstacle::Denied),
            ("3D000", Obstacle::Denied),
            ("42501", Obstacle::Denied),
            ("53300", Obstacle::NotReady),
            ("57P03", Obstacle::NotReady),
            ("53100", Obstacle::NotReady),
            ("42P01", Obstacle::Rejected),
            ("XX000", Obstacle::Rejected),
        ] {
            assert_eq!(meaning(&SqlState::from_code(code)).0, obstacle, "{code}");
        }
        let error = in_words("connect".to_owned(), "server does not support TLS");
        assert_eq!(error.obstacle, Obstacle::Tls);
    }

    #[test]
    fn sessions_carry_their_run_and_step() {
        let test = testing::scope();
        let name = application_name(&test.scope);
        assert_eq!(name, format!("rb/{}/test", test.scope.shared.run));
        assert!(name.len() <= 63);
    }
}
