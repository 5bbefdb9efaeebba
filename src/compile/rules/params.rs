//! Parameters: a default fits its own declaration.

use crate::compile::context::Context;
use crate::compile::graph::Order;
use crate::compile::params;
use crate::diag::{Diagnostic, Diagnostics, codes};

pub(super) fn check(context: &Context<'_>, _: &Order, diagnostics: &mut Diagnostics) {
    for (name, param) in &context.playbook.params {
        let Some(default) = &param.default else {
            continue;
        };
        if let Err(message) = params::validate(param, &default.value) {
            diagnostics.push(
                Diagnostic::error(
                    codes::BAD_PARAM,
                    format!("the default of `{name}` {message}"),
                )
                .at(default.span),
            );
        }
    }
}
