//! The program: a playbook that was found to be without errors, with its order.

use std::collections::HashMap;
use std::path::PathBuf;

use super::context::Class;
use super::graph::Order;
use super::usage::Usage;
use crate::base::StepId;
use crate::event::{ClaimedBy, EffectClass, PlannedStep, RepeatClass, Section};
use crate::expr::Template;
use crate::model::{Playbook, Step};

/// Where a playbook's text came from.
#[derive(Clone, Debug, Default)]
pub struct SourceInfo {
    /// The file, as an absolute path.
    pub path: PathBuf,
    /// The folder that relative paths start from.
    pub base_dir: PathBuf,
    /// SHA-256 of its bytes, in hex.
    pub sha256: String,
    /// The project file, where there is one.
    pub project: Option<PathBuf>,
    /// SHA-256 of the project file.
    pub project_sha256: Option<String>,
}

/// A step in its place.
#[derive(Clone, Debug)]
pub struct Node {
    /// Main or finally.
    pub section: Section,
    /// The nodes that must be over before it starts.
    pub needs: Vec<usize>,
    /// Of these, the ones that it names or reads itself, and not just stands below.
    pub asks_for: Vec<usize>,
    /// The nodes that wait for it.
    pub dependents: Vec<usize>,
    /// What it does to the world.
    pub effect: EffectClass,
    /// What may be done after a crash in its middle.
    pub repeat: RepeatClass,
    /// Who said so.
    pub claimed_by: ClaimedBy,
}

/// A checked playbook, ready to run. Only [`super::compile`] makes one.
#[derive(Debug)]
pub struct Program {
    playbook: Playbook,
    info: SourceInfo,
    nodes: Vec<Node>,
    index: HashMap<StepId, usize>,
    topological: Vec<usize>,
    usage: Usage,
}

impl Program {
    pub(super) fn seal(
        playbook: Playbook,
        info: SourceInfo,
        order: Order,
        classes: Vec<Class>,
        usage: Usage,
    ) -> Self {
        let count = order.needs.len();
        let mut dependents = vec![Vec::new(); count];
        for (at, needs) in order.needs.iter().enumerate() {
            for need in needs {
                dependents[*need].push(at);
            }
        }
        let main = playbook.steps.len();
        let nodes = order
            .needs
            .into_iter()
            .zip(order.asks_for)
            .zip(dependents)
            .zip(classes)
            .enumerate()
            .map(|(at, (((needs, asks_for), dependents), class))| Node {
                section: if at < main {
                    Section::Main
                } else {
                    Section::Finally
                },
                needs,
                asks_for,
                dependents,
                effect: class.effect,
                repeat: class.repeat,
                claimed_by: class.claimed_by,
            })
            .collect();
        let ids = playbook.steps.iter().chain(&playbook.finally);
        let index = ids
            .enumerate()
            .map(|(at, step)| (step.id.value.clone(), at))
            .collect();
        Self {
            playbook,
            info,
            nodes,
            index,
            topological: order.topological,
            usage,
        }
    }

    /// The playbook, joined with its project.
    pub fn playbook(&self) -> &Playbook {
        &self.playbook
    }

    /// Where it came from.
    pub fn info(&self) -> &SourceInfo {
        &self.info
    }

    /// Its steps in their places: main steps as they stand, then `finally` steps.
    pub fn nodes(&self) -> &[Node] {
        &self.nodes
    }

    /// The step at a place.
    pub fn step(&self, at: usize) -> &Step {
        let main = self.playbook.steps.len();
        if at < main {
            &self.playbook.steps[at]
        } else {
            &self.playbook.finally[at - main]
        }
    }

    /// The place of a step.
    pub fn find(&self, id: &str) -> Option<usize> {
        self.index.get(id).copied()
    }

    /// The places in an order in which each comes after those that it needs.
    pub fn topological(&self) -> &[usize] {
        &self.topological
    }

    /// The secrets that a run of it reads, by name.
    pub fn used_secrets(&self) -> impl Iterator<Item = &str> {
        self.usage.secrets.iter().map(String::as_str)
    }

    /// Whether a run of it reads the secret `name`.
    pub fn uses_secret(&self, name: &str) -> bool {
        self.usage.secrets.contains(name)
    }

    /// The connections that a run of it may open, by name.
    pub fn used_connections(&self) -> impl Iterator<Item = &str> {
        self.usage.connections.iter().map(String::as_str)
    }

    /// The steps as a run's first event lists them.
    pub fn planned(&self) -> Vec<PlannedStep> {
        let steps = (0..self.nodes.len()).map(|at| {
            let step = self.step(at);
            PlannedStep {
                id: step.id.value.clone(),
                ty: step.ty.name().to_owned(),
                name: match &step.name {
                    Some(Template::Literal(text)) => Some(text.to_string()),
                    _ => None,
                },
                section: self.nodes[at].section,
            }
        });
        steps.collect()
    }
}
