//! The static rules, one file each. Each looks at the whole playbook and tells what it finds.

mod config;
mod effect;
pub(super) mod expressions;
mod lints;
mod params;
mod skipped;
pub(super) mod vars;

use super::context::Context;
use super::graph::Order;
use crate::diag::Diagnostics;

pub(super) use effect::classify;

/// A rule.
type Rule = fn(&Context<'_>, &Order, &mut Diagnostics);

/// Every rule, in the order in which they look.
const RULES: &[Rule] = &[
    params::check,
    vars::check,
    config::check,
    expressions::check,
    skipped::check,
    lints::check,
];

/// Asks every rule.
pub(super) fn check(context: &Context<'_>, order: &Order, diagnostics: &mut Diagnostics) {
    for rule in RULES {
        rule(context, order, diagnostics);
    }
}
