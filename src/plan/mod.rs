//! What would happen: descriptions of a program's steps, made without looking anywhere.
//!
//! Nothing here is given a host: a dry-run has no means to look, let alone to touch. What only a run
//! can know is a typed unknown that flows through expressions.

mod estimate;
mod pledge;
mod seen;

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::count::plural;
use crate::base::{StepId, StepPath};
use crate::compile::{Local, Program, World};
use crate::event::{
    ApprovalKind, ClaimedBy, EffectClass, Finding, PlaybookInfo, RepeatClass, Section, Status,
};
use crate::expr::{EvalError, Evaluated, from_json, to_json};
use crate::model::Step;
use crate::step::{Description, Partial, Preview};

pub use estimate::{Durations, Estimate, estimate};
pub use pledge::Pledge;
pub use seen::Seen;

/// Whether a step would run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "decision")]
pub enum Decision {
    /// It would, if those before it succeed.
    Run,
    /// It depends on something that only a run can know.
    MayRun {
        /// On what.
        because: String,
    },
    /// It would be skipped.
    Skip {
        /// Why.
        reason: String,
    },
    /// It would fail before it starts.
    Fail {
        /// Why.
        error: String,
    },
}

/// What one step, or one item of it, would do.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Described {
    /// The step.
    pub id: StepId,
    /// The step or item.
    pub path: StepPath,
    /// Its type.
    #[serde(rename = "type")]
    pub ty: &'static str,
    /// What people call it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Main or finally.
    pub section: Section,
    /// What it does to the world.
    pub effect: EffectClass,
    /// What may be done after a crash in its middle.
    pub repeat: RepeatClass,
    /// Who said so.
    pub claimed_by: ClaimedBy,
    /// Of a `foreach` step whose list is known, how many items it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub items: Option<usize>,
    /// Whether it would run.
    #[serde(flatten)]
    pub decision: Decision,
    /// What it would do.
    pub description: Description,
}

impl Described {
    /// Whether it is a `foreach` step without an item.
    pub fn is_empty(&self) -> bool {
        self.items == Some(0)
    }
}

/// What a read step found when the plan looked.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Looked {
    /// How it ended.
    pub status: Status,
    /// What it found.
    pub findings: Vec<Finding>,
    /// Its outputs, redacted.
    pub outputs: Value,
    /// What went wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What to do about that.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// Whether a run goes on and ends well all the same (`on_error: continue`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub allowed: bool,
    /// The step before it that would, or may, change something: it may find something else then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<StepId>,
}

impl Looked {
    /// Whether a run would fail of it, as far as can be told now.
    pub fn fails(&self) -> bool {
        self.status.is_bad() && !self.allowed && self.before.is_none()
    }
}

/// What one step, or one item of it, would do, found out by looking.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Planned {
    /// What can be said without looking.
    #[serde(flatten)]
    pub described: Described,
    /// What it found, where it only looks.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub looked: Option<Looked>,
    /// What it would change.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub preview: Option<Preview>,
    /// Why it could not be looked what it would change, where nothing before it would change that and a run
    /// would fail of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// What to do about that.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub help: Option<String>,
    /// What it would lock.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// The connection where it would be locked too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_connection: Option<String>,
    /// Who would be asked first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub approval: Option<ApprovalKind>,
    /// A keyed digest of its type, its configuration and its preview, where all of it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

impl Planned {
    /// Whether it would, or may, change something.
    pub fn changes(&self) -> bool {
        let described = &self.described;
        described.effect != EffectClass::Read
            && !described.is_empty()
            && matches!(described.decision, Decision::Run | Decision::MayRun { .. })
            && self.preview != Some(Preview::NoChange)
    }
}

/// What a run would do, found out by looking.
#[derive(Clone, Debug, Serialize)]
pub struct Plan {
    /// The version of this form.
    pub schema_version: u32,
    /// The playbook.
    pub playbook: PlaybookInfo,
    /// The parameters' values, redacted.
    pub params: Map<String, Value>,
    /// The machine.
    pub host: String,
    /// Who looked.
    pub user: String,
    /// When; wall time.
    pub at: jiff::Timestamp,
    /// What a run would lock as a whole.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// The connection where it would be locked too.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock_connection: Option<String>,
    /// How long it is expected to take, where past runs tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub estimate: Option<Estimate>,
    /// What would be changed, by connection: what tells it from others.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub targets: BTreeMap<String, Value>,
    /// Its steps.
    pub steps: Vec<Planned>,
}

impl Plan {
    /// Whether a step would fail, what it looked at is bad, or it could not look.
    pub fn fails(&self) -> bool {
        self.steps.iter().any(|step| {
            let bad = step.looked.as_ref().is_some_and(Looked::fails);
            bad || step.error.is_some() || matches!(step.described.decision, Decision::Fail { .. })
        })
    }

    /// Whether a run would, or may, change something.
    pub fn changes(&self) -> bool {
        self.steps.iter().any(Planned::changes)
    }

    /// What of it can be compared with another one.
    pub fn pledge(&self) -> Pledge {
        // A `foreach` step whose items are known does nothing beside them.
        let listed: HashSet<&StepId> = { self.steps.iter() }
            .filter(|step| step.described.path.item.is_some())
            .map(|step| &step.described.path.step)
            .collect();
        let whole = |path: &StepPath| path.item.is_none() && listed.contains(&path.step);
        let steps =
            { self.steps.iter() }.filter(|step| step.changes() && !whole(&step.described.path));
        let seen = { self.steps.iter() }.filter_map(|step| {
            let seen = Seen::of(step.preview.as_ref()?)?;
            Some((step.described.path.to_string(), seen))
        });
        Pledge {
            seen: seen.collect(),
            playbook: self.playbook.sha256.clone(),
            project: self.playbook.project_sha256.clone(),
            params: self.params.clone(),
            host: self.host.clone(),
            targets: self.targets.clone(),
            steps: steps
                .map(|step| (step.described.path.to_string(), step.digest.clone()))
                .collect(),
        }
    }
}

/// What a run would do.
#[derive(Clone, Debug, Serialize)]
pub struct DryRun {
    /// The playbook.
    pub playbook: String,
    /// The parameters' values.
    pub params: Map<String, Value>,
    /// Its steps, in an order in which each comes after those that it waits for.
    pub steps: Vec<Described>,
}

impl DryRun {
    /// Whether a step would fail before it starts.
    pub fn fails(&self) -> bool {
        self.steps
            .iter()
            .any(|step| matches!(step.decision, Decision::Fail { .. }))
    }
}

/// The most items of a `foreach` step that are described one by one.
const MOST_ITEMS: usize = 1000;

/// Describes what a run of `program` with these parameters would do.
///
/// # Errors
/// When a variable has no value: then a run would not begin.
pub fn dry_run(program: &Program, params: Map<String, Value>) -> Result<DryRun, EvalError> {
    let mut run = Map::new();
    run.insert(
        "playbook".to_owned(),
        program.playbook().name.value.clone().into(),
    );
    let world = World::new(program, params.clone(), None, run)?;
    let mut steps = Vec::new();
    for at in places(program) {
        describe_step(program, &world, at, &mut steps);
    }
    Ok(DryRun {
        playbook: program.playbook().name.value.clone(),
        params,
        steps,
    })
}

/// The places of a program's steps, each after those that it waits for, `finally` last; as they stand
/// where that is such an order.
pub fn places(program: &Program) -> Vec<usize> {
    let section = |section| {
        let places = program.topological().iter().copied();
        let mut places: Vec<usize> = places
            .filter(|at| program.nodes()[*at].section == section)
            .collect();
        if is_in_order(program, &places) {
            places.sort_unstable();
        }
        places
    };
    let mut all = section(Section::Main);
    all.extend(section(Section::Finally));
    all
}

/// Whether the order of the lines is an order in which steps can run; then it is shown.
fn is_in_order(program: &Program, places: &[usize]) -> bool {
    places
        .iter()
        .all(|at| program.nodes()[*at].needs.iter().all(|need| need < at))
}

fn describe_step(program: &Program, world: &World, at: usize, steps: &mut Vec<Described>) {
    let step = program.step(at);
    world.set_unknown(at, format!("known once step `{}` has run", step.id.value));
    let whole = StepPath::step(step.id.value.clone());
    let Some(foreach) = &step.foreach else {
        let described = describe_one(program, at, whole, &world.local());
        steps.push(described);
        return;
    };
    let items = match foreach.list.eval(world) {
        Ok(Partial::Known(Value::Array(items))) => items.into_iter().map(Partial::Known).collect(),
        Ok(Partial::List(items)) => items,
        Ok(partial) => {
            let why = partial
                .why_unknown()
                .unwrap_or_else(|| Arc::from("not a list"));
            let description =
                Description::line(format!("once for each `{}` of ‹{why}›", foreach.name));
            let decision = Decision::MayRun {
                because: format!("the list is {why}"),
            };
            steps.push(described(program, at, whole, None, decision, description));
            return;
        }
        Err(error) => {
            let decision = Decision::Fail {
                error: error.to_string(),
            };
            steps.push(described(
                program,
                at,
                whole,
                None,
                decision,
                Description::default(),
            ));
            return;
        }
    };
    let count = items.len();
    let summary = match count {
        0 => "nothing to do: 0 items".to_owned(),
        _ => format!("once for each of {}", plural(count, "item")),
    };
    let summary = Description::line(summary);
    let mut all = described(program, at, whole, None, Decision::Run, summary);
    all.items = Some(count);
    steps.push(all);
    for (index, item) in items.into_iter().take(MOST_ITEMS).enumerate() {
        let number = u32::try_from(index).unwrap_or(u32::MAX);
        let path = StepPath::item(step.id.value.clone(), number);
        let local = world.local();
        let local = match item {
            Partial::Known(value) => local.with_item(&foreach.name, from_json(value), number),
            partial => {
                let why = partial
                    .why_unknown()
                    .unwrap_or_else(|| Arc::from("not known yet"));
                local.with_unknown_item(&foreach.name, why, number)
            }
        };
        steps.push(describe_one(program, at, path, &local));
    }
}

/// What one step, or one item of it, would do, said without looking.
pub fn describe_one(program: &Program, at: usize, path: StepPath, local: &Local<'_>) -> Described {
    let step = program.step(at);
    let name = step.name.as_ref().and_then(|name| match name.eval(local) {
        Ok(Evaluated::Known(value)) => Some(value.to_string()),
        _ => None,
    });
    let decision = match decide(step, local) {
        Ok(decision) => decision,
        Err(error) => Decision::Fail { error },
    };
    match step.config.eval(local) {
        Ok(config) => {
            let mut description = step.ty.describe(&config);
            let decision = match (&config, decision) {
                (Partial::Known(value), Decision::Run) => match step.ty.check(value) {
                    Ok(_) => Decision::Run,
                    Err(error) => Decision::Fail { error },
                },
                (_, decision) => decision,
            };
            if matches!(decision, Decision::Skip { .. }) {
                description.details.clear();
            }
            described(program, at, path, name, decision, description)
        }
        // A step that is skipped is never asked for its configuration.
        Err(_) if matches!(decision, Decision::Skip { .. }) => {
            described(program, at, path, name, decision, Description::default())
        }
        Err(error) => {
            let decision = Decision::Fail {
                error: error.to_string(),
            };
            described(program, at, path, name, decision, Description::default())
        }
    }
}

fn decide(step: &Step, local: &Local<'_>) -> Result<Decision, String> {
    let Some(when) = &step.when else {
        return Ok(Decision::Run);
    };
    Ok(match when.eval(local).map_err(|error| error.to_string())? {
        Evaluated::Known(value) => match to_json(&value) {
            Value::Bool(true) => Decision::Run,
            Value::Bool(false) => Decision::Skip {
                reason: format!("`when` is false: {}", when.source().trim()),
            },
            other => return Err(format!("`when` is {other}, not true or false")),
        },
        Evaluated::Unknown(unknown) => Decision::MayRun {
            because: format!("when {}: {}", when.source().trim(), unknown.why),
        },
    })
}

fn described(
    program: &Program,
    at: usize,
    path: StepPath,
    name: Option<String>,
    decision: Decision,
    description: Description,
) -> Described {
    let (step, node) = (program.step(at), &program.nodes()[at]);
    Described {
        id: step.id.value.clone(),
        path,
        ty: step.ty.name(),
        name,
        section: node.section,
        effect: node.effect,
        repeat: node.repeat,
        claimed_by: node.claimed_by,
        items: None,
        decision,
        description,
    }
}
