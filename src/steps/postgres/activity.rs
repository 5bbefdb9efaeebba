//! `postgres.activity`: who is connected, and how many more may be.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asking::{self, Asking, Server, thirty_seconds};
use crate::base::Duration;
use crate::base::count::plural;
use crate::event::{EffectClass, Finding, Level, RepeatClass};
use crate::host::Observe;
use crate::host::connect::Conn;
use crate::host::connect::postgres::Postgres;
use crate::host::reach::Obstacle;
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Activity;

/// Counts the sessions of a PostgreSQL server against `max_connections`, and says who has them.
///
/// What counts is client backends, of all databases: not the server's own processes, not walsenders, nor
/// parallel workers. Of `max_connections` those are left out that are kept for superusers
/// (`superuser_reserved_connections`, `reserved_connections`): an application never gets them.
///
/// Where all connections are taken, the connection's `reserve` is used, so that this can be asked just
/// when it matters. A login without `pg_read_all_stats` does not see what others do: how many of them there
/// are is said, and with `max_transaction` it is `unknown`.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: connections-check
/// secrets:
///   database_url: { env: DATABASE_URL }
/// connections:
///   main:
///     postgres: { url: "${{ secrets.database_url }}" }
/// steps:
///   - id: connections
///     postgres.activity: { connection: main, warn: 80, fail: 95 }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server.
    pub connection: Conn<Postgres>,
    /// As many percent of the usable connections taken are a warning.
    #[serde(default = "eighty")]
    #[schemars(range(min = 0, max = 100))]
    pub warn: f64,
    /// As many percent are critical.
    #[serde(default = "ninety_five")]
    #[schemars(range(min = 0, max = 100))]
    pub fail: f64,
    /// A transaction that has been open for longer is a warning.
    pub max_transaction: Option<Duration>,
    /// For everything: to connect, and to be answered.
    #[serde(default = "thirty_seconds")]
    pub timeout: Duration,
}

fn eighty() -> f64 {
    80.0
}

fn ninety_five() -> f64 {
    95.0
}

/// What was counted; null where the server gave no answer.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// Why the server gave no answer, in a word; null where it gave one. `refused`: nobody listens there.
    /// `no_route` and `no_answer`: its machine or the network is down, or it hangs. `not_ready`: it
    /// starts, stops or recovers. `exhausted`: all connections are taken. `denied`: it runs, and turns
    /// this login away, or has no such database. Others: `unresolved`, `hung_up`, `tls`, `garbled`,
    /// `forbidden`, `rejected`, `our_network`, `our_side`.
    pub obstacle: Option<String>,
    /// `max_connections`.
    pub max_connections: Option<u32>,
    /// How many of them are kept for superusers and for members of `pg_use_reserved_connections`.
    pub reserved: Option<u32>,
    /// Client sessions.
    pub clients: Option<u32>,
    /// Client sessions per usable connection, in percent.
    pub percent: Option<f64>,
    /// Of the clients, those that run a statement.
    pub active: Option<u32>,
    /// Those that do nothing, outside of a transaction.
    pub idle: Option<u32>,
    /// Those that do nothing within a transaction.
    pub idle_in_transaction: Option<u32>,
    /// Those that wait for a lock.
    pub waiting: Option<u32>,
    /// Those whose state this login may not see.
    pub hidden: Option<u32>,
    /// How long the oldest transaction of a client has been open, in seconds; null where none is.
    pub oldest_transaction_s: Option<f64>,
    /// The clients by database, user, application and state, most of them first; at most 50 groups.
    pub groups: Vec<Group>,
}

/// What the server counts.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
struct Counts {
    max_connections: u32,
    reserved: u32,
    clients: u32,
    active: u32,
    idle: u32,
    idle_in_transaction: u32,
    waiting: u32,
    hidden: u32,
    oldest_transaction_s: Option<f64>,
}

impl Counts {
    /// Connections that an application may get.
    fn usable(&self) -> u32 {
        self.max_connections.saturating_sub(self.reserved)
    }

    /// How many percent of them are taken.
    fn percent(&self) -> f64 {
        let usable = f64::from(self.usable().max(1));
        (f64::from(self.clients) / usable * 1000.0).round() / 10.0
    }
}

impl From<Counts> for Outputs {
    fn from(counts: Counts) -> Self {
        Self {
            obstacle: None,
            max_connections: Some(counts.max_connections),
            reserved: Some(counts.reserved),
            clients: Some(counts.clients),
            percent: Some(counts.percent()),
            active: Some(counts.active),
            idle: Some(counts.idle),
            idle_in_transaction: Some(counts.idle_in_transaction),
            waiting: Some(counts.waiting),
            hidden: Some(counts.hidden),
            oldest_transaction_s: counts.oldest_transaction_s,
            groups: Vec::new(),
        }
    }
}

/// Clients that have the same.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub struct Group {
    /// The database; null for a session of none.
    pub database: Option<String>,
    /// The user.
    pub user: Option<String>,
    /// What they call themselves.
    pub application: String,
    /// `active`, `idle`, `idle in transaction`, …; null where this login may not see it.
    pub state: Option<String>,
    /// How many there are.
    pub sessions: u32,
    /// For how long the longest of them has been in this state, in seconds.
    pub longest_s: Option<f64>,
}

/// Which sessions are clients'. Of others than its own, a login without `pg_read_all_stats` sees neither
/// state nor kind, but whose they are and in which database: the server's own processes have no user, and
/// walsenders no database.
macro_rules! clients {
    () => {
        "(backend_type = 'client backend' \
           OR backend_type IS NULL AND usesysid IS NOT NULL AND datid IS NOT NULL) \
         AND pid <> pg_backend_pid()"
    };
}

/// PostgreSQL's manual, "The Statistics Collector", `pg_stat_activity`. `reserved_connections` is there
/// from 16 on.
const COUNTS: &str = concat!(
    "SELECT current_setting('max_connections')::int AS max_connections, \
     current_setting('superuser_reserved_connections')::int \
       + coalesce(current_setting('reserved_connections', true)::int, 0) AS reserved, \
     count(*) AS clients, \
     count(*) FILTER (WHERE state = 'active') AS active, \
     count(*) FILTER (WHERE state = 'idle') AS idle, \
     count(*) FILTER (WHERE state LIKE 'idle in transaction%') AS idle_in_transaction, \
     count(*) FILTER (WHERE wait_event_type = 'Lock') AS waiting, \
     count(*) FILTER (WHERE state IS NULL) AS hidden, \
     extract(epoch FROM max(clock_timestamp() - xact_start))::float8 AS oldest_transaction_s \
     FROM pg_stat_activity WHERE ",
    clients!()
);

const GROUPS: &str = concat!(
    "SELECT datname AS database, usename AS user, \
     coalesce(application_name, '') AS application, state, count(*) AS sessions, \
     extract(epoch FROM max(clock_timestamp() - state_change))::float8 AS longest_s \
     FROM pg_stat_activity WHERE ",
    clients!(),
    " GROUP BY 1, 2, 3, 4 ORDER BY sessions DESC, 1, 2, 3, 4 LIMIT 50"
);

impl StepType for Activity {
    const NAME: &'static str = "postgres.activity";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        if config.warn > config.fail {
            return Err("`warn` is above `fail`, so it would never be reached".to_owned());
        }
        Ok(())
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        Description::line(format!("count the sessions of `{connection}`"))
    }
}

impl Look for Activity {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let server = Server {
            connection: &config.connection,
            timeout: config.timeout,
            in_need: true,
        };
        let ask = async |asking: &Asking<'_>, outputs: &mut Outputs| {
            let counts: Counts = asking.record(COUNTS, &[]).await?;
            *outputs = counts.into();
            outputs.groups = asking.records(GROUPS, &[]).await?;
            Ok(judge(&config, asking.shown(), &counts))
        };
        let note = |outputs: &mut Outputs, obstacle: Obstacle| {
            outputs.obstacle = Some(obstacle.code().to_owned());
        };
        asking::look_noting(host, server, Outputs::default(), ask, note).await
    }
}

fn judge(config: &Config, shown: &str, counted: &Counts) -> Vec<Finding> {
    let subject = &config.connection.name;
    let (usable, percent) = (counted.usable(), counted.percent());
    let mut message = format!(
        "{} of {usable} usable connections are taken ({percent} %) at {shown}: {} active, {} idle, {} idle in \
         transaction",
        counted.clients, counted.active, counted.idle, counted.idle_in_transaction
    );
    if counted.hidden > 0 {
        let hidden = plural(counted.hidden as usize, "session");
        message.push_str(&format!(
            "; {hidden} may be anything: this login may not see what others do (`pg_read_all_stats`)"
        ));
    }
    let level = match percent {
        percent if percent >= config.fail => Level::Critical,
        percent if percent >= config.warn => Level::Warning,
        _ => Level::Ok,
    };
    let mut findings = vec![Finding::new(level, subject, message)];
    if let (Some(limit), Some(oldest)) = (config.max_transaction, counted.oldest_transaction_s)
        && oldest > limit.as_std().as_secs_f64()
    {
        let message = format!("a transaction has been open for {oldest:.0} s, longer than {limit}");
        let help = "`groups` says whose; it keeps VACUUM from removing dead rows";
        findings.push(Finding::warning(subject, message).with_help(help));
    }
    if config.max_transaction.is_some() && counted.hidden > 0 {
        let message = format!(
            "{} sessions do not show this login what they do",
            counted.hidden
        );
        let help = "make the login a member of `pg_read_all_stats`";
        findings.push(Finding::unknown(subject, message).with_help(help));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::{Config, Counts, judge};
    use crate::event::Level;
    use serde_json::json;

    #[test]
    fn nine_percent_are_fine_and_a_hundred_are_not() {
        let config: Config = serde_json::from_value(json!({ "connection": "main" })).unwrap();
        for (clients, level) in [
            (90, Level::Ok),
            (799, Level::Ok),
            (800, Level::Warning),
            (950, Level::Critical),
            (1000, Level::Critical),
        ] {
            let counted = Counts {
                max_connections: 1003,
                reserved: 3,
                clients,
                ..Counts::default()
            };
            assert_eq!(
                judge(&config, "shop", &counted)[0].level,
                level,
                "{clients}"
            );
        }
    }
}
