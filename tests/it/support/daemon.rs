//! A server process that a fixture owns: started so that it dies with the tests, stopped by pid,
//! paused and resumed with all its children.

use std::ffi::OsString;
use std::fs::{self, File};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Mutex;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use super::lifetime::{self, Left};
use super::{process, wait};

/// How long a server may take to end after it was told to.
const STOP: Duration = Duration::from_secs(20);

/// How a server is started.
pub struct Spec {
    /// Program and arguments.
    pub argv: Vec<OsString>,
    /// The user that it runs as, when the tests run as root.
    pub user: Option<&'static str>,
    /// What the kernel sends it when the test process is gone: a name as `setpriv` takes it. A server
    /// that tidies up on a signal (PostgreSQL its shared memory) gets that one.
    pub death: &'static str,
    /// The file that its stdout and stderr go to.
    pub log: PathBuf,
}

/// A running, or stopped, server process.
pub struct Daemon {
    what: &'static str,
    pid: u32,
    child: Mutex<Option<Child>>,
    log: PathBuf,
}

impl Daemon {
    /// Starts it; whether it is ready is for the fixture to ask.
    #[track_caller]
    pub fn start(what: &'static str, spec: &Spec) -> Daemon {
        let setpriv = process::program("setpriv", "util-linux");
        let log = File::create(&spec.log).expect("a log file can be made");
        let mut command = Command::new(setpriv);
        if let Some(user) = spec.user.filter(|_| rustix::process::geteuid().is_root()) {
            command.args(["--reuid", user, "--regid", user, "--clear-groups"]);
        }
        command
            .args(["--pdeathsig", spec.death, "--"])
            .args(&spec.argv)
            .env("LC_ALL", "C.UTF-8")
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file can be duplicated"))
            .stderr(log)
            .process_group(0);
        let child = lifetime::spawn(command).unwrap_or_else(|error| panic!("{what}: {error}"));
        let pid = child.id();
        lifetime::watch(Left::Daemon(pid));
        Daemon {
            what,
            pid,
            child: Mutex::new(Some(child)),
            log: spec.log.clone(),
        }
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// What it has written so far.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Its exit status, if it has ended.
    pub fn ended(&self) -> Option<ExitStatus> {
        let mut child = self.child.lock().unwrap();
        let status = child
            .as_mut()?
            .try_wait()
            .expect("a child can be waited for")?;
        *child = None;
        lifetime::unwatch(Left::Daemon(self.pid));
        Some(status)
    }

    pub fn runs(&self) -> bool {
        self.child.lock().unwrap().is_some() && self.ended().is_none()
    }

    /// Sends `signal` and waits for the end. Nothing happens to one that has ended.
    #[track_caller]
    pub fn stop(&self, signal: Signal) {
        assert!(
            self.end(signal),
            "{} did not end on {signal:?}:\n{}",
            self.what,
            self.log()
        );
    }

    /// The same; whether it has ended is the answer.
    pub fn end(&self, signal: Signal) -> bool {
        if self.runs() {
            self.signal(signal);
            self.resume();
        }
        wait::try_until(STOP, || (!self.runs()).then_some(())).is_some()
    }

    /// Stops the process and its children (SIGSTOP): connections are still accepted by the kernel, and
    /// nobody answers.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        self.each_child(Signal::STOP);
    }

    /// Undoes `pause`.
    pub fn resume(&self) {
        self.each_child(Signal::CONT);
        self.signal(Signal::CONT);
    }

    /// Sends a signal to the process alone.
    pub fn signal(&self, signal: Signal) {
        send(self.pid, signal);
    }

    fn each_child(&self, signal: Signal) {
        for pid in process::children(self.pid) {
            send(pid, signal);
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.end(Signal::KILL);
    }
}

/// Sends a signal to a process that may have ended.
fn send(pid: u32, signal: Signal) {
    if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
        kill_process(pid, signal).ok();
    }
}
