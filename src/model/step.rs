//! A step: its type with its configuration, and the keys that steer it.

use super::read::Decoder;
use super::tree::Tree;
use crate::base::{Duration, Span, Spanned, StepId};
use crate::diag::{Diagnostic, codes, did_you_mean};
use crate::doc::{Entry, MapReader, Node};
use crate::event::{ApprovalKind, EffectClass, Level, RepeatClass};
use crate::expr::{Expr, Template};
use crate::step::{AnyStep, Shape};

/// A step.
#[derive(Clone)]
pub struct Step {
    /// Its id.
    pub id: Spanned<StepId>,
    /// What people call it.
    pub name: Option<Template>,
    /// Its type.
    pub ty: &'static dyn AnyStep,
    /// Where the type is written.
    pub ty_span: Span,
    /// Its configuration.
    pub config: Tree,
    /// Where the configuration is.
    pub config_span: Span,
    /// The steps that it waits for; all above it where there is none.
    pub needs: Option<Vec<Spanned<StepId>>>,
    /// It runs only if this is true.
    pub when: Option<Expr>,
    /// It runs once for each of these.
    pub foreach: Option<Foreach>,
    /// It is tried again when it fails.
    pub retry: Option<Retry>,
    /// How long it may take with all its attempts.
    pub timeout: Option<Spanned<Duration>>,
    /// What its failure means for the run.
    pub on_error: OnError,
    /// The finding that fails it.
    pub fail_on: Option<FailOn>,
    /// Who must agree before it runs.
    pub approval: Option<Approval>,
    /// What it does to the world, where the author says so.
    pub effect: Option<Spanned<EffectClass>>,
    /// What may be done after a crash, where the author says so.
    pub repeat: Option<Spanned<RepeatClass>>,
    /// How to find out whether it happened.
    pub verify: Option<Verify>,
    /// How to take it back.
    pub undo: Option<Undo>,
    /// The resource that it locks.
    pub lock: Option<Lock>,
    /// Where it stands.
    pub span: Span,
}

impl std::fmt::Debug for Step {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Step")
            .field("id", &self.id.value)
            .field("ty", &self.ty.name())
            .finish()
    }
}

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

/// What a step's failure means for the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum OnError {
    /// What waits for it is skipped.
    #[default]
    Stop,
    /// It counts as done, and shows as `failed (allowed)`.
    Continue,
}

/// The finding that fails a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailOn {
    /// This, or worse.
    Level(Level),
    /// None.
    Never,
}

impl Default for FailOn {
    fn default() -> Self {
        Self::Level(Level::Unknown)
    }
}

impl FailOn {
    /// The words of `fail_on:`.
    pub const WORDS: &[(&str, Self)] = &[
        ("warning", Self::Level(Level::Warning)),
        ("unknown", Self::Level(Level::Unknown)),
        ("critical", Self::Level(Level::Critical)),
        ("never", Self::Never),
    ];

    /// Whether a finding of `level` fails the step.
    pub fn fails(self, level: Level) -> bool {
        match self {
            Self::Level(limit) => level >= limit,
            Self::Never => false,
        }
    }
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
    pub probe: Undo,
    /// It happened if this is true.
    pub expect: Expr,
}

/// A step type with its configuration, inside of a step.
#[derive(Clone)]
pub struct Undo {
    /// The type.
    pub ty: &'static dyn AnyStep,
    /// Where the type is written.
    pub ty_span: Span,
    /// The configuration.
    pub config: Tree,
}

impl std::fmt::Debug for Undo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Undo").field(&self.ty.name()).finish()
    }
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
    pub(super) fn steps(&mut self, entry: &Entry) -> Vec<Step> {
        if entry.value.is_null() {
            return Vec::new();
        }
        let Some(items) = entry.value.as_seq() else {
            self.wrong_type(&entry.key.value, "a list of steps", &entry.value);
            return Vec::new();
        };
        items.iter().filter_map(|item| self.step(item)).collect()
    }

    fn step(&mut self, node: &Node) -> Option<Step> {
        let mut map = self.map(node, "a step")?;
        let id = match map.take("id") {
            Some(entry) => self.step_id(entry),
            None => {
                map.missing("id", self.diagnostics);
                None
            }
        };
        let name = map.take("name").and_then(|entry| self.template(entry));
        let needs = map.take("needs").and_then(|entry| self.needs(entry));
        let when = map
            .take("when")
            .and_then(|entry| self.expression("when", &entry.value));
        let foreach = map.take("foreach").and_then(|entry| self.foreach(entry));
        let retry = map.take("retry").and_then(|entry| self.retry(entry));
        let timeout = map
            .take("timeout")
            .and_then(|entry| self.positive_duration(entry));
        let on_error = map.take("on_error").and_then(|entry| {
            self.word(
                entry,
                &[("stop", OnError::Stop), ("continue", OnError::Continue)],
            )
        });
        let fail_on = map
            .take("fail_on")
            .and_then(|entry| self.word(entry, FailOn::WORDS));
        let approval = map.take("approval").and_then(|entry| self.approval(entry));
        let effect = map.take("effect").and_then(|entry| {
            let words: Vec<_> = EffectClass::ALL.iter().map(|e| (e.as_str(), *e)).collect();
            self.word(entry, &words)
                .map(|effect| Spanned::new(effect, entry.value.span))
        });
        let repeat = map.take("repeat").and_then(|entry| {
            let words: Vec<_> = RepeatClass::ALL.iter().map(|r| (r.as_str(), *r)).collect();
            self.word(entry, &words)
                .map(|repeat| Spanned::new(repeat, entry.value.span))
        });
        let verify = map.take("verify").and_then(|entry| self.verify(entry));
        let undo = map.take("undo").and_then(|entry| {
            let mut map = self.map(&entry.value, "`undo`")?;
            let undo = self.typed(&mut map, &entry.value);
            map.finish(self.diagnostics);
            undo
        });
        let lock = map.take("lock").and_then(|entry| self.lock(entry, false));
        for key in ["target", "call"] {
            if let Some(entry) = map.take(key) {
                let message = format!("`{key}` is reserved for a later version");
                self.error(codes::RESERVED_KEY, entry.key.span, message);
            }
        }
        let typed = self.typed(&mut map, node);
        map.finish(self.diagnostics);
        let (
            Undo {
                ty,
                ty_span,
                config,
            },
            id,
        ) = (typed?, id?);
        Some(Step {
            id,
            name,
            ty,
            ty_span,
            config,
            config_span: ty_span,
            needs,
            when,
            foreach,
            retry,
            timeout,
            on_error: on_error.unwrap_or_default(),
            fail_on,
            approval,
            effect,
            repeat,
            verify,
            undo,
            lock,
            span: node.span,
        })
    }

    fn step_id(&mut self, entry: &Entry) -> Option<Spanned<StepId>> {
        let text = self.text(entry)?;
        if !self.name(&text.value, text.span) {
            return None;
        }
        StepId::new(&text.value).map(|id| Spanned::new(id, text.span))
    }

    /// The one key with a dot: a type, with its configuration.
    fn typed(&mut self, map: &mut MapReader<'_>, node: &Node) -> Option<Undo> {
        let types = map.take_all(|key| key.contains('.'));
        let [entry] = types.as_slice() else {
            self.type_count(&types, node);
            return None;
        };
        let name = &*entry.key.value;
        let registry = self.registry;
        let (Some(ty), Some(shape)) = (registry.get(name), registry.shape(name)) else {
            let domain = name.split('.').next().unwrap_or_default();
            let of_domain: Vec<&str> = registry
                .names()
                .filter(|n| n.split('.').next() == Some(domain))
                .collect();
            let list =
                (!of_domain.is_empty()).then(|| format!("`{domain}` has {}", of_domain.join(", ")));
            self.diagnostics.push(
                Diagnostic::error(
                    codes::UNKNOWN_STEP_TYPE,
                    format!("there is no step type `{name}`"),
                )
                .at(entry.key.span)
                .maybe_help(did_you_mean(registry.suggest(name)))
                .maybe_help(list)
                .help("`runbook steps` lists all of them"),
            );
            return None;
        };
        let config = if entry.value.is_null() {
            // `host.load:` with nothing takes every default, if there is nothing that it needs.
            let empty = Node {
                span: entry.key.span,
                kind: empty_map(),
            };
            self.lower(&empty, shape, name, false)
        } else {
            self.lower(&entry.value, shape, name, false)
        };
        Some(Undo {
            ty,
            ty_span: entry.key.span,
            config,
        })
    }

    fn type_count(&mut self, types: &[&Entry], node: &Node) {
        let diagnostic = match types {
            [] => {
                let start = node.as_map().and_then(|map| map.entries.first());
                Diagnostic::error(codes::STEP_TYPE_COUNT, "a step needs a type")
                    .label(
                        start.map_or(node.span, |entry| entry.key.span),
                        "this step has none",
                    )
                    .help("give it one key with a dot, such as `exec.command: { argv: [ls] }`")
            }
            [first, rest @ ..] => {
                let mut diagnostic =
                    Diagnostic::error(codes::STEP_TYPE_COUNT, "a step has exactly one type")
                        .label(rest.last().unwrap_or(first).key.span, "and here is another");
                diagnostic = diagnostic.also(first.key.span, "the first type is here");
                diagnostic.help("two things to do are two steps")
            }
        };
        self.diagnostics.push(diagnostic);
    }

    fn needs(&mut self, entry: &Entry) -> Option<Vec<Spanned<StepId>>> {
        let texts = self.texts(entry)?;
        let mut ids = Vec::with_capacity(texts.len());
        for text in texts {
            match StepId::new(&text.value) {
                Some(id) => ids.push(Spanned::new(id, text.span)),
                None => {
                    let message = format!("`{}` cannot be the id of a step", text.value);
                    self.error(codes::UNKNOWN_STEP, text.span, message);
                }
            }
        }
        Some(ids)
    }

    fn foreach(&mut self, entry: &Entry) -> Option<Foreach> {
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

    fn retry(&mut self, entry: &Entry) -> Option<Retry> {
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

    /// A duration that is longer than nothing.
    pub(super) fn positive_duration(&mut self, entry: &Entry) -> Option<Spanned<Duration>> {
        let duration = self.duration(entry)?;
        if duration == Duration::ZERO {
            let message = format!("`{}` has to be longer than 0s", entry.key.value);
            self.error(codes::BAD_VALUE, entry.value.span, message);
            return None;
        }
        Some(Spanned::new(duration, entry.value.span))
    }

    fn approval(&mut self, entry: &Entry) -> Option<Approval> {
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

    fn verify(&mut self, entry: &Entry) -> Option<Verify> {
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

fn empty_map() -> crate::doc::Kind {
    crate::doc::Kind::Map(crate::doc::Map {
        entries: Vec::new(),
        flow: true,
    })
}
