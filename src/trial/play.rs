//! Plays one case: the real engine, from the run's begin to its end, over every crash and pause.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use super::case::{Case, Target};
use super::journal::Memory;
use super::stage::{HOST, MOST_CALLS, Made, Stage, USER, Unanswered};
use super::{judge, missing};
use crate::base::{Duration, Halt, RunId, Span, Timeline};
use crate::compile::Program;
use crate::diag::{Diagnostic, codes};
use crate::event::{Happening, ResumeKind, RunResume, RunState, RunStatus, StepResolve};
use crate::exec::{self, Ended, Past, Request, StartError, stays_failed};
use crate::host::RunFolder;
use crate::host::lock::{Holder, Locks};
use crate::host::signals::Signals;

/// The longest virtual time that a case may take.
/// How often the run of one case is gone on with.
const MOST_RESUMES: u32 = 100;

const MOST_TIME: Duration = Duration::from_secs(400 * 86_400);

/// Exit statuses with which a run is not gone on with.
mod exit {
    pub const REFUSED: u8 = 3;
    pub const UNKNOWN: u8 = 4;
}

/// A case that was played.
#[derive(Debug)]
pub struct Played {
    /// What it is called.
    pub name: String,
    /// What came out otherwise than it was expected to.
    pub failures: Vec<Diagnostic>,
    /// The run, as it was left.
    pub state: Option<RunState>,
    /// Everything that happened, in order.
    pub happenings: Vec<Happening>,
    /// How much virtual time it took.
    pub duration: Duration,
    /// The exit status that `run`, or the last `resume`, would have.
    pub exit_code: Option<u8>,
    /// How often it was gone on with, after a crash or an answer.
    pub resumed: u32,
}

impl Played {
    /// Whether everything came out as it was expected to.
    pub fn passed(&self) -> bool {
        self.failures.is_empty()
    }
}

/// What came of a run, for whoever judges it.
pub(super) struct Run<'a> {
    pub program: &'a Program,
    pub case: &'a Case,
    pub state: RunState,
    pub happenings: Vec<Happening>,
    pub made: Vec<Made>,
    /// Where the engine was to die, and did not.
    pub lived: Vec<(Target, Span)>,
    pub duration: Duration,
    pub exit_code: Option<u8>,
}

/// How one part of a run ended.
enum Part {
    Ended(Ended),
    Crashed,
    /// It is not gone on with.
    Broken(Diagnostic),
}

/// Plays `case` and judges it.
pub fn play(program: &Program, case: &Case) -> Played {
    let timeline = Timeline::new(case.at);
    let stage = Stage::new(program, case, &timeline);
    let memory = Memory::new(&stage);
    let mut failures = Vec::new();
    let mut exit_code = None;
    let mut past = None;
    let mut broken = false;
    let mut resumed = 0;
    loop {
        match part(program, case, &timeline, &stage, &memory, past.take()) {
            Part::Broken(diagnostic) => {
                failures.push(diagnostic);
                broken = true;
                break;
            }
            Part::Crashed => memory.revive(),
            Part::Ended(ended) => {
                exit_code = Some(ended.exit_code);
                let wait = match ended.status {
                    RunStatus::Waiting => stage.next_word(),
                    RunStatus::Unknown => Some(Duration::ZERO),
                    _ => None,
                };
                let Some(wait) = wait else { break };
                timeline.pass(wait);
            }
        }
        let Some(state) = RunState::fold(&memory.so_far()) else {
            break;
        };
        match go_on(program, case, state) {
            Ok(_) if resumed == MOST_RESUMES => {
                let message = format!("it was gone on with {MOST_RESUMES} times and did not end");
                let code = codes::TEST_ENDLESS;
                failures.push(Diagnostic::error(code, message).at(case.name.span));
                broken = true;
                break;
            }
            Ok(next) => {
                past = Some(next);
                resumed += 1;
            }
            Err(code) => {
                exit_code = Some(code.or(exit_code).unwrap_or(exit::UNKNOWN));
                break;
            }
        }
    }
    let happenings = memory.so_far();
    failures.extend(
        stage
            .unanswered()
            .iter()
            .map(|call| no_answer(program, case, call)),
    );
    let state = RunState::fold(&happenings).map(|mut state| {
        state.interrupted();
        state
    });
    let duration = timeline.elapsed();
    // Of a run that was broken off, nothing more is to be expected.
    let whole = state.clone().filter(|_| !broken);
    if let Some(state) = whole {
        let run = Run {
            program,
            case,
            state,
            happenings: happenings.clone(),
            made: stage.made(),
            lived: stage.lived(),
            duration,
            exit_code,
        };
        failures.extend(judge::judge(&run));
    }
    Played {
        name: case.name.value.clone(),
        failures,
        state,
        happenings,
        duration,
        exit_code,
        resumed,
    }
}

/// One part of the run: from its begin or from where it stood, until it ends or its engine dies.
fn part(
    program: &Program,
    case: &Case,
    timeline: &Timeline,
    stage: &Stage<'_>,
    memory: &Memory<'_>,
    past: Option<Past>,
) -> Part {
    let work = exec::run(request(program, case, timeline, stage, memory, past));
    let result = timeline.run(work, MOST_TIME, || memory.is_dead());
    let broken =
        |code, message: String| Part::Broken(Diagnostic::error(code, message).at(case.name.span));
    if stage.is_exhausted() {
        let message = format!("it called more than {MOST_CALLS} steps and did not end");
        return broken(codes::TEST_ENDLESS, message);
    }
    // An engine that dies while it ends has not ended.
    if memory.is_dead() {
        return Part::Crashed;
    }
    match result {
        Ok(Ok(ended)) => Part::Ended(ended),
        Ok(Err(error)) => {
            let error: StartError = error;
            broken(
                codes::TEST_FAILED,
                format!("the run could not begin: {error}"),
            )
        }
        Err(Halt::TooLong) => {
            let message = format!("it did not end within {MOST_TIME} of virtual time");
            broken(codes::TEST_ENDLESS, message)
        }
        Err(Halt::Stuck | Halt::Told) => {
            let message = "it waits for something that no time brings".to_owned();
            broken(codes::TEST_ENDLESS, message)
        }
    }
}

fn request<'a>(
    program: &'a Program,
    case: &Case,
    timeline: &Timeline,
    stage: &'a Stage<'_>,
    memory: &'a Memory<'_>,
    past: Option<Past>,
) -> Request<'a> {
    let millis = u64::try_from(case.at.as_millisecond()).unwrap_or(0);
    let run = RunId::from_parts(millis, 0);
    let me = Holder {
        key: String::new(),
        run: run.clone(),
        playbook: program.playbook().name.value.clone(),
        user: USER.to_owned(),
        pid: 0,
        since: case.at,
        state: PathBuf::new(),
    };
    Request {
        program,
        run,
        params: case.params.clone(),
        secrets: case.secrets.clone(),
        digest_key: vec![0; 32],
        clock: timeline.clock(),
        outside: stage,
        // Nothing writes to it: what would is answered.
        folder: Arc::new(RunFolder::detached(PathBuf::new())),
        journal: memory,
        sinks: Vec::new(),
        signals: Signals::none(),
        environment: HashMap::new(),
        max_parallel: case.max_parallel,
        timeout: None,
        follow_output: false,
        plan: None,
        yes: case.yes,
        console: None,
        locks: Locks::alone(me),
        lock: None,
        remote: None,
        past,
        only: None,
    }
}

/// How the run is gone on with, as `resume` would; else the exit status with which that refuses,
/// where it has one of its own.
fn go_on(program: &Program, case: &Case, mut state: RunState) -> Result<Past, Option<u8>> {
    let waits = state.status == RunStatus::Waiting;
    if waits && stays_failed(&state).is_some() {
        return Err(None);
    }
    state.interrupted();
    let unsettled = state.steps.values().filter(|step| step.is_unsettled());
    let resolved = unsettled.filter_map(|step| {
        let done = *case.resolve.get(&step.path)?;
        let resolve = StepResolve {
            done,
            reason: "the test says so".to_owned(),
            user: USER.to_owned(),
        };
        Some((step.path.clone(), resolve))
    });
    let past = Past {
        resolved: resolved.collect(),
        resume: RunResume {
            kind: ResumeKind::Resume,
            again: Vec::new(),
            edited: None,
            fenced: Vec::new(),
            host: HOST.to_owned(),
            user: USER.to_owned(),
            pid: 0,
            engine: env!("CARGO_PKG_VERSION").to_owned(),
        },
        state,
    };
    if !past.unresolved(program).is_empty() {
        return Err(Some(exit::UNKNOWN));
    }
    if !past.sealed(program).is_empty() {
        return Err(Some(exit::REFUSED));
    }
    // Somebody would have to try again what came to an end that nobody knows.
    if past.state.status == RunStatus::Unknown && past.resolved.is_empty() {
        return Err(None);
    }
    Ok(past)
}

/// A step got to run, and the test does not say what comes of it.
fn no_answer(program: &Program, case: &Case, call: &Unanswered) -> Diagnostic {
    let Unanswered { target, ty } = call;
    let read = missing::outputs_read(program, target.path.step.as_str());
    let outputs: Vec<String> = read.iter().map(|name| format!("{name}: …")).collect();
    let answer = if target.part == crate::host::Part::Preview {
        "{ rows: 3 }".to_owned()
    } else if outputs.is_empty() || target.part != crate::host::Part::Step {
        "{ }".to_owned()
    } else {
        format!("{{ outputs: {{ {} }} }}", outputs.join(", "))
    };
    Diagnostic::error(
        codes::NO_ANSWER,
        format!("`{target}` ({ty}) got to run, and the case has no answer for it"),
    )
    .at(case.name.span)
    .help(format!("add to its `answers`: `{target}: {answer}`"))
}
