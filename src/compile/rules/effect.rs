//! What a step does to the world: what its type says, and what its author may say instead.

use crate::compile::context::Class;
use crate::diag::{Diagnostic, Diagnostics, codes};
use crate::event::{ApprovalKind, ClaimedBy, EffectClass, RepeatClass};
use crate::model::Step;

/// The classes of a step. An author may tighten them, and loosen them on generic types alone.
pub(in crate::compile) fn classify(step: &Step, diagnostics: &mut Diagnostics) -> Class {
    let config = step.config.outline();
    let typed_effect = step.ty.classify(&config);
    if let Some(why) = step.ty.needs_approval(&config)
        && { step.approval.as_ref() }.is_none_or(|it| it.kind != ApprovalKind::Approve)
    {
        let message = format!("somebody has to approve of this: {why}");
        diagnostics.push(
            Diagnostic::error(codes::MISSING_KEY, message)
                .at(step.config_span)
                .help("add `approval: { kind: approve, message: … }` to the step"),
        );
    }
    let mut class = Class {
        effect: typed_effect,
        repeat: step.ty.repeat(),
        claimed_by: ClaimedBy::Type,
    };
    let generic = step.ty.is_generic();
    if let Some(claim) = &step.effect {
        class.claimed_by = ClaimedBy::Author;
        class.effect = claim.value;
        if claim.value < typed_effect && !generic {
            loosened(
                step,
                claim.span,
                typed_effect.as_str(),
                claim.value.as_str(),
                diagnostics,
            );
        }
    }
    if class.effect == EffectClass::Read {
        class.repeat = RepeatClass::Idempotent;
    }
    if let Some(verify) = &step.verify {
        let ty = verify.probe.ty;
        if ty.effect() != EffectClass::Read && !ty.is_generic() {
            let message = format!("`verify` finds out, and `{}` changes something", ty.name());
            diagnostics.push(
                Diagnostic::error(codes::BAD_VALUE, message)
                    .at(verify.probe.ty_span)
                    .help("write a type that looks, such as `postgres.ping`, or `exec.command`"),
            );
        }
    }
    // Who says how to find out whether it happened says that it need not stay unknown.
    if step.verify.is_some() && class.repeat == RepeatClass::Once && step.repeat.is_none() {
        class.repeat = RepeatClass::Probe;
    }
    if let Some(claim) = &step.repeat {
        class.claimed_by = ClaimedBy::Author;
        if claim.value < step.ty.repeat() && !generic {
            let (typed, said) = (step.ty.repeat().as_str(), claim.value.as_str());
            loosened(step, claim.span, typed, said, diagnostics);
        }
        class.repeat = claim.value;
        if class.effect == EffectClass::Read && claim.value != RepeatClass::Idempotent {
            diagnostics.push(
                Diagnostic::error(
                    codes::BAD_VALUE,
                    "what changes nothing can always run again".to_owned(),
                )
                .at(claim.span)
                .help("leave `repeat` out: `effect: read` implies `idempotent`"),
            );
        }
        if claim.value == RepeatClass::Once && step.retry.is_some() {
            diagnostics.push(
                Diagnostic::error(codes::BAD_VALUE, "what happens once is never tried again")
                    .at(claim.span)
                    .help("leave out `retry`, or say `repeat: idempotent` if it may happen twice"),
            );
        }
        if claim.value == RepeatClass::Probe && step.verify.is_none() {
            diagnostics.push(
                Diagnostic::error(codes::MISSING_KEY, "`repeat: probe` needs a `verify:`")
                    .at(claim.span)
                    .help("`verify:` says how to find out whether it happened"),
            );
        }
    }
    class
}

fn loosened(
    step: &Step,
    span: crate::base::Span,
    typed: &str,
    said: &str,
    diagnostics: &mut Diagnostics,
) {
    diagnostics.push(
        Diagnostic::error(
            codes::EFFECT_LOOSENED,
            format!(
                "`{}` is `{typed}`, and cannot be declared `{said}`",
                step.ty.name()
            ),
        )
        .label(span, "looser than the type itself")
        .also(step.ty_span, "the type"),
    );
}
