//! What the replication of a server amounts to.

use super::{Config, Kind, Outputs, Slot, Standby};
use crate::base::ByteSize;
use crate::base::count::plural;
use crate::event::{Finding, Level};
use crate::steps::postgres::limits::shown;
use crate::steps::postgres::ping::Role;

/// The cure of what is not seen.
const MORE_RIGHTS: &str = "make the login a member of `pg_read_all_stats`";

/// What `found` amounts to; of a server that is called `at`.
pub(super) fn judge(
    config: &Config,
    at: &str,
    archive_only: bool,
    found: &Outputs,
) -> Vec<Finding> {
    let mut findings = Vec::new();
    if found.role == Some(Role::Standby) {
        findings.extend(receiving(config, at, archive_only, found));
        findings.extend(replaying(config, at, archive_only, found));
    }
    findings.extend(number(config, at, found));
    findings.extend(found.standbys.iter().map(|it| standby(config, it)));
    findings.extend(found.slots.iter().map(|it| slot(config, it)));
    findings
}

/// Whether a standby receives.
fn receiving(config: &Config, at: &str, archive_only: bool, found: &Outputs) -> Option<Finding> {
    let subject = &config.connection.name;
    let Some(receiver) = &found.receiver else {
        if archive_only {
            return None;
        }
        let message = format!("{at} is a standby and receives no WAL");
        let help = "look at `primary_conninfo` and at the server's log: the primary may be gone, turn it \
                    away, or no longer have the WAL that it needs";
        return Some(Finding::critical(subject, message).with_help(help));
    };
    let Some(status) = receiver.status.as_deref() else {
        let message = format!("{at} does not show this login how it receives WAL");
        return Some(Finding::unknown(subject, message).with_help(MORE_RIGHTS));
    };
    let from = receiver.sender.as_deref().unwrap_or("its primary");
    let lag = found.receive_lag_bytes.unwrap_or(0);
    let lack = bytes(lag);
    if status != "streaming" {
        let message = format!("{at} does not stream from {from}: its receiver is `{status}`");
        return Some(Finding::critical(subject, message));
    }
    let message = format!("{at} streams from {from}, and has not received {lack}");
    let level = match exceeds(lag, config.max_lag) {
        true => Level::Critical,
        false => Level::Ok,
    };
    Some(Finding::new(level, subject, message))
}

/// Whether a standby replays what it received.
fn replaying(config: &Config, at: &str, archive_only: bool, found: &Outputs) -> Vec<Finding> {
    let subject = &config.connection.name;
    let mut findings = Vec::new();
    if found.replay_paused == Some(true) {
        let message = format!("replay is paused at {at}: it receives, and falls behind");
        let help = "`SELECT pg_wal_replay_resume()` goes on";
        findings.push(Finding::warning(subject, message).with_help(help));
    }
    let (lag, late) = (found.replay_lag_bytes.unwrap_or(0), found.replay_lag_s);
    if archive_only && late.is_none() {
        // It receives nothing, so that there are no bytes by which it could be judged instead.
        let message = format!("{at} reads an archive, and has replayed no transaction yet");
        let help =
            "ask again once it has; if it should have, look at its log for `restore_command`";
        findings.push(Finding::unknown(subject, message).with_help(help));
        return findings;
    }
    let (mut level, limit) = late.map_or((Level::Ok, None), |lag| config.limits().judge(lag));
    if exceeds(lag, config.max_lag) {
        level = Level::Critical;
    }
    let mut message = format!("{at} has {} to replay", bytes(lag));
    match (late, limit) {
        (Some(late), Some(limit)) => {
            message.push_str(&format!(", and is {} late, more than {limit}", shown(late)));
        }
        (Some(late), None) => message.push_str(&format!(", and is {} late", shown(late))),
        (None, _) => message.push_str("; how late it is cannot be told"),
    }
    findings.push(Finding::new(level, subject, message));
    findings
}

/// Whether there are as many standbys as should be.
fn number(config: &Config, at: &str, found: &Outputs) -> Option<Finding> {
    let subject = &config.connection.name;
    let streaming = found.streaming.unwrap_or(0);
    let hidden = { found.standbys.iter() }
        .filter(|it| it.kind == Kind::Hidden)
        .count();
    let follow = match streaming {
        1 => format!("1 standby streams from {at}"),
        many => format!("{many} standbys stream from {at}"),
    };
    let wanted = config.expect.map(|number| number as usize);
    match wanted {
        Some(wanted) if streaming >= wanted => Some(Finding::ok(subject, follow)),
        Some(wanted) if streaming + hidden >= wanted => None,
        Some(wanted) => {
            let message = format!("{follow}, and {wanted} should");
            let help = "look at the servers' own logs: a standby may be down, or turned away";
            Some(Finding::critical(subject, message).with_help(help))
        }
        // A primary that nobody follows and nobody is expected to follow is fine.
        None if found.role == Some(Role::Primary) && found.standbys.is_empty() => {
            Some(Finding::ok(subject, follow))
        }
        None => None,
    }
}

fn standby(config: &Config, standby: &Standby) -> Finding {
    let name = match standby.application.as_str() {
        "" => format!("pid {}", standby.pid),
        name => name.to_owned(),
    };
    let subject = &name;
    let state = standby.state.as_deref().unwrap_or("hidden");
    match standby.kind {
        Kind::Hidden => {
            let message = format!("this login may not see how far {name} is");
            return Finding::unknown(subject, message).with_help(MORE_RIGHTS);
        }
        Kind::Backup => return Finding::ok(subject, format!("{name} takes a base backup")),
        Kind::Standby | Kind::Logical | Kind::Archiver => {}
    }
    let Some(lag) = standby.lag_bytes else {
        return Finding::ok(subject, format!("{name} ({state}) has not begun to stream"));
    };
    let (mut level, limit) =
        { standby.lag_s }.map_or((Level::Ok, None), |late| config.limits().judge(late));
    let mut message = format!("{name} ({state}) is {} behind", bytes(lag));
    if let Some(late) = standby.lag_s {
        message.push_str(&format!(", {}", shown(late)));
    }
    if let Some(limit) = limit {
        message.push_str(&format!(", more than {limit}"));
    }
    if exceeds(lag, config.max_lag) {
        level = Level::Critical;
        message.push_str(&format!(", more than {}", config.max_lag));
    }
    Finding::new(level, subject, message)
}

fn slot(config: &Config, slot: &Slot) -> Finding {
    let subject = &slot.name;
    let kept = slot.retained_bytes.unwrap_or(0);
    let what = format!("slot {} keeps {}", slot.name, bytes(kept));
    let drop = "start what uses it; or, where nobody will again, \
                `SELECT pg_drop_replication_slot(…)`";
    if slot.wal_status.as_deref() == Some("lost") {
        let message = format!(
            "slot {} has lost WAL that it should have kept: what uses it has to begin anew",
            slot.name
        );
        return Finding::critical(subject, message).with_help(drop);
    }
    if let Some(most) = config.max_retained.filter(|most| exceeds(kept, *most)) {
        let message = format!("{what}, more than {most}");
        return Finding::critical(subject, message).with_help(drop);
    }
    if slot.wal_status.as_deref() == Some("unreserved") {
        let message = format!("{what}, and loses it at the next checkpoint");
        return Finding::critical(subject, message)
            .with_help("raise `max_slot_wal_keep_size`, or see why what uses it is so late");
    }
    if !slot.active && !slot.synced {
        let since = { slot.inactive_since.as_ref() }
            .map_or_else(String::new, |since| format!(" since {since}"));
        let message = format!("{what}, and nobody uses it{since}: it keeps more and more");
        return Finding::warning(subject, message).with_help(drop);
    }
    Finding::ok(subject, what)
}

fn exceeds(value: i64, most: ByteSize) -> bool {
    u64::try_from(value).is_ok_and(|value| value > most.0)
}

fn bytes(value: i64) -> String {
    match u64::try_from(value).unwrap_or(0) {
        0 => "nothing".to_owned(),
        few @ 1..1024 => plural(few as usize, "byte"),
        many => ByteSize(many).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Config, Outputs, Receiver, Slot, Standby};
    use super::{judge, slot, standby};
    use crate::event::Level;
    use crate::steps::postgres::ping::Role;
    use serde_json::{Value, json};

    fn with(base: Value, more: Value) -> Value {
        let mut whole = base;
        let into = whole.as_object_mut().unwrap();
        into.extend(more.as_object().unwrap().clone());
        whole
    }

    fn config(more: Value) -> Config {
        serde_json::from_value(with(json!({ "connection": "main" }), more)).unwrap()
    }

    fn follower(more: Value) -> Standby {
        let base = json!({ "pid": 1, "application": "two", "kind": "standby", "state": "streaming",
            "lag_bytes": 0, "lag_s": 0.0 });
        serde_json::from_value(with(base, more)).unwrap()
    }

    #[test]
    fn standbys_are_judged_by_time_and_by_bytes() {
        for (more, level) in [
            (json!({}), Level::Ok),
            (json!({ "lag_s": 31.0 }), Level::Warning),
            (json!({ "lag_s": 301.0 }), Level::Critical),
            (
                json!({ "lag_s": 0.2, "lag_bytes": 2_u64 << 30 }),
                Level::Critical,
            ),
            (json!({ "kind": "hidden", "state": null }), Level::Unknown),
            (
                json!({ "kind": "backup", "lag_bytes": 2_u64 << 30 }),
                Level::Ok,
            ),
        ] {
            let found = standby(&config(json!({})), &follower(more.clone()));
            assert_eq!(found.level, level, "{more}");
        }
    }

    #[test]
    fn slots_are_judged_by_what_they_keep() {
        let base = json!({ "name": "Slot", "slot_type": "physical", "active": true, "synced": false,
            "retained_bytes": 100, "wal_status": "reserved" });
        for (more, level) in [
            (json!({}), Level::Ok),
            (json!({ "active": false }), Level::Warning),
            (json!({ "active": false, "synced": true }), Level::Ok),
            (json!({ "retained_bytes": 1001 }), Level::Critical),
            (json!({ "wal_status": "unreserved" }), Level::Critical),
            (
                json!({ "wal_status": "lost", "retained_bytes": null }),
                Level::Critical,
            ),
        ] {
            let slot_found: Slot =
                serde_json::from_value(with(base.clone(), more.clone())).unwrap();
            let found = slot(&config(json!({ "max_retained": 1000 })), &slot_found);
            assert_eq!(found.level, level, "{more}");
        }
    }

    fn worst(config: &Config, archive_only: bool, found: &Outputs) -> Level {
        let findings = judge(config, "two at h:5432", archive_only, found);
        findings.iter().map(|it| it.level).max().unwrap()
    }

    #[test]
    fn a_standby_that_does_not_receive_is_critical() {
        let receiver = |status: Option<&str>| -> Option<Receiver> {
            Some(serde_json::from_value(json!({ "status": status })).unwrap())
        };
        let found = |receiver, replay_lag_s, paused| Outputs {
            role: Some(Role::Standby),
            receiver,
            replay_lag_s,
            replay_lag_bytes: Some(0),
            replay_paused: Some(paused),
            ..Outputs::default()
        };
        let config = config(json!({}));
        let (fine, late) = (Some(0.0), Some(3600.0));
        let streams = || receiver(Some("streaming"));
        assert_eq!(
            worst(&config, false, &found(streams(), fine, false)),
            Level::Ok
        );
        assert_eq!(
            worst(&config, false, &found(streams(), fine, true)),
            Level::Warning
        );
        assert_eq!(
            worst(&config, false, &found(None, fine, false)),
            Level::Critical
        );
        assert_eq!(worst(&config, true, &found(None, fine, false)), Level::Ok);
        assert_eq!(
            worst(&config, true, &found(None, late, false)),
            Level::Critical
        );
        assert_eq!(
            worst(&config, true, &found(None, None, false)),
            Level::Unknown
        );
        assert_eq!(
            worst(&config, false, &found(receiver(None), fine, false)),
            Level::Unknown
        );
        assert_eq!(
            worst(
                &config,
                false,
                &found(receiver(Some("waiting")), fine, false)
            ),
            Level::Critical
        );
    }

    #[test]
    fn too_few_standbys_are_critical_and_hidden_ones_unknown() {
        let found = |standbys: Vec<Standby>, streaming| Outputs {
            role: Some(Role::Primary),
            standbys,
            streaming: Some(streaming),
            ..Outputs::default()
        };
        let one = config(json!({ "expect": 1 }));
        assert_eq!(
            worst(&config(json!({})), false, &found(vec![], 0)),
            Level::Ok
        );
        assert_eq!(worst(&one, false, &found(vec![], 0)), Level::Critical);
        assert_eq!(
            worst(&one, false, &found(vec![follower(json!({}))], 1)),
            Level::Ok
        );
        let hidden = follower(json!({ "kind": "hidden" }));
        assert_eq!(worst(&one, false, &found(vec![hidden], 0)), Level::Unknown);
    }
}
