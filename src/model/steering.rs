//! What steers a step besides its type: how often it runs, who must agree, what it locks, how it is
//! found out whether it happened.

use super::read::Decoder;
use super::step::Typed;
use super::tree::Tree;
use crate::base::{Duration, Span, Spanned};
use crate::doc::Entry;
use crate::event::ApprovalKind;
use crate::expr::{Expr, Template};
use crate::step::Shape;

/// A step runs once for each item of a list.
#[derive(Clone, Debug)]
pub struct Foreach {
    /// The list.
    pub list: Tree,
    /// Where it is.
    pub span: Span,
    /// What the item is called in expressions.
    pub name: String,
    /// How many items run side by side.
    pub max_parallel: usize,
}

/// A step is tried again when it fails.
#[derive(Clone, Debug)]
pub struct Retry {
    /// How many attempts there are in all.
    pub attempts: u32,
    /// The wait before the second.
    pub delay: Duration,
    /// What the wait is multiplied by after each attempt.
    pub backoff: f64,
    /// The longest wait.
    pub max_delay: Duration,
    /// Whether the wait is a random part of what it would be.
    pub jitter: bool,
    /// The exit statuses that are tried again; all where there is none.
    pub on: Option<Vec<i64>>,
    /// It is tried again until this is true.
    pub until: Option<Expr>,
    /// How long one attempt may take.
    pub attempt_timeout: Option<Duration>,
}

/// Who must agree before a step runs.
#[derive(Clone, Debug)]
pub struct Approval {
    /// Whether anybody may, or somebody named must.
    pub kind: ApprovalKind,
    /// What they are asked.
    pub message: Option<Template>,
    /// They are asked only if this is true.
    pub when: Option<Expr>,
    /// Who may.
    pub from: Vec<String>,
    /// How many must.
    pub count: u32,
    /// How long the run waits for them.
    pub timeout: Option<Duration>,
    /// What happens then.
    pub on_timeout: OnTimeout,
    /// Whether who started the run may not be one of them.
    pub separate: bool,
    /// Where it is.
    pub span: Span,
}

/// What happens when nobody agrees in time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnTimeout {
    /// It is refused.
    #[default]
    Deny,
    /// It is skipped.
    Skip,
}

/// How to find out whether a step happened.
#[derive(Clone, Debug)]
pub struct Verify {
    /// A step type that looks.
    pub probe: Typed,
    /// It happened if this is true.
    pub expect: Expr,
}

/// A resource that only one may use at a time.
#[derive(Clone, Debug)]
pub struct Lock {
    /// Its name; that of the playbook where there is none, which a step's lock always has.
    pub key: Option<Template>,
    /// The PostgreSQL connection where it is taken too, so that it holds for all machines.
    pub connection: Option<Spanned<String>>,
    /// What happens where another one holds it.
    pub on_conflict: OnConflict,
    /// Where it is.
    pub span: Span,
}

/// What happens where another run holds a lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnConflict {
    /// The run ends with exit status 75.
    #[default]
    Fail,
    /// It waits.
    Wait,
}

/// The most attempts that `retry` takes.
const MOST_ATTEMPTS: i64 = 1000;

impl Decoder<'_> {
    pub(super) fn foreach(&mut self, entry: &Entry) -> Option<Foreach> {
        let mut map = self.map(&entry.value, "`foreach`")?;
        let list = match map.take("in") {
            Some(entry) => self.foreach_list(entry),
            None => {
                map.missing("in", self.diagnostics);
                None
            }
        };
        let name = match map.take("as") {
            Some(entry) => self
                .text(entry)
                .filter(|t| self.name(&t.value, t.span))
                .map(|t| t.value),
            None => Some("item".to_owned()),
        };
        let max_parallel = map
            .take("max_parallel")
            .and_then(|entry| self.int(entry, 1, 10_000));
        map.finish(self.diagnostics);
        let (list, span) = list?;
        let max_parallel = max_parallel
            .and_then(|n| usize::try_from(n).ok())
            .unwrap_or(1);
        Some(Foreach {
            list,
            span,
            name: name?,
            max_parallel,
        })
    }

    /// `in:` is an expression, bare or not, or a list as it stands.
    fn foreach_list(&mut self, entry: &Entry) -> Option<(Tree, Span)> {
        let span = entry.value.span;
        if entry.value.as_seq().is_some() {
            let shape = Shape::List {
                item: Box::new(Shape::Any),
                min_items: 0,
            };
            return Some((self.lower(&entry.value, &shape, "in", false), span));
        }
        let expr = self.expression("in", &entry.value)?;
        Some((Tree::whole(expr, span), span))
    }

    pub(super) fn retry(&mut self, entry: &Entry) -> Option<Retry> {
        let mut map = self.map(&entry.value, "`retry`")?;
        let attempts = map
            .take("attempts")
            .and_then(|e| self.int(e, 1, MOST_ATTEMPTS))
            .unwrap_or(3);
        let delay = map.take("delay").and_then(|e| self.duration(e));
        let backoff = map.take("backoff").and_then(|e| self.number(e, 1.0));
        let max_delay = map.take("max_delay").and_then(|e| self.duration(e));
        let jitter = map
            .take("jitter")
            .and_then(|e| self.word(e, &[("full", true), ("none", false)]));
        let on = map.take("on").and_then(|e| self.exit_statuses(e));
        let until = map
            .take("until")
            .and_then(|e| self.expression("until", &e.value));
        let attempt_timeout = map
            .take("attempt_timeout")
            .and_then(|e| self.positive_duration(e));
        map.finish(self.diagnostics);
        Some(Retry {
            attempts: u32::try_from(attempts).unwrap_or(3),
            delay: delay.unwrap_or(Duration::from_secs(1)),
            backoff: backoff.unwrap_or(2.0),
            max_delay: max_delay.unwrap_or(Duration::from_secs(30)),
            jitter: jitter.unwrap_or(true),
            on,
            until,
            attempt_timeout: attempt_timeout.map(|duration| duration.value),
        })
    }

    fn exit_statuses(&mut self, entry: &Entry) -> Option<Vec<i64>> {
        let Some(items) = entry.value.as_seq() else {
            self.wrong_type("on", "a list of exit statuses", &entry.value);
            return None;
        };
        let mut statuses = Vec::with_capacity(items.len());
        for item in items {
            match item.resolve() {
                crate::doc::Resolved::Int(status) => statuses.push(status),
                _ => self.wrong_type("on", "a list of exit statuses", item),
            }
        }
        Some(statuses)
    }

    pub(super) fn approval(&mut self, entry: &Entry) -> Option<Approval> {
        let mut map = self.map(&entry.value, "`approval`")?;
        let kinds = [
            ("confirm", ApprovalKind::Confirm),
            ("approve", ApprovalKind::Approve),
        ];
        let kind = map.take("kind").and_then(|e| self.word(e, &kinds));
        let message = map.take("message").and_then(|e| self.template(e));
        let when = map
            .take("when")
            .and_then(|e| self.expression("when", &e.value));
        let from = map
            .take("from")
            .and_then(|e| self.texts(e))
            .unwrap_or_default();
        let count = map.take("count").and_then(|e| self.int(e, 1, 100));
        let timeout = map.take("timeout").and_then(|e| self.duration(e));
        let ends = [("deny", OnTimeout::Deny), ("skip", OnTimeout::Skip)];
        let on_timeout = map.take("on_timeout").and_then(|e| self.word(e, &ends));
        let separate = map.take("separate").and_then(|e| self.bool(e));
        map.finish(self.diagnostics);
        Some(Approval {
            kind: kind.unwrap_or_default(),
            message,
            when,
            from: from.into_iter().map(|text| text.value).collect(),
            count: count.and_then(|n| u32::try_from(n).ok()).unwrap_or(1),
            timeout,
            on_timeout: on_timeout.unwrap_or_default(),
            separate: separate.unwrap_or(false),
            span: entry.key.span,
        })
    }

    pub(super) fn verify(&mut self, entry: &Entry) -> Option<Verify> {
        let mut map = self.map(&entry.value, "`verify`")?;
        let expect = match map.take("expect") {
            Some(entry) => self.expression("expect", &entry.value),
            None => {
                map.missing("expect", self.diagnostics);
                None
            }
        };
        let probe = self.typed(&mut map, &entry.value);
        map.finish(self.diagnostics);
        Some(Verify {
            probe: probe?,
            expect: expect?,
        })
    }

    /// `whole` is that of a playbook, whose key may be left out.
    pub(super) fn lock(&mut self, entry: &Entry, whole: bool) -> Option<Lock> {
        let mut map = self.map(&entry.value, "`lock`")?;
        let key = match map.take("key") {
            Some(entry) => Some(self.template(entry)?),
            None if whole => None,
            None => {
                map.missing("key", self.diagnostics);
                return None;
            }
        };
        let connection = map.take("connection").and_then(|e| self.text(e));
        let words = [("fail", OnConflict::Fail), ("wait", OnConflict::Wait)];
        let on_conflict = map.take("on_conflict").and_then(|e| self.word(e, &words));
        map.finish(self.diagnostics);
        Some(Lock {
            key,
            connection,
            on_conflict: on_conflict.unwrap_or_default(),
            span: entry.key.span,
        })
    }
}
