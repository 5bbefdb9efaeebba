//! How full a file system is: `statvfs`, read as `df` reads it.
//!
//! Only `df`'s own numbers compare with what people see: what is used, over what is used and what
//! everyone but root may still use, rounded up.

use std::ffi::OsString;
use std::io::Read as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use futures_util::future::join_all;
use rustix::fs::StatVfs;

use super::mounts::{Mount, MountTable};
use crate::base::{Clock, Deadline};
use crate::host::bounded::ANSWER_WITHIN;
use crate::host::{HostError, HostErrorKind, Observe};

/// What a file system holds, in bytes and in inodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Space {
    /// Its size in bytes.
    pub total: u64,
    /// What is used of it, in bytes.
    pub used: u64,
    /// What everyone but root may still use, in bytes.
    pub available: u64,
    /// How many inodes are used.
    pub inodes_used: u64,
    /// How many are left. Both are 0 where they are not counted (btrfs, vfat).
    pub inodes_free: u64,
}

/// The file system of a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpaceAt {
    /// The mount that holds the path.
    pub mount: Mount,
    /// How full it is.
    pub space: Space,
}

/// The counts that `statvfs` gives: blocks, and the size of one.
#[derive(Clone, Copy)]
struct Counts {
    blocks: u64,
    free: u64,
    available: u64,
    block_size: u64,
    inodes: u64,
    inodes_free: u64,
}

impl Space {
    fn from_counts(counts: Counts) -> Self {
        let bytes = |blocks: u64| blocks.saturating_mul(counts.block_size);
        Self {
            total: bytes(counts.blocks),
            used: bytes(counts.blocks.saturating_sub(counts.free)),
            available: bytes(counts.available),
            inodes_used: counts.inodes.saturating_sub(counts.inodes_free),
            inodes_free: counts.inodes_free.min(counts.inodes),
        }
    }

    /// How full it is, in percent: a whole number, rounded up.
    pub fn used_percent(&self) -> u64 {
        // Nothing used and nothing to use: whoever wants to write there is told that it is full.
        percent_up(self.used, self.available).unwrap_or(100)
    }

    /// How many of its inodes are used, in percent, rounded up; `None` where it does not count
    /// them.
    pub fn inodes_used_percent(&self) -> Option<u64> {
        percent_up(self.inodes_used, self.inodes_free)
    }
}

fn percent_up(used: u64, free: u64) -> Option<u64> {
    let whole = u128::from(used) + u128::from(free);
    let percent = (u128::from(used) * 100)
        .checked_add(whole)?
        .checked_sub(1)?
        .checked_div(whole)?;
    u64::try_from(percent).ok()
}

impl From<StatVfs> for Space {
    fn from(stat: StatVfs) -> Self {
        Self::from_counts(Counts {
            blocks: stat.f_blocks,
            free: stat.f_bfree,
            available: stat.f_bavail,
            block_size: stat.f_frsize,
            inodes: stat.f_files,
            inodes_free: stat.f_ffree,
        })
    }
}

impl Observe {
    /// How full the file system of `mount` is; `None` where it has no size, or where a single file
    /// is mounted (a container's `/etc/hosts`), which says nothing about the machine.
    ///
    /// # Errors
    /// When it cannot be looked at, or does not answer in time.
    pub async fn space_of(&self, mount: &Mount) -> Result<Option<Space>, HostError> {
        let point = mount.point.clone();
        let space = if mount.is_fuse() {
            Some(self.ask_in_process(point).await?)
        } else {
            let ask = move || {
                let metadata = std::fs::metadata(&point).map_err(|e| error(&point, &e))?;
                metadata.is_dir().then(|| statvfs(&point)).transpose()
            };
            self.ask(&mount.point, ask).await?
        };
        Ok(space.filter(|space| space.total > 0))
    }

    /// How full the file system is that holds `path`, whatever it is. Asked for the path itself
    /// rather than for its mount: quotas on folders (XFS) show in the answer.
    ///
    /// # Errors
    /// When it does not exist, cannot be looked at, has no size, or does not answer in time.
    pub async fn space_at(&self, path: &Path) -> Result<SpaceAt, HostError> {
        let path = self.scope().resolve(path);
        // A link may lead into a FUSE mount, so that where there is one the path is not walked here
        // before it has shown that it answers.
        let answered = if self.mounts().await?.has_fuse() {
            Some(self.ask_in_process(path.clone()).await?)
        } else {
            None
        };
        let asked = path.clone();
        let ask = move || {
            let target = std::fs::canonicalize(&path).map_err(|e| error(&path, &e))?;
            let space = answered.map_or_else(|| statvfs(&target), Ok)?;
            // Only now, because looking may have mounted it (autofs).
            let table = MountTable::read()?;
            let mount = table
                .holding(&target)
                .ok_or_else(|| HostError::permanent(look_at(&path), "no mount holds it"))?;
            sized(&path, mount.clone(), space)
        };
        self.ask(&asked, ask).await
    }

    /// Whether whoever looks at `path`, and at what is below it, comes back. Only FUSE daemons are
    /// asked: whoever hangs elsewhere can at least be killed. One that goes away later, in the middle
    /// of a question, may still keep this program from ending once all is told and recorded.
    ///
    /// # Errors
    /// When there was no answer in time; and when the step was told to end.
    pub async fn answers(&self, path: &Path) -> Result<(), HostError> {
        let path = self.scope().resolve(path);
        // Where nobody may see what is mounted, one can still look.
        let table = self.mounts().await.unwrap_or_default();
        if !table.has_fuse() {
            return Ok(());
        }
        let mut asked: Vec<PathBuf> = table
            .fuse_below(&path)
            .map(|mount| mount.point.clone())
            .collect();
        asked.push(path);
        let asked = join_all(asked.into_iter().map(|path| self.ask_in_process(path))).await;
        let silent = asked
            .into_iter()
            .filter_map(Result::err)
            .find(|error| error.kind != HostErrorKind::Permanent);
        silent.map_or(Ok(()), Err)
    }

    /// Asks about `path`, which may hang.
    async fn ask<T: Send + 'static>(
        &self,
        path: &Path,
        work: impl FnOnce() -> Result<T, HostError> + Send + 'static,
    ) -> Result<T, HostError> {
        let asked = self.bounded(&look_at(path), ANSWER_WITHIN, work).await;
        asked.map_err(|error| match error.kind {
            HostErrorKind::Transient => error
                .with_help("its server may be gone; whatever else looks there will hang as well"),
            _ => error,
        })
    }

    /// Asks through a process of its own. A FUSE daemon that has taken the question and stops
    /// answering (sshfs without a network) holds whoever asked even against SIGKILL; a thread of
    /// ours would so keep this program from ending, and its locks with it. A process that hangs is
    /// left to init.
    async fn ask_in_process(&self, path: PathBuf) -> Result<Space, HostError> {
        let clock = self.scope().clock().clone();
        let search = self
            .scope()
            .shared
            .environment
            .get(&OsString::from("PATH"))
            .cloned();
        let asked = path.clone();
        let ask = move || {
            let deadline = clock.deadline_in(ANSWER_WITHIN);
            let text = run_stat(&path, search, &clock, deadline)?;
            parse_stat(&text).map_err(|cause| HostError::permanent(look_at(&path), cause))
        };
        self.ask(&asked, ask).await
    }
}

/// What the kernel makes up has no size to be judged by.
fn sized(path: &Path, mount: Mount, space: Space) -> Result<SpaceAt, HostError> {
    if space.total > 0 {
        return Ok(SpaceAt { mount, space });
    }
    let cause = format!("it is on {}, which has no size", mount.fs_type);
    Err(HostError::permanent(look_at(path), cause))
}

fn look_at(path: &Path) -> String {
    format!("look at {}", path.display())
}

fn error(path: &Path, error: &std::io::Error) -> HostError {
    HostError::io(look_at(path), error)
}

fn statvfs(path: &Path) -> Result<Space, HostError> {
    rustix::fs::statvfs(path)
        .map(Space::from)
        .map_err(|e| error(path, &e.into()))
}

/// What `stat -f` says: blocks, free ones, available ones, their size, inodes, free ones. GNU's and
/// busybox's agree on these.
const STAT_FORMAT: &str = "%b %f %a %S %c %d";

#[expect(clippy::disallowed_methods, reason = "this is the door")]
fn run_stat(
    path: &Path,
    search: Option<OsString>,
    clock: &Clock,
    deadline: Deadline,
) -> Result<String, HostError> {
    let io = |e: &std::io::Error| error(path, e);
    let mut child = Command::new("stat")
        .args(["-f", "-c", STAT_FORMAT, "--"])
        .arg(path)
        .env_clear()
        .envs(search.map(|search| ("PATH", search)))
        .env("LC_ALL", "C")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0)
        .spawn()
        .map_err(|e| HostError::io("start `stat`", &e))?;
    // It may have been reaped for us, among the strays: that is an end as well.
    while let Ok(None) = child.try_wait() {
        if deadline.passed(clock) {
            // Where it can be killed, it goes now; it is not waited for.
            let _ = child.kill();
            let cause = format!("no answer within {ANSWER_WITHIN}");
            return Err(HostError::transient(look_at(path), cause));
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let (mut out, mut err) = (String::new(), String::new());
    if let Some(mut pipe) = child.stdout.take() {
        pipe.read_to_string(&mut out).map_err(|e| io(&e))?;
    }
    if let Some(mut pipe) = child.stderr.take() {
        pipe.read_to_string(&mut err).map_err(|e| io(&e))?;
    }
    match err.trim().rsplit(": ").next() {
        Some(cause) if !cause.is_empty() => {
            Err(HostError::permanent(look_at(path), cause.to_lowercase()))
        }
        _ => Ok(out),
    }
}

fn parse_stat(text: &str) -> Result<Space, String> {
    let numbers: Vec<u64> = text
        .split_whitespace()
        .map(|word| {
            word.parse()
                .map_err(|_| format!("`{}` is no answer of `stat -f`", text.trim()))
        })
        .collect::<Result<_, _>>()?;
    let &[blocks, free, available, block_size, inodes, inodes_free] = numbers.as_slice() else {
        return Err(format!("`{}` is no answer of `stat -f`", text.trim()));
    };
    Ok(Space::from_counts(Counts {
        blocks,
        free,
        available,
        block_size,
        inodes,
        inodes_free,
    }))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{Space, parse_stat};
    use crate::host::{Observe, testing};

    fn space(used: u64, available: u64) -> Space {
        Space {
            total: used + available,
            used,
            available,
            ..Space::default()
        }
    }

    #[test]
    fn percentages_are_dfs() {
        assert_eq!(space(0, 100).used_percent(), 0);
        assert_eq!(space(9, 91).used_percent(), 9);
        assert_eq!(space(80, 20).used_percent(), 80);
        assert_eq!(space(801, 199).used_percent(), 81);
        assert_eq!(space(1, u64::MAX - 1).used_percent(), 1);
        assert_eq!(space(100, 0).used_percent(), 100);
        assert_eq!(space(0, 0).used_percent(), 100);
        assert_eq!(space(u64::MAX, 0).used_percent(), 100);
    }

    #[test]
    fn what_is_kept_for_root_is_not_available() {
        // 100 blocks, 10 free, 5 of them for root alone: 90 of 95, as df has it.
        let space = parse_stat("100 10 5 4096 0 0\n").unwrap();
        assert_eq!((space.used, space.available), (90 * 4096, 5 * 4096));
        assert_eq!(space.used_percent(), 95);
        assert_eq!(space.inodes_used_percent(), None);
    }

    #[test]
    fn inodes_are_counted_where_they_are() {
        let space = parse_stat("100 10 5 4096 1000 1").unwrap();
        assert_eq!(space.inodes_used_percent(), Some(100));
        // More free than there are: a file system that makes them up as it goes.
        let odd = parse_stat("100 10 5 4096 10 20").unwrap();
        assert_eq!(odd.inodes_used_percent(), Some(0));
    }

    #[test]
    fn broken_answers_are_errors() {
        for text in ["", "1 2 3", "a b c d e f", "1 2 3 4 5 6 7", "1 2 3 4 5 -6"] {
            assert!(parse_stat(text).is_err(), "{text:?}");
        }
    }

    #[tokio::test]
    async fn both_ways_agree() {
        let host = Observe::new(testing::scope().scope);
        let direct = host.space_at(Path::new("/")).await.unwrap();
        let through = host.ask_in_process("/".into()).await.unwrap();
        assert_eq!(direct.mount.point, Path::new("/"));
        assert_eq!(direct.space.total, through.total);
        assert!(through.total > 0);
    }

    #[tokio::test]
    async fn what_is_not_there_is_told() {
        let host = Observe::new(testing::scope().scope);
        let direct = host.space_at(Path::new("/no/such")).await.unwrap_err();
        let through = host.ask_in_process("/no/such".into()).await.unwrap_err();
        let expected = "could not look at /no/such: no such file or directory";
        assert_eq!(direct.to_string(), expected);
        assert_eq!(through.to_string(), expected);
    }
}
