//! The record: a journal a run, and the ledger over all runs; written so that nothing is lost
//! unseen, read so that nothing changed unseen. `docs/audit.md` says it for people.
//!
//! | to | there is |
//! | --- | --- |
//! | record a run | [`Trail`]: its journal ([`FileJournal`]) and its lines in the [`Ledger`] |
//! | read one back | [`find_run`], [`load_run`], [`JournalReader`] |
//! | list them | [`history()`] |
//! | verify them | [`verify()`] |
//!
//! It knows events and the host's door to our own files, and nothing of steps or of the terminal.

mod chain;
mod check;
mod checkpoint;
mod diagnose;
mod durations;
mod export;
mod fault;
mod find;
mod history;
mod index;
mod journal;
mod key;
mod keygen;
mod ledger;
mod lines;
mod prune;
mod read;
mod record;
mod signatures;
mod tail;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod trail;
mod trust;
mod verify;
mod witness;

pub use chain::{Records, Seals, SetAside, Torn};
pub use checkpoint::Checkpoint;
pub use durations::durations;
pub use export::{EXPORT_FILE, Export, Range, export, read_export};
pub use fault::{Fault, Tampering};
pub use find::{FindError, find_run};
pub use history::{History, HistoryEntry, history};
pub use index::{LedgerReading, LedgerRun, Newest, lookup};
pub use journal::{FileJournal, JOURNAL_FILE};
pub use key::{PublicKey, Signer};
pub use keygen::{KeygenError, NewKey};
pub use ledger::{
    END_KIND, Ledger, PRUNE_KIND, Pruned, RESUME_KIND, RunEnded, RunResumed, RunStarted, START_KIND,
};
pub use prune::{OldRun, PrunePolicy, Taken, old_runs, prune};
pub use read::{AuditError, JournalReader, load_run, load_taken_over};
pub use record::{Digest, Entry, Head, MAX_RECORD, NoRecord, Record, TORN_KIND, VERSION, encode};
pub use signatures::{Brought, Signatures};
pub use trail::Trail;
pub use trust::{Distrust, SignedReport};
pub use verify::{Against, LedgerReport, RunReport, RunVerdict, Verification, verify};
pub use witness::{Testimony, WitnessVerdict};
