//! Copying runs out of the state folder, and taking them away from it.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the door to our own files"
)]

use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::Path;

use super::records::sync_folder;
use super::store::{IfExists, write_whole};
use super::{HostError, StateDir, TakenOver, records};
use crate::base::RunId;

/// A folder that something is exported to, laid out like a state folder. It is new: what is exported
/// is not mixed with anything.
#[derive(Debug)]
pub struct ExportFolder(StateDir);

impl ExportFolder {
    /// Makes it, for its owner alone.
    ///
    /// # Errors
    /// When it exists or cannot be made.
    pub fn create(path: &Path) -> Result<Self, HostError> {
        DirBuilder::new().mode(0o700).create(path).map_err(|e| {
            let error = HostError::io(format!("make the folder {}", path.display()), &e);
            match e.kind() {
                std::io::ErrorKind::AlreadyExists => error.with_help("name one that is not there"),
                _ => error,
            }
        })?;
        let state = StateDir::at(path);
        state.create()?;
        Ok(Self(state))
    }

    /// Writes a file in it.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<(), HostError> {
        write_whole(&self.0.path().join(name), bytes, 0o600, IfExists::Refuse)
    }

    /// Copies what is recorded of run `id` in `from`: its files, without its locks. What is no regular
    /// file is not followed.
    ///
    /// # Errors
    /// When something cannot be read or written.
    pub fn copy_run(&self, from: &StateDir, id: &RunId) -> Result<(), HostError> {
        copy_folder(&from.run(id), &self.0.run(id))
    }
}

fn copy_folder(from: &Path, to: &Path) -> Result<(), HostError> {
    let read = |e: &std::io::Error| HostError::io(format!("read {}", from.display()), e);
    DirBuilder::new()
        .mode(0o700)
        .create(to)
        .map_err(|e| HostError::io(format!("make the folder {}", to.display()), &e))?;
    for entry in std::fs::read_dir(from).map_err(|e| read(&e))? {
        let entry = entry.map_err(|e| read(&e))?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        let kind = entry.file_type().map_err(|e| read(&e))?;
        if kind.is_dir() {
            copy_folder(&source, &target)?;
        } else if kind.is_file() && source.extension().is_none_or(|end| end != "lock") {
            copy_file(&source, &target)?;
        }
    }
    sync_folder(to)
}

fn copy_file(from: &Path, to: &Path) -> Result<(), HostError> {
    let Some(mut source) = records::open(from)? else {
        let action = format!("read {}", from.display());
        return Err(HostError::permanent(action, "it has just gone"));
    };
    let error = |e: &std::io::Error| HostError::io(format!("write {}", to.display()), e);
    let mut target = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(to)
        .map_err(|e| error(&e))?;
    std::io::copy(&mut source, &mut target).map_err(|e| error(&e))?;
    target.sync_all().map_err(|e| error(&e))
}

impl TakenOver {
    /// Takes the run's folder away, with everything in it. Links in it are not followed.
    ///
    /// # Errors
    /// When the system refuses; a part of it may be gone then.
    pub fn remove(self, state: &StateDir) -> Result<(), HostError> {
        let path = self.path().to_owned();
        std::fs::remove_dir_all(&path)
            .map_err(|e| HostError::io(format!("remove {}", path.display()), &e))?;
        sync_folder(&state.runs())
    }
}
