//! What the kernel was asked for, and which of it leaves a process as it is alone.

use crate::support::process;
use crate::support::run::{Ran, Runbook};

/// Calls by which a file, a folder or what is known of them changes.
pub const CHANGING: &[&str] = &[
    "mkdir",
    "mkdirat",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "rmdir",
    "link",
    "linkat",
    "symlink",
    "symlinkat",
    "mknod",
    "mknodat",
    "chmod",
    "fchmod",
    "fchmodat",
    "chown",
    "fchown",
    "lchown",
    "fchownat",
    "truncate",
    "ftruncate",
    "fallocate",
    "utimensat",
    "setxattr",
    "lsetxattr",
    "fsetxattr",
    "removexattr",
    "mount",
    "umount2",
    "bind",
    "listen",
];

/// A system call as strace prints it.
#[derive(Clone, Debug)]
pub struct Call {
    pub name: String,
    /// Its arguments, with descriptors' paths, and what it gave back.
    pub rest: String,
}

impl Call {
    /// The first text in quotes: the path, in calls that take one.
    pub fn path(&self) -> &str {
        self.rest.split('"').nth(1).unwrap_or_default()
    }
}

impl std::fmt::Display for Call {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}({}", self.name, self.rest)
    }
}

/// Runs it under strace: every call of every thread and child, the first being the program's own
/// start.
#[track_caller]
pub fn traced(run: Runbook) -> (Ran, Vec<Call>) {
    process::program("strace", "strace");
    let ran = run
        .under(["strace", "-f", "-y", "-qq", "-s", "400", "-o", "trace"])
        .run();
    let mut calls: Vec<Call> = ran.read("trace").lines().filter_map(call).collect();
    assert!(
        !calls.is_empty() && calls[0].name == "execve",
        "nothing was traced\n{ran}"
    );
    calls.remove(0);
    (ran, calls)
}

/// Of a call that was interrupted by another thread's the first half has all that matters.
fn call(line: &str) -> Option<Call> {
    let (_, line) = line.split_once(' ')?;
    let (name, rest) = line.trim_start().split_once('(')?;
    let is_name = |c: char| c.is_ascii_alphanumeric() || c == '_';
    name.chars().all(is_name).then(|| Call {
        name: name.to_owned(),
        rest: rest.to_owned(),
    })
}

/// Calls that concern the process alone: its memory, its threads, its signals' handlers, what it has
/// open already, its own name.
const OWN: &[&str] = &[
    "arch_prctl",
    "brk",
    "close",
    "exit",
    "exit_group",
    "fstat",
    "futex",
    "getcwd",
    "getdents64",
    "getegid",
    "geteuid",
    "getgid",
    "getpid",
    "getrandom",
    "gettid",
    "getuid",
    "lseek",
    "madvise",
    "mmap",
    "mprotect",
    "mremap",
    "munmap",
    "poll",
    "pread64",
    "read",
    "rseq",
    "rt_sigaction",
    "rt_sigprocmask",
    "rt_sigreturn",
    "sched_getaffinity",
    "sched_yield",
    "set_robust_list",
    "set_tid_address",
    "sigaltstack",
    "clock_gettime",
    "restart_syscall",
];

/// Where the program's own parts and the machine's time zone are.
const PARTS: &[&str] = &[
    "/lib/",
    "/lib64/",
    "/usr/lib/",
    "/usr/share/zoneinfo",
    "/etc/ld.so.",
    "/etc/localtime",
    "/etc/timezone",
];

/// Whether a dry-run of `playbook.yaml` may do this: look at its own parts and at the playbook, and
/// say what it has to say.
pub fn is_pure(call: &Call) -> bool {
    let has = |text: &str| call.rest.contains(text);
    match call.name.as_str() {
        "open" | "openat" => {
            let writes = [
                "O_WRONLY",
                "O_RDWR",
                "O_CREAT",
                "O_TRUNC",
                "O_APPEND",
                "O_TMPFILE",
            ];
            !writes.iter().any(|flag| has(flag)) && is_own(call.path())
        }
        "access" | "faccessat" | "faccessat2" | "newfstatat" | "statx" | "readlink"
        | "readlinkat" | "stat" | "lstat" => call.path().is_empty() || is_own(call.path()),
        "write" | "writev" => call.rest.starts_with("1<") || call.rest.starts_with("2<"),
        // Locks of files go by this call too.
        "fcntl" => ["F_GETFD", "F_SETFD", "F_GETFL", "F_SETFL", "F_DUPFD"]
            .iter()
            .any(|op| has(op)),
        "ioctl" => has("TCGETS") || has("TIOCGWINSZ"),
        "prlimit64" => has(", NULL, {"),
        "clone" | "clone3" => has("CLONE_THREAD"),
        name => OWN.contains(&name),
    }
}

/// The program's parts, the playbook, and the project file that may stand in any folder above it.
fn is_own(path: &str) -> bool {
    PARTS.iter().any(|part| path.starts_with(part))
        || ["/proc/self/maps", "/proc/self/cgroup", "playbook.yaml"].contains(&path)
        || path.ends_with("/runbook.yaml")
}
