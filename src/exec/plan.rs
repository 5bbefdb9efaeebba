//! Planning: what only looks is run, the rest is previewed, and what cannot be known yet stays a
//! typed unknown. Nothing is handed the means to touch.

use std::pin::pin;

use serde_json::{Map, Value, json};

use super::asks::{asks_for, preview_value};
use super::attempt::Work;
use super::locks::connection_of;
use super::scheduler::{Engine, engine, playbook_info};
use super::tries::failing;
use super::{Request, StartError};
use crate::base::{Deadline, Duration, EndReason, StepId, StepPath};
use crate::compile::{Local, StepValue};
use crate::event::{ApprovalKind, EffectClass, Section, Status};
use crate::expr::{Evaluated, from_json};
use crate::host::Part;
use crate::model::{FailOn, Foreach, OnError, Step};
use crate::plan::{self, Decision, Described, Looked, Plan, Planned};
use crate::step::{Description, Partial, Preview, StepErrorKind};

/// How long one look or preview may take where nobody says it.
pub(super) const LOOK_TIME: Duration = Duration::from_secs(10 * 60);

/// The most items of a `foreach` step that are looked at one by one.
const MOST_ITEMS: usize = 10_000;

/// Looks what a run of a program would do. Nothing is recorded.
///
/// # Errors
/// When a variable or a connection has no value or a secret cannot be hidden.
pub async fn plan(request: Request<'_>) -> Result<Plan, StartError> {
    let playbook = request.program.playbook().name.value.clone();
    let run = json!({ "playbook": playbook });
    let run = run.as_object().cloned().unwrap_or_default();
    let (engine, rest) = engine(request, run)?;
    let mut signals = rest.signals;
    let planning = engine.plan_all();
    let mut planning = pin!(planning);
    loop {
        tokio::select! {
            biased;
            steps = &mut planning => {
                engine.shared.connections.close().await;
                return Ok(engine.plan_of(rest.params, steps));
            }
            () = engine.recorder.show_passing() => {}
            _ = signals.next() => {
                engine.cancel_of(Section::Main).end(EndReason::Cancelled);
                engine.paused.set(true);
            }
        }
    }
}

impl Engine<'_> {
    /// What each step, and each item, would do.
    pub(super) async fn plan_all(&self) -> Vec<Planned> {
        let mut planned = Vec::new();
        let count = self.program.nodes().len();
        // Why what waits for a step would not run.
        let mut causes: Vec<Option<String>> = vec![None; count];
        // What would change something before it.
        let mut changes: Vec<Option<StepId>> = vec![None; count];
        for at in plan::places(self.program) {
            if self.paused.get() {
                break;
            }
            let node = &self.program.nodes()[at];
            let blocked = match node.section {
                Section::Main => node.needs.iter().find_map(|need| causes[*need].clone()),
                Section::Finally => None,
            };
            let before = node.needs.iter().find_map(|need| changes[*need].clone());
            let first = planned.len();
            let cause = match blocked {
                Some(cause) => {
                    let reason = Decision::Skip {
                        reason: cause.clone(),
                    };
                    planned.push(self.bare(at, reason));
                    self.world.set_unknown(at, cause.clone());
                    Some(cause)
                }
                None => self.plan_step(at, before.as_ref(), &mut planned).await,
            };
            causes[at] = cause;
            let does = planned[first..].iter().any(Planned::changes);
            changes[at] = before.or_else(|| does.then(|| self.program.step(at).id.value.clone()));
        }
        planned
    }

    /// A plan of `steps`.
    pub(super) fn plan_of(&self, params: Map<String, Value>, steps: Vec<Planned>) -> Plan {
        let mut value = Value::Object(params);
        self.shared.redactor.value(&mut value);
        let params = match value {
            Value::Object(params) => params,
            _ => Map::new(),
        };
        Plan {
            schema_version: 1,
            playbook: playbook_info(self.program),
            params,
            host: self.outside.host(),
            user: self.outside.user(),
            at: self.clock.wall(),
            lock: None,
            estimate: None,
            lock_connection: None,
            targets: self.seen(),
            steps,
        }
    }

    /// Plans one step with its items; gives back why what waits for it would not run.
    async fn plan_step(
        &self,
        at: usize,
        before: Option<&StepId>,
        planned: &mut Vec<Planned>,
    ) -> Option<String> {
        let step = self.program.step(at);
        let id = &step.id.value;
        let later = format!("known once step `{id}` has run");
        let Some(foreach) = &step.foreach else {
            let (one, value) = self
                .plan_one(at, StepPath::step(id.clone()), before, &self.world.local())
                .await;
            let cause = cause_of(step, &one);
            match value {
                Some(value) => self.world.set_step(at, value),
                None => self.world.set_unknown(at, later),
            }
            planned.push(one);
            return cause;
        };
        let items = match foreach.list.eval(&self.world) {
            Ok(Partial::Known(Value::Array(items))) if items.len() <= MOST_ITEMS => items,
            Ok(Partial::Known(Value::Array(items))) => {
                let because = format!("{} items are too many to look at", items.len());
                planned.push(self.bare(at, Decision::MayRun { because }));
                self.world.set_unknown(at, later);
                return None;
            }
            Ok(partial) => {
                let why = partial.why_unknown().unwrap_or_else(|| "not a list".into());
                let because = format!("the list is {why}");
                planned.push(self.bare(at, Decision::MayRun { because }));
                self.world.set_unknown(at, later);
                return None;
            }
            Err(error) => {
                let error = self.redact(&error.to_string());
                planned.push(self.bare(at, Decision::Fail { error }));
                self.world.set_unknown(at, later.clone());
                return Some(format!("`{id}` would fail"));
            }
        };
        planned.push(self.whole_of(at, foreach, &items));
        let (mut cause, mut values) = (None, Vec::new());
        for (index, item) in (0..).zip(items) {
            let path = StepPath::item(id.clone(), index);
            let local = self.world.local();
            let local = local.with_item(&foreach.name, from_json(item), index);
            let (mut one, value) = self.plan_one(at, path, before, &local).await;
            // All of them are agreed to as a whole.
            one.approval = None;
            cause = cause.or_else(|| cause_of(step, &one));
            planned.push(one);
            values.push(value);
        }
        let all: Option<Vec<StepValue>> = values.into_iter().collect();
        match all {
            Some(all) => self.world.set_step(at, whole(&all)),
            None => self.world.set_unknown(at, later),
        }
        cause
    }

    /// Looks at one step, or one item; its result where it is known.
    async fn plan_one(
        &self,
        at: usize,
        path: StepPath,
        before: Option<&StepId>,
        local: &Local<'_>,
    ) -> (Planned, Option<StepValue>) {
        let (step, node) = (self.program.step(at), &self.program.nodes()[at]);
        let mut described = plan::describe_one(self.program, at, path.clone(), local);
        self.redact_description(&mut described);
        let mut planned = Planned {
            described,
            looked: None,
            preview: None,
            error: None,
            help: None,
            lock: None,
            lock_connection: None,
            approval: None,
            digest: None,
        };
        let skipped = || StepValue {
            status: Status::Skipped,
            changed: false,
            outputs: None,
            findings: Vec::new(),
        };
        match &planned.described.decision {
            Decision::Skip { .. } => return (planned, Some(skipped())),
            Decision::Fail { .. } => return (planned, None),
            Decision::Run | Decision::MayRun { .. } => {}
        }
        if let Some(lock) = step.lock.as_ref().and_then(|lock| lock.key.as_ref()) {
            planned.lock_connection = step.lock.as_ref().and_then(connection_of);
            planned.lock = match lock.eval(local) {
                Ok(Evaluated::Known(key)) => Some(self.redact(&key.to_string())),
                _ => Some("(not known yet)".to_owned()),
            };
        }
        let certain = planned.described.decision == Decision::Run;
        let config = match step.config.eval(local) {
            Ok(Partial::Known(config)) => config,
            Ok(partial) => {
                let because = partial.why_unknown().unwrap_or_default().to_string();
                if node.effect != EffectClass::Read {
                    planned.preview = Some(Preview::Unknown { because });
                }
                planned.approval = approval_of(step, node.effect);
                return (planned, None);
            }
            // Told by its decision.
            Err(_) => return (planned, None),
        };
        if node.effect == EffectClass::Read {
            // What a `finally` step finds belongs to the end of a run.
            if !certain || node.section == Section::Finally {
                return (planned, None);
            }
            let (mut looked, value) = self.look_at(at, &path, config).await;
            looked.before = before.cloned();
            // What is bad now may be what the steps before it are for.
            let holds = before.is_none() || !looked.status.is_bad();
            planned.looked = Some(looked);
            return (planned, holds.then_some(value));
        }
        self.preview_at(at, &path, config, before, local, &mut planned)
            .await;
        (planned, None)
    }

    /// Looks what a step, or an item, would change.
    async fn preview_at(
        &self,
        at: usize,
        path: &StepPath,
        config: Value,
        before: Option<&StepId>,
        local: &Local<'_>,
        planned: &mut Planned,
    ) {
        let (step, node) = (self.program.step(at), &self.program.nodes()[at]);
        let work = Work {
            ty: step.ty,
            effect: EffectClass::Read,
            section: node.section,
            part: Part::Preview,
            lock: None,
        };
        let preview = { self.preview_of(work, path, config.clone(), LOOK_TIME) }.await;
        let certain = planned.described.decision == Decision::Run;
        let first = before.is_none() && node.section == Section::Main;
        let mut fails = false;
        let preview = preview.unwrap_or_else(|error| {
            let because = error.to_string();
            // That it takes long to look fails no run.
            fails = certain && first && error.kind != StepErrorKind::TimedOut;
            if certain && first && step.on_error == OnError::Stop {
                planned.error = Some(self.redact(&because));
                planned.help = error.help.as_ref().map(|help| self.redact(help));
            }
            Preview::Unknown { because }
        });
        planned.digest = self.step_digest(step, path, &config, &preview);
        // A run that cannot look asks nobody.
        if !fails {
            let value = preview_value(preview.clone());
            self.would_ask(at, value, local, planned);
        }
        planned.preview = Some(self.redacted(preview));
    }

    /// Runs a step that only looks.
    async fn look_at(&self, at: usize, path: &StepPath, config: Value) -> (Looked, StepValue) {
        let (step, node) = (self.program.step(at), &self.program.nodes()[at]);
        let work = Work {
            ty: step.ty,
            effect: EffectClass::Read,
            section: node.section,
            part: Part::Step,
            lock: None,
        };
        let timeout = step.timeout.as_ref().map(|timeout| timeout.value);
        let timeout = timeout.or(self.program.playbook().defaults.timeout);
        let deadline: Deadline = self.clock.deadline_in(timeout.unwrap_or(LOOK_TIME));
        let end = self.attempt(work, path, 1, config, deadline).await;
        let mut help = None;
        let (mut status, outputs, findings, mut error) = match end.result {
            Ok(outcome) => (Status::Succeeded, outcome.outputs, outcome.findings, None),
            Err(error) => {
                let status = match error.kind {
                    StepErrorKind::TimedOut => Status::TimedOut,
                    StepErrorKind::Cancelled => Status::Cancelled,
                    _ => Status::Failed,
                };
                let outputs = error.outputs.unwrap_or_default();
                help = error.help.map(|help| self.redact(&help));
                (status, outputs, error.findings, Some(error.message))
            }
        };
        let fail_on = { step.fail_on }
            .or(self.program.playbook().defaults.fail_on)
            .unwrap_or(FailOn::default());
        if let Some(bad) = failing(&findings, fail_on) {
            (status, error) = (Status::Failed, error.or(Some(bad)));
        }
        let value = StepValue {
            status,
            changed: false,
            outputs: (!outputs.is_null()).then(|| from_json(outputs.clone())),
            findings: findings.clone(),
        };
        let mut looked = Looked {
            status,
            findings,
            outputs,
            error: error.map(|error| self.redact(&error)),
            help,
            allowed: status.is_bad() && step.on_error == OnError::Continue,
            before: None,
        };
        self.shared.redactor.outputs(&mut looked.outputs);
        for finding in &mut looked.findings {
            finding.subject = self.redact(&finding.subject);
            finding.message = self.redact(&finding.message);
            finding.help = finding.help.as_ref().map(|help| self.redact(help));
        }
        (looked, value)
    }

    /// Who would be asked before it runs, by a preview as expressions read it.
    fn would_ask(&self, at: usize, preview: Value, local: &Local<'_>, planned: &mut Planned) {
        let (step, node) = (self.program.step(at), &self.program.nodes()[at]);
        let scope = local
            .clone()
            .with_preview(step.id.value.clone(), from_json(preview.clone()));
        let asks = asks_for(step, node.effect, false, &scope, &preview);
        planned.approval = match asks {
            Ok(asks) => asks.map(|(kind, _)| kind),
            Err(message) => {
                if planned.described.decision == Decision::Run && step.on_error == OnError::Stop {
                    planned.error = Some(self.redact(&message));
                }
                None
            }
        };
    }

    /// A `foreach` step beside its items.
    fn whole_of(&self, at: usize, foreach: &Foreach, items: &[Value]) -> Planned {
        let mut whole = self.bare(at, Decision::Run);
        whole.described.items = Some(items.len());
        if items.is_empty() {
            whole.described.description = Description::line("nothing to do: 0 items");
            whole.approval = None;
        } else if whole.described.effect != EffectClass::Read || whole.approval.is_some() {
            let list = self.preview_of_list(at, foreach, items);
            self.would_ask(at, list, &self.world.local(), &mut whole);
        }
        whole
    }

    /// A step of which nothing more is known.
    fn bare(&self, at: usize, decision: Decision) -> Planned {
        let (step, node) = (self.program.step(at), &self.program.nodes()[at]);
        let unknown = match (&decision, node.effect) {
            (Decision::MayRun { because }, EffectClass::Change | EffectClass::Destroy) => {
                let because = because.clone();
                Some(Preview::Unknown { because })
            }
            _ => None,
        };
        Planned {
            described: Described {
                id: step.id.value.clone(),
                path: StepPath::step(step.id.value.clone()),
                ty: step.ty.name(),
                name: None,
                section: node.section,
                effect: node.effect,
                repeat: node.repeat,
                claimed_by: node.claimed_by,
                items: None,
                decision,
                description: Description::line(match &step.foreach {
                    Some(foreach) => format!("once for each `{}`", foreach.name),
                    None => String::new(),
                }),
            },
            looked: None,
            preview: unknown,
            error: None,
            help: None,
            lock: None,
            lock_connection: None,
            approval: approval_of(step, node.effect),
            digest: None,
        }
    }
}

fn approval_of(step: &Step, effect: EffectClass) -> Option<ApprovalKind> {
    match (&step.approval, effect) {
        (Some(approval), _) => Some(approval.kind),
        (None, EffectClass::Destroy) => Some(ApprovalKind::Confirm),
        (None, _) => None,
    }
}

/// Why what waits for a step would not run.
fn cause_of(step: &Step, planned: &Planned) -> Option<String> {
    let bad = planned.looked.as_ref().is_some_and(Looked::fails);
    let fails = bad || matches!(planned.described.decision, Decision::Fail { .. });
    (fails && step.on_error == OnError::Stop).then(|| format!("`{}` would fail", step.id.value))
}

/// A `foreach` step's result out of its items'.
fn whole(items: &[StepValue]) -> StepValue {
    let worst = items
        .iter()
        .map(|item| item.status)
        .max_by_key(|status| status.weight());
    let outputs = items.iter().map(|item| {
        let outputs = item.outputs.clone();
        outputs.unwrap_or_else(|| crate::expr::Value::from(()))
    });
    StepValue {
        status: worst.unwrap_or(Status::Succeeded),
        changed: false,
        outputs: Some(outputs.collect::<Vec<_>>().into()),
        findings: items
            .iter()
            .flat_map(|item| item.findings.clone())
            .collect(),
    }
}
