//! `runbook run PLAYBOOK`, dry or for real.

mod dry;

use super::args::RunArgs;
use super::engine::{Setup, begin, on_runtime, reports};
use super::output::Output;
use super::{exit, load, plan};

pub(super) fn run(out: &mut Output, args: RunArgs) -> u8 {
    let saved = match args.plan.as_deref().map(plan::read).transpose() {
        Ok(saved) => saved,
        Err(message) => {
            out.error(&message, Some("`runbook plan PLAYBOOK -o FILE` saves one"));
            return exit::USAGE;
        }
    };
    let path = args.playbook.clone();
    let path = path.or(saved.as_ref().map(|saved| saved.path.clone()));
    let registry = crate::steps::registry();
    let Some(program) = load::program(out, &path.unwrap_or_default(), &registry) else {
        return exit::USAGE;
    };
    let pledge = saved.map(|saved| saved.pledge);
    let params = match &pledge {
        Some(pledge) => load::params_again(out, &program, &pledge.params, &args.params),
        None => load::params(out, &program, &args.params),
    };
    let Some(params) = params else {
        return exit::USAGE;
    };
    let Some(reports) = reports::asked(out, &args.how.reports) else {
        return exit::USAGE;
    };
    if !reports::keep_off(out, &program, &params, &reports) {
        return exit::USAGE;
    }
    let only = match begin::only(&program, &args.steps) {
        Ok(only) => only,
        Err((message, help)) => {
            out.error(&message, help.as_deref());
            return exit::USAGE;
        }
    };
    if args.dry_run {
        return dry::run(out, &program, params, args.how.format, &reports);
    }
    if let Some(code) = begin::refuse(out, &program, &args.how, pledge.is_some(), |_| true) {
        return code;
    }
    on_runtime(out, async |out| {
        let engine = match Setup::new(&program, &args.how, &reports).await {
            Ok(engine) => engine,
            Err(refusal) => return refusal.tell(out),
        };
        if let Some(pledge) = &pledge
            && let Err(refusal) = engine.compare(&params, pledge).await
        {
            return refusal.tell(out);
        }
        match engine.begin(out, params, only, pledge).await {
            Ok(code) => code,
            Err(refusal) => refusal.tell(out),
        }
    })
}
