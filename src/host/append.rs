//! Append-only files of records: the journals and the ledger.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the door to our own files"
)]

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};

use super::HostError;
use super::identity::is_ours;
use super::store::sync_parent;
use crate::base::{Clock, Duration};

/// An append-only file of records: the journal or the ledger.
#[derive(Debug)]
pub struct AppendFile {
    path: PathBuf,
    file: File,
}

impl AppendFile {
    /// Makes a new one; one that exists is refused.
    ///
    /// # Errors
    /// When it exists or cannot be made.
    pub fn create(path: &Path) -> Result<Self, HostError> {
        Self::open_with(
            path,
            OpenOptions::new().append(true).create_new(true).mode(0o600),
        )
    }

    /// Opens one, and makes it if it is not there. It can be read through [`AppendFile::file`] too.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub fn open(path: &Path) -> Result<Self, HostError> {
        Self::open_with(
            path,
            OpenOptions::new()
                .append(true)
                .read(true)
                .create(true)
                .mode(0o600),
        )
    }

    fn open_with(path: &Path, options: &OpenOptions) -> Result<Self, HostError> {
        // In a folder that is shared, somebody could lead us to a file of ours that is none of theirs.
        if let Ok(link) = std::fs::symlink_metadata(path)
            && link.is_symlink()
            && !is_ours(link.uid())
        {
            let action = format!("open {}", path.display());
            let cause = "it is a link that another user put there";
            return Err(HostError::permanent(action, cause));
        }
        let file = options
            .open(path)
            .map_err(|e| HostError::io(format!("open {}", path.display()), &e))?;
        Ok(Self {
            path: path.to_owned(),
            file,
        })
    }

    /// The file.
    pub fn file(&self) -> &File {
        &self.file
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Appends `bytes` in one write.
    ///
    /// # Errors
    /// When the system refused or wrote a part alone; what was written then is a torn tail.
    pub fn append(&self, bytes: &[u8]) -> Result<(), HostError> {
        (&self.file)
            .write_all(bytes)
            .map_err(|e| HostError::io(format!("append to {}", self.path.display()), &e))
    }

    /// Waits until everything is on disk.
    ///
    /// # Errors
    /// When the disk refused.
    pub fn sync(&self) -> Result<(), HostError> {
        self.file
            .sync_data()
            .map_err(|e| HostError::io(format!("sync {}", self.path.display()), &e))
    }

    /// Syncs the folder that it is in, so that its name survives too.
    ///
    /// # Errors
    /// When the disk refused.
    pub fn sync_name(&self) -> Result<(), HostError> {
        sync_parent(&self.path)
            .map_err(|e| HostError::io(format!("sync the folder of {}", self.path.display()), &e))
    }

    /// Takes the file's lock, waiting for whoever holds it, but no longer than `wait`: a process
    /// that is stopped while it holds it must not stop us too. Released by [`AppendFile::unlock`]
    /// or when the value is dropped.
    ///
    /// # Errors
    /// When it was not to be had in time, or the system refused.
    pub fn lock(&self, clock: &Clock, wait: Duration) -> Result<(), HostError> {
        let action = || format!("lock {}", self.path.display());
        let deadline = clock.deadline_in(wait);
        loop {
            match flock(&self.file, FlockOperation::NonBlockingLockExclusive) {
                Ok(()) => return Ok(()),
                Err(rustix::io::Errno::WOULDBLOCK) if !deadline.passed(clock) => {
                    std::thread::sleep(std::time::Duration::from_millis(1));
                }
                Err(rustix::io::Errno::WOULDBLOCK) => {
                    let cause = format!("another process has held it for {wait}");
                    return Err(HostError::transient(action(), cause));
                }
                Err(rustix::io::Errno::INTR) => {}
                Err(error) => return Err(HostError::io(action(), &error.into())),
            }
        }
    }

    /// Gives the file's lock back.
    ///
    /// # Errors
    /// When the system refused.
    pub fn unlock(&self) -> Result<(), HostError> {
        flock(&self.file, FlockOperation::Unlock)
            .map_err(|e| HostError::io(format!("unlock {}", self.path.display()), &e.into()))
    }
}
