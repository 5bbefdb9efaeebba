//! One session with a Redis server: opened, asked and ended within deadlines of ours.

use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, RedisConnectionInfo, Value};
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;

use super::Target;
use super::error::{explain, explain_answer};
use crate::host::net::{Allowance, Endpoint, Stopped, Stream, dial};
use crate::host::reach::{Obstacle, ReachError};
use crate::host::tls::Tls;
use crate::host::{Observe, Scope};

/// An open session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) connection: MultiplexedConnection,
    pub(super) shown: String,
    pub(super) encrypted: bool,
    /// Where it leads, without a login.
    pub(super) endpoint: String,
    /// The number of the database.
    pub(super) database: i64,
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

impl Opening<'_, '_> {
    pub(super) async fn open(&self) -> Result<Session, ReachError> {
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
        Ok(Session {
            connection,
            shown,
            encrypted: tls.is_some(),
            endpoint: self.target.endpoint.to_string(),
            database: self.target.login.db(),
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

impl Session {
    /// The answer to one command that only looks.
    pub(super) async fn ask<T: redis::FromRedisValue>(
        &self,
        scope: &Scope,
        command: &redis::Cmd,
        allowance: Allowance,
    ) -> Result<T, ReachError> {
        let action = self.asking();
        let mut connection = self.connection.clone();
        let answer = command.query_async(&mut connection);
        match scope.within(allowance, answer).await {
            Ok(answer) => answer.map_err(|error| explain(&action, &error)),
            Err(stopped) => Err(stopped.error(action)),
        }
    }

    /// The answers to several commands that only look, which are sent together. The first that is an
    /// error is the error of all.
    pub(super) async fn ask_all(
        &self,
        scope: &Scope,
        commands: &redis::Pipeline,
        allowance: Allowance,
    ) -> Result<Vec<Value>, ReachError> {
        let action = self.asking();
        let mut connection = self.connection.clone();
        let answers = connection.send_packed_commands(commands, 0, commands.len());
        let answers = match scope.within(allowance, answers).await {
            Ok(answers) => answers.map_err(|error| explain(&action, &error))?,
            Err(stopped) => return Err(stopped.error(action)),
        };
        let wrong = answers.iter().find_map(|answer| match answer {
            Value::ServerError(error) => Some(error),
            _ => None,
        });
        match wrong {
            Some(error) => Err(explain_answer(&action, error.code(), error.details())),
            None => Ok(answers),
        }
    }

    /// What an answer that makes no sense is an error of.
    pub(super) fn garbled(&self, cause: impl Into<String>) -> ReachError {
        ReachError::new(Obstacle::Garbled, self.asking(), cause)
    }

    fn asking(&self) -> String {
        format!("ask {}", self.shown)
    }
}

#[cfg(test)]
mod tests {
    use super::without;
    use crate::host::reach::{Obstacle, ReachError};

    #[test]
    fn never_repeats_a_password() {
        let said = "ERR unknown command 'AUTH', with args beginning with: 'hunter2'";
        let error = ReachError::new(Obstacle::Rejected, "connect", said);
        assert!(!without(error, "hunter2").to_string().contains("hunter2"));
    }
}
