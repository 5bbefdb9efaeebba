//! Finding the sessions: who matches, and who of them is never touched.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Wanted;
use crate::base::count::plural;
use crate::host::connect::postgres::PgValue;
use crate::host::connect::postgres::sql::Sql;
use crate::host::reach::{Obstacle, ReachError};
use crate::step::StepError;
use crate::steps::postgres::relation::Answers;

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
    pub(super) backend_start: Option<String>,
    /// What tells its statement from a later one.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    pub(super) query_start: Option<String>,
    /// Whether this login does not see what it does.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    pub(super) hidden: bool,
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
/// Sessions of this very run are not even spared: they come and go with its steps. `query` is of the past
/// where a session is not active. Who waits stands in `pg_locks`, which everybody may read; the wait events
/// of `pg_stat_activity` are hidden from a login that may not see what others do.
///
/// A dump is told by what it holds, whatever it calls itself: `pg_dump` reads all of the catalog in one
/// transaction, so that it has locks on these five until its end, which no application reads together; it
/// has a snapshot, no transaction number, and no lock but such as readers take. Its parallel workers have
/// imported that snapshot: they are the same user's, from the same place, of the same name, and hold back the
/// same `backend_xmin`.
const MATCHING: &str = r"), waits AS MATERIALIZED (
       SELECT w.pid, pg_catalog.pg_blocking_pids(w.pid) AS by FROM (
         SELECT DISTINCT coalesce(a.leader_pid, l.pid) AS pid FROM pg_catalog.pg_locks l
           LEFT JOIN pg_catalog.pg_stat_activity a ON a.pid = l.pid
         WHERE NOT l.granted) w),
     roots AS MATERIALIZED (
       SELECT DISTINCT b.pid FROM waits CROSS JOIN LATERAL pg_catalog.unnest(waits.by) AS b (pid)
       WHERE NOT EXISTS (SELECT FROM waits w WHERE w.pid = b.pid AND w.by <> '{}')),
     held AS MATERIALIZED (
       SELECT l.pid, bool_and(l.mode IN ('AccessShareLock', 'SIReadLock')) AS reads,
         count(DISTINCT l.relation) FILTER (WHERE l.relation IN (
           'pg_catalog.pg_event_trigger'::pg_catalog.regclass, 'pg_catalog.pg_transform'::pg_catalog.regclass,
           'pg_catalog.pg_ts_template'::pg_catalog.regclass, 'pg_catalog.pg_conversion'::pg_catalog.regclass,
           'pg_catalog.pg_foreign_data_wrapper'::pg_catalog.regclass)) = 5 AS catalogs
       FROM pg_catalog.pg_locks l WHERE l.locktype = 'relation' AND l.granted GROUP BY l.pid),
     readers AS MATERIALIZED (
       SELECT a.pid, a.datid, a.usesysid, a.application_name, a.client_addr, a.backend_xmin,
         coalesce(h.catalogs, false)
           OR a.query ~* '^\s*SELECT\s+(pg_catalog\.)?pg_export_snapshot\s*\(' AS leads
       FROM pg_catalog.pg_stat_activity a LEFT JOIN held h ON h.pid = a.pid
       WHERE a.backend_type = 'client backend' AND a.xact_start IS NOT NULL
         AND a.backend_xmin IS NOT NULL AND a.backend_xid IS NULL AND coalesce(h.reads, true)),
     dumps AS MATERIALIZED (
       SELECT r.pid FROM readers r WHERE r.leads OR EXISTS (
         SELECT FROM readers l WHERE l.leads AND l.datid = r.datid AND l.usesysid = r.usesysid
           AND l.application_name = r.application_name
           AND l.client_addr IS NOT DISTINCT FROM r.client_addr AND l.backend_xmin = r.backend_xmin)),
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
             OR a.pid IN (SELECT pid FROM dumps)
             THEN 'it looks like a dump'
         END AS spared
       FROM pg_catalog.pg_stat_activity a
         JOIN pg_catalog.pg_roles me ON me.rolname = current_user
         LEFT JOIN pg_catalog.pg_roles r ON r.oid = a.usesysid
         LEFT JOIN (SELECT pid, pg_catalog.min(what) AS what FROM working GROUP BY pid) w ON w.pid = a.pid
       WHERE a.pid <> pg_catalog.pg_backend_pid()
         AND (a.application_name LIKE 'rb/%' AND pg_catalog.split_part(a.application_name, '/', 2)
           = pg_catalog.split_part(pg_catalog.current_setting('application_name'), '/', 2)) IS NOT TRUE
         AND a.backend_type IS DISTINCT FROM 'parallel worker'
         AND (a.datname = ANY(coalesce($1::text[], ARRAY[pg_catalog.current_database()::text]))
           OR a.datname IS NULL AND a.backend_type = 'walsender')
         AND ($2::text[] IS NULL OR a.usename = ANY($2::text[]))
         AND ($3::text[] IS NULL OR a.application_name LIKE ANY($3::text[]))
         AND ($4::int[] IS NULL OR a.pid = ANY($4::int[]))
         AND (NOT $5::bool OR a.pid IN (SELECT pid FROM roots))
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

const ALL: &str = "* FROM matching ORDER BY pid";

impl Wanted<'_> {
    /// Who matches: victims, and those that are spared.
    pub(super) async fn find(
        &self,
        answers: &impl Answers,
        version: u32,
    ) -> Result<Matching, StepError> {
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
}

/// Who matched.
pub(super) struct Matching {
    pub victims: Vec<Session>,
    pub spared: Vec<Session>,
}

pub(super) fn matching(version: u32) -> Sql {
    let working = Sql::new(WORKING);
    let working = match version >= 140_000 {
        true => working.then(COPYING),
        false => working,
    };
    working.then(MATCHING)
}

impl Session {
    /// For how long it has been what it is, and with which statement.
    pub(super) fn age(&self) -> String {
        let seconds = |value: Option<f64>| value.map_or("?".to_owned(), |s| format!("{s:.0} s"));
        let query = self.query.as_deref().unwrap_or_default();
        let (state, transaction) = (seconds(self.state_s), seconds(self.transaction_s));
        let transaction = match self.transaction_s {
            Some(_) => format!(", its transaction for {transaction}"),
            None => String::new(),
        };
        format!("session {}: so for {state}{transaction}: {query}", self.pid)
    }
}

/// Without its ages: a preview that says the same a second later is the same.
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
        if let Some(name) = self.application.as_ref().filter(|name| !name.is_empty()) {
            write!(f, " ({name})")?;
        }
        match &self.spared {
            Some(why) => write!(f, ": spared, {why}"),
            None => Ok(()),
        }
    }
}
