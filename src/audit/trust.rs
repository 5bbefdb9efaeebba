//! Whether the keys that signed the ledger are those that whoever verifies trusts.

use std::fmt;

use super::key::PublicKey;
use super::record::Digest;
use super::signatures::Signatures;
use crate::host::{HostError, StateDir};

/// Why the signatures of a ledger are not trusted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Distrust {
    /// The trusted key never signed anything in it.
    NotThere {
        /// The key that is trusted.
        key: Digest,
        /// Where it comes from.
        from: &'static str,
    },
    /// After the trusted key another one came, for which it does not vouch.
    Stranger {
        /// The other key.
        key: Digest,
        /// The record that brought it.
        seq: u64,
    },
    /// The state folder signs with another key than the ledger's last.
    NotLast {
        /// The folder's key.
        key: Digest,
        /// The ledger's.
        last: Digest,
    },
    /// The ledger is signed, and the folder's public key is not there.
    Gone,
    /// What lies in the place of the public key is none.
    NoKey,
}

impl fmt::Display for Distrust {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotThere { key, from } => {
                write!(f, "the ledger does not have the key {key}, {from}")
            }
            Self::Stranger { key, seq } => write!(
                f,
                "record {seq} brings the key {key}, and the key before has not signed that"
            ),
            Self::NotLast { key, last } => write!(
                f,
                "keys/checkpoint.pub is {key}, and the ledger is signed by {last}"
            ),
            Self::Gone => f.write_str(
                "the ledger is signed, and keys/checkpoint.pub is gone; verify with a copy: `--key`",
            ),
            Self::NoKey => f.write_str("keys/checkpoint.pub is no Ed25519 key in PEM"),
        }
    }
}

/// What is true of a ledger's signatures.
#[derive(Clone, Debug, Default)]
pub struct SignedReport {
    /// How many checkpoints are true.
    pub checkpoints: u64,
    /// How many records the last of them vouches for, and when it was signed.
    pub up_to: Option<(u64, jiff::Timestamp)>,
    /// How many records follow the last checkpoint: those of runs that have not ended.
    pub unsigned: u64,
    /// The key that signs now.
    pub key: Option<Digest>,
    /// Whether that is, or descends from, a key that whoever verifies brought along.
    pub is_anchored: bool,
    /// Records after the first key that brought another one, for which no key before vouches.
    pub unvouched: Vec<u64>,
    /// Why they are not trusted.
    pub distrust: Option<Distrust>,
}

impl SignedReport {
    /// Of `signatures`, with the key that is `trusted`, else the one of the folder.
    pub(super) fn of(
        state: &StateDir,
        signatures: &Signatures,
        trusted: Option<&PublicKey>,
        records: u64,
    ) -> Result<Self, HostError> {
        let last = signatures.last.as_ref();
        let distrust = match trusted {
            Some(key) => of_trusted(signatures, key, "which was given with `--key`"),
            None => of_folder(state, signatures)?,
        };
        let later = signatures.keys.iter().skip(1);
        let unvouched = later.filter(|brought| !brought.is_vouched_for);
        Ok(Self {
            unvouched: unvouched.map(|brought| brought.seq).collect(),
            // The checkpoint itself is one more record than it vouches for.
            unsigned: last.map_or(0, |last| records.saturating_sub(last.records + 1)),
            checkpoints: signatures.checkpoints,
            up_to: last.map(|last| (last.records, last.at)),
            key: signatures.keys.last().map(|brought| brought.key.id()),
            is_anchored: trusted.is_some() && distrust.is_none(),
            distrust,
        })
    }

    /// Whether nothing speaks against them.
    pub fn is_good(&self) -> bool {
        self.distrust.is_none()
    }
}

fn of_trusted(signatures: &Signatures, key: &PublicKey, from: &'static str) -> Option<Distrust> {
    let Some(brought) = signatures.from_key(key) else {
        let key = key.id();
        return Some(Distrust::NotThere { key, from });
    };
    let stranger = signatures.stranger_after(brought.seq)?;
    Some(Distrust::Stranger {
        key: stranger.key.id(),
        seq: stranger.seq,
    })
}

fn of_folder(state: &StateDir, signatures: &Signatures) -> Result<Option<Distrust>, HostError> {
    let Some(text) = state.read_checkpoint_pub()? else {
        return Ok((!signatures.keys.is_empty()).then_some(Distrust::Gone));
    };
    let Some(key) = PublicKey::read(&text) else {
        return Ok(Some(Distrust::NoKey));
    };
    let key = key.id();
    Ok(match signatures.keys.last() {
        None => Some(Distrust::NotThere {
            key,
            from: "which is in keys/checkpoint.pub",
        }),
        Some(last) if last.key.id() != key => Some(Distrust::NotLast {
            key,
            last: last.key.id(),
        }),
        Some(_) => None,
    })
}
