//! The program under test, run as a user would: in a folder of its own, with a state folder of its
//! own and a clean environment, under a deadline.

use std::ffi::{OsStr, OsString};
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use tempfile::TempDir;

use super::lifetime;
use super::process::{Output, Running};
use super::systemd::SystemdHost;
use super::tracer::{self, Trace, Trap};

/// The program that was built for these tests.
pub const PROGRAM: &str = env!("CARGO_BIN_EXE_runbook");

/// How long a run may take unless the test says more: no test hangs.
pub const LIMIT: Duration = Duration::from_secs(60);

/// A run of `runbook` to come.
#[must_use = "nothing runs before `run` or `start`"]
pub struct Runbook {
    folder: Arc<TempDir>,
    state: PathBuf,
    args: Vec<OsString>,
    env: Vec<(OsString, OsString)>,
    under: Vec<OsString>,
    program: PathBuf,
    stdin: Vec<u8>,
    limit: Duration,
}

impl Default for Runbook {
    fn default() -> Runbook {
        Runbook::new()
    }
}

impl Runbook {
    /// In a new folder, which is the working directory and `HOME`, and lasts as long as this or the
    /// result.
    pub fn new() -> Runbook {
        Runbook::within(Arc::new(lifetime::folder("run")))
    }

    fn within(folder: Arc<TempDir>) -> Runbook {
        let state = folder.path().join("state");
        Runbook {
            folder,
            state,
            args: Vec::new(),
            env: Vec::new(),
            under: Vec::new(),
            program: PROGRAM.into(),
            stdin: Vec::new(),
            limit: LIMIT,
        }
    }

    /// The folder that it runs in.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Another state folder than `state` in its folder.
    pub fn state(mut self, folder: impl Into<PathBuf>) -> Runbook {
        self.state = folder.into();
        self
    }

    pub fn arg(mut self, arg: impl AsRef<OsStr>) -> Runbook {
        self.args.push(arg.as_ref().to_owned());
        self
    }

    pub fn args<A: AsRef<OsStr>>(mut self, args: impl IntoIterator<Item = A>) -> Runbook {
        self.args
            .extend(args.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    pub fn env(mut self, name: impl AsRef<OsStr>, value: impl AsRef<OsStr>) -> Runbook {
        self.env
            .push((name.as_ref().to_owned(), value.as_ref().to_owned()));
        self
    }

    /// Writes a playbook as `playbook.yaml`, and gives its name as the next argument.
    pub fn playbook(self, text: &str) -> Runbook {
        self.file("playbook.yaml", text).arg("playbook.yaml")
    }

    /// Writes a file, in folders as needed, without naming it as an argument.
    pub fn file(self, path: impl AsRef<Path>, content: impl AsRef<[u8]>) -> Runbook {
        let path = self.folder().join(path);
        fs::create_dir_all(path.parent().expect("a file is in a folder")).expect("it can be made");
        fs::write(path, content).expect("a file can be written");
        self
    }

    pub fn stdin(mut self, text: impl AsRef<[u8]>) -> Runbook {
        self.stdin = text.as_ref().to_vec();
        self
    }

    /// Runs it under another program: `["strace", "-f", …]`, `["prlimit", "--nofile=8"]`.
    pub fn under<A: AsRef<OsStr>>(mut self, wrapper: impl IntoIterator<Item = A>) -> Runbook {
        self.under
            .extend(wrapper.into_iter().map(|arg| arg.as_ref().to_owned()));
        self
    }

    /// Runs this in its place: to look at what the program would see.
    pub fn instead<A: AsRef<OsStr>>(mut self, argv: impl IntoIterator<Item = A>) -> Runbook {
        let mut argv = argv.into_iter();
        self.program = argv.next().expect("a program").as_ref().into();
        self.args(argv)
    }

    /// Runs it inside a host with its own systemd. It sees the same folder, and the network of the
    /// tests (whose servers are on this machine's loopback), everything else is the host's.
    pub fn inside(mut self, host: &SystemdHost) -> Runbook {
        self.program = host.runbook();
        let folder = self.folder().to_path_buf();
        self.under(host.enter(&folder))
    }

    /// How long it may take until the test fails.
    pub fn limit(mut self, limit: Duration) -> Runbook {
        self.limit = limit;
        self
    }

    fn command(&self) -> Command {
        let mut argv = self.under.iter().map(OsString::as_os_str);
        let mut command = match argv.next() {
            Some(wrapper) => {
                let mut command = Command::new(wrapper);
                command.args(argv).arg(&self.program);
                command
            }
            None => Command::new(&self.program),
        };
        let path = std::env::var_os("PATH").unwrap_or_default();
        command
            .args(&self.args)
            .current_dir(self.folder())
            .env_clear()
            .env("PATH", path)
            .env("HOME", self.folder())
            .env("LANG", "C.UTF-8")
            .env("RUNBOOK_STATE_DIR", &self.state)
            .envs(self.env.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs it to its end.
    #[track_caller]
    pub fn run(self) -> Ran {
        let running = Running::start(self.command(), &self.stdin);
        self.ran(running)
    }

    /// Runs it to its end with this as its stdout; the result's `stdout` is empty then.
    #[track_caller]
    pub fn run_to(self, stdout: impl Into<Stdio>) -> Ran {
        let running = Running::start_with(self.command(), &self.stdin, stdout.into());
        self.ran(running)
    }

    /// Runs it under ptrace to its end, which a trap may hasten. Nothing can be said on its stdin.
    #[track_caller]
    pub fn trace(self, trap: Trap<'_>) -> (Ran, Trace) {
        let said = |name| {
            let path = self
                .folder()
                .join(format!(".{name}-{}", lifetime::serial()));
            let file = fs::File::create(&path).expect("a file can be made");
            (path, file)
        };
        let ((stdout, out), (stderr, err)) = (said("stdout"), said("stderr"));
        let trace = tracer::trace(&self.command(), out, err, trap, self.limit);
        let read = |path| String::from_utf8_lossy(&fs::read(path).expect("it was written")).into();
        let output = Output {
            code: trace.code,
            stdout: read(stdout),
            stderr: read(stderr),
        };
        let ran = Ran {
            output,
            folder: self.folder,
            state: self.state,
        };
        (ran, trace)
    }

    #[track_caller]
    fn ran(self, running: Running) -> Ran {
        let output = running.finish(self.limit);
        Ran {
            output,
            folder: self.folder,
            state: self.state,
        }
    }

    /// Starts it, for tests that do something to it while it runs.
    #[track_caller]
    pub fn start(self) -> Started {
        let running = Running::start(self.command(), &self.stdin);
        Started {
            running,
            runbook: self,
        }
    }
}

/// A run that goes on: see `Running` for what can be done to it.
pub struct Started {
    running: Running,
    runbook: Runbook,
}

impl Started {
    /// Waits for its end.
    #[track_caller]
    pub fn finish(self) -> Ran {
        self.runbook.ran(self.running)
    }

    /// The folder that it runs in.
    pub fn folder(&self) -> &Path {
        self.runbook.folder()
    }

    /// Its state folder.
    pub fn state(&self) -> &Path {
        &self.runbook.state
    }
}

impl Deref for Started {
    type Target = Running;

    fn deref(&self) -> &Running {
        &self.running
    }
}

/// A run that has ended: its `Output`, and its folder and state folder as it left them.
pub struct Ran {
    output: Output,
    folder: Arc<TempDir>,
    state: PathBuf,
}

impl Ran {
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn state(&self) -> &Path {
        &self.state
    }

    /// A file that it wrote in its folder.
    #[track_caller]
    pub fn read(&self, path: impl AsRef<Path>) -> String {
        let path = self.folder().join(path);
        fs::read_to_string(&path)
            .unwrap_or_else(|error| panic!("{}: {error}\n{self}", path.display()))
    }

    /// The next run, in the same folder with the same state folder: `history`, `resume`, ….
    pub fn then(&self) -> Runbook {
        Runbook::within(Arc::clone(&self.folder)).state(&self.state)
    }
}

impl Deref for Ran {
    type Target = Output;

    fn deref(&self) -> &Output {
        &self.output
    }
}

impl std::fmt::Display for Ran {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.output.fmt(f)
    }
}
