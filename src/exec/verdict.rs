//! How a run ended, and its exit status.

use crate::event::{RunStatus, Status};
use crate::host::signals::EndSignal;

/// What counts for the verdict, gathered while the run goes on.
#[derive(Clone, Debug, Default)]
pub struct Verdict {
    main_failed: bool,
    finally_failed: bool,
    unknown: bool,
    signal: Option<EndSignal>,
    deadline: bool,
    audit: bool,
    waiting: bool,
    denied: bool,
    unlocked: bool,
}

/// Exit statuses of a run; the others are the command line's own.
mod exit {
    pub const DONE: u8 = 0;
    pub const FAILED: u8 = 1;
    pub const REFUSED: u8 = 3;
    pub const UNKNOWN: u8 = 4;
    pub const AUDIT: u8 = 5;
    pub const DEADLINE: u8 = 124;
}

impl Verdict {
    /// A main step ended.
    pub fn main_step(&mut self, status: Status, allowed: bool) {
        self.main_failed |= status.is_bad() && !allowed;
        self.unknown |= status == Status::Unknown;
    }

    /// A `finally` step ended: it never changes the verdict of the main steps.
    pub fn finally_step(&mut self, status: Status, allowed: bool) {
        self.finally_failed |= status.is_bad() && !allowed;
        self.unknown |= status == Status::Unknown;
    }

    /// A step was taken back, or could not be.
    pub fn undo(&mut self, status: Status) {
        self.unknown |= status == Status::Unknown;
    }

    /// Whether what was done is to be taken back: a step failed, or time was up. Where somebody
    /// cancelled the run, or has to find out what happened, or may be at it too because the lock is
    /// lost, it stays as it is.
    pub fn takes_back(&self) -> bool {
        let wanted = self.main_failed || self.deadline;
        wanted && !self.unknown && self.signal.is_none() && !self.unlocked
    }

    /// A signal told it to end; the first one counts.
    pub fn signal(&mut self, signal: EndSignal) {
        self.signal.get_or_insert(signal);
    }

    /// The run's deadline passed.
    pub fn deadline(&mut self) {
        self.deadline = true;
    }

    /// A step waits for an approval, and the run with it.
    pub fn waits(&mut self) {
        self.waiting = true;
    }

    /// Whether the run waits, and nothing else ended it.
    pub fn is_waiting(&self) -> bool {
        self.status() == RunStatus::Waiting
    }

    /// Nobody agreed to a step.
    pub fn denied(&mut self) {
        self.denied = true;
    }

    /// The run has lost its lock; whether that was known.
    pub fn unlocked(&mut self) -> bool {
        std::mem::replace(&mut self.unlocked, true)
    }

    /// Whether the run has lost its lock.
    pub fn is_unlocked(&self) -> bool {
        self.unlocked
    }

    /// The audit could not be written.
    pub fn audit(&mut self) {
        self.audit = true;
    }

    /// How the main steps ended, or the run as a whole.
    pub fn status(&self) -> RunStatus {
        if self.unknown {
            RunStatus::Unknown
        } else if self.signal.is_some() {
            RunStatus::Cancelled
        } else if self.deadline {
            RunStatus::TimedOut
        } else if self.unlocked {
            RunStatus::Cancelled
        } else if self.waiting && !self.audit {
            RunStatus::Waiting
        } else if self.main_failed || self.audit || self.denied {
            RunStatus::Failed
        } else {
            RunStatus::Succeeded
        }
    }

    /// The exit status: 5, 4, 130/143, 124, 3, 1, 0 in this order.
    pub fn exit_code(&self) -> u8 {
        if self.audit {
            exit::AUDIT
        } else if self.unknown {
            exit::UNKNOWN
        } else if let Some(signal) = self.signal {
            signal.exit_code()
        } else if self.deadline {
            exit::DEADLINE
        } else if self.unlocked || self.waiting || self.denied {
            exit::REFUSED
        } else if self.main_failed || self.finally_failed {
            exit::FAILED
        } else {
            exit::DONE
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Verdict;
    use crate::event::{RunStatus, Status};
    use crate::host::signals::EndSignal;

    #[test]
    fn the_gravest_counts() {
        let mut verdict = Verdict::default();
        verdict.main_step(Status::Failed, true);
        assert_eq!(
            (verdict.status(), verdict.exit_code()),
            (RunStatus::Succeeded, 0)
        );
        verdict.finally_step(Status::Failed, false);
        assert_eq!(
            (verdict.status(), verdict.exit_code()),
            (RunStatus::Succeeded, 1)
        );
        verdict.main_step(Status::TimedOut, false);
        assert_eq!(
            (verdict.status(), verdict.exit_code()),
            (RunStatus::Failed, 1)
        );
        assert!(verdict.takes_back());
        verdict.unlocked();
        assert!(!verdict.takes_back());
        assert_eq!(
            (verdict.status(), verdict.exit_code()),
            (RunStatus::Cancelled, 3)
        );
        verdict.deadline();
        assert_eq!(verdict.exit_code(), 124);
        verdict.signal(EndSignal::Terminate);
        verdict.signal(EndSignal::Interrupt);
        assert_eq!(
            (verdict.status(), verdict.exit_code()),
            (RunStatus::Cancelled, 143)
        );
        verdict.main_step(Status::Unknown, false);
        assert_eq!(
            (verdict.status(), verdict.exit_code()),
            (RunStatus::Unknown, 4)
        );
        verdict.audit();
        assert_eq!(verdict.exit_code(), 5);
    }
}
