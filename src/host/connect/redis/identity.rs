//! What tells one Redis database from another.
//!
//! Redis has nothing that does so for good. `run_id` is another one after each start. `master_replid`
//! names a history of writes: it is another one after a fail-over, and, where no RDB file with it is
//! loaded, after a restart as well; a master that does load one gets a new one all the same and keeps
//! the old as `master_replid2` (`loadDataFromDisk` in `server.c`). A run that is gone on with after a
//! restart would be turned away for no reason.
//!
//! So what counts is what stays: where the connection leads (host and port, or the socket, never the
//! login), the port and the configuration file that the server itself says it has, its mode and role,
//! and the number of the database. That tells staging from production, one server of a machine from
//! another, a master from a replica, and one database from its neighbour. A server that took the place
//! of another one behind the same address is taken for the same: after a fail-over, that is what is
//! meant.

use redis::Value;
use serde::{Deserialize, Serialize};

use super::info::Info;
use super::observe::RedisObserve;
use crate::host::net::Allowance;
use crate::host::reach::{Obstacle, ReachError};

/// What tells a Redis database from others.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedisIdentity {
    /// Where the connection leads: `127.0.0.1:6379`, or the path of a socket.
    pub server: String,
    /// The port that the server says it listens on; none where this login may not ask.
    pub port: Option<u16>,
    /// The file that it was configured by; none where there is none, or this login may not ask.
    pub config_file: Option<String>,
    /// `standalone`, `cluster` or `sentinel`.
    pub mode: String,
    /// `master` or `replica`.
    pub role: String,
    /// The number of the database.
    pub database: i64,
}

impl RedisObserve<'_> {
    /// What the session's database is.
    ///
    /// # Errors
    /// When the server does not say.
    pub async fn identity(&self, allowance: Allowance) -> Result<RedisIdentity, ReachError> {
        // Every login may say HELLO (`CMD_NO_AUTH`); INFO is one of the dangerous ones to the ACL.
        let (mut mode, mut role) = (None, None);
        let hello = self.ask(redis::cmd("HELLO").arg(2), allowance).await;
        match hello {
            Ok(answer) => {
                for (name, value) in pairs(answer) {
                    match name.as_str() {
                        "mode" => mode = Some(value),
                        "role" => role = Some(value),
                        _ => {}
                    }
                }
            }
            // Before Redis 6 it is no command.
            Err(error) if error.obstacle == Obstacle::Rejected => {}
            Err(error) => return Err(error),
        }
        let info = match self.info(allowance).await {
            Ok(info) => info,
            Err(error) if error.obstacle == Obstacle::Forbidden && role.is_some() => {
                Info::default()
            }
            Err(error) => return Err(error),
        };
        let told = |name: &str| info.get(name).filter(|value| !value.is_empty());
        let mode = mode.or_else(|| told("redis_mode").map(str::to_owned));
        let role = role.or_else(|| told("role").map(str::to_owned));
        let (Some(mode), Some(role)) = (mode, role) else {
            return Err(self.session.garbled("it does not say what it is"));
        };
        Ok(RedisIdentity {
            server: self.session.endpoint.clone(),
            port: info.number("tcp_port"),
            config_file: told("config_file").map(str::to_owned),
            mode,
            role: match role.as_str() {
                "slave" => "replica".to_owned(),
                _ => role,
            },
            database: self.session.database,
        })
    }
}

/// Names and values, which stand one after the other where the protocol is RESP2.
fn pairs(answer: Value) -> Vec<(String, String)> {
    let text = |value: &Value| redis::from_redis_value_ref::<String>(value).ok();
    match answer {
        Value::Map(pairs) => pairs
            .iter()
            .filter_map(|(name, value)| text(name).zip(text(value)))
            .collect(),
        Value::Array(items) => items
            .chunks_exact(2)
            .filter_map(|pair| text(&pair[0]).zip(text(&pair[1])))
            .collect(),
        _ => Vec::new(),
    }
}
