//! Putting an engine together, for the verbs that run, go on with or plan a playbook.

pub(super) mod begin;
mod locks;
pub(super) mod reports;
mod sessions;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::args::HowArgs;
use super::output::Output;
use super::{exit, witnesses};
use crate::audit::{Trail, durations};
use crate::base::{Clock, Deadline, Format, ReportFile, RunId};
use crate::compile::Program;
use crate::diag::{Code, Diagnostic, Diagnostics, Sources, codes};
use crate::event::{EffectClass, Happening, JournalError, NoJournal, RunState, Sink};
use crate::exec::{self, Machine, Past, Remote, Request, Secrets};
use crate::host::lock::{Lock, Locks};
use crate::host::signals::Signals;
use crate::host::{HostError, RunFolder, StateDir, console, process};
use crate::model::{AuditConfig, SecretSource};
use crate::plan::{Plan, Pledge, estimate};
use crate::report::jsonl::Jsonl;
use crate::report::render;
use crate::report::terminal::{Look, Terminal};

/// What happens on the engine's runtime.
pub(super) fn on_runtime(out: &mut Output, work: impl AsyncFnOnce(&mut Output) -> u8) -> u8 {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            out.error(&format!("could not start the engine: {error}"), None);
            return exit::USAGE;
        }
    };
    let code = runtime.block_on(work(out));
    // A look at a dead mount may hang in the kernel for ever; it must not keep us.
    runtime.shutdown_background();
    code
}

/// Why nothing ran.
#[derive(Debug)]
pub(super) struct Refusal {
    code: u8,
    messages: Vec<(Option<Code>, String, Option<String>)>,
    because: Option<(Vec<Diagnostic>, Sources)>,
}

impl Refusal {
    pub(super) fn new(code: u8, message: impl Into<String>, help: Option<String>) -> Self {
        Self {
            code,
            messages: vec![(None, message.into(), help)],
            because: None,
        }
    }

    /// Says what was found before it, in a file.
    pub(super) fn because(mut self, found: Diagnostics, sources: Sources) -> Self {
        self.because = Some((found.into_sorted(), sources));
        self
    }

    /// What the state folder or the system refused.
    pub(super) fn host(error: HostError) -> Self {
        Self::new(exit::AUDIT, format!("{error}; nothing ran"), error.help)
    }

    /// The audit cannot be written.
    pub(super) fn audit(error: &JournalError) -> Self {
        Self::new(exit::AUDIT, format!("{error}; nothing ran"), None)
    }

    pub(super) fn tell(self, out: &Output) -> u8 {
        if let Some((found, sources)) = &self.because {
            out.diagnostics(found, sources);
        }
        for (code, message, help) in &self.messages {
            match code {
                Some(code) => out.coded_error(*code, message, help.as_deref()),
                None => out.error(message, help.as_deref()),
            }
        }
        self.code
    }
}

/// What a run for real is set up with, before anything is recorded.
pub(super) struct Setup<'a> {
    pub program: &'a Program,
    pub how: &'a HowArgs,
    pub reports: &'a [ReportFile],
    pub clock: Clock,
    pub state: StateDir,
    audit: AuditConfig,
    pub digest_key: Vec<u8>,
    pub secrets: Secrets,
    signals: Signals,
    environment: HashMap<OsString, OsString>,
}

/// A run, and where it is recorded.
pub(super) struct Recorded {
    pub run: RunId,
    pub folder: RunFolder,
    pub trail: Trail,
    pub locks: Locks,
    pub whole: Option<Held>,
    pub plan: Option<Pledge>,
}

/// What a run has locked as a whole.
pub(super) struct Held {
    key: String,
    #[expect(dead_code, reason = "held until it is dropped")]
    local: Lock,
    remote: Option<Remote>,
}

impl<'a> Setup<'a> {
    /// Makes the state folder, and reads the secrets.
    pub(super) async fn new(
        program: &'a Program,
        how: &'a HowArgs,
        reports: &'a [ReportFile],
    ) -> Result<Self, Refusal> {
        let clock = Clock::system();
        let environment = environment(program);
        let state = StateDir::locate().map_err(Refusal::host)?;
        state.create().map_err(Refusal::host)?;
        let audit = witnesses::load_to_run(&state)?;
        let mut signals = Signals::listen().map_err(Refusal::host)?;
        let timeout = how
            .timeout
            .or(program.playbook().timeout.as_ref().map(|t| t.value));
        let deadline = timeout.map_or(Deadline::NEVER, |timeout| clock.deadline_in(timeout));
        let early = |code, why: &str| {
            Refusal::new(
                code,
                format!("{why} while secrets were read; nothing ran"),
                None,
            )
        };
        // Whoever reads a secret ends with this.
        let secrets = tokio::select! {
            biased;
            secrets = exec::resolve_secrets(program, &clock, &environment, state.path()) => secrets,
            signal = signals.next() => {
                return Err(early(signal.exit_code(), &format!("told to end by {}", signal.name())));
            }
            () = clock.sleep_until(deadline) => {
                return Err(early(exit::DEADLINE, "the run's deadline passed"));
            }
        };
        let secrets = secrets.map_err(|errors| Refusal {
            code: exit::USAGE,
            because: None,
            messages: { errors.into_iter() }
                .map(|error| {
                    let code = codes::SECRET_UNAVAILABLE;
                    (Some(code), error.to_string(), error.help)
                })
                .collect(),
        })?;
        let digest_key = state.digest_key().map_err(Refusal::host)?;
        Ok(Self {
            program,
            how,
            reports,
            clock,
            state,
            audit,
            digest_key,
            secrets,
            signals,
            environment,
        })
    }

    /// Looks what a run would do.
    pub(super) async fn plan(&self, params: &Map<String, Value>) -> Result<Plan, Refusal> {
        let run = begin::new_run_id(&self.clock);
        let scratch = RunFolder::scratch(&self.state, &run).map_err(Refusal::host)?;
        let locks = self.locks(&run);
        process::become_subreaper();
        let request = Request {
            program: self.program,
            run,
            params: params.clone(),
            secrets: self.secrets.clone(),
            digest_key: self.digest_key.clone(),
            clock: self.clock.clone(),
            outside: &Machine,
            folder: Arc::new(RunFolder::detached(scratch.path().to_owned())),
            journal: &NoJournal,
            sinks: Vec::new(),
            signals: Signals::listen().map_err(Refusal::host)?,
            environment: self.environment.clone(),
            max_parallel: begin::default_parallel(),
            timeout: None,
            follow_output: false,
            plan: None,
            yes: false,
            console: None,
            locks,
            lock: None,
            remote: None,
            past: None,
            only: None,
        };
        let wrong =
            |error: String| Refusal::new(exit::USAGE, format!("{error}; nothing ran"), None);
        let mut plan = exec::plan(request)
            .await
            .map_err(|e| wrong(e.to_string()))?;
        if let Some(whole) = exec::whole(self.program, params).map_err(wrong)? {
            plan.lock = Some(whole.key);
            plan.lock_connection = whole.connection;
        }
        // Without one, where the past cannot be read: the plan is as good.
        let past = durations(&self.state, &plan.playbook.name).unwrap_or_default();
        plan.estimate = estimate(self.program, &plan, &past);
        Ok(plan)
    }

    /// Refuses where a run would now do something else than a saved plan says.
    pub(super) async fn compare(
        &self,
        params: &Map<String, Value>,
        saved: &Pledge,
    ) -> Result<(), Refusal> {
        let differences = saved.differences(&self.plan(params).await?.pledge());
        if differences.is_empty() {
            return Ok(());
        }
        let (first, more) = (&differences[0], &differences[1..]);
        let mut message = format!("the world is not the one that was planned for: {first}");
        for line in more {
            message.push_str(&format!("; {line}"));
        }
        Err(Refusal::new(
            exit::REFUSED,
            format!("{message}; nothing ran"),
            Some("look again: `runbook plan`".to_owned()),
        ))
    }

    /// A new run.
    pub(super) async fn begin(
        mut self,
        out: &mut Output,
        params: Map<String, Value>,
        only: Option<Vec<bool>>,
        plan: Option<Pledge>,
    ) -> Result<u8, Refusal> {
        let run = begin::new_run_id(&self.clock);
        let (locks, whole) = self.lock(out, &run, &params).await?;
        let folder = RunFolder::create(&self.state, &run).map_err(Refusal::host)?;
        begin::keep_inputs(self.program, &folder).map_err(Refusal::host)?;
        let trail = Trail::create(&self.state, &folder, self.clock.clone());
        let trail = trail.map_err(|error| Refusal::audit(&error))?;
        let recorded = Recorded {
            run,
            folder,
            trail,
            locks,
            whole,
            plan,
        };
        self.go(out, params, only, recorded, None).await
    }

    /// Runs it to its end.
    pub(super) async fn go(
        self,
        out: &mut Output,
        params: Map<String, Value>,
        only: Option<Vec<bool>>,
        mut recorded: Recorded,
        past: Option<Past>,
    ) -> Result<u8, Refusal> {
        process::become_subreaper();
        let format = self.how.format;
        let mut fold = Fold(past.as_ref().map(|past| past.state.clone()));
        let mut shown = Shown::new(out, format);
        if let Some(past) = &past {
            shown.resume(past);
        }
        let mut sinks: Vec<&mut dyn Sink> = vec![&mut fold];
        if let Some(sink) = shown.sink() {
            sinks.push(sink);
        }
        let (max_parallel, clock) = (self.how.max_parallel, self.clock.clone());
        let remote = recorded
            .whole
            .as_mut()
            .and_then(|whole| whole.remote.take());
        let request = Request {
            program: self.program,
            run: recorded.run,
            params,
            secrets: self.secrets,
            digest_key: self.digest_key,
            clock: self.clock,
            outside: &Machine,
            folder: Arc::new(recorded.folder),
            journal: &recorded.trail,
            sinks,
            signals: self.signals,
            environment: self.environment,
            max_parallel: max_parallel.map_or_else(begin::default_parallel, usize::from),
            timeout: self.how.timeout,
            follow_output: out.verbose && matches!(format, Format::Text | Format::Jsonl),
            yes: self.how.yes,
            console: (asks(self.program) && begin::is_attended(self.how)).then(console::lines),
            locks: recorded.locks,
            lock: recorded.whole.as_ref().map(|whole| whole.key.clone()),
            remote,
            plan: recorded.plan,
            past,
            only,
        };
        let result = exec::run(request).await;
        drop(shown);
        let ended = result
            .map_err(|error| Refusal::new(exit::USAGE, format!("{error}; nothing ran"), None))?;
        if let Some(message) = &ended.audit_error {
            out.error(message, Some("nothing more was started after that"));
        }
        let mut code = ended.exit_code;
        if let Some(checkpoint) = recorded.trail.checkpoint()
            && !witnesses::send(out, &self.audit, &checkpoint, &clock).await
        {
            code = exit::AUDIT;
        }
        if let Some(state) = &fold.0 {
            if !matches!(format, Format::Text | Format::Jsonl) {
                match render(state, format) {
                    Ok(text) => out.data(text),
                    Err(error) => out.error(&error.to_string(), None),
                }
            }
            let written = reports::write_all(out, self.program, state, self.reports);
            if !written && code == exit::DONE {
                code = exit::FAILED;
            }
        }
        Ok(code)
    }
}

/// Whether a step may ask for something: else what is typed is nobody's business.
fn asks(program: &Program) -> bool {
    let mut places = 0..program.nodes().len();
    places.any(|at| {
        program.step(at).approval.is_some() || program.nodes()[at].effect == EffectClass::Destroy
    })
}

/// The state of the run, folded while it goes on.
struct Fold(Option<RunState>);

impl Sink for Fold {
    fn happening(&mut self, happening: &Happening) {
        match &mut self.0 {
            Some(state) => state.apply(happening),
            None => self.0 = RunState::fold([happening]),
        }
    }
}

/// How the run is shown while it goes on.
enum Shown {
    Terminal(Box<Terminal>),
    Lines(Box<Jsonl>),
    Nothing,
}

impl Shown {
    fn new(out: &Output, format: Format) -> Self {
        let stdout = std::io::stdout();
        match format {
            Format::Text => {
                let live = stdout.is_terminal() && std::io::stderr().is_terminal();
                let terminal = if live {
                    Terminal::live(Look::detect(&std::io::stderr(), out.color), out.verbosity())
                } else {
                    let look = Look::detect(&stdout, out.color);
                    Terminal::plain(out.watched(), look, out.verbosity())
                };
                Self::Terminal(Box::new(terminal))
            }
            Format::Jsonl => Self::Lines(Box::new(Jsonl::new(out.watched(), out.verbose))),
            _ => Self::Nothing,
        }
    }

    /// It takes up a run that another process began.
    fn resume(&mut self, past: &Past) {
        if let Self::Terminal(terminal) = self {
            terminal.resume(&past.state_after());
        }
    }

    fn sink(&mut self) -> Option<&mut dyn Sink> {
        match self {
            Self::Terminal(terminal) => Some(terminal.as_mut()),
            Self::Lines(lines) => Some(lines.as_mut()),
            Self::Nothing => None,
        }
    }
}

/// What processes inherit: our own environment, without what holds secrets and parameters.
fn environment(program: &Program) -> HashMap<OsString, OsString> {
    let secrets = program.playbook().secrets.values();
    let hidden: Vec<&str> = secrets
        .filter_map(|secret| match &secret.source {
            SecretSource::Env(name) => Some(name.as_str()),
            _ => None,
        })
        .collect();
    std::env::vars_os()
        .filter(|(name, _)| {
            let name = name.to_string_lossy();
            !name.starts_with("RUNBOOK_") && !hidden.contains(&&*name)
        })
        .collect()
}
