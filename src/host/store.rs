//! Our own state: the state folder, a run's folder, and reports.
//!
//! ```text
//! ledger.jsonl  keys/  runs/<id>/{journal.jsonl, alive.lock, input/, logs/, outputs/, approvals/}
//! ```
//!
//! Files that must be whole or absent are written beside their name, synced and renamed.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the door to our own files"
)]

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::fd::AsFd as _;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::path::{Path, PathBuf};

use rustix::fs::RenameFlags;
use sha2::{Digest as _, Sha256};

use super::HostError;
use crate::base::RunId;
use crate::event::{LogFile, Stream};

/// The state folder.
#[derive(Clone, Debug)]
pub struct StateDir {
    path: PathBuf,
}

/// The state folder's name in the environment.
pub const STATE_DIR_VARIABLE: &str = "RUNBOOK_STATE_DIR";

impl StateDir {
    /// Where it is: `RUNBOOK_STATE_DIR`, else `/var/lib/runbook` for root, else
    /// `$XDG_STATE_HOME/runbook` (`~/.local/state/runbook`).
    ///
    /// # Errors
    /// When none of these is set.
    pub fn locate() -> Result<Self, HostError> {
        let set = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
        let path = if let Some(path) = set(STATE_DIR_VARIABLE) {
            PathBuf::from(path)
        } else if rustix::process::geteuid().is_root() {
            PathBuf::from("/var/lib/runbook")
        } else if let Some(home) = set("XDG_STATE_HOME") {
            PathBuf::from(home).join("runbook")
        } else if let Some(home) = set("HOME") {
            PathBuf::from(home).join(".local/state/runbook")
        } else {
            let error = HostError::permanent("find the state folder", "HOME is not set");
            return Err(error.with_help(format!("set {STATE_DIR_VARIABLE} to a folder of yours")));
        };
        let path = std::path::absolute(&path)
            .map_err(|e| HostError::io(format!("find the state folder {}", path.display()), &e))?;
        Ok(Self { path })
    }

    /// The folder at `path`.
    pub fn at(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into() }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The ledger's path.
    pub fn ledger(&self) -> PathBuf {
        self.path.join("ledger.jsonl")
    }

    /// The folder of all runs.
    pub fn runs(&self) -> PathBuf {
        self.path.join("runs")
    }

    /// The folder of run `id`.
    pub fn run(&self, id: &RunId) -> PathBuf {
        self.runs().join(id.as_str())
    }

    /// The group that the folder is shared with: where its owner made it writable for its group, others
    /// of that group can look at runs and agree to their steps.
    pub fn group(&self) -> Option<u32> {
        let metadata = std::fs::metadata(&self.path).ok()?;
        (metadata.mode() & 0o022 == 0o020).then(|| metadata.gid())
    }

    /// Makes the folder and those in it, for their owner alone unless it is shared with a group.
    ///
    /// # Errors
    /// When it cannot be made or written to.
    pub fn create(&self) -> Result<(), HostError> {
        for folder in [self.path.clone(), self.runs(), self.path.join("keys")] {
            make_folder(&folder).map_err(|error| {
                error.with_help(format!(
                    "set {STATE_DIR_VARIABLE} to a folder that you may write to"
                ))
            })?;
        }
        if let Some(group) = self.group() {
            // One that another of the group made is shared already.
            let _ = share(&self.runs(), group, 0o2770);
        }
        Ok(())
    }
}

/// Shares what is at `path` with a group.
///
/// # Errors
/// When it belongs to somebody else.
pub fn share(path: &Path, group: u32, mode: u32) -> Result<(), HostError> {
    let error = |e: &std::io::Error| HostError::io(format!("share {}", path.display()), e);
    std::os::unix::fs::chown(path, None, Some(group)).map_err(|e| error(&e))?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).map_err(|e| error(&e))
}

/// Makes a folder and its parents, for their owner alone; one that is there is fine.
pub(super) fn make_folder(path: &Path) -> Result<(), HostError> {
    match std::fs::DirBuilder::new()
        .mode(0o700)
        .recursive(true)
        .create(path)
    {
        Ok(()) => Ok(()),
        Err(error) => Err(HostError::io(
            format!("make the folder {}", path.display()),
            &error,
        )),
    }
}

/// Writes one stream of a process into its log file, hashing on the way.
#[derive(Debug)]
pub struct LogWriter {
    path: PathBuf,
    name: String,
    stream: Stream,
    file: Option<File>,
    hash: Sha256,
    bytes: u64,
}

impl LogWriter {
    /// Of `stream`, into the file `name` in the folder `run`. The file is made with its first byte.
    pub(super) fn new(run: &Path, name: String, stream: Stream) -> Self {
        Self {
            path: run.join(&name),
            name,
            stream,
            file: None,
            hash: Sha256::new(),
            bytes: 0,
        }
    }

    /// Appends `chunk`.
    ///
    /// # Errors
    /// When it cannot be written: then the record would be incomplete.
    pub fn write(&mut self, chunk: &[u8]) -> Result<(), HostError> {
        if chunk.is_empty() {
            return Ok(());
        }
        let error = |path: &Path, e: &std::io::Error| HostError {
            kind: super::HostErrorKind::Audit,
            ..HostError::io(format!("write the log {}", path.display()), e)
        };
        if self.file.is_none() {
            let file = OpenOptions::new()
                .create(true)
                .truncate(true)
                .write(true)
                .mode(0o600)
                .open(&self.path)
                .map_err(|e| error(&self.path, &e))?;
            self.file = Some(file);
        }
        if let Some(file) = &mut self.file {
            file.write_all(chunk).map_err(|e| error(&self.path, &e))?;
        }
        self.hash.update(chunk);
        self.bytes += chunk.len() as u64;
        Ok(())
    }

    /// How much was written.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// The log file, if anything was written. `sync` waits until it is on disk.
    ///
    /// # Errors
    /// When the disk refused.
    pub fn finish(self, sync: bool) -> Result<Option<LogFile>, HostError> {
        let Some(file) = self.file else {
            return Ok(None);
        };
        if sync {
            file.sync_data().map_err(|e| HostError {
                kind: super::HostErrorKind::Audit,
                ..HostError::io(format!("sync the log {}", self.path.display()), &e)
            })?;
        }
        let sha256 = hex::encode(self.hash.finalize());
        Ok(Some(LogFile {
            stream: self.stream,
            file: self.name,
            bytes: self.bytes,
            sha256,
        }))
    }
}

/// What to do where a file of that name exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IfExists {
    /// Take its place.
    Replace,
    /// Refuse.
    Refuse,
}

/// Files that people asked for: reports, generated schemas, scaffolds.
#[derive(Clone, Copy, Debug, Default)]
pub struct Store(());

impl Store {
    /// The means to write what people asked for.
    pub fn new() -> Self {
        Self(())
    }

    /// Writes `bytes` to `path`, whole or not at all; missing folders on the way are made.
    ///
    /// # Errors
    /// When it cannot be written, or exists and may not be replaced.
    pub fn write(&self, path: &Path, bytes: &[u8], exists: IfExists) -> Result<(), HostError> {
        if let Some(parent) = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            std::fs::create_dir_all(parent)
                .map_err(|e| HostError::io(format!("make the folder {}", parent.display()), &e))?;
        }
        // What is no regular file (a terminal, /dev/stdout, a pipe) is written to as it is.
        if let Ok(metadata) = std::fs::metadata(path)
            && !metadata.is_file()
        {
            return OpenOptions::new()
                .write(true)
                .open(path)
                .and_then(|mut file| file.write_all(bytes))
                .map_err(|e| HostError::io(format!("write {}", path.display()), &e));
        }
        write_whole(path, bytes, 0o644, exists)
    }
}

/// Writes beside the name, syncs, renames, syncs the folder.
pub(super) fn write_whole(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    exists: IfExists,
) -> Result<(), HostError> {
    try_write_whole(path, bytes, mode, exists)
        .map_err(|e| HostError::io(format!("write {}", path.display()), &e))
}

pub(super) fn try_write_whole(
    path: &Path,
    bytes: &[u8],
    mode: u32,
    exists: IfExists,
) -> std::io::Result<()> {
    let name = path
        .file_name()
        .ok_or_else(|| std::io::Error::new(std::io::ErrorKind::InvalidInput, "it names no file"))?;
    let mut partial_name = std::ffi::OsString::from(".");
    partial_name.push(name);
    partial_name.push(format!(".{}.partial", std::process::id()));
    let partial = path.with_file_name(partial_name);
    // Left over by a process with our id that was killed.
    let _ = std::fs::remove_file(&partial);
    let result = (|| {
        let mut file = OpenOptions::new()
            .create_new(true)
            .write(true)
            .mode(0o600)
            .open(&partial)?;
        file.write_all(bytes)?;
        file.set_permissions(std::fs::Permissions::from_mode(mode))?;
        file.sync_all()?;
        match exists {
            IfExists::Replace => std::fs::rename(&partial, path)?,
            IfExists::Refuse => rename_without_replace(&partial, path)?,
        }
        sync_parent(path)
    })();
    if result.is_err() {
        let _ = std::fs::remove_file(&partial);
    }
    result
}

fn rename_without_replace(from: &Path, to: &Path) -> std::io::Result<()> {
    let here = rustix::fs::CWD;
    Ok(rustix::fs::renameat_with(
        here,
        from,
        here,
        to,
        RenameFlags::NOREPLACE,
    )?)
}

pub(super) fn sync_parent(path: &Path) -> std::io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let folder = File::open(parent.unwrap_or(Path::new(".")))?;
    Ok(rustix::fs::fsync(folder.as_fd())?)
}
