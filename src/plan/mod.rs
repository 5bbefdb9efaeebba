//! What would happen: descriptions of a program's steps, made without looking anywhere.
//!
//! Nothing here is given a host: a dry-run has no means to look, let alone to touch. What only a run
//! can know is a typed unknown that flows through expressions.

use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value};

use crate::base::count::plural;
use crate::base::{StepId, StepPath};
use crate::compile::{Local, Program, World};
use crate::event::{ClaimedBy, EffectClass, RepeatClass, Section};
use crate::expr::{EvalError, Evaluated, from_json, to_json};
use crate::model::Step;
use crate::step::{Description, Partial};

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
    /// Whether it would run.
    #[serde(flatten)]
    pub decision: Decision,
    /// What it would do.
    pub description: Description,
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
    let main_then_finally = [Section::Main, Section::Finally];
    for section in main_then_finally {
        let places = program
            .topological()
            .iter()
            .filter(|at| program.nodes()[**at].section == section);
        let mut places: Vec<usize> = places.copied().collect();
        if is_in_order(program, &places) {
            places.sort_unstable();
        }
        for at in places {
            describe_step(program, &world, at, &mut steps);
        }
    }
    Ok(DryRun {
        playbook: program.playbook().name.value.clone(),
        params,
        steps,
    })
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
    let summary = Description::line(format!("once for each of {}", plural(count, "item")));
    steps.push(described(program, at, whole, None, Decision::Run, summary));
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

fn describe_one(program: &Program, at: usize, path: StepPath, local: &Local<'_>) -> Described {
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
        decision,
        description,
    }
}
