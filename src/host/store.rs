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
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, RenameFlags, flock};
use sha2::{Digest as _, Sha256};

use super::HostError;
use crate::base::{Clock, Duration, RunId, StepPath};
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

    /// Makes the folder and those in it, for their owner alone.
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
        Ok(())
    }

    /// The key of keyed digests, made on first use. 32 random bytes in `keys/digest.key`, 0600.
    ///
    /// # Errors
    /// When it can be neither read nor made.
    pub fn digest_key(&self) -> Result<Vec<u8>, HostError> {
        let path = self.path.join("keys/digest.key");
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
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
                Err(error) => {
                    return Err(HostError::io(format!("read {}", path.display()), &error));
                }
            }
            let mut key = [0; 32];
            getrandom::fill(&mut key).map_err(|e| HostError::permanent(action(), e.to_string()))?;
            match write_whole(&path, &key, 0o600, IfExists::Refuse) {
                Ok(()) => return Ok(key.to_vec()),
                // Another run made it meanwhile: read that one.
                Err(_) if path.exists() => {}
                Err(error) => return Err(error),
            }
        }
        Err(HostError::permanent(action(), "it keeps changing"))
    }
}

/// Makes a folder and its parents, for their owner alone; one that is there is fine.
fn make_folder(path: &Path) -> Result<(), HostError> {
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

/// A run's folder, open for its engine.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    // Held for as long as the engine or any process that it started lives: not closed on exec.
    _alive: Option<File>,
}

impl RunFolder {
    /// Makes the folder of a new run and takes its `alive.lock`.
    ///
    /// # Errors
    /// When it exists or cannot be made.
    pub fn create(state: &StateDir, id: &RunId) -> Result<Self, HostError> {
        let path = state.run(id);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|e| HostError::io(format!("make the folder {}", path.display()), &e))?;
        for name in ["logs", "outputs", "input"] {
            make_folder(&path.join(name))?;
        }
        let lock = path.join("alive.lock");
        let alive = open_lock(&lock)?;
        // Waits: someone may look at it in this very moment ([`is_alive`]), and lets go at once.
        flock(&alive, FlockOperation::LockExclusive)
            .map_err(|e| HostError::io(format!("lock {}", lock.display()), &e.into()))?;
        // Children inherit it, so that a later process knows whether anything of this run lives.
        rustix::io::fcntl_setfd(&alive, rustix::io::FdFlags::empty())
            .map_err(|e| HostError::io(format!("share {}", lock.display()), &e.into()))?;
        Ok(Self {
            path,
            _alive: Some(alive),
        })
    }

    /// A folder without a lock, for work that is of no run (reading a secret while nothing runs).
    pub fn detached(path: PathBuf) -> Self {
        Self { path, _alive: None }
    }

    /// Its path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Keeps a copy of something that the run was given, as `input/<name>`.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn keep_input(&self, name: &str, bytes: &[u8]) -> Result<(), HostError> {
        write_whole(
            &self.path.join("input").join(name),
            bytes,
            0o600,
            IfExists::Replace,
        )
    }

    /// Where the process of an attempt may leave its outputs (`RUNBOOK_OUTPUT`).
    pub fn output_file(&self, path: &StepPath, attempt: u32) -> PathBuf {
        self.path.join("outputs").join(format!("{path}.{attempt}"))
    }

    /// A writer of the log of one stream of one attempt. The file is made with its first byte.
    pub fn log(&self, path: &StepPath, attempt: u32, stream: Stream) -> LogWriter {
        let name = format!("logs/{path}.{attempt}.{}", stream.extension());
        LogWriter {
            path: self.path.join(&name),
            name,
            stream,
            file: None,
            hash: Sha256::new(),
            bytes: 0,
        }
    }
}

/// Whether something of run `id` still lives: its engine, or a process that it started.
///
/// # Errors
/// When the lock cannot be looked at.
pub fn is_alive(state: &StateDir, id: &RunId) -> Result<bool, HostError> {
    let path = state.run(id).join("alive.lock");
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(HostError::io(format!("read {}", path.display()), &error)),
    };
    match flock(&file, FlockOperation::NonBlockingLockShared) {
        Ok(()) => Ok(false),
        Err(rustix::io::Errno::WOULDBLOCK) => Ok(true),
        Err(error) => Err(HostError::io(
            format!("look at {}", path.display()),
            &error.into(),
        )),
    }
}

fn open_lock(path: &Path) -> Result<File, HostError> {
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .read(true)
        .mode(0o600)
        .open(path)
        .map_err(|e| HostError::io(format!("open {}", path.display()), &e))
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
fn write_whole(path: &Path, bytes: &[u8], mode: u32, exists: IfExists) -> Result<(), HostError> {
    let error = |e: &std::io::Error| HostError::io(format!("write {}", path.display()), e);
    let name = path.file_name().ok_or_else(|| {
        HostError::permanent(format!("write {}", path.display()), "it names no file")
    })?;
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
    result.map_err(|e| error(&e))
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

fn sync_parent(path: &Path) -> std::io::Result<()> {
    let parent = path
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty());
    let folder = File::open(parent.unwrap_or(Path::new(".")))?;
    Ok(rustix::fs::fsync(folder.as_fd())?)
}

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
