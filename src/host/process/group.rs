//! A process group: its leader and pipeline stages, and what they leave behind.

use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt as _;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;
use rustix::process::{Pid, PidfdFlags, Signal, WaitOptions, pidfd_open};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::{Stage, StageEnd, exited};
use crate::base::{Clock, Duration};
use crate::host::HostError;

/// The processes of one pipeline. Dropped before they have ended, it kills the group.
pub(super) struct Group {
    pgid: i32,
    members: Vec<Member>,
    over: bool,
}

struct Member {
    handle: duct::Handle,
    pidfd: AsyncFd<OwnedFd>,
}

impl Group {
    pub(super) fn new() -> Self {
        Self {
            pgid: 0,
            members: Vec::new(),
            over: false,
        }
    }

    /// The group's id: 0 until its first process is there, which then leads it.
    pub(super) fn pgid(&self) -> i32 {
        self.pgid
    }

    /// Takes a process that was just started.
    pub(super) fn add(&mut self, handle: duct::Handle) -> Result<(), HostError> {
        let id = handle.pids().first().copied().unwrap_or(0);
        let id = i32::try_from(id).unwrap_or(0);
        if self.pgid == 0 {
            self.pgid = id;
        }
        // It is not reaped before `take_ends`, so that its id cannot have gone to another one.
        let pidfd = Pid::from_raw(id)
            .ok_or(Errno::SRCH)
            .and_then(|pid| pidfd_open(pid, PidfdFlags::NONBLOCK))
            .map_err(|e| HostError::io(format!("watch process {id}"), &e.into()))?;
        let pidfd = watch(pidfd).map_err(|e| HostError::io(format!("watch process {id}"), &e))?;
        self.members.push(Member { handle, pidfd });
        Ok(())
    }

    /// Waits until every stage has ended.
    pub(super) async fn exits(&self) -> Result<(), HostError> {
        for member in &self.members {
            exited(&member.pidfd).await?;
        }
        self.reap()
    }

    /// Takes how the stages ended, all of which have: the orphans of the group are reaped after them.
    pub(super) fn reap(&self) -> Result<(), HostError> {
        for member in &self.members {
            member
                .handle
                .try_wait()
                .map_err(|e| HostError::io("wait for a process", &e))?;
        }
        Ok(())
    }

    /// Whether every stage has ended by now, whether or not anybody was told yet: an engine that was
    /// stopped for a while hears of its timers first.
    pub(super) fn has_ended(&self) -> bool {
        self.members.iter().all(|member| {
            let mut polled = [PollFd::new(member.pidfd.get_ref(), PollFlags::IN)];
            let now = Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            matches!(poll(&mut polled, Some(&now)), Ok(1..))
        })
    }

    /// Whether processes are left in the group after its stages have ended and were reaped. What is
    /// about to leave it, as a daemon that was just started, has `patience` to do so.
    pub(super) async fn has_leftovers(&mut self, clock: &Clock, patience: Duration) -> bool {
        let deadline = clock.deadline_in(patience);
        while group_exists(self.pgid) && !deadline.passed(clock) {
            clock.sleep(Duration::from_millis(5)).await;
        }
        let left = group_exists(self.pgid);
        self.over = !left;
        left
    }

    /// Ends what is left in the group: SIGTERM, and after `grace` SIGKILL.
    pub(super) async fn end_leftovers(&mut self, clock: &Clock, grace: Duration) {
        signal_group(self.pgid, Signal::TERM);
        let deadline = clock.deadline_in(grace);
        while group_exists(self.pgid) && !deadline.passed(clock) {
            clock.sleep(Duration::from_millis(5)).await;
        }
        if group_exists(self.pgid) {
            signal_group(self.pgid, Signal::KILL);
            // A killed process is gone as soon as the kernel lets it go; one that hangs in the
            // kernel cannot be waited for.
            let deadline = clock.deadline_in(Duration::from_secs(1));
            while group_exists(self.pgid) && !deadline.passed(clock) {
                clock.sleep(Duration::from_millis(5)).await;
            }
        }
        self.over = true;
    }

    /// How each stage ended.
    pub(super) fn take_ends(&mut self, stages: &[Stage]) -> Result<Vec<StageEnd>, HostError> {
        self.over = true;
        let mut ends = Vec::with_capacity(self.members.len());
        for (member, stage) in self.members.iter().zip(stages) {
            let program = stage.argv.first().cloned().unwrap_or_default();
            let status = member
                .handle
                .try_wait()
                .map_err(|e| HostError::io(format!("wait for `{program}`"), &e))?
                .map(|output| output.status);
            ends.push(StageEnd {
                program,
                code: status.and_then(|status| status.code()),
                signal: status.and_then(|status| status.signal()),
            });
        }
        Ok(ends)
    }
}

/// Registers `pidfd` with the runtime; it reads as ready once its process has ended.
#[expect(
    unsafe_code,
    reason = "the runtime has no safe way to register a descriptor"
)]
fn watch(pidfd: OwnedFd) -> std::io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by the value that is returned, is never replaced, and is
    // closed only after that value has taken it out of the runtime.
    let registered = unsafe { AsyncFd::register_with_interest(pidfd, Interest::READABLE) };
    registered.map_err(std::io::Error::from)
}

impl Drop for Group {
    fn drop(&mut self) {
        if !self.over && self.pgid != 0 {
            signal_group(self.pgid, Signal::KILL);
        }
    }
}

/// Sends `signal` to every process of the group; a group that is gone is fine. What is stopped is woken
/// by a SIGTERM, as systemd.kill(5) has it: else it could not end politely.
#[expect(clippy::disallowed_methods, reason = "this is the door for signals")]
pub(super) fn signal_group(pgid: i32, signal: Signal) {
    if let Some(pid) = Pid::from_raw(pgid).filter(|_| pgid > 1) {
        let _ = rustix::process::kill_process_group(pid, signal);
        if signal == Signal::TERM {
            let _ = rustix::process::kill_process_group(pid, Signal::CONT);
        }
    }
}

/// Whether the group has a process that is not just waiting to be reaped; reaps those of ours.
fn group_exists(pgid: i32) -> bool {
    let Some(pid) = Pid::from_raw(pgid).filter(|_| pgid > 1) else {
        return false;
    };
    // Orphans of the group come to us (we are a subreaper); its stages were reaped before.
    while let Ok(Some(_)) = rustix::process::waitpgid(pid, WaitOptions::NOHANG) {}
    rustix::process::test_kill_process_group(pid).is_ok()
}

/// Makes orphans of our descendants come to us instead of init, so that none escapes unseen.
#[expect(clippy::disallowed_methods, reason = "this is the door for processes")]
pub fn become_subreaper() {
    let _ = rustix::process::set_child_subreaper(Some(rustix::process::getpid()));
}

/// Reaps whatever came to us and has ended.
pub fn reap_strays() {
    while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
}

/// `SIGKILL` for 9, and so on.
pub(super) fn signal_name(signal: i32) -> String {
    let name = match signal {
        1 => "SIGHUP",
        2 => "SIGINT",
        3 => "SIGQUIT",
        4 => "SIGILL",
        6 => "SIGABRT",
        7 => "SIGBUS",
        8 => "SIGFPE",
        9 => "SIGKILL",
        11 => "SIGSEGV",
        13 => "SIGPIPE",
        14 => "SIGALRM",
        15 => "SIGTERM",
        24 => "SIGXCPU",
        25 => "SIGXFSZ",
        31 => "SIGSYS",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
