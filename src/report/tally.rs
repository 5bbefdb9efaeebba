//! Counts over a run: how many steps ended how, how many findings weigh what.

use crate::base::StepPath;
use crate::event::{EffectClass, Finding, Level, RunState, Section, Status, StepState};

use super::amount;

/// How many ended how.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Statuses {
    counts: [usize; Status::ALL.len()],
    /// Of those, the ones whose failure lets the run go on.
    allowed: [usize; Status::ALL.len()],
    changed: usize,
    may_have_changed: usize,
}

/// The order in which people read them.
const ORDER: [Status; Status::ALL.len()] = [
    Status::Succeeded,
    Status::Failed,
    Status::TimedOut,
    Status::Unknown,
    Status::Cancelled,
    Status::Skipped,
    Status::Running,
    Status::Pending,
];

impl Statuses {
    /// Counts one more; `changed` is none where nobody knows.
    pub(crate) fn add(&mut self, status: Status, allowed: bool, changed: Option<bool>) {
        self.counts[position(status)] += 1;
        if allowed && status.is_bad() {
            self.allowed[position(status)] += 1;
        }
        match changed {
            Some(true) => self.changed += 1,
            Some(false) => {}
            None => self.may_have_changed += 1,
        }
    }

    /// How many ended as `status`, allowed failures among them.
    pub(crate) fn of(&self, status: Status) -> usize {
        self.counts[position(status)]
    }

    /// How many there are in all.
    pub(crate) fn total(&self) -> usize {
        self.counts.iter().sum()
    }

    /// How many changed something.
    pub(crate) fn changed(&self) -> usize {
        self.changed
    }

    /// Of how many nobody knows whether they changed something.
    pub(crate) fn may_have_changed(&self) -> usize {
        self.may_have_changed
    }

    /// How many failures are allowed.
    pub(crate) fn allowed(&self) -> usize {
        self.allowed.iter().sum()
    }

    /// How many are bad and not allowed to be.
    pub(crate) fn bad(&self) -> usize {
        let bad = Status::ALL.iter().filter(|status| status.is_bad());
        bad.map(|status| self.of(*status)).sum::<usize>() - self.allowed()
    }

    /// `10 succeeded (3 changed), 1 failed, 2 failed (allowed), 2 skipped`; what nobody is, is left
    /// out.
    pub(crate) fn in_words(&self) -> String {
        let mut parts = Vec::new();
        for status in ORDER {
            let allowed = self.allowed[position(status)];
            let rest = self.of(status) - allowed;
            let word = word(status);
            if rest > 0 {
                let mut part = format!("{} {word}", amount::count(rest));
                if status == Status::Succeeded && self.changed > 0 {
                    part.push_str(&format!(" ({} changed)", amount::count(self.changed)));
                }
                parts.push(part);
            }
            if allowed > 0 {
                parts.push(format!("{} {word} (allowed)", amount::count(allowed)));
            }
        }
        parts.join(", ")
    }
}

/// The word that people read.
pub(crate) fn word(status: Status) -> &'static str {
    match status {
        Status::TimedOut => "timed out",
        Status::Unknown => "outcome unknown",
        status => status.as_str(),
    }
}

fn position(status: Status) -> usize {
    let at = Status::ALL.iter().position(|other| *other == status);
    at.unwrap_or_default()
}

/// How many findings weigh what.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Levels([usize; Level::ALL.len()]);

impl Levels {
    /// Of `findings`.
    pub(crate) fn of(findings: &[Finding]) -> Self {
        let mut levels = Self::default();
        levels.add(findings);
        levels
    }

    /// Counts more.
    pub(crate) fn add(&mut self, findings: &[Finding]) {
        for finding in findings {
            self.0[finding.level as usize] += 1;
        }
    }

    /// How many of `level`.
    pub(crate) fn count(&self, level: Level) -> usize {
        self.0[level as usize]
    }

    /// How many in all.
    pub(crate) fn total(&self) -> usize {
        self.0.iter().sum()
    }

    /// How many are worse than ok.
    pub(crate) fn worse(&self) -> usize {
        self.total() - self.count(Level::Ok)
    }

    /// The worst of them.
    pub(crate) fn worst(&self) -> Option<Level> {
        let mut heavy_first = Level::ALL.iter().rev().copied();
        heavy_first.find(|level| self.count(*level) > 0)
    }

    /// `1 critical, 2 unknown, 1 warning, 20 ok`, worst first.
    pub(crate) fn in_words(&self) -> String {
        let parts = Level::ALL.iter().rev().filter_map(|level| {
            let number = self.count(*level);
            (number > 0).then(|| format!("{} {level}", amount::count(number)))
        });
        parts.collect::<Vec<_>>().join(", ")
    }
}

/// What the items of a `foreach` step come to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Items {
    pub statuses: Statuses,
    pub levels: Levels,
}

impl Items {
    /// Counts one more.
    pub(crate) fn add(&mut self, item: &StepState) {
        self.statuses
            .add(item.status, item.allowed, changed_itself(item));
        self.levels.add(&item.findings);
    }

    /// Whether they say all that is to say of a step that ended as `status`: not where it went wrong
    /// and none of them did.
    pub(crate) fn speak_for(&self, status: Status) -> bool {
        let any_bad = self.statuses.bad() + self.statuses.allowed() > 0;
        self.statuses.total() > 0 && (any_bad || !status.is_bad())
    }

    /// `9,998 items: 9,990 succeeded, 8 failed; 2 warning`.
    pub(crate) fn in_words(&self) -> String {
        let mut text = amount::plural(self.statuses.total(), "item");
        if self.statuses.total() > 0 {
            text.push_str(": ");
            text.push_str(&self.statuses.in_words());
        }
        if self.levels.total() > 0 {
            text.push_str("; ");
            text.push_str(&self.levels.in_words());
        }
        text
    }
}

/// What a run comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tally {
    /// Main steps, without the items of `foreach` steps.
    pub main: Statuses,
    /// `finally` steps.
    pub finally: Statuses,
    /// Findings of all of them, each counted once.
    pub levels: Levels,
}

impl Tally {
    /// Of the whole run.
    pub(crate) fn of(state: &RunState) -> Self {
        let mut tally = Self::default();
        for step in state.steps.values() {
            if step.path.item.is_none() {
                tally
                    .section(step.section)
                    .add(step.status, step.allowed, changed(state, step));
            }
            if !repeats_items(step) {
                tally.levels.add(&step.findings);
            }
        }
        tally
    }

    /// Of the items of a `foreach` step.
    pub(crate) fn items(state: &RunState, step: &StepState) -> Items {
        let mut items = Items::default();
        for index in 0..step.items.unwrap_or(0) {
            if let Some(item) = state.step(&StepPath::item(step.path.step.clone(), index)) {
                items.add(item);
            }
        }
        items
    }

    /// The counts of a section.
    pub(crate) fn section(&mut self, section: Section) -> &mut Statuses {
        match section {
            Section::Main => &mut self.main,
            Section::Finally => &mut self.finally,
        }
    }
}

/// Whether what is to say of a `foreach` step is said of its items.
pub(crate) fn is_told_by_items(state: &RunState, step: &StepState) -> bool {
    repeats_items(step) && Tally::items(state, step).speak_for(step.status)
}

/// Whether a step's findings are those of its items, said once more.
pub(crate) fn repeats_items(step: &StepState) -> bool {
    step.path.item.is_none() && step.items.is_some_and(|items| items > 0)
}

/// Whether a step changed something. `None` where nobody knows: it started, is no mere look, did not come
/// to a good end, and may have touched something by then.
pub(crate) fn changed(state: &RunState, step: &StepState) -> Option<bool> {
    if repeats_items(step) && !step.changed {
        let paths =
            (0..step.items.unwrap_or(0)).map(|index| StepPath::item(step.path.step.clone(), index));
        let mut items = paths.filter_map(|path| state.step(&path));
        let known = items.all(|item| changed_itself(item).is_some());
        return known.then_some(false);
    }
    changed_itself(step)
}

/// The same of an item, or of a step without any.
pub(crate) fn changed_itself(step: &StepState) -> Option<bool> {
    let may = step.effect.is_some_and(|effect| effect > EffectClass::Read);
    let over = matches!(
        step.status,
        Status::Succeeded | Status::Skipped | Status::Pending
    );
    (step.changed || over || step.untouched || !may).then_some(step.changed)
}

/// Whether a failure lets the run go on: that of an item does where that of its step does.
pub(crate) fn is_allowed(state: &RunState, step: &StepState) -> bool {
    let whole = || state.step(&StepPath::step(step.path.step.clone()));
    step.allowed || (step.path.item.is_some() && whole().is_some_and(|whole| whole.allowed))
}

#[cfg(test)]
mod tests {
    use super::{Levels, Statuses};
    use crate::event::{Finding, Status};

    #[test]
    fn counts_in_words() {
        let mut statuses = Statuses::default();
        statuses.add(Status::Succeeded, false, Some(true));
        statuses.add(Status::Succeeded, false, Some(false));
        statuses.add(Status::Failed, true, Some(false));
        statuses.add(Status::Failed, false, None);
        statuses.add(Status::TimedOut, false, None);
        assert_eq!(
            statuses.in_words(),
            "2 succeeded (1 changed), 1 failed, 1 failed (allowed), 1 timed out"
        );
        assert_eq!((statuses.total(), statuses.bad()), (5, 2));
        assert_eq!((statuses.changed(), statuses.may_have_changed()), (1, 2));
        let levels = Levels::of(&[
            Finding::ok("a", ""),
            Finding::critical("b", ""),
            Finding::ok("c", ""),
        ]);
        assert_eq!(levels.in_words(), "1 critical, 2 ok");
        assert_eq!(levels.worse(), 1);
    }
}
