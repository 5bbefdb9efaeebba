//! A step that runs once for each item of a list.

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

use super::approval::Gate;
use super::ended::{End, past};
use super::leaf::Item;
use super::scheduler::Engine;
use crate::base::StepPath;
use crate::base::count::plural;
use crate::compile::StepValue;
use crate::event::{EffectClass, Event, ForeachExpand, JournalError, SkipKind, Status, StepResult};
use crate::expr::{Value, from_json};
use crate::model::{Foreach, OnError};
use crate::step::Partial;

/// The most items that a list may have.
const MOST: usize = 100_000;

impl Engine<'_> {
    /// Runs a `foreach` step.
    pub(super) async fn foreach(&self, at: usize, foreach: &Foreach) -> Result<End, JournalError> {
        let step = self.program.step(at);
        let path = StepPath::step(step.id.value.clone());
        let before = self.items_before(&path).map(serde_json::Value::Array);
        let list = match before {
            Some(before) => Ok(Partial::Known(before)),
            None => foreach.list.eval(&self.world),
        };
        let items = match list {
            Ok(Partial::Known(serde_json::Value::Array(items))) => items,
            Ok(Partial::Known(other)) => {
                let what = kind(&other);
                return self.failed_before(
                    step,
                    &path,
                    format!("`foreach.in` is {what}, not a list"),
                );
            }
            Ok(partial) => {
                let why = partial.why_unknown().unwrap_or_default();
                return self.failed_before(
                    step,
                    &path,
                    format!("`foreach.in` is not known: {why}"),
                );
            }
            Err(error) => {
                return self.failed_before(
                    step,
                    &path,
                    format!("`foreach.in` has no value: {error}"),
                );
            }
        };
        if items.len() > MOST {
            let message = format!(
                "`foreach.in` has {} items, and at most {MOST} are taken",
                items.len()
            );
            return self.failed_before(step, &path, message);
        }
        let started = self.clock.now();
        let expand = ForeachExpand {
            items: items.clone(),
        };
        self.recorder
            .record(Some(&path), None, Event::ForeachExpand(expand))?;
        // Nobody is asked about nothing.
        if !items.is_empty() {
            let list = serde_json::Value::Array(items.clone());
            match self.gate(at, &path, &list, &self.world.local()).await? {
                Gate::Open => {}
                Gate::End(end) => return Ok(*end),
                Gate::Wait => return Ok(End::waiting()),
            }
        }
        let ends = self.items(at, foreach, items).await?;
        let took = self.clock.now().since(started).as_millis();
        self.foreach_end(at, &path, &ends, took)
    }

    /// Runs the items, up to `max_parallel` side by side. What changes something stops at the first
    /// item that fails; what only looks, looks at all of them.
    async fn items(
        &self,
        at: usize,
        foreach: &Foreach,
        items: Vec<serde_json::Value>,
    ) -> Result<Vec<Option<End>>, JournalError> {
        let step = self.program.step(at);
        let stops =
            self.program.nodes()[at].effect != EffectClass::Read && step.on_error == OnError::Stop;
        let mut ends: Vec<Option<End>> = vec![None; items.len()];
        let mut waiting = items.into_iter().enumerate();
        let mut running = FuturesUnordered::new();
        let mut failed: Option<usize> = None;
        loop {
            while running.len() < foreach.max_parallel
                && let Some((index, value)) = waiting.next()
            {
                let number = u32::try_from(index).unwrap_or(u32::MAX);
                if let Some(first) = failed {
                    let path = StepPath::item(step.id.value.clone(), number);
                    let reason = format!("item {first} failed before it");
                    ends[index] = Some(self.skip(&path, SkipKind::Blocked, reason, None)?);
                    continue;
                }
                let item = Item {
                    index: number,
                    value: from_json(value),
                };
                running.push(async move { (index, self.leaf(at, Some(item)).await) });
            }
            let Some((index, end)) = running.next().await else {
                break;
            };
            let end = end?;
            // After a cancellation each says so itself.
            if end.status.is_bad() && end.status != Status::Cancelled && stops {
                failed.get_or_insert(index);
            }
            ends[index] = Some(end);
        }
        Ok(ends)
    }

    /// The whole step's result: the worst of its items'.
    fn foreach_end(
        &self,
        at: usize,
        path: &StepPath,
        ends: &[Option<End>],
        duration_ms: u64,
    ) -> Result<End, JournalError> {
        let step = self.program.step(at);
        let worst = ends
            .iter()
            .flatten()
            .map(|end| end.status)
            .max_by_key(|status| status.weight())
            .unwrap_or(Status::Succeeded);
        let bad = ends
            .iter()
            .flatten()
            .filter(|end| end.status.is_bad())
            .count();
        let mut result = StepResult {
            duration_ms,
            ..StepResult::of(worst)
        };
        result.changed = ends.iter().flatten().any(|end| end.value.changed);
        result.allowed = worst.is_bad() && step.on_error == OnError::Continue;
        if worst.is_bad() {
            result.error = Some(format!(
                "{bad} of {} did not succeed",
                plural(ends.len(), "item")
            ));
        }
        if worst == Status::Skipped {
            result.reason = Some("every item was skipped".to_owned());
            // As long as one of them may yet run, the whole may.
            let kinds = || ends.iter().flatten().map(|end| end.skip);
            let when = kinds().all(|kind| kind == Some(SkipKind::When));
            result.skip = Some(if when {
                SkipKind::When
            } else {
                SkipKind::Blocked
            });
        }
        let outputs: Vec<Value> = ends
            .iter()
            .map(|end| {
                let outputs = end.as_ref().and_then(|end| end.value.outputs.clone());
                outputs.unwrap_or_else(|| Value::from(()))
            })
            .collect();
        let findings = ends
            .iter()
            .flatten()
            .flat_map(|end| end.value.findings.clone())
            .collect();
        let value = StepValue {
            status: worst,
            changed: result.changed,
            outputs: Some(outputs.into()),
            findings,
        };
        let (allowed, skip) = (result.allowed, result.skip);
        let stopped = ends.iter().flatten().find_map(|end| end.cause.clone());
        let cause = match worst.is_bad() && !allowed {
            true => Some(format!("`{}` {}", step.id.value, past(worst))),
            false => stopped.filter(|_| worst == Status::Skipped),
        };
        self.recorder
            .record(Some(path), None, Event::StepResult(result))?;
        Ok(End {
            status: worst,
            allowed,
            skip,
            value,
            cause,
        })
    }
}

fn kind(value: &serde_json::Value) -> String {
    crate::expr::Type::of(&from_json(value.clone())).to_string()
}
