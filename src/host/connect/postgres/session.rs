//! One session with a PostgreSQL server: opened, asked and ended within deadlines of ours.
//!
//! What may be said in a session is not decided here, but by what it is lent to: see `observe`, `effect`
//! and `lock`.

use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::ClientConfig;
use tokio::sync::watch;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::types::{ToSql, Type};
use tokio_postgres::{AsyncMessage, Client, NoTls, Row};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{explain, refused};
use super::notice::{Notice, Notices};
use super::sql::{Sql, settings};
use super::url::{Host, Session as Wanted, Target, TlsPolicy};
use crate::base::Duration;
use crate::host::net::{Allowance, Stopped, Stream, dial};
use crate::host::reach::{Obstacle, ReachError};
use crate::host::tls::{Tls, Verify};
use crate::host::{Observe, Scope};

/// How long the server of a look is waited for that was asked to cancel it, before the socket is closed.
const CANCEL_LIMIT: Duration = Duration::from_secs(1);

/// After how long it is asked again. A server does not heed who asks while it still reads or plans the
/// statement, and would then go on with it without us: "If we are reading a command from the client, just
/// ignore the cancel request" (`ProcessInterrupts` in PostgreSQL's `postgres.c`).
const ASK_AGAIN: Duration = Duration::from_millis(250);

/// How long a polite end may take.
const CLOSE_LIMIT: Duration = Duration::from_millis(200);

/// How much later than we the server itself ends a statement, should we be gone by then.
const SERVER_SLACK: Duration = Duration::from_secs(5);

/// The longest application name, in bytes (`NAMEDATALEN - 1`).
const LONGEST_NAME: usize = 63;

/// A statement's parameter and its type.
pub type Bound<'a> = (&'a (dyn ToSql + Sync), Type);

/// A session that is open. What is said in it is up to whoever holds it.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) client: Client,
    driver: Driver,
    shown: String,
    /// What it was called when it was opened.
    name: String,
    host: Host,
    tls: Option<Tls>,
    /// Whether it is in the middle of something, or was left there.
    busy: AtomicBool,
    /// Whether the server was asked to cancel something: who comes next must not be hit by that.
    asked: AtomicBool,
    /// The server's version as a number; 0 until it was asked.
    version: AtomicU32,
}

/// The task that moves the bytes; it ends with its session.
#[derive(Debug)]
struct Driver {
    task: tokio::task::JoinHandle<()>,
    /// Why the session is over, once it is.
    end: watch::Receiver<Option<String>>,
    /// What the server said beside its answers.
    notices: Arc<Mutex<Notices>>,
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What is needed to open a session.
#[derive(Clone, Copy)]
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
            name: application_name(scope),
            host: host.clone(),
            tls,
            busy: AtomicBool::new(false),
            asked: AtomicBool::new(false),
            version: AtomicU32::new(0),
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

fn drive<T>(mut connection: tokio_postgres::Connection<Box<dyn Stream>, T>) -> Driver
where
    T: tokio_postgres::tls::TlsStream + Unpin + Send + 'static,
{
    let (tell, end) = watch::channel(None);
    let notices = Arc::new(Mutex::new(Notices::default()));
    let heard = Arc::clone(&notices);
    // What goes wrong here, every statement that waits is told too.
    let task = tokio::spawn(async move {
        let mut next = async || std::future::poll_fn(|cx| connection.poll_message(cx)).await;
        let why = loop {
            match next().await {
                Some(Ok(AsyncMessage::Notice(notice))) => {
                    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                    heard.add(&notice);
                }
                Some(Ok(_)) => {}
                Some(Err(error)) => break explain(String::new(), &error, None).cause,
                None => break "the session was ended".to_owned(),
            }
        };
        tell.send_replace(Some(why));
    });
    Driver { task, end, notices }
}

/// `rb/<run>/<step>`, so that a session can be told in `pg_stat_activity`; all of it is ASCII.
pub(super) fn application_name(scope: &Scope) -> String {
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

impl Session {
    /// The database, for people.
    pub(super) fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether the connection is encrypted.
    pub(super) fn is_encrypted(&self) -> bool {
        // Only a handshake brings a certificate.
        { self.tls.as_ref() }.is_some_and(|tls| tls.certificate().is_some())
    }

    /// The server's version as a number, where its identity was asked: 150008 is 15.8.
    pub(super) fn version(&self) -> u32 {
        self.version.load(Ordering::Relaxed)
    }

    pub(super) fn set_version(&self, version: u32) {
        self.version.store(version, Ordering::Relaxed);
    }

    /// Whether somebody else may go on with it: it is in the middle of nothing, and open.
    pub(super) fn is_idle(&self) -> bool {
        let left_alone = !self.busy.load(Ordering::Relaxed) && !self.asked.load(Ordering::Relaxed);
        left_alone && !self.client.is_closed()
    }

    /// From here on it is in the middle of something, until it is told to be idle.
    pub(super) fn set_busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
    }

    /// The rows of one statement, which runs alone in a READ ONLY transaction. When `allowance` runs
    /// out it is cancelled on the server too.
    ///
    /// # Errors
    /// Why there are none.
    pub(super) async fn rows(
        &self,
        scope: &Scope,
        sql: impl Into<Sql>,
        bound: &[Bound<'_>],
        allowance: Allowance,
    ) -> Result<Vec<Row>, ReachError> {
        let sql = sql.into();
        let action = || format!("ask {}", self.shown);
        let begin = self.begin(scope, &sql, allowance);
        let work = async {
            // One after the other: if the first failed, the second would run outside of it.
            self.client.batch_execute(&begin).await?;
            // An unnamed statement: poolers that share sessions lose named ones.
            let rows = self.client.query_typed(sql.text(), bound).await;
            let ended = self.client.batch_execute("ROLLBACK").await;
            rows.and_then(|rows| ended.map(|()| rows))
        };
        self.set_busy(true);
        let mut work = std::pin::pin!(work);
        match scope.within(allowance, &mut work).await {
            Ok(answer) => {
                self.set_busy(false);
                answer.map_err(|error| refused(action(), &error, Some(&sql)))
            }
            Err(stopped) => {
                self.cancel(scope, work, CANCEL_LIMIT).await;
                Err(stopped.error(action()))
            }
        }
    }

    /// What begins a transaction that only looks. Its settings end with it.
    fn begin(&self, scope: &Scope, sql: &Sql, allowance: Allowance) -> String {
        let limit = server_limit(scope, allowance).to_string();
        let name = application_name(scope);
        let mut values = vec![
            // Strings must mean on the server what they meant to whoever classed the statement.
            ("standard_conforming_strings", "on"),
            ("statement_timeout", &limit),
        ];
        if !sql.is_authors() {
            // Nobody's function or operator stands in for one of PostgreSQL's own. The planner takes catalogs
            // for large, and would compile for 100 ms what runs for one.
            values.extend([("search_path", "pg_catalog"), ("jit", "off")]);
        }
        if name != self.name {
            values.push(("application_name", &name));
        }
        format!("BEGIN READ ONLY; {}", settings(true, &values))
    }

    /// Asks the server to end `work`, which this session does, again and again until it says what came of
    /// it; none where it has not in `limit`.
    pub(super) async fn cancel<F: Future>(
        &self,
        scope: &Scope,
        mut work: Pin<&mut F>,
        limit: Duration,
    ) -> Option<F::Output> {
        self.asked.store(true, Ordering::Relaxed);
        let all = scope.allow(limit).despite_end();
        let asking = async {
            loop {
                self.ask_to_cancel(scope, all).await;
                scope.clock().sleep(ASK_AGAIN).await;
            }
        };
        let answered = async {
            tokio::select! {
                answer = &mut work => answer,
                () = asking => std::future::pending().await,
            }
        };
        // If it does not go through, the closed socket is what is left.
        scope.within(all, answered).await.ok()
    }

    async fn ask_to_cancel(&self, scope: &Scope, allowance: Allowance) {
        let token = self.client.cancel_token();
        let Ok(stream) = dial(scope, &self.host.endpoint, allowance).await else {
            return;
        };
        // Without TLS nothing of the server's has to be waited for.
        let _ = match self.tls.as_ref().filter(|_| self.is_encrypted()) {
            None => token.cancel_query_raw(stream, NoTls).await,
            Some(tls) => {
                let connector = connector(tls, &self.host.name);
                token.cancel_query_raw(stream, connector).await
            }
        };
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

    /// What the server has said beside its answers since this was asked last.
    pub(super) fn take_notices(&self) -> Vec<Notice> {
        let notices = &self.driver.notices;
        let mut notices = notices.lock().unwrap_or_else(PoisonError::into_inner);
        notices.take()
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
        let driver = self.let_go();
        let allowance = scope.allow(CLOSE_LIMIT).despite_end();
        let _ = scope.within(allowance, driver).await;
    }

    /// Ends it politely where there is no scope any more: what is to be waited for, for a moment.
    pub(super) fn let_go(self) -> impl Future<Output = ()> {
        let Self {
            client, mut driver, ..
        } = self;
        drop(client);
        async move {
            // It ends once it has said goodbye.
            let _ = (&mut driver.task).await;
        }
    }
}

/// After how many milliseconds the server ends a statement by itself.
pub(super) fn server_limit(scope: &Scope, allowance: Allowance) -> u64 {
    let left = allowance.left(scope).as_millis();
    // `statement_timeout` is a 32-bit number.
    left.saturating_add(SERVER_SLACK.as_millis())
        .min(i32::MAX as u64)
}

#[cfg(test)]
mod tests {
    use super::application_name;
    use crate::host::testing;

    #[test]
    fn sessions_carry_their_run_and_step() {
        let test = testing::scope();
        let name = application_name(&test.scope);
        assert_eq!(name, format!("rb/{}/test", test.scope.shared.run));
        assert!(name.len() <= 63);
    }
}
