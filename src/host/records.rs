//! Looking at our own state: the runs that there are, and their journals as they lie on disk.
//!
//! What is written to them goes through [`super::store`].

#![expect(
    clippy::disallowed_methods,
    reason = "this is the door to our own files"
)]

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::os::fd::AsFd as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use rustix::fs::OFlags;

use super::{HostError, StateDir};

/// Opens a file of ours for reading; `None` where there is none.
///
/// # Errors
/// When it cannot be opened, or is no regular file: a pipe in its place would never end.
pub fn open(path: &Path) -> Result<Option<File>, HostError> {
    let action = || format!("read {}", path.display());
    let flags = OFlags::NONBLOCK | OFlags::NOCTTY;
    let file = match OpenOptions::new()
        .read(true)
        .custom_flags(flags.bits().cast_signed())
        .open(path)
    {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(HostError::io(action(), &error)),
    };
    let metadata = file.metadata().map_err(|e| HostError::io(action(), &e))?;
    if metadata.is_file() {
        Ok(Some(file))
    } else {
        Err(HostError::permanent(action(), "it is no regular file"))
    }
}

/// The names in the folder of all runs, sorted; none where there is no such folder.
///
/// # Errors
/// When it cannot be read.
pub fn run_names(state: &StateDir) -> Result<Vec<OsString>, HostError> {
    let path = state.runs();
    let error = |e: &std::io::Error| HostError::io(format!("read {}", path.display()), e);
    let entries = match std::fs::read_dir(&path) {
        Ok(entries) => entries,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(error(&e)),
    };
    let mut names = Vec::new();
    for entry in entries {
        names.push(entry.map_err(|e| error(&e))?.file_name());
    }
    names.sort();
    Ok(names)
}

/// Syncs a folder, so that the names in it survive the machine's end.
///
/// # Errors
/// When the disk refused.
pub fn sync_folder(path: &Path) -> Result<(), HostError> {
    File::open(path)
        .and_then(|folder| Ok(rustix::fs::fsync(folder.as_fd())?))
        .map_err(|e| HostError::io(format!("sync the folder {}", path.display()), &e))
}

#[cfg(test)]
mod tests {
    use super::{StateDir, open, run_names};

    #[test]
    fn what_is_not_there_is_none_and_a_pipe_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(
            open(&folder.path().join("journal.jsonl"))
                .unwrap()
                .is_none()
        );
        assert!(open(folder.path()).is_err());
        let pipe = folder.path().join("pipe");
        let kind = rustix::fs::FileType::Fifo;
        rustix::fs::mknodat(rustix::fs::CWD, &pipe, kind, 0o600.into(), 0).unwrap();
        assert!(open(&pipe).unwrap_err().cause.contains("regular"));
        assert!(run_names(&StateDir::at(folder.path())).unwrap().is_empty());
    }
}
