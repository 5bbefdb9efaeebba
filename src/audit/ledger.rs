//! Writing the ledger: one line when a run starts, one when it ends, over all runs of a state
//! folder; and a signed checkpoint after each end, where there is a key.
//!
//! It is chained like a journal, and the line of a run's end holds how many records its journal has
//! and the hash of the last. Many processes write to it: each takes its lock, reads the end, and
//! appends in one write. They wait for the disk after they gave the lock back, so that runs side by
//! side do not queue for it.

use std::fs::File;
use std::io::BufReader;

use serde::{Deserialize, Serialize};

use super::chain::MAX_TORN_LINES;
use super::checkpoint::{CHECKPOINT_KIND, Checkpoint, origin};
use super::journal::journal_error;
use super::key::Signer;
use super::lines::Lines;
use super::record::{Digest, Entry, Head, Record, encode, utc};
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

/// The kind of the line that says that the records of old runs are taken away.
pub const PRUNE_KIND: &str = "audit.prune";

/// The data of the line that says that the records of old runs are taken away. What the ledger says
/// of their starts and ends stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pruned {
    /// The runs.
    pub runs: Vec<RunId>,
    /// Who takes them away.
    pub user: String,
    /// Why: the rule that they were chosen by.
    pub reason: String,
}

/// The ledger of a state folder, for appending.
#[derive(Clone, Debug)]
pub struct Ledger {
    state: StateDir,
    clock: Clock,
}

impl Ledger {
    /// The ledger of `state`. It is made with its first line.
    pub fn of(state: &StateDir, clock: Clock) -> Self {
        let state = state.clone();
        Self { state, clock }
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

    /// Appends a run's end, and a checkpoint where there is a key; waits until both are on disk.
    ///
    /// # Errors
    /// When they cannot be written: then the run counts as interrupted.
    pub fn end(&self, ended: &RunEnded) -> Result<Option<Checkpoint>, JournalError> {
        let written = self.write(ended.ended_at, |pen| {
            // Asked for now, not when the run began: the key may have been replaced since.
            let signer = Signer::load(&self.state)?;
            pen.add(END_KIND, ended)?;
            signer.map(|signer| pen.checkpoint(&signer)).transpose()
        });
        written.map_err(|error| journal_error(&error))
    }

    /// Appends that runs are taken away, with a checkpoint where there is a key; waits until both are
    /// on disk.
    ///
    /// # Errors
    /// When they cannot be written: then nothing may be taken away.
    pub fn prune(&self, pruned: &Pruned) -> Result<Option<Checkpoint>, HostError> {
        self.write(self.clock.wall(), |pen| {
            let signer = Signer::load(&self.state)?;
            pen.add(PRUNE_KIND, pruned)?;
            signer.map(|signer| pen.checkpoint(&signer)).transpose()
        })
    }

    /// Appends a checkpoint, and waits until it is on disk; `None` where there is no key.
    ///
    /// # Errors
    /// When it cannot be signed or written.
    pub fn checkpoint(&self, at: jiff::Timestamp) -> Result<Option<Checkpoint>, HostError> {
        self.write(at, |pen| {
            let signer = Signer::load(&self.state)?;
            signer.map(|signer| pen.checkpoint(&signer)).transpose()
        })
    }

    fn append<D: Serialize>(
        &self,
        at: jiff::Timestamp,
        kind: &str,
        data: &D,
    ) -> Result<Head, JournalError> {
        let written = self.write(at, |pen| {
            pen.add(kind, data)?;
            Ok(pen.head)
        });
        written.map_err(|error| journal_error(&error))
    }

    /// Writes what `compose` puts down, under the ledger's lock and in one write, and waits until it
    /// is on disk.
    pub(super) fn write<T>(
        &self,
        at: jiff::Timestamp,
        compose: impl FnOnce(&mut Pen<'_>) -> Result<T, HostError>,
    ) -> Result<T, HostError> {
        let path = self.state.ledger();
        let file = AppendFile::open(&path)?;
        file.lock(&self.clock, LOCK_WAIT)?;
        let tail = Tail::read(file.file(), at)
            .map_err(|e| HostError::io(format!("append to {}", path.display()), &e))?;
        let is_first = tail.head == Head::EMPTY;
        let mut pen = Pen {
            state: &self.state,
            file: &file,
            at,
            first: None,
            head: tail.head,
            bytes: tail.mending,
        };
        let composed = compose(&mut pen)?;
        pen.flush()?;
        file.unlock()?;
        file.sync()?;
        if is_first {
            if let Some(group) = self.state.group() {
                share(&path, group, 0o660)?;
            }
            file.sync_name()?;
        }
        Ok(composed)
    }
}

/// What is about to be written to the ledger, by whoever holds its lock.
pub(super) struct Pen<'a> {
    pub(super) state: &'a StateDir,
    pub(super) file: &'a AppendFile,
    at: jiff::Timestamp,
    /// The hash of the first record, if that is among what is about to be written.
    first: Option<Digest>,
    pub(super) head: Head,
    bytes: Vec<u8>,
}

impl Pen<'_> {
    fn wrong(&self, cause: impl ToString) -> HostError {
        let path = self.file.path().display();
        HostError::permanent(format!("append to {path}"), cause.to_string())
    }

    /// Puts a record down.
    pub(super) fn add<D: Serialize>(&mut self, kind: &str, data: &D) -> Result<(), HostError> {
        let entry = Entry {
            at: self.at,
            kind,
            path: None,
            attempt: None,
            data,
        };
        let head = encode(&self.head, &entry, &mut self.bytes).map_err(|e| self.wrong(e))?;
        if head.seq == 1 {
            self.first = Some(head.hash);
        }
        self.head = head;
        Ok(())
    }

    /// Puts down, signed, where the ledger stands.
    pub(super) fn checkpoint(&mut self, signer: &Signer) -> Result<Checkpoint, HostError> {
        let origin = origin(self.state);
        let checkpoint = Checkpoint::sign(signer, self.ledger()?, origin, self.head, self.at);
        self.add(CHECKPOINT_KIND, &checkpoint)?;
        Ok(checkpoint)
    }

    /// Which ledger it is: the hash of its first record.
    pub(super) fn ledger(&self) -> Result<Digest, HostError> {
        match self.first {
            Some(first) => Ok(first),
            None => first_record(self.file.file())
                .map_err(|e| HostError::io(format!("read {}", self.file.path().display()), &e))?
                .ok_or_else(|| self.wrong("its first record is gone")),
        }
    }

    /// Writes what was put down.
    pub(super) fn flush(&mut self) -> Result<(), HostError> {
        self.file.append(&self.bytes)?;
        self.bytes.clear();
        Ok(())
    }
}

/// The hash of the first record of a file, which torn bytes may stand before.
fn first_record(file: &File) -> std::io::Result<Option<Digest>> {
    let mut file = file.try_clone()?;
    std::io::Seek::rewind(&mut file)?;
    let mut lines = Lines::new(BufReader::new(file));
    for _ in 0..=MAX_TORN_LINES {
        let Some(line) = lines.next()? else { break };
        if let Ok(record) = Record::read(line.bytes)
            && record.follows(&Head::EMPTY)
        {
            return Ok(Some(record.hash));
        }
    }
    Ok(None)
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
