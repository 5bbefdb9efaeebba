//! `postgres.replication`: who follows a server, whom it follows, and how far behind they are.

mod judge;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::asking::{self, Asking, Server, thirty_seconds};
use super::limits::Limits;
use super::ping::Role;
use crate::base::{ByteSize, Duration};
use crate::event::{EffectClass, RepeatClass};
use crate::host::Observe;
use crate::host::connect::Conn;
use crate::host::connect::postgres::Postgres;
use crate::host::reach::ReachError;
use crate::step::{Description, Look, Outcome, Partial, StepError, StepType};

/// The type.
#[derive(Debug)]
pub struct Replication;

/// Looks at the replication of a PostgreSQL server: its standbys and slots, and where it is a standby
/// itself, whether it receives and replays.
///
/// Lag in seconds is what a primary measures (`replay_lag`). That number stands still where a standby
/// receives and does not replay (paused, or held by a query), so the bytes are judged too, and a standby
/// that is behind and has not answered for 15 s is as late as its last answer is old. A standby that has
/// replayed all that it received, and goes on receiving, is not late, however long ago the last
/// transaction of its primary was.
///
/// A slot that nobody uses keeps WAL for ever, which is a warning; one that keeps more than
/// `max_retained`, and one whose WAL is lost, are critical. So is a standby that receives nothing, unless
/// it has no `primary_conninfo` and reads an archive alone. What a login without `pg_read_all_stats` does
/// not see is `unknown`.
///
/// # Changes
///
/// Nothing.
///
/// # Example
///
/// ```yaml
/// runbook: v1
/// name: replication-check
/// secrets:
///   database_url: { env: DATABASE_URL }
/// connections:
///   main:
///     postgres: { url: "${{ secrets.database_url }}" }
/// steps:
///   - id: replication
///     postgres.replication: { connection: main, expect: 2, warn: 10s, fail: 1m, max_retained: 20GB }
/// ```
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// The server.
    pub connection: Conn<Postgres>,
    /// How many standbys stream from it at least; fewer are critical.
    pub expect: Option<u32>,
    /// A longer lag is a warning.
    #[serde(default = "thirty_seconds")]
    pub warn: Duration,
    /// A longer lag is critical.
    #[serde(default = "five_minutes")]
    pub fail: Duration,
    /// A lag of more bytes of WAL is critical.
    #[serde(default = "gibibyte")]
    pub max_lag: ByteSize,
    /// A slot that keeps more bytes of WAL is critical.
    pub max_retained: Option<ByteSize>,
    /// For everything: to connect, and to be answered.
    #[serde(default = "thirty_seconds")]
    pub timeout: Duration,
}

fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

fn gibibyte() -> ByteSize {
    ByteSize(1 << 30)
}

impl Config {
    fn limits(&self) -> Limits {
        Limits {
            warn: Some(self.warn),
            fail: Some(self.fail),
        }
    }
}

/// What follows what.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub struct Outputs {
    /// What the server is; null where it did not answer.
    pub role: Option<Role>,
    /// Who receives WAL from it.
    pub standbys: Vec<Standby>,
    /// How many standbys stream; null where it did not answer.
    pub streaming: Option<usize>,
    /// Its replication slots.
    pub slots: Vec<Slot>,
    /// How it receives WAL itself; null on a primary, and on a standby that receives none.
    pub receiver: Option<Receiver>,
    /// WAL that the server it follows has and it has not received, in bytes; null where not known.
    pub receive_lag_bytes: Option<i64>,
    /// WAL that it has received and not replayed, in bytes; null on a primary.
    pub replay_lag_bytes: Option<i64>,
    /// How late what it has replayed is, in seconds; null on a primary, and where not known.
    pub replay_lag_s: Option<f64>,
    /// Whether somebody has paused its replay; null on a primary.
    pub replay_paused: Option<bool>,
}

/// What a receiver of WAL is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A server that replays it.
    Standby,
    /// A subscriber of logical changes.
    Logical,
    /// A program that keeps it, such as `pg_receivewal`.
    Archiver,
    /// A base backup.
    Backup,
    /// This login may not see it.
    Hidden,
}

/// One that receives WAL.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Standby {
    /// Its process on the server.
    pub pid: i32,
    /// What it calls itself.
    pub application: String,
    /// The user.
    pub user: Option<String>,
    /// The address of its machine; null over a Unix socket.
    pub address: Option<String>,
    /// What it is.
    pub kind: Kind,
    /// `startup`, `catchup`, `streaming`, `backup` or `stopping`; null where this login may not see it.
    pub state: Option<String>,
    /// `async`, `potential`, `sync` or `quorum`.
    pub sync_state: Option<String>,
    /// WAL that it has not replayed (or kept, or confirmed), in bytes.
    pub lag_bytes: Option<i64>,
    /// How late it is, in seconds; null where nothing has been measured.
    pub lag_s: Option<f64>,
    /// How long ago it answered last, in seconds.
    pub silent_s: Option<f64>,
}

/// A replication slot.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Slot {
    /// Its name.
    pub name: String,
    /// `physical` or `logical`.
    pub slot_type: String,
    /// The database of a logical one.
    pub database: Option<String>,
    /// Whether somebody uses it.
    pub active: bool,
    /// Since when nobody does, RFC 3339; null before PostgreSQL 17.
    pub inactive_since: Option<String>,
    /// Whether the server keeps it in step with its primary's, so that nobody uses it until a
    /// fail-over (PostgreSQL 17).
    pub synced: bool,
    /// The WAL that is kept for it, in bytes; null where none is.
    pub retained_bytes: Option<i64>,
    /// `reserved`, `extended`, `unreserved` or `lost`; null where it keeps none.
    pub wal_status: Option<String>,
}

/// How a standby receives WAL.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Receiver {
    /// `streaming`, `waiting`, …; null where this login may not see it.
    pub status: Option<String>,
    /// The machine that it receives from.
    pub sender: Option<String>,
    /// The port there.
    pub port: Option<i32>,
    /// The slot there.
    pub slot: Option<String>,
    /// The timeline that it receives.
    pub timeline: Option<i64>,
    /// How long ago it heard something, in seconds.
    pub silent_s: Option<f64>,
    /// See `receive_lag_bytes`.
    #[serde(skip_serializing)]
    #[schemars(skip)]
    lag_bytes: Option<i64>,
}

/// What a server is, and how far it has come.
#[derive(Debug, Deserialize)]
struct Place {
    standby: bool,
    replay_lag_bytes: Option<i64>,
    /// How long ago the last transaction was committed that it has replayed.
    replayed_age_s: Option<f64>,
    paused: Option<bool>,
    /// Whether it follows no server, but an archive; null where this login may not see it.
    archive_only: Option<bool>,
}

// PostgreSQL's manual, "Recovery Information Functions". CASE keeps from being called what fails on a
// primary. What is not known stays null in `greatest(a, b) - b`, while `greatest(0, a - b)` would make 0 of
// it: "GREATEST and LEAST".
const PLACE: &str = "SELECT standby, \
     CASE WHEN standby THEN pg_wal_lsn_diff( \
       greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), \
       pg_last_wal_replay_lsn())::int8 END AS replay_lag_bytes, \
     CASE WHEN standby THEN extract(epoch FROM \
       greatest(clock_timestamp(), pg_last_xact_replay_timestamp()) \
       - pg_last_xact_replay_timestamp())::float8 END AS replayed_age_s, \
     CASE WHEN standby THEN pg_is_wal_replay_paused() END AS paused, \
     (SELECT setting = '' FROM pg_settings WHERE name = 'primary_conninfo') AS archive_only \
     FROM (SELECT pg_is_in_recovery() AS standby) AS role";

/// How far the server itself has come: a standby can have standbys of its own.
macro_rules! here {
    () => {
        "(SELECT CASE WHEN pg_is_in_recovery() \
           THEN greatest(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) \
           ELSE pg_current_wal_lsn() END AS lsn) AS here"
    };
}

// "The Statistics Collector", `pg_stat_replication`. What keeps WAL without replaying it says nothing of
// `replay_lsn`; a base backup streams none.
const STANDBYS: &str = concat!(
    "SELECT pid, application, \"user\", address, state, sync_state, silent_s, lag_bytes, \
       CASE WHEN state IS NULL THEN 'hidden' WHEN state = 'backup' THEN 'backup' \
         WHEN logical THEN 'logical' \
         WHEN state <> 'startup' AND replay_lsn IS NULL THEN 'archiver' ELSE 'standby' END AS kind, \
       CASE WHEN lag_bytes = 0 THEN 0 ELSE lag_s END AS lag_s \
     FROM (SELECT r.pid, coalesce(r.application_name, '') AS application, r.usename AS \"user\", \
       host(r.client_addr) AS address, r.state, r.sync_state, r.replay_lsn, \
       EXISTS (SELECT FROM pg_stat_activity a \
         WHERE a.pid = r.pid AND a.datid IS NOT NULL) AS logical, \
       extract(epoch FROM greatest(clock_timestamp(), r.reply_time) - r.reply_time)::float8 \
         AS silent_s, \
       pg_wal_lsn_diff(greatest(here.lsn, come.lsn), come.lsn)::int8 AS lag_bytes, \
       extract(epoch FROM coalesce(r.replay_lag, r.flush_lag, r.write_lag))::float8 AS lag_s \
       FROM pg_stat_replication r, LATERAL (SELECT \
         coalesce(r.replay_lsn, r.flush_lsn, r.write_lsn, r.sent_lsn) AS lsn) AS come, ",
    here!(),
    ") AS found ORDER BY application, pid"
);

// "pg_replication_slots". Columns of later versions are read by name, and null before.
const SLOTS: &str = concat!(
    "SELECT s.slot_name AS name, s.slot_type, s.database, s.active, s.wal_status, \
       to_json(s)->>'inactive_since' AS inactive_since, \
       coalesce((to_json(s)->>'synced')::bool, false) AS synced, \
       pg_wal_lsn_diff(greatest(here.lsn, s.restart_lsn), s.restart_lsn)::int8 AS retained_bytes \
     FROM pg_replication_slots s, ",
    here!(),
    " WHERE NOT s.temporary ORDER BY 1"
);

// "pg_stat_wal_receiver"; `flushed_lsn` is there from 13 on.
const RECEIVER: &str = "SELECT status, sender_host AS sender, sender_port AS port, \
     slot_name AS slot, received_tli AS timeline, \
     extract(epoch FROM greatest(clock_timestamp(), last_msg_receipt_time) \
       - last_msg_receipt_time)::float8 AS silent_s, \
     pg_wal_lsn_diff(greatest(latest_end_lsn, flushed_lsn), flushed_lsn)::int8 AS lag_bytes \
     FROM pg_stat_wal_receiver";

impl StepType for Replication {
    const NAME: &'static str = "postgres.replication";
    const EFFECT: EffectClass = EffectClass::Read;
    const REPEAT: RepeatClass = RepeatClass::Idempotent;
    type Config = Config;
    type Outputs = Outputs;

    fn check(config: &Config) -> Result<(), String> {
        config.limits().check()
    }

    fn describe(config: &Partial) -> Description {
        let connection = config.text("connection").unwrap_or_default();
        Description::line(format!("look at the replication of `{connection}`"))
    }
}

impl Look for Replication {
    async fn look(config: Config, host: &Observe) -> Result<Outcome<Outputs>, StepError> {
        let server = Server {
            connection: &config.connection,
            timeout: config.timeout,
            in_need: false,
        };
        asking::look(host, server, Outputs::default(), async |asking, outputs| {
            let archive_only = find(asking, outputs).await?;
            Ok(judge::judge(&config, asking.shown(), archive_only, outputs))
        })
        .await
    }
}

/// Fills `outputs`; whether it follows no server, but an archive.
async fn find(asking: &Asking<'_>, outputs: &mut Outputs) -> Result<bool, ReachError> {
    let place: Place = asking.record(PLACE, &[]).await?;
    let mut standbys: Vec<Standby> = asking.records(STANDBYS, &[]).await?;
    for standby in &mut standbys {
        standby.lag_s = lag_of(standby);
    }
    let streams =
        |it: &&Standby| it.kind == Kind::Standby && it.state.as_deref() == Some("streaming");
    outputs.streaming = Some(standbys.iter().filter(streams).count());
    outputs.standbys = standbys;
    outputs.slots = asking.records(SLOTS, &[]).await?;
    outputs.role = Some(if place.standby {
        Role::Standby
    } else {
        Role::Primary
    });
    if !place.standby {
        return Ok(false);
    }
    let receivers: Vec<Receiver> = asking.records(RECEIVER, &[]).await?;
    outputs.receiver = receivers.into_iter().next();
    outputs.receive_lag_bytes = { outputs.receiver.as_ref() }.and_then(|it| it.lag_bytes);
    outputs.replay_lag_bytes = place.replay_lag_bytes;
    outputs.replay_lag_s = replay_lag(&place, outputs.receiver.as_ref());
    outputs.replay_paused = place.paused;
    Ok(place.archive_only == Some(true))
}

/// A standby answers at least every 10 s unless told otherwise (`wal_receiver_status_interval`): one that
/// is behind and has been silent for longer than this is late by as much.
const STANDBY_SILENT_S: f64 = 15.0;

/// A receiver that hears nothing asks after half of `wal_receiver_timeout`, which is 60 s unless told
/// otherwise, and hears then.
const RECEIVER_SILENT_S: f64 = 45.0;

fn lag_of(standby: &Standby) -> Option<f64> {
    let is_behind = standby.lag_bytes.is_some_and(|bytes| bytes > 0);
    let silent = { standby.silent_s }.filter(|silent| is_behind && *silent > STANDBY_SILENT_S);
    match (standby.lag_s, silent) {
        (Some(lag), Some(silent)) => Some(lag.max(silent)),
        (lag, silent) => lag.or(silent),
    }
}

/// The age of what was replayed last is a lag only where there is something to replay, or may be.
fn replay_lag(place: &Place, receiver: Option<&Receiver>) -> Option<f64> {
    let streams = receiver.is_some_and(|it| it.status.as_deref() == Some("streaming"));
    let is_heard = receiver.is_some_and(|it| it.silent_s.is_none_or(|s| s <= RECEIVER_SILENT_S));
    match place.replay_lag_bytes {
        Some(0) if streams && is_heard => Some(0.0),
        _ => place.replayed_age_s,
    }
}

#[cfg(test)]
mod tests {
    use super::{Place, Receiver, Replication, Standby, lag_of, replay_lag};
    use crate::step::StepType as _;
    use serde_json::json;

    #[test]
    fn a_standby_that_is_behind_and_silent_is_late() {
        let lag = |lag_bytes: i64, lag_s: Option<f64>, silent_s: f64| {
            let standby = json!({ "pid": 1, "application": "a", "kind": "standby",
                "lag_bytes": lag_bytes, "lag_s": lag_s, "silent_s": silent_s });
            lag_of(&serde_json::from_value::<Standby>(standby).unwrap())
        };
        assert_eq!(lag(0, Some(0.0), 400.0), Some(0.0));
        assert_eq!(lag(9, Some(0.2), 9.0), Some(0.2));
        assert_eq!(lag(9, Some(0.2), 400.0), Some(400.0));
        assert_eq!(lag(9, None, 400.0), Some(400.0));
        assert_eq!(lag(9, None, 1.0), None);
    }

    #[test]
    fn an_idle_primary_does_not_make_its_standby_late() {
        let lag = |bytes: i64, status: &str, silent_s: f64| {
            let place = json!({ "standby": true, "replay_lag_bytes": bytes,
                "replayed_age_s": 3600.0 });
            let place: Place = serde_json::from_value(place).unwrap();
            let receiver = json!({ "status": status, "silent_s": silent_s });
            let receiver: Receiver = serde_json::from_value(receiver).unwrap();
            replay_lag(&place, Some(&receiver))
        };
        assert_eq!(lag(0, "streaming", 5.0), Some(0.0));
        assert_eq!(lag(0, "streaming", 50.0), Some(3600.0));
        assert_eq!(lag(0, "waiting", 5.0), Some(3600.0));
        assert_eq!(lag(1, "streaming", 5.0), Some(3600.0));
    }

    #[test]
    fn limits_must_make_sense() {
        let config = json!({ "connection": "main", "warn": "2m", "fail": "1m" });
        assert!(Replication::check(&serde_json::from_value(config).unwrap()).is_err());
    }
}
