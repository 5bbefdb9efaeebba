//! Doing it: a preview, signals, and waiting until the sessions are gone.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::found::{Matching, Session, matching};
use super::{Act, Wanted};
use crate::base::Duration;
use crate::base::count::plural;
use crate::event::Finding;
use crate::host::connect::postgres::{PgEffect, PgValue};
use crate::host::reach::ReachError;
use crate::host::{Effect, Observe};
use crate::step::{Change, Outcome, Preview, StepError};
use crate::steps::postgres::relation::Within;

/// How often it is looked whether they are gone.
const POLL: Duration = Duration::from_millis(50);

/// The most spared sessions that are listed.
const MOST_SPARED: usize = 100;

/// What came of it.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// How many sessions were signalled.
    pub signalled: usize,
    /// How many of them have ended what they were to end: the session, or its statement.
    pub ended: usize,
    /// How many have not, in the time that was given.
    pub left: usize,
    /// How many were selected, and had moved on right before they would have been signalled.
    pub moved_on: usize,
    /// Those that were signalled.
    pub victims: Vec<Session>,
    /// Those that matched, and are never touched; at most 100.
    pub spared: Vec<Session>,
}

const CANCEL: &str = "pg_catalog.pg_cancel_backend(pid)";
const TERMINATE: &str = "pg_catalog.pg_terminate_backend(pid)";
const ONE: &str = " FROM matching WHERE spared IS NULL AND pid = $11::int AND backend_start = $12::text \
     AND ($13::text IS NULL OR query_start = $13::text)";

/// Which of these are still there; of those that were cancelled, with the same statement.
const STILL: &str = "SELECT a.pid FROM pg_catalog.pg_stat_activity a \
     JOIN ROWS FROM (pg_catalog.unnest($1::int[]), pg_catalog.unnest($2::text[]), \
       pg_catalog.unnest($3::text[])) AS v (pid, backend_start, query_start) \
       ON v.pid = a.pid AND v.backend_start = a.backend_start::text \
     WHERE NOT $4::bool OR a.state = 'active' AND a.query_start::text = v.query_start";

impl Wanted<'_> {
    /// What would be done.
    pub async fn preview(&self, host: &Observe) -> Result<Preview, StepError> {
        let allowance = host.scope().allow_all();
        let session = host.postgres_in_need(self.connection, allowance).await??;
        let found = self
            .find(&Within(&session, allowance), session.version())
            .await?;
        if found.victims.is_empty() {
            return Ok(Preview::NoChange);
        }
        let mut counts = Map::new();
        counts.insert("sessions".to_owned(), json!(found.victims.len()));
        let sessions = plural(found.victims.len(), "session");
        let summary = match self.act {
            Act::Cancel => format!("cancel the statements of {sessions} at {}", session.shown()),
            Act::Terminate => format!("end {sessions} at {}", session.shown()),
        };
        // Those that are spared come and go, and nothing happens to them.
        let spared = found
            .spared
            .iter()
            .take(MOST_SPARED)
            .map(Session::to_string);
        Ok(Preview::Change(Change {
            summary,
            counts,
            items: found.victims.iter().map(Session::to_string).collect(),
            notes: found
                .victims
                .iter()
                .map(Session::age)
                .chain(spared)
                .collect(),
            ..Change::default()
        }))
    }

    /// Does it, and waits until it is done.
    pub async fn run(&self, host: &Effect) -> Result<Outcome<Outputs>, StepError> {
        let allowance = host.scope().allow_all();
        let session = host.postgres_in_need(self.connection, allowance).await?;
        let answers = Within(&session, allowance);
        let found = self.find(&answers, session.version()).await?;
        let mut findings = self.cautions(&session, &found);
        let mut outputs = Outputs {
            spared: found.spared.into_iter().take(MOST_SPARED).collect(),
            ..Outputs::default()
        };
        let done = self.end(host, &session, found.victims, &mut outputs).await;
        let still = done.map_err(|error| error.with_outputs(&outputs))?;
        session.close().await;
        findings.extend(still);
        findings.push(Finding::ok(&self.connection.name, self.summary(&outputs)));
        let outcome = match outputs.signalled {
            0 => Outcome::unchanged(outputs),
            _ => Outcome::changed(outputs),
        };
        Ok(outcome.with_findings(findings))
    }

    /// What to know of how it was looked.
    fn cautions(&self, session: &PgEffect<'_>, found: &Matching) -> Vec<Finding> {
        let subject = &self.connection.name;
        let mut findings = Vec::new();
        if session.is_reserve() {
            let message = format!("all connections are taken: went in as {}", session.shown());
            findings.push(Finding::warning(subject, message));
        }
        let hidden = found.spared.iter().filter(|found| found.hidden).count();
        if hidden > 0 {
            let hidden = plural(hidden, "session");
            let message =
                format!("{hidden} may be meant too, and this login may not see what they do");
            let help = "let the login see it, and end it: `GRANT pg_read_all_stats, pg_signal_backend TO` \
                        its role";
            findings.push(Finding::unknown(subject, message).with_help(help));
        }
        findings
    }

    fn summary(&self, outputs: &Outputs) -> String {
        let (what, spared) = (plural(outputs.ended, "session"), outputs.spared.len());
        let what = match self.act {
            Act::Cancel => format!("the statements of {what} were cancelled"),
            Act::Terminate => format!("{what} ended"),
        };
        format!("{what}, {spared} spared, {} had moved on", outputs.moved_on)
    }

    /// Signals the victims, and waits until they are gone; says which are not.
    async fn end(
        &self,
        host: &Effect,
        session: &PgEffect<'_>,
        victims: Vec<Session>,
        outputs: &mut Outputs,
    ) -> Result<Vec<Finding>, StepError> {
        for victim in victims {
            if self.signal(session, &victim).await? {
                outputs.victims.push(victim);
                outputs.signalled += 1;
            } else {
                outputs.moved_on += 1;
            }
        }
        let left = self.wait(host, session, &outputs.victims).await?;
        let findings = left.iter().map(|victim| self.still_there(victim)).collect();
        outputs.left = left.len();
        outputs.ended = outputs.signalled - outputs.left;
        Ok(findings)
    }

    /// Signals a victim, if it is still one; says whether it was.
    async fn signal(&self, session: &PgEffect<'_>, victim: &Session) -> Result<bool, ReachError> {
        let function = match self.act {
            Act::Cancel => CANCEL,
            Act::Terminate => TERMINATE,
        };
        let sql = matching(session.version()).then(function).then(ONE);
        let mut values = self.parameters();
        values.push(PgValue::of(&json!(victim.pid)));
        values.push(PgValue::of(&json!(victim.backend_start)));
        let statement = match self.act {
            Act::Cancel => json!(victim.query_start),
            Act::Terminate => Value::Null,
        };
        values.push(PgValue::of(&statement));
        let bound: Vec<_> = values.iter().map(PgValue::bound).collect();
        let done = session.run(sql, &bound, session.allow_all()).await?;
        let row = done.rows.first();
        Ok(row.is_some_and(|row| row.try_get(0).unwrap_or(false)))
    }

    /// Waits until they are gone; says which are not.
    async fn wait<'v>(
        &self,
        host: &Effect,
        session: &PgEffect<'_>,
        victims: &'v [Session],
    ) -> Result<Vec<&'v Session>, StepError> {
        #[derive(Deserialize)]
        struct Still {
            pid: i32,
        }
        let scope = host.scope();
        let deadline = scope.clock().deadline_in(self.timeout);
        let of = |get: fn(&Session) -> Value| Value::Array(victims.iter().map(get).collect());
        let values = [
            PgValue::of(&of(|victim| json!(victim.pid))),
            PgValue::of(&of(|victim| json!(victim.backend_start))),
            PgValue::of(&of(|victim| json!(victim.query_start))),
            PgValue::of(&json!(self.act == Act::Cancel)),
        ];
        let bound: Vec<_> = values.iter().map(PgValue::bound).collect();
        loop {
            let all = session.allow_all();
            let still: Vec<Still> = session.records(STILL, &bound, all).await?;
            let pids: Vec<i32> = still.into_iter().map(|still| still.pid).collect();
            if pids.is_empty() || deadline.passed(scope.clock()) {
                let left = victims.iter().filter(|it| pids.contains(&it.pid));
                return Ok(left.collect());
            }
            let gone = victims.len() - pids.len();
            scope.progress(gone as u64, Some(victims.len() as u64), "sessions");
            let pause = scope.within(all, scope.clock().sleep(POLL)).await;
            pause.map_err(|stopped| stopped.error("wait until the sessions are gone"))?;
        }
    }

    fn still_there(&self, victim: &Session) -> Finding {
        let (subject, limit) = (&self.connection.name, self.timeout);
        let what = match self.act {
            Act::Cancel => "still runs its statement",
            Act::Terminate => "is still there",
        };
        let message = format!("{victim} {what} {limit} after it was told to end");
        let help = "its process does not react: look at it on the server (stopped, or waiting for a disk); \
                    never kill it with SIGKILL, which restarts the whole server";
        Finding::critical(subject, message).with_help(help)
    }
}
