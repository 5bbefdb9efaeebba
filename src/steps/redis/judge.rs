//! What the figures of `redis.info` mean: memory, persistence and replication, each with what is wrong in
//! any case and with the limits of the author.

use super::facts::{Memory, Persistence, Replication};
use super::limits::{AtMost, Within};
use crate::base::ByteSize;
use crate::event::{Finding, Level};

pub(super) fn memory(limits: AtMost, subject: &str, memory: &Memory) -> Finding {
    let used = ByteSize(memory.used_bytes);
    let Some(percent) = memory.percent else {
        let message = format!("{used} are in use, of how much it does not say");
        return match limits == AtMost::default() {
            true => Finding::ok(subject, message),
            false => Finding::unknown(subject, message),
        };
    };
    match (memory.max_bytes, memory.machine_bytes) {
        (Some(max), _) => {
            let max = ByteSize(max);
            let policy = &memory.policy;
            let message = format!("{percent} % of maxmemory ({max}) are in use, {policy}");
            if percent >= 100.0 && policy == "noeviction" {
                let message = format!("{message}: writes are refused");
                return Finding::critical(subject, message)
                    .with_help("free memory, raise `maxmemory`, or choose an eviction policy");
            }
            limits.finding(subject, percent, &message)
        }
        (None, machine) => {
            let has = ByteSize(memory.rss_bytes.max(memory.used_bytes));
            let machine = ByteSize(machine.unwrap_or(0));
            let message = format!(
                "{has} are in use, {percent} % of the machine's memory ({machine}); maxmemory is not set"
            );
            limits.finding(subject, percent, &message)
        }
    }
}

pub(super) fn persistence(limits: Within, subject: &str, facts: &Persistence) -> Vec<Finding> {
    let mut findings = Vec::new();
    if facts.loading {
        let message = "it is still loading its data, and serves nothing until then";
        findings.push(Finding::critical(subject, message));
    }
    if !facts.last_save_ok {
        let help = "look at its log, at the space and the rights of its `dir`, and at \
                    `vm.overcommit_memory`";
        let message = "the last attempt to save an RDB file failed";
        findings.push(Finding::critical(subject, message).with_help(help));
    }
    if facts.aof_ok == Some(false) {
        let help = "look at its log, and at the space and the rights of its `dir`";
        let message = "the append-only file could not be written";
        findings.push(Finding::critical(subject, message).with_help(help));
    }
    if limits != Within::default() {
        findings.push(match facts.last_save_age_s {
            Some(age) if facts.unsaved_changes > 0 => {
                let changes = facts.unsaved_changes;
                let message = format!("{changes} changes are in no RDB file since {age} s");
                limits.finding(subject, age, &message)
            }
            Some(_) => Finding::ok(subject, "nothing has changed since the last RDB file"),
            None => Finding::unknown(subject, "it does not say when it last saved an RDB file"),
        });
    }
    findings
}

pub(super) fn replication(limits: Within, subject: &str, facts: &Replication) -> Vec<Finding> {
    let mut findings = Vec::new();
    let judged = limits != Within::default();
    if facts.link_up == Some(false) {
        let since = facts.heard_s.map(|seconds| format!(" since {seconds} s"));
        let message = format!(
            "its link to the master is down{}",
            since.unwrap_or_default()
        );
        let mut finding = match facts.heard_s {
            Some(seconds) => limits.finding(subject, seconds as f64, &message),
            None if judged => Finding::unknown(subject, message),
            None => Finding::warning(subject, message),
        };
        finding.level = finding.level.max(Level::Warning);
        findings
            .push(finding.with_help("what it serves is stale; look at its log and at the master"));
    } else if judged && facts.link_up == Some(true) {
        findings.push(match facts.heard_s {
            Some(heard) => {
                let message = format!("it heard of its master {heard} s ago");
                limits.finding(subject, heard as f64, &message)
            }
            None => Finding::unknown(subject, "it does not say when it heard of its master"),
        });
    }
    for replica in &facts.replicas {
        let (address, state) = (&replica.address, &replica.state);
        if state != "online" {
            let message = format!("replica {address} is being brought up ({state})");
            findings.push(Finding::warning(subject, message));
        } else if judged {
            findings.push(match replica.lag_s {
                Some(lag) => {
                    let behind = replica.behind_bytes.unwrap_or(0);
                    let message = format!("replica {address} is {lag} s and {behind} bytes behind");
                    limits.finding(subject, lag as f64, &message)
                }
                None => {
                    let message = format!("it does not say how far replica {address} is behind");
                    Finding::unknown(subject, message)
                }
            });
        }
    }
    if judged && facts.role == "master" && facts.replicas.is_empty() {
        let message = "no replica follows it, so there is no lag to judge";
        findings.push(Finding::unknown(subject, message));
    }
    findings
}
