//! Redis connections.

use schemars::JsonSchema;
use serde::Deserialize;

use super::ConnectionKind;
use crate::base::Duration;
use crate::base::field::SecretText;

/// The kind.
#[derive(Debug)]
pub struct Redis;

/// A Redis server.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://user:password@host:port/db`, or `rediss://…` for TLS
    pub url: SecretText,
    /// How long to wait for a connection.
    #[serde(default)]
    pub connect_timeout: Option<Duration>,
}

impl ConnectionKind for Redis {
    const NAME: &'static str = "redis";
    type Config = RedisConfig;
}
