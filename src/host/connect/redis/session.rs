//! One session with a Redis server: opened, asked and ended within deadlines of ours.

use std::error::Error;
use std::io;
use std::sync::Arc;

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, RedisError};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::Target;
use crate::host::net::{Allowance, Endpoint, Stopped, Stream, dial};
use crate::host::reach::{Obstacle, ReachError};
use crate::host::tls::{Tls, handshake_cause};
use crate::host::{Observe, Scope};

/// A session that may only look.
#[derive(Debug)]
pub struct RedisObserve<'a> {
    scope: &'a Scope,
    connection: MultiplexedConnection,
    shown: String,
    encrypted: bool,
    _driver: Driver,
}

/// The task that moves the bytes; it ends with its session.
#[derive(Debug)]
struct Driver(tokio::task::JoinHandle<()>);

impl Drop for Driver {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// What is needed to open a session.
pub(super) struct Opening<'a, 't> {
    pub(super) observe: &'a Observe,
    pub(super) target: &'t Target,
    pub(super) allowance: Allowance,
}

impl<'a> Opening<'a, '_> {
    pub(super) async fn open(&self) -> Result<RedisObserve<'a>, ReachError> {
        let scope = self.observe.scope();
        let shown = self.target.shown();
        let action = format!("connect to {shown}");
        let renamed = |error: ReachError| ReachError {
            action: action.clone(),
            ..error
        };
        let tls = match &self.target.tls {
            Some((trust, verify)) => Some(self.observe.tls(trust, *verify, &[]).await?),
            None => None,
        };
        let stream = dial(scope, &self.target.endpoint, self.allowance)
            .await
            .map_err(renamed)?;
        let handshake = async {
            let stream = match &tls {
                Some(tls) => encrypt(tls, &self.target.endpoint, stream, &action).await?,
                None => stream,
            };
            self.log_in(stream, &action).await
        };
        let (connection, driver) = match scope.within(self.allowance, handshake).await {
            Ok(pair) => pair?,
            Err(Stopped::Late(limit)) => {
                let cause = format!("it accepted the connection, and no answer came in {limit}");
                return Err(ReachError::new(Obstacle::NoAnswer, action, cause));
            }
            Err(stopped) => return Err(stopped.error(action)),
        };
        Ok(RedisObserve {
            scope,
            connection,
            shown,
            encrypted: tls.is_some(),
            _driver: driver,
        })
    }

    /// Logs in. The library would do it too, but keeps to itself what the server says.
    #[expect(clippy::disallowed_methods, reason = "this is the door")]
    async fn log_in(
        &self,
        stream: Box<dyn Stream>,
        action: &str,
    ) -> Result<(MultiplexedConnection, Driver), ReachError> {
        // The library's own limits (half a second for an answer) are switched off: ours hold. It
        // gives no name of its own either: a login that may not would fill the server's ACL LOG.
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(None)
            .set_response_timeout(None);
        let nobody = RedisConnectionInfo::default().set_skip_set_lib_name();
        let (mut connection, driver) =
            MultiplexedConnection::new_with_config(&nobody, stream, config)
                .await
                .map_err(|error| explain(action, &error))?;
        let driver = Driver(tokio::spawn(driver));
        let login = &self.target.login;
        if let Some(password) = login.password() {
            let mut auth = redis::cmd("AUTH");
            auth.arg(login.username()).arg(password);
            let answer = auth.query_async::<()>(&mut connection).await;
            answer.map_err(|error| without(explain(action, &error), password))?;
        }
        if login.db() != 0 {
            let mut select = redis::cmd("SELECT");
            select.arg(login.db());
            let answer = select.query_async::<()>(&mut connection).await;
            answer.map_err(|error| explain(action, &error))?;
        }
        Ok((connection, driver))
    }
}

/// A server that does not know AUTH repeats its arguments.
fn without(mut error: ReachError, password: &str) -> ReachError {
    if !password.is_empty() {
        error.cause = error.cause.replace(password, "…");
    }
    error
}

async fn encrypt(
    tls: &Tls,
    endpoint: &Endpoint,
    stream: Box<dyn Stream>,
    action: &str,
) -> Result<Box<dyn Stream>, ReachError> {
    let host = match endpoint {
        Endpoint::Tcp { host, .. } => host.clone(),
        Endpoint::Unix(_) => "localhost".to_owned(),
    };
    let name = ServerName::try_from(host).map_err(|error| {
        let cause = format!("its name cannot be a certificate's: {error}");
        ReachError::new(Obstacle::OurSide, action, cause)
    })?;
    let connector = TlsConnector::from(tls.config().clone());
    let stream = connector
        .connect(name, stream)
        .await
        .map_err(|error| tls.error(action, &error))?;
    Ok(Box::new(stream))
}

/// What `INFO` says: lines of `name:value`.
#[derive(Clone, Debug, Default)]
pub struct Info(Vec<(String, String)>);

impl Info {
    /// From the text of an answer.
    pub fn parse(text: &str) -> Self {
        let pairs = text.lines().filter_map(|line| line.trim().split_once(':'));
        Self(
            pairs
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        )
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        let pair = self.0.iter().find(|(other, _)| other == name);
        pair.map(|(_, value)| value.as_str())
    }
}

impl RedisObserve<'_> {
    /// The server, for people: `127.0.0.1:6379 as app`.
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Whether the connection is encrypted.
    pub fn is_encrypted(&self) -> bool {
        self.encrypted
    }

    async fn ask<T: redis::FromRedisValue>(
        &mut self,
        command: &redis::Cmd,
        allowance: Allowance,
    ) -> Result<T, ReachError> {
        let action = format!("ask {}", self.shown);
        let answer = command.query_async(&mut self.connection);
        match self.scope.within(allowance, answer).await {
            Ok(answer) => answer.map_err(|error| explain(&action, &error)),
            Err(stopped) => Err(stopped.error(action)),
        }
    }

    /// Whether it answers at all.
    ///
    /// # Errors
    /// When it does not, or with something else than it should.
    pub async fn ping(&mut self, allowance: Allowance) -> Result<(), ReachError> {
        let answer: String = self.ask(&redis::cmd("PING"), allowance).await?;
        if answer == "PONG" {
            return Ok(());
        }
        let cause = format!("it answers `{answer}`, not `PONG`");
        let action = format!("ask {}", self.shown);
        Err(ReachError::new(Obstacle::Garbled, action, cause))
    }

    /// What it says of itself.
    ///
    /// # Errors
    /// When it does not.
    pub async fn info(&mut self, allowance: Allowance) -> Result<Info, ReachError> {
        let text: String = self.ask(&redis::cmd("INFO"), allowance).await?;
        Ok(Info::parse(&text))
    }
}

/// What an error of the library means.
fn explain(action: &str, error: &RedisError) -> ReachError {
    if let Some(code) = error.code() {
        let said = error.detail().unwrap_or_default();
        let (obstacle, help) = meaning(code, said);
        return refused(action, obstacle, &format!("{code} {said}"), help);
    }
    if error.is_connection_dropped() {
        let cause = "the server closed the connection";
        let help = "it turns us away at the door: look at its log for protected mode, `maxclients`, \
                    or a port that speaks TLS (`rediss://`)";
        return ReachError::new(Obstacle::HungUp, action, cause).with_help(help);
    }
    // The library keeps what it did not make itself in an `Arc`.
    let inner = error.source().and_then(|e| e.downcast_ref::<Inner>());
    if let Some(io) = inner.and_then(|inner| inner.downcast_ref::<io::Error>()) {
        return match io.get_ref().and_then(|e| e.downcast_ref()) {
            Some(tls) => ReachError::new(Obstacle::Tls, action, handshake_cause(tls)),
            None => ReachError::io(action, io),
        };
    }
    let cause = format!("what it answers is not Redis: {error}");
    ReachError::new(Obstacle::Garbled, action, cause)
}

type Inner = Arc<dyn Error + Send + Sync>;

fn refused(action: &str, obstacle: Obstacle, said: &str, help: Option<&str>) -> ReachError {
    let mut error = ReachError::new(obstacle, action, said.trim());
    error.help = help.map(str::to_owned);
    error
}

/// What an error of the server's means, and what to do about it. The codes are the first words of
/// its errors (`shared.*err` in `server.c`).
fn meaning(code: &str, said: &str) -> (Obstacle, Option<&'static str>) {
    // It closes the connection after this, whatever was asked.
    if said.contains("max number of clients") {
        let help = "all connections are taken: look at `CLIENT LIST` and `maxclients`";
        return (Obstacle::NotReady, Some(help));
    }
    match code {
        "NOAUTH" => (
            Obstacle::Denied,
            Some("it asks for a login: write it into the URL, as in `redis://:password@host`"),
        ),
        "WRONGPASS" => (
            Obstacle::Denied,
            Some("look at the user and the password in the URL of the connection"),
        ),
        "NOPERM" => (
            Obstacle::Forbidden,
            Some("let the login run the command: `ACL SETUSER`"),
        ),
        "DENIED" => (
            Obstacle::Denied,
            Some("it is in protected mode: give it a password, or let it listen on loopback only"),
        ),
        "LOADING" => (
            Obstacle::NotReady,
            Some(
                "it loads its data: wait, and look at `loading_eta_seconds` of `INFO persistence`",
            ),
        ),
        "MASTERDOWN" => (
            Obstacle::NotReady,
            Some("its link to the master is down, and `replica-serve-stale-data` is off"),
        ),
        "CLUSTERDOWN" => (Obstacle::NotReady, Some("look at `CLUSTER INFO`")),
        "BUSY" => (
            Obstacle::NotReady,
            Some("a script runs and runs: `SCRIPT KILL` ends one that has written nothing"),
        ),
        "MISCONF" => (
            Obstacle::NotReady,
            Some("it cannot save its data, and refuses writes: look at its log and its disk"),
        ),
        _ => (Obstacle::Rejected, None),
    }
}

#[cfg(test)]
mod tests {
    use super::{Info, meaning, without};
    use crate::host::reach::{Obstacle, ReachError};

    #[test]
    fn tells_a_login_from_a_server() {
        for (code, said, obstacle) in [
            ("NOAUTH", "Authentication required.", Obstacle::Denied),
            (
                "WRONGPASS",
                "invalid username-password pair",
                Obstacle::Denied,
            ),
            (
                "NOPERM",
                "this user has no permissions",
                Obstacle::Forbidden,
            ),
            (
                "LOADING",
                "Redis is loading the dataset",
                Obstacle::NotReady,
            ),
            ("MASTERDOWN", "Link with MASTER is down", Obstacle::NotReady),
            ("ERR", "max number of clients reached", Obstacle::NotReady),
            ("ERR", "unknown command", Obstacle::Rejected),
        ] {
            assert_eq!(meaning(code, said).0, obstacle, "{code}");
        }
    }

    #[test]
    fn never_repeats_a_password() {
        let said = "ERR unknown command 'AUTH', with args beginning with: 'hunter2'";
        let error = ReachError::new(Obstacle::Rejected, "connect", said);
        assert!(!without(error, "hunter2").to_string().contains("hunter2"));
    }

    #[test]
    fn reads_info() {
        let info = Info::parse(
            "# Server\r\nredis_version:7.0.15\r\nexecutable:/a:b\r\n\r\nrole:master\r\n",
        );
        assert_eq!(info.get("redis_version"), Some("7.0.15"));
        assert_eq!(info.get("executable"), Some("/a:b"));
        assert_eq!(info.get("role"), Some("master"));
        assert_eq!(info.get("nothing"), None);
    }
}
