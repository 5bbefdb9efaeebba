//! The journal of a run and its two lines in the ledger, as one: what the engine is given.
//!
//! - With a run's first event its journal is begun and on disk before the ledger has its start: so a
//!   run in the ledger always has a journal, and a journal that is not in the ledger has done
//!   nothing.
//! - When a run is gone on with, the ledger says so, and where the journal stood, before the journal
//!   does.
//! - With its last event the journal is whole and on disk before the ledger has its end, which holds
//!   the number of its records and the hash of the last.

use std::cell::RefCell;
use std::pin::Pin;

use super::checkpoint::Checkpoint;
use super::journal::{FileJournal, journal_error};
use super::key::Signer;
use super::ledger::{Ledger, RunEnded, RunResumed, RunStarted};
use super::record::Head;
use crate::base::{Clock, RunId};
use crate::event::{
    Event, Happening, Journal, JournalError, RunEnd, RunResume, RunStart, RunState,
};
use crate::host::{RunFolder, StateDir};

/// The audit of one run. Once anything of it could not be written, it fails for ever.
#[derive(Debug)]
pub struct Trail {
    journal: FileJournal,
    ledger: Ledger,
    started: RefCell<Option<Started>>,
    checkpoint: RefCell<Option<Checkpoint>>,
}

#[derive(Debug)]
struct Started {
    run: RunId,
    playbook: String,
    at: jiff::Timestamp,
}

impl Trail {
    /// Begins the audit of a new run in `folder`. Nothing is written before the first event.
    ///
    /// # Errors
    /// When the journal exists or cannot be made.
    pub fn create(
        state: &StateDir,
        folder: &RunFolder,
        clock: Clock,
    ) -> Result<Self, JournalError> {
        may_sign(state)?;
        Ok(Self {
            journal: FileJournal::create(folder)?,
            ledger: Ledger::of(state, clock),
            started: RefCell::new(None),
            checkpoint: RefCell::new(None),
        })
    }

    /// Goes on with the audit of a run, whose journal was read up to `verified` and came to `past`.
    /// Only whoever has taken the run over may do this. Nothing is written before the first event,
    /// but what sets torn bytes aside.
    ///
    /// # Errors
    /// When the journal cannot be gone on with.
    pub fn resume(
        state: &StateDir,
        folder: &RunFolder,
        clock: Clock,
        past: &RunState,
        verified: Head,
    ) -> Result<Self, JournalError> {
        may_sign(state)?;
        Ok(Self {
            journal: FileJournal::resume(folder, verified, clock.wall())?,
            ledger: Ledger::of(state, clock),
            started: RefCell::new(Some(Started {
                run: past.run.clone(),
                playbook: past.playbook.name.clone(),
                at: past.started_at,
            })),
            checkpoint: RefCell::new(None),
        })
    }

    /// Where the journal's chain stands.
    pub fn head(&self) -> Head {
        self.journal.head()
    }

    /// How many times the journal waited for the disk.
    pub fn fsyncs(&self) -> u64 {
        self.journal.fsyncs()
    }

    /// The checkpoint that the ledger has since the run's end, where there is a key: for witnesses.
    pub fn checkpoint(&self) -> Option<Checkpoint> {
        self.checkpoint.borrow().clone()
    }

    fn start(&self, at: jiff::Timestamp, start: &RunStart) -> Result<(), JournalError> {
        self.journal.sync_now()?;
        let started = RunStarted {
            run: start.run.clone(),
            playbook: start.playbook.name.clone(),
            user: start.user.clone(),
            host: start.host.clone(),
        };
        self.ledger.start(at, &started)?;
        *self.started.borrow_mut() = Some(Started {
            run: started.run,
            playbook: started.playbook,
            at,
        });
        Ok(())
    }

    /// Before the journal's own record of it: else a crash in between would leave a record after the
    /// end that the ledger knows.
    fn go_on(&self, at: jiff::Timestamp, resume: &RunResume) -> Result<(), JournalError> {
        let run = self
            .started
            .borrow()
            .as_ref()
            .map(|started| started.run.clone());
        let Some(run) = run else {
            return Err(JournalError {
                what: "go on with the run".to_owned(),
                cause: "it has not started, or has ended".to_owned(),
            });
        };
        self.journal.sync_now()?;
        let head = self.journal.head();
        self.ledger.resume(
            at,
            &RunResumed {
                run,
                user: resume.user.clone(),
                host: resume.host.clone(),
                records: head.seq,
                last_hash: head.hash,
            },
        )?;
        Ok(())
    }

    fn end(&self, at: jiff::Timestamp, end: &RunEnd) -> Result<(), JournalError> {
        let Some(started) = self.started.take() else {
            return Err(JournalError {
                what: "end the run".to_owned(),
                cause: "it has not started, or has ended".to_owned(),
            });
        };
        self.journal.sync_now()?;
        let head = self.journal.head();
        let checkpoint = self.ledger.end(&RunEnded {
            run: started.run,
            playbook: started.playbook,
            status: end.status,
            exit_code: end.exit_code,
            started_at: started.at,
            ended_at: at,
            duration_ms: end.duration_ms,
            records: head.seq,
            last_hash: head.hash,
        })?;
        *self.checkpoint.borrow_mut() = checkpoint;
        Ok(())
    }
}

/// Where there is a key, its signature is to follow the run's end: if it cannot, that is told before
/// anything happens.
fn may_sign(state: &StateDir) -> Result<(), JournalError> {
    Signer::load(state)
        .map(drop)
        .map_err(|error| journal_error(&error))
}

impl Journal for Trail {
    fn append(&self, happening: &Happening) -> Result<(), JournalError> {
        if let Event::RunResume(resume) = &happening.event {
            self.go_on(happening.at, resume)
                .map_err(|error| self.journal.fail(error))?;
        }
        self.journal.append(happening)?;
        match &happening.event {
            Event::RunStart(start) => self.start(happening.at, start),
            Event::RunEnd(end) => self.end(happening.at, end),
            _ => return Ok(()),
        }
        .map_err(|error| self.journal.fail(error))
    }

    fn sync(&self) -> Pin<Box<dyn Future<Output = Result<(), JournalError>> + '_>> {
        self.journal.sync()
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "tests change files behind the audit's back"
)]
mod tests {
    use crate::audit::testing::{Recorded, end, start, step};
    use crate::audit::trail::Trail;
    use crate::base::{Clock, RunId};
    use crate::event::{Journal as _, RunStatus};
    use crate::host::{RunFolder, StateDir};

    #[test]
    fn the_ledger_has_the_end_of_the_journal() {
        let recorded = Recorded::ended(3);
        let ledger = std::fs::read_to_string(recorded.state.ledger()).unwrap();
        let end: serde_json::Value = serde_json::from_str(ledger.lines().nth(1).unwrap()).unwrap();
        let journal = std::fs::read(recorded.journal()).unwrap();
        let lines: Vec<_> = journal.split(|byte| *byte == b'\n').collect();
        assert_eq!(end["data"]["records"], lines.len() - 1);
        let last = crate::audit::record::Digest::of(lines[lines.len() - 2]);
        assert_eq!(end["data"]["last_hash"], last.to_string());
    }

    #[test]
    fn what_the_ledger_does_not_have_does_not_happen() {
        let place = tempfile::tempdir().unwrap();
        let state = StateDir::at(place.path());
        state.create().unwrap();
        let run = RunId::from_parts(1, 1);
        let folder = RunFolder::create(&state, &run).unwrap();
        let trail = Trail::create(&state, &folder, Clock::system()).unwrap();
        std::os::unix::fs::symlink("/dev/full", state.ledger()).unwrap();
        let first = trail.append(&start(&run)).unwrap_err();
        assert!(first.to_string().contains("ledger.jsonl"), "{first}");
        let later = trail.append(&step(1)[0]).unwrap_err();
        assert_eq!(later.to_string(), first.to_string());
        assert_eq!(trail.head().seq, 1);
        // Where that is known before, nothing begins.
        let refused = Trail::create(&state, &folder, Clock::system()).unwrap_err();
        assert!(refused.to_string().contains("ledger.jsonl"), "{refused}");
    }

    #[test]
    fn a_run_that_has_not_started_does_not_end() {
        let place = tempfile::tempdir().unwrap();
        let state = StateDir::at(place.path());
        state.create().unwrap();
        let folder = RunFolder::create(&state, &RunId::from_parts(1, 1)).unwrap();
        let trail = Trail::create(&state, &folder, Clock::system()).unwrap();
        assert!(trail.append(&end(RunStatus::Succeeded)).is_err());
        assert!(!state.ledger().exists());
    }
}
