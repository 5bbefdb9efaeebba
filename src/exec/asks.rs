//! Whether a step asks for an agreement, which depends on what it would do.

use serde_json::{Value, json};

use super::attempt::Work;
use super::leaf::condition;
use super::retry::{Policy, Shortfall};
use super::scheduler::Engine;
use crate::base::count::count;
use crate::base::{Duration, StepPath};
use crate::event::{ApprovalKind, EffectClass, JournalError, RepeatClass};
use crate::expr::{Expr, Reference, RootSource, from_json};
use crate::host::Part;
use crate::model::{Approval, Foreach, Step};
use crate::plan::{Decision, describe_one};
use crate::step::{Preview, StepError, StepErrorKind};

/// How long a preview may take.
const PREVIEW_TIME: Duration = Duration::from_secs(120);

/// The most items of a `foreach` step that are described for whoever agrees to all of them.
const MOST_DESCRIBED: usize = 1000;

/// The most of those that are listed.
const MOST_LISTED: usize = 10;

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
        .filter(|(key, value)| {
            value.is_number() || !(FIXED.contains(&key.as_str()) || value.is_array())
        })
        .map(|(key, _)| format!("`{key}`"))
        .collect();
    let counts = match counts.is_empty() {
        true => "no counts".to_owned(),
        false => counts.join(", "),
    };
    Some(format!("the preview has no `{key}`; it has {counts}"))
}

impl Engine<'_> {
    /// What the step would do, found out by looking; looked again after what may pass, as its `retry` says.
    pub(super) async fn preview(
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
}
