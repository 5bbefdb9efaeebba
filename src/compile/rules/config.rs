//! Configurations: those without expressions are decoded before the run, and connections exist.

use crate::base::{Span, suggest};
use crate::compile::context::Context;
use crate::compile::graph::Order;
use crate::diag::{Diagnostic, Diagnostics, codes, did_you_mean};
use crate::host::connect::{self, ConnectionKind as _, postgres::Postgres};
use crate::model::{Step, Tree};
use crate::step::shape::{Shape, TextKind};

pub(super) fn check(context: &Context<'_>, _: &Order, diagnostics: &mut Diagnostics) {
    let broken = diagnostics.has_errors();
    for step in &context.steps {
        // A part that was left out because it is wrong would be told twice.
        if let (Tree::Known(config), false) = (&step.config, broken)
            && let Err(message) = step.ty.check(config)
        {
            diagnostics.push(
                Diagnostic::error(
                    codes::BAD_CONFIG,
                    format!("`{}`: {message}", step.ty.name()),
                )
                .at(step.config_span),
            );
        }
        connections(context, step, diagnostics);
    }
    let steps = context.steps.iter().map(|step| &step.lock);
    for lock in steps.chain([&context.playbook.lock]).flatten() {
        if let Some(name) = &lock.connection {
            let whose = Whose {
                needed_by: "`lock`",
                kind: Postgres::NAME,
                span: name.span,
            };
            connection(context, &name.value, &whose, diagnostics);
        }
    }
    for connection in context.playbook.connections.values() {
        if let (Tree::Known(config), Some(kind), false) =
            (&connection.config, connect::kind(connection.kind), broken)
            && let Err(message) = kind.check(config)
        {
            diagnostics.push(
                Diagnostic::error(
                    codes::BAD_CONFIG,
                    format!("`{}`: {message}", connection.kind),
                )
                .at(connection.span),
            );
        }
    }
}

/// The connections that a step names exist, and are of the kind that it needs.
fn connections(context: &Context<'_>, step: &Step, diagnostics: &mut Diagnostics) {
    let Some(shape) = context.registry.shape(step.ty.name()) else {
        return;
    };
    for field in shape.fields() {
        let Shape::Text(TextKind::Connection(kind)) = &field.shape else {
            continue;
        };
        let Some(name) = named(&step.config, &field.name) else {
            continue;
        };
        let whose = Whose {
            needed_by: &format!("`{}`", step.ty.name()),
            kind,
            span: step.config_span,
        };
        connection(context, name, &whose, diagnostics);
    }
}

/// What names a connection, and of which kind that has to be.
struct Whose<'a> {
    needed_by: &'a str,
    kind: &'a str,
    span: Span,
}

/// The connection `name` exists, and is of the wanted kind.
fn connection(context: &Context<'_>, name: &str, whose: &Whose<'_>, diagnostics: &mut Diagnostics) {
    let &Whose {
        needed_by,
        kind,
        span,
    } = whose;
    let declared = &context.playbook.connections;
    match declared.get(name) {
        Some(connection) if connection.kind == kind => {}
        Some(connection) => diagnostics.push(
            Diagnostic::error(
                codes::WRONG_CONNECTION_KIND,
                format!(
                    "connection `{name}` is {}, and {needed_by} needs {kind}",
                    connection.kind
                ),
            )
            .at(span)
            .also(connection.span, "it is declared here"),
        ),
        None => {
            let of_kind: Vec<&str> = declared
                .iter()
                .filter(|(_, connection)| connection.kind == kind)
                .map(|(name, _)| name.as_str())
                .collect();
            let list = match of_kind.as_slice() {
                [] => format!("declare it: `connections: {{ {name}: {{ {kind}: {{ … }} }} }}`"),
                some => format!("the {kind} connections are `{}`", some.join("`, `")),
            };
            diagnostics.push(
                Diagnostic::error(
                    codes::UNKNOWN_CONNECTION,
                    format!("there is no connection `{name}`"),
                )
                .at(span)
                .maybe_help(did_you_mean(suggest::nearest(
                    name,
                    of_kind.iter().copied(),
                )))
                .help(list),
            );
        }
    }
}

/// The value of a field that is known before the run.
fn named<'a>(config: &'a Tree, field: &str) -> Option<&'a str> {
    match config {
        Tree::Known(value) => value.get(field)?.as_str(),
        Tree::Map(entries) => match entries.iter().find(|(name, _)| name == field) {
            Some((_, Tree::Known(value))) => value.as_str(),
            _ => None,
        },
        _ => None,
    }
}
