//! Checkpoints: signed statements of where the ledger stands, one after each run's end.
//!
//! A checkpoint is a line of the ledger itself, and the same goes to witnesses, who keep it where
//! whoever can write to the state folder cannot. What is signed is a text, so that it can be checked
//! with openssl alone (see `docs/audit.md`).

use serde::{Deserialize, Serialize};

use super::key::{PublicKey, Signer};
use super::record::{Digest, Head, utc};
use crate::host::{StateDir, identity};

/// The kind of a checkpoint's line.
pub const CHECKPOINT_KIND: &str = "audit.checkpoint";

/// The kind of the line that brings a key: what signs checkpoints from there on.
pub const KEY_KIND: &str = "audit.key";

/// A signed statement of where a ledger stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// Which ledger: the hash of its first record.
    pub ledger: Digest,
    /// Where it is kept: the machine, and the state folder on it.
    pub origin: String,
    /// How many records it has.
    pub records: u64,
    /// The hash of the last of them.
    pub last_hash: Digest,
    /// When; wall time.
    #[serde(deserialize_with = "utc")]
    pub at: jiff::Timestamp,
    /// The key's name.
    pub key: Digest,
    /// The key's signature under [`Checkpoint::statement`], in base64.
    pub signature: String,
}

impl Checkpoint {
    /// Says, and signs, that the ledger `ledger` stands at `head`.
    pub(super) fn sign(
        signer: &Signer,
        ledger: Digest,
        origin: String,
        head: Head,
        at: jiff::Timestamp,
    ) -> Self {
        let mut checkpoint = Self {
            ledger,
            origin,
            records: head.seq,
            last_hash: head.hash,
            at,
            key: signer.public().id(),
            signature: String::new(),
        };
        checkpoint.signature = signer.sign(&checkpoint.statement());
        checkpoint
    }

    /// What is signed: six lines.
    pub fn statement(&self) -> String {
        let Self {
            ledger,
            origin,
            records,
            last_hash,
            at,
            ..
        } = self;
        format!("runbook checkpoint v1\n{ledger}\n{origin}\n{records}\n{last_hash}\n{at}\n")
    }

    /// For witnesses: one line of JSON, without a newline.
    pub fn to_line(&self) -> String {
        // Texts and numbers: there is nothing in it that is no JSON.
        serde_json::to_string(self).unwrap_or_default()
    }

    /// Where it says that the ledger stands.
    pub fn head(&self) -> Head {
        Head {
            seq: self.records,
            hash: self.last_hash,
        }
    }

    /// Whether `key` has signed it.
    pub fn is_signed_by(&self, key: &PublicKey) -> bool {
        self.key == key.id() && key.has_signed(&self.statement(), &self.signature)
    }
}

/// Where a ledger is kept, in one line.
pub(super) fn origin(state: &StateDir) -> String {
    let path = state.path().to_string_lossy();
    format!("{}:{}", identity::host_name(), path.escape_default())
}

/// The data of the line that brings a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyLine {
    /// The public key: its 32 bytes in base64.
    pub key: String,
    /// Who made it.
    pub user: String,
    /// That the key before agrees; nothing where there was none, or it was lost.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replaces: Option<Replaces>,
}

/// The key before says that another one takes its place.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Replaces {
    /// The name of the key before.
    pub key: Digest,
    /// Its signature under [`succession`], in base64.
    pub signature: String,
}

/// What the key before signs: three lines.
pub(super) fn succession(ledger: Digest, key: &PublicKey) -> String {
    format!("runbook key v1\n{ledger}\n{key}\n")
}
