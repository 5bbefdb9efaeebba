//! A case of a test file, as it is written and checked.

use std::sync::Arc;

use indexmap::IndexMap;
use serde_json::{Map, Value};

use crate::base::{Duration, Span, Spanned, StepPath};
use crate::event::{Finding, RunStatus, Status};
use crate::exec::Secrets;
use crate::expr::Expr;
use crate::host::Part;

/// What an answer is for: a step or an item of one, or the look, `verify` or `undo` that belongs to it
/// (`purge`, `purge[3]`, `purge.undo`).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// The step or item.
    pub path: StepPath,
    /// Which part of it.
    pub part: Part,
}

impl std::fmt::Display for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}{}", self.path, self.part.suffix())
    }
}

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// What it is called.
    pub name: Spanned<String>,
    /// The parameters' values.
    pub params: Map<String, Value>,
    /// The secrets' values.
    pub secrets: Secrets,
    /// The wall time at which the run begins.
    pub at: jiff::Timestamp,
    /// Whether whoever runs it says yes to confirmations.
    pub yes: bool,
    /// How many steps run side by side.
    pub max_parallel: usize,
    /// What steps come to.
    pub answers: IndexMap<Target, Answers>,
    /// What steps come to in all cases of the file that do not say otherwise.
    pub shared: Arc<IndexMap<Target, Answers>>,
    /// Who says what about steps that ask, by step.
    pub approvals: IndexMap<StepPath, Approval>,
    /// Somebody ends the run.
    pub cancel: Option<Cancel>,
    /// Whether steps of unknown outcome had happened, as a person says before the run is gone on with.
    pub resolve: IndexMap<StepPath, bool>,
    /// What must come of it.
    pub expect: Expect,
}

impl Case {
    /// The answers of a target: its own, else those of its step; the case's before the file's.
    pub fn answers_of(&self, target: &Target) -> Option<&Answers> {
        let whole = Target {
            path: StepPath::step(target.path.step.clone()),
            part: target.part,
        };
        let places = [&self.answers, &*self.shared];
        { places.into_iter() }
            .find_map(|answers| answers.get(target).or_else(|| answers.get(&whole)))
    }
}

/// What one target comes to.
#[derive(Clone, Debug)]
pub struct Answers {
    /// Where they are written.
    pub span: Span,
    /// One a call, the last for all further ones.
    pub list: Vec<Answer>,
}

/// What one call comes to.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// Its outputs; of a preview, its counts.
    pub outputs: Map<String, Value>,
    /// What it finds.
    pub findings: Vec<Finding>,
    /// Whether it changes something; what a step of its effect usually does where it is not said.
    pub changed: Option<bool>,
    /// What goes wrong.
    pub fails: Option<String>,
    /// Whether that may pass.
    pub transient: bool,
    /// Whether nobody knows if it happened.
    pub unknown: bool,
    /// How long it takes.
    pub after: Duration,
    /// Where the engine dies.
    pub crash: Option<Crash>,
}

/// Where the engine dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Crash {
    /// Before its intent is recorded: it has not begun.
    Before,
    /// Between intent and result.
    During,
    /// Once its result is recorded, before anything else happens.
    After,
}

impl Crash {
    /// The words of `crash:`.
    pub const WORDS: &[(&str, Self)] = &[
        ("before", Self::Before),
        ("during", Self::During),
        ("after", Self::After),
    ];
}

/// What comes of a question.
#[derive(Clone, Debug)]
pub enum Approval {
    /// People answer.
    Said(Vec<Said>),
    /// Nobody does until its time is up.
    TimesOut,
}

/// One person's answer.
#[derive(Clone, Debug)]
pub struct Said {
    /// Who.
    pub by: String,
    /// The groups that they are in.
    pub groups: Vec<String>,
    /// Whether they agree.
    pub granted: bool,
    /// How long after the question.
    pub after: Duration,
    /// Why.
    pub reason: Option<String>,
}

/// Somebody ends the run.
#[derive(Clone, Debug)]
pub struct Cancel {
    /// Who.
    pub by: String,
    /// How long after its begin.
    pub after: Duration,
    /// Why.
    pub reason: Option<String>,
}

/// What must come of a case.
#[derive(Clone, Debug)]
pub struct Expect {
    /// How the run ends; `succeeded` where neither this nor `exit` is said.
    pub status: Option<Spanned<RunStatus>>,
    /// Its exit status.
    pub exit: Option<Spanned<u8>>,
    /// How steps and items end.
    pub steps: IndexMap<StepPath, Spanned<StepExpect>>,
    /// The order in which steps begin.
    pub order: Vec<Spanned<StepPath>>,
    /// With what steps are called.
    pub calls: IndexMap<Target, Spanned<CallExpect>>,
    /// What is true in the end.
    pub that: Vec<Expr>,
    /// What comes of questions.
    pub approvals: IndexMap<StepPath, Spanned<Decided>>,
    /// How long it takes.
    pub duration: Option<Spanned<Bounds>>,
}

/// How a step or item ends.
#[derive(Clone, Debug, Default)]
pub struct StepExpect {
    /// Its status.
    pub status: Option<Spanned<Status>>,
    /// Its attempts in all.
    pub attempts: Option<Spanned<u32>>,
    /// Whether it changed something.
    pub changed: Option<Spanned<bool>>,
    /// Whether its failure lets the run go on.
    pub allowed: Option<Spanned<bool>>,
    /// The steps that are over before it begins.
    pub after: Vec<Spanned<StepPath>>,
    /// What its error contains.
    pub error: Option<Spanned<String>>,
    /// What the reason why it was skipped contains.
    pub reason: Option<Spanned<String>>,
    /// What its outputs contain.
    pub outputs: Option<Spanned<Value>>,
    /// How it was taken back.
    pub undo: Option<Spanned<Status>>,
}

/// With what a step is called.
#[derive(Clone, Debug, Default)]
pub struct CallExpect {
    /// What the configuration of one of the calls contains.
    pub with: Option<Spanned<Value>>,
    /// How many calls there are.
    pub times: Option<Spanned<u32>>,
}

/// What came of a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decided {
    /// It was agreed to.
    Granted,
    /// Nobody had to approve of it, and whoever ran it confirmed that it destroys.
    Confirmed,
    /// It was not.
    Denied,
    /// Nobody answered in time.
    TimedOut,
    /// It still waits.
    Waiting,
    /// Nobody was asked.
    NotAsked,
}

impl Decided {
    /// The words of `expect.approvals`.
    pub const WORDS: &[(&str, Self)] = &[
        ("granted", Self::Granted),
        ("confirmed", Self::Confirmed),
        ("denied", Self::Denied),
        ("timed_out", Self::TimedOut),
        ("waiting", Self::Waiting),
        ("not_asked", Self::NotAsked),
    ];

    /// Its word.
    pub fn as_str(self) -> &'static str {
        { Self::WORDS.iter().find(|(_, decided)| *decided == self) }.map_or("", |(word, _)| word)
    }
}

/// From the shortest to the longest time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The shortest.
    pub min: Duration,
    /// The longest; none where there is no limit.
    pub max: Option<Duration>,
}

impl std::fmt::Display for Bounds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.max {
            Some(max) if max == self.min => write!(f, "{max}"),
            Some(max) if self.min == Duration::ZERO => write!(f, "at most {max}"),
            Some(max) => write!(f, "from {} to {max}", self.min),
            None => write!(f, "at least {}", self.min),
        }
    }
}
