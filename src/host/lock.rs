//! Locks of this machine, by name: two runs that lock the same thing are never at work at once.
//!
//! A lock is a file in a folder that all users share (`/run/lock/runbook`, else the state folder),
//! locked with `flock`: it ends with its holder, however that ends. The file says who holds it. A
//! holder that ends in order empties it; one that was killed leaves its name there, and as long as
//! processes of its run live, the lock counts as held.

#![expect(
    clippy::disallowed_methods,
    reason = "this is the door to our own files"
)]

use std::cell::OnceCell;
use std::collections::BTreeSet;
use std::fs::{File, OpenOptions};
use std::io::{Read as _, Seek as _, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use rustix::fs::{FlockOperation, OFlags, flock};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::Notify;

use super::{HostError, StateDir, run_folder};
use crate::base::{Clock, Duration, RunId};

/// The folder that all users of the machine share.
const SHARED: &str = "/run/lock/runbook";

/// How often it is looked whether a lock is free.
const POLL: Duration = Duration::from_millis(100);

/// What is read of a lock's file at most, in bytes.
const LONGEST: u64 = 16 << 10;

/// Who holds a lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Holder {
    /// What is locked.
    pub key: String,
    /// The run.
    pub run: RunId,
    /// Its playbook.
    pub playbook: String,
    /// Who runs it.
    pub user: String,
    /// The engine's process.
    pub pid: u32,
    /// Since when; wall time.
    pub since: jiff::Timestamp,
    /// The state folder of the run.
    pub state: PathBuf,
}

impl std::fmt::Display for Holder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            run,
            playbook,
            user,
            since,
            ..
        } = self;
        let since = since.round(jiff::Unit::Second).unwrap_or(*since);
        write!(f, "run {run} of {playbook} by {user}, since {since}")
    }
}

/// The locks that a run may take.
#[derive(Debug)]
pub struct Locks {
    /// Where they are if there is no folder for all users.
    own: PathBuf,
    folder: OnceCell<PathBuf>,
    /// Where nobody else locks anything: the keys that are held, in memory.
    alone: Option<Keys>,
    me: Holder,
    // The keys that the run holds as a whole.
    whole: BTreeSet<String>,
}

/// The keys that are held where nobody else locks anything.
type Keys = Arc<Alone>;

#[derive(Debug, Default)]
struct Alone {
    held: Mutex<BTreeSet<String>>,
    freed: Notify,
}

/// A lock that is held; given back when it is dropped.
#[derive(Debug)]
pub struct Lock(Held);

#[derive(Debug)]
enum Held {
    /// By the run as a whole.
    Whole,
    File(File),
    Alone(Keys, String),
}

impl Drop for Lock {
    fn drop(&mut self) {
        match &self.0 {
            Held::Whole => {}
            Held::File(file) => {
                // Nobody has to be told of an orderly end.
                let _ = file.set_len(0);
            }
            Held::Alone(keys, key) => {
                keys_of(keys).remove(key);
                keys.freed.notify_waiters();
            }
        }
    }
}

fn keys_of(keys: &Keys) -> MutexGuard<'_, BTreeSet<String>> {
    keys.held.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What came of trying to take a lock.
#[derive(Debug)]
pub enum Taken {
    /// It is held now.
    Held(Lock),
    /// Somebody else holds it.
    Busy(Option<Box<Holder>>),
}

impl Locks {
    /// The locks of this machine, for `me`; `me.key` is set with each lock. Their folder is made
    /// with the first of them: a plan takes none, and leaves nothing.
    pub fn new(state: &StateDir, me: Holder) -> Self {
        Self {
            own: state.path().join("locks"),
            folder: OnceCell::new(),
            alone: None,
            me,
            whole: BTreeSet::new(),
        }
    }

    fn folder(&self) -> Result<&Path, HostError> {
        if let Some(folder) = self.folder.get() {
            return Ok(folder);
        }
        let folder = match make(Path::new(SHARED)) {
            Ok(()) => PathBuf::from(SHARED),
            Err(_) => {
                make(&self.own).map_err(|e| {
                    HostError::io(format!("make the folder {}", self.own.display()), &e)
                })?;
                self.own.clone()
            }
        };
        Ok(self.folder.get_or_init(|| folder))
    }

    /// The locks of a run that is alone in the world: its steps exclude each other, and nothing is
    /// written.
    pub fn alone(me: Holder) -> Self {
        Self {
            own: PathBuf::new(),
            folder: OnceCell::new(),
            alone: Some(Keys::default()),
            me,
            whole: BTreeSet::new(),
        }
    }

    /// The run as a whole holds `key`: its steps need not take it.
    pub fn holds_whole(&mut self, key: &str) {
        self.whole.insert(key.to_owned());
    }

    /// Takes the lock `key`, if nobody holds it.
    ///
    /// # Errors
    /// When its file cannot be opened or written, or there is no folder for it and none can be made.
    pub fn try_take(&self, key: &str) -> Result<Taken, HostError> {
        if self.whole.contains(key) {
            return Ok(Taken::Held(Lock(Held::Whole)));
        }
        if let Some(keys) = &self.alone {
            if keys_of(keys).insert(key.to_owned()) {
                let held = Held::Alone(Arc::clone(keys), key.to_owned());
                return Ok(Taken::Held(Lock(held)));
            }
            return Ok(Taken::Busy(Some(Box::new(self.me.clone()))));
        }
        let name = hex::encode(&Sha256::digest(key.as_bytes())[..16]);
        let path = self.folder()?.join(format!("{name}.lock"));
        let action = || format!("take the lock `{key}` ({})", path.display());
        let error = |e: &std::io::Error| HostError::io(action(), e);
        let mut file = open(&path).map_err(|e| error(&e))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => {
                let holder = read(&mut file).map_err(|e| error(&e))?;
                return Ok(Taken::Busy(holder.map(Box::new)));
            }
            Err(e) => return Err(error(&e.into())),
        }
        if let Some(before) = read(&mut file).map_err(|e| error(&e))?
            && before.run != self.me.run
            && is_left(&before)
        {
            return Ok(Taken::Busy(Some(Box::new(before))));
        }
        let me = Holder {
            key: key.to_owned(),
            since: jiff::Timestamp::now(),
            ..self.me.clone()
        };
        let mut text =
            serde_json::to_vec(&me).map_err(|e| HostError::permanent(action(), e.to_string()))?;
        text.push(b'\n');
        file.set_len(0)
            .and_then(|()| file.rewind())
            .and_then(|()| file.write_all(&text))
            .map_err(|e| error(&e))?;
        Ok(Taken::Held(Lock(Held::File(file))))
    }

    /// Waits until it is worth to try again.
    pub async fn wait(&self, clock: &Clock) {
        match &self.alone {
            // Nobody tells that a file is no longer locked.
            None => clock.sleep(POLL).await,
            Some(keys) => keys.freed.notified().await,
        }
    }

    /// Whether `holder` is this very run.
    pub fn is_me(&self, holder: &Holder) -> bool {
        holder.run == self.me.run
    }
}

/// Whether processes of a run live whose engine is gone.
fn is_left(holder: &Holder) -> bool {
    let state = StateDir::at(&holder.state);
    run_folder::has_processes(&state, &holder.run).unwrap_or(false)
}

/// Makes the folder for everyone, as `/tmp` is: whoever may, may lock.
fn make(folder: &Path) -> std::io::Result<()> {
    match std::fs::create_dir(folder) {
        Ok(()) => {
            let everyone = std::fs::Permissions::from_mode(0o1777);
            std::fs::set_permissions(folder, everyone)
        }
        // One that anybody could have put there counts only as what we would have made.
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
            let metadata = std::fs::symlink_metadata(folder)?;
            let sticky = metadata.permissions().mode() & 0o1000 != 0;
            (metadata.is_dir() && sticky)
                .then_some(())
                .ok_or_else(|| std::io::Error::other("it is no folder that is shared safely"))
        }
        Err(error) => Err(error),
    }
}

/// Opens a lock's file, and makes it if it is not there. In two steps: where links and files of
/// others are protected, opening what is there with `O_CREAT` is refused.
fn open(path: &Path) -> std::io::Result<File> {
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY;
    let options = || {
        let mut options = OpenOptions::new();
        options
            .read(true)
            .write(true)
            .custom_flags(flags.bits().cast_signed());
        options
    };
    for _ in 0..10 {
        match options().open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            other => return other,
        }
        match options().create_new(true).mode(0o666).open(path) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
            Ok(file) => {
                // Whatever the umask says: others must be able to lock it too.
                file.set_permissions(std::fs::Permissions::from_mode(0o666))?;
                return Ok(file);
            }
            Err(error) => return Err(error),
        }
    }
    Err(std::io::Error::other("it comes and goes"))
}

/// Who its file names; nobody where it is empty, or does not name a holder.
fn read(file: &mut File) -> std::io::Result<Option<Holder>> {
    file.rewind()?;
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(serde_json::from_slice(&text).ok())
}

#[cfg(test)]
mod tests {
    use super::{Holder, Locks, Taken};
    use crate::base::RunId;
    use crate::host::{RunFolder, StateDir};

    fn locks(state: &StateDir, number: u64) -> Locks {
        let me = Holder {
            key: String::new(),
            run: RunId::from_parts(number, number),
            playbook: "weekly".to_owned(),
            user: "ops".to_owned(),
            pid: 1,
            since: jiff::Timestamp::UNIX_EPOCH,
            state: state.path().to_owned(),
        };
        Locks::new(state, me)
    }

    #[test]
    fn one_holds_it_and_says_who() {
        let place = tempfile::tempdir().unwrap();
        let state = StateDir::at(place.path());
        let key = place.path().to_str().unwrap();
        let (one, other) = (locks(&state, 1), locks(&state, 2));
        let Taken::Held(held) = one.try_take(key).unwrap() else {
            unreachable!("nobody holds it")
        };
        let Taken::Busy(Some(holder)) = other.try_take(key).unwrap() else {
            unreachable!("it is held")
        };
        assert!(
            holder
                .to_string()
                .starts_with("run 0000000010000001 of weekly by ops")
        );
        assert!(matches!(other.try_take("another").unwrap(), Taken::Held(_)));
        drop(held);
        assert!(matches!(other.try_take(key).unwrap(), Taken::Held(_)));
    }

    #[test]
    fn what_is_left_of_a_run_keeps_its_lock() {
        let place = tempfile::tempdir().unwrap();
        let state = StateDir::at(place.path());
        state.create().unwrap();
        let key = place.path().to_str().unwrap();
        let (one, other) = (locks(&state, 1), locks(&state, 2));
        let folder = RunFolder::create(&state, &RunId::from_parts(1, 1)).unwrap();
        let Taken::Held(held) = one.try_take(key).unwrap() else {
            unreachable!("nobody holds it")
        };
        // As it is after a kill: the file still names the holder.
        let text = std::fs::read(one.folder().unwrap().join(name_of(key))).unwrap();
        drop(held);
        std::fs::write(one.folder().unwrap().join(name_of(key)), text).unwrap();
        assert!(matches!(other.try_take(key).unwrap(), Taken::Busy(Some(_))));
        // The run itself may go on.
        assert!(matches!(one.try_take(key).unwrap(), Taken::Held(_)));
        drop(folder);
    }

    #[test]
    fn who_is_alone_excludes_only_itself() {
        let me = Holder {
            key: String::new(),
            run: RunId::from_parts(1, 1),
            playbook: "weekly".to_owned(),
            user: "ops".to_owned(),
            pid: 1,
            since: jiff::Timestamp::UNIX_EPOCH,
            state: "/nowhere".into(),
        };
        let locks = Locks::alone(me);
        let Taken::Held(held) = locks.try_take("a").unwrap() else {
            unreachable!("nobody holds it")
        };
        let Taken::Busy(Some(holder)) = locks.try_take("a").unwrap() else {
            unreachable!("it is held")
        };
        assert!(locks.is_me(&holder));
        assert!(matches!(locks.try_take("b").unwrap(), Taken::Held(_)));
        drop(held);
        assert!(matches!(locks.try_take("a").unwrap(), Taken::Held(_)));
    }

    fn name_of(key: &str) -> String {
        use sha2::Digest as _;
        format!(
            "{}.lock",
            hex::encode(&sha2::Sha256::digest(key.as_bytes())[..16])
        )
    }
}
