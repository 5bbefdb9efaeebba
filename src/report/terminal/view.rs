//! What is told of a step, and the words for it: the same for a step that just ended and for one from
//! an old run. How it is laid out is `step`'s business.

use std::borrow::Cow;

use serde_json::Value;

use super::look::{Ink, Mark};
use super::wrap::Pieces;
use crate::base::StepPath;
use crate::event::{Finding, Level, LogFile, Status, StepState};
use crate::report::tally::{Items, Levels};
use crate::report::{brief, clean};

/// What is told of a step or an item.
#[derive(Clone, Copy)]
pub(crate) struct StepView<'a> {
    pub path: &'a StepPath,
    pub ty: &'a str,
    pub name: Option<&'a str>,
    /// What an item is for.
    pub item: &'a Value,
    pub status: Status,
    pub allowed: bool,
    pub changed: bool,
    pub duration_ms: Option<u64>,
    pub attempts: u32,
    pub outputs: &'a Value,
    pub findings: &'a [Finding],
    pub error: Option<&'a str>,
    pub help: Option<&'a str>,
    pub reason: Option<&'a str>,
    pub logs: &'a [LogFile],
    /// What the items of a `foreach` step come to; their findings are told with them.
    pub items: Option<&'a Items>,
}

impl<'a> StepView<'a> {
    /// Of a folded step.
    pub(crate) fn of(step: &'a StepState, items: Option<&'a Items>) -> Self {
        Self {
            path: &step.path,
            ty: &step.ty,
            name: step.name.as_deref(),
            item: &step.item,
            status: step.status,
            allowed: step.allowed,
            changed: step.changed,
            duration_ms: step.duration_ms,
            attempts: step.attempts,
            outputs: &step.outputs,
            findings: &step.findings,
            error: step.error.as_deref(),
            help: step.help.as_deref(),
            reason: step.reason.as_deref(),
            logs: &step.logs,
            items,
        }
    }

    /// Its path; an id alone for a whole step.
    pub(crate) fn label(&self) -> Cow<'a, str> {
        match self.path.item {
            None => Cow::Borrowed(self.path.step.as_str()),
            Some(_) => Cow::Owned(self.path.to_string()),
        }
    }

    /// The worst of what it or its items found.
    pub(crate) fn worst(&self) -> Option<Level> {
        match self.items {
            Some(items) => items.levels.worst(),
            None => self.findings.iter().map(|finding| finding.level).max(),
        }
    }

    /// Whether a person who asked for problems alone wants to see it.
    pub(crate) fn is_problem(&self) -> bool {
        self.status.is_bad() || self.worst().is_some_and(|level| level > Level::Ok)
    }

    /// Whether what is to say of a `foreach` step is said of its items.
    pub(crate) fn is_told_by_items(&self) -> bool {
        self.items.is_some_and(|items| items.speak_for(self.status))
    }

    /// Its findings that are told below it, worst first: those worse than ok, or all. Those of a
    /// `foreach` step are told with its items.
    pub(crate) fn told(&self, all: bool) -> Vec<&'a Finding> {
        if self.items.is_some() {
            return Vec::new();
        }
        let told = self.findings.iter();
        let mut told: Vec<&Finding> = told.filter(|f| all || f.level > Level::Ok).collect();
        told.sort_by_key(|finding| std::cmp::Reverse(finding.level));
        told
    }

    /// What stands behind its duration: name, how it ended, what came out. `all` where its findings
    /// that are ok are told below.
    pub(crate) fn sentence(&self, mark: Mark, all: bool) -> Pieces<'a> {
        let quiet = matches!(self.status, Status::Skipped | Status::Pending);
        let ink = if quiet { Ink::Dim } else { Ink::Plain };
        let succeeded = self.status == Status::Succeeded;
        let result = self.result(all);
        let mut text = Pieces::new();
        match self.title() {
            Some(title) => {
                text.push(ink, title);
                if !succeeded || !result.is_empty() {
                    text.colon(ink);
                }
            }
            // With nothing else to say, the type tells what it was.
            None if succeeded && result.is_empty() => text.push(Ink::Dim, clean::line(self.ty)),
            None => {}
        }
        if !succeeded {
            text.push(mark.ink, mark.word);
            if !result.is_empty() {
                text.colon(mark.ink);
            }
        }
        text.push(ink, result);
        if self.attempts > 1 {
            text.push(Ink::Warn, format!(" ({} attempts)", self.attempts));
        }
        text
    }

    /// Its name, and what an item is for.
    fn title(&self) -> Option<Cow<'a, str>> {
        match (self.name.map(clean::line), brief::item(self.item)) {
            (Some(name), None) => Some(name),
            (None, item) => item,
            // A name that was evaluated for the item mostly says what it is for.
            (Some(name), Some(item)) if name.contains(item.as_ref()) => Some(name),
            (Some(name), Some(item)) => Some(Cow::Owned(format!("{name} ({item})"))),
        }
    }

    /// What came out, or went wrong, in one line.
    pub(crate) fn result(&self, all: bool) -> String {
        let went_wrong = self.error.or(self.reason);
        let first = went_wrong.and_then(|text| text.lines().next());
        if let Some(items) = self.items {
            return match first.filter(|_| !self.is_told_by_items()) {
                Some(first) => format!("{}; {}", clean::line(first), items.in_words()),
                None => items.in_words(),
            };
        }
        match self.status {
            Status::Succeeded => {
                let found = self.found(all);
                let put_out = if found.is_empty() {
                    brief::brief(self.outputs)
                } else {
                    found
                };
                match (self.changed, put_out.is_empty()) {
                    (true, true) => "changed".to_owned(),
                    (true, false) => format!("changed, {put_out}"),
                    (false, _) => put_out,
                }
            }
            Status::Pending => String::new(),
            _ => first.map_or_else(|| self.found(all), |first| clean::line(first).into_owned()),
        }
    }

    /// Its findings in a few words: how many of which weight, or the only one if it is ok.
    fn found(&self, all: bool) -> String {
        match self.findings {
            [only] if only.level == Level::Ok && !all => {
                let message = clean::line(&only.message);
                if only.subject == self.path.step.as_str() {
                    message.into_owned()
                } else {
                    format!("{} {message}", clean::line(&only.subject))
                }
            }
            findings => Levels::of(findings).in_words(),
        }
    }
}
