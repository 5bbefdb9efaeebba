//! Processes that run to their end under a deadline, what they said, and where programs are found.

use std::ffi::OsStr;
use std::fmt;
use std::io::{Read, Write};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError, TryRecvError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use super::lifetime::{self, Left};
use super::wait;

/// How a process ended and what it said.
#[derive(Clone)]
pub struct Output {
    /// Its exit code; minus the signal's number where a signal ended it.
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Output {
    fn new(status: ExitStatus, stdout: &[u8], stderr: &[u8]) -> Output {
        Output {
            code: status
                .code()
                .unwrap_or_else(|| -status.signal().unwrap_or(0)),
            stdout: String::from_utf8_lossy(stdout).into_owned(),
            stderr: String::from_utf8_lossy(stderr).into_owned(),
        }
    }

    /// Fails the test, showing everything, unless the exit code is this one.
    #[track_caller]
    pub fn expect_code(&self, code: i32) -> &Output {
        assert!(self.code == code, "expected exit code {code}\n{self}");
        self
    }

    /// stdout as one JSON document.
    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        match serde_json::from_str(&self.stdout) {
            Ok(value) => value,
            Err(error) => panic!("stdout is not one JSON document: {error}\n{self}"),
        }
    }

    /// stdout as JSON Lines.
    #[track_caller]
    pub fn jsonl(&self) -> Vec<serde_json::Value> {
        let parse = |line| match serde_json::from_str(line) {
            Ok(value) => value,
            Err(error) => panic!("not a line of JSON: {error}: {line}\n{self}"),
        };
        self.stdout.lines().map(parse).collect()
    }
}

impl fmt::Display for Output {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "exit code: {}\n--- stdout\n{}\n--- stderr\n{}\n---",
            self.code, self.stdout, self.stderr
        )
    }
}

/// A running process in a process group of its own. Dropped while it runs, it is killed.
pub struct Running {
    what: String,
    pid: Pid,
    status: Arc<Mutex<mpsc::Receiver<ExitStatus>>>,
    stdout: Stream,
    stderr: Stream,
    ended: bool,
}

impl Running {
    /// Starts `command` with this text on stdin; stdout and stderr are read from the start.
    #[track_caller]
    pub fn start(command: Command, stdin: &[u8]) -> Running {
        Running::start_with(command, stdin, Stdio::piped())
    }

    /// The same with a stdout of the caller's choice, of which nothing is read then.
    #[track_caller]
    pub fn start_with(mut command: Command, stdin: &[u8], stdout: Stdio) -> Running {
        let what = format!("{command:?}");
        command
            .stdin(Stdio::piped())
            .stdout(stdout)
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("cannot start {what}: {error}"));
        let pid = Pid::from_child(&child);
        lifetime::watch(Left::Group(child.id()));

        let mut input = child.stdin.take().expect("stdin is a pipe");
        let stdin = stdin.to_vec();
        thread::spawn(move || input.write_all(&stdin).ok());
        let stdout = Stream::read(child.stdout.take());
        let stderr = Stream::read(child.stderr.take());
        let (tell, status) = mpsc::channel();
        thread::spawn(move || {
            let id = child.id();
            if let Ok(status) = child.wait() {
                lifetime::unwatch(Left::Group(id));
                tell.send(status).ok();
            }
        });
        Running {
            what,
            pid,
            status: Arc::new(Mutex::new(status)),
            stdout,
            stderr,
            ended: false,
        }
    }

    pub fn pid(&self) -> Pid {
        self.pid
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid, signal).expect("the process is there");
    }

    /// Sends a signal to its whole process group, as a terminal does on Ctrl-C.
    pub fn signal_group(&self, signal: Signal) {
        kill_process_group(self.pid, signal).expect("the process group is there");
    }

    pub fn stdout_so_far(&self) -> String {
        self.stdout.text()
    }

    pub fn stderr_so_far(&self) -> String {
        self.stderr.text()
    }

    /// Waits until stdout or stderr holds `text`. The end of both without it fails at once.
    #[track_caller]
    pub fn wait_for_text(&self, text: &str, limit: Duration) {
        let seen = wait::try_until(limit, || {
            let over = self.stdout.ended() && self.stderr.ended();
            let found = [&self.stdout, &self.stderr]
                .iter()
                .any(|out| out.text().contains(text));
            (found || over).then_some(found)
        });
        if seen != Some(true) {
            panic!("{text:?} did not come within {limit:?}\n{}", self.said());
        }
    }

    /// Waits for its end and for the end of its output. After `limit` it is killed with its group, and
    /// the test fails with what it said until then.
    #[track_caller]
    pub fn finish(mut self, limit: Duration) -> Output {
        let deadline = Instant::now() + limit;
        let waited = self.status.lock().unwrap().recv_timeout(limit);
        let status = match waited {
            Ok(status) => status,
            Err(RecvTimeoutError::Timeout) => {
                panic!("{} still runs after {limit:?}\n{}", self.what, self.said())
            }
            Err(RecvTimeoutError::Disconnected) => panic!("{} cannot be waited for", self.what),
        };
        self.ended = true;
        // A stray that inherited stdout keeps it open: that is a failure too, not a reason to hang.
        let rest = deadline
            .saturating_duration_since(Instant::now())
            .max(Duration::from_secs(1));
        if !(self.stdout.wait(rest) && self.stderr.wait(rest)) {
            kill_process_group(self.pid, Signal::KILL).ok();
            panic!(
                "{} ended, but something still holds its output\n{}",
                self.what,
                self.said()
            );
        }
        Output::new(status, &self.stdout.bytes(), &self.stderr.bytes())
    }

    fn said(&self) -> String {
        format!(
            "--- stdout\n{}\n--- stderr\n{}\n---",
            self.stdout.text(),
            self.stderr.text()
        )
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if !self.ended {
            kill_process_group(self.pid, Signal::KILL).ok();
        }
    }
}

/// A pipe that a thread reads to its end.
struct Stream {
    bytes: Arc<Mutex<Vec<u8>>>,
    end: Mutex<mpsc::Receiver<()>>,
}

impl Stream {
    fn read(pipe: Option<impl Read + Send + 'static>) -> Stream {
        let bytes = Arc::new(Mutex::new(Vec::new()));
        let (end_told, end) = mpsc::channel::<()>();
        if let Some(mut pipe) = pipe {
            let bytes = Arc::clone(&bytes);
            thread::spawn(move || {
                let _end_told = end_told;
                let mut chunk = [0; 16 * 1024];
                while let Ok(n @ 1..) = pipe.read(&mut chunk) {
                    bytes.lock().unwrap().extend_from_slice(&chunk[..n]);
                }
            });
        }
        Stream {
            bytes,
            end: Mutex::new(end),
        }
    }

    /// Waits for the pipe's end; whether it came within `limit`.
    fn wait(&self, limit: Duration) -> bool {
        self.end.lock().unwrap().recv_timeout(limit) == Err(RecvTimeoutError::Disconnected)
    }

    fn ended(&self) -> bool {
        self.end.lock().unwrap().try_recv() == Err(TryRecvError::Disconnected)
    }

    fn bytes(&self) -> Vec<u8> {
        self.bytes.lock().unwrap().clone()
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes()).into_owned()
    }
}

/// Runs a fixture's own helper program (`psql`, `redis-cli`, …) to its end, within a minute.
#[track_caller]
pub fn output(program: impl AsRef<OsStr>, args: &[&str]) -> Output {
    let mut command = Command::new(program);
    command.args(args);
    Running::start(command, b"").finish(Duration::from_secs(60))
}

/// The path of a program that a fixture needs, or a failure that says which package has it.
#[track_caller]
pub fn program(name: &str, package: &str) -> PathBuf {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let system = ["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from);
    find(name, std::env::split_paths(&path).chain(system)).unwrap_or_else(|| missing(name, package))
}

/// The first of these folders' files of that name.
pub fn find(name: &str, folders: impl IntoIterator<Item = PathBuf>) -> Option<PathBuf> {
    folders
        .into_iter()
        .map(|folder| folder.join(name))
        .find(|path| path.is_file())
}

/// Fails the test because a component is missing.
#[track_caller]
pub fn missing(what: &str, package: &str) -> ! {
    panic!(
        "{what} is missing on this machine: run `bash tests/run.sh`, which installs what tests need, \
         or `apt-get install {package}`"
    )
}

/// Fails the test unless it runs as root, which some fixtures need.
#[track_caller]
pub fn need_root(what: &str) {
    assert!(
        rustix::process::geteuid().is_root(),
        "{what} needs root: run the tests with `bash tests/run.sh` as root or as a user with sudo"
    );
}

/// The children of a process, by /proc.
pub fn children(parent: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else {
        return Vec::new();
    };
    let pids = entries
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|pid| parent_of(*pid) == Some(parent)).collect()
}

/// Field 4 of proc(5)'s `/proc/<pid>/stat`, counted after the name.
fn parent_of(pid: u32) -> Option<u32> {
    let stat =
        std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).ok()?;
    stat.rsplit_once(')')?
        .1
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}
