//! How a run is told to end before its steps are over: by a signal, by its deadline, by a lost lock.

use super::scheduler::Engine;
use crate::base::{Cancel, EndReason};
use crate::event::{Event, JournalError, RunCancel, Section};
use crate::host::signals::EndSignal;

impl Engine<'_> {
    /// What tells the steps of a section to end.
    pub(super) fn cancel_of(&self, section: Section) -> &Cancel {
        match section {
            Section::Main => &self.main,
            Section::Finally => &self.finally,
        }
    }

    /// Whether the steps of a section were told to end.
    pub(super) fn is_told(&self, section: Section) -> bool {
        self.cancel_of(section).state().reason().is_some()
    }

    /// Why no further step of a section starts, if that is so.
    pub(super) fn stopped(&self, section: Section) -> Option<&'static str> {
        match section {
            Section::Main => self.stopped.get(),
            Section::Finally if self.killed.get() => Some("the run was killed"),
            Section::Finally if self.is_told(section) => {
                Some("the time for `finally` steps was up")
            }
            Section::Finally => None,
        }
    }

    /// The first signal ends the main steps politely; the second one ends everything now.
    pub(super) fn told_by(&self, signal: EndSignal, by: &str) -> Result<(), JournalError> {
        let first = !self.signalled.replace(true);
        self.verdict.borrow_mut().signal(signal);
        let cancel = RunCancel { by: by.to_owned() };
        self.recorder.record(None, None, Event::RunCancel(cancel))?;
        self.stopped.set(Some("the run was cancelled"));
        if first {
            self.main.end(EndReason::Cancelled);
        } else {
            self.killed.set(true);
            self.main.end_now(EndReason::Cancelled);
            self.finally.end(EndReason::Cancelled);
            self.finally.end_now(EndReason::Cancelled);
        }
        Ok(())
    }

    pub(super) fn deadline_passed(&self, section: Section) -> Result<(), JournalError> {
        let by = match section {
            Section::Main => {
                self.verdict.borrow_mut().deadline();
                self.stopped.set(Some("the run's deadline passed"));
                "the run's deadline"
            }
            Section::Finally => "the deadline of the `finally` steps",
        };
        let cancel = RunCancel { by: by.to_owned() };
        self.recorder.record(None, None, Event::RunCancel(cancel))?;
        self.cancel_of(section).end(EndReason::Timeout);
        Ok(())
    }

    /// The run has lost its lock: the main steps end, and nothing that was done is taken back, for
    /// somebody else may be at it.
    pub(super) fn unlocked(&self, why: &str) -> Result<(), JournalError> {
        if self.verdict.borrow_mut().unlocked() {
            return Ok(());
        }
        let cancel = RunCancel { by: why.to_owned() };
        self.recorder.record(None, None, Event::RunCancel(cancel))?;
        if self.stopped(Section::Main).is_none() {
            self.stopped.set(Some("the run lost its lock"));
        }
        self.cancel_of(Section::Main).end(EndReason::Cancelled);
        Ok(())
    }
}
