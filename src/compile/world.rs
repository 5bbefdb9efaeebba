//! The values that a program's expressions read: parameters, secrets, variables, the run, and the
//! results of steps, as far as they are known.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use minijinja::value::{Enumerator, Object, ObjectRepr};
use serde_json::Map;

use super::Program;
use super::rules::vars;
use crate::base::{RunId, StepId};
use crate::event::{Finding, RunStatus, Status};
use crate::expr::{EvalError, Reference, RootSource, Type, Unknown, Value, from_json};
use crate::step::Partial;

/// What expressions read as `run`, once it has begun.
pub fn run_value(
    id: &RunId,
    playbook: &str,
    status: RunStatus,
    started_at: jiff::Timestamp,
) -> Map<String, serde_json::Value> {
    let entries = [
        ("id", id.to_string()),
        ("playbook", playbook.to_owned()),
        ("status", status.to_string()),
        ("started_at", started_at.to_string()),
    ];
    { entries.into_iter() }
        .map(|(name, value)| (name.to_owned(), value.into()))
        .collect()
}

/// What is known of a step's result.
#[derive(Clone, Debug)]
enum Known {
    /// It is not over.
    NotYet,
    /// It is over, and this is `steps.<id>`.
    Value(Value),
    /// Nobody will know before a real run, for this reason.
    Unknown(Arc<str>),
}

/// The values that a program's expressions read.
#[derive(Debug)]
pub struct World {
    params: Value,
    run: RwLock<Value>,
    secrets: Option<Value>,
    vars: Value,
    unknown_vars: HashMap<String, Arc<str>>,
    steps: Arc<Steps>,
}

/// The results of steps, by id.
#[derive(Debug)]
struct Steps {
    index: HashMap<StepId, usize>,
    results: RwLock<Vec<Known>>,
}

/// A step's result, as expressions read it.
#[derive(Clone, Debug)]
pub struct StepValue {
    /// How it ended.
    pub status: Status,
    /// Whether it changed something.
    pub changed: bool,
    /// Its outputs; undefined where it has none.
    pub outputs: Option<Value>,
    /// What it found.
    pub findings: Vec<Finding>,
}

impl World {
    /// The world before the first step. Secrets that are `None` are not known yet (a dry-run).
    ///
    /// # Errors
    /// When a variable has no value.
    pub fn new(
        program: &Program,
        params: Map<String, serde_json::Value>,
        secrets: Option<Map<String, serde_json::Value>>,
        run: Map<String, serde_json::Value>,
    ) -> Result<Self, EvalError> {
        let count = program.nodes().len();
        let index = (0..count)
            .map(|at| (program.step(at).id.value.clone(), at))
            .collect();
        let steps = Steps {
            index,
            results: RwLock::new(vec![Known::NotYet; count]),
        };
        let mut world = Self {
            params: from_json(params.into()),
            run: RwLock::new(from_json(run.into())),
            secrets: secrets.map(|secrets| from_json(secrets.into())),
            vars: from_json(Map::new().into()),
            unknown_vars: HashMap::new(),
            steps: Arc::new(steps),
        };
        world.evaluate_vars(program)?;
        Ok(world)
    }

    /// Variables are evaluated once, each after those that it reads. One that reads a secret that
    /// is not there is left out: it is not used, or the run would not have begun.
    fn evaluate_vars(&mut self, program: &Program) -> Result<(), EvalError> {
        let playbook = program.playbook();
        let mut known = Map::new();
        for name in vars::order(playbook).unwrap_or_default() {
            let Some(var) = playbook.vars.get(name) else {
                continue;
            };
            let missing = |r: &&Reference| match (r.root(), r.fields().first()) {
                ("secrets", Some(name)) => !program.uses_secret(name),
                ("vars", Some(name)) => {
                    !known.contains_key(&**name) && !self.unknown_vars.contains_key(&**name)
                }
                _ => false,
            };
            if var.value.references().iter().any(missing) {
                continue;
            }
            match var.value.eval(self)? {
                Partial::Known(value) => {
                    known.insert(name.to_owned(), value);
                    self.vars = from_json(known.clone().into());
                }
                partial => {
                    let why = partial
                        .why_unknown()
                        .unwrap_or_else(|| "not known yet".into());
                    self.unknown_vars.insert(name.to_owned(), why);
                }
            }
        }
        Ok(())
    }

    /// Changes what `run` is; `run.status` is known once the main steps are over.
    pub fn set_run(&self, run: Map<String, serde_json::Value>) {
        *self
            .run
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner) = from_json(run.into());
    }

    /// Whether `run.<name>` has a value: in a dry-run, little has.
    fn has_run(&self, name: &str) -> bool {
        let run = self
            .run
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        run.get_attr(name).is_ok_and(|value| !value.is_undefined())
    }

    /// The step at place `at` is over.
    pub fn set_step(&self, at: usize, step: StepValue) {
        self.set(at, Known::Value(step.into_value()));
    }

    /// Nobody will know the result of the step at place `at`, because of `why`.
    pub fn set_unknown(&self, at: usize, why: impl Into<Arc<str>>) {
        self.set(at, Known::Unknown(why.into()));
    }

    fn set(&self, at: usize, known: Known) {
        let mut results = self
            .steps
            .results
            .write()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        if let Some(slot) = results.get_mut(at) {
            *slot = known;
        }
    }

    /// The world as one step, or one item of it, sees it.
    pub fn local(&self) -> Local<'_> {
        Local {
            world: self,
            item: None,
            own: None,
            probe: None,
        }
    }
}

impl StepValue {
    /// As `steps.<id>`.
    pub fn into_value(self) -> Value {
        let mut entries = vec![
            ("status", Value::from(self.status.as_str())),
            ("changed", Value::from(self.changed)),
        ];
        if let Some(outputs) = self.outputs {
            entries.push(("outputs", outputs));
        }
        let findings = self.findings.iter().map(|finding| {
            map([
                ("level", Value::from(finding.level.as_str())),
                ("subject", Value::from(finding.subject.as_str())),
                ("message", Value::from(finding.message.as_str())),
                (
                    "help",
                    finding.help.as_deref().map_or(Value::from(()), Value::from),
                ),
            ])
        });
        entries.push(("findings", findings.collect::<Vec<Value>>().into()));
        map(entries)
    }
}

/// A mapping with these entries, in this order.
fn map(entries: impl IntoIterator<Item = (&'static str, Value)>) -> Value {
    let entries: indexmap::IndexMap<&'static str, Value> = entries.into_iter().collect();
    Value::from_object(Entries(entries))
}

/// A mapping with a few known keys.
#[derive(Debug)]
struct Entries(indexmap::IndexMap<&'static str, Value>);

impl Object for Entries {
    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        self.0.get(key.as_str()?).cloned()
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        Enumerator::Values(self.0.keys().map(|key| Value::from(*key)).collect())
    }
}

impl Steps {
    fn get(&self, id: &str) -> Known {
        let results = self
            .results
            .read()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        let at = self.index.get(id).copied();
        at.and_then(|at| results.get(at).cloned())
            .unwrap_or(Known::NotYet)
    }
}

/// `steps`: looks a step up when it is asked for.
#[derive(Debug)]
struct StepsObject {
    steps: Arc<Steps>,
    own: Option<(StepId, Value)>,
}

impl Object for StepsObject {
    fn repr(self: &Arc<Self>) -> ObjectRepr {
        ObjectRepr::Map
    }

    fn get_value(self: &Arc<Self>, key: &Value) -> Option<Value> {
        let id = key.as_str()?;
        if let Some((own, value)) = &self.own
            && own.as_str() == id
        {
            return Some(value.clone());
        }
        match self.steps.get(id) {
            Known::Value(value) => Some(value),
            Known::NotYet | Known::Unknown(_) => None,
        }
    }

    fn enumerate(self: &Arc<Self>) -> Enumerator {
        let mut ids: Vec<(usize, Value)> = self
            .steps
            .index
            .iter()
            .map(|(id, at)| (*at, Value::from(id.as_str())))
            .collect();
        ids.sort_unstable_by_key(|(at, _)| *at);
        Enumerator::Values(ids.into_iter().map(|(_, id)| id).collect())
    }
}

impl RootSource for World {
    fn get(&self, root: &str) -> Option<Value> {
        self.local().get(root)
    }

    fn unknown(&self, reference: &Reference) -> Option<Unknown> {
        self.local().unknown(reference)
    }
}

/// The world as one step, or one item of it, sees it.
#[derive(Clone, Debug)]
pub struct Local<'a> {
    world: &'a World,
    item: Option<(String, Result<Value, Arc<str>>, u32)>,
    own: Option<(StepId, Value)>,
    probe: Option<Value>,
}

impl Local<'_> {
    /// With the item of a `foreach` step.
    pub fn with_item(mut self, name: &str, item: Value, index: u32) -> Self {
        self.item = Some((name.to_owned(), Ok(item), index));
        self
    }

    /// With an item of a `foreach` step that is not known yet, because of `why`.
    pub fn with_unknown_item(mut self, name: &str, why: Arc<str>, index: u32) -> Self {
        self.item = Some((name.to_owned(), Err(why), index));
        self
    }

    /// With what the step's `verify` found, for its `expect`.
    pub fn with_probe(mut self, probe: Value) -> Self {
        self.probe = Some(probe);
        self
    }

    /// With what the step would do, as its own `preview`, for its `approval`.
    pub fn with_preview(mut self, id: StepId, preview: Value) -> Self {
        self.own = Some((id, map([("preview", preview)])));
        self
    }

    /// With the step's own result, for `retry.until` and `undo`.
    pub fn with_own(mut self, id: StepId, own: StepValue) -> Self {
        self.own = Some((id, own.into_value()));
        self
    }
}

impl RootSource for Local<'_> {
    fn get(&self, root: &str) -> Option<Value> {
        if let Some((name, item, index)) = &self.item {
            if root == name {
                return item.clone().ok();
            }
            if root == "loop" {
                // As in minijinja.
                let (first, from_zero) = (u64::from(*index) + 1, *index);
                return Some(map([
                    ("index", Value::from(first)),
                    ("index0", Value::from(from_zero)),
                ]));
            }
        }
        match root {
            "params" => Some(self.world.params.clone()),
            "run" => {
                let run = self.world.run.read();
                Some(
                    run.unwrap_or_else(std::sync::PoisonError::into_inner)
                        .clone(),
                )
            }
            "vars" => Some(self.world.vars.clone()),
            "secrets" => self.world.secrets.clone(),
            "probe" => self.probe.clone(),
            "steps" => {
                let steps = Arc::clone(&self.world.steps);
                Some(Value::from_object(StepsObject {
                    steps,
                    own: self.own.clone(),
                }))
            }
            _ => None,
        }
    }

    fn unknown(&self, reference: &Reference) -> Option<Unknown> {
        let name = reference.fields().first().map(|name| &**name);
        let why: Arc<str> = match (reference.root(), name) {
            (root, _) if self.item.as_ref().is_some_and(|(item, ..)| item == root) => self
                .item
                .as_ref()
                .and_then(|(_, item, _)| item.as_ref().err())?
                .clone(),
            ("secrets", _) if self.world.secrets.is_none() => {
                let why = "a secret, read when it runs".into();
                return Some(Unknown {
                    ty: Type::Secret,
                    why,
                });
            }
            ("run", Some(name)) if !self.world.has_run(name) => {
                let why = match name {
                    "status" => "known once the main steps are over",
                    _ => "known once the run has begun",
                };
                return Some(Unknown {
                    ty: Type::String,
                    why: why.into(),
                });
            }
            ("vars", Some(name)) => self.world.unknown_vars.get(name)?.clone(),
            ("steps", Some(id)) => {
                if self.own.as_ref().is_some_and(|(own, _)| own.as_str() == id) {
                    return None;
                }
                match self.world.steps.get(id) {
                    Known::Unknown(why) => why,
                    Known::NotYet | Known::Value(_) => return None,
                }
            }
            _ => return None,
        };
        Some(Unknown { ty: Type::Any, why })
    }
}
