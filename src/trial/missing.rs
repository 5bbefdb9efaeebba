//! Outputs that something reads and an answer does not say.

use std::collections::BTreeSet;

use serde_json::Value;

use super::case::Target;
use super::play::Run;
use crate::base::StepPath;
use crate::compile::{self, Program};
use crate::diag::{Diagnostic, codes};
use crate::event::{Status, StepState};
use crate::host::Part;

/// The outputs of a step that the playbook's expressions read, by name.
pub(super) fn outputs_read(program: &Program, id: &str) -> BTreeSet<String> {
    let steps = (0..program.nodes().len()).map(|at| program.step(at));
    let references = steps.flat_map(compile::references);
    let read = references.filter_map(|reference| match reference.fields() {
        [step, outputs, name, ..]
            if reference.root() == "steps" && **step == *id && **outputs == *"outputs" =>
        {
            Some(name.to_string())
        }
        _ => None,
    });
    read.collect()
}

/// Outputs that a step read and that the answer of another one does not say.
pub(super) fn missing_outputs(run: &Run<'_>) -> Vec<Diagnostic> {
    let mut found = Vec::new();
    let unbegun = |state: &&StepState| state.status == Status::Failed && state.effect.is_none();
    let unbegun = { run.state.steps.values() }.filter(unbegun);
    let unbegun: BTreeSet<&str> = unbegun.map(|state| state.path.step.as_str()).collect();
    for id in unbegun {
        let Some(at) = run.program.find(id) else {
            continue;
        };
        let step = run.program.step(at);
        for reference in compile::references(step) {
            let [of, outputs, rest @ ..] = reference.fields() else {
                continue;
            };
            if reference.root() != "steps" || **outputs != *"outputs" || rest.is_empty() {
                continue;
            }
            let Ok(path) = of.parse::<StepPath>() else {
                continue;
            };
            let target = Target {
                path: path.clone(),
                part: Part::Step,
            };
            let given = run.state.step(&path).filter(|given| given.items.is_none());
            let (Some(given), Some(answers)) = (given, run.case.answers_of(&target)) else {
                continue;
            };
            if given.status != Status::Succeeded || !lacks(&given.outputs, rest) {
                continue;
            }
            let message =
                format!("`{id}` reads `{reference}`, and the answer of `{of}` does not say it");
            let diagnostic = Diagnostic::error(codes::NO_OUTPUT, message)
                .label(answers.span, "this answer")
                .help(format!("add `{}` to its `outputs`", rest.join(".")));
            if !found.contains(&diagnostic) {
                found.push(diagnostic);
            }
        }
    }
    found
}

/// Whether a path of fields leads to nothing.
fn lacks<T: AsRef<str>>(outputs: &Value, path: &[T]) -> bool {
    let mut value = outputs;
    for field in path {
        match value.as_object() {
            Some(fields) => match fields.get(field.as_ref()) {
                Some(inner) => value = inner,
                None => return true,
            },
            None => return false,
        }
    }
    false
}
