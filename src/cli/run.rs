//! `runbook run PLAYBOOK`, dry or for real.

mod begin;
mod dry;
mod reports;

use std::collections::HashMap;
use std::ffi::OsString;
use std::io::IsTerminal as _;
use std::sync::Arc;

use serde_json::{Map, Value};

use super::args::RunArgs;
use super::output::Output;
use super::{exit, load};
use crate::audit::Trail;
use crate::base::{Clock, Format, ReportFile};
use crate::compile::Program;
use crate::diag::codes;
use crate::event::{Happening, RunState, Sink};
use crate::exec::{self, Request, Secrets};
use crate::host::signals::Signals;
use crate::host::{RunFolder, StateDir, process};
use crate::model::SecretSource;
use crate::report::jsonl::Jsonl;
use crate::report::render;
use crate::report::terminal::{Look, Terminal};

pub(super) fn run(out: &mut Output, args: RunArgs) -> u8 {
    let registry = crate::steps::registry();
    let Some(program) = load::program(out, &args.playbook, &registry) else {
        return exit::USAGE;
    };
    let Some(params) = load::params(out, &program, &args.params) else {
        return exit::USAGE;
    };
    let reports = match reports::parse(&args.reports) {
        Ok(reports) => reports,
        Err(message) => {
            let code = codes::BAD_REPORT;
            out.coded_error(code, &message, Some("write `--report markdown=report.md`"));
            return exit::USAGE;
        }
    };
    let only = match begin::only(&program, &args.steps) {
        Ok(only) => only,
        Err((message, help)) => {
            out.error(&message, help.as_deref());
            return exit::USAGE;
        }
    };
    if args.dry_run {
        return dry::run(out, &program, params, args.format, &reports);
    }
    if let Some(code) = begin::refuse(out, &program, &args) {
        return code;
    }
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
    let code = runtime.block_on(real(out, &program, params, &args, only, &reports));
    // A look at a dead mount may hang in the kernel for ever; it must not keep us.
    runtime.shutdown_background();
    code
}

/// A run for real: recorded before, while and after.
async fn real(
    out: &mut Output,
    program: &Program,
    params: Map<String, Value>,
    args: &RunArgs,
    only: Option<Vec<bool>>,
    reports: &[ReportFile],
) -> u8 {
    let clock = Clock::system();
    let environment = environment(program);
    let state = match StateDir::locate().and_then(|state| state.create().map(|()| state)) {
        Ok(state) => state,
        Err(error) => return fail(out, exit::AUDIT, &error.to_string(), error.help.as_deref()),
    };
    let secrets = match exec::resolve_secrets(program, &clock, &environment, state.path()).await {
        Ok(secrets) => secrets,
        Err(errors) => {
            for error in errors {
                out.coded_error(
                    codes::SECRET_UNAVAILABLE,
                    &error.to_string(),
                    error.help.as_deref(),
                );
            }
            return exit::USAGE;
        }
    };
    match record(
        out,
        program,
        params,
        args,
        only,
        reports,
        &clock,
        &state,
        secrets,
        environment,
    )
    .await
    {
        Ok(code) => code,
        Err((code, message, help)) => fail(out, code, &message, help.as_deref()),
    }
}

fn fail(out: &Output, code: u8, message: &str, help: Option<&str>) -> u8 {
    out.error(&format!("{message}; nothing ran"), help);
    code
}

type Refusal = (u8, String, Option<String>);

#[expect(
    clippy::too_many_arguments,
    reason = "it puts everything together, and is called once"
)]
async fn record(
    out: &mut Output,
    program: &Program,
    params: Map<String, Value>,
    args: &RunArgs,
    only: Option<Vec<bool>>,
    reports: &[ReportFile],
    clock: &Clock,
    state: &StateDir,
    secrets: Secrets,
    environment: HashMap<OsString, OsString>,
) -> Result<u8, Refusal> {
    let audit = |message: String| (exit::AUDIT, message, None);
    let host = |error: crate::host::HostError| (exit::AUDIT, error.to_string(), error.help);
    let digest_key = state.digest_key().map_err(host)?;
    let signals = Signals::listen().map_err(host)?;
    let run = begin::new_run_id(clock);
    let folder = Arc::new(RunFolder::create(state, &run).map_err(host)?);
    begin::keep_inputs(program, &folder).map_err(host)?;
    let trail = Trail::create(state, &folder, clock.clone()).map_err(|e| audit(e.to_string()))?;
    process::become_subreaper();

    let mut fold = Fold(None);
    let mut shown = Shown::new(out, args.format);
    let mut sinks: Vec<&mut dyn Sink> = vec![&mut fold];
    if let Some(sink) = shown.sink() {
        sinks.push(sink);
    }
    let request = Request {
        program,
        run: run.clone(),
        params,
        secrets,
        digest_key,
        clock: clock.clone(),
        folder,
        journal: &trail,
        sinks,
        signals,
        environment,
        max_parallel: args
            .max_parallel
            .map_or_else(begin::default_parallel, usize::from),
        timeout: args.timeout,
        follow_output: out.verbose && matches!(args.format, Format::Text | Format::Jsonl),
        only,
    };
    let result = exec::run(request).await;
    drop(shown);
    let ended = match result {
        Ok(ended) => ended,
        Err(error) => return Err((exit::USAGE, error.to_string(), None)),
    };
    if let Some(message) = &ended.audit_error {
        out.error(message, Some("nothing more was started after that"));
    }
    let mut code = ended.exit_code;
    if let Some(run_state) = &fold.0 {
        if !matches!(args.format, Format::Text | Format::Jsonl) {
            match render(run_state, args.format) {
                Ok(text) => out.data(text),
                Err(error) => out.error(&error.to_string(), None),
            }
        }
        if !reports::write_all(out, program, run_state, reports) && code == exit::DONE {
            code = exit::FAILED;
        }
    }
    Ok(code)
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
