//! `postgres.wraparound`: how much of the transaction ids is used up.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asking::{self, Asking, Server, thirty_seconds};
use crate::base::Duration;
use crate::base::count::count;
use crate::base::field::Percent;
use crate::event::{EffectClass, Finding, Level, RepeatClass};
use crate::host::Observe;
use crate::host::connect::Conn;
use crate::host::connect::postgres::Postgres;
use crate::host::connect::postgres::sql::Sql;
use crate::host::reach::ReachError;
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Wraparound;

/// Checks how old the oldest transaction ids and multixact ids of each database are, in percent of the
/// 2^31 after which they would wrap around. A server refuses to write before that happens.
///
/// Autovacuum freezes them from `autovacuum_freeze_max_age` on (200 million by default, 9 %), so an age
/// far beyond it says that something keeps it from doing so: `held_back_by` lists who may, `tables` what
/// is oldest in this database. `fail` is by default where VACUUM itself sees an emergency and stops to
/// care about anything else: `vacuum_failsafe_age`, 1.6 billion, is 74.5 %. `warn` is by default half of
/// that, 37 %, or a tenth beyond where autovacuum begins, if that is later. PostgreSQL's manual,
/// "Preventing Transaction ID Wraparound Failures" and "VACUUM" among the client connection defaults.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: wraparound-check
/// secrets:
///   database_url: { env: DATABASE_URL }
/// connections:
///   main:
///     postgres: { url: "${{ secrets.database_url }}" }
/// steps:
///   - id: wraparound
///     postgres.wraparound: { connection: main, warn: 30, fail: 60 }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server, and the database whose tables are listed.
    pub connection: Conn<Postgres>,
    /// As many percent of the ids used up are a warning; 37 by default, or a tenth more than where
    /// autovacuum begins.
    pub warn: Option<Percent>,
    /// As many percent are critical.
    #[serde(default = "failsafe")]
    pub fail: Percent,
    /// How many tables are listed at most.
    #[serde(default = "ten")]
    #[schemars(range(min = 0, max = 1000))]
    pub limit: u32,
    /// For everything: to connect, and to be answered.
    #[serde(default = "thirty_seconds")]
    pub timeout: Duration,
}

/// `vacuum_failsafe_age` and `vacuum_multixact_failsafe_age` are 1.6 billion by default.
fn failsafe() -> Percent {
    Percent(74.5)
}

fn ten() -> u32 {
    10
}

/// Half of where VACUUM sees an emergency.
const WARN: f64 = 37.0;

/// As many ids are older than a given one, and as many younger.
const LIMIT: f64 = 2_147_483_648.0;

/// What was found.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// The databases of the server, the oldest first.
    pub databases: Vec<Database>,
    /// The oldest tables of this database, the oldest first.
    pub tables: Vec<Table>,
    /// What may keep VACUUM from freezing, the oldest first; at most 20.
    pub held_back_by: Vec<Holder>,
    /// The oldest database's percentage; null where the server did not answer.
    pub percent: Option<f64>,
    /// `autovacuum_freeze_max_age`: from this age on a table is frozen, in transactions.
    pub freeze_max_age: Option<i64>,
    /// `autovacuum_multixact_freeze_max_age`: the same in multixacts.
    pub multixact_freeze_max_age: Option<i64>,
}

/// A database.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Database {
    /// Its name.
    pub name: String,
    /// The age of its oldest transaction id that is not frozen, in transactions.
    pub xid_age: i64,
    /// The age of its oldest multixact id, in multixacts.
    pub multixact_age: i64,
    /// The larger of the two in percent of 2^31, to the tenth.
    #[serde(default)]
    pub percent: f64,
}

/// A table.
#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
pub struct Table {
    /// Its schema.
    pub schema: String,
    /// Its name; of a TOAST table, its table's.
    pub name: String,
    /// Whether it is that table's TOAST table.
    pub toast: bool,
    /// Whether it is temporary: its session alone can vacuum it.
    pub temporary: bool,
    /// The age of its oldest transaction id that is not frozen, in transactions.
    pub xid_age: i64,
    /// The age of its oldest multixact id, in multixacts.
    pub multixact_age: i64,
    /// The larger of the two in percent of 2^31, to the tenth.
    #[serde(default)]
    pub percent: f64,
    /// Its size as VACUUM or ANALYZE saw it last, in bytes.
    pub bytes: i64,
    /// When it was vacuumed last, RFC 3339; null where never since statistics were reset.
    pub vacuumed_at: Option<String>,
}

/// What keeps row versions from being removed or frozen.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// `session`, `prepared transaction`, `replication slot` or `standby`.
    pub kind: String,
    /// Its pid, or its name.
    pub name: String,
    /// Whose it is: the user; null for a slot.
    pub owner: Option<String>,
    /// Its database; null where it has none.
    pub database: Option<String>,
    /// How old what it may still want to see is, in transactions.
    pub xid_age: i64,
}

#[derive(Debug, Deserialize)]
struct Begins {
    freeze_max_age: i64,
    multixact_freeze_max_age: i64,
}

const BEGINS: &str = "SELECT current_setting('autovacuum_freeze_max_age')::int8 AS freeze_max_age, \
     current_setting('autovacuum_multixact_freeze_max_age')::int8 AS multixact_freeze_max_age";

const DATABASES: &str = "SELECT datname AS name, age(datfrozenxid)::int8 AS xid_age, \
     mxid_age(datminmxid)::int8 AS multixact_age \
     FROM pg_database ORDER BY greatest(age(datfrozenxid), mxid_age(datminmxid)) DESC, 1";

// A table of an access method that freezes nothing has no such id, and would look the oldest. Sizes are
// the catalog's: to measure them takes a lock on each table, which somebody may hold.
const TABLES: &str = "SELECT n.nspname AS schema, coalesce(o.relname, c.relname) AS name, \
     c.relkind = 't' AS toast, c.relpersistence = 't' AS temporary, \
     age(c.relfrozenxid)::int8 AS xid_age, mxid_age(c.relminmxid)::int8 AS multixact_age, \
     c.relpages::int8 * current_setting('block_size')::int8 AS bytes, \
     greatest(pg_stat_get_last_vacuum_time(c.oid), pg_stat_get_last_autovacuum_time(c.oid)) \
       AS vacuumed_at \
     FROM pg_class c LEFT JOIN pg_class o ON c.relkind = 't' AND o.reltoastrelid = c.oid \
     JOIN pg_namespace n ON n.oid = coalesce(o.relnamespace, c.relnamespace) \
     WHERE c.relkind IN ('r', 'm', 't') AND c.relfrozenxid <> '0'::xid \
     ORDER BY greatest(age(c.relfrozenxid), mxid_age(c.relminmxid)) DESC, c.relpages DESC, c.oid LIMIT ";

// The manual names these: long transactions, prepared ones, slots, and standbys with
// `hot_standby_feedback`.
const HOLDERS: &str = "SELECT * FROM ( \
       SELECT CASE backend_type WHEN 'walsender' THEN 'standby' ELSE 'session' END AS kind, \
         pid::text AS name, usename AS owner, datname AS database, \
         greatest(age(backend_xmin), age(backend_xid))::int8 AS xid_age \
       FROM pg_stat_activity WHERE pid <> pg_backend_pid() \
         AND coalesce(backend_xmin, backend_xid) IS NOT NULL \
       UNION ALL SELECT 'prepared transaction', gid, owner, database, age(transaction)::int8 \
       FROM pg_prepared_xacts \
       UNION ALL SELECT 'replication slot', slot_name, NULL, database, \
         greatest(age(xmin), age(catalog_xmin))::int8 \
       FROM pg_replication_slots WHERE coalesce(xmin, catalog_xmin) IS NOT NULL) AS holders \
     ORDER BY xid_age DESC, kind, name LIMIT 20";

impl StepType for Wraparound {
    const NAME: &'static str = "postgres.wraparound";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        match &config.warn {
            Some(warn) if warn.0 > config.fail.0 => {
                Err("`warn` is above `fail`, so it would never be reached".to_owned())
            }
            _ => Ok(()),
        }
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        Description::line(format!(
            "look how old the transaction ids of `{connection}` are"
        ))
    }
}

impl Look for Wraparound {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let server = Server {
            connection: &config.connection,
            timeout: config.timeout,
            in_need: true,
        };
        asking::look(host, server, Outputs::default(), async |asking, outputs| {
            let begins: Begins = asking.record(BEGINS, &[]).await?;
            find(&config, asking, outputs).await?;
            outputs.freeze_max_age = Some(begins.freeze_max_age);
            outputs.multixact_freeze_max_age = Some(begins.multixact_freeze_max_age);
            Ok(judge(&config, asking.shown(), &begins, outputs))
        })
        .await
    }
}

async fn find(
    config: &Config,
    asking: &Asking<'_>,
    outputs: &mut Outputs,
) -> Result<(), ReachError> {
    outputs.databases = asking.records(DATABASES, &[]).await?;
    for database in &mut outputs.databases {
        database.percent = percent(database.xid_age, database.multixact_age);
    }
    outputs.percent = outputs.databases.first().map(|oldest| oldest.percent);
    let tables = Sql::new(TABLES).number(config.limit.into());
    outputs.tables = asking.records(tables, &[]).await?;
    for table in &mut outputs.tables {
        table.percent = percent(table.xid_age, table.multixact_age);
    }
    outputs.held_back_by = asking.records(HOLDERS, &[]).await?;
    Ok(())
}

fn percent(xids: i64, multixacts: i64) -> f64 {
    (xids.max(multixacts) as f64 / LIMIT * 1000.0).round() / 10.0
}

fn judge(config: &Config, at: &str, begins: &Begins, found: &Outputs) -> Vec<Finding> {
    let begin = percent(begins.freeze_max_age, begins.multixact_freeze_max_age);
    let warn = config.warn.map_or((begin * 1.1).max(WARN), |warn| warn.0);
    let level = |database: &Database| match database.percent {
        percent if percent >= config.fail.0 => Level::Critical,
        percent if percent >= warn => Level::Warning,
        _ => Level::Ok,
    };
    let told = |database: &Database| {
        let (age, what) = match database.multixact_age > database.xid_age {
            true => (database.multixact_age, "multixact ids"),
            false => (database.xid_age, "transaction ids"),
        };
        let (name, percent) = (&database.name, database.percent);
        format!(
            "database {name} has used up {percent} % of its {what}: {} of 2^31",
            count(age)
        )
    };
    let mut findings: Vec<Finding> = { found.databases.iter() }
        .filter(|database| level(database) != Level::Ok)
        .map(|database| {
            let finding = Finding::new(level(database), &database.name, told(database));
            finding.with_help(cure(found.held_back_by.first()))
        })
        .collect();
    if findings.is_empty() {
        let subject = &config.connection.name;
        let oldest = { found.databases.first() }.map(|oldest| format!("; {}", told(oldest)));
        let oldest = oldest.unwrap_or_default();
        findings.push(Finding::ok(
            subject,
            format!("no database of {at} is near a wraparound{oldest}"),
        ));
    }
    findings
}

fn cure(oldest: Option<&Holder>) -> String {
    let vacuum =
        "in it, `VACUUM` the oldest tables (`tables` lists those of the connection's database)";
    match oldest {
        Some(holder) => format!(
            "end first what holds it back, if it is as old: {} {} of {} transactions; then, {vacuum}",
            holder.kind,
            holder.name,
            count(holder.xid_age)
        ),
        None => vacuum.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::{Begins, Config, Database, Outputs, Wraparound, judge, percent};
    use crate::event::Level;
    use crate::step::StepType as _;
    use serde_json::{Value, json};

    fn level(config: Value, freeze_max_age: i64, xid_age: i64, multixact_age: i64) -> Level {
        let begins = Begins {
            freeze_max_age,
            multixact_freeze_max_age: 0,
        };
        let database = Database {
            name: "Shop".to_owned(),
            xid_age,
            multixact_age,
            percent: percent(xid_age, multixact_age),
        };
        let found = Outputs {
            databases: vec![database],
            ..Outputs::default()
        };
        let config: Config = serde_json::from_value(config).unwrap();
        judge(&config, "shop", &begins, &found)[0].level
    }

    #[test]
    fn the_failsafe_is_critical_and_half_of_it_a_warning() {
        let usual = |xids, multixacts| {
            level(
                json!({ "connection": "main" }),
                200_000_000,
                xids,
                multixacts,
            )
        };
        assert_eq!(usual(200_000_000, 0), Level::Ok);
        assert_eq!(usual(790_000_000, 0), Level::Ok);
        assert_eq!(usual(800_000_000, 0), Level::Warning);
        assert_eq!(usual(0, 800_000_000), Level::Warning);
        assert_eq!(usual(1_600_000_000, 0), Level::Critical);
    }

    #[test]
    fn who_freezes_late_is_warned_later() {
        let late = json!({ "connection": "main" });
        assert_eq!(
            level(late.clone(), 1_000_000_000, 1_000_000_000, 0),
            Level::Ok
        );
        assert_eq!(level(late, 1_000_000_000, 1_110_000_000, 0), Level::Warning);
        let told = json!({ "connection": "main", "warn": 40 });
        assert_eq!(level(told, 1_000_000_000, 1_000_000_000, 0), Level::Warning);
    }

    #[test]
    fn limits_must_make_sense() {
        let config = json!({ "connection": "main", "warn": 80 });
        assert!(Wraparound::check(&serde_json::from_value(config).unwrap()).is_err());
    }
}
