//! What the ledger's signatures say: which keys signed it, whether every end of a run has its
//! checkpoint, and whether each checkpoint is true.
//!
//! A key is as good as the one before it that vouches for it. Whether the first is to be trusted, or
//! one that nobody vouches for, the ledger itself cannot say: whoever verifies brings the key that
//! they trust.

use super::checkpoint::{CHECKPOINT_KIND, Checkpoint, KEY_KIND, KeyLine, succession};
use super::fault::{Fault, Tampering};
use super::key::PublicKey;
use super::ledger::{END_KIND, PRUNE_KIND};
use super::record::{Digest, Head, Record, TORN_KIND};

/// A key that the ledger brought.
#[derive(Clone, Debug)]
pub struct Brought {
    /// The key.
    pub key: PublicKey,
    /// The record that brought it.
    pub seq: u64,
    /// Whether the key before has signed that; of the first, false.
    pub is_vouched_for: bool,
}

/// What the signatures in a ledger say.
#[derive(Clone, Debug, Default)]
pub struct Signatures {
    /// Which ledger it is: the hash of its first record.
    pub ledger: Option<Digest>,
    /// Its keys, in their order; the last one signs.
    pub keys: Vec<Brought>,
    /// How many checkpoints are true.
    pub checkpoints: u64,
    /// The last of them.
    pub last: Option<Checkpoint>,
    /// The record that a checkpoint has to follow, and none has yet.
    pub(super) open: Option<u64>,
}

impl Signatures {
    /// Takes in the next record of the ledger.
    ///
    /// # Errors
    /// What is wrong with it, or with what it follows.
    pub(super) fn take(&mut self, record: &Record) -> Result<(), Fault> {
        if record.seq == 1 {
            self.ledger = Some(record.hash);
        }
        let open = self.open.take();
        match record.kind.as_str() {
            KEY_KIND => {
                self.open = Some(record.seq);
                self.bring(record)?;
            }
            CHECKPOINT_KIND => return self.check(record),
            END_KIND | PRUNE_KIND if !self.keys.is_empty() => self.open = Some(record.seq),
            _ => {}
        }
        match open {
            // What a crash left stands where the checkpoint was being written.
            Some(end) if record.kind != TORN_KIND => Err(missing(record.seq, end)),
            _ => Ok(()),
        }
    }

    /// What is wrong with its end; `is_torn` says that a record was being written there.
    pub(super) fn at_end(&self, is_torn: bool) -> Result<(), Fault> {
        match self.open {
            Some(end) if !is_torn => Err(missing(end + 1, end)),
            _ => Ok(()),
        }
    }

    fn bring(&mut self, record: &Record) -> Result<(), Fault> {
        let wrong = |cause: &str| {
            let cause = cause.to_owned();
            Fault::tampered(record.seq, Tampering::Signature { cause })
        };
        let line: KeyLine = record
            .data()
            .map_err(|_| wrong("it brings a key, and that cannot be read"))?;
        let key = PublicKey::read(&line.key).ok_or_else(|| wrong("what it brings is no key"))?;
        let before = self.keys.last();
        let mut is_vouched_for = false;
        if let Some(replaces) = &line.replaces {
            let ledger = self.ledger.unwrap_or(Digest::ZERO);
            let statement = succession(ledger, &key);
            is_vouched_for = before.is_some_and(|before| {
                before.key.id() == replaces.key
                    && before.key.has_signed(&statement, &replaces.signature)
            });
            if !is_vouched_for {
                return Err(wrong(
                    "it brings another key, and the key before has not signed that",
                ));
            }
        }
        self.keys.push(Brought {
            key,
            seq: record.seq,
            is_vouched_for,
        });
        Ok(())
    }

    fn check(&mut self, record: &Record) -> Result<(), Fault> {
        let wrong = |cause: &str| {
            let cause = cause.to_owned();
            Fault::tampered(record.seq, Tampering::Signature { cause })
        };
        let checkpoint: Checkpoint = record
            .data()
            .map_err(|error| wrong(&format!("it is a checkpoint that cannot be read: {error}")))?;
        let Some(Brought { key, .. }) = self.keys.last() else {
            return Err(wrong("it is a checkpoint, and the ledger has no key"));
        };
        let before = Head {
            seq: record.seq - 1,
            hash: record.prev,
        };
        if Some(checkpoint.ledger) != self.ledger || checkpoint.head() != before {
            return Err(wrong("it is a checkpoint of another place"));
        }
        if checkpoint.at != record.at || !checkpoint.is_signed_by(key) {
            let cause = format!("its signature is not that of the ledger's key {}", key.id());
            return Err(wrong(&cause));
        }
        self.checkpoints += 1;
        self.last = Some(checkpoint);
        Ok(())
    }

    /// The checkpoints that `trusted` vouches for: from which record on its signatures, and those of
    /// the keys that it and its successors vouched for, count. `None` where the ledger does not have
    /// this key.
    pub fn from_key(&self, trusted: &PublicKey) -> Option<&Brought> {
        self.keys
            .iter()
            .rev()
            .find(|brought| brought.key == *trusted)
    }

    /// The first key after `since` that none before it vouches for.
    pub fn stranger_after(&self, since: u64) -> Option<&Brought> {
        let mut after = self.keys.iter().filter(|brought| brought.seq > since);
        after.find(|brought| !brought.is_vouched_for)
    }
}

fn missing(seq: u64, end: u64) -> Fault {
    Fault::tampered(seq, Tampering::NoCheckpoint { end })
}
