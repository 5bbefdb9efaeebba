//! Sessions that are to be ended, or whose statements are: which, which never, and how it is done.
//!
//! `postgres.cancel` and `postgres.terminate` have this in common, with the fields by which an author
//! selects.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use schemars::JsonSchema;

use super::relation::{Answers, Within};
use crate::base::Duration;
use crate::base::count::plural;
use crate::event::Finding;
use crate::host::connect::Conn;
use crate::host::connect::postgres::sql::Sql;
use crate::host::connect::postgres::{PgEffect, PgValue, Postgres};
use crate::host::reach::{Obstacle, ReachError};
use crate::host::{Effect, Observe};
use crate::step::{Change, Description, Outcome, Partial, Preview, StepError};

/// How often it is looked whether they are gone.
const POLL: Duration = Duration::from_millis(50);

/// The most spared sessions that are listed.
const MOST_SPARED: usize = 100;

/// What is done to a victim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Act {
    /// Its statement is cancelled; the session stays.
    Cancel,
    /// The session is ended.
    Terminate,
}

/// What a session does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It runs a statement.
    Active,
    /// It does nothing, outside of a transaction.
    Idle,
    /// It does nothing within a transaction, whose locks it holds.
    IdleInTransaction,
    /// The same, after an error.
    IdleInTransactionAborted,
}

impl State {
    /// As `pg_stat_activity` has it.
    fn as_server(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Idle => "idle",
            Self::IdleInTransaction => "idle in transaction",
            Self::IdleInTransactionAborted => "idle in transaction (aborted)",
        }
    }
}

/// A configuration type with the fields by which sessions are selected, and a method `wanted`.
macro_rules! selecting {
    (
        $(#[$doc:meta])* $name:ident of $act:expr;
        state: $state:expr;
        $($(#[$more_doc:meta])* $more:ident: $ty:ty,)*
    ) => {
        $(#[$doc])*
        #[derive(Debug, Deserialize, JsonSchema)]
        #[serde(deny_unknown_fields)]
        pub struct $name {
            /// The server. Where all its connections are taken, the connection's `reserve` is used.
            pub connection: Conn<Postgres>,
            $($(#[$more_doc])* pub $more: $ty,)*
            /// Only what has been in its state for longer; of a session that runs a statement: what has
            /// run it for longer.
            pub older_than: Option<Duration>,
            /// Only sessions whose transaction has been open for longer.
            pub transaction_older_than: Option<Duration>,
            /// Only sessions that call themselves so (`application_name`); `*` and `?` stand for any
            /// characters and one.
            pub application: Option<Vec<String>>,
            /// Only sessions of these users.
            pub user: Option<Vec<String>>,
            /// Only sessions of these databases; by default, of the connection's own.
            pub database: Option<Vec<String>>,
            /// Only sessions from these addresses or networks (`10.0.0.0/8`); `local` is the Unix socket.
            pub client: Option<Vec<String>>,
            /// Only sessions that others wait for, because of a lock.
            #[serde(default)]
            pub blocking: bool,
            /// Only these process ids.
            pub pids: Option<Vec<i32>>,
            /// If there are more victims than this, none is touched.
            #[serde(default = "crate::steps::postgres::victims::fifty")]
            #[schemars(range(min = 1, max = 10_000))]
            pub max: u32,
            /// How long it waits until each victim is gone.
            #[serde(default = "crate::steps::postgres::victims::ten_seconds")]
            pub timeout: Duration,
        }

        impl $name {
            fn wanted(&self) -> crate::steps::postgres::victims::Wanted<'_> {
                let state: fn(&Self) -> Option<Vec<crate::steps::postgres::victims::State>> = $state;
                crate::steps::postgres::victims::Wanted {
                    act: $act,
                    connection: &self.connection,
                    state: state(self),
                    older_than: self.older_than,
                    transaction_older_than: self.transaction_older_than,
                    application: self.application.as_deref(),
                    user: self.user.as_deref(),
                    database: self.database.as_deref(),
                    client: self.client.as_deref(),
                    blocking: self.blocking,
                    pids: self.pids.as_deref(),
                    max: self.max,
                    timeout: self.timeout,
                }
            }
        }
    };
}
pub(super) use selecting;

pub(super) fn fifty() -> u32 {
    50
}

pub(super) fn ten_seconds() -> Duration {
    Duration::from_secs(10)
}

/// Which sessions are wanted: all of it must hold.
#[derive(Debug)]
pub(super) struct Wanted<'a> {
    pub act: Act,
    pub connection: &'a Conn<Postgres>,
    pub state: Option<Vec<State>>,
    pub older_than: Option<Duration>,
    pub transaction_older_than: Option<Duration>,
    pub application: Option<&'a [String]>,
    pub user: Option<&'a [String]>,
    pub database: Option<&'a [String]>,
    pub client: Option<&'a [String]>,
    pub blocking: bool,
    pub pids: Option<&'a [i32]>,
    pub max: u32,
    pub timeout: Duration,
}

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

/// A session.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Session {
    /// Its process id.
    pub pid: i32,
    /// Its database; null for a session of none.
    pub database: Option<String>,
    /// Its user.
    pub user: Option<String>,
    /// What it calls itself.
    pub application: Option<String>,
    /// Where it comes from; `local` is the Unix socket.
    pub client: Option<String>,
    /// `active`, `idle`, `idle in transaction`, …
    pub state: Option<String>,
    /// How long it has been in this state, in seconds; of an active one: how long its statement has run.
    pub state_s: Option<f64>,
    /// How long its transaction has been open, in seconds; null where none is.
    pub transaction_s: Option<f64>,
    /// The first 100 characters of the statement that it runs, or has run last.
    pub query: Option<String>,
    /// Why it is spared; null of a victim.
    pub spared: Option<String>,
    /// With its process id, what tells it from a later one.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    backend_start: Option<String>,
    /// What tells its statement from a later one.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    query_start: Option<String>,
    /// Whether this login does not see what it does.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    hidden: bool,
    /// Whether this login may signal it.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    may_signal: bool,
}

/// What the server works on, by PostgreSQL's manual, "Progress Reporting".
const WORKING: &str = "WITH working AS MATERIALIZED (\
     SELECT pid, 'VACUUM' AS what FROM pg_stat_progress_vacuum \
     UNION ALL SELECT pid, 'ANALYZE' FROM pg_stat_progress_analyze \
     UNION ALL SELECT pid, command FROM pg_stat_progress_cluster \
     UNION ALL SELECT pid, command FROM pg_stat_progress_create_index \
     UNION ALL SELECT pid, 'a base backup' FROM pg_stat_progress_basebackup";

/// From 14 on.
const COPYING: &str = " UNION ALL SELECT pid, 'COPY' FROM pg_stat_progress_copy";

/// Who matches, and who of them is spared. Of what this login may not see, what can be told of it counts.
/// `query` is of the past where a session is not active.
const MATCHING: &str = r"), blockers AS MATERIALIZED (
       SELECT DISTINCT pg_catalog.unnest(pg_catalog.pg_blocking_pids(w.pid)) AS pid
       FROM pg_catalog.pg_stat_activity w WHERE w.wait_event_type = 'Lock'),
     matching AS MATERIALIZED (
       SELECT a.pid, a.datname AS database, a.usename AS user, a.application_name AS application,
         CASE WHEN a.client_port = -1 THEN 'local' ELSE pg_catalog.host(a.client_addr) END AS client,
         a.state,
         extract(epoch FROM pg_catalog.clock_timestamp()
           - CASE a.state WHEN 'active' THEN a.query_start ELSE a.state_change END)::float8 AS state_s,
         extract(epoch FROM pg_catalog.clock_timestamp() - a.xact_start)::float8 AS transaction_s,
         pg_catalog.left(pg_catalog.regexp_replace(a.query, '\s+', ' ', 'g'), 100) AS query,
         a.backend_start::text AS backend_start, a.query_start::text AS query_start,
         a.backend_type IS NULL AS hidden,
         coalesce(me.rolsuper OR NOT r.rolsuper AND (
           pg_catalog.pg_has_role(a.usesysid, 'USAGE')
           OR pg_catalog.pg_has_role('pg_signal_backend', 'USAGE')), false) AS may_signal,
         CASE
           WHEN a.backend_type IS NULL THEN 'this login may not see what it does'
           WHEN a.backend_type <> 'client backend' THEN 'it is a ' || a.backend_type
           WHEN a.application_name LIKE 'rb/%' THEN 'it is a session of runbook'
           WHEN a.application_name ~ '^(pg_(dump|dumpall|restore|basebackup|receivewal|recvlogical|rewind|upgrade|amcheck)|vacuumdb|reindexdb|clusterdb|pgBackRest|barman)\M'
             THEN 'it is ' || a.application_name
           WHEN w.what IS NOT NULL THEN 'it runs ' || w.what
           WHEN a.state = 'active' AND a.query ~* '^(\s|--[^\n]*\n|/\*([^*]|\*+[^*/])*\*+/)*(VACUUM|ANALYSE|ANALYZE|CLUSTER|REINDEX|COPY|CREATE\s+(UNIQUE\s+)?INDEX)\M'
             THEN 'it runs VACUUM, ANALYZE, CLUSTER, COPY or an index build'
           WHEN a.state = 'active' AND a.query ~* '^\s*LOCK\s+TABLE\s.*\sIN\s+ACCESS\s+SHARE\s+MODE'
             THEN 'it looks like a dump'
         END AS spared
       FROM pg_catalog.pg_stat_activity a
         JOIN pg_catalog.pg_roles me ON me.rolname = current_user
         LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
         LEFT JOIN (SELECT pid, pg_catalog.min(what) AS what FROM working GROUP BY pid) w ON w.pid = a.pid
       WHERE a.pid <> pg_catalog.pg_backend_pid()
         AND a.backend_type IS DISTINCT FROM 'parallel worker'
         AND (a.datname = ANY(coalesce($1::text[], ARRAY[pg_catalog.current_database()::text]))
           OR a.datname IS NULL AND a.backend_type = 'walsender')
         AND ($2::text[] IS NULL OR a.usename = ANY($2::text[]))
         AND ($3::text[] IS NULL OR a.application_name LIKE ANY($3::text[]))
         AND ($4::int[] IS NULL OR a.pid = ANY($4::int[]))
         AND (NOT $5::bool OR a.pid IN (SELECT pid FROM blockers))
         AND (a.backend_type IS NULL OR
           ($6::text[] IS NULL OR a.state = ANY($6::text[]))
           AND ($7::float8 IS NULL OR pg_catalog.clock_timestamp()
             - CASE a.state WHEN 'active' THEN a.query_start ELSE a.state_change END
             > pg_catalog.make_interval(secs => $7::float8))
           AND ($8::float8 IS NULL OR
             pg_catalog.clock_timestamp() - a.xact_start > pg_catalog.make_interval(secs => $8::float8))
           AND ($9::inet[] IS NULL AND NOT $10::bool OR coalesce(a.client_addr <<= ANY($9::inet[]), false)
             OR $10::bool AND a.client_port = -1)))
     SELECT ";

const ALL: &str = "* FROM matching ORDER BY state_s DESC NULLS LAST, pid";

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
    /// What the types of the fields cannot say.
    pub fn check(&self) -> Result<(), String> {
        let lists = [
            ("application", self.application.map(<[_]>::is_empty)),
            ("user", self.user.map(<[_]>::is_empty)),
            ("database", self.database.map(<[_]>::is_empty)),
            ("client", self.client.map(<[_]>::is_empty)),
        ];
        if let Some((name, _)) = lists.iter().find(|(_, empty)| *empty == Some(true)) {
            return Err(format!(
                "`{name}` is an empty list, so nothing would be selected"
            ));
        }
        if self.state.as_deref().is_some_and(<[State]>::is_empty) {
            return Err("`state` is an empty list, so nothing would be selected".to_owned());
        }
        // What runs is what a cancellation is about: it selects nothing.
        let by_state = self.state.is_some() && self.act == Act::Terminate;
        let narrows = by_state
            || self.older_than.is_some()
            || self.transaction_older_than.is_some()
            || self.application.is_some()
            || self.user.is_some()
            || self.client.is_some()
            || self.blocking
            || self.pids.is_some();
        if !narrows {
            let state = match self.act {
                Act::Cancel => "",
                Act::Terminate => "`state`, ",
            };
            return Err(format!(
                "it would take every session of the database: select by {state}`older_than`, \
                 `transaction_older_than`, `application`, `user`, `client`, `blocking` or `pids`"
            ));
        }
        let wrong = { self.client.iter().copied().flatten() }.find(|text| !is_network(text));
        if let Some(text) = wrong {
            return Err(format!(
                "`client` has `{text}`, which is no address, no network and not `local`"
            ));
        }
        if self.max == 0 {
            return Err("`max` is at least 1".to_owned());
        }
        Ok(())
    }

    /// The parameters of a query that begins with what matches.
    fn parameters(&self) -> Vec<PgValue> {
        let seconds = |limit: Option<Duration>| limit.map(Duration::as_secs_f64);
        let patterns = self
            .application
            .map(|globs| globs.iter().map(|glob| like(glob)).collect::<Vec<_>>());
        let state = self.state.as_ref().map(|states| {
            let states = states.iter().map(|state| state.as_server());
            states.collect::<Vec<_>>()
        });
        let is_local = |text: &&String| *text == "local";
        let local = self
            .client
            .is_some_and(|all| all.iter().any(|text| text == "local"));
        let networks = self.client.map(|all| {
            let networks = all.iter().filter(|text| !is_local(text));
            networks.collect::<Vec<_>>()
        });
        [
            json!(self.database),
            json!(self.user),
            json!(patterns),
            json!(self.pids),
            json!(self.blocking),
            json!(state),
            json!(seconds(self.older_than)),
            json!(seconds(self.transaction_older_than)),
            json!(networks),
            json!(local),
        ]
        .iter()
        .map(PgValue::of)
        .collect()
    }

    /// Who matches: victims, and those that are spared.
    async fn find(&self, answers: &impl Answers, version: u32) -> Result<Matching, StepError> {
        let sql = matching(version).then(ALL);
        let values = self.parameters();
        let bound: Vec<_> = values.iter().map(PgValue::bound).collect();
        let found: Vec<Session> = answers.records(sql, &bound).await?;
        let (spared, victims): (Vec<Session>, Vec<Session>) =
            found.into_iter().partition(|found| found.spared.is_some());
        if let Some(found) = victims.iter().find(|victim| !victim.may_signal) {
            let Session { pid, user, .. } = found;
            let user = user.as_deref().unwrap_or_default();
            let error = ReachError::new(
                Obstacle::Forbidden,
                format!("{} the session {pid} of {user}", self.verb()),
                "this login may not signal it, and none was touched",
            );
            let help = "make the login a member of `pg_signal_backend`; sessions of superusers take a \
                        superuser";
            return Err(error.with_help(help).into());
        }
        if victims.len() > self.max as usize {
            let message = format!(
                "could not {} {}: `max` is {}, and none was touched",
                self.verb(),
                plural(victims.len(), "session"),
                self.max
            );
            let help = "select fewer, or raise `max`";
            return Err(StepError::permanent(message).with_help(help));
        }
        Ok(Matching { victims, spared })
    }

    fn verb(&self) -> &'static str {
        match self.act {
            Act::Cancel => "cancel",
            Act::Terminate => "end",
        }
    }

    /// What would be done.
    pub async fn preview(&self, host: &Observe) -> Result<Preview, StepError> {
        let allowance = host.scope().allow_all();
        let session = host.postgres_in_need(self.connection, allowance).await??;
        let found = self
            .find(&Within(&session, allowance), session.version())
            .await?;
        if found.victims.is_empty() && found.spared.is_empty() {
            return Ok(Preview::NoChange);
        }
        let mut counts = Map::new();
        counts.insert("sessions".to_owned(), json!(found.victims.len()));
        counts.insert("spared".to_owned(), json!(found.spared.len()));
        let sessions = plural(found.victims.len(), "session");
        let summary = match self.act {
            Act::Cancel => format!("cancel the statements of {sessions} at {}", session.shown()),
            Act::Terminate => format!("end {sessions} at {}", session.shown()),
        };
        let shown = { found.victims.iter() }.chain(found.spared.iter().take(MOST_SPARED));
        Ok(Preview::Change(Change {
            summary,
            counts,
            items: shown.map(|found| found.to_string()).collect(),
            ..Change::default()
        }))
    }

    /// Does it, and waits until it is done.
    pub async fn run(&self, host: &Effect) -> Result<Outcome<Outputs>, StepError> {
        let scope = host.scope();
        let allowance = scope.allow_all();
        let session = host.postgres_in_need(self.connection, allowance).await?;
        let version = session.version();
        let found = self.find(&Within(&session, allowance), version).await?;
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
            let help = "make the login a member of `pg_read_all_stats`";
            findings.push(Finding::unknown(subject, message).with_help(help));
        }
        let spared = found.spared.into_iter();
        let mut outputs = Outputs {
            spared: spared.take(MOST_SPARED).collect(),
            ..Outputs::default()
        };
        let mut signalled = Vec::new();
        for victim in found.victims {
            match self.signal(&session, version, &victim).await {
                Ok(true) => signalled.push(victim),
                Ok(false) => outputs.moved_on += 1,
                Err(error) => {
                    outputs.signalled = signalled.len();
                    outputs.victims = signalled;
                    return Err(StepError::from(error).with_outputs(&outputs));
                }
            }
        }
        let left = self.wait(host, &session, &signalled).await?;
        findings.extend(left.iter().map(|victim| self.still_there(victim)));
        (outputs.signalled, outputs.left) = (signalled.len(), left.len());
        outputs.ended = signalled.len() - left.len();
        let (ended, moved_on) = (outputs.ended, outputs.moved_on);
        let what = match self.act {
            Act::Cancel => "statements were cancelled",
            Act::Terminate => "sessions were ended",
        };
        let message = format!(
            "{ended} {what}, {} spared, {moved_on} had moved on",
            outputs.spared.len()
        );
        findings.push(Finding::ok(subject, message));
        outputs.victims = signalled;
        session.close().await;
        let outcome = match outputs.signalled {
            0 => Outcome::unchanged(outputs),
            _ => Outcome::changed(outputs),
        };
        Ok(outcome.with_findings(findings))
    }

    /// Signals a victim, if it is still one; says whether it was.
    async fn signal(
        &self,
        session: &PgEffect<'_>,
        version: u32,
        victim: &Session,
    ) -> Result<bool, ReachError> {
        let function = match self.act {
            Act::Cancel => CANCEL,
            Act::Terminate => TERMINATE,
        };
        let sql = matching(version).then(function).then(ONE);
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
        let message = format!("{} {what} {limit} after it was told to end", victim);
        let help = "its process does not react: look at it on the server (stopped, or waiting for a disk); \
                    never kill it with SIGKILL, which restarts the whole server";
        Finding::critical(subject, message).with_help(help)
    }
}

/// Who matched.
struct Matching {
    victims: Vec<Session>,
    spared: Vec<Session>,
}

fn matching(version: u32) -> Sql {
    let working = Sql::new(WORKING);
    let working = match version >= 140_000 {
        true => working.then(COPYING),
        false => working,
    };
    working.then(MATCHING)
}

impl std::fmt::Display for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let text = |part: &Option<String>| part.clone().unwrap_or_else(|| "?".to_owned());
        write!(
            f,
            "session {} of {} in {}, {}",
            self.pid,
            text(&self.user),
            text(&self.database),
            text(&self.state)
        )?;
        if let Some(seconds) = self.state_s {
            write!(f, " for {seconds:.0} s")?;
        }
        if let Some(name) = self.application.as_ref().filter(|name| !name.is_empty()) {
            write!(f, " ({name})")?;
        }
        match &self.spared {
            Some(why) => write!(f, ": spared, {why}"),
            None => Ok(()),
        }
    }
}

/// `what`, and by what they are selected.
pub(super) fn described(what: &str, config: &Partial) -> Description {
    let connection = config.text("connection").unwrap_or_default();
    let selected = [
        "state",
        "older_than",
        "transaction_older_than",
        "application",
        "user",
        "database",
        "client",
        "blocking",
        "pids",
    ];
    let selected = { selected.iter() }
        .filter_map(|key| config.text(key).map(|value| format!("{key} {value}")));
    let line = Description::line(format!("{what} at `{connection}`"));
    selected.fold(line, Description::detail)
}

/// A pattern with `*` and `?` as one of `LIKE`.
fn like(glob: &str) -> String {
    let mut pattern = String::with_capacity(glob.len());
    for c in glob.chars() {
        match c {
            '*' => pattern.push('%'),
            '?' => pattern.push('_'),
            '%' | '_' | '\\' => pattern.extend(['\\', c]),
            c => pattern.push(c),
        }
    }
    pattern
}

/// `local`, an address, or a network.
fn is_network(text: &str) -> bool {
    if text == "local" {
        return true;
    }
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let Ok(address) = address.parse::<std::net::IpAddr>() else {
        return false;
    };
    let most = if address.is_ipv4() { 32 } else { 128 };
    bits.is_none_or(|bits| bits.parse::<u8>().is_ok_and(|bits| bits <= most))
}

#[cfg(test)]
mod tests {
    use super::{is_network, like};

    #[test]
    fn patterns_are_those_of_like() {
        assert_eq!(like("app-*"), "app-%");
        assert_eq!(like("50%_a?\\"), "50\\%\\_a_\\\\");
    }

    #[test]
    fn clients_are_addresses_and_networks() {
        for right in ["local", "10.0.0.1", "10.0.0.0/8", "::1", "fe80::/10"] {
            assert!(is_network(right), "{right}");
        }
        for wrong in ["", "db.example.org", "10.0.0.0/33", "10.0.0.0/x"] {
            assert!(!is_network(wrong), "{wrong}");
        }
    }
}
