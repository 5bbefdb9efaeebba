//! `postgres.terminate`: sessions that hold connections or locks.

use schemars::JsonSchema;
use serde::Deserialize;

use super::victims::{self, Outputs, State, selecting};
use crate::base::Duration;
use crate::event::{EffectClass, RepeatClass};
use crate::host::connect::Conn;
use crate::host::connect::postgres::Postgres;
use crate::host::{Effect, Observe};
use crate::step::{Act, Description, Outcome, Partial, Preview, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Terminate;

selecting! {
    /// Ends sessions of a PostgreSQL server.
    ///
    /// All that is said of the victims must hold; at least one thing beside the database must be said.
    /// Only client sessions are victims, and never those of runbook, dumps, restores and backups, nor what
    /// runs VACUUM, ANALYZE, CLUSTER, REINDEX, CREATE INDEX or COPY: those that match are put out as
    /// `spared`, with the reason. Each victim is looked at again in the statement that signals it, so that
    /// a session that has moved on is spared too.
    ///
    /// A dump is told by its name (`pg_dump`), and where that was changed (`PGAPPNAME`) by what it holds: a
    /// snapshot, and locks as readers take them and no others, also on the catalogs that `pg_dump` reads at
    /// its beginning and that nobody else reads together; or it has exported its snapshot, and done nothing
    /// since. Its parallel workers are told by the same `backend_xmin`, user, name and address. Not told is
    /// such a dump in its first moments, and what a restore that calls itself otherwise does beside COPY
    /// and building indexes. Whoever holds a stronger lock is never taken for a dump.
    ///
    /// Where all connections are taken, the connection's `reserve` is used. It waits until the sessions are
    /// gone; one that is not in `timeout` is critical. It takes a superuser, a member of
    /// `pg_signal_backend`, or the victims' own role.
    ///
    /// # Changes
    ///
    /// The sessions are gone (SQLSTATE 57P01), and with them what was done in their open transactions.
    ///
    /// # Example
    ///
    /// ```yaml
    /// runbook: v1
    /// name: free-connections
    /// secrets:
    ///   database_url: { env: DATABASE_URL }
    ///   admin_url: { env: ADMIN_URL }
    /// connections:
    ///   main:
    ///     postgres:
    ///       url: "${{ secrets.database_url }}"
    ///       reserve: { url: "${{ secrets.admin_url }}" }
    /// steps:
    ///   - id: end
    ///     postgres.terminate:
    ///       connection: main
    ///       state: [idle_in_transaction, idle_in_transaction_aborted]
    ///       older_than: 10m
    /// ```
    Config of victims::Act::Terminate;
    state: |config| config.state.clone();
    /// Only sessions in one of these states.
    state: Option<Vec<State>>,
}

impl StepType for Terminate {
    const NAME: &'static str = "postgres.terminate";
    const EFFECT: EffectClass = EffectClass::Destroy;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        config.wanted().check()
    }

    fn describe(config: &Partial) -> Description {
        victims::described("end sessions", config)
    }
}

impl Act for Terminate {
    async fn preview(config: Config, host: &Observe) -> Result<Preview, StepError> {
        config.wanted().preview(host).await
    }

    async fn run(config: Config, host: &Effect) -> Result<Outcome<Outputs>, StepError> {
        config.wanted().run(host).await
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Terminate};
    use crate::step::StepType as _;
    use serde_json::json;

    #[test]
    fn something_must_be_said_of_the_victims() {
        let config = |text| serde_json::from_value::<Config>(text);
        let check = |text| Terminate::check(&config(text).unwrap());
        check(json!({ "connection": "main", "state": ["idle", "idle_in_transaction"] })).unwrap();
        check(json!({ "connection": "main", "blocking": true })).unwrap();
        assert!(check(json!({ "connection": "main" })).is_err());
        assert!(check(json!({ "connection": "main", "state": [] })).is_err());
        assert!(config(json!({ "connection": "main", "state": ["sleeping"] })).is_err());
    }
}
