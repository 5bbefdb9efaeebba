//! Redis connections, and what speaks its protocol, such as Valkey.
//!
//! Two means: [`RedisObserve`] looks, by a method for each command that only does so; [`RedisEffect`]
//! touches, and is handed out by `Effect` alone. Neither has a way to send any command.

mod effect;
mod error;
mod identity;
mod info;
mod observe;
mod session;
mod stale;

use std::path::PathBuf;

use redis::{ConnectionAddr, ConnectionInfo, IntoConnectionInfo as _, RedisConnectionInfo};
use schemars::JsonSchema;
use serde::Deserialize;

pub use effect::{RedisEffect, WriteIf};
pub use identity::RedisIdentity;
pub use info::{Fields, Info};
pub use observe::{Life, Page, RedisObserve, SlowCommand};
pub use stale::{Fate, Rest, Stale};

use self::session::Opening;
use super::{Conn, ConnectionKind};
use crate::base::Duration;
use crate::base::field::SecretText;
use crate::host::net::{Allowance, Endpoint};
use crate::host::reach::ReachError;
use crate::host::tls::{Trust, Verify};
use crate::host::{HostError, Observe};

/// How long to wait for a connection, unless told otherwise.
const CONNECT_LIMIT: Duration = Duration::from_secs(5);

/// The kind.
#[derive(Debug)]
pub struct Redis;

/// A Redis server.
///
/// Before a run writes for the first time, it records which database it is (address, port and
/// configuration file of the server, role, number), and refuses to write to another one from then on.
/// Redis itself has no identity that outlives a restart. Nodes of a Redis Cluster can be looked at, each
/// by itself; nothing is written to them.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://user:password@host:port/db`; `rediss://…` for TLS, `unix:///path?user=…&pass=…` for
    /// a socket
    pub url: SecretText,
    /// A PEM file, with `rediss://`: the only authorities to trust, or the server's own certificate.
    /// This machine's authorities by default.
    #[serde(default)]
    pub ca_file: Option<PathBuf>,
    /// How long to wait for a connection; 5 s by default.
    #[serde(default)]
    pub connect_timeout: Option<Duration>,
}

/// What a declaration says.
#[derive(Clone, Debug)]
pub struct Target {
    endpoint: Endpoint,
    /// With TLS: whose signature counts, and what is asked of the certificate.
    tls: Option<(Trust, Verify)>,
    login: RedisConnectionInfo,
}

impl ConnectionKind for Redis {
    const NAME: &'static str = "redis";
    type Config = RedisConfig;

    fn check(config: &RedisConfig) -> Result<(), String> {
        Target::read(config).map(|_| ())
    }
}

impl Target {
    /// What `config` says. What is wrong with it is told without its URL, which may hold a password.
    fn read(config: &RedisConfig) -> Result<Self, String> {
        let info = config.url.expose().into_connection_info();
        let info: ConnectionInfo = info.map_err(|error| {
            // "Invalid database number - InvalidClientConfig: the number": only the first part.
            let said = error.to_string();
            let what = said.split(" - ").next().unwrap_or_default();
            format!(
                "`url` is not the URL of a Redis server: {}",
                what.to_lowercase()
            )
        })?;
        let trust = config.ca_file.clone().map_or(Trust::System, Trust::File);
        let (endpoint, tls) = match info.addr() {
            ConnectionAddr::Tcp(host, port) => (tcp(host, *port), None),
            ConnectionAddr::TcpTls {
                host,
                port,
                insecure,
                ..
            } => {
                let verify = if *insecure {
                    Verify::Nothing
                } else {
                    Verify::Full
                };
                (tcp(host, *port), Some((trust, verify)))
            }
            ConnectionAddr::Unix(path) => (Endpoint::Unix(path.clone()), None),
            _ => return Err("`url` names no place that we can connect to".to_owned()),
        };
        if tls.is_none() && config.ca_file.is_some() {
            return Err("`ca_file` needs a URL that begins with `rediss://`".to_owned());
        }
        Ok(Self {
            endpoint,
            tls,
            login: info.redis_settings().clone(),
        })
    }

    /// For people: `127.0.0.1:6379 as app`.
    fn shown(&self) -> String {
        match self.login.username() {
            Some(user) => format!("{} as {user}", self.endpoint),
            None => self.endpoint.to_string(),
        }
    }
}

fn tcp(host: &str, port: u16) -> Endpoint {
    Endpoint::Tcp {
        host: host.to_owned(),
        port,
    }
}

impl Observe {
    /// A session that may only look, with the server that `conn` names. It takes no longer than
    /// `allowance`, nor than the connection's own `connect_timeout`.
    ///
    /// The outer error is a declaration that cannot be used; the inner one is a server that cannot.
    ///
    /// # Errors
    /// When the connection is not declared, or its declaration is wrong.
    pub async fn redis(
        &self,
        conn: &Conn<Redis>,
        allowance: Allowance,
    ) -> Result<Result<RedisObserve<'_>, ReachError>, HostError> {
        let config = self.scope().shared.connections.get(conn)?;
        let target = Target::read(&config).map_err(|cause| {
            HostError::permanent(format!("use connection `{}`", conn.name), cause)
        })?;
        let limit = config.connect_timeout.unwrap_or(CONNECT_LIMIT);
        let opening = Opening {
            observe: self,
            target: &target,
            allowance: allowance.at_most(self.scope(), limit),
        };
        let opened = opening.open().await;
        Ok(opened.map(|session| RedisObserve {
            scope: self.scope(),
            session,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::{RedisConfig, Target};
    use crate::host::tls::{Trust, Verify};
    use serde_json::json;

    fn read(config: serde_json::Value) -> Result<Target, String> {
        Target::read(&serde_json::from_value::<RedisConfig>(config).unwrap())
    }

    #[test]
    fn reads_urls() {
        let target = read(json!({ "url": "redis://app:p%40ss@cache.example.org:6380/2" })).unwrap();
        assert_eq!(target.shown(), "cache.example.org:6380 as app");
        assert_eq!(target.login.password(), Some("p@ss"));
        assert_eq!(target.login.db(), 2);
        assert_eq!(target.tls, None);
        let target = read(json!({ "url": "redis://:secret@127.0.0.1" })).unwrap();
        assert_eq!(target.shown(), "127.0.0.1:6379");
        let target = read(json!({ "url": "rediss://[::1]" })).unwrap();
        assert_eq!(target.shown(), "[::1]:6379");
        assert_eq!(target.tls, Some((Trust::System, Verify::Full)));
        let config = json!({ "url": "rediss://h/#insecure", "ca_file": "/ca.pem" });
        let trust = Trust::File("/ca.pem".into());
        assert_eq!(read(config).unwrap().tls, Some((trust, Verify::Nothing)));
        let target = read(json!({ "url": "unix:///run/redis/redis.sock?pass=x" })).unwrap();
        assert_eq!(target.shown(), "/run/redis/redis.sock");
    }

    #[test]
    fn never_repeats_a_password() {
        for wrong in [
            json!({ "url": "hunter2" }),
            json!({ "url": "http://:hunter2@h/" }),
            json!({ "url": "redis://:hunter2@h/hunter2" }),
            json!({ "url": "redis://:hunter2@h:port/" }),
            json!({ "url": "redis://:hunter2@0.0.0.0/" }),
            json!({ "url": "redis://:hunter2@h/", "ca_file": "/ca.pem" }),
            json!({ "url": "rediss://:hunter2@h/#hunter2" }),
            json!({ "url": "redis://:hunter2@h/?protocol=hunter2" }),
            json!({ "url": "" }),
        ] {
            let error = read(wrong).unwrap_err();
            assert!(!error.contains("hunter2"), "{error}");
        }
    }
}
