//! PostgreSQL connections.

use schemars::JsonSchema;
use serde::Deserialize;

use super::ConnectionKind;
use crate::base::Duration;
use crate::base::field::SecretText;

/// The kind.
#[derive(Debug)]
pub struct Postgres;

/// A PostgreSQL database.
#[derive(Clone, Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PostgresConfig {
    /// `postgres://user:password@host:port/database?sslmode=…`
    pub url: SecretText,
    /// How long to wait for a connection.
    #[serde(default)]
    pub connect_timeout: Option<Duration>,
}

impl ConnectionKind for Postgres {
    const NAME: &'static str = "postgres";
    type Config = PostgresConfig;
}
