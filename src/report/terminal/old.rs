//! A run from its folded state, for `runbook status`: it looks like the live one did.

use std::collections::HashMap;

use super::frame::{self, End, Head, Problem};
use super::group::Group;
use super::look::Look;
use super::question;
use super::step::{self, Columns};
use super::view::StepView;
use super::{MAX_PROBLEMS, SCREENFUL, Verbosity};
use crate::base::StepPath;
use crate::event::{RunState, Section, Status, StepState};
use crate::report::tally::{Items, Tally};

/// `state` as text, colours and all where `look` has them.
///
/// Items stand below their step; without [`Verbosity::Verbose`], only those with problems, and no
/// more than a screen has room for.
pub fn render(state: &RunState, look: &Look, verbosity: Verbosity) -> String {
    let mut out = String::new();
    let whole = state.whole_steps().map(|step| step.path.step.as_str());
    let columns = Columns::of(look, whole);
    if verbosity > Verbosity::Quiet {
        frame::head(
            &mut out,
            look,
            &Head {
                run: &state.run,
                playbook: &state.playbook.name,
                host: &state.host,
                user: &state.user,
                started_at: state.started_at,
                params: &state.params,
                steps: state.whole_steps().count(),
            },
        );
    }
    let mut steps = Steps {
        look,
        columns,
        item_columns: columns,
        verbosity,
        items: items(state),
        problems: Vec::new(),
        more_problems: 0,
        group: Group::default(),
        in_finally: false,
    };
    for step in state.steps.values() {
        steps.write(&mut out, step);
    }
    steps.group.close(&mut out, look);
    for step in state.steps.values() {
        if let Some(ask) = &step.asked {
            question::write(&mut out, look, &step.path, ask);
        }
    }
    let end = End {
        run: &state.run,
        playbook: &state.playbook.name,
        status: state.status,
        exit_code: state.exit_code,
        duration_ms: state.duration_ms,
        cancelled_by: state.cancelled_by.as_deref(),
        waits_for: &waits_for(state),
        tally: &Tally::of(state),
        problems: &steps.problems,
        more_problems: steps.more_problems,
        repeat: out.lines().count() > SCREENFUL,
        quiet: verbosity == Verbosity::Quiet,
    };
    frame::end(&mut out, look, &end);
    out
}

/// What asks for an approval.
pub(super) fn waits_for(state: &RunState) -> Vec<StepPath> {
    let asked = state.steps.values().filter(|step| step.asked.is_some());
    asked.map(|step| step.path.clone()).collect()
}

/// What the items of each `foreach` step come to.
fn items(state: &RunState) -> HashMap<&str, Items> {
    let mut all: HashMap<&str, Items> = HashMap::new();
    for step in state.steps.values() {
        let id = step.path.step.as_str();
        if step.path.item.is_some() {
            let items = all.entry(id).or_default();
            items.add(step);
        } else if step.items.is_some() {
            all.entry(id).or_default();
        }
    }
    all
}

struct Steps<'a> {
    look: &'a Look,
    columns: Columns,
    item_columns: Columns,
    verbosity: Verbosity,
    items: HashMap<&'a str, Items>,
    problems: Vec<Problem>,
    more_problems: usize,
    /// Of the step whose items are being written.
    group: Group,
    in_finally: bool,
}

impl Steps<'_> {
    fn write(&mut self, out: &mut String, step: &StepState) {
        let is_item = step.path.item.is_some();
        if !is_item {
            std::mem::take(&mut self.group).close(out, self.look);
            self.item_columns = Columns::of_items(
                self.look,
                step.path.step.as_str(),
                step.items.unwrap_or(0) as usize,
            );
        }
        let items = (!is_item)
            .then(|| self.items.get(step.path.step.as_str()))
            .flatten();
        let view = StepView::of(step, items);
        let all = self.verbosity == Verbosity::Verbose;
        let problem = view.is_problem();
        if !(all || problem || (self.verbosity == Verbosity::Normal && !is_item)) {
            self.undone(out, step);
            return;
        }
        if step.section == Section::Finally && !self.in_finally {
            self.in_finally = true;
            frame::finally(out, self.look);
        }
        if !is_item {
            step::write(out, self.look, self.columns, &view, all);
        } else if self.group.admits(all) {
            step::write(out, self.look, self.item_columns, &view, all);
        }
        self.undone(out, step);
        if problem && !view.is_told_by_items() {
            if self.problems.len() < MAX_PROBLEMS {
                self.problems.push(Problem::of(self.look, &view));
            } else {
                self.more_problems += 1;
            }
        }
    }

    /// Tells that a step was taken back.
    fn undone(&self, out: &mut String, step: &StepState) {
        if let Some(undo) = &step.undo
            && (self.verbosity > Verbosity::Quiet || undo.status != Status::Succeeded)
        {
            let error = undo.error.as_deref();
            step::undone(out, self.look, &step.path, (undo.status, error));
        }
    }
}
