//! Making the key that signs checkpoints, or another one in its place.
//!
//! The new key is on disk beside the one in use before the ledger has it, and in use once the ledger
//! has it, all under the ledger's lock: so no checkpoint is ever signed by a key that the ledger does
//! not have. What a crash cuts off, the next call finishes; until then no run begins.

use std::io::{BufReader, Seek as _};

use super::checkpoint::{Checkpoint, KEY_KIND, KeyLine, Replaces, succession};
use super::key::{PublicKey, Signer};
use super::ledger::{Ledger, Pen};
use super::lines::Lines;
use super::record::{Digest, Record};
use crate::host::HostError;

/// A key that was made.
#[derive(Clone, Debug)]
pub struct NewKey {
    /// Its public half.
    pub public: PublicKey,
    /// The name of the key that it replaces, which has signed that; `None` where there was none, or
    /// it could not sign any more.
    pub vouched_by: Option<Digest>,
    /// The first checkpoint that it has signed.
    pub checkpoint: Checkpoint,
}

/// Why no key was made.
#[derive(Debug, thiserror::Error)]
pub enum KeygenError {
    /// There is one.
    #[error("there is a key already: {0}")]
    Exists(Digest),
    /// It cannot be made.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl Ledger {
    /// Makes the key of the ledger's state folder for `user`; with `replace`, another one in the place
    /// of one that is there, or is lost. It waits until everything is on disk.
    ///
    /// # Errors
    /// When there is one and it is not to be replaced, or nothing can be written.
    pub fn keygen(
        &self,
        at: jiff::Timestamp,
        user: &str,
        replace: bool,
    ) -> Result<NewKey, KeygenError> {
        let mut exists = None;
        let made = self.write(at, |pen| {
            let state = pen.state;
            let unfinished = state.read_new_checkpoint_key()?.is_some();
            let old = match Signer::load_old(state) {
                Ok(Some(old)) if !replace && !unfinished => {
                    exists = Some(old.public().id());
                    return Ok(None);
                }
                Ok(old) => old,
                // Lost, or not in use yet.
                Err(_) if replace || unfinished => None,
                Err(error) => return Err(error),
            };
            let new = Signer::load_new(state)?;
            let public = new.public();
            let mut vouched_by = None;
            if newest_key(pen)?.as_ref() != Some(&public) {
                vouched_by = bring(pen, &public, old.as_ref(), user)?;
            }
            let checkpoint = pen.checkpoint(&new)?;
            pen.flush()?;
            new.take(state)?;
            Ok(Some(NewKey {
                public,
                vouched_by,
                checkpoint,
            }))
        })?;
        match (made, exists) {
            (Some(made), _) => Ok(made),
            (None, exists) => Err(KeygenError::Exists(exists.unwrap_or(Digest::ZERO))),
        }
    }
}

/// Puts the line down that brings `public`, and says which key vouches for it.
fn bring(
    pen: &mut Pen<'_>,
    public: &PublicKey,
    old: Option<&Signer>,
    user: &str,
) -> Result<Option<Digest>, HostError> {
    // In an empty ledger there is nothing that the old one has signed.
    let replaces = match old.filter(|_| pen.head.seq > 0) {
        None => None,
        Some(old) => Some(Replaces {
            key: old.public().id(),
            signature: old.sign(&succession(pen.ledger()?, public)),
        }),
    };
    let vouched_by = replaces.as_ref().map(|replaces| replaces.key);
    let line = KeyLine {
        key: public.to_string(),
        user: user.to_owned(),
        replaces,
    };
    pen.add(KEY_KIND, &line)?;
    Ok(vouched_by)
}

/// The key that the ledger brought last.
fn newest_key(pen: &Pen<'_>) -> Result<Option<PublicKey>, HostError> {
    let path = pen.file.path().display();
    let error = |e: &std::io::Error| HostError::io(format!("read {path}"), e);
    let mut file = pen.file.file().try_clone().map_err(|e| error(&e))?;
    file.rewind().map_err(|e| error(&e))?;
    let mut lines = Lines::new(BufReader::new(file));
    let mut newest = None;
    while let Some(line) = lines.next().map_err(|e| error(&e))? {
        if let Ok(record) = Record::read(line.bytes)
            && record.kind == KEY_KIND
            && let Ok(brought) = record.data::<KeyLine>()
        {
            newest = PublicKey::read(&brought.key);
        }
    }
    Ok(newest)
}
