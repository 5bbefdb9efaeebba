//! Writing the ledger: one line when a run starts, one when it ends, over all runs of a state
//! folder.
//!
//! It is chained like a journal, and the line of a run's end holds how many records its journal has
//! and the hash of the last. Many processes write to it: each takes its lock, reads the end, and
//! appends in one write. They wait for the disk after they gave the lock back, so that runs side by
//! side do not queue for it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::journal::journal_error;
use super::record::{Digest, Entry, Head, encode, utc};
use super::tail::Tail;
use crate::base::{Clock, Duration, RunId};
use crate::event::{JournalError, RunStatus};
use crate::host::append::AppendFile;
use crate::host::store::share;
use crate::host::{HostError, StateDir};

/// The kind of the line of a run's start.
pub const START_KIND: &str = "run.start";

/// The kind of the line of a run's end.
pub const END_KIND: &str = "run.end";

/// The kind of the line that says that a run is gone on with.
pub const RESUME_KIND: &str = "run.resume";

/// How long to wait for the ledger's lock. Whoever holds it needs well under a millisecond; one that
/// was stopped while it holds it must not stop the others for good.
const LOCK_WAIT: Duration = Duration::from_secs(30);

/// The data of a run's start.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunStarted {
    /// The run.
    pub run: RunId,
    /// The playbook's name.
    pub playbook: String,
    /// Who runs it.
    pub user: String,
    /// The machine.
    pub host: String,
}

/// The data of a run's end.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunEnded {
    /// The run.
    pub run: RunId,
    /// The playbook's name.
    pub playbook: String,
    /// How it ended.
    pub status: RunStatus,
    /// The exit status of its engine.
    pub exit_code: u8,
    /// When it started; wall time.
    #[serde(deserialize_with = "utc")]
    pub started_at: jiff::Timestamp,
    /// When it ended; wall time.
    #[serde(deserialize_with = "utc")]
    pub ended_at: jiff::Timestamp,
    /// How long it took, in milliseconds, by the clock that counts suspension.
    pub duration_ms: u64,
    /// How many records its journal has.
    pub records: u64,
    /// The hash of the last of them.
    pub last_hash: Digest,
}

/// The data of the line that says that a run is gone on with, after its end or after a crash.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunResumed {
    /// The run.
    pub run: RunId,
    /// Who goes on with it.
    pub user: String,
    /// On which machine.
    pub host: String,
    /// How many records its journal had.
    pub records: u64,
    /// The hash of the last of them.
    pub last_hash: Digest,
}

impl RunResumed {
    /// Where the run's journal stood.
    pub fn head(&self) -> Head {
        Head {
            seq: self.records,
            hash: self.last_hash,
        }
    }
}

impl RunEnded {
    /// Where the run's journal ends.
    pub fn head(&self) -> Head {
        Head {
            seq: self.records,
            hash: self.last_hash,
        }
    }
}

/// The ledger of a state folder, for appending.
#[derive(Clone, Debug)]
pub struct Ledger {
    path: PathBuf,
    group: Option<u32>,
    clock: Clock,
}

impl Ledger {
    /// The ledger of `state`. It is made with its first line.
    pub fn of(state: &StateDir, clock: Clock) -> Self {
        Self {
            path: state.ledger(),
            group: state.group(),
            clock,
        }
    }

    /// Appends a run's start, and waits until it is on disk.
    ///
    /// # Errors
    /// When it cannot be written: then nothing of the run may happen.
    pub fn start(&self, at: jiff::Timestamp, started: &RunStarted) -> Result<Head, JournalError> {
        self.append(at, START_KIND, started)
    }

    /// Appends that a run is gone on with, and waits until it is on disk.
    ///
    /// # Errors
    /// When it cannot be written: then nothing more of the run may happen.
    pub fn resume(&self, at: jiff::Timestamp, resumed: &RunResumed) -> Result<Head, JournalError> {
        self.append(at, RESUME_KIND, resumed)
    }

    /// Appends a run's end, and waits until it is on disk.
    ///
    /// # Errors
    /// When it cannot be written: then the run counts as interrupted.
    pub fn end(&self, ended: &RunEnded) -> Result<Head, JournalError> {
        self.append(ended.ended_at, END_KIND, ended)
    }

    fn append<D: Serialize>(
        &self,
        at: jiff::Timestamp,
        kind: &str,
        data: &D,
    ) -> Result<Head, JournalError> {
        self.try_append(at, kind, data)
            .map_err(|error| journal_error(&error))
    }

    fn try_append<D: Serialize>(
        &self,
        at: jiff::Timestamp,
        kind: &str,
        data: &D,
    ) -> Result<Head, HostError> {
        let action = || format!("append to {}", self.path.display());
        let file = AppendFile::open(&self.path)?;
        file.lock(&self.clock, LOCK_WAIT)?;
        let tail = Tail::read(file.file(), at).map_err(|e| HostError::io(action(), &e))?;
        let is_first = tail.head == Head::EMPTY;
        let mut bytes = tail.mending;
        let entry = Entry {
            at,
            kind,
            path: None,
            attempt: None,
            data,
        };
        let head = encode(&tail.head, &entry, &mut bytes)
            .map_err(|e| HostError::permanent(action(), e.to_string()))?;
        file.append(&bytes)?;
        file.unlock()?;
        file.sync()?;
        if is_first {
            if let Some(group) = self.group {
                share(&self.path, group, 0o660)?;
            }
            file.sync_name()?;
        }
        Ok(head)
    }
}

#[cfg(test)]
#[expect(
    clippy::disallowed_methods,
    reason = "tests change files behind the audit's back"
)]
mod tests {
    use std::fs::OpenOptions;
    use std::path::Path;

    use super::{Ledger, RunStarted};
    use crate::audit::chain::Records;
    use crate::audit::testing;
    use crate::base::{Clock, Duration, RunId};
    use crate::host::StateDir;
    use crate::host::append::AppendFile;

    fn start(ledger: &Ledger, number: u64) {
        let started = RunStarted {
            run: RunId::from_parts(number, number),
            playbook: "p".to_owned(),
            user: "u".to_owned(),
            host: "h".to_owned(),
        };
        ledger.start(jiff::Timestamp::now(), &started).unwrap();
    }

    fn count(state: &Path) -> usize {
        let bytes = std::fs::read(state.join("ledger.jsonl")).unwrap();
        let records: Result<Vec<_>, _> = Records::new(&bytes[..], None).collect();
        records.unwrap().len()
    }

    #[test]
    fn a_hundred_threads_make_one_chain() {
        let place = tempfile::tempdir().unwrap();
        let ledger = Ledger::of(&StateDir::at(place.path()), Clock::system());
        std::thread::scope(|scope| {
            for number in 0..100 {
                let ledger = &ledger;
                scope.spawn(move || (0..5).for_each(|again| start(ledger, number * 5 + again)));
            }
        });
        assert_eq!(count(place.path()), 500);
    }

    #[test]
    fn a_hundred_processes_make_one_chain() {
        let place = tempfile::tempdir().unwrap();
        let child = "audit::ledger::tests::appends_ten_lines";
        let children: Vec<_> = (0..100)
            .map(|_| testing::start_child(child, "", place.path()))
            .collect();
        children.into_iter().for_each(testing::finish_child);
        assert_eq!(count(place.path()), 1000);
    }

    #[test]
    #[ignore = "the child of another test"]
    fn appends_ten_lines() {
        let Some(path) = testing::argument() else {
            return;
        };
        let ledger = Ledger::of(&StateDir::at(path), Clock::system());
        (0..10).for_each(|number| start(&ledger, number));
    }

    #[test]
    fn a_stopped_holder_of_the_lock_is_not_waited_for_without_end() {
        let place = tempfile::tempdir().unwrap();
        let path = place.path().join("ledger.jsonl");
        let clock = Clock::system();
        let holder = AppendFile::open(&path).unwrap();
        holder.lock(&clock, Duration::ZERO).unwrap();
        let other = AppendFile::open(&path).unwrap();
        let error = other.lock(&clock, Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.cause, "another process has held it for 20ms");
        holder.unlock().unwrap();
        other.lock(&clock, Duration::ZERO).unwrap();
    }

    #[test]
    fn what_cannot_be_written_is_told() {
        let place = tempfile::tempdir().unwrap();
        let state = StateDir::at(place.path());
        std::os::unix::fs::symlink("/dev/full", state.ledger()).unwrap();
        let ledger = Ledger::of(&state, Clock::system());
        let started = RunStarted {
            run: RunId::from_parts(1, 1),
            playbook: String::new(),
            user: String::new(),
            host: String::new(),
        };
        let error = ledger.start(jiff::Timestamp::now(), &started).unwrap_err();
        assert!(error.cause.starts_with("no space"), "{error}");
    }

    #[test]
    fn the_next_run_goes_on_after_a_torn_line() {
        let place = tempfile::tempdir().unwrap();
        let ledger = Ledger::of(&StateDir::at(place.path()), Clock::system());
        start(&ledger, 1);
        start(&ledger, 2);
        let file = OpenOptions::new()
            .write(true)
            .open(place.path().join("ledger.jsonl"))
            .unwrap();
        file.set_len(file.metadata().unwrap().len() - 20).unwrap();
        start(&ledger, 3);
        // The first, the record about the torn bytes, and the third.
        assert_eq!(count(place.path()), 3);
    }
}
