//! Warnings: what runs, and is probably not what was meant.

use std::collections::HashSet;

use crate::compile::context::Context;
use crate::compile::graph::Order;
use crate::diag::{Diagnostic, Diagnostics, codes};
use crate::event::EffectClass;
use crate::expr::Reference;
use crate::model::{OnError, Step, Tree};

pub(super) fn check(context: &Context<'_>, _: &Order, diagnostics: &mut Diagnostics) {
    unused(context, diagnostics);
    for report in &context.playbook.reports {
        if report.path.expressions().next().is_none() {
            diagnostics.push(
                Diagnostic::warning(codes::FIXED_REPORT, "the next run overwrites this report")
                    .at(report.span)
                    .help("put `${{ run.id }}` into its path"),
            );
        }
    }
    for (at, step) in context.steps.iter().enumerate() {
        timeout_order(context, step, diagnostics);
        shell_in_command(step, diagnostics);
        if let Some(when) = step.when.as_ref().filter(|when| when.is_constant()) {
            diagnostics.push(
                Diagnostic::warning(codes::CONSTANT_WHEN, "this condition is always the same")
                    .at(when.span()),
            );
        }
        let destroys = context.classes()[at].effect == EffectClass::Destroy;
        if destroys && step.on_error == OnError::Continue {
            diagnostics.push(
                Diagnostic::warning(
                    codes::ALLOWED_DESTROY,
                    format!("`{}` destroys, and its failure is allowed", step.id.value),
                )
                .at(step.id.span),
            );
        }
    }
}

/// Parameters and secrets of the playbook itself that nothing reads.
fn unused(context: &Context<'_>, diagnostics: &mut Diagnostics) {
    let playbook = context.playbook;
    if playbook.params.is_empty() && playbook.secrets.is_empty() {
        return;
    }
    let mut read: HashSet<(&str, &str)> = HashSet::new();
    let mut whole: HashSet<&str> = HashSet::new();
    {
        let mut note = |reference: &Reference| match &*reference.path {
            [root, name, ..] => {
                // The names live as long as the playbook, and so does the set.
                read.insert((intern(root), intern_in(playbook, name)));
            }
            [root] => {
                whole.insert(intern(root));
            }
            [] => {}
        };
        all_references(context, &mut note);
    }
    for (name, param) in &playbook.params {
        let used = read.contains(&("params", name.as_str())) || whole.contains("params");
        if !used && param.span.source == playbook.source {
            diagnostics.push(
                Diagnostic::warning(
                    codes::UNUSED_PARAM,
                    format!("nothing uses parameter `{name}`"),
                )
                .at(param.span),
            );
        }
    }
    for (name, secret) in &playbook.secrets {
        let used = read.contains(&("secrets", name.as_str())) || whole.contains("secrets");
        if !used && secret.span.source == playbook.source {
            diagnostics.push(
                Diagnostic::warning(
                    codes::UNUSED_SECRET,
                    format!("nothing uses secret `{name}`"),
                )
                .at(secret.span),
            );
        }
    }
}

fn intern(root: &str) -> &'static str {
    match root {
        "params" => "params",
        "secrets" => "secrets",
        _ => "",
    }
}

fn intern_in<'a>(playbook: &'a crate::model::Playbook, name: &str) -> &'a str {
    let param = playbook
        .params
        .get_key_value(name)
        .map(|(name, _)| name.as_str());
    let secret = || {
        playbook
            .secrets
            .get_key_value(name)
            .map(|(name, _)| name.as_str())
    };
    param.or_else(secret).unwrap_or_default()
}

/// Every path that anything in the playbook reads.
fn all_references(context: &Context<'_>, note: &mut dyn FnMut(&Reference)) {
    let playbook = context.playbook;
    for references in &context.references {
        references.iter().for_each(|reference| note(reference));
    }
    for step in &context.steps {
        if let Some(until) = step.retry.as_ref().and_then(|retry| retry.until.as_ref()) {
            until.references().iter().for_each(&mut *note);
        }
        if let Some(approval) = &step.approval {
            approval
                .when
                .iter()
                .flat_map(|when| when.references())
                .for_each(&mut *note);
            approval
                .message
                .iter()
                .flat_map(|text| text.references())
                .for_each(&mut *note);
        }
        if let Some(verify) = &step.verify {
            verify.expect.references().iter().for_each(&mut *note);
        }
    }
    for var in playbook.vars.values() {
        var.value.references().into_iter().for_each(&mut *note);
    }
    for connection in playbook.connections.values() {
        connection
            .config
            .references()
            .into_iter()
            .for_each(&mut *note);
    }
    for report in &playbook.reports {
        report.path.references().for_each(&mut *note);
    }
    for lock in playbook.lock.iter() {
        { lock.key.iter() }
            .flat_map(|key| key.references())
            .for_each(&mut *note);
    }
}

fn timeout_order(context: &Context<'_>, step: &Step, diagnostics: &mut Diagnostics) {
    if let (Some(own), Some(run)) = (&step.timeout, &context.playbook.timeout)
        && own.value > run.value
    {
        diagnostics.push(
            Diagnostic::warning(
                codes::TIMEOUT_ORDER,
                format!(
                    "a timeout of {} never passes: the run's is {}",
                    own.value, run.value
                ),
            )
            .at(own.span)
            .also(run.span, "the run's timeout"),
        );
    }
}

/// `exec.command` hands `|`, `>` and `$NAME` to the program as they are.
fn shell_in_command(step: &Step, diagnostics: &mut Diagnostics) {
    const SHELL: [&str; 9] = ["|", "||", "&&", ";", ">", ">>", "<", "2>&1", "&"];
    if step.ty.name() != "exec.command" {
        return;
    }
    let Tree::Known(config) = &step.config else {
        return;
    };
    let words = config["argv"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    let found = words
        .iter()
        .filter_map(|word| word.as_str())
        .find(|word| SHELL.contains(word));
    if let Some(word) = found {
        diagnostics.push(
            Diagnostic::warning(
                codes::SHELL_IN_COMMAND,
                format!("`{word}` is handed to the program as it is: there is no shell here"),
            )
            .at(step.config_span)
            .help("use `exec.pipeline`, or `exec.script`"),
        );
    }
}
