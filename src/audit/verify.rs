//! Verifying: the ledger, and the journal of each run against it.
//!
//! Everything is looked at and everything is told; nothing stops at the first thing that is wrong.

use std::collections::BTreeSet;
use std::fmt;

use super::chain::SetAside;
use super::check::Checked;
use super::checkpoint::origin;
use super::fault::{Fault, Tampering};
use super::index::{LedgerReading, LedgerRun, lookup};
use super::key::PublicKey;
use super::read::AuditError;
use super::trust::SignedReport;
use super::witness::{self, Testimony, WitnessVerdict};
use crate::base::RunId;
use crate::host::{StateDir, records};

/// What is true of a run's record.
#[derive(Clone, Debug)]
pub enum RunVerdict {
    /// It verifies.
    Good {
        /// How many records it has.
        records: u64,
        /// Whether the ledger has its end, so that nothing can be missing.
        ended: bool,
    },
    /// It has not ended, and verifies but for its end: what was being written when the engine or
    /// the machine ended.
    Torn {
        /// How many records verify.
        records: u64,
        /// How many bytes are torn.
        bytes: u64,
    },
    /// It verifies and has its own end, of which the ledger does not know: its engine ended in
    /// between, or the ledger was cut off.
    EndNotInLedger {
        /// How many records it has.
        records: u64,
    },
    /// It is not in the ledger and has done nothing: its engine ended before it began, or begins
    /// just now.
    NotStarted,
    /// The name is not that of a run.
    NoRun,
    /// It does not verify.
    Tampered {
        /// Which record.
        seq: u64,
        /// What is wrong with it.
        what: Tampering,
    },
    /// Its records were taken away because they were old, and the ledger says so.
    Pruned {
        /// When.
        at: jiff::Timestamp,
        /// By whom.
        user: String,
    },
    /// The ledger has it, and it has no journal.
    Missing,
    /// It has done something, and the ledger does not have it.
    NotInLedger {
        /// How many records it has.
        records: u64,
    },
    /// It cannot be read: it is one of another version, or the system refused.
    Unreadable(Fault),
}

impl RunVerdict {
    /// Whether it is nothing but what a run, or a crash, leaves.
    pub fn is_good(&self) -> bool {
        match self {
            Self::Good { .. }
            | Self::Torn { .. }
            | Self::EndNotInLedger { .. }
            | Self::NotStarted
            | Self::Pruned { .. }
            | Self::NoRun => true,
            Self::Tampered { .. }
            | Self::Missing
            | Self::NotInLedger { .. }
            | Self::Unreadable(_) => false,
        }
    }
}

impl fmt::Display for RunVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Good { records, ended } => {
                let so_far = if *ended { "" } else { ", not ended" };
                write!(f, "ok, {records} records{so_far}")
            }
            Self::Torn { records, bytes } => {
                write!(
                    f,
                    "ok, {records} records, and {bytes} torn bytes after them"
                )
            }
            Self::EndNotInLedger { records } => {
                write!(f, "ok, {records} records; the ledger does not have its end")
            }
            Self::NotStarted => f.write_str("ok, nothing was done"),
            Self::NoRun => f.write_str("not the name of a run"),
            Self::Pruned { at, user } => write!(f, "ok, pruned by {user} at {at:.0}"),
            Self::Tampered { seq, what } => write!(f, "record {seq} was tampered with: {what}"),
            Self::Missing => f.write_str("its journal is missing; the ledger has this run"),
            Self::NotInLedger { records } => {
                write!(
                    f,
                    "it has {records} records, and the ledger does not have it"
                )
            }
            Self::Unreadable(fault) => fault.fmt(f),
        }
    }
}

/// What is true of one name in the folder of runs, or of one run in the ledger.
#[derive(Clone, Debug)]
pub struct RunReport {
    /// The run's id, or the name that is none.
    pub name: String,
    /// What is true of it.
    pub verdict: RunVerdict,
    /// Torn bytes that a later resume set aside.
    pub set_aside: Vec<SetAside>,
}

/// What is true of the ledger.
#[derive(Clone, Debug)]
pub struct LedgerReport {
    /// How many records verify.
    pub records: u64,
    /// Torn bytes that later runs set aside.
    pub set_aside: Vec<SetAside>,
    /// What is wrong with it. A torn end is what a crash leaves; the next run sets it aside.
    pub fault: Option<Fault>,
}

/// What is true of a state folder.
#[derive(Clone, Debug)]
pub struct Verification {
    /// Of its ledger.
    pub ledger: LedgerReport,
    /// Of the signatures in it.
    pub signed: SignedReport,
    /// What witnesses say of it, by their names.
    pub witnesses: Vec<(String, WitnessVerdict)>,
    /// Of its runs, by name.
    pub runs: Vec<RunReport>,
    /// How many runs of the ledger are not looked at because an export does not have them.
    pub elsewhere: usize,
}

impl Verification {
    /// Whether there is nothing but what runs, and crashes, leave, and nobody says otherwise. A witness
    /// that could not be asked does not count: see [`Verification::is_complete`].
    pub fn is_good(&self) -> bool {
        let mut witnesses = self.witnesses.iter().map(|(_, verdict)| verdict);
        self.ledger.fault.as_ref().is_none_or(Fault::is_torn)
            && self.signed.is_good()
            && witnesses.all(|verdict| verdict.is_good() || verdict.is_unknown())
            && self.runs.iter().all(|run| run.verdict.is_good())
    }

    /// Whether every witness could be asked.
    pub fn is_complete(&self) -> bool {
        let mut witnesses = self.witnesses.iter();
        !witnesses.any(|(_, verdict)| verdict.is_unknown())
    }
}

/// What a state folder is verified against, besides itself.
#[derive(Clone, Debug, Default)]
pub struct Against {
    /// The key that is trusted; the one in the state folder where there is none.
    pub key: Option<PublicKey>,
    /// What witnesses say.
    pub testimonies: Vec<Testimony>,
    /// The runs that are there, where it is an export: the ledger has others, and their folders are
    /// elsewhere.
    pub exported: Option<BTreeSet<RunId>>,
}

/// Verifies the ledger of `state` and all of its runs, or `only` one.
///
/// # Errors
/// When the state folder cannot be read, or the one run is neither in it nor in its ledger.
pub fn verify(
    state: &StateDir,
    only: Option<&RunId>,
    against: &Against,
) -> Result<Verification, AuditError> {
    // The folders first: a run that begins after that is not looked at.
    let mut names: BTreeSet<String> = records::run_names(state)?
        .iter()
        .map(|name| name.to_string_lossy().into_owned())
        .collect();
    let ledger = LedgerReading::read(state)?;
    names.extend(ledger.runs.keys().map(ToString::to_string));
    let all = names.len();
    if let Some(run) = only {
        if !names.contains(run.as_str()) {
            let (run, path) = (run.clone(), state.run(run));
            return Err(AuditError::Missing { run, path });
        }
        names.retain(|name| name == run.as_str());
    } else if let Some(exported) = &against.exported {
        let is_there = |name: &String| state.runs().join(name).exists();
        let exported: BTreeSet<&str> = exported.iter().map(RunId::as_str).collect();
        names.retain(|name| exported.contains(name.as_str()) || is_there(name));
        // What the export promises has to be there, also where its ledger does not know it.
        names.extend(exported.into_iter().map(str::to_owned));
    }
    let elsewhere = match (&against.exported, only) {
        (Some(_), None) => all.saturating_sub(names.len()),
        _ => 0,
    };
    let runs = names.into_iter().map(|name| {
        let (verdict, set_aside) = match RunId::parse(&name) {
            Some(run) => verify_run(state, &run, ledger.runs.get(&run)),
            None => (RunVerdict::NoRun, Vec::new()),
        };
        RunReport {
            name,
            verdict,
            set_aside,
        }
    });
    let runs = runs.collect();
    let signed = SignedReport::of(
        state,
        &ledger.signatures,
        against.key.as_ref(),
        ledger.records,
    )?;
    let origin = origin(state);
    let witnesses = { against.testimonies.iter() }
        .map(|said| (said.witness.clone(), witness::judge(&ledger, &origin, said)))
        .collect();
    Ok(Verification {
        ledger: LedgerReport {
            records: ledger.records,
            set_aside: ledger.set_aside,
            fault: ledger.fault,
        },
        signed,
        witnesses,
        runs,
        elsewhere,
    })
}

/// What is true of one run of which the ledger says `known`.
pub(super) fn verify_known(state: &StateDir, run: &RunId, known: Option<&LedgerRun>) -> RunVerdict {
    verify_run(state, run, known).0
}

fn verify_run(
    state: &StateDir,
    run: &RunId,
    known: Option<&LedgerRun>,
) -> (RunVerdict, Vec<SetAside>) {
    let checked = Checked::of(state, run, known);
    let has_end = checked.as_ref().is_ok_and(|checked| checked.has_end);
    let ended = known.is_some_and(|known| known.end.is_some());
    if known.is_some() && ended >= has_end {
        return judge(checked, known);
    }
    // The journal is ahead of the ledger: the run may have begun or ended since that was read.
    match lookup(state, run) {
        Ok(Some(known)) => judge(Checked::of(state, run, Some(&known)), Some(&known)),
        Ok(None) => judge(checked, known),
        Err(error) => (RunVerdict::Unreadable(error.into()), Vec::new()),
    }
}

fn judge(
    checked: Result<Checked, AuditError>,
    known: Option<&LedgerRun>,
) -> (RunVerdict, Vec<SetAside>) {
    // A crash may have left a part of it.
    if let Some((at, user)) = known.and_then(|known| known.pruned.clone()) {
        return (RunVerdict::Pruned { at, user }, Vec::new());
    }
    let checked = match checked {
        Ok(checked) => checked,
        Err(AuditError::Host(error)) => {
            return (RunVerdict::Unreadable(error.into()), Vec::new());
        }
        Err(_) if known.is_none() => return (RunVerdict::NotStarted, Vec::new()),
        Err(_) => return (RunVerdict::Missing, Vec::new()),
    };
    let records = checked.records;
    let ended = known.is_some_and(|known| known.end.is_some());
    let verdict = match checked.fault {
        Some(Fault::Tampered { seq, what }) => RunVerdict::Tampered { seq, what },
        Some(fault) if !fault.is_torn() => RunVerdict::Unreadable(fault),
        _ if known.is_none() && records <= 1 => RunVerdict::NotStarted,
        _ if known.is_none() => RunVerdict::NotInLedger { records },
        Some(Fault::Torn { bytes, .. }) => RunVerdict::Torn { records, bytes },
        _ if checked.has_end && !ended => RunVerdict::EndNotInLedger { records },
        _ => RunVerdict::Good { records, ended },
    };
    (verdict, checked.set_aside)
}
