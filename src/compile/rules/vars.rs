//! Variables: they read parameters, secrets, the run and other variables, and not in a circle.

use indexmap::IndexMap;

use crate::compile::context::Context;
use crate::compile::graph::Order;
use crate::compile::types::StepScope;
use crate::diag::{Diagnostic, Diagnostics, codes};
use crate::model::Playbook;

pub(super) fn check(context: &Context<'_>, _: &Order, diagnostics: &mut Diagnostics) {
    if let Err(circle) = order(context.playbook) {
        let at = circle
            .first()
            .and_then(|name| context.playbook.vars.get(*name));
        if let Some(var) = at {
            diagnostics.push(
                Diagnostic::error(
                    codes::VARS_CYCLE,
                    format!("variables refer to each other: {}", circle.join(" → ")),
                )
                .at(var.span),
            );
        }
        return;
    }
    let scope = StepScope {
        context,
        types: context.types(),
        item: None,
        steps: false,
    };
    for var in context.playbook.vars.values() {
        var.value.infer(&scope, diagnostics);
    }
    for connection in context.playbook.connections.values() {
        super::expressions::tree(&connection.config, &scope, diagnostics);
    }
}

/// The variables in an order in which each comes after those that it reads, or the circle.
pub(in crate::compile) fn order(playbook: &Playbook) -> Result<Vec<&str>, Vec<&str>> {
    let mut order = Vec::with_capacity(playbook.vars.len());
    let mut state: IndexMap<&str, bool> = IndexMap::new();
    for name in playbook.vars.keys() {
        visit(playbook, name, &mut state, &mut order)?;
    }
    Ok(order)
}

/// `state` holds the variables under way (`false`) and done (`true`).
fn visit<'a>(
    playbook: &'a Playbook,
    name: &'a str,
    state: &mut IndexMap<&'a str, bool>,
    order: &mut Vec<&'a str>,
) -> Result<(), Vec<&'a str>> {
    match state.get(name) {
        Some(true) => return Ok(()),
        Some(false) => {
            let start = state.get_index_of(name).unwrap_or(0);
            let under_way = state.iter().skip(start).filter(|(_, done)| !**done);
            return Err(under_way.map(|(other, _)| *other).chain([name]).collect());
        }
        None => {}
    }
    let Some(var) = playbook.vars.get(name) else {
        return Ok(());
    };
    state.insert(name, false);
    for reference in var.value.references() {
        if let [root, other, ..] = &*reference.path
            && &**root == "vars"
        {
            visit(playbook, other, state, order)?;
        }
    }
    state.insert(name, true);
    order.push(name);
    Ok(())
}
