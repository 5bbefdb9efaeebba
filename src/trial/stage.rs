//! What an engine finds in the place of the world: the answers of one case.

use std::cell::{Cell, RefCell};
use std::collections::{HashMap, HashSet};
use std::path::Path;

use indexmap::IndexMap;
use serde_json::Value;

use super::case::{Answer, Approval, Case, Crash, Said, Target};
use crate::base::{Clock, Deadline, Duration, EndReason, Instant, Span, StepPath, Timeline};
use crate::compile::Program;
use crate::event::{ApprovalAsk, ApprovalKind, EffectClass};
use crate::exec::{Call, Cancellation, Consent, Outside};
use crate::host::inbox::Statement;
use crate::host::{Observe, Part, Scope};
use crate::model::Typed;
use crate::step::{
    AnyStep, Change, LocalFuture, Means, Preview, RawOutcome, StepError, StepErrorKind,
};

/// The user who runs a playbook in a test.
pub(super) const USER: &str = "tester";

/// The machine that it runs on.
pub(super) const HOST: &str = "test";

/// The most calls in one case.
pub(super) const MOST_CALLS: usize = 100_000;

/// A call that was made.
#[derive(Clone, Debug)]
pub(super) struct Made {
    pub target: Target,
    /// The configuration, evaluated; secrets have the values of the test.
    pub config: Value,
}

/// A call that the test has no answer for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unanswered {
    pub target: Target,
    pub ty: &'static str,
}

/// The answers of one case, and what was asked of them.
pub(super) struct Stage<'a> {
    program: &'a Program,
    case: &'a Case,
    clock: Clock,
    began: Instant,
    made: RefCell<Vec<Made>>,
    /// How many of them there were of each target.
    calls: RefCell<HashMap<Target, u32>>,
    unanswered: RefCell<Vec<Unanswered>>,
    /// The crashes that have happened: each does so once.
    died: RefCell<HashSet<(Target, usize)>>,
    dead: Cell<bool>,
    exhausted: Cell<bool>,
    /// When each question was first put, and until when it can be answered.
    asked: RefCell<IndexMap<StepPath, (Instant, Option<jiff::Timestamp>)>>,
    cancelled: Cell<bool>,
}

impl<'a> Stage<'a> {
    pub fn new(program: &'a Program, case: &'a Case, timeline: &Timeline) -> Self {
        let clock = timeline.clock();
        Self {
            program,
            case,
            began: clock.now(),
            clock,
            made: RefCell::default(),
            calls: RefCell::default(),
            unanswered: RefCell::default(),
            died: RefCell::default(),
            dead: Cell::new(false),
            exhausted: Cell::new(false),
            asked: RefCell::default(),
            cancelled: Cell::new(false),
        }
    }

    pub fn is_dead(&self) -> bool {
        self.dead.get()
    }

    pub fn revive(&self) {
        self.dead.set(false);
    }

    /// Whether more was called than a case may call.
    pub fn is_exhausted(&self) -> bool {
        self.exhausted.get()
    }

    /// The calls that were made, in order.
    pub fn made(&self) -> Vec<Made> {
        self.made.borrow().clone()
    }

    /// The calls that had no answer, each once.
    pub fn unanswered(&self) -> Vec<Unanswered> {
        self.unanswered.borrow().clone()
    }

    /// Whether the engine dies here: once a declared crash.
    pub fn dies(&self, path: &StepPath, attempt: u32, crash: Crash) -> bool {
        let target = Target {
            path: path.clone(),
            part: Part::Step,
        };
        let Some((index, answer)) = self.answer(&target, attempt) else {
            return false;
        };
        answer.crash == Some(crash) && self.died.borrow_mut().insert((target, index))
    }

    /// Where the case says that the engine dies, and it has not.
    pub fn lived(&self) -> Vec<(Target, Span)> {
        let died = self.died.borrow();
        let mut lived = Vec::new();
        for (target, answers) in &self.case.answers {
            let crashes = answers.list.iter().enumerate();
            let crashes = crashes.filter(|(_, answer)| answer.crash.is_some());
            // An answer of a step is that of its items, each of which may be where it died.
            let is_of = |at: &Target, index: usize| {
                let whole = target.path.item.is_none() && at.path.step == target.path.step;
                (*at == *target || whole) && died.contains(&(at.clone(), index))
            };
            let at = |index| died.iter().any(|(at, _)| is_of(at, index));
            if { crashes }.any(|(index, _)| !at(index)) {
                lived.push((target.clone(), answers.span));
            }
        }
        lived
    }

    /// How long until the next answer to a question, or the end of the time for one, that waits for it.
    pub fn next_word(&self) -> Option<Duration> {
        let asked = self.asked.borrow();
        let now = self.clock.now();
        let due = asked.iter().filter_map(|(path, (at, until))| {
            match self
                .case
                .approvals
                .get(&StepPath::step(path.step.clone()))?
            {
                Approval::Said(said) => {
                    let due = said.iter().map(|said| at.after(said.after));
                    due.filter(|due| *due > now).min()
                }
                Approval::TimesOut => {
                    let left = until.as_ref()?.duration_since(self.clock.wall());
                    let left = std::time::Duration::try_from(left).ok()?;
                    (!left.is_zero()).then(|| now.after(left.into()))
                }
            }
        });
        due.min().map(|due| due.since(now))
    }

    /// The answer to a call, and which of the target's it is.
    fn answer(&self, target: &Target, attempt: u32) -> Option<(usize, &'a Answer)> {
        let answers = self.case.answers_of(target)?;
        let index = (attempt.saturating_sub(1) as usize).min(answers.list.len().checked_sub(1)?);
        Some((index, answers.list.get(index)?))
    }

    /// The number of a call among those of its target, from 1: of a step, over all parts of its run.
    fn turn(&self, call: &Call, target: &Target) -> u32 {
        if call.part == Part::Step {
            return call.attempt;
        }
        self.calls.borrow().get(target).copied().unwrap_or(1)
    }

    fn note(&self, target: &Target, config: &Value) -> bool {
        let mut made = self.made.borrow_mut();
        if made.len() >= MOST_CALLS {
            self.exhausted.set(true);
            self.dead.set(true);
            return false;
        }
        *self.calls.borrow_mut().entry(target.clone()).or_default() += 1;
        made.push(Made {
            target: target.clone(),
            config: config.clone(),
        });
        true
    }

    fn note_unanswered(&self, target: Target, ty: &'static str) {
        // What one item lacks, all do.
        let target = Target {
            path: StepPath::step(target.path.step),
            part: target.part,
        };
        let unanswered = Unanswered { target, ty };
        let mut all = self.unanswered.borrow_mut();
        if !all.contains(&unanswered) {
            all.push(unanswered);
        }
    }

    async fn perform(&self, call: Call, means: Means<'_>) -> Result<RawOutcome, StepError> {
        let target = Target {
            path: call.path.clone(),
            part: call.part,
        };
        if !self.note(&target, &call.config) {
            return std::future::pending().await;
        }
        if let Err(message) = call.ty.check(&call.config) {
            let name = call.ty.name();
            return Err(StepError::permanent(format!(
                "{name} does not take its configuration: {message}"
            )));
        }
        let Some((index, answer)) = self.answer(&target, self.turn(&call, &target)) else {
            if call.ty.is_pure() {
                return call.ty.execute(call.config, means).await;
            }
            let name = call.ty.name();
            self.note_unanswered(target, name);
            return Err(StepError::permanent(format!(
                "the test has no answer for it ({name})"
            )));
        };
        let (scope, touches) = match &means {
            Means::Look(host) => (host.scope(), false),
            Means::Act(host) => (host.scope(), true),
        };
        wait(scope, answer.after, touches).await?;
        let during = answer.crash == Some(Crash::During);
        if during && self.died.borrow_mut().insert((target, index)) {
            self.dead.set(true);
            return std::future::pending().await;
        }
        outcome(answer, call.ty, touches)
    }

    fn looked(&self, call: &Call) -> Result<Option<Preview>, StepError> {
        let target = Target {
            path: call.path.clone(),
            part: Part::Preview,
        };
        if let Some((_, answer)) = self.answer(&target, 1) {
            return previewed(answer).map(Some);
        }
        // Types that only look, and generic ones, can tell without looking.
        if call.ty.is_generic() || call.ty.effect() == EffectClass::Read {
            return Ok(None);
        }
        if self.reads_preview(&call.path) {
            self.note_unanswered(target, call.ty.name());
        }
        let because = "the test does not say".to_owned();
        Ok(Some(Preview::Unknown { because }))
    }

    /// Whether the approval of a step reads what the step would do.
    fn reads_preview(&self, path: &StepPath) -> bool {
        let Some(at) = self.program.find(path.step.as_str()) else {
            return false;
        };
        let approval = self.program.step(at).approval.as_ref();
        let when = approval.and_then(|approval| approval.when.as_ref());
        let message = approval.and_then(|approval| approval.message.as_ref());
        let read = { when.into_iter() }.flat_map(|when| when.references().iter());
        let said = { message.into_iter() }.flat_map(|message| message.references());
        read.chain(said).any(|reference| {
            reference
                .fields()
                .get(1)
                .is_some_and(|field| **field == *"preview")
        })
    }

    /// When the next answer to a confirmation is due, for whoever is at the terminal.
    fn due(&self, said: &[Said], at: Instant) -> Option<Instant> {
        let now = self.clock.now();
        let due = said.iter().map(|said| at.after(said.after));
        due.filter(|due| *due > now).min()
    }

    /// The wall time at a moment that has come.
    fn wall_at(&self, at: Instant) -> jiff::Timestamp {
        let ago = jiff::SignedDuration::try_from(self.clock.now().since(at).as_std());
        let then = ago
            .ok()
            .and_then(|ago| self.clock.wall().checked_sub(ago).ok());
        then.unwrap_or(jiff::Timestamp::MIN)
    }

    async fn heard(&self, path: &StepPath, ask: &ApprovalAsk) -> Vec<Statement<Consent>> {
        let at = {
            let mut asked = self.asked.borrow_mut();
            asked
                .entry(path.clone())
                .or_insert((self.clock.now(), ask.until))
                .0
        };
        let approval = self.case.approvals.get(&StepPath::step(path.step.clone()));
        let said = match approval {
            None => return Vec::new(),
            Some(Approval::TimesOut) => {
                // At a terminal, the question stands there until its time is up.
                if let (ApprovalKind::Confirm, Some(until)) = (ask.kind, ask.until) {
                    let left = until.duration_since(self.clock.wall());
                    let left = std::time::Duration::try_from(left).unwrap_or_default();
                    self.clock.sleep(left.into()).await;
                }
                return Vec::new();
            }
            Some(Approval::Said(said)) => said,
        };
        if ask.kind == ApprovalKind::Confirm {
            while let Some(due) = self.due(said, at) {
                self.clock.sleep_until(Deadline::at(due)).await;
            }
        }
        let now = self.clock.now();
        let due = said.iter().filter(|said| at.after(said.after) <= now);
        due.map(|said| Statement {
            name: path.to_string(),
            user: said.by.clone(),
            at: self.wall_at(at.after(said.after)),
            said: Consent {
                ask: ask.ask.clone(),
                granted: said.granted,
                user: said.by.clone(),
                reason: said.reason.clone(),
            },
        })
        .collect()
    }
}

/// The type that a target calls.
pub(super) fn type_of(program: &Program, target: &Target) -> Option<&'static dyn AnyStep> {
    let step = program.step(program.find(target.path.step.as_str())?);
    let ty = |within: &Typed| within.ty;
    match target.part {
        Part::Step | Part::Preview => Some(step.ty),
        Part::Verify => step.verify.as_ref().map(|verify| ty(&verify.probe)),
        Part::Undo => step.undo.as_ref().map(ty),
    }
}

/// Takes its time, unless it is told to end.
async fn wait(scope: &Scope, time: Duration, touches: bool) -> Result<(), StepError> {
    let reason = tokio::select! {
        biased;
        reason = scope.cancel.told() => reason,
        () = scope.clock().sleep(time) => return Ok(()),
    };
    let (kind, how) = match reason {
        EndReason::Timeout => (StepErrorKind::TimedOut, "its time was up"),
        EndReason::Cancelled => (StepErrorKind::Cancelled, "it was told to end"),
    };
    let maybe = if touches { " in the middle of it" } else { "" };
    Err(StepError::new(kind, format!("{how}{maybe}")))
}

fn outcome(answer: &Answer, ty: &dyn AnyStep, touches: bool) -> Result<RawOutcome, StepError> {
    let outputs = Value::Object(answer.outputs.clone());
    if let Some(message) = &answer.fails {
        let kind = match (answer.unknown, answer.transient) {
            (true, _) => StepErrorKind::Unknown,
            (_, true) => StepErrorKind::Transient,
            _ if ty.is_generic() => StepErrorKind::Opaque,
            _ => StepErrorKind::Permanent,
        };
        let error = StepError {
            findings: answer.findings.clone(),
            ..StepError::new(kind, message.clone())
        };
        return Err(match answer.outputs.is_empty() {
            true => error,
            false => error.with_outputs(&outputs),
        });
    }
    Ok(RawOutcome {
        outputs,
        findings: answer.findings.clone(),
        changed: answer.changed.unwrap_or(touches),
    })
}

fn previewed(answer: &Answer) -> Result<Preview, StepError> {
    if let Some(message) = &answer.fails {
        return Err(StepError::permanent(message.clone()));
    }
    if answer.changed == Some(false) {
        return Ok(Preview::NoChange);
    }
    Ok(Preview::Change(Change {
        summary: "as the test says".to_owned(),
        counts: answer.outputs.clone(),
        ..Change::default()
    }))
}

impl Outside for Stage<'_> {
    fn execute<'a>(
        &'a self,
        call: Call,
        means: Means<'a>,
    ) -> LocalFuture<'a, Result<RawOutcome, StepError>> {
        Box::pin(self.perform(call, means))
    }

    fn preview<'a>(
        &'a self,
        call: Call,
        host: &'a Observe,
    ) -> LocalFuture<'a, Result<Preview, StepError>> {
        match self.looked(&call) {
            Ok(None) => call.ty.preview(call.config, host),
            Ok(Some(preview)) => Box::pin(std::future::ready(Ok(preview))),
            Err(error) => Box::pin(std::future::ready(Err(error))),
        }
    }

    fn consents<'a>(
        &'a self,
        _: &'a Path,
        path: &'a StepPath,
        ask: &'a ApprovalAsk,
    ) -> LocalFuture<'a, Vec<Statement<Consent>>> {
        Box::pin(self.heard(path, ask))
    }

    fn groups_of(&self, user: &str) -> Vec<String> {
        let said = self
            .case
            .approvals
            .values()
            .flat_map(|approval| match approval {
                Approval::Said(said) => said.as_slice(),
                Approval::TimesOut => &[],
            });
        { said.filter(|said| said.by == user) }
            .flat_map(|said| said.groups.clone())
            .collect()
    }

    fn asked_to_end<'a>(
        &'a self,
        clock: &'a Clock,
        _: &'a Path,
    ) -> LocalFuture<'a, Statement<Cancellation>> {
        Box::pin(async move {
            let Some(cancel) = self.case.cancel.as_ref().filter(|_| !self.cancelled.get()) else {
                return std::future::pending().await;
            };
            let at = self.began.after(cancel.after);
            clock.sleep_until(Deadline::at(at)).await;
            self.cancelled.set(true);
            Statement {
                name: "cancel".to_owned(),
                user: cancel.by.clone(),
                at: clock.wall(),
                said: Cancellation {
                    reason: cancel.reason.clone(),
                },
            }
        })
    }

    fn forget_cancel(&self, _: &Path) {}

    /// All of it: so that a test takes as long each time.
    fn part_of(&self, delay: Duration) -> Duration {
        delay
    }

    fn locks_on_servers(&self) -> bool {
        false
    }

    fn user(&self) -> String {
        USER.to_owned()
    }

    fn host(&self) -> String {
        HOST.to_owned()
    }
}
