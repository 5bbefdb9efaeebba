//! `postgres.cancel`: statements that have run for too long.

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
pub struct Cancel;

selecting! {
    /// Cancels statements of a PostgreSQL server; the sessions that run them stay.
    ///
    /// All that is said of the victims must hold; at least one thing beside the database must be said.
    /// Only client sessions that run a statement are victims, and never those of runbook, dumps, restores
    /// and backups, nor what runs VACUUM, ANALYZE, CLUSTER, REINDEX, CREATE INDEX or COPY: those that match
    /// are put out as `spared`, with the reason. Each victim is looked at again in the statement that
    /// signals it, so that a session that has moved on is spared too.
    ///
    /// A dump is told by its name (`pg_dump`), and where that was changed (`PGAPPNAME`) by what it holds: a
    /// snapshot, and locks as readers take them and no others, also on the catalogs that `pg_dump` reads at
    /// its beginning and that nobody else reads together; or it has exported its snapshot, and done nothing
    /// since. Its parallel workers are told by the same `backend_xmin`, user, name and address. Not told is
    /// such a dump in its first moments, and what a restore that calls itself otherwise does beside COPY
    /// and building indexes. Whoever holds a stronger lock is never taken for a dump.
    ///
    /// It waits until the statements have ended; one that has not in `timeout` is critical. It takes a
    /// superuser, a member of `pg_signal_backend`, or the victims' own role.
    ///
    /// # Changes
    ///
    /// The statements fail (SQLSTATE 57014), and with them what was done in their transactions.
    ///
    /// # Example
    ///
    /// ```yaml
    /// runbook: v1
    /// name: cancel-long-queries
    /// secrets:
    ///   database_url: { env: DATABASE_URL }
    ///   admin_url: { env: ADMIN_URL }
    /// connections:
    ///   main:
    ///     postgres:
    ///       url: "${{ secrets.database_url }}"
    ///       reserve: { url: "${{ secrets.admin_url }}" }
    /// steps:
    ///   - id: cancel
    ///     postgres.cancel: { connection: main, older_than: 5m, application: ["web-*"] }
    /// ```
    Config of victims::Act::Cancel;
    state: |_| Some(vec![State::Active]);
}

impl StepType for Cancel {
    const NAME: &'static str = "postgres.cancel";
    const EFFECT: EffectClass = EffectClass::Destroy;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        config.wanted().check()
    }

    fn describe(config: &Partial) -> Description {
        victims::described("cancel statements", config)
    }
}

impl Act for Cancel {
    async fn preview(config: Config, host: &Observe) -> Result<Preview, StepError> {
        config.wanted().preview(host).await
    }

    async fn run(config: Config, host: &Effect) -> Result<Outcome<Outputs>, StepError> {
        config.wanted().run(host).await
    }
}

#[cfg(test)]
mod tests {
    use super::{Cancel, Config};
    use crate::step::StepType as _;
    use serde_json::json;

    #[test]
    fn something_must_be_said_of_the_victims() {
        let check = |more: serde_json::Value| {
            let mut config = json!({ "connection": "main" });
            let more = more.as_object().unwrap().clone();
            config.as_object_mut().unwrap().extend(more);
            Cancel::check(&serde_json::from_value::<Config>(config).unwrap())
        };
        check(json!({ "older_than": "5m" })).unwrap();
        check(json!({ "pids": [] })).unwrap();
        for wrong in [
            json!({}),
            json!({ "database": ["shop"] }),
            json!({ "user": [] }),
            json!({ "client": ["example.org"] }),
        ] {
            assert!(check(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
