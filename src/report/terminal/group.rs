//! What is known of the steps of a live run, and of the items of `foreach` steps.

use std::collections::HashMap;
use std::fmt::Write as _;

use serde_json::Value;

use super::look::{Ink, Look};
use super::step::Columns;
use super::wrap::blanks;
use crate::base::{StepId, StepPath};
use crate::event::{PlannedStep, RunState, Section, StepResult, StepState};
use crate::report::amount;
use crate::report::tally::Items;

/// Items of one step that are told one by one, without `-v`.
const MAX_ITEMS: usize = 20;

/// A step, as far as its events have told.
#[derive(Debug)]
pub(super) struct Known {
    pub ty: String,
    pub name: Option<String>,
    pub section: Section,
    pub items: Option<Box<Group>>,
}

/// The items of a `foreach` step that runs.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub items: Items,
    /// What they are for, until they have ended.
    values: Vec<Value>,
    /// Names that were evaluated for them.
    names: HashMap<u32, String>,
    told: usize,
    hidden: usize,
}

impl Known {
    pub(super) fn planned(step: &PlannedStep) -> Self {
        Self {
            ty: step.ty.clone(),
            name: step.name.clone(),
            section: step.section,
            items: None,
        }
    }

    /// Of a run that is taken up again.
    pub(super) fn of(state: &RunState, step: &StepState) -> Self {
        let mut known = Self {
            ty: step.ty.clone(),
            name: step.name.clone(),
            section: step.section,
            items: None,
        };
        if let Some(number) = step.items.filter(|_| !step.status.is_over()) {
            let group = known.group();
            for index in 0..number {
                let path = StepPath::item(step.path.step.clone(), index);
                let item = state.step(&path);
                group
                    .values
                    .push(item.map_or(Value::Null, |item| item.item.clone()));
                if let Some(item) = item.filter(|item| item.status.is_over()) {
                    group
                        .items
                        .statuses
                        .add(item.status, item.allowed, Some(item.changed));
                    group.items.levels.add(&item.findings);
                }
            }
        }
        known
    }

    pub(super) fn expand(&mut self, items: &[Value]) {
        self.group().values = items.to_vec();
    }

    pub(super) fn start(&mut self, path: &StepPath, name: Option<&str>) {
        let Some(name) = name else { return };
        match path.item {
            None => self.name = Some(name.to_owned()),
            Some(index) => {
                self.group().names.insert(index, name.to_owned());
            }
        }
    }

    pub(super) fn group(&mut self) -> &mut Group {
        self.items.get_or_insert_default()
    }

    /// The name of what ended at `path`, which is not asked for again.
    pub(super) fn take_name(&mut self, path: &StepPath) -> Option<String> {
        match path.item {
            None => self.name.take(),
            Some(index) => self.group().names.remove(&index),
        }
    }

    /// What the item that ended at `path` was for.
    pub(super) fn take_item(&mut self, path: &StepPath) -> Value {
        let value = path
            .item
            .and_then(|index| self.group().values.get_mut(index as usize));
        value.map_or(Value::Null, Value::take)
    }
}

impl Group {
    /// Counts an item that ended.
    pub(super) fn count(&mut self, result: &StepResult) {
        self.items
            .statuses
            .add(result.status, result.allowed, Some(result.changed));
        self.items.levels.add(&result.findings);
    }

    /// How many items there are.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Whether one more item is told.
    pub(super) fn admits(&mut self, all: bool) -> bool {
        let told = all || self.told < MAX_ITEMS;
        if told {
            self.told += 1;
        } else {
            self.hidden += 1;
        }
        told
    }

    /// Says whose items follow, before the first that is told: the step itself ends after them.
    pub(super) fn head(&self, out: &mut String, look: &Look, columns: Columns, step: &StepId) {
        if self.told > 0 {
            return;
        }
        let _ = write!(out, "{} ", look.paint(Ink::Help, look.symbol("▸", ">")));
        let id = columns.pad(step.as_str());
        let items = amount::plural(self.values.len(), "item");
        let _ = writeln!(
            out,
            "{} {}",
            look.paint(Ink::Strong, id),
            look.paint(Ink::Dim, items)
        );
    }

    /// Says how many were not told.
    pub(super) fn close(&self, out: &mut String, look: &Look) {
        if self.hidden > 0 {
            blanks(out, 4);
            let text = format!(
                "… {} with problems (-v tells all)",
                amount::plural(self.hidden, "more item")
            );
            let _ = writeln!(out, "{}", look.paint(Ink::Dim, text));
        }
    }
}
