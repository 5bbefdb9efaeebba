//! `postgres.locks`: who waits for a lock, and who is to blame.

mod chains;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use self::chains::{Seen, chains, without_root};
use super::asking::{self, Asking, Server, thirty_seconds};
use super::limits::{Limits, shown};
use crate::base::Duration;
use crate::base::count::plural;
use crate::event::{EffectClass, Finding, Level, RepeatClass};
use crate::host::Observe;
use crate::host::connect::Conn;
use crate::host::connect::postgres::Postgres;
use crate::host::connect::postgres::sql::Sql;
use crate::host::reach::ReachError;
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Locks;

/// Finds the sessions of a PostgreSQL server that wait for a lock, and those at the root of it: who
/// blocks others, and waits for nobody.
///
/// Who waits stands in `pg_locks`, who is in the way `pg_blocking_pids` says: also who is only ahead in
/// the queue. There is a finding for each root, judged by the longest wait that it causes; sessions that
/// wait for one another in a circle have no root, and PostgreSQL ends one of them itself after
/// `deadlock_timeout`.
///
/// Sessions of all databases count; tables are named where they are of the connection's own. Where all
/// connections are taken, the connection's `reserve` is used. A login without `pg_read_all_stats` sees
/// who waits for whom, but not what they do. On PostgreSQL 13 a wait counts from the beginning of its
/// statement, and without that right nobody can tell: then it is `unknown`.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: locks-check
/// secrets:
///   database_url: { env: DATABASE_URL }
/// connections:
///   main:
///     postgres: { url: "${{ secrets.database_url }}" }
/// steps:
///   - id: locks
///     postgres.locks: { connection: main, warn: 10s, fail: 2m }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server.
    pub connection: Conn<Postgres>,
    /// A session that waits for longer is a warning.
    #[serde(default = "thirty_seconds")]
    pub warn: Duration,
    /// A session that waits for longer is critical.
    #[serde(default = "five_minutes")]
    pub fail: Duration,
    /// For everything: to connect, and to be answered.
    #[serde(default = "thirty_seconds")]
    pub timeout: Duration,
}

fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

impl Config {
    fn limits(&self) -> Limits {
        Limits {
            warn: Some(self.warn),
            fail: Some(self.fail),
        }
    }
}

/// Who waits for whom.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// The sessions that wait for others, the longest wait first.
    pub blocked: Vec<Blocked>,
    /// The sessions that block others and wait for nobody, the one that blocks most first.
    pub roots: Vec<Root>,
    /// How long the longest wait has lasted, in seconds; null where nobody waits.
    pub longest_wait_s: Option<f64>,
}

/// A session that waits for others.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Blocked {
    /// Its process on the server.
    pub pid: i32,
    /// The user; null for the server's own processes.
    pub user: Option<String>,
    /// The database.
    pub database: Option<String>,
    /// What it calls itself.
    pub application: String,
    /// What it is: `client backend`, `autovacuum worker`, …; null where this login may not see it.
    pub backend: Option<String>,
    /// `active`, …; null where this login may not see it.
    pub state: Option<String>,
    /// How long it has waited, in seconds; null where this login may not see it.
    pub waited_s: Option<f64>,
    /// What it waits for, such as `AccessShareLock on relation public.orders`, or `the end of a
    /// transaction (rows of public.orders)`.
    pub waits_for: String,
    /// Its statement, on one line, 300 characters at most; null where this login may not see it.
    pub query: Option<String>,
    /// The processes that are in its way; 0 is a prepared transaction.
    pub blocked_by: Vec<i32>,
}

/// A session that blocks others and waits for nobody.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct Root {
    /// Its process on the server; 0 for prepared transactions, which have none.
    pub pid: i32,
    /// The user; null for the server's own processes.
    pub user: Option<String>,
    /// The database.
    pub database: Option<String>,
    /// What it calls itself.
    pub application: String,
    /// What it is: `client backend`, `autovacuum worker`, …; null where this login may not see it.
    pub backend: Option<String>,
    /// `active`, `idle in transaction`, …; null where this login may not see it.
    pub state: Option<String>,
    /// For how long its transaction has been open, in seconds.
    pub transaction_s: Option<f64>,
    /// Its statement, or its last one, on one line, 300 characters at most.
    pub query: Option<String>,
    /// How many sessions wait for it and nobody between.
    pub blocks_directly: usize,
    /// How many sessions wait for it, others between them included.
    pub blocks_in_all: usize,
    /// How long the longest of these has waited, in seconds.
    pub longest_wait_s: Option<f64>,
    /// What these wait for, such as `AccessShareLock on relation public.orders`; the longest wait first.
    pub holds_up: Vec<String>,
}

// `pg_locks` is read once: it takes every partition of the lock table for a moment, as `pg_blocking_pids`
// does for each session that it is asked about, so it is asked about those that wait and no others.
// Everybody may read both. A wait for another transaction names no table; the lock on a row that the
// waiter then holds does.
const HEAD: &str = "WITH held AS MATERIALIZED (SELECT * FROM pg_locks), \
     waiting AS (SELECT DISTINCT ON (coalesce(a.leader_pid, l.pid)) \
         coalesce(a.leader_pid, l.pid) AS pid, l.locktype, l.mode, ";

/// `waitstart` is there from 14 on.
const SINCE_14: &str = "coalesce(l.waitstart, a.query_start)";
const SINCE_13: &str = "a.query_start";

const TAIL: &str = " AS since, \
         coalesce(l.relation, (SELECT t.relation FROM held t \
           WHERE t.pid = l.pid AND t.locktype = 'tuple' AND t.granted LIMIT 1)) AS relation, \
         coalesce(l.database, (SELECT t.database FROM held t \
           WHERE t.pid = l.pid AND t.locktype = 'tuple' AND t.granted LIMIT 1)) AS database \
       FROM held l LEFT JOIN pg_stat_activity a ON a.pid = l.pid \
       WHERE NOT l.granted ORDER BY 1, since), \
     edges AS MATERIALIZED (SELECT w.*, pg_blocking_pids(w.pid) AS blocked_by FROM waiting w), \
     here AS (SELECT oid, encoding FROM pg_database WHERE datname = current_database()), \
     named AS (SELECT pid FROM edges UNION SELECT unnest(blocked_by) FROM edges) \
     SELECT n.pid, a.usename AS user, a.datname AS database, a.application_name AS application, \
       a.backend_type AS backend, a.state, \
       extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS transaction_s, \
       CASE WHEN a.state IS NOT NULL AND coalesce(d.encoding = here.encoding, true) \
         THEN a.query END AS query, \
       extract(epoch FROM clock_timestamp() - e.since)::float8 AS waited_s, \
       e.locktype AS lock, e.mode, \
       (SELECT format('%I.%I', s.nspname, c.relname) FROM pg_class c \
         JOIN pg_namespace s ON s.oid = c.relnamespace \
         WHERE c.oid = e.relation AND e.database IN (0, here.oid)) AS relation, \
       e.blocked_by \
     FROM named n CROSS JOIN here LEFT JOIN edges e USING (pid) \
     LEFT JOIN pg_stat_activity a USING (pid) LEFT JOIN pg_database d ON d.oid = a.datid";

impl StepType for Locks {
    const NAME: &'static str = "postgres.locks";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        config.limits().check()
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        Description::line(format!("look who waits for whom at `{connection}`"))
    }
}

impl Look for Locks {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let server = Server {
            connection: &config.connection,
            timeout: config.timeout,
            in_need: true,
        };
        asking::look(host, server, Outputs::default(), async |asking, outputs| {
            let seen = sessions(asking).await?;
            *outputs = chains(&seen);
            Ok(judge(&config, asking.shown(), outputs))
        })
        .await
    }
}

async fn sessions(asking: &Asking<'_>) -> Result<Vec<Seen>, ReachError> {
    let since = match asking.version() {
        140_000.. => SINCE_14,
        _ => SINCE_13,
    };
    asking
        .records(Sql::new(HEAD).then(since).then(TAIL), &[])
        .await
}

fn judge(config: &Config, shown_as: &str, found: &Outputs) -> Vec<Finding> {
    let subject = &config.connection.name;
    if found.blocked.is_empty() {
        let message = format!("no session waits for a lock of another at {shown_as}");
        return vec![Finding::ok(subject, message)];
    }
    let judged = |what: String, wait: Option<f64>| match wait {
        Some(wait) => {
            let (level, limit) = config.limits().judge(wait);
            let than = limit.map_or_else(String::new, |limit| format!(", longer than {limit}"));
            let message = format!("{what}; the longest wait has lasted {}{than}", shown(wait));
            Finding::new(level, subject, message)
        }
        None => {
            let message = format!("{what}; for how long, this login may not see");
            let help = "make the login a member of `pg_read_all_stats`";
            Finding::unknown(subject, message).with_help(help)
        }
    };
    let mut findings: Vec<Finding> = { found.roots.iter() }
        .map(|root| {
            let finding = judged(root.told(), root.longest_wait_s);
            match finding.level {
                Level::Warning | Level::Critical => finding.with_help(root.cure()),
                _ => finding,
            }
        })
        .collect();
    let circle = without_root(found);
    if let Some(first) = circle.first() {
        let waiting = plural(circle.len(), "session");
        let what = format!("{waiting} wait for one another at {shown_as}");
        findings.push(judged(what, first.waited_s));
    }
    findings
}

impl Root {
    fn told(&self) -> String {
        let application = match self.application.as_str() {
            "" => String::new(),
            name => format!(" ({name})"),
        };
        let who = match (self.pid, &self.user) {
            (0, _) => "a prepared transaction".to_owned(),
            (pid, Some(user)) => format!("session {pid} of {user}"),
            (pid, None) => match &self.backend {
                Some(backend) => format!("{backend} {pid}"),
                None => format!("session {pid}"),
            },
        };
        let state = { self.state.as_ref() }.map_or_else(String::new, |state| format!(", {state}"));
        let age = { self.transaction_s }.map_or_else(String::new, |age| {
            format!(", in a transaction of {}", shown(age))
        });
        let blocks = plural(self.blocks_in_all, "session");
        let first = self.holds_up.first().map_or("a lock", String::as_str);
        format!("{who}{application}{state}{age} blocks {blocks}, which wait for {first}")
    }

    fn cure(&self) -> String {
        match (self.pid, self.state.as_deref()) {
            (0, _) => {
                "`SELECT * FROM pg_prepared_xacts` says which there are; end it with `COMMIT PREPARED` \
                 or `ROLLBACK PREPARED`"
                    .to_owned()
            }
            (_, Some(state)) if state.starts_with("idle in transaction") => {
                "its client does nothing and has not ended its transaction: `postgres.terminate` ends \
                 its session"
                    .to_owned()
            }
            _ => "`postgres.cancel` ends its statement".to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Config, Seen, chains, judge};
    use crate::event::Level;
    use serde_json::json;

    fn seen(pid: i32, waited_s: Option<f64>, blocked_by: &[i32]) -> Seen {
        let blocked_by = (!blocked_by.is_empty()).then(|| blocked_by.to_vec());
        Seen {
            pid,
            waited_s,
            lock: blocked_by.as_ref().map(|_| "relation".to_owned()),
            mode: blocked_by.as_ref().map(|_| "ShareLock".to_owned()),
            blocked_by,
            ..Seen::default()
        }
    }

    fn level(seen: &[Seen]) -> Vec<Level> {
        let config: Config = serde_json::from_value(json!({ "connection": "main" })).unwrap();
        let findings = judge(&config, "shop", &chains(seen));
        findings.into_iter().map(|it| it.level).collect()
    }

    #[test]
    fn a_chain_has_one_root() {
        let all = [
            seen(1, None, &[]),
            seen(2, Some(9.0), &[1]),
            seen(3, Some(8.0), &[1, 2, 2]),
            seen(4, Some(7.0), &[3]),
        ];
        let found = chains(&all);
        assert_eq!(found.longest_wait_s, Some(9.0));
        assert_eq!(found.blocked[1].blocked_by, [1, 2]);
        let root = &found.roots[0];
        assert_eq!(found.roots.len(), 1);
        assert_eq!(root.pid, 1);
        assert_eq!((root.blocks_directly, root.blocks_in_all), (2, 3));
        assert_eq!(root.holds_up, ["ShareLock on relation"]);
        assert_eq!(level(&all), [Level::Ok]);
    }

    #[test]
    fn waits_are_judged_and_circles_end() {
        assert_eq!(level(&[]), [Level::Ok]);
        let held = |wait| [seen(0, None, &[]), seen(2, wait, &[0])];
        assert_eq!(level(&held(Some(31.0))), [Level::Warning]);
        assert_eq!(level(&held(Some(301.0))), [Level::Critical]);
        assert_eq!(level(&held(None)), [Level::Unknown]);
        let circle = [seen(1, Some(400.0), &[2]), seen(2, Some(1.0), &[1])];
        assert_eq!(level(&circle), [Level::Critical]);
        assert!(chains(&circle).roots.is_empty());
        let [one, other] = circle;
        let beside = [seen(7, None, &[]), seen(8, Some(1.0), &[7]), one, other];
        assert_eq!(level(&beside), [Level::Ok, Level::Critical]);
    }

    #[test]
    fn who_has_its_lock_by_now_does_not_wait() {
        let waiter = Seen {
            blocked_by: Some(Vec::new()),
            ..seen(2, Some(1.0), &[1])
        };
        assert!(chains(&[waiter]).blocked.is_empty());
    }
}
