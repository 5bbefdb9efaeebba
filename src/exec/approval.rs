//! Who must agree before a step runs, and whether they have.
//!
//! A step that destroys asks whoever runs it for a confirmation, without being told to. What is
//! agreed to is one question: the playbook, the step, its configuration and what it would do, as a
//! digest. An answer to another question does not count.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::attempt::Work;
use super::ended::{End, Judged};
use super::leaf::condition;
use super::retry::{Policy, Shortfall};
use super::scheduler::Engine;
use super::{Machine, Outside};
use crate::base::count::count;
use crate::base::{Duration, StepPath};
use crate::compile::{Local, StepValue};
use crate::event::{
    AnswerBy, ApprovalAnswer, ApprovalAsk, ApprovalKind, EffectClass, Event, JournalError,
    RepeatClass, Section, SkipKind, Status,
};
use crate::expr::{Evaluated, Expr, Reference, RootSource, from_json};
use crate::host::inbox::Statement;
use crate::host::{Part, identity};
use crate::model::{Approval, Foreach, OnTimeout, Step};
use crate::plan::{Decision, describe_one};
use crate::step::{Partial, Preview, StepError, StepErrorKind};

/// What statements about approvals begin with.
pub const APPROVE: &str = "approve.";

/// How often it is looked whether somebody has agreed.
const POLL: Duration = Duration::from_millis(250);

/// How long a preview may take.
const PREVIEW_TIME: Duration = Duration::from_secs(120);

/// The most items of a `foreach` step that are described for whoever agrees to all of them.
const MOST_DESCRIBED: usize = 1000;

/// The most of those that are listed.
const MOST_LISTED: usize = 10;

/// Somebody agrees to a step, or does not.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Consent {
    /// To which question.
    pub ask: String,
    /// Whether they agree.
    pub granted: bool,
    /// Who, where the owner of the file is root for somebody else.
    pub user: String,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// Lines that somebody types at the terminal of the run.
pub type Console = tokio::sync::mpsc::UnboundedReceiver<String>;

/// Whether a step may run.
pub(super) enum Gate {
    /// It may.
    Open,
    /// It ends with this.
    End(Box<End>),
    /// Nobody knows yet: the run waits.
    Wait,
}

/// A preview as expressions read it: `steps.<id>.preview.rows`.
pub(super) fn preview_value(preview: Preview) -> Value {
    let Preview::Change(change) = preview else {
        return serde_json::to_value(preview).unwrap_or_default();
    };
    let mut value = Value::Object(change.counts);
    value["kind"] = "change".into();
    value["summary"] = change.summary.into();
    value["items"] = change.items.into();
    value["notes"] = change.notes.into();
    if let Some(diff) = change.diff {
        value["diff"] = diff.into();
    }
    value
}

/// What is asked for, and by which `approval` of the step; by none where it is asked because the step destroys.
pub(super) type Asks<'s> = (ApprovalKind, Option<&'s Approval>);

/// What is asked for before a step runs. Who has `seen` what it destroys need not confirm it.
///
/// # Errors
/// When its `approval` reads what its preview does not have: then nobody could be asked the right thing.
pub(super) fn asks_for<'s>(
    step: &'s Step,
    effect: EffectClass,
    seen: bool,
    scope: &dyn RootSource,
    preview: &Value,
) -> Result<Option<Asks<'s>>, String> {
    let destroys = effect == EffectClass::Destroy && !seen;
    let confirm = destroys.then_some((ApprovalKind::Confirm, None));
    let Some(approval) = &step.approval else {
        return Ok(confirm);
    };
    if let Some(when) = &approval.when
        && !is_asked(step, when, scope, preview)?
    {
        // That nobody has to approve of it is no yes of whoever runs it.
        return Ok(confirm.filter(|_| approval.kind == ApprovalKind::Approve));
    }
    if let Some(message) = &approval.message
        && message.eval(scope).is_err()
        && let Some(absent) = absent(step, message.references(), preview)
    {
        return Err(format!("`approval.message`: {absent}"));
    }
    Ok(Some((approval.kind, Some(approval))))
}

/// Whether a condition over a preview asks for an approval. What cannot be told is asked; of a step that has
/// nothing to do, no count is too large.
fn is_asked(
    step: &Step,
    when: &Expr,
    scope: &dyn RootSource,
    preview: &Value,
) -> Result<bool, String> {
    match condition(when, scope) {
        Ok(asked) => Ok(asked),
        Err(_) => match absent(step, when.references().iter(), preview) {
            Some(absent) => Err(format!("`approval.when`: {absent}")),
            None => Ok(preview["kind"] != "no_change"),
        },
    }
}

/// What a preview may have besides its counts.
const FIXED: [&str; 5] = ["kind", "summary", "items", "notes", "diff"];

/// What is read of a preview that it does not have, where it is known.
fn absent<'r>(
    step: &Step,
    mut read: impl Iterator<Item = &'r Reference>,
    preview: &Value,
) -> Option<String> {
    let known = preview["kind"].is_null() || preview["kind"] == "change";
    let has = preview.as_object().filter(|_| known)?;
    let key = read.find_map(|reference| match reference.fields() {
        [id, field, key, ..]
            if reference.root() == "steps"
                && **id == *step.id.value.as_str()
                && **field == *"preview" =>
        {
            (!FIXED.contains(&&**key) && !has.contains_key(&**key)).then_some(key)
        }
        _ => None,
    })?;
    let counts: Vec<String> = { has.iter() }
        .filter(|(key, value)| value.is_number() || !FIXED.contains(&key.as_str()))
        .map(|(key, _)| format!("`{key}`"))
        .collect();
    let counts = match counts.is_empty() {
        true => "no counts".to_owned(),
        false => counts.join(", "),
    };
    Some(format!("the preview has no `{key}`; it has {counts}"))
}

impl End {
    /// It waits, with its run.
    pub(super) fn waiting() -> Self {
        Self {
            status: Status::Pending,
            allowed: false,
            skip: None,
            value: StepValue {
                status: Status::Pending,
                changed: false,
                outputs: None,
                findings: Vec::new(),
            },
            cause: None,
        }
    }
}

/// Whether `user` is one of those who may agree, on this machine: by name or by group.
pub fn may_approve(from: &[String], user: &str) -> bool {
    let machine: &dyn Outside = &Machine;
    machine.may_approve(from, user)
}

impl Engine<'_> {
    /// Asks who must agree before the step at `at`, or all items of it, may run with `config`.
    pub(super) async fn gate(
        &self,
        at: usize,
        path: &StepPath,
        config: &Value,
        local: &Local<'_>,
    ) -> Result<Gate, JournalError> {
        let (step, node) = (self.program.step(at), &self.program.nodes()[at]);
        // Who saved a plan and gives it to be done has seen it.
        let seen = self.plan.is_some();
        if step.approval.is_none() && (seen || node.effect != EffectClass::Destroy) {
            return Ok(Gate::Open);
        }
        let preview = match (&step.foreach, config) {
            // Each item is previewed where it is planned, not where all of them are agreed to.
            (Some(foreach), Value::Array(items)) => self.preview_of_list(at, foreach, items),
            _ => match self.preview(at, path, config).await? {
                Ok(preview) => preview_value(preview),
                // What it would do is not to be had, so nobody is asked about it.
                Err(error) => return self.fails_before(step, path, error),
            },
        };
        let scope = local
            .clone()
            .with_preview(step.id.value.clone(), from_json(preview.clone()));
        let (kind, approval) = match asks_for(step, node.effect, seen, &scope, &preview) {
            Ok(Some(asks)) => asks,
            Ok(None) => return Ok(Gate::Open),
            Err(message) => {
                return self.fails_before(step, path, StepError::permanent(message));
            }
        };
        let ask = self.question(step, path, (kind, approval), config, preview, &scope)?;
        if kind == ApprovalKind::Confirm && self.yes {
            let users = vec![self.outside.user()];
            self.answer(path, &ask, true, AnswerBy::Yes, users, None)?;
            return Ok(Gate::Open);
        }
        self.wait_for_answer(approval, node.section, path, &ask)
            .await
    }

    fn fails_before(
        &self,
        step: &Step,
        path: &StepPath,
        error: StepError,
    ) -> Result<Gate, JournalError> {
        let judged = Judged::Bad {
            error,
            outcome: None,
        };
        let end = self.finish(step, path, 1, judged, Vec::new(), 0)?;
        Ok(Gate::End(Box::new(end)))
    }

    /// What the step would do, found out by looking; looked again after what may pass, as its `retry` says.
    async fn preview(
        &self,
        at: usize,
        path: &StepPath,
        config: &Value,
    ) -> Result<Result<Preview, StepError>, JournalError> {
        let (step, node) = (self.program.step(at), &self.program.nodes()[at]);
        let work = Work {
            ty: step.ty,
            effect: EffectClass::Read,
            section: node.section,
            part: Part::Preview,
            lock: None,
        };
        let policy = Policy {
            retry: step.retry.as_ref(),
            effect: EffectClass::Read,
            repeat: RepeatClass::Idempotent,
            generic: step.ty.is_generic(),
        };
        let mut attempt = 1;
        loop {
            let preview = self.preview_of(work, path, config.clone(), PREVIEW_TIME);
            let mut error = match preview.await {
                Ok(preview) => return Ok(Ok(preview)),
                Err(error) => error,
            };
            match error.kind {
                // That it takes long to look says nothing about the step.
                StepErrorKind::TimedOut | StepErrorKind::Cancelled => {
                    let because = error.to_string();
                    return Ok(Ok(Preview::Unknown { because }));
                }
                StepErrorKind::Audit => {
                    let what = "write the log of a step";
                    self.recorder.fail(what, &error.message);
                    return Err(JournalError {
                        what: what.to_owned(),
                        cause: error.message,
                    });
                }
                // Nothing was touched.
                StepErrorKind::Unknown => error.kind = StepErrorKind::Permanent,
                _ => {}
            }
            let delay = policy.next_delay(attempt, &Shortfall::Error(&error));
            let Some(delay) = delay.filter(|_| !self.is_told(node.section)) else {
                return Ok(Err(error));
            };
            tokio::select! {
                biased;
                _ = self.cancel_of(node.section).told() => {}
                () = self.clock.sleep(delay) => {}
            }
            attempt += 1;
        }
    }

    /// What a `foreach` step would do, as far as whoever agrees to all of its items is told.
    pub(super) fn preview_of_list(&self, at: usize, foreach: &Foreach, items: &[Value]) -> Value {
        let id = &self.program.step(at).id.value;
        let mut list = Vec::new();
        let mut more = items.len().saturating_sub(MOST_DESCRIBED);
        for (index, item) in (0..).zip(items.iter().take(MOST_DESCRIBED)) {
            let path = StepPath::item(id.clone(), index);
            let local = self.world.local();
            let local = local.with_item(&foreach.name, from_json(item.clone()), index);
            let described = describe_one(self.program, at, path, &local);
            match described.decision {
                Decision::Skip { .. } => {}
                _ if list.len() >= MOST_LISTED => more += 1,
                _ => list.push(format!(
                    "{}: {}",
                    described.path, described.description.summary
                )),
            }
        }
        if more > 0 {
            list.push(format!("… and {} more", count(more)));
        }
        json!({ "items": items.len(), "list": list })
    }

    /// The question, recorded; the one that was asked before, where it is still the same.
    fn question(
        &self,
        step: &Step,
        path: &StepPath,
        (kind, approval): Asks<'_>,
        config: &Value,
        preview: Value,
        scope: &Local<'_>,
    ) -> Result<ApprovalAsk, JournalError> {
        let info = self.program.info();
        let mut does = preview.clone();
        if let Some(does) = does.as_object_mut() {
            does.remove("notes");
        }
        let agreed_to = json!({
            "playbook": info.sha256,
            "project": info.project_sha256,
            "path": path.to_string(),
            "type": step.ty.name(),
            "config": config,
            "preview": does,
        });
        let digest = self
            .shared
            .redactor
            .keyed_digest(agreed_to.to_string().as_bytes());
        let before = self.past(path).and_then(|step| step.asked.clone());
        if let Some(before) = before.filter(|it| it.digest == digest && it.kind == kind) {
            return Ok(before);
        }
        let message = approval.and_then(|approval| approval.message.as_ref());
        let message = message.map(|message| match message.eval(scope) {
            Ok(Evaluated::Known(text)) => text.to_string(),
            Ok(Evaluated::Unknown(unknown)) => {
                format!("(its message is not known: {})", unknown.why)
            }
            Err(error) => format!("(its message has no value: {error})"),
        });
        let until = approval
            .and_then(|approval| approval.timeout)
            .map(|timeout| {
                let span = jiff::SignedDuration::try_from(timeout.as_std());
                let end = span
                    .ok()
                    .and_then(|span| self.clock.wall().checked_add(span).ok());
                end.unwrap_or(jiff::Timestamp::MAX)
            });
        let ask = ApprovalAsk {
            ask: format!("{:016x}", getrandom::u64().unwrap_or_default()),
            kind,
            message: message.unwrap_or_else(|| {
                let name = step.name.as_ref().and_then(|name| match name.eval(scope) {
                    Ok(Evaluated::Known(name)) => Some(name.to_string()),
                    _ => None,
                });
                let would = || step.ty.describe(&Partial::Known(config.clone())).summary;
                name.unwrap_or_else(would)
            }),
            from: approval
                .map(|approval| approval.from.clone())
                .unwrap_or_default(),
            count: approval.map_or(1, |approval| approval.count),
            separate: approval.is_some_and(|approval| approval.separate),
            until,
            preview,
            digest,
        };
        self.recorder
            .record(Some(path), None, Event::ApprovalAsk(ask.clone()))?;
        Ok(ask)
    }

    fn answer(
        &self,
        path: &StepPath,
        ask: &ApprovalAsk,
        granted: bool,
        how: AnswerBy,
        users: Vec<String>,
        reason: Option<String>,
    ) -> Result<(), JournalError> {
        self.recorder.prompt(None);
        let answer = ApprovalAnswer {
            ask: ask.ask.clone(),
            granted,
            how,
            users,
            reason,
        };
        self.recorder
            .record(Some(path), None, Event::ApprovalAnswer(answer))
    }

    /// Waits at the terminal, if there is one and as long as there is time.
    async fn wait_for_answer(
        &self,
        approval: Option<&Approval>,
        section: Section,
        path: &StepPath,
        ask: &ApprovalAsk,
    ) -> Result<Gate, JournalError> {
        // One question at a time.
        let mut console = self.console.lock().await;
        let mut prompted = false;
        let gate = loop {
            let told = self.cancel_of(section).clone();
            let said = tokio::select! {
                biased;
                said = self.outside.consents(self.shared.folder.path(), path, ask) => said,
                _ = told.told() => break self.ended_meanwhile(path)?,
            };
            if let Some(gate) = self.heard(path, ask, said)? {
                break gate;
            }
            if ask.until.is_some_and(|until| self.clock.wall() >= until) {
                let skips = approval.is_some_and(|a| a.on_timeout == OnTimeout::Skip);
                self.answer(path, ask, false, AnswerBy::Timeout, Vec::new(), None)?;
                break if skips {
                    let reason = "nobody agreed to it in time".to_owned();
                    Gate::End(Box::new(self.skip(path, SkipKind::Denied, reason, None)?))
                } else {
                    self.deny(path, "nobody agreed to it in time".to_owned())?
                };
            }
            let Some(lines) = console.as_mut() else {
                // A confirmation is given by whoever runs it, and there is nobody to ask.
                break match (ask.kind, section) {
                    (ApprovalKind::Approve, Section::Main) => {
                        self.verdict.borrow_mut().waits();
                        self.paused.set(true);
                        Gate::Wait
                    }
                    (ApprovalKind::Approve, Section::Finally) => self.deny(
                        path,
                        "a `finally` step cannot wait for an approval".to_owned(),
                    )?,
                    (ApprovalKind::Confirm, _) => {
                        self.deny(path, "nobody is there to confirm it".to_owned())?
                    }
                };
            };
            if !std::mem::replace(&mut prompted, true) {
                self.recorder.prompt(Some(&self.words(path, ask)));
            }
            tokio::select! {
                biased;
                _ = told.told() => break self.ended_meanwhile(path)?,
                line = lines.recv() => match line {
                    Some(line) => {
                        self.recorder.prompt(None);
                        if let Some(gate) = self.typed(path, ask, &line)? {
                            break gate;
                        }
                        prompted = false;
                    }
                    // The terminal is gone.
                    None => *console = None,
                },
                () = self.clock.sleep(POLL) => {}
            }
        };
        if prompted {
            self.recorder.prompt(None);
        }
        Ok(gate)
    }

    fn ended_meanwhile(&self, path: &StepPath) -> Result<Gate, JournalError> {
        let reason = "the run ended while it waited for an approval".to_owned();
        let end = self.skip(path, SkipKind::Stopped, reason.clone(), Some(reason))?;
        Ok(Gate::End(Box::new(end)))
    }

    /// What is asked at the terminal.
    fn words(&self, path: &StepPath, ask: &ApprovalAsk) -> String {
        if self.may_answer_here(ask) {
            return "yes or no? [y/N] ".to_owned();
        }
        let run = &self.shared.run;
        format!(
            "waiting for {} (`runbook approve {run} {path}`; Ctrl-C ends the run)",
            if ask.from.is_empty() {
                "somebody else".to_owned()
            } else {
                ask.from.join(", ")
            },
        )
    }

    /// Whether a yes at the terminal is all that is asked for.
    fn may_answer_here(&self, ask: &ApprovalAsk) -> bool {
        let user = self.outside.user();
        ask.count == 1 && !ask.separate && self.outside.may_approve(&ask.from, &user)
    }

    fn typed(
        &self,
        path: &StepPath,
        ask: &ApprovalAsk,
        line: &str,
    ) -> Result<Option<Gate>, JournalError> {
        if !self.may_answer_here(ask) {
            return Ok(None);
        }
        let granted = matches!(line.trim().to_ascii_lowercase().as_str(), "y" | "yes");
        let user = self.outside.user();
        self.answer(
            path,
            ask,
            granted,
            AnswerBy::Terminal,
            vec![user.clone()],
            None,
        )?;
        if granted {
            return Ok(Some(Gate::Open));
        }
        self.deny(path, format!("{user} did not agree to it"))
            .map(Some)
    }

    /// What was said by `runbook approve`, where it decides.
    fn heard(
        &self,
        path: &StepPath,
        ask: &ApprovalAsk,
        said: Vec<Statement<Consent>>,
    ) -> Result<Option<Gate>, JournalError> {
        let mut granted: Vec<String> = Vec::new();
        let mut reasons: Vec<String> = Vec::new();
        for statement in said {
            // Root may speak for whoever became root.
            let user = match statement.user.as_str() {
                "root" => statement.said.user.clone(),
                owner => owner.to_owned(),
            };
            let own = identity::person(&user) == identity::person(&self.requester);
            let in_time = ask.until.is_none_or(|until| statement.at < until);
            let counts = statement.said.ask == ask.ask
                && in_time
                && self.outside.may_approve(&ask.from, &user)
                && !(ask.separate && own);
            if !counts {
                continue;
            }
            let reason = statement.said.reason.clone();
            if !statement.said.granted {
                let told = reason.as_ref().map(|reason| format!(": {reason}"));
                let told = format!("{user} did not agree to it{}", told.unwrap_or_default());
                self.answer(path, ask, false, AnswerBy::Statement, vec![user], reason)?;
                return self.deny(path, told).map(Some);
            }
            let same = |other: &String| identity::person(other) == identity::person(&user);
            if !granted.iter().any(same) {
                granted.push(user);
                reasons.extend(reason);
            }
        }
        if granted.len() < ask.count as usize {
            return Ok(None);
        }
        let reason = (!reasons.is_empty()).then(|| reasons.join("; "));
        self.answer(path, ask, true, AnswerBy::Statement, granted, reason)?;
        Ok(Some(Gate::Open))
    }

    fn deny(&self, path: &StepPath, reason: String) -> Result<Gate, JournalError> {
        self.verdict.borrow_mut().denied();
        let cause = Some(format!("`{}` was not agreed to", path.step));
        let end = self.skip(path, SkipKind::Denied, reason, cause)?;
        Ok(Gate::End(Box::new(end)))
    }
}
