//! The program under ptrace: every call by which it changes something outside of itself is seen, in
//! one counter over all its threads, and at a chosen one it is killed or the call fails.
//!
//! `strace -e inject=…:when=N` counts per thread and per call; here N is a place in the order in which
//! things happened. What the program starts is not traced and knows of nothing. All requests and waits
//! are made by the thread that asked for the run, as ptrace(2) wants it; `__WNOTHREAD` keeps it from
//! the children of other tests.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::Duration;

use nix::errno::Errno;
use nix::libc;
use nix::sys::ptrace::{self, Options};
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use super::lifetime::{self, Left};

/// A call that changes something outside of the process.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: &'static str,
    /// The file or folder that it is about, or the first of two; what `/proc/PID/fd` shows of others.
    pub path: PathBuf,
}

impl Call {
    /// Whether it puts bytes into a file.
    pub fn writes(&self) -> bool {
        ["write", "pwrite64", "writev", "pwritev"].contains(&self.name)
    }

    /// Whether it waits for the disk.
    pub fn syncs(&self) -> bool {
        ["fsync", "fdatasync"].contains(&self.name)
    }
}

/// What is done at a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blow {
    /// `kill -9`; the call does not happen any more.
    KillBefore,
    /// `kill -9` after the call has happened, before the program hears of it.
    KillAfter,
    /// The call does not happen, and fails with this error.
    Fail(Errno),
    /// This call and all later ones that count fail with this error, as on a disk that is gone.
    FailFrom(Errno),
}

/// Which calls count, and at which of them what is done.
#[derive(Clone, Copy)]
pub struct Trap<'a> {
    pub counts: &'a dyn Fn(&Call) -> bool,
    /// From 0; none to let it run and look.
    pub at: Option<(usize, Blow)>,
}

/// What was seen of a run.
#[derive(Debug)]
pub struct Trace {
    /// The calls that counted, in the order in which they began.
    pub calls: Vec<Call>,
    /// Whether it came to the chosen call.
    pub struck: bool,
    /// The chosen call.
    pub at: Option<Call>,
    /// All calls that change anything and began after the chosen one.
    pub after: Vec<Call>,
    /// The exit code; minus the signal's number where a signal ended it.
    pub code: i32,
}

/// Starts `command` (whose stdin is empty) and traces it to its end, which must come within `limit`.
#[track_caller]
#[expect(clippy::zombie_processes, reason = "the tracer waits for it")]
pub fn trace(command: &Command, stdout: File, stderr: File, trap: Trap, limit: Duration) -> Trace {
    let mut child = start(command, stdout, stderr);
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a pid is small"));
    lifetime::watch(Left::Group(child.id()));
    // If this thread dies, the program goes with it.
    let options = Options::PTRACE_O_EXITKILL
        | Options::PTRACE_O_TRACESYSGOOD
        | Options::PTRACE_O_TRACECLONE
        | Options::PTRACE_O_TRACEEXEC;
    ptrace::seize(pid, options).expect("a child can be traced");
    // The shell reads one line, and becomes the program.
    let mut input = child.stdin.take().expect("stdin is a pipe");
    std::io::Write::write_all(&mut input, b"\n").expect("the shell listens");
    drop(input);

    let (over, ended) = mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let late = ended.recv_timeout(limit) == Err(RecvTimeoutError::Timeout);
        if late {
            kill(pid, Signal::SIGKILL).ok();
        }
        late
    });
    let mut tracer = Tracer {
        pid,
        trap,
        threads: HashMap::new(),
        calls: Vec::new(),
        at: None,
        after: Vec::new(),
    };
    let code = tracer.run();
    drop(over);
    let late = watchdog.join().expect("it does not panic");
    lifetime::unwatch(Left::Group(child.id()));
    assert!(!late, "{command:?} still ran after {limit:?}");
    Trace {
        calls: tracer.calls,
        struck: tracer.at.is_some(),
        at: tracer.at,
        after: tracer.after,
        code,
    }
}

/// A shell that waits for a line on stdin, and then runs the command in its place.
fn start(command: &Command, stdout: File, stderr: File) -> Child {
    let mut shell = Command::new("sh");
    shell
        .args(["-c", "read -r go; exec \"$@\"", "sh"])
        .arg(command.get_program())
        .args(command.get_args())
        .env_clear()
        .envs(command.get_envs().filter_map(|(k, v)| Some((k, v?))))
        .stdin(Stdio::piped())
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0);
    if let Some(folder) = command.get_current_dir() {
        shell.current_dir(folder);
    }
    shell.spawn().expect("a shell can be started")
}

struct Tracer<'a> {
    pid: Pid,
    trap: Trap<'a>,
    /// The threads, each with the call that it is in.
    threads: HashMap<Pid, Inside>,
    calls: Vec<Call>,
    at: Option<Call>,
    after: Vec<Call>,
}

/// Where a thread is.
#[derive(Clone, Copy, Default)]
enum Inside {
    /// In the program's own code.
    #[default]
    Nothing,
    /// In a call that is let go on.
    Call,
    /// In a call after which the program is killed.
    LastCall,
    /// In a call that does not happen.
    FailingCall(Errno),
}

impl Tracer<'_> {
    /// Serves the threads until the last has ended.
    fn run(&mut self) -> i32 {
        let flags = WaitPidFlag::__WALL | WaitPidFlag::__WNOTHREAD;
        loop {
            // Another thread may have been killed between its stop and our request: the next wait
            // tells (ESRCH).
            match waitpid(None, Some(flags)) {
                Ok(WaitStatus::Exited(pid, code)) if pid == self.pid => return code,
                Ok(WaitStatus::Signaled(pid, signal, _)) if pid == self.pid => {
                    return -(signal as i32);
                }
                Ok(WaitStatus::PtraceSyscall(thread)) => {
                    self.at_call(thread);
                    ptrace::syscall(thread, None).ok();
                }
                Ok(WaitStatus::PtraceEvent(thread, _, event)) => {
                    if event == libc::PTRACE_EVENT_EXEC {
                        // The next stop is where `execve` returns.
                        self.threads.insert(thread, Inside::Call);
                    }
                    ptrace::syscall(thread, None).ok();
                }
                Ok(WaitStatus::Stopped(thread, signal)) => {
                    ptrace::syscall(thread, signal).ok();
                }
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => panic!("wait for the program: {error}"),
            }
        }
    }

    fn at_call(&mut self, thread: Pid) {
        let Ok(mut registers) = ptrace::getregs(thread) else {
            return;
        };
        match self.threads.remove(&thread).unwrap_or_default() {
            Inside::Nothing => {
                let inside = self.enter(thread, &registers);
                if let Inside::FailingCall(_) = inside {
                    // No such call: the kernel does nothing.
                    registers.orig_rax = u64::MAX;
                    ptrace::setregs(thread, registers).ok();
                }
                self.threads.insert(thread, inside);
            }
            Inside::Call => {}
            Inside::LastCall => self.kill(),
            Inside::FailingCall(error) => {
                registers.rax = (-i64::from(error as i32)).cast_unsigned();
                ptrace::setregs(thread, registers).ok();
            }
        }
    }

    fn enter(&mut self, thread: Pid, registers: &libc::user_regs_struct) -> Inside {
        let Some(call) = mutation(thread, registers) else {
            return Inside::Call;
        };
        if self.at.is_some() {
            self.after.push(call.clone());
        }
        if !(self.trap.counts)(&call) {
            return Inside::Call;
        }
        let number = self.calls.len();
        self.calls.push(call.clone());
        match self.trap.at {
            Some((at, blow)) if at == number => {
                self.at = Some(call);
                match blow {
                    Blow::KillBefore => {
                        self.kill();
                        Inside::Call
                    }
                    Blow::KillAfter => Inside::LastCall,
                    Blow::Fail(error) | Blow::FailFrom(error) => Inside::FailingCall(error),
                }
            }
            Some((at, Blow::FailFrom(error))) if at < number => Inside::FailingCall(error),
            _ => Inside::Call,
        }
    }

    fn kill(&self) {
        kill(self.pid, Signal::SIGKILL).ok();
    }
}

/// How a call says what it is about.
#[derive(Clone, Copy)]
enum About {
    /// A file descriptor, as argument 0.
    Descriptor,
    /// A path, as this argument.
    Path(usize),
    /// Neither: a process.
    Process,
}

/// The calls by which something outside of the process changes, or hears of it: contents and sizes of
/// files, names, modes and owners, what is asked of the disk, locks, processes and signals, and what is
/// said through sockets. Opening counts where it is for writing; `clone` where it starts a process.
const MUTATING: &[(i64, &str, About)] = &[
    (libc::SYS_open, "open", About::Path(0)),
    (libc::SYS_openat, "openat", About::Path(1)),
    (libc::SYS_openat2, "openat2", About::Path(1)),
    (libc::SYS_creat, "creat", About::Path(0)),
    (libc::SYS_write, "write", About::Descriptor),
    (libc::SYS_pwrite64, "pwrite64", About::Descriptor),
    (libc::SYS_writev, "writev", About::Descriptor),
    (libc::SYS_pwritev, "pwritev", About::Descriptor),
    (libc::SYS_sendfile, "sendfile", About::Descriptor),
    (libc::SYS_sendto, "sendto", About::Descriptor),
    (libc::SYS_sendmsg, "sendmsg", About::Descriptor),
    (libc::SYS_connect, "connect", About::Descriptor),
    (libc::SYS_ftruncate, "ftruncate", About::Descriptor),
    (libc::SYS_fallocate, "fallocate", About::Descriptor),
    (libc::SYS_fsync, "fsync", About::Descriptor),
    (libc::SYS_fdatasync, "fdatasync", About::Descriptor),
    (libc::SYS_flock, "flock", About::Descriptor),
    (libc::SYS_fchmod, "fchmod", About::Descriptor),
    (libc::SYS_fchown, "fchown", About::Descriptor),
    (libc::SYS_truncate, "truncate", About::Path(0)),
    (libc::SYS_rename, "rename", About::Path(0)),
    (libc::SYS_renameat, "renameat", About::Path(1)),
    (libc::SYS_renameat2, "renameat2", About::Path(1)),
    (libc::SYS_unlink, "unlink", About::Path(0)),
    (libc::SYS_unlinkat, "unlinkat", About::Path(1)),
    (libc::SYS_rmdir, "rmdir", About::Path(0)),
    (libc::SYS_mkdir, "mkdir", About::Path(0)),
    (libc::SYS_mkdirat, "mkdirat", About::Path(1)),
    (libc::SYS_link, "link", About::Path(0)),
    (libc::SYS_linkat, "linkat", About::Path(1)),
    (libc::SYS_symlink, "symlink", About::Path(0)),
    (libc::SYS_symlinkat, "symlinkat", About::Path(0)),
    (libc::SYS_mknodat, "mknodat", About::Path(1)),
    (libc::SYS_chmod, "chmod", About::Path(0)),
    (libc::SYS_fchmodat, "fchmodat", About::Path(1)),
    (libc::SYS_fchmodat2, "fchmodat2", About::Path(1)),
    (libc::SYS_chown, "chown", About::Path(0)),
    (libc::SYS_fchownat, "fchownat", About::Path(1)),
    (libc::SYS_fork, "fork", About::Process),
    (libc::SYS_vfork, "vfork", About::Process),
    (libc::SYS_clone, "clone", About::Process),
    (libc::SYS_clone3, "clone3", About::Process),
    (libc::SYS_kill, "kill", About::Process),
    (
        libc::SYS_pidfd_send_signal,
        "pidfd_send_signal",
        About::Process,
    ),
];

/// The call that a thread is about to make, if that changes anything outside.
fn mutation(thread: Pid, registers: &libc::user_regs_struct) -> Option<Call> {
    let number = registers.orig_rax.cast_signed();
    let &(_, name, about) = MUTATING.iter().find(|(known, ..)| *known == number)?;
    let arguments = [registers.rdi, registers.rsi, registers.rdx];
    // Flags that stand in a register, or at the start of a structure (openat2, clone3).
    let flags = match name {
        "open" => arguments[1],
        "openat" => arguments[2],
        "openat2" => word(thread, arguments[2])?,
        "clone" => arguments[0],
        "clone3" => word(thread, arguments[0])?,
        _ => 0,
    };
    let has = |flag: i32| flags & u64::from(flag.cast_unsigned()) != 0;
    let changes = match name {
        "open" | "openat" | "openat2" => {
            has(libc::O_CREAT | libc::O_TRUNC | libc::O_WRONLY | libc::O_RDWR)
        }
        "clone" | "clone3" => !has(libc::CLONE_THREAD),
        _ => true,
    };
    let path = match about {
        About::Descriptor => {
            let link = format!("/proc/{thread}/fd/{}", arguments[0]);
            std::fs::read_link(link).unwrap_or_default()
        }
        About::Path(at) => text(thread, arguments[at]),
        About::Process => PathBuf::new(),
    };
    // How a thread wakes another one of the same process.
    let own = path == Path::new("anon_inode:[eventfd]");
    (changes && !own).then_some(Call { name, path })
}

/// Eight bytes of a thread's memory.
fn word(thread: Pid, at: u64) -> Option<u64> {
    let mut bytes = [0; 8];
    let memory = File::open(format!("/proc/{thread}/mem")).ok()?;
    memory.read_exact_at(&mut bytes, at).ok()?;
    Some(u64::from_ne_bytes(bytes))
}

/// A text of a thread's memory, up to its NUL.
fn text(thread: Pid, at: u64) -> PathBuf {
    let mut bytes = [0; 4096];
    let memory = File::open(format!("/proc/{thread}/mem"));
    let read = memory.and_then(|memory| memory.read_at(&mut bytes, at));
    let text = &bytes[..read.unwrap_or(0)];
    let text = text.split(|byte| *byte == 0).next().unwrap_or_default();
    String::from_utf8_lossy(text).into_owned().into()
}
