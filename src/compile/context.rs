//! What the rules look at: the playbook with its steps by place and name, and the types of what
//! expressions can read.

use std::cell::OnceCell;
use std::collections::HashMap;

use super::types::Types;
use crate::base::StepId;
use crate::diag::{Diagnostic, Diagnostics, codes};
use crate::event::{ClaimedBy, EffectClass, RepeatClass, Section};
use crate::expr::Reference;
use crate::model::{Playbook, Step, Tree};
use crate::step::Registry;

/// What a step does to the world, and who said so.
#[derive(Clone, Copy, Debug)]
pub(super) struct Class {
    pub effect: EffectClass,
    pub repeat: RepeatClass,
    pub claimed_by: ClaimedBy,
}

/// A playbook under examination.
pub(super) struct Context<'a> {
    pub playbook: &'a Playbook,
    pub registry: &'a Registry,
    /// Main steps, then `finally` steps.
    pub steps: Vec<&'a Step>,
    /// The first step of each id.
    pub index: HashMap<&'a str, usize>,
    /// Every path that the expressions of each step read, its own `retry.until` and `approval`
    /// excepted.
    pub references: Vec<Vec<&'a Reference>>,
    pub types: OnceCell<Types>,
    classes: Vec<Class>,
}

impl<'a> Context<'a> {
    pub fn new(
        playbook: &'a Playbook,
        registry: &'a Registry,
        diagnostics: &mut Diagnostics,
    ) -> Self {
        let steps: Vec<&Step> = playbook.steps.iter().chain(&playbook.finally).collect();
        let mut index: HashMap<&str, usize> = HashMap::with_capacity(steps.len());
        for (at, step) in steps.iter().enumerate() {
            let id: &StepId = &step.id.value;
            if let Some(first) = index.get(id.as_str()) {
                diagnostics.push(
                    Diagnostic::error(codes::DUPLICATE_STEP, format!("there are two steps `{id}`"))
                        .label(step.id.span, "this one")
                        .also(steps[*first].id.span, "and this one"),
                );
            } else {
                index.insert(id.as_str(), at);
            }
        }
        let references = steps.iter().map(|step| references(step)).collect();
        let mut context = Self {
            playbook,
            registry,
            steps,
            index,
            references,
            types: OnceCell::new(),
            classes: Vec::new(),
        };
        context.classes = context
            .steps
            .iter()
            .map(|step| super::rules::classify(step, diagnostics))
            .collect();
        context
    }

    /// Main or finally.
    pub fn section(&self, at: usize) -> Section {
        if at < self.playbook.steps.len() {
            Section::Main
        } else {
            Section::Finally
        }
    }

    /// The types of what expressions can read.
    pub fn types(&self) -> &Types {
        self.types.get_or_init(|| Types::new(self))
    }

    /// The classes of each step.
    pub fn classes(&self) -> &[Class] {
        &self.classes
    }

    pub fn into_classes(self) -> Vec<Class> {
        self.classes
    }
}

/// Every path that a step's expressions read, those of its own result excepted.
pub fn references(step: &Step) -> Vec<&Reference> {
    let mut found = Vec::new();
    if let Some(name) = &step.name {
        found.extend(name.references());
    }
    if let Some(when) = &step.when {
        found.extend(when.references());
    }
    if let Some(foreach) = &step.foreach {
        found.extend(foreach.list.references());
    }
    found.extend(Tree::references(&step.config));
    let own = |r: &&Reference| {
        let field = r.fields().first();
        r.root() == "steps" && field.is_some_and(|id| **id == *step.id.value.as_str())
    };
    // What is asked may read what the step itself would do, and what others have done.
    if let Some(approval) = &step.approval {
        let message = approval
            .message
            .iter()
            .flat_map(|message| message.references());
        let when = approval.when.iter().flat_map(|when| when.references());
        found.extend(message.chain(when).filter(|r| !own(r)));
    }
    if let Some(lock) = &step.lock {
        found.extend(lock.key.iter().flat_map(|key| key.references()));
    }
    if let Some(undo) = &step.undo {
        // It is taken back once its own result is there.
        found.extend(undo.config.references().into_iter().filter(|r| !own(r)));
    }
    if let Some(verify) = &step.verify {
        found.extend(verify.probe.config.references());
        found.extend(verify.expect.references());
    }
    found
}
