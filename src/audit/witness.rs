//! What witnesses know of the ledger: checkpoints that they were sent, compared with what it says
//! today.
//!
//! Whoever has the key and can write to the state folder can write another history and sign it. What
//! they cannot do is to take back what a witness has seen.

use std::fmt;

use super::checkpoint::Checkpoint;
use super::fault::Tampering;
use super::index::LedgerReading;
use super::signatures::Signatures;

/// What a witness says.
#[derive(Clone, Debug)]
pub struct Testimony {
    /// What it is called.
    pub witness: String,
    /// What it has kept, line by line; a checkpoint stands anywhere in a line. Else why it could not
    /// be asked.
    pub lines: Result<Vec<String>, String>,
}

/// What is true of the ledger according to one witness.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WitnessVerdict {
    /// Everything that it saw is still so.
    Agrees {
        /// How many checkpoints of this ledger it has.
        checkpoints: u64,
        /// How many records the ledger had at the last of them.
        records: u64,
        /// When that was.
        at: jiff::Timestamp,
    },
    /// It saw something else.
    Contradicts {
        /// The record up to which it agrees.
        agrees_to: u64,
        /// The first record where they differ.
        seq: u64,
        /// How.
        what: Tampering,
    },
    /// It saw another ledger at this place.
    OtherLedger {
        /// How many records that had.
        records: u64,
        /// When it was seen last.
        at: jiff::Timestamp,
    },
    /// It has a checkpoint of this ledger by a key that the ledger does not have.
    OtherKey {
        /// How many records the ledger had then.
        records: u64,
        /// When.
        at: jiff::Timestamp,
    },
    /// It has none of this ledger, which has some.
    Nothing,
    /// It could not be asked.
    Unreachable(String),
}

impl WitnessVerdict {
    /// Whether the ledger is what it saw.
    pub fn is_good(&self) -> bool {
        matches!(self, Self::Agrees { .. })
    }

    /// Whether it is only not known: nobody was there to ask.
    pub fn is_unknown(&self) -> bool {
        matches!(self, Self::Unreachable(_))
    }
}

impl fmt::Display for WitnessVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Agrees {
                checkpoints,
                records,
                at,
            } => {
                let s = if *checkpoints == 1 { "" } else { "s" };
                let plural = format!("{checkpoints} checkpoint{s}");
                write!(
                    f,
                    "{plural}; saw the ledger up to record {records} at {at:.0}"
                )
            }
            Self::Contradicts {
                agrees_to,
                seq,
                what,
            } => {
                write!(
                    f,
                    "record {seq} of the ledger was tampered with: {what}; it agrees up to record {agrees_to}"
                )
            }
            Self::OtherLedger { records, at } => write!(
                f,
                "it saw another ledger here, of {records} records, at {at:.0}: that was taken away"
            ),
            Self::OtherKey { records, at } => write!(
                f,
                "it saw {records} records of the ledger at {at:.0}, signed by a key that the ledger does not have"
            ),
            Self::Nothing => f.write_str(
                "it has no checkpoint of this ledger; `runbook audit checkpoint` sends one",
            ),
            Self::Unreachable(cause) => f.write_str(cause),
        }
    }
}

/// The checkpoints in a line: alone, behind what a log puts before it, or several in a list.
fn checkpoints_in(line: &str) -> impl Iterator<Item = Checkpoint> {
    line.match_indices("{\"ledger\":\"")
        .filter_map(|(start, _)| {
            let mut read = serde_json::Deserializer::from_str(&line[start..]).into_iter();
            read.next()?.ok()
        })
}

/// What `testimony` means for the ledger `reading` of the folder `origin`.
pub(super) fn judge(
    reading: &LedgerReading,
    origin: &str,
    testimony: &Testimony,
) -> WitnessVerdict {
    let lines = match &testimony.lines {
        Ok(lines) => lines,
        Err(cause) => return WitnessVerdict::Unreachable(cause.clone()),
    };
    let seen: Vec<Checkpoint> = lines.iter().flat_map(|line| checkpoints_in(line)).collect();
    let ours = |seen: &&Checkpoint| Some(seen.ledger) == reading.signatures.ledger;
    let (mut known, mut strange) = (Vec::new(), None);
    for checkpoint in seen.iter().filter(ours) {
        match is_genuine(&reading.signatures, checkpoint) {
            Some(true) => known.push(checkpoint),
            // Signed by nobody: it says nothing, whoever wrote it there.
            Some(false) => {}
            None => strange = strange.or(Some(checkpoint)),
        }
    }
    known.sort_by_key(|checkpoint| checkpoint.records);
    // A log may have kept the same several times.
    known.dedup();
    let mut agrees_to = 0;
    for checkpoint in &known {
        let at = usize::try_from(checkpoint.records).unwrap_or(usize::MAX);
        let hash = at.checked_sub(1).and_then(|at| reading.hashes.get(at));
        if hash == Some(&checkpoint.last_hash) {
            agrees_to = checkpoint.records;
            continue;
        }
        let (witness, at) = (testimony.witness.clone(), checkpoint.at);
        let (seq, what) = match hash {
            Some(_) => (checkpoint.records, Tampering::Witnessed { witness, at }),
            None => {
                let records = checkpoint.records;
                (
                    reading.records + 1,
                    Tampering::CutOffSince {
                        witness,
                        at,
                        records,
                    },
                )
            }
        };
        return WitnessVerdict::Contradicts {
            agrees_to,
            seq,
            what,
        };
    }
    if let Some(Checkpoint { records, at, .. }) = strange {
        let (records, at) = (*records, *at);
        return WitnessVerdict::OtherKey { records, at };
    }
    let mut others = seen
        .iter()
        .filter(|seen| !ours(seen) && seen.origin == origin);
    if let Some(Checkpoint { records, at, .. }) = others.next_back() {
        let (records, at) = (*records, *at);
        return WitnessVerdict::OtherLedger { records, at };
    }
    match known.last() {
        Some(last) => WitnessVerdict::Agrees {
            checkpoints: known.len() as u64,
            records: last.records,
            at: last.at,
        },
        None => WitnessVerdict::Nothing,
    }
}

/// Whether one of the ledger's keys has signed `checkpoint`; `None` where it names another key.
fn is_genuine(signatures: &Signatures, checkpoint: &Checkpoint) -> Option<bool> {
    let mut keys = signatures.keys.iter();
    let brought = keys.find(|brought| brought.key.id() == checkpoint.key)?;
    Some(checkpoint.is_signed_by(&brought.key))
}
