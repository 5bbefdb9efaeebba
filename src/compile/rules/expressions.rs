//! Expressions: every name exists, every value has the type that its field wants, and secrets flow
//! only where they may.

use crate::compile::context::Context;
use crate::compile::graph::Order;
use crate::compile::types::{ProbeScope, StepScope, item_type};
use crate::diag::{Diagnostic, Diagnostics, codes};
use crate::expr::{Expr, Template, Type, TypeScope};
use crate::model::{Step, Tree, Visited};
use crate::step::shape::{Shape, TextKind};

pub(super) fn check(context: &Context<'_>, _: &Order, diagnostics: &mut Diagnostics) {
    let scope = |item| StepScope {
        context,
        types: context.types(),
        item,
        steps: true,
    };
    let plain = scope(None);
    for step in &context.steps {
        match &step.foreach {
            None => check_step(context, step, &plain, diagnostics),
            Some(foreach) => {
                tree(&foreach.list, &plain, diagnostics);
                let ty = item_type(&foreach.list, &plain, &mut Diagnostics::new());
                let scope = scope(Some((foreach.name.clone(), ty)));
                check_step(context, step, &scope, diagnostics);
            }
        }
    }
    for report in &context.playbook.reports {
        text(&report.path, &plain, diagnostics);
    }
    if let Some(key) = context
        .playbook
        .lock
        .as_ref()
        .and_then(|lock| lock.key.as_ref())
    {
        let before = StepScope {
            steps: false,
            ..scope(None)
        };
        text(key, &before, diagnostics);
    }
}

fn check_step(
    context: &Context<'_>,
    step: &Step,
    scope: &dyn TypeScope,
    diagnostics: &mut Diagnostics,
) {
    if let Some(name) = &step.name {
        text(name, scope, diagnostics);
    }
    if let Some(when) = &step.when {
        condition("when", when, scope, diagnostics);
    }
    tree(&step.config, scope, diagnostics);
    if let Some(until) = step.retry.as_ref().and_then(|retry| retry.until.as_ref()) {
        condition("until", until, scope, diagnostics);
    }
    if let Some(approval) = &step.approval {
        if let Some(when) = &approval.when {
            condition("when", when, scope, diagnostics);
        }
        if let Some(message) = &approval.message {
            text(message, scope, diagnostics);
        }
    }
    if let Some(verify) = &step.verify {
        tree(&verify.probe.config, scope, diagnostics);
        let scope = ProbeScope {
            inner: scope,
            context,
            ty: verify.probe.ty.name(),
        };
        condition("expect", &verify.expect, &scope, diagnostics);
    }
    if let Some(undo) = &step.undo {
        tree(&undo.config, scope, diagnostics);
    }
    if let Some(key) = step.lock.as_ref().and_then(|lock| lock.key.as_ref()) {
        text(key, scope, diagnostics);
    }
}

/// A condition is true or false.
pub(in crate::compile) fn condition(
    key: &str,
    expr: &Expr,
    scope: &dyn TypeScope,
    diagnostics: &mut Diagnostics,
) {
    let ty = expr.infer(scope, diagnostics);
    if ty.contains_secret() {
        secret_flows(key, expr.span(), diagnostics);
    } else if !matches!(ty.without_null(), Type::Bool | Type::Any) {
        diagnostics.push(
            Diagnostic::error(
                codes::EXPR_TYPE,
                format!("`{key}` is true or false, and this is {ty}"),
            )
            .at(expr.span())
            .help("compare it with something, as in `… > 0` or `… == 'text'`"),
        );
    }
}

/// A text for people: no secret flows in.
fn text(template: &Template, scope: &dyn TypeScope, diagnostics: &mut Diagnostics) {
    let ty = template.infer(scope, diagnostics);
    if let (true, Some(expr)) = (ty.contains_secret(), template.expressions().next()) {
        secret_flows("this text", expr.span(), diagnostics);
    }
}

/// A configuration: each text has the type that its field wants.
pub(super) fn tree(tree: &Tree, scope: &dyn TypeScope, diagnostics: &mut Diagnostics) {
    tree.visit(&mut |visited| match visited {
        Visited::Judged(expr) => condition("this", expr, scope, diagnostics),
        Visited::Text(text) => {
            let ty = text.template.infer(scope, diagnostics);
            if ty.contains_secret() {
                if !text.secrets {
                    secret_flows("this field", text.span, diagnostics);
                }
                return;
            }
            let wanted = wanted(&text.want);
            if !wanted.accepts(&ty) {
                let help = cure(&text.want, &ty);
                diagnostics.push(
                    Diagnostic::error(
                        codes::EXPR_TYPE,
                        format!(
                            "this field takes {}, and the expression is {ty}",
                            text.want.describe()
                        ),
                    )
                    .at(text.span)
                    .maybe_help(help),
                );
            }
        }
    });
}

fn secret_flows(what: &str, span: crate::base::Span, diagnostics: &mut Diagnostics) {
    diagnostics.push(
        Diagnostic::error(codes::EXPR_SECRET, format!("a secret may not flow into {what}"))
            .at(span)
            .help("secrets flow into fields that are declared to take one (`url` of a connection) and into `env:`"),
    );
}

/// The type that a shape wants.
fn wanted(shape: &Shape) -> Type {
    match shape {
        Shape::Bool => Type::Bool,
        Shape::Int { .. } => Type::Int,
        Shape::Number { .. } => Type::Number,
        // A size is a text or a number of bytes; both flow into a text.
        Shape::Text(TextKind::Secret) => Type::Secret,
        Shape::Text(_) => Type::String,
        Shape::Word(words) => Type::one_of(words.iter().map(String::as_str)),
        Shape::List { item, .. } => Type::list(wanted(item)),
        Shape::Map(value) => Type::map(wanted(value)),
        Shape::Any | Shape::Object(_) | Shape::OneOf(_) => Type::Any,
    }
}

/// What to do about a value of the wrong type.
fn cure(want: &Shape, ty: &Type) -> Option<String> {
    let filter = match (want, ty) {
        (Shape::Int { .. }, Type::String | Type::Number) => "int",
        (Shape::Number { .. }, Type::String) => "float",
        (Shape::Text(_) | Shape::Word(_), Type::List(_)) => "join(', ')",
        _ => return None,
    };
    Some(format!("a filter makes it one: `… | {filter}`"))
}
