//! What is left of a run whose engine is gone: found, and ended before anything continues.
//!
//! A process is one of a run if it has the run's id in its environment (`RUNBOOK_RUN_ID`), which its
//! own children inherit, or holds the run's `alive.lock` open.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use super::GRACE;
use crate::base::{Clock, Duration, RunId, StepPath};
use crate::host::{HostError, files};

/// A process that is left of a run.
#[derive(Debug)]
pub struct Stray {
    /// Its number.
    pub pid: i32,
    /// Its program and the first of its arguments.
    pub command: String,
    /// The step or item that started it, where it still says so.
    pub step: Option<StepPath>,
    pidfd: OwnedFd,
}

/// The most of a command line that is shown, in characters.
const SHOWN: usize = 60;

/// How many times a process that does not say of which step it is is looked at.
const LOOKS: u32 = 20;

/// The same, where it has no memory at all: on a machine that is busy that lasts.
const LONG_LOOKS: u32 = 1000;

/// How often it is looked whether a process has ended.
const POLL: Duration = Duration::from_millis(20);

/// The processes that are left of `run`, whose `alive.lock` is `lock`. Those of other users, whose
/// environment may not be read, are not seen.
///
/// # Errors
/// When `/proc` cannot be read.
pub fn strays(run: &RunId, lock: &Path) -> Result<Vec<Stray>, HostError> {
    let own = std::process::id();
    let mut found = Vec::new();
    for name in files::kernel_names(Path::new("/proc"))? {
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if u32::try_from(pid) == Ok(own) {
            continue;
        }
        // Opened first: what is read afterwards is of this very process, or of none.
        let Some(pidfd) =
            Pid::from_raw(pid).and_then(|pid| pidfd_open(pid, PidfdFlags::empty()).ok())
        else {
            continue;
        };
        let folder = Path::new("/proc").join(&name);
        let environment = environment(&folder, lock);
        let variable = |name: &str| {
            let mut all = environment.split(|byte| *byte == 0);
            all.find_map(|entry| entry.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
        };
        let is_of_it = variable("RUNBOOK_RUN_ID") == Some(run.as_str().as_bytes());
        if !is_of_it && !holds(&folder, lock) {
            continue;
        }
        // `<run>-<path>`, see `RUNBOOK_IDEMPOTENCY_KEY`.
        let step = variable("RUNBOOK_IDEMPOTENCY_KEY")
            .and_then(|key| std::str::from_utf8(key).ok())
            .and_then(|key| {
                let path = key.strip_prefix(run.as_str())?.strip_prefix('-')?;
                // Its `verify` or `undo` is named after it.
                path.split('.').next()?.parse().ok()
            });
        let command = files::read_kernel_bytes(&folder.join("cmdline")).unwrap_or_default();
        found.push(Stray {
            pid,
            command: shown(&command),
            step,
            pidfd,
        });
    }
    Ok(found)
}

/// The environment of a process. One that is between two programs (execve(2)) or is about to be gone
/// (it has given back its memory, and not yet its files) has none for a moment, and one that was just
/// started has its parent's: where it holds the lock, and so is one of the run, but does not say so, it
/// is looked at again.
fn environment(folder: &Path, lock: &Path) -> Vec<u8> {
    let read = |name| files::read_kernel_bytes(&folder.join(name)).unwrap_or_default();
    let mut environment = read("environ");
    for look in 0..LONG_LOOKS {
        let says = environment.split(|byte| *byte == 0);
        let mut says = says.filter(|entry| entry.starts_with(b"RUNBOOK_IDEMPOTENCY_KEY="));
        let has_memory = !read("cmdline").is_empty();
        if says.next().is_some() || (has_memory && look >= LOOKS) || !holds(folder, lock) {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(5));
        environment = read("environ");
    }
    environment
}

fn holds(folder: &Path, lock: &Path) -> bool {
    let Ok(names) = files::kernel_names(&folder.join("fd")) else {
        return false;
    };
    let mut targets = names
        .iter()
        .map(|name| rustix::fs::readlink(folder.join("fd").join(name), []));
    targets.any(|target| {
        target.is_ok_and(|target| target.as_bytes() == lock.as_os_str().as_encoded_bytes())
    })
}

fn shown(command: &[u8]) -> String {
    let words: Vec<_> = command
        .split(|byte| *byte == 0)
        .filter(|word| !word.is_empty())
        .map(String::from_utf8_lossy)
        .collect();
    let text = words.join(" ");
    let mut chars = text.chars();
    let mut shown: String = chars.by_ref().take(SHOWN).collect();
    if chars.next().is_some() {
        shown.push('…');
    }
    shown
}

impl Stray {
    /// Whether it has ended.
    fn is_over(&self) -> bool {
        let mut polled = [PollFd::new(&self.pidfd, PollFlags::IN)];
        let now = rustix::event::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        matches!(poll(&mut polled, Some(&now)), Ok(1..))
    }

    #[expect(clippy::disallowed_methods, reason = "this is the door for signals")]
    fn signal(&self, signal: Signal) {
        // What has ended meanwhile needs none.
        let _ = pidfd_send_signal(&self.pidfd, signal);
        // What is stopped could not end politely.
        if signal == Signal::TERM {
            let _ = pidfd_send_signal(&self.pidfd, Signal::CONT);
        }
    }
}

/// Ends what `find` finds, and what that starts meanwhile, until it finds nothing: SIGTERM, and after
/// a time SIGKILL.
///
/// # Errors
/// When it cannot be looked for, or something is still there after that.
pub async fn end_strays(
    clock: &Clock,
    mut find: impl FnMut() -> Result<Vec<Stray>, HostError>,
) -> Result<(), HostError> {
    let rounds = [
        (Signal::TERM, GRACE),
        (Signal::KILL, Duration::from_secs(5)),
    ];
    let mut told: HashSet<i32> = HashSet::new();
    for (signal, patience) in rounds {
        told.clear();
        let deadline = clock.deadline_in(patience);
        loop {
            let left = find()?;
            let left: Vec<&Stray> = left.iter().filter(|stray| !stray.is_over()).collect();
            if left.is_empty() {
                return Ok(());
            }
            // Each is told once; what was started meanwhile is told too.
            for stray in &left {
                if told.insert(stray.pid) {
                    stray.signal(signal);
                }
            }
            if deadline.passed(clock) {
                break;
            }
            clock.sleep(POLL).await;
        }
    }
    match find()?.iter().find(|stray| !stray.is_over()) {
        None => Ok(()),
        Some(stray) => Err(HostError::permanent(
            format!("end process {} ({})", stray.pid, stray.command),
            "it does not end, even by SIGKILL: it hangs in the kernel",
        )),
    }
}
