//! The scheduler: starts what is ready, listens to signals and the clock, and ends the run.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use indexmap::IndexMap;
use serde_json::{Map, Value, json};
use tokio::sync::{Semaphore, mpsc};

use super::ended::End;
use super::past::Replay;
use super::recorder::Recorder;
use super::remote::Remote;
use super::undo::Done;
use super::verdict::Verdict;
use super::{Console, Ended, Outside, Past, Request, StartError};
use crate::base::{Cancel, Clock, Deadline, Duration, RunId, StepPath};
use crate::compile::{Program, World, run_value};
use crate::event::{
    Event, JournalError, PlaybookInfo, Redactor, RunEnd, RunStart, RunStatus, Section, SkipKind,
    Status,
};
use crate::expr::EvalError;
use crate::host::Shared;
use crate::host::connect::Connections;
use crate::host::lock::Locks;
use crate::host::signals::{EndSignal, Signals};
use crate::host::targets::{Asked, Targets};
use crate::model::Tree;
use crate::plan::Pledge;
use crate::step::Partial;

/// How long all `finally` steps together may take: they clean up, and must not hang a run that
/// somebody wants to end.
const FINALLY_BUDGET: Duration = Duration::from_secs(10 * 60);

/// Passing events that may wait to be shown.
const QUEUE: usize = 1024;

/// A run under way.
pub(super) struct Engine<'a> {
    pub program: &'a Program,
    pub shared: Arc<Shared>,
    pub recorder: Recorder<'a>,
    pub world: World,
    pub clock: Clock,
    pub outside: &'a dyn Outside,
    pub permits: Semaphore,
    pub main: Cancel,
    pub finally: Cancel,
    pub verdict: RefCell<Verdict>,
    /// What can be taken back, in the order in which it was done.
    pub done: RefCell<Vec<Done>>,
    pub stopped: Cell<Option<&'static str>>,
    pub signalled: Cell<bool>,
    pub killed: Cell<bool>,
    only: Option<Vec<bool>>,
    pub replay: Option<Replay>,
    pub locks: Locks,
    /// What it has locked as a whole on a server.
    pub whole: Option<Remote>,
    pub yes: bool,
    /// What it must keep to.
    pub plan: Option<Pledge>,
    pub console: tokio::sync::Mutex<Option<Console>>,
    /// Whether it waits for an approval that nobody is there to give.
    pub paused: Cell<bool>,
    /// Who began it.
    pub requester: String,
    /// Those who are about to change something.
    pub asked: RefCell<mpsc::UnboundedReceiver<Asked>>,
    /// What was changed so far, by connection.
    pub targets: RefCell<IndexMap<String, Value>>,
}

/// What a request holds beside what its engine is made of.
pub(super) struct Rest {
    pub run: RunId,
    pub params: Map<String, Value>,
    pub signals: Signals,
    pub max_parallel: usize,
    pub timeout: Option<Duration>,
    pub lock: Option<String>,
    pub past: Option<Past>,
}

/// The engine of a request; `run` is what expressions read under this name.
pub(super) fn engine<'a>(
    request: Request<'a>,
    run: Map<String, Value>,
) -> Result<(Engine<'a>, Rest), StartError> {
    let program = request.program;
    let past = request.past;
    let secrets: Map<String, Value> = request
        .secrets
        .iter()
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    let world = World::new(program, request.params.clone(), Some(secrets), run)?;
    let connections = connections(program, &world)?;
    let redactor = Arc::new(Redactor::new(
        request.secrets.iter().map(|(_, value)| value),
        &request.digest_key,
    )?);
    let (transients, passing) = mpsc::channel(QUEUE);
    let (targets, asked) = Targets::new();
    let shared = Arc::new(Shared {
        run: request.run.clone(),
        clock: request.clock.clone(),
        redactor: Arc::clone(&redactor),
        connections,
        environment: request.environment,
        base_dir: program.info().base_dir.clone(),
        folder: Arc::clone(&request.folder),
        transients,
        targets,
        follow_output: request.follow_output,
    });
    let engine = Engine {
        program,
        shared,
        recorder: Recorder::new(
            request.journal,
            request.sinks,
            redactor,
            request.clock.clone(),
            passing,
        ),
        world,
        clock: request.clock.clone(),
        outside: request.outside,
        permits: Semaphore::new(request.max_parallel.clamp(1, Semaphore::MAX_PERMITS)),
        main: Cancel::new(),
        finally: Cancel::new(),
        verdict: RefCell::default(),
        done: RefCell::default(),
        stopped: Cell::new(None),
        signalled: Cell::new(false),
        killed: Cell::new(false),
        only: request.only,
        locks: request.locks,
        whole: request.remote,
        yes: request.yes,
        plan: request.plan,
        console: tokio::sync::Mutex::new(request.console),
        paused: Cell::new(false),
        requester: request.outside.requester(past.as_ref()),
        asked: RefCell::new(asked),
        targets: RefCell::new(
            past.as_ref()
                .map(|past| past.state.targets.clone())
                .unwrap_or_default(),
        ),
        replay: past.as_ref().map(super::Past::replay),
    };
    let rest = Rest {
        run: request.run,
        params: request.params,
        signals: request.signals,
        max_parallel: request.max_parallel,
        timeout: request.timeout,
        lock: request.lock,
        past,
    };
    Ok((engine, rest))
}

/// Runs a program to its end.
///
/// # Errors
/// When a variable or a connection has no value or a secret cannot be hidden: then nothing has run.
pub async fn run(request: Request<'_>) -> Result<Ended, StartError> {
    let started = request.clock.now();
    let started_at = match &request.past {
        Some(past) => past.state.started_at,
        None => request.clock.wall(),
    };
    let (id, playbook) = (
        request.run.clone(),
        request.program.playbook().name.value.clone(),
    );
    let as_run = |status| run_value(&id, &playbook, status, started_at);
    let (engine, rest) = engine(request, as_run(RunStatus::Running))?;
    let Rest {
        run,
        params,
        mut signals,
        max_parallel,
        timeout,
        lock,
        past,
    } = rest;
    let program = engine.program;
    let before = past.as_ref().map_or(0, |past| past.state.worked_ms);
    let start = RunStart {
        run,
        playbook: playbook_info(program),
        params,
        steps: program.planned(),
        host: engine.outside.host(),
        user: engine.outside.user(),
        pid: std::process::id(),
        engine: env!("CARGO_PKG_VERSION").to_owned(),
        lock,
    };
    let timeout = timeout.or(program.playbook().timeout.as_ref().map(|t| t.value));
    let deadline = timeout.map_or(Deadline::NEVER, |timeout| engine.clock.deadline_in(timeout));
    if past.is_some() {
        engine.forget_cancel();
    }
    let result = async {
        match &past {
            None => engine.recorder.record(None, None, Event::RunStart(start))?,
            Some(past) => {
                for (path, event) in past.events() {
                    engine.recorder.record(path.as_ref(), None, event)?;
                }
            }
        }
        engine.recorder.sync().await?;
        engine
            .section(Section::Main, deadline, &mut signals, max_parallel)
            .await?;
        // What waits is gone on with as it is.
        let waits = engine.verdict.borrow().is_waiting();
        if !waits && engine.verdict.borrow().takes_back() {
            let undo = engine.undo_all();
            engine.while_working(undo, &mut signals).await??;
        }
        let status = engine.verdict.borrow().status();
        engine.world.set_run(as_run(status));
        if !waits {
            let budget = engine.clock.deadline_in(FINALLY_BUDGET);
            engine
                .section(Section::Finally, budget, &mut signals, max_parallel)
                .await?;
        }
        let verdict = engine.verdict.borrow().clone();
        let end = RunEnd {
            status: verdict.status(),
            exit_code: verdict.exit_code(),
            duration_ms: before + engine.clock.now().since(started).as_millis(),
        };
        // Results are on disk before the end says that they are.
        engine.recorder.record(None, None, Event::RunEnd(end))?;
        engine.recorder.sync().await
    }
    .await;
    engine.shared.connections.close().await;
    crate::host::process::reap_strays();
    if let Some(whole) = &engine.whole {
        whole.release().await;
    }
    if result.is_err() {
        engine.verdict.borrow_mut().audit();
    }
    let verdict = engine.verdict.borrow();
    Ok(Ended {
        status: verdict.status(),
        exit_code: verdict.exit_code(),
        audit_error: engine.recorder.failure().map(|error| error.to_string()),
    })
}

/// A section's steps by place, as far as they are over.
struct Progress {
    waiting_for: Vec<usize>,
    ready: BTreeSet<usize>,
    causes: Vec<Option<String>>,
}

type Running<'f> =
    FuturesUnordered<Pin<Box<dyn Future<Output = (usize, Result<End, JournalError>)> + 'f>>>;

impl<'a> Engine<'a> {
    /// Runs all steps of a section.
    async fn section(
        &self,
        section: Section,
        deadline: Deadline,
        signals: &mut Signals,
        max_parallel: usize,
    ) -> Result<(), JournalError> {
        let mut progress = self.begin(section);
        let mut running: Running<'_> = FuturesUnordered::new();
        let mut overdue = false;
        let mut asked = pin!(self.asked_to_end());
        let mut lost = pin!(self.whole_lost());
        let mut targets = pin!(self.answer_targets());
        loop {
            self.start_ready(section, &mut progress, &mut running, max_parallel)?;
            if running.is_empty() {
                break;
            }
            tokio::select! {
                biased;
                Some((at, end)) = running.next() => {
                    self.over(section, at, &end?, &mut progress);
                }
                () = self.recorder.show_passing() => {}
                signal = signals.next() => self.told_by(signal, signal.name())?,
                who = &mut asked => {
                    self.told_by(EndSignal::Asked, &format!("runbook cancel by {who}"))?;
                    asked.set(self.asked_to_end());
                }
                why = &mut lost, if self.needs_lock(section) => self.unlocked(&why)?,
                result = &mut targets => result?,
                () = self.clock.sleep_until(deadline), if !overdue => {
                    overdue = true;
                    self.deadline_passed(section)?;
                }
                result = self.flush() => result?,
            }
        }
        self.recorder.show_waiting();
        Ok(())
    }

    /// Listens to signals while `work` goes on beside the sections.
    async fn while_working<T>(
        &self,
        work: impl Future<Output = T>,
        signals: &mut Signals,
    ) -> Result<T, JournalError> {
        let mut work = pin!(work);
        let mut asked = pin!(self.asked_to_end());
        let mut lost = pin!(self.whole_lost());
        let mut targets = pin!(self.answer_targets());
        loop {
            tokio::select! {
                biased;
                result = &mut work => return Ok(result),
                () = self.recorder.show_passing() => {}
                signal = signals.next() => self.told_by(signal, signal.name())?,
                who = &mut asked => {
                    self.told_by(EndSignal::Asked, &format!("runbook cancel by {who}"))?;
                    asked.set(self.asked_to_end());
                }
                why = &mut lost, if self.needs_lock(Section::Main) => self.unlocked(&why)?,
                result = &mut targets => result?,
                result = self.flush() => result?,
            }
        }
    }

    fn begin(&self, section: Section) -> Progress {
        let nodes = self.program.nodes();
        let waiting_for: Vec<usize> = nodes.iter().map(|node| node.needs.len()).collect();
        let ready = (0..nodes.len())
            .filter(|at| nodes[*at].section == section && waiting_for[*at] == 0)
            .collect();
        Progress {
            waiting_for,
            ready,
            causes: vec![None; nodes.len()],
        }
    }

    /// Starts what is ready, the upper lines first.
    fn start_ready<'f>(
        &'f self,
        section: Section,
        progress: &mut Progress,
        running: &mut Running<'f>,
        max_parallel: usize,
    ) -> Result<(), JournalError> {
        while !self.paused.get()
            && running.len() < max_parallel
            && let Some(at) = progress.ready.pop_first()
        {
            let path = StepPath::step(self.program.step(at).id.value.clone());
            if let Some(end) = self.replayed(&path) {
                self.note_replayed(at, &path, &end);
                self.over(section, at, &end, progress);
                continue;
            }
            let stopped = self.stopped(section).map(str::to_owned);
            let blocked = match section {
                Section::Main => progress.causes[at].clone(),
                // Each runs even if the one before failed.
                Section::Finally => None,
            };
            if let Some(reason) = stopped.or(blocked) {
                let kind = match self.stopped(section) {
                    Some(_) => SkipKind::Stopped,
                    None => SkipKind::Blocked,
                };
                let end = self.skip(&path, kind, reason.clone(), Some(reason))?;
                self.over(section, at, &end, progress);
                continue;
            }
            if self.only.as_ref().is_some_and(|only| !only[at]) && section == Section::Main {
                let reason = "it was not asked for (--step)".to_owned();
                let end = self.skip(&path, SkipKind::NotAsked, reason, None)?;
                self.over(section, at, &end, progress);
                continue;
            }
            running.push(Box::pin(async move {
                let end = match &self.program.step(at).foreach {
                    Some(foreach) => self.foreach(at, foreach).await,
                    None => self.leaf(at, None).await,
                };
                (at, end)
            }));
        }
        Ok(())
    }

    /// A step is over: its result can be read, and what waited for it may be ready.
    fn over(&self, section: Section, at: usize, end: &End, progress: &mut Progress) {
        if end.status == Status::Pending {
            return;
        }
        self.world.set_step(at, end.value.clone());
        let mut verdict = self.verdict.borrow_mut();
        match section {
            Section::Main => verdict.main_step(end.status, end.allowed),
            Section::Finally => verdict.finally_step(end.status, end.allowed),
        }
        for dependent in &self.program.nodes()[at].dependents {
            if progress.causes[*dependent].is_none() {
                progress.causes[*dependent].clone_from(&end.cause);
            }
            progress.waiting_for[*dependent] -= 1;
            if progress.waiting_for[*dependent] == 0 {
                progress.ready.insert(*dependent);
            }
        }
    }

    /// A result that no intent takes along is brought to disk while other steps run.
    async fn flush(&self) -> Result<(), JournalError> {
        if self.recorder.is_dirty() {
            return self.recorder.sync().await;
        }
        std::future::pending().await
    }
}

/// What is recorded of the playbook.
pub fn playbook_info(program: &Program) -> PlaybookInfo {
    let info = program.info();
    let playbook = program.playbook();
    PlaybookInfo {
        name: playbook.name.value.clone(),
        path: info.path.display().to_string(),
        sha256: info.sha256.clone(),
        project_sha256: info.project_sha256.clone(),
        description: playbook.description.clone(),
        labels: playbook.labels.clone(),
    }
}

/// The connections that the program may open, evaluated.
pub(super) fn connections(program: &Program, world: &World) -> Result<Connections, EvalError> {
    let mut declared = Vec::new();
    for name in program.used_connections() {
        let Some(connection) = program.playbook().connections.get(name) else {
            continue;
        };
        let config: &Tree = &connection.config;
        if let Partial::Known(value) = config.eval(world)? {
            declared.push((name.to_owned(), connection.kind, value));
        }
    }
    Ok(Connections::new(declared))
}
