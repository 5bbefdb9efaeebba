//! What tests start and write goes away with the test process, however that ends.
//!
//! Statics are never dropped, and a test process can be killed, so three things work together:
//! - servers are started by one thread that lives as long as the process, with a parent-death signal:
//!   the kernel sends it when that thread is gone (prctl(2), PR_SET_PDEATHSIG, is about the thread);
//! - a janitor, a shell in a process group of its own, reads from a pipe that only this process holds.
//!   Its end of file means that this process is gone: then it ends what is left, unmounts and deletes;
//! - the folders are named by pid and start time, so that a later test process finds those of a
//!   process whose janitor was killed as well, and cleans up after it.

use std::fs::{self, DirBuilder};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{self, Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock, mpsc};
use std::thread;

use tempfile::TempDir;

/// First part of the name of everything that tests leave on the machine while they run.
const PREFIX: &str = "runbook-it-";

/// The janitor's script, and the way to clean up after a process that is long gone.
const JANITOR: &str = include_str!("janitor.sh");

/// The folder of this test process; all others are in it. Others can enter it (PostgreSQL runs as a
/// user of its own).
pub fn scratch() -> &'static Path {
    static SCRATCH: OnceLock<PathBuf> = OnceLock::new();
    SCRATCH.get_or_init(|| {
        let parent = std::env::temp_dir();
        sweep(&parent);
        let pid = process::id();
        let start = start_time(pid).expect("this process has a start time");
        let scratch = parent.join(format!("{PREFIX}{pid}-{start}"));
        for folder in [
            scratch.clone(),
            scratch.join("files"),
            scratch.join("hosts"),
        ] {
            DirBuilder::new()
                .mode(0o755)
                .create(folder)
                .expect("the scratch folder can be made");
        }
        scratch
    })
}

/// Where `folder` makes its folders.
pub fn files() -> PathBuf {
    scratch().join("files")
}

/// A name for this process's cgroups and machines, by which the janitor knows them.
pub fn name() -> &'static str {
    scratch()
        .file_name()
        .and_then(|name| name.to_str())
        .expect("the name is ASCII")
}

/// A number that was not given before in this process.
pub fn serial() -> u32 {
    static NEXT: AtomicU32 = AtomicU32::new(1);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

/// A new folder, deleted when dropped. It is seen at the same path inside a `SystemdHost`.
pub fn folder(what: &str) -> TempDir {
    tempfile::Builder::new()
        .prefix(&format!("{what}-"))
        .tempdir_in(files())
        .expect("a temporary folder can be made")
}

/// Starts a long-lived child from the thread that lives as long as this process. The command itself
/// asks for the parent-death signal (`setpriv --pdeathsig`), since unsafe code is denied here.
pub fn spawn(command: Command) -> io::Result<Child> {
    type Job = (Command, mpsc::Sender<io::Result<Child>>);
    static KEEPER: LazyLock<Mutex<mpsc::Sender<Job>>> = LazyLock::new(|| {
        let (jobs, inbox) = mpsc::channel::<Job>();
        thread::Builder::new()
            .name("keeper".to_owned())
            .spawn(move || {
                for (mut command, answer) in inbox {
                    answer.send(command.spawn()).ok();
                }
            })
            .expect("a thread can be started");
        Mutex::new(jobs)
    });
    let (answer, result) = mpsc::channel();
    KEEPER
        .lock()
        .unwrap()
        .send((command, answer))
        .expect("the keeper lives");
    result.recv().expect("the keeper answers")
}

/// What the janitor ends if this process cannot.
#[derive(Clone, Copy)]
pub enum Left {
    /// A whole process group, at once.
    Group(u32),
    /// A server that has a parent-death signal: woken if it is stopped, killed if it still stays.
    Daemon(u32),
}

/// Tells the janitor to end this when this process is gone.
pub fn watch(left: Left) {
    tell('+', left);
}

/// Tells the janitor that this has ended.
pub fn unwatch(left: Left) {
    tell('-', left);
}

fn tell(sign: char, left: Left) {
    static JANITOR_INPUT: LazyLock<Mutex<ChildStdin>> = LazyLock::new(|| Mutex::new(janitor()));
    let line = match left {
        Left::Group(pgid) => format!("{sign} group {pgid}\n"),
        Left::Daemon(pid) => format!("{sign} daemon {pid}\n"),
    };
    JANITOR_INPUT
        .lock()
        .unwrap()
        .write_all(line.as_bytes())
        .expect("the janitor listens");
}

/// Starts the janitor. It has no one to talk to: what it cannot do, the next sweep says.
#[expect(clippy::zombie_processes, reason = "it ends after this process")]
fn janitor() -> ChildStdin {
    let mut command = Command::new("bash");
    command
        .args(["-c", JANITOR, "janitor", "wait"])
        .arg(scratch())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0);
    let mut child = spawn(command).expect("bash can be started");
    child.stdin.take().expect("stdin is a pipe")
}

/// Cleans up after test processes that are gone and whose janitor is gone too.
fn sweep(parent: &Path) {
    let Ok(entries) = fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(rest) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        let Some((pid, start)) = rest.split_once('-') else {
            continue;
        };
        let (Ok(pid), Ok(start)) = (pid.parse::<u32>(), start.parse::<u64>()) else {
            continue;
        };
        if start_time(pid) != Some(start) {
            clean_up(&entry.path());
        }
    }
}

/// Ends the processes in the cgroups named like this folder, and removes them, what is mounted in the
/// folder, and the folder.
pub fn clean_up(folder: &Path) {
    let done = Command::new("bash")
        .args(["-c", JANITOR, "janitor", "sweep"])
        .arg(folder)
        .stdin(Stdio::null())
        .status();
    if !done.is_ok_and(|status| status.success()) {
        eprintln!("note: could not clean up {}", folder.display());
    }
}

/// When a process started, in ticks since boot: with the pid, a name that is not given twice.
/// Field 22 of proc(5)'s `/proc/<pid>/stat`, counted after the name, which may hold anything.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let after_name = stat.rsplit_once(')')?.1;
    after_name.split_whitespace().nth(19)?.parse().ok()
}
