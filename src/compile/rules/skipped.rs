//! Outputs of steps that may be skipped: whoever reads them tests the status first.

use crate::compile::context::Context;
use crate::compile::graph::Order;
use crate::diag::{Diagnostic, Diagnostics, codes};
use crate::event::Section;
use crate::expr::Reference;
use crate::model::{OnError, Tree, Visited};

pub(super) fn check(context: &Context<'_>, _: &Order, diagnostics: &mut Diagnostics) {
    for (at, step) in context.steps.iter().enumerate() {
        let tested: Vec<&Reference> = step
            .when
            .iter()
            .flat_map(|when| when.references())
            .filter(|r| is_test(r))
            .collect();
        let mut look = |references: Vec<&Reference>| {
            for reference in &references {
                let guarded = || {
                    tested
                        .iter()
                        .chain(&references)
                        .any(|r| is_test(r) && same(r, reference))
                };
                if let Some(why) = may_be_missing(context, at, reference)
                    && !guarded()
                {
                    diagnostics.push(missing(reference, context, &why));
                }
            }
        };
        if let Some(when) = &step.when {
            look(when.references().iter().collect());
        }
        if let Some(name) = &step.name {
            look(name.references().collect());
        }
        let mut visit = |tree: &Tree| {
            tree.visit(&mut |visited| match visited {
                Visited::Text(text) => look(text.template.references().collect()),
                Visited::Judged(expr) => look(expr.references().iter().collect()),
            });
        };
        visit(&step.config);
        if let Some(foreach) = &step.foreach {
            visit(&foreach.list);
        }
        if let Some(undo) = &step.undo {
            visit(&undo.config);
        }
        if let Some(verify) = &step.verify {
            visit(&verify.probe.config);
        }
    }
}

fn is_test(reference: &Reference) -> bool {
    matches!(&*reference.path, [root, _, field, ..] if &**root == "steps" && &**field == "status")
}

fn same(a: &Reference, b: &Reference) -> bool {
    a.path.get(1) == b.path.get(1)
}

/// Why the outputs that step `at` reads may not be there.
fn may_be_missing(context: &Context<'_>, at: usize, reference: &Reference) -> Option<String> {
    let [root, id, field, ..] = &*reference.path else {
        return None;
    };
    if &**root != "steps" || &**field != "outputs" {
        return None;
    }
    let other = *context.index.get(&**id)?;
    if other == at {
        return None;
    }
    let step = context.steps[other];
    // A list of a foreach step is there even if all its items were skipped.
    if step.when.as_ref().is_some_and(|when| !when.is_constant()) && step.foreach.is_none() {
        return Some(format!("`{id}` has a `when`, and may be skipped"));
    }
    if step.on_error == OnError::Continue {
        return Some(format!(
            "`{id}` may fail and the run goes on (`on_error: continue`)"
        ));
    }
    if context.section(at) == Section::Finally {
        return Some(match context.section(other) {
            Section::Main => format!("`{id}` may have failed, or never started, when this runs"),
            Section::Finally => format!("`{id}` may have failed when this runs"),
        });
    }
    None
}

fn missing(reference: &Reference, context: &Context<'_>, why: &str) -> Diagnostic {
    let id = reference.path.get(1).map_or("", |id| &**id);
    let mut diagnostic = Diagnostic::error(
        codes::MAYBE_SKIPPED,
        format!("`{reference}` may not be there"),
    )
    .label(reference.span, why.to_owned())
    .help(format!(
        "test it first, in the same expression or in this step's `when`: \
                 `steps.{id}.status == 'succeeded'`"
    ));
    if let Some(when) = context
        .index
        .get(id)
        .and_then(|at| context.steps[*at].when.as_ref())
    {
        diagnostic = diagnostic.also(when.span(), "this may skip it");
    }
    diagnostic
}
