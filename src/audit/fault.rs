//! What can be wrong with a chain of records, in words that name the record.

use super::record::VERSION;
use crate::host::HostError;

/// What is wrong with a journal or with the ledger.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Fault {
    /// The file ends within a record, and nothing says that it was whole: what was being written
    /// when the engine or the machine ended. Everything before it verifies.
    #[error(
        "the last {bytes} bytes, from byte {at} on, are torn: what was being written when the \
         engine or the machine ended"
    )]
    Torn {
        /// Where the torn bytes begin.
        at: u64,
        /// How many there are.
        bytes: u64,
    },
    /// Someone changed it, or the disk did.
    #[error("record {seq} was tampered with: {what}")]
    Tampered {
        /// Which record.
        seq: u64,
        /// What is wrong with it.
        what: Tampering,
    },
    /// It was written by another version of runbook.
    #[error("record {seq} has format version {version}; this runbook reads version {VERSION}")]
    Version {
        /// The first such record.
        seq: u64,
        /// Its version.
        version: u32,
    },
    /// A record that verifies, of a known kind, with data that are not of that kind.
    #[error("record {seq}, a `{kind}`, verifies, but cannot be read: {cause}")]
    Unreadable {
        /// Which record.
        seq: u64,
        /// Its kind.
        kind: String,
        /// What is wrong with its data.
        cause: String,
    },
    /// The system could not read it.
    #[error(transparent)]
    Host(#[from] HostError),
}

/// What is wrong with a record that does not verify.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Tampering {
    /// What stands in its place is no record.
    #[error("it is no record: {cause}")]
    Malformed {
        /// Why not.
        cause: String,
    },
    /// Its bytes are not those that were chained.
    #[error("it was edited: its hash is not the one that the chain has{}", maybe_next(*.or_next))]
    Edited {
        /// Whether it may as well be the record after it that was edited, or added: the last of a run
        /// that has not ended, to which nothing is chained.
        or_next: bool,
    },
    /// It is not there, and maybe more after it.
    #[error("it is missing{}", and_up_to(*.seq, *.last))]
    Removed {
        /// The record itself.
        seq: u64,
        /// The last one that is missing.
        last: u64,
    },
    /// Something stands in front of it that the chain does not know.
    #[error("a line stands before it that the chain does not know")]
    Inserted,
    /// Its number stands twice.
    #[error("its number stands twice: one of the two was inserted")]
    Repeated,
    /// Another record stands in its place, and it stands further down.
    #[error("record {found} stands in its place, and it stands further down")]
    OutOfOrder {
        /// The record that stands in its place.
        found: u64,
    },
    /// It is not there although the ledger knows it; the file was cut off.
    #[error("it is missing at the end: the ledger knows {records} records of this run")]
    CutOff {
        /// How many the ledger knows.
        records: u64,
    },
    /// It came after the run's end.
    #[error("it was added after the run's end: the ledger knows {records} records of this run")]
    Added {
        /// How many the ledger knows.
        records: u64,
    },
    /// The last record is not the one that the ledger has.
    #[error(
        "its hash is not the one that the ledger has: it was edited, or one before it was, with \
         the rest chained anew"
    )]
    Rechained,
    /// The journal is that of another run.
    #[error("it begins another run: {found}")]
    OtherRun {
        /// What it begins.
        found: String,
    },
    /// It says that torn bytes stand before it, and they do not.
    #[error(
        "it sets torn bytes aside, and what stands before it is not them, or is nothing that a crash \
         leaves"
    )]
    NotAside,
    /// It and the ledger's line of the run's start or end do not say the same; the ledger's last
    /// line is chained to by nothing yet.
    #[error("the ledger has another {field} of this run")]
    LedgerDiffers {
        /// Which field.
        field: &'static str,
    },
    /// It says that the run succeeded, which is not what the records before it say.
    #[error("it says that the run succeeded, and `{step}` had failed")]
    Contradicts {
        /// A step that had failed.
        step: String,
    },
    /// It is signed, or brings a key, and that is not true.
    #[error("{cause}")]
    Signature {
        /// What is wrong.
        cause: String,
    },
    /// A checkpoint should stand in its place.
    #[error("the checkpoint that follows record {end} should stand in its place")]
    NoCheckpoint {
        /// The record that it should follow.
        end: u64,
    },
    /// A witness knows it otherwise.
    #[error("{witness} saw another one in its place at {at:.0}: the ledger was chained anew")]
    Witnessed {
        /// Who.
        witness: String,
        /// When; wall time.
        at: jiff::Timestamp,
    },
    /// It is not there, although a witness saw it.
    #[error("it is missing at the end: {witness} saw {records} records at {at:.0}")]
    CutOffSince {
        /// Who.
        witness: String,
        /// When; wall time.
        at: jiff::Timestamp,
        /// How many records there were.
        records: u64,
    },
    /// A file that it names is gone or is another one.
    #[error("it names {file}, and that {cause}")]
    File {
        /// The file, relative to the run's folder.
        file: String,
        /// What is wrong with it.
        cause: String,
    },
}

fn maybe_next(or_next: bool) -> &'static str {
    if or_next {
        "; or the record after it, the last one, was edited or added"
    } else {
        ""
    }
}

fn and_up_to(seq: u64, last: u64) -> String {
    if last > seq {
        format!(", like those after it up to record {last}")
    } else {
        String::new()
    }
}

impl Fault {
    /// Whether it is no more than what a crash leaves.
    pub fn is_torn(&self) -> bool {
        matches!(self, Self::Torn { .. })
    }

    pub(super) fn tampered(seq: u64, what: Tampering) -> Self {
        Self::Tampered { seq, what }
    }
}
