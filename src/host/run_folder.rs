//! A run's folder, open for its engine, and who lives of the run.
//!
//! Two locks tell that (`flock`, so that they end with their holders, however those end):
//! - `engine.lock` is the engine's alone: while it is held, the run is running, or stopped with its
//!   engine.
//! - `alive.lock` is inherited by the processes that steps start: while it is held and the other one
//!   is not, something is left of a run whose engine is gone.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the door to our own files"
)]

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use rustix::io::Errno;

use super::store::{IfExists, LogWriter, make_folder, share, sync_parent, write_whole};
use super::{HostError, Part, StateDir, records};
use crate::base::{RunId, StepPath};
use crate::event::Stream;

const ENGINE: &str = "engine.lock";
const ALIVE: &str = "alive.lock";

/// How many times a lock is looked at before whoever holds it counts as its holder.
const LOOKS: u32 = 20;

/// A run's folder, open for its engine.
#[derive(Debug)]
pub struct RunFolder {
    path: PathBuf,
    group: Option<u32>,
    // Held for as long as the engine lives.
    _engine: Option<File>,
    // Held for as long as the engine or any process that it started lives: not closed on exec.
    _alive: Option<File>,
}

/// A folder that goes with the value.
#[derive(Debug)]
pub struct Scratch(PathBuf);

impl Scratch {
    /// Its path.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // What stays is in the state folder, and of no run.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A run's folder whose engine is gone, taken over by this process; processes of it may be left.
#[derive(Debug)]
pub struct TakenOver {
    path: PathBuf,
    engine: File,
}

impl RunFolder {
    /// Makes the folder of a new run and takes its locks.
    ///
    /// # Errors
    /// When it exists or cannot be made.
    pub fn create(state: &StateDir, id: &RunId) -> Result<Self, HostError> {
        let path = state.run(id);
        std::fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .map_err(|e| HostError::io(format!("make the folder {}", path.display()), &e))?;
        for name in ["logs", "outputs", "input", "approvals"] {
            make_folder(&path.join(name))?;
        }
        // Both wait: someone may look at them in this very moment, and lets go at once.
        let engine = lock(&path.join(ENGINE), FlockOperation::LockExclusive)?;
        let alive = lock(&path.join(ALIVE), FlockOperation::LockExclusive)?;
        let group = state.group();
        if let Some(group) = group {
            for (name, mode) in [
                ("", 0o2750),
                ("logs", 0o2750),
                // Sticky: what one said, another cannot take away.
                ("approvals", 0o3770),
                (ENGINE, 0o640),
                (ALIVE, 0o640),
            ] {
                share(&path.join(name), group, mode)?;
            }
        }
        Ok(Self {
            group,
            ..Self::of(path, engine, alive)?
        })
    }

    fn of(path: PathBuf, engine: File, alive: File) -> Result<Self, HostError> {
        // Children inherit it, so that a later process knows whether anything of this run lives.
        rustix::io::fcntl_setfd(&alive, rustix::io::FdFlags::empty()).map_err(|e| {
            HostError::io(format!("share {}", path.join(ALIVE).display()), &e.into())
        })?;
        Ok(Self {
            path,
            group: None,
            _engine: Some(engine),
            _alive: Some(alive),
        })
    }

    /// Takes a run over whose engine is gone; `None` while it lives.
    ///
    /// # Errors
    /// When the lock cannot be looked at.
    pub fn take_over(state: &StateDir, id: &RunId) -> Result<Option<TakenOver>, HostError> {
        let path = state.run(id);
        let engine = open_lock(&path.join(ENGINE))?;
        for _ in 0..LOOKS {
            let how = FlockOperation::NonBlockingLockExclusive;
            if try_lock(&engine, &path.join(ENGINE), how)? {
                return Ok(Some(TakenOver { path, engine }));
            }
            // Someone may look at it in this very moment ([`is_alive`]), and lets go at once.
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        Ok(None)
    }

    /// A folder for what processes write while a plan looks: of no run, and gone with the value.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn scratch(state: &StateDir, id: &RunId) -> Result<Scratch, HostError> {
        let path = state.path().join("plans").join(id.as_str());
        for name in ["logs", "outputs"] {
            make_folder(&path.join(name))?;
        }
        Ok(Scratch(path))
    }

    /// A folder without locks, for work that is of no run (reading a secret while nothing runs).
    pub fn detached(path: PathBuf) -> Self {
        Self {
            path,
            group: None,
            _engine: None,
            _alive: None,
        }
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
    pub fn output_file(&self, path: &StepPath, attempt: u32, part: Part) -> PathBuf {
        let name = format!("{path}.{attempt}{}", part.suffix());
        self.path.join("outputs").join(name)
    }

    /// Lets the group read a file of the run, where the state folder is shared with one.
    ///
    /// # Errors
    /// When it belongs to somebody else.
    pub fn share(&self, file: &Path) -> Result<(), HostError> {
        self.group.map_or(Ok(()), |group| share(file, group, 0o640))
    }

    /// A writer of the log of one stream of one attempt. The file is made with its first byte.
    pub fn log(&self, path: &StepPath, attempt: u32, part: Part, stream: Stream) -> LogWriter {
        let (part, extension) = (part.suffix(), stream.extension());
        let name = format!("logs/{path}.{attempt}{part}.{extension}");
        LogWriter::new(&self.path, name, stream)
    }
}

impl TakenOver {
    /// The folder's path.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The lock that whatever is left of the run holds.
    pub fn alive_lock(&self) -> PathBuf {
        self.path.join(ALIVE)
    }

    /// Whether something is left of the run.
    ///
    /// # Errors
    /// When the lock cannot be looked at.
    pub fn has_processes(&self) -> Result<bool, HostError> {
        is_held(&self.alive_lock())
    }

    /// The folder, with locks of its own: what is left of the run holds the old one.
    ///
    /// # Errors
    /// When they cannot be made.
    pub fn open(self) -> Result<RunFolder, HostError> {
        for name in ["logs", "outputs", "input", "approvals"] {
            make_folder(&self.path.join(name))?;
        }
        let new = self.path.join(".alive.lock.new");
        let alive = lock(&new, FlockOperation::LockExclusive)?;
        std::fs::rename(&new, self.path.join(ALIVE))
            .and_then(|()| sync_parent(&new))
            .map_err(|e| HostError::io(format!("make {}", self.alive_lock().display()), &e))?;
        RunFolder::of(self.path, self.engine, alive)
    }
}

/// Whether a link stands in the place of run `id`'s folder: what is behind it is not ours to remove.
pub fn is_link(state: &StateDir, id: &RunId) -> bool {
    std::fs::symlink_metadata(state.run(id)).is_ok_and(|folder| folder.is_symlink())
}

/// Whether the engine of run `id` still lives.
///
/// # Errors
/// When the lock cannot be looked at.
pub fn is_alive(state: &StateDir, id: &RunId) -> Result<bool, HostError> {
    is_held(&state.run(id).join(ENGINE))
}

/// Whether the engine of run `id`, or a process that it started, still lives.
///
/// # Errors
/// When the lock cannot be looked at.
pub fn has_processes(state: &StateDir, id: &RunId) -> Result<bool, HostError> {
    is_held(&state.run(id).join(ALIVE))
}

fn is_held(path: &Path) -> Result<bool, HostError> {
    // A pipe in its place would hold whoever opens it.
    let Some(file) = records::open(path)? else {
        return Ok(false);
    };
    Ok(!try_lock(
        &file,
        path,
        FlockOperation::NonBlockingLockShared,
    )?)
}

fn try_lock(file: &File, path: &Path, how: FlockOperation) -> Result<bool, HostError> {
    match flock(file, how) {
        Ok(()) => Ok(true),
        Err(Errno::WOULDBLOCK) => Ok(false),
        Err(error) => Err(HostError::io(
            format!("look at {}", path.display()),
            &error.into(),
        )),
    }
}

fn lock(path: &Path, how: FlockOperation) -> Result<File, HostError> {
    let file = open_lock(path)?;
    flock(&file, how).map_err(|e| HostError::io(format!("lock {}", path.display()), &e.into()))?;
    Ok(file)
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
