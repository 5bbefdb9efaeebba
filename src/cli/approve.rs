//! `runbook approve RUN STEP`: somebody agrees to a step that asks for it, from elsewhere. It only
//! records that; the run goes on at its terminal, or by `runbook resume`.

use super::args::ApproveArgs;
use super::output::Output;
use super::{exit, status};
use crate::base::Clock;
use crate::event::{ApprovalAsk, ApprovalKind, RunState};
use crate::exec::{APPROVE, Consent, may_approve};
use crate::host::{identity, inbox, run_folder};

pub(super) fn run(out: &mut Output, args: ApproveArgs) -> u8 {
    let (state, run) = match status::load(out, &args.run) {
        Ok(found) => found,
        Err(code) => return code,
    };
    let step = match status::step(out, &run, &args.step) {
        Ok(step) => step,
        Err(code) => return code,
    };
    let Some(ask) = &step.asked else {
        let message = format!("`{}` asks for nothing: it is {}", args.step, step.status);
        out.error(&message, None);
        return exit::USAGE;
    };
    let user = identity::user_name();
    if let Some(message) = refused(&run, ask, &user, Clock::system().wall()) {
        out.error(&message, None);
        return exit::REFUSED;
    }
    let said = Consent {
        ask: ask.ask.clone(),
        granted: !args.deny,
        user: user.clone(),
        reason: args.reason,
    };
    let name = format!("{APPROVE}{}.{}", args.step, identity::person(&user));
    if let Err(error) = inbox::say(&state.run(&run.run), &name, &said) {
        out.error(&error.to_string(), error.help.as_deref());
        return exit::AUDIT;
    }
    let word = if args.deny {
        "not agreed to"
    } else {
        "agreed to"
    };
    let alive = run_folder::is_alive(&state, &run.run).unwrap_or(false);
    let next = if alive {
        "its run goes on by itself".to_owned()
    } else {
        format!("go on with `runbook resume {}`", run.run)
    };
    let more = match (args.deny, ask.count) {
        (false, 2..) => format!(" ({} have to agree)", ask.count),
        _ => String::new(),
    };
    out.note_line(&format!(
        "`{}` was {word} by {user}{more}; {next}",
        args.step
    ));
    exit::DONE
}

/// Why what this user says would not count.
fn refused(run: &RunState, ask: &ApprovalAsk, user: &str, now: jiff::Timestamp) -> Option<String> {
    if let Some(until) = ask.until.filter(|until| *until <= now) {
        return Some(format!(
            "it is too late: it could be agreed to until {until:.0}"
        ));
    }
    if ask.kind == ApprovalKind::Confirm {
        return None;
    }
    if !may_approve(&ask.from, user) {
        return Some(format!(
            "{user} may not agree to it: it asks {}",
            ask.from.join(", ")
        ));
    }
    let own = identity::person(user) == identity::person(&run.user);
    (ask.separate && own)
        .then(|| format!("{user} started the run: somebody else has to agree (`separate: true`)"))
}
