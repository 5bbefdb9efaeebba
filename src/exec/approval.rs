//! Who must agree before a step runs, and whether they have.
//!
//! A step that destroys asks whoever runs it for a confirmation, without being told to. What is
//! agreed to is one question: the playbook, the step, its configuration and what it would do, as a
//! digest. An answer to another question does not count.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::asks::{Asks, asks_for, preview_value};
use super::ended::{End, Judged};
use super::scheduler::Engine;
use super::{Machine, Outside};
use crate::base::{Duration, StepPath};
use crate::compile::{Local, StepValue};
use crate::event::{
    AnswerBy, ApprovalAnswer, ApprovalAsk, ApprovalKind, EffectClass, Event, JournalError, Section,
    SkipKind, Status,
};
use crate::expr::{Evaluated, from_json};
use crate::host::identity;
use crate::host::inbox::Statement;
use crate::model::{Approval, OnTimeout, Step};
use crate::step::{Partial, StepError};

/// What statements about approvals begin with.
pub const APPROVE: &str = "approve.";

/// How often it is looked whether somebody has agreed.
const POLL: Duration = Duration::from_millis(250);

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
