//! One index rebuilt, and nothing left behind.

use serde::Deserialize;
use tokio_postgres::types::Type;

use super::targets::Target;
use super::{Config, Rebuilt, Work};
use crate::base::Duration;
use crate::host::connect::postgres::PgEffect;
use crate::host::connect::postgres::sql::Sql;
use crate::host::net::Allowance;
use crate::host::reach::{Obstacle, ReachError};
use crate::host::{Effect, Scope};
use crate::step::{StepError, StepErrorKind};
use crate::steps::postgres::catalog::{Leftover, leftovers, size_of_index};
use crate::steps::postgres::relation::Within;

/// How long it may take to drop what a failed rebuild has left. Nobody who reads or writes waits for it.
const CLEANING: Duration = Duration::from_secs(60);

/// The same where the run is told to end: it is waited for 10 s.
const CLEANING_AT_END: Duration = Duration::from_secs(5);

/// An index as it is now. `REINDEX CONCURRENTLY` puts another one in its place, of the same name.
#[derive(Debug, Deserialize)]
struct Now {
    oid: u32,
    valid: bool,
    bytes: u64,
}

/// Rebuilds `target`. What a failure leaves is dropped, and if it cannot be, that is said.
pub(super) async fn rebuild(
    config: &Config,
    host: &Effect,
    session: &PgEffect<'_>,
    target: &Target,
    work: &mut Work,
) -> Result<(), StepError> {
    let allowance = session.allow_all();
    let clock = host.scope().clock();
    let began = clock.now();
    session
        .set_lock_timeout(config.lock_timeout(), allowance)
        .await?;
    let sql = Sql::new(match config.concurrently {
        true => "REINDEX INDEX CONCURRENTLY ",
        false => "REINDEX INDEX ",
    });
    let sql = sql.qualified(&target.schema, &target.name);
    let done = match session.run(sql, &[], allowance).await {
        Ok(done) => done,
        Err(error) => {
            // It is there no more, and the others of its table are.
            if error.obstacle == Obstacle::Rejected
                && look(session, target, allowance).await?.is_none()
            {
                work.gone.push(target.shown.clone());
                return Ok(());
            }
            return Err(failed(config, host, session, target, error, work).await);
        }
    };
    let now = look(session, target, allowance).await?;
    let Some(now) = now.filter(|now| now.valid) else {
        let said: Vec<String> = { done.notices.into_iter() }
            .map(|notice| notice.message)
            .collect();
        let message = format!(
            "could not rebuild {}: it is not valid afterwards. {}",
            target.shown,
            said.join("; ")
        );
        return Err(StepError::permanent(message.trim_end()));
    };
    work.outputs.after_bytes += now.bytes;
    work.outputs.before_bytes += target.bytes;
    work.outputs.indexes.push(Rebuilt {
        schema: target.schema.clone(),
        name: target.name.clone(),
        table: target.table.clone(),
        quoted: target.shown.clone(),
        before_bytes: target.bytes,
        after_bytes: now.bytes,
        seconds: clock.now().since(began).as_secs_f64(),
    });
    Ok(())
}

async fn look(
    session: &PgEffect<'_>,
    target: &Target,
    allowance: Allowance,
) -> Result<Option<Now>, ReachError> {
    let sql = Sql::new(
        "SELECT i.indexrelid::int8 AS oid, i.indisvalid AND i.indisready AND i.indislive AS valid, ",
    );
    let sql = size_of_index(sql).then(
        "::int8 AS bytes FROM pg_index i JOIN pg_class c ON c.oid = i.indexrelid \
         JOIN pg_namespace n ON n.oid = c.relnamespace WHERE n.nspname = $1 AND c.relname = $2",
    );
    let bound = [
        (&target.schema as _, Type::TEXT),
        (&target.name as _, Type::TEXT),
    ];
    let found = session.records(sql, &bound, allowance).await?;
    Ok(found.into_iter().next())
}

/// Why it failed, and what became of what it has left.
async fn failed(
    config: &Config,
    host: &Effect,
    session: &PgEffect<'_>,
    target: &Target,
    error: ReachError,
    work: &mut Work,
) -> StepError {
    let (told, lost) = (
        matches!(error.obstacle, Obstacle::Ended(_)),
        matches!(error.obstacle, Obstacle::InDoubt | Obstacle::HungUp),
    );
    let mut failure = waited(config, error);
    failure.message = format!("could not rebuild {}: {}", target.shown, failure.message);
    if lost || !config.concurrently {
        return failure;
    }
    let limit = if told { CLEANING_AT_END } else { CLEANING };
    let cleaning = Cleaning::new(host.scope(), session, limit, told);
    match cleaning.of(target, work).await {
        Ok(0) => {}
        Ok(_) => failure.message.push_str("; what it had left is dropped"),
        Err(error) => {
            failure
                .message
                .push_str(&format!("; and what it has left stays ({error})"));
            let help =
                "run it again when nobody uses its table any more: what is left is dropped first";
            failure.help = Some(match failure.help {
                Some(before) => format!("{before}; {help}"),
                None => help.to_owned(),
            });
        }
    }
    failure
}

/// An error; to have waited for others in vain may pass.
pub(super) fn waited(config: &Config, error: ReachError) -> StepError {
    let in_vain = error.obstacle == Obstacle::Locked;
    let error = StepError::from(error);
    if !in_vain {
        return error;
    }
    let help = match config.concurrently {
        true => {
            "it waits for all transactions that use its table, and for older ones: look at \
             `postgres.locks` and `postgres.activity`, or give it a longer `lock_timeout`"
        }
        false => "somebody uses its table: look at `postgres.locks`, or say `concurrently: true`",
    };
    StepError {
        kind: StepErrorKind::Transient,
        ..error.with_help(help)
    }
}

/// What drops leftovers, in time.
pub(super) struct Cleaning<'c, 'a> {
    session: &'c PgEffect<'a>,
    allowance: Allowance,
    limit: Duration,
}

impl<'c, 'a> Cleaning<'c, 'a> {
    /// `told`: whether the step has been told to end.
    pub fn new(scope: &Scope, session: &'c PgEffect<'a>, limit: Duration, told: bool) -> Self {
        let allowance = scope.allow(limit);
        let allowance = if told {
            allowance.despite_end()
        } else {
            allowance
        };
        Self {
            session,
            allowance,
            limit,
        }
    }

    /// Before anything is rebuilt.
    pub fn before(scope: &Scope, session: &'c PgEffect<'a>) -> Self {
        Self::new(scope, session, CLEANING, false)
    }

    /// Drops what rebuilding an index has left, and tells how much there was. When it failed at its very
    /// end, another one has its name by now.
    async fn of(&self, target: &Target, work: &mut Work) -> Result<usize, ReachError> {
        let now = look(self.session, target, self.allowance).await?;
        let oid = now.map_or(target.oid, |now| now.oid);
        let found = leftovers(&Within(self.session, self.allowance), &[oid]).await?;
        self.drop(&found, work).await?;
        Ok(found.len())
    }

    /// Drops these. CONCURRENTLY, nobody who reads or writes waits for it: it waits for them.
    pub async fn drop(&self, found: &[Leftover], work: &mut Work) -> Result<(), ReachError> {
        for leftover in found {
            self.session
                .set_lock_timeout(self.limit, self.allowance)
                .await?;
            let sql = Sql::new("DROP INDEX CONCURRENTLY IF EXISTS ")
                .qualified(&leftover.schema, &leftover.name);
            let done = self.session.run(sql, &[], self.allowance).await;
            done.map_err(|error| ReachError {
                action: format!("drop {}", leftover.shown),
                ..error
            })?;
            work.outputs.dropped.push(leftover.shown.clone());
        }
        Ok(())
    }
}
