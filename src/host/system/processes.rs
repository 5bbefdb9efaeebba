//! All processes and what each does, from two readings of `sysinfo`, some time apart.
//!
//! The CPU time is our own difference of the two, because `sysinfo` gives a process that began in
//! between no share at all; all of its CPU time fell into the span, so it can be told.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use sysinfo::{Pid, ProcessRefreshKind, ProcessStatus, ProcessesToUpdate, System, UpdateKind};

use crate::base::{Duration, Instant};
use crate::host::bounded::ANSWER_WITHIN;
use crate::host::files::read_kernel;
use crate::host::{HostError, Observe};

const ACTION: &str = "look at processes";

/// One process over a span of time.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessUse {
    /// Its id.
    pub pid: u32,
    /// Its parent's id, where it has one.
    pub parent: Option<u32>,
    /// Its name; at most 15 bytes, as the kernel keeps it.
    pub name: String,
    /// Whose rights it has: a name, or a number without one in `/etc/passwd`.
    pub user: String,
    /// Its share of one processor, in percent; more than 100 with several threads.
    pub cpu_percent: f64,
    /// Its memory that is in use (resident), in bytes.
    pub memory: u64,
    /// Whether it has ended and its parent has not asked how.
    pub zombie: bool,
}

/// What all processes did over a span of time.
#[derive(Clone, Debug, PartialEq)]
pub struct ProcessActivity {
    /// Those that were there at its end.
    pub processes: Vec<ProcessUse>,
    /// How long it was.
    pub elapsed: Duration,
    /// How many began in it and are still there.
    pub appeared: usize,
    /// How many ended in it, of those that were there at its beginning.
    pub vanished: usize,
    /// Whether other users' processes could be seen.
    pub sees_all: bool,
}

/// One process at one moment.
#[derive(Clone, Debug, Default)]
struct Reading {
    parent: Option<u32>,
    name: String,
    user: Option<u32>,
    /// In seconds since 1970: with the id, it tells a process from a later one of the same id.
    started: u64,
    /// Since it began, in milliseconds.
    cpu_ms: u64,
    memory: u64,
    zombie: bool,
}

type Readings = HashMap<u32, Reading>;

/// What happened between two readings. Pure: the numbers alone.
fn activity(
    before: &Readings,
    after: &Readings,
    elapsed: Duration,
    users: &HashMap<u32, String>,
) -> ProcessActivity {
    let same = |pid: &u32, reading: &Reading, other: &Readings| {
        other
            .get(pid)
            .filter(|twin| twin.started == reading.started)
            .map(|twin| twin.cpu_ms)
    };
    let mut appeared = 0;
    let span = elapsed.as_secs_f64() * 1000.0;
    let mut processes: Vec<ProcessUse> = after
        .iter()
        .map(|(pid, now)| {
            // A time that went back is one more sign of another process.
            let spent = match same(pid, now, before).filter(|earlier| *earlier <= now.cpu_ms) {
                Some(earlier) => now.cpu_ms - earlier,
                None => {
                    appeared += 1;
                    now.cpu_ms
                }
            };
            let user = now
                .user
                .map(|id| users.get(&id).cloned().unwrap_or(id.to_string()));
            ProcessUse {
                pid: *pid,
                parent: now.parent,
                name: now.name.clone(),
                user: user.unwrap_or_else(|| "?".to_owned()),
                cpu_percent: if span > 0.0 {
                    spent as f64 * 100.0 / span
                } else {
                    0.0
                },
                memory: now.memory,
                zombie: now.zombie,
            }
        })
        .collect();
    processes.sort_by_key(|process| process.pid);
    let vanished = |(pid, then): &(&u32, &Reading)| same(pid, then, after).is_none();
    ProcessActivity {
        processes,
        elapsed,
        appeared,
        vanished: before.iter().filter(vanished).count(),
        // There is always a process 1. Where it cannot be seen, `/proc` hides what is not ours
        // (`hidepid`, proc(5)).
        sees_all: after.contains_key(&1),
    }
}

/// The names of `/etc/passwd`. Our own reader, because `sysinfo` leaves out users whose shell is
/// `/bin/false`: the very ones that services run as.
fn parse_passwd(text: &str) -> HashMap<u32, String> {
    let mut users = HashMap::new();
    for line in text.lines() {
        let mut fields = line.split(':');
        let (Some(name), Some(id)) = (fields.next(), fields.nth(1)) else {
            continue;
        };
        if let Ok(id) = id.parse() {
            users.entry(id).or_insert_with(|| name.to_owned());
        }
    }
    users
}

fn failed(cause: impl std::fmt::Display) -> HostError {
    HostError::permanent(ACTION, cause.to_string())
}

fn read(system: &mut System) -> Result<Readings, HostError> {
    let what = ProcessRefreshKind::nothing()
        // Else each thread is listed as a process, and its CPU time told twice.
        .without_tasks()
        .with_cpu()
        .with_memory()
        .with_user(UpdateKind::OnlyIfNotSet);
    if system.refresh_processes_specifics(ProcessesToUpdate::All, true, what) == 0 {
        return Err(failed("/proc shows none"));
    }
    let readings = system.processes().iter().map(|(pid, process)| {
        let reading = Reading {
            parent: process.parent().map(Pid::as_u32),
            name: process.name().to_string_lossy().into_owned(),
            user: process.effective_user_id().map(|id| **id),
            started: process.start_time(),
            cpu_ms: process.accumulated_cpu_time(),
            memory: process.memory(),
            zombie: process.status() == ProcessStatus::Zombie,
        };
        (pid.as_u32(), reading)
    });
    Ok(readings.collect())
}

impl Observe {
    /// What all processes do over the next `sample`.
    ///
    /// # Errors
    /// When they cannot be looked at, and when the step was told to end.
    pub async fn process_activity(&self, sample: Duration) -> Result<ProcessActivity, HostError> {
        let system = System::new().map_err(failed)?;
        let (system, before, start) = self.read_processes(system).await?;
        self.pause(sample).await?;
        // The same `System` again: it reckons each start time once, so that a clock that is set in
        // between makes no new process of an old one.
        let (_, after, end) = self.read_processes(system).await?;
        // Where there is none, as in a bare container, users are numbers.
        let users = read_kernel(Path::new("/etc/passwd")).unwrap_or_default();
        Ok(activity(
            &before,
            &after,
            end.since(start),
            &parse_passwd(&users),
        ))
    }

    async fn read_processes(
        &self,
        mut system: System,
    ) -> Result<(System, Readings, Instant), HostError> {
        let clock = self.scope().clock().clone();
        self.bounded(ACTION, ANSWER_WITHIN, move || {
            let at = clock.now();
            let readings = read(&mut system)?;
            Ok((system, readings, at))
        })
        .await
    }

    /// The command lines of these processes, words separated by spaces; without those that have
    /// none (kernel threads, zombies) or have ended.
    ///
    /// Asked for apart, and of few, because the kernel answers from the process's own memory: it
    /// has to wait for a process that is stuck in the middle of changing it.
    ///
    /// # Errors
    /// When there is no answer in time, and when the step was told to end.
    pub async fn command_lines(&self, pids: &[u32]) -> Result<BTreeMap<u32, String>, HostError> {
        let pids: Vec<Pid> = pids.iter().copied().map(Pid::from_u32).collect();
        let ask = move || {
            let mut system = System::new().map_err(failed)?;
            let what = ProcessRefreshKind::nothing()
                .without_tasks()
                .with_cmd(UpdateKind::Always);
            system.refresh_processes_specifics(ProcessesToUpdate::Some(&pids), true, what);
            let line = |process: &sysinfo::Process| {
                let words: Vec<_> = process
                    .cmd()
                    .iter()
                    .map(|word| word.to_string_lossy())
                    .collect();
                words.join(" ")
            };
            let lines = system.processes().iter();
            let lines = lines.map(|(pid, process)| (pid.as_u32(), line(process)));
            Ok(lines.filter(|(_, line)| !line.is_empty()).collect())
        };
        self.bounded("read command lines", ANSWER_WITHIN, ask).await
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::{Reading, Readings, activity, parse_passwd};
    use crate::base::Duration;
    use crate::host::{Observe, testing};

    fn readings(list: &[(u32, u64, u64)]) -> Readings {
        let reading = |&(pid, started, cpu_ms): &(u32, u64, u64)| {
            let reading = Reading {
                started,
                cpu_ms,
                user: Some(0),
                ..Reading::default()
            };
            (pid, reading)
        };
        list.iter().map(reading).collect()
    }

    #[test]
    fn cpu_is_of_the_span_alone() {
        let before = readings(&[(1, 10, 5000), (2, 20, 900), (3, 30, 70), (4, 40, 500)]);
        let after = readings(&[
            (1, 10, 5000),
            (2, 20, 1900), // two threads
            (4, 99, 100),  // another process of the same id
            (5, 99, 250),  // new
        ]);
        let half = Duration::from_millis(500);
        let activity = activity(&before, &after, half, &HashMap::new());
        let cpu: Vec<(u32, f64)> = activity
            .processes
            .iter()
            .map(|p| (p.pid, p.cpu_percent))
            .collect();
        assert_eq!(cpu, [(1, 0.0), (2, 200.0), (4, 20.0), (5, 50.0)]);
        assert_eq!((activity.appeared, activity.vanished), (2, 2));
        assert!(activity.sees_all);
    }

    #[test]
    fn no_time_is_no_share_and_a_missing_init_is_noticed() {
        let none = readings(&[]);
        let activity = activity(
            &none,
            &readings(&[(7, 1, 5)]),
            Duration::ZERO,
            &HashMap::new(),
        );
        assert_eq!(activity.processes[0].cpu_percent, 0.0);
        assert!(!activity.sees_all);
    }

    #[test]
    fn users_have_names_or_numbers() {
        let users = parse_passwd(
            "root:x:0:0:root:/root:/bin/bash\nmysql:x:101:102::/:/bin/false\nbroken\nx:y:z\n\
             toor:x:0:0::/:/bin/sh\nbig:x:70000:1::/:\n",
        );
        assert_eq!(users[&0], "root");
        assert_eq!(users[&101], "mysql");
        assert_eq!(users[&70000], "big");
        let mut after = readings(&[(1, 1, 1), (2, 1, 1), (3, 1, 1)]);
        after.entry(2).and_modify(|r| r.user = Some(4242));
        after.entry(3).and_modify(|r| r.user = None);
        let activity = activity(&after, &after, Duration::from_secs(1), &users);
        let names: Vec<&str> = activity.processes.iter().map(|p| p.user.as_str()).collect();
        assert_eq!(names, ["root", "4242", "?"]);
    }

    #[tokio::test]
    async fn we_find_ourselves() {
        let host = Observe::new(testing::scope().scope);
        let us = std::process::id();
        let (end, ended) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || ended.recv());
        let activity = host
            .process_activity(Duration::from_millis(10))
            .await
            .unwrap();
        let found = activity.processes.iter().find(|p| p.pid == us).unwrap();
        assert!(found.memory > 0 && !found.zombie && found.parent.is_some());
        // Our threads are not processes.
        let threads = std::fs::read_dir("/proc/self/task").unwrap();
        let names = threads.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let ids: Vec<u32> = names.map(|name| name.parse().unwrap()).collect();
        let listed = |id: &&u32| activity.processes.iter().any(|p| p.pid == **id);
        assert!(ids.len() > 1);
        assert_eq!(ids.iter().filter(listed).collect::<Vec<_>>(), [&us]);
        drop(end);
        let _ = thread.join();
        let lines = host.command_lines(&[us, u32::MAX - 1]).await.unwrap();
        assert_eq!(lines.keys().copied().collect::<Vec<_>>(), [us]);
    }
}
