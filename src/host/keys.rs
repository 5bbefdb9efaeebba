//! The keys of the state folder: `keys/`, for their owner alone.
//!
//! | file | holds |
//! | --- | --- |
//! | `digest.key` | 32 random bytes, for keyed digests; made on first use |
//! | `checkpoint.key` | the private key that signs checkpoints: PKCS #8 in PEM |
//! | `checkpoint.pub` | its public half: SPKI in PEM |
//! | `checkpoint.key.new` | one that is being made |

#![expect(
    clippy::disallowed_methods,
    reason = "this is the door to our own files"
)]

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::identity::is_ours;
use super::store::{IfExists, sync_parent, try_write_whole, write_whole};
use super::{HostError, StateDir};

/// What a key's file may measure at most, in bytes.
const LARGEST: u64 = 16 << 10;

/// How often it is looked whether a key that is being made is in use, and the pause in between: a
/// second in all.
const LOOKS: u32 = 100;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

impl StateDir {
    /// The key of keyed digests, made on first use. 32 random bytes in `keys/digest.key`, 0600.
    ///
    /// # Errors
    /// When it can be neither read nor made.
    pub fn digest_key(&self) -> Result<Vec<u8>, HostError> {
        let path = self.key("digest.key");
        let action = || format!("make the key {}", path.display());
        for _ in 0..2 {
            match std::fs::read(&path) {
                Ok(key) if key.len() == 32 => return Ok(key),
                Ok(key) => {
                    let cause = format!("it has {} bytes instead of 32", key.len());
                    return Err(HostError::permanent(
                        format!("use the key {}", path.display()),
                        cause,
                    ));
                }
                Err(error) if error.kind() == ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(HostError::io(format!("read {}", path.display()), &error));
                }
            }
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(|e| HostError::permanent(action(), e.to_string()))?;
            match try_write_whole(&path, &key, 0o600, IfExists::Refuse) {
                Ok(()) => return Ok(key.to_vec()),
                // Another run made it meanwhile: read that one.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(HostError::io(action(), &error)),
            }
        }
        Err(HostError::permanent(action(), "it keeps changing"))
    }

    /// Where the private key of checkpoints is.
    pub fn checkpoint_key(&self) -> PathBuf {
        self.key("checkpoint.key")
    }

    /// Where the public key of checkpoints is.
    pub fn checkpoint_pub(&self) -> PathBuf {
        self.key("checkpoint.pub")
    }

    /// The private key that signs checkpoints, in PEM; `None` where none was ever made.
    ///
    /// # Errors
    /// When it cannot be read, others may read it, its making was cut off, or it is gone while its
    /// public half is there: then nothing may go on unsigned.
    pub fn read_checkpoint_key(&self) -> Result<Option<String>, HostError> {
        let mut looks = 0;
        while exists(&self.new_checkpoint_key())? {
            // Somebody may be making it in this very moment.
            looks += 1;
            if looks < LOOKS {
                std::thread::sleep(PAUSE);
                continue;
            }
            let action = format!("use the key {}", self.checkpoint_key().display());
            let error = HostError::permanent(action, "the making of another one was cut off");
            return Err(error.with_help("`runbook audit keygen` finishes it"));
        }
        self.read_old_checkpoint_key()
    }

    /// The same, while another one is being made.
    ///
    /// # Errors
    /// When it cannot be read, others may read it, or it is gone while its public half is there.
    pub fn read_old_checkpoint_key(&self) -> Result<Option<String>, HostError> {
        let path = self.checkpoint_key();
        let action = || format!("use the key {}", path.display());
        let Some(text) = read(&path)? else {
            if !exists(&self.checkpoint_pub())? {
                return Ok(None);
            }
            let cause = format!(
                "it is gone, and {} is there",
                self.checkpoint_pub().display()
            );
            let error = HostError::permanent(action(), cause);
            return Err(error.with_help(
                "bring it back; if it is lost, `runbook audit keygen --replace` makes another one",
            ));
        };
        let metadata = std::fs::metadata(&path).map_err(|e| HostError::io(action(), &e))?;
        if !is_ours(metadata.uid()) {
            return Err(HostError::permanent(action(), "it belongs to another user"));
        }
        if metadata.mode() & 0o077 != 0 {
            let error = HostError::permanent(action(), "others than its owner may read it");
            return Err(error.with_help(format!("chmod 600 {}", path.display())));
        }
        Ok(Some(text))
    }

    /// The public key of checkpoints, in PEM; `None` where there is none.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_checkpoint_pub(&self) -> Result<Option<String>, HostError> {
        read(&self.checkpoint_pub())
    }

    /// A private key whose making was cut off.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn read_new_checkpoint_key(&self) -> Result<Option<String>, HostError> {
        read(&self.new_checkpoint_key())
    }

    /// Keeps a new private key, on disk, beside the one in use.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_new_checkpoint_key(&self, private: &str) -> Result<(), HostError> {
        let path = self.new_checkpoint_key();
        write_whole(&path, private.as_bytes(), 0o600, IfExists::Replace)
    }

    /// Takes the new private key into use, and `public` with it.
    ///
    /// # Errors
    /// When that cannot be written.
    pub fn take_new_checkpoint_key(&self, public: &str) -> Result<(), HostError> {
        let path = self.checkpoint_pub();
        write_whole(&path, public.as_bytes(), 0o644, IfExists::Replace)?;
        let path = self.checkpoint_key();
        std::fs::rename(self.new_checkpoint_key(), &path)
            .and_then(|()| sync_parent(&path))
            .map_err(|e| HostError::io(format!("write {}", path.display()), &e))
    }

    fn new_checkpoint_key(&self) -> PathBuf {
        self.key("checkpoint.key.new")
    }

    fn key(&self, name: &str) -> PathBuf {
        self.path().join("keys").join(name)
    }
}

fn exists(path: &Path) -> Result<bool, HostError> {
    path.try_exists()
        .map_err(|e| HostError::io(format!("look for {}", path.display()), &e))
}

/// A key's text; `None` where there is no such file.
fn read(path: &Path) -> Result<Option<String>, HostError> {
    if !exists(path)? {
        return Ok(None);
    }
    let bytes = super::files::read_limited(path, LARGEST)?;
    let text = String::from_utf8(bytes).map_err(|_| {
        HostError::permanent(format!("read the key {}", path.display()), "it is no text")
    })?;
    Ok(Some(text))
}
