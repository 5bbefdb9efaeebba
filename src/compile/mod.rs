//! From a playbook to a program: the DAG, and every static rule.
//!
//! There is no other way to make a [`Program`] than to compile a playbook without errors, so
//! nothing unchecked can run. Nothing stops at the first finding: whatever can still be said is
//! said.

mod context;
mod graph;
mod load;
pub mod params;
mod program;
mod rules;
mod types;
mod usage;
mod world;

pub use context::references;
pub use load::{Loaded, load, load_text};
pub use program::{Node, Program, SourceInfo};
pub use world::{Local, StepValue, World, run_value};

use crate::diag::Diagnostics;
use crate::expr::Expr;
use crate::model::Playbook;
use crate::step::Registry;

/// Checks `playbook`, and makes it a program if nothing is wrong with it.
pub fn compile(
    playbook: Playbook,
    info: SourceInfo,
    registry: &Registry,
    diagnostics: &mut Diagnostics,
) -> Option<Program> {
    let context = context::Context::new(&playbook, registry, diagnostics);
    let order = graph::order(&context, diagnostics);
    rules::check(&context, &order, diagnostics);
    let classes = context.into_classes();
    if diagnostics.has_errors() {
        return None;
    }
    let usage = usage::Usage::of(&playbook, registry);
    Some(Program::seal(playbook, info, order, classes, usage))
}

/// Checks conditions that stand outside of a playbook and read what its steps came to: every name
/// exists, and the types fit.
pub fn check_conditions(
    program: &Program,
    registry: &Registry,
    conditions: &[(&'static str, &Expr)],
    diagnostics: &mut Diagnostics,
) {
    // What is wrong with the playbook itself was told when it was compiled.
    let context = context::Context::new(program.playbook(), registry, &mut Diagnostics::new());
    let scope = types::StepScope {
        context: &context,
        types: context.types(),
        item: None,
        steps: true,
    };
    for (key, condition) in conditions {
        rules::expressions::condition(key, condition, &scope, diagnostics);
    }
}
