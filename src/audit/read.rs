//! Reading a run back: its journal, verified record by record, and its state.

use std::fs::File;
use std::io::BufReader;
use std::path::PathBuf;

use serde::Deserialize;

use super::chain::{Records, Seals, SetAside};
use super::fault::{Fault, Tampering};
use super::index::lookup;
use super::journal::JOURNAL_FILE;
use super::ledger::START_KIND;
use super::record::{Head, Record};
use crate::base::RunId;
use crate::event::{Event, Happening, RunState, RunStatus};
use crate::host::{HostError, StateDir, records, run_folder};

/// Why a run cannot be read.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AuditError {
    /// The system could not read it.
    #[error(transparent)]
    Host(#[from] HostError),
    /// It has no journal.
    #[error("run {run} has no journal: there is no {}", .path.display())]
    Missing {
        /// The run.
        run: RunId,
        /// Where its journal should be.
        path: PathBuf,
    },
    /// Its journal has no record: its engine ended before it wrote one, or it was cut off, which
    /// [`super::verify()`] tells.
    #[error("the journal of run {run} is empty: its engine ended before it began")]
    Nothing {
        /// The run.
        run: RunId,
    },
    /// Its journal does not verify.
    #[error("the journal of run {run} does not verify: {fault}")]
    Journal {
        /// The run.
        run: RunId,
        /// What is wrong.
        fault: Fault,
    },
}

/// A journal, read and verified record by record. As an iterator it gives what happened, and passes
/// over kinds that this version does not know. After the first error it is at its end.
#[derive(Debug)]
pub struct JournalReader {
    run: RunId,
    records: Records<BufReader<File>>,
    over: bool,
}

impl JournalReader {
    /// Opens the journal of run `id`, of which the ledger knows `seals`.
    ///
    /// # Errors
    /// When there is none, or it cannot be opened.
    pub fn open(state: &StateDir, id: &RunId, seals: Seals) -> Result<Self, AuditError> {
        let path = state.run(id).join(JOURNAL_FILE);
        let Some(file) = records::open(&path)? else {
            let run = id.clone();
            return Err(AuditError::Missing { run, path });
        };
        Ok(Self {
            run: id.clone(),
            records: Records::new(BufReader::with_capacity(1 << 16, file), seals),
            over: false,
        })
    }

    /// The next record, of whatever kind.
    ///
    /// # Errors
    /// When it does not verify.
    pub fn next_record(&mut self) -> Option<Result<Record, Fault>> {
        if self.over {
            return None;
        }
        let record = self.records.next()?.and_then(|record| self.check(record));
        self.over = record.is_err();
        Some(record)
    }

    /// Where the chain stands after what was read.
    pub fn head(&self) -> Head {
        self.records.head()
    }

    /// The torn bytes that were set aside in the part that was read.
    pub fn set_aside(&self) -> &[SetAside] {
        self.records.set_aside()
    }

    /// The first record says whose journal it is.
    fn check(&self, record: Record) -> Result<Record, Fault> {
        #[derive(Deserialize)]
        struct Begins {
            run: RunId,
        }
        if record.seq > 1 {
            return Ok(record);
        }
        let found = match record.data::<Begins>() {
            Ok(Begins { run }) if record.kind == START_KIND && run == self.run => {
                return Ok(record);
            }
            Ok(Begins { run }) => run.to_string(),
            Err(_) => format!("with a `{}`", record.kind),
        };
        Err(Fault::tampered(record.seq, Tampering::OtherRun { found }))
    }
}

/// What a record says happened; nothing for a kind that this version does not know.
fn happening(record: &Record) -> Result<Option<Happening>, Fault> {
    let unreadable = |cause: String| Fault::Unreadable {
        seq: record.seq,
        kind: record.kind.clone(),
        cause,
    };
    if !Event::KINDS.contains(&record.kind.as_str()) {
        return Ok(None);
    }
    let data = record.data().map_err(|e| unreadable(e.to_string()))?;
    let event = Event::from_parts(&record.kind, data).map_err(|e| unreadable(e.to_string()))?;
    let path = match &record.path {
        None => None,
        Some(path) => Some(
            path.parse()
                .map_err(|e: crate::base::id::ParsePathError| unreadable(e.to_string()))?,
        ),
    };
    Ok(event.map(|event| Happening {
        at: record.at,
        path,
        attempt: record.attempt,
        event,
    }))
}

impl Iterator for JournalReader {
    type Item = Result<Happening, Fault>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let read = self
                .next_record()?
                .and_then(|record| happening(&record))
                .transpose();
            if let Some(item) = read {
                self.over |= item.is_err();
                return Some(item);
            }
        }
    }
}

/// The state of run `id`, folded from its journal: the last that is known of it. A run that has not
/// ended and of which nothing lives any more counts as interrupted; then a torn end of its journal
/// is what is to be expected.
///
/// # Errors
/// When there is no such run, or its journal does not verify.
pub fn load_run(state: &StateDir, id: &RunId) -> Result<RunState, AuditError> {
    // In this order: what is dead now writes nothing more, and what has ended was written whole.
    let alive = run_folder::is_alive(state, id)?;
    load(state, id, seals(state, id)?, alive).map(|(run, _)| run)
}

/// The same of a run that the caller has taken over, and where its journal's chain stands.
///
/// # Errors
/// As [`load_run`].
pub fn load_taken_over(state: &StateDir, id: &RunId) -> Result<(RunState, Head), AuditError> {
    load(state, id, seals(state, id)?, false)
}

fn seals(state: &StateDir, id: &RunId) -> Result<Seals, HostError> {
    Ok(lookup(state, id)?
        .map(|run| run.seals())
        .unwrap_or_default())
}

/// The same, where it is known what the ledger says of it and whether anything of it lives.
pub(super) fn load(
    state: &StateDir,
    id: &RunId,
    seals: Seals,
    alive: bool,
) -> Result<(RunState, Head), AuditError> {
    let broken = |fault| AuditError::Journal {
        run: id.clone(),
        fault,
    };
    let mut folded: Option<RunState> = None;
    let mut reader = JournalReader::open(state, id, seals)?;
    for happening in reader.by_ref() {
        let happening = match happening {
            Ok(happening) => happening,
            Err(fault) if fault.is_torn() => break,
            Err(Fault::Host(error)) => return Err(error.into()),
            Err(fault) => return Err(broken(fault)),
        };
        match &mut folded {
            Some(run) => run.apply(&happening),
            None => folded = RunState::fold([&happening]),
        }
    }
    let mut run = folded.ok_or_else(|| AuditError::Nothing { run: id.clone() })?;
    if !alive && run.status == RunStatus::Running {
        run.interrupted();
    }
    Ok((run, reader.head()))
}
