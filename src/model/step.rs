//! A step: its type with its configuration, and the keys that steer it.

use super::read::Decoder;
use super::steering::{Approval, Foreach, Lock, Retry, Verify};
use super::tree::Tree;
use crate::base::{Duration, Span, Spanned, StepId};
use crate::diag::{Diagnostic, codes, did_you_mean};
use crate::doc::{Entry, MapReader, Node};
use crate::event::{EffectClass, Level, RepeatClass};
use crate::expr::{Expr, Template};
use crate::step::AnyStep;

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
    pub undo: Option<Typed>,
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

/// A step type with its configuration, inside of a step.
#[derive(Clone)]
pub struct Typed {
    /// The type.
    pub ty: &'static dyn AnyStep,
    /// Where the type is written.
    pub ty_span: Span,
    /// The configuration.
    pub config: Tree,
}

impl std::fmt::Debug for Typed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Typed").field(&self.ty.name()).finish()
    }
}

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
            Typed {
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
    pub(super) fn typed(&mut self, map: &mut MapReader<'_>, node: &Node) -> Option<Typed> {
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
        Some(Typed {
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
}

fn empty_map() -> crate::doc::Kind {
    crate::doc::Kind::Map(crate::doc::Map {
        entries: Vec::new(),
        flow: true,
    })
}
