//! Processes: started as pipelines, in a process group of their own, ended as a whole.
//!
//! - Every stage of a pipeline is a child of ours, so that each exit status counts.
//! - What they write is read while they run, redacted, logged and kept up to a limit.
//! - An end is asked for with SIGTERM, and after [`GRACE`] enforced with SIGKILL, for the whole
//!   group. What a process leaves behind in its group is ended with it; a daemon that is meant to
//!   stay starts a session of its own (`setsid -f`, or better `systemd-run`).
//!
//! `duct` starts one expression a stage; `process_group` keeps the fast `posix_spawn` path of the
//! standard library, which `pre_exec` would lose.

mod capture;
mod fence;
mod group;
mod outputs;

use std::ffi::OsString;
use std::os::fd::{AsRawFd as _, OwnedFd};
use std::path::PathBuf;
use std::pin::pin;

use tokio::io::unix::AsyncFd;

pub use capture::{CAPTURE_LIMIT, Captured};
pub use fence::{Stray, end_strays, strays};
pub use group::{become_subreaper, reap_strays};

use self::capture::Reader;
use self::group::Group;
use self::outputs::OutputFile;
use super::scope::Scope;
use super::{HostError, HostErrorKind};
use crate::base::{Duration, EndReason, Ending};
use crate::event::Stream;

/// How long processes have between SIGTERM and SIGKILL.
pub const GRACE: Duration = Duration::from_secs(10);

/// How long what a process left behind in its group has between SIGTERM and SIGKILL.
const LEFTOVER_GRACE: Duration = Duration::from_secs(2);

/// How long what a process left behind has to leave its group: `setsid` returns before it has done so
/// for its child.
const LEAVING: Duration = Duration::from_millis(100);

/// How long output is still read after the last process of the group is gone: a daemon in a session
/// of its own may hold the pipe for ever.
const DRAIN: Duration = Duration::from_millis(500);

/// One process of a pipeline.
#[derive(Clone, Debug, Default)]
pub struct Stage {
    /// The program and its arguments; the program is looked up in `PATH`.
    pub argv: Vec<String>,
    /// Added to the environment.
    pub env: Vec<(String, String)>,
    /// The working folder; the playbook's own by default.
    pub cwd: Option<PathBuf>,
}

/// How one process ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StageEnd {
    /// The program as it was named.
    pub program: String,
    /// Its exit status, where it exited.
    pub code: Option<i32>,
    /// The signal that ended it, where one did.
    pub signal: Option<i32>,
}

impl StageEnd {
    /// Whether it exited with status 0.
    pub fn succeeded(&self) -> bool {
        self.code == Some(0)
    }

    /// "exited with status 3", "was killed by SIGKILL".
    pub fn describe(&self) -> String {
        match (self.code, self.signal) {
            (Some(code), _) => format!("exited with status {code}"),
            (None, Some(signal)) => format!("was killed by {}", group::signal_name(signal)),
            (None, None) => "ended without a status".to_owned(),
        }
    }
}

/// How a pipeline ended.
#[derive(Debug)]
pub struct Ended {
    /// Each process, from left to right.
    pub stages: Vec<StageEnd>,
    /// What the last one wrote to its standard output.
    pub stdout: Captured,
    /// What all of them wrote to their standard error.
    pub stderr: Captured,
    /// What they left in the file `RUNBOOK_OUTPUT`.
    pub values: serde_json::Map<String, serde_json::Value>,
    /// Whether processes were still in the group when the last stage had ended, and were ended.
    pub leftovers: bool,
}

/// The means to start processes.
#[derive(Debug)]
pub struct Processes<'a> {
    scope: &'a Scope,
}

/// What becomes of a pipeline's output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Record {
    /// It is redacted, logged, and shown to whoever watches.
    Logged,
    /// It is a secret: kept in memory alone.
    Private,
}

impl<'a> Processes<'a> {
    pub(super) fn new(scope: &'a Scope) -> Self {
        Self { scope }
    }

    /// The means to run a command whose output is a secret.
    pub fn for_secrets(scope: &'a Scope) -> Self {
        Self { scope }
    }

    /// Runs `stages` as one pipeline to its end. `stdin` is what the first one reads; nothing by
    /// default.
    ///
    /// # Errors
    /// When a stage could not be started, when the run was cancelled or its deadline passed, or
    /// when the log could not be written. In each case nothing of the group is left.
    pub async fn run(&self, stages: &[Stage], stdin: Option<Vec<u8>>) -> Result<Ended, HostError> {
        self.run_recorded(stages, stdin, Record::Logged).await
    }

    /// As [`Processes::run`], but what the processes write is kept in memory alone.
    ///
    /// # Errors
    /// As [`Processes::run`].
    pub async fn run_private(&self, stages: &[Stage]) -> Result<Ended, HostError> {
        self.run_recorded(stages, None, Record::Private).await
    }

    async fn run_recorded(
        &self,
        stages: &[Stage],
        stdin: Option<Vec<u8>>,
        record: Record,
    ) -> Result<Ended, HostError> {
        let folder = &self.scope.shared.folder;
        let output_file = folder.output_file(&self.scope.path, self.scope.attempt, self.scope.part);
        let output_file = OutputFile::at(output_file);
        let (out_read, out_write) = pipe()?;
        let (err_read, err_write) = pipe()?;
        let mut group = Group::new();
        let mut feed = None;
        let mut next_stdin = match stdin {
            None => None,
            Some(bytes) => {
                let (read, write) = pipe()?;
                feed = Some((write, bytes));
                Some(read)
            }
        };
        for (at, stage) in stages.iter().enumerate() {
            let last = at + 1 == stages.len();
            let (stdout, following) = if last {
                (
                    out_write
                        .try_clone()
                        .map_err(|e| HostError::io("share a pipe", &e))?,
                    None,
                )
            } else {
                let (read, write) = pipe()?;
                (write, Some(read))
            };
            let stderr = err_write
                .try_clone()
                .map_err(|e| HostError::io("share a pipe", &e))?;
            self.start(
                &mut group,
                stage,
                next_stdin.take(),
                stdout,
                stderr,
                output_file.path(),
            )?;
            next_stdin = following;
        }
        drop((out_write, err_write));

        let mut stdout = Reader::new(self.scope, out_read, Stream::Stdout, record)?;
        let mut stderr = Reader::new(self.scope, err_read, Stream::Stderr, record)?;
        let (leftovers, told) = self
            .attend(&mut group, &mut stdout, &mut stderr, feed)
            .await?;
        let stages = group.take_ends(stages)?;
        let stdout = stdout.finish().await?;
        let stderr = stderr.finish().await?;
        if let Some(reason) = told {
            return Err(ended_early(stages.first(), reason));
        }
        // What failed says why itself; what it left half-written says nothing.
        let values = match output_file.read() {
            Ok(values) => values,
            Err(_) if stages.iter().any(|stage| !stage.succeeded()) => serde_json::Map::new(),
            Err(error) => return Err(error),
        };
        Ok(Ended {
            stages,
            stdout,
            stderr,
            values,
            leftovers,
        })
    }

    /// Starts one stage.
    #[expect(clippy::disallowed_methods, reason = "this is the door for processes")]
    fn start(
        &self,
        group: &mut Group,
        stage: &Stage,
        stdin: Option<std::io::PipeReader>,
        stdout: std::io::PipeWriter,
        stderr: std::io::PipeWriter,
        output_file: &std::path::Path,
    ) -> Result<(), HostError> {
        let program = stage.argv.first().cloned().unwrap_or_default();
        let cwd = match &stage.cwd {
            Some(cwd) => self.scope.resolve(cwd),
            None => self.scope.shared.base_dir.clone(),
        };
        let mut expression = duct::cmd(&program, &stage.argv[1..])
            .full_env(self.environment(stage, output_file))
            .dir(&cwd)
            .stdout_file(stdout)
            .stderr_file(stderr)
            .unchecked();
        expression = match stdin {
            None => expression.stdin_null(),
            Some(read) => expression.stdin_file(read),
        };
        let pgid = group.pgid();
        let expression = expression.before_spawn(move |command| {
            std::os::unix::process::CommandExt::process_group(command, pgid);
            Ok(())
        });
        let handle = expression
            .start()
            .map_err(|error| start_error(&program, &cwd, &error))?;
        group.add(handle)
    }

    fn environment(
        &self,
        stage: &Stage,
        output_file: &std::path::Path,
    ) -> std::collections::HashMap<OsString, OsString> {
        let scope = self.scope;
        let mut env = scope.shared.environment.clone();
        let run = scope.shared.run.as_str();
        let mut set = |name: &str, value: OsString| env.insert(name.into(), value);
        set("RUNBOOK_RUN_ID", run.into());
        set("RUNBOOK_STEP_ID", scope.path.step.as_str().into());
        set("RUNBOOK_ATTEMPT", scope.attempt.to_string().into());
        set("RUNBOOK_OUTPUT", output_file.into());
        set(
            "RUNBOOK_IDEMPOTENCY_KEY",
            format!("{run}-{}{}", scope.path, scope.part.suffix()).into(),
        );
        for (name, value) in &stage.env {
            set(name, value.into());
        }
        env
    }

    /// Reads, waits, and ends the group when it is told to; returns whether something was left in
    /// the group, and why it was told to end.
    async fn attend(
        &self,
        group: &mut Group,
        stdout: &mut Reader<'_>,
        stderr: &mut Reader<'_>,
        feed: Option<(std::io::PipeWriter, Vec<u8>)>,
    ) -> Result<(bool, Option<EndReason>), HostError> {
        let clock = self.scope.clock();
        let cancel = &self.scope.cancel;
        // The first that fails ends both: what is not read any more would block who writes it.
        let mut reading = pin!(async { tokio::try_join!(stdout.drain(), stderr.drain()) });
        let mut feeding = pin!(capture::feed(feed));
        let (mut read, mut fed) = (None, false);
        let mut told = None;
        let mut kill_at = crate::base::Deadline::NEVER;
        {
            let mut exits = pin!(group.exits());
            loop {
                tokio::select! {
                    biased;
                    done = &mut reading, if read.is_none() => {
                        // What cannot be recorded must not go on.
                        if done.is_err() {
                            group::signal_group(group.pgid(), rustix::process::Signal::TERM);
                            kill_at = clock.deadline_in(GRACE);
                        }
                        read = Some(done);
                    }
                    () = &mut feeding, if !fed => fed = true,
                    exited = &mut exits => { exited?; break }
                    reason = cancel.told(), if told.is_none() => {
                        if group.has_ended() {
                            group.reap()?;
                            break;
                        }
                        told = Some(reason);
                        group::signal_group(group.pgid(), rustix::process::Signal::TERM);
                        kill_at = clock.deadline_in(GRACE);
                    }
                    () = cancel.told_now(), if told.is_some() && kill_at.instant().is_some() => {
                        group::signal_group(group.pgid(), rustix::process::Signal::KILL);
                        kill_at = crate::base::Deadline::NEVER;
                    }
                    () = clock.sleep_until(kill_at), if kill_at.instant().is_some() => {
                        group::signal_group(group.pgid(), rustix::process::Signal::KILL);
                        kill_at = crate::base::Deadline::NEVER;
                    }
                }
            }
        }
        let patience = if told.is_none() {
            LEAVING
        } else {
            Duration::ZERO
        };
        let leftovers = group.has_leftovers(clock, patience).await;
        if leftovers {
            let grace = if matches!(cancel.state(), Ending::Now(_)) {
                Duration::ZERO
            } else {
                LEFTOVER_GRACE
            };
            let mut ending = pin!(group.end_leftovers(clock, grace));
            loop {
                tokio::select! {
                    biased;
                    done = &mut reading, if read.is_none() => read = Some(done),
                    () = &mut ending => break,
                }
            }
        }
        if read.is_none() {
            read = clock.within(clock.deadline_in(DRAIN), &mut reading).await;
        }
        if let Some(read) = read {
            read?;
        }
        Ok((leftovers, told))
    }
}

fn pipe() -> Result<(std::io::PipeReader, std::io::PipeWriter), HostError> {
    std::io::pipe().map_err(|e| HostError::io("make a pipe", &e))
}

fn start_error(program: &str, cwd: &std::path::Path, error: &std::io::Error) -> HostError {
    let action = format!("start `{program}`");
    if error.kind() != std::io::ErrorKind::NotFound {
        return HostError::io(action, error);
    }
    if !cwd.is_dir() {
        return HostError::permanent(
            action,
            format!("its folder {} does not exist", cwd.display()),
        );
    }
    HostError::permanent(action, "there is no such program")
        .with_help("install it, or give its full path; programs are looked up in PATH")
}

fn ended_early(first: Option<&StageEnd>, reason: EndReason) -> HostError {
    let action = match first {
        Some(stage) => format!("let `{}` finish", stage.program),
        None => "let it finish".to_owned(),
    };
    match reason {
        EndReason::Timeout => HostError::new(
            HostErrorKind::TimedOut,
            action,
            "its time was up, and it was ended",
        ),
        EndReason::Cancelled => {
            HostError::new(HostErrorKind::Cancelled, action, "the run was cancelled")
        }
    }
}

/// Waits until the process behind a pidfd has ended.
async fn exited(pidfd: &AsyncFd<OwnedFd>) -> Result<(), HostError> {
    let _ready = pidfd
        .readable()
        .await
        .map_err(|e| HostError::io(format!("wait on pidfd {}", pidfd.as_raw_fd()), &e))?;
    Ok(())
}
